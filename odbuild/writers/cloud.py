"""Cloud Annotations v1: `_annotations.json` beside the pictures, as the hosted service exported it."""

import json
from collections.abc import Mapping
from typing import Any

from odbuild.trainer.dataset import Box, Dataset, Picture, all_labels
from odbuild.trainer.readers.cloud import NAME

SAYS = frozenset[str]()
"""Nothing but keys, boxes and labels."""


def annotations(dataset: Dataset) -> Mapping[str, bytes]:
    """Return the one file of annotations, with every label declared."""
    document = {
        "version": "1.0",
        "type": "localization",
        "labels": all_labels(dataset),
        "annotations": {picture.key: [_annotation(box) for box in picture.boxes] for picture in dataset.pictures},
    }
    return {NAME: json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()}


def image_path(picture: Picture) -> str:
    """Return where the picture goes: below the root under its key."""
    return picture.key


def _annotation(box: Box) -> dict[str, Any]:
    return {"x": box.xmin, "y": box.ymin, "x2": box.xmax, "y2": box.ymax, "label": box.label}
