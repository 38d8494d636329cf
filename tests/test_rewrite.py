"""`odbuild convert --to`: any format that is read, written in another, by the command."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pictures
import pytest
from formats import put, record, rounded, voc_xml, yolo_line

from odbuild import __main__ as command_line
from odbuild import writers
from odbuild.errors import OdbuildError
from odbuild.rewrite import rewrite
from odbuild.trainer import readers
from odbuild.trainer.dataset import Box
from odbuild.writers import WRITERS

JPEG = pictures.jpeg(40, 20)
BOX = Box(label="cat", ymin=0.25, xmin=0.125, ymax=0.5, xmax=0.75)
EDGES = {"x": BOX.xmin, "y": BOX.ymin, "x2": BOX.xmax, "y2": BOX.ymax}
CLOUD = {"version": "1.0", "type": "localization", "annotations": {"a.jpg": [{**EDGES, "label": "cat"}]}}
IRIS = {
    "version": "v2",
    "labels": {"1": {"name": "cat"}},
    "images": {"a.jpg": {"annotations": ["0"]}},
    "annotations": {
        "0": {
            "label": "1",
            "tool": "box",
            "targets": [{"x": BOX.xmin, "y": BOX.ymin}, {"x": BOX.xmax, "y": BOX.ymax}],
        }
    },
}
COCO = {
    "categories": [{"id": 1, "name": "cat"}],
    "images": [{"id": 1, "file_name": "a.jpg", "width": 40, "height": 20}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 5, 25, 5]}],
}
SOURCES: dict[str, dict[str, str | bytes]] = {
    "cloud": {"_annotations.json": json.dumps(CLOUD)},
    "iris": {"_annotations.json": json.dumps(IRIS)},
    "coco": {"x.json": json.dumps(COCO)},
    "voc": {"a.xml": voc_xml((40, 20), [("cat", 5, 5, 30, 10)])},
    "yolo": {"data.yaml": "train: .\nnames: [cat]\n", "a.txt": yolo_line(0, BOX)},
    "csv": {"x.csv": "filename,class,xmin,ymin,xmax,ymax\na.jpg,cat,5,5,30,10\n"},
    "tfrecord": {"train.record": record(JPEG, BOX)},
}


def _run(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "odbuild", "convert", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)


def test_the_words_are_those_of_the_writers() -> None:
    assert tuple(WRITERS) == command_line.WRITERS
    assert list(SOURCES) == list(readers.READERS)


@pytest.mark.parametrize("to", WRITERS)
@pytest.mark.parametrize("name", SOURCES)
def test_any_format_becomes_any_other(tmp_path: Path, name: str, to: str) -> None:
    files = SOURCES[name] if name == "tfrecord" else {**SOURCES[name], "a.jpg": JPEG}
    source, out, said = put(tmp_path / "in", files), tmp_path / "out", list[str]()
    rewrite(source, out, to, said.append)
    back, found = readers.read(out, to)
    assert not [it for it in found if it.severity != "info"]
    (picture,) = rounded(back.pictures)
    assert (picture.key, list(picture.boxes), (out / "a.jpg").read_bytes()) == ("a.jpg", [BOX], JPEG)
    assert said[0] == "1 pictures with 1 boxes"
    splits = [json.loads(line)["value"] for line in (out / "ledger.jsonl").read_text().splitlines()]
    assert splits == (['split="train"'] if picture.split == "" and name in ("yolo", "tfrecord") else [])


@pytest.mark.parametrize("to", WRITERS)
@pytest.mark.parametrize("name", ["coco", "voc", "csv"])
def test_boxes_over_a_size_that_the_picture_has_not_are_refused(tmp_path: Path, name: str, to: str) -> None:
    table = "filename,width,height,class,xmin,ymin,xmax,ymax\na.jpg,40,20,cat,5,5,30,10\n"
    files: dict[str, str | bytes] = {"x.csv": table} if name == "csv" else SOURCES[name]
    for picture, refused in [
        (pictures.jpeg(80, 40), True),
        (pictures.jpeg(20, 40), True),
        (pictures.jpeg(20, 40, orientation=6), False),
    ]:
        source = put(tmp_path / "in", {**files, "a.jpg": picture})
        if refused:
            with pytest.raises(
                OdbuildError, match=r"1 errors; nothing was written.\nerror IMG104.*\n.*recorded 40 x 20"
            ):
                rewrite(source, tmp_path / "out", to, lambda _: None)
        else:
            rewrite(source, tmp_path / "out", to, lambda _: None)


def test_a_box_in_a_record_stays_where_it_is_whatever_size_is_recorded(tmp_path: Path) -> None:
    shard = record(JPEG, BOX, **{"image/width": [400], "image/height": [400]})
    rewrite(put(tmp_path / "in", {"train.record": shard}), tmp_path / "out", "coco", lambda _: None)
    (image,) = json.loads((tmp_path / "out/annotations/instances_train.json").read_text())["images"]
    assert (image["width"], image["height"]) == (40, 20)


def test_names_that_are_one_file_on_some_disks_are_not_written(tmp_path: Path) -> None:
    shard = record(JPEG, BOX) + record(JPEG, BOX, **{"image/filename": [b"A.jpg"]})
    with pytest.raises(OdbuildError, match=r"nothing was written.\nerror ANN005"):
        rewrite(put(tmp_path / "in", {"train.record": shard}), tmp_path / "out", "coco", lambda _: None)
    assert not (tmp_path / "out").exists()


def test_the_command_writes_and_tells(tmp_path: Path) -> None:
    xml = voc_xml((40, 20), [("cat", 5, 5, 30, 10)]).replace("<difficult>0", "<difficult>1")
    source = put(tmp_path / "in", {"a.xml": xml, "b.xml": voc_xml((40, 20), []), "a.jpg": JPEG})
    done = _run(source, tmp_path / "out", "--to=yolo", "--format=voc")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'out'}\n"), done.stderr
    assert "warning ANN002" in done.stderr
    assert done.stderr.endswith(
        "left out, or more than yolo can say: 1 dropped picture, 1 unsaid box; see ledger.jsonl\n"
    )
    lines = [json.loads(line) for line in (tmp_path / "out/ledger.jsonl").read_text().splitlines()]
    assert [(it["action"], it["where"]) for it in lines] == [
        ("unsaid", 'annotations["a.jpg"][0]'),
        ("dropped", 'annotations["b.jpg"]'),
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--to=coco", "--max-side=5"], "--max-side is for records. Leave it out, or leave out --to coco."),
        (["--to=coco", "--offline"], "--offline is for records"),
        (["--to=records.", "--jobs=2"], "argument --to: invalid choice: 'records.'"),
        (["--to=coco", "--format=coko"], "There is no format 'coko'. Did you mean 'coco'?"),
    ],
)
def test_options_of_records_are_refused(tmp_path: Path, words: list[str], message: str) -> None:
    done = _run(put(tmp_path / "in", {**SOURCES["coco"], "a.jpg": JPEG}), tmp_path / "out", *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_errors_are_all_told_and_nothing_is_written(tmp_path: Path) -> None:
    document = {**CLOUD, "annotations": {"../a.jpg": [], "a.jpg": [{**EDGES, "x": 90, "label": "cat"}]}}
    source = put(tmp_path / "in", {"_annotations.json": json.dumps(document), "a.jpg": JPEG})
    done = _run(source, tmp_path / "out", "--to=coco")
    assert done.returncode == 1
    assert done.stderr.startswith(f"odbuild: error: {source} has 2 errors; nothing was written.\nerror ANN005")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def _meddling(monkeypatch: pytest.MonkeyPatch, meddle: Callable[[Path], object]) -> None:
    """Let something happen to a picture's file after its first bytes were read."""
    read = writers._read

    def slowly(source: Path, picture: Any) -> Iterator[bytes]:
        for data in read(source, picture):
            yield data
            meddle(source)

    monkeypatch.setattr(writers, "_read", slowly)


