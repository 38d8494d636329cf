import json
from collections import Counter
from pathlib import Path
from typing import Any

import pictures
import pytest
from hypothesis import given
from hypothesis import strategies as st

from odbuild.trainer import findings, readers
from odbuild.trainer.dataset import Box, Dataset
from odbuild.trainer.errors import OdbuildError
from odbuild.trainer.findings import Finding
from odbuild.trainer.readers import strict

ANNOTATION = {"id": 1, "image_id": 7, "category_id": 3, "bbox": [10, 8, 20, 16], "iscrowd": 0}
IMAGE = {"id": 7, "file_name": "a.jpg", "width": 100, "height": 80}
CATEGORY = {"id": 3, "name": "cat", "supercategory": "animal"}
CAT = Box(label="cat", ymin=0.1, xmin=0.1, ymax=0.3, xmax=0.3)


def _write(root: Path, name: str = "a.json", **changed: Any) -> Path:
    """Write a file of COCO JSON, and a picture of the recorded size beside it."""
    document = {"info": {}, "images": [IMAGE], "annotations": [ANNOTATION], "categories": [CATEGORY], **changed}
    pictures.write(root, name, json.dumps(document).encode())
    pictures.write(root, "a.jpg", pictures.jpeg(100, 80))
    return root


def _read(folder: Path) -> tuple[Dataset, list[Finding]]:
    dataset, found = readers.read(folder)
    assert dataset.format == "coco"
    lines = Counter(f"{change.action} {change.what}" for change in dataset.ledger)
    assert dataset.keys == len(dataset.pictures) + lines["dropped picture"]
    assert dataset.drawn == sum(len(it.boxes) for it in dataset.pictures) + lines["dropped box"]
    return dataset, found


def _boxes(dataset: Dataset) -> list[Box]:
    return [box for picture in dataset.pictures for box in picture.boxes]


def _told(found: list[Finding]) -> list[tuple[str, str]]:
    return sorted((it.severity, it.code) for it in found)


@given(order=st.permutations(["info", "images", "annotations", "categories"]), data=st.data())
def test_lists_may_stand_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, order: list[str], data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("data")
    images = data.draw(st.permutations([{**IMAGE, "id": str(n), "file_name": f"{n}.jpg"} for n in range(4)]))
    rows = [{**ANNOTATION, "id": n, "image_id": str(n % 3), "bbox": [n, 0, 10, 8]} for n in range(9)]
    whole = {"info": {"images": [1]}, "images": images, "annotations": rows, "categories": [CATEGORY]}
    (root / "_annotations.coco.json").write_text(json.dumps({name: whole[name] for name in order}))
    for number in range(4):
        pictures.write(root, f"{number}.jpg", b"")
    dataset, found = _read(root)
    assert [picture.key for picture in dataset.pictures] == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    assert [[round(box.xmin * 100) for box in picture.boxes] for picture in dataset.pictures] == [
        [0, 3, 6],
        [1, 4, 7],
        [2, 5, 8],
        [],
    ]
    assert [[box.index for box in picture.boxes] for picture in dataset.pictures] == [[0, 1, 2]] * 3 + [[]]
    assert {picture.size for picture in dataset.pictures} == {(100, 80)}
    assert _told(found) == [("info", "ANN003")]
    assert not dataset.ledger


@pytest.mark.parametrize(
    ("name", "picture", "split"),
    [
        ("a.json", "a.jpg", ""),
        ("labels.json", "data/a.jpg", ""),
        ("_annotations.coco.json", "a.jpg", ""),
        ("train/_annotations.coco.json", "train/a.jpg", "train"),
        ("valid/_annotations.coco.json", "valid/a.jpg", "validation"),
        ("test/_annotations.coco.json", "test/a.jpg", "test"),
        ("annotations/instances_train2017.json", "train2017/a.jpg", "train"),
        ("annotations/instances_val2017.json", "images/val2017/a.jpg", "validation"),
        ("annotations/instances_val.json", "images/val/a.jpg", "validation"),
        ("annotations/instances_val.json", "images/a.jpg", "validation"),
        ("annotations/instances_Train.json", "a.jpg", "train"),
        ("annotations/trainval.json", "a.jpg", ""),
    ],
)
def test_pictures_are_found_where_tools_put_them(tmp_path: Path, name: str, picture: str, split: str) -> None:
    root = _write(tmp_path / "in", name)
    (root / "a.jpg").unlink()
    pictures.write(root, picture, b"")
    dataset, found = _read(root)
    assert [(it.key, it.split, it.boxes) for it in dataset.pictures] == [(picture, split, (CAT,))]
    assert dataset.sources == (name,)
    assert found == []


