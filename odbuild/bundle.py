"""Make trainer.zip: one file that a training service unpacks and runs."""

import json
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from . import __version__, archive, pipeline, protos, render, resources, sdists, upstream, zoo
from .archive import Entry
from .cache import cache_folder
from .errors import OdbuildError
from .pipeline import Pipeline
from .protos import Protos
from .trainer import checkpoint
from .trainer.recipe import Boxes, Checkpoint, Exif, Negatives, Recipe
from .upstream import Upstream
from .zoo import Model

Say = Callable[[str], None]

FETCHED = frozenset(Checkpoint.__dataclass_fields__)
"""What the training machine must know of the zoo's archive."""

ROOT = "trainer"
"""The one folder of the zip: the service looks for start.sh at most one folder deep."""

EMBEDDED = {"tf1": "model.ckpt", "tf2": "ckpt-0"}
"""Names of an embedded checkpoint below `checkpoint/`, whatever it was called where it came from."""


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
            checkpoint to embed: its folder, its prefix or its index.
        batch_size: Pictures a step, or None to choose on the training machine.
        validation: Fraction of the pictures kept for evaluation, 0 < validation < 1.
        boxes: What to do with boxes that leave the picture.
        exif: What to do with pictures that carry an EXIF orientation.
        negatives: What to do with pictures without boxes.
        max_side: Longest side of a picture in pixels, or None to keep all as they are.
        overrides: Fields of the pipeline config to set last, by path, and their values as text.
    """

    model: str
    out: Path = Path("dist")
    cache: Path = field(default_factory=cache_folder)
    offline: bool = False
    upstream: str | Path = "auto"
    checkpoint: str | Path = "fetch"
    batch_size: int | None = None
    validation: float = 0.2
    boxes: Boxes = "clip"
    exif: Exif = "fail"
    negatives: Negatives = "keep"
    max_side: int | None = None
    overrides: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Bundle:
    """A finished trainer.zip: where it lies, its sha256 in hex, its bytes, and the catalogue's model."""

    path: Path
    sha256: str
    size: int
    model: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """The checkpoint of a bundle: what the recipe says of it, and its files where they are embedded."""

    checkpoint: Checkpoint | None
    entries: tuple[Entry, ...] = ()


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
    weights = _weights(request, model, say)
    packages = sdists.build(tree, compiled, cache=request.cache)
    recipe = _recipe(request, model, weights)
    _tell(model, recipe, config, say)
    members = [*_scripts(recipe), *_payload(), *packages, *weights.entries, _config(recipe, config)]
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


def _weights(request: Request, model: Model, say: Say) -> Weights:
    wanted = request.checkpoint
    known = {field: value for field, value in asdict(model.checkpoint).items() if field in FETCHED}
    if wanted == "none":
        return Weights(checkpoint=None)
    if wanted == "fetch":
        return Weights(checkpoint=Checkpoint(**known))
    prefix = _downloaded(Checkpoint(**known), model, request, say) if wanted == "embed" else _named(Path(wanted))
    checkpoint.require_style(prefix, model.zoo)
    return _embedded(prefix, EMBEDDED[model.zoo])


def _named(path: Path) -> Path:
    """Return the prefix of a checkpoint that the user named, also by the folder of a zoo's archive."""
    inner = path / "checkpoint"
    is_archive = inner.is_dir() and not any(path.glob("*.index"))
    prefix = checkpoint.find_prefix(inner if is_archive else path)
    _require_all_shards(prefix)
    return prefix


def _require_all_shards(prefix: Path) -> None:
    """Refuse a checkpoint that was copied in part: each shard's name says how many there are."""
    present = {file.name.removeprefix(f"{prefix.name}.data-") for file in checkpoint.files(prefix)}
    counts = {count for shard in present if (count := shard.rpartition("-of-")[2]).isdecimal()}
    wanted = {f"{shard:05d}-of-{count}" for count in counts for shard in range(int(count))}
    missing = sorted(wanted - present)
    if missing or not wanted:
        lost = f"{prefix.name}.data-{missing[0] if missing else '00000-of-00001'}"
        raise OdbuildError(f"{prefix}: the checkpoint lacks {lost}. Copy all of its files.")


def _downloaded(wanted: Checkpoint, model: Model, request: Request, say: Say) -> Path:
    """Return the prefix of the zoo's checkpoint in the cache, downloaded where it is not there yet."""
    folder = request.cache / "checkpoints" / model.name
    prefix = folder / Path(wanted.prefix).name
    if checkpoint.exists(prefix):
        return prefix
    if request.offline:
        raise OdbuildError(
            f"{folder}: the checkpoint of {model.name} is not in the cache, and --offline forbids its download. "
            f"Run once without --offline, or name a copy: --checkpoint PATH"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Unpacked beside its place and moved there whole: an interrupted download leaves no half checkpoint.
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        fetched = Path(checkpoint.fetch(wanted, Path(scratch) / model.name, say))
        return checkpoint.copy(fetched, folder)


def _embedded(prefix: Path, name: str) -> Weights:
    entries = tuple(
        Entry(f"checkpoint/{name}{file.name.removeprefix(prefix.name)}", file.read_bytes())
        for file in checkpoint.files(prefix)
    )
    return Weights(checkpoint=Checkpoint(prefix=name), entries=entries)


def _recipe(request: Request, model: Model, weights: Weights) -> Recipe:
    return Recipe(
        model=model.name,
        zoo=model.zoo,
        # Another model's config is not called by that model's name.
        config=f"{model.name}.config" if model.assumed else Path(model.config).name,
        checkpoint=weights.checkpoint,
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
    for package in model.needs:
        say(f"the training machine must have the package {package}, which the bundle does not carry")
    say(f"pipeline config: {len(config.changes)} edits of the sample, each with its reason in MANIFEST.json")
    say(f"checkpoint: {_source(recipe.checkpoint)}")


def _source(wanted: Checkpoint | None) -> str:
    if wanted is None:
        return "none, training starts from random weights"
    return "embedded" if wanted.url is None else f"fetched on the training machine from {wanted.url}"


def _digest(entry: Entry) -> Mapping[str, Any]:
    return {"sha256": sha256(entry.data).hexdigest(), "size": len(entry.data)}


def _write(entries: Iterable[Entry], model: Model, out: Path) -> Bundle:
    target = out / model.name / "trainer.zip"
    digest = archive.write_zip((replace(entry, name=f"{ROOT}/{entry.name}") for entry in entries), target)
    return Bundle(path=target, sha256=digest, size=target.stat().st_size, model=model.name)
