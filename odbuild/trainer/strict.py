"""Decode a JPEG with every warning of libjpeg an error: that finds damage which other decoders paint over.

At an eighth of the size little more than the entropy coding is undone, and that is where damage shows.
"""

import io
import re
import struct
from dataclasses import dataclass
from typing import Any

from . import jpeg, quantization
from .jpeg import Data

Gray = Any
"""A shrunk picture: bytes by row, column and the one channel. An array of numpy, which is loaded late."""

_SURPLUS = re.compile(r"(\d+) extraneous bytes before marker 0xd9")

_ZEROS = bytes(16)
"""At least 32 faint coefficients in a row; in photographs one in four is of this kind."""

_RARE_SAMPLING = "subsampling"
"""In what the fast decoder says to the rare layouts of channels that it has no name for."""


class StrictError(ValueError):
    """Report a JPEG with damaged pixels; the message is what libjpeg noticed."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A JPEG without damage.

    Attributes:
        warnings: oddities that harm no pixel.
        gray: the picture at an eighth of its size; None where the fast decoder cannot read it.
    """

    warnings: tuple[str, ...]
    gray: Gray | None


def check(data: Data, structure: jpeg.Jpeg) -> Checked:
    """Decode a JPEG of sound structure.

    Raises:
        StrictError: some of its coded pixels are damaged, though most decoders would not say so.
    """
    original = data
    if structure.edits:
        data = _edited(data, structure.edits)
    small, complaint = _decoded(data)
    surplus = _SURPLUS.search(complaint)
    if surplus:
        shorter = _without_filler(data, int(surplus[1]))
        whole, still = _decoded(shorter) if shorter else (None, complaint)
        if not still:
            return Checked(("filler after its last pixel",), whole)
    complaint = complaint or _doubt(original, structure)
    if complaint:
        raise StrictError(complaint)
    return Checked((), small)


def gray(data: Data, width: int, height: int) -> Gray | None:
    """Decode a JPEG to the smallest fraction of its size that has so many pixels each way, damaged or not.

    Where an eighth is large enough, it is what `check` decodes. None where the fast decoder cannot read it.
    """
    import simplejpeg

    try:
        return simplejpeg.decode_jpeg(data, "GRAY", min_height=height, min_width=width, strict=False)
    except ValueError:
        return None


def _doubt(data: Data, structure: jpeg.Jpeg) -> str:
    """Return what speaks of damage in a stream that is valid all the same; empty if nothing does."""
    if any(len(table) == 64 and quantization.is_hit(table) for table in structure.quants):
        return "a quantization table has values that no encoder writes"
    if any(_zeroed(data, start, end) for start, end in structure.solid):
        return "there are zeros in the place of coded pixels"
    return ""


def _zeroed(data: Data, start: int, end: int) -> bool:
    """Say whether so many zeros as `_ZEROS` stand in a row; half of them fill a word wherever they begin."""
    import numpy as np

    words = np.frombuffer(data, np.uint64, (end - start) // 8, start)
    return not words.all() and _ZEROS in bytes(data[start:end])


def _decoded(data: Data) -> tuple[Gray | None, str]:
    """Return a picture at an eighth of its size, and the first thing that libjpeg complains of, if any."""
    # Loads numpy, which takes longer than checking a hundred headers.
    import simplejpeg

    try:
        return simplejpeg.decode_jpeg(data, "GRAY", min_height=1, min_width=1, strict=True), ""
    except ValueError as error:
        return None, _lenient(data) if _RARE_SAMPLING in str(error) else str(error)


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
