"""Keep the checkpoint with the highest mAP of a run, through stops and starts."""

import dataclasses
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from . import checkpoint, state
from .errors import OdbuildError

MAP, MAP50 = "DetectionBoxes_Precision/mAP", "DetectionBoxes_Precision/mAP@.50IOU"
"""What upstream calls COCO's two headline numbers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Best:
    """The best evaluation so far.

    Attributes:
        prefix: Prefix of a copy of its checkpoint.
        step: Step it was taken at.
        map: COCO mAP@[.5:.95], 0..1.
        map50: mAP@.5, 0..1.
        evaluated: Step of the newest evaluation, better or not.
    """

    prefix: Path
    step: int
    map: float
    map50: float
    evaluated: int


def read(checkpoints: Path) -> Best | None:
    """Return the best of an earlier start of the run, or None."""
    fields = state.read(checkpoints / "best.json")
    if not fields:
        return None
    return Best(**{**fields, "prefix": checkpoints / fields["prefix"]})


def update(checkpoints: Path, best: Best | None, prefix: Path, step: int, metrics: Mapping[str, float]) -> Best:
    """Take an evaluation in: the checkpoint at `prefix` becomes the best unless an earlier one was better.

    Raises:
        OdbuildError: If the evaluation gave no number.
    """
    mean, mean50 = _metric(metrics, MAP), _metric(metrics, MAP50)
    if best is not None and best.map > mean:
        kept = dataclasses.replace(best, evaluated=step)
    else:
        kept = Best(prefix=_keep(checkpoints, prefix), step=step, map=mean, map50=mean50, evaluated=step)
    relative = str(kept.prefix.relative_to(checkpoints))
    state.write(checkpoints / "best.json", {**dataclasses.asdict(kept), "prefix": relative})
    return kept


def _metric(metrics: Mapping[str, float], name: str) -> float:
    value = metrics.get(name, math.nan)
    if not value >= 0:  # COCO's evaluation says -1 where it had no ground truth
        raise OdbuildError(f"evaluation gave no {name} ({value}): does the validation split hold any box?")
    return value


def _keep(checkpoints: Path, prefix: Path) -> Path:
    """Copy a checkpoint aside; the one kept before goes only when the new one is whole."""
    fresh, folder = checkpoints / "best.new", checkpoints / "best"
    shutil.rmtree(fresh, ignore_errors=True)
    copied = checkpoint.copy(prefix, fresh)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
    return folder / copied.name
