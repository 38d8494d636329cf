"""Checks of label maps: what upstream would take without a word and train wrongly by."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, text_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from ..errors import OdbuildError
from ..findings import Finding, Rule, quote
from .catalogue import rule

BACKGROUND = "background"
"""The one name that upstream allows to have the number 0."""

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

_NO_ID = Rule(
    "MAP602", "error", "an entry has no number above 0", "number the classes from 1; 0 is the background's"
)
_NO_NAME = Rule("MAP602", "error", "an entry has no name", "give it the name that the records use")
_SAME_ID = Rule("MAP602", "error", "two entries have one number", "give each class a number of its own")
_SAME_NAME = Rule("MAP602", "error", "two entries have one name", "leave one of them out")
_GAPS = Rule(
    "MAP602",
    "warning",
    "the numbers have gaps, so the model gets classes that nothing teaches",
    "number the classes 1, 2, 3, ..., and write the records again",
)
_EMPTY = Rule("MAP602", "error", "there is no entry", "add the classes")
_ORDER = Rule(
    "MAP603",
    "warning",
    "the entries do not stand in the order of their numbers",
    "sort them, so that equal classes give equal files",
)
_UNLIKE = Rule(
    "MAP603",
    "warning",
    "the numbers follow neither the alphabet nor the order in which the dataset declares its labels",
    "number them in one of these orders, so that the same data give the same numbers in every run",
)


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


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelMap:
    """A label map to judge.

    Attributes:
        path: its file.
        items: its entries, in the order of the file.
        declared: the labels that the dataset given with it declares, in order; empty where there is none.
    """

    path: Path
    items: tuple[Item, ...]
    declared: tuple[str, ...] = ()

    @property
    def numbers(self) -> Mapping[str, int]:
        """Return the number of each name that has one, the last where a name stands twice, as upstream does."""
        return {item.name: item.id for item in self.items if item.id is not None}


def read(path: Path) -> LabelMap:
    """Read a label map.

    Raises:
        OdbuildError: it cannot be read, or is none.
    """
    return LabelMap(path=path, items=_items(path))


def _items(path: Path) -> tuple[Item, ...]:
    """Read the file of a label map, stricter than upstream, which takes the last of two equal fields.

    Raises:
        OdbuildError: it cannot be read, or is no text proto of a label map.
    """
    try:
        text = path.read_bytes().decode()
        message = text_format.Parse(text, _message_class()())
    except OSError as error:
        raise OdbuildError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise OdbuildError(f"{path} is not UTF-8. Save it as UTF-8.") from error
    except text_format.ParseError as error:
        raise OdbuildError(f"{path} is no label map: {error} (line:column). {_advice(text)}") from error
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


@rule("MAP601", "error", "the label map is no valid text proto")
def unparsable(_labels: LabelMap) -> Iterator[Finding]:
    r"""The file does not parse, or says a field of one entry twice.

    Upstream merges fields, so that the last of two names or numbers counts, and nobody is told. A quotation mark
    in a name must have a backslash before it, and the file no byte order mark.
    """
    # A label map that breaks this rule cannot be read, and its reader says so under this code.
    yield from ()


@rule("MAP602", "error", "the classes are not numbered 1, 2, 3, ..., each once")
def numbering(labels: LabelMap) -> Iterator[Finding]:
    """A number is missing, below 1, or given twice, or a name is.

    0 is the background's. An entry without a number has 0. Of two entries with one number or one name, upstream
    keeps the last, and the class of the other has no output or the wrong name. Gaps are a warning: they only waste
    outputs.
    """
    if not labels.items:
        yield _EMPTY.at(labels.path.name)
    for index, item in enumerate(labels.items):
        where = f"item[{index}]"
        background = item.id == 0 and BACKGROUND in (item.name, item.display_name)
        if (item.id is None or item.id < 1) and not background:
            yield _NO_ID.at(where, f"{quote(item.name)}, {'no id' if item.id is None else item.id}")
        if not item.name:
            yield _NO_NAME.at(where)
    ids = Counter(item.id for item in labels.items if item.id is not None)
    names = Counter(item.name for item in labels.items if item.name)
    for number in (number for number, times in ids.items() if times > 1):
        of = ", ".join(quote(item.name) for item in labels.items if item.id == number)
        yield _SAME_ID.at("item", f"{number}: {of}")
    yield from (_SAME_NAME.at("item", quote(name)) for name, times in names.items() if times > 1)
    yield from _gaps({number for number in ids if number > 0})


def _gaps(ids: set[int]) -> Iterator[Finding]:
    last = max(ids, default=0)
    if last > len(ids):
        first = next(number for number in range(1, last) if number not in ids)
        yield _GAPS.at("item", f"{last - len(ids)} of 1 to {last} are missing, the first is {first}")


@rule("MAP603", "warning", "the classes are numbered in no order that comes out the same again")
def order(labels: LabelMap) -> Iterator[Finding]:
    """The numbers look as if they had been dealt out by chance, as `set` in Python does, in every run anew.

    A model trained before then calls a cat a dog. Number classes by the alphabet or as they are declared.
    """
    numbers = [item.id for item in labels.items if item.id is not None]
    if len(set(numbers)) == len(numbers) and numbers != sorted(numbers):
        first = next(place for place, pair in enumerate(pairwise(numbers)) if pair[0] > pair[1])
        yield _ORDER.at(f"item[{first + 1}]", f"{numbers[first + 1]} after {numbers[first]}")
    if labels.declared:
        names = [item.name for item in sorted(labels.items, key=lambda item: item.id or 0)]
        known = [label for label in dict.fromkeys(labels.declared) if label in names]
        if [name for name in names if name in known] not in (known, sorted(known)):
            yield _UNLIKE.at("item", ", ".join(map(quote, names[:5])))
