"""What other readers, which share no code with these, see in the same files."""

import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pictures
import pytest
import yaml
from formats import Pixels, apart, names, put, stored, voc_xml, words, yolo_line
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from odbuild.trainer import examples, readers, records
from odbuild.trainer.dataset import Dataset, Picture
from odbuild.writers import write

DIGITS = 6
"""Digits of a pixel that must agree."""

Seen = Counter[tuple[str, str, float, float, float, float]]
"""Key, label, left, top, right and bottom in pixels, of each box."""

NAMES = {"cloud": "ibm-cloud-annotations", "coco": "coco", "voc": "voc", "yolo": "yolo", "tfrecord": "tfrecord"}


def _row(key: str, label: str, *edges: float) -> Any:
    return (key, label, *(round(edge, DIGITS) + 0.0 for edge in edges))


def _ours(dataset: Dataset) -> Seen:
    seen: Seen = Counter()
    for picture in dataset.pictures:
        with Image.open(dataset.path(picture)) as info:
            width, height = info.size
        for box in picture.boxes:
            edges = (box.xmin * width, box.ymin * height, box.xmax * width, box.ymax * height)
            seen[_row(picture.key, box.label, *edges)] += 1
    return seen


def _panlabel(path: Path, name: str) -> Seen:
    pytest.importorskip("panlabel")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out.json")
        command = [
            sys.executable,
            "-m",
            "panlabel",
            "convert",
            "--from",
            NAMES[name],
            "--to",
            "ir-json",
            "--no-validate",
            "--allow-lossy",
        ]
        subprocess.run([*command, "--input", path, "--output", out], check=True, capture_output=True)
        document = json.loads(out.read_text(encoding="utf-8"))
    images = {row["id"]: row["file_name"] for row in document["images"]}
    labels = {row["id"]: row["name"] for row in document["categories"]}
    return Counter(
        _row(images[row["image_id"]], labels[row["category_id"]], *(row["bbox"][edge] for edge in EDGES))
        for row in document["annotations"]
    )


EDGES = ("xmin", "ymin", "xmax", "ymax")


def _globox(path: Path) -> Seen:
    globox = pytest.importorskip("globox")
    return _from_globox(globox.AnnotationSet.from_coco(path))


def _from_globox(found: Any) -> Seen:
    return Counter(
        _row(picture.image_id, box.label, box.xmin, box.ymin, box.xmax, box.ymax)
        for picture in found
        for box in picture.boxes
    )


def _pycocotools(path: Path) -> Seen:
    coco = pytest.importorskip("pycocotools.coco").COCO(path)
    rows = coco.loadAnns(coco.getAnnIds())
    return Counter(
        _row(
            coco.imgs[row["image_id"]]["file_name"],
            coco.cats[row["category_id"]]["name"],
            *row["bbox"][:2],
            *(start + length for start, length in zip(row["bbox"][:2], row["bbox"][2:], strict=True)),
        )
        for row in rows
    )


def _one_side(source: Dataset, folder: Path, name: str) -> tuple[Dataset, Path]:
    """Write a data set, and read it back; return it with its file of annotations."""
    write(source, folder / name, name)
    back, _ = readers.read(folder / name)
    assert back.format == name
    (file,) = back.sources
    return back, folder / name / file


