"""YOLO: a text file of boxes for each picture, and the names of the classes in `data.yaml`, or a list of them.

A picture's labels lie where Ultralytics looks for them, in `labels` across from `images`, or beside the picture. A
picture without them is background.
"""

import math
import posixpath
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from ..dataset import Box, Dataset, Picture, SplitName
from ..errors import OdbuildError, UnreadableError, did_you_mean
from ..findings import SHOWN, Change, Finding, Rule, place, quote
from ..packed import pack
from . import layout, plain, strict
from .files import Files
from .plain import spot
from .reading import (
    NO_NUMBER,
    PIXELS,
    Reading,
    begin,
    book_box,
    finish,
    is_fraction,
    lose_box,
    lose_picture,
    note_background,
    usable_file,
    usable_label,
)

HOLDS = "data.yaml with names, or classes.txt, and a text file of labels for each picture"
"""What a folder of this format holds, for messages."""

_MOST_CONFIG = 1 << 18
"""Bytes of a data.yaml that is still parsed: ten thousand names."""

_MOST_LABELS = 1 << 24
"""Bytes of one picture's labels that are still read: a hundred thousand boxes, or as many corners of polygons."""

_LONGEST = 4096
"""Characters of a path; the system opens none that is longer."""

_NAMES = ("classes.txt", "obj.names", "_darknet.labels")
"""Files that hold the names of the classes, one a line, where no config does."""

SIDES: dict[str, SplitName] = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "test": "test",
    "unsplit": "",
}
"""Fields of a config that name the pictures of a side; the last, which is ours, those on no side."""

_MIRRORS = ("images", "JPEGImages")
"""Folders of pictures that have a folder `labels` beside them."""

_LABEL_LINE = re.compile(r"\s*\d+(\.0*)?(\s+[-+.\deE]+){4,}\s*")

_NOTHING = {"", "~", "null", "Null", "NULL"}

_BOX_COLUMNS = 5

