"""TFRecord files: framing, checksums, shards."""

import hashlib
import os
import re
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from typing import BinaryIO, Self

from .crc import masked_crc
from .errors import OdbuildError
from .jpeg import Data

BLOCK = 1 << 20
"""Bytes that are written at once, and hashed at once, unless a record is larger."""

SLACK = 4096
"""Bytes that are kept free behind a picture: what comes there, its boxes above all, hardly ever takes more."""

BLOCKS = 4
"""Blocks that go round: one is filled, one written, one hashed, and one lies ready."""

_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")
_HEADER_BYTES = _LENGTH.size + _CRC.size
_FRAME_BYTES = _HEADER_BYTES + _CRC.size


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """One finished file of records.

    Attributes:
        path: where it lies.
        count: records in it.
        bytes: its size.
        sha256: hex digest of the whole file.
    """

    path: Path
    count: int
    bytes: int
    sha256: str


Then = Callable[[Shard], None]
"""Takes a shard that is written, in a file that still bears the name that it was begun with."""


@dataclass(frozen=True, slots=True)
class _Block:
    """Memory that is to be written, and the file that it goes to."""

    memory: memoryview
    size: int
    file: int


@dataclass(slots=True)
class _End:
    """The end of a file, and what is to be done then.

    Attributes:
        shard: its digest not yet known.
        file: to be closed.
        then: to be told of the shard.
        whole: whether all of it was written.
    """

    shard: Shard
    file: int
    then: Then
    whole: bool = False


class Writer:
    """Writes files of records, one after the other; used in a `with`, at whose end all that was ended is written.

    Records are put together in blocks: a system call that brings a megabyte costs two thirds of what ten cost that
    bring a tenth, as the page cache takes it in large pieces. The blocks go round, for memory that is new costs
    more than to read a picture into it.

    Where pictures pass unchanged, writing and the digest are most of the work. A thread each does them, one behind
    the other and both behind whoever adds records, from file to file: they work on large blocks, so they hardly
    ever ask for the interpreter.
    """

    def __init__(self) -> None:
        self._free: SimpleQueue[memoryview] = SimpleQueue()
        for _ in range(BLOCKS):
            self._free.put(memoryview(b""))
        self._path = Path()
        self._file = -1
        self._count = self._bytes = 0
        self._block = self._take(BLOCK)
        self._at = self._lead = 0
        self._given, self._given_at = memoryview(b""), 0
        self._full: SimpleQueue[_Block | _End | None] = SimpleQueue()
        self._written: SimpleQueue[_Block | _End | None] = SimpleQueue()
        self._failure: Exception | None = None
        # Whatever keeps the `with` from being entered, they do not keep the process.
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._pour, self._follow)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._full.put(None)
        for thread in self._threads:
            thread.join()
        if self._file >= 0:
            os.close(self._file)
        if kind is None:
            self._raise()

    def begin(self, path: Path) -> None:
        """Begin a file that does not exist yet, the one before being ended.

        Raises:
            OSError: it cannot be made, or what was given before could not be written.
        """
        self._raise()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        self._path = path
        self._count = self._bytes = 0

    def room(self, length: int) -> memoryview:
        """Return memory for the body of the next record, which `add` then need not copy; the next call ends it.

        Raises:
            OSError: an earlier record could not be written.
        """
        # Where the body will lie if what stands before it is as long as it was last time, which it mostly is.
        before = _HEADER_BYTES + self._lead
        if self._at + before + length + SLACK > len(self._block):
            self._turn(before + length + SLACK)
        self._given_at = self._at + before
        self._given = self._block[self._given_at : self._given_at + length]
        return self._given

    def add(self, head: bytes, body: Data, tail: bytes) -> None:
        """Append a record that is given in three pieces, as `examples.pieces` gives it.

        Raises:
            OSError: an earlier record could not be written.
        """
        size = len(head) + len(body) + len(tail)
        if self._at + size + _FRAME_BYTES > len(self._block):
            self._turn(size + _FRAME_BYTES)
        block, at = self._block, self._at
        begin = at + _HEADER_BYTES
        first = begin + len(head)
        last = first + len(body)
        end = last + len(tail)
        if body is not self._given or first != self._given_at:
            block[first:last] = body
        block[begin:first] = head
        block[last:end] = tail
        length = _LENGTH.pack(size)
        block[at:begin] = length + _CRC.pack(masked_crc(length))
        block[end : end + _CRC.size] = _CRC.pack(masked_crc(block[begin:end]))
        self._at = end + _CRC.size
        self._lead = len(head)
        self._count += 1

    def end(self, then: Then) -> None:
        """End the file; once it is written, and not before, another thread tells so.

        Raises:
            OSError: an earlier record could not be written.
        """
        self._turn(BLOCK)
        shard = Shard(path=self._path, count=self._count, bytes=self._bytes, sha256="")
        # It is closed once, by whoever has it when an interrupt comes.
        file, self._file = self._file, -1
        self._full.put(_End(shard, file, then))

    def _take(self, least: int) -> memoryview:
        """Return a block of at least so many bytes, as soon as one is free."""
        block = self._free.get()
        return block if len(block) >= least else memoryview(bytearray(max(BLOCK, 1 << (least - 1).bit_length())))

    def _turn(self, least: int) -> None:
        """Let what was put together be written, and begin another block of at least so many bytes."""
        self._raise()
        self._full.put(_Block(self._block, self._at, self._file))
        self._bytes += self._at
        self._block, self._at = self._take(least), 0
        # What was given lies in the block before, if perhaps as far from its start as it should lie in this one.
        self._given_at = -1

    def _raise(self) -> None:
        if self._failure:
            raise self._failure

    def _pour(self) -> None:
        """Write block after block until there is no more to come; none behind one that could not be written."""
        while (given := self._full.get()) is not None:
            if isinstance(given, _End):
                given.whole = not self._failure
            elif not self._failure:
                try:
                    _write(given.file, given.memory[: given.size])
                except Exception as error:  # noqa: BLE001  whoever gives more, or comes to the end, raises it
                    self._failure = error
            self._written.put(given)
        self._written.put(None)

    def _follow(self) -> None:
        """Hash block after block and give its memory back, and close each file at its end."""
        digest, whole = hashlib.sha256(), True
        while (given := self._written.get()) is not None:
            try:
                if isinstance(given, _Block):
                    try:
                        digest.update(given.memory[: given.size])
                    finally:
                        self._free.put(given.memory)
                    continue
                os.close(given.file)
                if given.whole and whole:
                    given.then(replace(given.shard, sha256=digest.hexdigest()))
            except Exception as error:  # noqa: BLE001  whoever gives more, or comes to the end, raises it
                self._failure, whole = error, False
            digest = hashlib.sha256()


