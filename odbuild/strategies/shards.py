"""Records of the Object Detection API: single examples, and folders of shards with their label map."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st

from odbuild.trainer import examples as wire
from odbuild.trainer import records as framing
from odbuild.trainer.dataset import Picture
from odbuild.trainer.examples import Example
from odbuild.trainer.labels import label_ids, to_pbtxt

from . import annotations, labelmaps, pictures, protowire, samples
from .files import Brief, put
from .pictures import Image
from .protowire import Features, Form

MOST_SHARDS = 3


@st.composite
def examples(
    draw: st.DrawFn, *, label: st.SearchStrategy[str] | None = None, image: st.SearchStrategy[Image] | None = None
) -> Example:
    """Draw a record that reads back exactly as it is.

    Args:
        draw: given by Hypothesis.
        label: names of classes; all that a record can hold by default.
        image: the picture's file; a small real one by default.
    """
    names = annotations.labels(odd=True) if label is None else label
    marked = draw(st.booleans())
    box = annotations.boxes(names, exact=True)
    if marked:
        box = st.builds(samples.marked, box, st.booleans(), st.booleans())
    boxes = annotations.apart(draw(st.lists(box, max_size=4)))
    used = sorted({box.label for box in boxes})
    numbers = draw(st.lists(st.integers(1, 2**40), min_size=len(used), max_size=len(used), unique=True))
    ids = dict(zip(used, numbers, strict=True))
    drawn = draw(pictures.images() if image is None else image)
    stem = draw(annotations.stems())
    return example(Picture(key=stem + drawn.suffix, boxes=boxes), drawn, ids)


@dataclass(frozen=True, kw_only=True, slots=True)
class Records(Brief):
    """A folder of records.

    Attributes:
        labels: the classes, in the order of their numbers.
        shards: the records of each side, shard by shard.
        form: how protobuf spells them; as odbuild itself where it is None.
    """

    labels: tuple[str, ...]
    shards: Mapping[str, tuple[tuple[Example, ...], ...]]
    form: Form | None = None

    def write(self, folder: Path) -> Path:
        """Write the shards and the label map into a folder, and return the folder."""
        return put(folder, self.files())

    def files(self) -> dict[str, bytes]:
        """Return all that it writes, by name."""
        framed = {
            shard_name(side, number, len(self.shards[side])): shard(part)
            for side in self.shards
            for number, part in enumerate(self.encoded(side))
        }
        return {**framed, labelmaps.NAME: to_pbtxt(self.labels).encode()}

    def encoded(self, side: str) -> Iterator[list[bytes]]:
        """Yield the encoded records of each shard of a side."""
        for part in self.shards[side]:
            yield [
                wire.encode(one) if self.form is None else protowire.example(features(one), self.form)
                for one in part
            ]


@st.composite
def records(
    draw: st.DrawFn, *, labels: st.SearchStrategy[str] | None = None, most: int = 6, enough: bool = False
) -> Records:
    """Draw a folder of records that the rules have nothing to say about but that it is small (`SMALL`).

    Args:
        draw: given by Hypothesis.
        labels: names of classes; `labels()` by default.
        most: pictures, two at least.
        enough: fill up until it is not small, as for `datasets`.
    """
    sample = draw(
        samples.datasets(labels=labels, most=most, sides=samples.SIDES, marks=True, exact=True, enough=enough)
    )
    ids = label_ids(sample.declared)
    shards: dict[str, tuple[tuple[Example, ...], ...]] = {}
    for side in samples.SIDES:
        found = [example(one, sample.images[one.key], ids) for one in sample.pictures if one.split == side]
        count = draw(st.integers(1, min(MOST_SHARDS, len(found))))
        shards[side] = tuple(tuple(found[number::count]) for number in range(count))
    form = draw(st.none() | protowire.forms(sorted(one.key for one in wire.FEATURES)))
    return Records(labels=sample.declared, shards=shards, form=form)


def example(picture: Picture, image: Image, ids: Mapping[str, int]) -> Example:
    """Return the record of a picture.

    Args:
        picture: with its boxes.
        image: its file.
        ids: number of each class.
    """
    return Example(
        key=picture.key,
        encoded=image.data,
        format=image.format,
        width=image.width,
        height=image.height,
        boxes=tuple(picture.boxes),
        ids=tuple(ids[box.label] for box in picture.boxes),
    )


def features(example: Example) -> Features:
    """Return the features that a record holds, by key."""
    found = {
        one.key: one.values(example) for one in wire.FEATURES if one.count != "marked" or any(one.values(example))
    }
    return {key: values for key, values in found.items() if len(values)}


def shard_name(side: str, number: int, count: int) -> str:
    """Return what a shard is called."""
    return f"{side}-{number:05d}-of-{count:05d}.record"


def shard(encoded: Iterable[bytes]) -> bytes:
    """Return encoded examples as a file of records."""
    return b"".join(bytes(piece) for one in encoded for piece in framing.frame([one]))
