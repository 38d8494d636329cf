"""What this machine offers to a training run."""

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What training may use of this machine.

    Attributes:
        python: Full version.
        executable: Path of that Python.
        system: Operating system and processor.
        cores: Those that this process may use.
        memory: Bytes.
        disk: Free bytes where start.sh lies.
        gpus: NVIDIA cards with their driver's version and memory.
        gpu_memory: Bytes of the smallest card, or None where they are not known.
    """

    python: str
    executable: str
    system: str
    cores: int
    memory: int
    disk: int
    gpus: tuple[str, ...]
    gpu_memory: int | None


def describe(folder: Path) -> Machine:
    """Measure this machine."""
    gpus = graphics()
    return Machine(
        python=platform.python_version(),
        executable=sys.executable,
        system=f"{platform.system()} {platform.machine()}",
        cores=_cores(),
        memory=_memory(),
        disk=shutil.disk_usage(folder).free,
        gpus=gpus,
        gpu_memory=card_memory(gpus),
    )


def tell(machine: Machine, say: Callable[[str], None]) -> None:
    """Say what was found."""
    say(
        f"Python {machine.python} at {machine.executable} on {machine.system}: {machine.cores} cores, "
        f"{machine.memory / 2**30:.1f} GiB of memory, {machine.disk / 2**30:.1f} GiB of free disk"
    )
    say("GPU: " + ("; ".join(machine.gpus) or "none found"))


def graphics() -> tuple[str, ...]:
    """Name the NVIDIA cards, their driver's version and memory; empty where there is none, or none may be seen."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in {"", "-1"}:
        return ()
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        told = subprocess.run(query, check=True, capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        told = ""
    cards = tuple(line.strip() for line in told.splitlines() if line.strip())
    if not cards and Path("/dev/nvidia0").exists():
        return ("an NVIDIA card that nvidia-smi cannot name",)
    return cards


def card_memory(gpus: tuple[str, ...]) -> int | None:
    """Return the bytes of the smallest card, whichever will be used; None where one does not tell."""
    told = [re.search(r", (\d+) MiB$", card) for card in gpus]
    return min((int(found[1]) << 20 for found in told if found), default=None) if all(told) else None


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory() -> int:
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    # A container may use less than the machine has: cgroups, second and first version.
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            sizes.append(int(Path(limit).read_text()))
        except (OSError, ValueError):
            continue
    return min(sizes)
