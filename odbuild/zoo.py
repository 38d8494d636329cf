"""The catalogue of models: rows of `zoo.toml`, checked, and found by any of their names."""

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from .errors import OdbuildError, UsageError, did_you_mean
from .resources import read_text
from .trainer.recipe import Zoo


@dataclass(frozen=True, kw_only=True, slots=True)
class Archive:
    """Where a model's pre-trained weights lie.

    Attributes:
        url: The archive (tar.gz), https.
        prefix: Path of the checkpoint below the archive's one top folder, without `.index`.
        type: Its `fine_tune_checkpoint_type`: `detection`, `fine_tune` or `classification`.
        size: Bytes of the archive, where known.
        sha256: Hex digest of the archive, where known.
        sha384: Hex digest of the archive, where only this one was published.
    """

    url: str
    prefix: str
    type: str
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
        meta_architecture: The field of the model proto that is set, such as `ssd`.
        feature_extractor: Its `type` in the config.
        resizer: `fixed_shape` or `keep_aspect_ratio`.
        input_size: Pixels: height and width, or the least shorter and the most longer side.
        speed_ms: Milliseconds a picture as the zoo prints it, where it does.
        coco_map: COCO mAP@[.5:.95] as the zoo prints it, 0..100, where it does.
        config: Path of the sample config below upstream.
        checkpoint: The pre-trained weights.
    """

    name: str
    short_name: str
    aliases: tuple[str, ...]
    zoo: Zoo
    meta_architecture: str
    feature_extractor: str
    resizer: str
    input_size: tuple[int, int]
    speed_ms: float | None = None
    coco_map: float | None = None
    config: str
    checkpoint: Archive

    @property
    def names(self) -> tuple[str, ...]:
        """Return every name the model answers to, the catalogue name first."""
        return tuple(dict.fromkeys((self.name, self.short_name, *self.aliases)))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Field:
    """What one key of a row must hold."""

    expected: str
    accepts: Callable[[Any], bool]
    required: bool = True


def find(name: str) -> Model:
    """Return the model of this catalogue name, short name or alias, in upper or lower case.

    Raises:
        UsageError: No model has that name.
    """
    known = {each.casefold(): model for model in models() for each in model.names}
    try:
        return known[name.strip().casefold()]
    except KeyError:
        shortest = ", ".join(min(model.names, key=len) for model in models())
        guess = did_you_mean(name, known)
        raise UsageError(f"Unknown model {name!r}.{guess} Known models: {shortest}.") from None


@cache
def models() -> tuple[Model, ...]:
    """Return the catalogue in its order."""
    return load(read_text("zoo.toml"))


def load(text: str) -> tuple[Model, ...]:
    """Read a catalogue.

    Raises:
        OdbuildError: It is no TOML, or a row lacks a key, has an unknown one, holds a value of the wrong
            kind, or shares a name with another row. The message names the row and the key.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise OdbuildError(f"zoo.toml: {error}") from error
    rows = tuple(_model(name, row) for name, row in table.items())
    _refuse_shared_names(rows)
    return rows


def _model(name: str, row: Any) -> Model:
    where = f"zoo.toml: [{name}]"
    if not _is_name(name):
        raise OdbuildError(f"{where}: expected a name of letters, digits, '_', '-' and '.'")
    _check(where, row, _MODEL)
    _check(f"{where}: checkpoint", row["checkpoint"], _ARCHIVE)
    values = row | {
        "aliases": tuple(row["aliases"]),
        "input_size": tuple(row["input_size"]),
        "checkpoint": Archive(**row["checkpoint"]),
    }
    return Model(name=name, **values)


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


_NAME = _Field(expected="a name of letters, digits, '_', '-' and '.'", accepts=_is_name)
_PATH = _Field(expected="a relative path without '..'", accepts=_is_path)

_MODEL: Mapping[str, _Field] = {
    "short_name": _NAME,
    "aliases": _Field(
        expected="a list of names",
        accepts=lambda value: isinstance(value, list) and all(map(_is_name, value)),
    ),
    "zoo": _one_of("tf1", "tf2"),
    "meta_architecture": _NAME,
    "feature_extractor": _NAME,
    "resizer": _one_of("fixed_shape", "keep_aspect_ratio"),
    "input_size": _Field(
        expected="two counts of pixels",
        accepts=lambda value: isinstance(value, list) and len(value) == 2 and all(map(_is_count, value)),
    ),
    "speed_ms": _Field(expected="milliseconds above 0", accepts=_is_number, required=False),
    "coco_map": _Field(
        expected="a number above 0, at most 100",
        accepts=lambda value: _is_number(value) and value <= 100,
        required=False,
    ),
    "config": _PATH,
    "checkpoint": _Field(expected="a table", accepts=lambda value: isinstance(value, dict)),
}

_ARCHIVE: Mapping[str, _Field] = {
    "url": _Field(expected="an https address ending in .tar.gz", accepts=_is_url),
    "prefix": _PATH,
    "type": _one_of("detection", "fine_tune", "classification"),
    "size": _Field(expected="a count of bytes", accepts=_is_count, required=False),
    "sha256": _Field(expected="64 lower-case hex digits", accepts=_is_digest(256), required=False),
    "sha384": _Field(expected="96 lower-case hex digits", accepts=_is_digest(384), required=False),
}
