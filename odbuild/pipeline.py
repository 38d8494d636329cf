"""Turn a model's sample config into one that trains on one machine, as far as no data is needed for it.

The sample configs were written for clusters of TPUs or of parameter servers, with placeholders for paths, and
for TensorFlow 1. Each edit here is one function that says what it changed and why. What depends on the data,
the steps or the machine is the payload's `tuning`.
"""

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import chain
from typing import Any

from google.protobuf import text_format

from . import upstream
from .protos import Protos, pipeline_class
from .trainer.overrides import apply
from .trainer.tuning import Change
from .upstream import Upstream
from .zoo import Model

PLACEHOLDER = "PATH_TO_BE_CONFIGURED"
"""What upstream writes where a path is still missing."""

READERS = ("train_input_reader", "eval_input_reader[0]")

Message = Any  # a message of a class made at run time, which has no static type


@dataclass(frozen=True, kw_only=True, slots=True)
class Pipeline:
    """A pipeline config and how it came about.

    Attributes:
        text: The config as a text proto, ASCII, without placeholders.
        changes: Every edit of the sample config, in the order made.
    """

    text: str
    changes: tuple[Change, ...]


def sample(model: Model, tree: Upstream, protos: Protos) -> Message:
    """Return the model's sample config, or its closest relative's, as it is upstream.

    Raises:
        OdbuildError: Upstream lacks the config that the catalogue names, or it has been changed.
    """
    text = upstream.read(tree, model.config).decode()
    return text_format.Parse(text, pipeline_class(protos.descriptors)())


def derive(model: Model, tree: Upstream, protos: Protos) -> Pipeline:
    """Return the model's sample config with everything right that does not depend on data.

    Raises:
        OdbuildError: Upstream lacks the config that the catalogue names, or it has been changed.
    """
    config = sample(model, tree, protos)
    changes = edit(config, model)
    source = [f"tensorflow/models@{tree.commit} {model.config}", "Every edit stands in MANIFEST.json."]
    if model.assumed:
        source += [f"Upstream has no config of {model.name} itself; assumed:", *model.assumed]
    header = "".join(f"# {line}\n" for line in source)
    return Pipeline(text=header + render(config), changes=changes)


def explain(model: Model, tree: Upstream, protos: Protos, overrides: Sequence[tuple[str, str]]) -> str:
    """Return the difference to the sample config as a unified diff, each change under a comment with its reason.

    Raises:
        OdbuildError: As for `derive`.
        UsageError: An override does not fit the config.
    """
    config = sample(model, tree, protos)
    before = render(config).splitlines()
    remarked = [_Remarked(line=line) for line in (*before, "")]
    for change in chain(_edits(config, model), apply(config, overrides)):
        remarked = _remark(remarked, (*render(config).splitlines(), ""), change)
    after = [line for each in remarked for line in (*each.remarks, each.line)][:-1]
    assumed = (f"# {model.name} has no config of its own; assumed: {each}" for each in model.assumed)
    diff = difflib.unified_diff(before, after, model.config, f"{model.name}/pipeline.config", lineterm="")
    return "\n".join((*assumed, *diff))


def check_overrides(derived: Pipeline, protos: Protos, overrides: Sequence[tuple[str, str]]) -> None:
    """Find out now what the training machine would only find out later.

    Raises:
        UsageError: An override does not fit the config.
    """
    config = text_format.Parse(derived.text, pipeline_class(protos.descriptors)())
    tuple(apply(config, overrides))


def edit(config: Message, model: Model) -> tuple[Change, ...]:
    """Make every edit on a config in place, and return what changed."""
    return tuple(_edits(config, model))


def _edits(config: Message, model: Model) -> Iterator[Change]:
    """Make one edit after another, each just before it is told."""
    yield from as_catalogued(config, model)
    yield from no_masks(config)
    yield from no_keypoints(config)
    yield from no_context(config)
    yield from no_bfloat16(config)
    yield from one_machine(config)
    yield from no_moving_averages(config)
    yield from no_quantization(config)
    yield from checkpoint_type(config, model)
    yield from checkpoint_version(config, model)
    yield from common_variables_only(config, model)
    yield from coco_metrics(config)
    yield from whole_evaluation(config)
    yield from no_paths(config)
    yield from no_placeholders(config)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Remarked:
    """A line of a config and the remarks above it, which are lines too."""

    line: str
    remarks: tuple[str, ...] = ()


