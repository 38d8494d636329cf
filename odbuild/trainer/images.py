"""Pictures as TensorFlow will decode them: what they are, whether they are whole, and what must be changed.

Bytes pass through untouched wherever nothing has to change. Each picture is decoded at most once: the same decode
that proves it whole feeds the change. The headers are walked here and not by the imaging library, because
that one reads more than upstream's decoder would accept: files without their end, kinds of JPEG that libjpeg
in TensorFlow cannot decode.
"""

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from PIL import Image, JpegImagePlugin, PngImagePlugin

from .errors import OdbuildError
from .findings import Action

FormatPolicy = Literal["transcode", "fail"]

MOST_PIXELS = (1 << 29) // 3
"""TensorFlow's decoder refuses a picture whose pixels times three channels reach 2^29."""

QUALITY = 95
"""JPEG quality of re-encoded pictures: its loss stays below that of the camera's own encoding."""

ORIENTATION_TAG = 0x0112
"""Exif tag 274; values 2 to 8 turn or mirror the picture when it is shown."""

FOREIGN = {"gif": "GIF", "webp": "WEBP", "bmp": "BMP", "tiff": "TIFF"}
"""Formats that are read only to be re-encoded; everything else the imaging library knows stays shut."""

FIRST_SIDEWAYS = 5
"""Orientations from this one on swap width and height."""

_DECODABLE_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})
"""JPEG frames that libjpeg decodes: baseline, extended, progressive, and these two arithmetic-coded."""

_ALL_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class ImageError(OdbuildError):
    """Report a picture that cannot be used. `code` names the rule, `fix` says what to do."""

    def __init__(self, code: str, message: str, fix: str) -> None:
        super().__init__(f"{message}; {fix}")
        self.code = code
        self.message = message
        self.fix = fix


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageInfo:
    """What the header says.

    Attributes:
        format: `jpeg`, `png`, or one of `FOREIGN`.
        width: pixels as stored, before the orientation is applied.
        height: pixels as stored.
        orientation: Exif orientation, 1 to 8; 1 where there is none or it makes no sense.
    """

    format: str
    width: int
    height: int
    orientation: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A picture ready to be written.

    Attributes:
        data: the file's bytes, or those of a new JPEG or PNG.
        info: of `data`.
        source: of the file.
        changes: what was done, of `transcoded`, `turned`, `shrunk`; empty where `data` is the file's.
    """

    data: bytes
    info: ImageInfo
    source: ImageInfo
    changes: tuple[Action, ...] = ()


def inspect(data: bytes) -> ImageInfo:
    """Decode a JPEG or PNG completely and say what it is.

    Raises:
        ImageError: it is neither, or TensorFlow's decoder would reject it.
    """
    return prepare(data, turn=False, formats="fail", max_side=None).source


def prepare(data: bytes, *, turn: bool, formats: FormatPolicy, max_side: int | None) -> Prepared:
    """Decode a picture once and re-encode it where it must change.

    Args:
        data: the file.
        turn: apply the Exif orientation to the pixels, and leave the tag out.
        formats: what to do with GIF, WebP, BMP and TIFF: make them JPEG or PNG, or fail.
        max_side: longest side in pixels; larger pictures are shrunk to it. None keeps every size.

    Raises:
        ImageError: the picture is damaged, too large, or of a format that cannot be used.
    """
    kind = sniff(data)
    if kind in FOREIGN and formats == "transcode":
        return _transcode(data, kind, turn=turn, max_side=max_side)
    if kind not in ("jpeg", "png"):
        raise _unusable(kind)
    source = header(data, kind)
    target = _shrunk(source.width, source.height, max_side)
    turned = turn and source.orientation != 1
    picture = _decoded(data, source, target)
    if target is None and not turned:
        return Prepared(data=data, info=source, source=source)
    return _encoded(picture, source, target, turned=turned)


def sniff(data: bytes) -> str:
    """Return the format that the first bytes announce, whatever the file's name; empty if none is known."""
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "webp"
    if data.startswith(b"BM"):
        return "bmp"
    if data.startswith((b"II*\x00", b"MM\x00*")):
        return "tiff"
    brands = {b"heic": "heic", b"heix": "heic", b"mif1": "heic", b"msf1": "heic", b"avif": "avif"}
    return brands.get(data[8:12], "") if data[4:8] == b"ftyp" else ""