def test_one_file_for_each_side(tmp_path: Path) -> None:
    for name, key, label in (("train", "a.jpg", "cat"), ("val", "b.jpg", "dog")):
        image = {**IMAGE, "file_name": key}
        categories = [{"id": 3, "name": label}, {"id": 4, "name": "cat" if label == "dog" else "dog"}]
        _write(tmp_path, f"annotations/instances_{name}.json", images=[image], categories=categories)
        _write(tmp_path, f"annotations/person_keypoints_{name}.json")
        pictures.write(tmp_path, key, b"")
    dataset, found = _read(tmp_path)
    assert [(it.key, it.split, it.boxes[0].label) for it in dataset.pictures] == [
        ("a.jpg", "train", "cat"),
        ("b.jpg", "validation", "dog"),
    ]
    assert dataset.declared == ("cat", "dog")
    assert _told(found) == [("info", "ANN001")] * 2


def test_a_picture_on_two_sides_is_an_error(tmp_path: Path) -> None:
    for name in ("train", "val"):
        _write(tmp_path, f"annotations/instances_{name}.json")
    dataset, found = _read(tmp_path)
    assert [len(picture.boxes) for picture in dataset.pictures] == [2]
    assert [box.index for box in _boxes(dataset)] == [0, 1]
    assert _told(found) == [("error", "SPL402")]


def test_a_name_that_leads_to_several_files_is_told(tmp_path: Path) -> None:
    root = _write(tmp_path, "annotations/instances_train.json")
    pictures.write(root, "images/train/a.jpg", b"")
    dataset, found = _read(root)
    assert [picture.key for picture in dataset.pictures] == ["a.jpg"]
    assert [(it.code, it.value) for it in found] == [("ANN002", 'also "images/train/a.jpg"')]


def test_a_missing_size_is_read_from_the_picture(tmp_path: Path) -> None:
    image = {"id": 7, "file_name": "a.jpg"}
    dataset, found = _read(_write(tmp_path, images=[image]))
    assert (_boxes(dataset), dataset.pictures[0].size, found) == ([CAT], (100, 80), [])
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    dataset, found = _read(tmp_path)
    assert _boxes(dataset) == []
    assert ("error", "IMG104") in _told(found)


@pytest.mark.parametrize("size", [(100.0, 80.0), ("100", "80"), ("100.0", 80)])
def test_a_size_may_be_spelled_in_other_ways(tmp_path: Path, size: tuple[object, object]) -> None:
    image = {"id": 7, "file_name": "a.jpg", "width": size[0], "height": size[1]}
    _write(tmp_path, images=[image])
    (tmp_path / "a.jpg").write_bytes(pictures.jpeg(50, 40))
    dataset, _ = _read(tmp_path)
    assert (dataset.pictures[0].size, _boxes(dataset)) == ((100, 80), [CAT])


def test_groups_are_crowds(tmp_path: Path) -> None:
    rows = [{**ANNOTATION, "iscrowd": 1, "segmentation": {"counts": [1, 2], "size": [80, 100]}}]
    assert [box.crowd for box in _boxes(_read(_write(tmp_path, annotations=rows))[0])] == [True]


def test_a_category_above_others_is_no_class(tmp_path: Path) -> None:
    categories = [{"id": 0, "name": "animal", "supercategory": "none"}, CATEGORY, {"id": 5, "name": "dog"}]
    assert _read(_write(tmp_path, categories=categories))[0].declared == ("cat", "dog")
    rows = [ANNOTATION, {**ANNOTATION, "id": 2, "category_id": 0}]
    assert _read(_write(tmp_path, categories=categories, annotations=rows))[0].declared == ("animal", "cat", "dog")