_COLUMNS = Rule(
    "ANN001",
    "error",
    "a line is neither a box (class, x and y of its centre, width, height) nor a polygon (class, x y, x y, ...)",
    "mend the line",
)
_UNREADABLE = Rule("ANN001", "error", "a file of labels cannot be read", "save it as UTF-8 text")
_SECOND = Rule("ANN006", "error", "a second file holds labels of the same picture", "delete one of the two")
_COUNT = Rule("ANN001", "error", "nc is not the number of names", "correct nc or names")
_NO_CLASS = Rule("LBL301", "error", "a class has no name", "add it to the names, or correct the number")
_POLYGON = Rule("ANN001", "info", "polygons became the upright boxes around them")
_UNNAMED = Rule(
    "ANN003",
    "warning",
    "no side in the config names a picture, so it was left out",
    "add its folder to the config",
)
_NO_SIDE = Rule("ANN001", "info", "the pictures of one side are not here, so it was left out")
_ODD_PATH = Rule(
    "ANN001",
    "info",
    "a path in the config leads out of the folder, and what it means in it was taken",
    "write it as it was taken",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Config:
    """What a data set says of itself.

    Attributes:
        file: where it says so, below the root.
        names: of the classes by their number.
        sides: files or folders of pictures, as spelled, for each side; none where it names none.
        base: folder that these are relative to, as spelled.
        extra: numbers of keypoints behind a box in each line.
    """

    file: str
    names: Mapping[int, str]
    sides: tuple[tuple[SplitName, str], ...] = ()
    base: str = ""
    extra: int = 0


@dataclass(kw_only=True, slots=True)
class _Yolo:
    """A reading of YOLO on its way.

    Attributes:
        reading: the common part.
        config: what the data set says of itself.
        sides: each picture's, in which it is named.
        labels: files of labels met by walking folders.
        named: the first line of a list that names each picture.
        lost: pictures that are booked as left out already.
    """

    reading: Reading
    config: _Config
    sides: dict[str, set[SplitName]] = field(default_factory=dict)
    labels: set[str] = field(default_factory=set)
    named: dict[str, str] = field(default_factory=dict)
    lost: int = 0


def recognise(files: Files) -> bool:
    """Say whether the folder holds a config of YOLO, or names of classes and a file of labels."""
    if _config_files(files):
        return True
    named = any(_names_files(files)) or {"images", "labels"} <= {*files.names("")}
    return named and any(_is_labels(files.root / key) for key in _samples(files))


def read(root: Path, *, upright: bool = False) -> tuple[Dataset, list[Finding]]:
    """Read the config, the pictures that it names or that lie by custom, and the labels of each.

    Raises:
        OdbuildError: nothing names the classes, or nothing of what the config names is there.
    """
    reading = begin(Files(root), upright=upright)
    yolo = _Yolo(reading=reading, config=_config(reading))
    reading.sources.append(yolo.config.file)
    _find_pictures(yolo)
    found = {key: [*filter(reading.files.exists, labels_paths(key))] for key in sorted(yolo.sides)}
    pairs = {key: next(iter(paths), None) for key, paths in found.items()}
    known = set(filter(None, pairs.values()))
    known.update(_seconds(reading, filter(None, found.values()), known))
    orphans = sorted(yolo.labels.difference(known))
    _pair_orphans(reading, pairs, [key for key in orphans if _means_picture(reading, key)])
    pictures = (picture for key, labels in pairs.items() for picture in _picture(yolo, key, labels))
    packed = pack(pictures)
    names = [name for _, name in sorted(yolo.config.names.items())]
    return finish(reading, "yolo", names, packed, len(pairs) + yolo.lost)


def _seconds(reading: Reading, found: Iterable[Sequence[str]], known: Container[str]) -> Iterator[str]:
    """Yield the files of labels of pictures that have others, too, and are of no other picture; they are told.

    Args:
        reading: takes findings.
        found: the files of labels of each picture that has some, its own first.
        known: those that a picture has for its own, and those that were yielded.
    """
    for labels, *others in found:
        for path in others:
            if path not in known and _means_picture(reading, path):
                reading.findings.append(_SECOND.at(quote(path), quote(labels)))
                yield path


def _pair_orphans(reading: Reading, pairs: dict[str, str | None], orphans: Iterable[str]) -> None:
    """Give each file of labels its picture, missed by the case of its ending or not there at all."""
    bare = {
        path[: -len(".txt")]: key
        for key, labels in pairs.items()
        if labels is None
        for path in reversed(labels_paths(key))
    }
    for labels in orphans:
        picture = bare.get(labels[: -len(".txt")]) or _picture_of(labels)
        other = pairs.get(picture)
        if other is None:
            pairs[picture] = labels
        else:
            reading.findings.append(_SECOND.at(quote(labels), quote(other)))


def _config_files(files: Files) -> list[str]:
    """Return the configs in the root, those of Ultralytics first."""
    names = sorted(files.names(""), key=lambda name: (name.endswith(".data"), name != "data.yaml", name))
    return [name for name in names if name.endswith((".yaml", ".yml", ".data")) and _is_config(files, name)]


def _is_config(files: Files, name: str) -> bool:
    if files.problem(name) is not None:
        return False
    with (files.root / name).open("rb") as file:
        return re.search(rb"(?m)^(\xef\xbb\xbf)?names\s*[:=]", file.read(_MOST_CONFIG)) is not None


def _names_files(files: Files) -> Iterator[str]:
    keys = (layout.join(folder, name) for folder in _places(files) for name in _NAMES)
    return (key for key in keys if files.problem(key) is None)


def _places(files: Files) -> list[str]:
    """Return the folders in which labels lie by custom."""
    homes = layout.homes(files)
    return [*homes, *(layout.join(home, inner) for home in homes for inner in ("labels", "images"))]


def _samples(files: Files) -> Iterator[str]:
    """Yield one file that may hold labels, and is not empty, from each folder where they lie by custom."""
    for folder in _places(files):
        names = (name for name in files.names(folder) if name.lower().endswith(".txt") and name not in _NAMES)
        keys = (layout.join(folder, name) for name in sorted(names))
        full = (key for key in keys if files.problem(key) is None and (files.root / key).stat().st_size)
        yield from islice(full, 1)


def _is_labels(path: Path) -> bool:
    """Say whether the first line of a file is one of labels."""
    with path.open("rb") as file:
        return _LABEL_LINE.fullmatch(file.readline(1 << 16).decode("ascii", "replace")) is not None


def _config(reading: Reading) -> _Config:
    files = reading.files
    found = _config_files(files)
    if len(found) > 1 and found[0] != "data.yaml":
        raise OdbuildError(f"{reading.root} holds several configs ({', '.join(found)}); leave one.")
    if found:
        return _darknet(files, found[0]) if found[0].endswith(".data") else _ultralytics(reading, found[0])
    file = next(_names_files(files), None)
    if file is None:
        raise OdbuildError(
            f"{reading.root} holds labels of YOLO, but nothing names its classes. "
            "Write classes.txt with the name of class 0 in the first line, class 1 in the second, and so on."
        )
    return _Config(file=file, names=_listed_names(files, file))


def _listed_names(files: Files, key: str) -> dict[int, str]:
    """Return the names that stand one a line; a blank line keeps its number, which then has no name."""
    return {line - 1: name for line, name in plain.lines(plain.text(files.root / key, _MOST_CONFIG))}


def _darknet(files: Files, file: str) -> _Config:
    """Read Darknet's `obj.data`: a name, `=` and a value in each line."""
    lines = plain.lines(plain.text(files.root / file, _MOST_CONFIG))
    fields = {name.strip(): value.strip() for name, _, value in (line.partition("=") for _, line in lines)}
    named = fields.get("names", "")
    names = _resolve(files, named)
    if not names or files.problem(names) is not None:
        raise OdbuildError(f"{files.root / file} names the file of classes {quote(named)}, which is not here.")
    sides = tuple((side, fields[name]) for name, side in SIDES.items() if name in fields)
    return _Config(file=file, names=_listed_names(files, names), sides=sides)


def _ultralytics(reading: Reading, file: str) -> _Config:
    path = reading.root / file
    fields = _yaml(path)
    names = _names(fields["names"], path)
    count = fields.get("nc")
    if isinstance(count, str) and plain.whole(count) != len(names):
        reading.findings.append(_COUNT.at(f"{file}: nc", f"{quote(count)} for {len(names)} names"))
    base = next(iter(_texts(fields, "path", path)), "")
    points = [plain.whole(text) or 0 for text in _texts(fields, "kpt_shape", path)]
    return _Config(
        file=file,
        names=names,
        sides=tuple((side, text) for name, side in SIDES.items() for text in _texts(fields, name, path)),
        base=base,
        extra=math.prod(points) if points else 0,
    )


def _yaml(path: Path) -> dict[str, Any]:
    """Parse a mapping whose scalars all stay text: a class may be named `no`, which YAML takes for false."""
    import yaml

    text = plain.text(path, _MOST_CONFIG)
    try:
        loader = yaml.BaseLoader(text)
        tree = loader.get_single_node()
        _require_unique(tree, path)
        fields = loader.construct_document(tree) if tree else None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        why = getattr(error, "problem", None) or "it holds characters that YAML does not allow"
        raise OdbuildError(f"{path} is not valid YAML{where}: {why}. Mend it.") from error
    except RecursionError as error:
        raise OdbuildError(f"{path} is nested too deeply to be a config. Mend it.") from error
    if not isinstance(fields, dict) or "names" not in fields:
        raise OdbuildError(f"{path} gives no names at its outermost level. Add the list of the classes' names.")
    return fields


def _require_unique(tree: Any, path: Path) -> None:
    """Refuse a mapping with a key that stands twice: the last would be taken without a word.

    Raises:
        UnreadableError: there is one.
    """
    left, seen = [tree], set()
    while left:
        node = left.pop()
        members = getattr(node, "value", None)
        if not isinstance(members, list) or id(node) in seen:
            continue
        seen.add(id(node))
        pairs = [member for member in members if isinstance(member, tuple)]
        left += [part for pair in pairs for part in pair] or members
        first: dict[str, Any] = {}
        for key, _ in pairs:
            # Several mappings may be merged into one.
            plain_key = isinstance(key.value, str) and key.value != "<<"
            other: Any = first.setdefault(key.value, key) if plain_key else key
            if other is not key:
                lines = f"{other.start_mark.line + 1} and {key.start_mark.line + 1}"
                raise UnreadableError(
                    f"{path}: the key {quote(key.value)} stands twice in one mapping, in lines {lines}. Keep one.",
                    strict.TWICE,
                )


def _names(value: object, path: Path) -> dict[int, str]:
    """Return the names by number, given as a list, or as a mapping from the numbers."""
    pairs = list(enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, dict) else ())
    numbers = [plain.whole(str(number)) if isinstance(number, str | int) else None for number, _ in pairs]
    if not pairs or None in numbers or not all(isinstance(name, str) for _, name in pairs):
        raise OdbuildError(f"{path}: names is neither a list of names nor a mapping from numbers to names.")
    if len(set(numbers)) < len(numbers):
        raise OdbuildError(f"{path}: names gives two names to one number.")
    return {number: name for number, (_, name) in zip(numbers, pairs, strict=True) if number is not None}


