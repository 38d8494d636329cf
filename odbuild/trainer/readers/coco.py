"""COCO JSON: pictures, boxes in pixels, and categories by id, in one file or one for each side of a split.

The libraries that read it hold every annotation as an object, which takes many times the memory, take a box
without area, category or picture in silence or end with a KeyError, and cannot tell where the picture lies.
"""

import os
import re
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

from ..dataset import Box, Dataset, Picture, SplitName
from ..errors import OdbuildError
from ..findings import Finding, Rule, place, quote
from ..packed import pack
from . import plain, strict
from .files import Files, folders
from .reading import (
    FAR,
    UNKNOWN,
    Reading,
    begin,
    dropped,
    far,
    finish,
    note_background,
    over,
    require_inside,
    usable_file,
)
from .sizes import measured
from .strict import kind, shown

NAME = "_annotations.coco.json"
"""The file that Roboflow writes into the folder of each side."""

HOLDS = "JSON of COCO, right there or in annotations"
"""What a folder of this format holds, for messages."""

_SPLITS: Mapping[str, SplitName] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
_SIDE = re.compile(rf"(?<![a-z])(({'|'.join(sorted(_SPLITS, reverse=True))})[0-9]*)(?![a-z])")

_COCO = re.compile(r'"(?:image_id"\s*:|categories"\s*:\s*\[)')
"""What some part at either end of the file holds, in whichever order its members stand."""

_NOTES, _LISTED = "notes.json", re.compile(r'"(?:images|annotations)"\s*:')
"""A file that Label Studio writes beside labels of YOLO has categories, but nothing of this."""

_LISTS = "the lists categories, images and annotations"

_CATEGORY = Rule("ANN001", "error", 'a category is not {"id", "name"}', "export the file again")
_IMAGE = Rule("ANN001", "error", 'a picture is not {"id", "file_name"}', "export the file again")
_ANNOTATION = Rule(
    "ANN001", "error", 'an annotation is not {"image_id", "category_id", "bbox"}', "export the file again"
)
_NO_BOX = Rule(
    "ANN001", "error", "an annotation has no bbox of four numbers", "give [left, top, width, height] in pixels"
)
_LOST = Rule("ANN001", "warning", "an annotation belongs to no picture, so it was left out", "delete it")
_TWICE = Rule("ANN006", "error", "an id stands twice, so what refers to it is not known", "give each its own id")
_REPEATED = Rule("ANN006", "warning", "a picture or category is listed twice, word for word", "list it once")
_SAME_ID = Rule("ANN006", "warning", "two annotations have the same id", "give each its own id")
_AGAIN = Rule("ANN006", "warning", "a picture is listed twice; its boxes were put together", "list it once")
_TWO_SIDES = Rule("SPL402", "error", "a picture is on two sides of the split", "leave it on one")
_SEVERAL = Rule(
    "ANN002", "warning", "the name of a picture leads to several files; the first was taken", "keep one of them"
)
_NO_CATEGORY = Rule("LBL301", "error", "an annotation names a category that is not declared", "declare it")
_NO_SIZE = Rule(
    "IMG104",
    "error",
    "the size of a picture is not recorded, and cannot be told from its file",
    "record its width and height",
)
_UNREAD = Rule("ANN001", "info", "a file of annotations holds no boxes of its own, so it was not read")


_Id = int | float | str
_IDS = (int, float, str)
_SIDES = (int, float, str)

LONGEST_SIDE = 1 << 24
"""Pixels; a side beyond this is no picture's."""

MOST_FILES = 100
"""Files of JSON in a folder beyond which they are of a format with one for each picture."""


