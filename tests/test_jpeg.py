import random
from collections.abc import Callable, Iterable

import jpegs
import pictures
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jpegs import BASELINE, BROKEN, GOOD, ODD, PROGRESSIVE, put

from odbuild.trainer import jpeg
from odbuild.trainer.jpeg import JpegError, read


def _header(data: bytes) -> tuple[int, int, int]:
    found = read(data)
    return found.width, found.height, found.channels


@pytest.mark.parametrize("name", GOOD)
def test_good_ones_pass_without_a_word(name: str) -> None:
    found = read(GOOD[name])
    assert (found.width, found.height, found.channels) == (*jpegs.SIZE, jpegs.channels(name))
    assert found.progressive == ("progressive" in name)
    assert not found.warnings
    assert not found.edits


@pytest.mark.parametrize("name", [name for name in ODD if name != "filler after its last pixel"])
def test_odd_ones_pass_with_a_warning(name: str) -> None:
    assert read(ODD[name]).warnings == (name,)


@pytest.mark.parametrize("name", BROKEN)
def test_broken_ones_are_told_apart(name: str) -> None:
    data, message = BROKEN[name]
    with pytest.raises(JpegError, match=message):
        read(data)


@pytest.mark.parametrize("frame", [0xC3, 0xC5, 0xC8, 0xCB, 0xCF])
def test_rare_kinds_are_refused(frame: int) -> None:
    with pytest.raises(JpegError, match=rf"frame {frame - 0xC0}, 8 bits"):
        read(BASELINE.replace(b"\xff\xc0", bytes((0xFF, frame)), 1))


@pytest.mark.parametrize("name", [*GOOD, *ODD])
def test_every_cut_is_found(name: str) -> None:
    data = {**GOOD, **ODD}[name]
    whole = 2 + read(data).pixels_end if name != "number of lines" else len(data)
    for length in range(3, min(whole, len(data))):
        with pytest.raises(JpegError):
            read(data[:length])


def test_what_follows_the_end_does_not_matter() -> None:
    for name in ("baseline", "progressive"):
        assert read(GOOD[name]) == read(GOOD[name] + GOOD[name][:100])


@pytest.mark.parametrize("name", [*GOOD, *ODD])
def test_the_header_alone_says_the_same(name: str) -> None:
    data = {**GOOD, **ODD}[name]
    whole, header = read(data), read(data[: jpegs.pixels(data)[0]], whole=False)
    assert (header.width, header.height, header.channels) == (whole.width, whole.height, whole.channels)
    assert header.orientation == whole.orientation


@pytest.mark.parametrize("name", GOOD)
def test_a_view_of_a_reused_buffer_reads_like_bytes(name: str) -> None:
    buffer = bytearray(BASELINE * 9)
    buffer[: len(GOOD[name])] = GOOD[name]
    assert read(memoryview(buffer)[: len(GOOD[name])]) == read(GOOD[name])


def test_unused_tables_may_be_broken() -> None:
    data = jpegs.huffman(BASELINE, b"\2", b"\0\1", table=3)
    assert _header(data) == _header(BASELINE)


def test_the_first_orientation_counts() -> None:
    second = next(part for part in jpegs.segments(pictures.jpeg(orientation=3)) if part[1] == 0xE1)
    assert read(put(pictures.jpeg(orientation=6), 0xDB, second)).orientation == 6


def test_edits_take_all_oddities_out() -> None:
    for name in ("stray bytes between its segments", "a JFIF header of an unknown version"):
        found = read(ODD[name])
        ((start, end, new),) = found.edits
        edited = ODD[name][:start] + new + ODD[name][end:]
        assert not read(edited).warnings
        assert _header(edited) == _header(BASELINE)


@given(
    name=st.sampled_from(sorted(GOOD)),
    dice=st.randoms(use_true_random=False),
    change=st.sampled_from(["byte", "insert", "delete"]),
)
def test_damage_passes_or_is_reported(name: str, dice: random.Random, change: str) -> None:
    data = _damaged(GOOD[name], dice, change)
    assert _outcome(data) == _outcome(data, after=GOOD.values())


def _damaged(data: bytes, dice: random.Random, change: str) -> bytes:
    out = bytearray(data)
    for _ in range(dice.randrange(1, 5)):
        at = dice.randrange(2, len(out))
        if change == "delete":
            del out[at : at + dice.randrange(1, 50)]
        elif change == "insert":
            out[at:at] = dice.choice([b"\xff", b"\xff\xda", b"\xff\xc4", b"\xff\xdd\0\4\0\1"])
        else:
            out[at] = dice.randrange(256)
        if len(out) < 4:
            break
    return bytes(out)


def _outcome(data: bytes, after: Iterable[bytes] = ()) -> jpeg.Jpeg | str:
    """Return what is read of a file, or why it is refused, when no other files were read before than these."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jpeg, "_HEADERS", jpeg._Headers())
        for other in after:
            read(other)
        try:
            return read(data)
        except JpegError as error:
            return str(error)


def test_which_exif_counts_is_not_remembered() -> None:
    first, second = (
        next(part for part in jpegs.segments(pictures.jpeg(orientation=way)) if part[1] == 0xE1) for way in (3, 6)
    )
    inside = put(BASELINE, 0xC0, second)
    before = put(inside, 0xDB, first)
    assert read(before).orientation == 3
    assert _outcome(inside, after=[before]) == _outcome(inside)
    assert read(inside).orientation == 6


def test_no_more_headers_are_remembered_than_have_room(monkeypatch: pytest.MonkeyPatch) -> None:
    headers = jpeg._Headers()
    monkeypatch.setattr(jpeg, "_HEADERS", headers)
    for number in range(3 * jpeg.MOST_HEADERS):
        read(put(BASELINE, 0xC0, b"\xff\xfe\0\3" + bytes([number])))
    assert 0 < len(headers._known) <= jpeg.MOST_HEADERS
    assert 0 < len(headers._lengths) <= jpeg.MOST_LENGTHS


@given(st.binary(max_size=300), st.sampled_from([b"", b"\xff\xc0", b"\xff\xda", b"\xff\xdb", b"\xff\xc4"]))
def test_noise_is_reported(noise: bytes, mark: bytes) -> None:
    with pytest.raises(JpegError):
        read(b"\xff\xd8" + mark + noise.replace(b"\xff", b""))


def _calls(function: Callable[[], object]) -> int:
    """Count the calls of Python functions that a call makes."""
    import sys

    count = 0

    def trace(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(trace)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


def test_the_work_in_python_does_not_grow_with_the_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = (pictures.encoded(pictures.drawing(side, side)) for side in (64, 1024))
    assert len(large) > 10 * len(small)
    monkeypatch.setattr(jpeg, "_HEADERS", jpeg._Headers())
    for data in (small, large):
        # What is remembered of equal tables and headers is so for both.
        read(data)
    assert _calls(lambda: read(large)) == _calls(lambda: read(small))
    assert len(jpegs.scans(PROGRESSIVE)) < jpeg.MOST_SCANS
