"""Pictures as TensorFlow will decode them: what they are, whether they are whole, and what must be changed.

Bytes pass through untouched wherever nothing has to change. The checks are not left to the imaging library,
because that one reads more than upstream's decoder would accept, such as files without their end, and paints
over damage, as that decoder does too.
"""

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from . import exif, jpeg, png, strict
from .errors import OdbuildError
from .findings import Action
from .jpeg import Data
from .strict import Gray

if TYPE_CHECKING:
    from PIL import Image

FormatPolicy = Literal["transcode", "fail"]

Check = Literal["none", "structure", "decode"]

MOST_SAMPLES = 1 << 29
"""TensorFlow's decoder refuses a picture whose pixels times three channels, or four of CMYK, reach this."""

QUALITY = 90
"""JPEG quality of re-encoded pictures: at 95, phones' photographs that were shrunk to a third took more bytes than
before."""

FOREIGN = {"gif": "GIF", "webp": "WEBP", "bmp": "BMP", "tiff": "TIFF"}
"""Formats that are read only to be re-encoded; everything else the imaging library knows stays shut."""

_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
"""What the imaging library calls each turn; most pictures are whole and upright, and never need it."""

_TIFF_SIZE = 256, 257
"""Tags of a TIFF that hold width and height in pixels."""

_FAILURES = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    ArithmeticError,
    LookupError,
    EOFError,
    struct.error,
    zlib.error,
)
"""What the imaging library raises on files that it did not expect."""

_BACK = {6: "ROTATE_90", 8: "ROTATE_270"}
"""How those turns are undone that do not undo themselves."""


class ImageError(OdbuildError):
    """Report a picture that cannot be used. `code` names the rule, `fix` says what to do."""

    def __init__(self, code: str, message: str, fix: str) -> None:
        super().__init__(f"{message}; {fix}")
        self.code = code
        self.message = message
        self.fix = fix


class ImageInfo(NamedTuple):
    """What the header says.

    Attributes:
        format: `jpeg`, `png`, or one of `FOREIGN`.
        width: pixels as stored, before the orientation is applied.
        height: pixels as stored.
        orientation: Exif orientation, 1 to 8; 1 where there is none or it makes no sense.
        channels: of a JPEG: 1 for gray, 3 for colours, 4 for those of print (CMYK); 3 for all other formats.
        warnings: oddities of the file that harm no pixel, as nouns.
    """

    format: str
    width: int
    height: int
    orientation: int = 1
    channels: int = 3
    warnings: tuple[str, ...] = ()

    @property
    def stored(self) -> tuple[int, int]:
        """Width and height as stored."""
        return self.width, self.height

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height once the orientation is applied."""
        return (self.height, self.width) if self.orientation in exif.SIDEWAYS else self.stored


class Prepared(NamedTuple):
    """A picture ready to be written.

    Attributes:
        data: the file as it was given, or those of a new JPEG or PNG.
        info: of `data`.
        source: of the file.
        changes: what was done, of `transcoded`, `turned`, `shrunk`; empty where `data` is the file's.
    """

    data: Data
    info: ImageInfo
    source: ImageInfo
    changes: tuple[Action, ...] = ()


def inspect(data: Data, *, check: Check) -> ImageInfo:
    """Say what a JPEG or PNG is, and check it as far as asked.

    Args:
        data: the file; a view of a reused buffer will do.
        check: `none` reads the header; `structure` also finds what TensorFlow's decoder would reject; `decode`
            also finds what it would decode to wrong pixels.

    Raises:
        ImageError: it is neither JPEG nor PNG, or the check failed.
    """
    return inspect_and_keep(data, check=check)[0]


def inspect_and_keep(data: Data, *, check: Check) -> tuple[ImageInfo, Gray | None]:
    """Do as `inspect`, and return what of the picture the check had to decode, for `grays` to use."""
    return _inspected(data, sniff(data), check)


def _inspected(data: Data, kind: str, check: Check) -> tuple[ImageInfo, Gray | None]:
    if kind == "jpeg":
        return _jpeg(data, check)
    if kind == "png":
        return _png(data, check), None
    if not data:
        raise _damaged("it is empty")
    raise _unusable(kind)


def prepare(
    data: Data, *, turn: bool, formats: FormatPolicy, max_side: int | None, check: Check = "decode"
) -> Prepared:
    """Check a picture, and re-encode it where it must change.

    Args:
        data: the file; a view of a reused buffer will do.
        turn: apply the Exif orientation to the pixels, and leave the tag out.
        formats: what to do with GIF, WebP, BMP and TIFF: make them JPEG or PNG, or fail.
        max_side: longest side in pixels; larger pictures are shrunk to it. None keeps every size.
        check: how far JPEG and PNG are checked, as for `inspect`.

    Raises:
        ImageError: the picture is damaged, too large, or of a format that cannot be used.
    """
    kind = sniff(data)
    if kind in FOREIGN and formats == "transcode":
        return _transcode(data, kind, turn=turn, max_side=max_side)
    source, _ = _inspected(data, kind, check)
    target = _shrunk(source.width, source.height, max_side)
    turned = turn and source.orientation != 1
    if target is None and not turned:
        return Prepared(data=data, info=source, source=source)
    return _encoded(_decoded(data, source, target), source, target, turned=turned)


def untagged(data: bytes) -> bytes:
    """Return a whole JPEG or PNG with an orientation in its Exif that says upright, not a pixel changed."""
    png_chunk = sniff(data) == "png"
    block = (png.read(data) if png_chunk else jpeg.read(data)).exif
    if block is None:
        return data
    start, end = block
    new = exif.upright(memoryview(data)[start:end])
    if png_chunk:
        # Behind the chunk stands the sum of its name and content.
        return data[:start] + new + struct.pack(">I", zlib.crc32(data[start - 4 : start] + new)) + data[end + 4 :]
    return data[:start] + new + data[end:]


def grays(data: Data, width: int, height: int, kept: Gray | None = None) -> bytes:
    """Return a picture shrunk to so many pixels, one byte of gray for each, row by row, whatever its proportions.

    Args:
        data: the file.
        width: pixels.
        height: pixels.
        kept: what `inspect_and_keep` gave for the file, which saves decoding large pictures once more.

    Raises:
        ImageError: it cannot be decoded.
    """
    from PIL import Image

    # Eight times the size leaves the codec's own shrinking hardly any say in the result.
    room = 8 * width, 8 * height
    picture = _gray(data, room, kept)
    return picture.resize((width, height), Image.Resampling.BOX).tobytes()


def _gray(data: Data, room: tuple[int, int], kept: Gray | None) -> "Image.Image":
    """Decode a picture to gray, at a fraction of its size, no side below the room's where it is not smaller."""
    from PIL import Image

    kind = sniff(data)
    if kind in FOREIGN:
        return _plain(_foreign(data, kind)[0], resized=True).convert("L")
    if kept is None or kept.shape[1] < room[0] or kept.shape[0] < room[1]:
        kept = strict.gray(data, *room) if kind == "jpeg" else None
    if kept is not None:
        return Image.frombuffer("L", (kept.shape[1], kept.shape[0]), kept.tobytes())
    return _plain(_decoded(data, inspect(data, check="none"), room), resized=True).convert("L")


