"""Train and evaluate a model of the TF2 zoo: upstream's step and evaluation, in a loop that loses no step.

Upstream's own loop saves at multiples of 1,000 steps only, so that the last steps are lost, and tells the loss
every 100 steps.
"""

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from . import checkpoint
from .errors import OdbuildError
from .plan import Plan
from .progress import Progress

SAVE_SECONDS = 600
KEEP = 3
VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


class Trainer:
    """A model under training in TF2 mode.

    Attributes:
        restored: How the variables compared with the checkpoint at step 0, once known.
    """

    def __init__(self, plan: Plan, progress: Progress) -> None:
        """Build model, input and optimizer, and resume or restore; call `compat.install("tf2")` first."""
        import tensorflow as tf
        from object_detection import inputs
        from object_detection.builders import model_builder, optimizer_builder
        from object_detection.utils import config_util

        tf.random.set_seed(1)
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, enable=True)
        self._plan, self._progress = plan, progress
        self.restored: checkpoint.Restored | None = None
        self.configs = config_util.get_configs_from_pipeline_file(plan.pipeline)
        self.model = model_builder.build(self.configs["model"], is_training=True)
        self._data = inputs.train_input(
            train_config=self._train_config,
            train_input_config=self.configs["train_input_config"],
            model_config=self.configs["model"],
            model=self.model,
        ).repeat()
        self.step = tf.Variable(0, trainable=False, dtype=tf.int64, name="global_step")
        self._optimizer, (self._rate,) = optimizer_builder.build(
            self._train_config.optimizer, global_step=self.step
        )
        self._build()
        saved = tf.train.Checkpoint(step=self.step, model=self.model, optimizer=self._optimizer)
        self._manager = tf.train.CheckpointManager(saved, str(plan.checkpoints), max_to_keep=KEEP)
        if self._manager.latest_checkpoint is None:
            self._start()
        else:
            # Whole or not at all: what is not matched here would go on from random weights.
            saved.restore(self._manager.latest_checkpoint).assert_existing_objects_matched()

    @property
    def _train_config(self) -> Any:
        return self.configs["train_config"]

    def train(self, until: int) -> int:
        """Train until a step, not at all where it is reached already, and return the step reached."""
        import tensorflow as tf

        if int(self.step) >= until:
            return int(self.step)
        one_step, batches = self._one_step(), iter(self._data)
        writer = tf.summary.create_file_writer(str(self._plan.checkpoints / "train"))
        saved = time.monotonic()
        self._progress.training = True
        with writer.as_default(), tf.summary.record_if(lambda: self.step % 100 == 0):
            while int(self.step) < until and not self._progress.stopped:
                step = int(self.step)
                self._progress.tell(step, float(one_step(batches)))
                if time.monotonic() - saved > SAVE_SECONDS:
                    self._save()
                    saved = time.monotonic()
        self._save()
        self._progress.training = False
        return int(self.step)

    def evaluate(self) -> Mapping[str, float]:
        """Evaluate the model as it stands on the validation split with COCO's metrics."""
        import tensorflow as tf
        from object_detection import inputs, model_lib_v2

        data = inputs.eval_input(
            eval_config=self.configs["eval_config"],
            eval_input_config=self.configs["eval_input_config"],
            model_config=self.configs["model"],
            model=self.model,
        )
        with tf.summary.create_file_writer(str(self._plan.checkpoints / "eval")).as_default():
            metrics = model_lib_v2.eager_eval_loop(self.model, self.configs, data, global_step=self.step)
        return {name: float(value) for name, value in metrics.items()}

    def latest(self) -> Path:
        """Return the prefix of the newest checkpoint."""
        return Path(self._manager.latest_checkpoint)

    def _save(self) -> None:
        self._manager.save(checkpoint_number=int(self.step))

    def _one_step(self) -> Callable[[Any], Any]:
        import tensorflow as tf
        from object_detection import model_lib_v2

        train = self._train_config
        rate = self._rate if callable(self._rate) else lambda: self._rate

        @tf.function  # type: ignore[untyped-decorator]
        def one_step(batches: Any) -> Any:
            features, labels = next(batches)
            # Keras's optimizers ask a callable rate once, when they are made, and those of tf.compat.v1 at every
            # step. What is set here holds for both.
            self._optimizer.learning_rate = rate()
            loss = model_lib_v2.eager_train_step(
                self.model,
                features,
                labels,
                train.unpad_groundtruth_tensors,
                self._optimizer,
                learning_rate=rate(),
                add_regularization_loss=train.add_regularization_loss,
                clip_gradients_value=train.gradient_clipping_by_norm or None,
                global_step=self.step,
            )
            self.step.assign_add(1)
            return loss

        return one_step  # type: ignore[no-any-return]

    def _build(self) -> None:
        """Make the model's variables, which Keras makes at the first call: only what exists can be restored."""
        import tensorflow as tf

        features, _ = next(iter(self._data))
        self.model._is_training = False  # noqa: SLF001  as upstream does it for its own first call
        tf.keras.backend.set_learning_phase(False)
        self.model.predict(features["image"], features["true_image_shape"])

    def _start(self) -> None:
        """Restore the checkpoint to start from, and prove it by the values."""
        from object_detection import model_lib_v2

        prefix = self._plan.checkpoint
        if prefix is None:
            return
        try:
            model_lib_v2.load_fine_tune_checkpoint(
                self.model,
                prefix,
                self._train_config.fine_tune_checkpoint_type,
                self._train_config.fine_tune_checkpoint_version,
                self._data,
                self._train_config.unpad_groundtruth_tensors,
            )
        except AssertionError as error:
            raise OdbuildError(
                f"{prefix}: this checkpoint belongs to another model ({str(error).splitlines()[0]}). "
                f"Take the checkpoint of the model itself."
            ) from error
        self._check_restored(prefix)

    def _check_restored(self, prefix: str) -> None:
        import tensorflow as tf

        with tempfile.TemporaryDirectory() as folder:
            mine = tf.train.load_checkpoint(tf.train.Checkpoint(model=self.model).write(f"{folder}/step-0"))
            keys = [key for key in mine.get_variable_to_shape_map() if key.endswith(VALUE)]
            values = {key: mine.get_tensor(key) for key in keys if key.startswith("model/")}
        self.restored = checkpoint.compare(tf.train.load_checkpoint(prefix), values)
        self._progress.say(f"checkpoint: {self.restored}")
        checkpoint.require_restored(self.restored, prefix)
