import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pictures
import pytest
from hypothesis import given
from hypothesis import strategies as st

from odbuild import strategies
from odbuild.strategies import Sample
from odbuild.trainer import findings, readers
from odbuild.trainer.dataset import EDGES, Box, Dataset, Picture, used_labels
from odbuild.trainer.errors import OdbuildError
from odbuild.trainer.findings import Finding
from odbuild.trainer.mend import BoxPolicy, mend, specks
from odbuild.trainer.rules import labels as label_rules

BOX = {"x": 0.1, "y": 0.2, "x2": 0.5, "y2": 0.6, "label": "cat"}


def read(folder: Path, boxes: BoxPolicy = "clip") -> tuple[Dataset, list[Finding]]:
    """Read, mend and check a data set as a conversion does."""
    source, found = readers.read(folder)
    data, odd = mend(source, boxes)
    return data, [*found, *odd, *label_rules.check(data)]


def _folder(tmp_path: Path, annotations: object = None, **document: object) -> Path:
    """Write a data set; every plain key gets a picture."""
    annotations = {"a.jpg": [BOX]} if annotations is None else annotations
    whole = {"version": "1.0", "type": "localization", "labels": ["cat"], "annotations": annotations, **document}
    (tmp_path / "_annotations.json").write_text(json.dumps(whole))
    (tmp_path / "a.jpg").write_bytes(b"picture")
    return tmp_path


def _text(tmp_path: Path, text: str | bytes) -> Path:
    (tmp_path / "_annotations.json").write_bytes(text.encode() if isinstance(text, str) else text)
    return tmp_path


def _codes(found: list[Finding], *, least: str = "warning") -> list[str]:
    """Return the codes of what matters, without the note that a tiny data set is tiny."""
    loud = {"warning": ("error", "warning"), "error": ("error",)}[least]
    return [finding.code for finding in found if finding.severity in loud and finding.code != "LBL303"]


def _boxes(data: Dataset) -> list[Box]:
    return [box for picture in data.pictures for box in picture.boxes]


def _lines(data: Dataset) -> Counter[str]:
    return Counter(f"{change.action} {change.what}" for change in data.ledger)


@given(
    source=strategies.datasets(labels=strategies.labels(odd=True), backgrounds=True),
    order=st.randoms(use_true_random=False),
)
def test_what_was_written_is_read_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, source: Sample, order: Any
) -> None:
    folder = source.write(tmp_path_factory.mktemp("data"))
    data, found = read(folder)
    assert tuple(data.pictures) == source.pictures
    for picture in data.pictures:
        assert data.path(picture).read_bytes() == source.images[picture.key].data
    assert not findings.errors(found)
    assert not data.ledger
    shuffled = list(source.pictures)
    order.shuffle(shuffled)
    replace(source, pictures=tuple(shuffled)).write(folder)
    assert read(folder) == (data, found)


def test_labels_stand_as_declared_then_sorted_if_they_have_a_box(tmp_path: Path) -> None:
    entries = [{**BOX, "label": label} for label in ("zebra", "dog", "ant", "cat")]
    data, found = read(_folder(tmp_path, {"a.jpg": entries}, labels=["dog", "bird", "cat"]))
    assert used_labels(data.declared, data.pictures) == ("dog", "cat", "ant", "zebra")
    assert [it.value for it in found if it.code == "ANN004"] == ['"bird"', '"ant"', '"zebra"']


def test_a_folder_one_level_down_is_found(tmp_path: Path) -> None:
    inner = tmp_path / "bucket"
    inner.mkdir()
    assert read(_folder(inner).parent)[0].root == inner
    _folder(tmp_path)
    assert read(tmp_path)[0].root == tmp_path


