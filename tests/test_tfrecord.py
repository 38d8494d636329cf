import gzip
import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from formats import anything, put, whole
from hypothesis import given
from hypothesis import strategies as st

from odbuild.strategies import protowire
from odbuild.strategies.protowire import Form, delimited
from odbuild.trainer import examples, findings, readers, records
from odbuild.trainer.dataset import Box, Dataset, Picture
from odbuild.trainer.errors import OdbuildError
from odbuild.trainer.examples import Example
from odbuild.trainer.findings import Finding
from odbuild.trainer.labels import to_pbtxt
from odbuild.trainer.readers import framing, tfrecord, wire
from odbuild.trainer.readers.files import Files

PLAIN: dict[str, protowire.Values] = {
    "image/encoded": [b"\xff\xd8\xffpicture"],
    "image/filename": [b"a.jpg"],
    "image/object/bbox/ymin": [0.25],
    "image/object/bbox/xmin": [0.125],
    "image/object/bbox/ymax": [0.5],
    "image/object/bbox/xmax": [0.75],
    "image/object/class/text": [b"cat"],
    "image/object/class/label": [1],
}
CAT = Box(label="cat", ymin=0.25, xmin=0.125, ymax=0.5, xmax=0.75)
MAP = to_pbtxt(["cat", "dog"])
COCO = "item { name: '/m/1' id: 1 display_name: 'cat' keypoints { id: 1 label: 'nose' } }"


def _framed(*found: bytes) -> bytes:
    return b"".join(piece for record in found for piece in records.frame([record]))


def _shard(folder: Path, *found: bytes, name: str = "train.record", **files: str) -> Path:
    return put(folder, {name: _framed(*found), **files})


def _one(folder: Path, changes: protowire.Features, **files: str) -> tuple[Dataset, list[Finding]]:
    """Read a record that is the plain one with changes."""
    record = protowire.example({**PLAIN, **changes}, Form())
    data, found = readers.read(_shard(folder, record, **{"label_map.pbtxt": MAP, **files}))
    assert whole(data)
    return data, found


def _told(found: list[Finding]) -> list[tuple[str, str, str]]:
    return [(it.code, it.where, it.value) for it in found if (it.code, it.severity) != ("ANN003", "info")]


def _bytes(data: Dataset, picture: Picture) -> bytes:
    assert picture.span is not None
    whole_file = data.path(picture).read_bytes()
    return whole_file[picture.span.offset : picture.span.offset + picture.span.length]


def _features(example: Example) -> dict[str, protowire.Values]:
    return {feature.key: feature.values(example) for feature in examples.FEATURES}


@given(data=st.data(), found=st.lists(anything.filter(lambda it: it.encoded), max_size=4))
def test_records_of_every_form_are_read(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, found: list[Example]
) -> None:
    folder = tmp_path_factory.mktemp("records")
    keys = [feature.key for feature in examples.FEATURES]
    found = [replace(it, key=f"{number}/{it.key}") for number, it in enumerate(found)]
    encoded = [protowire.example(_features(it), data.draw(protowire.forms(keys))) for it in found]
    read, told = readers.read(_shard(folder, *encoded))
    assert not findings.errors(told)
    assert whole(read)
    assert [picture.key for picture in read.pictures] == [it.key for it in found]
    for picture, it in zip(read.pictures, found, strict=True):
        assert picture.boxes == it.boxes
        assert [box.index for box in picture.boxes] == list(range(len(it.boxes)))
        assert picture.size == (it.width, it.height)
        assert picture.split == "train"
        assert _bytes(read, picture) == it.encoded


@pytest.mark.parametrize(
    ("form", "why"),
    [
        (Form(pieces=True), "it holds a list in pieces, of which TensorFlow reads the first"),
        (Form(strange=b"\x78\x01"), "it holds fields that TensorFlow does not know, and so reads nothing of it"),
    ],
)
def test_what_tensorflow_would_not_read_whole_is_refused(tmp_path: Path, form: Form, why: str) -> None:
    record = protowire.example({**PLAIN, "image/object/bbox/xmin": [0.1, 0.2]}, form)
    data, found = readers.read(_shard(tmp_path, record))
    assert not data.pictures
    assert [(it.code, it.value) for it in found if it.severity == "error"] == [("REC503", why)]


