"""A finished conversion: what it holds, and the `index.json` that says so."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from . import records
from .errors import OdbuildError
from .findings import Finding
from .policies import Policies

LABEL_MAP, LEDGER, INDEX = "label_map.pbtxt", "ledger.jsonl", "index.json"

SIDES = ("train", "validation", "test")

KEYS = {side: f"{side}.txt" for side in SIDES}
"""The file of each side that names its pictures, one a line."""

_FILES = (LABEL_MAP, LEDGER, *KEYS.values())

FORMAT = 2

_OWN = {"format", "labels", "train", "validation", "test", "max_boxes", "files", "digest"}
"""Members of an index; half of them tell it, also a damaged one, from a file of that name of another program."""

_T = TypeVar("_T", int, str)


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One side of the split.

    Attributes:
        shards: its files in order.
        pictures: pictures in them.
        background: those of them without a box.
        boxes: boxes in them.
        classes: boxes of each label, in the order of the labels; 0 where the side lacks one.
    """

    shards: tuple[records.Shard, ...]
    pictures: int
    background: int
    boxes: int
    classes: Mapping[str, int]

    @property
    def pattern(self) -> str:
        """The file pattern of exactly these shards."""
        return records.pattern(self.shards)


@dataclass(frozen=True, kw_only=True, slots=True)
class SmallestBox:
    """The box that covers the least of its picture; sides in pixels of the picture as written."""

    key: str
    index: int
    label: str
    width: float
    height: float
    share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """The extremes of the pictures as written, in pixels."""

    min_width: int
    max_width: int
    min_height: int
    max_height: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Converted:
    """A finished conversion.

    Attributes:
        folder: holds the shards, the label map, the ledger, the keys of each side and the index.
        labels: in the order of their ids, which begin at 1.
        train: what trains.
        validation: what validates.
        test: what the source keeps for a test; empty unless its own sides are used.
        max_boxes: most boxes in one picture.
        smallest_box: of both sides.
        sizes: of both sides.
        ledger: lines of the ledger by action and thing, such as `{"dropped box": 2}`.
        digest: SHA-256 that names this data: equal for equal output, wherever it lies and however it was checked.
        findings: warnings and notes; not kept in the index.
    """

    folder: Path
    labels: tuple[str, ...]
    train: Side
    validation: Side
    test: Side
    max_boxes: int
    smallest_box: SmallestBox
    sizes: Sizes
    ledger: Mapping[str, int]
    digest: str = ""
    findings: tuple[Finding, ...] = field(default=(), compare=False)

    @property
    def label_map(self) -> Path:
        """The label map's file."""
        return self.folder / LABEL_MAP


def save(converted: Converted, policies: Policies) -> Converted:
    """Write the index into the conversion's folder, and return the conversion with its digest.

    Args:
        converted: its digest not yet known.
        policies: what it was made by; they stand in the index but not in the digest.
    """
    data: dict[str, Any] = {
        "format": FORMAT,
        "labels": converted.labels,
        "train": _side_index(converted.train),
        "validation": _side_index(converted.validation),
        "test": _side_index(converted.test),
        "max_boxes": converted.max_boxes,
        "smallest_box": asdict(converted.smallest_box),
        "sizes": asdict(converted.sizes),
        "ledger": converted.ledger,
        "files": {name: _sha256(converted.folder / name) for name in _FILES},
    }
    digest = _digest(data)
    text = json.dumps({**data, "policies": asdict(policies), "digest": digest}, indent=2, sort_keys=True)
    (converted.folder / INDEX).write_text(text + "\n", encoding="ascii")
    return replace(converted, digest=digest)


