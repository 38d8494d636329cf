"""Making boxes fit to train on: sorted, inside the picture, with an area; each change booked in the ledger."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from .dataset import Box, Dataset, Picture, spelled, without
from .findings import Action, Change, Finding, Rule, Tally, place
from .packed import Pictures, pack, rows_of

BoxPolicy = Literal["clip", "drop", "fail"]

TOLERANCE = 1e-3
"""A box this far outside is rounding by the tool that drew it: clipped under every policy."""

LEAST_SIDE = 1 - 1e-6
"""Pixels that a box must measure each way; a hair below one, for a box of one pixel given as fractions."""


def _odd_box(code: str, message: str) -> dict[BoxPolicy, Rule]:
    return {
        "clip": Rule(code, "warning", message, "it was mended; look at it"),
        "drop": Rule(code, "warning", message, "it was left out; redraw it"),
        "fail": Rule(code, "error", message, "redraw it, or choose --boxes clip or --boxes drop"),
    }


_OUTSIDE = _odd_box("BOX201", "a box reaches outside the picture")
_TURNED = _odd_box("BOX202", "a box has its edges the wrong way round")
_SPECK = _odd_box("BOX202", "a box has no area or is smaller than one pixel")
_SPECK["clip"] = _SPECK["drop"]
NOT_FINITE = Rule(
    "BOX203", "error", "an edge of a box is no finite number", "find what wrote it, and redraw the box"
)


@dataclass(kw_only=True, slots=True)
class _Books:
    """What mending gathers on its way."""

    policy: BoxPolicy
    findings: Tally = field(default_factory=Tally)
    ledger: list[Change] = field(default_factory=list)


def mend(dataset: Dataset, policy: BoxPolicy) -> tuple[Dataset, list[Finding]]:
    """Return the dataset with every box sorted and inside its picture, and what was found on the way.

    Args:
        dataset: as read.
        policy: what to do with a box that is turned around or reaches outside: `clip` sorts and clips it, `drop`
            leaves it out, `fail` leaves it out and makes it an error. A box without area, or with an edge that is
            no finite number, is left out under each.
    """
    pictures = dataset.pictures
    if pictures.all_fit() if isinstance(pictures, Pictures) else all(map(_fits, pictures)):
        return dataset, []
    books = _Books(policy=policy)
    pictures = pack(_mended_picture(books, picture) for picture in dataset.pictures)
    whole = replace(dataset, pictures=pictures, ledger=(*dataset.ledger, *books.ledger))
    return whole, books.findings.told()


def specks(picture: Picture, width: int, height: int) -> tuple[Picture, tuple[Box, ...]]:
    """Part a picture from its boxes of less than a pixel: the picture without them, and the boxes.

    Args:
        picture: the picture.
        width: of the decoded picture, in pixels.
        height: of the decoded picture, in pixels.
    """
    lost = {
        index
        for _, ymin, xmin, ymax, xmax, index, *_ in rows_of(picture.boxes)
        if (xmax - xmin) * width < LEAST_SIDE or (ymax - ymin) * height < LEAST_SIDE
    }
    if not lost:
        return picture, ()
    return without(picture, lost), tuple(box for box in picture.boxes if box.index in lost)


def speck_finding(where: str, value: str, policy: BoxPolicy) -> Finding:
    """Return the finding for a box without area or under one pixel."""
    return _SPECK[policy].at(where, value)


def _fits(picture: Picture) -> bool:
    return all(0 <= box.xmin < box.xmax <= 1 and 0 <= box.ymin < box.ymax <= 1 for box in picture.boxes)


def _mended_picture(books: _Books, picture: Picture) -> Picture:
    if _fits(picture):
        return picture
    boxes = tuple(whole for box in picture.boxes for whole in _mended(books, place(picture.key, box.index), box))
    return replace(picture, boxes=boxes)


def _mended(books: _Books, where: str, box: Box) -> Iterator[Box]:
    """Yield the box sorted and clipped as the policy says, unless it is left out."""
    seen = spelled(box)
    if not all(map(math.isfinite, _sides(box))):
        books.findings.append(NOT_FINITE.at(where, seen))
        books.ledger.append(_change("dropped", where, "BOX203", seen))
        return
    outside = max(max(-edge, edge - 1) for edge in _sides(box))
    kept = True
    if box.xmin > box.xmax or box.ymin > box.ymax:
        kept = _book(books, "sorted", _TURNED, where, seen)
    if outside > TOLERANCE:
        kept = _book(books, "clipped", _OUTSIDE, where, seen) and kept
    elif outside > 0:
        books.ledger.append(_change("clipped", where, "BOX201", seen))
    if not kept:
        books.ledger.append(_change("dropped", where, "BOX201" if outside > TOLERANCE else "BOX202", seen))
        return
    whole = _clipped(box)
    if whole.xmin < whole.xmax and whole.ymin < whole.ymax:
        yield whole
        return
    books.findings.append(speck_finding(where, seen, books.policy))
    books.ledger.append(_change("dropped", where, "BOX202", seen))


def _book(books: _Books, action: Action, rules: Mapping[BoxPolicy, Rule], where: str, seen: str) -> bool:
    """Report an odd box; say whether the policy mends it, and then write that in the ledger."""
    rule = rules[books.policy]
    books.findings.append(rule.at(where, seen))
    if books.policy != "clip":
        return False
    books.ledger.append(_change(action, where, rule.code, seen))
    return True


def _sides(box: Box) -> tuple[float, float, float, float]:
    return box.xmin, box.ymin, box.xmax, box.ymax


def _clipped(box: Box) -> Box:
    left, top, right, bottom = (min(max(edge, 0.0), 1.0) for edge in _sides(box))
    return replace(box, xmin=min(left, right), ymin=min(top, bottom), xmax=max(left, right), ymax=max(top, bottom))


def _change(action: Action, where: str, code: str, value: str) -> Change:
    return Change(action=action, what="box", where=where, code=code, value=value)
