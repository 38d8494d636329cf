"""Datasets of other formats on disk, written the plain way for the tests of their readers."""

from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import escape

import pictures

from odbuild.trainer.dataset import Box, Dataset

Pixels = tuple[str, int, int, int, int]
"""Label, left, top, right, bottom."""


def voc_xml(size: tuple[int, int], boxes: list[Pixels], filename: str = "") -> str:
    """Return an annotation as labelImg writes it."""
    objects = "".join(voc_object(box) for box in boxes)
    return (
        f"<annotation>\n\t<folder>x</folder>\n\t<filename>{escape(filename)}</filename>\n"
        f"\t<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>\n"
        f"\t<segmented>0</segmented>\n{objects}</annotation>\n"
    )


def voc_object(box: Pixels, *, difficult: int = 0) -> str:
    """Return one object of an annotation, in one line."""
    label, left, top, right, bottom = box
    return (
        f"<object><name>{escape(label)}</name><pose>Unspecified</pose><truncated>0</truncated>"
        f"<difficult>{difficult}</difficult><bndbox><xmin>{left}</xmin><ymin>{top}</ymin>"
        f"<xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>\n"
    )


def yolo_line(number: int, box: Box) -> str:
    """Return a box as a line of labels."""
    values = (
        (box.xmin + box.xmax) / 2,
        (box.ymin + box.ymax) / 2,
        box.xmax - box.xmin,
        box.ymax - box.ymin,
    )
    return " ".join([str(number), *map(repr, values)])


def put(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write files by key and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for key, content in files.items():
        pictures.write(folder, key, content.encode() if isinstance(content, str) else content)
    return folder


def whole(data: Dataset) -> bool:
    """Say whether pictures and boxes in are those out and those dropped."""
    lost = [change.what for change in data.ledger if change.action == "dropped"]
    boxes = sum(len(picture.boxes) for picture in data.pictures)
    return (data.keys, data.drawn) == (len(data.pictures) + lost.count("picture"), boxes + lost.count("box"))
