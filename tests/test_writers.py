from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pictures
import pytest
from formats import put, record, rounded, stored, voc_xml, yolo_line
from hypothesis import given
from hypothesis import strategies as st

from odbuild.errors import OdbuildError, UsageError
from odbuild.trainer import readers
from odbuild.trainer.dataset import Box, Dataset, Picture, Span, all_labels
from odbuild.writers import WORDS, WRITERS, write

ALL = pytest.mark.parametrize("name", WRITERS)
BOX = Box(label="cat", ymin=0.25, xmin=0.125, ymax=0.5, xmax=0.75)


def _dataset(root: Path, *found: Picture) -> Dataset:
    """Return a data set of these pictures, with a small JPEG for each."""
    for seed, picture in enumerate(found):
        pictures.write(root, picture.key, pictures.jpeg(seed=seed))
    return Dataset(root=root, format="", sources=(), declared=(), pictures=found)


def _silent(picture: Picture, words: frozenset[str]) -> Picture:
    """Return what is left of a picture once these words are not said."""
    gone: dict[str, Any] = {
        word: getattr(Picture(key="", boxes=()), word) for word in ("split", "group") if word in words
    }
    marks: dict[str, Any] = {word: False for word in ("difficult", "crowd") if word in words}
    return replace(picture, boxes=tuple(replace(box, **marks) for box in picture.boxes), **gone)


