"""Run an exported model on pictures: `python -m trainer.detect MODEL_DIR PICTURE...` prints JSON lines.

It is also how a run proves its export: in a process of its own, with nothing of the training in it.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from . import stage
from .errors import OdbuildError, UsageError

Detection = dict[str, Any]


def load(folder: Path) -> Callable[[Path], list[Detection]]:
    """Load a SavedModel and return a function from a picture's path to its detections.

    A detection is `{"box": [ymin, xmin, ymax, xmax], "class": id from 1, "score": 0..1}`, the box in fractions
    of the picture, best first.
    """
    import numpy as np
    import tensorflow as tf
    from PIL import Image

    model = tf.saved_model.load(str(folder)).signatures["serving_default"]
    (name,) = model.structured_input_signature[1]

    def detect(path: Path) -> list[Detection]:
        try:
            with Image.open(path) as picture:
                pixels = np.asarray(picture.convert("RGB"))[np.newaxis]
        except OSError as error:
            raise OdbuildError(f"{path}: is no picture that can be read ({error})") from error
        found = {key: value.numpy()[0] for key, value in model(**{name: tf.constant(pixels)}).items()}
        rows = zip(found["detection_boxes"], found["detection_classes"], found["detection_scores"], strict=True)
        return [{"box": [float(v) for v in b], "class": int(c), "score": float(s)} for b, c, s in rows]

    return detect


def lines(folder: Path, pictures: Sequence[Path]) -> Iterator[str]:
    """Yield a JSON object a picture: its path and its detections."""
    detect = load(folder)
    for path in pictures:
        yield json.dumps({"picture": str(path), "detections": detect(path)})


def main(arguments: Sequence[str]) -> int:
    """Print the detections of a model on pictures."""

    def work() -> int:
        folder, *pictures = (Path(argument) for argument in arguments)
        if not (folder / "saved_model.pb").is_file():
            raise UsageError(f"{folder}: is no SavedModel (there is no saved_model.pb in it)")
        for line in lines(folder, pictures):
            print(line, flush=True)
        return 0

    if len(arguments) < 2:
        print("usage: python -m trainer.detect MODEL_DIR PICTURE...", file=sys.stderr)
        return 2
    return stage.run(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