def header(data: bytes, kind: str) -> ImageInfo:
    """Walk the structure of a JPEG or PNG from its start to its end mark, without decoding a pixel.

    Raises:
        ImageError: it is cut, damaged, too large, or of a kind that TensorFlow's decoder cannot read.
    """
    try:
        info = _jpeg(data) if kind == "jpeg" else _png(data)
    except (IndexError, struct.error) as error:
        raise _damaged("it ends inside its header") from error
    _bounded(info.width, info.height)
    return info


def _jpeg(data: bytes) -> ImageInfo:
    width = height = 0
    orientation = 1
    for marker, start, end in _segments(data):
        if marker in _ALL_FRAMES:
            if width:
                raise _damaged("it holds two frames")
            width, height = _frame(marker, data[start:end])
        elif marker == 0xE1 and data.startswith(b"Exif\0\0", start) and orientation == 1:
            orientation = _orientation(data[start + 6 : end])
        elif marker == 0xDA and not width:
            raise _damaged("its pixels come before its size")
    if not width:
        raise _damaged("it has no pixels")
    return ImageInfo(format="jpeg", width=width, height=height, orientation=orientation)


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of the content of each segment, up to the end mark, which must be there.

    What follows the end mark is ignored, as decoders do: cameras put further pictures there.
    """
    at = 2
    scans = 0
    while True:
        if data[at] != 0xFF:
            raise _damaged(f"there is no marker at byte {at}")
        while data[at + 1] == 0xFF:
            at += 1
        marker = data[at + 1]
        if marker == 0xD9 and scans:
            return
        if marker < 0xC0 or 0xD0 <= marker <= 0xD9:
            raise _damaged(f"the marker 0x{marker:02x} is out of place at byte {at}")
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4])
        if end > len(data) or end < at + 4:
            raise _damaged(f"the segment at byte {at} does not fit")
        yield marker, at + 4, end
        at = _scan_end(data, end) if marker == 0xDA else end
        scans += marker == 0xDA


def _scan_end(data: bytes, start: int) -> int:
    """Return where the marker after the coded pixels stands; restart marks and stuffed bytes belong to them."""
    at = start
    while True:
        at = data.find(b"\xff", at)
        if at < 0 or at + 1 >= len(data):
            raise _damaged("it is cut short: the end mark is missing")
        if data[at + 1] and not 0xD0 <= data[at + 1] <= 0xD7:
            return at
        at += 2


def _frame(marker: int, segment: bytes) -> tuple[int, int]:
    precision, height, width, channels = struct.unpack_from(">BHHB", segment)
    if marker not in _DECODABLE_FRAMES or precision != 8:
        raise _damaged(f"it is a rare kind of JPEG (frame {marker - 0xC0}, {precision} bits a sample)")
    if channels not in (1, 3, 4) or len(segment) != 6 + 3 * channels:
        raise _damaged(f"it has {channels} channels")
    return width, height


def _png(data: bytes) -> ImageInfo:
    width, height = struct.unpack_from(">II", data, 16)
    orientation = 1
    at = 8
    while True:
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            raise _damaged("it is cut short: the end mark is missing")
        if not name[0] & 0x20 and zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end]):
            raise _damaged(f"the checksum of the chunk at byte {at} is wrong")
        if name == b"eXIf":
            orientation = _orientation(data[at + 8 : end - 4])
        if name == b"IEND":
            return ImageInfo(format="png", width=width, height=height, orientation=orientation)
        at = end


def _orientation(tiff: bytes) -> int:
    """Return the orientation in a block of Exif; 1 for one that is broken, which no decoder minds."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
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


def _bounded(width: int, height: int) -> None:
    if not width or not height:
        raise _damaged("its size is zero")
    if width * height >= MOST_PIXELS:
        raise ImageError(
            "IMG106",
            f"the picture has {width} x {height} pixels, which the decoder refuses",
            f"shrink it to below {MOST_PIXELS:,} pixels",
        )


def _shrunk(width: int, height: int, max_side: int | None) -> tuple[int, int] | None:
    """Return the size that fits, sides in proportion, or None where the picture fits as it is."""
    longest = max(width, height)
    if max_side is None or longest <= max_side:
        return None
    return max(1, round(width * max_side / longest)), max(1, round(height * max_side / longest))


