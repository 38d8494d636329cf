"""Ways to break the rules of pipeline configs: one of the catalogue's models is drawn, and its config changed.

Drawing needs upstream, which the configs are derived from: from the cache, or brought into it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, get_args

from hypothesis import strategies as st

from odbuild import pipeline, zoo
from odbuild.pipeline import PLACEHOLDER
from odbuild.rules import config as rules
from odbuild.trainer.labels import Item, to_pbtxt
from odbuild.trainer.rules.catalogue import CATALOGUE
from odbuild.trainer.rules.labelmaps import LabelMap

from . import annotations
from .ways import Broken, breaks, register

CONFIG, LABELS, CHECKPOINT = "pipeline.config", "labels.pbtxt", "model.ckpt"

Message = Any  # a message of a class made at run time, which has no static type


@dataclass(kw_only=True, slots=True)
class Draft:
    """A pipeline config in the making.

    Attributes:
        model: that it is of.
        message: the config.
        labels: the classes, in the order of their numbers.
        files: beside it.
    """

    model: zoo.Model
    message: Message
    labels: list[str]
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def network(self) -> Message:
        """Return the network's own part."""
        return getattr(self.message.model, self.message.model.WhichOneof("model"))

    def start(self) -> None:
        """Let training start from a checkpoint that lies beside the config."""
        self.message.train_config.fine_tune_checkpoint = CHECKPOINT
        self.files |= {f"{CHECKPOINT}.index": b"", f"{CHECKPOINT}.data-00000-of-00001": b""}


@cache
def sound() -> tuple[str, ...]:
    """Return the catalogue's models whose own config no rule has anything to say about."""
    return tuple(model.name for model in zoo.models() if not model.unavailable and not _found(model))


def _found(model: zoo.Model) -> bool:
    draft = _draft(model, ["a"])
    items = tuple(Item(name=label, id=number) for number, label in enumerate(draft.labels, start=1))
    value = rules.Config(
        name=model.name,
        message=draft.message,
        toolbox=rules.toolbox(offline=False),
        folders=(Path(),),
        labels=LabelMap(path=Path(LABELS), items=items),
    )
    value.message.train_input_reader.label_map_path = ""
    checks = [info.check for info in CATALOGUE.values() if info.subject == "config"]
    return any(True for check in checks for _ in check(value))


@cache
def _text(name: str) -> str:
    tools = rules.toolbox(offline=False)
    return pipeline.derive(zoo.find(name), tools.tree, tools.protos).text


def _draft(model: zoo.Model, labels: list[str]) -> Draft:
    draft = Draft(model=model, message=rules.parse(_text(model.name), rules.toolbox(offline=False)), labels=labels)
    draft.network.num_classes = len(labels)
    draft.message.train_input_reader.label_map_path = LABELS
    return draft


Change = Callable[[st.DrawFn, Draft], str]


def changes(code: str, wanted: Callable[[Draft], bool] = lambda _: True) -> Callable[[Change], Change]:
    """Register the decorated change of a config, which returns where or how; only of the wanted ones."""

    @st.composite
    def made(draw: st.DrawFn, change: Change) -> Broken:
        names = [name for name in sound() if wanted(_draft(zoo.find(name), ["a"]))]
        labels = draw(st.lists(_unsided, min_size=2, max_size=4, unique_by=annotations.folded))
        draft = _draft(zoo.find(draw(st.sampled_from(names))), labels)
        what = change(draw, draft)
        text = pipeline.render(draft.message)
        files = {LABELS: to_pbtxt(draft.labels).encode(), **draft.files, CONFIG: text.encode()}
        return Broken(code=code, what=f"{draft.model.name}: {what}", files=files, paths=(CONFIG,))

    def take(change: Change) -> Change:
        register(code, made(change))
        return change

    return take


_unsided = annotations.labels().filter(lambda label: not rules.SIDED.search(label))
_words = st.text("abcdefghijklmnopqrstuvwxyz_0123456789", min_size=1, max_size=9)


