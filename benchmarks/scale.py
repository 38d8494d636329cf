"""Time and memory of reading annotations of 10^4, 10^5 and 10^6 pictures, each in a process of its own.

python benchmarks/scale.py [--format cloud|coco] [--most 1000000]
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
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

LINKS = 30_000
"""Names that one file may have; file systems allow 65,000."""

CLASSES = [f"class {number}" for number in range(20)]


def main() -> None:
    """Make the data sets, read each, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--format", choices=("cloud", "coco"), default="cloud")
    parser.add_argument("--most", type=int, default=1_000_000, help="pictures in the largest data set")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.read:
        measure(words.read)
        return
    print(
        f"{words.format}: pictures, boxes, MB of annotations, seconds of the clock and of the processor, peak MB"
    )
    first = 0.0
    count = 10_000
    while count <= words.most:
        with tempfile.TemporaryDirectory() as folder:
            size = make(Path(folder), count, words.format)
            seen = json.loads(subprocess.check_output([sys.executable, __file__, "--read", folder]))
        each = seen["work"] / count * 1e6
        first = first or each
        print(
            f"{count:>9,} {seen['boxes']:>9,} {size / 1e6:>6.1f} {seen['clock']:>6.2f} {seen['work']:>6.2f} "
            f"{seen['peak'] / 1024:>5.0f}   {each:.1f} µs a picture, {each / first:.2f} of the first",
            flush=True,
        )
        count *= 10


def measure(folder: Path) -> None:
    """Read and mend a data set, and print seconds, peak memory in KiB, and boxes, as JSON."""
    from odbuild.trainer import readers
    from odbuild.trainer.mend import mend

    clock, work = time.perf_counter(), time.process_time()
    dataset, _ = readers.read(folder)
    dataset, _ = mend(dataset, "clip")
    clock, work = time.perf_counter() - clock, time.process_time() - work
    assert dataset.keys == len(dataset.pictures)  # noqa: S101 - a number of another task would be worthless
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"clock": clock, "work": work, "peak": peak, "boxes": dataset.drawn}))


def make(folder: Path, count: int, named: str) -> int:
    """Write a data set of so many pictures, one or two boxes each; return the bytes of its annotations."""
    dice = random.Random(count)  # noqa: S311 - data, not secrets
    keys = [f"{uuid.UUID(int=dice.getrandbits(128))}.jpg" for _ in range(count)]
    for number, key in enumerate(keys):
        if number % LINKS == 0:
            first = folder / key
            first.write_bytes(b"\xff\xd8\xff\xd9")
        else:
            os.link(first, folder / key)
    path = folder / {"cloud": "_annotations.json", "coco": "_annotations.coco.json"}[named]
    with path.open("w") as file:
        {"cloud": cloud, "coco": coco}[named](file, keys, dice)
    return path.stat().st_size


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
    """Write COCO JSON of pictures of 640 x 480, with an outline of eight corners around each box."""
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES, 1)]
    file.write(f'{{"info":{{}},"categories":{json.dumps(categories)},"images":')
    listed(
        file,
        ({"id": number, "file_name": key, "width": 640, "height": 480} for number, key in enumerate(keys)),
    )
    file.write(',"annotations":')
    listed(file, (row for number, _ in enumerate(keys) for row in instances(dice, number)))
    file.write("}")


def instances(dice: random.Random, number: int) -> Iterator[dict[str, Any]]:
    """Yield the annotations of one picture."""
    for index, (x, y, x2, y2, label) in enumerate(drawn(dice)):
        left, top, width, height = (round(v, 2) for v in (x * 640, y * 480, (x2 - x) * 640, (y2 - y) * 480))
        yield {
            "id": 2 * number + index,
            "image_id": number,
            "category_id": CLASSES.index(label) + 1,
            "bbox": [left, top, width, height],
            "area": width * height,
            "iscrowd": 0,
            "segmentation": [[round(dice.uniform(0, 480), 2) for _ in range(16)]],
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
