"""What the rules ask of a dataset's boxes, found in two walks over them: there may be a million."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..dataset import Box, Picture, SplitName, labels_of, spelled
from ..looks import Look
from ..mend import specks

SAME_PLACE = 0.95
"""Intersection over union from which two boxes are one region drawn twice."""

NEIGHBOURS = 16
"""Boxes that one is compared with, in the order of their left edges; bounds the time for hostile data."""

WHOLE = 0.99
"""Share of both sides from which a box is the whole picture."""

MANY_PICTURES = 10
"""Pictures with one identical box, to the last digit, from which it was hardly drawn by hand."""

_REACH = (1 - SAME_PLACE) / SAME_PLACE
"""How far apart edges of two boxes in the same place can be, as a share of the box's side."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A picture without its boxes.

    Attributes:
        key: of the picture.
        split: its side in the source.
        size: that the source records.
        group: that it belongs to.
        file: the shard that it lies in; empty where it has a file of its own.
        boxes: how many it has.
    """

    key: str
    split: SplitName
    size: tuple[int, int] | None
    group: str
    file: str
    boxes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """Two boxes of one picture in the same place, in the order of the source."""

    key: str
    first: Box
    second: Box


@dataclass(frozen=True, kw_only=True, slots=True)
class Spot:
    """A box: its picture's key, its place in the source's list, and itself as messages show it."""

    key: str
    index: int
    seen: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Census:
    """How many there are.

    Attributes:
        rows: the pictures, in order.
        labels: boxes of each label on each side of the source; the side is empty where it has none.
    """

    rows: tuple[Row, ...]
    labels: Mapping[SplitName, Counter[str]]


@dataclass(kw_only=True, slots=True)
class Places:
    """Boxes that stand out by where they are.

    Attributes:
        pairs: those in the place of another one.
        whole: those that are the whole picture.
        stamped: those that are on many pictures, equal to the last digit, each with the number of pictures.
        specks: those smaller than a pixel of their picture.
    """

    pairs: list[Pair] = field(default_factory=list)
    whole: list[Spot] = field(default_factory=list)
    stamped: list[tuple[Spot, int]] = field(default_factory=list)
    specks: list[Spot] = field(default_factory=list)


def count(pictures: Sequence[Picture]) -> Census:
    """Walk over the pictures and count."""
    rows = []
    labels: defaultdict[SplitName, Counter[str]] = defaultdict(Counter)
    for picture in pictures:
        rows.append(_row(picture))
        labels[picture.split].update(labels_of(picture))
    return Census(rows=tuple(rows), labels=labels)


def find(pictures: Sequence[Picture], looks: Mapping[str, Look]) -> Places:
    """Walk over the pictures and find boxes that stand out.

    Args:
        pictures: mended.
        looks: what is known of their files.
    """
    places = Places()
    stamps: Counter[int] = Counter()
    for packed in pictures:
        if packed.boxes:
            # Packed boxes are made anew in every walk over them.
            picture = replace(packed, boxes=tuple(packed.boxes))
            places.pairs += _pairs(picture)
            places.whole += [_spot(picture, box) for box in picture.boxes if _is_whole(box)]
            places.specks += [_spot(picture, box) for box in _specks(picture, looks.get(picture.key))]
            stamps.update({_stamp(box) for box in picture.boxes if not _is_whole(box)})
    many = {stamp: times for stamp, times in stamps.items() if times >= MANY_PICTURES}
    for picture in pictures if many else ():
        for box in picture.boxes:
            times = many.pop(_stamp(box), 0)
            places.stamped += [(_spot(picture, box), times)] if times else []
    return places


def _specks(picture: Picture, look: Look | None) -> Sequence[Box]:
    return () if look is None or look.info is None else specks(picture, look.info.width, look.info.height)[1]


def _is_whole(box: Box) -> bool:
    return box.xmax - box.xmin >= WHOLE and box.ymax - box.ymin >= WHOLE


def _stamp(box: Box) -> int:
    """Return a number that equal edges share, and others hardly ever: a million tuples would take much memory."""
    return hash((box.xmin, box.ymin, box.xmax, box.ymax))


def _row(picture: Picture) -> Row:
    return Row(
        key=picture.key,
        split=picture.split,
        size=picture.size,
        group=picture.group,
        file="" if picture.span is None else picture.span.file,
        boxes=len(picture.boxes),
    )


def _spot(picture: Picture, box: Box) -> Spot:
    return Spot(key=picture.key, index=box.index, seen=spelled(box))


def _pairs(picture: Picture) -> Iterator[Pair]:
    """Yield each box that has another in the same place, with that one."""
    boxes = sorted(picture.boxes, key=lambda box: (box.xmin, box.ymin, box.index))
    for at, box in enumerate(boxes[:-1], start=1):
        across = box.xmin + _REACH * (box.xmax - box.xmin)
        down = _REACH * (box.ymax - box.ymin)
        for other in boxes[at : at + NEIGHBOURS]:
            if other.xmin > across:
                break
            if abs(other.ymin - box.ymin) <= down and _is_same(box, other):
                first, second = sorted((box, other), key=lambda one: one.index)
                yield Pair(key=picture.key, first=first, second=second)
                break


def _is_same(one: Box, other: Box) -> bool:
    """Say whether the intersection of two boxes is nearly their union, where their left edges are in reach."""
    width = min(one.xmax, other.xmax) - max(one.xmin, other.xmin)
    height = min(one.ymax, other.ymax) - max(one.ymin, other.ymin)
    both = width * height
    # By no division: the areas of the tiniest boxes are 0 in floating point.
    return both > SAME_PLACE * (_area(one) + _area(other) - both)


def _area(box: Box) -> float:
    return (box.xmax - box.xmin) * (box.ymax - box.ymin)
