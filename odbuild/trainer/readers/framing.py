"""TFRecord files of any writer, taken apart record by record; what is damaged is told and not raised."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path

from ..crc import masked_crc

_HEADER = struct.Struct("<QI")
_CRC = struct.Struct("<I")

_GZIP = b"\x1f\x8b"

_MOST = (1 << 29) + (1 << 20)
"""Bytes of a record that is still read, as all of it must be held: the largest picture, and its boxes."""


def begins(path: Path) -> bool:
    """Say whether a file begins as a TFRecord does, or is empty."""
    with path.open("rb") as file:
        header = file.read(_HEADER.size)
    return not header or (len(header) == _HEADER.size and _sound(header))


def scan(path: Path) -> Iterator[tuple[int, memoryview, str]]:
    """Yield offset and bytes of each record of a file, and what is wrong with it, empty for nothing.

    One buffer takes all records in turn: the bytes are good only until the next record is asked for. A record
    whose length cannot be trusted is the last, and has no bytes. A file cut between two records looks whole.

    Raises:
        OSError: the file cannot be read.
    """
    buffer = bytearray()
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        at = 0
        while at < size:
            header = file.read(_HEADER.size)
            length = _HEADER.unpack(header)[0] if len(header) == _HEADER.size else 0
            problem = _problem(header, length, size - at, first=at == 0)
            if problem:
                yield at, memoryview(b""), problem
                return
            if len(buffer) < length + _CRC.size:
                # A larger one in the place of the old, of which a caller may still hold a view.
                buffer = bytearray(length + _CRC.size)
            view = memoryview(buffer)[: length + _CRC.size]
            read = file.readinto(view)
            at += _HEADER.size
            whole = read == len(view) and _CRC.unpack_from(view, length)[0] == masked_crc(view[:length])
            yield at, view[:length], "" if whole else "the checksum of its bytes is wrong"
            at += length + _CRC.size


def _problem(header: bytes, length: int, left: int, *, first: bool) -> str:
    """Say what keeps a header from being followed; empty for nothing."""
    if first and header.startswith(_GZIP):
        return "the file is compressed with gzip; unpack it"
    if len(header) < _HEADER.size:
        return "the file is cut inside its header"
    if not _sound(header):
        return "this is no TFRecord" if first else "the checksum of its length is wrong"
    if length > left - _HEADER.size - _CRC.size:
        return f"{length} bytes are announced, but the file is cut"
    if length > _MOST:
        return f"{length} bytes are more than an example may have, {_MOST}"
    return ""


def _sound(header: bytes) -> bool:
    return bool(_HEADER.unpack(header)[1] == masked_crc(header[:8]))
