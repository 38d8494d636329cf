"""Install pins with pip, by hash."""

import re
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from ..errors import OdbuildError
from . import child
from .host import TENSORFLOWS, installed_in
from .lock import Pin
from .state import STATE, leave

PIP_OPTIONS = (
    "--no-deps",
    "--require-hashes",
    "--only-binary=:all:",
    # Some services set it for everyone, and a virtual environment refuses it.
    "--no-user",
    "--no-input",
    "--quiet",
    "--progress-bar=off",
    "--disable-pip-version-check",
    "--no-warn-script-location",
)
#: What pip says (a pattern), and what to do about it; the first that is found counts.
ADVICE = (
    ("No space left", "The disk is full: give the run a larger one, or clear this one."),
    ("DO NOT MATCH THE HASHES", "The index serves other files than the locked ones: use another index."),
    ("Permission denied", "Start it with a Python or in a folder that you may write to."),
    (
        "ConnectionError|NameResolutionError|Timeout|ProxyError|SSLError",
        "The package index cannot be reached: check the network, or put wheels/ into the bundle.",
    ),
    ("No matching distribution", "The index, or wheels/, lacks it for this Python and machine."),
    ("", "See its last lines above."),
)


def check_room(folder: Path, gigabytes: float, wanted: Iterable[Pin]) -> None:
    """Refuse to fill the disk with half a TensorFlow.

    Raises:
        OdbuildError: TensorFlow is to be installed, and too little is free.
    """
    free = shutil.disk_usage(folder).free / 1e9
    if free < gigabytes and any(pin.name in TENSORFLOWS for pin in wanted):
        raise OdbuildError(
            f"No room: installing TensorFlow takes {gigabytes} GB, and {folder} has {free:.1f} GB left. "
            "Give the run a larger disk, or clear this one."
        )


def pip_install(python: Path, pins: Iterable[Pin], folder: Path, *, anew: bool) -> None:
    """Install pins, by hash, wheels only; from `wheels/` alone where the bundle brings it.

    Args:
        python: of the environment to install into.
        pins: what to install.
        folder: where start.sh lies, and `wheels/` perhaps.
        anew: write over what is there, as an interrupted pip cannot be asked what it left.

    Raises:
        OdbuildError: pip failed; the message ends pip's last lines with what to do.
    """
    listing = folder / STATE / "missing.txt"
    leave(listing, "".join(pin.text for pin in pins))
    command = [*find_pip(python), "install", *PIP_OPTIONS, "--requirement", str(listing)]
    command += ["--ignore-installed"] if anew else []
    if (folder / "wheels").is_dir():
        command += ["--no-index", "--find-links", str(folder / "wheels")]
    done = child.run(command)
    if done.returncode:
        advice = next(todo for signs, todo in ADVICE if re.search(signs, done.stdout))
        last = "\n".join(done.stdout.strip().splitlines()[-4:])
        raise OdbuildError(f"{last}\npip could not install. {advice}")


def find_pip(python: Path) -> list[str]:
    """Return the command that installs into an interpreter's environment.

    Raises:
        OdbuildError: there is no pip, neither there nor in a Python that can reach there.
    """
    outer = (sys.executable, getattr(sys, "_base_executable", sys.executable))
    # A pip before 22.3 does not know `--python`, and says so.
    reaching = ([executable, "-m", "pip", "--python", str(python)] for executable in outer)
    for command in ([str(python), "-m", "pip"], *reaching):
        if not child.run([*command, "--version"]).returncode:
            return command
    raise OdbuildError(
        f"{sys.executable} has no pip. Install it (on Debian and Ubuntu: apt-get install python3-venv), "
        "or set ODBUILD_PYTHON to a Python that has it."
    )


def check_installed(python: Path, wanted: Iterable[Pin]) -> None:
    """Compare what is there now with what was wanted.

    Raises:
        OdbuildError: pip was content, but a package is not the locked one.
    """
    installed = installed_in(python)
    for pin in wanted:
        found = installed.get(pin.name, "none")
        if found != pin.version:
            raise OdbuildError(
                f"{pin.name} {pin.version} was installed, but {python} finds {found}: something on PYTHONPATH "
                "hides it. Unset PYTHONPATH."
            )
