import hashlib
import itertools
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from odbuild.trainer.dataset import Box, Picture
from odbuild.trainer.split import SLACK, Split, check, split


def _picture(key: str, classes: Sequence[str]) -> Picture:
    boxes = tuple(Box(label=label, ymin=0, xmin=0, ymax=1, xmax=1) for label in classes)
    return Picture(key=key, boxes=boxes)


def _digest(content: object) -> str:
    return hashlib.sha256(repr(content).encode()).hexdigest()


@st.composite
def cases(draw: st.DrawFn, most: int = 40) -> tuple[list[Picture], dict[str, str]]:
    """Draw pictures of a few classes, some of them the same file."""
    rows = draw(
        st.lists(
            st.tuples(st.integers(0, 10**6), st.sets(st.sampled_from("abcd"), max_size=3)),
            min_size=2,
            max_size=most,
        )
    )
    pictures = [_picture(f"{number}.jpg", sorted(classes)) for number, (_, classes) in enumerate(rows)]
    return pictures, {f"{number}.jpg": _digest(content) for number, (content, _) in enumerate(rows)}


fractions = st.sampled_from([0.05, 0.2, 0.5, 0.9])


def _keys(divided: Split) -> tuple[set[str], set[str]]:
    return {picture.key for picture in divided.train}, {picture.key for picture in divided.validation}


@given(case=cases(), fraction=fractions, dice=st.randoms(use_true_random=False))
def test_each_picture_is_on_one_side_and_equal_files_together_in_any_order(
    case: tuple[list[Picture], dict[str, str]], fraction: float, dice: random.Random
) -> None:
    pictures, digests = case
    divided = split(pictures, digests, fraction)
    train, validation = _keys(divided)
    assert train | validation == {picture.key for picture in pictures}
    if len(set(digests.values())) > 1:
        assert train
        assert validation
        assert {digests[key] for key in train}.isdisjoint(digests[key] for key in validation)
    shuffled = dice.sample(pictures, len(pictures))
    assert split(shuffled, digests, fraction) == divided


@given(case=cases(most=9), fraction=fractions)
def test_classes_are_on_both_sides_where_any_split_can_do_that(
    case: tuple[list[Picture], dict[str, str]], fraction: float
) -> None:
    pictures, digests = case
    contents: dict[str, set[str]] = {}
    for picture in pictures:
        contents.setdefault(digests[picture.key], set()).update(box.label for box in picture.boxes)
    holders = {
        label: [digest for digest in contents if label in contents[digest]]
        for label in set().union(*contents.values())
    }
    shared = [digests_ for digests_ in holders.values() if len(digests_) > 1]

    def fine(validation: frozenset[str]) -> bool:
        sides = [*shared, list(contents)]
        return all(0 < len(validation.intersection(side)) < len(side) for side in sides)

    possible = any(
        fine(frozenset(chosen))
        for count in range(len(contents) + 1)
        for chosen in itertools.combinations(contents, count)
    )
    if possible:
        validation = {digests[picture.key] for picture in split(pictures, digests, fraction).validation}
        assert fine(frozenset(validation))


def _many(count: int, *, seed: str = "") -> tuple[list[Picture], dict[str, str]]:
    pictures = [_picture(f"{seed}{number}.jpg", "ab"[number % 2]) for number in range(count)]
    return pictures, {picture.key: _digest(picture.key) for picture in pictures}


@pytest.mark.parametrize("count", [10, 20, 50, 120, 1000])
@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5])
def test_the_share_is_near_the_wanted_one_for_each_class(count: int, fraction: float) -> None:
    divided = split(*_many(count), fraction)
    for label in "ab":
        held = sum(picture.boxes[0].label == label for picture in divided.validation)
        wanted = fraction * count / 2
        assert abs(held - wanted) <= SLACK * wanted + 1


def test_an_added_picture_seldom_moves_another_and_in_large_sets_never() -> None:
    pictures, digests = _many(600)
    moves = []
    for count in range(2, 600):
        before, after = (_keys(split(pictures[:size], digests, 0.2))[1] for size in (count, count + 1))
        moves.append(len((before ^ after) - {pictures[count].key}))
    assert max(moves) <= 2
    assert sum(moves[:300]) < 30
    assert sum(moves[300:]) < 3


def test_a_class_on_one_picture_trains() -> None:
    pictures, digests = _many(40)
    for picture in split(pictures, digests, 0.2).validation:
        rare = _picture(picture.key, "z")
        changed = [rare if other.key == rare.key else other for other in pictures]
        assert rare in split(changed, digests, 0.2).train


def test_a_side_is_not_left_to_bare_backgrounds() -> None:
    for first in range(50):
        pictures = [_picture(f"{number}.jpg", "") for number in range(10)]
        pictures += [_picture("x.jpg", "a"), _picture("y.jpg", "a")]
        digests = {picture.key: _digest((first, picture.key)) for picture in pictures}
        divided = split(pictures, digests, 0.2)
        assert all(any(picture.boxes for picture in side) for side in (divided.train, divided.validation))


def test_one_content_is_on_both_sides_and_says_so() -> None:
    pictures = [_picture("a.jpg", "a"), _picture("b.jpg", "a")]
    divided = split(pictures, dict.fromkeys(("a.jpg", "b.jpg"), _digest("same")), 0.2)
    assert divided.train == divided.validation == tuple(pictures)
    assert [found.code for found in check(divided, ["a"])] == ["SPL405"]


def test_a_class_that_a_side_lacks_is_named() -> None:
    divided = Split(train=(_picture("a.jpg", "a"),), validation=(_picture("b.jpg", "b"),))
    found = [(it.where, it.value) for it in check(divided, ["a", "b"]) if it.code == "SPL401"]
    assert found == [("train", '"b"'), ("validation", '"a"')]


def test_tangled_classes_come_to_an_end() -> None:
    """An odd ring of classes of two pictures each cannot be split, and many of them must not stall the search."""
    rings = [(f"{ring}{here}", f"{ring}{(here + 1) % 3}") for ring in range(20) for here in range(3)]
    pictures = [_picture(f"{number}.jpg", classes) for number, classes in enumerate(rings)]
    digests = {picture.key: _digest(picture.key) for picture in pictures}
    divided = split(pictures, digests, 0.2)
    assert len(divided.train) + len(divided.validation) == len(pictures)
