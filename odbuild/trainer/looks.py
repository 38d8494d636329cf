"""One look at every picture's file: whole or not, how large, which content; all checks together open it once."""

import hashlib
import os
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import alike, images
from .dataset import Dataset, Span
from .errors import OdbuildError
from .findings import Rule
from .jpeg import Data
from .packed import pack

FEW = 64
"""Pictures below which starting processes takes longer than looking."""

CHUNK = 16
"""Pictures handed to a process at a time."""

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
        bits: its look, as `alike.look` gives it; None where nobody asked, or it cannot be decoded.
    """

    info: images.ImageInfo | None = None
    digest: str = ""
    kind: str = ""
    problem: Rule | None = None
    bits: int | None = None


def look(data: Data, check: images.Check, *, near: bool = False) -> Look:
    """Look at the bytes of a picture.

    Args:
        data: the file.
        check: how far, as for `images.inspect`.
        near: whether to take the bits by which it is like others, too.
    """
    digest, kind = hashlib.sha256(data).hexdigest(), images.sniff(data)
    try:
        info, kept = images.inspect_and_keep(data, check=check)
    except images.ImageError as error:
        return Look(digest=digest, kind=kind, problem=_rule(error))
    return Look(info=info, digest=digest, kind=kind, bits=alike.look(data, kept) if near else None)


def look_all(
    dataset: Dataset, check: images.Check, *, near: bool = False, jobs: int | None = None
) -> dict[str, Look]:
    """Look at the files of all pictures once each, and return what was seen by key.

    Args:
        dataset: as read.
        check: how far, as for `images.inspect`.
        near: whether to take the bits by which they are like each other, too.
        jobs: most processes at work; as many as there are processors by default.

    Raises:
        OdbuildError: a process was ended from outside.
    """
    seen = _looks(dataset, check, jobs or os.cpu_count() or 1, near=near)
    return dict(zip(pack(dataset.pictures).keys(), seen, strict=True))


def _looks(dataset: Dataset, check: images.Check, jobs: int, *, near: bool) -> Iterator[Look]:
    """Yield a look at each picture, in order; by other processes where that is worth starting them."""
    root = str(dataset.root)
    tasks = (
        (f"{root}/{picture.key if picture.span is None else picture.span.file}", picture.span, check, near)
        for picture in dataset.pictures
    )
    if jobs == 1 or len(dataset.pictures) < FEW:
        yield from map(_look_at, tasks)
        return
    # A copy of this process is ready at once; elsewhere the system's own libraries do not bear being copied.
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool, warnings.catch_warnings():
        # Copying leaves other threads behind; a look at a picture needs nothing of them.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            yield from pool.map(_look_at, tasks, chunksize=CHUNK)
        except BrokenProcessPool as error:
            raise OdbuildError(
                "A process that looks at pictures was ended from outside, most likely because memory ran out. "
                "Run again with --jobs 1."
            ) from error


def _look_at(task: tuple[str, Span | None, images.Check, bool]) -> Look:
    path, span, check, near = task
    try:
        data = read(path, span)
    except images.ImageError as error:
        return Look(problem=_rule(error))
    return look(data, check, near=near)


def read(path: str | Path, span: Span | None) -> bytes:
    """Return the bytes of a picture: all of its file, or where they lie in it.

    Raises:
        ImageError: the file is too large, cannot be read, or changes meanwhile.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - paths as objects take a fifth of the time
            before = os.fstat(file.fileno())
            length = before.st_size if span is None else span.length
            if length > MOST_BYTES:
                raise images.ImageError("IMG106", f"the file is larger than {MOST_BYTES:,} bytes", "shrink it")
            file.seek(0 if span is None else span.offset)
            data = file.read(length)
            after = os.fstat(file.fileno())
    except OSError as error:
        why = f"the file cannot be read: {error.strerror}"
        raise images.ImageError("IMG101", why, "make it readable") from error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise images.ImageError(
            "IMG101", "the file changed while it was read", "run again when nothing writes to it"
        )
    return data


def _rule(error: images.ImageError) -> Rule:
    return Rule(error.code, "error", error.message, error.fix)
