"""The size of a picture, from the first bytes of its file."""

import struct
import warnings
import zlib
from pathlib import Path
from typing import IO

_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")


def size_of(file: Path | IO[bytes]) -> tuple[int, int] | None:
    """Return width and height in pixels as stored; None where the file does not tell.

    It is not decoded here: a picture that is damaged further on is found when it is checked.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(file, formats=_FORMATS) as picture:
                return picture.size
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, IndexError):
        return None
    except Image.DecompressionBombError:
        return None