def sniff(data: Data) -> str:
    """Return the format that the first bytes announce, whatever the file's name; empty if none is known."""
    data = bytes(data[:12])
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


def _jpeg(data: Data, check: Check) -> tuple[ImageInfo, Gray | None]:
    try:
        found = jpeg.read(data, whole=check != "none")
        _bounded(found.width, found.height, found.channels)
        checked = strict.check(data, found) if check == "decode" else strict.Checked((), None)
    except jpeg.JpegError as error:
        raise _damaged(str(error)) from error
    except strict.StrictError as error:
        raise ImageError(
            "IMG101",
            f"the picture decodes to wrong pixels: {error}",
            "replace it, for TensorFlow would train on the damage without a word",
        ) from error
    info = ImageInfo(
        format="jpeg",
        width=found.width,
        height=found.height,
        orientation=found.orientation,
        channels=found.channels,
        warnings=found.warnings + checked.warnings,
    )
    return info, checked.gray


def _png(data: Data, check: Check) -> ImageInfo:
    try:
        found = png.read(data, whole=check != "none")
        _bounded(found.width, found.height, 3)
        warned = png.check_pixels(found) if check == "decode" else ()
    except png.PngError as error:
        raise _damaged(str(error)) from error
    return ImageInfo(
        format="png", width=found.width, height=found.height, orientation=found.orientation, warnings=warned
    )


def _bounded(width: int, height: int, channels: int) -> None:
    most = MOST_SAMPLES // max(3, channels)
    if width * height >= most:
        raise ImageError(
            "IMG106",
            f"the picture has {width} x {height} pixels, which the decoder refuses",
            f"shrink it to below {most:,} pixels",
        )


def _shrunk(width: int, height: int, max_side: int | None) -> tuple[int, int] | None:
    """Return the size that fits, sides in proportion, or None where the picture fits as it is."""
    longest = max(width, height)
    if max_side is None or longest <= max_side:
        return None
    return max(1, round(width * max_side / longest)), max(1, round(height * max_side / longest))


