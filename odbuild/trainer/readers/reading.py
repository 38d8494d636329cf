"""What every reader gathers on its way: findings, ledger, and the judgement of labels and files."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from ..dataset import Box, Dataset, Picture
from ..errors import OdbuildError
from ..findings import Change, Finding, Rule, Tally, in_order, place, quote
from ..packed import pack
from .files import Files, alike
from .strict import shown

_SURROGATE = re.compile(r"[\ud800-\udfff]")
"""Halves of a character, which no file of text can hold."""

UNKNOWN = 1 << 24, 1 << 24
"""Stands for the size in pixels of a picture without a file: no box reaches far out of it."""

PIXELS_BELOW, PIXELS_ABOVE = -0.5, 1.5
"""Values beyond these are no fractions that slipped over the edge but another unit, most likely pixels."""

_NUMBERS = frozenset({float, int})

_BACKGROUND = Rule("ANN003", "info", "a picture has no box and trains as background")
_NO_LABEL = Rule("LBL305", "error", "an annotation has no label that is a non-empty text", "name its class")
_NO_NAME = Rule("ANN004", "warning", "a declared label is no usable name and is left out", "name its class")

_MARKED = Rule(
    "ANN003",
    "warning",
    "a picture is marked with a class but the annotation has no box, so it teaches nothing",
    "draw the box, or delete the mark",
)
_FRACTIONS = "give fractions of the picture's width and height"
NO_NUMBER = Rule("ANN007", "error", "a coordinate is not a number", _FRACTIONS)
FAR = Rule(
    "ANN007",
    "error",
    "a box reaches far out of the picture, as if that had another size",
    "give pixels of the picture as it is stored, and its width and height",
)
PIXELS = Rule("ANN007", "error", "a coordinate is far from 0..1, as if it were in pixels", _FRACTIONS)


@dataclass(kw_only=True, slots=True)
class Reading:
    """A reading on its way.

    Attributes:
        root: the folder that is read.
        files: what lies in it.
        sources: files that were read, pictures not among them.
        findings: what was found.
        ledger: what was dropped.
        drawn: boxes of the source, kept or dropped.
        unread: what kept a file from being read to its end.
        labels: classes that were found usable.
        upright: whether a size that is not recorded is measured as the picture is shown, not as it is stored.
    """

    root: Path
    files: Files
    sources: list[str] = field(default_factory=list)
    findings: Tally = field(default_factory=Tally)
    ledger: list[Change] = field(default_factory=list)
    drawn: int = 0
    unread: list[Finding] = field(default_factory=list)
    labels: set[str] = field(default_factory=set)
    upright: bool = False

    def knows(self, label: object) -> TypeGuard[str]:
        """Say whether the value can be a class."""
        if not isinstance(label, str):
            return False
        if label in self.labels:
            return True
        if not label or _SURROGATE.search(label):
            return False
        self.labels.add(label)
        return True


def begin(files: Files, *, upright: bool = False) -> Reading:
    """Return a fresh reading of a folder."""
    return Reading(root=files.root, files=files, upright=upright)


def require_inside(reading: Reading, name: str) -> None:
    """Refuse a file of annotations that is none, or a link out of the folder.

    Raises:
        OdbuildError: it is one.
    """
    problem = reading.files.problem(name)
    if problem is not None and problem.code == "ANN005":
        raise OdbuildError(f"{reading.root / name} {problem.value}. Put a plain file of a plain name there.")


def usable_label(reading: Reading, where: str, label: object) -> bool:
    """Say whether the value can be a class; each that cannot is an error."""
    if reading.knows(label):
        return True
    reading.findings.append(_NO_LABEL.at(f"{where}.label", shown(label)))
    return False


def is_fraction(value: object) -> bool:
    """Say whether the value is a number that can be meant as a fraction of a picture's side."""
    return type(value) in (float, int) and PIXELS_BELOW <= value <= PIXELS_ABOVE  # type: ignore[operator]


def are_fractions(values: Collection[Any]) -> bool:
    """Say whether all values, none of them NaN, are numbers as `is_fraction` wants them."""
    return _NUMBERS.issuperset(map(type, values)) and min(values) >= PIXELS_BELOW and max(values) <= PIXELS_ABOVE


