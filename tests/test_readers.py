from pathlib import Path

import pictures
import pytest
from formats import put, voc_xml

from odbuild.strategies import protowire
from odbuild.trainer import readers, records
from odbuild.trainer.errors import OdbuildError, UsageError

JPEG = pictures.jpeg(40, 20)
CLOUD = '{"version": "1.0", "annotations": {"a.jpg": []}, "type": "localization"}'
IRIS = '{"version":"v2","labels":{},"images":{"a.jpg":{"annotations":[]}},"annotations":{}}'
RECORD = b"".join(records.frame([protowire.example({"image/encoded": [JPEG]}, protowire.Form())]))
FORMATS: dict[str, dict[str, str | bytes]] = {
    "cloud": {"_annotations.json": CLOUD},
    "iris": {"_annotations.json": IRIS},
    "coco": {"x.json": '{"images": [], "categories": [], "annotations": []}'},
    "voc": {"Annotations/a.xml": voc_xml((40, 20), [])},
    "yolo": {"data.yaml": "train: .\nnames: [cat]\n"},
    "csv": {"x.csv": "filename,class,xmin,ymin,xmax,ymax\na.jpg,,,,,\n"},
    "tfrecord": {"train.record": RECORD},
}


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_is_recognised_alone(tmp_path: Path, name: str) -> None:
    put(tmp_path / "inner", {"a.jpg": JPEG, **FORMATS[name]})
    for folder in (tmp_path / "inner", tmp_path):
        assert readers.locate(folder) == (tmp_path / "inner", name)
        data, _ = readers.read(folder)
        assert (data.format, len(data.pictures)) == (name, 0 if name == "coco" else 1)
        assert data.sources


def test_every_reader_is_tried() -> None:
    assert list(FORMATS) == list(readers.READERS)


@pytest.mark.parametrize("other", [name for name in FORMATS if name not in ("cloud", "iris")])
def test_two_formats_in_one_folder_are_not_guessed_between(tmp_path: Path, other: str) -> None:
    put(tmp_path, {"a.jpg": JPEG, **FORMATS["cloud"], **FORMATS[other]})
    with pytest.raises(OdbuildError, match=f"formats; choose one with --format cloud or --format {other}"):
        readers.read(tmp_path)
    assert readers.read(tmp_path, other)[0].format == other
    assert readers.read(tmp_path, "cloud")[0].format == "cloud"


def test_what_lies_there_is_told_where_nothing_is_known(tmp_path: Path) -> None:
    files = [f"{number}.JPG" for number in range(1200)] + ["a.docx", "b.docx", "Makefile"]
    for name in files:
        (tmp_path / name).touch()
    with pytest.raises(OdbuildError, match=r"there lie files \(1,200 \.jpg, 2 \.docx, 1 other\)\. Name") as caught:
        readers.read(tmp_path)
    assert all(f"\n  {name}: " in str(caught.value) for name in readers.READERS)
    for name in "dbca\n":
        (tmp_path / name).mkdir()
    with pytest.raises(OdbuildError, match=r'and lie folders \("\\n", "a", "b", \.\.\.\)'):
        readers.read(tmp_path, "voc")
    with pytest.raises(OdbuildError, match="there lies nothing"):
        readers.read(tmp_path / "a")


def test_a_format_that_is_not_there_is_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"no format 'yollo'\. Did you mean 'yolo'\? There are: cloud, iris, coco"
    ):
        readers.read(tmp_path, "yollo")
