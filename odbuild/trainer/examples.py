"""One picture with its boxes as a `tf.train.Example`, written and read without TensorFlow.

The wire format is assembled by hand: it is a fraction of the cost of a protobuf message, needs no generated
code, and its map is sorted, so equal pictures give equal bytes.
"""

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from typing import Literal, NamedTuple, TypeVar

from .dataset import Box
from .errors import OdbuildError
from .jpeg import Data
from .packed import rows_of

Kind = Literal["bytes", "float", "int"]
Values = Sequence[bytes] | Sequence[float] | Sequence[int]

_BYTES_FIELD, _FLOAT_FIELD, _INT_FIELD = 1, 2, 3
_FIELD: dict[Kind, int] = {"bytes": _BYTES_FIELD, "float": _FLOAT_FIELD, "int": _INT_FIELD}
"""Field numbers of `tf.train.Feature`: bytes_list, float_list, int64_list."""

_T = TypeVar("_T")

_LENGTH_DELIMITED = 2
_LONGEST_VARINT = 10
_SHORTEST = [bytes((number,)) for number in range(0x80)]
"""Each varint of one byte."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """What one record holds.

    Attributes:
        key: the picture's key in the source; upstream's `filename` and `source_id`.
        encoded: the bytes of a JPEG or PNG file.
        format: `jpeg` or `png`.
        width: pixels.
        height: pixels.
        boxes: in the order of the source.
        ids: class number of each box, from 1.
    """

    key: str
    encoded: Data = field(repr=False)
    format: str
    width: int
    height: int
    boxes: Sequence[Box]
    ids: tuple[int, ...]


class Columns(NamedTuple):
    """What the boxes of an example say, column by column, as `packed.Row` has it."""

    labels: tuple[str, ...] = ()
    ymin: tuple[float, ...] = ()
    xmin: tuple[float, ...] = ()
    ymax: tuple[float, ...] = ()
    xmax: tuple[float, ...] = ()
    indices: tuple[int, ...] = ()
    difficult: tuple[bool, ...] = ()
    crowd: tuple[bool, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Feature:
    """One row of the table: where a feature's values come from.

    Attributes:
        key: its name.
        kind: what its values are.
        count: `one` value for the picture, one value for `each` box, or the same for `marked` boxes only: left out
            where no box of the picture has the mark.
        take: takes them from an example and the columns of its boxes.
        frequent: whether the same values come again and again, so that their bytes are kept; a tuple then.
    """

    key: str
    kind: Kind
    count: Literal["one", "each", "marked"]
    take: Callable[[Example, Columns], Values]
    frequent: bool = False

    def values(self, example: Example) -> Values:
        """Return its values in an example."""
        return self.take(example, columns(example))


@lru_cache(maxsize=4096)
def _encoded(labels: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple([label.encode() for label in labels])


FEATURES = (
    Feature(key="image/encoded", kind="bytes", count="one", take=lambda it, _: (bytes(it.encoded),)),
    Feature(key="image/filename", kind="bytes", count="one", take=lambda it, _: (it.key.encode(),)),
    Feature(
        key="image/format", kind="bytes", count="one", take=lambda it, _: (it.format.encode(),), frequent=True
    ),
    Feature(key="image/height", kind="int", count="one", take=lambda it, _: (it.height,), frequent=True),
    Feature(key="image/object/bbox/xmax", kind="float", count="each", take=lambda _, boxes: boxes.xmax),
    Feature(key="image/object/bbox/xmin", kind="float", count="each", take=lambda _, boxes: boxes.xmin),
    Feature(key="image/object/bbox/ymax", kind="float", count="each", take=lambda _, boxes: boxes.ymax),
    Feature(key="image/object/bbox/ymin", kind="float", count="each", take=lambda _, boxes: boxes.ymin),
    Feature(key="image/object/class/label", kind="int", count="each", take=lambda it, _: it.ids, frequent=True),
    Feature(
        key="image/object/class/text",
        kind="bytes",
        count="each",
        take=lambda _, boxes: _encoded(boxes.labels),
        frequent=True,
    ),
    Feature(
        key="image/object/difficult",
        kind="int",
        count="marked",
        take=lambda _, boxes: tuple(map(int, boxes.difficult)),
        frequent=True,
    ),
    Feature(
        key="image/object/is_crowd",
        kind="int",
        count="marked",
        take=lambda _, boxes: tuple(map(int, boxes.crowd)),
        frequent=True,
    ),
    Feature(key="image/source_id", kind="bytes", count="one", take=lambda it, _: (it.key.encode(),)),
    Feature(key="image/width", kind="int", count="one", take=lambda it, _: (it.width,), frequent=True),
)
"""Every feature of a record, sorted by key as deterministic serialisation has them."""


def columns(example: Example) -> Columns:
    """Return what the boxes of an example say, column by column."""
    rows = rows_of(example.boxes)
    return Columns._make(zip(*rows, strict=True)) if rows else _NO_BOXES


_NO_BOXES = Columns()


def encode(example: Example) -> bytes:
    """Return the serialised `tf.train.Example`, equal to what `SerializeToString(deterministic=True)` gives."""
    return b"".join(pieces(example))


def pieces(example: Example) -> tuple[bytes, Data, bytes]:
    """Return what `encode` gives in three pieces; the picture's bytes in the middle are those of the example."""
    boxes = columns(example)
    after = b"".join([entries(example, boxes) for entries in _REST])
    size = len(example.encoded)
    own = b"\x0a" + _varint(size)
    # Sizes of pictures hardly repeat, so they would only crowd the cache.
    entry = _lead.__wrapped__(_PICTURE.key, _PICTURE.kind, len(own) + size) + own
    return b"\x0a" + _varint(len(entry) + size + len(after)) + entry, example.encoded, after


