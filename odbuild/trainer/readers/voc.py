"""Pascal VOC: one XML file a picture, in `Annotations` or beside the pictures, as labelImg and many others write.

Edges are pixels. The challenge counts them from 1 and includes the last, most tools count from 0, and no file says
which. They are divided by the picture's size as they are, as upstream's `create_pascal_tf_record.py` does, so that
the boxes come out equal; what can be wrong is one pixel at most.
"""

import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ..dataset import Box, Dataset, Picture, SplitName
from ..errors import OdbuildError
from ..findings import Finding, Rule, place, quote
from ..packed import pack
from . import layout, plain
from .files import Files
from .markup import Element, MarkupError, load
from .plain import spot
from .reading import (
    FAR,
    UNKNOWN,
    Reading,
    begin,
    book_box,
    far,
    finish,
    lose_box,
    lose_picture,
    note_background,
    over,
    usable_label,
)
from .sizes import measured

HOLDS = "XML files of Pascal VOC, in Annotations or beside the pictures"
"""What a folder of this format holds, for messages."""

_EDGES = ("xmin", "ymin", "xmax", "ymax")

_TREES, _SHELVES = {"annotations", "xmls"}, {"jpegimages", "images"}
"""Folders, in lower case, that hold annotations only, and those that hold their pictures."""

_PEEK = 4096
"""Bytes of a file in which the tag of its outermost element must begin."""

_TAG = re.compile(rb"<annotation[\s>/]")

_BROKEN = Rule("ANN001", "error", "an annotation cannot be read", "mend the file, or export it again")
_FOREIGN = Rule("ANN001", "warning", "an XML file is no annotation of Pascal VOC, so it was not read")
_NO_BOX = Rule("ANN001", "error", f"an object has no bndbox with one each of {', '.join(_EDGES)}", "redraw it")
_NO_NUMBER = Rule("ANN007", "error", "a coordinate is not a number", "redraw the box")
_NO_SIZE = Rule(
    "IMG104",
    "error",
    "the size of a picture is not in its annotation and cannot be read from its file",
    "write width and height into the annotation, or save the picture again",
)
_TWICE = Rule("ANN006", "error", "a second file annotates the same picture", "delete one of the two")
_STALE = Rule(
    "ANN001",
    "warning",
    "an annotation names another picture than the one of its own name, which was taken",
    "correct the filename in it, or rename the file",
)
_LISTED = Rule("ANN002", "warning", "a list names a picture that has no annotation and no file", "delete the line")


@dataclass(kw_only=True, slots=True)
class _Voc:
    """A reading of Pascal VOC on its way.

    Attributes:
        reading: the common part.
        lists: sides of each name in ImageSets.
        stems: names of pictures in a folder by their name without ending, for each folder.
        places: folders in which the pictures of a folder's annotations may lie, for each folder.
        claimed: pictures that an annotation names.
        keys: pictures that the source names, as in `Dataset`.
    """

    reading: Reading
    lists: Mapping[str, set[SplitName]]
    stems: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    places: dict[str, list[str]] = field(default_factory=dict)
    claimed: set[str] = field(default_factory=set)
    keys: int = 0


def recognise(files: Files) -> bool:
    """Say whether XML of Pascal VOC lies where it lies by custom; the first file of each folder is looked at."""
    reading = begin(files)
    homes = (sorted(_xmls(reading, home)) for home in layout.homes(files))
    firsts = (next((key for key in keys if files.problem(key) is None), "") for keys in homes)
    return any(_is_voc(files.root / key) for key in firsts if key)


def read(root: Path, *, upright: bool = False) -> tuple[Dataset, list[Finding]]:
    """Read all XML files that lie where they lie by custom, and look for the picture of each.

    The picture of an annotation is the one that has its name, and only where there is none the one that its
    `filename` names: pictures and annotations are renamed together, and that element is forgotten.

    Raises:
        OdbuildError: a file may not be read.
    """
    reading = begin(Files(root), upright=upright)
    keys = sorted({key for home in layout.homes(reading.files) for key in _xmls(reading, home)})
    stems = {PurePosixPath(key).stem for key in keys}
    voc = _Voc(reading=reading, lists=_lists(reading, stems))
    pictures = pack(picture for key in keys for picture in _picture(voc, key))
    unnamed = layout.book_unnamed(reading, pictures, voc.claimed)
    voc.keys += len(unnamed)
    _book_listed(voc, stems.union(PurePosixPath(key).stem for key in unnamed))
    return finish(reading, "voc", (), pictures, voc.keys)


