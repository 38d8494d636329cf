"""The structure of a PNG file, and proof that all its pixels are there, without the cost of decoding them.

The rules are those of the PNG specification (third edition) as far as libpng ends on them.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from . import exif
from .jpeg import Data

BLOCK_BYTES = 1 << 20
"""Pixels are inflated this many bytes at a time, so that a bomb costs time and no memory."""

_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
"""Bits a sample by colour type: gray, RGB, palette, gray and alpha, RGB and alpha."""

_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PALETTE = 3

_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First column, first row, column step and row step of each pass of an interlaced picture."""

_FILTERS = bytes(range(5))


class PngError(ValueError):
    """Report a PNG that no decoder should be given; the message goes on from 'cannot be decoded: '."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Png:
    """A PNG file by its structure.

    Attributes:
        width: pixels.
        height: pixels.
        bits: of a pixel.
        interlaced: whether its pixels come in seven passes.
        orientation: Exif orientation, 1 to 8.
        exif: start and end of the block of Exif that says so; None where there is none.
        pixels: the compressed pixels, in their pieces.
    """

    width: int
    height: int
    bits: int
    interlaced: bool
    orientation: int = 1
    exif: tuple[int, int] | None = None
    pixels: tuple[memoryview, ...] = field(default=(), repr=False, compare=False)


def read(data: Data, *, whole: bool = True) -> Png:
    """Walk a PNG from its signature to its end mark, checking the sums of all chunks that decoders need.

    Args:
        data: the file. What follows the end mark is ignored, as decoders do.
        whole: check all up to the end mark; without it the chunks behind the first pixels are only looked at for
            Exif, as far as they go.

    Raises:
        PngError: it is cut, damaged, or of a kind that does not exist.
    """
    view = memoryview(data)
    header: tuple[int, int, int, int, int, int, int] | None = None
    block: tuple[int, int] | None = None
    seen: set[bytes] = set()
    pixels: list[memoryview] = []
    last, begun = b"", False
    for at, name, body in _chunks(view, checked=whole):
        if header is None:
            header = _header(name, body)
        elif name == b"IDAT" and not whole:
            begun = True
        elif name == b"IDAT":
            if last != name and pixels:
                raise PngError("its pixels are interrupted")
            pixels.append(body)
        elif name == b"PLTE":
            _palette(header[3], body, late=bool(pixels) or begun, again=name in seen)
        elif name == b"eXIf":
            block = at + 8, at + 8 + len(body)
        elif name == b"IEND":
            break
        elif not name[0] & 0x20:
            if begun:
                break
            raise PngError(f"the chunk at byte {at} is of no known kind")
        seen.add(name)
        last = name
    if header is None or (whole and not pixels):
        raise PngError("it has no pixels")
    width, height, depth, colour, _, _, interlace = header
    if colour == _PALETTE and b"PLTE" not in seen:
        raise PngError("its palette is missing")
    return Png(
        width=width,
        height=height,
        bits=depth * _SAMPLES[colour],
        interlaced=bool(interlace),
        orientation=exif.orientation(view[slice(*block)]) if block else 1,
        exif=block,
        pixels=tuple(pixels),
    )


def _chunks(view: memoryview, *, checked: bool) -> Iterator[tuple[int, bytes, memoryview]]:
    """Yield the place, name and content of each chunk; sums of chunks that decoders may skip do not count.

    Unless they are checked, a file that is cut ends where it does once its pixels have begun.
    """
    at = 8
    pixels = False
    while True:
        try:
            length, name = struct.unpack_from(">I4s", view, at)
        except struct.error as error:
            if pixels and not checked:
                return
            raise PngError("it is cut short: the end mark is missing") from error
        end = at + 12 + length
        if end > len(view):
            if (pixels or name == b"IDAT") and not checked:
                return
            raise PngError("it is cut short: the end mark is missing")
        pixels = pixels or name == b"IDAT"
        needed = checked and not name[0] & 0x20
        if needed and zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end]):
            raise PngError(f"the checksum of the chunk at byte {at} is wrong")
        if not name.isalpha():
            if pixels and not checked:
                return
            raise PngError(f"there is no chunk at byte {at}")
        yield at, name, view[at + 8 : end - 4]
        at = end


def _header(name: bytes, body: memoryview) -> tuple[int, int, int, int, int, int, int]:
    if name != b"IHDR" or len(body) != 13:
        raise PngError("its header is missing")
    header = struct.unpack(">IIBBBBB", body)
    width, height, depth, colour, compression, filtering, interlace = header
    if not width or not height:
        raise PngError("its size is zero")
    if depth not in _DEPTHS.get(colour, ()) or compression or filtering or interlace > 1:
        raise PngError("its header makes no sense")
    return header


def _palette(colour: int, body: memoryview, *, late: bool, again: bool) -> None:
    # Where there is no palette to need, one of an odd length is skipped, but an empty one is not.
    broken = late or len(body) % 3 or len(body) > 768 if colour == _PALETTE else False
    if again or broken or (colour & 2 and not body):
        raise PngError("its palette makes no sense")


def check_pixels(png: Png) -> tuple[str, ...]:
    """Inflate all the pixels, and return warnings.

    The checksum inside the compressed stream proves them right, the filter bytes and the length decodable.

    Raises:
        PngError: pixels are missing or damaged.
    """
    source = _Inflater(iter(png.pixels))
    for width, height in _sizes(png):
        stride = 1 + (width * png.bits + 7) // 8
        rows = max(1, BLOCK_BYTES // stride)
        for done in range(0, height, rows):
            want = stride * min(rows, height - done)
            block = source.take(want)
            if len(block) < want:
                raise PngError("its pixels are cut short")
            if block[::stride].translate(None, _FILTERS):
                raise PngError("a row is filtered in no known way")
    surplus = source.take(BLOCK_BYTES)
    if not source.inflate.eof:
        raise PngError("its compressed pixels have no end")
    return ("more pixels than its size says",) if surplus else ()


def _sizes(png: Png) -> Iterator[tuple[int, int]]:
    """Yield width and height of each pass, in pixels."""
    if not png.interlaced:
        yield png.width, png.height
        return
    for left, top, across, down in _PASSES:
        width, height = -(-(png.width - left) // across), -(-(png.height - top) // down)
        if width > 0 and height > 0:
            yield width, height


class _Inflater:
    """Read a compressed stream that lies in pieces, a stated number of bytes at a time."""

    def __init__(self, pieces: Iterator[memoryview]) -> None:
        self.inflate = zlib.decompressobj()
        self._pieces = pieces

    def take(self, want: int) -> bytes:
        out = bytearray()
        while len(out) < want and not self.inflate.eof:
            piece = self.inflate.unconsumed_tail or next(self._pieces, None)
            try:
                block = self.inflate.decompress(piece or b"", want - len(out))
            except zlib.error as error:
                raise PngError("its compressed pixels are damaged") from error
            if piece is None and not block:
                break
            out += block
        return bytes(out)
