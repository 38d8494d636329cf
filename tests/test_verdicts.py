import hashlib
import multiprocessing
import os
from pathlib import Path

import jpegs
import pictures
import pytest
from hypothesis import given
from hypothesis import strategies as st

from odbuild.trainer import images, verdicts
from odbuild.trainer.images import ImageInfo
from odbuild.trainer.verdicts import Verdicts

INFO = ImageInfo(format="jpeg", width=48, height=32, orientation=6)


def _digest(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def test_a_good_picture_is_known_in_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "verdicts"
    data = pictures.jpeg(orientation=6)[:-2] + bytes(50) + b"\xff\xd9"
    info = images.inspect(data, check="decode")
    assert info.warnings
    digest = hashlib.sha256(data).digest()
    first = Verdicts.open(path)
    assert first.get(digest) is None
    first.put(digest, info)
    assert first.get(digest) == Verdicts.open(path).get(digest) == info


def test_every_warning_can_be_kept(tmp_path: Path) -> None:
    path = tmp_path / "verdicts"
    for number, data in enumerate(jpegs.ODD.values()):
        info = images.inspect(data, check="decode")
        Verdicts.open(path).put(_digest(number), info)
        assert Verdicts.open(path).get(_digest(number)) == info


@given(cut=st.integers(min_value=0), noise=st.binary(max_size=200))
def test_a_torn_line_costs_its_verdict_and_no_other(
    tmp_path_factory: pytest.TempPathFactory, cut: int, noise: bytes
) -> None:
    path = tmp_path_factory.mktemp("cache") / "verdicts"
    for number in range(3):
        Verdicts.open(path).put(_digest(number), INFO)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][: cut % len(lines[1])] + noise + b"\n" + lines[2])
    found = Verdicts.open(path)
    assert found.get(_digest(0)) == found.get(_digest(2)) == INFO
    assert found.get(_digest(1)) in (None, INFO)


@given(content=st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_what_is_no_verdict_is_ignored(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("cache") / "verdicts"
    path.write_bytes(content)
    assert Verdicts.open(path).known == {}


@pytest.mark.parametrize(
    "changed",
    [
        {b"%d " % verdicts.VERSION: b"0 "},
        {b"jpeg": b"gif"},
        {b" 48 ": b" 0 "},
        {b" 48 ": b" 99999999999 "},
        {b" 6 3;": b" 9 3;"},
        {b" 3;": b" 2;"},
        {b";": b"; \xff"},
    ],
)
def test_lines_that_cannot_be_are_ignored(tmp_path: Path, changed: dict[bytes, bytes]) -> None:
    path = tmp_path / "verdicts"
    Verdicts.open(path).put(_digest(0), INFO)
    line = path.read_bytes()
    for old, new in changed.items():
        assert old in line
        line = line.replace(old, new, 1)
    path.write_bytes(line)
    assert Verdicts.open(path).known == {}


def _put_many(path: Path, start: int) -> None:
    cache = Verdicts.open(path)
    for number in range(start, start + 500):
        cache.put(_digest(number), INFO)


def test_two_processes_may_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "verdicts"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_put_many, args=(path, start)) for start in (0, 250)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    found = Verdicts.open(path)
    assert set(found.known) == {_digest(number)[: verdicts.DIGEST_BYTES] for number in range(750)}
    assert found.get(_digest(749)) == INFO


def test_the_file_does_not_grow_without_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "MOST", 4)
    monkeypatch.setattr(verdicts, "MOST_BYTES", 400)
    path = tmp_path / "verdicts"
    for _ in range(5):
        cache = Verdicts.open(path)
        for _ in range(10):
            cache.put(os.urandom(32), INFO)
        assert len(cache.known) <= 8
        assert path.stat().st_size <= 800


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = Verdicts.open(tmp_path / "file" / "verdicts")
    cache.put(_digest(0), INFO)
    assert cache.get(_digest(0)) == INFO
