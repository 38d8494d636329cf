"""Time and memory of 10^4, 10^5 and 10^6 pictures: of reading their annotations, or of the whole conversion.

python benchmarks/scale.py [--stage read|convert] [--format cloud|coco] [--least 10000] [--most 1000000] [--jobs 2]

For `read`, pictures are names of a few empty files. For `convert` each is a file of its own, a JPEG of half a KB
that differs from all others by a comment (set TMPDIR to a folder in memory if the disk is slow or busy), and the
data is converted twice: the second time all pictures are known to be good. Memory is looked at twice a second: the
most that all processes held together, what they share counted once, and the most that any of them ever held.
"""

import argparse
import io
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any

from PIL import Image

LINKS = 30_000
"""Names that one file may have; file systems allow 65,000."""

PAUSE = 0.5
"""Seconds between two looks at the memory."""

WIDTH, HEIGHT = 64, 48

CLASSES = [f"class {number}" for number in range(20)]


def main() -> None:
    """Make the data sets, read or convert each, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", choices=("read", "convert"), default="read")
    parser.add_argument("--format", choices=("cloud", "coco"), default="cloud")
    parser.add_argument("--least", type=int, default=10_000, help="pictures in the smallest data set")
    parser.add_argument("--most", type=int, default=1_000_000, help="pictures in the largest data set")
    parser.add_argument("--jobs", type=int, default=2, help="processes that convert")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.measure:
        read(words.measure)
        return
    print("| | pictures | annotations, MB | s | s of processors | us of them a picture | MB | MB of one process |")
    print("|---|---|---|---|---|---|---|---|")
    count = words.least
    while count <= words.most:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "in")
            source.mkdir()
            size = make(source, count, words.format, alone=words.stage == "convert")
            for name, command in runs(words.stage, source, words.jobs):
                seen = watched(command, Path(folder, "cache"))
                took = f"{seen.clock:,.1f} | {seen.work:,.1f} | {seen.work / count * 1e6:,.0f}"
                most = f"{seen.together / 1e6:,.0f} | {seen.alone / 1e6:,.0f}"
                print(f"| {name} | {count:,} | {size / 1e6:,.1f} | {took} | {most} |", flush=True)
        count *= 10


def runs(stage: str, source: Path, jobs: int) -> Iterator[tuple[str, list[str]]]:
    """Yield what is measured, and its command."""
    if stage == "read":
        yield "read", [sys.executable, __file__, f"--measure={source}"]
        return
    for name in ("convert", "again"):
        yield name, [sys.executable, "-m", "odbuild", "convert", source, source.with_name(name), f"--jobs={jobs}"]


@dataclass
class Seen:
    """What a run took: seconds of the clock and of all processors, bytes of all processes and of the largest."""

    clock: float
    work: float
    together: int
    alone: int


def watched(command: list[str], cache: Path) -> Seen:
    """Run a command, and look at its processes as long as it runs."""
    clock, together = time.perf_counter(), 0
    environment = {**os.environ, "ODBUILD_CACHE": str(cache)}
    run = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while True:
        ended, status, usage = os.wait4(run.pid, os.WNOHANG)
        if ended:
            break
        together = max(together, sum(map(held, family(run.pid))))
        time.sleep(PAUSE)
    run.returncode = os.waitstatus_to_exitcode(status)
    if run.returncode:
        sys.exit(f"{command} ended with {run.returncode}")
    work = usage.ru_utime + usage.ru_stime
    return Seen(time.perf_counter() - clock, work, together, usage.ru_maxrss * 1024)


def family(process: int) -> Iterator[int]:
    """Yield a process and all that it started."""
    yield process
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return
    for child in map(int, children):
        yield from family(child)


def held(process: int) -> int:
    """Return the bytes that a process holds, its part of what it shares with others; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines.splitlines() if line.startswith("Pss:")), 0)


def read(folder: Path) -> None:
    """Read and mend a data set."""
    from odbuild.trainer import readers
    from odbuild.trainer.mend import mend

    dataset, _ = readers.read(folder)
    dataset, _ = mend(dataset, "clip")
    assert dataset.keys == len(dataset.pictures)  # noqa: S101 - a number of another task would be worthless


