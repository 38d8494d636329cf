"""Photographs for the benchmarks: noise with detail of all sizes, which makes files like those of cameras."""

import io
import json
import os
import random
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

OCTAVES = ((8, 1.0), (32, 0.5), (128, 0.3), (512, 0.25), (1500, 0.3))
"""Cells across, and weight, of the layers of noise."""

VERSION = 1
"""To be raised when other files are made, so that those of an earlier version are not taken for them."""

LABELS = [f"class {number}" for number in range(10)]

MARGIN = 1.25
"""How much larger the canvas is than the photographs that are cut out of it."""

MAKER_NOTE = 0x927C
"""The Exif tag in which cameras keep kilobytes of their own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Album:
    """A data set to be made.

    Attributes:
        name: of its folder.
        count: photographs.
        width: pixels of each.
        height: pixels of each.
        quality: of the JPEG, which decides about the size of the files.
    """

    name: str
    count: int
    width: int
    height: int
    quality: int


SMALL = Album(name="small", count=2000, width=640, height=480, quality=89)
LARGE = Album(name="large", count=200, width=4000, height=3000, quality=94)
ALBUMS = (SMALL, LARGE)


def photograph(width: int, height: int) -> Image.Image:
    """Return a picture with detail of all sizes, the same in every run."""
    dice = random.Random(width)  # noqa: S311
    picture = Image.new("RGB", (width, height), (128, 128, 128))
    for cells, weight in OCTAVES:
        across, down = min(cells, width), min(cells * height // width, height)
        layer = Image.frombytes("RGB", (across, down), dice.randbytes(3 * across * down))
        picture = Image.blend(picture, layer.resize(picture.size, Image.Resampling.BICUBIC), weight / 2)
    return picture


def make(folder: Path, album: Album) -> Path:
    """Make a Cloud Annotations folder of photographs, unless it is there, and return it.

    One in ten is progressive, one in twenty gray, three in ten have Exif data.
    """
    target = folder / f"{album.name}-{album.count}-{VERSION}"
    if target.exists():
        return target
    work = target.with_suffix(".partial")
    work.mkdir(parents=True, exist_ok=True)
    processors = os.cpu_count() or 1
    with ProcessPoolExecutor(processors) as pool:
        list(
            pool.map(_save, *zip(*((work, album, first, processors) for first in range(processors)), strict=True))
        )
    boxes = {_key(number): list(_boxes(number)) for number in range(album.count)}
    told = {"version": "1.0", "type": "localization", "labels": LABELS, "annotations": boxes}
    (work / "_annotations.json").write_text(json.dumps(told))
    work.rename(target)
    return target


def _key(number: int) -> str:
    return f"{number:06}.jpg"


def _save(work: Path, album: Album, first: int, step: int) -> None:
    """Write every so many-th photograph."""
    canvas = photograph(int(MARGIN * album.width), int(MARGIN * album.height))
    for number in range(first, album.count, step):
        (work / _key(number)).write_bytes(_encoded(canvas, album, number))


def _encoded(canvas: Image.Image, album: Album, number: int) -> bytes:
    dice = random.Random(number)  # noqa: S311
    picture = Image.blend(_part(canvas, album, dice), _part(canvas, album, dice), dice.uniform(0.1, 0.5))
    options: dict[str, Any] = {"progressive": number % 10 == 3}
    if number % 10 in (0, 4, 8):
        options["exif"] = _exif(dice)
    if number % 20 == 7:
        picture = picture.convert("L")
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=album.quality, **options)
    return out.getvalue()


def _part(canvas: Image.Image, album: Album, dice: random.Random) -> Image.Image:
    left, top = dice.randint(0, canvas.width - album.width), dice.randint(0, canvas.height - album.height)
    part = canvas.crop((left, top, left + album.width, top + album.height))
    return part.transpose(dice.choice(list(Image.Transpose)[:2]))


def _exif(dice: random.Random) -> Image.Exif:
    """Return what cameras add, the picture upright."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0112] = "Maker", "Model", 1
    exif[0x8769] = {0x9003: "2026:01:01 12:00:00", MAKER_NOTE: dice.randbytes(dice.randint(500, 8000))}
    return exif


def _boxes(number: int) -> Iterator[dict[str, float | str]]:
    """Yield one to four boxes as Cloud Annotations has them."""
    dice = random.Random(number)  # noqa: S311
    for _ in range(dice.randint(1, 4)):
        x, y = dice.uniform(0, 0.5), dice.uniform(0, 0.5)
        yield {
            "x": x,
            "y": y,
            "x2": x + dice.uniform(0.1, 0.5),
            "y2": y + dice.uniform(0.1, 0.5),
            "label": dice.choice(LABELS),
        }
