"""Train, evaluate, export and prove a prepared run: `python -m trainer.run`."""

import dataclasses
import math
import shutil
import signal
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from . import best, checkpoint, compat, export, plan, proof, stage, state
from .best import Best
from .errors import OdbuildError
from .plan import Plan
from .progress import Progress

EVALUATIONS = 10
"""How often at the most a long run is evaluated on its way."""

EVALUATE_FROM_STEPS = 1000
"""The fewest steps between two evaluations: each costs the building of a graph."""


class Trainer(Protocol):
    """What `train_tf1.Trainer` and `train_tf2.Trainer` have in common."""

    restored: checkpoint.Restored | None

    def train(self, until: int) -> int:
        """Train until a step, not at all where it is reached already, and return the step reached."""

    def evaluate(self) -> Mapping[str, float]:
        """Return COCO's metrics on the validation split."""

    def latest(self) -> Path:
        """Return the prefix of the newest checkpoint."""


def main() -> int:
    """Run what `prepare` has planned; return the exit code."""

    def work() -> int:
        # Upstream's code calls what TensorFlow has deprecated since; a user can do nothing about it.
        warnings.simplefilter("ignore")
        progress = Progress(say=_say)
        signal.signal(signal.SIGTERM, lambda *_: _stop(progress))
        prepared = plan.load()
        compat.install(prepared.zoo)
        return _within_limits(prepared, progress)

    return stage.run(work)


def run(prepared: Plan, progress: Progress) -> int:
    """Train to the last step, evaluate on the way, export the best checkpoint and prove the export.

    Returns:
        0, or 143 where a SIGTERM ended training early; the same start resumes it.

    Raises:
        OdbuildError: If training diverges, starts from the wrong weights, or leaves no usable export.
    """
    _require_gpu(prepared)
    _sweep(prepared.checkpoints)
    trainer = make_trainer(prepared, progress)
    found = _train(prepared, trainer, progress)
    if found is None:
        _say("stopped: the checkpoint is saved; start again with the same RESULT_DIR to go on")
        return stage.TERMINATED
    model = Path(prepared.result) / "model"
    exports = export.export(prepared, found.prefix, model)
    _say(f"exported the checkpoint of step {found.step}: {', '.join(exports)}")
    _say(f"the exported model runs: {proof.prove(prepared, model, Path(prepared.result) / 'detections.png')}")
    _report(prepared, found, exports)
    return 0


def stages(steps: int) -> list[int]:
    """Return the steps to evaluate at, the last step always among them."""
    count = min(EVALUATIONS, max(1, steps // EVALUATE_FROM_STEPS))
    return [math.ceil(steps * number / count) for number in range(1, count + 1)]


def _say(line: str) -> None:
    print(line, flush=True)


def _stop(progress: Progress) -> None:
    """Let the step under way end and be saved; outside of training there is nothing to save."""
    if not progress.training:
        raise SystemExit(stage.TERMINATED)
    progress.stopped = True


def _within_limits(prepared: Plan, progress: Progress) -> int:
    """Tell memory and disk that ran out in TensorFlow's own words as what they are."""
    import tensorflow as tf

    try:
        return run(prepared, progress)
    except tf.errors.OpError as error:
        if "No space left" in str(error) or "Disk quota" in str(error):
            raise OdbuildError(f"{prepared.result}: no space left. Free some and start again.") from error
        if isinstance(error, tf.errors.ResourceExhaustedError):
            raise too_small(prepared) from error
        raise


def too_small(prepared: Plan) -> OdbuildError:
    """Return the error of a step that did not fit the memory, with what to try next."""
    if prepared.batch_size == 1:
        return OdbuildError(
            "the memory is too small for even one picture a step: take a machine with more, a model of smaller "
            "pictures (`odbuild models`), or shrink those of this one (`odbuild bundle --set` its image_resizer)."
        )
    return OdbuildError(
        f"the memory is too small for {prepared.batch_size} pictures a step. Make the bundle again with "
        f"--batch-size {prepared.batch_size // 2}."
    )


def _require_gpu(prepared: Plan) -> None:
    """Refuse to train for days on the CPU of a machine whose GPU is paid for."""
    import tensorflow as tf

    if prepared.gpu and not tf.config.list_physical_devices("GPU"):
        raise OdbuildError(
            "this machine has an NVIDIA card, but TensorFlow cannot use it: its driver is too old, or CUDA's "
            "libraries are missing. To train on the CPU all the same, set CUDA_VISIBLE_DEVICES to nothing."
        )


def _sweep(checkpoints: Path) -> None:
    """Remove the halves of checkpoints that an earlier start was killed over."""
    for half in checkpoints.glob("*_temp*"):
        shutil.rmtree(half, ignore_errors=True)


def make_trainer(prepared: Plan, progress: Progress) -> Trainer:
    """Return the trainer of the zoo that the model is of."""
    if prepared.zoo == "tf1":
        from . import train_tf1

        return train_tf1.Trainer(prepared, progress)
    from . import train_tf2

    return train_tf2.Trainer(prepared, progress)


def _train(prepared: Plan, trainer: Trainer, progress: Progress) -> Best | None:
    """Train stage by stage; return the best evaluation, or None where training was stopped."""
    found = best.read(prepared.checkpoints)
    for until in stages(prepared.steps):
        reached = trainer.train(until)
        _remember(prepared, trainer, progress)
        if progress.stopped:
            return None
        # A run that goes on passes the stages that lie behind it.
        due = until in {reached, prepared.steps}
        if due and (found is None or found.evaluated < reached):
            found = best.update(prepared.checkpoints, found, trainer.latest(), reached, trainer.evaluate())
            _say(
                f"step {reached}: best so far is step {found.step}, mAP {found.map:.4f}, mAP@.5 {found.map50:.4f}"
            )
    return found


def _remember(prepared: Plan, trainer: Trainer, progress: Progress) -> None:
    """Keep what only this start of the run knows for the start that ends it."""
    path = prepared.checkpoints / "account.json"
    known = state.read(path)
    news = {
        "restored": dataclasses.asdict(trainer.restored) if trainer.restored else None,
        "loss_first": known.get("loss_first", progress.first),
        "loss_last": progress.last,
    }
    state.write(path, {**known, **{name: value for name, value in news.items() if value is not None}})


def _report(prepared: Plan, found: Best, exports: tuple[str, ...]) -> None:
    import tensorflow as tf

    account = state.read(prepared.checkpoints / "account.json")
    results: dict[str, Any] = {
        "model": prepared.model,
        "tensorflow": tf.__version__,
        "steps": prepared.steps,
        "batch_size": prepared.batch_size,
        "labels": prepared.labels,
        "restored": account.get("restored"),
        "loss_first": account.get("loss_first"),
        "loss_last": account.get("loss_last"),
        "best_step": found.step,
        "map": found.map,
        "map50": found.map50,
        "exports": [f"model/{name}" for name in exports],
        "picture": "detections.png",
    }
    state.write(Path(prepared.result) / "results.json", results)


if __name__ == "__main__":
    sys.exit(main())
