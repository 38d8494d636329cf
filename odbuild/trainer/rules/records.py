"""Checks of records: that they are whole, and hold what training reads and what the source had.

What they look at is the dataset in them; what the reader found on its way is told by its code.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from .. import index
from ..errors import OdbuildError
from ..findings import Finding, Rule, place, quote
from ..index import Converted, Side
from .catalogue import rule
from .data import Data

UNEVEN = 4
"""Times that the largest shard may have the records of the smallest; upstream reads shards side by side."""

_CHANGED = Rule(
    "REC501", "error", "a file of a conversion is not the one that was written", "copy it again, or convert"
)
_NO_INDEX = Rule(
    "REC501",
    "error",
    "the index of a conversion cannot be used, so nothing can be compared with it",
    "convert again",
)
_OTHER_SIZE = Rule(
    "REC506", "error", "a record's width and height are not those of its picture", "make the records again"
)
_UNEVEN = Rule("REC508", "info", "the shards hold very different numbers of records", "make them of one size")
_LOST = Rule(
    "REC509", "error", "the records do not hold what the index of the conversion counts", "convert the data again"
)


@rule("REC501", "error", "a file of records is damaged, empty, or not the one that was written")
def damaged(data: Data) -> Iterator[Finding]:
    """A record's checksum is wrong, the file is cut, or it is not the file that the conversion's index lists.

    A file that is cut between two records, or inside the twelve bytes before one, reads as a clean end: TensorFlow
    trains on less and says nothing. Where index.json lies beside the records, as a conversion leaves it, size and
    SHA-256 of each file are compared with it: the shards, the label map, the lists of keys, the ledger, and the
    index itself. Without it a cut between two records, a file in the place of another, and a last shard that lacks
    its number cannot be seen.
    """
    yield from data.found.get("REC501", ())
    try:
        made = _index(data)
    except OdbuildError as error:
        yield _NO_INDEX.at(quote(index.INDEX), str(error))
        return
    told = {finding.where.partition(", record ")[0].strip('"') for finding in data.found.get("REC501", ())}
    for path, how in index.changed(made) if made is not None else ():
        if path.name not in told:
            yield _CHANGED.at(quote(path.name), how)


@rule("REC502", "error", "a set of shards is not complete")
def incomplete(data: Data) -> Iterator[Finding]:
    """Shards are numbered `-00003-of-00010`, and one of the ten is missing, or one that the index lists.

    A pattern with question marks takes those that are there, and nobody is told. Copy the others.
    """
    yield from data.found.get("REC502", ())


@rule("REC503", "error", "a record is no picture of the Object Detection API")
def foreign(data: Data) -> Iterator[Finding]:
    """A record is no `tf.train.Example`, lacks `image/encoded`, or has a feature of another type than is read.

    Or it is spelled as protobuf allows and no known writer does: of a list in pieces TensorFlow reads the first
    without a word, and features with fields that it does not know it does not read. Write such records again.
    Features of objects that boxes do not need, such as masks, are noted.
    """
    yield from data.found.get("REC503", ())


@rule("REC504", "error", "the box features of a record differ in length")
def ragged(data: Data) -> Iterator[Finding]:
    """The lists of left, top, right and bottom edges, of texts and of numbers must be equally long, or all empty.

    TensorFlow reads ragged lists without an error and pairs edges with the wrong boxes.
    """
    yield from data.found.get("REC504", ())


@rule("REC505", "error", "a class's number, its text and the label map do not agree")
def contrary(data: Data) -> Iterator[Finding]:
    """The number of a class in a record is not the one that the label map gives to its text.

    Upstream goes by the text where a label map is given, and by the number elsewhere: the same records then train
    two different models. A number above `num_classes` trains as nothing. Write the records again.
    """
    yield from data.found.get("REC505", ())


@rule("REC506", "error", "a record's width and height are not those of its picture")
def other_size(data: Data) -> Iterator[Finding]:
    """`image/width` and `image/height` were written for another picture than `image/encoded` holds.

    Whoever made the boxes fractions divided by the wrong numbers. Make the records again from pictures that are
    upright.
    """
    for picture in data.dataset.pictures:
        look = data.images.get(picture.key)
        if picture.size is None or look is None or look.info is None:
            continue
        stored = look.info.width, look.info.height
        if picture.size != stored:
            wrong, true = (f"{width} x {height}" for width, height in (picture.size, stored))
            yield _OTHER_SIZE.at(place(picture.key), f"recorded {wrong}, is {true}")


@rule("REC507", "warning", "a record's name is missing, repeated, or no plain path")
def unnamed(data: Data) -> Iterator[Finding]:
    """`image/filename` or `image/source_id` tells pictures apart in evaluation and in findings.

    Evaluation counts two pictures of one name as one.
    """
    yield from data.found.get("REC507", ())


@rule("REC508", "info", "shards hold very different numbers of records")
def uneven(data: Data) -> Iterator[Finding]:
    """Upstream reads several shards at once and mixes them; with one large and many small ones the mix is poor.

    Make shards of one size.
    """
    sides: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for picture in data.source.pictures:
        if picture.span is not None:
            sides[picture.split][picture.span.file] += 1
    for shards in sides.values():
        (most, many), (least, few) = shards.most_common()[0], shards.most_common()[-1]
        if many > UNEVEN * few:
            yield _UNEVEN.at(quote(most), f"{many:,} records, {quote(least)} has {few:,}")


@rule("REC509", "error", "the records do not hold what the conversion counted")
def lost(data: Data) -> Iterator[Finding]:
    """The index of a conversion counts pictures, boxes and the boxes of each class, and the records hold others.

    What went in must be what came out and what the ledger lists, so something was lost or changed since.
    """
    try:
        made = _index(data)
    except OdbuildError:
        return
    for name in index.SIDES if made is not None else ():
        side: Side = getattr(made, name)
        held = [picture for picture in data.source.pictures if picture.split == name]
        labels = Counter(box.label for picture in held for box in picture.boxes)
        counted: Mapping[str, int] = {"pictures": side.pictures, "boxes": side.boxes, **_quoted(side.classes)}
        found = {"pictures": len(held), "boxes": labels.total(), **_quoted(labels)}
        yield from (
            _LOST.at(name, f"{what}: {found.get(what, 0):,} instead of {count:,}")
            for what, count in counted.items()
            if found.get(what, 0) != count
        )


def _quoted(counts: Mapping[str, int]) -> dict[str, int]:
    return {quote(label): count for label, count in counts.items()}


def _index(data: Data) -> Converted | None:
    """Return the index beside the records, where a conversion left one.

    Raises:
        OdbuildError: it is damaged, or of another version.
    """
    root = data.source.root
    return index.load(root) if index.lies_in(root) else None
