"""Make trainer.zip: one file that a training service unpacks and runs."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from hashlib import file_digest
from pathlib import Path
from typing import Any

from . import __version__, archive, pipeline, protos, render, resources, sdists, upstream, weights, zoo
from .archive import Entry
from .cache import cache_folder
from .pipeline import Pipeline
from .protos import Protos
from .trainer.recipe import Boxes, Checkpoint, Exif, MaxSide, Negatives, Recipe
from .upstream import Upstream
from .weights import Choice, Weights
from .zoo import Model

Say = Callable[[str], None]

ROOT = "trainer"
"""The one folder of the zip: the service looks for start.sh at most one folder deep."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What to bundle.

    Attributes:
        model: Any name of a model.
        out: Folder for `<catalogue name>/trainer.zip`.
        cache: Folder for what is costly to make.
        offline: Use the cache alone, ask no network.
        upstream: Where tensorflow/models comes from: `auto`, `registry`, `git`, or a folder.
        checkpoint: `fetch` (on the training machine), `embed` (download now), `none`, or the path of a
            checkpoint to embed: its folder, its prefix, its index, its archive (tar.gz), or the folder of that.
        checkpoint_mirror: Address (https) that takes the place of the zoos' host, or None.
        lock: File that holds the digests of checkpoints that were downloaded on trust.
        batch_size: Pictures a step, or None to choose on the training machine.
        validation: Fraction of the pictures kept for evaluation, 0 < validation < 1.
        boxes: What to do with boxes that leave the picture.
        exif: What to do with pictures that carry an EXIF orientation.
        negatives: What to do with pictures without boxes.
        max_side: Longest side of a picture in pixels, `auto` for what the model can use, or None to keep all.
        overrides: Fields of the pipeline config to set last, by path, and their values as text.
    """

    model: str
    out: Path = Path("dist")
    cache: Path = field(default_factory=cache_folder)
    offline: bool = False
    upstream: str | Path = "auto"
    checkpoint: str | Path = "fetch"
    checkpoint_mirror: str | None = None
    lock: Path = Path("checkpoints.lock")
    batch_size: int | None = None
    validation: float = 0.2
    boxes: Boxes = "clip"
    exif: Exif = "fail"
    negatives: Negatives = "keep"
    max_side: MaxSide = None
    overrides: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Bundle:
    """A finished trainer.zip: where it lies, its sha256 in hex, its bytes, and the catalogue's model."""

    path: Path
    sha256: str
    size: int
    model: str


def bundle(request: Request, say: Say) -> Bundle:
    """Write `<out>/<catalogue name>/trainer.zip`, whole or not at all, and return what it is.

    The same request makes the same bytes on every machine.

    Raises:
        UsageError: The model is unknown or cannot be trained, or an override does not fit its config.
        OdbuildError: Upstream or the checkpoint cannot be had, or the zip cannot be written.
    """
    model = zoo.find_trainable(request.model)
    tree, compiled = _upstream(request, say)
    config = pipeline.derive(model, tree, compiled)
    pipeline.check_overrides(config, compiled, request.overrides)
    with weights.chosen(_choice(request), model, say) as start:
        packages = sdists.build(tree, compiled, cache=request.cache)
        recipe = _recipe(request, model, start)
        _tell(model, recipe, config, say)
        members = [*_scripts(recipe), *_payload(), *packages, *start.entries, _config(recipe, config)]
        manifest = _manifest(model, recipe, tree, config, members)
        return _write([*members, manifest], model, request.out)


def explain(request: Request, say: Say) -> str:
    """Return how the bundle's pipeline config differs from upstream's sample, and why; write no bundle.

    Raises:
        UsageError: As for `bundle`.
        OdbuildError: Upstream cannot be had.
    """
    model = zoo.find_trainable(request.model)
    return pipeline.explain(model, *_upstream(request, say), request.overrides)


def _upstream(request: Request, say: Say) -> tuple[Upstream, Protos]:
    tree = upstream.fetch(request.upstream, cache=request.cache, offline=request.offline, say=say)
    return tree, protos.compile_protos(tree, cache=request.cache, say=say)


def _choice(request: Request) -> Choice:
    return Choice(
        wanted=request.checkpoint,
        mirror=request.checkpoint_mirror,
        cache=request.cache,
        offline=request.offline,
        lock=request.lock,
    )


def _recipe(request: Request, model: Model, start: Weights) -> Recipe:
    return Recipe(
        model=model.name,
        zoo=model.zoo,
        # Another model's config is not called by that model's name.
        config=f"{model.name}.config" if model.assumed else Path(model.config).name,
        checkpoint=start.checkpoint,
        footprint=model.footprint,
        batch_size=request.batch_size,
        validation=request.validation,
        boxes=request.boxes,
        exif=request.exif,
        negatives=request.negatives,
        max_side=request.max_side,
        overrides=request.overrides,
    )


def _scripts(recipe: Recipe) -> tuple[Entry, Entry]:
    return (
        Entry("start.sh", render.start_script(recipe).encode(), executable=True),
        Entry("prepare_training.py", render.prepare_script(recipe).encode()),
    )


def _payload() -> Iterable[Entry]:
    return (Entry(f"trainer/{name}", data) for name, data in resources.payload_files().items())


def _config(recipe: Recipe, config: Pipeline) -> Entry:
    return Entry(recipe.config, config.text.encode())


def _manifest(model: Model, recipe: Recipe, tree: Upstream, config: Pipeline, members: Iterable[Entry]) -> Entry:
    """Say where every byte of the bundle comes from; no time and no path, so that it is the same anywhere."""
    content = {
        "odbuild": __version__,
        "model": model.name,
        "catalogue": asdict(model),
        "upstream": {"commit": tree.commit, "trees": dict(tree.trees)},
        "protoc": protos.PROTOC,
        "checkpoint": _source(recipe.checkpoint),
        "recipe": asdict(recipe),
        "changes": [asdict(change) for change in config.changes],
        "members": {entry.name: _digest(entry) for entry in members},
    }
    return Entry("MANIFEST.json", (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())


def _tell(model: Model, recipe: Recipe, config: Pipeline, say: Say) -> None:
    for assumption in model.assumed:
        say(
            f"pipeline config: upstream has none for this model, so {model.config} is taken; assumed: {assumption}"
        )
    say(f"pipeline config: {len(config.changes)} edits of the sample, each with its reason in MANIFEST.json")
    say(f"checkpoint: {_source(recipe.checkpoint)}")


def _source(wanted: Checkpoint | None) -> str:
    if wanted is None:
        return "none, training starts from random weights"
    return "embedded" if wanted.url is None else f"fetched on the training machine from {wanted.url}"


def _digest(entry: Entry) -> Mapping[str, Any]:
    with entry.open() as file:
        return {"sha256": file_digest(file, "sha256").hexdigest(), "size": entry.size}


def _write(entries: Iterable[Entry], model: Model, out: Path) -> Bundle:
    target = out / model.name / "trainer.zip"
    digest = archive.write_zip((replace(entry, name=f"{ROOT}/{entry.name}") for entry in entries), target)
    return Bundle(path=target, sha256=digest, size=target.stat().st_size, model=model.name)
