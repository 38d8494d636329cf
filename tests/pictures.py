"""Tiny real pictures, made by the codecs that make large ones."""

import io
import random
import struct
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFilter


def drawing(width: int = 48, height: int = 32, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """Return a picture with colours and edges in it, different for each seed."""
    picture = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    pen = ImageDraw.Draw(picture)
    colour = ((seed * 37) % 256, (seed // 7 * 59) % 256, (seed // 49 * 83) % 256)
    pen.rectangle((width // 4, height // 4, width // 2, height // 2), fill=colour)
    return picture.convert("I").convert(mode) if mode.startswith("I;16") else picture.convert(mode)


def photograph(seed: int, size: tuple[int, int] = (640, 480)) -> Image.Image:
    """Return a picture with soft light and dark regions, as photographs have them."""
    noise = Image.frombytes("L", (12, 9), random.Random(seed).randbytes(108))  # noqa: S311  no secret
    return noise.resize(size, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(3)).convert("RGB")


def encoded(picture: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    """Return the file of a picture."""
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def stream(data: bytes) -> io.BytesIO:
    """Return a file object, as the imaging library wants it."""
    return io.BytesIO(data)


def jpeg(width: int = 48, height: int = 32, *, seed: int = 0, orientation: int | None = None) -> bytes:
    """Return a JPEG file, with an Exif orientation if asked."""
    options: dict[str, Any] = {} if orientation is None else {"exif": exif(orientation)}
    return encoded(drawing(width, height, seed=seed), **options)


def exif(orientation: int) -> bytes:
    """Return the Exif block that holds nothing but an orientation."""
    return b"Exif\0\0" + b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def write(folder: Path, key: str, data: bytes) -> Path:
    """Put a file into the folder, under a key that may name folders."""
    path = folder / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
