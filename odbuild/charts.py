"""What the charts of a report show: counts of a dataset as shapes on a plane, for a template to draw."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

from .trainer.dataset import Picture
from .trainer.rules.every import Data

SIDES = ("train", "validation", "test", "")
"""Sides of a split in the order that bars stack them; the last is no side."""

MOST_CLASSES = 40
"""Classes with a row of their own; the others are counted."""

MOST_TOGETHER = 12
"""Classes whose co-occurrence is shown, so that the table fits a page."""

MOST_ANCHORS = 200

OCTAVES = (-2, 18)
"""Exponents of 2, in pixels, that bound the plane of sizes: what is smaller or larger is shown at its edge."""

STEEPEST = 4
"""Exponent of 2 of the aspect ratio from which on all count as one."""

SHADES = 8
"""Steps from few to many."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A piece of a stacked bar: its side, its number, and its start and length as percent of the longest bar."""

    side: str
    count: int
    start: float
    length: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassRow:
    """A class: its boxes, the pictures that hold one, and the boxes of each side."""

    label: str
    boxes: int
    pictures: int
    parts: tuple[Part, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A bar of a histogram: what it counts, its number, and its height as percent of the highest."""

    name: str
    count: int
    height: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A field of the plane of sizes: left, top and side in percent of the plane, shade 1 to `SHADES`, ranges."""

    x: float
    y: float
    side: float
    shade: int
    count: int
    width: str
    height: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Plane:
    """Widths to the right and heights upwards, both logarithmic with one scale.

    Attributes:
        cells: the fields that hold something.
        ticks: place, in percent from the left or from below, and pixels.
        anchors: places of a model's anchors, in percent from the upper left corner, and their size in words.
        total: sizes counted.
    """

    cells: tuple[Cell, ...]
    ticks: tuple[tuple[float, str], ...]
    anchors: tuple[tuple[float, float, str], ...]
    total: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Together:
    """How many pictures hold both of two classes: the classes, and for each a row of counts and shades."""

    labels: tuple[str, ...]
    rows: tuple[tuple[tuple[int, int], ...], ...]


def sides(data: Data) -> dict[str, str]:
    """Return the side of each picture by key: as the source says, else as a conversion would split."""
    if data.given or data.split is None:
        return {picture.key: picture.split for picture in data.source.pictures}
    both = (("train", data.split.train), ("validation", data.split.validation))
    return {picture.key: side for side, pictures in both for picture in pictures}


def size(data: Data, picture: Picture) -> tuple[int, int] | None:
    """Return width and height of a picture in pixels, by its file or else by the annotations; None if unknown."""
    look = data.images.get(picture.key)
    if look is not None and look.info is not None:
        return look.info.width, look.info.height
    return picture.size if picture.size is not None and min(picture.size) > 0 else None


def class_rows(data: Data) -> tuple[ClassRow, ...]:
    """Return all classes, most boxes first, those declared without boxes last."""
    side_of = sides(data)
    boxes: dict[str, Counter[str]] = {label: Counter() for label in data.dataset.declared}
    pictures: Counter[str] = Counter()
    for picture in data.dataset.pictures:
        side = side_of.get(picture.key, "")
        for box in picture.boxes:
            boxes.setdefault(box.label, Counter())[side] += 1
        pictures.update({box.label for box in picture.boxes})
    longest = max((counts.total() for counts in boxes.values()), default=0) or 1
    rows = [
        ClassRow(label=label, boxes=counts.total(), pictures=pictures[label], parts=tuple(_parts(counts, longest)))
        for label, counts in boxes.items()
    ]
    return tuple(sorted(rows, key=lambda row: (-row.boxes, row.label)))


def _parts(counts: Counter[str], longest: int) -> Iterator[Part]:
    start = 0
    for side in SIDES:
        if count := counts[side]:
            yield Part(side=side, count=count, start=100 * start / longest, length=100 * count / longest)
            start += count


def box_sizes(data: Data) -> Iterator[tuple[float, float]]:
    """Yield width and height in pixels of every box fit to train on: as the model sees it, else as in its file."""
    for picture in data.dataset.pictures:
        known = size(data, picture)
        if known is None:
            continue
        width, height = known if data.model is None else data.model.resized(*known)
        for box in picture.boxes:
            yield (box.xmax - box.xmin) * width, (box.ymax - box.ymin) * height


def picture_sizes(data: Data) -> Iterator[tuple[int, int]]:
    """Yield width and height in pixels of every picture whose size is known."""
    return (known for picture in data.source.pictures if (known := size(data, picture)) is not None)


def plane(sizes: Iterable[tuple[float, float]], anchors: Sequence[tuple[float, float]] = ()) -> Plane | None:
    """Return sizes counted in fields of half an octave each way, or None where there are none.

    Args:
        sizes: widths and heights in pixels, above 0.
        anchors: likewise; at most `MOST_ANCHORS` are shown.
    """
    counts = Counter((_half_octave(width), _half_octave(height)) for width, height in sizes)
    if not counts:
        return None
    anchors = anchors[:MOST_ANCHORS]
    exponents = [step / 2 for pair in counts for step in pair] + [_octave(edge) for one in anchors for edge in one]
    low, high = math.floor(min(exponents)), math.floor(max(exponents)) + 1
    scale, most = 100 / (high - low), max(counts.values())
    cells = tuple(
        Cell(
            x=(column / 2 - low) * scale,
            y=100 - (row / 2 + 0.5 - low) * scale,
            side=scale / 2,
            shade=shade(count, most),
            count=count,
            width=_span(column),
            height=_span(row),
        )
        for (column, row), count in sorted(counts.items())
    )
    step = math.ceil((high - low) / 8)
    return Plane(
        cells=cells,
        ticks=tuple(((power - low) * scale, f"{2.0**power:g}") for power in range(low, high + 1, step)),
        anchors=tuple(
            ((_octave(width) - low) * scale, 100 - (_octave(height) - low) * scale, f"{width:.0f} x {height:.0f}")
            for width, height in anchors
        ),
        total=counts.total(),
    )


def shade(count: int, most: int) -> int:
    """Return 0 for none and 1 to `SHADES` for few to the most, by the logarithm."""
    if not count:
        return 0
    return 1 + round((SHADES - 1) * (math.log(count) / math.log(most) if most > 1 else 1))


def _octave(pixels: float) -> float:
    low, high = OCTAVES
    return min(max(math.log2(pixels) if pixels > 0 else low, low), high)


def _half_octave(pixels: float) -> int:
    return math.floor(2 * _octave(pixels))


def _span(step: int) -> str:
    return f"{2 ** (step / 2):.3g} to {2 ** ((step + 1) / 2):.3g}"


def aspects(sizes: Iterable[tuple[float, float]]) -> tuple[Column, ...]:
    """Return a histogram of width by height in half octaves, upright on the left; empty without sizes."""
    most = 2 * STEEPEST
    counts = Counter(
        max(-most, min(most, round(2 * math.log2(width / height))))
        for width, height in sizes
        if width > 0 and height > 0
    )
    return _columns([(_ratio(step / 2), counts[step]) for step in range(-most, most + 1)])


def _ratio(octaves: float) -> str:
    share = 2 ** abs(octaves)
    return f"{share:.2g}:1" if octaves >= 0 else f"1:{share:.2g}"


def crowds(pictures: Iterable[Picture]) -> tuple[Column, ...]:
    """Return a histogram of boxes a picture: none, 1, 2, then ranges that double; empty without pictures."""
    counts = Counter((max(len(picture.boxes), 1) - 1).bit_length() + bool(picture.boxes) for picture in pictures)
    return _columns([(_range(step), counts[step]) for step in range(max(counts, default=-1) + 1)])


def _range(step: int) -> str:
    if step < 3:
        return str(step)
    return f"{2 ** (step - 2) + 1}-{2 ** (step - 1)}"


def _columns(counted: Sequence[tuple[str, int]]) -> tuple[Column, ...]:
    highest = max((count for _, count in counted), default=0)
    if not highest:
        return ()
    return tuple(Column(name=name, count=count, height=100 * count / highest) for name, count in counted)


def together(data: Data, labels: Sequence[str]) -> Together:
    """Return how many pictures hold two of the first `MOST_TOGETHER` labels, or one where both are the same."""
    shown = tuple(labels[:MOST_TOGETHER])
    place = {label: index for index, label in enumerate(shown)}
    counts: dict[tuple[int, int], int] = defaultdict(int)
    for picture in data.dataset.pictures:
        held = sorted({place[box.label] for box in picture.boxes if box.label in place})
        for pair in combinations_with_replacement(held, 2):
            counts[pair] += 1
    most = max(counts.values(), default=0)
    rows = tuple(
        tuple(
            (count := counts.get((min(row, column), max(row, column)), 0), math.ceil(SHADES * count / (most or 1)))
            for column in range(len(shown))
        )
        for row in range(len(shown))
    )
    return Together(labels=shown, rows=rows)
