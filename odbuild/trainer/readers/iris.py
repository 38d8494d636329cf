"""Cloud Annotations v2: the `_annotations.json` of local Iris, which names labels and boxes by id."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..dataset import Box, Dataset, Picture
from ..errors import OdbuildError
from ..findings import Finding, Rule, place, quote
from . import strict
from .cloud import NAME
from .files import Files
from .reading import (
    NO_NUMBER,
    Reading,
    begin,
    dropped,
    finish,
    note_background,
    note_mark,
    require_inside,
    usable_edge,
    usable_file,
    usable_label,
)
from .strict import kind, shown

HOLDS = f"{NAME} of local Iris, version v2"
"""What a folder of this format holds, for messages."""

NEGATIVE = "negative"
"""The label that Iris writes for `Mark as negative`."""

_VERSION = re.compile(r'"version"\s*:\s*"v2"')

_LABEL, _IMAGE = '{"name"}', '{"annotations": [ids]}'
_ANNOTATION = '{"label", "tool", "targets": [{"x", "y"}]}'

_LOST = Rule("ANN001", "warning", "an annotation belongs to no picture, so it was left out", "delete it")
_MISSING = Rule("ANN001", "error", "a picture names an annotation that is not there, or not once", "draw it again")
_SHAPE = Rule(
    "ANN001", "error", f"an annotation is no box and no tag; expected {_ANNOTATION}", "draw the box again"
)
_NO_LABEL = Rule("LBL301", "error", "an annotation names a label that is not there", "name its class")


@dataclass(kw_only=True, slots=True)
class _Project:
    """What the file holds: names of labels, ids of annotations by picture, and annotations not yet used, by id."""

    labels: dict[str, str] = field(default_factory=dict)
    images: dict[str, list[str]] = field(default_factory=dict)
    annotations: dict[str, dict[str, Any]] = field(default_factory=dict)


def recognise(files: Files) -> bool:
    """Say whether the folder holds a project of local Iris."""
    return (files.root / NAME).is_file() and bool(_VERSION.search(strict.ends(files.root / NAME)))


def read(root: Path, *, upright: bool = False) -> tuple[Dataset, list[Finding]]:
    """Read the annotations of a folder and look for each picture's file.

    Raises:
        OdbuildError: the file cannot be read as Cloud Annotations v2 at all.
    """
    reading = begin(Files(root), upright=upright)
    require_inside(reading, NAME)
    reading.sources.append(NAME)
    project = _project(root / NAME)
    pictures = [picture for key in sorted(project.images) for picture in _pictures(reading, project, key)]
    for identity in sorted(project.annotations):
        _note_lost(reading, project, identity)
    return finish(reading, "iris", tuple(project.labels.values()), pictures, len(project.images))


def _project(path: Path) -> _Project:
    project = _Project()
    with strict.opened(path) as document:
        if document.peek() != "{":
            raise OdbuildError(f"{path} is {kind(document.value())}; expected an object with images.")
        for name in document.members():
            if name == "labels":
                project.labels = {key: value["name"] for key, value in _members(document, name, _LABEL)}
            elif name == "images":
                project.images = {key: value["annotations"] for key, value in _members(document, name, _IMAGE)}
            elif name == "annotations":
                project.annotations = dict(_members(document, name, _ANNOTATION))
            else:
                document.skip()
        document.end()
    return project


def _members(document: strict.Document, name: str, expected: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the members of an object of objects, once each has the right shape."""
    if document.peek() != "{":
        raise OdbuildError(f"{document.path}: {name} is {kind(document.value())}; expected an object.")
    for key in document.members():
        value = document.value()
        if not isinstance(value, dict) or not _shaped(name, value):
            raise OdbuildError(f"{document.path}: {name}[{quote(key)}] is {kind(value)}; expected {expected}.")
        yield key, value


def _shaped(name: str, value: Mapping[str, Any]) -> bool:
    if name == "labels":
        return isinstance(value.get("name"), str)
    ids = value.get("annotations")
    return name != "images" or (isinstance(ids, list) and all(isinstance(one, str) for one in ids))


def _pictures(reading: Reading, project: _Project, key: str) -> Iterator[Picture]:
    """Yield the picture, unless it has no file, with the boxes of the annotations that it names."""
    boxes: list[Box] = []
    for index, identity in enumerate(project.images[key]):
        where = place(key, index)
        annotation = project.annotations.pop(identity, None)
        if annotation is None:
            reading.findings.append(_MISSING.at(where, quote(identity)))
        else:
            boxes += _box(reading, project, where, index, annotation)
    if usable_file(reading, key, boxes):
        picture = Picture(key=key, boxes=tuple(boxes))
        note_background(reading, picture)
        yield picture


def _box(
    reading: Reading, project: _Project, where: str, index: int, annotation: Mapping[str, Any]
) -> Iterator[Box]:
    """Yield the box of one annotation, or none where it has none or it is no box."""
    identity, corners = annotation.get("label"), _corners(annotation)
    label = project.labels.get(identity) if isinstance(identity, str) else None
    # What is marked with a tag alone is no box, so none is lost.
    reading.drawn += corners != []
    if label is None:
        reading.findings.append(_NO_LABEL.at(f"{where}.label", shown(identity)))
        code = _NO_LABEL.code
    elif not usable_label(reading, where, label):
        code = "LBL305"
    elif corners is None:
        reading.findings.append(_SHAPE.at(where, shown(annotation.get("tool"))))
        code = _SHAPE.code
    elif not corners:
        note_mark(reading, where, label, NEGATIVE)
        return
    elif _usable(reading, where, corners):
        xs, ys = ([float(value) for axis, value in corners if axis == name] for name in "xy")
        yield Box(label=label, index=index, ymin=min(ys), xmin=min(xs), ymax=max(ys), xmax=max(xs))
        return
    else:
        code = NO_NUMBER.code
    if corners != []:
        reading.ledger.append(dropped("box", where, code, shown(identity)))


def _usable(reading: Reading, where: str, corners: Sequence[tuple[str, Any]]) -> bool:
    """Say whether all places are fractions; each that is not is an error."""
    return sum(not usable_edge(reading, f"{where}.{axis}", value) for axis, value in corners) == 0


def _corners(annotation: Mapping[str, Any]) -> list[tuple[str, Any]] | None:
    """Return axis and place of each corner, in no order, none for a tag; None for what is neither box nor tag."""
    targets = annotation.get("targets")
    if annotation.get("tool") == "tag":
        return []
    if annotation.get("tool") != "box" or not isinstance(targets, list) or len(targets) < 2:
        return None
    if not all(isinstance(target, dict) and {"x", "y"} <= target.keys() for target in targets):
        return None
    return [(axis, target[axis]) for target in targets for axis in "xy"]


def _note_lost(reading: Reading, project: _Project, identity: str) -> None:
    """Book an annotation that no picture names."""
    where = f"annotations[{quote(identity)}]"
    boxes = list(_box(reading, project, where, 0, project.annotations[identity]))
    reading.findings.append(_LOST.at(where))
    reading.ledger += [dropped("box", where, _LOST.code, quote(box.label)) for box in boxes]
