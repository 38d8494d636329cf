import os
from dataclasses import replace
from pathlib import Path

import pytest

from odbuild.trainer.dataset import Dataset, Picture, Span
from odbuild.trainer.errors import OdbuildError
from odbuild.trainer.sources import SAMPLE, Reader, Survey, survey


def _dataset(folder: Path, **files: bytes) -> Dataset:
    for key, data in files.items():
        (folder / key).write_bytes(data)
    pictures = tuple(Picture(key=key, boxes=()) for key in sorted(files))
    return Dataset(root=folder, format="cloud", sources=(), declared=(), pictures=pictures)


def _prints(dataset: Dataset) -> dict[str, bytes]:
    seen = survey(dataset)
    return {picture.key: digest for picture, digest in zip(seen.pictures, seen.prints, strict=True)}


def _read(seen: Survey, index: int, root: Path) -> bytes:
    return bytes(Reader(str(root)).read(seen.source(index, seen.pictures[index])))


BLANK = bytes(5 * SAMPLE)


def test_equal_files_share_a_print_and_are_told(tmp_path: Path) -> None:
    dataset = _dataset(tmp_path, a=b"one" + BLANK, b=b"two" + BLANK, c=b"one" + BLANK, d=b"four")
    prints = _prints(dataset)
    assert prints["a"] == prints["c"]
    assert len(set(prints.values())) == 3
    assert [(it.code, it.where, it.value) for it in survey(dataset).findings.told()] == [
        ("IMG108", 'annotations["c"]', 'same as "a"')
    ]


def test_an_equal_file_more_changes_no_print(tmp_path: Path) -> None:
    before = _prints(_dataset(tmp_path, a=b"one", b=b"two"))
    after = _prints(_dataset(tmp_path, a=b"one", b=b"two", c=b"one"))
    assert after == {**before, "c": before["a"]}


@pytest.mark.parametrize("at", [0, SAMPLE, 3 * SAMPLE, 5 * SAMPLE - 1])
def test_one_byte_tells_files_apart(tmp_path: Path, at: int) -> None:
    other = bytearray(BLANK)
    other[at] = 1
    prints = _prints(_dataset(tmp_path, a=BLANK, b=bytes(other)))
    assert prints["a"] != prints["b"]


def test_a_span_is_read_from_its_file(tmp_path: Path) -> None:
    dataset = _dataset(tmp_path, shard=b"headpicturefoot", own=b"picture")
    inside = Picture(key="inside", boxes=(), span=Span(file="shard", offset=4, length=7))
    dataset = replace(dataset, pictures=(inside, dataset.pictures[0]))
    seen = survey(dataset)
    assert seen.prints[0] == seen.prints[1]
    assert _read(seen, 0, tmp_path) == b"picture"


def test_a_large_file_grows_the_buffer(tmp_path: Path) -> None:
    large = bytes(range(256)) * 10_000
    seen = survey(_dataset(tmp_path, a=b"small", b=large))
    assert [_read(seen, number, tmp_path) for number in range(2)] == [b"small", large]


@pytest.mark.parametrize("changed", [b"", b"pic", b"picture and more", b"Picture"])
def test_a_file_that_changed_is_not_taken(tmp_path: Path, changed: bytes) -> None:
    dataset = _dataset(tmp_path, a=b"picture")
    os.utime(tmp_path / "a", ns=(0, 0))
    seen = survey(dataset)
    (tmp_path / "a").write_bytes(changed)
    with pytest.raises(OdbuildError, match="a changed while it was converted"):
        _read(seen, 0, tmp_path)


def test_a_file_that_was_replaced_is_not_taken(tmp_path: Path) -> None:
    seen = survey(_dataset(tmp_path, a=b"picture"))
    status = (tmp_path / "a").stat()
    (tmp_path / "new").write_bytes(b"Picture")
    (tmp_path / "new").replace(tmp_path / "a")
    os.utime(tmp_path / "a", ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(OdbuildError, match="changed while"):
        _read(seen, 0, tmp_path)


def test_a_huge_file_is_not_opened(tmp_path: Path) -> None:
    dataset = _dataset(tmp_path, a=b"", b=b"fine")
    with (tmp_path / "a").open("wb") as file:
        file.truncate((1 << 29) + 1)
    seen = survey(dataset)
    assert [picture.key for picture in seen.pictures] == ["b"]
    assert [it.code for it in seen.findings.told()] == ["IMG106"]


def test_pictures_are_read_into_the_room_that_is_given(tmp_path: Path) -> None:
    files = {f"{number:02}": bytes([number]) * (1000 + number) for number in range(4)}
    seen = survey(_dataset(tmp_path, **files))
    rooms: list[memoryview] = []

    def room(length: int) -> memoryview:
        rooms.append(memoryview(bytearray(length)))
        return rooms[-1]

    reader = Reader(str(tmp_path), room)
    for number, picture in enumerate(seen.pictures):
        assert reader.read(seen.source(number, picture)) is rooms[-1]
    assert [bytes(it) for it in rooms] == list(files.values())
