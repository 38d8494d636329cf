"""TFRecord files: framing, checksums, shards."""

import errno
import hashlib
import os
import re
import struct
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import BinaryIO, Self

import crc32c

from .errors import OdbuildError
from .jpeg import Data

BLOCK = 1 << 20
"""Bytes that are written at once, and hashed at once."""

MOST_PIECES = 1000
"""Pieces that are written at once; Linux takes 1,024 (IOV_MAX), and a record adds five."""

_MASK_DELTA = 0xA282EAD8
"""The constant that TFRecord adds to a rotated CRC, so that a CRC over stored CRCs stays useful."""

_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")
_HEADER_BYTES = _LENGTH.size + _CRC.size


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


class Writer:
    """Writes one file of records; used in a `with`, which closes the file.

    Records are gathered and written together: a system call that brings a megabyte costs two thirds of what ten
    cost that bring a tenth, as the page cache takes it in large pieces.

    Where pictures pass unchanged, writing and the digest are most of the work. A thread each does them, the
    second by reading behind the first what still lies in the page cache: both work on large blocks, so they hardly
    ever ask for the interpreter.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        self._count = self._bytes = self._waiting = 0
        self._pieces: list[Data] = []
        self._blocks: SimpleQueue[tuple[list[Data], int] | None] = SimpleQueue()
        self._written: SimpleQueue[int | None] = SimpleQueue()
        self._done: SimpleQueue[None] = SimpleQueue()
        self._given = self._finished = self._turned = 0
        self._digest = hashlib.sha256()
        self._failure: Exception | None = None
        self._threads = [threading.Thread(target=work) for work in (self._pour, self._follow)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._join()
        os.close(self._file)

    def add(self, pieces: Sequence[Data]) -> None:
        """Append a record that is given in pieces, as `examples.pieces` gives it.

        None of them is copied: they must stay as they are until the second `turn` from now.
        """
        framed = frame(pieces)
        self._count += 1
        self._waiting += sum(map(len, framed))
        self._pieces += framed
        if self._waiting >= BLOCK or len(self._pieces) >= MOST_PIECES:
            self._hand_over()

    def turn(self) -> None:
        """Return when all is written that was added before the last turn, so that its memory is free.

        Raises:
            OSError: it could not be written.
        """
        self._hand_over()
        while self._finished < self._turned:
            self._done.get()
            self._finished += 1
        self._turned = self._given
        self._raise()

    def shard(self) -> Shard:
        """Return what was written, once all is; still in the `with`.

        Raises:
            OSError: it could not be written.
        """
        self._hand_over()
        self._join()
        self._raise()
        return Shard(path=self._path, count=self._count, bytes=self._bytes, sha256=self._digest.hexdigest())

    def _hand_over(self) -> None:
        """Let what was gathered be written."""
        if self._pieces:
            self._blocks.put((self._pieces, self._waiting))
            self._bytes += self._waiting
            self._given += 1
            self._pieces, self._waiting = [], 0

    def _raise(self) -> None:
        if self._failure:
            raise self._failure

    def _join(self) -> None:
        self._blocks.put(None)
        for thread in self._threads:
            thread.join()

    def _pour(self) -> None:
        """Write block after block until there is no more to come; none behind one that could not be written."""
        done = 0
        while (block := self._blocks.get()) is not None:
            pieces, size = block
            try:
                if not self._failure:
                    _write(self._file, pieces, size)
                    done += size
                    self._written.put(done)
            except Exception as error:  # noqa: BLE001  whoever waits for this thread raises it
                self._failure = error
            self._done.put(None)
        self._written.put(None)

    def _follow(self) -> None:
        """Hash the file as far as it is known to be written, until there is no more to come."""
        block = memoryview(bytearray(BLOCK))
        done = 0
        try:
            while (until := self._written.get()) is not None:
                while done < until:
                    size = os.preadv(self._file, [block[: until - done]], done)
                    if not size:
                        raise OSError(errno.EIO, f"it shrank to {done} bytes while it was written")  # noqa: TRY301
                    self._digest.update(block[:size])
                    done += size
        except OSError as error:
            self._failure = error


def pattern(shards: tuple[Shard, ...]) -> str:
    """Return the file pattern that matches exactly these shards of one name, as upstream's configs take it."""
    return re.sub(r"\d{5}(-of-\d{5}\.record)$", r"?????\1", str(shards[0].path))


def frame(pieces: Sequence[Data]) -> list[Data]:
    """Return header, pieces and footer of a record as they stand in the file."""
    length = _LENGTH.pack(sum(map(len, pieces)))
    crc = 0
    for piece in pieces:
        crc = crc32c.crc32c(piece, crc)
    return [length + _CRC.pack(masked_crc(length)), *pieces, _CRC.pack(_masked(crc))]


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


def _write(file: int, pieces: Sequence[Data], total: int) -> None:
    """Write all the pieces, which have so many bytes: a disk that fills up takes some before it refuses."""
    done = os.writev(file, pieces)
    if done < total:
        rest = memoryview(b"".join(pieces))
        while done < total:
            done += os.write(file, rest[done:])


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


def masked_crc(data: bytes | memoryview) -> int:
    """Return the CRC-32C of the data, rotated and shifted as TensorFlow stores it."""
    return _masked(crc32c.crc32c(data))


def _masked(crc: int) -> int:
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF
