"""Cloud Annotations v1: a folder with `_annotations.json`, as the hosted service exports it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..dataset import EDGES, Box, Dataset, Picture
from ..errors import OdbuildError
from ..findings import Finding, Rule, place
from ..packed import pack
from . import strict
from .files import Files
from .reading import (
    NO_NUMBER,
    Reading,
    are_fractions,
    begin,
    book_box,
    finish,
    note_background,
    note_mark,
    require_inside,
    usable_edge,
    usable_file,
    usable_label,
)
from .strict import kind, shown

NAME = "_annotations.json"

HOLDS = f"{NAME} of Cloud Annotations, version 1.0"
"""What a folder of this format holds, for messages."""

NEGATIVE = "Negative"
"""The label that Cloud Annotations writes for `Mark as Negative`."""

_OTHER = re.compile(r'"version"\s*:\s*"v2"|"image_id"\s*:|"categories"\s*:\s*\[')
"""What only version 2 or COCO JSON has."""

_ANNOTATIONS = "expected an object with one list for each picture"
_EXPECTED = 'expected a list of {"x", "y", "x2", "y2", "label"}'

_INCOMPLETE = Rule("ANN001", "error", f"a box lacks edges; expected {', '.join(EDGES)}", "redraw it")


@dataclass(kw_only=True, slots=True)
class _Head:
    """What the file says besides its annotations, and what they tell of its type."""

    labels: tuple[str, ...] = ()
    type: object = None
    keys: int = 0
    drawn: bool = False


def recognise(files: Files) -> bool:
    """Say whether the folder holds a Cloud Annotations project of version 1."""
    return (files.root / NAME).is_file() and not _OTHER.search(strict.ends(files.root / NAME))


def read(root: Path, *, upright: bool = False) -> tuple[Dataset, list[Finding]]:
    """Read the annotations of a folder and look for each picture's file.

    Only keys of the annotations are ever opened, never what else lies in the folder, which may be a bucket full
    of earlier runs.

    Raises:
        OdbuildError: the file cannot be read as Cloud Annotations v1 at all.
    """
    reading = begin(Files(root), upright=upright)
    require_inside(reading, NAME)
    reading.sources.append(NAME)
    head = _Head()
    with strict.opened(root / NAME) as document:
        pictures = pack(_pictures(reading, head, document))
    _localization(head, root / NAME)
    return finish(reading, "cloud", head.labels, pictures, head.keys)


def _pictures(reading: Reading, head: _Head, document: strict.Document) -> Iterator[Picture]:
    """Walk the document, keep its head, and yield the pictures that have a file."""
    path = document.path
    if document.peek() != "{":
        raise OdbuildError(f"{path} is {kind(document.value())}; expected an object with labels and annotations.")
    seen = False
    for name in document.members():
        if name == "annotations":
            seen = True
            yield from _annotated(reading, head, document)
        elif name in ("labels", "version", "type"):
            _keep(head, name, document.value(), path)
        else:
            document.skip()
    document.end()
    if not seen:
        raise OdbuildError(f"{path}: annotations is nothing; {_ANNOTATIONS}.")


def _keep(head: _Head, name: str, value: Any, path: Path) -> None:
    """Keep a small member of the document once it is as expected."""
    if name == "labels" and (not isinstance(value, list) or not all(isinstance(label, str) for label in value)):
        raise OdbuildError(f"{path}: labels is {kind(value, str)}; expected a list of strings.")
    if name == "labels":
        head.labels = tuple(value)
    elif name == "type":
        head.type = value
    elif value not in (None, "1.0", "1", 1):
        raise OdbuildError(f'{path} has the version {shown(value)}; expected "1.0".')


def _annotated(reading: Reading, head: _Head, document: strict.Document) -> Iterator[Picture]:
    """Yield the picture of each member of the annotations that has a file."""
    path = document.path
    if document.peek() != "{":
        raise OdbuildError(f"{path}: annotations is {kind(document.value())}; {_ANNOTATIONS}.")
    for key in document.members():
        if document.peek() != "[":
            raise OdbuildError(f"{path}: {place(key)} is {kind(document.value())}; {_EXPECTED}.")
        head.keys += 1
        boxes: list[Box] = []
        for index, entry in enumerate(document.items()):
            if not isinstance(entry, dict):
                raise OdbuildError(f"{path}: {place(key)} is {kind([entry])}; {_EXPECTED}.")
            head.drawn = head.drawn or any(edge in entry for edge in EDGES)
            box = _box(reading, key, index, entry)
            if box is not None:
                boxes.append(box)
        if usable_file(reading, key, boxes):
            picture = Picture(key=key, boxes=tuple(boxes))
            note_background(reading, picture)
            yield picture


def _localization(head: _Head, path: Path) -> None:
    if head.type == "classification":
        raise OdbuildError(
            f"{path} is a classification project, which has no boxes. Make a localization project and draw boxes."
        )
    if head.type not in (None, "localization"):
        raise OdbuildError(f'{path} has the type {shown(head.type)}; expected "localization".')
    if head.type is None and head.keys and not head.drawn:
        raise OdbuildError(
            f"{path} names no type and holds no box, so it is no localization project. Draw boxes and export it."
        )


def _box(reading: Reading, key: str, index: int, entry: Mapping[str, Any]) -> Box | None:
    """Return the box of one annotation, or None where it has none or it is no box."""
    label = entry.get("label")
    left, top, right, bottom = edges = [entry.get(edge) for edge in EDGES]
    if not reading.knows(label) or not are_fractions(edges):
        _explain(reading, key, index, entry)
        return None
    reading.drawn += 1
    return Box(
        label=label,
        index=index,
        ymin=float(top),  # type: ignore[arg-type]
        xmin=float(left),  # type: ignore[arg-type]
        ymax=float(bottom),  # type: ignore[arg-type]
        xmax=float(right),  # type: ignore[arg-type]
    )


def _explain(reading: Reading, key: str, index: int, entry: Mapping[str, Any]) -> None:
    """Book why an annotation is no box, and the box that is lost where it was meant as one."""
    where, label = place(key, index), entry.get("label")
    given = [edge for edge in EDGES if edge in entry]
    code = "LBL305"
    if usable_label(reading, where, label):
        if not given:
            note_mark(reading, where, str(label), NEGATIVE)
        elif len(given) < len(EDGES):
            code = _INCOMPLETE.code
            reading.findings.append(_INCOMPLETE.at(where, f"only {', '.join(given)}"))
        else:
            code = NO_NUMBER.code
            for edge in EDGES:
                usable_edge(reading, f"{where}.{edge}", entry[edge])
    if given:
        book_box(reading, key, index, code, shown(label))