def far(edges: Sequence[float], size: tuple[int, int], label: str) -> str:
    """Say what is odd about a box that reaches far out of its picture; empty for one that does not.

    Args:
        edges: of the box, left, top, right and bottom, in pixels.
        size: of the picture, width and height in pixels.
        label: of the box.
    """
    (left, top, right, bottom), (width, height) = edges, size
    if size == UNKNOWN or (
        PIXELS_BELOW * width <= min(left, right)
        and max(left, right) <= PIXELS_ABOVE * width
        and PIXELS_BELOW * height <= min(top, bottom)
        and max(top, bottom) <= PIXELS_ABOVE * height
    ):
        return ""
    return f"{', '.join(f'{edge:.6g}' for edge in edges)} in {width} x {height}, {quote(label)}"


def over(
    size: tuple[int, int],
    edges: Sequence[float],
    label: str,
    index: int,
    *,
    difficult: bool = False,
    crowd: bool = False,
) -> Box:
    """Return the box of edges in pixels, left, top, right and bottom, over the width and height of its picture."""
    (left, top, right, bottom), (width, height) = edges, size
    return Box(
        label=label,
        ymin=top / height,
        xmin=left / width,
        ymax=bottom / height,
        xmax=right / width,
        index=index,
        difficult=difficult,
        crowd=crowd,
    )


def usable_edge(reading: Reading, where: str, value: object) -> bool:
    """Say whether the value can be the edge of a box; each that cannot is an error."""
    if is_fraction(value):
        return True
    rule = NO_NUMBER if isinstance(value, bool) or not isinstance(value, int | float) else PIXELS
    reading.findings.append(rule.at(where, shown(value)))
    return False


def note_mark(reading: Reading, where: str, label: str, negative: str) -> None:
    """Book an annotation that only names a class; that which marks a picture as a background is no mistake."""
    reading.ledger.append(
        Change(action="label-only", what="label", where=where, code="ANN003", value=quote(label))
    )
    if label != negative:
        reading.findings.append(_MARKED.at(where, quote(label)))


def lose_box(reading: Reading, key: str, index: int, problem: Finding) -> None:
    """Tell of a box of the source that is in no picture, and book it."""
    reading.findings.append(problem)
    book_box(reading, key, index, problem.code, problem.value)


def book_box(reading: Reading, key: str, index: int, code: str, value: str) -> None:
    """Book a box of the source that is in no picture, which was told."""
    reading.drawn += 1
    reading.ledger.append(dropped("box", place(key, index), code, value))


def usable_file(reading: Reading, key: str, boxes: Iterable[Box]) -> bool:
    """Say whether the key names a file; where it does not, its picture and boxes are booked as dropped."""
    problem = reading.files.problem(key)
    if problem is None:
        return True
    lose_picture(reading, key, problem, boxes, "no usable file")
    return False


def lose_picture(reading: Reading, key: str, problem: Finding, boxes: Iterable[Box], value: str) -> None:
    """Book a picture of the source that is not in the dataset, with its boxes, which are counted already."""
    reading.findings.append(problem)
    reading.ledger.append(dropped("picture", place(key), problem.code, value))
    reading.ledger += [dropped("box", place(key, box.index), problem.code, quote(box.label)) for box in boxes]


def note_background(reading: Reading, picture: Picture) -> None:
    """Tell of a picture without boxes."""
    if not picture.boxes:
        reading.findings.append(_BACKGROUND.at(place(picture.key)))


def dropped(what: str, where: str, code: str, value: str) -> Change:
    """Return the line of the ledger for what is not in the dataset."""
    return Change(action="dropped", what=what, where=where, code=code, value=value)  # type: ignore[arg-type]


def finish(
    reading: Reading, named: str, declared: Sequence[str], pictures: Iterable[Picture], keys: int
) -> tuple[Dataset, list[Finding]]:
    """Return what was read, and what was found."""
    pictures = pack(pictures).by_key()
    for label in declared:
        if not reading.knows(label):
            reading.findings.append(_NO_NAME.at("labels", shown(label)))
    if pictures and pictures[0].span is None:
        # Names within records are no files.
        reading.findings += alike(pictures.keys())
    dataset = Dataset(
        root=reading.root,
        format=named,
        sources=tuple(reading.sources),
        declared=tuple(filter(reading.knows, declared)),
        pictures=pictures,
        ledger=tuple(sorted(reading.ledger, key=lambda change: in_order(change.where))),
        keys=keys,
        drawn=reading.drawn,
        unread=tuple(reading.unread),
    )
    return dataset, reading.findings.told()