def _texts(fields: Mapping[str, Any], name: str, path: Path) -> list[str]:
    """Return the texts in a field that may be absent, one text, or a list of them."""
    value = fields.get(name)
    given = value if isinstance(value, list) else [] if value is None else [value]
    texts = [text for text in given if isinstance(text, str)]
    if len(texts) < len(given):
        raise OdbuildError(f"{path}: {name} is neither a text nor a list of texts.")
    return [text for text in texts if text not in _NOTHING]


def _resolve(files: Files, text: str, base: str = "") -> str | None:
    """Return the key that a path means, "" for the root; None where nothing is there.

    Paths are written for another folder or another machine as often as not, so the longest tail of the path
    that exists below the root is taken, unless it lacks a folder that names a side. Nothing outside is ever looked
    at.

    Args:
        files: of the data set.
        text: the path as spelled.
        base: folder that it is relative to, as spelled.
    """
    if len(text) > _LONGEST:
        return None
    plain_key = posixpath.join(base, text.removeprefix("./"))
    if files.exists(plain_key):
        return plain_key
    whole = posixpath.normpath(posixpath.join(base, text).replace("\\", "/"))
    parts = [part for part in whole.split("/") if part not in ("", ".", "..")]
    if not parts:
        return ""
    needed = [at for at, part in enumerate(parts) if layout.side_of_folder(part) and part != files.root.name]
    keys = ("/".join(parts[at:]) for at in range(min(needed, default=len(parts) - 1) + 1))
    return next((key for key in keys if files.exists(key)), None)