def pattern(shards: tuple[Shard, ...]) -> str:
    """Return the file pattern that matches exactly these shards of one name, as upstream's configs take it."""
    return re.sub(r"\d{5}(-of-\d{5}\.record)$", r"?????\1", str(shards[0].path))


def frame(pieces: Sequence[Data]) -> list[Data]:
    """Return header, pieces and footer of a record as they stand in the file."""
    length = _LENGTH.pack(sum(map(len, pieces)))
    return [length + _CRC.pack(masked_crc(length)), *pieces, _CRC.pack(masked_crc(*pieces))]


def read(path: Path) -> Iterator[bytes]:
    """Yield the records of one file, both checksums of each checked.

    A file cut exactly between two records looks whole from inside: compare the count, or use `verify`.

    Raises:
        OdbuildError: the file is cut or damaged; the message names file and record (counted from 0).
    """
    with path.open("rb") as file:
        left = os.fstat(file.fileno()).st_size
        number = 0
        while left:
            record = _record(file, left, f"{path}, record {number}")
            yield record
            left -= _HEADER_BYTES + len(record) + _CRC.size
            number += 1


def verify(shard: Shard) -> None:
    """Read the shard back and compare it with what was written.

    Raises:
        OdbuildError: it differs in count, size, checksums or digest.
    """
    count = sum(1 for _ in read(shard.path))
    with shard.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    seen = (count, shard.path.stat().st_size, digest)
    if seen != (shard.count, shard.bytes, shard.sha256):
        raise OdbuildError(
            f"{shard.path} holds {seen[0]} records in {seen[1]} bytes (sha256 {seen[2]}), but {shard.count} in "
            f"{shard.bytes} (sha256 {shard.sha256}) were written. Check the disk and convert again."
        )


def _write(file: int, data: memoryview) -> None:
    """Write all: a disk that fills up takes some before it refuses."""
    while data:
        data = data[os.write(file, data) :]


def _record(file: BinaryIO, left: int, where: str) -> bytes:
    """Read one record; `left` bytes of the file remain, which bounds what a damaged length can ask for."""
    header = file.read(_HEADER_BYTES)
    if len(header) < _HEADER_BYTES:
        raise OdbuildError(f"{where}: the file is cut inside the header. Convert again.")
    length = _LENGTH.unpack_from(header)[0]
    if _CRC.unpack_from(header, _LENGTH.size)[0] != masked_crc(header[: _LENGTH.size]):
        raise OdbuildError(f"{where}: the checksum of the length is wrong, the file is damaged. Convert again.")
    if length > left - _HEADER_BYTES - _CRC.size:
        raise OdbuildError(f"{where}: {length} bytes are announced, but the file is cut. Convert again.")
    record, footer = file.read(length), file.read(_CRC.size)
    if len(footer) < _CRC.size or _CRC.unpack(footer)[0] != masked_crc(record):
        raise OdbuildError(f"{where}: the checksum of the record is wrong, the file is damaged. Convert again.")
    return record
