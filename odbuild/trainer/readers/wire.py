"""A `tf.train.Example` of any writer, read without TensorFlow and without copying the picture in it.

The picture's bytes are all but the whole of a record. Where they lie as every known writer puts them they are
skipped by their length; the rest, some hundred bytes, goes to protobuf, which takes all that TensorFlow would:
lists packed or not, fields in any order, unknown ones, maps with repeated keys.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

ENCODED = "image/encoded"

_KEY = b"\n\rimage/encoded"
"""How an entry of the map begins: field 1, 13 bytes, the key."""

_FEATURES_FIELD, _ENTRY_FIELD, _VALUE_FIELD, _BYTES_FIELD = 1, 1, 2, 1
"""Numbers of Example.features, Features.feature, its value, and Feature.bytes_list as well as BytesList.value."""

_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10

Span = tuple[int, int]
"""Where something begins in a record, and where it ends."""


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
        for first, last in _members(record, start, end, _ENTRY_FIELD):
            found = _picture(record, first, last)
            if found is None:
                rest += (_tagged(last - first), bytes(record[first:last]))
            picture = found or picture
    from google.protobuf.message import DecodeError

    try:
        parsed = _features_class().FromString(b"".join(rest))
    except DecodeError as error:
        raise WireError("it is no tf.train.Example") from error
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
    for field in (_VALUE_FIELD, _BYTES_FIELD, _BYTES_FIELD):
        if at >= end or record[at] != field << 3 | _DELIMITED:
            return None
        length, at = _varint(record, at + 1)
        if at + length != end:
            return None
    return (at, end) if at < end else None


def _members(record: memoryview, at: int, end: int, wanted: int) -> Iterator[Span]:
    """Yield where the length-delimited fields of one number lie in a message; others are passed over."""
    while at < end:
        tag, at = _varint(record, at)
        kind = tag & 7
        if kind == _DELIMITED:
            length, at = _varint(record, at)
            if tag >> 3 == wanted and at + length <= end:
                yield at, at + length
            at += length
        elif kind == _VARINT:
            at = _varint(record, at)[1]
        elif kind in (_FIXED32, _FIXED64):
            at += 4 if kind == _FIXED32 else 8
        else:
            raise WireError("it is no tf.train.Example")
    if at != end:
        raise WireError("it is no tf.train.Example, or is cut")


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
