"""Checks of the pictures' files."""

from collections.abc import Iterator

from ..alike import near
from ..findings import Finding, Rule, place, quote
from ..looks import Look
from ..shard import TURNED_VIEW, odd_size
from .catalogue import rule
from .census import Row
from .data import Data

MANY_PIXELS = 25_000_000
"""Upstream holds pictures as float32, 12 bytes a pixel, in several threads at once: 300 MB each from here on."""

SHORT_SIDE = 32
"""The coarsest stride of common backbones, in pixels: a shorter side is less than one cell of their last map."""

LONG_ASPECT = 5
"""Pictures longer than this many times their width are squeezed beyond recognition by a fixed shape."""

_EXTENSIONS = {"jpg": "jpeg", "jpeg": "jpeg", "jpe": "jpeg", "jfif": "jpeg", "png": "png"}

_MISNAMED = Rule(
    "IMG102", "warning", "a picture's name says another format than its bytes", "rename it; tools go by the name"
)
_CMYK = Rule("IMG105", "warning", "a picture is in the colours of print (CMYK)", "save it as RGB")
_HUGE = Rule("IMG106", "warning", f"a picture has more than {MANY_PIXELS:,} pixels", "bundle with --max-side")
_TINY = Rule("IMG107", "warning", f"a picture's side is shorter than {SHORT_SIDE} pixels", "take a larger picture")
_LONG = Rule(
    "IMG107",
    "warning",
    f"a picture is more than {LONG_ASPECT} times as long as wide, and the model squeezes all into one shape",
    "cut it into pieces, or take a model that keeps the aspect ratio",
)
_DUPLICATE = Rule("IMG108", "warning", "a picture is the same file as another", "delete one of them")
_ALIKE = Rule(
    "IMG109",
    "info",
    "a picture looks nearly the same as another",
    "keep both on one side of the split: --near-duplicates together",
)
_ODD = Rule("IMG111", "info", "a picture's file is odd, though its pixels are whole")


@rule("IMG101", "error", "a picture cannot be decoded")
def damaged(data: Data) -> Iterator[Finding]:
    """The file is cut, damaged or empty, so that TensorFlow ends on it or trains on wrong pixels.

    The whole file is checked as libjpeg and libpng read it, with each of their warnings taken for an error;
    imaging libraries open and even verify files that end in the middle. Replace the picture or save it again.
    """
    yield from _problems(data, "IMG101")


@rule("IMG102", "error", "a picture is of a format that training cannot read, or not of the one its name says")
def other_format(data: Data) -> Iterator[Finding]:
    """TensorFlow reads JPEG and PNG; GIF and WebP come out in other shapes, BMP, TIFF and HEIC not at all.

    What counts are the first bytes, not the name. A conversion makes JPEG or PNG of GIF, WebP, BMP and TIFF. A
    name that says another of the readable formats harms no training, but tools that go by the name stumble over
    it.
    """
    yield from _problems(data, "IMG102")
    for picture, look in _usable(data):
        if misnamed(picture.key, look.kind):
            yield _MISNAMED.at(place(picture.key), f"is {look.kind.upper()}")


@rule("IMG103", "error", "a picture with boxes carries an Exif orientation")
def turned_view(data: Data) -> Iterator[Finding]:
    """The file says that it is to be shown turned or mirrored, and TensorFlow never does that.

    If the boxes were drawn on the turned view, every one of them lies on the wrong place, without an error. Which
    view it was depends on the tool and its date and cannot be read off the file: say it with `--exif apply` or
    `--exif ignore`, or turn the pixels and check the boxes.
    """
    for picture, look in _usable(data):
        if look.info is not None and look.info.orientation != 1 and picture.boxes:
            yield TURNED_VIEW.at(place(picture.key), f"orientation {look.info.orientation}")


@rule("IMG104", "error", "a picture is not of the size that the annotations record")
def other_size(data: Data) -> Iterator[Finding]:
    """The annotations record a width and height that the picture does not have, upright or as stored.

    Either the picture was resized or replaced after its boxes were drawn, or the numbers are swapped; boxes in
    pixels are scaled by the wrong size. Where `--exif` says which view they were drawn on, the size must be that
    of this view; one that is not recorded is read from the file, in that view.
    """
    yield from data.found.get("IMG104", ())
    for picture, look in _usable(data):
        if not picture.file and look.info is not None:
            yield from odd_size(picture.key, picture.size, (look.info.stored, look.info.upright))


