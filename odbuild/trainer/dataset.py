"""Reading a Cloud Annotations v1 folder into the one in-memory form.

Boxes come out sorted, inside the picture and with a usable label; what had to be done for that is in the
ledger, what is wrong in the findings. Only keys of the annotations are ever opened, never what else lies in
the folder, which may be a bucket full of earlier runs.
"""

import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NoReturn

from .errors import OdbuildError
from .findings import Action, Change, Finding, Rule, place, quote

BoxPolicy = Literal["clip", "drop", "fail"]

NAME = "_annotations.json"

EDGES = ("x", "y", "x2", "y2")
"""The coordinates of a box in the file: left, top, right, bottom as fractions of the picture."""

PIXELS_BELOW, PIXELS_ABOVE = -0.5, 1.5
"""Values beyond these are no fractions that slipped over the edge but another unit, most likely pixels."""

TOLERANCE = 1e-3
"""A box this far outside is rounding by the tool that drew it: clipped under every policy."""

FEW_BOXES = 10
"""Fewer boxes of a class than this cannot teach it; Cloud Annotations asks for 50."""

LEAST_SIDE = 1 - 1e-6
"""Pixels that a box must measure each way; a hair below one, for a box of one pixel given as fractions."""

NEGATIVE = "Negative"
"""The label that Cloud Annotations writes for `Mark as Negative`."""

SNIPPET = 30
"""Characters shown on each side of a place in the JSON, which is usually one long line."""

_EXPECTED = 'expected a list of {"x", "y", "x2", "y2", "label"}'

_INCOMPLETE = Rule("ANN001", "error", f"a box lacks edges; expected {', '.join(EDGES)}", "redraw it")
_NO_FILE = Rule(
    "ANN002",
    "warning",
    "there is no file for a picture, so it was left out",
    "put the file there, or delete it from the annotations",
)
_BACKGROUND = Rule("ANN003", "info", "a picture has no box and trains as background")
_MARKED = Rule(
    "ANN003",
    "warning",
    "a picture is marked with a class but the annotation has no box, so it teaches nothing",
    "draw the box, or delete the mark",
)
_TWICE = Rule("ANN004", "warning", "a label is declared twice", "declare it once")
_UNUSED = Rule("ANN004", "warning", "a declared label has no box and is left out")
_UNDECLARED = Rule("ANN004", "warning", "a label is used but not declared", "look for a typo")
_ODD_KEY = Rule(
    "ANN005",
    "error",
    "the name of a picture does not lead to a file in the folder, so it was not opened",
    "rename it to a plain path below the folder",
)
_FRACTIONS = "give fractions of the picture's width and height"
_NO_NUMBER = Rule("ANN007", "error", "a coordinate is not a number", _FRACTIONS)
_PIXELS = Rule("ANN007", "error", "a coordinate is far from 0..1, as if it were in pixels", _FRACTIONS)
_FEW = Rule("LBL303", "warning", f"a label has fewer than {FEW_BOXES} boxes", "draw more; 50 are a good beginning")
_ALIKE = Rule("LBL302", "warning", "two labels are nearly the same", "merge them unless both are meant")
_NO_LABEL = Rule("LBL305", "error", "an annotation has no label that is a non-empty text", "name its class")
_SPACES = Rule("LBL305", "warning", "a label begins or ends with white space", "rename it unless that is meant")
_CONTROLS = Rule("LBL305", "warning", "a label holds control characters", "rename it unless that is meant")


def _odd_box(code: str, message: str) -> dict[BoxPolicy, Rule]:
    return {
        "clip": Rule(code, "warning", message, "it was mended; look at it"),
        "drop": Rule(code, "warning", message, "it was left out; redraw it"),
        "fail": Rule(code, "error", message, "redraw it, or make the bundle with --boxes clip or --boxes drop"),
    }