def load(folder: Path) -> Converted:
    """Read the index of a finished conversion.

    Raises:
        OdbuildError: there is none, or it was made by another version.
    """
    index = _read(folder)
    try:
        return Converted(
            folder=folder,
            labels=tuple(_of(str, label) for label in index["labels"]),
            train=_side_from(index["train"], folder),
            validation=_side_from(index["validation"], folder),
            test=_side_from(index["test"], folder),
            max_boxes=_of(int, index["max_boxes"]),
            smallest_box=SmallestBox(**index["smallest_box"]),
            sizes=Sizes(**index["sizes"]),
            ledger=index["ledger"],
            digest=_of(str, index["digest"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise OdbuildError(f"{folder / INDEX} is damaged ({error!r}). Convert again.") from error


def lies_in(folder: Path) -> bool:
    """Say whether there is an index that a conversion wrote, whole or damaged."""
    try:
        index = json.loads((folder / INDEX).read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(index, dict) and 2 * len(_OWN & index.keys()) >= len(_OWN)


def verify(converted: Converted) -> None:
    """Read a finished conversion back, and compare it with its index.

    Raises:
        OdbuildError: a shard or another file is not as it was written.
    """
    for side in (converted.train, converted.validation, converted.test):
        for shard in side.shards:
            if not shard.path.is_file():
                raise OdbuildError(f"{shard.path} is missing. Convert again.")
            records.verify(shard)
    for path, _ in changed(converted):
        raise OdbuildError(f"{path} is not as it was written. Convert again.")


def changed(converted: Converted) -> Iterator[tuple[Path, str]]:
    """Compare every file of a finished conversion, and the index itself, with what the index says.

    Yields:
        The path of each that is not as it was written, and how it differs; a shard that is not there is left out.
    """
    index = _read(converted.folder)
    if _digest(index) != converted.digest:
        yield converted.folder / INDEX, "its digest is not that of what it says"
    for side in (converted.train, converted.validation, converted.test):
        for shard in side.shards:
            if shard.path.is_file():
                yield from _differing(shard.path, shard.sha256, shard.bytes)
    files = index.get("files")
    for name in _FILES:
        path = converted.folder / name
        if not path.is_file():
            yield path, "it is missing"
        else:
            yield from _differing(path, files.get(name) if isinstance(files, dict) else None)


def _differing(path: Path, sha256: object, size: int | None = None) -> Iterator[tuple[Path, str]]:
    seen = path.stat().st_size
    if size is not None and seen != size:
        yield path, f"it has {seen:,} bytes instead of {size:,}"
    elif (digest := _sha256(path)) != sha256:
        yield path, f"its sha256 is {digest[:16]}... instead of {str(sha256)[:16]}..."


def moved(converted: Converted, folder: Path) -> Converted:
    """Return the conversion as it stands in another folder."""
    return replace(
        converted,
        folder=folder,
        train=_side_at(converted.train, folder),
        validation=_side_at(converted.validation, folder),
        test=_side_at(converted.test, folder),
    )


def _read(folder: Path) -> dict[str, Any]:
    path = folder / INDEX
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OdbuildError(f"{folder} is no finished conversion: {path} cannot be read ({error}).") from error
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        raise OdbuildError(f"{path} was made by another version of this program. Convert again.")
    return index


def _digest(index: Mapping[str, Any]) -> str:
    """Return the SHA-256 of all that an index says but by what policies, which do not change what the data are."""
    data = {name: value for name, value in index.items() if name not in ("policies", "digest")}
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _side_index(side: Side) -> dict[str, Any]:
    shards = [
        {"name": shard.path.name, "count": shard.count, "bytes": shard.bytes, "sha256": shard.sha256}
        for shard in side.shards
    ]
    plain = {one.name: getattr(side, one.name) for one in fields(side)}
    return {**plain, "classes": [[label, count] for label, count in side.classes.items()], "shards": shards}


def _side_from(index: Mapping[str, Any], folder: Path) -> Side:
    return Side(
        shards=tuple(_shard_from(shard, folder) for shard in index["shards"]),
        pictures=_of(int, index["pictures"]),
        background=_of(int, index["background"]),
        boxes=_of(int, index["boxes"]),
        classes={_of(str, label): _of(int, count) for label, count in index["classes"]},
    )


def _shard_from(index: Mapping[str, Any], folder: Path) -> records.Shard:
    name = index["name"]
    if Path(name).name != name:
        raise ValueError(name)
    count, size, sha256 = _of(int, index["count"]), _of(int, index["bytes"]), _of(str, index["sha256"])
    return records.Shard(path=folder / name, count=count, bytes=size, sha256=sha256)


def _of(kind: type[_T], value: object) -> _T:
    if type(value) is not kind:
        raise TypeError(value)
    return value


def _side_at(side: Side, folder: Path) -> Side:
    return replace(side, shards=tuple(replace(shard, path=folder / shard.path.name) for shard in side.shards))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
