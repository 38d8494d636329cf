"""What the user sets by hand: paths into the pipeline config, checked against its proto, and applied last.

The same code checks them where the bundle is made and applies them on the training machine, after the tuning, so
that the user wins.
"""

import difflib
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

from .errors import UsageError
from .tuning import Change

Message = Any  # a TrainEvalPipelineConfig, of upstream's generated class or of a dynamic one
Field = Any  # a FieldDescriptor of protobuf

BATCH_SIZE = "train_config.batch_size"

OWNED = (
    (r"train_config\.num_steps", "the steps are the argument of start.sh"),
    (r"train_config\.fine_tune_checkpoint", "--checkpoint names the weights to start from"),
    (r"model\.\w+\.num_classes", "the classes are those of the data"),
    (r".*\.(label_map_path|input_path)(\[\d+\])?", "the training machine makes this file of the data"),
)
"""Fields that the run itself decides: another value there would be ignored, or break it."""


def apply(config: Message, overrides: Iterable[tuple[str, str]]) -> Iterator[Change]:
    """Set each field, named by a path such as `eval_input_reader[0].shuffle`, to a value given as text.

    Raises:
        UsageError: A path leads nowhere, or a value does not fit its field; the message names both.
    """
    for path, text in overrides:
        try:
            yield from _override(config, path, text)
        except UsageError as error:
            raise UsageError(f"--set {path}={text}: {error}") from None


def _override(config: Message, path: str, text: str) -> Iterator[Change]:
    for pattern, reason in OWNED:
        if re.fullmatch(pattern, path):
            raise UsageError(f"this is not set by hand: {reason}")
    *parents, last = path.split(".")
    message, where = config, "the pipeline config"
    for depth, part in enumerate(parents, 1):
        message = _enter(message, part, where)
        where = ".".join(parents[:depth])
    name, index = _part(last)
    field = _field(message, name, where)
    if field.message_type is not None:
        names = ", ".join(field.message_type.fields_by_name)
        raise UsageError(f"{last} holds fields of its own: go on with one of {names}")
    _require_same_kind(message, field, where)
    yield from _set(message, field, index, text, path)


def _part(part: str) -> tuple[str, int | None]:
    found = re.fullmatch(r"(\w+)(?:\[([0-9]{1,9})\])?", part)
    if found is None:
        raise UsageError(f"{part!r} is no name of a field, such as train_config or eval_input_reader[0]")
    name, index = found.groups()
    return name, None if index is None else int(index)


def _field(message: Message, name: str, where: str) -> Field:
    known = message.DESCRIPTOR.fields_by_name
    if name not in known:
        near = difflib.get_close_matches(name, list(known), n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"It has {', '.join(known)}."
        raise UsageError(f"{where} has no field {name!r}. {hint}")
    return known[name]


def _enter(message: Message, part: str, where: str) -> Message:
    """Return the message below a message that one part of a path names."""
    name, index = _part(part)
    field = _field(message, name, where)
    if field.message_type is None:
        raise UsageError(f"{name} is a value and has no fields")
    _require_same_kind(message, field, where)
    child = getattr(message, name)
    if not _listed(child, name, index):
        return child
    return child[index]


def _listed(value: Any, name: str, index: int | None) -> bool:
    """Say whether a field is a list, which an index must go with and lie in."""
    if not hasattr(value, "extend"):
        if index is not None:
            raise UsageError(f"{name} is no list: leave [{index}] out")
        return False
    there = f"{name} has {len(value)} of them, counted from [0]"
    if index is None:
        raise UsageError(f"{name} is a list: say which, such as {name}[0]. {there}")
    if index >= len(value):
        raise UsageError(f"there is no {name}[{index}]: {there}")
    return True


def _require_same_kind(message: Message, field: Field, where: str) -> None:
    """Refuse to replace one alternative by another: all that is set in it would be lost without a word."""
    group = field.containing_oneof
    present = message.WhichOneof(group.name) if group is not None else None
    if present not in {None, field.name}:
        raise UsageError(f"{where} has {present} here, not {field.name}")


def _set(message: Message, field: Field, index: int | None, text: str, path: str) -> Iterator[Change]:
    value, name = _value(field, text), field.name
    if path == BATCH_SIZE and value < 1:
        raise UsageError("a batch holds one picture at the least")
    listed = _listed(getattr(message, name), name, index)
    before = getattr(message, name)[index] if listed else getattr(message, name)
    try:
        if listed:
            getattr(message, name)[index] = value
        else:
            setattr(message, name, value)
    except ValueError as error:  # also what UTF-8 cannot hold
        raise UsageError(f"{text!r} does not fit the field ({error})") from None
    after = getattr(message, name)[index] if listed else getattr(message, name)
    if before != after:
        shown = _show(field, before), _show(field, after)
        yield Change(field=path, before=shown[0], after=shown[1], reason="asked for by --set")


def _value(field: Field, text: str) -> Any:
    """Return a value of the field's type."""
    if field.enum_type is not None:
        return _choice(text, field.enum_type.values_by_name).number
    match field.cpp_type:
        case field.CPPTYPE_STRING:
            return text
        case field.CPPTYPE_BOOL:
            return _choice(text, {"true": True, "false": False})
        case field.CPPTYPE_FLOAT | field.CPPTYPE_DOUBLE:
            return _number(text, single=field.cpp_type == field.CPPTYPE_FLOAT)
    if not re.fullmatch(r"[+-]?[0-9]{1,20}", text):
        raise UsageError(f"{text!r} is no whole number")
    return int(text)


def _choice(text: str, known: Any) -> Any:
    if text not in known:
        near = difflib.get_close_matches(text.casefold(), {each.casefold() for each in known}, n=1, cutoff=0.5)
        guess = next((each for each in known if near and each.casefold() == near[0]), None)
        hint = f"Did you mean {guess!r}? " if guess else ""
        raise UsageError(f"{text!r} is none of {', '.join(known)}. {hint}".rstrip())
    return known[text]


def _number(text: str, *, single: bool) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (single and abs(value) > SINGLE):
        raise UsageError(f"{text!r} is no number that the field can hold")
    return value


SINGLE = 3.4028234e38
"""The largest number of single precision; above it protobuf would store infinity without a word."""


def _show(field: Field, value: Any) -> str:
    if field.enum_type is not None:
        return str(field.enum_type.values_by_number[value].name)
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else repr(value)
