"""Decode a JPEG with every warning of libjpeg an error: that finds damage which other decoders paint over.

At an eighth of the size little more than the entropy coding is undone, and that is where damage shows.
"""

import io
import re
import struct

from . import jpeg, quantization
from .jpeg import Data

_SURPLUS = re.compile(r"(\d+) extraneous bytes before marker 0xd9")

_ZEROS = bytes(16)
"""At least 32 faint coefficients in a row; in photographs one in four is of this kind."""

_RARE_SAMPLING = "subsampling"
"""In what the fast decoder says to the rare layouts of channels that it has no name for."""


class StrictError(ValueError):
    """Report a JPEG with damaged pixels; the message is what libjpeg noticed."""


def check(data: Data, structure: jpeg.Jpeg) -> tuple[str, ...]:
    """Decode a JPEG of sound structure, and return warnings.

    Raises:
        StrictError: some of its coded pixels are damaged, though most decoders would not say so.
    """
    original = data
    if structure.edits:
        data = _edited(data, structure.edits)
    complaint = _complaint(data)
    surplus = _SURPLUS.search(complaint)
    if surplus:
        shorter = _without_filler(data, int(surplus[1]))
        if shorter and not _complaint(shorter):
            return ("filler after its last pixel",)
    complaint = complaint or _doubt(original, structure)
    if complaint:
        raise StrictError(complaint)
    return ()


def _doubt(data: Data, structure: jpeg.Jpeg) -> str:
    """Return what speaks of damage in a stream that is valid all the same; empty if nothing does."""
    if any(len(table) == 64 and quantization.is_hit(table) for table in structure.quants):
        return "a quantization table has values that no encoder writes"
    if any(_ZEROS in bytes(data[start:end]) for start, end in structure.solid):
        return "there are zeros in the place of coded pixels"
    return ""


def _complaint(data: Data) -> str:
    """Return the first thing that libjpeg complains of; empty if there is none."""
    # Loads numpy, which takes longer than checking a hundred headers.
    import simplejpeg

    try:
        simplejpeg.decode_jpeg(data, "GRAY", min_height=1, min_width=1, strict=True)
    except ValueError as error:
        return _lenient(data) if _RARE_SAMPLING in str(error) else str(error)
    return ""


def _lenient(data: Data) -> str:
    from PIL import JpegImagePlugin

    try:
        picture = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
    except (OSError, SyntaxError, ValueError, IndexError, struct.error):
        # It minds headers that TensorFlow's decoder takes, and the structure has been found sound.
        return ""
    picture.draft(None, (1, 1))
    try:
        picture.load()
    except OSError as error:
        return str(error)
    return ""


def _edited(data: Data, edits: tuple[tuple[int, int, bytes], ...]) -> bytes:
    pieces: list[Data] = []
    at = 0
    for start, end, instead in edits:
        pieces += data[at:start], instead
        at = end
    return b"".join([*pieces, data[at:]])


def _without_filler(data: Data, count: int) -> bytes:
    """Return the file without the last bytes of its last scan, or nothing where they say more than one value."""
    view = memoryview(data)
    end = jpeg.read(view).pixels_end
    filler = view[end - count : end]
    return b"" if len(set(filler)) > 1 else b"".join((view[: end - count], view[end:]))
