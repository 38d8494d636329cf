import contextlib

import pytest
from formats import anything
from hypothesis import given
from hypothesis import strategies as st

from odbuild.trainer.errors import OdbuildError
from odbuild.trainer.examples import FEATURES, Example, decode, encode


@given(example=anything)
def test_decode_gives_back_what_was_encoded(example: Example) -> None:
    back = decode(encode(example))
    assert back == example
    assert [box.index for box in back.boxes] == [box.index for box in example.boxes]


def test_the_table_is_sorted_by_key() -> None:
    keys = [feature.key for feature in FEATURES]
    assert keys == sorted(keys)


@given(record=st.binary(max_size=60))
def test_noise_is_refused(record: bytes) -> None:
    with pytest.raises(OdbuildError):
        decode(record)


@given(example=anything, data=st.data())
def test_a_damaged_record_is_refused_or_another_picture(example: Example, data: st.DataObject) -> None:
    record = bytearray(encode(example))
    at = data.draw(st.integers(0, len(record) - 1))
    record[at] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(OdbuildError):
        assert encode(decode(bytes(record))) != encode(example)


@given(example=anything, data=st.data())
def test_a_cut_record_is_refused(example: Example, data: st.DataObject) -> None:
    record = encode(example)
    with pytest.raises(OdbuildError):
        decode(record[: data.draw(st.integers(0, len(record) - 1))])


def _example(**changes: object) -> Example:
    fields = {
        "key": "a.jpg",
        "encoded": b"\xff\xd8",
        "format": "jpeg",
        "width": 3,
        "height": 2,
        "boxes": (),
        "ids": (),
    }
    return Example(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"image/width", b"image/wight", "image/width.*image/wight"),
        (b"a.jpg", b"\xff.jpg", "not UTF-8"),
    ],
)
def test_odd_features_are_named(old: bytes, new: bytes, message: str) -> None:
    with pytest.raises(OdbuildError, match=message):
        decode(encode(_example()).replace(old, new))


def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(OdbuildError, match="differ in length"):
        decode(encode(_example(ids=(1,))))


def test_a_source_id_of_its_own_is_refused() -> None:
    with pytest.raises(OdbuildError, match="source_id and filename differ"):
        decode(encode(_example()).replace(b"a.jpg", b"b.jpg", 1))


@pytest.mark.tensorflow
@given(example=anything)
def test_the_bytes_are_those_of_tensorflow(example: Example) -> None:
    tf = pytest.importorskip("tensorflow")
    theirs = tf.train.Example()
    for feature in FEATURES:
        values = theirs.features.feature[feature.key]
        lists = {"bytes": values.bytes_list, "float": values.float_list, "int": values.int64_list}
        lists[feature.kind].SetInParent()
        lists[feature.kind].value.extend(feature.values(example))
        if feature.count == "marked" and not any(feature.values(example)):
            del theirs.features.feature[feature.key]
    assert theirs.SerializeToString(deterministic=True) == encode(example)
