"""What `odbuild validate` costs beside what nobody could leave out.

    python benchmarks/validate.py [--rounds 5] [--docs docs/speed.md] [DATASET]

1. checking a dataset of JPEG photographs, beside reading them and undoing their entropy coding, by libjpeg at an
   eighth of their size: in one process, and as commands with their start-up;
2. checking an annotations file of a million boxes: seconds and memory;
3. starting, beside Python alone and beside importing TensorFlow;
4. a run of pytest, where that is installed, with the plugin there and not used, beside the same run without it.

All contenders take turns in every round; the least time of each counts, by the clock and of the processors.
Compare the ratios; on a busy machine those of the processors. Nothing is cached but the pages of files.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

import scale
from page import put

PYTHON = sys.executable

Way = Callable[[], object]

MODEL = "ssd_mobilenet_v2_320x320"
"""With a model its rules run, too."""

PICTURES, BOXES = 10_000, 100
"""Of the large annotations file."""

TESTS = 200
"""Of the run of pytest, each of which does nothing."""

FLOOR = """
import simplejpeg, sys
for path in sys.argv[1:]:
    with open(path, "rb") as file:
        simplejpeg.decode_jpeg(file.read(), "GRAY", min_height=1, min_width=1, strict=True)
"""


def main() -> None:
    """Make each comparison, print it as a table, and put all into a page where one is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", nargs="?", type=Path, help="folder of JPEG photographs with annotations")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--docs", type=Path, help="page whose part `validate` is made again")
    words = parser.parse_args()
    # An installed package is compiled.
    os.environ["PYTHONDONTWRITEBYTECODE"] = ""
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for line in report(words.dataset, Path(folder), words.rounds):
            print(line, flush=True)
            lines.append(line)
    if words.docs is not None:
        put(words.docs, "validate", lines)


def report(dataset: Path | None, folder: Path, rounds: int) -> Iterator[str]:
    """Yield the lines of all tables; the folder takes what is made for them."""
    if dataset is not None:
        many = f"{len(photographs(dataset))} photographs"
        yield from compare(f"{many}, in one process", in_process(dataset), rounds)
        yield from compare(f"{many}, as commands", as_commands(dataset), rounds)
    yield from a_million_boxes(folder)
    yield from compare("start-up", starts(), rounds)
    if find_spec("pytest"):
        yield from compare(f"pytest, {TESTS} tests", plain_tests(folder), rounds)


def compare(title: str, ways: Mapping[str, Way], rounds: int) -> Iterator[str]:
    """Yield the least times of each way, and how many times those of the first they are."""
    least = dict.fromkeys(ways, (float("inf"), float("inf")))
    for _ in range(rounds):
        for name, way in ways.items():
            clock, work = time.perf_counter(), worked()
            way()
            took = time.perf_counter() - clock, worked() - work
            least[name] = min(least[name][0], took[0]), min(least[name][1], took[1])
    first = next(iter(least.values()))
    yield ""
    yield f"| {title} | s | ratio | s of processors | ratio |"
    yield "|---|---|---|---|---|"
    for name, took in least.items():
        columns = " | ".join(f"{one:.3f} | {one / base:.2f}" for one, base in zip(took, first, strict=True))
        yield f"| {name} | {columns} |"


