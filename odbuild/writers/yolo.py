"""YOLO: `data.yaml`, a list of pictures for each side, and a text file of boxes for each picture that has some.

Pictures keep their paths, and their labels lie where Ultralytics looks for them: in `labels` across from `images`,
or else beside the picture. Lists name the sides, as a folder for each would change the paths.
"""

from collections.abc import Container, Mapping

import yaml

from odbuild.errors import OdbuildError
from odbuild.trainer.dataset import Box, Dataset, Picture, all_labels
from odbuild.trainer.findings import place, quote
from odbuild.trainer.readers.yolo import SIDES, labels_paths

SAYS = frozenset({"split"})
"""A picture on no side stands in the list `unsplit`, which is not of Ultralytics and which it passes over."""

DIGITS = 14
"""Decimals of a fraction that survive being taken apart into centre and length and put together again."""

_WORDS = {side: next(word for word, meant in SIDES.items() if meant == side) for side in SIDES.values()}
"""The first word for each side."""


def annotations(dataset: Dataset) -> Mapping[str, bytes]:
    """Return the config, the lists and the labels.

    Raises:
        OdbuildError: two pictures would have one file of labels.
    """
    names = all_labels(dataset)
    files = _labels(dataset, {name: number for number, name in enumerate(names)})
    # What lies where labels are looked for would be taken for some.
    taken = {*files, *(path for picture in dataset.pictures for path in labels_paths(picture.key))}
    sides: dict[str, str] = {}
    for side, word in _WORDS.items():
        keys = [picture.key for picture in dataset.pictures if picture.split == side]
        if keys:
            sides[word] = _free(f"{word}.txt", taken)
            files[sides[word]] = "".join(f"./{key}\n" for key in keys).encode()
    config = {**sides, "nc": len(names), "names": dict(enumerate(names))}
    # What is printable needs no escapes to be read as it is.
    text = yaml.safe_dump(config, allow_unicode=all(map(str.isprintable, names)), sort_keys=False)
    return {"data.yaml": text.encode(), **files}


def image_path(picture: Picture) -> str:
    """Return where the picture goes: below the root under its key."""
    return picture.key


def _labels(dataset: Dataset, numbers: Mapping[str, int]) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    owners: dict[str, str] = {}
    for picture in dataset.pictures:
        path = labels_paths(picture.key)[0]
        owner = owners.setdefault(path, picture.key)
        if owner != picture.key:
            raise OdbuildError(
                f"{place(owner)} and {place(picture.key)} would both have the labels in {quote(path)}. Rename one."
            )
        if picture.boxes:
            files[path] = "".join(_line(numbers[box.label], box) for box in picture.boxes).encode()
    for picture in dataset.pictures:
        own, *others = labels_paths(picture.key)
        if not picture.boxes and any(other in files for other in others):
            # Without labels of its own it would be given those of another picture.
            files[own] = b""
    return files


def _line(number: int, box: Box) -> str:
    (x, width), (y, height) = _span(box.xmin, box.xmax), _span(box.ymin, box.ymax)
    return f"{number} {x!r} {y!r} {width!r} {height!r}\n"


def _span(low: float, high: float) -> tuple[float, float]:
    """Return centre and length, without the last digits, which would change whenever they are read."""
    low, high = round(low, DIGITS), round(high, DIGITS)
    return round((low + high) / 2, DIGITS + 1), round(high - low, DIGITS)


def _free(name: str, taken: Container[str]) -> str:
    while name in taken:
        name = f"_{name}"
    return name
