"""Prove an export: run it on validation pictures, in a process of its own, and draw what it finds."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import draw, examples, records
from .errors import OdbuildError
from .plan import Plan

PICTURES = 6
"""Validation pictures that the model is tried on, those with boxes first."""

MIN_SCORE = 0.3
"""The least score of a detection that is drawn and counted."""

MIN_DRAWN = 5
"""So many of the best detections are drawn at the most, or twice the boxes of the ground truth: a model that has
learned nothing detects everywhere, and would hide the picture."""


def prove(plan: Plan, model: Path, target: Path) -> str:
    """Run a SavedModel on pictures and draw ground truth and detections into a PNG.

    Returns:
        A sentence on what was found.

    Raises:
        OdbuildError: If the model does not load or does not run.
    """
    scenes = _scenes(plan)
    found = _detect(model, [scene.picture for scene in scenes])
    drawn = [_with_detections(plan, *pair) for pair in zip(scenes, found, strict=True)]
    draw.sheet(drawn, target, f"{plan.model}, {plan.steps} steps")
    count = sum(detection["score"] >= MIN_SCORE for detections in found for detection in detections)
    return f"{count} boxes of score {MIN_SCORE} or more on {len(found)} pictures, see {target.name}"


def _scenes(plan: Plan) -> list[draw.Scene]:
    folder = Path(plan.data) / "pictures"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    found = sorted(_validation(plan), key=lambda example: not example.boxes)[:PICTURES]
    return [_scene(example, folder / f"{index}.{example.format}") for index, example in enumerate(found)]


def _validation(plan: Plan) -> Iterator[examples.Example]:
    for path in plan.validation_records:
        for record in records.read(Path(path)):
            yield examples.decode(record)


def _scene(example: examples.Example, path: Path) -> draw.Scene:
    path.write_bytes(example.encoded)
    marks = (
        draw.Mark(box=(b.ymin, b.xmin, b.ymax, b.xmax), caption=b.label, colour=draw.GROUND_TRUTH)
        for b in example.boxes
    )
    return draw.Scene(picture=path, marks=tuple(marks))


def _detect(model: Path, pictures: list[Path]) -> list[list[dict[str, Any]]]:
    command = [sys.executable, "-m", f"{__package__}.detect", str(model), *map(str, pictures)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}  # the GPU's memory is still this process's
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode == -signal.SIGKILL:
        raise OdbuildError(f"{model}: the exported model was killed as it ran: most often the memory is too small")
    if done.returncode:
        raise OdbuildError(f"{model}: the exported model does not run:\n{done.stderr[-2000:]}")
    return [json.loads(line)["detections"] for line in done.stdout.splitlines()]


def _with_detections(plan: Plan, scene: draw.Scene, detections: list[dict[str, Any]]) -> draw.Scene:
    marks = (
        draw.Mark(
            box=tuple(d["box"]),
            caption=f"{plan.labels[d['class'] - 1]} {d['score']:.2f}",
            colour=draw.DETECTION,
        )
        for d in detections[: max(MIN_DRAWN, 2 * len(scene.marks))]
        if d["score"] >= MIN_SCORE
    )
    return dataclasses.replace(scene, marks=(*marks, *scene.marks))
