"""Set a training run up: from what this machine has to an interpreter that can train."""

import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from . import machine
from .environment import furnish
from .host import look_around
from .rows import load_rows, pick
from .state import STATE, leave
from .unpack import unpack_sdists


def setup(folder: Path, environ: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Say what machine this is, unpack upstream, and install what is missing.

    Leaves `.odbuild/python` (the path of the interpreter to train with) and `.odbuild/runtime.json`.

    Args:
        folder: where start.sh lies.
        environ: the environment; `ODBUILD_ROW` steers.
        say: told what was found and is done.

    Raises:
        OdbuildError: this machine cannot hold a runtime row, or installing failed.
        UsageError: `ODBUILD_ROW` names no row, or one that does not fit.
    """
    here, host = machine.describe(folder), look_around()
    machine.tell(here, say)
    say("TensorFlow here: " + (" ".join(host.tensorflow) if host.tensorflow else "none"))
    row, reason = pick(load_rows(), host, environ.get("ODBUILD_ROW", ""))
    # TensorFlow's own builds for other processors cannot use NVIDIA cards.
    device = "gpu" if here.gpus and platform.machine() == "x86_64" else "cpu"
    say(f"Runtime row {row.name} ({device}): {reason}")
    # First what takes a second: a broken bundle shall not wait for minutes of installing.
    unpack_sdists(folder)
    python = furnish(folder, row, device, host, say)
    facts = asdict(here) | {"row": row.name, "device": device}
    leave(folder / STATE / "runtime.json", json.dumps(facts, indent=2, sort_keys=True) + "\n")
    leave(folder / STATE / "python", f"{python}\n")
