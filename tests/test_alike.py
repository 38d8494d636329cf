from typing import Any

import pictures
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jpegs import GOOD, ODD
from PIL import ImageEnhance

from odbuild.trainer import images
from odbuild.trainer.alike import MOST_BITS, look, near


def _apart(one: bytes, other: bytes) -> int:
    bits = look(one), look(other)
    assert bits[0] is not None
    assert bits[1] is not None
    return (bits[0] ^ bits[1]).bit_count()


CHANGES: dict[str, Any] = {
    "saved again": lambda it: pictures.encoded(it, quality=30),
    "shrunk": lambda it: pictures.encoded(it.resize((160, 120))),
    "brighter": lambda it: pictures.encoded(ImageEnhance.Brightness(it).enhance(1.15)),
    "another format": lambda it: pictures.encoded(it, "PNG"),
    "webp": lambda it: pictures.encoded(it, "WEBP", quality=60),
    "gray": lambda it: pictures.encoded(it.convert("L")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_is_near_and_another_picture_is_far(change: str) -> None:
    for seed in range(10):
        picture = pictures.photograph(seed)
        assert _apart(pictures.encoded(picture), CHANGES[change](picture)) <= MOST_BITS
        assert _apart(pictures.encoded(picture), CHANGES[change](pictures.photograph(seed + 50))) > 2 * MOST_BITS


@pytest.mark.parametrize("size", [(1, 1), (70, 900), (576, 512), (575, 512), (576, 511), (1200, 900)])
@pytest.mark.parametrize("kind", ["RGB", "L", "CMYK", "PNG"])
def test_the_look_is_the_same_where_the_check_has_decoded_the_picture(kind: str, size: tuple[int, int]) -> None:
    picture = pictures.photograph(1, size)
    data = pictures.encoded(picture, "PNG") if kind == "PNG" else pictures.encoded(picture.convert(kind))
    _, kept = images.inspect_and_keep(data, check="decode")
    assert look(data, kept) == look(data) is not None


@pytest.mark.parametrize("name", [*GOOD, *ODD])
def test_the_look_of_any_layout_is_the_same(name: str) -> None:
    data = (GOOD | ODD)[name]
    _, kept = images.inspect_and_keep(data, check="decode")
    assert look(data, kept) == look(data) is not None


def test_what_cannot_be_decoded_looks_like_nothing() -> None:
    assert look(b"text") is None
    assert look(pictures.jpeg()[:200]) is None


looks = st.lists(
    st.one_of(st.none(), st.integers(0, 2**64 - 1), st.sampled_from([0, 1, 3, 2**63, 2**64 - 1])), max_size=12
)


def _sets(count: int, pairs: list[tuple[int, int]]) -> list[int]:
    number = list(range(count))
    for _ in range(count):
        for one, other in pairs:
            number[one] = number[other] = min(number[one], number[other])
    return number


@given(
    found=looks, flips=st.lists(st.tuples(st.integers(0, 11), st.sets(st.integers(0, 63), max_size=7)), max_size=8)
)
def test_all_that_are_near_are_connected_and_no_others(
    found: list[int | None], flips: list[tuple[int, set[int]]]
) -> None:
    for index, places in flips:
        if index < len(found) and (bits := found[index]) is not None:
            for place in places:
                bits ^= 1 << place
            found.append(bits)
    every = [
        (one, other)
        for one, left in enumerate(found)
        for other, right in enumerate(found)
        if left is not None and right is not None and (left ^ right).bit_count() <= MOST_BITS
    ]
    pairs = list(near(found))
    assert set(pairs) <= set(every)
    assert _sets(len(found), pairs) == _sets(len(found), every)
