"""The size of a picture, from its file."""

from pathlib import Path

from .. import images
from ..dataset import Span
from .reading import Reading

_HEAD = Span(file="", offset=0, length=1 << 16)
"""The first bytes of any file: what a JPEG says before its pixels, which tells its size, is hardly ever longer."""


def measured(reading: Reading, key: str) -> tuple[int, int] | None:
    """Return width and height of a picture's file, in pixels of the view that a reading takes its boxes for."""
    sizes = sizes_of(reading.root / key)
    return sizes and sizes[reading.upright]


def sizes_of(path: Path) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Return width and height of a file in pixels as stored, and as shown; None where it does not tell."""
    from ..looks import read

    try:
        head = read(path, _HEAD)
        found = images.sizes(head) if images.sniff(head) == "jpeg" else None
        return found or images.sizes(read(path, None))
    except images.ImageError:
        return None
