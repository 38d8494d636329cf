"""Pictures in columns: a tenth of the memory that they take as objects, which are made anew when asked for."""

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

from .dataset import Box, Picture, Span, SplitName, labels_of

_DIFFICULT, _CROWD = 1, 2

Row = tuple[str, float, float, float, float, int, bool, bool]
"""What a box says: label, ymin, xmin, ymax, xmax, index, and whether it is difficult and a crowd."""

_Rest = tuple[SplitName, tuple[int, int] | None, str, str | None]
"""Split, size, group and the span's file: what many pictures have in common."""


class _Columns:
    """The columns; box rows of picture `row` are `starts[row]` up to `starts[row + 1]`."""

    __slots__ = ("edges", "indices", "keys", "labels", "marks", "names", "numbers", "rests", "spans", "starts")

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.starts = array("Q", [0])
        self.numbers = array("I")
        self.rests: dict[_Rest, int] = {}
        self.spans = array("Q")
        self.edges = array("d")
        self.labels = array("I")
        self.names: dict[str, int] = {}
        self.indices = array("I")
        self.marks = bytearray()

    def add(self, picture: Picture) -> None:
        span = picture.span
        rest = (picture.split, picture.size, picture.group, None if span is None else span.file)
        self.keys.append(picture.key)
        self.numbers.append(self.rests.setdefault(rest, len(self.rests)))
        self.spans.extend((0, 0) if span is None else (span.offset, span.length))
        for box in picture.boxes:
            self.edges.extend((box.ymin, box.xmin, box.ymax, box.xmax))
            self.labels.append(self.names.setdefault(box.label, len(self.names)))
            self.indices.append(box.index)
            self.marks.append(_DIFFICULT * box.difficult | _CROWD * box.crowd)
        self.starts.append(len(self.marks))


class Rows(Sequence[Box]):
    """Boxes that are made when they are asked for; equal to any sequence of equal boxes."""

    __slots__ = ("_rows",)

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows

    def rows(self) -> Sequence[Row]:
        """Return what each box says, without making the boxes."""
        return self._rows

    def labels(self) -> Iterable[str]:
        """Return the label of each box, without making the boxes."""
        return [row[0] for row in self.rows()]

    def __len__(self) -> int:
        return len(self.rows())

    def __iter__(self) -> Iterator[Box]:
        for label, ymin, xmin, ymax, xmax, index, difficult, crowd in self.rows():
            yield Box(
                label=label,
                ymin=ymin,
                xmin=xmin,
                ymax=ymax,
                xmax=xmax,
                index=index,
                difficult=difficult,
                crowd=crowd,
            )

    @overload
    def __getitem__(self, index: int) -> Box: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Box, ...]: ...
    def __getitem__(self, index: int | slice) -> Box | tuple[Box, ...]:
        """Return a box, made anew, or some of them."""
        return tuple(self)[index]

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if isinstance(other, Sequence) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))

    def __reduce__(self) -> tuple[type, tuple[list[Box]]]:
        """Let one picture be sent to another process without all the others."""
        return tuple, (list(self),)


class _Packed(Rows):
    """The boxes of one packed picture."""

    __slots__ = ("_columns", "_first", "_last", "_names")

    def __init__(self, columns: _Columns, names: Sequence[str], first: int, last: int) -> None:
        self._columns = columns
        self._names = names
        self._first = first
        self._last = last

    def __len__(self) -> int:
        return self._last - self._first

    def rows(self) -> list[Row]:
        columns, first, last = self._columns, self._first, self._last
        edges, names = iter(columns.edges[4 * first : 4 * last]), self._names
        return [
            (names[label], ymin, xmin, ymax, xmax, index, mark & _DIFFICULT != 0, mark & _CROWD != 0)
            for label, ymin, xmin, ymax, xmax, index, mark in zip(
                columns.labels[first:last],
                edges,
                edges,
                edges,
                edges,
                columns.indices[first:last],
                columns.marks[first:last],
                strict=True,
            )
        ]

    def labels(self) -> Iterable[str]:
        return map(self._names.__getitem__, self._columns.labels[self._first : self._last])