@dataclass(kw_only=True, slots=True)
class _File:
    """One file of JSON; pictures and categories have numbers in the order in which their ids were first met.

    Attributes:
        source: its path below the root.
        images: numbers of pictures by id.
        names: file names by number; empty where only annotations told of the picture.
        sizes: width and height by number; None where they are not recorded.
        shapes: each size once.
        categories: numbers of categories by id.
        labels: names by number; empty where only annotations told of the category.
        declared: names in the order of the list of categories.
        above: what categories name as their supercategory.
        owners: number of the picture, for each annotation.
        classes: number of the category, for each annotation.
        crowds: 1 where it stands for a group, for each annotation.
        edges: left, top, width and height in pixels, for each annotation.
        positions: where it stands in the list, for each annotation.
        ids: those of annotations that are whole numbers.
    """

    source: str
    images: dict[_Id, int] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    sizes: list[tuple[int, int] | None] = field(default_factory=list)
    shapes: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    categories: dict[_Id, int] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    declared: list[str] = field(default_factory=list)
    above: set[str] = field(default_factory=set)
    owners: "array[int]" = field(default_factory=lambda: array("I"))
    classes: "array[int]" = field(default_factory=lambda: array("I"))
    crowds: bytearray = field(default_factory=bytearray)
    edges: "array[float]" = field(default_factory=lambda: array("d"))
    positions: "array[int]" = field(default_factory=lambda: array("I"))
    ids: "array[int]" = field(default_factory=lambda: array("q"))


@dataclass(kw_only=True, slots=True)
class _Classes:
    """Names of the categories of all files: in their order, those that have a box, and those above others."""

    names: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    above: set[str] = field(default_factory=set)

    def add(self, file: _File) -> None:
        known = set(self.names)
        self.names += [name for name in file.declared if name not in known]
        self.used.update(file.labels[number] for number in set(file.classes))
        self.above |= file.above

    def declared(self) -> list[str]:
        """Return the classes; some tools list a name only to say that it stands above the others."""
        return [name for name in self.names if name in self.used or name not in self.above]


def recognise(files: Files) -> bool:
    """Say whether the folder holds COCO JSON."""
    return bool(_sources(files.root)[0])


def read(root: Path, *, upright: bool = False) -> tuple[Dataset, list[Finding]]:
    """Read the annotations below a folder and look for each picture's file.

    Raises:
        OdbuildError: a file cannot be read as COCO JSON at all.
    """
    reading = begin(Files(root), upright=upright)
    sources, others = _sources(root)
    if not sources:
        raise OdbuildError(f"{root} holds no COCO JSON: no file of JSON with {_LISTS}.")
    reading.sources += sources
    reading.findings += [_UNREAD.at(name) for name in others]
    classes = _Classes()
    pictures = pack(picture for source in sources for picture in _pictures(reading, classes, source)).by_key()
    if any(one == other for one, other in pairwise(pictures.keys())):
        pictures = pack(_merged(reading, pictures))
    lost = sum(change.what == "picture" and change.action == "dropped" for change in reading.ledger)
    return finish(reading, "coco", classes.declared(), pictures, len(pictures) + lost)


def _sources(root: Path) -> tuple[list[str], list[str]]:
    """Return the files of COCO JSON to read, below the root, and those that only tell of the same pictures."""
    found = _coco(root, _json(root, "annotations/"))
    boxes = [name for name in found if name.startswith("annotations/instances")]
    if boxes:
        return boxes, [name for name in found if name not in boxes]
    found = found or _coco(root, [NAME, *(f"{folder}/{NAME}" for folder in folders(root))])
    return found or _coco(root, _json(root, "")), []


def _json(root: Path, folder: str) -> list[str]:
    """Return the JSON files right in a folder, unless there are so many that each is of one picture."""
    try:
        with os.scandir(root / folder) as entries:
            names = sorted(f"{folder}{entry.name}" for entry in entries if entry.name.endswith(".json"))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return names if len(names) <= MOST_FILES else []


def _coco(root: Path, names: Iterable[str]) -> list[str]:
    return [name for name in names if (root / name).is_file() and _is_coco(name, strict.ends(root / name))]


def _is_coco(name: str, ends: str) -> bool:
    return bool(_COCO.search(ends) and (name != _NOTES or _LISTED.search(ends)))