@pytest.mark.parametrize(
    "meddle",
    [
        lambda path: path.write_bytes(pictures.jpeg(41, 20, seed=3)),
        lambda path: path.write_bytes(JPEG[:-9]),
        lambda path: os.utime(path, (0, 0)),
    ],
)
def test_a_picture_that_changes_while_it_is_copied_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meddle: Callable[[Path], object]
) -> None:
    source = put(tmp_path / "in", {**SOURCES["cloud"], "a.jpg": JPEG})
    _meddling(monkeypatch, meddle)
    with pytest.raises(OdbuildError, match=r'a\.jpg changed while annotations\["a\.jpg"\] was copied'):
        rewrite(source, tmp_path / "out", "yolo", print)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_picture_does_not_replace_the_ledger(tmp_path: Path) -> None:
    document = {**CLOUD, "annotations": {"ledger.jsonl": []}}
    source = put(tmp_path / "in", {"_annotations.json": json.dumps(document), "ledger.jsonl": JPEG})
    with pytest.raises(OdbuildError, match="another file has that name"):
        rewrite(source, tmp_path / "out", "cloud", print)


def test_a_full_disk_is_told_as_one(
    tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    source = put(tmp_path / "in", {**SOURCES["cloud"], "a.jpg": pictures.jpeg(300, 200)})
    with (
        full_disk(900),
        pytest.raises(OdbuildError, match=r"Cannot write .*out: File too large\. Free some space"),
    ):
        rewrite(source, tmp_path / "out", "yolo", print)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize(
    ("name", "to"), [("bccd_voc", "coco"), ("cones_cubes_yolo", "cloud"), ("pens_toys", "yolo")]
)
def test_real_data_comes_back_as_it_was(shared: Path, tmp_path: Path, name: str, to: str) -> None:
    rewrite(shared / "data" / name, tmp_path / "out", to, lambda _: None)
    source, _ = readers.read(shared / "data" / name)
    back, _ = readers.read(tmp_path / "out", to)
    expected = (
        source.pictures if "split" in WRITERS[to].SAYS else [replace(it, split="") for it in source.pictures]
    )
    plain = [replace(it, boxes=[replace(box, difficult=False) for box in it.boxes]) for it in expected]
    assert rounded(back.pictures) == rounded(plain)
    for picture in source.pictures:
        assert back.path(picture).read_bytes() == source.path(picture).read_bytes()