@st.composite
def _spelled(draw: st.DrawFn) -> bytes:
    """Draw features with one list of floats, in any number of pieces and among fields that no reader knows."""
    unknown = st.just(b"") | protowire.noises
    piece = st.lists(st.floats(width=32, allow_nan=False), max_size=2).map(
        lambda it: struct.pack(f"<{len(it)}f", *it)
    )
    packed = piece.map(lambda it: delimited(1, it))
    single = st.floats(width=32, allow_nan=False).map(lambda it: b"\x0d" + struct.pack("<f", it))
    values = st.lists(packed | single | unknown, max_size=3).map(b"".join)
    feature = st.lists(values.map(lambda it: delimited(2, it)) | unknown, max_size=2).map(b"".join)
    entry = st.permutations([delimited(1, b"x"), delimited(2, draw(feature)), draw(unknown)]).map(b"".join)
    more = st.just(b"") | entry.map(lambda it: delimited(1, it))
    return delimited(1, delimited(1, draw(entry)) + draw(unknown) + draw(more))


@pytest.mark.tensorflow
@given(record=_spelled())
def test_what_is_read_of_a_record_tensorflow_reads_as_well(record: bytes) -> None:
    tf = pytest.importorskip("tensorflow")
    try:
        features, _ = wire.features(memoryview(record))
    except wire.WireError:
        return
    theirs = tf.io.parse_single_example(record, {"x": tf.io.VarLenFeature(tf.float32)})["x"].values
    assert theirs.numpy().tolist() == list(features["x"].float_list.value)


@given(data=st.data(), example=anything)
def test_any_damage_is_an_error_or_another_example(data: st.DataObject, example: Example) -> None:
    record = bytearray(examples.encode(example))
    for at in data.draw(st.lists(st.integers(0, len(record) - 1), max_size=3)):
        record[at] = data.draw(st.integers(0, 255))
    del record[data.draw(st.integers(0, len(record))) :]
    try:
        _, span = wire.features(memoryview(record))
    except wire.WireError:
        return
    assert span is None or 0 <= span[0] < span[1] <= len(record)


@given(record=st.binary(max_size=60))
def test_noise_is_an_error_of_its_record(tmp_path_factory: pytest.TempPathFactory, record: bytes) -> None:
    data, found = readers.read(_shard(tmp_path_factory.mktemp("noise"), record))
    assert [it.code for it in found] == ["REC503"]
    assert whole(data)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train.record", "train"),
        ("coco_val.record-00000-of-00001", "validation"),
        ("faces.test.tfrecords", "test"),
        ("validation-00000-of-00001", "validation"),
        ("train2017.tf_record", "train"),
        ("x.tfrec", ""),
        ("valid/cells.tfrecord", "validation"),
        ("eval-00000-of-00001.record", "validation"),
    ],
)
def test_shards_of_many_names_are_found(tmp_path: Path, name: str, split: str) -> None:
    record = protowire.example(PLAIN, Form())
    data, found = readers.read(_shard(tmp_path, record, name=name))
    assert data.format == "tfrecord"
    (picture,) = data.pictures
    assert (picture.key, picture.split, picture.boxes, picture.size) == ("a.jpg", split, (CAT,), None)
    assert _bytes(data, picture) == b"\xff\xd8\xffpicture"
    assert not _told(found)


@pytest.mark.parametrize(
    "name", ["train.record.txt", "recording.mp4", "a.rec", "x-00000-of-00001.json", ".x.record"]
)
def test_other_files_are_not_recognised(tmp_path: Path, name: str) -> None:
    content = _framed(b"") if name != "a.rec" else b"some other format"
    assert not tfrecord.recognise(Files(put(tmp_path, {name: content})))


