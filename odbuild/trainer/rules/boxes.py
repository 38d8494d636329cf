"""Checks of the boxes: where they lie, how large they are, and whether they were drawn twice."""

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from ..dataset import Box, Picture, spelled
from ..findings import Finding, Rule, place, quote
from ..mend import speck_finding, specks
from .catalogue import rule
from .data import Data

SAME_PLACE = 0.95
"""Intersection over union from which two boxes are one region drawn twice."""

NEIGHBOURS = 50
"""Boxes that one is compared with, in the order of their left edges; bounds the time for hostile data."""

SMALL_SHARE = 0.05
"""Share of a class's boxes that may be small before it is worth a warning."""

WHOLE = 0.99
"""Share of both sides from which a box is the whole picture."""

MANY_PICTURES = 10
"""Pictures with one identical box, to the last digit, from which it was hardly drawn by hand."""

LEAST_FOR_UNITS = 10
"""Boxes below which nothing can be said of how they are distributed."""

TURNED_SHARE = 0.1
"""Share of boxes the wrong way round from which not one person but the format is at fault."""

_SMALL = Rule(
    "BOX204",
    "warning",
    "boxes of a class are smaller than the model's smallest anchor once the picture is resized",
    "take a model with a larger input, or cut the pictures into pieces",
)
_MANY = Rule(
    "BOX205",
    "warning",
    "a picture has more boxes than the model's config takes, and upstream drops the rest without a word",
    "start.sh of a bundle raises the limit; elsewhere raise max_number_of_boxes in the config",
)
_TWICE = Rule("BOX206", "warning", "a box is drawn twice with one label", "delete one of them")
_WHOLE = Rule("BOX207", "info", "a box is the whole picture")
_STAMPED = Rule("BOX207", "info", f"one box is on {MANY_PICTURES} pictures or more, equal to the last digit")
_TWO_LABELS = Rule("BOX208", "warning", "one region has two labels", "delete the wrong one")
_UNITS = Rule(
    "BOX209",
    "warning",
    "the boxes look like left, top, width and height where their corners are expected",
    "export them as corners, or name the right format",
)


@rule("BOX201", "error", "a box reaches outside the picture")
def outside(data: Data) -> Iterator[Finding]:
    """An edge lies outside the picture by more than rounding.

    Upstream's losses become NaN on such boxes, or its evaluation stops. Often the picture was resized or turned
    after the boxes were drawn. A conversion clips them (`--boxes clip`), leaves them out (`drop`) or stops
    (`fail`).
    """
    yield from data.found.get("BOX201", ())


@rule("BOX202", "error", "a box has no area, is turned around, or is smaller than a pixel")
def no_area(data: Data) -> Iterator[Finding]:
    """The left edge is not left of the right one, or the upper not above the lower, by at least a pixel.

    Training on such a box gives NaN or nothing. It is a slip of the mouse, or corners were exported in another
    order. Redraw it; a conversion turns boxes round and leaves those without area out.
    """
    yield from data.found.get("BOX202", ())
    for picture in data.dataset.pictures:
        look = data.images.get(picture.key)
        if look is None or look.info is None:
            continue
        _, found = specks(picture, look.info.width, look.info.height)
        for box in found:
            yield speck_finding(place(picture.key, box.index), spelled(box), "fail")


@rule("BOX203", "error", "an edge of a box is no finite number")
def not_finite(data: Data) -> Iterator[Finding]:
    """NaN or infinity instead of a coordinate, by a division that went wrong somewhere.

    One of them makes the loss NaN and the run worthless. Find what wrote it; the box cannot be mended.
    """
    yield from data.found.get("BOX203", ())


@rule("BOX204", "warning", "boxes are smaller than the model's smallest anchor")
def small(data: Data) -> Iterator[Finding]:
    """Many boxes of a class are, after the model's resize, smaller than anything the model looks for.

    It learns nothing from them, and its recall on small objects is near zero without any error. Take a model with
    a larger input or finer anchors, or cut large pictures into pieces. Counted by area; the smallest box is named.
    """
    if data.model is None:
        return
    least = data.model.smallest
    sizes: defaultdict[str, list[tuple[float, str, int]]] = defaultdict(list)
    for picture, box in data.boxes():
        look = data.images.get(picture.key)
        if look is not None and look.info is not None:
            side = _side(box, *data.model.resized(look.info.width, look.info.height))
            sizes[box.label].append((side, picture.key, box.index))
    for label, found in sorted(sizes.items()):
        few = [one for one in found if one[0] < least]
        if len(few) >= SMALL_SHARE * len(found) and few:
            side, key, index = min(few)
            yield _SMALL.at(
                place(key, index),
                f"{quote(label)}: {len(few):,} of {len(found):,} below {least:.0f} pixels, this one {side:.1f}",
            )


