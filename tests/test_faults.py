"""Full disks and unreadable files, under the very command: one sentence, and nothing half-made."""

import errno
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hostile
import pictures
import pytest
from commands import Commands, warm
from formats import put

from odbuild.trainer.readers import READERS


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    with warm(tmp_path_factory.mktemp("commands")) as commands:
        yield commands


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset whose records, keys, ledger and index each take more than a few pages."""
    folder = tmp_path_factory.mktemp("source") / "in"
    keys = [f"{'name' * 20}{number}.jpg" for number in range(100)]
    box = {"x": 0.1, "y": 0.1, "x2": 1.2, "y2": 0.9, "label": "cat"}
    document = {"version": "1.0", "type": "localization", "annotations": {key: [box] * 3 for key in keys}}
    put(folder, {"_annotations.json": json.dumps(document)})
    return put(folder, {key: pictures.jpeg(64, 48, seed=seed) for seed, key in enumerate(keys)})


class Disk:
    """A disk of a few pages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._mount(f"size={4096 * 4},mode=777")

    def resize(self, pages: int) -> None:
        """Let it have so many pages."""
        self._mount(f"remount,size={4096 * pages}")

    def _mount(self, options: str) -> None:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.folder)]
        subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        mounted = Disk(folder)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root may mount a small disk")
    yield mounted
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("to", ["records", "coco"])
def test_a_mounted_disk_is_no_target_itself(
    run: Commands, source: Path, tmp_path: Path, disk: Disk, to: str
) -> None:
    done = run("convert", source, disk.folder, f"--to={to}", cwd=tmp_path)
    assert done.code == 2
    assert "is where a disk is mounted, which cannot be replaced. Name a folder in it." in done.told
    assert not (tmp_path / ".disk.partial").exists()


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_disk_that_fills_up_anywhere_is_one_sentence_and_the_run_goes_on(
    run: Commands, source: Path, tmp_path: Path, disk: Disk
) -> None:
    whole, out = tmp_path / "whole", disk.folder / "out"
    assert run("convert", source, whole, "--shard-bytes=20K", cwd=tmp_path).code == 0
    expected, kept, told = _contents(whole), 0, set[str]()
    for pages in itertools.count(2, 3):
        disk.resize(pages)
        done = run("convert", source, out, "--shard-bytes=20K", "--jobs=2", cwd=tmp_path)
        if not done.code:
            break
        (sentence,) = done.told.splitlines()[-1:]
        assert done.code == 1
        assert sentence.startswith(f"odbuild: error: {out} cannot be written: No space left on device.")
        assert "Traceback" not in done.told
        assert not out.exists()
        assert {path.name for path in disk.folder.iterdir()} <= {".out.partial"}
        finished = len(list(disk.folder.glob(".out.partial/*.json")))
        # What an earlier run finished is not lost by a later one that had no room.
        assert finished >= kept
        kept = finished
        told.add(sentence)
    assert kept > 5
    assert any("keeps what is finished" in sentence for sentence in told)
    assert _contents(out) == expected
    assert [path.name for path in disk.folder.iterdir()] == ["out"]


@pytest.mark.parametrize("to", ["cloud", "coco", "yolo"])
def test_another_format_is_written_whole_or_not_at_all(
    run: Commands, source: Path, tmp_path: Path, disk: Disk, to: str
) -> None:
    out = disk.folder / "out"
    for pages in itertools.count(2, 17):
        disk.resize(pages)
        done = run("convert", source, out, "--to", to, cwd=tmp_path)
        if not done.code:
            break
        assert (done.code, done.out) == (1, "")
        assert done.told.startswith(
            f"odbuild: error: Cannot write {out}: No space left on device. Free some space"
        )
        assert done.told.count("\n") == 1
        assert not list(disk.folder.iterdir())
    assert len(list(out.glob("*.jpg"))) == 100


@pytest.mark.parametrize("form", ["html", "json"])
def test_a_report_is_written_whole_or_not_at_all(
    run: Commands, source: Path, tmp_path: Path, disk: Disk, form: str
) -> None:
    disk.resize(1)
    words = ["validate", source, "--output-format", form, "--output"]
    done = run(*words, disk.folder / "report", cwd=tmp_path)
    assert done.told.startswith(f"odbuild: error: Cannot write {disk.folder}/report: No space left on device.")
    assert not list(disk.folder.iterdir())