def _tf2(draft: Draft) -> bool:
    return draft.model.zoo == "tf2"


@breaks("CFG701")
@st.composite
def _no_config(draw: st.DrawFn) -> Broken:
    text = _text(draw(st.sampled_from(sound())))
    leads = st.sampled_from(
        ["<!DOCTYPE html>\n", "modell {}\n", "model { ssd { num_classes: two } }\n", "}\n", '"']
    )
    lines = text.splitlines(keepends=True)
    # In a comment or a string it would be one character more.
    at = draw(st.sampled_from([number for number, line in enumerate(lines) if line.endswith("{\n")]))
    with_nul = "".join([*lines[:at], "\0", *lines[at:]])
    broken = draw(leads.map(lambda lead: lead + text) | st.just(with_nul))
    return Broken(code="CFG701", what="no text proto", files={CONFIG: broken.encode()}, paths=(CONFIG,))


@changes("CFG701")
def _lacks_part(draw: st.DrawFn, draft: Draft) -> str:
    part = draw(st.sampled_from(["optimizer", "train_input_reader", "eval_input_reader"]))
    (draft.message.train_config if part == "optimizer" else draft.message).ClearField(part)
    return f"no {part}"


@changes("CFG702")
def _nowhere(draw: st.DrawFn, draft: Draft) -> str:
    path = draw(
        st.one_of(st.just(PLACEHOLDER), st.just(f"{PLACEHOLDER}/a"), _words.map("data\\{}".format), _words)
    )
    train = draft.message.train_input_reader
    where = draw(st.sampled_from(["label_map_path", "input_path", "eval", "fine_tune_checkpoint"]))
    if where == "label_map_path":
        train.label_map_path = path
    elif where == "input_path":
        train.tf_record_input_reader.input_path[:] = [path]
    elif where == "eval":
        draft.message.eval_input_reader[0].label_map_path = path
    else:
        draft.message.train_config.fine_tune_checkpoint = path
        draft.message.train_config.fine_tune_checkpoint_type = "detection"
        draft.message.train_config.fine_tune_checkpoint_version = 2
    return f"{where}: {path}"


@changes("CFG703")
def _no_extractor(draw: st.DrawFn, draft: Draft) -> str:
    # Evaluation in TF2 asks more of a config than in TF1, which is what an unknown extractor counts as.
    extractor = draft.network.feature_extractor
    extractor.type = f"{extractor.type}{draw(_words)}" if draw(st.booleans()) else f"x{draw(_words)}"
    return str(extractor.type)


@changes("CFG704", _tf2)
def _old_version(draw: st.DrawFn, draft: Draft) -> str:
    draft.start()
    train = draft.message.train_config
    train.fine_tune_checkpoint_type = "detection"
    train.fine_tune_checkpoint_version = draw(st.sampled_from([0, 1]))
    return "version V1"


@changes("CFG704", _tf2)
def _all_variables(_draw: st.DrawFn, draft: Draft) -> str:
    draft.start()
    train = draft.message.train_config
    train.fine_tune_checkpoint_type = "detection"
    train.fine_tune_checkpoint_version = 2
    train.load_all_detection_checkpoint_vars = True
    return "load_all_detection_checkpoint_vars"


@changes("CFG704")
def _unknown_type(draw: st.DrawFn, draft: Draft) -> str:
    draft.start()
    train = draft.message.train_config
    known = ("detection", "classification", "fine_tune")
    train.fine_tune_checkpoint_type = draw(_words.filter(lambda word: word not in known))
    train.fine_tune_checkpoint_version = 2
    return str(train.fine_tune_checkpoint_type)


@changes("CFG705")
def _other_count(draw: st.DrawFn, draft: Draft) -> str:
    count = len(draft.labels)
    draft.network.num_classes = draw(st.integers(1, 99).filter(lambda number: number != count))
    return f"{draft.network.num_classes} classes of {count}"


