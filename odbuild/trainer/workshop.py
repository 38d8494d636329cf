"""A folder beside the target where work grows until it is whole, kept for the next run where it was stopped."""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import OdbuildError, UsageError

OUT = "out"
"""What lies in this folder of the workshop becomes the target."""

LOCK = "lock"
"""A file that the run holds which works here."""

PATIENCE = 5.0
"""Seconds until another run is believed to be one: the last processes of a killed one end within a moment."""


@contextmanager
def workshop(out: Path, worth: str) -> Iterator[Path]:
    """Give the folder `.NAME.partial` beside the target, for one run at a time.

    What a stopped run left in it is there again. When the block ends well, its folder `out` becomes the target and
    the rest goes; when it ends badly, all goes unless there is a file that is worth keeping.

    Args:
        out: the target, which must be missing or empty.
        worth: pattern of the files that are worth keeping.

    Raises:
        UsageError: the target is not free, or another run works on it.
        OdbuildError: it cannot be written.
    """
    out = out.absolute()
    work = beside(out)
    if not work.exists():
        require_free(out)
    try:
        work.mkdir(parents=True, exist_ok=True)
        with _locked(work / LOCK, out):
            try:
                require_free(out)
                (work / OUT).mkdir(exist_ok=True)
                yield work
                (work / OUT).rename(out)
            finally:
                if not (work / OUT).exists() or not any(work.glob(worth)):
                    shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        kept = f" {work} keeps what is finished, for the next run." if work.exists() else ""
        raise OdbuildError(f"{out} cannot be written: {error.strerror or error}.{kept}") from error


def beside(out: Path) -> Path:
    """Return the workshop of a target."""
    return out.absolute().parent / f".{out.absolute().name}.partial"


def require_free(out: Path) -> None:
    """Make sure that a finished folder can take the place of a target.

    Raises:
        UsageError: it cannot.
    """
    if out.is_symlink():
        raise UsageError(f"{out} is a link. Name a folder where nothing is, such as one beside what it leads to.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} exists already. Name another folder, or remove it.")
    if out.exists() and os.path.ismount(out):
        raise UsageError(f"{out} is where a disk is mounted, which cannot be replaced. Name a folder in it.")


@contextmanager
def _locked(path: Path, out: Path) -> Iterator[None]:
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        patient = time.monotonic() + PATIENCE
        while not _take(lock):
            if time.monotonic() > patient:
                raise UsageError(f"{out} is being made by another run. Wait for it, or name another folder.")
            time.sleep(0.1)
        yield
    finally:
        os.close(lock)


def _take(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
