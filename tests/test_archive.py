"""Laws of archives: the same content gives the same bytes, and a file appears whole or not at all."""

import gzip
import hashlib
import io
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from odbuild import archive
from odbuild.archive import Entry, GitFile
from odbuild.errors import OdbuildError

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["C"], exclude_characters="/\\:"), min_size=1)
PARTS = WORDS.map(lambda word: word[:12]).filter(lambda word: word not in {".", ".."})
NAMES = st.lists(PARTS, min_size=1, max_size=3).map("/".join)
FILES = st.dictionaries(NAMES, st.tuples(st.binary(max_size=200), st.booleans()), max_size=8)

# Bytes that these very entries have on every machine. A change here changes every trainer.zip.
GOLDEN = (Entry("b/run.sh", b"#!/bin/sh\n", executable=True), Entry("a.txt", bytes(range(256)) * 400))
GOLDEN_ZIP = "ec74c8e56e62ddc3970d14a42e1be1722593ef69531e96e68d33e21f7e0728e0"
GOLDEN_TAR_GZ = "1101c6b78ae5ca88bcdd4f1fc7db2774f444fcf741d5ce6b18202b58e1ae28af"


def entries_of(files: dict[str, tuple[bytes, bool]]) -> list[Entry]:
    folded = [name.casefold() for name in files]
    assume(len(set(folded)) == len(folded))
    assume(not any(other.startswith(f"{name}/") for name in folded for other in folded))
    return [Entry(name, data, executable) for name, (data, executable) in files.items()]


def half_write(target: Path, then: Callable[[], object]) -> None:
    with archive.atomic(target) as part:
        part.write_bytes(b"half")
        problem = then()
        if isinstance(problem, BaseException):
            raise problem


@given(FILES, st.randoms(use_true_random=False))
def test_zip_reads_back_and_ignores_order(files: dict[str, tuple[bytes, bool]], dice: random.Random) -> None:
    entries = entries_of(files)
    whole = archive.zip_bytes(entries)
    dice.shuffle(entries)
    assert archive.zip_bytes(entries) == whole
    with zipfile.ZipFile(io.BytesIO(whole)) as packed:
        assert packed.namelist() == sorted(files)
        for info in packed.infolist():
            data, executable = files[info.filename]
            assert packed.read(info) == data
            assert info.external_attr >> 16 == (0o100755 if executable else 0o100644)
            assert info.date_time == (1980, 1, 1, 0, 0, 0)
            assert info.compress_type == zipfile.ZIP_STORED
            assert info.create_system == 3