def decode(record: bytes) -> Example:
    """Read back what `encode` wrote; box edges come back rounded to float32.

    Raises:
        OdbuildError: a feature is missing, unknown, repeated, of another type or length, or two disagree.
    """
    seen = _features(record)
    table = {feature.key: feature for feature in FEATURES if feature.count != "marked" or feature.key in seen}
    if list(seen) != list(table):
        odd = sorted(set(seen) ^ set(table)) or "their order"
        raise OdbuildError(f"The record's features are not the ones this program writes; look at {odd}.")
    return _example({key: _values(table[key], payload) for key, payload in seen.items()})


def _example(values: Mapping[str, tuple[object, ...]]) -> Example:
    columns = [values[f"image/object/{name}"] for name in _COLUMNS]
    columns += [values.get(f"image/object/{name}", (0,) * len(columns[0])) for name in _MARKS]
    if len({len(column) for column in columns}) != 1:
        raise OdbuildError("The record's box features differ in length.")
    if values["image/source_id"] != values["image/filename"]:
        raise OdbuildError("The record's source_id and filename differ.")
    rows = list(zip(*columns, strict=True))
    return Example(
        key=_text(values["image/filename"][0]),
        encoded=_of(bytes, values["image/encoded"][0]),
        format=_text(values["image/format"][0]),
        width=_of(int, values["image/width"][0]),
        height=_of(int, values["image/height"][0]),
        boxes=tuple(_box(row, index) for index, row in enumerate(rows)),
        ids=tuple(_of(int, row[0]) for row in rows),
    )


_COLUMNS = ("class/label", "class/text", "bbox/ymin", "bbox/xmin", "bbox/ymax", "bbox/xmax")
_MARKS = ("difficult", "is_crowd")


def _box(row: tuple[object, ...], index: int) -> Box:
    _, label, ymin, xmin, ymax, xmax, difficult, crowd = row
    return Box(
        label=_text(label),
        ymin=_of(float, ymin),
        xmin=_of(float, xmin),
        ymax=_of(float, ymax),
        xmax=_of(float, xmax),
        index=index,
        difficult=_mark(difficult),
        crowd=_mark(crowd),
    )


def _mark(value: object) -> bool:
    if value not in (0, 1):
        raise OdbuildError(f"The record marks a box with {value!r}; expected 0 or 1.")
    return value == 1


def _of(kind: type[_T], value: object) -> _T:
    assert isinstance(value, kind)  # noqa: S101 - the table's kinds make it so
    return value


def _text(value: object) -> str:
    try:
        return _of(bytes, value).decode()
    except UnicodeDecodeError as error:
        raise OdbuildError(f"The record holds a name that is not UTF-8: {value!r}.") from error


def _entry(feature: Feature, values: Values) -> bytes:
    """Return one map entry of `tf.train.Features`, key and values; nothing for marks that no box has."""
    if feature.count == "marked" and not any(values):
        return b""
    payload = _PAYLOADS[feature.kind](values)
    return _lead(feature.key, feature.kind, len(payload)) + payload


Entries = Callable[[Example, Columns], bytes]
"""Makes the map entries of some features that follow each other."""


def _kept(features: Sequence[Feature]) -> Entries:
    """Return what makes entries whose values come again and again: their bytes are looked up all at once."""

    @lru_cache(maxsize=4096)
    def entries(values: tuple[Values, ...]) -> bytes:
        return b"".join(map(_entry, features, values))

    takes = [feature.take for feature in features]
    return lambda example, boxes: entries(tuple([take(example, boxes) for take in takes]))


def _made(features: Sequence[Feature]) -> Entries:
    """Return what makes entries whose values hardly repeat."""
    rows = [(feature, feature.take) for feature in features]
    return lambda example, boxes: b"".join([_entry(feature, take(example, boxes)) for feature, take in rows])


def _fractions(features: Sequence[Feature]) -> Entries:
    """Return what makes the entries of fractions, of which each feature has as many as there are boxes."""

    @lru_cache(maxsize=4096)
    def frame(boxes: int) -> tuple[struct.Struct, tuple[bytes, ...]]:
        leads = tuple([_lead(feature.key, feature.kind, 4 * boxes) for feature in features])
        return struct.Struct("<" + "".join(f"{len(lead)}s{boxes}f" for lead in leads)), leads

    takes = [feature.take for feature in features]

    def entries(example: Example, boxes: Columns) -> bytes:
        layout, leads = frame(len(boxes.indices))
        numbers: list[bytes | float] = []
        for lead, take in zip(leads, takes, strict=True):
            numbers.append(lead)
            numbers += take(example, boxes)
        return layout.pack(*numbers)

    return entries


