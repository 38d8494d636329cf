"""Tasks done by several processes, which end with the one that started them, however that ends."""

import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import OdbuildError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

Tell = Callable[[int], None]
Task = Callable[[Iterable[str], Tell], None]
"""Does what some names stand for, one after the other, and comes to its end when all of it is done."""
Run = Callable[[Task, Sequence[str], Tell], None]
"""Has a task do each name once, and raises what was raised first where it fails."""

PAUSE = 0.2
"""Seconds between two reports of a process: as soon it learns that nobody is left to report to."""


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def here(jobs: int | None) -> Run:
    """Return what does tasks by so many processes of this machine, one for each processor where it is None."""
    return lambda task, names, tell: run(task, names, jobs or processors(), tell)


def run(task: Task, names: Sequence[str], jobs: int, tell: Tell) -> None:
    """Have a task do each name once.

    Args:
        task: takes names, and what to tell of its progress; to be found by other processes, so a function of a
            module or a `functools.partial` of one.
        names: begun in this order.
        jobs: most processes at work. One is this process itself.
        tell: told how much more was done.

    Raises:
        OdbuildError: a process was ended from outside.
        Exception: what the first raised that failed; the others are stopped.
    """
    jobs = min(jobs, len(names))
    if jobs > 1:
        _share(task, names, jobs, tell)
    else:
        task(names, tell)


def _share(task: Task, names: Sequence[str], jobs: int, tell: Tell) -> None:
    import multiprocessing

    # A copy of this process is ready at once; elsewhere the system's own libraries do not bear being copied.
    copies = sys.platform == "linux"
    start = multiprocessing.get_context("fork").Process if copies else multiprocessing.get_context("spawn").Process
    pipes: list[Connection] = []
    processes = []
    try:
        for _ in range(jobs):
            here, there = multiprocessing.Pipe()
            pipes.append(here)
            # Were this end open in a copy too, that would not see its parent end.
            process = start(target=_serve, args=(task, there, tuple(pipes) if copies else ()), daemon=True)
            with warnings.catch_warnings():
                # Other threads are left behind, perhaps in the midst of something; a task needs nothing of theirs.
                warnings.simplefilter("ignore", DeprecationWarning)
                process.start()
            processes.append(process)
            there.close()
        _hand_out(pipes, iter(names), tell)
    finally:
        for process in processes:
            # An end that is asked for is lost on a copy that has yet to put its signals in order.
            process.kill()
            process.join()
        for pipe in pipes:
            pipe.close()


@dataclass(frozen=True, slots=True)
class _End:
    """Tells that a process has done all that it was given, or what that failed with."""

    failure: Exception | None


def _hand_out(pipes: "Sequence[Connection]", names: Iterator[str], tell: Tell) -> None:
    """Give each process a name whenever it asks for one, until all have done theirs."""
    from multiprocessing.connection import wait

    busy = list(pipes)
    while busy:
        ready = wait(busy)
        for pipe in [pipe for pipe in busy if pipe in ready]:
            try:
                answer: int | _End | None = pipe.recv()
                if answer is None:
                    pipe.send(next(names, None))
            except (EOFError, ConnectionError) as error:
                raise OdbuildError(
                    "A process of the conversion was ended from outside, most likely because memory ran out. "
                    "Run again with fewer --jobs: it goes on where it was."
                ) from error
            if isinstance(answer, int):
                tell(answer)
            elif answer is not None:
                if answer.failure:
                    raise answer.failure
                busy.remove(pipe)


def _serve(task: Task, pipe: "Connection", copied: "Sequence[Connection]") -> None:
    """Do a task with names as long as there is someone to give them."""
    # The whole group gets an interrupt, but what then ends is for the parent to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for end in copied:
        end.close()
    reporter = _Reporter(pipe)
    try:
        failure = attempt(task, _asked(pipe), reporter.tell)
        reporter.report()
        pipe.send(_End(failure))
    except (EOFError, ConnectionError):
        return


def _asked(pipe: "Connection") -> Iterator[str]:
    """Ask for name after name."""
    pipe.send(None)
    while (name := pipe.recv()) is not None:
        yield name
        pipe.send(None)


def attempt(task: Task, names: Iterable[str], tell: Tell) -> Exception | None:
    """Do a task, and return what it failed with, fit to be sent to another process.

    Raises:
        ConnectionError: nobody is left to be told.
    """
    try:
        task(names, tell)
    except ConnectionError:
        raise
    except (OdbuildError, OSError, MemoryError) as error:
        return error
    except Exception:  # noqa: BLE001  a bug, to be told as one where the program ends
        import traceback

        return RuntimeError(traceback.format_exc())
    return None


class _Reporter:
    """Sends now and then how much was done."""

    def __init__(self, pipe: "Connection") -> None:
        self._pipe = pipe
        self._done = 0
        self._next = time.monotonic() + PAUSE

    def tell(self, done: int) -> None:
        self._done += done
        if time.monotonic() > self._next:
            self.report()

    def report(self) -> None:
        self._pipe.send(self._done)
        self._done = 0
        self._next = time.monotonic() + PAUSE