@given(data=st.data())
@settings(max_examples=20)
def test_coco_json_is_read_as_others_read_it(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("coco")
    source = data.draw(stored(folder, sides=("train",)))
    back, path = _one_side(source, folder, "coco")
    assert _ours(back) == _panlabel(path, "coco")
    assert _ours(back) == _globox(path)
    assert _ours(back) == _pycocotools(path)
    assert sum(_ours(back).values()) == source.drawn


@given(data=st.data())
@settings(max_examples=20)
def test_cloud_annotations_are_read_as_others_read_them(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("cloud")
    source = data.draw(stored(folder))
    back, path = _one_side(source, folder, "cloud")
    assert _ours(back) == _panlabel(path, "cloud")
    assert sum(_ours(back).values()) == source.drawn


def test_the_real_data_are_read_as_others_read_them(shared: Path, tmp_path: Path) -> None:
    root = shared / "data/pens_toys"
    dataset, _ = readers.read(root)
    assert _ours(dataset) == _panlabel(root / "_annotations.json", "cloud")
    back, path = _one_side(dataset, tmp_path, "coco")
    assert _ours(back) == _ours(dataset) == _globox(path) == _pycocotools(path) == _panlabel(path, "coco")


def _plain(seen: Seen) -> Seen:
    """Return the boxes by the bare names of their files, which is all that some readers tell."""
    return Counter({(row[0].rpartition("/")[2], *row[1:]): times for row, times in seen.items()})


def _globox_voc(root: Path) -> Seen:
    globox = pytest.importorskip("globox")
    return _from_globox(globox.AnnotationSet.from_pascal_voc(root / "Annotations"))


def _globox_yolo(root: Path, names: Sequence[str]) -> Seen:
    globox = pytest.importorskip("globox")
    found = globox.AnnotationSet.from_yolo_v5(root / "labels", image_folder=root / "images")
    return Counter({(row[0], names[int(row[1])], *row[2:]): times for row, times in _from_globox(found).items()})


upright = st.tuples(words, *[st.integers(-20, 60), st.integers(-10, 30)] * 2).filter(
    lambda box: box[1] <= box[3] and box[2] <= box[4]
)
"""Boxes that are not turned around, on which globox gives up, and not far out of a picture of 40 x 20 pixels."""


@given(data=st.dictionaries(names, st.lists(upright, max_size=4), min_size=1, max_size=4).filter(apart))
@settings(max_examples=20)
def test_pascal_voc_is_read_as_others_read_it(
    tmp_path_factory: pytest.TempPathFactory, data: dict[str, list[Pixels]]
) -> None:
    root = tmp_path_factory.mktemp("voc")
    for name, boxes in data.items():
        xml = voc_xml((40, 20), boxes, name)
        put(root, {f"Annotations/{name[:-4]}.xml": xml, f"JPEGImages/{name}": pictures.jpeg(40, 20)})
    ours = _plain(_ours(readers.read(root)[0]))
    assert ours == _panlabel(root, "voc")
    assert ours == _globox_voc(root)
    assert sum(ours.values()) == sum(map(len, data.values()))


@given(data=st.data())
@settings(max_examples=20)
def test_yolo_is_read_as_others_read_it(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    source = data.draw(stored(tmp_path_factory.mktemp("source")))
    root = source.root / "yolo"
    put(root, {"data.yaml": yaml.safe_dump({"train": "images", "names": list(source.declared)})})
    for number, picture in enumerate(source.pictures):
        lines = [yolo_line(source.declared.index(box.label), box) for box in picture.boxes]
        image = source.path(picture).read_bytes()
        put(root, {f"images/{number}.jpg": image, f"labels/{number}.txt": "\n".join(lines)})
    ours = _plain(_ours(readers.read(root)[0]))
    assert ours == _plain(_panlabel(root, "yolo"))
    assert ours == _globox_yolo(root, source.declared)
    assert sum(ours.values()) == source.drawn


@given(data=st.data())
@settings(max_examples=20)
def test_records_are_read_as_others_read_them(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    source = data.draw(stored(tmp_path_factory.mktemp("source")))
    root = source.root / "records"
    encoded = [_example(source, picture) for picture in source.pictures]
    framed = b"".join(bytes(piece) for one in encoded for piece in records.frame([one]))
    put(root, {"train-00000-of-00001.record": framed})
    back, _ = readers.read(root)
    (shard,) = back.sources
    seen = Counter[Any]()
    for picture in back.pictures:
        width, height = picture.size or (0, 0)
        for box in picture.boxes:
            edges = (box.xmin * width, box.ymin * height, box.xmax * width, box.ymax * height)
            seen[_row(picture.key, box.label, *edges)] += 1
    assert seen == _panlabel(root / shard, "tfrecord")
    assert seen.total() == source.drawn


def _example(source: Dataset, picture: Picture) -> bytes:
    data = source.path(picture).read_bytes()
    with Image.open(source.path(picture)) as info:
        width, height = info.size
    return examples.encode(
        examples.Example(
            key=picture.key,
            encoded=data,
            format="jpeg",
            width=width,
            height=height,
            boxes=tuple(picture.boxes),
            ids=tuple(source.declared.index(box.label) + 1 for box in picture.boxes),
        )
    )


def test_real_cells_are_read_as_others_read_them(shared: Path) -> None:
    root = shared / "data/bccd_voc"
    ours = _plain(_ours(readers.read(root)[0]))
    assert ours == _panlabel(root, "voc")
    assert ours == _globox_voc(root)
    assert sum(ours.values()) == 4888


def test_real_cones_are_read_as_others_read_them(shared: Path) -> None:
    root = shared / "data/cones_cubes_yolo"
    dataset, _ = readers.read(root)
    others = [_globox_yolo(root / side, dataset.declared) for side in ("valid", "test")]
    assert _plain(_ours(dataset)) == others[0] + others[1]
    assert others[0].total() + others[1].total() == 435
