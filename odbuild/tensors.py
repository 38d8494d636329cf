"""What a TensorFlow checkpoint holds, read off its index without TensorFlow: each tensor's place and checksum.

The index is a table of LevelDB's format, as TensorFlow's `BundleWriter` writes it: uncompressed blocks of entries
whose keys share prefixes, a block that lists the others, and a footer that leads there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .errors import OdbuildError
from .trainer.crc import masked_crc

FOOTER = 48
MAGIC = 0xDB4775248B80FB57
"""The last eight bytes of every such table, little-endian."""

TRAILER = 5
"""Bytes after each block: one for its compression, 0 for none, and four for its checksum."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
"""Wire types of protobuf."""

_STRING = 7
"""The type of tensors of strings, `DT_STRING`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tensor:
    """One tensor: the number of its data file, where it lies there in bytes, and the masked CRC of them.

    None for strings, whose checksum is not of the bytes as they lie there.
    """

    shard: int
    offset: int
    size: int
    crc: int | None


def read_index(path: Path) -> tuple[int, dict[str, Tensor]]:
    """Return the number of data files, and the tensors by name.

    Raises:
        OdbuildError: the file cannot be read or is no index of a checkpoint.
    """
    try:
        table = memoryview(path.read_bytes())
    except OSError as error:
        raise OdbuildError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        entries = {bytes(key).decode(): value for key, value in _entries(table)}
        shards = dict(_fields(entries.pop(""))).get(1, 1)
        return shards, {name: _tensor(value) for name, value in entries.items()}
    except (IndexError, ValueError, KeyError) as error:
        raise OdbuildError(f"{path} is no index of a checkpoint: {error}. Copy all of its files again.") from error


def intact(path: Path, tensor: Tensor) -> bool:
    """Say whether the bytes of a tensor are those that were written, as far as that can be told."""
    if tensor.crc is None:
        return True
    with path.open("rb") as file:
        file.seek(tensor.offset)
        return masked_crc(file.read(tensor.size)) == tensor.crc


def _entries(table: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    footer = table[-FOOTER:]
    if len(footer) < FOOTER or int.from_bytes(footer[-8:], "little") != MAGIC:
        raise ValueError("it is cut, or was never one")
    _, at = _handle(footer, 0)
    place, _ = _handle(footer, at)
    for _, value in _block(table, *place):
        yield from _block(table, *_handle(value, 0)[0])


def _block(table: memoryview, offset: int, size: int) -> Iterator[tuple[bytes, memoryview]]:
    """Yield the entries of one block."""
    data, trailer = table[offset : offset + size], table[offset + size : offset + size + TRAILER]
    if len(trailer) < TRAILER or trailer[0] != 0:
        raise ValueError(f"the block at byte {offset} is cut or compressed")
    if masked_crc(table[offset : offset + size + 1]) != int.from_bytes(trailer[1:], "little"):
        raise ValueError(f"the checksum of the block at byte {offset} is wrong")
    end = size - 4 - 4 * int.from_bytes(data[-4:], "little")
    at, key = 0, b""
    while at < end:
        shared, at = _varint(data, at)
        fresh, at = _varint(data, at)
        length, at = _varint(data, at)
        key = key[:shared] + bytes(data[at : at + fresh])
        yield key, data[at + fresh : at + fresh + length]
        at += fresh + length


def _handle(data: memoryview, at: int) -> tuple[tuple[int, int], int]:
    offset, at = _varint(data, at)
    size, at = _varint(data, at)
    return (offset, size), at


def _tensor(entry: memoryview) -> Tensor:
    """Read a `BundleEntryProto`."""
    fields = dict(_fields(entry))
    crc = None if fields.get(1) == _STRING else fields.get(6, 0)
    return Tensor(shard=fields.get(3, 0), offset=fields.get(4, 0), size=fields.get(5, 0), crc=crc)


def _fields(message: memoryview) -> Iterator[tuple[int, int]]:
    """Yield number and value of each numeric field of a message."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield tag >> 3, value
        elif kind == _BYTES:
            length, at = _varint(message, at)
            at += length
        elif kind in (_FIXED32, _FIXED64):
            width = 4 if kind == _FIXED32 else 8
            yield tag >> 3, int.from_bytes(message[at : at + width], "little")
            at += width
        else:
            raise ValueError(f"wire type {kind} does not exist")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at += 1
        shift += 7
        if byte < 0x80:
            return number, at