def _remark(old: Sequence[_Remarked], new: Sequence[str], change: Change) -> list[_Remarked]:
    """Carry remarks over to the lines after a change, and put the change's own where it begins."""
    name = change.field.rpartition(".")[2]  # the lines around it show where it belongs
    told = False
    waiting: tuple[str, ...] = ()
    out: list[_Remarked] = []
    matcher = difflib.SequenceMatcher(None, [each.line for each in old], new, autojunk=False)
    for tag, start, end, first, last in matcher.get_opcodes():
        if tag == "equal":
            kept = [each.remarks for each in old[start:end]]
        else:
            waiting += tuple(remark for each in old[start:end] for remark in each.remarks)
            line = new[first] if first < last else old[start].line
            waiting += () if told else (f"{line[: -len(line.lstrip())]}# {name}: {change.reason}",)
            told = True
            kept = [()] * (last - first)
        for line, remarks in zip(new[first:last], kept, strict=True):
            out.append(_Remarked(line=line, remarks=(*waiting, *remarks)))
            waiting = ()
    return out


def render(config: Message) -> str:
    """Return a config as a text proto, the same bytes with every protobuf runtime."""
    # The default for non-ASCII text is not the same in protobuf 4 and 7, so it is said here.
    return str(text_format.MessageToString(config, as_utf8=False))


def as_catalogued(config: Message, model: Model) -> Iterator[Change]:
    """Give another model's config the network and input size of the model that lacks one of its own."""
    if not model.assumed:
        return
    which = f"model.{config.model.WhichOneof('model')}"
    reason = "the model's own; this config is its closest relative's"
    yield from _set(config, f"{which}.feature_extractor.type", model.feature_extractor, reason)
    if model.resizer == "fixed_shape":
        for name, value in zip(("height", "width"), model.input_size, strict=True):
            yield from _set(config, f"{which}.image_resizer.fixed_shape_resizer.{name}", value, reason)


def no_masks(config: Message) -> Iterator[Change]:
    """Leave out the third stage, which learns masks from masks."""
    reason = "masks are learned from masks, and the data are boxes"
    if config.model.WhichOneof("model") == "faster_rcnn" and config.model.faster_rcnn.number_of_stages == 3:
        network = "model.faster_rcnn"
        head = f"{network}.second_stage_box_predictor.mask_rcnn_box_predictor"
        yield from _set(config, f"{network}.number_of_stages", 2, reason)
        yield from _set(config, f"{head}.predict_instance_masks", False, reason)
        for name in ("mask_height", "mask_width", "mask_prediction_conv_depth", "mask_prediction_num_conv_layers"):
            yield from _clear(config, f"{head}.{name}", reason)
        yield from _clear(config, f"{head}.conv_hyperparams", reason)
        yield from _clear(config, f"{network}.second_stage_mask_prediction_loss_weight", reason)
    yield from _clear(config, "eval_config.eval_instance_masks", reason)
    for reader in READERS:
        yield from _clear(config, f"{reader}.load_instance_masks", reason)
        yield from _clear(config, f"{reader}.mask_type", reason)


def no_keypoints(config: Message) -> Iterator[Change]:
    """Leave out what learns and measures keypoints."""
    reason = "for keypoints, and the data are boxes"
    if config.model.WhichOneof("model") == "center_net":
        yield from _clear(config, "model.center_net.keypoint_estimation_task", reason)
        yield from _clear(config, "model.center_net.keypoint_label_map_path", reason)
    for index, option in enumerate(config.train_config.data_augmentation_options):
        if option.WhichOneof("preprocessing_step") == "random_horizontal_flip":
            flip = f"train_config.data_augmentation_options[{index}].random_horizontal_flip"
            yield from _clear(config, f"{flip}.keypoint_flip_permutation", reason)
    yield from _clear(config, "eval_config.parameterized_metric", reason)
    yield from _clear(config, "eval_config.keypoint_edge", reason)
    for reader in READERS:
        yield from _clear(config, f"{reader}.num_keypoints", reason)


