"""The size of a picture, from its file."""

from pathlib import Path

from .. import images
from .reading import Reading


def measured(reading: Reading, key: str) -> tuple[int, int] | None:
    """Return width and height of a picture's file, in pixels of the view that a reading takes its boxes for."""
    sizes = sizes_of(reading.root / key)
    return sizes and sizes[reading.upright]


def sizes_of(path: Path) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Return width and height of a file in pixels as stored, and as shown; None where it does not tell."""
    from ..looks import read

    try:
        return images.sizes(read(path, None))
    except images.ImageError:
        return None
