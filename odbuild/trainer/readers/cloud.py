"""Cloud Annotations v1: a folder with `_annotations.json`, as the hosted service exports it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..dataset import EDGES, Box, Dataset, Picture
from ..errors import OdbuildError
from ..findings import Change, Finding, Rule, place, quote
from . import strict
from .reading import Reading, begin, finish, note_background, usable_file, usable_label
from .strict import kind, shown

NAME = "_annotations.json"

PIXELS_BELOW, PIXELS_ABOVE = -0.5, 1.5
"""Values beyond these are no fractions that slipped over the edge but another unit, most likely pixels."""

NEGATIVE = "Negative"
"""The label that Cloud Annotations writes for `Mark as Negative`."""

_EXPECTED = 'expected a list of {"x", "y", "x2", "y2", "label"}'

_INCOMPLETE = Rule("ANN001", "error", f"a box lacks edges; expected {', '.join(EDGES)}", "redraw it")
_MARKED = Rule(
    "ANN003",
    "warning",
    "a picture is marked with a class but the annotation has no box, so it teaches nothing",
    "draw the box, or delete the mark",
)
_FRACTIONS = "give fractions of the picture's width and height"
_NO_NUMBER = Rule("ANN007", "error", "a coordinate is not a number", _FRACTIONS)
_PIXELS = Rule("ANN007", "error", "a coordinate is far from 0..1, as if it were in pixels", _FRACTIONS)


def recognise(root: Path) -> bool:
    """Say whether the folder holds a Cloud Annotations project."""
    return (root / NAME).is_file()


def read(root: Path) -> tuple[Dataset, list[Finding]]:
    """Read the annotations of a folder and look for each picture's file.

    Only keys of the annotations are ever opened, never what else lies in the folder, which may be a bucket full
    of earlier runs.

    Raises:
        OdbuildError: the file cannot be read as Cloud Annotations v1 at all.
    """
    document = strict.load(root / NAME)
    declared, annotations = _structure(document, root / NAME)
    reading = begin(root)
    reading.sources.append(NAME)
    found = (_picture(reading, key, annotations[key]) for key in sorted(annotations))
    pictures = [picture for picture in found if picture is not None]
    return finish(reading, "cloud", declared, pictures, len(annotations))


def _structure(document: Any, path: Path) -> tuple[tuple[str, ...], Mapping[str, list[dict[str, Any]]]]:
    """Return the declared labels and the annotations once the whole has the right shape."""
    if not isinstance(document, dict):
        raise OdbuildError(f"{path} is {kind(document)}; expected an object with labels and annotations.")
    _known_version(document, path)
    declared = document.get("labels", [])
    if not isinstance(declared, list) or not all(isinstance(label, str) for label in declared):
        raise OdbuildError(f"{path}: labels is {kind(declared, str)}; expected a list of strings.")
    annotations = document.get("annotations")
    if not isinstance(annotations, dict):
        raise OdbuildError(
            f"{path}: annotations is {kind(annotations)}; expected an object with one list for each picture."
        )
    for key, entries in annotations.items():
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise OdbuildError(f"{path}: {place(key)} is {kind(entries)}; {_EXPECTED}.")
    _localization(document.get("type"), annotations, path)
    return tuple(declared), annotations


def _known_version(document: Mapping[str, Any], path: Path) -> None:
    version = document.get("version")
    if version == "v2" or isinstance(document.get("labels"), dict):
        raise OdbuildError(
            f"{path} is a version 2 file of local Iris, which cannot be read yet. "
            'Give a project exported by Cloud Annotations ("version": "1.0").'
        )
    if "categories" in document:
        raise OdbuildError(f"{path} is COCO JSON, which cannot be read yet. Give Cloud Annotations v1.")
    if version not in (None, "1.0", "1", 1):
        raise OdbuildError(f'{path} has the version {shown(version)}; expected "1.0".')


def _localization(kind: object, annotations: Mapping[str, list[dict[str, Any]]], path: Path) -> None:
    if kind == "classification":
        raise OdbuildError(
            f"{path} is a classification project, which has no boxes. Make a localization project and draw boxes."
        )
    if kind not in (None, "localization"):
        raise OdbuildError(f'{path} has the type {shown(kind)}; expected "localization".')
    drawn = any(edge in entry for entries in annotations.values() for entry in entries for edge in EDGES)
    if kind is None and annotations and not drawn:
        raise OdbuildError(
            f"{path} names no type and holds no box, so it is no localization project. Draw boxes and export it."
        )


def _picture(reading: Reading, key: str, entries: Sequence[Mapping[str, Any]]) -> Picture | None:
    boxes = tuple(box for index, entry in enumerate(entries) for box in _box(reading, key, index, entry))
    if not usable_file(reading, key, boxes):
        return None
    picture = Picture(key=key, boxes=boxes)
    note_background(reading, picture)
    return picture


def _box(reading: Reading, key: str, index: int, entry: Mapping[str, Any]) -> Iterator[Box]:
    """Yield the box of one annotation, or none where it has none or it is no box."""
    label = entry.get("label")
    where = place(key, index)
    if not usable_label(reading, where, label):
        return
    given = [edge for edge in EDGES if edge in entry]
    if not given:
        _note_label(reading, where, str(label))
    elif len(given) < len(EDGES):
        reading.findings.append(_INCOMPLETE.at(where, f"only {', '.join(given)}"))
    elif _fractions(reading, where, entry):
        reading.drawn += 1
        left, top, right, bottom = (float(entry[edge]) for edge in EDGES)
        yield Box(label=str(label), index=index, ymin=top, xmin=left, ymax=bottom, xmax=right)


def _note_label(reading: Reading, where: str, label: str) -> None:
    """Book an annotation that only names a class: `Mark as Negative`, or `Mark as <label>`."""
    reading.ledger.append(
        Change(action="label-only", what="label", where=where, code="ANN003", value=quote(label))
    )
    if label != NEGATIVE:
        reading.findings.append(_MARKED.at(where, quote(label)))


def _fractions(reading: Reading, where: str, entry: Mapping[str, Any]) -> bool:
    """Say whether all four edges are numbers that can be meant as fractions; each that is not is an error."""
    fine = True
    for edge in EDGES:
        value = entry[edge]
        if isinstance(value, bool) or not isinstance(value, int | float):
            reading.findings.append(_NO_NUMBER.at(f"{where}.{edge}", shown(value)))
        elif not PIXELS_BELOW <= value <= PIXELS_ABOVE:
            reading.findings.append(_PIXELS.at(f"{where}.{edge}", str(value)))
        else:
            continue
        fine = False
    return fine