def _decoded(data: Data, info: ImageInfo, target: tuple[int, int] | None) -> "Image.Image":
    """Decode all of the file; at a fraction of its size where it will be shrunk and the codec can do that."""
    from PIL import JpegImagePlugin, PngImagePlugin

    with decoding():
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
def decoding() -> Iterator[None]:
    """Turn what the imaging library raises on bad files into an ImageError.

    Its warnings are about metadata, which TensorFlow's decoder never reads, and about large pictures, which
    are bounded here by what that decoder can hold.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except _FAILURES as error:
        raise _damaged(str(error) or type(error).__name__) from error
    except Image.DecompressionBombError as error:
        raise ImageError("IMG106", "the picture is too large to decode", "shrink it") from error


def sizes(data: Data) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Return width and height in pixels as stored, and as shown; None for what is no picture that can be used.

    It is not decoded here: a picture that is damaged further on is found when it is checked.
    """
    kind = sniff(data)
    try:
        info = _opened(data, kind)[1] if kind in FOREIGN else inspect(data, check="none")
    except ImageError:
        return None
    return info.stored, info.upright


def _opened(data: Data, kind: str) -> tuple["Image.Image", ImageInfo]:
    """Open a picture of another format, and tell what it is before it is decoded."""
    from PIL import Image

    with decoding():
        picture = Image.open(io.BytesIO(data), formats=[FOREIGN[kind]])
        _bounded(*picture.size, 3)
        given = picture.getexif().get(exif.ORIENTATION_TAG, 1)
        # The imaging library tells the size of a TIFF as it is shown, if its own tag says how.
        tags: Any = getattr(picture, "tag_v2", None)
        width, height = (int(tags[tag]) for tag in _TIFF_SIZE) if tags else picture.size
    orientation = given if given in _TURNS else 1
    return picture, ImageInfo(format=kind, width=width, height=height, orientation=orientation)


def _foreign(data: Data, kind: str) -> tuple["Image.Image", int]:
    """Decode the first frame of another format as it is stored; return its orientation, too."""
    from PIL import Image

    picture, info = _opened(data, kind)
    orientation = info.orientation
    with decoding():
        picture.load()
    if kind == "tiff" and orientation != 1:
        # The imaging library turns it upright as it decodes it, before anybody could say whether that is wanted.
        return picture.transpose(Image.Transpose[_BACK.get(orientation, _TURNS[orientation])]), orientation
    return picture, orientation


def _transcode(data: Data, kind: str, *, turn: bool, max_side: int | None) -> Prepared:
    """Re-encode the first frame of another format."""
    picture, orientation = _foreign(data, kind)
    source = ImageInfo(format=kind, width=picture.width, height=picture.height, orientation=orientation)
    target = _shrunk(source.width, source.height, max_side)
    return _encoded(picture, source, target, turned=turn and source.orientation != 1)


def _encoded(
    picture: "Image.Image", source: ImageInfo, target: tuple[int, int] | None, *, turned: bool
) -> Prepared:
    from PIL import Image

    lossless = source.format == "png" or _wants_png(picture) or max(target or picture.size) > jpeg.MOST_SIDE
    picture = _plain(picture, resized=target is not None)
    if target is not None:
        picture = picture.resize(target, Image.Resampling.LANCZOS, reducing_gap=2.0)
    if turned:
        picture = picture.transpose(Image.Transpose[_TURNS[source.orientation]])
    out = io.BytesIO()
    # Metadata goes: a kept orientation tag would say once more what the pixels now show.
    picture.info.clear()
    if lossless:
        picture.save(out, "PNG")
    else:
        picture.save(out, "JPEG", quality=QUALITY)
    kind = "png" if lossless else "jpeg"
    channels = 1 if kind == "jpeg" and picture.mode == "L" else 3
    info = ImageInfo(format=kind, width=picture.width, height=picture.height, channels=channels)
    done: dict[Action, bool] = {
        "transcoded": source.format != kind,
        "turned": turned,
        "shrunk": target is not None,
    }
    changes = tuple(action for action, did in done.items() if did)
    return Prepared(data=out.getvalue(), info=info, source=source, changes=changes)


def _wants_png(picture: "Image.Image") -> bool:
    """Say whether JPEG would lose what the picture is made of: hard edges of drawings, or transparency."""
    return picture.mode in {"1", "P", "PA", "LA", "RGBA", "La", "RGBa", "I;16"}


def _plain(picture: "Image.Image", *, resized: bool) -> "Image.Image":
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
        return ImageError("IMG102", f"the picture is {kind.upper()}", f"{fix}, or choose --formats transcode")
    what = f"is {kind.upper()}" if kind else "is no picture of a known format"
    return ImageError("IMG102", f"the picture {what}", fix)
