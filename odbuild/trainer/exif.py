"""The one thing in Exif that changes where boxes lie: the orientation."""

import struct
from contextlib import suppress

ORIENTATION_TAG = 0x0112
"""Exif tag 274; values 2 to 8 turn or mirror the picture when it is shown."""

SIDEWAYS = frozenset({5, 6, 7, 8})
"""Orientations that swap width and height."""


def orientation(tiff: memoryview) -> int:
    """Return the orientation in a block of Exif, 1 to 8; 1 for a block that is broken, which no decoder minds.

    Args:
        tiff: the block from its byte order mark on.
    """
    found = _find(tiff)
    value = 1 if found is None else struct.unpack_from(found[1], tiff, found[0])[0]
    return value if 1 <= value <= 8 else 1


def upright(tiff: memoryview) -> bytes:
    """Return a block of Exif that says the same but for the orientation, which is 1."""
    block = bytearray(tiff)
    found = _find(tiff)
    if found is not None:
        struct.pack_into(found[1], block, found[0], 1)
    return bytes(block)


def _find(tiff: memoryview) -> tuple[int, str] | None:
    """Return where the value of the orientation lies in a block, and how it is packed; None where it has none."""
    order = {b"II": "<", b"MM": ">"}.get(bytes(tiff[:2]))
    if order is None:
        return None
    with suppress(struct.error):
        start = struct.unpack_from(f"{order}I", tiff, 4)[0]
        for index in range(struct.unpack_from(f"{order}H", tiff, start)[0]):
            entry = start + 2 + 12 * index
            tag, _, _, _ = struct.unpack_from(f"{order}HHIH", tiff, entry)
            if tag == ORIENTATION_TAG:
                return entry + 8, f"{order}H"
    return None
