"""TFRecords of the Object Detection API, of any writer: shards, and the label map beside them."""

import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ..dataset import Box, Dataset, Picture, Span
from ..errors import OdbuildError
from ..findings import Finding, Rule, quote
from ..images import sniff
from ..labels import Item, from_pbtxt
from ..mend import NOT_FINITE
from ..packed import pack
from . import framing, layout, plain, strict, wire
from .files import Files
from .reading import (
    PIXELS,
    Reading,
    begin,
    book_box,
    finish,
    is_fraction,
    lose_box,
    lose_picture,
    note_background,
    require_inside,
    usable_label,
)

HOLDS = "files of records, such as train.tfrecord or train.record-00000-of-00010, and a label map (.pbtxt)"
"""What a folder of this format holds, for messages."""

INDEX = "index.json"
"""The file in which a conversion of this program counts its records."""

_SHARD = re.compile(r".*(\.(tf_?)?rec(ord)?s?([-_.]\d+([-_]of[-_]\d+)?)?|-\d{5}-of-\d{5})", re.IGNORECASE)
_NUMBERED = re.compile(r"(.*)-(\d{5})-of-(\d{5})(.*)")

_EDGES = ("ymin", "xmin", "ymax", "xmax")
_MARKS = ("difficult", "is_crowd", "group_of")

FEATURES = {
    "image/filename": "bytes",
    "image/source_id": "bytes",
    "image/width": "int64",
    "image/height": "int64",
    **{f"image/object/bbox/{edge}": "float" for edge in _EDGES},
    "image/object/class/text": "bytes",
    "image/object/class/label": "int64",
    **{f"image/object/{mark}": "int64" for mark in _MARKS},
}
"""The features that are read, and what their lists hold."""

_MOST_LABELS = 1 << 24
"""Bytes of a label map that are still read: a hundred thousand classes."""

_MOST_NAME, _MOST_PART = 1000, 200
"""Characters of a path, and bytes of a name in it, beyond which some disk would not take it as a file's."""

_SUFFIXES = {"jpeg": ".jpg", "png": ".png", "gif": ".gif", "webp": ".webp", "bmp": ".bmp", "tiff": ".tif"}

_DAMAGED = Rule("REC501", "error", "a record is damaged", "copy the file again, or make it again")
_EMPTY = Rule("REC501", "warning", "a file of records is empty", "delete it, or make it again")
_COUNT = Rule("REC501", "error", "a file does not hold the records that the index counts", "copy it again")
_EXTRA = Rule(
    "REC501", "error", "a file of records is not one that the index lists", "remove it, or convert again"
)
_INCOMPLETE = Rule("REC502", "error", "a set of shards is not complete", "copy the missing ones, too")
_NO_EXAMPLE = Rule("REC503", "error", "a record is no picture of the Object Detection API", "make it again")
_UNREAD = Rule("REC503", "info", "records hold features of objects that are not read")
_RAGGED = Rule("REC504", "error", "the box features of a record differ in length", "make it again")
_NO_NAME = Rule("LBL301", "error", "a class number has no name", "put the label map (.pbtxt) beside the records")
_CONTRARY = Rule(
    "REC505",
    "warning",
    "a class's number and its text do not agree in the label map; the text was taken, as upstream does",
    "make the records again",
)
_NAMED = Rule("REC507", "warning", "a record's file name is missing, repeated, or no plain path; it was changed")


@dataclass(kw_only=True, slots=True)
class _Records:
    """A reading of records on its way.

    Attributes:
        reading: the common part.
        items: the label map's, by number.
        texts: what each name in the label map is for people.
        taken: how often each key was asked for.
        unread: features of objects that no box can carry.
        keys: pictures so far, kept or not.
    """

    reading: Reading
    items: Mapping[int, Item]
    texts: Mapping[str, str]
    taken: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    unread: set[str] = field(default_factory=set)
    keys: int = 0


def recognise(files: Files) -> bool:
    """Say whether a file lies where those of records lie by custom that is named so, or begins as they do."""
    return any(
        "record" in PurePosixPath(key).name.lower()
        or (files.problem(key) is None and framing.begins(files.root / key))
        for key in _shards(files)
    )


def read(root: Path, *, upright: bool = False) -> tuple[Dataset, list[Finding]]:
    """Read all shards that lie where they lie by custom; every checksum is checked and no picture is decoded.

    Raises:
        OdbuildError: a label map cannot be read, two contradict each other, or a file is a link out of the folder.
    """
    reading = begin(Files(root), upright=upright)
    shards = sorted(_shards(reading.files))
    for shard in shards:
        require_inside(reading, shard)
    items = _label_map(reading)
    records = _Records(
        reading=reading,
        items={item.id or 0: item for item in items},
        texts={text: item.display for item in items for text in (item.name, item.display) if text},
    )
    counts = _counts(reading)
    _complete(reading, shards, counts)
    pictures = pack(picture for shard in shards for picture in _pictures(records, shard, counts.get(shard)))
    reading.findings += [_UNREAD.at(quote(key)[1:-1]) for key in sorted(records.unread)]
    return finish(reading, "tfrecord", [item.display for item in items], pictures, records.keys)