def _find_pictures(yolo: _Yolo) -> None:
    """Find the pictures that the config names, or those that lie by custom where it names none."""
    reading, config = yolo.reading, yolo.config
    if not config.sides:
        for folder in _customary(reading.files):
            _add_folder(yolo, folder, None)
        return
    missing = []
    for side, text in config.sides:
        key = _resolve(reading.files, text, config.base)
        if key is None:
            missing.append(text)
            reading.findings.append(_NO_SIDE.at(config.file, f"{side}: {quote(text)}"))
            continue
        if posixpath.normpath(text).startswith(("/", "..")) or "\\" in text:
            taken = f"{side}: {quote(text)}, taken as {quote(key or '.')}"
            reading.findings.append(_ODD_PATH.at(config.file, taken))
        if key.endswith(".txt"):
            _add_list(yolo, key, side)
        else:
            _add_folder(yolo, key, side)
    if len(missing) == len(config.sides):
        near = did_you_mean(missing[0][:_LONGEST].strip("./"), layout.homes(reading.files))
        more = ", ..." if len(missing) > SHOWN else ""
        names = ", ".join(map(quote, missing[:SHOWN]))
        raise OdbuildError(
            f"{reading.root / config.file} names {names}{more}, but nothing of it is here."
            f"{near} Give paths relative to the file."
        )
    _book_unnamed(yolo)