def make(folder: Path, count: int, named: str, *, alone: bool) -> int:
    """Write a data set of so many pictures, one or two boxes each; return the bytes of its annotations.

    Args:
        folder: takes it.
        count: pictures.
        named: the format.
        alone: whether each picture has a file of its own.
    """
    dice = random.Random(count)  # noqa: S311 - data, not secrets
    keys = [f"{uuid.UUID(int=dice.getrandbits(128))}.jpg" for _ in range(count)]
    for number, key in enumerate(keys):
        if alone:
            (folder / key).write_bytes(tiny(key))
        elif number % LINKS == 0:
            first = folder / key
            first.write_bytes(b"\xff\xd8\xff\xd9")
        else:
            os.link(first, folder / key)
    path = folder / {"cloud": "_annotations.json", "coco": "_annotations.coco.json"}[named]
    with path.open("w") as file:
        {"cloud": cloud, "coco": coco}[named](file, keys, dice)
    return path.stat().st_size


def tiny(comment: str) -> bytes:
    """Return a JPEG that only its comment tells from others."""
    text = comment.encode()
    return b"\xff\xd8\xff\xfe" + (len(text) + 2).to_bytes(2) + text + plain()[2:]


@cache
def plain() -> bytes:
    """Return the JPEG."""
    out = io.BytesIO()
    Image.linear_gradient("L").resize((WIDTH, HEIGHT)).save(out, "JPEG", quality=50)
    return out.getvalue()


def cloud(file: IO[str], keys: Iterable[str], dice: random.Random) -> None:
    """Write Cloud Annotations v1, every number in full as browsers do."""
    file.write(f'{{"version":"1.0","type":"localization","labels":{json.dumps(CLASSES)},"annotations":{{')
    for number, key in enumerate(keys):
        boxes = [
            {"x": x, "y": y, "x2": x2, "y2": y2, "label": label, "id": str(uuid.UUID(int=dice.getrandbits(128)))}
            for x, y, x2, y2, label in drawn(dice)
        ]
        file.write(f"{',' if number else ''}{json.dumps(key)}:{json.dumps(boxes, separators=(',', ':'))}")
    file.write("}}")


def coco(file: IO[str], keys: Iterable[str], dice: random.Random) -> None:
    """Write COCO JSON of pictures of their size, with an outline of eight corners around each box."""
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES, 1)]
    file.write(f'{{"info":{{}},"categories":{json.dumps(categories)},"images":')
    listed(
        file,
        ({"id": number, "file_name": key, "width": WIDTH, "height": HEIGHT} for number, key in enumerate(keys)),
    )
    file.write(',"annotations":')
    listed(file, (row for number, _ in enumerate(keys) for row in instances(dice, number)))
    file.write("}")


def instances(dice: random.Random, number: int) -> Iterator[dict[str, Any]]:
    """Yield the annotations of one picture."""
    for index, (x, y, x2, y2, label) in enumerate(drawn(dice)):
        left, top, width, height = (
            round(v, 2) for v in (x * WIDTH, y * HEIGHT, (x2 - x) * WIDTH, (y2 - y) * HEIGHT)
        )
        yield {
            "id": 2 * number + index,
            "image_id": number,
            "category_id": CLASSES.index(label) + 1,
            "bbox": [left, top, width, height],
            "area": width * height,
            "iscrowd": 0,
            "segmentation": [[round(dice.uniform(0, HEIGHT), 2) for _ in range(16)]],
        }


def drawn(dice: random.Random) -> Iterator[tuple[float, float, float, float, str]]:
    """Yield one or two boxes: edges as fractions, and the class."""
    for _ in range(dice.randint(1, 2)):
        x, y = dice.uniform(0, 0.5), dice.uniform(0, 0.5)
        yield x, y, x + dice.uniform(0.1, 0.5), y + dice.uniform(0.1, 0.5), dice.choice(CLASSES)


def listed(file: IO[str], rows: Iterable[Any]) -> None:
    """Write a list, one row at a time."""
    file.write("[")
    for number, row in enumerate(rows):
        file.write(f"{',' if number else ''}{json.dumps(row, separators=(',', ':'))}")
    file.write("]")


if __name__ == "__main__":
    main()