def test_two_folders_are_not_guessed_between(tmp_path: Path) -> None:
    for name in "xy":
        (tmp_path / name).mkdir()
        _folder(tmp_path / name)
    with pytest.raises(OdbuildError, match=r"several datasets \(x, y\)"):
        read(tmp_path)


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(OdbuildError, match="does not exist"):
        read(tmp_path / "nowhere")
    with pytest.raises(OdbuildError, match="is a file; unpack it"):
        read(pictures.write(tmp_path, "data.zip", b""))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expecting value at line 1, column 1"),
        ('{"annotations": {\n  "a.jpg": [}}', "at line 2, column 13, near .*a.jpg"),
        (
            '{"annotations": {"a.jpg": [],\n "b": [{"x": 1}], "a.jpg": []}}',
            'key "a.jpg" stands twice.* line 2, column 19',
        ),
        ('{"annotations": {"x": [{"x": 1, "y": 2, "x": 3}]}}', 'key "x" stands twice.*column 41'),
        ('{"a}": "\\"{", "a\\u007d": 1}', 'key "a}" stands twice.*column 15'),
        ('{"note": "NaN", "x": NaN}', "NaN is no number at line 1, column 22"),
        ('{"x": -Infinity}', "-Infinity is no number at line 1, column 7"),
        ('{"x": 1e400}', "1e400 is no number at line 1, column 7"),
        ('{"x": ' + "9" * 5000 + "}", "999 is no number at line 1, column 7"),
        ("[" * 200_000, "nested too deeply"),
        ('{"annotations": ' + "[" * 200_000 + "]" * 200_000 + "}", "nested too deeply"),
        (b'{"a": "\xe9"}', "not UTF-8: byte 7 is 0xe9"),
        ('{"version": "1.0"}'.encode("utf-16"), "not UTF-8: byte 0 is 0xff"),
    ],
)
def test_broken_json_is_an_error_with_its_place(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(OdbuildError, match=message) as caught:
        read(_text(tmp_path, text))
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("depth", [100, 400, *range(800, 1000, 5)])
@pytest.mark.parametrize("field", ["x", "label", "version"])
def test_nested_values_come_to_a_plain_end(tmp_path: Path, field: str, depth: int) -> None:
    nested = "[" * depth + "]" * depth
    entry = json.dumps([{**BOX, field: 0}]).replace(f'"{field}": 0', f'"{field}": {nested}')
    text = f'{{"annotations": {{"a.jpg": {entry}}}, "version": {nested if field == "version" else 1}}}'
    try:
        _, found = read(_text(tmp_path, text))
    except OdbuildError as error:
        assert len(str(error)) < 400  # noqa: PT017 - either end is fine
        return
    assert "a list" in findings.render(findings.errors(found))


@given(data=st.one_of(st.binary(max_size=40), st.text(max_size=40).map(str.encode)))
def test_noise_is_an_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    with pytest.raises(OdbuildError):
        read(_text(tmp_path_factory.mktemp("noise"), data))


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(list(BOX)), inner, max_size=5),
    max_leaves=5,
)


@given(entries=json_values, labels=json_values, version=st.none() | json_values)
def test_any_json_is_read_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, entries: Any, labels: Any, version: Any
) -> None:
    folder = _folder(tmp_path_factory.mktemp("any"), {"a.jpg": entries}, labels=labels, version=version)
    try:
        data, _ = read(folder)
    except OdbuildError:
        return
    for box in _boxes(data):
        assert 0 <= box.xmin < box.xmax <= 1
        assert 0 <= box.ymin < box.ymax <= 1


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    _text(folder, b"\xef\xbb\xbf" + (folder / "_annotations.json").read_bytes())
    assert _boxes(read(folder)[0])


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], r"is a list; expected an object"),
        ({}, "annotations is nothing; expected an object"),
        ({"annotations": []}, "annotations is a list; expected an object"),
        ({"annotations": {"x": {}}}, r'annotations\["x"\] is an object; expected a list of \{"x"'),
        ({"annotations": {"x": [1]}}, r'annotations\["x"\] is a list with a number in it; expected a list'),
        ({"annotations": {"x": [None]}}, "is a list with nothing in it"),
        ({"annotations": {}, "labels": "cat"}, "labels is a string; expected a list of strings"),
        ({"annotations": {}, "labels": ["cat", 3]}, "labels is a list with a number in it"),
        ({"annotations": {}, "type": "classification"}, "classification project, which has no boxes"),
        ({"annotations": {}, "type": "polygons"}, 'type "polygons"; expected "localization"'),
        ({"annotations": {"x": [{"label": "cat"}]}}, "names no type and holds no box"),
        ({"version": "3", "annotations": {}}, 'the version "3"; expected "1.0"'),
    ],
)
def test_wrong_shapes_are_named(tmp_path: Path, document: object, message: str) -> None:
    with pytest.raises(OdbuildError, match=message):
        read(_text(tmp_path, json.dumps(document)))