@rule("IMG105", "warning", "a picture is in the colours of print")
def colours(data: Data) -> Iterator[Finding]:
    """A CMYK picture is turned into RGB by each decoder in its own way, so its colours in training are a guess.

    Gray, palette and 16-bit pictures are decoded to RGB alike everywhere and are fine.
    """
    for picture, look in _usable(data):
        if look.info is not None and look.info.channels == 4 and look.info.format == "jpeg":
            yield _CMYK.at(place(picture.key))


@rule("IMG106", "error", "a picture has very many pixels")
def huge(data: Data) -> Iterator[Finding]:
    """Upstream holds pictures as float32 in several threads at once, so large ones cost gigabytes and seconds.

    `--max-side` shrinks them in the records; the model would do so anyway, a moment later. An error only where
    TensorFlow's decoder refuses the picture.
    """
    yield from _problems(data, "IMG106")
    for picture, look in _usable(data):
        if look.info is not None and look.info.width * look.info.height > MANY_PIXELS:
            yield _HUGE.at(place(picture.key), f"{look.info.width} x {look.info.height}")


@rule("IMG107", "warning", "a picture is too small or too long for a detector")
def odd_shape(data: Data) -> Iterator[Finding]:
    """A side of a few pixels leaves nothing to detect once the model has halved it five times.

    With a model that stretches all pictures to one shape, very long pictures are squeezed until their objects
    cannot be told apart.
    """
    squeezes = data.model is not None and data.model.resizer == "fixed_shape"
    for picture, look in _usable(data):
        if look.info is None:
            continue
        sides = sorted((look.info.width, look.info.height))
        seen = f"{look.info.width} x {look.info.height}"
        if sides[0] < SHORT_SIDE:
            yield _TINY.at(place(picture.key), seen)
        elif squeezes and sides[1] > LONG_ASPECT * sides[0]:
            yield _LONG.at(place(picture.key), seen)


@rule("IMG108", "warning", "a picture is the same file as another")
def duplicate(data: Data) -> Iterator[Finding]:
    """Two pictures of the dataset are the same file byte for byte, so one of them counts twice.

    Their boxes may even differ. Delete one of them. Equal pictures on two sides of a split are SPL402.
    """
    first: dict[tuple[str, str], str] = {}
    for picture in data.census.rows:
        digest = data.images[picture.key].digest if picture.key in data.images else ""
        other = first.setdefault((digest, picture.split), picture.key) if digest else picture.key
        if other != picture.key:
            yield _DUPLICATE.at(place(picture.key), f"same as {quote(other)}")


@rule("IMG109", "info", "a picture looks nearly the same as another, if asked for")
def near_duplicate(data: Data) -> Iterator[Finding]:
    """Frames of one film, or a photograph saved twice: one trains, the other validates, and the mAP flatters.

    Found by a difference hash, of whose 64 bits at most 4 differ, and only with `--near-duplicates`, since many
    datasets are films on purpose. `odbuild convert --near-duplicates together` keeps such pictures on one side.
    """
    seen = [(row.key, data.images[row.key]) for row in data.census.rows if row.key in data.images]
    pairs = near([look.bits for _, look in seen])
    for later, first in sorted({max(pair): min(pair) for pair in pairs}.items()):
        if seen[later][1].digest != seen[first][1].digest:
            yield _ALIKE.at(place(seen[later][0]), f"like {quote(seen[first][0])}")


@rule("IMG111", "info", "a picture's file is odd")
def oddity(data: Data) -> Iterator[Finding]:
    """The file breaks the standard in a way that harms no pixel, such as stray bytes between its segments.

    Other tools may be less forgiving. Save the picture again if one of them complains.
    """
    for picture, look in _usable(data):
        if look.info is not None:
            yield from (_ODD.at(place(picture.key), warning) for warning in look.info.warnings)


def misnamed(key: str, kind: str) -> bool:
    """Say whether the ending of a name is that of another readable format than the one that its bytes announce."""
    return _EXTENSIONS.get(key.rpartition(".")[2].casefold(), kind) != kind


def _usable(data: Data) -> Iterator[tuple[Row, Look]]:
    """Yield the pictures whose files can be used."""
    for row in data.census.rows:
        look = data.images.get(row.key)
        if look is not None and look.problem is None:
            yield row, look


def _problems(data: Data, code: str) -> Iterator[Finding]:
    """Yield why files cannot be used, where the reason has this code."""
    for row in data.census.rows:
        look = data.images.get(row.key)
        if look is not None and look.problem is not None and look.problem.code == code:
            yield look.problem.at(place(row.key))
