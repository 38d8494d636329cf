"""What it costs to make records: python benchmarks/convert.py [--rounds 5] [--data build/benchmark] [--docs PAGE].

Makes photographs, runs every way on them in a process of its own, all ways in turn in every round, and prints
tables in Markdown of the least that each took; `--docs` puts them into a page too. Compare ratios: seconds are
this machine's. What is not installed is left out and named; `nox -s benchmark` installs all.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from contenders import CONTENDERS, Contender
from page import put
from photographs import ALBUMS, Album, make

ENOUGH_SECONDS = 30.0
"""A way that took so long in all rounds together sits out those that are left."""

LEAST_ROUNDS = 2

COLUMNS = (
    "way",
    "wall s",
    "start-up s",
    "work s",
    "processors s",
    "wall, times faster",
    "work, times faster",
    "MB/s",
    "peak MB",
)


@dataclass(kw_only=True)
class Cost:
    """The least that a way took.

    Attributes:
        wall: seconds from the start of its process to its end.
        work: seconds of it, once everything is imported.
        cpu: seconds of all processors in all its processes.
        peak: megabytes of memory of its largest process.
        spent: seconds in all rounds.
    """

    wall: float = float("inf")
    work: float = float("inf")
    cpu: float = float("inf")
    peak: float = 0
    spent: float = 0

    def take(self, wall: float, work: float, usage: "os.struct_rusage") -> None:
        """Take up a run."""
        self.wall = min(self.wall, wall)
        self.work = min(self.work, work)
        self.cpu = min(self.cpu, usage.ru_utime + usage.ru_stime)
        self.peak = max(self.peak, usage.ru_maxrss / 1000)
        self.spent += wall


@dataclass(frozen=True, kw_only=True)
class Goal:
    """How many times as fast one way has to be as another.

    Attributes:
        what: for people.
        fast: the one.
        slow: the other.
        figure: of the cost, `wall` or `work`.
        least: wanted by album.
    """

    what: str
    fast: str
    slow: str
    figure: str
    least: Mapping[str, float] = field(default_factory=dict)


GOALS = (
    Goal(
        what="structure against the walkthrough, per picture",
        fast="structure",
        slow="seed",
        figure="work",
        least={"small": 1.6, "large": 3},
    ),
    Goal(
        what="structure against the walkthrough, whole command",
        fast="structure",
        slow="seed",
        figure="wall",
        least={"small": 8, "large": 8},
    ),
    Goal(
        what="checks off against `cp -r`, bytes per second",
        fast="none",
        slow="cp",
        figure="work",
        least={"small": 0.6, "large": 0.6},
    ),
    Goal(what="the least that leaves a digest too, against `cp -r`", fast="digest", slow="cp", figure="work"),
    Goal(
        what="decode against the walkthrough with `load()`, per picture",
        fast="decode",
        slow="load",
        figure="work",
        least={"small": 1.5, "large": 1.9},
    ),
    Goal(
        what="decode, two processes against one",
        fast="decode2",
        slow="decode",
        figure="work",
        least={"small": 1.6, "large": 1.6},
    ),
    Goal(
        what="structure, two processes against one",
        fast="structure2",
        slow="structure",
        figure="work",
        least={"small": 1.6, "large": 1.6},
    ),
    Goal(what="contents known, against decode", fast="known", slow="decode", figure="work"),
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--data", type=Path, default=Path("build", "benchmark"), help="folder that keeps the photographs"
    )
    parser.add_argument("--albums", nargs="+", choices=[album.name for album in ALBUMS])
    parser.add_argument("--ways", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--docs", type=Path, help="page whose part `convert` is made again")
    words = parser.parse_args()
    lines = []
    for line in report(words):
        print(line, flush=True)
        lines.append(line)
    if words.docs:
        put(words.docs, "convert", lines)


def report(words: argparse.Namespace) -> Iterator[str]:
    """Measure, and yield lines of Markdown."""
    chosen = {name: CONTENDERS[name] for name in words.ways if not CONTENDERS[name].missing}
    yield f"{os.cpu_count()} processors, {platform.system()}, Python {platform.python_version()}."
    for name in words.ways:
        if name not in chosen:
            yield f"Left out: {CONTENDERS[name].title}, as {CONTENDERS[name].missing[0]} is not installed."
    for album in ALBUMS:
        if not words.albums or album.name in words.albums:
            folder = make(words.data.absolute(), album)
            costs = measured(folder, chosen, words.rounds)
            yield ""
            yield from table(album, folder, costs)
            yield ""
            yield from goals(album, costs)


def measured(data: Path, contenders: Mapping[str, Contender], rounds: int) -> dict[str, Cost]:
    """Return what each way costs at the least."""
    costs = {name: Cost() for name in contenders}
    for name in contenders:
        shutil.rmtree(cache(data, name), ignore_errors=True)
        if contenders[name].remembers:
            run(name, data, Cost())
    for number in range(rounds):
        for name, contender in contenders.items():
            if number < LEAST_ROUNDS or costs[name].spent < ENOUGH_SECONDS:
                if not contender.remembers:
                    shutil.rmtree(cache(data, name), ignore_errors=True)
                run(name, data, costs[name])
    return costs


def run(name: str, data: Path, cost: Cost) -> None:
    """Do it one way, and take up what it cost.

    Raises:
        SystemExit: it failed, or wrote less than the pictures.
    """
    out, log = data.with_name("scratch"), data.with_name("log")
    shutil.rmtree(out, ignore_errors=True)
    environment = {
        **os.environ,
        "ODBUILD_CACHE": str(cache(data, name)),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        # An installed package is compiled.
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPYCACHEPREFIX": str(data.with_name("compiled")),
    }
    words = [sys.executable, str(Path(__file__).with_name("contenders.py")), name, str(data), str(out)]
    with log.open("w") as said:
        start = time.perf_counter()
        process = subprocess.Popen(words, stdout=said, stderr=said, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
    lines = log.read_text().splitlines()
    if process.returncode or (CONTENDERS[name].keeps and size(out) < size(data)):
        sys.exit("\n".join([*lines[-20:], f"{name} failed: {process.returncode}, wrote {size(out):,} bytes"]))
    work = json.loads(lines[-1])
    cost.take(work if CONTENDERS[name].native else wall, work, usage)


def size(folder: Path) -> int:
    """Return the bytes of all pictures or records below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.suffix != ".json")