@pytest.mark.parametrize(
    ("texts", "numbers", "label_map", "label", "told"),
    [
        ([b"cat"], [1], MAP, "cat", []),
        ([b"cat"], [], MAP, "cat", []),
        ([], [2], MAP, "dog", []),
        ([b"cat"], [1], None, "cat", []),
        ([b"cat"], [2], MAP, "cat", ["REC505"]),
        ([b"cow"], [1], MAP, "cow", ["REC505"]),
        ([b"cat"], [7], MAP, "cat", ["REC505"]),
        ([], [1], COCO, "cat", []),
        ([b"/m/1"], [1], COCO, "cat", []),
        ([b"cat"], [1], COCO, "cat", []),
        ([], [7], MAP, None, ["LBL301"]),
        ([], [1], None, None, ["LBL301"]),
        ([b""], [1], MAP, None, ["LBL305"]),
    ],
)
def test_classes_are_texts_or_else_what_the_label_map_calls_them(
    tmp_path: Path,
    *,
    texts: list[bytes],
    numbers: list[int],
    label_map: str | None,
    label: str | None,
    told: list[str],
) -> None:
    record = protowire.example(
        {**PLAIN, "image/object/class/text": texts, "image/object/class/label": numbers}, Form()
    )
    files = {} if label_map is None else {"label_map.pbtxt": label_map}
    data, found = readers.read(_shard(tmp_path, record, **files))
    assert [box.label for picture in data.pictures for box in picture.boxes] == ([label] if label else [])
    assert [(it.code, it.where.removesuffix(".label")) for it in found if it.code != "ANN003"] == [
        (code, "train.record, record 0, box 0") for code in told
    ]
    assert data.declared == (() if label_map is None else ("cat", "dog")[: 2 if label_map is MAP else 1])
    assert whole(data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("item { name: 'a' }", "lacks a name, or an id from 1 on"),
        ("item { id: 1 }", "lacks a name"),
        ("item { id: 1 name: 'a' } item { id: 1 name: 'b' }", "the id 1 stands there twice"),
        ("item { id: 1 name: 'a' } item { id: 2 name: 'a' }", "the name 'a' stands there twice"),
        ("item { id: 1 name: 'a' name: 'b' }", "should not have multiple"),
        ("<html>", "is no label map"),
    ],
)
def test_a_broken_label_map_ends_in_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(OdbuildError, match=message) as caught:
        readers.read(_shard(tmp_path, **{"x.pbtxt": text}))
    assert "x.pbtxt" in str(caught.value)


def test_label_maps_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    put(tmp_path, {"train/a.pbtxt": MAP, "valid/a.pbtxt": MAP})
    assert readers.read(_shard(tmp_path))[0].declared == ("cat", "dog")
    put(tmp_path, {"valid/a.pbtxt": to_pbtxt(["dog", "cat"])})
    with pytest.raises(OdbuildError, match=r"contradict each other: train/a.pbtxt, valid/a.pbtxt"):
        readers.read(tmp_path)


@pytest.mark.parametrize(
    ("changes", "key", "told"),
    [
        ({}, "a.jpg", False),
        ({"image/filename": [b"a"]}, "a.jpg", False),
        ({"image/filename": [], "image/source_id": [b"42"]}, "42.jpg", False),
        (
            {"image/filename": [b""], "image/source_id": [b"42"], "image/encoded": [b"\x89PNG\r\n\x1a\n"]},
            "42.png",
            False,
        ),
        ({"image/filename": []}, "train-record-record-0.jpg", True),
        ({"image/filename": [b"../../etc/a.jpg"]}, "etc/a.jpg", True),
        ({"image/filename": [b"/content/a.jpg"]}, "content/a.jpg", True),
        ({"image/filename": [b"x\\a\n.jpg"]}, "x/a_.jpg", True),
        ({"image/filename": ["Grün/é 1.jpg".encode()]}, "Grün/é 1.jpg", False),
    ],
)
def test_keys_are_plain_paths(tmp_path: Path, changes: protowire.Features, key: str, *, told: bool) -> None:
    data, found = _one(tmp_path, changes)
    assert [picture.key for picture in data.pictures] == [key]
    assert [it.code for it in found] == ["REC507"] * told


