"""Checks of pipeline configs: what upstream would stumble over, or train badly by without a word."""

import ast
import glob
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from google.protobuf import text_format

from odbuild import protos, upstream, zoo
from odbuild.cache import cache_folder
from odbuild.errors import OdbuildError, did_you_mean
from odbuild.pipeline import PLACEHOLDER
from odbuild.protos import Protos
from odbuild.trainer import checkpoint
from odbuild.trainer.findings import Finding, Rule, quote
from odbuild.trainer.recipe import Zoo
from odbuild.trainer.rules.catalogue import rule
from odbuild.trainer.rules.labelmaps import LabelMap
from odbuild.upstream import Upstream

Message = Any  # a message of a class made at run time, which has no static type

Target = Literal["saved_model", "frozen_graph", "tflite"]

Kind = Literal["file", "records", "checkpoint"]
"""What is to be found at a path."""

BUILDER = "object_detection/builders/model_builder.py"
METRICS = "object_detection/eval_util.py"

REMOTE = re.compile(r"[a-z0-9]+://")
"""Paths of other file systems, such as gs://bucket, which are not looked at."""

RATES: Mapping[str, float] = {"momentum_optimizer": 0.01, "rms_prop_optimizer": 0.001, "adam_optimizer": 0.002}
"""Learning rate for each picture of a batch above which a run is likely to diverge.

More than twice the largest of upstream's 102 sample configs: 0.0039, 0.00017; and for Adam 0.001 at a batch of
one.
"""

ROUNDING = 1e-6
"""By this share a number may come out of a config larger than it was written: it is held in 32 bits."""

BASES = ("learning_rate_base", "initial_learning_rate", "learning_rate")
"""What the different schedules call the rate that they begin or go on with."""

SIDED = re.compile(r"(?<![a-z])(left|right)(?![a-z])", re.IGNORECASE)