def test_without_a_mount_files_that_cannot_grow_say_the_same(source: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    environment = {**os.environ, "ODBUILD_CACHE": str(tmp_path / "cache")}

    def convert(target: Path, kilobytes: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "odbuild", "convert", str(source), str(target), "--shard-bytes=20K"]
        limited = ["sh", "-c", f'ulimit -f {kilobytes}; exec "$@"', "sh", *words]
        return subprocess.run(limited, env=environment, capture_output=True, text=True, check=False)

    assert convert(whole, "unlimited").returncode == 0
    for size in ("8", "24"):
        done = convert(out, size)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith(
            f"odbuild: error: {out} cannot be written: {os.strerror(errno.EFBIG)}."
        )
        assert "Traceback" not in done.stderr
        assert not out.exists()
    assert convert(out, "unlimited").returncode == 0
    assert _contents(out) == _contents(whole)
    assert not (tmp_path / ".out.partial").exists()


# What cannot be read -----------------------------------------------------------------------------------------


COMMANDS = {
    "validate": ["validate", "in"],
    "convert": ["convert", "in", "out"],
    "to another": ["convert", "in", "out", "--to=coco"],
    "fix": ["validate", "in", "--fix", "out"],
}


def _files(name: str) -> list[str]:
    return [key for key in hostile.naming(name) if not key.endswith(".pbtxt")]


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize(("name", "key"), [(name, key) for name in READERS for key in _files(name)])
def test_a_file_that_may_not_be_read_is_named(
    run: Commands, tmp_path: Path, name: str, key: str, words: list[str]
) -> None:
    put(tmp_path / "in", hostile.naming(name))
    (tmp_path / "in" / key).chmod(0)
    done = run(*words, "--format", name, cwd=tmp_path, mortal=True)
    text = done.out + done.told
    assert done.code in (1, 2, 3), done
    assert "Traceback" not in text
    assert "Permission denied" in text
    assert key in text
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_a_folder_that_may_not_be_read_is_named(run: Commands, tmp_path: Path, words: list[str]) -> None:
    put(tmp_path / "in", hostile.naming("cloud"))
    (tmp_path / "in").chmod(0)
    done = run(*words, cwd=tmp_path, mortal=True)
    (tmp_path / "in").chmod(0o700)
    assert done.code in (1, 2), done
    assert "The folder in cannot be listed: Permission denied." in done.told
    assert done.told.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("words", [words for words in COMMANDS.values() if "out" in words])
def test_a_target_that_may_not_be_written_is_named(run: Commands, tmp_path: Path, words: list[str]) -> None:
    put(tmp_path / "in", hostile.naming("cloud"))
    (tmp_path / "closed").mkdir(mode=0o555)
    done = run(*("closed/out" if word == "out" else word for word in words), cwd=tmp_path, mortal=True)
    assert done.code == 1, done
    assert "closed/out" in done.told
    assert "Permission denied" in done.told
    assert done.told.count("\n") == 1
    assert not list((tmp_path / "closed").iterdir())


# Memory ------------------------------------------------------------------------------------------------------


# Another format is made by copying piece by piece, which takes none.
@pytest.mark.parametrize("words", [COMMANDS["validate"], COMMANDS["convert"], COMMANDS["fix"]])
def test_memory_that_runs_out_is_one_sentence(run: Commands, tmp_path: Path, words: list[str]) -> None:
    files = {"a.jpg": pictures.jpeg(seed=1), "b.jpg": pictures.jpeg(seed=2) + bytes(100 << 20)}
    put(tmp_path / "in", {"_annotations.json": hostile.cloud(*files), "good.jpg": hostile.JPEG, **files})
    done = run(*words, cwd=tmp_path, megabytes=60)
    assert (done.code, done.out) == (1, ""), done
    assert done.told.splitlines()[-1].startswith("odbuild: error: memory ran out.")
    assert "Traceback" not in done.told
    assert not (tmp_path / "out").exists()
