"""The catalogue of models: rows of `zoo.toml`, checked, and found by any of their names.

`refused.toml` has the zoos' other models: to name one is no mistake, so it is answered by the reason.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from .errors import OdbuildError, UsageError, did_you_mean
from .resources import read_text
from .trainer.recipe import Footprint, Zoo


@dataclass(frozen=True, kw_only=True, slots=True)
class Archive:
    """Where a model's pre-trained weights lie.

    Attributes:
        url: The archive (tar.gz), https.
        prefix: Path of the checkpoint below the archive's one top folder, without `.index`.
        type: Its `fine_tune_checkpoint_type`: `detection`, `fine_tune` or `classification`.
        alternatives: Other prefixes that one or another source tells of, best first.
        size: Bytes of the archive, where known.
        sha256: Hex digest of the archive, where known.
        sha384: Hex digest of the archive, where only this one was published.
    """

    url: str
    prefix: str
    type: str
    alternatives: tuple[str, ...] = ()
    size: int | None = None
    sha256: str | None = None
    sha384: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """One row of the two detection zoos.

    Attributes:
        name: The archive's name, unique: the catalogue name.
        short_name: The name without date or training hardware.
        aliases: Further names.
        zoo: `tf1` or `tf2`.
        meta_architecture: `ssd`, `faster_rcnn`, `rfcn`, `context_rcnn` or `center_net`.
        feature_extractor: Its `type` in the config.
        resizer: `fixed_shape` or `keep_aspect_ratio`.
        input_size: Pixels: height and width, or the least shorter and the most longer side.
        dataset: What the checkpoint was trained on, such as `coco14`.
        checkpoint: The pre-trained weights.
        config: Path of the sample config below upstream; empty where there is none, of unavailable models.
        assumed: What is not known where upstream lacks the model's own config and `config` is the closest.
        speed_ms: Milliseconds a picture as the zoo prints it, where it does.
        edge_device: What the model was made for and its speed was measured on, where it is no GPU.
        coco_map: COCO mAP@[.5:.95] as the zoo prints it, 0..100, where it does.
        coco_map_uint8: The same after quantization.
        other_map: Mean average precision by another metric, 0..100, where it is no COCO mAP.
        metric: That metric.
        quantization_aware: Whether the zoo trained it for integers.
        tflite: Whether upstream's TFLite exporter takes it.
        footprint: What a training step holds of it, where that was counted.
        unavailable: Why it cannot be trained, or None.
    """

    name: str
    short_name: str
    aliases: tuple[str, ...]
    zoo: Zoo
    meta_architecture: str
    feature_extractor: str
    resizer: str
    input_size: tuple[int, int]
    dataset: str
    checkpoint: Archive
    config: str = ""
    assumed: tuple[str, ...] = ()
    speed_ms: float | None = None
    edge_device: str | None = None
    coco_map: float | None = None
    coco_map_uint8: float | None = None
    other_map: float | None = None
    metric: str | None = None
    quantization_aware: bool = False
    tflite: bool = False
    footprint: Footprint | None = None
    unavailable: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Return every name the model answers to, the catalogue name first."""
        return tuple(dict.fromkeys((self.name, self.short_name, *self.aliases)))

    @property
    def exports(self) -> tuple[str, ...]:
        """Return what the trained model can be exported to; nothing where it cannot be trained."""
        if self.unavailable:
            return ()
        return ("saved_model", *("frozen_graph",) * (self.zoo == "tf1"), *("tflite",) * self.tflite)


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """A model of the zoos that is no detector of boxes only.

    Attributes:
        name: The archive's name.
        aliases: Further names.
        reason: Why it is refused, as the rest of a sentence on it.
        nearest: A name of the nearest model that can be trained.
    """

    name: str
    aliases: tuple[str, ...]
    reason: str
    nearest: str

    @property
    def names(self) -> tuple[str, ...]:
        """Return every name the model answers to, the catalogue name first."""
        return tuple(dict.fromkeys((self.name, *self.aliases)))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Field:
    """What one key of a row must hold."""

    expected: str
    accepts: Callable[[Any], bool]
    required: bool = True


