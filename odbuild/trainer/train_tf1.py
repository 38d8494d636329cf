"""Train and evaluate a model of the TF1 zoo: upstream's Estimator, told to use its checkpoint."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import checkpoint
from .errors import OdbuildError
from .plan import Plan
from .progress import Progress

SAVE_SECONDS = 600
KEEP = 3


class HParams:
    """The one hyperparameter that upstream must be given.

    `model_main.py` gives none, and `model_lib.py` then takes `load_pretrained` for false: the checkpoint is
    ignored without a word.
    """

    load_pretrained = True

    def values(self) -> Mapping[str, Any]:
        """Return the parameters that override fields of the config: none."""
        return {}

    def get(self, name: str, default: Any = None) -> Any:
        """Return a parameter, or the default."""
        return getattr(self, name, default)


class Trainer:
    """A model under training in TF1 mode.

    Attributes:
        restored: How the variables compared with the checkpoint at step 0, once known.
    """

    def __init__(self, plan: Plan, progress: Progress) -> None:
        """Build the estimator and its inputs; call `compat.install("tf1")` first."""
        import tensorflow.compat.v1 as tf
        from object_detection import model_lib

        session = tf.ConfigProto(gpu_options=tf.GPUOptions(allow_growth=True))
        config = tf.estimator.RunConfig(
            model_dir=str(plan.checkpoints),
            tf_random_seed=1,
            save_checkpoints_secs=SAVE_SECONDS,
            keep_checkpoint_max=KEEP,
            log_step_count_steps=None,
            session_config=session,
        )
        made = model_lib.create_estimator_and_inputs(config, HParams(), plan.pipeline, train_steps=plan.steps)
        self.estimator = made["estimator"]
        self._train_input, self._eval_input = made["train_input_fn"], made["eval_input_fns"][0]
        self._plan, self._progress = plan, progress
        self.restored: checkpoint.Restored | None = None

    def train(self, until: int) -> int:
        """Train until a step, not at all where it is reached already, and return the step reached."""
        self.estimator.train(self._train_input, hooks=[self._hook()], max_steps=until)
        return int(self.estimator.get_variable_value("global_step"))

    def evaluate(self) -> Mapping[str, float]:
        """Evaluate the newest checkpoint on the validation split with COCO's metrics."""
        found = self.estimator.evaluate(self._eval_input)
        # Pictures drawn for TensorBoard come as bytes among the numbers.
        return {name: float(value) for name, value in found.items() if not isinstance(value, bytes)}

    def latest(self) -> Path:
        """Return the prefix of the newest checkpoint."""
        return Path(self.estimator.latest_checkpoint())

    def _hook(self) -> Any:
        import tensorflow.compat.v1 as tf

        trainer, progress = self, self._progress

        class Hook(tf.train.SessionRunHook):  # type: ignore[misc]
            step = 0

            def after_create_session(self, session: Any, _coordinator: Any) -> None:
                self.step = int(session.run(tf.train.get_global_step()))
                if self.step == 0:
                    trainer.check_restored(session)
                progress.training = True

            def before_run(self, _context: Any) -> Any:
                return tf.train.SessionRunArgs("total_loss:0")

            def after_run(self, context: Any, values: Any) -> None:
                progress.tell(self.step, float(values.results))
                self.step += 1
                if progress.stopped:
                    context.request_stop()

            def end(self, _session: Any) -> None:
                progress.training = False

        return Hook()

    def check_restored(self, session: Any) -> None:
        """Compare the session's variables with the checkpoint, and refuse what was not restored."""
        import tensorflow.compat.v1 as tf

        prefix = self._plan.checkpoint
        if prefix is None:
            return
        variables = {v.op.name: v for v in (*tf.trainable_variables(), *tf.model_variables())}
        reader = tf.train.load_checkpoint(prefix)
        self.restored = checkpoint.compare(reader, session.run(variables))
        self._progress.say(f"checkpoint: {self.restored}")
        try:
            checkpoint.require_restored(self.restored, prefix)
        except OdbuildError:
            # The Estimator may have saved the wrong weights by now, and the next start would go on from them.
            shutil.rmtree(self._plan.checkpoints)
            raise
