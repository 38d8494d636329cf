"""The one in-memory form of annotated pictures, whatever format they came from.

It says what the source says, judged by nobody: a box may be turned around, empty or outside. `mend` makes it fit
to train on; the rules tell what is wrong.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from .findings import Change, Finding, quote

SplitName = Literal["", "train", "validation", "test"]

EDGES = ("x", "y", "x2", "y2")
"""The names of a box's left, top, right and bottom edge in messages, as Cloud Annotations spells them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """One object, in the picture as it will be decoded.

    Attributes:
        label: the class, any non-empty Unicode string.
        ymin: top edge, fraction of the height; once mended 0 <= ymin < ymax <= 1, before that any number.
        xmin: left edge, fraction of the width; once mended 0 <= xmin < xmax <= 1, before that any number.
        ymax: bottom edge.
        xmax: right edge.
        index: position in the source's list, for messages; not part of its value.
        difficult: marked as hard to see, as Pascal VOC does; evaluation may leave it out.
        crowd: stands for a group of objects, as COCO's `iscrowd`.
    """

    label: str
    ymin: float
    xmin: float
    ymax: float
    xmax: float
    index: int = field(default=0, compare=False)
    difficult: bool = False
    crowd: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """Where a picture's bytes lie when it has no file of its own: inside a shard of records.

    Attributes:
        file: path of the shard below the root, with `/`.
        offset: first byte of the encoded picture in it.
        length: bytes of the encoded picture.
    """

    file: str
    offset: int
    length: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """One picture of the source.

    Attributes:
        key: unique name; the path of its file below the root, with `/`, unless `span` is given.
        boxes: in the source's order.
        split: the side that the source puts it on; empty where the source has no sides.
        size: width and height in pixels that the source records, or that were measured to make fractions of boxes
            in pixels; None where neither was done.
        group: pictures of one group belong on one side of a split; empty where the source names none.
        span: where the bytes lie in another file.
    """

    key: str
    boxes: Sequence[Box]
    split: SplitName = ""
    size: tuple[int, int] | None = None
    group: str = ""
    span: Span | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """Annotated pictures.

    Attributes:
        root: the folder that every key starts from.
        format: the reader's name, such as `coco`.
        sources: the files, below the root with `/`, that were read for all this, pictures not among them.
        declared: classes in the order that the source declares, used or not.
        pictures: sorted by key, whatever their order in the source; readers pack them, so that each is made anew
            when it is asked for.
        ledger: what reading and mending dropped or changed.
        keys: pictures that the source names; `len(pictures)` + those dropped in the ledger.
        drawn: boxes that the source holds; those in `pictures` + those dropped in the ledger.
        unread: what kept a file from being read to its end, so that nobody knows what else the source holds.
    """

    root: Path
    format: str
    sources: tuple[str, ...]
    declared: tuple[str, ...]
    pictures: Sequence[Picture]
    ledger: tuple[Change, ...] = ()
    keys: int = 0
    drawn: int = 0
    unread: tuple[Finding, ...] = ()

    def path(self, picture: Picture) -> Path:
        """Return the file that holds the picture's bytes, all of it or the span."""
        return self.root / (picture.key if picture.span is None else picture.span.file)


def labels_of(picture: Picture) -> Iterable[str]:
    """Return the class of each box; packed boxes tell it without being made."""
    told = getattr(picture.boxes, "labels", None)
    return told() if told else [box.label for box in picture.boxes]


def in_order(declared: Sequence[str], used: Iterable[str]) -> tuple[str, ...]:
    """Return the used classes once: those declared in their declared order, then the others sorted."""
    used = set(used)
    first = [label for label in dict.fromkeys(declared) if label in used]
    return (*first, *sorted(used.difference(first)))


def used_labels(declared: Sequence[str], pictures: Iterable[Picture]) -> tuple[str, ...]:
    """Return the classes that have a box, in the order that `in_order` gives them."""
    return in_order(declared, (label for picture in pictures for label in labels_of(picture)))


def all_labels(dataset: Dataset) -> tuple[str, ...]:
    """Return every class once: those declared in their declared order, then those only used, sorted."""
    return tuple(dict.fromkeys((*dataset.declared, *used_labels((), dataset.pictures))))


def spelled(box: Box) -> str:
    """Return the box's edges and label as messages show them."""
    sides = (box.xmin, box.ymin, box.xmax, box.ymax)
    edges = ", ".join(f"{name}={edge:.6g}" for name, edge in zip(EDGES, sides, strict=True))
    return f"{edges}, {quote(box.label)}"


def without(picture: Picture, lost: Iterable[int]) -> Picture:
    """Return the picture without the boxes at these indices of the source."""
    gone = frozenset(lost)
    if not gone:
        return picture
    return replace(picture, boxes=tuple(box for box in picture.boxes if box.index not in gone))