def _bytes_list(values: Values) -> bytes:
    return b"".join([_fragment(_of(bytes, value)) for value in values])


def _float_list(values: Values) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def _int_list(values: Values) -> bytes:
    return b"".join([_varint(_of(int, value)) for value in values])


_PAYLOADS: dict[Kind, Callable[[Values], bytes]] = {"bytes": _bytes_list, "float": _float_list, "int": _int_list}


@lru_cache(maxsize=4096)
def _fragment(value: bytes) -> bytes:
    """Return one field of a BytesList; labels come again and again."""
    return _announced(1, len(value)) + value


@lru_cache(maxsize=4096)
def _lead(key: str, kind: Kind, length: int) -> bytes:
    """Return what stands in a map entry before a payload of so many bytes.

    The payload of bytes is a run of fields of the list; that of numbers is the one packed field, none if empty.
    """
    packed = _announced(1, length) if kind != "bytes" and length else b""
    values = _announced(_FIELD[kind], len(packed) + length) + packed
    value = _announced(2, len(values) + length) + values
    name = _announced(1, len(key)) + key.encode()
    return _announced(1, len(name) + len(value) + length) + name + value


def _announced(field: int, length: int) -> bytes:
    """Return tag and length of a length-delimited field."""
    return bytes((field << 3 | _LENGTH_DELIMITED,)) + _varint(length)


def _varint(number: int) -> bytes:
    if 0 <= number < 0x80:
        return _SHORTEST[number]
    out = bytearray()
    number &= 0xFFFF_FFFF_FFFF_FFFF
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _features(record: bytes) -> dict[str, memoryview]:
    """Return the serialised feature of each key, in the order of the record."""
    seen: dict[str, memoryview] = {}
    for entry in _sole(memoryview(record), 1):
        key, payload = _pair(entry)
        name = _text(bytes(key))
        if name in seen:
            raise OdbuildError(f"The record holds the feature {name!r} twice.")
        seen[name] = payload
    return seen


def _sole(data: memoryview, field: int) -> list[memoryview]:
    """Return the members of the one message of that field which the data must be."""
    ((number, inner),) = _exactly(data, 1)
    if number != field:
        raise _damaged()
    members = list(_fields(inner))
    if any(number != 1 for number, _ in members):
        raise _damaged()
    return [member for _, member in members]


def _pair(entry: memoryview) -> tuple[memoryview, memoryview]:
    (first, key), (second, value) = _exactly(entry, 2)
    if (first, second) != (1, 2):
        raise _damaged()
    return key, value


def _exactly(data: memoryview, count: int) -> list[tuple[int, memoryview]]:
    fields = list(_fields(data))
    if len(fields) != count:
        raise _damaged()
    return fields


def _values(feature: Feature, payload: memoryview) -> tuple[object, ...]:
    members = _sole(payload, _FIELD[feature.kind])
    if feature.kind == "bytes":
        values: tuple[object, ...] = tuple(bytes(member) for member in members)
    elif len(members) > 1:
        raise _damaged()
    else:
        packed = members[0] if members else memoryview(b"")
        values = _floats(packed) if feature.kind == "float" else tuple(_ints(packed))
    if feature.count == "one" and len(values) != 1:
        raise OdbuildError(f"The record's {feature.key} has {len(values)} values; expected one.")
    if feature.count == "marked" and not any(values):
        raise OdbuildError(f"The record's {feature.key} marks no box; expected to be left out.")
    return values


def _floats(packed: memoryview) -> tuple[float, ...]:
    if len(packed) % 4:
        raise _damaged()
    return struct.unpack(f"<{len(packed) // 4}f", packed)


def _ints(packed: memoryview) -> Iterator[int]:
    at = 0
    while at < len(packed):
        number, at = _read_varint(packed, at)
        yield number - (1 << 64) if number >> 63 else number


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield field number and content of each length-delimited field; nothing else occurs in an Example."""
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        length, at = _read_varint(data, at)
        if tag & 7 != _LENGTH_DELIMITED or length > len(data) - at:
            raise _damaged()
        yield tag >> 3, data[at : at + length]
        at += length


def _read_varint(data: memoryview, at: int) -> tuple[int, int]:
    number = 0
    for shift in range(_LONGEST_VARINT):
        if at + shift >= len(data):
            break
        byte = data[at + shift]
        number |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            if number >> 64:
                break
            return number, at + shift + 1
    raise _damaged()


def _damaged() -> OdbuildError:
    return OdbuildError("The record is not a tf.train.Example as this program writes it.")


def _maker(feature: Feature) -> Callable[[Sequence[Feature]], Entries]:
    if feature.frequent:
        return _kept
    return _fractions if feature.kind == "float" else _made


_PICTURE = FEATURES[0]
_REST = [make(list(features)) for make, features in groupby(FEATURES[1:], key=_maker)]
