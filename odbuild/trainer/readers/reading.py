"""What every reader gathers on its way: findings, ledger, and the judgement of labels and files."""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..dataset import Box, Dataset, Picture
from ..findings import Change, Finding, Rule, place, quote
from .files import Files
from .strict import shown

_BACKGROUND = Rule("ANN003", "info", "a picture has no box and trains as background")
_NO_LABEL = Rule("LBL305", "error", "an annotation has no label that is a non-empty text", "name its class")

_FRACTIONS = "give fractions of the picture's width and height"
NO_NUMBER = Rule("ANN007", "error", "a coordinate is not a number", _FRACTIONS)
FAR_OFF = Rule("ANN007", "error", "a coordinate is far from 0..1, as if it were in pixels", _FRACTIONS)


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
    """

    root: Path
    files: Files
    sources: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    ledger: list[Change] = field(default_factory=list)
    drawn: int = 0


def begin(root: Path) -> Reading:
    """Return a fresh reading of the folder."""
    return Reading(root=root, files=Files(root))


def far_off(value: float) -> bool:
    """Say whether a coordinate is no fraction that slipped over the edge but another unit, most likely pixels."""
    return not -0.5 <= value <= 1.5


def usable_label(reading: Reading, where: str, label: object) -> bool:
    """Say whether the value can be a class; each that cannot is an error."""
    if isinstance(label, str) and label and not any(unicodedata.category(it) == "Cs" for it in label):
        return True
    reading.findings.append(_NO_LABEL.at(f"{where}.label", shown(label)))
    return False


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
    dataset = Dataset(
        root=reading.root,
        format=named,
        sources=tuple(reading.sources),
        declared=tuple(declared),
        pictures=tuple(sorted(pictures, key=lambda picture: picture.key)),
        ledger=tuple(reading.ledger),
        keys=keys,
        drawn=reading.drawn,
    )
    return dataset, reading.findings