def _shards(files: Files) -> Iterator[str]:
    """Yield the files that are named as those of records, links out of the folder among them."""
    for home in layout.homes(files):
        for name in files.names(home):
            key = layout.join(home, name)
            if _SHARD.fullmatch(name) and not name.startswith(".") and (files.root / key).is_file():
                yield key


def _label_map(reading: Reading) -> tuple[Item, ...]:
    """Return the one label map that lies where shards lie, in as many equal copies as there may be."""
    found: dict[str, tuple[Item, ...]] = {}
    files = reading.files
    keys = (layout.join(home, name) for home in layout.homes(reading.files) for name in sorted(files.names(home)))
    for key in keys:
        if key.endswith(".pbtxt"):
            require_inside(reading, key)
            text = plain.text(reading.root / key, _MOST_LABELS)
            try:
                found[key] = from_pbtxt(text)
            except OdbuildError as error:
                raise OdbuildError(f"{reading.root / key} cannot be read: {error}. Mend or remove it.") from error
    reading.sources += found
    if len(set(found.values())) > 1:
        raise OdbuildError(f"{reading.root} holds label maps that contradict each other: {', '.join(found)}.")
    return next(iter(found.values()), ())


def _counts(reading: Reading) -> dict[str, int]:
    """Return how many records each shard should hold, by the index that a conversion of this program leaves."""
    if reading.files.problem(INDEX) is not None:
        return {}
    index = strict.load(reading.root / INDEX)
    sides = [index.get(side) for side in ("train", "validation", "test")] if isinstance(index, dict) else []
    lists = [side.get("shards") for side in sides if isinstance(side, dict)]
    shards = [shard for each in lists if isinstance(each, list) for shard in each]
    listed = [shard for shard in shards if isinstance(shard, dict)]
    reading.sources.append(INDEX)
    return {str(shard.get("name")): count for shard in listed if isinstance(count := shard.get("count"), int)}


def _complete(reading: Reading, shards: Sequence[str], counts: Mapping[str, int]) -> None:
    """Find sets of shards that lack some, by their numbers or by the index."""
    sets: defaultdict[tuple[str, str, str], set[int]] = defaultdict(set)
    for shard in shards:
        match = _NUMBERED.fullmatch(shard)
        if match:
            sets[match[1], match[3], match[4]].add(int(match[2]))
    for (before, total, after), numbers in sorted(sets.items()):
        lost = sorted(set(range(int(total))) - numbers)
        if lost:
            name = f"{before}-{lost[0]:05d}-of-{total}{after}"
            reading.findings.append(_INCOMPLETE.at(quote(name), f"{len(lost)} of {int(total)} are missing"))
    for shard in sorted(set(counts) - set(shards)):
        reading.findings.append(_INCOMPLETE.at(quote(shard), "the index names it"))
    for shard in sorted(set(shards) - set(counts)) if counts else ():
        reading.findings.append(_EXTRA.at(quote(shard)))


def _pictures(records: _Records, shard: str, count: int | None) -> Iterator[Picture]:
    """Yield the pictures of one shard."""
    reading = records.reading
    reading.sources.append(shard)
    number = 0
    for number, (offset, record, problem) in enumerate(_scanned(reading, shard), 1):
        records.keys += 1
        where = f"{quote(shard)[1:-1]}, record {number - 1}"
        picture = _DAMAGED.at(where, problem) if problem else _picture(records, shard, where, offset, record)
        if isinstance(picture, Finding):
            if problem and not record:
                reading.unread.append(picture)
            lose_picture(reading, where, picture, (), "a record that cannot be read")
        else:
            note_background(reading, picture)
            yield picture
    if not number:
        reading.findings.append(_EMPTY.at(quote(shard)))
    if count is not None and count != number:
        reading.findings.append(_COUNT.at(quote(shard), f"{number:,} instead of {count:,}"))


def _scanned(reading: Reading, shard: str) -> Iterator[tuple[int, memoryview, str]]:
    try:
        yield from framing.scan(reading.root / shard)
    except OSError as error:
        raise OdbuildError(f"{reading.root / shard} cannot be read: {error.strerror}.") from error


def _picture(records: _Records, shard: str, where: str, offset: int, record: memoryview) -> Picture | Finding:
    """Return the picture of a record that begins at that byte of the shard, or why there is none."""
    try:
        features, span = wire.features(record)
        values = {key: _values(features, key, kind) for key, kind in FEATURES.items()}
        texts = [_decoded(text) for text in values["image/object/class/text"]]
        name = _decoded(next(filter(None, (*values["image/filename"], *values["image/source_id"])), b""))
    except wire.WireError as error:
        return _NO_EXAMPLE.at(where, str(error))
    if span is None:
        return _NO_EXAMPLE.at(where, "it has no one image/encoded with bytes in it")
    records.unread.update(key for key in features if key.startswith("image/object/") and key not in FEATURES)
    start, end = span
    key = _key(records, name, where, sniff(bytes(record[start : start + 16])))
    width, height = (next(iter(values[f"image/{side}"]), 0) for side in ("width", "height"))
    return Picture(
        key=key,
        boxes=tuple(_boxes(records, key, where, texts, values)),
        split=layout.side(PurePosixPath(shard).name) or layout.side_of_path(shard),
        size=(width, height) if width > 0 and height > 0 else None,
        span=Span(file=shard, offset=offset + start, length=end - start),
    )


