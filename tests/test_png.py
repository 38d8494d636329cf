import contextlib
import struct
import zlib
from collections.abc import Iterable

import pictures
import pytest
from hypothesis import given
from hypothesis import strategies as st

from odbuild.trainer import png
from odbuild.trainer.png import PngError, check_pixels, read

Chunk = tuple[bytes, bytes]

WIDTH, HEIGHT = 9, 7
STRIDE = 1 + 3 * WIDTH
ROWS = bytes(STRIDE) * HEIGHT
HEAD = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
PALETTE_HEAD = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 3, 0, 0, 0)
END: Chunk = (b"IEND", b"")


def _file(chunks: Iterable[Chunk]) -> bytes:
    parts = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _idat(rows: bytes = ROWS) -> Chunk:
    return b"IDAT", zlib.compress(rows)


PLAIN: tuple[Chunk, ...] = ((b"IHDR", HEAD), _idat(), END)
STREAM = _idat()[1]


def _head(**changes: int) -> Chunk:
    fields = {"w": WIDTH, "h": HEIGHT, "depth": 8, "colour": 2, "compression": 0, "filters": 0, "interlace": 0}
    return b"IHDR", struct.pack(">IIBBBBB", *{**fields, **changes}.values())


def _interlaced(width: int, height: int) -> bytes:
    """Return all rows of the seven passes, counted pixel by pixel."""
    order = ["16462646", "77777777", "56565656", "77777777", "36463646", "77777777", "56565656", "77777777"]
    rows: dict[tuple[int, int], int] = {}
    for y in range(height):
        for x in range(width):
            key = int(order[y % 8][x % 8]), y
            rows[key] = rows.get(key, 0) + 3
    return b"".join(bytes(1 + rows[key]) for key in sorted(rows))


BROKEN: dict[str, tuple[list[Chunk], str]] = {
    "no header": ([_idat(), END], "header is missing"),
    "short header": ([(b"IHDR", HEAD[:-1]), _idat(), END], "header is missing"),
    "no width": ([_head(w=0), _idat(), END], "size is zero"),
    "depth 7": ([_head(depth=7), _idat(), END], "makes no sense"),
    "colour 5": ([_head(colour=5), _idat(), END], "makes no sense"),
    "palette of 16 bits": ([_head(colour=3, depth=16), _idat(), END], "makes no sense"),
    "compression 1": ([_head(compression=1), _idat(), END], "makes no sense"),
    "filters 1": ([_head(filters=1), _idat(), END], "makes no sense"),
    "interlace 2": ([_head(interlace=2), _idat(), END], "makes no sense"),
    "two headers": ([PLAIN[0], *PLAIN], "no known kind"),
    "no pixels": ([PLAIN[0], END], "has no pixels"),
    "pixels in two places": ([PLAIN[0], _idat(), (b"tEXt", b"a\0b"), _idat(), END], "interrupted"),
    "needed and unknown": ([PLAIN[0], (b"ABCD", b""), _idat(), END], "no known kind"),
    "no name": ([PLAIN[0], (b"a\0cd", b""), _idat(), END], "no chunk"),
    "no end": ([PLAIN[0], _idat()], "end mark is missing"),
    "no palette": ([(b"IHDR", PALETTE_HEAD), _idat(), END], "palette is missing"),
    "palette too late": ([(b"IHDR", PALETTE_HEAD), _idat(), (b"PLTE", bytes(9)), END], "palette makes no sense"),
    "palette of 4 bytes": ([(b"IHDR", PALETTE_HEAD), (b"PLTE", bytes(4)), _idat(), END], "palette makes no"),
    "empty palette": ([PLAIN[0], (b"PLTE", b""), _idat(), END], "palette makes no sense"),
    "two palettes": ([PLAIN[0], (b"PLTE", bytes(3)), (b"PLTE", bytes(3)), _idat(), END], "palette makes no"),
    "row missing": ([PLAIN[0], _idat(ROWS[:-STRIDE]), END], "cut short"),
    "byte missing": ([PLAIN[0], _idat(ROWS[:-1]), END], "cut short"),
    "filter 5": ([PLAIN[0], _idat(ROWS[:STRIDE] + b"\5" + ROWS[STRIDE + 1 :]), END], "no known way"),
    "stream cut": ([PLAIN[0], (b"IDAT", STREAM[:-1]), END], "no end"),
    "sum of the stream": ([PLAIN[0], (b"IDAT", STREAM[:-1] + b"\0"), END], "damaged"),
    "no stream": ([PLAIN[0], (b"IDAT", b"abc"), END], "damaged"),
    "size changed": ([_head(w=WIDTH + 1), _idat(), END], "cut short"),
}

