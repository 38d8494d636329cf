"""The pictures of a conversion parted into jobs, one for each shard: independent, and known by their digest."""

import hashlib
import marshal
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from PIL import __version__ as pillow

from .dataset import Picture
from .labels import label_ids
from .packed import Rows, rows_of
from .policies import Policies
from .sources import Source

VERSION = 4
"""To be raised when the same job would give other bytes or another account than before."""

LEAST_BYTES = 16 * 1024 * 1024
"""Shards of small data are not cut below this."""

PARTS = 16
"""Data that does not fill so many shards of full size is cut into so many, for as many processes to work on."""

PICTURE_BYTES = 4096
"""What a picture counts beside its file: it bounds the pictures of a shard where the files are tiny."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One shard to be made.

    Attributes:
        name: of its file, without the ending.
        labels: classes in the order of their ids, from 1.
        policies: of the conversion.
        rows: one for each picture, as `row` makes it.
    """

    name: str
    labels: tuple[str, ...]
    policies: Policies
    rows: tuple[Any, ...]

    @cached_property
    def data(self) -> bytes:
        """All that decides about the shard, the same bytes for the same job."""
        # Version 2 of the format has no references, which depend on how objects are shared in memory.
        head = (VERSION, pillow, self.name, self.labels, tuple(asdict(self.policies).items()))
        return marshal.dumps((*head, self.rows), 2)

    @cached_property
    def digest(self) -> str:
        """Return the name of the job's content."""
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def ids(self) -> dict[str, int]:
        """The number of each label."""
        return label_ids(self.labels)

    def pictures(self) -> Iterator[tuple[Picture, Source]]:
        """Yield each picture, without its side and group, and where its bytes lie."""
        labels = self.labels
        for key, size, boxes, source in self.rows:
            rows = Rows([(labels[number - 1], *rest) for number, *rest in boxes])
            yield Picture(key=key, size=size, boxes=rows), Source(*source)


def parse(data: bytes) -> Job:
    """Return the job of these bytes."""
    _, _, name, labels, policies, rows = marshal.loads(data)  # noqa: S302  written by this program
    return Job(name=name, labels=labels, policies=Policies(**dict(policies)), rows=rows)


def row(picture: Picture, source: Source, ids: Mapping[str, int]) -> tuple[Any, ...]:
    """Return a picture as plain values.

    Args:
        picture: mended.
        source: where its bytes lie.
        ids: the number of each label.
    """
    boxes = tuple([(ids[label], *rest) for label, *rest in rows_of(picture.boxes)])
    return picture.key, picture.size, boxes, tuple(source)


def cut(lengths: Iterable[int], most: int) -> list[int]:
    """Return how many pictures go into each shard, shards of nearly equal bytes.

    Args:
        lengths: bytes of each picture, in order.
        most: bytes of a shard of large data; small data is cut into smaller ones, by its own size alone.
    """
    weights = [length + PICTURE_BYTES for length in lengths]
    total = sum(weights)
    shards = -(-total // min(most, max(LEAST_BYTES, total // PARTS)))
    counts: list[int] = []
    before, last = 0, -1
    for weight in weights:
        here = before * shards // total
        if here == last:
            counts[-1] += 1
        else:
            counts.append(1)
        before, last = before + weight, here
    return counts


def names(side: str, count: int) -> tuple[str, ...]:
    """Return the names of the shards of one side, by the custom of TensorFlow."""
    return tuple(f"{side}-{number:05d}-of-{count:05d}" for number in range(count))
