"""The one thing in Exif that changes where boxes lie: the orientation."""

import struct

ORIENTATION_TAG = 0x0112
"""Exif tag 274; values 2 to 8 turn or mirror the picture when it is shown."""


def orientation(tiff: memoryview) -> int:
    """Return the orientation in a block of Exif, 1 to 8; 1 for a block that is broken, which no decoder minds.

    Args:
        tiff: the block from its byte order mark on.
    """
    order = {b"II": "<", b"MM": ">"}.get(bytes(tiff[:2]))
    if order is None:
        return 1
    try:
        start = struct.unpack_from(f"{order}I", tiff, 4)[0]
        for index in range(struct.unpack_from(f"{order}H", tiff, start)[0]):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", tiff, start + 2 + 12 * index)
            if tag == ORIENTATION_TAG:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1