def _values(features: Mapping[str, Any], key: str, kind: str) -> Sequence[Any]:
    """Return the values of a feature, none where it is absent.

    Raises:
        WireError: they are of another kind.
    """
    feature = features.get(key)
    given = feature.WhichOneof("kind") if feature is not None else None
    if given is None:
        return ()
    if given != f"{kind}_list":
        raise wire.WireError(f"{key} is a {given}; expected a {kind}_list")
    values: Sequence[Any] = getattr(feature, given).value
    return values


def _key(records: _Records, given: str, where: str, kind: str) -> str:
    """Return a key that is unique and a plain path with a picture's ending, as near to the record's as can be.

    Args:
        records: knows the keys so far.
        given: the record's name.
        where: the record.
        kind: format of the picture.
    """
    printable = "".join("_" if unicodedata.category(letter) == "Cc" else letter for letter in given)
    parts = [part for part in printable.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    path = "/".join(parts)
    if not path or len(path) > _MOST_NAME or max(len(part.encode()) for part in parts) > _MOST_PART:
        path = re.sub(r"\W+", "-", where)
    wanted = path if layout.is_picture(path) else path + _SUFFIXES.get(kind, ".jpg")
    key = wanted
    stem, _, ending = wanted.rpartition(".")
    while key in records.taken:
        records.taken[wanted] += 1
        key = f"{stem}-{records.taken[wanted]}.{ending}"
    records.taken[key] = 1
    if path != given or key != wanted:
        records.reading.findings.append(_NAMED.at(where, f"{quote(given)} became {quote(key)}"))
    return key


def _decoded(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise wire.WireError(f"it holds a name that is not UTF-8: {name[:40]!r}") from error


def _boxes(
    records: _Records, key: str, where: str, texts: Sequence[str], values: Mapping[str, Sequence[Any]]
) -> Iterator[Box]:
    """Yield the boxes of a record; those that are none are booked."""
    reading = records.reading
    columns = [values[f"image/object/bbox/{edge}"] for edge in _EDGES]
    numbers = values["image/object/class/label"]
    marks = [values[f"image/object/{name}"] for name in _MARKS]
    count = len(columns[0])
    lengths = {len(values) for values in (texts, numbers, *marks)}
    if {*map(len, columns)} != {count} or lengths - {0, count} or (count and not texts and not numbers):
        _lose_all(reading, key, where, [*columns, texts, numbers, *marks])
        return
    for index, edges in enumerate(zip(*columns, strict=True)):
        spot = f"{where}, box {index}"
        label = _label(records, spot, texts[index : index + 1], numbers[index : index + 1])
        problem = label if isinstance(label, Finding) else _odd(edges, spot)
        if problem is not None:
            lose_box(reading, key, index, problem)
        elif not usable_label(reading, spot, label):
            book_box(reading, key, index, "LBL305", '""')
        else:
            reading.drawn += 1
            ymin, xmin, ymax, xmax = edges
            difficult, crowd, group = (bool(mark and mark[index]) for mark in marks)
            yield Box(
                label=str(label),
                ymin=ymin,
                xmin=xmin,
                ymax=ymax,
                xmax=xmax,
                index=index,
                difficult=difficult,
                crowd=crowd or group,
            )


def _lose_all(reading: Reading, key: str, where: str, lists: Sequence[Sequence[Any]]) -> None:
    names = (*_EDGES, "text", "label", *_MARKS)
    shown = ", ".join(f"{name} {len(values)}" for name, values in zip(names, lists, strict=True) if values)
    reading.findings.append(_RAGGED.at(where, shown))
    for index in range(max(map(len, lists))):
        book_box(reading, key, index, _RAGGED.code, shown)


def _label(records: _Records, spot: str, text: Sequence[str], number: Sequence[int]) -> str | Finding:
    """Return a box's class: its text, or else what the label map calls its number."""
    item = records.items.get(number[0]) if number else None
    if not text:
        return _NO_NAME.at(spot, str(number[0])) if item is None else item.display
    name = records.texts.get(text[0], text[0])
    if name and number and records.items and (item is None or item.display != name):
        told = "nothing" if item is None else quote(item.display)
        records.reading.findings.append(_CONTRARY.at(spot, f"{quote(text[0])}, but {number[0]} is {told}"))
    return name


def _odd(edges: Sequence[float], spot: str) -> Finding | None:
    """Return what keeps edges from being fractions of a picture."""
    shown = ", ".join(f"{name}={edge:.6g}" for name, edge in zip(_EDGES, edges, strict=True))
    if not all(map(math.isfinite, edges)):
        return NOT_FINITE.at(spot, shown)
    return PIXELS.at(spot, shown) if not all(map(is_fraction, edges)) else None