def _book_unnamed(yolo: _Yolo) -> None:
    """Book the pictures that lie where they lie by custom but are not of the data set."""
    reading = yolo.reading
    found = {key for folder in _customary(reading.files) for key in layout.walk(reading, folder)}
    for key in sorted(key for key in found if layout.is_picture(key) and key not in yolo.sides):
        lose_picture(reading, key, _UNNAMED.at(place(key)), (), "not named by the config")
        yolo.lost += 1


def _customary(files: Files) -> list[str]:
    """Return the folders of pictures where nothing names them: of pictures, else of sides, else the root."""
    pictures = [name for name in _MIRRORS if files.exists(name)]
    sides = [home for home in layout.homes(files) if "/" not in home and layout.side_of_folder(home)]
    return pictures or sides or [""]


def _add_folder(yolo: _Yolo, folder: str, side: SplitName | None) -> None:
    """Add the pictures of a folder; their side is the given one, or else the one that their folders name."""
    across = _across(f"{folder}/x", *_MIRRORS).rpartition("/")[0]
    for key in layout.walk(yolo.reading, folder):
        if layout.is_picture(key):
            yolo.sides.setdefault(key, set()).add(layout.side_of_path(key) if side is None else side)
        elif key.lower().endswith(".txt"):
            yolo.labels.add(key)
    if across != folder:
        yolo.labels.update(key for key in layout.walk(yolo.reading, across) if key.lower().endswith(".txt"))


def _add_list(yolo: _Yolo, file: str, side: SplitName) -> None:
    """Add the pictures that a list names, also those that are not there."""
    reading = yolo.reading
    problem = reading.files.problem(file)
    if problem is not None:
        reading.findings.append(problem)
        return
    reading.sources.append(file)
    lines = plain.text(reading.root / file).replace("\r\n", "\n").split("\n")
    for number, line in enumerate(lines, 1):
        if line.strip():
            _add_line(yolo, line, file, number, side)


def _add_line(yolo: _Yolo, line: str, file: str, number: int, side: SplitName) -> None:
    key = _resolve(yolo.reading.files, line, file.rpartition("/")[0])
    if key is None:
        key = line
    first = yolo.named.setdefault(key, line)
    if layout.may_be_one(first, line):
        yolo.sides.setdefault(key, set()).add(side)
        return
    problem = layout.TWO_NAMES.at(spot(file, number), f"{quote(first)}, {quote(line)}")
    lose_picture(yolo.reading, line, problem, (), "the name of another picture")
    yolo.lost += 1


def _across(key: str, *folders: str) -> str:
    """Return the path in `labels` for one in a folder, by the innermost folder of that name; others stay."""
    for folder in folders:
        before, middle, after = f"/{key}".rpartition(f"/{folder}/")
        if middle:
            return f"{before}/labels/{after}"[1:]
    return key


def labels_paths(key: str) -> list[str]:
    """Return where a picture's labels may lie: where Ultralytics looks, beside the picture, where Darknet looks.

    Ultralytics knows `labels` across from `images` and what is beside the picture, Darknet `JPEGImages`, too.
    """
    return list(dict.fromkeys(_text_of(path) for path in (_across(key, "images"), key, _across(key, *_MIRRORS))))