def test_the_type_may_be_absent_where_there_are_boxes(tmp_path: Path) -> None:
    assert _boxes(read(_text(_folder(tmp_path), json.dumps({"annotations": {"a.jpg": [BOX]}})))[0])


def test_marks_without_a_box_and_empty_lists_are_backgrounds(tmp_path: Path) -> None:
    annotations = {"a.jpg": [{"label": "Negative"}], "b.jpg": [], "c.jpg": [{"label": "cat"}, BOX]}
    folder = _folder(tmp_path, annotations)
    for key in annotations:
        pictures.write(folder, key, b"")
    data, found = read(folder)
    assert [len(picture.boxes) for picture in data.pictures] == [0, 0, 1]
    assert _lines(data) == {"label-only label": 2}
    assert _codes(found) == ["ANN003"]
    assert [it.where for it in found if it.severity == "info"] == ['annotations["a.jpg"]', 'annotations["b.jpg"]']


def test_missing_files_are_left_out_with_what_may_be_meant(tmp_path: Path) -> None:
    annotations = {"A.JPG": [BOX], "a.png": [BOX, BOX], "x/a.jpg": [], "gone.jpg": []}
    data, found = read(_folder(tmp_path, {**annotations, "a.jpg": [BOX]}))
    assert [picture.key for picture in data.pictures] == ["a.jpg"]
    near = {it.where: it.value for it in found if it.code == "ANN002"}
    assert near == {
        'annotations["A.JPG"]': 'did you mean "a.jpg"?',
        'annotations["a.png"]': 'did you mean "a.jpg"?',
        'annotations["x/a.jpg"]': "",
        'annotations["gone.jpg"]': "",
    }
    assert _lines(data) == {"dropped picture": 4, "dropped box": 3}
    assert (data.keys, data.drawn) == (5, 4)


@pytest.mark.parametrize(
    "key",
    ["", "/etc/passwd", "../a.jpg", "x/../a.jpg", "./a.jpg", "x//a.jpg", "a.jpg\0", "a\n.jpg", "a.jpg/", "\ud800"],
)
def test_keys_that_are_no_plain_path_are_refused(tmp_path: Path, key: str) -> None:
    data, found = read(_folder(tmp_path, {key: [BOX]}))
    assert not data.pictures
    assert _codes(found, least="error") == ["ANN005"]
    assert findings.render(found).isprintable() or "\n" in findings.render(found)
    findings.render(found).encode()


def test_a_very_long_key_is_only_missing(tmp_path: Path) -> None:
    data, found = read(_folder(tmp_path, {"a" * 70_000: [BOX]}))
    assert _lines(data) == {"dropped picture": 1, "dropped box": 1}
    assert len(findings.render(found)) < 2000