def test_keys_are_unique(tmp_path: Path) -> None:
    names = [b"a.jpg", b"a.jpg", b"a-2.jpg", b"a", b"a.jpg"]
    found = [protowire.example({**PLAIN, "image/filename": [name]}, Form()) for name in names]
    data, told = readers.read(_shard(tmp_path, *found))
    assert [picture.key for picture in data.pictures] == ["a-2-2.jpg", "a-2.jpg", "a-3.jpg", "a-4.jpg", "a.jpg"]
    assert [it.code for it in told] == ["REC507"] * 4
    assert whole(data)


@pytest.mark.parametrize(
    ("changes", "code", "value"),
    [
        ({"image/encoded": []}, "REC503", "it has no one image/encoded with bytes in it"),
        ({"image/encoded": [b"", b"b"]}, "REC503", "it has no one image/encoded with bytes in it"),
        ({"image/encoded": [1]}, "REC503", "it has no one image/encoded with bytes in it"),
        ({"image/filename": [1.5]}, "REC503", "image/filename is a float_list; expected a bytes_list"),
        ({"image/filename": [b"\xff"]}, "REC503", "it holds a name that is not UTF-8: b'\\xff'"),
        ({"image/object/class/text": [b"\xff"]}, "REC503", "it holds a name that is not UTF-8: b'\\xff'"),
        (
            {"image/object/bbox/ymin": [1]},
            "REC503",
            "image/object/bbox/ymin is a int64_list; expected a float_list",
        ),
        ({"image/object/bbox/ymin": []}, "REC504", "xmin 1, ymax 1, xmax 1, text 1, label 1"),
        ({"image/object/class/text": [b"a", b"b"]}, "REC504", "ymin 1, xmin 1, ymax 1, xmax 1, text 2, label 1"),
        (
            {"image/object/class/text": [], "image/object/class/label": []},
            "REC504",
            "ymin 1, xmin 1, ymax 1, xmax 1",
        ),
        (
            {"image/object/difficult": [0, 1]},
            "REC504",
            "ymin 1, xmin 1, ymax 1, xmax 1, text 1, label 1, difficult 2",
        ),
        ({"image/object/bbox/xmax": [320.0]}, "ANN007", "ymin=0.25, xmin=0.125, ymax=0.5, xmax=320"),
        ({"image/object/bbox/xmax": [float("nan")]}, "BOX203", "ymin=0.25, xmin=0.125, ymax=0.5, xmax=nan"),
    ],
)
def test_odd_records_are_errors_at_their_place(
    tmp_path: Path, changes: protowire.Features, code: str, value: str
) -> None:
    _, found = _one(tmp_path, changes)
    (wrong,) = findings.errors(found)
    assert (wrong.code, wrong.value) == (code, value)
    assert wrong.where.startswith("train.record, record 0")


def test_marks_and_features_without_a_place_are_told(tmp_path: Path) -> None:
    marks = {"difficult": [1], "is_crowd": [0], "group_of": [1], "mask": [b"png"], "area": [3.5]}
    data, found = _one(tmp_path, {f"image/object/{name}": values for name, values in marks.items()})  # type: ignore[misc]
    assert [it.boxes for it in data.pictures] == [(replace(CAT, difficult=True, crowd=True),)]
    assert _told(found) == [("REC503", f"image/object/{name}", "") for name in ("area", "mask")]


def test_a_record_without_boxes_is_background(tmp_path: Path) -> None:
    empty: protowire.Features = {key: () for key in PLAIN if "object" in key}
    data, found = _one(tmp_path, empty)
    assert [it.boxes for it in data.pictures] == [()]
    assert not _told(found)


