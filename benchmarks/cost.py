"""What ten million pictures cost: measured here, on one processor, and reckoned for a cluster.

python benchmarks/cost.py [--pictures 10000000] [--kilobytes 100] [--vcpu-hour 0.056] ...

Converts photographs of 640 x 480, all checked to the last coded pixel, and takes the processor's time of the two
parts of it: planning and finishing, which the launcher does alone, and the shards, which the workers share. The
rest is arithmetic with the assumptions that it prints, each an argument.
"""

import argparse
import io
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from photographs import photograph
from PIL import Image, ImageChops

from odbuild.trainer import pool
from odbuild.trainer.convert import convert
from odbuild.trainer.policies import Policies

SOURCE = "https://cloud.google.com/dataflow/pricing, us-central1, as apache_beam.testing.load_tests has them"
DISK = "Filestore's Basic HDD, https://cloud.google.com/filestore/pricing, us-west1"


@dataclass
class Measured:
    """Seconds of one processor for each picture, and the bytes of a picture."""

    alone: float
    shared: float
    size: float


def main() -> None:
    """Measure, and print the table."""
    words = arguments()
    seen = measured(words.sample, words.kilobytes * 1000)
    count = words.pictures
    alone = count * (seen.alone + words.open_ms / 1000) / 3600
    work = count * seen.shared / words.busy / 3600
    data = count * seen.size / 1e9
    print(f"measured: {seen.size / 1000:,.0f} KB a picture, {seen.shared * 1e6:,.0f} us in a shard and", end=" ")
    print(f"{seen.alone * 1e6:,.0f} us alone, of one processor; {1 / seen.shared:,.0f} pictures a second each\n")
    for line in assumed(words):
        print(f"* {line}")
    print(f"\n{count:,} pictures: {data:,.0f} GB in, as much out; {alone:,.1f} h of the launcher alone,", end=" ")
    print(f"{work:,.0f} vCPU hours of workers\n")
    print("| vCPUs of workers | hours | vCPU hours | workers and launcher, $ | file system, $ | together, $ |")
    print("|---|---|---|---|---|---|")
    for workers in words.workers:
        shards = max(work / workers, 2 * data * 1000 / words.mb_s / 3600)
        hours = alone + shards
        # Workers that wait for the file system are paid for, and the launcher is from the beginning to the end.
        paid = shards * workers + hours
        machines = paid * (words.vcpu_hour + words.gb_of_vcpu * words.gb_hour)
        storage = 2 * data * words.fs_gb_month * hours / 730
        total = machines + storage
        print(f"| {workers} | {hours:,.1f} | {paid:,.0f} | {machines:,.2f} | {storage:,.2f} | {total:,.2f} |")


def arguments() -> argparse.Namespace:
    """Return what is assumed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=10_000_000)
    parser.add_argument("--kilobytes", type=int, default=100, help="of a picture")
    parser.add_argument("--sample", type=int, default=1000, help="pictures that are converted here")
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 8, 16, 64], help="vCPUs")
    parser.add_argument("--busy", type=float, default=0.7, help="share of the time that workers do not wait")
    parser.add_argument("--open-ms", type=float, default=0.5, help="to open a file over the network when planning")
    parser.add_argument("--mb-s", type=float, default=1000, help="that the file system reads and writes in all")
    parser.add_argument("--vcpu-hour", type=float, default=0.056, help="$")
    parser.add_argument("--gb-hour", type=float, default=0.003557, help="$ for memory")
    parser.add_argument("--gb-of-vcpu", type=float, default=4, help="GB of memory of a vCPU")
    parser.add_argument("--fs-gb-month", type=float, default=0.2, help="$ for the file system")
    return parser.parse_args()


def assumed(words: argparse.Namespace) -> Iterator[str]:
    """Yield the assumptions."""
    yield f"a vCPU of the cluster is as fast as a processor here, and busy {words.busy:.0%} of the time"
    yield f"when planning, a file takes {words.open_ms} ms to open over the network"
    yield f"the file system reads and writes {words.mb_s:,.0f} MB a second in all"
    yield (
        f"${words.vcpu_hour} for an hour of a vCPU, ${words.gb_hour} for one of each of its {words.gb_of_vcpu:g} "
        f"GB ({SOURCE})"
    )
    yield f"${words.fs_gb_month} for a GB of the file system a month ({DISK}), paid for the hours of the run"


def measured(count: int, size: int) -> Measured:
    """Convert so many photographs in this process."""
    shared = 0.0

    def run(task: pool.Task, names: Sequence[str], tell: pool.Tell) -> None:
        nonlocal shared
        began = time.process_time()
        pool.run(task, names, 1, tell)
        shared = time.process_time() - began

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "in")
        total = make(source, count, size)
        began = time.process_time()
        convert(source, Path(folder, "out"), Policies(), lambda _: None, run=run)
        alone = time.process_time() - began - shared
    return Measured(alone / count, shared / count, total / count)


def make(folder: Path, count: int, size: int) -> int:
    """Write photographs with two boxes each, all different, and return their bytes."""
    folder.mkdir()
    picture = photograph(640, 480)
    quality = next(it for it in range(30, 101) if it == 100 or len(jpeg(picture, it)) >= size)
    total = 0
    for number in range(count):
        moved = ImageChops.offset(picture, number % 640, number // 640)
        total += (folder / f"{number}.jpg").write_bytes(jpeg(moved, quality))
    box = {"x": 0.2, "y": 0.2, "x2": 0.6, "y2": 0.7, "label": "cat"}
    boxes = {f"{number}.jpg": [box, {**box, "label": "dog"}] for number in range(count)}
    document = {"version": "1.0", "type": "localization", "labels": ["cat", "dog"], "annotations": boxes}
    (folder / "_annotations.json").write_text(json.dumps(document))
    return total


def jpeg(picture: Image.Image, quality: int) -> bytes:
    """Return the picture's JPEG."""
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return out.getvalue()


if __name__ == "__main__":
    main()