@ALL
@given(data=st.data())
def test_what_was_written_is_read_but_for_the_words_that_the_format_lacks(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("data")
    source = data.draw(stored(root))
    lost = write(source, root / "out", name)
    back, found = readers.read(root / "out", name)
    silent = frozenset(WORDS) - WRITERS[name].SAYS
    assert rounded(back.pictures) == rounded(_silent(it, silent) for it in source.pictures)
    assert set(all_labels(back)) == set(all_labels(source))
    assert WRITERS[name].annotations(back) == WRITERS[name].annotations(source)
    assert not [it for it in found if it.severity == "error"]
    for picture in source.pictures:
        assert (root / "out" / WRITERS[name].image_path(picture)).read_bytes() == source.path(picture).read_bytes()
    said = [word for word in WORDS for change in lost if f"{word}=" in change.value]
    assert set(said) == {
        word
        for word in silent
        for thing in (*source.pictures, *(box for picture in source.pictures for box in picture.boxes))
        if getattr(thing, word, None)
    }


@given(data=st.data(), route=st.lists(st.sampled_from(sorted(WRITERS)), min_size=2, max_size=4))
def test_on_any_way_through_the_formats_nothing_is_lost_but_the_words_that_one_lacks(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, route: list[str]
) -> None:
    root = tmp_path_factory.mktemp("way")
    source = passed = data.draw(stored(root))
    for step, name in enumerate(route):
        write(passed, root / f"{step}", name)
        passed, found = readers.read(root / f"{step}", name)
        assert not [it for it in found if it.severity == "error"]
    silent = frozenset(WORDS) - frozenset.intersection(*(WRITERS[name].SAYS for name in route))
    expected = [_silent(picture, silent) for picture in source.pictures]
    assert rounded(passed.pictures) == rounded(expected)
    assert all_labels(passed) == all_labels(source)
    assert {it.key: passed.path(it).read_bytes() for it in passed.pictures} == {
        it.key: source.path(it).read_bytes() for it in source.pictures
    }


@pytest.mark.parametrize("format", ["voc", "yolo", "csv", "tfrecord"])
@ALL
def test_what_any_reader_gives_any_writer_takes(tmp_path: Path, name: str, format: str) -> None:  # noqa: A002
    encoded = pictures.jpeg(40, 20)
    files: dict[str, dict[str, str | bytes]] = {
        "voc": {"Annotations/a.xml": voc_xml((40, 20), [("cat", 5, 5, 30, 10)]), "JPEGImages/a.jpg": encoded},
        "yolo": {"classes.txt": "cat", "a.txt": yolo_line(0, BOX), "a.jpg": encoded},
        "csv": {"a.csv": "filename,class,xmin,ymin,xmax,ymax\na.jpg,cat,5,5,30,10\n", "a.jpg": encoded},
        "tfrecord": {"a.record": record(encoded, BOX)},
    }
    source, _ = readers.read(put(tmp_path / "in", files[format]), format)
    assert not write(source, tmp_path / "out", name)
    back, found = readers.read(tmp_path / "out", name)
    assert [it.code for it in found if it.severity != "info"] == []
    plain = [replace(picture, span=None) for picture in source.pictures]
    assert rounded(back.pictures) == rounded(plain)
    assert [box.label for it in back.pictures for box in it.boxes] == ["cat"]
    assert [back.path(it).read_bytes() for it in back.pictures] == [encoded]


@pytest.mark.parametrize("keys", [("a.jpg", "a.png"), ("images/a.jpg", "labels/a.jpg")])
def test_two_pictures_do_not_share_labels(tmp_path: Path, keys: tuple[str, ...]) -> None:
    source = _dataset(tmp_path / "in", *(Picture(key=key, boxes=(BOX,)) for key in keys))
    with pytest.raises(OdbuildError, match="would both have the labels in"):
        write(source, tmp_path / "out", "yolo")


@pytest.mark.parametrize("boxes", [(BOX,), ()])
@pytest.mark.parametrize("key", ["train.jpg", "data.jpg", "train.txt.jpg"])
def test_lists_make_way_for_labels(tmp_path: Path, key: str, boxes: tuple[Box, ...]) -> None:
    one = Picture(key=key, boxes=boxes, split="train")
    source = _dataset(tmp_path / "in", one, Picture(key="z.jpg", boxes=(BOX,), split="train"))
    write(source, tmp_path / "out", "yolo")
    back, found = readers.read(tmp_path / "out")
    assert [it.code for it in found] == ["ANN003"] * (not boxes)
    assert back.pictures == source.pictures


FOLDERS = ["", "images/", "JPEGImages/", "images/JPEGImages/", "JPEGImages/images/", "images/x/"]


@given(
    drawn=st.dictionaries(st.sampled_from(FOLDERS), st.booleans(), min_size=1).filter(lambda it: any(it.values()))
)
def test_labels_lie_where_ultralytics_looks_and_no_picture_gets_those_of_another(
    tmp_path_factory: pytest.TempPathFactory, drawn: Mapping[str, bool]
) -> None:
    root = tmp_path_factory.mktemp("mirrors")
    named = [Picture(key=f"{folder}a.jpg", boxes=(BOX,) * full) for folder, full in drawn.items()]
    source = _dataset(root / "in", *sorted(named, key=lambda picture: picture.key))
    write(source, root / "out", "yolo")
    for picture in source.pictures:
        # As `img2label_paths` of ultralytics/data/utils.py says it, the folder of the dataset aside.
        path = "/labels/".join(f"/{picture.key}".rsplit("/images/", 1)).rsplit(".", 1)[0] + ".txt"
        labels = root / "out" / path.lstrip("/")
        assert bool(picture.boxes) == (labels.is_file() and labels.read_text() != "")
    back, _ = readers.read(root / "out")
    assert rounded(back.pictures) == rounded(source.pictures)


@ALL
def test_pictures_come_out_of_a_shard(tmp_path: Path, name: str) -> None:
    encoded = pictures.jpeg()
    pictures.write(tmp_path, "in/shard", b"before" + encoded + b"after")
    span = Span(file="shard", offset=6, length=len(encoded))
    source = Dataset(
        root=tmp_path / "in",
        format="",
        sources=(),
        declared=(),
        pictures=(Picture(key="a/b.jpg", boxes=(BOX,), span=span),),
    )
    write(source, tmp_path / "out", name)
    (picture,) = source.pictures
    assert (tmp_path / "out" / WRITERS[name].image_path(picture)).read_bytes() == encoded
    cut = replace(source, pictures=(replace(picture, span=replace(span, length=9999)),))
    with pytest.raises(OdbuildError, match="shard changed"):
        write(cut, tmp_path / "cut", name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


@pytest.mark.parametrize("key", ["../a.jpg", "/a.jpg", "a//b.jpg", "a\0.jpg", ""])
@ALL
def test_odd_keys_are_refused(tmp_path: Path, name: str, key: str) -> None:
    pictures.write(tmp_path, "in/shard", b"x")
    source = _dataset(tmp_path / "in")
    odd = Picture(key=key, boxes=(), size=(1, 1), span=Span(file="shard", offset=0, length=1))
    with pytest.raises(OdbuildError, match="cannot be written as"):
        write(replace(source, pictures=(odd,)), tmp_path / "out", name)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("keys", [("a", "a"), ("a", "a/b"), ("a/b", "a")])
@ALL
def test_two_files_of_one_name_are_refused(tmp_path: Path, name: str, keys: tuple[str, ...]) -> None:
    span = Span(file="shard", offset=0, length=1)
    pictures.write(tmp_path, "in/shard", b"x")
    found = tuple(Picture(key=key, boxes=(), size=(1, 1), span=span) for key in keys)
    source = replace(_dataset(tmp_path / "in"), pictures=found)
    with pytest.raises(OdbuildError, match="another file has that name"):
        write(source, tmp_path / "out", name)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_picture_does_not_replace_the_annotations(tmp_path: Path) -> None:
    source = _dataset(tmp_path / "in", Picture(key="_annotations.json", boxes=()))
    with pytest.raises(OdbuildError, match="another file has that name"):
        write(source, tmp_path / "out", "cloud")


def test_the_target_must_be_free_and_outside_the_source(tmp_path: Path) -> None:
    source = _dataset(tmp_path / "in", Picture(key="a.jpg", boxes=(BOX,)))
    with pytest.raises(UsageError, match="lies in the dataset"):
        write(source, tmp_path / "in/out", "cloud")
    with pytest.raises(UsageError, match="exists already"):
        write(source, tmp_path, "cloud")
    with pytest.raises(UsageError, match=r"format 'clouds'\. Did you mean 'cloud'\?"):
        write(source, tmp_path / "out", "clouds")
    (tmp_path / "empty").mkdir()
    write(source, tmp_path / "empty", "cloud")
    assert (tmp_path / "empty/a.jpg").exists()


@ALL
def test_a_full_disk_or_a_lost_picture_leaves_nothing(
    tmp_path: Path, name: str, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    source = _dataset(tmp_path / "in", *(Picture(key=f"{it}.jpg", boxes=(BOX,)) for it in range(3)))
    with full_disk(500), pytest.raises(OdbuildError, match=r"Cannot write .*out: File too large"):
        write(source, tmp_path / "out", name)
    (tmp_path / "in/1.jpg").unlink()
    with pytest.raises(OdbuildError, match=r"/1\.jpg:? (the file )?cannot be read: No such file"):
        write(source, tmp_path / "out", name)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_the_page_of_formats_says_what_the_writers_say() -> None:
    page = Path(__file__).parent.parent / "docs/formats.md"
    rows = [line.split("|")[1:-1] for line in page.read_text(encoding="utf-8").splitlines() if line[:3] == "| `"]
    told = {
        cells[0].strip(" `"): [cell.strip() == "yes" for cell in cells[1:]] for cells in rows if len(cells) == 7
    }
    for name, says in told.items():
        assert says[:2] == [name in readers.READERS, name in WRITERS]
        if name in WRITERS:
            assert says[2:] == [word in WRITERS[name].SAYS for word in WORDS]
    assert set(told) == {*readers.READERS, *WRITERS}
