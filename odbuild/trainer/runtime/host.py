"""What is installed already, and what of it stays."""

import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from . import child
from .interpreter import MINOR

#: The names under which one and the same `tensorflow` package is published.
TENSORFLOWS = ("tensorflow", "tensorflow-cpu", "tensorflow-gpu", "tensorflow-macos", "tensorflow-rocm")
#: The locked numpy is what scipy and pycocotools were tried with, and TensorFlow takes any of its range.
ALWAYS_LOCKED = frozenset({"numpy"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    """What the Python that started us already has.

    Attributes:
        python: Major and minor version, such as `3.11`.
        tensorflow: The name that TensorFlow was installed by, and its version; None where there is none.
        virtual: It is of a virtual environment.
        writable: Its environment may be written to.
    """

    python: str
    tensorflow: tuple[str, str] | None = None
    virtual: bool = False
    writable: bool = False


def look_around() -> Host:
    """Look at what the Python that runs this has."""
    return Host(
        python=MINOR,
        tensorflow=_tensorflow(),
        virtual=sys.prefix != sys.base_prefix,
        writable=os.access(sys.prefix, os.W_OK),
    )


def left_to_host(host: Host, installed: Iterable[str], locked: Iterable[str]) -> set[str]:
    """Name what stays as the host has it, because the host's own TensorFlow is used.

    That is TensorFlow under any name, CUDA's libraries, and whatever of TensorFlow's own requirements
    is installed, as they were put together by someone who knew the machine.
    """
    if host.tensorflow is None:
        return set()
    asked = [line for line in requires(host.tensorflow[0]) or () if "extra ==" not in line]
    names = {canonical(re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0]) for line in asked}
    cuda = {name for name in locked if name.startswith("nvidia-")}
    return {*TENSORFLOWS, *cuda, *names.intersection(installed)} - ALWAYS_LOCKED


def installed_in(python: Path) -> dict[str, str]:
    """Ask an interpreter for its packages: versions by canonical name."""
    code = (
        "import importlib.metadata as m; "
        "[print(d.metadata['Name'], d.version) for d in m.distributions() if d.metadata['Name']]"
    )
    found: dict[str, str] = {}
    for line in child.ask(python, code).splitlines():
        name, _, held = line.partition(" ")
        # The first on the path is the one that is imported: a virtual environment's before the system's.
        found.setdefault(canonical(name), held)
    return found


def canonical(name: str) -> str:
    """Write a package's name the way locks do."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _tensorflow() -> tuple[str, str] | None:
    for name in TENSORFLOWS:
        try:
            return name, version(name)
        except PackageNotFoundError:
            continue
    return None
