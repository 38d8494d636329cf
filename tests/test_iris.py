import json
from collections import Counter
from pathlib import Path
from typing import Any

import pictures
import pytest
from formats import stored
from hypothesis import given
from hypothesis import strategies as st

from odbuild.trainer import findings, readers
from odbuild.trainer.dataset import Box, Dataset
from odbuild.trainer.errors import OdbuildError
from odbuild.trainer.findings import Finding
from odbuild.trainer.readers import iris


def _targets(left: float, top: float, right: float, bottom: float) -> list[dict[str, Any]]:
    return [{"id": "0", "x": x, "y": y} for x, y in ((left, top), (right, bottom), (left, bottom), (right, top))]


BOX = {"id": "b", "label": "l", "tool": "box", "connections": {}, "targets": _targets(0.1, 0.2, 0.5, 0.6)}
CAT = Box(label="cat", ymin=0.2, xmin=0.1, ymax=0.6, xmax=0.5)


def _folder(tmp_path: Path, *, indent: int | None = None, keys_sorted: bool = False, **changed: Any) -> Path:
    document = {
        "version": "v2",
        "labels": {"l": {"id": "l", "name": "cat"}, "n": {"id": "n", "name": "negative"}},
        "images": {"a.jpg": {"id": "a.jpg", "status": "success", "date": "", "annotations": ["b"]}},
        "annotations": {"b": BOX},
        **changed,
    }
    text = json.dumps(document, indent=indent, sort_keys=keys_sorted)
    (tmp_path / "_annotations.json").write_text(text)
    pictures.write(tmp_path, "a.jpg", b"")
    return tmp_path


def _read(folder: Path) -> tuple[Dataset, list[Finding]]:
    dataset, found = readers.read(folder)
    assert dataset.format == "iris"
    lines = Counter(f"{change.action} {change.what}" for change in dataset.ledger)
    assert dataset.keys == len(dataset.pictures) + lines["dropped picture"]
    assert dataset.drawn == sum(len(it.boxes) for it in dataset.pictures) + lines["dropped box"]
    return dataset, found


@given(data=st.data(), indent=st.sampled_from([None, 1]), keys_sorted=st.booleans())
def test_what_iris_wrote_is_read(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, indent: int | None, *, keys_sorted: bool
) -> None:
    folder = tmp_path_factory.mktemp("data")
    source = data.draw(stored(folder))
    images: dict[str, Any] = {}
    annotations: dict[str, Any] = {}
    for picture in source.pictures:
        images[picture.key] = {"annotations": [f"{picture.key} {box.index}" for box in picture.boxes]}
        for box in picture.boxes:
            corners = data.draw(st.permutations(_targets(box.xmin, box.ymin, box.xmax, box.ymax)))
            entry = {"label": f"id of {box.label}", "tool": "box", "targets": corners}
            annotations[f"{picture.key} {box.index}"] = entry
    labels = {f"id of {label}": {"name": label} for label in source.declared}
    _folder(
        source.root, indent=indent, keys_sorted=keys_sorted, labels=labels, images=images, annotations=annotations
    )
    dataset, found = _read(source.root)
    plain = [
        [(box.label, box.ymin, box.xmin, box.ymax, box.xmax) for box in picture.boxes]
        for picture in source.pictures
    ]
    assert [
        [(box.label, box.ymin, box.xmin, box.ymax, box.xmax) for box in picture.boxes]
        for picture in dataset.pictures
    ] == plain
    assert [picture.key for picture in dataset.pictures] == [picture.key for picture in source.pictures]
    assert set(dataset.declared) == set(source.declared)
    assert not findings.errors(found)


def test_tags_are_no_boxes(tmp_path: Path) -> None:
    tags = {"t": {"label": "l", "tool": "tag"}, "n": {"label": "n", "tool": "tag"}}
    images = {"a.jpg": {"annotations": ["t", "n"]}}
    dataset, found = _read(_folder(tmp_path, images=images, annotations=tags))
    assert [picture.boxes for picture in dataset.pictures] == [()]
    assert [(it.code, it.severity, it.value) for it in found] == [
        ("ANN003", "info", ""),
        ("ANN003", "warning", '"cat"'),
    ]
    assert [change.action for change in dataset.ledger] == ["label-only", "label-only"]


def test_annotations_and_pictures_that_miss_each_other(tmp_path: Path) -> None:
    images = {"a.jpg": {"annotations": ["b", "b", "gone"]}, "none.jpg": {"annotations": ["c"]}}
    annotations = {"b": BOX, "c": BOX, "lost": BOX}
    dataset, found = _read(_folder(tmp_path, images=images, annotations=annotations))
    assert [picture.boxes for picture in dataset.pictures] == [(CAT,)]
    assert sorted((it.code, it.severity, it.where) for it in found) == [
        ("ANN001", "error", 'annotations["a.jpg"][1]'),
        ("ANN001", "error", 'annotations["a.jpg"][2]'),
        ("ANN001", "warning", 'annotations["lost"]'),
        ("ANN002", "warning", 'annotations["none.jpg"]'),
    ]
    assert (dataset.keys, dataset.drawn) == (2, 3)


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        ({**BOX, "tool": "polygon"}, "ANN001"),
        ({**BOX, "targets": []}, "ANN001"),
        ({**BOX, "targets": {}}, "ANN001"),
        ({**BOX, "targets": [{"x": 1}, {"y": 1}]}, "ANN001"),
        ({**BOX, "targets": [1, 2]}, "ANN001"),
        ({**BOX, "targets": _targets(10, 20, 50, 60)}, "ANN007"),
        ({**BOX, "targets": _targets("a", 0, 1, 1)}, "ANN007"),  # type: ignore[arg-type]
        ({**BOX, "label": "x"}, "LBL301"),
        ({**BOX, "label": ["l"]}, "LBL301"),
        ({}, "LBL301"),
    ],
)
def test_odd_annotations_are_errors(tmp_path: Path, entry: dict[str, Any], code: str) -> None:
    dataset, found = _read(_folder(tmp_path, annotations={"b": entry}))
    assert {it.code for it in findings.errors(found)} == {code}
    assert all(it.where.startswith('annotations["a.jpg"][0]') for it in findings.errors(found))
    assert [(it.action, it.what, it.code) for it in dataset.ledger] == [("dropped", "box", code)]
    assert dataset.drawn == 1


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"labels": []}, "labels is a list; expected an object"),
        ({"labels": {"l": "cat"}}, r'labels\["l"\] is a string; expected {"name"}'),
        ({"labels": {"l": {"name": 1}}}, r'labels\["l"\] is an object; expected {"name"}'),
        ({"images": {"a.jpg": {}}}, r'images\["a.jpg"\] is an object; expected {"annotations"'),
        ({"images": {"a.jpg": {"annotations": [1]}}}, r'images\["a.jpg"\]'),
        ({"annotations": {"b": []}}, r'annotations\["b"\] is a list'),
    ],
)
def test_wrong_shapes_are_named(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(OdbuildError, match=message):
        readers.read(_folder(tmp_path, **changed))


def test_a_version_1_file_is_not_taken_for_it(tmp_path: Path) -> None:
    (tmp_path / "_annotations.json").write_text('{"version": "1.0", "type": "localization", "annotations": {}}')
    assert readers.locate(tmp_path) == (tmp_path, "cloud")
    (tmp_path / "_annotations.json").write_text("[]")
    with pytest.raises(OdbuildError, match="is a list; expected an object with images"):
        iris.read(tmp_path)
