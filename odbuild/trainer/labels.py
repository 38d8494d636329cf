"""Class names and their numbers, and the label map file that upstream reads them from."""

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from .errors import OdbuildError

_FIELDS = {
    "StringIntLabelMapItem": (
        ("name", 1, "STRING"),
        ("id", 2, "INT32"),
        ("display_name", 3, "STRING"),
        ("keypoints", 4, "KeypointMap"),
        ("ancestor_ids", 5, "INT32*"),
        ("descendant_ids", 6, "INT32*"),
        ("frequency", 7, "LVISFrequency"),
        ("instance_count", 8, "INT32"),
    ),
    "KeypointMap": (("id", 1, "INT32"), ("label", 2, "STRING")),
    "StringIntLabelMap": (("item", 1, "StringIntLabelMapItem"),),
}
"""Upstream's `string_int_label_map.proto` at the pinned commit: field, number, type; `*` and messages repeat."""

_FREQUENCIES = ("UNSPECIFIED", "FREQUENT", "COMMON", "RARE")


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One entry of a label map as its file has it.

    Attributes:
        name: what records call the class; empty where it is not given.
        id: its number; None where it is not given, which upstream reads as 0.
        display_name: what people call it; empty where it is not given.
    """

    name: str
    id: int | None
    display_name: str = ""

    @property
    def display(self) -> str:
        """Return what people call the class."""
        return self.display_name or self.name


def read_label_map(path: Path) -> tuple[Item, ...]:
    """Read the file of a label map, stricter than upstream, which takes the last of two equal fields.

    Raises:
        OdbuildError: it cannot be read, or is no text proto of a label map.
    """
    from google.protobuf import text_format

    try:
        text = path.read_bytes().decode()
        message = _parsed(text)
    except OSError as error:
        raise OdbuildError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise OdbuildError(f"{path} is not UTF-8. Save it as UTF-8.") from error
    except text_format.ParseError as error:
        raise OdbuildError(f"{path} is no label map: {error} (line:column). {_advice(text)}") from error
    return _items(message)


def _parsed(text: str) -> Any:
    from google.protobuf import text_format

    with warnings.catch_warnings():
        # Python, which decodes the escapes, grumbles at those that are none; they stand for themselves.
        warnings.simplefilter("ignore", DeprecationWarning)
        return text_format.Parse(text, _message_class()())


def _items(message: Any) -> tuple[Item, ...]:
    return tuple(
        Item(name=item.name, id=item.id if item.HasField("id") else None, display_name=item.display_name)
        for item in message.item
    )


def _advice(text: str) -> str:
    if text.startswith("\ufeff"):
        return "Save it without a byte order mark."
    return 'Write each as item { name: "cat" id: 1 }, quotes in a name with a backslash before them.'


@cache
def _message_class() -> type[Any]:
    """Make the class of label maps, in a pool of its own, so that it never meets upstream's generated code."""
    from google.protobuf import descriptor_pb2
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message_factory import GetMessageClass

    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="label_map.proto", package="odbuild", syntax="proto2")
    frequency = file.enum_type.add(name="LVISFrequency")
    for number, name in enumerate(_FREQUENCIES):
        frequency.value.add(name=name, number=number)
    for message, fields in _FIELDS.items():
        made = file.message_type.add(name=message)
        for name, number, kind in fields:
            field = made.field.add(name=name, number=number)
            repeated = kind in _FIELDS or kind.endswith("*")
            field.label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            if kind in _FIELDS or kind == "LVISFrequency":
                field.type_name = f".odbuild.{kind}"
            else:
                field.type = kinds.Type.Value(f"TYPE_{kind.rstrip('*')}")
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName("odbuild.StringIntLabelMap"))


def label_ids(labels: Sequence[str]) -> dict[str, int]:
    """Number the labels 1, 2, ... in the given order; 0 is the background's.

    Raises:
        OdbuildError: a label is empty or stands there twice.
    """
    ids = {label: number for number, label in enumerate(labels, start=1)}
    if "" in ids or len(ids) != len(labels):
        raise OdbuildError(f"Labels must be different and not empty, but are {list(labels)!r}.")
    return ids


def to_pbtxt(labels: Sequence[str]) -> str:
    """Return a text proto of `object_detection.protos.StringIntLabelMap`, ASCII only, any label escaped."""
    return "\n".join(_item(label, number) for label, number in label_ids(labels).items())


def _item(label: str, number: int) -> str:
    from google.protobuf import text_encoding

    name = text_encoding.CEscape(label.encode(), as_utf8=False)
    return f'item {{\n  name: "{name}"\n  id: {number}\n}}\n'


def from_pbtxt(text: str) -> tuple[Item, ...]:
    """Read a text proto of `object_detection.protos.StringIntLabelMap`, in its order.

    Raises:
        OdbuildError: it is none, an item lacks its number or its name, or two have the same.
    """
    from google.protobuf import text_format

    try:
        items = _items(_parsed(text))
    except (text_format.ParseError, RecursionError) as error:
        raise OdbuildError(f"it is no label map: {str(error)[:200]}") from error
    odd = [item for item in items if not item.display or (item.id or 0) < 1]
    if odd:
        raise OdbuildError(f"the item {odd[0].name!r} with the id {odd[0].id} lacks a name, or an id from 1 on")
    for what, seen in (("id", [item.id for item in items]), ("name", [item.display for item in items])):
        twice = [value for value, times in Counter(seen).items() if times > 1]
        if twice:
            raise OdbuildError(f"the {what} {twice[0]!r} stands there twice")
    return items