class Pictures(Sequence[Picture]):
    """Pictures as a sequence, equal to any other of equal pictures."""

    __slots__ = ("_columns", "_names", "_rests", "_rows")

    def __init__(self, columns: _Columns, rows: Sequence[int]) -> None:
        self._columns = columns
        self._rows = rows
        self._names = list(columns.names)
        self._rests = list(columns.rests)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Picture: ...
    @overload
    def __getitem__(self, index: slice) -> "Pictures": ...
    def __getitem__(self, index: int | slice) -> "Picture | Pictures":
        """Return a picture, made anew, or some of them."""
        if isinstance(index, slice):
            return Pictures(self._columns, self._rows[index])
        return self._picture(self._rows[index])

    def __iter__(self) -> Iterator[Picture]:
        return map(self._picture, self._rows)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(self) != len(other):
            return NotImplemented if not isinstance(other, Sequence) else False
        return all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(tuple(self))

    def keys(self) -> Iterator[str]:
        """Return the keys in order, without making the pictures."""
        return map(self._columns.keys.__getitem__, self._rows)

    def count_labels(self) -> Counter[str]:
        """Return how many boxes each label has, without making one."""
        columns = self._columns
        if len(self._rows) == len(columns.keys):
            counts = Counter(columns.labels)
        else:
            starts = columns.starts
            counts = Counter(it for row in self._rows for it in columns.labels[starts[row] : starts[row + 1]])
        return Counter({self._names[number]: count for number, count in counts.items()})

    def chosen(self, places: Iterable[int]) -> "Pictures":
        """Return the pictures at some places, in that order."""
        return Pictures(self._columns, array("Q", [self._rows[place] for place in places]))

    def spans(self) -> Iterator[tuple[str, Span | None]]:
        """Return the key of each picture and where its bytes lie, without making the pictures."""
        for row in self._rows:
            yield self._columns.keys[row], self._span(row)

    def groups(self) -> Iterator[str]:
        """Return the group of each picture, without making the pictures."""
        groups = [group for _, _, group, _ in self._rests]
        return (groups[self._columns.numbers[row]] for row in self._rows)

    def label_sets(self) -> Iterator[frozenset[str]]:
        """Yield the labels of each picture; few sets are different ones, so few are made."""
        columns, names = self._columns, self._names
        known: dict[bytes, frozenset[str]] = {}
        for row in self._rows:
            numbers = columns.labels[columns.starts[row] : columns.starts[row + 1]]
            found = known.get(numbers.tobytes())
            if found is None:
                found = known[numbers.tobytes()] = frozenset(names[number] for number in numbers)
            yield found

    def all_fit(self) -> bool:
        """Say whether every box is sorted and inside its picture."""
        edges = self._columns.edges
        return all(
            0 <= xmin < xmax <= 1 and 0 <= ymin < ymax <= 1
            for ymin, xmin, ymax, xmax in zip(edges[::4], edges[1::4], edges[2::4], edges[3::4], strict=True)
        )

    def by_key(self) -> "Pictures":
        """Return the pictures sorted by key; those of equal keys stay in their order."""
        keys = self._columns.keys
        return Pictures(self._columns, array("Q", sorted(self._rows, key=keys.__getitem__)))

    def _picture(self, row: int) -> Picture:
        columns = self._columns
        split, size, group, _ = self._rests[columns.numbers[row]]
        boxes = _Packed(columns, self._names, columns.starts[row], columns.starts[row + 1])
        return Picture(
            key=columns.keys[row], boxes=boxes, split=split, size=size, group=group, span=self._span(row)
        )

    def _span(self, row: int) -> Span | None:
        columns = self._columns
        file = self._rests[columns.numbers[row]][3]
        if file is None:
            return None
        return Span(file=file, offset=columns.spans[2 * row], length=columns.spans[2 * row + 1])


def rows_of(boxes: Sequence[Box]) -> Sequence[Row]:
    """Return what each box says."""
    if isinstance(boxes, Rows):
        return boxes.rows()
    return [(b.label, b.ymin, b.xmin, b.ymax, b.xmax, b.index, b.difficult, b.crowd) for b in boxes]


def spans_of(pictures: Iterable[Picture]) -> Iterator[tuple[str, Span | None]]:
    """Return the key of each picture and where its bytes lie, None where they are a file of their own."""
    return pictures.spans() if isinstance(pictures, Pictures) else ((it.key, it.span) for it in pictures)


def groups_of(pictures: Iterable[Picture]) -> Iterator[str]:
    """Return the group that the source names for each picture."""
    return pictures.groups() if isinstance(pictures, Pictures) else (picture.group for picture in pictures)


def label_sets(pictures: Sequence[Picture]) -> Iterator[frozenset[str]]:
    """Yield the labels of each picture."""
    if isinstance(pictures, Pictures):
        return pictures.label_sets()
    return (frozenset(labels_of(picture)) for picture in pictures)


def count_labels(pictures: Iterable[Picture]) -> Counter[str]:
    """Return how many boxes each label has."""
    if isinstance(pictures, Pictures):
        return pictures.count_labels()
    return Counter(label for picture in pictures for label in labels_of(picture))


def pack(pictures: Iterable[Picture]) -> Pictures:
    """Return the pictures in columns, in their order; each may be forgotten as soon as the next is given."""
    if isinstance(pictures, Pictures):
        return pictures
    columns = _Columns()
    for picture in pictures:
        columns.add(picture)
    return Pictures(columns, range(len(columns.keys)))
