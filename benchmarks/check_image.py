"""What it costs to check one picture: python benchmarks/check_image.py [--rounds 5].

Makes its pictures, runs all ways in turn in every round, and prints the least time of each. Compare ratios.
TensorFlow's own decoder takes part where it is installed.
"""

import argparse
import hashlib
import io
import os
import time
from collections.abc import Callable
from importlib.util import find_spec

from photographs import photograph
from PIL import Image

from odbuild.trainer import images

Way = Callable[[bytes], object]

ENOUGH_SECONDS = 0.05
"""Each way is repeated at least this long in a round."""


def encoded(picture: Image.Image, least_bytes: int, **options: object) -> bytes:
    """Return the JPEG of the lowest quality that has so many bytes."""
    for quality in range(30, 101, 2):
        out = io.BytesIO()
        picture.save(out, "JPEG", quality=quality, **options)
        if out.tell() >= least_bytes:
            break
    return out.getvalue()


def pictures() -> dict[str, bytes]:
    """Return the files to be checked by name."""
    small, large = photograph(640, 480), photograph(4000, 3000)
    files = {
        "640 x 480": encoded(small, 98_000),
        "640 x 480, progressive": encoded(small, 98_000, progressive=True),
        "4000 x 3000": encoded(large, 2_860_000),
    }
    return {f"{name}, {len(data) / 1000:,.0f} KB": data for name, data in files.items()}


def verify(data: bytes) -> None:
    """Check as Pillow's `verify` does."""
    Image.open(io.BytesIO(data)).verify()


def load(data: bytes) -> None:
    """Decode with Pillow."""
    Image.open(io.BytesIO(data)).load()


def ways() -> dict[str, Way]:
    """Return what is compared, by name."""
    found: dict[str, Way] = {
        "Pillow verify": verify,
        "Pillow load": load,
        "check none": lambda data: images.inspect(data, check="none"),
        "check structure": lambda data: images.inspect(data, check="structure"),
        "check decode": lambda data: images.inspect(data, check="decode"),
        "SHA-256, to know it again": lambda data: hashlib.sha256(data).digest(),
    }
    if find_spec("tensorflow"):
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import tensorflow as tf

        found["TensorFlow decode"] = lambda data: tf.io.decode_image(data, channels=3, expand_animations=False)
    return found


def seconds(way: Way, data: bytes) -> float:
    """Return the least time of one call."""
    least = float("inf")
    end = time.perf_counter() + ENOUGH_SECONDS
    while (start := time.perf_counter()) < end:
        way(data)
        least = min(least, time.perf_counter() - start)
    return least


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    contenders = ways()
    for name, data in pictures().items():
        times = dict.fromkeys(contenders, float("inf"))
        for _ in range(rounds):
            for title, way in contenders.items():
                times[title] = min(times[title], seconds(way, data))
        print(f"\n{name:32} {'µs':>10}  {'of Pillow load':>15}")
        for title, spent in times.items():
            print(f"{title:32} {1e6 * spent:10,.0f}  {spent / times['Pillow load']:15.3f}")


if __name__ == "__main__":
    main()
