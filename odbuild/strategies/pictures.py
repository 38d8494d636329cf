"""Tiny real pictures: JPEG and PNG of the kinds that cameras and tools write, each seed another one."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFilter

from odbuild.trainer import alike

from .files import Brief

LEAST, MOST = 32, 64
"""Pixels of a drawn picture's sides: the least that no rule calls too small, and enough."""

FRESH = 4000
"""Seed of the first picture that is put beside those drawn."""

BLOCK = 8
"""Pixels of the blocks that spell the seed, which are those that JPEG cuts a picture into."""

Options = Mapping[str, Any]

KINDS: Mapping[str, tuple[str, Options]] = {
    "jpeg": ("RGB", {}),
    "progressive jpeg": ("RGB", {"progressive": True}),
    "gray jpeg": ("L", {}),
    "fine jpeg": ("RGB", {"quality": 95, "subsampling": 0, "optimize": True}),
    "restarting jpeg": ("RGB", {"restart_marker_rows": 1}),
    "png": ("RGB", {}),
    "gray png": ("L", {}),
    "clear png": ("RGBA", {}),
    "palette png": ("P", {}),
}
"""The mode of each kind, and how it is saved. The last word is its format."""

_KINDS = st.sampled_from(list(KINDS))

PHOTOGRAPHS = 12
"""Photographs of which no two look alike."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Image(Brief):
    """A picture's file.

    Attributes:
        data: its bytes.
        format: `jpeg` or `png`.
        width: pixels.
        height: pixels.
    """

    data: bytes = field(repr=False)
    format: str
    width: int
    height: int

    @property
    def suffix(self) -> str:
        """Return the ending of a name for it."""
        return ".jpg" if self.format == "jpeg" else ".png"


@st.composite
def images(draw: st.DrawFn, *, seed: st.SearchStrategy[int] | None = None) -> Image:
    """Draw a JPEG or PNG file of a few hundred bytes: gray, coloured, progressive, with a palette, clear.

    Args:
        draw: given by Hypothesis.
        seed: numbers from 0 to 65,535; pictures of different ones have different pixels. Any by default.
    """
    kind = draw(_KINDS)
    width, height = (draw(st.integers(LEAST, MOST)) for _ in "xy")
    return image(kind, width, height, draw(st.integers(0, 2**16 - 1) if seed is None else seed))


@lru_cache(maxsize=2048)
def image(kind: str = "jpeg", width: int = LEAST, height: int = LEAST, seed: int = 0) -> Image:
    """Return the file of a drawing, always the same for the same words."""
    mode, options = KINDS[kind]
    form = kind.rpartition(" ")[2]
    data = saved(drawing(width, height, seed).convert(mode), form, **options)
    return Image(data=data, format=form, width=width, height=height)


def drawing(width: int, height: int, seed: int) -> Pillow.Image:
    """Return colours that run into each other, with 16 black or white blocks on them that spell the seed."""
    picture = Pillow.linear_gradient("L").resize((width, height)).convert("RGB")
    pen = ImageDraw.Draw(picture)
    pen.rectangle((width // 2, height // 2, width, height), fill=(200, 40, 90))
    across = width // BLOCK
    for bit in range(16):
        left, top = bit % across * BLOCK, bit // across * BLOCK
        shade = 255 * (seed >> bit & 1)
        pen.rectangle((left, top, left + BLOCK - 1, top + BLOCK - 1), fill=(shade,) * 3)
    return picture


@lru_cache(maxsize=1)
def photographs() -> tuple[Pillow.Image, ...]:
    """Return pictures of soft light and dark regions, as photographs have them, none of which is like another."""
    found: list[Pillow.Image] = []
    looks: list[int | None] = []
    seed = 0
    while len(found) < PHOTOGRAPHS:
        picture = _photograph(seed)
        seed += 1
        look = alike.look(saved(picture, "png"))
        if not any(True for _ in alike.near([*looks, look])):
            found.append(picture)
            looks.append(look)
    return tuple(found)


def _photograph(seed: int) -> Pillow.Image:
    shades = bytes((place * place * 31 + seed * 97 + place * seed * 7) % 256 for place in range(108))
    noise = Pillow.frombytes("L", (12, 9), shades)
    soft = noise.resize((MOST, MOST), Pillow.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(3))
    return soft.convert("RGB")


def saved(picture: Pillow.Image, form: str, **options: Any) -> bytes:
    """Return the file of a picture."""
    out = io.BytesIO()
    picture.save(out, form, **options)
    return out.getvalue()
