"""Prepare a run: data to records, the checkpoint at hand, the pipeline config fitted to both."""

import copy
import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import batch, checkpoint, config, convert, index, overrides, stage, state, tuning
from .batch import Batch, Room
from .errors import OdbuildError, UsageError
from .index import Converted
from .plan import Plan
from .policies import Policies
from .recipe import Recipe
from .resolution import useful_side
from .runtime.state import STATE, leave

DATA = Path("data")
CHECKPOINT = Path("checkpoint")
PIPELINE = Path("pipeline.config")
VERDICTS = Path(STATE) / "verdicts"
"""So that a start anew decodes no picture again."""


def main(recipe: Recipe, arguments: Sequence[str]) -> int:
    """Prepare the run of a recipe for as many steps as the first argument says; return the exit code."""

    def work() -> int:
        prepare(recipe, _steps(arguments), _folder("DATA_DIR"), _folder("RESULT_DIR"))
        return 0

    return stage.run(work)


def prepare(recipe: Recipe, steps: int, data: Path, result: Path) -> Plan:
    """Convert the data unless that is done, get the checkpoint, tune the config, and write all that `run` goes by.

    Everything is written below the working directory but `label_map.pbtxt`, `pipeline.config` and
    `ledger.jsonl`, which clients look for in the result folder.

    Raises:
        OdbuildError: If data, checkpoint or result folder cannot be used.
    """
    for folder in (Path.cwd(), result):
        _require_plain(folder)
    pipeline = config.read(Path(recipe.config))
    converted = _records(recipe, data, pipeline)
    if not converted.validation.boxes:
        raise OdbuildError(
            "only one picture has boxes, and nothing would be left to evaluate on: label at least two"
        )
    prefix = _checkpoint(recipe)
    run = _run(recipe, steps, converted, prefix, pipeline)
    changes = tuning.tune(pipeline, run)
    _tell((*changes, *overrides.apply(pipeline, recipe.overrides)))
    config.write(PIPELINE, pipeline)
    plan = _plan(recipe, run, converted, result)
    _claim(result, plan, converted.folder)
    plan.save()
    return plan


def _require_plain(folder: Path) -> None:
    """Refuse a folder whose name TensorFlow reads as a pattern: it would find neither records nor checkpoints."""
    odd = sorted(set(str(folder)) & set("*?[]\\"))
    if odd:
        raise UsageError(
            f"{folder}: TensorFlow cannot work in a folder with {' '.join(odd)} in its name: rename it"
        )


def _records(recipe: Recipe, data: Path, pipeline: Any) -> Converted:
    """Return the records to train from: those of DATA_DIR where it holds a finished conversion, or new ones."""
    # What an earlier start finished may be of other data; what it did not is gone on with as far as it holds.
    shutil.rmtree(DATA, ignore_errors=True)
    if (data / index.INDEX).is_file():
        _require_plain(data)
        converted = index.load(data)
        index.verify(converted)
        _say(f"records: {data} holds a finished conversion, each shard of it as it was written")
        DATA.mkdir()
        return converted
    return convert.convert(data, DATA.absolute(), _policies(recipe, pipeline), _say, verdicts=VERDICTS)


def _say(line: str) -> None:
    print(line, flush=True)


def _steps(arguments: Sequence[str]) -> int:
    word = arguments[0] if arguments else ""
    if not (word.isascii() and word.isdecimal() and int(word) > 0):
        raise UsageError(f"steps: {word!r} is no positive integer. Start as: start.sh STEPS")
    return int(word)