def _decoded(data: bytes, info: ImageInfo, target: tuple[int, int] | None) -> Image.Image:
    """Decode all of the file; at a fraction of its size where it will be shrunk and the codec can do that."""
    with _decoding():
        opener = JpegImagePlugin.JpegImageFile if info.format == "jpeg" else PngImagePlugin.PngImageFile
        picture = opener(io.BytesIO(data))
        if picture.size != (info.width, info.height):
            raise _damaged("its header contradicts itself")
        if target is not None and info.format == "jpeg":
            # The codec halves by dropping frequencies, as good a filter as any; the last step stays below 2.
            picture.draft(None, target)
        picture.load()
    return picture


@contextmanager
def _decoding() -> Iterator[None]:
    """Turn what the imaging library raises on bad files into an ImageError.

    Its warnings are about metadata, which TensorFlow's decoder never reads, and about large pictures, which
    are bounded here by what that decoder can hold.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, IndexError) as error:
        raise _damaged(str(error) or type(error).__name__) from error
    except Image.DecompressionBombError as error:
        raise ImageError("IMG106", "the picture is too large to decode", "shrink it") from error


def _transcode(data: bytes, kind: str, *, turn: bool, max_side: int | None) -> Prepared:
    """Re-encode the first frame of another format."""
    with _decoding():
        picture = Image.open(io.BytesIO(data), formats=[FOREIGN[kind]])
        _bounded(*picture.size)
        orientation = picture.getexif().get(ORIENTATION_TAG, 1)
        picture.load()
    source = ImageInfo(
        format=kind,
        width=picture.width,
        height=picture.height,
        # A TIFF is turned while it is decoded, and no browser shows it otherwise.
        orientation=orientation if orientation in _TURNS and kind != "tiff" else 1,
    )
    target = _shrunk(source.width, source.height, max_side)
    return _encoded(picture, source, target, turned=turn and source.orientation != 1)


def _encoded(picture: Image.Image, source: ImageInfo, target: tuple[int, int] | None, *, turned: bool) -> Prepared:
    lossless = source.format == "png" or _wants_png(picture)
    picture = _plain(picture, resized=target is not None)
    if target is not None:
        picture = picture.resize(target, Image.Resampling.LANCZOS, reducing_gap=2.0)
    if turned:
        picture = picture.transpose(_TURNS[source.orientation])
    out = io.BytesIO()
    # Metadata goes: a kept orientation tag would say once more what the pixels now show.
    picture.info.clear()
    if lossless:
        picture.save(out, "PNG")
    else:
        picture.save(out, "JPEG", quality=QUALITY)
    kind = "png" if lossless else "jpeg"
    info = ImageInfo(format=kind, width=picture.width, height=picture.height)
    done: dict[Action, bool] = {
        "transcoded": source.format != kind,
        "turned": turned,
        "shrunk": target is not None,
    }
    changes = tuple(action for action, did in done.items() if did)
    return Prepared(data=out.getvalue(), info=info, source=source, changes=changes)


def _wants_png(picture: Image.Image) -> bool:
    """Say whether JPEG would lose what the picture is made of: hard edges of drawings, or transparency."""
    return picture.mode in {"1", "P", "PA", "LA", "RGBA", "La", "RGBa", "I;16"}


def _plain(picture: Image.Image, *, resized: bool) -> Image.Image:
    """Return the picture in a mode that can be resized and saved, with the colours that TensorFlow would see."""
    if picture.mode.startswith("I;16"):
        return picture.convert("I").point(lambda value: value / 256).convert("L")
    if picture.mode in {"I", "F"}:
        raise ImageError("IMG102", f"the picture has {picture.mode} samples of 32 bits", "save it with 8 bits")
    if picture.mode == "P" and resized:
        return picture.convert("RGB")
    if picture.mode == "1" and resized:
        return picture.convert("L")
    return picture if picture.mode in {"1", "L", "LA", "P", "RGB", "RGBA"} else picture.convert("RGB")


def _damaged(why: str) -> ImageError:
    return ImageError("IMG101", f"the picture cannot be decoded: {why}", "replace it or save it again")


def _unusable(kind: str) -> ImageError:
    fix = "save it as JPEG or PNG"
    if kind in FOREIGN:
        return ImageError("IMG102", f"the picture is {kind.upper()}", f"{fix}, or choose formats=transcode")
    what = f"is {kind.upper()}" if kind else "is no picture of a known format"
    return ImageError("IMG102", f"the picture {what}", fix)
