"""Search for crashes with coverage: `python -m fuzz SECONDS [TARGET...]`, with `tests` on the path.

Each target runs in a process of its own, one after the other. What it reached is kept in `build/fuzz/TARGET`,
where the next search begins; inputs that crash are written to `build/fuzz/crashes`, one for each place in code.
"""

import resource
import shutil
import subprocess
import sys
from pathlib import Path

from fuzz.targets import TARGETS

WORK = Path("build/fuzz")


def main(seconds: int, names: list[str]) -> int:
    """Fuzz the targets, an equal part of the time each; return 1 where one crashed."""
    shutil.rmtree(WORK / "crashes", ignore_errors=True)
    failed = []
    for name in names:
        print(f"=== {name}", flush=True)
        run = [sys.executable, "-m", "fuzz.search", name, str(max(1, seconds // len(names))), str(WORK)]
        if subprocess.run(run, check=False).returncode:
            failed.append(name)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"processor time: {used.ru_utime + used.ru_stime:,.0f} s")
    crashes = sorted((WORK / "crashes").glob("*"))
    print(f"crashes: {', '.join(map(str, crashes)) or 'none'}; ended early: {', '.join(failed) or 'none'}")
    return int(bool(crashes or failed))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else 60, sys.argv[2:] or list(TARGETS)))