@pytest.mark.parametrize(
    ("changed", "told", "boxes"),
    [
        ({"annotations": [{**ANNOTATION, "image_id": 8}]}, [("info", "ANN003"), ("warning", "ANN001")], 0),
        ({"annotations": [{**ANNOTATION, "category_id": 8}]}, [("error", "LBL301"), ("info", "ANN003")], 0),
        ({"annotations": [ANNOTATION, ANNOTATION]}, [("warning", "ANN006")], 2),
        ({"annotations": [{**ANNOTATION, "bbox": []}]}, [("error", "ANN001"), ("info", "ANN003")], 0),
        ({"annotations": [{**ANNOTATION, "bbox": [1, 2, 3, "4"]}]}, [("error", "ANN001"), ("info", "ANN003")], 0),
        ({"annotations": [{**ANNOTATION, "bbox": [1, 2, 3, True]}]}, [("error", "ANN001"), ("info", "ANN003")], 0),
        ({"annotations": [{**ANNOTATION, "bbox": None, "segmentation": [[1, 2]]}]}, None, 0),
        ({"annotations": [{**ANNOTATION, "image_id": None}]}, [("error", "ANN001"), ("info", "ANN003")], 0),
        ({"annotations": [{**ANNOTATION, "image_id": True}]}, [("error", "ANN001"), ("info", "ANN003")], 0),
        ({"annotations": [7, None, "x"]}, [("error", "ANN001")] * 3 + [("info", "ANN003")], 0),
        (
            {"annotations": [{**ANNOTATION, "bbox": [10, 8, 200, 16]}]},
            [("error", "ANN007"), ("info", "ANN003")],
            0,
        ),
        ({"annotations": [{**ANNOTATION, "bbox": [1e308] * 4}]}, [("error", "ANN007"), ("info", "ANN003")], 0),
        ({"annotations": [{**ANNOTATION, "bbox": [30, 8, -20, 16]}]}, [], 1),
        ({"images": [IMAGE, {**IMAGE, "id": 8}]}, [("warning", "ANN006"), ("info", "ANN003")], 1),
        ({"images": [IMAGE, {**IMAGE, "file_name": "b.jpg"}]}, [("error", "ANN006")], 1),
        ({"images": [IMAGE, IMAGE]}, [("warning", "ANN006")], 1),
        ({"categories": [CATEGORY, CATEGORY]}, [("warning", "ANN006")], 1),
        ({"images": [IMAGE, {"id": 8}]}, [("error", "ANN001")], 1),
        ({"images": [IMAGE, {**IMAGE, "id": [8]}]}, [("error", "ANN001")], 1),
        ({"images": [IMAGE, 8]}, [("error", "ANN001")], 1),
        ({"images": [{**IMAGE, "width": 0}]}, [], 1),
        ({"images": [{**IMAGE, "width": 1e300}]}, [], 1),
        ({"categories": [CATEGORY, {"id": 3, "name": "dog"}]}, [("error", "ANN006")], 1),
        ({"categories": [CATEGORY, {"id": 4, "name": ""}]}, [("error", "ANN001")], 1),
        ({"categories": [CATEGORY, {"name": "dog"}]}, [("error", "ANN001")], 1),
        ({"categories": [CATEGORY, {"id": 4, "name": "\ud800"}]}, [("error", "ANN001")], 1),
    ],
)
def test_odd_entries_are_told(
    tmp_path: Path, changed: dict[str, Any], told: list[tuple[str, str]] | None, boxes: int
) -> None:
    dataset, found = _read(_write(tmp_path, **changed))
    assert _told(found) == sorted(told if told is not None else [("error", "ANN001"), ("info", "ANN003")])
    assert len(_boxes(dataset)) == boxes
    findings.render(found).encode()


@pytest.mark.parametrize("name", ["../a.jpg", "/a.jpg", "x/../a.jpg", "a.jpg\0", "", "\ud800.jpg"])
def test_pictures_outside_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    dataset, found = _read(_write(tmp_path / "in", images=[{**IMAGE, "file_name": name}]))
    assert not dataset.pictures
    assert findings.errors(found) or not name
    findings.render(found).encode()


def test_a_path_that_begins_here_is_plain(tmp_path: Path) -> None:
    dataset, _ = _read(_write(tmp_path, images=[{**IMAGE, "file_name": "./a.jpg"}]))
    assert [picture.key for picture in dataset.pictures] == ["a.jpg"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"categories": [], "images": []}', "has no annotations; expected the lists categories"),
        ('{"categories": [], "images": {}, "annotations": []}', "images is an object; expected a list"),
        ('[{"image_id": 1}]', "is a list with .* in it; expected an object|is a list; expected an object"),
        ('{"categories": [], "images": [NaN]}', "NaN is no number at line 1, column 31"),
        ('{"categories": [{"id": 1, "id": 2}]}', 'the key "id" stands twice'),
        ('{"categories": [], "categories": []}', 'the key "categories" stands twice'),
        ('{"categories": [' + "[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_coco_json_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(OdbuildError, match=message):
        readers.read(tmp_path)


def test_other_json_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"images": [], "shapes": []}')
    with pytest.raises(OdbuildError, match="holds no annotations that are known"):
        readers.read(tmp_path)


json_values = st.recursive(
    st.sampled_from([None, True, 0, 1, 7, 3, 0.5, 1e300, -5, "a.jpg", "cat", ""]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from([*IMAGE, *ANNOTATION, *CATEGORY]), inner, max_size=5)
    ),
    max_leaves=8,
)
rows = st.lists(
    st.sampled_from([IMAGE, ANNOTATION, CATEGORY])
    | json_values
    | st.builds(dict, st.just(ANNOTATION), bbox=json_values),
    max_size=4,
)


@given(images=rows, annotations=rows, categories=rows)
def test_any_lists_are_read_and_nothing_is_lost(
    tmp_path_factory: pytest.TempPathFactory, images: Any, annotations: Any, categories: Any
) -> None:
    root = tmp_path_factory.mktemp("any")
    dataset, found = _read(_write(root, images=images, annotations=annotations, categories=categories))
    assert all(box.label for box in _boxes(dataset))
    findings.render(found).encode()


def test_a_window_border_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{**ANNOTATION, "id": n, "bbox": [n / 7, n / 3, 10.25, 8]} for n in range(50)]
    root = _write(tmp_path, annotations=rows)
    whole = _read(root)
    for window in (1, 10, 100, 1000):
        monkeypatch.setattr(strict, "WINDOW", window)
        assert _read(root) == whole