@settings(max_examples=max(10, settings().max_examples // 5))  # zopfli takes its time
@given(FILES, st.randoms(use_true_random=False))
def test_tar_reads_back_and_ignores_order(files: dict[str, tuple[bytes, bool]], dice: random.Random) -> None:
    entries = entries_of(files)
    assume(all(len(entry.name.encode()) <= 100 for entry in entries))
    whole = archive.tar_gz(entries)
    dice.shuffle(entries)
    assert archive.tar_gz(entries) == whole
    assert whole[:4] == b"\x1f\x8b\x08\x00"
    assert whole[4:8] == b"\0\0\0\0"
    with tarfile.open(fileobj=io.BytesIO(whole)) as packed:
        assert packed.getnames() == sorted(files)
        for info in packed:
            data, executable = files[info.name]
            file = packed.extractfile(info)
            assert file is not None
            assert file.read() == data
            assert info.mode == (0o755 if executable else 0o644)
            assert (info.uid, info.gid, info.uname, info.gname) == (0, 0, "", "")


def test_golden_bytes(tmp_path: Path) -> None:
    assert archive.write_zip(GOLDEN, tmp_path / "x.zip") == GOLDEN_ZIP
    packed = archive.tar_gz(GOLDEN)
    assert hashlib.sha256(packed).hexdigest() == GOLDEN_TAR_GZ
    assert len(packed) < len(gzip.compress(gzip.decompress(packed), 9))


@pytest.mark.parametrize(
    "name",
    [
        *("", "/etc/passwd", "C:/x", "c:x", "a\\b", "..", "../a", "a/../b", "a/..", ".", "./a", "a/./b"),
        *("a//b", "a/", "a\0b", "a\nb", "\x7f", "\ud800"),
    ],
)
def test_unsafe_names_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(OdbuildError, match=re.escape(repr(name))):
        archive.write_zip([Entry(name, b"")], tmp_path / "x.zip")
    with pytest.raises(OdbuildError, match=re.escape(repr(name))):
        archive.tar_gz([Entry(name, b"")])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "names", [("a", "a"), ("a", "A"), ("ß/x", "SS/X"), ("a", "a/b"), ("A", "a/b"), ("a/b", "a/b/c")]
)
def test_colliding_names_are_refused(names: tuple[str, str]) -> None:
    for ordered in (names, names[::-1]):
        with pytest.raises(OdbuildError, match=re.escape(repr(names[0]))):
            archive.zip_bytes([Entry(name, b"") for name in ordered])


def test_a_name_too_long_for_ustar_is_told() -> None:
    archive.tar_gz([Entry(f"{'d' * 100}/{'f' * 100}", b"")])
    with pytest.raises(OdbuildError, match="too long"):
        archive.tar_gz([Entry("f" * 101, b"")])


def test_atomic_replaces_only_on_success(tmp_path: Path) -> None:
    target = tmp_path / "new" / "picture.png"
    archive.write_bytes(target, b"old")
    with archive.atomic(target) as part:
        assert part.suffix == ".png"
        assert part.parent == target.parent
        part.write_bytes(b"new")
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("problem", [ValueError, KeyboardInterrupt, SystemExit, FileNotFoundError])
def test_atomic_leaves_the_old_file_on_any_exception(problem: type[BaseException], tmp_path: Path) -> None:
    target = tmp_path / "x.zip"
    target.write_bytes(b"old")
    with pytest.raises(problem):
        half_write(target, problem)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_atomic_leaves_the_old_file_on_a_real_interrupt(tmp_path: Path) -> None:
    target = tmp_path / "x.zip"
    with pytest.raises(KeyboardInterrupt):
        half_write(target, lambda: signal.raise_signal(signal.SIGINT))
    assert not list(tmp_path.iterdir())


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "x.zip"
    target.write_bytes(b"old")
    program = (
        "import sys, time, pathlib; from odbuild import archive\n"
        "with archive.atomic(pathlib.Path(sys.argv[1])) as part:\n"
        "    part.write_bytes(b'half'); print('half', flush=True); time.sleep(60)\n"
    )
    command = [sys.executable, "-c", program, str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"half\n"
        writer.kill()
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_written_file_has_the_mode_that_the_umask_asks_for(mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        archive.write_bytes(tmp_path / "x", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_full_disk_is_told_and_leaves_nothing(
    tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    target = tmp_path / "x.zip"
    target.write_bytes(b"old")
    big = [Entry("big", bytes(1_000_000))]
    with full_disk(100_000), pytest.raises(OdbuildError, match=r"x\.zip: File too large\. Free some space"):
        archive.write_zip(big, target)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_target_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OdbuildError, match=r"file is a file\. Choose a folder"):
        archive.write_bytes(tmp_path / "file" / "x.zip", b"")
    with pytest.raises(OdbuildError, match="it is a folder"):
        archive.write_bytes(tmp_path, b"")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@given(st.lists(st.binary(max_size=4), max_size=4), st.lists(st.binary(max_size=4), max_size=4))
def test_fingerprints_tell_where_parts_end(one: list[bytes], other: list[bytes]) -> None:
    assert (archive.fingerprint(one) == archive.fingerprint(other)) == (one == other)


def test_sha256_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert archive.sha256(tmp_path / "x").startswith("ba7816bf8f01cfea")


def test_git_ids_of_nothing() -> None:
    assert archive.git_blob_id(b"") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    assert archive.git_tree_id({}) == "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


# Around these names git's order of folders differs from the plain one.
@pytest.mark.skipif(shutil.which("git") is None, reason="compares with git")
@pytest.mark.parametrize(
    "names",
    [
        ("a/x", "a.b", "a0", "a-b/y", "a=b"),
        ("lib/a", "lib.py", "lib-b", "lib/sub/deep/z", "ä/ö", "Z"),
        ("object_detection/x.py", "object_detection.py", "object_detection0/y"),
    ],
)
def test_tree_id_is_gits_own(names: Sequence[str], tmp_path: Path) -> None:
    files = {name: (name.encode() * 3, index % 2 == 1) for index, name in enumerate(names)}
    for name, (data, executable) in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o755 if executable else 0o644)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    for arguments in (["init", "-q"], ["add", "."], ["write-tree"]):
        done = subprocess.run(
            ["git", *arguments], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
        )
    ours = {name: GitFile(archive.git_blob_id(data), executable) for name, (data, executable) in files.items()}
    assert archive.git_tree_id(ours) == done.stdout.strip()


def test_bytes_in_a_file_are_bytes_all_the_same(tmp_path: Path) -> None:
    data = bytes(range(256)) * 9000
    (tmp_path / "big").write_bytes(data)
    held, lying = Entry("a/b", data), Entry("a/b", file=tmp_path / "big")
    assert archive.zip_bytes([held]) == archive.zip_bytes([lying])
    assert archive.tar_gz([Entry("a", b"x")]) != archive.tar_gz([Entry("a", file=tmp_path / "big")])
    assert held.size == lying.size == len(data)