def worked() -> float:
    """Return the seconds that processors spent on this process and those that it has waited for."""
    used = (resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def photographs(folder: Path) -> list[Path]:
    """Return the JPEG files below a folder."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if not found:
        sys.exit(f"there is no JPEG below {folder}")
    return found


def in_process(folder: Path) -> dict[str, Way]:
    """Return the ways to check a dataset by one process that has all it needs loaded."""
    import simplejpeg

    from odbuild.check import Options, check

    paths = photographs(folder)

    def floor() -> None:
        for path in paths:
            simplejpeg.decode_jpeg(path.read_bytes(), "GRAY", min_height=1, min_width=1, strict=True)

    def checked(**options: object) -> Way:
        return lambda: check([folder], Options(jobs=1, **options))  # type: ignore[arg-type]

    ways: dict[str, Way] = {
        "read and entropy-decode": floor,
        "all checks": checked(),
        "all checks, and those of a model": checked(model=MODEL),
        "all checks, and near duplicates": checked(model=MODEL, near_duplicates=True),
        "headers only": checked(check="none"),
    }
    for way in ways.values():
        way()  # loads what it needs
    assert "tensorflow" not in sys.modules  # noqa: S101
    return ways


def as_commands(folder: Path) -> dict[str, Way]:
    """Return the commands that check a dataset."""
    paths = photographs(folder)

    def validate(*words: object) -> Way:
        return command(PYTHON, "-m", "odbuild", "validate", folder, "--fail-on=never", *words)

    return {
        "read and entropy-decode": command(PYTHON, "-c", FLOOR, *paths),
        "validate --jobs 1": validate("--jobs=1"),
        "validate": validate(),
        "validate --near-duplicates": validate("--near-duplicates"),
    }


def starts() -> dict[str, Way]:
    """Return what only starts."""
    ways: dict[str, Way] = {
        "python": command(PYTHON, "-c", "pass"),
        "odbuild --version": command(PYTHON, "-m", "odbuild", "--version"),
        "odbuild validate --help": command(PYTHON, "-m", "odbuild", "validate", "--help"),
        "import odbuild.check": command(PYTHON, "-c", "import odbuild.check"),
    }
    if find_spec("tensorflow"):
        ways["import tensorflow"] = command(PYTHON, "-c", "import tensorflow")
    return ways


def plain_tests(folder: Path) -> dict[str, Way]:
    """Return a run of tests that have nothing to do with odbuild, without and with its plugin."""
    place = folder / "tests"
    place.mkdir()
    (place / "pytest.ini").write_text("[pytest]\n")
    (place / "test_plain.py").write_text("".join(f"def test_{n}():\n    pass\n" for n in range(TESTS)))
    run = (PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", place)
    return {"without the plugin": command(*run, "-p", "no:odbuild"), "with it, unused": command(*run)}


def command(*words: object) -> Way:
    """Return a way that runs a command, which must succeed."""
    silent = subprocess.DEVNULL
    return lambda: subprocess.run(list(map(str, words)), check=True, stdout=silent, stderr=silent)


def a_million_boxes(folder: Path) -> Iterator[str]:
    """Check an annotations file of a million boxes, and yield seconds and memory."""
    source = folder / "data"
    source.mkdir()
    size = annotate(source)
    yield ""
    title = f"{PICTURES * BOXES:,} boxes of {PICTURES:,} pictures, {size / 1e6:.0f} MB of JSON"
    yield f"| {title} | s | s of processors | MB |"
    yield "|---|---|---|---|"
    for jobs in sorted({1, os.cpu_count() or 1}):
        words = [PYTHON, "-m", "odbuild", "validate", str(source), "--fail-on=never"]
        seen = scale.watched([*words, f"--model={MODEL}", f"--jobs={jobs}"], folder / "cache")
        most = max(seen.together, seen.alone) / 1e6
        yield f"| validate --model {MODEL} --jobs {jobs} | {seen.clock:.1f} | {seen.work:.1f} | {most:,.0f} |"


def annotate(folder: Path) -> int:
    """Write pictures and their boxes, every number in full; return the bytes of the annotations."""
    dice = random.Random(0)  # noqa: S311 - data, not secrets
    found = {}
    for number in range(PICTURES):
        key = f"{number:06}.jpg"
        (folder / key).write_bytes(scale.tiny(key))
        found[key] = [boxed(dice) for _ in range(BOXES)]
    document = {
        "version": "1.0",
        "type": "localization",
        "labels": scale.CLASSES,
        "annotations": found,
    }
    return (folder / "_annotations.json").write_text(json.dumps(document))


def boxed(dice: random.Random) -> dict[str, object]:
    """Return a box of a tenth to a half of the picture each way."""
    x, y = dice.uniform(0, 0.5), dice.uniform(0, 0.5)
    box = {"x": x, "y": y, "x2": x + dice.uniform(0.1, 0.5), "y2": y + dice.uniform(0.1, 0.5)}
    return {**box, "label": dice.choice(scale.CLASSES)}


if __name__ == "__main__":
    main()