def _pictures(reading: Reading, classes: _Classes, source: str) -> Iterator[Picture]:
    """Yield the pictures of one file of JSON that have a file of their own."""
    file = _parse(reading, source)
    classes.add(file)
    for one, other in pairwise(sorted(file.ids)):
        if one == other:
            reading.findings.append(_SAME_ID.at(quote(source), str(one)))
    split, places = _side(reading, source)
    rows = array("I", sorted(range(len(file.owners)), key=file.owners.__getitem__))
    file.sizes += [None] * (len(file.names) - len(file.sizes))
    last = 0
    for number, name in enumerate(file.names):
        first = last
        while last < len(rows) and file.owners[rows[last]] == number:
            last += 1
        if not name:
            _note_lost(reading, file, rows[first:last])
            continue
        key = _key(reading, places, name)
        size = file.sizes[number] if reading.files.has(key) else UNKNOWN
        if size is None and first < last:
            size = measured(reading, key)
        boxes = tuple(_boxes(reading, file, key, rows[first:last], size))
        if usable_file(reading, key, boxes):
            picture = Picture(key=key, boxes=boxes, split=split, size=size)
            note_background(reading, picture)
            yield picture


def _parse(reading: Reading, source: str) -> _File:
    """Read one file of JSON, its lists in whichever order they stand."""
    file = _File(source=source)
    take = {"categories": _take_category, "images": _take_image, "annotations": _take_annotation}
    missing = list(take)
    require_inside(reading, source)
    path = reading.root / source
    with strict.opened(path) as document:
        if document.peek() != "{":
            raise OdbuildError(f"{path} is {kind(document.value())}; expected an object with {_LISTS}.")
        for name in document.members():
            if name not in take:
                document.skip()
                continue
            if document.peek() != "[":
                raise OdbuildError(f"{path}: {name} is {kind(document.value())}; expected a list.")
            missing.remove(name)
            for position, entry in enumerate(document.items()):
                take[name](reading, file, position, entry if isinstance(entry, dict) else {})
        document.end()
    # A million ids take a hundred megabytes, and all is by number now.
    file.images.clear()
    if missing:
        raise OdbuildError(f"{path} has no {' and no '.join(missing)}; expected {_LISTS}.")
    return file


def _take_category(reading: Reading, file: _File, position: int, entry: Mapping[str, Any]) -> None:
    name, identity, above = entry.get("name"), entry.get("id"), entry.get("supercategory")
    where = _at(file, "categories", position)
    if not reading.knows(name) or type(identity) not in _IDS:
        reading.findings.append(_CATEGORY.at(where, shown(name)))
        return
    number = _numbered(file.categories, identity, file.labels)
    if file.labels[number] == name:
        reading.findings.append(_REPEATED.at(where, shown(identity)))
    elif file.labels[number]:
        reading.findings.append(_TWICE.at(where, shown(identity)))
    else:
        file.labels[number] = name
        file.declared.append(name)
    if isinstance(above, str) and above != name:
        file.above.add(above)


def _take_image(reading: Reading, file: _File, position: int, entry: Mapping[str, Any]) -> None:
    name, identity = entry.get("file_name"), entry.get("id")
    if type(name) is not str or not name or type(identity) not in _IDS:
        reading.findings.append(_IMAGE.at(_at(file, "images", position), shown(name)))
        return
    number = _numbered(file.images, identity, file.names)
    if file.names[number] == name:
        reading.findings.append(_REPEATED.at(_at(file, "images", position), shown(identity)))
        return
    if file.names[number]:
        where = _at(file, "images", position)
        reading.findings.append(_TWICE.at(where, shown(identity)))
        reading.ledger.append(dropped("picture", where, _TWICE.code, quote(name)))
        return
    file.names[number] = name
    width, height = _pixels(entry.get("width")), _pixels(entry.get("height"))
    if width is not None and height is not None:
        file.sizes += [None] * (number + 1 - len(file.sizes))
        file.sizes[number] = file.shapes.setdefault((width, height), (width, height))


def _take_annotation(reading: Reading, file: _File, position: int, entry: Mapping[str, Any]) -> None:
    image, category, edges = entry.get("image_id"), entry.get("category_id"), entry.get("bbox")
    if type(image) not in _IDS or type(category) not in _IDS:
        reading.drawn += 1
        _lose(reading, _ANNOTATION, _at(file, "annotations", position), "")
        return
    if type(edges) is not list or len(edges) != 4 or not all(type(edge) in (float, int) for edge in edges):
        reading.drawn += 1
        _lose(reading, _NO_BOX, _at(file, "annotations", position), shown(edges))
        return
    reading.drawn += 1
    file.owners.append(_numbered(file.images, image, file.names))
    file.classes.append(_numbered(file.categories, category, file.labels))
    file.crowds.append(entry.get("iscrowd") == 1)
    file.edges.extend(edges)
    file.positions.append(position)
    identity = entry.get("id")
    if type(identity) is int and abs(identity) < 1 << 63:
        file.ids.append(identity)