@rule("BOX205", "warning", "a picture has more boxes than the model's config takes")
def many(data: Data) -> Iterator[Finding]:
    """`max_number_of_boxes` of the config, 100 by default, clips the boxes of each picture without a word.

    A bundle's start.sh raises it to what the data have. Elsewhere set it by hand; memory and time grow with it.
    """
    if data.model is None:
        return
    for picture in data.dataset.pictures:
        if len(picture.boxes) > data.model.max_boxes:
            yield _MANY.at(place(picture.key), f"{len(picture.boxes)} boxes, limit {data.model.max_boxes}")


@rule("BOX206", "warning", "a box is drawn twice")
def drawn_twice(data: Data) -> Iterator[Finding]:
    """Two boxes of one label cover the same region to 95 %.

    The object counts twice in training, and in evaluation one of the two is always missed. Delete one.
    """
    for pair in _pairs(data):
        if pair.first.label == pair.second.label:
            yield _TWICE.at(place(pair.key, pair.second.index), _both(pair))


@rule("BOX207", "info", "a box is the whole picture, or the same on many pictures")
def suspicious(data: Data) -> Iterator[Finding]:
    """A box around the whole picture teaches where the picture ends; it is often a class, not an object.

    A box that is on many pictures, equal to the last digit, was hardly drawn by hand.
    """
    stamps: defaultdict[tuple[float, ...], list[tuple[str, int]]] = defaultdict(list)
    for picture, box in data.boxes():
        if box.xmax - box.xmin >= WHOLE and box.ymax - box.ymin >= WHOLE:
            yield _WHOLE.at(place(picture.key, box.index), spelled(box))
        else:
            stamps[box.xmin, box.ymin, box.xmax, box.ymax].append((picture.key, box.index))
    for spots in stamps.values():
        pictures = len({key for key, _ in spots})
        if pictures >= MANY_PICTURES:
            yield _STAMPED.at(place(*spots[0]), f"on {pictures} pictures")


@rule("BOX208", "warning", "one region has two labels")
def two_labels(data: Data) -> Iterator[Finding]:
    """Two boxes of different labels cover the same region to 95 %, so each teaches that the other is wrong.

    Fine where both are meant, such as a person and a player. Otherwise delete the wrong one.
    """
    for pair in _pairs(data):
        if pair.first.label != pair.second.label:
            yield _TWO_LABELS.at(place(pair.key, pair.second.index), _both(pair))


@rule("BOX209", "warning", "the boxes look like width and height read as corners")
def units(data: Data) -> Iterator[Finding]:
    """Many boxes are the wrong way round, and every one would fit its picture as left, top, width and height.

    Boxes drawn as corners do not come out like that by chance. Export them again as corners.
    """
    boxes = [box for picture in data.source.pictures for box in picture.boxes]
    turned = sum(box.xmax < box.xmin or box.ymax < box.ymin for box in boxes)
    fit = all(_fits_as_size(box.xmin, box.xmax) and _fits_as_size(box.ymin, box.ymax) for box in boxes)
    if len(boxes) >= LEAST_FOR_UNITS and turned >= TURNED_SHARE * len(boxes) and fit:
        yield _UNITS.at("annotations", f"{turned:,} of {len(boxes):,} boxes are the wrong way round")


def _fits_as_size(start: float, length: float) -> bool:
    return start >= 0 and length > 0 and start + length <= 1 + 1e-3


def _side(box: Box, width: float, height: float) -> float:
    """Return the side of the square of a box's area, in pixels of a picture of that size."""
    return math.sqrt((box.xmax - box.xmin) * width * (box.ymax - box.ymin) * height)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pair:
    """Two boxes of one picture in the same place."""

    key: str
    first: Box
    second: Box
    overlap: float


def _both(pair: _Pair) -> str:
    return f"{spelled(pair.second)}; like [{pair.first.index}], {quote(pair.first.label)}"


def _pairs(data: Data) -> Iterator[_Pair]:
    """Yield each box that has a box before it in the same place, with that one."""
    for picture in data.dataset.pictures:
        if len(picture.boxes) > 1:
            yield from _pairs_of(picture)


def _pairs_of(picture: Picture) -> Iterator[_Pair]:
    ordered = sorted(picture.boxes, key=lambda box: (box.xmin, box.ymin, box.index))
    for at, box in enumerate(ordered):
        # Boxes that overlap so much have left edges closer than what their widths may differ by.
        reach = box.xmin + (1 - SAME_PLACE) / SAME_PLACE * (box.xmax - box.xmin)
        for other in ordered[at + 1 : at + 1 + NEIGHBOURS]:
            if other.xmin > reach:
                break
            overlap = _overlap(box, other)
            if overlap > SAME_PLACE:
                first, second = sorted((box, other), key=lambda one: one.index)
                yield _Pair(key=picture.key, first=first, second=second, overlap=overlap)
                break


def _overlap(one: Box, other: Box) -> float:
    """Return the intersection of two boxes over their union."""
    width = min(one.xmax, other.xmax) - max(one.xmin, other.xmin)
    height = min(one.ymax, other.ymax) - max(one.ymin, other.ymin)
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / (_area(one) + _area(other) - both)


def _area(box: Box) -> float:
    return (box.xmax - box.xmin) * (box.ymax - box.ymin)