_EMPTY = Rule("CFG701", "error", "the config lacks a part", "begin with a sample config of the zoo")
_PLACEHOLDER = Rule("CFG702", "error", "a placeholder stands where a path belongs", "write the path")
_BACKSLASH = Rule("CFG702", "error", "a path has backslashes, which the training machine does not know", "use /")
_GONE = Rule("CFG702", "error", "there is nothing at a path", "correct the path")
_EXTRACTOR = Rule("CFG703", "error", "neither TensorFlow line of upstream has this feature extractor")
_VERSION = Rule(
    "CFG704", "error", "the TF2 loop refuses checkpoints of version V1", "set fine_tune_checkpoint_version: V2"
)
_TYPE = Rule("CFG704", "error", "the checkpoint's type is none that the model restores")
_SILENT = Rule(
    "CFG704",
    "error",
    "a detector's checkpoint is declared a classifier's, so that little of it is restored, without a word",
    'set fine_tune_checkpoint_type: "detection"',
)
_ALL_VARS = Rule(
    "CFG704", "error", "the TF2 loop refuses load_all_detection_checkpoint_vars", "leave the field out"
)
_CLASSES = Rule("CFG705", "error", "the label map has numbers above num_classes, whose boxes would be lost")
_IDLE = Rule("CFG705", "warning", "num_classes is above the label map's largest number, so outputs stay idle")
_UNPADDED = Rule(
    "CFG706",
    "error",
    "pictures of unequal sizes cannot share a batch",
    "set pad_to_max_dimension: true in the resizer, or batch_size: 1",
)
_HOT = Rule(
    "CFG707",
    "warning",
    "the learning rate is very high for the batch, so the loss is likely to become NaN",
    "divide it by as much as the batch was divided",
)
_LONG = Rule(
    "CFG707",
    "warning",
    "the learning rate's schedule goes on after the last step, so the rate never comes down",
    "fit the schedule to num_steps",
)
_SHORT = Rule(
    "CFG707", "warning", "the learning rate is 0 long before the last step", "set total_steps to num_steps"
)
_WARM = Rule("CFG707", "error", "the warm-up is longer than the schedule", "make warmup_steps smaller")
_METRIC = Rule("CFG709", "error", "there is no such metric, so evaluation fails")
_ENDLESS = Rule("CFG709", "warning", "evaluation in TF2 goes round without end", "set num_epochs: 1")
_REMAINDER = Rule(
    "CFG709", "warning", "evaluation drops a last batch that is not full", "set batch_size: 1 in eval_config"
)
_TARGET = Rule("CFG710", "warning", "the model cannot be exported to what is wanted")
_FLIP = Rule(
    "CFG712",
    "info",
    "pictures are mirrored at random while labels speak of left and right",
    "leave random_horizontal_flip out",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Toolbox:
    """Upstream at hand: its files, and its compiled protos."""

    tree: Upstream
    protos: Protos


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """A pipeline config to judge.

    Attributes:
        name: what findings call it.
        message: the config.
        toolbox: upstream, to look names up in.
        folders: where relative paths may begin.
        labels: the label map that goes with it.
        model: the catalogue's model that it is of, where that is known.
        target: what the trained model is to be exported to.
    """

    name: str
    message: Message
    toolbox: Toolbox = field(repr=False)
    folders: tuple[Path, ...] = ()
    labels: LabelMap | None = None
    model: zoo.Model | None = None
    target: Target | None = None

    @property
    def network(self) -> Message | None:
        """Return the network's own part of the config, or None where no network is named."""
        which = self.message.model.WhichOneof("model")
        return None if which is None else getattr(self.message.model, which)

    @property
    def line(self) -> Zoo:
        """Return which TensorFlow line its feature extractor belongs to."""
        extractor = "" if self.network is None else self.network.feature_extractor.type
        return "tf2" if extractor in extractors(self.toolbox)["tf2"] else "tf1"

    @property
    def start(self) -> str:
        """Return the checkpoint that it starts from; empty where it starts from random weights."""
        return str(self.message.train_config.fine_tune_checkpoint)


@cache
def toolbox(*, offline: bool) -> Toolbox:
    """Return upstream from the cache, or brought into it.

    Raises:
        OdbuildError: it cannot be had.
    """
    tree = upstream.fetch("auto", cache=cache_folder(), offline=offline, say=_silent)
    return Toolbox(tree=tree, protos=protos.compile_protos(tree, cache=cache_folder(), say=_silent))


def parse(text: str, tools: Toolbox) -> Message:
    """Return the config that a text proto holds.

    Raises:
        OdbuildError: it is none.
    """
    try:
        return text_format.Parse(text, protos.pipeline_class(tools.protos.descriptors)())
    except text_format.ParseError as error:
        looks = " It is a web page: download the raw file." if text.lstrip()[:1] == "<" else ""
        raise OdbuildError(f"it is no pipeline config: {error} (line:column).{looks}") from error


def extractors(tools: Toolbox) -> Mapping[Zoo, frozenset[str]]:
    """Return the feature extractors that upstream registers in each TensorFlow line."""
    tables = _tables(upstream.read(tools.tree, BUILDER).decode())
    tf2 = {name for table, names in tables.items() if "KERAS" in table or "CENTER_NET" in table for name in names}
    tf1 = {name for table, names in tables.items() if table.endswith("EXTRACTOR_CLASS_MAP") for name in names}
    return {"tf1": frozenset(tf1 - tf2), "tf2": frozenset(tf2)}


def metrics(tools: Toolbox) -> frozenset[str]:
    """Return the metrics that upstream knows by name."""
    return frozenset(_tables(upstream.read(tools.tree, METRICS).decode())["EVAL_METRICS_CLASS_DICT"])


@cache
def _tables(source: str) -> Mapping[str, tuple[str, ...]]:
    """Return the keys of every dictionary of strings that a module's source assigns, by the name assigned to."""
    return {
        node.targets[0].id: tuple(str(key.value) for key in node.value.keys if isinstance(key, ast.Constant))
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        if isinstance(node.value, ast.Dict)
    }


@rule("CFG701", "error", "the pipeline config does not parse or lacks a part")
def incomplete(config: Config) -> Iterator[Finding]:
    """The text is no pipeline config of upstream's at the pinned commit, or has no model, optimizer or input.

    A page of a website saved as a config is the most frequent case; a field of a newer release is another.
    """
    message = config.message
    if config.network is None:
        yield _EMPTY.at("model")
    if message.train_config.optimizer.WhichOneof("optimizer") is None:
        yield _EMPTY.at("train_config.optimizer")
    if not message.HasField("train_input_reader"):
        yield _EMPTY.at("train_input_reader")
    if not message.eval_input_reader:
        yield _EMPTY.at("eval_input_reader")


@rule("CFG702", "error", "a path in the config leads nowhere")
def paths(config: Config) -> Iterator[Finding]:
    """A path still is `PATH_TO_BE_CONFIGURED`, has backslashes, or nothing lies there.

    Upstream takes an empty list of records for an empty dataset and hangs at step 0. Relative paths are tried from
    the working directory and from the config's folder. Addresses such as `gs://` are not looked at, and what is
    empty is filled in by a bundle's start.sh.
    """
    for where, path, kind in _paths(config.message):
        if not path:
            continue
        if PLACEHOLDER in path:
            yield _PLACEHOLDER.at(where, quote(path))
        elif "\\" in path:
            yield _BACKSLASH.at(where, quote(path))
        elif not REMOTE.match(path) and _found(config, path, kind) is None:
            yield _GONE.at(where, quote(path))


@rule("CFG703", "error", "upstream has no such feature extractor")
def extractor(config: Config) -> Iterator[Finding]:
    """The feature extractor is registered neither for TensorFlow 1 nor for TensorFlow 2.

    A typo, a config of a later release, or the name of one line with a part of the other's. See `odbuild models`.
    """
    if config.network is None:
        return
    known = extractors(config.toolbox)
    name = config.network.feature_extractor.type
    if name not in known["tf1"] | known["tf2"]:
        hint = did_you_mean(name, known["tf1"] | known["tf2"])
        yield _EXTRACTOR.at(
            f"model.{config.message.model.WhichOneof('model')}.feature_extractor", f"{name!r}{hint}"
        )


@rule("CFG704", "error", "the checkpoint's type or version does not fit the model")
def start(config: Config) -> Iterator[Finding]:
    """How a checkpoint is restored is said by two fields, whose defaults and samples are wrong for most runs.

    TF2 refuses the default version, V1. `classification`, also what is meant where nothing is said, restores a
    part of the network alone, so that a detector of the zoo is trained nearly from scratch, without a word.
    """
    train = config.message.train_config
    if not config.start:
        return
    where = "train_config.fine_tune_checkpoint_type"
    if config.line == "tf2":
        if train.fine_tune_checkpoint_version != 2:
            yield _VERSION.at("train_config.fine_tune_checkpoint_version")
        if train.load_all_detection_checkpoint_vars:
            yield _ALL_VARS.at("train_config.load_all_detection_checkpoint_vars")
    kinds = (
        "detection",
        "classification",
        *("fine_tune",) * (config.message.model.WhichOneof("model") == "center_net"),
    )
    kind = train.fine_tune_checkpoint_type
    if kind and kind not in kinds:
        yield _TYPE.at(where, f"{quote(kind)}; expected {' or '.join(kinds)}.{did_you_mean(kind, kinds)}")
    given = kind or ("detection" if train.from_detection_checkpoint else "classification")
    detector = next((model for model in zoo.models() if model.name in config.start), None)
    if given == "classification" and detector is not None:
        yield _SILENT.at(where, quote(config.start))


@rule("CFG705", "error", "num_classes and the label map differ")
def classes(config: Config) -> Iterator[Finding]:
    """The model has fewer outputs than the label map has numbers, or more.

    A box whose number is above `num_classes` becomes an empty target without an error: the class is never learned.
    """
    if config.labels is None or config.network is None:
        return
    most = max((item.id or 0 for item in config.labels.items), default=0)
    count = config.network.num_classes
    where = f"model.{config.message.model.WhichOneof('model')}.num_classes"
    if most != count:
        yield (_CLASSES if most > count else _IDLE).at(where, f"{count}, the label map goes to {most}")


@rule("CFG706", "error", "a batch of pictures of unequal sizes")
def unpadded(config: Config) -> Iterator[Finding]:
    """`keep_aspect_ratio_resizer` gives each picture a size of its own, and a batch above 1 needs one for all.

    Training ends at the first batch. Let the resizer pad.
    """
    network = config.network
    if network is None or config.message.train_config.batch_size < 2:
        return
    resizer = network.image_resizer
    if resizer.WhichOneof("image_resizer_oneof") == "keep_aspect_ratio_resizer":
        kept = resizer.keep_aspect_ratio_resizer
        if not kept.pad_to_max_dimension:
            yield _UNPADDED.at("train_config.batch_size", str(config.message.train_config.batch_size))


@rule("CFG707", "error", "the learning rate fits neither batch nor steps")
def rate(config: Config) -> Iterator[Finding]:
    """A rate made for a batch of hundreds on TPUs ends in NaN with a batch of eight.

    A schedule made for hundreds of thousands of steps never comes down in a run of a thousand. Scale the rate with
    the batch and the schedule with the steps; a bundle's start.sh does both.
    """
    train = config.message.train_config
    name = train.optimizer.WhichOneof("optimizer")
    rates = getattr(train.optimizer, name).learning_rate if name else None
    kind = rates.WhichOneof("learning_rate") if rates is not None else None
    if kind is None:
        return
    schedule = getattr(rates, kind)
    where = f"train_config.optimizer.{name}.learning_rate.{kind}"
    known = schedule.DESCRIPTOR.fields_by_name
    base = next(getattr(schedule, field) for field in BASES if field in known)
    if base > RATES[name] * max(1, train.batch_size) * (1 + ROUNDING):
        yield _HOT.at(where, f"{base:g} with a batch of {train.batch_size}")
    if kind == "cosine_decay_learning_rate":
        yield from _cosine(schedule, train.num_steps, where)
    elif kind == "manual_step_learning_rate" and schedule.schedule:
        first = min(step.step for step in schedule.schedule)
        if train.num_steps and first >= train.num_steps:
            yield _LONG.at(where, f"first drop at {first:,} of {train.num_steps:,} steps")


def _cosine(schedule: Message, steps: int, where: str) -> Iterator[Finding]:
    total, warmup = schedule.total_steps, schedule.warmup_steps
    if warmup > total:
        yield _WARM.at(where, f"{warmup:,} of {total:,} steps")
    elif steps and total > steps:
        yield _LONG.at(where, f"{total:,} for {steps:,} steps")
    elif steps and total < steps:
        yield _SHORT.at(where, f"{total:,} for {steps:,} steps")


@rule("CFG709", "error", "evaluation would fail, hang or leave pictures out")
def evaluation(config: Config) -> Iterator[Finding]:
    """A metric that upstream does not have ends the run at its first evaluation.

    TF2 evaluates for ever unless told `num_epochs: 1`. A batch above one drops the last pictures.
    """
    known = metrics(config.toolbox)
    for index, name in enumerate(config.message.eval_config.metrics_set):
        if name not in known:
            yield _METRIC.at(f"eval_config.metrics_set[{index}]", f"{quote(name)}.{did_you_mean(name, known)}")
    if config.message.eval_config.batch_size > 1:
        yield _REMAINDER.at("eval_config.batch_size", str(config.message.eval_config.batch_size))
    if config.line == "tf2" and config.message.eval_input_reader:
        epochs = config.message.eval_input_reader[0].num_epochs
        if epochs != 1:
            yield _ENDLESS.at("eval_input_reader[0].num_epochs", str(epochs))


@rule("CFG710", "warning", "the model cannot be exported to the target")
def target(config: Config) -> Iterator[Finding]:
    """Some architectures can be trained but not brought into the form that the device needs.

    That would show only after the whole run. `odbuild models --export tflite` lists those that can.
    """
    if config.target is not None and config.model is not None and config.target not in config.model.exports:
        can = ", ".join(config.model.exports) or "nothing"
        yield _TARGET.at("model", f"{config.model.name} to {config.target}; it can be exported to {can}")


@rule("CFG712", "info", "pictures are mirrored while labels speak of sides")
def mirrored(config: Config) -> Iterator[Finding]:
    """`random_horizontal_flip` makes a left hand a right one and leaves the label as it is.

    Leave it out if the labels `left` and `right` mean what the picture shows.
    """
    if config.labels is None:
        return
    sided = [item.name for item in config.labels.items if SIDED.search(item.name)]
    for index, option in enumerate(config.message.train_config.data_augmentation_options):
        if option.WhichOneof("preprocessing_step") == "random_horizontal_flip" and sided:
            yield _FLIP.at(f"train_config.data_augmentation_options[{index}]", ", ".join(map(quote, sided[:3])))


def find_labels(config: Config) -> Path | None:
    """Return the label map that the config names, where it is there."""
    path = str(config.message.train_input_reader.label_map_path)
    return _found(config, path, "file") if path and not REMOTE.match(path) else None


def _paths(message: Message) -> Iterator[tuple[str, str, Kind]]:
    """Yield where each path stands, the path, and what is to be found there."""
    yield "train_config.fine_tune_checkpoint", message.train_config.fine_tune_checkpoint, "checkpoint"
    readers = [("train_input_reader", message.train_input_reader)]
    readers += [(f"eval_input_reader[{index}]", one) for index, one in enumerate(message.eval_input_reader)]
    for where, reader in readers:
        yield f"{where}.label_map_path", reader.label_map_path, "file"
        for index, path in enumerate(reader.tf_record_input_reader.input_path):
            yield f"{where}.tf_record_input_reader.input_path[{index}]", path, "records"


def _found(config: Config, path: str, kind: Kind) -> Path | None:
    """Return a path below the first folder in which it leads to what is wanted, or None where it does in none."""
    return next(filter(_THERE[kind], (folder / path for folder in config.folders)), None)


_THERE: Mapping[Kind, Callable[[Path], bool]] = {
    "file": Path.is_file,
    # Upstream's own patterns, absolute ones too.
    "records": lambda path: bool(glob.glob(str(path))),  # noqa: PTH207
    "checkpoint": checkpoint.exists,
}


def _silent(_line: str) -> None:
    """Say nothing: a check has one report."""
