"""A conversion that is stopped: nothing half-written, nothing done twice, the same bytes in the end."""

import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pictures
import pytest

from odbuild.trainer import images, pool, shard
from odbuild.trainer.convert import convert
from odbuild.trainer.errors import OdbuildError, UsageError
from odbuild.trainer.policies import Policies

EACH = Policies(shard_bytes=1)
"""A shard for each picture."""


def _source(folder: Path, count: int = 8) -> Path:
    folder.mkdir()
    annotations = {}
    for seed in range(count):
        pictures.write(folder, f"{seed}.jpg", pictures.jpeg(320, 240, seed=seed))
        annotations[f"{seed}.jpg"] = [{"x": 0.2, "y": 0.2, "x2": 0.8, "y2": 0.8, "label": "ab"[seed % 2]}]
    document = {"version": "1.0", "type": "localization", "labels": ["a", "b"], "annotations": annotations}
    (folder / "_annotations.json").write_text(json.dumps(document))
    return folder


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _quiet(line: str) -> None:
    assert line


class Stop(BaseException):
    """An interrupt from outside."""


class Counting:
    """Stands before `images.prepare`: counts, and stops before a given call."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        self.stop_at = -1
        self._prepare = images.prepare
        monkeypatch.setattr(images, "prepare", self)

    def __call__(self, *args: Any, **options: Any) -> images.Prepared:
        if self.calls == self.stop_at:
            raise Stop
        self.calls += 1
        return self._prepare(*args, **options)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    return Counting(monkeypatch)


def _convert(source: Path, out: Path, policies: Policies = EACH) -> None:
    convert(source, out, policies, _quiet, processes=1)


def _stopped(source: Path, out: Path, counting: Counting, after: int) -> None:
    """Leave a conversion of which so many shards are finished."""
    counting.calls, counting.stop_at = 0, after
    with pytest.raises(Stop):
        _convert(source, out)
    counting.calls, counting.stop_at = 0, -1


def _twice(task: pool.Task, names: Sequence[str], tell: pool.Tell) -> None:
    """Do each task by two threads at the same time, and then once more, as a cluster may do."""
    with ThreadPoolExecutor(2) as threads:
        for name in names:
            assert list(threads.map(task, ([name], [name]), (tell, tell))) == [None, None]
            task([name], tell)


def test_what_is_done_twice_gives_the_same(tmp_path: Path) -> None:
    source = _source(tmp_path / "in", 16)
    policies = Policies(shard_bytes=1, near_duplicates="together")
    convert(source, tmp_path / "once", policies, _quiet, processes=1)
    convert(source, tmp_path / "twice", policies, _quiet, run=_twice)
    assert _contents(tmp_path / "twice") == _contents(tmp_path / "once")


@pytest.mark.parametrize("after", [1, 5, 7])
def test_what_is_finished_is_not_done_again(tmp_path: Path, counting: Counting, after: int) -> None:
    source = _source(tmp_path / "in")
    _convert(source, tmp_path / "whole")
    _stopped(source, tmp_path / "out", counting, after)
    assert not (tmp_path / "out").exists()
    _convert(source, tmp_path / "out")
    assert counting.calls == 8 - after
    assert _contents(tmp_path / "out") == _contents(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out", "whole"]


def test_a_finished_shard_that_was_damaged_since_is_made_again(tmp_path: Path, counting: Counting) -> None:
    source = _source(tmp_path / "in")
    _convert(source, tmp_path / "whole")
    _stopped(source, tmp_path / "out", counting, 4)
    first = min((tmp_path / ".out.partial" / "out").glob("*.record"))
    data = bytearray(first.read_bytes())
    data[-1] ^= 1
    first.write_bytes(data)
    _convert(source, tmp_path / "out")
    assert counting.calls == 5
    assert _contents(tmp_path / "out") == _contents(tmp_path / "whole")


def test_only_what_changed_meanwhile_is_made_again(tmp_path: Path, counting: Counting) -> None:
    source = _source(tmp_path / "in")
    _stopped(source, tmp_path / "out", counting, 7)
    document = json.loads((source / "_annotations.json").read_text())
    for key in document["annotations"]:
        document["annotations"][key][0]["x"] = 0.3
    (source / "_annotations.json").write_text(json.dumps(document))
    _convert(source, tmp_path / "out")
    assert counting.calls == 8
    _convert(source, tmp_path / "whole")
    assert _contents(tmp_path / "out") == _contents(tmp_path / "whole")


def test_other_policies_begin_anew(tmp_path: Path, counting: Counting) -> None:
    source = _source(tmp_path / "in")
    _stopped(source, tmp_path / "out", counting, 7)
    small = Policies(max_side=100)
    _convert(source, tmp_path / "out", small)
    _convert(source, tmp_path / "whole", small)
    assert _contents(tmp_path / "out") == _contents(tmp_path / "whole")


def test_errors_in_the_data_leave_nothing(tmp_path: Path) -> None:
    source = _source(tmp_path / "in")
    (source / "3.jpg").write_bytes(pictures.jpeg()[:-30])
    with pytest.raises(OdbuildError, match="1 errors"):
        _convert(source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_disk_that_fills_up_keeps_what_is_finished(
    tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _source(tmp_path / "in")
    most = max(path.stat().st_size for path in source.glob("*.jpg"))
    pictures.write(source, "0.jpg", pictures.jpeg(900, 900))
    message = r"out cannot be written: File too large\. .*\.out\.partial keeps what is finished"
    with full_disk(most + 2000), pytest.raises(OdbuildError, match=message):
        _convert(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    _convert(source, tmp_path / "out")
    _convert(source, tmp_path / "whole")
    assert _contents(tmp_path / "out") == _contents(tmp_path / "whole")


def test_two_runs_do_not_work_on_one_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("odbuild.trainer.workshop.PATIENCE", 0.2)
    source = _source(tmp_path / "in", 2)
    (tmp_path / ".out.partial").mkdir()
    with (tmp_path / ".out.partial" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="is being made by another run"):
            _convert(source, tmp_path / "out")
    _convert(source, tmp_path / "out")


def test_what_a_run_left_that_ended_while_it_cleared_up_goes(tmp_path: Path) -> None:
    source = _source(tmp_path / "in", 2)
    _convert(source, tmp_path / "out")
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial" / "x.json").touch()
    with pytest.raises(UsageError, match="exists already"):
        _convert(source, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_the_account_takes_its_name_last(tmp_path: Path, counting: Counting) -> None:
    source = _source(tmp_path / "in")
    _stopped(source, tmp_path / "out", counting, 3)
    work = tmp_path / ".out.partial"
    assert len(list(work.glob(f"*{shard.ACCOUNT}"))) == len(list((work / "out").iterdir())) == 3


@pytest.mark.parametrize("content", [b"", b"{}", b'{"job": ', b"[]"])
def test_an_account_that_lost_its_content_is_made_anew(tmp_path: Path, counting: Counting, content: bytes) -> None:
    source = _source(tmp_path / "in")
    _convert(source, tmp_path / "whole")
    _stopped(source, tmp_path / "out", counting, 4)
    for account in (tmp_path / ".out.partial").glob(f"*{shard.ACCOUNT}"):
        account.write_bytes(content)
    _convert(source, tmp_path / "out")
    assert _contents(tmp_path / "out") == _contents(tmp_path / "whole")


@pytest.mark.parametrize("kills", [5, pytest.param(100, marks=pytest.mark.slow)])
def test_killed_at_any_point_it_ends_in_the_same_bytes(tmp_path: Path, kills: int) -> None:
    dice = random.Random(kills)  # noqa: S311  chance is enough
    source = _source(tmp_path / "in", 40)
    whole, out, work = tmp_path / "whole", tmp_path / "out", tmp_path / ".out.partial"
    began = time.monotonic()
    assert _run(source, whole).wait() == 0
    longest = time.monotonic() - began
    expected, seen = _contents(whole), Counter[str]()
    for _ in range(kills):
        run = _run(source, out)
        # Over the whole of an undisturbed run, its start and its end included.
        time.sleep(dice.uniform(0, 1.1 * longest))
        # Either the process alone, whose helpers must see it themselves, or all of them.
        dice.choice([os.kill, os.killpg])(run.pid, signal.SIGKILL)
        run.wait()
        seen["finished" if out.exists() else "resumable" if work.exists() else "not begun"] += 1
        assert {path.name for path in tmp_path.iterdir()} <= {"in", "whole", "cache", out.name, work.name}
        if out.exists():
            assert _contents(out) == expected
            shutil.rmtree(out)
        elif dice.random() < 0.3:
            assert _run(source, out).wait() == 0
            assert _contents(out) == expected
            shutil.rmtree(out)
    assert _run(source, out).wait() == 0
    assert _contents(out) == expected
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out", "whole", "cache"}
    if kills > 50:
        assert min(seen[state] for state in ("finished", "resumable", "not begun")) > 0, seen


def _run(source: Path, out: Path) -> subprocess.Popen[bytes]:
    """Start the very command, in a process group of its own."""
    command = [sys.executable, "-m", "odbuild", "convert", str(source), str(out), "--jobs=2", "--shard-bytes=1"]
    environment = {**os.environ, "ODBUILD_CACHE": str(out.parent / "cache")}
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet, start_new_session=True)
