"""Draw ground truth and detections on pictures, for people who would rather look than read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

SIDE = 480
"""The longest side of a picture on the sheet, in pixels."""

GROUND_TRUTH, DETECTION = "#2ecc40", "#ff4136"
CAPTION, COLUMNS, MOST_LETTERS = 44, 3, 40


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """A box to draw: ymin, xmin, ymax, xmax as fractions of the picture, its caption and its colour."""

    box: tuple[float, float, float, float]
    caption: str
    colour: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """A picture and the boxes to draw on it."""

    picture: Path
    marks: tuple[Mark, ...]


def sheet(scenes: Sequence[Scene], target: Path, title: str) -> None:
    """Write a PNG with the scenes side by side, three a row, under a title that names the colours."""
    tiles = [_tile(scene) for scene in scenes]
    rows = [tiles[start : start + COLUMNS] for start in range(0, len(tiles), COLUMNS)]
    heights = [max(tile.height for tile in row) for row in rows]
    canvas = Image.new("RGB", (min(COLUMNS, len(tiles)) * SIDE, sum(heights) + CAPTION), "#202020")
    _caption(ImageDraw.Draw(canvas), title, canvas.width)
    top = CAPTION
    for row, height in zip(rows, heights, strict=True):
        for column, tile in enumerate(row):
            canvas.paste(tile, (column * SIDE, top))
        top += height
    partial = target.with_name(f"{target.name}.partial")
    canvas.save(partial, "PNG")
    partial.replace(target)


def _caption(pen: ImageDraw.ImageDraw, title: str, width: int) -> None:
    pen.text((6, 4), title, "#ffffff", _font())
    pen.text((6, 22), "ground truth", GROUND_TRUTH, _font())
    pen.text((min(width, 110), 22), "detections", DETECTION, _font())


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(14)


def _tile(scene: Scene) -> Image.Image:
    with Image.open(scene.picture) as source:
        picture = source.convert("RGB")
    picture.thumbnail((SIDE, SIDE))
    pen = ImageDraw.Draw(picture)
    for mark in scene.marks:
        _draw(pen, mark, picture.width, picture.height)
    return picture


def _draw(pen: ImageDraw.ImageDraw, mark: Mark, width: int, height: int) -> None:
    ymin, xmin, ymax, xmax = mark.box
    left, right = sorted((xmin * width, xmax * width))
    top, bottom = sorted((ymin * height, ymax * height))
    pen.rectangle((left, top, right, bottom), outline=mark.colour, width=3)
    # Ground truth is named inside its upper edge, a detection inside its lower one: they often coincide.
    line = max(top, 0) + 3 if mark.colour == GROUND_TRUTH else min(bottom, height) - 20
    at = (max(left, 0) + 5, line)
    caption = " ".join(mark.caption.split())[:MOST_LETTERS]
    pen.rectangle(pen.textbbox(at, caption, _font()), fill="#202020")
    pen.text(at, caption, mark.colour, _font())
