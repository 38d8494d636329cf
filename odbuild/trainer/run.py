"""Train, evaluate, export and prove a prepared run: `python -m trainer.run`."""

import dataclasses
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from . import checkpoint, compat, draw, examples, export, plan, records, stage
from .errors import OdbuildError
from .plan import Plan
from .progress import Progress

MAP, MAP50 = "DetectionBoxes_Precision/mAP", "DetectionBoxes_Precision/mAP@.50IOU"
TERMINATED = 128 + signal.SIGTERM
EVALUATIONS = 10
"""How often at the most a long run is evaluated on its way."""

EVALUATE_FROM_STEPS = 1000
"""The fewest steps between two evaluations: each costs the building of a graph."""

PICTURES = 6
"""Validation pictures that the exported model is tried on and that are drawn."""

MIN_SCORE = 0.3
"""The least score of a detection that is drawn."""

MIN_DRAWN = 5
"""So many of the best detections are drawn at the most, or twice the boxes of the ground truth: a model that has
learned nothing detects everywhere, and would hide the picture."""


class Trainer(Protocol):
    """What `train_tf1.Trainer` and `train_tf2.Trainer` have in common."""

    restored: checkpoint.Restored | None

    def train(self, until: int) -> int:
        """Train until a step and return the step reached."""

    def evaluate(self) -> Mapping[str, float]:
        """Return COCO's metrics on the validation split."""

    def latest(self) -> Path:
        """Return the prefix of the newest checkpoint."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Best:
    """The evaluation with the highest mAP so far.

    Attributes:
        prefix: Prefix of a copy of its checkpoint.
        step: Step it was taken at.
        map: COCO mAP@[.5:.95], 0..1.
        map50: mAP@.5, 0..1.
    """

    prefix: Path
    step: int
    map: float
    map50: float


def main() -> int:
    """Run what `prepare` has planned; return the exit code."""

    def work() -> int:
        progress = Progress(say=_say)
        signal.signal(signal.SIGTERM, lambda *_: _stop(progress))
        # Upstream's code calls what TensorFlow has deprecated since; a user can do nothing about it.
        warnings.simplefilter("ignore")
        return run(plan.load(), progress)

    return stage.run(work)


def run(prepared: Plan, progress: Progress) -> int:
    """Train to the last step, evaluate on the way, export the best checkpoint and prove the export.

    Returns:
        0, or 143 where a SIGTERM ended training early; the same start resumes it.

    Raises:
        OdbuildError: If training diverges, starts from the wrong weights, or leaves no usable export.
    """
    trainer = _trainer(prepared, progress)
    best = _train(prepared, trainer, progress)
    if best is None:
        _say("stopped: the checkpoint is saved; start again with the same RESULT_DIR to go on")
        return TERMINATED
    model = Path(prepared.result) / "model"
    exports = export.export(prepared, best.prefix, model)
    _say(f"exported the checkpoint of step {best.step}: {', '.join(exports)}")
    scenes = _scenes(prepared)
    _prove(prepared, model, scenes)
    _report(prepared, trainer, progress, best, exports)
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


def _stop(progress: Progress) -> None:
    progress.stopped = True


def _trainer(prepared: Plan, progress: Progress) -> Trainer:
    compat.install(prepared.zoo)
    if prepared.zoo == "tf1":
        from . import train_tf1

        return train_tf1.Trainer(prepared, progress)
    from . import train_tf2

    return train_tf2.Trainer(prepared, progress)


def _train(prepared: Plan, trainer: Trainer, progress: Progress) -> Best | None:
    """Train stage by stage; return the best evaluation, or None where training was stopped."""
    best = _read_best(prepared)
    for until in stages(prepared.steps):
        reached = trainer.train(until)
        if progress.stopped:
            return None
        if best is None or best.step < reached:
            best = _better(prepared, trainer, reached, best)
    return best


def stages(steps: int) -> list[int]:
    """Return the steps to evaluate at, the last step always among them."""
    count = min(EVALUATIONS, max(1, steps // EVALUATE_FROM_STEPS))
    return [math.ceil(steps * stage / count) for stage in range(1, count + 1)]


def _better(prepared: Plan, trainer: Trainer, step: int, best: Best | None) -> Best:
    metrics = trainer.evaluate()
    mean, mean50 = _metric(metrics, MAP), _metric(metrics, MAP50)
    _say(f"step {step}: mAP {mean:.4f}, mAP@.5 {mean50:.4f} on the validation split")
    if best is not None and best.map >= mean:
        return best
    folder = prepared.checkpoints / "best"
    shutil.rmtree(folder, ignore_errors=True)
    kept = Best(prefix=checkpoint.copy(trainer.latest(), folder), step=step, map=mean, map50=mean50)
    _write(folder / "best.json", {**dataclasses.asdict(kept), "prefix": kept.prefix.name})
    return kept


def _read_best(prepared: Plan) -> Best | None:
    folder = prepared.checkpoints / "best"
    if not (folder / "best.json").exists():
        return None
    fields = json.loads((folder / "best.json").read_text(encoding="utf-8"))
    return Best(**{**fields, "prefix": folder / fields["prefix"]})


def _metric(metrics: Mapping[str, float], name: str) -> float:
    value = metrics.get(name, math.nan)
    if not value >= 0:  # COCO's evaluation says -1 where it had no ground truth
        raise OdbuildError(f"evaluation gave no {name} ({value}): does the validation split hold any box?")
    return value


def _scenes(prepared: Plan) -> list[draw.Scene]:
    """Unpack validation pictures with their ground truth, those with boxes first."""
    folder = Path(prepared.data) / "pictures"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    found = sorted(_validation(prepared), key=lambda example: not example.boxes)[:PICTURES]
    return [_scene(example, folder / f"{index}.{example.format}") for index, example in enumerate(found)]


def _validation(prepared: Plan) -> Iterator[examples.Example]:
    for path in prepared.validation_records:
        for record in records.read(Path(path)):
            yield examples.decode(record)


def _scene(example: examples.Example, path: Path) -> draw.Scene:
    path.write_bytes(example.encoded)
    marks = (
        draw.Mark(box=(b.ymin, b.xmin, b.ymax, b.xmax), caption=b.label, colour=draw.GROUND_TRUTH)
        for b in example.boxes
    )
    return draw.Scene(picture=path, marks=tuple(marks))


def _prove(prepared: Plan, model: Path, scenes: list[draw.Scene]) -> None:
    """Run the export on pictures in a process of its own, and draw what it finds beside the ground truth."""
    command = [sys.executable, "-m", "trainer.detect", str(model), *(str(s.picture) for s in scenes)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}  # the GPU's memory is still this process's
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise OdbuildError(f"{model}: the exported model does not run:\n{done.stderr[-2000:]}")
    found = [json.loads(line)["detections"] for line in done.stdout.splitlines()]
    drawn = [_with_detections(prepared, *pair) for pair in zip(scenes, found, strict=True)]
    draw.sheet(drawn, Path(prepared.result) / "detections.png", f"{prepared.model}, {prepared.steps} steps")
    _say(f"the exported model runs: {sum(map(len, found))} boxes on {len(found)} pictures, see detections.png")


def _with_detections(prepared: Plan, scene: draw.Scene, detections: list[dict[str, Any]]) -> draw.Scene:
    marks = (
        draw.Mark(
            box=tuple(d["box"]),
            caption=f"{prepared.labels[d['class'] - 1]} {d['score']:.2f}",
            colour=draw.DETECTION,
        )
        for d in detections[: max(MIN_DRAWN, 2 * len(scene.marks))]
        if d["score"] >= MIN_SCORE
    )
    return dataclasses.replace(scene, marks=(*marks, *scene.marks))


def _report(prepared: Plan, trainer: Trainer, progress: Progress, best: Best, exports: tuple[str, ...]) -> None:
    import tensorflow as tf

    restored = dataclasses.asdict(trainer.restored) if trainer.restored else None
    results = {
        "model": prepared.model,
        "tensorflow": tf.__version__,
        "steps": prepared.steps,
        "batch_size": prepared.batch_size,
        "labels": prepared.labels,
        "restored": restored,
        "loss_first": progress.first,
        "loss_last": progress.last,
        "best_step": best.step,
        "map": best.map,
        "map50": best.map50,
        "exports": [f"model/{name}" for name in exports],
        "picture": "detections.png",
    }
    _write(Path(prepared.result) / "results.json", results)


def _write(path: Path, value: Mapping[str, Any]) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(value, indent=1, default=str), encoding="utf-8")
    partial.replace(path)


if __name__ == "__main__":
    sys.exit(main())
