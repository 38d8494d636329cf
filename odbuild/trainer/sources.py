"""The bytes of pictures: told apart at little cost, read into one buffer, and never taken where they changed."""

import hashlib
import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

from .dataset import Dataset, Picture, Span
from .errors import OdbuildError
from .findings import Rule, Tally, place, quote
from .images import ImageError
from .packed import pack, spans_of

MOST_BYTES = 1 << 29
"""Size of a picture's file that is still opened; a record must stay below the 2 GB of a protobuf message."""

SAMPLE = 1024
"""Bytes from the middle of a picture, coded pixels as a rule, that tell it from others of the same size."""

PRINT_BYTES = 16
"""Length of a fingerprint."""

_DUPLICATE = Rule("IMG108", "warning", "a picture is the same file as another", "delete one of them")


class Source(NamedTuple):
    """Where the bytes of one picture lie, and how their file looked when they were surveyed.

    Attributes:
        file: path below the dataset's root, with `/`.
        offset: first byte of the picture in it.
        length: bytes of the picture.
        size: bytes of the file.
        changed: when the file was last written, in nanoseconds.
        inode: its number in the file system.
    """

    file: str
    offset: int
    length: int
    size: int
    changed: int
    inode: int


@dataclass(kw_only=True, slots=True)
class Survey:
    """What is known of all files before they are read; columns, because a million objects would not be small.

    Attributes:
        pictures: those whose files can be opened, sorted by key.
        prints: the fingerprint of each: equal for equal content, and for nothing else.
        lengths: the bytes of each.
        findings: files that cannot be used, and equal files.
    """

    pictures: Sequence[Picture]
    prints: list[bytes] = field(default_factory=list)
    lengths: "array[int]" = field(default_factory=lambda: array("q"))
    findings: Tally = field(default_factory=Tally)
    _sizes: "array[int]" = field(default_factory=lambda: array("q"))
    _changed: "array[int]" = field(default_factory=lambda: array("q"))
    _inodes: "array[int]" = field(default_factory=lambda: array("Q"))

    def source(self, index: int, picture: Picture) -> Source:
        """Return where the bytes of the picture of this index lie."""
        span, size = picture.span, self._sizes[index]
        file, offset = (picture.key, 0) if span is None else (span.file, span.offset)
        return Source(file, offset, self.lengths[index], size, self._changed[index], self._inodes[index])

    def add(self, status: os.stat_result, length: int, sample: bytes) -> None:
        """Take up the next picture: its file, its bytes, and some of them."""
        self.prints.append(_print(b"%d:" % length + sample))
        self.lengths.append(length)
        self._sizes.append(status.st_size)
        self._changed.append(status.st_mtime_ns)
        self._inodes.append(status.st_ino)


def survey(dataset: Dataset) -> Survey:
    """Look at every picture's file without reading it: its size, its dates, and a sample of its content.

    Samples that are equal are proven by reading the files whole. Equal files share a fingerprint, which stays what
    it was; different ones whose samples agree, such as drawings on a white ground, get one of their whole content.
    """
    seen = Survey(pictures=dataset.pictures)
    root = f"{dataset.root}/"
    lost = set()
    for key, span in spans_of(dataset.pictures):
        try:
            _look(seen, root, key, span)
        except ImageError as error:
            seen.findings.append(broken(error).at(place(key)))
            lost.add(key)
    if lost:
        seen.pictures = pack(picture for picture in dataset.pictures if picture.key not in lost)
    _tell_apart(seen, str(dataset.root))
    return seen


def broken(error: ImageError) -> Rule:
    """Return the rule that a picture breaks which cannot be used."""
    return Rule(error.code, "error", error.message, error.fix)


class Reader:
    """Reads pictures."""

    def __init__(self, root: str, room: Callable[[int], memoryview] | None = None) -> None:
        """Take the dataset's folder, and what gives memory of some length; else each overwrites the one before."""
        self._root = f"{root}/"
        self._room = room or self._own
        self._memory = memoryview(b"")

    def read(self, source: Source) -> memoryview:
        """Return the bytes of a picture, in the memory that was given for it.

        Raises:
            OdbuildError: they are not what was surveyed.
        """
        path = self._root + source.file
        view = self._room(source.length)
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                done = _fill(file, view, source.offset)
                status = os.fstat(file)
            finally:
                os.close(file)
        except OSError as error:
            raise OdbuildError(
                f"{path} changed while it was converted: {error.strerror}. Convert again."
            ) from error
        now = (done, status.st_size, status.st_mtime_ns, status.st_ino)
        if now != (source.length, source.size, source.changed, source.inode):
            raise OdbuildError(f"{path} changed while it was converted. Convert again.")
        return view

    def _own(self, length: int) -> memoryview:
        if length > len(self._memory):
            self._memory = memoryview(bytearray(length))
        return self._memory[:length]


def _look(seen: Survey, root: str, key: str, span: Span | None) -> None:
    try:
        file = os.open(root + (key if span is None else span.file), os.O_RDONLY | os.O_CLOEXEC)
        try:
            status = os.fstat(file)
            offset, length = (0, status.st_size) if span is None else (span.offset, span.length)
            if length > MOST_BYTES:
                raise ImageError("IMG106", f"the file is larger than {MOST_BYTES:,} bytes", "shrink it")
            some = min(length, SAMPLE)
            sample = os.pread(file, some, offset + (length - some) // 2)
        finally:
            os.close(file)
    except OSError as error:
        why = f"the file cannot be read: {error.strerror}"
        raise ImageError("IMG101", why, "make it readable") from error
    seen.add(status, length, sample)


def _fill(file: int, view: memoryview, offset: int) -> int:
    """Read until the view is full or the file ends, and return the bytes read."""
    done = os.preadv(file, [view], offset)
    while 0 < done < len(view):
        more = os.preadv(file, [view[done:]], offset + done)
        if not more:
            break
        done += more
    return done


def _tell_apart(seen: Survey, root: str) -> None:
    """Give files whose samples agree but which differ fingerprints of their own, and book those that are equal."""
    reader = Reader(root)
    for alike in _alike(seen.prints):
        pictures = [seen.pictures[index] for index in alike]
        whole = [
            hashlib.sha256(reader.read(seen.source(index, picture))).digest()
            for index, picture in zip(alike, pictures, strict=True)
        ]
        first: dict[bytes, str] = {}
        for picture, digest in zip(pictures, whole, strict=True):
            other = first.setdefault(digest, picture.key)
            if other != picture.key:
                seen.findings.append(_DUPLICATE.at(place(picture.key), f"same as {quote(other)}"))
        if len(first) > 1:
            for index, digest in zip(alike, whole, strict=True):
                seen.prints[index] = _print(digest)


def _alike(prints: Sequence[bytes]) -> Iterator[list[int]]:
    """Yield the places of fingerprints that stand more than once."""
    order = sorted(range(len(prints)), key=prints.__getitem__)
    for _, places in groupby(order, key=prints.__getitem__):
        same = list(places)
        if len(same) > 1:
            yield same


def _print(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()[:PRINT_BYTES]
