"""The size of a picture, from the first bytes of its file."""

import struct
import warnings
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING

from .. import exif
from .reading import Reading

if TYPE_CHECKING:
    from PIL import Image

_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")


def measured(reading: Reading, key: str) -> tuple[int, int] | None:
    """Return width and height of a picture's file, in pixels of the view that a reading takes its boxes for."""
    return size_of(reading.root / key, upright=reading.upright)


def size_of(file: Path | IO[bytes], *, upright: bool = False) -> tuple[int, int] | None:
    """Return width and height in pixels as stored, or as shown; None where the file does not tell."""
    sizes = sizes_of(file)
    return sizes and sizes[upright]


def sizes_of(file: Path | IO[bytes]) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Return width and height in pixels as stored, and as shown; None where the file does not tell.

    It is not decoded here: a picture that is damaged further on is found when it is checked.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(file, formats=_FORMATS) as picture:
                size = picture.size
                turned = size[::-1] if _is_sideways(picture) else size
                # The size of a TIFF is told as it is shown.
                return (turned, size) if picture.format == "TIFF" else (size, turned)
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, IndexError):
        return None
    except Image.DecompressionBombError:
        return None


def _is_sideways(picture: "Image.Image") -> bool:
    if picture.format == "TIFF":
        return picture.getexif().get(exif.ORIENTATION_TAG) in exif.SIDEWAYS
    block: bytes = picture.info.get("exif", b"")
    return exif.orientation(memoryview(block.removeprefix(b"Exif\0\0"))) in exif.SIDEWAYS