def test_every_cut_and_every_flip_is_found_by_shard_and_record(tmp_path: Path) -> None:
    record = protowire.example(PLAIN, Form())
    file = _framed(record, record.replace(b"a.jpg", b"b.jpg"))
    border = len(file) // 2
    for length in range(1, len(file)):
        data, found = readers.read(put(tmp_path, {"train.record": file[:length]}))
        assert whole(data)
        if length != border:
            (wrong,) = findings.errors(found)
            assert (wrong.code, wrong.where) == ("REC501", f"train.record, record {int(length > border)}")
    for at in range(len(file)):
        flipped = bytearray(file)
        flipped[at] ^= 16
        put(tmp_path, {"train.record": bytes(flipped)})
        data, found = readers.read(tmp_path)
        (wrong,) = findings.errors(found)
        assert (wrong.code, wrong.where) == ("REC501", f"train.record, record {int(at >= border)}")
        assert whole(data)
        # Behind a wrong checksum of its bytes a record's length still holds.
        assert len(data.pictures) == int(at >= 12)


def test_a_hostile_length_asks_for_no_memory(tmp_path: Path) -> None:
    header = struct.pack("<Q", 2**62)
    put(tmp_path, {"train.record": header + _framed(header)[-4:] + b"little"})
    _, found = readers.read(tmp_path)
    assert _told(found) == [
        ("REC501", "train.record, record 0", "4611686018427387904 bytes are announced, but the file is cut")
    ]


def test_compressed_and_empty_files_are_told(tmp_path: Path) -> None:
    put(tmp_path, {"a.record": gzip.compress(b"x"), "b.record": b"", "c.record": b"no record at all"})
    data, found = readers.read(tmp_path)
    assert sorted(_told(found)) == [
        ("REC501", '"b.record"', ""),
        ("REC501", "a.record, record 0", "the file is compressed with gzip; unpack it"),
        ("REC501", "c.record, record 0", "this is no TFRecord"),
    ]
    assert whole(data)


def test_missing_shards_are_told(tmp_path: Path) -> None:
    record = protowire.example(PLAIN, Form())
    _, found = readers.read(_shard(tmp_path, record, name="train-00001-of-00003.record"))
    assert _told(found) == [("REC502", '"train-00000-of-00003.record"', "2 of 3 are missing")]


def test_the_index_counts_records(tmp_path: Path) -> None:
    record = protowire.example(PLAIN, Form())
    name = "train-00000-of-00001.record"
    for count, code in ((1, []), (2, ["REC501"])):
        index: dict[str, Any] = {
            "train": {"shards": [{"name": name, "count": count}]},
            "validation": {"shards": []},
        }
        _, found = readers.read(_shard(tmp_path, record, name=name, **{"index.json": json.dumps(index)}))
        assert [it.code for it in findings.errors(found)] == code
    index["validation"]["shards"] = [{"name": "validation-00000-of-00001.record", "count": 1}]
    put(tmp_path, {"index.json": json.dumps(index)})
    _, found = readers.read(tmp_path)
    assert ("REC502", '"validation-00000-of-00001.record"', "the index names it") in _told(found)


documents = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda it: st.lists(it) | st.dictionaries(st.sampled_from(["train", "shards", "name", "count"]), it),
    max_leaves=8,
)


@given(index=documents)
def test_any_index_is_taken_or_not(tmp_path_factory: pytest.TempPathFactory, index: object) -> None:
    folder = _shard(tmp_path_factory.mktemp("index"), **{"index.json": json.dumps(index)})
    data, _ = readers.read(folder)
    assert not data.pictures


def test_links_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    outside = _shard(tmp_path / "outside", protowire.example(PLAIN, Form()))
    root = _shard(tmp_path / "data", name="a.record")
    (root / "b.record").symlink_to(outside / "train.record")
    with pytest.raises(OdbuildError, match=r"b\.record leads out of the folder by a link"):
        readers.read(root)


@given(found=st.lists(st.binary(max_size=300), max_size=5))
def test_framing_gives_every_record_and_its_place(
    tmp_path_factory: pytest.TempPathFactory, found: list[bytes]
) -> None:
    path = put(tmp_path_factory.mktemp("frame"), {"x": _framed(*found)}) / "x"
    file = path.read_bytes()
    scanned = [(offset, bytes(record), problem) for offset, record, problem in framing.scan(path)]
    assert [record for _, record, _ in scanned] == found
    assert all(file[offset:].startswith(record) and not problem for offset, record, problem in scanned)
