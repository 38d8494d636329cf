"""TFRecord files: framing, checksums, shards."""

import hashlib
import os
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import crc32c

from .errors import OdbuildError

SHARD_BYTES = 128 * 1024 * 1024
"""Size at which a new shard begins: TensorFlow's guide names 100 to 200 MB as good for reading in parallel."""

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
        count: records in it, at least 1.
        bytes: its size.
        sha256: hex digest of the whole file.
    """

    path: Path
    count: int
    bytes: int
    sha256: str


def write_shards(
    examples: Iterable[bytes], folder: Path, name: str, shard_bytes: int = SHARD_BYTES
) -> tuple[Shard, ...]:
    """Write `name-00000-of-0000N.record` and so on into the folder, one example in memory at a time.

    A shard ends before the record that would take it above `shard_bytes`, but holds at least one. The
    files get their names at the end, when their number is known; the caller makes the folder appear whole.

    Returns:
        The shards in order; none where there are no examples.
    """
    parts = tuple(_parts(iter(examples), folder, name, shard_bytes))
    return tuple(
        replace(part, path=part.path.rename(folder / f"{name}-{number:05d}-of-{len(parts):05d}.record"))
        for number, part in enumerate(parts)
    )


def pattern(shards: tuple[Shard, ...]) -> str:
    """Return the file pattern that matches exactly these shards of one name, as upstream's configs take it."""
    return re.sub(r"\d{5}(-of-\d{5}\.record)$", r"?????\1", str(shards[0].path))


def frame(record: bytes) -> tuple[bytes, bytes, bytes]:
    """Return header, record and footer as they stand in the file."""
    length = _LENGTH.pack(len(record))
    return length + _CRC.pack(masked_crc(length)), record, _CRC.pack(masked_crc(record))


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


def _parts(examples: Iterator[bytes], folder: Path, name: str, shard_bytes: int) -> Iterator[Shard]:
    """Yield finished files under passing names; `carry` is the record that did not fit the last one."""
    carry = next(examples, None)
    number = 0
    while carry is not None:
        shard, carry = _part(carry, examples, folder / f".{name}-{number:05d}.part", shard_bytes)
        yield shard
        number += 1


def _part(first: bytes, rest: Iterator[bytes], path: Path, limit: int) -> tuple[Shard, bytes | None]:
    digest = hashlib.sha256()
    count = size = 0
    record: bytes | None = first
    with path.open("xb") as file:
        while record is not None:
            framed = frame(record)
            length = sum(map(len, framed))
            if count and size + length > limit:
                break
            for piece in framed:
                digest.update(piece)
            file.writelines(framed)
            count, size = count + 1, size + length
            record = next(rest, None)
    return Shard(path=path, count=count, bytes=size, sha256=digest.hexdigest()), record


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
    crc = crc32c.crc32c(data)
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF
