"""Where to install: in the environment that is there, or in one of our own."""

import platform
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from ..errors import OdbuildError
from . import child
from .host import TENSORFLOWS, Host, installed_in, left_to_host
from .install import check_installed, check_room, pip_install
from .interpreter import REQUIREMENTS
from .lock import Pin, missing, read_lock
from .markers import marker_environment
from .rows import Row, serves
from .state import MARK, leave, mark_of

#: What a reader of the log wants to know the versions of.
NOTABLE = (*TENSORFLOWS, "numpy", "protobuf", "tf-slim")


def furnish(folder: Path, row: Row, device: str, host: Host, say: Callable[[str], None]) -> Path:
    """Return an interpreter that has the row's packages, installing only what is missing.

    Raises:
        OdbuildError: no room, no pip, or pip failed.
    """
    where = place(row, host)
    python = Path(sys.executable) if where == "here" else make_venv(folder / "venv", inherit=where == "inherit")
    prefix = python.parent.parent
    mark = mark_of(prefix)
    # The TensorFlow that an earlier run of ours brought is not the host's: what came with it may be incomplete.
    ours = where == "isolated" or (where == "here" and (host.tensorflow is None or mark != ""))
    anew = where == "here" and mark == "incomplete"
    wanted = lacking(REQUIREMENTS / f"{row.name}-{device}.txt", python, None if ours else host, anew=anew)
    if wanted:
        check_room(prefix, row.gigabytes[device], wanted)
        patience = ", which takes minutes" if any(pin.name in TENSORFLOWS for pin in wanted) else ""
        say(f"Packages to install into {prefix}: {len(wanted)}{patience}")
        if ours:
            leave(prefix / MARK, "incomplete")
        pip_install(python, wanted, folder, anew=anew)
        check_installed(python, wanted)
    if where != "here" or (ours and wanted):
        leave(prefix / MARK, "complete")
    told = [pin for pin in wanted if pin.name in NOTABLE] or wanted
    names = ", ".join(f"{pin.name} {pin.version}" for pin in told)
    say(f"Installed: {names}" if wanted else f"Everything is installed in {prefix}")
    return python


def place(row: Row, host: Host) -> Literal["here", "inherit", "isolated"]:
    """Decide where to install: `here`, in a `./venv` that can `inherit`, or in an `isolated` one.

    A virtual environment is the user's choice, so it is used; anything else may be read-only or
    managed by the system. A TensorFlow of another version must not be mixed with ours.
    """
    if host.virtual and host.writable and (host.tensorflow is None or serves(row, host)):
        return "here"
    # A new environment inherits from the base Python, never from another virtual environment.
    if serves(row, host) and not host.virtual:
        return "inherit"
    return "isolated"


def lacking(lock: Path, python: Path, host: Host | None, *, anew: bool) -> list[Pin]:
    """List what is to be installed.

    Args:
        lock: the row's lock.
        python: of the environment that is to have it all.
        host: whose TensorFlow stays; None where ours is to be used.
        anew: trust nothing that is there.
    """
    pins, installed = read_lock(lock), {} if anew else installed_in(python)
    left = left_to_host(host, installed, [pin.name for pin in pins]) if host else set()
    return missing(pins, installed, marker_environment(), left)


def make_venv(target: Path, *, inherit: bool) -> Path:
    """Make a virtual environment, or use the one that an earlier run left whole; return its interpreter.

    Raises:
        OdbuildError: venv failed.
    """
    python = target / "bin" / "python"
    if _whole(target, inherit=inherit):
        return python
    if target.exists() and not mark_of(target):
        raise OdbuildError(
            f"{target} was not made by odbuild: move it away, or start the bundle in a fresh folder."
        )
    command = [sys.executable, "-m", "venv", *(["--system-site-packages"] if inherit else []), str(target)]
    # Debian splits ensurepip off into python3-venv; pip can still come from outside, see `find_pip`.
    for attempt in (command, [*command, "--without-pip"]):
        shutil.rmtree(target, ignore_errors=True)
        leave(target / MARK, "incomplete")
        done = child.run(attempt)
        if not done.returncode:
            return python
    said = done.stdout.strip().splitlines() or ["it said nothing"]
    raise OdbuildError(f"Making a virtual environment in {target} failed: {said[-1]}")


def _whole(target: Path, *, inherit: bool) -> bool:
    if mark_of(target) != "complete":
        return False
    settings = (target / "pyvenv.cfg").read_text()
    version = child.ask(target / "bin" / "python", "import platform; print(platform.python_version())")
    return (
        f"include-system-site-packages = {str(inherit).lower()}" in settings
        and version == platform.python_version()
    )
