import random
from typing import Any

import damage
import jpegs
import pictures
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from jpegs import GOOD, LAYOUTS, ODD
from PIL import Image

from odbuild.trainer import images, jpeg, quantization, strict
from odbuild.trainer.images import ImageError

RARE = [name for name in LAYOUTS if name.startswith("rare")]


def _checked(data: bytes) -> tuple[str, ...]:
    return strict.check(data, jpeg.read(data)).warnings


@pytest.mark.parametrize("name", GOOD)
def test_good_ones_pass_without_a_word(name: str) -> None:
    assert _checked(GOOD[name]) == ()


@pytest.mark.parametrize("name", ODD)
def test_harmless_oddities_pass(name: str) -> None:
    found = jpeg.read(ODD[name])
    assert found.warnings + strict.check(ODD[name], found).warnings == (name,)


@pytest.mark.parametrize("filler", [bytes(9), bytes(5000), b"\x7f" * 40])
def test_filler_after_the_pixels_is_no_damage(filler: bytes) -> None:
    assert set(_checked(jpegs.put(GOOD["baseline"], 0xD9, filler))) <= {"filler after its last pixel"}


def test_other_bytes_after_the_pixels_are_damage() -> None:
    surplus = random.Random(1).randbytes(100).replace(b"\xff", b"")  # noqa: S311
    with pytest.raises(strict.StrictError, match="extraneous bytes"):
        _checked(jpegs.put(GOOD["baseline"], 0xD9, surplus))


@pytest.mark.parametrize("name", RARE)
def test_rare_layouts_are_left_to_another_decoder(name: str) -> None:
    assert len(RARE) == 12
    with pytest.raises(ValueError, match=strict._RARE_SAMPLING):
        simplejpeg.decode_jpeg(GOOD[name])
    assert _checked(GOOD[name]) == ()


def test_a_rare_layout_with_a_header_that_the_other_decoder_minds_passes() -> None:
    data = jpegs.put(GOOD["rare: a sixth"], 0xC0, b"\xff\xd1")
    assert _checked(data) == ()


@pytest.mark.parametrize("kind", ["baseline", "progressive", "gray", "cmyk"])
def test_lost_pixels_are_damage(kind: str) -> None:
    data = damage.good(1)[kind]
    start, end = jpegs.pixels(data)
    while data[start - 1] == 0xFF or data[(start + end) // 2 - 1] == 0xFF:
        start += 1
    with pytest.raises(strict.StrictError):
        _checked(data[:start] + data[(start + end) // 2 :])


def test_zeros_in_the_place_of_pixels_are_damage() -> None:
    data = bytearray(damage.good(3)["baseline"])
    start, end = jpegs.pixels(bytes(data))
    middle = (start + end) // 2
    data[middle : middle + 20] = bytes(20)
    with pytest.raises(strict.StrictError):
        _checked(bytes(data))


@pytest.mark.parametrize("kind", [{"optimize": True}, {}, {"progressive": True}])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("level", [0, 90, 255])
def test_zeros_in_a_plain_picture_are_none(kind: dict[str, Any], mode: str, level: int) -> None:
    plain = Image.new("RGB", (640, 480), (level,) * 3).convert(mode)
    assert _checked(pictures.encoded(plain, **kind)) == ()


@pytest.mark.parametrize("quality", range(1, 101, 3))
def test_usual_quantization_is_no_damage(quality: int) -> None:
    data = pictures.encoded(pictures.drawing(), quality=quality)
    tables = jpeg.read(data).quants
    assert tables
    assert not any(quantization.is_hit(table) for table in tables)


@pytest.mark.parametrize("preset", ["web_low", "web_maximum", "low", "medium", "high", "maximum"])
def test_quantization_of_other_encoders_is_no_damage(preset: str) -> None:
    assert _checked(pictures.encoded(pictures.drawing(), quality=preset)) == ()


@pytest.mark.parametrize("seed", range(20))
def test_a_table_of_its_own_is_no_damage(seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311
    table = bytes(sorted(dice.randrange(1, 256) for _ in range(64)))
    assert not quantization.is_hit(table)


@pytest.mark.parametrize(("at", "value", "hit"), [(9, 200, True), (40, 0, True), (9, 3, False), (0, 200, False)])
def test_a_value_far_off_is_damage(at: int, value: int, *, hit: bool) -> None:
    table = bytearray(jpeg.read(GOOD["baseline"]).quants[0])
    table[at] = value
    assert quantization.is_hit(bytes(table)) == hit


def _decoded(data: bytes) -> bytes | None:
    try:
        return Image.open(pictures.stream(data)).convert("RGB").tobytes()
    except (OSError, SyntaxError, ValueError):
        return None


def test_most_damage_that_other_decoders_paint_over_is_found() -> None:
    """Of every 118 such files, 100 are to be found."""
    silent = found = 0
    for _, data, whole in damage.corpus(seed=7, rounds=2):
        pixels = _decoded(data)
        if pixels is None or damage.looks_like(pixels, _decoded(whole)):
            continue
        silent += 1
        try:
            images.inspect(data, check="decode")
        except ImageError as error:
            found += error.code == "IMG101"
    assert silent > 40
    assert found / silent > 100 / 118


@given(
    pieces=st.lists(st.binary(min_size=1, max_size=20) | st.integers(1, 40).map(bytes), min_size=1), draw=st.data()
)
def test_zeros_in_a_row_are_found_wherever_they_begin(pieces: list[bytes], draw: st.DataObject) -> None:
    data = b"".join(pieces)
    start = draw.draw(st.integers(0, len(data)))
    end = draw.draw(st.integers(start, len(data)))
    assert strict._zeroed(memoryview(data), start, end) == (strict._ZEROS in data[start:end])