def no_context(config: Message) -> Iterator[Change]:
    """Leave out what looks at other pictures of the same camera."""
    reason = "photographs carry no features of the same camera's other pictures"
    if config.model.WhichOneof("model") == "faster_rcnn":
        yield from _clear(config, "model.faster_rcnn.context_config", reason)
    for reader in READERS:
        yield from _clear(config, f"{reader}.load_context_features", reason)
        yield from _set(config, f"{reader}.input_type", "TF_EXAMPLE", "each record is one picture")


def no_bfloat16(config: Message) -> Iterator[Change]:
    """Compute in float32: upstream's input reader casts to bfloat16, which only TPUs train in."""
    yield from _set(config, "train_config.use_bfloat16", False, "only TPUs train in bfloat16")


def one_machine(config: Message) -> Iterator[Change]:
    """Train on one machine: upstream's legacy trainer divides the batch by replicas and waits for them."""
    yield from _set(config, "train_config.sync_replicas", False, "there is one machine")
    yield from _set(config, "train_config.replicas_to_aggregate", 1, "there is one machine")
    yield from _set(config, "train_config.startup_delay_steps", 0.0, "no replica waits for another")


def no_moving_averages(config: Message) -> Iterator[Change]:
    """Do without averaged weights: the proto's default is on, their optimizer went with tf.contrib."""
    reason = "the optimizer for averaged weights left TensorFlow with tf.contrib"
    yield from _set(config, "train_config.optimizer.use_moving_average", False, reason)
    yield from _set(config, "eval_config.use_moving_averages", False, "no averaged weights are kept")


def no_quantization(config: Message) -> Iterator[Change]:
    """Train in floating point: quantization-aware training needs a rewriter that went with tf.contrib."""
    reason = "quantization-aware training left TensorFlow with tf.contrib; the model trains in floating point"
    yield from _clear(config, "graph_rewriter", reason)


def checkpoint_type(config: Message, model: Model) -> Iterator[Change]:
    """Say what the zoo's checkpoint is: left unsaid, upstream takes it for a classifier and restores less."""
    kind = model.checkpoint.type
    reason = "the kind of the zoo's checkpoint"
    yield from _set(config, "train_config.fine_tune_checkpoint_type", kind, reason)
    if model.zoo == "tf1":
        detection = kind == "detection"
        yield from _set(config, "train_config.from_detection_checkpoint", detection, reason)
    else:
        reason = "deprecated: fine_tune_checkpoint_type says it"
        yield from _clear(config, "train_config.from_detection_checkpoint", reason)


def checkpoint_version(config: Message, model: Model) -> Iterator[Change]:
    """Restore as the zoo's TensorFlow does: TF2 refuses the proto's default, V1."""
    version = {"tf1": "V1", "tf2": "V2"}[model.zoo]
    reason = f"the checkpoint is of the {model.zoo.upper()} zoo"
    yield from _set(config, "train_config.fine_tune_checkpoint_version", version, reason)


def common_variables_only(config: Message, model: Model) -> Iterator[Change]:
    """Do not ask TF2 for what it refuses: to load all variables of a checkpoint."""
    if model.zoo == "tf2":
        reason = "upstream's TF2 loop refuses it"
        yield from _set(config, "train_config.load_all_detection_checkpoint_vars", False, reason)


def coco_metrics(config: Message) -> Iterator[Change]:
    """Measure boxes as COCO does, whatever metric the sample was tuned for."""
    reason = "the metric that every model is compared by"
    yield from _set_all(config, "eval_config.metrics_set", ("coco_detection_metrics",), reason)
    reason = "metrics would be named by labels, which may hold any characters"
    yield from _clear(config, "eval_config.include_metrics_per_category", reason)


