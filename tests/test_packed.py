import pickle
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from odbuild import strategies
from odbuild.trainer.dataset import Box, Picture, Span, labels_of, used_labels
from odbuild.trainer.packed import Pictures, pack

any_float = st.floats(allow_nan=False)
boxes = st.builds(
    Box,
    label=strategies.labels(odd=True),
    ymin=any_float,
    xmin=any_float,
    ymax=any_float,
    xmax=any_float,
    index=st.integers(0, 2**32 - 1),
    difficult=st.booleans(),
    crowd=st.booleans(),
)
spans = st.builds(Span, file=strategies.keys(), offset=st.integers(0, 2**63), length=st.integers(0, 2**63))
found = st.lists(
    st.builds(
        Picture,
        key=st.text(max_size=5),
        boxes=st.lists(boxes, max_size=3).map(tuple),
        split=st.sampled_from(["", "train", "validation", "test"]),
        size=st.none() | st.tuples(st.integers(1, 9999), st.integers(1, 9999)),
        group=st.sampled_from(["", "a", "b"]),
        span=st.none() | spans,
    ),
    max_size=5,
)


@given(pictures=found)
def test_what_is_packed_comes_out_the_same(pictures: list[Picture]) -> None:
    packed = pack(iter(pictures))
    assert list(packed) == pictures
    assert [packed[index] for index in range(len(packed))] == pictures
    assert [[box.index for box in it.boxes] for it in packed] == [
        [box.index for box in it.boxes] for it in pictures
    ]
    assert list(packed.keys()) == [picture.key for picture in pictures]
    assert pack(packed) is packed
    assert list(packed[1:3]) == pictures[1:3]
    assert list(packed.by_key()) == sorted(pictures, key=lambda picture: picture.key)
    assert used_labels((), packed) == used_labels((), pictures)
    assert [list(labels_of(it)) for it in packed] == [[box.label for box in it.boxes] for it in pictures]
    assert [pickle.loads(pickle.dumps(it)) for it in packed] == pictures  # noqa: S301 - its own bytes
    assert set(packed) == set(pictures)
    assert [it.boxes[:1] for it in packed] == [it.boxes[:1] for it in pictures]
    assert repr(packed) == repr(tuple(pictures))
    assert pickle.loads(pickle.dumps(packed)) == packed  # noqa: S301 - its own bytes


@given(pictures=found, other=found)
def test_sequences_of_equal_pictures_are_equal(pictures: list[Picture], other: list[Picture]) -> None:
    packed = pack(pictures)
    assert packed == pack(pictures)
    assert packed == tuple(pictures)
    assert tuple(pictures) == packed
    assert (packed == pack(other)) == (pictures == other)
    assert packed != 1
    with pytest.raises(IndexError):
        packed[len(packed)]


def test_columns_are_small() -> None:
    box = Box(label="cat", ymin=0.1, xmin=0.2, ymax=0.3, xmax=0.4)
    packed = pack(Picture(key=f"{number:036}.jpg", boxes=(box, box), size=(640, 480)) for number in range(1000))
    assert _size(packed) < 260 * len(packed)
    assert packed[999] == Picture(key=f"{999:036}.jpg", boxes=(box, replace(box)), size=(640, 480))


def _size(packed: Pictures) -> int:
    """Return the bytes of all columns, and of the keys in them."""
    columns: Any = packed._columns
    keys = sum(map(sys.getsizeof, columns.keys))
    return keys + sum(sys.getsizeof(getattr(columns, name)) for name in columns.__slots__)


def test_one_picture_travels_without_the_others() -> None:
    box = Box(label="cat", ymin=0.1, xmin=0.2, ymax=0.3, xmax=0.4)
    packed = pack(Picture(key=str(number), boxes=(box,)) for number in range(1000))
    assert len(pickle.dumps(packed[0])) < 1000
