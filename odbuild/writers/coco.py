"""COCO JSON: `annotations/instances_<side>.json` beside the pictures, boxes in pixels."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from odbuild.errors import OdbuildError
from odbuild.trainer.dataset import Dataset, Picture, SplitName, all_labels
from odbuild.trainer.findings import place
from odbuild.trainer.images import ImageError, sizes
from odbuild.trainer.looks import read

SAYS = frozenset({"split", "crowd"})
"""A file for each side, and `iscrowd`."""

DIGITS = 14
"""Of the 15 digits that a number surely holds, those that survive being divided and multiplied by a side."""

_FILES: Mapping[SplitName, str] = {
    "": "instances.json",
    "train": "instances_train.json",
    "validation": "instances_val.json",
    "test": "instances_test.json",
}


def annotations(dataset: Dataset) -> Mapping[str, bytes]:
    """Return the file of each side that has a picture, every label in each.

    Raises:
        OdbuildError: the size of a picture with boxes is not known, and its file does not tell it.
    """
    ids = {label: number for number, label in enumerate(all_labels(dataset), start=1)}
    sides: dict[SplitName, list[Picture]] = {} if dataset.pictures else {"": []}
    for picture in dataset.pictures:
        sides.setdefault(picture.split, []).append(picture)
    return {f"annotations/{_FILES[side]}": _document(dataset, sides[side], ids) for side in sides}


def image_path(picture: Picture) -> str:
    """Return where the picture goes: below the root under its key."""
    return picture.key


def _document(dataset: Dataset, pictures: Sequence[Picture], ids: Mapping[str, int]) -> bytes:
    images: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    for number, picture in enumerate(pictures, start=1):
        width, height = _size(dataset, picture)
        images.append({"id": number, "file_name": picture.key, "width": width, "height": height})
        for box in picture.boxes:
            left, across = _pixels(box.xmin, box.xmax, width)
            top, down = _pixels(box.ymin, box.ymax, height)
            boxes.append(
                {
                    "id": len(boxes) + 1,
                    "image_id": number,
                    "category_id": ids[box.label],
                    "bbox": [left, top, across, down],
                    "area": across * down,
                    "iscrowd": int(box.crowd),
                    "segmentation": [],
                }
            )
    categories = [{"id": number, "name": label, "supercategory": ""} for label, number in ids.items()]
    document: dict[str, Any] = {
        "info": {},
        "licenses": [],
        "categories": categories,
        "images": images,
        "annotations": boxes,
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _pixels(low: float, high: float, side: int) -> tuple[float, float]:
    """Return start and length in pixels, without the last digits, which would change whenever they are read.

    Args:
        low: start as a fraction of the side.
        high: end as a fraction of the side.
        side: of the picture in pixels.
    """
    digits = DIGITS - len(str(side))
    start = round(low * side, digits)
    return start, round(round(high * side, digits) - start, digits)


def _size(dataset: Dataset, picture: Picture) -> tuple[int, int]:
    """Return width and height in pixels, as recorded or as the picture's header has them.

    What a record says of the size is not what its boxes, which are fractions, were divided by.
    """
    if picture.size is not None and picture.span is None:
        return picture.size
    path = dataset.path(picture)
    try:
        found = sizes(read(path, picture.span))
    except ImageError as error:
        raise OdbuildError(f"{path}: {error.message}, so nothing was written. To go on, {error.fix}.") from error
    size = found[0] if found else picture.size
    if size is None:
        raise OdbuildError(
            f"The size of {place(picture.key)} in {path} is not known, and COCO needs it. Replace the picture."
        )
    return size
