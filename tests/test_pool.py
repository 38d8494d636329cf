import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import pytest

from odbuild.trainer import pool
from odbuild.trainer.errors import OdbuildError
from odbuild.trainer.pool import Task, Tell

NAMES = [f"{number}" for number in range(9)]


def _leave(names: Iterable[str], tell: Tell, *, folder: Path) -> None:
    for name in names:
        (folder / name).write_text(str(os.getpid()))
        tell(int(name))
        time.sleep(0.02)


def _refuse(names: Iterable[str], tell: Tell) -> None:
    for name in names:
        if name == "3":
            raise OdbuildError(f"{name} is wrong")
        tell(1)


def _refuse_at_the_end(names: Iterable[str], tell: Tell) -> None:
    for _ in names:
        tell(1)
    raise OdbuildError("nothing could be kept")


def _fill(names: Iterable[str], tell: Tell) -> None:
    raise OSError(28, "No space left on device", next(iter(names)))


def _err(names: Iterable[str], tell: Tell) -> None:
    raise KeyError(*names)


def _die(names: Iterable[str], tell: Tell) -> None:
    for name in names:
        if name == "3":
            os.kill(os.getpid(), signal.SIGKILL)


def _linger(names: Iterable[str], tell: Tell, *, folder: Path) -> None:
    (folder / next(iter(names))).write_text(str(os.getpid()))
    time.sleep(600)


@pytest.mark.parametrize("jobs", [1, 2, 4, 30])
def test_each_task_is_done_once_and_told(tmp_path: Path, jobs: int) -> None:
    told: list[int] = []
    pool.run(partial(_leave, folder=tmp_path), NAMES, jobs, told.append)
    assert sorted(path.name for path in tmp_path.iterdir()) == NAMES
    assert sum(told) == 36
    workers = {path.read_text() for path in tmp_path.iterdir()}
    assert (workers == {str(os.getpid())}) == (jobs == 1)
    assert len(workers) <= jobs


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize(
    ("task", "kind"), [(_refuse, OdbuildError), (_refuse_at_the_end, OdbuildError), (_fill, OSError)]
)
def test_what_a_task_raises_is_raised_here(task: Task, kind: type[Exception], jobs: int) -> None:
    with pytest.raises(kind) as caught:
        pool.run(task, NAMES, jobs, lambda _: None)
    if kind is OSError:
        assert (caught.value.errno, caught.value.filename) == (28, caught.value.filename)  # type: ignore[attr-defined]


def test_a_bug_is_told_with_its_place() -> None:
    with pytest.raises(RuntimeError, match=r"test_pool\.py(.|\n)*KeyError"):
        pool.run(_err, NAMES, 2, lambda _: None)


def test_a_process_that_is_killed_is_missed() -> None:
    with pytest.raises(OdbuildError, match="was ended from outside"):
        pool.run(_die, NAMES, 2, lambda _: None)


def test_an_interrupt_stops_all(tmp_path: Path) -> None:
    def interrupt(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with pytest.raises(KeyboardInterrupt):
            pool.run(partial(_linger, folder=tmp_path), NAMES, 2, lambda _: None)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    for path in tmp_path.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.read_text()), 0)


def test_a_failure_ends_processes_that_have_only_begun() -> None:
    code = """
import signal, sys
from odbuild.trainer import pool

def fail(names, tell):
    raise OSError(*names)

# As the command line has it.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
for _ in range(200):
    try:
        pool.run(fail, ["a", "b"], 2, lambda _: None)
    except OSError:
        continue
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
