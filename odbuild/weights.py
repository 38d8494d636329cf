"""The weights that training starts from: named in the recipe, or put into the bundle."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from . import lockfile
from .archive import Entry, sha256
from .cache import make_folder
from .errors import OdbuildError, UsageError
from .lockfile import Locked
from .trainer import checkpoint
from .trainer.checkpoint import Say
from .trainer.download import GZIP, OtherFileError
from .trainer.recipe import Checkpoint
from .trainer.unpack import unpack
from .zoo import Model

EMBEDDED = {"tf1": "model.ckpt", "tf2": "ckpt-0"}
"""Names of an embedded checkpoint below `checkpoint/`, whatever it was called where it came from."""

SCOPES = {
    "faster_rcnn_inception_resnet_v2": b"InceptionResnetV2/",
    "faster_rcnn_inception_v2": b"InceptionV2/",
    "faster_rcnn_resnet50": b"resnet_v1_50/",
    "faster_rcnn_resnet101": b"resnet_v1_101/",
    "ssd_inception_v2": b"InceptionV2/",
    "ssd_mobilenet_v1": b"MobilenetV1/",
    "ssd_mobilenet_v1_fpn": b"MobilenetV1/",
    "ssd_mobilenet_v1_ppn": b"MobilenetV1/",
    "ssd_mobilenet_v2": b"MobilenetV2/",
    "ssd_mobilenet_v2_mnasfpn": b"MobilenetV2/",
    "ssd_resnet50_v1_fpn": b"resnet_v1_50/",
    "ssd_resnet101_v1_fpn": b"resnet_v1_101/",
}
"""Where the variables of a TF1 model's backbone lie, by its feature extractor: `variable_scope` in upstream's
`models/*_feature_extractor.py`. An index holds every sixteenth name in full, and a backbone has many more.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """Which weights, and by what means.

    Attributes:
        wanted: `fetch` (on the training machine), `embed` (download now), `none`, or the path of a checkpoint
            to embed: its folder, its prefix, its index, its archive (tar.gz), or the folder of that.
        mirror: Address (https) that takes the place of the zoos' host, or None.
        cache: Folder for archives.
        offline: Use the cache alone, ask no network.
        lock: The file of what was downloaded on trust.
    """

    wanted: str | Path
    mirror: str | None
    cache: Path
    offline: bool
    lock: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """The checkpoint of a bundle: what the recipe says of it, and its files where they are embedded."""

    checkpoint: Checkpoint | None
    entries: tuple[Entry, ...] = ()


@contextmanager
def chosen(choice: Choice, model: Model, say: Say) -> Iterator[Weights]:
    """Give the weights of a bundle; the files of their entries last as long as the context.

    Raises:
        UsageError: A mirror is named where nothing is downloaded.
        OdbuildError: The checkpoint cannot be had, or is of another kind.
    """
    if choice.mirror is not None and choice.wanted not in {"fetch", "embed"}:
        raise UsageError(f"--checkpoint-mirror: nothing is downloaded with --checkpoint {choice.wanted}")
    if choice.wanted == "none":
        yield Weights(checkpoint=None)
    elif choice.wanted == "fetch":
        yield Weights(checkpoint=_known(choice, model))
    else:
        scratches = choice.cache / "checkpoints"
        make_folder(scratches)
        with tempfile.TemporaryDirectory(dir=scratches) as scratch:
            yield _embedded(_found(choice, model, Path(scratch), say), model)


def _known(choice: Choice, model: Model) -> Checkpoint:
    """Return where the zoo's archive lies, and all that is known of it."""
    row = asdict(model.checkpoint)
    known = Checkpoint(**{name: row[name] for name in Checkpoint.__dataclass_fields__})
    if choice.mirror is not None:
        known = replace(known, url=choice.mirror.rstrip("/") + urlsplit(model.checkpoint.url).path)
    if _is_trusted(known) and (locked := lockfile.load(choice.lock).get(model.name)):
        known = replace(known, size=locked.size, sha256=locked.sha256)
    return known


def _is_trusted(known: Checkpoint) -> bool:
    return known.sha256 is None and known.sha384 is None


def _found(choice: Choice, model: Model, scratch: Path, say: Say) -> Path:
    """Return the prefix of the checkpoint to embed."""
    place = _downloaded(choice, model, say) if choice.wanted == "embed" else _located(Path(choice.wanted))
    if place.is_file() and _is_gzip(place):
        known = model.checkpoint
        return unpack(place, known.prefix, scratch, name=str(place), alternatives=known.alternatives)
    return checkpoint.find_prefix(place)


def _downloaded(choice: Choice, model: Model, say: Say) -> Path:
    """Return the zoo's archive in the cache, downloaded where it is not there; trusted the first time."""
    known = _known(choice, model)
    archive = choice.cache / "checkpoints" / f"{model.name}.tar.gz"
    if not checkpoint.is_archive(known, archive):
        if choice.offline:
            raise OdbuildError(
                f"{archive}: the checkpoint of {model.name} is not in the cache, and --offline forbids its "
                f"download. Run once without --offline, or name a copy: --checkpoint PATH"
            )
        try:
            checkpoint.fetch_archive(known, archive, say)
        except OtherFileError as error:
            raise OdbuildError(f"{error}{_advice(choice, model)}") from error
    if _is_trusted(known):
        lockfile.add(choice.lock, model.name, Locked(size=archive.stat().st_size, sha256=sha256(archive)))
        say(f"{choice.lock}: written; commit it, so that all later downloads must be the same")
    return archive


def _advice(choice: Choice, model: Model) -> str:
    if model.name not in lockfile.load(choice.lock):
        return ""
    return f" by {choice.lock}. If the new file is right, delete [{model.name!r}] there and run again."


def _located(path: Path) -> Path:
    """Return the checkpoint, or its archive, that a folder of the user holds in any of the zoos' forms."""
    if not path.is_dir() or any(path.glob("*.index")):
        return path
    inner = path / "checkpoint"
    if inner.is_dir():
        return inner
    archives = sorted(path.glob("*.tar.gz"))
    return archives[0] if len(archives) == 1 else path


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(GZIP)) == GZIP


def _embedded(prefix: Path, model: Model) -> Weights:
    checkpoint.require_whole(prefix)
    checkpoint.require_style(prefix, model.zoo)
    _require_backbone(prefix, model)
    name = EMBEDDED[model.zoo]
    entries = tuple(
        Entry(f"checkpoint/{name}{file.name.removeprefix(prefix.name)}", file=file)
        for file in checkpoint.files(prefix)
    )
    return Weights(checkpoint=Checkpoint(prefix=name), entries=entries)


def _require_backbone(prefix: Path, model: Model) -> None:
    """Refuse a TF1 checkpoint that names another backbone and not the model's.

    Names that say nothing pass: the training machine compares all variables before the first step.
    """
    own = SCOPES.get(model.feature_extractor)
    index = prefix.with_name(f"{prefix.name}.index").read_bytes()
    others = sorted(scope.decode() for scope in set(SCOPES.values()) if scope in index)
    if model.zoo == "tf1" and own is not None and own not in index and others:
        raise OdbuildError(
            f"{prefix}: its variables lie in {', '.join(others)} but those of {model.name} in {own.decode()}: "
            f"this checkpoint belongs to another model. Take the checkpoint of the model itself."
        )
