"""Try one model in one process, by the payload of its own bundle: `python -m odbuild.trial DATA OUT FILE`.

Runs in the folder of an unpacked bundle, upstream's two packages unpacked beside and on the path. To import
TensorFlow and to build graphs is what costs, so one process does it all: the config is fitted to the data, the
model built, a step taken, the model exported, its export run, and its own checkpoint restored by the way that a
user's checkpoint takes.
"""

import json
import resource
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

# The names that they have in the bundle, whose folder this runs in.
import prepare_training
from trainer import compat, export, prepare, proof, run
from trainer.progress import Progress
from trainer.recipe import Checkpoint

from .pipeline import PLACEHOLDER

MAGNIFIED = 1.01
"""What the values of the checkpoint to restore are multiplied with: two runs of one seed begin alike, so that
values which one step has left as they were would pass for restored."""

LONGEST = 250
"""Characters of a sentence at the most: TensorFlow's own may list a whole graph."""

T = TypeVar("T")


class NotReached(Exception):  # noqa: N818  no error of its own
    """A stage cannot be tried because one before it failed."""


def sentence(error: BaseException | None) -> str | None:
    """Return the first line of an error, after its kind; "" for what was not reached, None for none."""
    if error is None or isinstance(error, NotReached):
        return None if error is None else ""
    first = next(filter(None, (line.strip() for line in str(error).splitlines())), "no message")
    return f"{type(error).__name__}: {first}"[:LONGEST]


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """What came of each stage, one JSON object a line, written as soon as it is known."""

    path: Path
    _since: list[float] = field(default_factory=lambda: [time.monotonic()])

    def tell(self, stage: str, error: BaseException | None = None, **facts: Any) -> None:
        """Write a line: the stage, what went wrong or null, the seconds since the last line, further facts."""
        now = time.monotonic()
        if error is not None and not isinstance(error, NotReached):
            traceback.print_exception(error)
        told = {"stage": stage, "failed": sentence(error), "seconds": round(now - self._since[0], 1), **facts}
        self._since[0] = now
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(told) + "\n")

    def attempt(self, stage: str, work: Callable[[], T], facts: Callable[[T], Mapping[str, Any]]) -> T | None:
        """Do the work of a stage and tell what came of it; None where it failed."""
        try:
            done = work()
        except Exception as error:  # noqa: BLE001  what breaks is what is to be found out
            self.tell(stage, error)
            return None
        self.tell(stage, **facts(done))
        return done


def trial(data: Path, out: Path, account: Account) -> None:
    """Try every stage that can be tried."""
    recipe = prepare_training.RECIPE
    compat.install(recipe.zoo)
    import tensorflow as tf

    account.tell("started", tensorflow=tf.__version__)
    plan = account.attempt("config", lambda: _prepare(recipe, data, out / "first"), lambda _: {})
    trained = _train(plan, account)
    account.attempt("exported", lambda: _export(plan, trained, out / "model"), lambda said: {"export": said})
    account.attempt("restored", lambda: _restore(recipe, trained, data, out / "second"), _counts)


def _prepare(recipe: Any, data: Path, result: Path) -> Any:
    text = Path(recipe.config).read_text(encoding="utf-8")
    if PLACEHOLDER in text:
        raise ValueError(f"{recipe.config} holds {PLACEHOLDER}")
    result.mkdir(parents=True)
    return prepare.prepare(recipe, 1, data, result)


def _train(plan: Any, account: Account) -> Path | None:
    """Build the model, take a step, and return the prefix of the checkpoint after it."""
    progress = Progress(say=print)
    if plan is None:
        account.tell("built", NotReached())
        account.tell("step", NotReached())
        return None
    try:
        trainer = run.make_trainer(plan, progress)
        trainer.train(1)
    except Exception as error:  # noqa: BLE001  what breaks is what is to be found out
        # Both trainers set it when the model stands and the first step begins.
        account.tell("built", None if progress.training else error)
        account.tell("step", error if progress.training else NotReached())
        return None
    account.tell("built")
    account.tell("step", loss=progress.first)
    return Path(trainer.latest())


def _export(plan: Any, trained: Path | None, model: Path) -> str:
    if trained is None:
        raise NotReached
    export.export(plan, trained, model)
    return str(proof.prove(plan, model, model.with_name("detections.png")))


def _restore(recipe: Any, trained: Path | None, data: Path, result: Path) -> Any:
    """Start a run of the same architecture from the checkpoint, and return how it compared at step 0."""
    if trained is None:
        raise NotReached
    prepare.CHECKPOINT.mkdir()
    magnify(trained, (prepare.CHECKPOINT / "model.ckpt").absolute())
    plan = _prepare(replace(recipe, checkpoint=Checkpoint(prefix="model.ckpt")), data, result)
    trainer = run.make_trainer(plan, Progress(say=print))
    if plan.zoo == "tf1":
        trainer.train(1)  # an Estimator builds and restores no sooner
    return trainer.restored


def magnify(prefix: Path, target: Path) -> None:
    """Copy a checkpoint, of either TensorFlow, with other values for all its numbers."""
    import numpy as np
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(prefix))
    values = {name: reader.get_tensor(name) for name in sorted(reader.get_variable_to_shape_map())}
    tensors = [
        value * np.asarray(MAGNIFIED, value.dtype)
        if np.issubdtype(np.asarray(value).dtype, np.floating)
        else value
        for value in values.values()
    ]
    save = tf.raw_ops.SaveV2(
        prefix=str(target), tensor_names=list(values), shape_and_slices=[""] * len(values), tensors=tensors
    )
    if not tf.executing_eagerly():
        with tf.compat.v1.Session() as session:
            session.run(save)


def _counts(restored: Any) -> dict[str, Any]:
    names = ("identical", "other_shape", "different", "new")
    return {"restored": {name: getattr(restored, name) for name in names}}


def main(arguments: list[str]) -> int:
    """Run a trial; whatever came of it, it is in the file."""
    data, out, file = map(Path, arguments)
    warnings.simplefilter("ignore")
    account = Account(path=file)
    trial(data.absolute(), out.absolute(), account)
    account.tell("ended", peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