def _xmls(reading: Reading, home: str) -> Iterator[str]:
    """Yield the XML files of a folder, and of those in it where it holds nothing but annotations."""
    if home.rpartition("/")[2].casefold() in _TREES:
        found = layout.walk(reading, home)
    else:
        found = (layout.join(home, name) for name in reading.files.names(home))
    return (key for key in found if key.lower().endswith(".xml") and not key.rpartition("/")[2].startswith("."))


def _is_voc(path: Path) -> bool:
    with path.open("rb") as file:
        # In UTF-16, every other byte of the tag is zero.
        return bool(_TAG.search(file.read(_PEEK).replace(b"\0", b"")))


def _lists(reading: Reading, stems: Container[str]) -> dict[str, set[SplitName]]:
    """Return the sides that the lists in ImageSets give to each name.

    Args:
        reading: takes findings.
        stems: names of annotations, without ending.
    """
    sides: dict[str, set[SplitName]] = {}
    folders = ("ImageSets/Main", "ImageSets")
    folder = next((it for it in folders if any(name.endswith(".txt") for name in reading.files.names(it))), "")
    names = [name for name in reading.files.names(folder) if folder and name.removesuffix(".txt") in layout.SIDES]
    # What both trains and validates by one list has its side from the others, where they name it.
    for name in sorted(names, key="trainval.txt".__eq__):
        key = layout.join(folder, name)
        problem = reading.files.problem(key)
        if problem is not None:
            reading.findings.append(problem)
            continue
        reading.sources.append(key)
        for _, line in plain.lines(plain.text(reading.root / key)):
            given = sides.setdefault(_listed(line, stems), set())
            if name != "trainval.txt" or not given:
                given.add(layout.SIDES[name.removesuffix(".txt")])
    return sides


def _listed(line: str, stems: Container[str]) -> str:
    """Return the name that a line names: without folder and ending, and without a flag that is not part of it."""
    whole, plain_name = (_bare(name) for name in (line, re.sub(r"\s+(-1|0|1)$", "", line)))
    return whole if whole in stems else plain_name


def _bare(path: str) -> str:
    name = path.replace("\\", "/").rpartition("/")[2]
    stem, _, ending = name.rpartition(".")
    return stem if f".{ending}".lower() in {*layout.PICTURES, ".xml"} else name


def _book_listed(voc: _Voc, known: set[str]) -> None:
    """Book the pictures that are only in a list."""
    for name in sorted(set(voc.lists) - known):
        lose_picture(voc.reading, name, _LISTED.at(place(name)), (), "no annotation")
        voc.keys += 1


def _picture(voc: _Voc, key: str) -> Iterator[Picture]:
    """Yield the picture of one annotation, or none where it has none or is none."""
    tree = _tree(voc, key)
    if tree is None:
        return
    reading = voc.reading
    voc.keys += 1
    found = _find(voc, key, tree.word("filename"))
    recorded = _recorded(tree)
    problem = _TWICE.at(quote(key), quote(found)) if found in voc.claimed else reading.files.problem(found)
    voc.claimed.add(found)
    size = recorded or (measured(reading, found) if problem is None else None)
    if size is None and problem is None:
        problem = _NO_SIZE.at(quote(key), quote(found))
    boxes = tuple(_boxes(reading, key, found, tree, UNKNOWN if size is None or problem else size))
    if problem is not None:
        lose_picture(reading, found, problem, boxes, f"annotated by {quote(key)}")
        return
    sides = voc.lists.get(PurePosixPath(key).stem) or {layout.side_of_path(key), layout.side_of_path(found)}
    picture = Picture(key=found, boxes=boxes, size=size, split=layout.one_side(reading, found, sides))
    note_background(reading, picture)
    yield picture


