"""Class names and their numbers, and the label map file that upstream reads them from."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_encoding, text_format

from .errors import OdbuildError


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
    name = text_encoding.CEscape(label.encode(), as_utf8=False)
    return f'item {{\n  name: "{name}"\n  id: {number}\n}}\n'


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One class of a label map.

    Attributes:
        id: its number in records.
        name: its name, which may be a code such as `/m/01g317`.
        display: its name for people; as `name` where the map has no other.
    """

    id: int
    name: str
    display: str


def from_pbtxt(text: str) -> tuple[Item, ...]:
    """Read a text proto of `object_detection.protos.StringIntLabelMap`, in its order.

    Raises:
        OdbuildError: it is none, an item lacks its number or its name, or two have the same.
    """
    try:
        parsed = text_format.Parse(text, _map_class()(), allow_unknown_field=True)
    except (text_format.ParseError, RecursionError) as error:
        raise OdbuildError(f"it is no label map: {str(error)[:200]}") from error
    items = tuple(
        Item(id=item.id, name=item.name or item.display_name, display=item.display_name or item.name)
        for item in parsed.item
    )
    odd = [item for item in items if not item.name or item.id < 1]
    if odd:
        raise OdbuildError(f"the item {odd[0].name!r} with the id {odd[0].id} lacks a name, or an id from 1 on")
    for what, seen in (("id", [item.id for item in items]), ("name", [item.display for item in items])):
        twice = [value for value, times in Counter(seen).items() if times > 1]
        if twice:
            raise OdbuildError(f"the {what} {twice[0]!r} stands there twice")
    return items


@cache
def _map_class() -> Any:
    """Return a message class with those fields of a label map that say what a class is called."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="label_map.proto", package="labels", syntax="proto2")
    item = file.message_type.add(name="Item")
    kinds = {"name": field.TYPE_STRING, "id": field.TYPE_INT32, "display_name": field.TYPE_STRING}
    for number, (name, kind) in enumerate(kinds.items(), 1):
        item.field.add(name=name, number=number, label=field.LABEL_OPTIONAL, type=kind)
    file.message_type.add(name="Map").field.add(
        name="item", number=1, label=field.LABEL_REPEATED, type=field.TYPE_MESSAGE, type_name=".labels.Item"
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("labels.Map"))