def _kept(draft: Draft) -> bool:
    resizer = getattr(draft.network, "image_resizer", None)
    return resizer is not None and resizer.WhichOneof("image_resizer_oneof") == "keep_aspect_ratio_resizer"


@changes("CFG706", _kept)
def _unpadded(draw: st.DrawFn, draft: Draft) -> str:
    train = draft.message.train_config
    # The learning rate would be too high for a smaller one.
    train.batch_size = max(2, train.batch_size) + draw(st.integers(0, 64))
    draft.network.image_resizer.keep_aspect_ratio_resizer.pad_to_max_dimension = False
    return f"a batch of {train.batch_size}"


def _optimizer(draft: Draft) -> tuple[Message, str]:
    optimizer = draft.message.train_config.optimizer
    name = optimizer.WhichOneof("optimizer")
    return getattr(optimizer, name).learning_rate, name


@changes("CFG707")
def _hot(draw: st.DrawFn, draft: Draft) -> str:
    rates, name = _optimizer(draft)
    schedule = getattr(rates, rates.WhichOneof("learning_rate"))
    base = next(one for one in rules.BASES if one in schedule.DESCRIPTOR.fields_by_name)
    most = rules.RATES[name] * max(1, draft.message.train_config.batch_size)
    setattr(schedule, base, most * draw(st.integers(11, 1000)) / 10)
    return f"{base}: {getattr(schedule, base):g}"


@changes("CFG707", lambda draft: _optimizer(draft)[0].WhichOneof("learning_rate") == "cosine_decay_learning_rate")
def _unfit(draw: st.DrawFn, draft: Draft) -> str:
    schedule = _optimizer(draft)[0].cosine_decay_learning_rate
    steps = draft.message.train_config.num_steps
    way = draw(st.sampled_from(["warmup", "total"]))
    if way == "warmup":
        schedule.warmup_steps = schedule.total_steps + draw(st.integers(1, 9999))
        return f"warm-up of {schedule.warmup_steps} steps"
    schedule.warmup_steps = 0
    schedule.total_steps = draw(st.integers(1, 2 * steps).filter(lambda total: total != steps))
    return f"{schedule.total_steps} of {steps} steps"


@changes("CFG709")
def _no_metric(draw: st.DrawFn, draft: Draft) -> str:
    known = rules.metrics(rules.toolbox(offline=False))
    name = draw(_words.filter(lambda word: word not in known))
    draft.message.eval_config.metrics_set.append(name)
    return name


@changes("CFG709")
def _remainder(draw: st.DrawFn, draft: Draft) -> str:
    draft.message.eval_config.batch_size = draw(st.integers(2, 64))
    return f"evaluation in batches of {draft.message.eval_config.batch_size}"


@changes("CFG709", _tf2)
def _endless(draw: st.DrawFn, draft: Draft) -> str:
    draft.message.eval_input_reader[0].num_epochs = draw(st.sampled_from([0, 2, 9]))
    return "evaluation without end"


@breaks("CFG710")
@st.composite
def _no_export(draw: st.DrawFn) -> Broken:
    pairs = [
        (name, target)
        for name in sound()
        for target in get_args(rules.Target)
        if target not in zoo.find(name).exports
    ]
    name, target = draw(st.sampled_from(pairs))
    return Broken(
        code="CFG710",
        what=f"{name} to {target}",
        files={LABELS: to_pbtxt(["a"]).encode()},
        paths=(LABELS,),
        options={"model": name, "export": target},
    )


@changes("CFG712")
def _mirrored(draw: st.DrawFn, draft: Draft) -> str:
    side = draw(st.sampled_from(["left {}", "{} Right", "{}-left", "RIGHT"]))
    draft.labels[draw(st.integers(0, len(draft.labels) - 1))] = side.format(draft.labels[0])
    options = draft.message.train_config.data_augmentation_options
    options.add().random_horizontal_flip.SetInParent()
    return ", ".join(draft.labels)
