"""Tables as in TensorFlow's tutorials: one row a box, with the picture's name, its size, the class and the edges.

Edges are pixels, divided by the size as they are, as the tutorials' `generate_tfrecord.py` does.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import count, groupby
from pathlib import Path
from typing import IO

from ..dataset import Box, Dataset, Picture, SplitName
from ..errors import OdbuildError
from ..findings import Finding, Rule, place, quote
from ..packed import pack
from . import layout, plain
from .files import Files
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
    note_background,
    over,
    usable_file,
    usable_label,
)
from .sizes import measured

_EDGES = ("xmin", "ymin", "xmax", "ymax")
COLUMNS = ("filename", "class", *_EDGES)
"""Columns that a table needs, in any order; it may also have width, height and group."""

HOLDS = f"a table (.csv) with the columns {', '.join(COLUMNS)}"
"""What a folder of this format holds, for messages."""

_DELIMITERS = ",;\t"

_LONGEST = 1 << 20
"""Bytes of a line from which on it is not read; one of a table of boxes has some hundred."""

_PEEK = 1 << 16
"""Bytes in which the first line of a table ends."""

_BROKEN = Rule("ANN001", "error", "a row cannot be read", "mend the table, or save it again")
_NO_NUMBER = Rule(
    "ANN007", "error", "an edge is not a number", "give pixels, with a point where there are fractions"
)
_NO_SIZE = Rule(
    "IMG104",
    "error",
    "the size of a picture is not in its row and cannot be read from its file",
    "write width and height into the row, or save the picture again",
)
_TWO_TABLES = Rule(
    "ANN006",
    "error",
    "two tables have boxes of one label in a picture, and whether the second repeats the first is not known",
    "leave one of the tables, or put all rows of the picture into one",
)
_UNEQUAL = Rule("ANN001", "error", "rows of one picture differ in its width, height or group", "make them equal")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Table:
    """A table's form.

    Attributes:
        file: where it lies, below the root.
        delimiter: between its columns.
        columns: where the columns of each name stand, in lower case, from 0.
    """

    file: str
    delimiter: str
    columns: Mapping[str, int]

    @property
    def side(self) -> SplitName:
        """The side that the table is of; empty for none."""
        return layout.side(self.file.rpartition("/")[2]) or layout.side_of_path(self.file)


@dataclass(kw_only=True, slots=True)
class _Names:
    """What the rows of all tables so far say of pictures, by their keys.

    Attributes:
        numbers: of the rows, from 0 and through all tables, as one picture may stand in two.
        spelled: the longest name of each.
        tables: the first table that has a box of each, for each label.
        doubled: those that two tables of one side have boxes of one label of.
    """

    numbers: Iterator[int] = field(default_factory=count)
    spelled: dict[str, str] = field(default_factory=dict)
    tables: dict[tuple[str, str], _Table] = field(default_factory=dict)
    doubled: set[str] = field(default_factory=set)


def recognise(files: Files) -> bool:
    """Say whether a table with the columns of boxes lies where they lie by custom."""
    return any(True for _ in _tables(files))


def read(root: Path, *, upright: bool = False) -> tuple[Dataset, list[Finding]]:
    """Read all tables that lie where they lie by custom, and look for the pictures that they name.

    Raises:
        OdbuildError: a table cannot be read.
    """
    reading = begin(Files(root), upright=upright)
    reading.findings += filter(None, map(reading.files.problem, _keys(reading.files)))
    names = _Names()
    rows = pack(row for table in _tables(reading.files) for row in _rows(reading, table, names)).by_key()
    named: set[str] = set()
    pictures = pack(
        picture
        for key, group in groupby(rows, key=lambda row: row.key)
        for picture in _picture(reading, named, key, group)
    )
    unnamed = layout.book_unnamed(reading, pictures, named)
    return finish(reading, "csv", (), pictures, len(named) + len(unnamed))


def _tables(files: Files) -> Iterator[_Table]:
    """Yield the tables of boxes that lie where they lie by custom."""
    for key in _keys(files):
        table = _table(files.root, key) if files.problem(key) is None else None
        if table is not None:
            yield table


def _keys(files: Files) -> Iterator[str]:
    """Yield the files that are named as tables are, links out of the folder among them."""
    for home in layout.homes(files):
        for name in sorted(files.names(home)):
            key = layout.join(home, name)
            if name.lower().endswith((".csv", ".tsv")) and (files.root / key).is_file():
                yield key


def _table(root: Path, file: str) -> _Table | None:
    """Return the form of a table; None for a file that lacks one of its columns, or has one twice."""
    with (root / file).open("rb") as opened:
        head = opened.readline(_PEEK).decode("utf-8-sig", "replace")
    for delimiter in _DELIMITERS:
        names = [name.strip().strip('"').casefold() for name in head.split(delimiter)]
        columns = {name: at for at, name in enumerate(names)}
        if columns.keys() >= set(COLUMNS) and len(columns) == len(names):
            return _Table(file=file, delimiter=delimiter, columns=columns)
    return None


def _rows(reading: Reading, table: _Table, names: _Names) -> Iterator[Picture]:
    """Yield a picture with the one box, or none, of each row, whether it has a file or not."""
    reading.sources.append(table.file)
    find = cache(partial(_find, reading.files, _folders(reading.files, table)))
    problem_of, measure = cache(reading.files.problem), cache(partial(measured, reading))
    split = table.side
    for (line, row), number in zip(_lines(reading, table), names.numbers, strict=False):
        where = spot(table.file, line)
        if len(row) != len(table.columns):
            problem = _BROKEN.at(where, f"{len(row)} columns instead of {len(table.columns)}")
            lose_box(reading, table.file, number, problem)
            continue
        cells = {name: row[at].strip() for name, at in table.columns.items()}
        width, height = (plain.whole(cells.get(side, "")) or 0 for side in ("width", "height"))
        key = find(cells["filename"])
        before = names.spelled.get(key, cells["filename"])
        names.spelled[key] = max(before, cells["filename"], key=len)
        recorded = (width, height) if width > 0 and height > 0 else None
        size = UNKNOWN if problem_of(key) else recorded or measure(key)
        picture = Picture(key=key, boxes=(), split=split, size=size, group=cells.get("group", ""))
        box = _box(cells, where, number, size)
        if box is not None and not layout.may_be_one(before, cells["filename"]):
            box = layout.TWO_NAMES.at(where, f"{quote(before)}, {quote(cells['filename'])}")
        elif isinstance(box, Box):
            reading.findings += _doubled(names, key, box.label, table)
        if isinstance(box, Finding):
            lose_box(reading, picture.key, number, box)
        elif box is not None and not usable_label(reading, where, box.label):
            book_box(reading, picture.key, number, "LBL305", quote(box.label))
        elif box is not None:
            reading.drawn += 1
            picture = replace(picture, boxes=(box,))
        yield picture


def _doubled(names: _Names, key: str, label: str, table: _Table) -> Iterator[Finding]:
    """Tell, once, of a picture of which two tables of one side have boxes of one label."""
    first = names.tables.setdefault((key, label), table)
    if first is not table and key not in names.doubled and (not table.side or first.side in ("", table.side)):
        names.doubled.add(key)
        yield _TWO_TABLES.at(place(key), f"{quote(first.file)}, {quote(table.file)}")


def _lines(reading: Reading, table: _Table) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of its last line and the cells of each row below the head that holds any."""
    path = reading.root / table.file
    with path.open("rb") as file:
        rows = csv.reader(_decoded(file), delimiter=table.delimiter, strict=True)
        try:
            next(rows)
            yield from ((rows.line_num, row) for row in rows if any(row))
        except csv.Error as error:
            reading.unread.append(_BROKEN.at(spot(table.file, rows.line_num), str(error)))
            reading.findings += reading.unread[-1:]
        except UnicodeDecodeError as error:
            raise OdbuildError(f"{path} is not UTF-8 in line {rows.line_num + 1}. Save it as UTF-8.") from error


