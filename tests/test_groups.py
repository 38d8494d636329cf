import hashlib
from collections import defaultdict
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from odbuild.trainer.dataset import Box, Picture
from odbuild.trainer.errors import UsageError
from odbuild.trainer.groups import grouping, together
from odbuild.trainer.packed import pack
from odbuild.trainer.split import divide


@pytest.mark.parametrize(
    ("way", "group"),
    [
        ("column", "cam"),
        ("none", ""),
        ("folder", "day/1"),
        ("prefix:4", "film"),
        ("prefix:_", "film7"),
        ("prefix:#", ""),
        (r"regex:film\d", "film7"),
        (r"regex:film(\d)_", "7"),
        (r"regex:(\d)/(\w)", "1"),
        ("regex:x(y)?", ""),
    ],
)
def test_a_group_is_named_by_what_was_asked_for(way: str, group: str) -> None:
    picture = Picture(key="day/1/film7_001.jpg", boxes=(), group="cam")
    assert [*grouping(way)([picture])] == [*grouping(way)(pack([picture]))] == [group]


@pytest.mark.parametrize("way", ["", "folders", "prefix", "prefix:", "prefix:0", "regex:", "regex:(", "Folder"])
def test_what_names_no_groups_is_refused(way: str) -> None:
    with pytest.raises(UsageError, match="group is"):
        grouping(way)


def _hash(content: object) -> bytes:
    return hashlib.sha256(repr(content).encode()).digest()[:16]


rows = st.lists(
    st.tuples(st.integers(0, 30), st.sampled_from(["", "", "a", "b", "c", "d"])), min_size=1, max_size=40
)


def _connected(contents: Sequence[int], groups: Sequence[str]) -> list[int]:
    """Return a number for each picture, equal where a chain of equal contents or groups leads to the other."""
    number = list(range(len(contents)))
    for _ in contents:
        for one in range(len(contents)):
            for other in range(len(contents)):
                if contents[one] == contents[other] or groups[one] == groups[other] != "":
                    number[one] = number[other] = min(number[one], number[other])
    return number


@given(rows=rows)
def test_names_are_equal_for_what_is_connected_and_for_nothing_else(rows: list[tuple[int, str]]) -> None:
    contents, groups = [content for content, _ in rows], [group for _, group in rows]
    names = together([_hash(content) for content in contents], groups)
    connected = _connected(contents, groups)
    table: defaultdict[int, set[bytes]] = defaultdict(set)
    for number, name in zip(connected, names, strict=True):
        table[number].add(name)
    assert all(len(found) == 1 for found in table.values())
    assert len(set(names)) == len(table)


def test_pictures_alike_are_tied_whatever_their_groups() -> None:
    names = together([_hash(number) for number in range(5)], ["", "", "a", "a", ""], [(0, 1), (1, 2)])
    assert len(set(names)) == 2
    assert names[4] == _hash(4)


def _picture(number: int, group: str) -> Picture:
    box = Box(label="ab"[number % 2], ymin=0, xmin=0, ymax=1, xmax=1)
    return Picture(key=f"{number}.jpg", boxes=(box,), group=group)


def test_a_group_keeps_its_side_when_pictures_come_to_it() -> None:
    pictures = [_picture(number, f"film {number % 200}") for number in range(1000)]
    sides = []
    for size in (400, 1000):
        names = together([_hash(number) for number in range(size)], [it.group for it in pictures[:size]])
        train, validation = divide(pictures[:size], names, 0.2)
        groups = [{pictures[it].group for it in side} for side in (train, validation)]
        assert groups[0].isdisjoint(groups[1])
        sides.append(groups)
    assert sides[0] == sides[1]


def test_without_groups_the_content_decides() -> None:
    prints = [_hash(number % 7) for number in range(20)]
    assert together(prints, [""] * 20) == prints