def cache(data: Path, name: str) -> Path:
    """Return the folder in which odbuild remembers what it found good."""
    return data.with_name(f"cache-{name}")


def table(album: Album, data: Path, costs: Mapping[str, Cost]) -> Iterator[str]:
    """Yield the lines of a table."""
    each = size(data) / album.count / 1e6
    yield f"{album.count:,} photographs of {album.width} x {album.height}, {each:.3g} MB each:"
    yield ""
    yield f"| {' | '.join(COLUMNS)} |"
    yield "|---" + "|--:" * (len(COLUMNS) - 1) + "|"
    seed = costs.get("seed", Cost())
    for name, cost in costs.items():
        yield (
            f"| {CONTENDERS[name].versioned} | {cost.wall:.3f} | {cost.wall - cost.work:.3f} | {cost.work:.3f} "
            f"| {cost.cpu:.3f} | {seed.wall / cost.wall:.2f} | {seed.work / cost.work:.2f} "
            f"| {size(data) / cost.work / 1e6:,.0f} | {cost.peak:.0f} |"
        )


def goals(album: Album, costs: Mapping[str, Cost]) -> Iterator[str]:
    """Yield the lines of a table of what was promised."""
    yield "| | times as fast | promised |"
    yield "|---|--:|--:|"
    for goal in GOALS:
        if {goal.fast, goal.slow} <= costs.keys():
            found = getattr(costs[goal.slow], goal.figure) / getattr(costs[goal.fast], goal.figure)
            yield f"| {goal.what} | {found:.2f} | {goal.least.get(album.name, '')} |"


if __name__ == "__main__":
    main()