_OUTSIDE = _odd_box("BOX201", "a box reaches outside the picture")
_TURNED = _odd_box("BOX202", "a box has its edges the wrong way round")
_SPECK = _odd_box("BOX202", "a box has no area or is smaller than one pixel")
_SPECK["clip"] = _SPECK["drop"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """One object, in the picture as it will be decoded.

    Attributes:
        label: the class, any non-empty Unicode string.
        ymin: top edge, fraction of the height; 0 <= ymin < ymax <= 1.
        xmin: left edge, fraction of the width; 0 <= xmin < xmax <= 1.
        ymax: bottom edge.
        xmax: right edge.
        index: position in the source's list, for messages; not part of its value.
    """

    label: str
    ymin: float
    xmin: float
    ymax: float
    xmax: float
    index: int = field(default=0, compare=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """One picture of the source: its key in the annotations, its file, its boxes in the source's order."""

    key: str
    path: Path
    boxes: tuple[Box, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """What a folder of annotated pictures holds.

    Attributes:
        root: the folder that holds `_annotations.json`.
        labels: classes that have a box: those declared in their declared order, then the others sorted.
        pictures: sorted by key, whatever their order in the file.
        ledger: what reading dropped or mended.
        keys: pictures that the annotations name; `len(pictures)` + those dropped.
        drawn: boxes that the annotations hold; those in `pictures` + those dropped.
    """

    root: Path
    labels: tuple[str, ...]
    pictures: tuple[Picture, ...]
    ledger: tuple[Change, ...] = ()
    keys: int = 0
    drawn: int = 0


def read(folder: Path, *, boxes: BoxPolicy = "clip") -> tuple[Dataset, list[Finding]]:
    """Read the annotations of a folder, or of the one folder in it, and look for each picture's file.

    Args:
        folder: holds `_annotations.json`, or a folder that does, as exported archives do.
        boxes: what to do with a box that is turned around or reaches outside: `clip` sorts and clips it, `drop`
            leaves it out, `fail` makes it an error. A box without area is left out unless the policy is `fail`.

    Raises:
        OdbuildError: the folder or the file cannot be read as Cloud Annotations v1 at all.
    """
    root = locate(folder)
    document = _parse(root / NAME)
    declared, annotations = _structure(document, root / NAME)
    reading = _Reading(root=root, policy=boxes, real=os.path.realpath(root))
    found = (_picture(reading, key, annotations[key]) for key in sorted(annotations))
    pictures = tuple(picture for picture in found if picture is not None)
    findings = [*reading.findings, *_label_findings(declared, pictures)]
    dataset = Dataset(
        root=root,
        labels=_order(declared, pictures),
        pictures=pictures,
        ledger=tuple(reading.ledger),
        keys=len(annotations),
        drawn=reading.drawn,
    )
    return dataset, findings


def locate(folder: Path) -> Path:
    """Return the folder that holds `_annotations.json`: the given one, or the only one in it that does.

    Raises:
        OdbuildError: there is none, or more than one.
    """
    if not folder.is_dir():
        what = "is a file; unpack it and name the folder" if folder.exists() else "does not exist"
        raise OdbuildError(f"The dataset folder {folder} {what}.")
    try:
        if (folder / NAME).is_file():
            return folder
        inner = sorted(path.parent for path in folder.glob(f"*/{NAME}"))
    except OSError as error:
        raise OdbuildError(f"The dataset folder {folder} cannot be read: {error.strerror}.") from error
    if len(inner) > 1:
        names = ", ".join(path.name for path in inner)
        raise OdbuildError(f"{folder} holds several datasets ({names}); name one of these folders.")
    if not inner:
        raise OdbuildError(
            f"{folder} holds no {NAME}{_other_format(folder)}. "
            "Export the project from Cloud Annotations and name the folder with that file."
        )
    return inner[0]


def without_specks(picture: Picture, width: int, height: int) -> tuple[Picture, tuple[Box, ...]]:
    """Part a picture from its boxes of less than a pixel: the picture without them, and the boxes.

    Args:
        picture: the picture.
        width: of the decoded picture, in pixels.
        height: of the decoded picture, in pixels.
    """
    specks = tuple(
        box
        for box in picture.boxes
        if (box.xmax - box.xmin) * width < LEAST_SIDE or (box.ymax - box.ymin) * height < LEAST_SIDE
    )
    if not specks:
        return picture, ()
    lost = {box.index for box in specks}
    return replace(picture, boxes=tuple(box for box in picture.boxes if box.index not in lost)), specks


def speck_finding(where: str, value: str, policy: BoxPolicy) -> Finding:
    """Return the finding for a box without area or under one pixel."""
    return _SPECK[policy].at(where, value)


def _parse(path: Path) -> Any:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise OdbuildError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise OdbuildError(
            f"{path} is not UTF-8: byte {error.start} is 0x{error.object[error.start]:02x}. Save it as UTF-8."
        ) from error
    try:
        return _decode(text)
    except RecursionError as error:
        raise OdbuildError(f"{path} is nested too deeply to be annotations. Export it again.") from error
    except json.JSONDecodeError as error:
        raise OdbuildError(
            f"{path} is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}, "
            f"near {_snippet(text, error.pos)}. Mend it or export it again."
        ) from error


def _decode(text: str) -> Any:
    """Parse strictly: what `json` would accept in silence is an error at its place too."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) != len(pairs):
            key, position = _repeated(text)
            raise json.JSONDecodeError(f"the key {quote(key)} stands twice in one object", text, position)
        return members

    def number(token: str) -> float:
        value = float(token)
        if value - value != 0:
            refuse(token)
        return value

    def integer(token: str) -> float:
        # Python refuses to parse integers of thousands of digits, and no coordinate has twenty.
        return int(token) if len(token) < 20 else number(token)

    def refuse(token: str) -> NoReturn:
        raise json.JSONDecodeError(f"{token[:SNIPPET]} is no number", text, _outside_strings(text, token))

    return json.loads(text, object_pairs_hook=unique, parse_float=number, parse_int=integer, parse_constant=refuse)


def _repeated(text: str) -> tuple[str, int]:
    """Return the first key that its object already has, and where it stands."""
    scopes: list[set[str]] = []
    for token in re.finditer(r'("(?:[^"\\]|\\.)*")(\s*:)?|[{}]', text, re.DOTALL):
        if token[0] == "{":
            scopes.append(set())
        elif token[0] == "}":
            scopes.pop()
        elif token[2]:
            key = json.loads(token[1], strict=False)
            if key in scopes[-1]:
                return key, token.start()
            scopes[-1].add(key)
    raise AssertionError("called only for text with a repeated key")


def _outside_strings(text: str, token: str) -> int:
    """Return where the token stands, strings not counted."""
    found = re.finditer(rf'"(?:[^"\\]|\\.)*"|({re.escape(token)})', text, re.DOTALL)
    return next((match.start() for match in found if match[1]), 0)


def _snippet(text: str, position: int) -> str:
    return quote(text[max(0, position - SNIPPET) : position + SNIPPET])


def _structure(document: Any, path: Path) -> tuple[tuple[str, ...], Mapping[str, list[dict[str, Any]]]]:
    """Return the declared labels and the annotations once the whole has the right shape."""
    if not isinstance(document, dict):
        raise OdbuildError(f"{path} is {_kind(document)}; expected an object with labels and annotations.")
    _known_version(document, path)
    declared = document.get("labels", [])
    if not isinstance(declared, list) or not all(isinstance(label, str) for label in declared):
        raise OdbuildError(f"{path}: labels is {_kind(declared, str)}; expected a list of strings.")
    annotations = document.get("annotations")
    if not isinstance(annotations, dict):
        raise OdbuildError(
            f"{path}: annotations is {_kind(annotations)}; expected an object with one list for each picture."
        )
    for key, entries in annotations.items():
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise OdbuildError(f"{path}: {place(key)} is {_kind(entries)}; {_EXPECTED}.")
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
        raise OdbuildError(f'{path} has the version {_shown(version)}; expected "1.0".')


def _localization(kind: object, annotations: Mapping[str, list[dict[str, Any]]], path: Path) -> None:
    if kind == "classification":
        raise OdbuildError(
            f"{path} is a classification project, which has no boxes. Make a localization project and draw boxes."
        )
    if kind not in (None, "localization"):
        raise OdbuildError(f'{path} has the type {_shown(kind)}; expected "localization".')
    drawn = any(edge in entry for entries in annotations.values() for entry in entries for edge in EDGES)
    if kind is None and annotations and not drawn:
        raise OdbuildError(
            f"{path} names no type and holds no box, so it is no localization project. Draw boxes and export it."
        )


def _kind(value: object, wanted: type = dict) -> str:
    """Say what a JSON value is; a list by the first of its items that is not as wanted."""
    if isinstance(value, list):
        odd = [item for item in value if not isinstance(item, wanted)]
        return f"a list with {_name(odd[0])} in it" if odd else "a list"
    return _name(value)


def _name(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a truth value", type(None): "nothing"}
    return names.get(type(value), "a number")


def _shown(value: object) -> str:
    """Return a JSON value for a message; lists and objects only by name, as they may be of any depth."""
    if isinstance(value, str):
        return quote(value)
    return str(value) if isinstance(value, int | float) else _name(value)


def _other_format(folder: Path) -> str:
    """Return a hint at what the folder seems to hold instead."""
    seen = [name for name, matches in _foreign(folder) if next(iter(matches), None)]
    return f", but what looks like {' and '.join(seen)}, which cannot be read yet" if seen else ""


def _foreign(folder: Path) -> Iterator[tuple[str, Iterable[Path]]]:
    yield "Pascal VOC (XML files)", (path for glob in ("*.xml", "*/*.xml") for path in folder.glob(glob))
    yield "YOLO (data.yaml)", folder.glob("data.y*ml")
    yield (
        "YOLO (labels/*.txt)",
        (path for glob in ("labels/*.txt", "*/labels/*.txt") for path in folder.glob(glob)),
    )
    jsons = (path for glob in ("*.json", "*/*.json") for path in folder.glob(glob))
    yield "COCO (JSON with categories)", (path for path in jsons if _mentions_categories(path))
    yield "TFRecords", (path for glob in ("*.record*", "*.tfrecord*") for path in folder.glob(glob))


def _mentions_categories(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            ends = []
            for start in (0, max(0, size - 65536)):
                file.seek(start)
                ends.append(file.read(65536))
    except OSError:
        return False
    return any(b'"categories"' in end for end in ends)


def _order(declared: Sequence[str], pictures: Iterable[Picture]) -> tuple[str, ...]:
    used = {box.label for picture in pictures for box in picture.boxes}
    first = [label for label in dict.fromkeys(declared) if label in used]
    return (*first, *sorted(used.difference(first)))


def _label_findings(declared: Sequence[str], pictures: Sequence[Picture]) -> Iterator[Finding]:
    counts = Counter(box.label for picture in pictures for box in picture.boxes)
    for label, times in Counter(declared).items():
        if times > 1:
            yield _TWICE.at("labels", quote(label))
        if label not in counts:
            yield _UNUSED.at("labels", quote(label))
    for label in _order(declared, pictures):
        if label not in declared:
            yield _UNDECLARED.at("labels", quote(label))
        if counts[label] < FEW_BOXES:
            yield _FEW.at("labels", f"{quote(label)} has {counts[label]}")
    yield from _odd_names(sorted(counts))


def _odd_names(labels: Iterable[str]) -> Iterator[Finding]:
    same: dict[str, str] = {}
    for label in labels:
        if label != label.strip():
            yield _SPACES.at("labels", quote(label))
        if any(unicodedata.category(character) == "Cc" for character in label):
            yield _CONTROLS.at("labels", quote(label))
        other = same.setdefault(unicodedata.normalize("NFC", label.strip().casefold()), label)
        if other != label:
            yield _ALIKE.at("labels", f"{quote(other)}, {quote(label)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Listing:
    """The names in one folder, and each name by its form without case and by that without its ending."""

    names: frozenset[str] = frozenset()
    alike: Mapping[str, str] = field(default_factory=dict)


@dataclass(kw_only=True, slots=True)
class _Reading:
    """What a reading gathers on its way."""

    root: Path
    policy: BoxPolicy
    real: str
    listings: dict[str, _Listing] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    ledger: list[Change] = field(default_factory=list)
    drawn: int = 0


def _picture(reading: _Reading, key: str, entries: Sequence[Mapping[str, Any]]) -> Picture | None:
    boxes = tuple(box for index, entry in enumerate(entries) for box in _box(reading, key, index, entry))
    path = _file(reading, key)
    if path is None:
        reading.ledger += [_change("dropped", "picture", place(key), "ANN002", "no usable file")]
        reading.ledger += [
            _change("dropped", "box", place(key, box.index), "ANN002", quote(box.label)) for box in boxes
        ]
        return None
    if not boxes:
        reading.findings.append(_BACKGROUND.at(place(key)))
    return Picture(key=key, path=path, boxes=boxes)


def _file(reading: _Reading, key: str) -> Path | None:
    """Return the file of a key; or None, with a finding that says why not."""
    odd = _odd_key(key)
    if odd:
        _refuse_key(reading, key, odd)
        return None
    folder, _, name = key.rpartition("/")
    listing = _listing(reading, folder)
    if name not in listing.names:
        _report_missing(reading, key, listing.alike.get(_fold(name)) or listing.alike.get(_stem(name)))
        return None
    path = reading.root / key
    if not _inside(os.path.realpath(path), reading.real):
        _refuse_key(reading, key, "leads out of the folder by a link")
        return None
    if not path.exists():
        _report_missing(reading, key, None)
        return None
    if not path.is_file():
        _refuse_key(reading, key, "is no regular file")
        return None
    return path


def _odd_key(key: str) -> str:
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in key):
        return "holds control characters"
    if key.startswith("/"):
        return "is an absolute path"
    if any(part in ("", ".", "..") for part in key.split("/")):
        return "has an empty part, or one of dots"
    return ""


def _refuse_key(reading: _Reading, key: str, why: str) -> None:
    reading.findings.append(_ODD_KEY.at(place(key), why))


def _report_missing(reading: _Reading, key: str, near: str | None) -> None:
    reading.findings.append(_NO_FILE.at(place(key), f"did you mean {quote(near)}?" if near else ""))


def _listing(reading: _Reading, folder: str) -> _Listing:
    """Return what lies in a folder of the dataset: nothing where it is missing, misspelt or outside."""
    if folder not in reading.listings:
        reading.listings[folder] = _look(reading, folder)
    return reading.listings[folder]


def _look(reading: _Reading, folder: str) -> _Listing:
    """List a folder once its own name is proven the same way, so that its case is exact at every level."""
    parent, _, name = folder.rpartition("/")
    if folder and name not in _listing(reading, parent).names:
        return _Listing()
    path = reading.root / folder
    if not _inside(os.path.realpath(path), reading.real) or not path.is_dir():
        return _Listing()
    try:
        names = sorted(child.name for child in path.iterdir())
    except OSError as error:
        raise OdbuildError(f"The folder {path} cannot be listed: {error.strerror}.") from error
    alike = {_stem(name): name for name in names} | {_fold(name): name for name in names}
    return _Listing(names=frozenset(names), alike=alike)


def _inside(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def _fold(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _stem(name: str) -> str:
    folded = _fold(name)
    return folded.rpartition(".")[0] or folded


def _box(reading: _Reading, key: str, index: int, entry: Mapping[str, Any]) -> Iterator[Box]:
    """Yield the box of one annotation, or none where it has none or it is left out."""
    label = entry.get("label")
    where = place(key, index)
    if not isinstance(label, str) or not label or any(unicodedata.category(it) == "Cs" for it in label):
        value = _shown(label)
        reading.findings.append(_NO_LABEL.at(f"{where}.label", value))
        return
    given = [edge for edge in EDGES if edge in entry]
    if not given:
        _note_label(reading, where, label)
    elif len(given) < len(EDGES):
        reading.findings.append(_INCOMPLETE.at(where, f"only {', '.join(given)}"))
    elif _fractions(reading, where, entry):
        reading.drawn += 1
        yield from _mended(reading, where, Box(label=label, index=index, **_edges(entry)))


def _note_label(reading: _Reading, where: str, label: str) -> None:
    """Book an annotation that only names a class: `Mark as Negative`, or `Mark as <label>`."""
    reading.ledger.append(_change("label-only", "label", where, "ANN003", quote(label)))
    if label != NEGATIVE:
        reading.findings.append(_MARKED.at(where, quote(label)))


def _fractions(reading: _Reading, where: str, entry: Mapping[str, Any]) -> bool:
    """Say whether all four edges are numbers that can be meant as fractions; each that is not is an error."""
    fine = True
    for edge in EDGES:
        value = entry[edge]
        if isinstance(value, bool) or not isinstance(value, int | float):
            reading.findings.append(_NO_NUMBER.at(f"{where}.{edge}", _shown(value)))
        elif not PIXELS_BELOW <= value <= PIXELS_ABOVE:
            reading.findings.append(_PIXELS.at(f"{where}.{edge}", str(value)))
        else:
            continue
        fine = False
    return fine


def _edges(entry: Mapping[str, Any]) -> dict[str, float]:
    left, top, right, bottom = (float(entry[edge]) for edge in EDGES)
    return {"xmin": left, "ymin": top, "xmax": right, "ymax": bottom}


def _mended(reading: _Reading, where: str, box: Box) -> Iterator[Box]:
    """Yield the box sorted and clipped as the policy says, unless it is left out."""
    seen = spelled(box)
    outside = max(-box.xmin, -box.ymin, -box.xmax, -box.ymax, *(edge - 1 for edge in _sides(box)))
    turned = box.xmin > box.xmax or box.ymin > box.ymax
    kept = True
    if turned:
        kept = _book(reading, "sorted", _TURNED, where, seen)
    if outside > TOLERANCE:
        kept = _book(reading, "clipped", _OUTSIDE, where, seen) and kept
    elif outside > 0:
        reading.ledger.append(_change("clipped", "box", where, "BOX201", seen))
    if not kept:
        reading.ledger.append(
            _change("dropped", "box", where, "BOX201" if outside > TOLERANCE else "BOX202", seen)
        )
        return
    whole = _clipped(box)
    if whole.xmin < whole.xmax and whole.ymin < whole.ymax:
        yield whole
        return
    reading.findings.append(speck_finding(where, seen, reading.policy))
    reading.ledger.append(_change("dropped", "box", where, "BOX202", seen))


def _book(reading: _Reading, action: Action, rules: Mapping[BoxPolicy, Rule], where: str, seen: str) -> bool:
    """Report an odd box; say whether the policy mends it, and then write that in the ledger."""
    rule = rules[reading.policy]
    reading.findings.append(rule.at(where, seen))
    if reading.policy != "clip":
        return False
    reading.ledger.append(_change(action, "box", where, rule.code, seen))
    return True


def _sides(box: Box) -> tuple[float, float, float, float]:
    return box.xmin, box.ymin, box.xmax, box.ymax


def _clipped(box: Box) -> Box:
    left, top, right, bottom = (min(max(edge, 0.0), 1.0) for edge in _sides(box))
    return replace(box, xmin=min(left, right), ymin=min(top, bottom), xmax=max(left, right), ymax=max(top, bottom))


def spelled(box: Box) -> str:
    """Return the box's edges and label as messages show them, under the names that the file uses."""
    edges = ", ".join(f"{name}={edge:.6g}" for name, edge in zip(EDGES, _sides(box), strict=True))
    return f"{edges}, {quote(box.label)}"


def _change(action: Action, what: Literal["picture", "box", "label"], where: str, code: str, value: str) -> Change:
    return Change(action=action, what=what, where=where, code=code, value=value)