def _folder(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        raise UsageError(f"{variable} is not set: it names the folder of the {_MEANING[variable]}")
    return Path(value).absolute()


_MEANING = {"DATA_DIR": "pictures and _annotations.json", "RESULT_DIR": "results"}


def _policies(recipe: Recipe, pipeline: Any) -> Policies:
    return Policies(
        boxes=recipe.boxes,
        exif=recipe.exif,
        negatives=recipe.negatives,
        max_side=_max_side(recipe, pipeline),
        validation=recipe.validation,
    )


def _max_side(recipe: Recipe, pipeline: Any) -> int | None:
    if recipe.max_side != "auto":
        return recipe.max_side
    return useful_side(_asked(recipe, pipeline))


def _asked(recipe: Recipe, pipeline: Any) -> Any:
    """Return the config with what the user has set."""
    asked = copy.deepcopy(pipeline)
    tuple(overrides.apply(asked, recipe.overrides))
    return asked


def _checkpoint(recipe: Recipe) -> str | None:
    wanted = recipe.checkpoint
    if wanted is None:
        _say("checkpoint: none, training starts from random weights")
        return None
    prefix = (CHECKPOINT / Path(wanted.prefix).name).absolute()
    if wanted.url is not None and not checkpoint.exists(prefix):
        prefix = checkpoint.fetch(wanted, CHECKPOINT.absolute(), _say)
    found = checkpoint.find_prefix(prefix)
    checkpoint.require_style(found, recipe.zoo)
    return str(found)


def _run(recipe: Recipe, steps: int, converted: Converted, prefix: str | None, pipeline: Any) -> tuning.Run:
    chosen = _batch(recipe, pipeline, converted.train.pictures)
    return tuning.Run(
        zoo=recipe.zoo,
        steps=steps,
        batch_size=chosen.size,
        batch_reason=chosen.reason,
        num_classes=len(converted.labels),
        max_boxes=converted.max_boxes,
        train_records=tuple(str(shard.path) for shard in converted.train.shards),
        validation_records=tuple(str(shard.path) for shard in converted.validation.shards),
        validation_pictures=converted.validation.pictures,
        label_map=str(converted.label_map),
        checkpoint=prefix,
    )


def _room() -> Room:
    """Return what the run was set up for: a graphics card or the processor, and its memory."""
    here = state.read(Path(STATE) / "runtime.json")
    device = here.get("device", "cpu")
    return Room(device=device, memory=here.get("gpu_memory" if device == "gpu" else "memory"))


def _batch(recipe: Recipe, pipeline: Any, pictures: int) -> Batch:
    """Return the batch that was asked for, so that the learning rate is scaled to it, or one that fits."""
    asked = _asked(recipe, pipeline)
    if overrides.BATCH_SIZE in dict(recipe.overrides):
        return Batch(size=asked.train_config.batch_size, reason="asked for by --set")
    if recipe.batch_size is not None:
        return Batch(size=recipe.batch_size, reason="asked for by --batch-size")
    return batch.choose(pipeline, asked, footprint=recipe.footprint, room=_room(), train_pictures=pictures)


def _tell(changes: Sequence[tuning.Change]) -> None:
    _say(f"pipeline config: {len(changes)} changes")
    for change in changes:
        _say(f"  {change}")


def _plan(recipe: Recipe, run: tuning.Run, converted: Converted, result: Path) -> Plan:
    start = checkpoint.digests(Path(run.checkpoint)) if run.checkpoint else {}
    identity = {"model": recipe.model, "data": converted.digest, "checkpoint": start}
    return Plan(
        model=recipe.model,
        zoo=recipe.zoo,
        steps=run.steps,
        batch_size=run.batch_size,
        gpu=_room().device == "gpu",
        pipeline=str(PIPELINE.absolute()),
        checkpoint=run.checkpoint,
        labels=converted.labels,
        data=str(DATA.absolute()),
        validation_records=run.validation_records,
        fingerprint=_fingerprint(identity),
        result=str(result),
    )


def _fingerprint(identity: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _claim(result: Path, plan: Plan, records: Path) -> None:
    """Take the result folder for this run, unless it holds the checkpoints of another one.

    Upstream would resume from whatever checkpoints it finds there, of other data or classes too.
    """
    mark = plan.checkpoints / "fingerprint"
    plan.checkpoints.mkdir(parents=True, exist_ok=True)
    others = mark.read_text(encoding="utf-8") if mark.exists() else None
    if others is None and any(plan.checkpoints.glob("*.index")):
        others = "unknown"
    if others not in {None, plan.fingerprint}:
        raise OdbuildError(
            f"{plan.checkpoints}: holds the checkpoints of a run with another model, data or start. "
            f"Give this run a RESULT_DIR of its own, or remove that folder."
        )
    leave(mark, plan.fingerprint)
    for source in (PIPELINE, records / index.LABEL_MAP, records / index.LEDGER):
        shutil.copyfile(source, result / source.name)
