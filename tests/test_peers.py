"""What other readers, which share no code with these, see in the same files."""

import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from odbuild.trainer import readers
from odbuild.trainer.dataset import Dataset
from odbuild.writers import write

DIGITS = 6
"""Digits of a pixel that must agree."""

Seen = Counter[tuple[str, str, float, float, float, float]]
"""Key, label, left, top, right and bottom in pixels, of each box."""

NAMES = {"cloud": "ibm-cloud-annotations", "coco": "coco"}


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
    found = globox.AnnotationSet.from_coco(path)
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
    source = data.draw(strategies.datasets(folder, sides=("train",)))
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
    source = data.draw(strategies.datasets(folder))
    back, path = _one_side(source, folder, "cloud")
    assert _ours(back) == _panlabel(path, "cloud")
    assert sum(_ours(back).values()) == source.drawn


def test_the_real_data_are_read_as_others_read_them(shared: Path, tmp_path: Path) -> None:
    root = shared / "data/pens_toys"
    dataset, _ = readers.read(root)
    assert _ours(dataset) == _panlabel(root / "_annotations.json", "cloud")
    back, path = _one_side(dataset, tmp_path, "coco")
    assert _ours(back) == _ours(dataset) == _globox(path) == _pycocotools(path) == _panlabel(path, "coco")