def _tree(voc: _Voc, key: str) -> Element | None:
    """Return the outermost element of an annotation; None where it cannot be read, which is booked."""
    reading = voc.reading
    try:
        problem = reading.files.problem(key)
        tree = None if problem else load(reading.root / key)
    except MarkupError as error:
        problem = _BROKEN.at(spot(key, error.line), f"it {error}")
    except OSError as error:
        raise OdbuildError(f"{reading.root / key} cannot be read: {error.strerror}.") from error
    if problem is not None:
        voc.keys += 1
        lose_picture(reading, key, problem, (), "an annotation that cannot be read")
        return None
    reading.sources.append(key)
    if tree is not None and tree.tag != "annotation":
        reading.findings.append(_FOREIGN.at(quote(key), f"its outermost element is {quote(tree.tag)}"))
        return None
    return tree


def _find(voc: _Voc, key: str, filename: str) -> str:
    """Return the key of the picture that an annotation describes, or of the missing one that it means."""
    reading = voc.reading
    home = key.rpartition("/")[0]
    if home not in voc.places:
        voc.places[home] = _folders(reading.files, home)
    folders = voc.places[home]
    named = filename.replace("\\", "/").rpartition("/")[2]
    own, meant = PurePosixPath(key).stem, PurePosixPath(named).stem
    for stem in (own, meant if layout.is_picture(named) else named):
        for folder in folders:
            names = _stems(voc, folder).get(stem)
            if not names:
                continue
            if stem == own != meant and any(
                reading.files.exists(layout.join(folder, named)) for folder in folders if named
            ):
                reading.findings.append(_STALE.at(quote(key), quote(filename)))
            return layout.join(folder, named if named in names else names[0])
    return layout.missing(reading.files, folders, named or f"{own}.jpg")


def _folders(files: Files, own: str) -> list[str]:
    """Return the folders in which the pictures of a folder's annotations may lie, the likeliest first."""
    parts = own.split("/") if own else []
    at = next((at for at, part in enumerate(parts) if part.casefold() in _TREES), len(parts))
    base, inner = "/".join(parts[:at]), "/".join(parts[at + 1 :])
    names = sorted(files.names(base))
    shelves = [layout.join(base, name) for name in names if name.casefold() in _SHELVES]
    mirrored = [f"{shelf}/{inner}" for shelf in shelves if inner]
    return list(dict.fromkeys([own, *shelves] if own == base else [*mirrored, *shelves, base, own]))


def _stems(voc: _Voc, folder: str) -> dict[str, list[str]]:
    if folder not in voc.stems:
        voc.stems[folder] = layout.by_stem(voc.reading.files, folder)
    return voc.stems[folder]


def _recorded(tree: Element) -> tuple[int, int] | None:
    """Return width and height in pixels as the annotation says; None where it says none, as older labelImg."""
    size = next(tree.all("size"), tree)
    width, height = (plain.whole(size.word(side)) or 0 for side in ("width", "height"))
    return (width, height) if width > 0 and height > 0 else None


def _boxes(reading: Reading, key: str, picture: str, tree: Element, size: tuple[int, int]) -> Iterator[Box]:
    """Yield the boxes of a picture of that width and height in pixels; objects without one are booked."""
    for index, element in enumerate(tree.all("object")):
        edges = _edges(element, key)
        label = element.word("name")
        if isinstance(edges, Finding):
            lose_box(reading, picture, index, edges)
        elif not usable_label(reading, spot(key, element.line), label):
            book_box(reading, picture, index, "LBL305", quote(label))
        elif odd := far(edges, size, label):
            lose_box(reading, picture, index, FAR.at(spot(key, element.line), odd))
        else:
            reading.drawn += 1
            difficult = plain.whole(element.word("difficult")) == 1
            yield over(size, edges, label, index, difficult=difficult)


def _edges(element: Element, key: str) -> list[float] | Finding:
    """Return left, top, right and bottom in pixels, or what is wrong with them."""
    boxes = list(element.all("bndbox"))
    found = [list(box.all(edge)) for box in boxes for edge in _EDGES]
    if len(boxes) != 1 or any(len(each) != 1 for each in found):
        return _NO_BOX.at(spot(key, element.line), quote(element.word("name")))
    edges = []
    for (each,) in found:
        value = plain.number(each.text.strip())
        if value is None:
            return _NO_NUMBER.at(spot(key, each.line), f"{each.tag} is {quote(each.text.strip())}")
        edges.append(value)
    return edges
