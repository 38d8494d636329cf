"""One look at every picture's file: whole or not, how large, which content; all checks together open it once."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from . import images
from .dataset import Dataset, Picture
from .findings import Rule
from .jpeg import Data

MOST_BYTES = 1 << 29
"""Size of a picture's file that is still opened; a record must stay below the 2 GB of a protobuf message."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What a picture's file is.

    Attributes:
        info: what its header says; None where it cannot be used.
        digest: SHA-256 of its bytes in hex; empty where it could not be read.
        kind: the format that its first bytes announce, such as `gif`; empty if none is known.
        problem: why it cannot be used, as the rule it breaks; None where it can.
    """

    info: images.ImageInfo | None = None
    digest: str = ""
    kind: str = ""
    problem: Rule | None = None


def look(data: Data, check: images.Check) -> Look:
    """Look at the bytes of a picture.

    Args:
        data: the file.
        check: how far, as for `images.inspect`.
    """
    digest, kind = hashlib.sha256(data).hexdigest(), images.sniff(data)
    try:
        return Look(info=images.inspect(data, check=check), digest=digest, kind=kind)
    except images.ImageError as error:
        return Look(digest=digest, kind=kind, problem=_rule(error))


def look_all(
    dataset: Dataset, check: images.Check, *, jobs: int | None = None, say: Callable[[int], None] | None = None
) -> dict[str, Look]:
    """Look at the files of all pictures once each, and return what was seen by key.

    Args:
        dataset: as read.
        check: how far, as for `images.inspect`.
        jobs: pictures looked at together; as many as there are processors by default.
        say: told how many are done, now and then.
    """
    pictures = dataset.pictures
    seen = _looks(dataset, pictures, check, jobs or os.cpu_count() or 1)
    table = {}
    for done, (picture, one) in enumerate(zip(pictures, seen, strict=True), start=1):
        table[picture.key] = one
        if say is not None:
            say(done)
    return table


def _looks(dataset: Dataset, pictures: Sequence[Picture], check: images.Check, jobs: int) -> Iterator[Look]:
    def one(picture: Picture) -> Look:
        return _look_at(dataset.path(picture), picture, check)

    if jobs == 1:
        yield from map(one, pictures)
        return
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(one, pictures)


def _look_at(path: Path, picture: Picture, check: images.Check) -> Look:
    try:
        data = read(path, picture)
    except images.ImageError as error:
        return Look(problem=_rule(error))
    return look(data, check)


def read(path: Path, picture: Picture) -> bytes:
    """Return the bytes of a picture.

    Raises:
        ImageError: its file is too large or cannot be read.
    """
    span = picture.span
    try:
        with path.open("rb") as file:
            length = os.fstat(file.fileno()).st_size if span is None else span.length
            if length > MOST_BYTES:
                raise images.ImageError("IMG106", f"the file is larger than {MOST_BYTES:,} bytes", "shrink it")
            file.seek(0 if span is None else span.offset)
            return file.read(length)
    except OSError as error:
        why = f"the file cannot be read: {error.strerror}"
        raise images.ImageError("IMG101", why, "make it readable") from error


def _rule(error: images.ImageError) -> Rule:
    return Rule(error.code, "error", error.message, error.fix)