def _decoded(file: IO[bytes]) -> Iterator[str]:
    while line := file.readline(_LONGEST):
        if len(line) == _LONGEST:
            raise csv.Error(f"the line is longer than {_LONGEST:,} bytes")
        yield line.decode("utf-8-sig")


def _folders(files: Files, table: _Table) -> list[str]:
    """Return the folders in which a table's pictures may lie: its own, those of its side, and those of no side.

    Those of other sides, which may have other pictures of the same names, are taken where its own side has none.
    """
    own, side = table.file.rpartition("/")[0], table.side
    sides = {home: layout.side_of_path(f"{home}/x") for home in layout.homes(files)}
    every = not side or side not in sides.values()
    fit = [home for home in sides if every or home == own or sides[home] in ("", side)]
    return sorted(fit, key=lambda home: (home != own, sides[home] != side))


def _find(files: Files, folders: Sequence[str], filename: str) -> str:
    """Return the key of the picture that a table means by a name, or of the missing one."""
    slashed = filename.replace("\\", "/")
    names = (filename, slashed, slashed.rpartition("/")[2])
    keys = (layout.join(folder, name) for name in names for folder in folders)
    return next((key for key in keys if files.exists(key)), "") or layout.missing(files, folders, filename)


def _box(cells: Mapping[str, str], where: str, number: int, size: tuple[int, int] | None) -> Box | Finding | None:
    """Return the box of a row, what is wrong with it, or None where the row says that there is none.

    Args:
        cells: of the row, by column.
        where: the row.
        number: of the row.
        size: the picture's width and height in pixels.
    """
    if not any(cells[name] for name in COLUMNS[1:]):
        return None
    if size is None:
        return _NO_SIZE.at(where, quote(cells["filename"]))
    edges = [plain.number(cells[name]) for name in _EDGES]
    wrong = [f"{name} is {quote(cells[name])}" for name, edge in zip(_EDGES, edges, strict=True) if edge is None]
    if wrong:
        return _NO_NUMBER.at(where, wrong[0])
    found = [edge for edge in edges if edge is not None]
    if odd := far(found, size, cells["class"]):
        return FAR.at(where, odd)
    return over(size, found, cells["class"], number)


def _picture(reading: Reading, named: set[str], key: str, rows: Iterable[Picture]) -> Iterator[Picture]:
    """Yield the picture of all rows that name it, or none where it has no file, and take it up as named."""
    named.add(key)
    found = list(rows)
    boxes = tuple(box for row in found for box in row.boxes)
    if not usable_file(reading, key, boxes):
        return
    sizes = {row.size for row in found if row.size}
    groups = {row.group for row in found if row.group}
    if len(sizes) > 1 or len(groups) > 1:
        shown = " and ".join(str(each) for each in sorted(sizes if len(sizes) > 1 else groups))
        reading.findings.append(_UNEQUAL.at(place(key), quote(shown)))
    sides = {row.split for row in found} - {""} or {layout.side_of_path(key)}
    picture = Picture(
        key=key,
        boxes=boxes,
        split=layout.one_side(reading, key, sides),
        size=next(iter(sizes), None),
        group=next(iter(groups), ""),
    )
    note_background(reading, picture)
    yield picture