def test_links_may_not_leave_the_folder(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    pictures.write(outside, "secret.jpg", b"secret")
    root = tmp_path / "data"
    root.mkdir()
    (root / "file.jpg").symlink_to(outside / "secret.jpg")
    (root / "folder").symlink_to(outside)
    (root / "loop.jpg").symlink_to("loop.jpg")
    (root / "inside.jpg").symlink_to("a.jpg")
    os.mkfifo(root / "pipe.jpg")
    keys = ["file.jpg", "folder/secret.jpg", "loop.jpg", "inside.jpg", "pipe.jpg"]
    data, found = read(_folder(root, {key: [BOX] for key in keys}))
    assert [picture.key for picture in data.pictures] == ["inside.jpg"]
    refused = {it.where: it.value for it in found if it.code == "ANN005"}
    assert refused == {
        'annotations["file.jpg"]': "leads out of the folder by a link",
        'annotations["folder/secret.jpg"]': "leads out of the folder by a link",
        'annotations["pipe.jpg"]': "is no regular file",
    }
    assert _lines(data)["dropped picture"] == 4


def test_whole_numbers_are_coordinates(tmp_path: Path) -> None:
    data, found = read(_folder(tmp_path, {"a.jpg": [{**BOX, "x": 0, "y": 0, "x2": 1, "y2": 1}]}))
    assert _boxes(data) == [Box(label="cat", ymin=0, xmin=0, ymax=1, xmax=1)]
    assert not _codes(found)


@pytest.mark.parametrize(
    ("entry", "code", "where"),
    [
        ({**BOX, "x2": 640}, "ANN007", "[0].x2"),
        ({**BOX, "x": -0.6}, "ANN007", "[0].x"),
        ({**BOX, "y": "0.5"}, "ANN007", "[0].y"),
        ({**BOX, "y": True}, "ANN007", "[0].y"),
        ({**BOX, "y": None}, "ANN007", "[0].y"),
        ({"x": 0.1, "y": 0.1, "label": "cat"}, "ANN001", "[0]"),
        ({**BOX, "label": ""}, "LBL305", "[0].label"),
        ({**BOX, "label": 7}, "LBL305", "[0].label"),
        ({**BOX, "label": "\udc80"}, "LBL305", "[0].label"),
        ({"x": 0.1}, "LBL305", "[0].label"),
    ],
)
def test_odd_annotations_are_errors_at_their_place(
    tmp_path: Path, entry: dict[str, object], code: str, where: str
) -> None:
    _, found = read(_folder(tmp_path, {"a.jpg": [entry]}))
    (wrong,) = findings.errors(found)
    assert (wrong.code, wrong.where) == (code, f'annotations["a.jpg"]{where}')


TURNED = {**BOX, "x": 0.5, "x2": 0.1}
OUTSIDE = {**BOX, "x2": 1.2}
FLAT = {**BOX, "x2": 0.1}
GONE = {**BOX, "x": 1.1, "x2": 1.3}
HAIR = {**BOX, "x2": 1.0005}


@pytest.mark.parametrize(
    ("entry", "policy", "kept", "done"),
    [
        (TURNED, "clip", (0.1, 0.5), ["sorted BOX202"]),
        (TURNED, "drop", None, ["dropped BOX202"]),
        (TURNED, "fail", None, ["dropped BOX202"]),
        (OUTSIDE, "clip", (0.1, 1.0), ["clipped BOX201"]),
        (OUTSIDE, "drop", None, ["dropped BOX201"]),
        (OUTSIDE, "fail", None, ["dropped BOX201"]),
        (FLAT, "clip", None, ["dropped BOX202"]),
        (FLAT, "drop", None, ["dropped BOX202"]),
        (FLAT, "fail", None, ["dropped BOX202"]),
        (GONE, "clip", None, ["clipped BOX201", "dropped BOX202"]),
        (HAIR, "clip", (0.1, 1.0), ["clipped BOX201"]),
        (HAIR, "drop", (0.1, 1.0), ["clipped BOX201"]),
        (HAIR, "fail", (0.1, 1.0), ["clipped BOX201"]),
    ],
)
def test_odd_boxes_follow_the_policy(
    tmp_path: Path,
    entry: dict[str, object],
    policy: BoxPolicy,
    kept: tuple[float, float] | None,
    done: list[str],
) -> None:
    data, found = read(_folder(tmp_path, {"a.jpg": [entry]}), boxes=policy)
    assert [(box.xmin, box.xmax) for box in _boxes(data)] == ([kept] if kept else [])
    assert [f"{change.action} {change.code}" for change in data.ledger] == done
    about = [it for it in found if it.code.startswith("BOX")]
    assert [it.code for it in about] == ([] if entry is HAIR else [line.split()[1] for line in done])
    assert {it.severity for it in about} <= {"error" if policy == "fail" else "warning"}
    assert all(f"x={entry['x']:g}, y=0.2, x2={entry['x2']:g}" in it.value for it in about)
    assert data.drawn == 1


@given(
    edges=st.lists(st.tuples(*[st.floats(-0.5, 1.5)] * 4), max_size=6),
    policy=st.sampled_from(["clip", "drop", "fail"]),
)
def test_boxes_in_are_boxes_out_and_dropped(
    tmp_path_factory: pytest.TempPathFactory, edges: list[tuple[float, ...]], policy: BoxPolicy
) -> None:
    entries = [{**dict(zip(EDGES, row, strict=True)), "label": "cat"} for row in edges]
    data, _ = read(_folder(tmp_path_factory.mktemp("boxes"), {"a.jpg": entries}), boxes=policy)
    assert len(edges) == data.drawn == len(_boxes(data)) + _lines(data)["dropped box"]
    for box in _boxes(data):
        assert 0 <= box.xmin < box.xmax <= 1
        assert 0 <= box.ymin < box.ymax <= 1


def test_boxes_under_a_pixel_are_parted() -> None:
    boxes = [Box(label="a", ymin=0, xmin=0, ymax=1, xmax=width, index=at) for at, width in enumerate((0.1, 0.09))]
    picture = Picture(key="a", boxes=tuple(boxes))
    left, lost = specks(picture, 10, 10)
    assert (left.boxes, lost) == ((boxes[0],), (boxes[1],))
    assert specks(picture, 100, 100) == (picture, ())


@pytest.mark.parametrize(
    ("labels", "code"),
    [([" cat"], "LBL305"), (["cat\t"], "LBL305"), (["a\x1bb"], "LBL305"), (["Cat", "cat"], "LBL302")],
)
def test_odd_names_are_warned_of(tmp_path: Path, labels: list[str], code: str) -> None:
    entries = [{**BOX, "label": label} for label in labels]
    _, found = read(_folder(tmp_path, {"a.jpg": entries}, labels=labels))
    assert set(_codes(found)) == {code}


def test_many_findings_of_one_kind_stay_readable(tmp_path: Path) -> None:
    _, found = read(_folder(tmp_path, {"a.jpg": [OUTSIDE] * 10_000 + [FLAT]}))
    text = findings.render(found)
    assert "warning BOX201: a box reaches outside the picture (10,000 times)" in text
    assert 'annotations["a.jpg"][2]: x=0.1, y=0.2, x2=1.2, y2=0.6, "cat"\n  ... and 9,997 more\n' in text
    assert len(text.splitlines()) < 20


def test_errors_come_first() -> None:
    rules = [findings.Rule("B1", severity, "m").at("w") for severity in ("info", "warning", "error")]
    assert [line.split()[0] for line in findings.render(rules).splitlines()[::2]] == ["error", "warning", "info"]


def test_the_real_data_has_no_error_and_no_odd_box(shared: Path) -> None:
    data, found = read(shared / "data/pens_toys")
    assert (len(data.pictures), len(_boxes(data)), used_labels(data.declared, data.pictures)) == (
        120,
        135,
        ("pen", "toy"),
    )
    assert found == []
    assert data.ledger == ()
