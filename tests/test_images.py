import contextlib
import io
import random
import struct
import zlib
from pathlib import Path

import damage
import jpegs
import pictures
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps, TiffImagePlugin

from odbuild.trainer import exif, images
from odbuild.trainer.images import Check, ImageError, ImageInfo, prepare
from odbuild.trainer.jpeg import Data
from odbuild.trainer.readers.sizes import sizes_of

GOOD = {
    **jpegs.GOOD,
    "png": pictures.encoded(pictures.drawing(), "PNG"),
    "png gray": pictures.encoded(pictures.drawing(mode="L"), "PNG"),
    "png palette": pictures.encoded(pictures.drawing(mode="P"), "PNG"),
    "png alpha": pictures.encoded(pictures.drawing(mode="RGBA"), "PNG"),
    "png two colours": pictures.encoded(pictures.drawing(mode="1"), "PNG"),
    "png 16 bits": pictures.encoded(pictures.drawing(mode="I;16"), "PNG"),
}
CHECKS: tuple[Check, ...] = ("none", "structure", "decode")
STARTS = [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM"]
KEEP = {"turn": False, "formats": "transcode", "max_side": None}


def inspect(data: Data) -> ImageInfo:
    return images.inspect(data, check="decode")


def _prepare(data: bytes, **changes: object) -> images.Prepared:
    return prepare(data, **{**KEEP, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", GOOD)
def test_good_pictures_pass_untouched(name: str) -> None:
    data = GOOD[name]
    kind = "png" if name.startswith("png") else "jpeg"
    assert inspect(data) == ImageInfo(format=kind, width=48, height=32, channels=jpegs.channels(name))
    prepared = _prepare(data)
    assert prepared.data is data
    assert prepared.changes == ()


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("check", CHECKS)
def test_every_check_says_the_same_of_a_view_of_a_buffer(name: str, check: Check) -> None:
    buffer = memoryview(bytearray(GOOD[name] + b"of the picture before"))
    assert images.inspect(buffer[: len(GOOD[name])], check=check) == inspect(GOOD[name])


def test_the_orientation_does_not_depend_on_how_far_a_picture_is_checked() -> None:
    turned = pictures.jpeg(orientation=6)
    start = turned.index(b"\xff\xe1")
    block = turned[start : start + 2 + int.from_bytes(turned[start + 2 : start + 4])]
    late = pictures.jpeg()[:-2] + block + b"\xff\xd9"
    png = io.BytesIO()
    pictures.drawing().save(png, "PNG", exif=pictures.exif(6))
    data = png.getvalue()
    at = data.index(b"eXIf") - 4
    chunk = data[at : at + 12 + int.from_bytes(data[at : at + 4])]
    behind = data.replace(chunk, b"").replace(data[-12:], chunk + data[-12:])
    for picture, expected in ((turned, 6), (late, 1), (data, 6), (behind, 6)):
        levels: tuple[Check, ...] = ("none", "structure", "decode")
        assert {images.inspect(picture, check=level).orientation for level in levels} == {expected}


@pytest.mark.parametrize("name", jpegs.ODD)
def test_harmless_oddities_are_warnings(name: str) -> None:
    assert inspect(jpegs.ODD[name]) == ImageInfo(format="jpeg", width=48, height=32, warnings=(name,))


def test_each_check_finds_more() -> None:
    whole = damage.good(seed=5)["baseline"]
    start, end = jpegs.pixels(whole)
    silent = whole[:start] + whole[(start + end) // 2 :]
    cut = whole[:-2]
    assert images.inspect(cut, check="none") == images.inspect(silent, check="structure") == inspect(whole)
    with pytest.raises(ImageError, match="cannot be decoded: it is cut short") as loud:
        images.inspect(cut, check="structure")
    with pytest.raises(
        ImageError, match=r"decodes to wrong pixels: .*; replace it, for TensorFlow would"
    ) as quiet:
        inspect(silent)
    assert loud.value.code == quiet.value.code == "IMG101"
    for change in ({}, {"max_side": 64}):
        with pytest.raises(ImageError, match="wrong pixels"):
            _prepare(silent, **change)
        assert _prepare(silent, check="structure", **change).source == inspect(whole)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_largest_size_depends_on_the_channels(channels: int) -> None:
    side = round((images.MOST_SAMPLES / max(3, channels)) ** 0.5)
    for change, expected in ((-20, None), (20, "IMG106")):
        size = struct.pack(">HH", side + change, side + change)
        data = bytearray(GOOD[{1: "gray", 3: "baseline", 4: "cmyk"}[channels]])
        frame = data.index(b"\xff\xc0")
        data[frame + 5 : frame + 9] = size
        code = None
        try:
            images.inspect(bytes(data), check="none")
        except ImageError as error:
            code = error.code
        assert code == expected


def test_a_wrong_checksum_in_a_png_is_found() -> None:
    data = bytearray(GOOD["png"])
    data[data.index(b"IDAT") + 9] ^= 1
    with pytest.raises(ImageError, match="checksum"):
        inspect(bytes(data))


@pytest.mark.parametrize("frame", [0xC3, 0xC5, 0xCF])
def test_rare_kinds_of_jpeg_are_refused(frame: int) -> None:
    data = GOOD["baseline"].replace(b"\xff\xc0", bytes((0xFF, frame)), 1)
    with pytest.raises(ImageError, match=f"frame {frame - 0xC0},"):
        inspect(data)


def test_sizes_beyond_the_decoder_are_refused_before_decoding() -> None:
    ihdr = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", ihdr), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )
    with pytest.raises(ImageError, match="60000 x 60000 pixels") as caught:
        inspect(data)
    assert caught.value.code == "IMG106"


@given(
    data=st.binary(max_size=60),
    start=st.sampled_from(STARTS),
)
def test_noise_is_an_image_error(data: bytes, start: bytes) -> None:
    with pytest.raises(ImageError):
        _prepare(start + data)


@given(st.sampled_from(sorted(GOOD)), st.randoms(use_true_random=False))
def test_damage_is_passed_or_an_image_error(name: str, dice: random.Random) -> None:
    data = bytearray(GOOD[name])
    for _ in range(dice.randrange(1, 5)):
        data[dice.randrange(len(data))] = dice.randrange(256)
    with contextlib.suppress(ImageError):
        inspect(bytes(data))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations_are_read_and_applied(orientation: int) -> None:
    data = pictures.jpeg(orientation=orientation)
    assert inspect(data).orientation == orientation
    turned = _prepare(data, turn=True)
    if orientation == 1:
        assert turned.data is data
        return
    upright = Image.open(io.BytesIO(turned.data))
    assert upright.getexif() == {}
    assert turned.changes == ("turned",)
    assert turned.info == ImageInfo(format="jpeg", width=upright.width, height=upright.height)
    assert (upright.width > upright.height) == (orientation not in exif.SIDEWAYS)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_size_is_measured_in_the_view_that_the_picture_gets(tmp_path: Path, kind: str, orientation: int) -> None:
    data = pictures.encoded(pictures.drawing(), kind, exif=pictures.exif(orientation))
    path = pictures.write(tmp_path, "a", data)
    for turn in (False, True):
        info = _prepare(data, turn=turn).info
        found = sizes_of(path)
        assert found
        assert found[turn] == info.stored


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


def _late(data: bytes) -> bytes:
    """Return a PNG whose Exif stands behind its pixels."""
    block = pictures.exif(6)[6:]
    chunk = struct.pack(">I", len(block)) + b"eXIf" + block + struct.pack(">I", zlib.crc32(b"eXIf" + block))
    return data[:-12] + chunk + data[-12:]


def _xmp(kind: int, value: str | bytes) -> bytes:
    """Return a TIFF with XMP of some type of tag."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags.tagtype[700] = kind
    tags[700] = value
    return pictures.encoded(pictures.drawing(), "TIFF", tiffinfo=tags)


ODDLY_TURNED = {
    "late exif": _late(pictures.encoded(pictures.drawing(), "PNG")),
    "webp by xmp": pictures.encoded(pictures.drawing(), "WEBP", xmp=XMP),
    "tiff by xmp": _xmp(1, XMP),
    "xmp of another type": _xmp(2, "<x:xmpmeta/>"),
    "jpeg by xmp": pictures.encoded(pictures.drawing(), xmp=XMP),
}


@pytest.mark.parametrize("name", ODDLY_TURNED)
def test_whoever_asks_for_the_orientation_gets_the_same(tmp_path: Path, name: str) -> None:
    path = pictures.write(tmp_path, "a", ODDLY_TURNED[name])
    found = sizes_of(path)
    if name == "xmp of another type":
        assert found is None
        with pytest.raises(ImageError, match="cannot be decoded"):
            _prepare(ODDLY_TURNED[name])
        return
    kept, turned = (_prepare(ODDLY_TURNED[name], turn=turn) for turn in (False, True))
    assert found == (kept.info.stored, turned.info.stored) == (kept.source.stored, kept.source.upright)


def test_what_is_longer_than_a_jpeg_can_be_becomes_a_png() -> None:
    made = _prepare(pictures.encoded(Image.new("RGB", (66_000, 1)), "TIFF"))
    assert (made.info.format, made.info.stored) == ("png", (66_000, 1))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_is_turned_only_where_that_is_wanted(orientation: int) -> None:
    picture = pictures.drawing(mode="RGBA")
    data = pictures.encoded(picture, "TIFF", exif=pictures.exif(orientation))
    kept, turned = _prepare(data, turn=False), _prepare(data, turn=True)
    assert Image.open(io.BytesIO(kept.data)).tobytes() == picture.tobytes()
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert Image.open(io.BytesIO(turned.data)).tobytes() == upright.tobytes()
    assert kept.source == turned.source
    assert kept.source.orientation == orientation
    assert turned.changes == (("transcoded", "turned") if orientation > 1 else ("transcoded",))


def _marked_corner(picture: Image.Image) -> tuple[int, int]:
    """Return which corner of `marked` pictures is white: (right, bottom)."""
    spots = {
        (x, y): picture.convert("L").getpixel((x * (picture.width - 1), y * (picture.height - 1)))
        for x in (0, 1)
        for y in (0, 1)
    }
    return max(spots, key=lambda spot: spots[spot])  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize(
    ("orientation", "corner"),
    [(2, (1, 0)), (3, (1, 1)), (4, (0, 1)), (5, (0, 0)), (6, (1, 0)), (7, (1, 1)), (8, (0, 1))],
)
def test_the_first_stored_pixel_is_where_exif_says(orientation: int, corner: tuple[int, int]) -> None:
    picture = Image.new("RGB", (48, 32))
    picture.paste((255, 255, 255), (0, 0, 16, 8))
    turned = _prepare(pictures.encoded(picture, exif=pictures.exif(orientation)), turn=True)
    assert _marked_corner(Image.open(io.BytesIO(turned.data))) == corner


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_orientations_without_meaning_are_none(value: int) -> None:
    assert inspect(pictures.jpeg(orientation=value)).orientation == 1


# The imaging library does not read markers that have no place before the pixels.
@pytest.mark.parametrize("name", [name for name in GOOD if name != "markers without length"])
@pytest.mark.parametrize("side", [1, 7, 24, 47])
def test_large_pictures_are_shrunk_to_the_side(name: str, side: int) -> None:
    prepared = _prepare(GOOD[name], max_side=side)
    assert prepared.changes == ("shrunk",)
    assert max(prepared.info.width, prepared.info.height) == side
    assert inspect(prepared.data) == prepared.info
    assert prepared.info.format == prepared.source.format


def test_a_shrunk_picture_shows_the_same() -> None:
    source = pictures.drawing(640, 480)
    shrunk = Image.open(io.BytesIO(_prepare(pictures.encoded(source, quality=95), max_side=100).data))
    expected = source.resize((100, 75), Image.Resampling.LANCZOS).convert("L")
    difference = [abs(a - b) for a, b in zip(shrunk.convert("L").tobytes(), expected.tobytes(), strict=True)]
    assert sum(difference) / len(difference) < 2


def test_sixteen_bits_become_the_high_eight_when_shrunk() -> None:
    prepared = _prepare(GOOD["png 16 bits"], max_side=24)
    assert Image.open(io.BytesIO(prepared.data)).mode == "L"


@pytest.mark.parametrize(
    ("kind", "mode", "expected"),
    [
        ("GIF", "P", "png"),
        ("BMP", "RGB", "jpeg"),
        ("TIFF", "RGB", "jpeg"),
        ("TIFF", "CMYK", "jpeg"),
        ("TIFF", "I;16", "png"),
        ("WEBP", "RGB", "jpeg"),
        ("WEBP", "RGBA", "png"),
    ],
)
def test_other_formats_are_made_one_that_the_decoder_reads(kind: str, mode: str, expected: str) -> None:
    picture = pictures.drawing(mode=mode)
    if mode == "RGBA":
        picture.putpixel((0, 0), (0, 0, 0, 0))
    data = pictures.encoded(picture, kind)
    prepared = _prepare(data)
    assert prepared.changes == ("transcoded",)
    assert inspect(prepared.data) == prepared.info == ImageInfo(format=expected, width=48, height=32)
    with pytest.raises(ImageError, match=f"the picture is {kind}.*--formats transcode"):
        _prepare(data, formats="fail")


def test_a_format_that_cannot_be_read_is_named() -> None:
    with pytest.raises(ImageError, match="is HEIC; save it as JPEG or PNG"):
        _prepare(b"\0\0\0\x18ftypheic" + b"\0" * 20)
    with pytest.raises(ImageError, match="no picture of a known format"):
        _prepare(b"x")


def test_an_empty_file_is_damaged() -> None:
    with pytest.raises(ImageError, match="it is empty"):
        _prepare(b"")


def test_real_photographs_pass_without_a_word(shared: Path) -> None:
    files = [path for path in (shared / "data").rglob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png"}]
    assert len(files) > 100
    for path in files:
        assert not inspect(path.read_bytes()).warnings, path


def _seen_by_tensorflow(data: bytes) -> bytes | None:
    tf = pytest.importorskip("tensorflow")
    try:
        pixels: bytes = tf.io.decode_image(data, channels=3, expand_animations=False).numpy().tobytes()
    except tf.errors.InvalidArgumentError:
        return None
    return pixels


def _found(data: bytes, check: Check) -> bool:
    try:
        images.inspect(data, check=check)
    except ImageError:
        return True
    return False


@pytest.mark.tensorflow
def test_damage_is_found_as_tensorflow_suffers_it() -> None:
    """All that it rejects is found, and 100 of every 118 files that it decodes to wrong pixels."""
    rejected = silent = found = 0
    for name, data, whole in damage.corpus(seed=1, rounds=8):
        pixels = _seen_by_tensorflow(data)
        if pixels is None:
            rejected += 1
            assert _found(data, "structure"), name
        elif not damage.looks_like(pixels, _seen_by_tensorflow(whole)):
            silent += 1
            found += _found(data, "decode")
        elif data == whole:
            assert not _found(data, "decode"), name
    assert min(rejected, silent) > 80
    assert found / silent > 100 / 118


@pytest.mark.tensorflow
@given(dice=st.randoms(use_true_random=False))
def test_what_tensorflow_rejects_is_found(dice: random.Random) -> None:
    for good in GOOD.values():
        data = _mangled(good, dice)
        assert _seen_by_tensorflow(data) is not None or _found(data, "decode")


@pytest.mark.tensorflow
def test_tensorflow_decodes_the_good_ones() -> None:
    for name, data in {**GOOD, **jpegs.ODD}.items():
        assert len(_seen_by_tensorflow(data) or b"") == 3 * 48 * 32, name


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", jpegs.BROKEN)
def test_the_rules_are_those_of_tensorflow(name: str) -> None:
    assert (_seen_by_tensorflow(jpegs.BROKEN[name][0]) is not None) == (name in jpegs.SILENT)


def _mangled(data: bytes, dice: random.Random) -> bytes:
    out = bytearray(data)
    at = dice.randrange(len(out))
    way = dice.randrange(5)
    if way == 0:
        del out[at:]
    elif way == 1:
        out[at] ^= 1 << dice.randrange(8)
    elif way == 2:
        del out[at : at + dice.randrange(1, 200)]
    elif way == 3:
        length = len(out[at : at + dice.randrange(1, 200)])
        out[at : at + length] = bytes(length)
    else:
        out[dice.randrange(min(600, len(out)))] = dice.randrange(256)
    return bytes(out)