def _text_of(key: str) -> str:
    folder, slash, name = key.rpartition("/")
    return f"{folder}{slash}{name.rpartition('.')[0] or name}.txt"


def _picture_of(labels: str) -> str:
    """Return the key of the picture that a file of labels without one should have."""
    before, middle, after = f"/{labels[: -len('.txt')]}".rpartition("/labels/")
    return f"{before}/images/{after}.jpg"[1:] if middle else f"{after}.jpg"[1:]


def _means_picture(reading: Reading, key: str) -> bool:
    """Say whether a text file without a picture is one of labels, and no list or note."""
    if key.rpartition("/")[2] in _NAMES or key in reading.sources:
        return False
    problem = reading.files.problem(key)
    if problem is not None:
        reading.findings.append(problem)
    return problem is None and _is_labels(reading.root / key)


def _picture(yolo: _Yolo, key: str, labels: str | None) -> Iterator[Picture]:
    """Yield a picture with its boxes, or none where it has no file or its labels cannot be read."""
    reading = yolo.reading
    lines = [] if labels is None else _lines(reading, labels)
    if isinstance(lines, Finding):
        lose_picture(reading, key, lines, (), f"labels in {quote(str(labels))}")
        return
    boxes = tuple(box for at, line in lines for box in _box(yolo, key, spot(str(labels), at), at, line))
    if usable_file(reading, key, boxes):
        split = layout.one_side(reading, key, yolo.sides.get(key, ()))
        picture = Picture(key=key, boxes=boxes, split=split)
        note_background(reading, picture)
        yield picture


def _lines(reading: Reading, labels: str) -> list[tuple[int, str]] | Finding:
    problem = reading.files.problem(labels)
    if problem is not None:
        return problem
    try:
        lines = plain.lines(plain.text(reading.root / labels, _MOST_LABELS))
    except plain.TextError as error:
        return _UNREADABLE.at(quote(labels), str(error))
    reading.sources.append(labels)
    return lines


def _box(yolo: _Yolo, key: str, where: str, at: int, line: str) -> Iterator[Box]:
    """Yield the box of a line, the first being line 1; one that holds none is booked."""
    reading = yolo.reading
    words = line.split()
    edges = _edges(yolo.config, words, where)
    if isinstance(edges, Finding):
        lose_box(reading, key, at - 1, edges)
        return
    label = yolo.config.names[int(float(words[0]))]
    if not usable_label(reading, where, label):
        book_box(reading, key, at - 1, "LBL305", quote(label))
        return
    if _is_polygon(yolo.config, words):
        reading.findings.append(_POLYGON.at(where))
        reading.ledger.append(
            Change(action="boxed", what="box", where=place(key, at - 1), code="ANN001", value=quote(line))
        )
    reading.drawn += 1
    left, top, right, bottom = edges
    yield Box(label=label, ymin=top, xmin=left, ymax=bottom, xmax=right, index=at - 1)


def _is_polygon(config: _Config, words: Sequence[str]) -> bool:
    return len(words) > _BOX_COLUMNS and len(words) % 2 == 1 and not config.extra


def _edges(config: _Config, words: Sequence[str], where: str) -> tuple[float, float, float, float] | Finding:
    """Return left, top, right and bottom of a line's box, as fractions, or what is wrong with the line."""
    polygon = _is_polygon(config, words)
    if not polygon and len(words) not in (_BOX_COLUMNS, _BOX_COLUMNS + config.extra):
        return _COLUMNS.at(where, f"{len(words)} columns")
    if plain.whole(words[0]) not in config.names:
        return _NO_CLASS.at(where, quote(words[0]))
    values = []
    for word in words[1:] if polygon else words[1:_BOX_COLUMNS]:
        value = plain.number(word)
        if value is None:
            return NO_NUMBER.at(where, quote(word))
        if not is_fraction(value):
            return PIXELS.at(where, quote(word))
        values.append(value)
    if polygon:
        return min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])
    x, y, width, height = values
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2
