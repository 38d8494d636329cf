"""Insist on a Python that some row fits: this one, or else one that is on PATH.

An old Python must get far enough to say that it is too old. So what it imports until then keeps to the
words of Python 3.6 (types that it lacks stand in quotes): this module, `__main__`, `..errors` and both
`__init__`. Everything else may rely on what is required here.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import OdbuildError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

REQUIREMENTS = Path(__file__).parents[1] / "requirements"
#: The Python that runs this, such as `3.11`.
MINOR = "{}.{}".format(*sys.version_info[:2])


def require(environ: "Mapping[str, str]", say: "Callable[[str], None]") -> None:
    """Return if a row fits this Python; if not, start again with one of PATH, and never return.

    Raises:
        OdbuildError: there is none, or the user named this one.
    """
    table = json.loads((REQUIREMENTS / "rows.json").read_text())
    pythons = _ascending(python for row in table["rows"] for python in row["pythons"])
    if MINOR in pythons:
        return
    for python in reversed(pythons) if not environ.get("ODBUILD_PYTHON") else ():
        found = shutil.which("python" + python)
        if found and _runs(found, python):
            say(f"No row fits Python {platform.python_version()}; going on with {found}")
            # The new process finds the variable set, so it cannot look any further.
            os.execve(  # noqa: S606 - this process becomes the other
                found, [found, "-m", __package__, "setup"], dict(environ, ODBUILD_PYTHON=found)
            )
    raise OdbuildError(unfit(pythons))


def unfit(pythons: "Iterable[str]") -> str:
    """Say which Pythons would do instead of this one."""
    wanted = " or ".join(", ".join(_ascending(pythons)).rsplit(", ", 1))
    return (
        f"Python {platform.python_version()} at {sys.executable} cannot train: "
        f"Python {wanted} is needed. Install one, or set ODBUILD_PYTHON to its path."
    )


def _ascending(pythons: "Iterable[str]") -> "list[str]":
    return sorted(set(pythons), key=lambda python: [int(part) for part in python.split(".")])


def _runs(executable: str, python: str) -> bool:
    # A version manager's stub is found whether or not there is that Python behind it.
    command = [executable, "-c", "import platform; print(platform.python_version())"]
    try:
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except OSError:
        return False
    return not done.returncode and done.stdout.decode().startswith(python + ".")