GOOD: dict[str, list[Chunk]] = {
    "plain": [*PLAIN],
    "in pieces": [PLAIN[0], *((b"IDAT", STREAM[at : at + 1]) for at in range(len(STREAM))), END],
    "empty piece": [PLAIN[0], (b"IDAT", b""), _idat(), (b"IDAT", b""), END],
    "extras": [PLAIN[0], (b"gAMA", b"\0\0\xb1\x8f"), _idat(), (b"tEXt", b"a\0b"), END],
    "hint of a palette": [PLAIN[0], (b"PLTE", bytes(4)), _idat(), END],
    "after the end": [*PLAIN, (b"ABCD", b"")],
    "all filters": [PLAIN[0], _idat(b"".join(bytes((n % 5,)) + bytes(STRIDE - 1) for n in range(HEIGHT))), END],
}


@pytest.mark.parametrize("name", GOOD)
def test_good_ones_pass(name: str) -> None:
    found = read(_file(GOOD[name]))
    assert (found.width, found.height) == (WIDTH, HEIGHT)
    assert check_pixels(found) == ()


@pytest.mark.parametrize("name", BROKEN)
def test_broken_ones_are_told_apart(name: str) -> None:
    chunks, message = BROKEN[name]
    with pytest.raises(PngError, match=message):
        check_pixels(read(_file(chunks)))


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "I;16"])
def test_every_mode_passes_and_every_cut_is_found(mode: str) -> None:
    data = pictures.encoded(pictures.drawing(mode=mode), "PNG")
    assert check_pixels(read(data)) == ()
    for length in range(8, len(data)):
        with pytest.raises(PngError):
            read(data[:length])


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 8, 9, 17])
@pytest.mark.parametrize("height", [1, 2, 3, 5, 8, 9])
def test_interlaced_rows_are_counted(width: int, height: int) -> None:
    rows = _interlaced(width, height)
    head = _head(w=width, h=height, interlace=1)
    assert check_pixels(read(_file([head, _idat(rows), END]))) == ()
    with pytest.raises(PngError, match="cut short"):
        check_pixels(read(_file([head, _idat(rows[:-1]), END])))


def test_surplus_pixels_get_a_warning() -> None:
    assert check_pixels(read(_file([PLAIN[0], _idat(ROWS + b"\0"), END]))) == ("more pixels than its size says",)


def test_a_bomb_behind_the_pixels_is_not_inflated() -> None:
    bomb = zlib.compress(ROWS + bytes(50 * png.BLOCK_BYTES))
    with pytest.raises(PngError, match="no end"):
        check_pixels(read(_file([PLAIN[0], (b"IDAT", bomb), END])))


def test_sums_of_extras_do_not_count() -> None:
    data = _file([PLAIN[0], (b"tEXt", b"a\0b"), *PLAIN[1:]])
    assert read(data.replace(b"a\0b", b"a\0c")) == read(data)


@given(st.data())
def test_a_flipped_bit_is_found_wherever_decoders_look(data: st.DataObject) -> None:
    whole = bytearray(_file(PLAIN))
    at = data.draw(st.integers(min_value=8, max_value=len(whole) - 13))
    whole[at] ^= 1 << data.draw(st.integers(min_value=0, max_value=7))
    with pytest.raises(PngError):
        check_pixels(read(bytes(whole)))


@given(st.lists(st.tuples(st.sampled_from([b"IHDR", b"PLTE", b"IDAT", b"tEXt", b"IEND"]), st.binary(max_size=20))))
def test_any_chunks_pass_or_are_reported(chunks: list[Chunk]) -> None:
    with contextlib.suppress(PngError):
        check_pixels(read(_file(chunks)))
    with contextlib.suppress(PngError):
        check_pixels(read(_file([PLAIN[0], *chunks])))
