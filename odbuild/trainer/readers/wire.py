"""A `tf.train.Example` of any writer, read without TensorFlow and without copying the picture in it.

The picture's bytes are all but the whole of a record. Where they lie as every known writer puts them they are
skipped by their length; the rest, some hundred bytes, goes to protobuf: lists packed or not, fields in any order,
maps with repeated keys. TensorFlow's own parser, tensorflow/core/util/example_proto_fast_parsing.cc, takes less.
Of a list in several pieces it reads the first without a word, and features with fields that it does not know it
does not read at all. Such records are refused.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

ENCODED = "image/encoded"

_KEY = b"\n\rimage/encoded"
"""How an entry of the map begins: field 1, 13 bytes, the key."""

_FEATURES_FIELD, _ENTRY_FIELD, _KEY_FIELD, _VALUE_FIELD, _BYTES_FIELD, _VALUES_FIELD = 1, 1, 1, 2, 1, 1
"""Numbers of Example.features, Features.feature, its key and value, Feature.bytes_list, and any list's values."""

_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10

_ENTRIES = {_ENTRY_FIELD: {_DELIMITED}}
_PAIR = {_KEY_FIELD: {_DELIMITED}, _VALUE_FIELD: {_DELIMITED}}
_LISTS = {1: {_DELIMITED}, 2: {_DELIMITED, _FIXED32}, 3: {_DELIMITED, _VARINT}}
"""The lists of a Feature by number: of bytes, float and int64; and how their values may be spelled."""

Span = tuple[int, int]
"""Where something begins in a record, and where it ends."""

Field = tuple[int, int, int, int]
"""Number and kind of a field, and where its value begins and ends."""


class WireError(ValueError):
    """Report bytes that are no `tf.train.Example`."""


def features(record: memoryview) -> tuple[Mapping[str, Any], Span | None]:
    """Take an example apart.

    Returns:
        The `tf.train.Feature` messages by key, without the picture's, and where the picture's bytes lie in the
        record; None where there are none.

    Raises:
        WireError: the bytes are no example.
    """
    rest: list[bytes] = []
    picture: Span | None = None
    for start, end in _members(record, 0, len(record), _FEATURES_FIELD):
        for _, _, first, last in _only(record, start, end, _ENTRIES):
            found = _picture(record, first, last)
            if found is None:
                rest += (_tagged(last - first), bytes(record[first:last]))
            picture = found or picture
    from google.protobuf.message import DecodeError

    entries = b"".join(rest)
    try:
        parsed = _features_class().FromString(entries)
    except DecodeError as error:
        raise WireError("it is no tf.train.Example") from error
    parsed.DiscardUnknownFields()
    # Nearly all are what protobuf itself would write, which costs less to see than to look at each field.
    if parsed.SerializeToString(deterministic=True) != entries:
        _refuse_what_is_not_read(memoryview(entries))
    known = {entry.key: entry.value for entry in parsed.feature}
    return known, _elsewhere(record, known.pop(ENCODED, None)) or picture


def _elsewhere(record: memoryview, feature: Any) -> Span | None:
    """Return where the picture's bytes lie that protobuf had to find."""
    values: Sequence[bytes] = feature.bytes_list.value if feature is not None else ()
    at = bytes(record).find(values[0]) if len(values) == 1 and values[0] else -1
    return None if at < 0 else (at, at + len(values[0]))


def _picture(record: memoryview, start: int, end: int) -> Span | None:
    """Return where the picture's bytes lie in an entry that holds one, and nothing else, in the usual order."""
    at = start + len(_KEY)
    if record[start:at] != _KEY:
        return None
    for field in (_VALUE_FIELD, _BYTES_FIELD, _VALUES_FIELD):
        if at >= end or record[at] != field << 3 | _DELIMITED:
            return None
        length, at = _varint(record, at + 1)
        if at + length != end:
            return None
    return (at, end) if at < end else None