def find(name: str) -> Model:
    """Return the model of this catalogue name, short name or alias, in upper or lower case.

    Raises:
        UsageError: No model has that name, or one has that is no detector of boxes only.
    """
    word = name.strip().casefold()
    known = {each.casefold(): model for model in models() for each in model.names}
    if word in known:
        return known[word]
    for other in refused():
        if word in map(str.casefold, other.names):
            raise UsageError(
                f"{name!r} is not for odbuild, which trains detectors of boxes only: {other.reason}. "
                f"The nearest of those is {other.nearest}."
            )
    guess = did_you_mean(name, known)
    raise UsageError(f"Unknown model {name!r}.{guess} `odbuild models` lists all {len(models())}.")


def find_trainable(name: str) -> Model:
    """Return the model of any name, if it can be trained.

    Raises:
        UsageError: No model has that name, or the one that has it cannot be trained; with the reason.
    """
    model = find(name)
    if model.unavailable:
        raise UsageError(f"{model.name} cannot be trained: {model.unavailable}. `odbuild models` lists what can.")
    return model


@cache
def models() -> tuple[Model, ...]:
    """Return the catalogue in its order."""
    return load(read_text("zoo.toml"))


@cache
def refused() -> tuple[Refused, ...]:
    """Return the zoos' models that are no detectors of boxes only."""
    return load_refused(read_text("refused.toml"))


def load(text: str) -> tuple[Model, ...]:
    """Read a catalogue.

    Raises:
        OdbuildError: It is no TOML, or a row lacks a key, has an unknown one, holds a value of the wrong
            kind, or shares a name with another row. The message names the row and the key.
    """
    rows = tuple(_model(name, row) for name, row in _table(text, "zoo.toml").items())
    _refuse_shared_names(rows)
    return rows


def load_refused(text: str) -> tuple[Refused, ...]:
    """Read the models that are refused.

    Raises:
        OdbuildError: As for `load`.
    """
    rows = []
    for name, row in _table(text, "refused.toml").items():
        _check(f"refused.toml: [{name}]", row, _REFUSED)
        rows.append(Refused(name=name, **_with_tuples(row)))
    return tuple(rows)


