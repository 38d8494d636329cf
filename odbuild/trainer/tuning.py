"""Fit a pipeline config to the run at hand: its data, its steps, its batch.

A sample config of the zoo was written for hundreds of thousands of steps on COCO. Run as it is for a
few hundred steps it learns almost nothing, and says nothing. Each rule here is one function that edits the
config and tells every edit with its reason.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Message = Any  # a TrainEvalPipelineConfig, of upstream's generated class or of a dynamic one

AVERAGING_WINDOWS = 30
"""How many times over the moving averages of batch normalisation turn within the run."""

MIN_DECAY = 0.9
"""The shortest average worth having: some ten batches."""

CROPS_FROM_STEPS = 2000
"""Runs shorter than this do without random crops."""

CROPS = (
    "ssd_random_crop",
    "random_crop_image",
    "random_crop_pad_image",
    "random_crop_to_aspect_ratio",
    "random_scale_crop_and_pad_to_square",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One edit of a config: the field's path, what stood there, what stands there now, and why."""

    field: str
    before: str
    after: str
    reason: str

    def __str__(self) -> str:
        """Render the edit as one line."""
        return f"{self.field}: {self.before} -> {self.after} ({self.reason})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What is known of a run before it starts.

    Attributes:
        zoo: `tf1` or `tf2`.
        steps: Training steps, at least 1.
        batch_size: Pictures a step.
        batch_reason: Why so many.
        num_classes: Classes of the label map, without background.
        max_boxes: The most boxes in one picture.
        train_records: Paths of the training shards.
        validation_records: Paths of the validation shards.
        validation_pictures: Pictures in the validation split.
        label_map: Path of the label map.
        checkpoint: Prefix of the checkpoint to start from, or None for random weights.
    """

    zoo: str
    steps: int
    batch_size: int
    batch_reason: str
    num_classes: int
    max_boxes: int
    train_records: tuple[str, ...]
    validation_records: tuple[str, ...]
    validation_pictures: int
    label_map: str
    checkpoint: str | None


def tune(config: Message, run: Run) -> tuple[Change, ...]:
    """Edit a pipeline config in place for a run, and return every edit in the order made."""
    rules: tuple[Callable[[Message, Run], Iterator[Change]], ...] = (
        _classes,
        _inputs,
        _boxes,
        _checkpoint,
        _learning_rate,  # reads the sample's batch and steps, so it goes before those that set them
        _clipping,
        _batch,
        _steps,
        _batch_norm,
        _base_batch_norm,
        _frozen_batch_norm,
        _crops,
        _evaluation,
    )
    return tuple(change for rule in rules for change in rule(config, run))


def _model(config: Message) -> Message:
    return getattr(config.model, config.model.WhichOneof("model"))


def resizer(config: Message) -> Message:
    """Return the ImageResizer of a config, whatever its model."""
    return _model(config).image_resizer


def unequal_sizes(config: Message) -> bool:
    """Say whether pictures leave the resizer in unequal sizes, so that they cannot share a batch."""
    resized = resizer(config)
    return bool(
        resized.WhichOneof("image_resizer_oneof") == "keep_aspect_ratio_resizer"
        and not resized.keep_aspect_ratio_resizer.pad_to_max_dimension
    )


def _show(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return repr(value) if isinstance(value, str) else str(value)


def _set(message: Message, name: str, value: Any, path: str, reason: str) -> Iterator[Change]:
    """Set a scalar field and tell it, unless it holds that value already."""
    before = getattr(message, name)
    if before == value:
        return
    shown = _show(before) if message.HasField(name) else f"unset ({_show(before)})"
    setattr(message, name, value)
    yield Change(field=f"{path}.{name}", before=shown, after=_show(getattr(message, name)), reason=reason)


def _set_all(message: Message, name: str, values: tuple[str, ...], path: str, reason: str) -> Iterator[Change]:
    field = getattr(message, name)
    if tuple(field) == values:
        return
    before = ", ".join(field) or "unset"
    field[:] = values
    yield Change(field=f"{path}.{name}", before=before, after=", ".join(values), reason=reason)


def _classes(config: Message, run: Run) -> Iterator[Change]:
    which = config.model.WhichOneof("model")
    yield from _set(_model(config), "num_classes", run.num_classes, f"model.{which}", "the label map's classes")


def _inputs(config: Message, run: Run) -> Iterator[Change]:
    readers = (
        (config.train_input_reader, "train_input_reader", run.train_records),
        (config.eval_input_reader[0], "eval_input_reader", run.validation_records),
    )
    for reader, path, records in readers:
        yield from _set(reader, "label_map_path", run.label_map, path, "this data")
        source = reader.tf_record_input_reader
        yield from _set_all(source, "input_path", records, f"{path}.tf_record_input_reader", "this data")
        yield from _set(reader, "num_readers", len(records), path, "one reader a shard")


def _boxes(config: Message, run: Run) -> Iterator[Change]:
    """Make room for the picture with the most boxes: upstream drops the rest without a word."""
    reason = f"one picture has {run.max_boxes} boxes, and upstream drops those above the limit"
    places = (
        (config.train_config, "train_config"),
        (config.train_input_reader, "train_input_reader"),
        (config.eval_input_reader[0], "eval_input_reader"),
    )
    for message, path in places:
        limit = max(message.max_number_of_boxes, run.max_boxes)
        yield from _set(message, "max_number_of_boxes", limit, path, reason)


def _checkpoint(config: Message, run: Run) -> Iterator[Change]:
    reason = "the checkpoint to start from" if run.checkpoint else "random weights were asked for"
    checkpoint = run.checkpoint or ""
    train = config.train_config
    yield from _set(train, "fine_tune_checkpoint", checkpoint, "train_config", reason)
    if run.checkpoint and run.zoo == "tf1":
        # In TF2 upstream refuses this field.
        yield from _set(
            train,
            "load_all_detection_checkpoint_vars",
            True,
            "train_config",
            "box heads and proposals start from what they have learned; heads of another shape stay new",
        )


def _batch(config: Message, run: Run) -> Iterator[Change]:
    yield from _set(config.train_config, "batch_size", run.batch_size, "train_config", run.batch_reason)
    if run.batch_size > 1 and unequal_sizes(config):
        which = config.model.WhichOneof("model")
        yield from _set(
            resizer(config).keep_aspect_ratio_resizer,
            "pad_to_max_dimension",
            True,
            f"model.{which}.image_resizer.keep_aspect_ratio_resizer",
            "pictures of a batch must be of one size",
        )


def _steps(config: Message, run: Run) -> Iterator[Change]:
    yield from _set(config.train_config, "num_steps", run.steps, "train_config", "asked for")


def _learning_rate(config: Message, run: Run) -> Iterator[Change]:
    """Scale the learning rate by the batch, and its schedule by the steps; docs/learning-rate.md has the reasons.

    The best rate grows with the batch only as far as the noise of single pictures outweighs the gradient that they
    share (McCandlish et al., 2018, "An Empirical Model of Large-Batch Training", 2.2). At random weights they all
    pull the same way, and the rate stays. A checkpoint is past that: the square root keeps the variance of an
    update as it was (Krizhevsky, 2014, "One weird trick for parallelizing convolutional neural networks", 5).
    """
    train = config.train_config
    optimizer = train.optimizer.WhichOneof("optimizer")
    rate = getattr(train.optimizer, optimizer).learning_rate
    kind = rate.WhichOneof("learning_rate")
    schedule = getattr(rate, kind)
    path = f"train_config.optimizer.{optimizer}.learning_rate.{kind}"
    if run.checkpoint and run.batch_size < train.batch_size:
        reason = f"batch {run.batch_size} instead of {train.batch_size}: scaled with its square root"
        yield from _scale_rates(schedule, math.sqrt(run.batch_size / train.batch_size), path, reason)
    horizon = _horizon(train, schedule)
    if horizon and horizon != run.steps:
        yield from _scale_steps(schedule, run.steps, horizon, path)


def _clipping(config: Message, run: Run) -> Iterator[Change]:
    """Clip the gradients of a small batch, where one odd picture can undo what was learned.

    EfficientDet's own code clips at the same norm (google/automl, hparams_config.py), and so do 34 of upstream's
    samples; the other ones count on 64 pictures or more to average. RMSProp and Adam bound their steps themselves.
    """
    train = config.train_config
    if run.batch_size < train.batch_size and train.optimizer.HasField("momentum_optimizer"):
        norm = train.gradient_clipping_by_norm or CLIP_AT
        reason = f"no {train.batch_size} pictures average out an odd one"
        yield from _set(train, "gradient_clipping_by_norm", norm, "train_config", reason)


RATES = (
    "learning_rate",
    "initial_learning_rate",
    "burnin_learning_rate",
    "min_learning_rate",
    "learning_rate_base",
    "warmup_learning_rate",
)
STEPS = ("decay_steps", "burnin_steps", "step", "total_steps", "warmup_steps", "hold_base_rate_steps")
WARM_UPS = ("burnin_steps", "warmup_steps")

CLIP_AT = 10.0
"""The norm that gradients of small batches are clipped at."""

LEAST_WARM_UP = 0.1
"""The share of a run that its warm-up takes at least, where the sample has one."""


def _scale_rates(schedule: Message, share: float, path: str, reason: str) -> Iterator[Change]:
    for message, where in _with_stages(schedule, path):
        for name in _fields(message, RATES):
            yield from _set(message, name, getattr(message, name) * share, where, reason)


def _scale_steps(schedule: Message, steps: int, horizon: int, path: str) -> Iterator[Change]:
    reason = f"{steps} steps instead of {horizon}"
    before = 0
    for message, where in _with_stages(schedule, path):
        for name in _fields(message, STEPS):
            # Rounded up, and each stage after the one before: upstream refuses step 0 and equal steps.
            scaled = -(-getattr(message, name) * steps // horizon)
            if name == "step":
                scaled = before = max(scaled, before + 1)
            if name in WARM_UPS:
                scaled = _warm_up(getattr(message, name), scaled, steps)
            yield from _set(message, name, scaled, where, reason)


def _warm_up(of_the_sample: int, scaled: int, steps: int) -> int:
    """Return a warm-up of a share of the run that does not shrink to nothing: it has to outlast the momentum."""
    least = min(of_the_sample, math.ceil(steps * LEAST_WARM_UP))
    return min(max(scaled, least), steps - 1)


def _with_stages(schedule: Message, path: str) -> Iterator[tuple[Message, str]]:
    """Yield a schedule and, where it has stages of its own, each of them."""
    yield schedule, path
    if "schedule" in schedule.DESCRIPTOR.fields_by_name:
        for index, stage in enumerate(schedule.schedule):
            yield stage, f"{path}.schedule[{index}]"


def _fields(message: Message, names: tuple[str, ...]) -> list[str]:
    """Return those of the names that the message has and that hold something to scale."""
    known = message.DESCRIPTOR.fields_by_name
    return [name for name in names if name in known and getattr(message, name)]


def _horizon(train: Message, schedule: Message) -> int:
    """Return the number of steps that a sample's schedule was made for.

    A schedule's own end counts, then the config's steps where its last stage lies before them. Else the schedule
    was cut off: by their own comment the Faster R-CNN samples end after 200,000 steps, where the pets have learned
    enough, and so never come to their first stage at 900,000. The published schedules go on after the last stage
    for about a third of what lies before it.
    """
    known = schedule.DESCRIPTOR.fields_by_name
    if "total_steps" in known:
        return int(schedule.total_steps)
    last = max((stage.step for stage in schedule.schedule), default=0) if "schedule" in known else 0
    return max(int(train.num_steps), math.ceil(last * 4 / 3) if last >= train.num_steps else 0)


def _batch_norm(config: Message, run: Run) -> Iterator[Change]:
    """Let the averages that evaluation and export use keep up with a short run.

    An average of decay d remembers about 1 / (1 - d) steps. At the samples' 0.9997 it has hardly moved after
    300 steps, and the model that was trained is not the one that is evaluated.
    """
    decay = max(MIN_DECAY, 1 - AVERAGING_WINDOWS / run.steps)
    reason = f"averages over the last {1 / (1 - decay):.0f} steps, of {run.steps}"
    for norm, path in _batch_norms(config.model, "model"):
        if norm.decay > decay:
            yield from _set(norm, "decay", decay, path, reason)


def _batch_norms(message: Message, path: str) -> Iterator[tuple[Message, str]]:
    """Yield every BatchNorm message that is set below a message, with its path."""
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        # A repeated field is the only message-typed one that has a length.
        several = hasattr(value, "__len__")
        for index, child in enumerate(value if several else [value]):
            where = f"{path}.{field.name}[{index}]" if several else f"{path}.{field.name}"
            if field.message_type.name == "BatchNorm":
                yield child, where
            else:
                yield from _batch_norms(child, where)


def _base_batch_norm(config: Message, run: Run) -> Iterator[Change]:
    """Make the base network of an SSD obey the config.

    Without this the MobileNet below the boxes keeps a decay of 0.9997 that is written into upstream's code.
    EfficientNet, whose own is 0.99, refuses to be told.
    """
    if config.model.WhichOneof("model") != "ssd":
        return
    extractor = config.model.ssd.feature_extractor
    if extractor.conv_hyperparams.HasField("batch_norm") and "efficientnet" not in extractor.type:
        yield from _set(
            extractor,
            "override_base_feature_extractor_hyperparams",
            True,
            "model.ssd.feature_extractor",
            f"the base network's averages must fit {run.steps} steps too",
        )


def _frozen_batch_norm(config: Message, run: Run) -> Iterator[Change]:
    """Let a Faster R-CNN from random weights compute the averages that it would otherwise never have.

    Its base network normalises by averages that stay as the checkpoint has them. Without one they stay at 0 and
    1, and the activations of a hundred layers grow without bound.
    """
    if config.model.WhichOneof("model") == "faster_rcnn" and run.checkpoint is None:
        yield from _set(
            config.model.faster_rcnn.feature_extractor,
            "batch_norm_trainable",
            True,
            "model.faster_rcnn.feature_extractor",
            "without a checkpoint there are no averages to keep",
        )


def _crops(config: Message, run: Run) -> Iterator[Change]:
    """Leave out random crops where a run is too short to profit from them."""
    if run.steps >= CROPS_FROM_STEPS:
        return
    options = config.train_config.data_augmentation_options
    for index in reversed(range(len(options))):
        step = options[index].WhichOneof("preprocessing_step")
        if step in CROPS:
            del options[index]
            yield Change(
                field=f"train_config.data_augmentation_options[{index}]",
                before=step,
                after="none",
                reason=f"crops pay from about {CROPS_FROM_STEPS} steps",
            )


def _evaluation(config: Message, run: Run) -> Iterator[Change]:
    drawn = min(10, run.validation_pictures)
    yield from _set(
        config.eval_config, "num_visualizations", drawn, "eval_config", "pictures in the validation split"
    )