def whole_evaluation(config: Message) -> Iterator[Change]:
    """Evaluate each picture of the validation split once, as often as asked."""
    yield from _clear(config, "eval_config.num_examples", "the count of another data set")
    yield from _clear(config, "eval_config.max_evals", "evaluation would stop for good after so many rounds")
    yield from _set(config, "eval_config.batch_size", 1, "a larger batch would drop the last pictures")
    yield from _set(config, "eval_input_reader[0].shuffle", False, "the same order in every run")
    yield from _set(config, "eval_input_reader[0].num_epochs", 1, "each picture counts once")
    yield from _set(config, "eval_input_reader[0].sample_1_of_n_examples", 1, "every picture counts")


def no_paths(config: Message) -> Iterator[Change]:
    """Leave every path empty: the training machine knows them."""
    reason = "a path of the training machine, filled in there"
    yield from _clear(config, "train_config.fine_tune_checkpoint", reason)
    for reader in READERS:
        yield from _clear(config, f"{reader}.label_map_path", reason)
        yield from _clear(config, f"{reader}.tf_record_input_reader.input_path", reason)


def no_placeholders(config: Message) -> Iterator[Change]:
    """Leave no placeholder behind, wherever a sample has one."""
    for path in list(_placeholders(config, "")):
        yield from _clear(config, path, "a placeholder for a file that boxes do not need")


def _set(config: Message, path: str, value: float | str, reason: str) -> Iterator[Change]:
    """Set a scalar or an enum (by name) and tell it, unless the field holds or defaults to that value."""
    parent, name = _resolve(config, path)
    field = parent.DESCRIPTOR.fields_by_name[name]
    after = field.enum_type.values_by_name[value].number if field.enum_type else value
    if getattr(parent, name) == after:
        return
    before = _shown(parent, name)
    setattr(parent, name, after)
    yield Change(field=path, before=before, after=_shown(parent, name), reason=reason)


def _set_all(config: Message, path: str, values: tuple[str, ...], reason: str) -> Iterator[Change]:
    parent, name = _resolve(config, path)
    if tuple(getattr(parent, name)) == values:
        return
    before = _shown(parent, name)
    getattr(parent, name)[:] = values
    yield Change(field=path, before=before, after=_shown(parent, name), reason=reason)


def _clear(config: Message, path: str, reason: str) -> Iterator[Change]:
    parent, name = _resolve(config, path)
    if any(field.name == name for field, _ in parent.ListFields()):
        before = _shown(parent, name)
        parent.ClearField(name)
        yield Change(field=path, before=before, after="unset", reason=reason)


def _resolve(config: Message, path: str) -> tuple[Message, str]:
    """Return the message that holds the last field of a path such as `eval_input_reader[0].shuffle`."""
    *parents, name = path.split(".")
    for part in parents:
        field, index = re.fullmatch(r"(\w+)(?:\[(\d+)\])?", part).groups()  # type: ignore[union-attr]
        config = getattr(config, field)
        if index is not None:
            config = config[int(index)]
    return config, name


def _shown(message: Message, name: str) -> str:
    """Return a field as the text proto has it, on one line; where it is not set, its default."""
    field = message.DESCRIPTOR.fields_by_name[name]
    value = getattr(message, name)
    if all(each.name != name for each, _ in message.ListFields()):
        scalar = field.has_presence and field.message_type is None
        return f"unset ({_text(field, value)})" if scalar else "unset"
    return ", ".join(_text(field, each) for each in ([value] if field.has_presence else value))


def _text(field: Any, value: Any) -> str:
    out = StringIO()
    text_format.PrintFieldValue(field, value, out, as_utf8=False, as_one_line=True)
    return out.getvalue().strip()


def _placeholders(message: Message, prefix: str) -> Iterator[str]:
    """Yield the path of every string field below a message that still holds a placeholder."""
    for field, value in message.ListFields():
        path = f"{prefix}{field.name}"
        if field.message_type is None:
            if PLACEHOLDER in str(value):
                yield path
        elif field.has_presence:
            yield from _placeholders(value, f"{path}.")
        elif not field.message_type.GetOptions().map_entry:
            for index, child in enumerate(value):
                yield from _placeholders(child, f"{path}[{index}].")