def _table(text: str, file: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise OdbuildError(f"{file}: {error}") from error


def _model(name: str, row: Any) -> Model:
    where = f"zoo.toml: [{name}]"
    if not _is_name(name):
        raise OdbuildError(f"{where}: expected a name of letters, digits, '_', '-' and '.'")
    _check(where, row, _MODEL)
    _check(f"{where}: checkpoint", row["checkpoint"], _ARCHIVE)
    if not row.get("config") and not row.get("unavailable"):
        raise OdbuildError(f"{where}: config is missing; only a model with `unavailable` does without")
    made: dict[str, Any] = {"checkpoint": Archive(**_with_tuples(row["checkpoint"]))}
    if "footprint" in row:
        _check(f"{where}: footprint", row["footprint"], _FOOTPRINT)
        made["footprint"] = Footprint(**row["footprint"])
    return Model(name=name, **_with_tuples(row) | made)


def _with_tuples(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with tuples for lists, so that it cannot be changed."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}


def _check(where: str, row: Any, fields: Mapping[str, _Field]) -> None:
    if not isinstance(row, dict):
        raise OdbuildError(f"{where}: {row!r}; expected a table")
    for key in sorted(row.keys() - fields.keys()):
        raise OdbuildError(f"{where}: unknown key {key!r}.{did_you_mean(key, fields)}")
    for key, field in fields.items():
        if key not in row:
            if field.required:
                raise OdbuildError(f"{where}: {key} is missing; expected {field.expected}")
        elif not field.accepts(row[key]):
            raise OdbuildError(f"{where}: {key} = {row[key]!r}; expected {field.expected}")


def _refuse_shared_names(rows: tuple[Model, ...]) -> None:
    owner: dict[str, str] = {}
    for model in rows:
        for name in model.names:
            first = owner.setdefault(name.casefold(), model.name)
            if first != model.name:
                raise OdbuildError(f"zoo.toml: [{model.name}]: the name {name!r} belongs to [{first}]")


def _is_name(value: Any) -> bool:
    # Names become folders, so neither separators nor a leading dot.
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", value) is not None


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and all(_is_name(part) for part in value.split("/"))


def _is_url(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"https://[^\s/]+/\S+\.tar\.gz", value) is not None


def _is_digest(bits: int) -> Callable[[Any], bool]:
    pattern = re.compile(rf"[0-9a-f]{{{bits // 4}}}")
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < float("inf")


def _one_of(*words: str) -> _Field:
    return _Field(expected=" or ".join(map(repr, words)), accepts=lambda value: value in words)


def _is_list_of(accepts: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(accepts, value))


def _is_sentence(value: Any) -> bool:
    return isinstance(value, str) and value.strip() == value != "" and value.isprintable()


_NAME = _Field(expected="a name of letters, digits, '_', '-' and '.'", accepts=_is_name)
_NAMES = _Field(expected="a list of names", accepts=_is_list_of(_is_name))
_PATH = _Field(expected="a relative path without '..'", accepts=_is_path)
_WORDS = _Field(expected="one line of text", accepts=_is_sentence)
_MAP = _Field(
    expected="a number above 0, at most 100",
    accepts=lambda value: _is_number(value) and value <= 100,
    required=False,
)
_TABLE = _Field(expected="a table", accepts=lambda value: isinstance(value, dict))
_MEGABYTES = _Field(expected="megabytes above 0, in whole numbers", accepts=_is_count)
_FLAG = _Field(expected="true or false", accepts=lambda value: type(value) is bool, required=False)

_MODEL: Mapping[str, _Field] = {
    "short_name": _NAME,
    "aliases": _NAMES,
    "zoo": _one_of("tf1", "tf2"),
    "meta_architecture": _one_of("ssd", "faster_rcnn", "rfcn", "context_rcnn", "center_net"),
    "feature_extractor": _NAME,
    "resizer": _one_of("fixed_shape", "keep_aspect_ratio"),
    "input_size": _Field(
        expected="two counts of pixels",
        accepts=lambda value: isinstance(value, list) and len(value) == 2 and all(map(_is_count, value)),
    ),
    "dataset": _NAME,
    "checkpoint": _TABLE,
    "config": replace(_PATH, required=False),
    "assumed": _Field(expected="a list of sentences", accepts=_is_list_of(_is_sentence), required=False),
    "speed_ms": _Field(expected="milliseconds above 0", accepts=_is_number, required=False),
    "edge_device": replace(_WORDS, required=False),
    "coco_map": _MAP,
    "coco_map_uint8": _MAP,
    "other_map": _MAP,
    "metric": replace(_WORDS, required=False),
    "quantization_aware": _FLAG,
    "tflite": _FLAG,
    "footprint": replace(_TABLE, required=False),
    "unavailable": replace(_WORDS, required=False),
}

_ARCHIVE: Mapping[str, _Field] = {
    "url": _Field(expected="an https address ending in .tar.gz", accepts=_is_url),
    "prefix": _PATH,
    "type": _one_of("detection", "fine_tune", "classification"),
    "alternatives": _Field(expected="a list of paths", accepts=_is_list_of(_is_path), required=False),
    "size": _Field(expected="a count of bytes", accepts=_is_count, required=False),
    "sha256": _Field(expected="64 lower-case hex digits", accepts=_is_digest(256), required=False),
    "sha384": _Field(expected="96 lower-case hex digits", accepts=_is_digest(384), required=False),
}

_FOOTPRINT: Mapping[str, _Field] = {"weights_mb": _MEGABYTES, "activations_mb": _MEGABYTES}

_REFUSED: Mapping[str, _Field] = {"aliases": _NAMES, "reason": _WORDS, "nearest": _NAME}
