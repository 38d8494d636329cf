import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from odbuild.trainer import pool
from odbuild.trainer.errors import OdbuildError
from odbuild.trainer.pool import Tell

NAMES = [f"{number}" for number in range(9)]


def _leave(name: str, tell: Tell, *, folder: Path) -> None:
    (folder / name).write_text(str(os.getpid()))
    tell(int(name))
    time.sleep(0.02)


def _refuse(name: str, tell: Tell) -> None:
    if name == "3":
        raise OdbuildError(f"{name} is wrong")
    tell(1)


def _fill(name: str, tell: Tell) -> None:
    raise OSError(28, "No space left on device", name)


def _err(name: str, tell: Tell) -> None:
    raise KeyError(name)


def _die(name: str, tell: Tell) -> None:
    if name == "3":
        os.kill(os.getpid(), signal.SIGKILL)


def _linger(name: str, tell: Tell, *, folder: Path) -> None:
    (folder / name).write_text(str(os.getpid()))
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
@pytest.mark.parametrize(("task", "kind"), [(_refuse, OdbuildError), (_fill, OSError)])
def test_what_a_task_raises_is_raised_here(
    task: Callable[[str, Tell], None], kind: type[Exception], jobs: int
) -> None:
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

def fail(name, tell):
    raise OSError(name)

# As the command line has it.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
for _ in range(200):
    try:
        pool.run(fail, ["a", "b"], 2, lambda _: None)
    except OSError:
        continue
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