def _refuse_what_is_not_read(entries: memoryview) -> None:
    """Refuse entries of which TensorFlow's parser takes nothing, or less than they hold."""
    for _, _, start, end in _only(entries, 0, len(entries), _ENTRIES):
        for number, _, first, last in _only(entries, start, end, _PAIR):
            if number == _VALUE_FIELD:
                _refuse_pieces(entries, first, last)


def _refuse_pieces(entries: memoryview, at: int, end: int) -> None:
    lists = _only(entries, at, end, {number: {_DELIMITED} for number in _LISTS})
    for number, _, first, last in lists:
        values = _only(entries, first, last, {_VALUES_FIELD: _LISTS[number]})
        packed = number != _BYTES_FIELD and any(kind == _DELIMITED for _, kind, _, _ in values)
        if len(lists) > 1 or (packed and len(values) > 1):
            raise WireError("it holds a list in pieces, of which TensorFlow reads the first")


def _only(record: memoryview, at: int, end: int, known: Mapping[int, set[int]]) -> list[Field]:
    """Return the fields of a message, which must all be known, by number and kinds."""
    found = list(_fields(record, at, end))
    if any(kind not in known.get(number, ()) for number, kind, _, _ in found):
        raise WireError("it holds fields that TensorFlow does not know, and so reads nothing of it")
    return found


def _members(record: memoryview, at: int, end: int, wanted: int) -> Iterator[Span]:
    """Yield where the length-delimited fields of one number lie in a message; others are passed over."""
    for number, kind, start, stop in _fields(record, at, end):
        if number == wanted and kind == _DELIMITED:
            yield start, stop


def _fields(record: memoryview, at: int, end: int) -> Iterator[Field]:
    """Yield the fields of a message."""
    while at < end:
        tag, at = _varint(record, at)
        kind = tag & 7
        if kind == _DELIMITED:
            length, at = _varint(record, at)
            stop = at + length
        elif kind == _VARINT:
            stop = _varint(record, at)[1]
        elif kind in (_FIXED32, _FIXED64):
            stop = at + (4 if kind == _FIXED32 else 8)
        else:
            raise WireError("it is no tf.train.Example")
        if stop > end:
            raise WireError("it is no tf.train.Example, or is cut")
        yield tag >> 3, kind, at, stop
        at = stop


def _varint(record: memoryview, at: int) -> tuple[int, int]:
    number = 0
    for shift, byte in enumerate(record[at : at + _LONGEST_VARINT]):
        number |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            return number, at + shift + 1
    raise WireError("it is no tf.train.Example, or is cut")


def _tagged(length: int) -> bytes:
    """Return tag and length of an entry."""
    out = bytearray((_ENTRY_FIELD << 3 | _DELIMITED,))
    while length > 0x7F:
        out.append(length & 0x7F | 0x80)
        length >>= 7
    out.append(length)
    return bytes(out)


@cache
def _features_class() -> Any:
    """Return the message class of `tf.train.Features`, its map spelled as the entries that it is on the wire."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="features.proto", package="read", syntax="proto3")
    types = {"bytes": field.TYPE_BYTES, "float": field.TYPE_FLOAT, "int64": field.TYPE_INT64}
    for name, kind in types.items():
        file.message_type.add(name=f"{name}s").field.add(
            name="value", number=1, label=field.LABEL_REPEATED, type=kind
        )
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, name in enumerate(types, 1):
        feature.field.add(
            name=f"{name}_list",
            number=number,
            label=field.LABEL_OPTIONAL,
            type=field.TYPE_MESSAGE,
            type_name=f".read.{name}s",
            oneof_index=0,
        )
    entry = file.message_type.add(name="Entry")
    entry.field.add(name="key", number=1, label=field.LABEL_OPTIONAL, type=field.TYPE_STRING)
    entry.field.add(
        name="value",
        number=2,
        label=field.LABEL_OPTIONAL,
        type=field.TYPE_MESSAGE,
        type_name=".read.Feature",
    )
    file.message_type.add(name="Features").field.add(
        name="feature", number=1, label=field.LABEL_REPEATED, type=field.TYPE_MESSAGE, type_name=".read.Entry"
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("read.Features"))