def _numbered(numbers: dict[_Id, int], identity: Any, names: list[str]) -> int:
    """Return the number of an id; the next one, as yet without a name, where it is new."""
    number = numbers.setdefault(identity, len(names))
    if number == len(names):
        names.append("")
    return number


def _pixels(value: object) -> int | None:
    """Return a side in pixels, also one that is spelled as 640.0 or as a text; None where it is none."""
    found = plain.whole(value if isinstance(value, str) else str(value)) if type(value) in _SIDES else None
    return found if found is not None and 0 < found <= LONGEST_SIDE else None


def _side(reading: Reading, source: str) -> tuple[SplitName, list[str]]:
    """Return the split that a file's name or folder tells, and the folders in which its pictures may lie."""
    folder, _, name = source.rpartition("/")
    match = _SIDE.search(name.casefold()) or _SIDE.search(folder.casefold())
    sides = [match[1], match[2]] if match else []
    beside = [] if folder == "annotations" else [f"{folder}/" if folder else ""]
    names = [*beside, "", *(f"{base}{side}/" for base in ("", "images/") for side in sides), "images/", "data/"]
    there = [one for one in dict.fromkeys(names) if not one or reading.files.has_folder(one[:-1])]
    return _SPLITS[match[2]] if match else "", there


def _key(reading: Reading, places: Sequence[str], name: str) -> str:
    """Return the path below the root at which the picture lies, or would be looked for first."""
    name = name.removeprefix("./")
    found = [key for key in (folder + name for folder in places) if reading.files.has(key)]
    if len(found) > 1:
        reading.findings.append(_SEVERAL.at(place(found[0]), f"also {quote(found[1])}"))
    return found[0] if found else places[0] + name


def _boxes(
    reading: Reading, file: _File, key: str, rows: Sequence[int], size: tuple[int, int] | None
) -> Iterator[Box]:
    """Yield the boxes of one picture as fractions of its size."""
    for index, row in enumerate(rows):
        label = file.labels[file.classes[row]]
        edges = file.edges[4 * row : 4 * row + 4]
        if not label:
            where = _at(file, "annotations", file.positions[row])
            _lose(reading, _NO_CATEGORY, place(key, index), where)
        elif size is None:
            _lose(reading, _NO_SIZE, place(key, index), quote(label))
        else:
            left, top, width, height = edges
            corners = (left, top, left + width, top + height)
            odd = far(corners, size, label)
            if odd:
                _lose(reading, FAR, place(key, index), odd)
            else:
                yield over(size, corners, label, index, crowd=bool(file.crowds[row]))


def _lose(reading: Reading, rule: Rule, where: str, value: str) -> None:
    reading.findings.append(rule.at(where, value))
    reading.ledger.append(dropped("box", where, rule.code, value))


def _note_lost(reading: Reading, file: _File, rows: Iterable[int]) -> None:
    """Book the annotations of a picture that is not listed."""
    for row in rows:
        where = _at(file, "annotations", file.positions[row])
        _lose(reading, _LOST, where, quote(file.labels[file.classes[row]]))


def _merged(reading: Reading, pictures: Iterable[Picture]) -> Iterator[Picture]:
    """Yield each picture once, with the boxes of all its listings."""
    for key, found in groupby(pictures, key=lambda picture: picture.key):
        first, *others = found
        for other in others:
            if other.split == first.split:
                reading.findings.append(_AGAIN.at(place(key)))
            else:
                reading.findings.append(_TWO_SIDES.at(place(key), f"{first.split}, {other.split}"))
        boxes = (box for one in (first, *others) for box in one.boxes)
        yield replace(first, boxes=tuple(replace(box, index=index) for index, box in enumerate(boxes)))


def _at(file: _File, name: str, position: int) -> str:
    return f"{quote(file.source)} {name}[{position}]"
