"""`tf.train.Example` on the wire in all the forms that TensorFlow reads, of which known writers use one or two.

Protobuf allows more, in which TensorFlow reads a part of a record or nothing: lists in pieces, and unknown fields.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hypothesis import strategies as st

Values = Sequence[bytes] | Sequence[float] | Sequence[int]
Features = Mapping[str, Values]
"""Values by key; empty lists are of no kind."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """How a message is spelled.

    Attributes:
        packed: numbers in one piece, else one by one.
        halves: the features come in two messages.
        turned: values come before keys.
        keys: the order of features; those that are not in it follow.
        noise: put beside the features, fields that no reader knows.
        pieces: lists of numbers come in two pieces, of which TensorFlow reads the first.
        strange: put within each message, fields that no reader knows, with which TensorFlow reads nothing.
    """

    packed: bool = True
    halves: bool = False
    turned: bool = False
    keys: tuple[str, ...] = field(default=())
    noise: bytes = b""
    pieces: bool = False
    strange: bytes = b""


noises = st.lists(
    st.sampled_from([b"\x78\x96\x01", b"\x7d1234", b"\x7912345678", b"\x7a\x03abc", b"\xba\x3e\x00"]), max_size=2
).map(b"".join)
"""Fields 15 and 999 of every kind: a number, four bytes, eight bytes, counted bytes."""


def forms(keys: Sequence[str]) -> st.SearchStrategy[Form]:
    """Return a strategy for forms of an example with these keys, all of which TensorFlow reads."""
    order = st.just(tuple(keys)) | st.permutations(keys).map(tuple)
    flags = st.booleans()
    return st.builds(Form, packed=flags, halves=flags, turned=flags, keys=order, noise=noises)


def example(features: Features, form: Form) -> bytes:
    """Return an example in a form."""
    keys = [*(key for key in form.keys if key in features), *(key for key in features if key not in form.keys)]
    entries = [delimited(1, _entry(key, features[key], form)) for key in keys]
    middle = len(entries) // 2 if form.halves else 0
    parts = (form.strange + b"".join(part) for part in (entries[:middle], entries[middle:]))
    return form.noise + b"".join(delimited(1, part) for part in parts)


def _entry(key: str, values: Values, form: Form) -> bytes:
    parts = [form.strange, delimited(1, key.encode()), delimited(2, _feature(values, form))]
    return b"".join(reversed(parts) if form.turned else parts)


def _feature(values: Values, form: Form) -> bytes:
    if not values:
        return form.strange
    number = {bytes: 1, float: 2, int: 3, bool: 3}[type(values[0])]
    if number == 1:
        return form.strange + delimited(1, b"".join(delimited(1, value) for value in values))  # type: ignore[arg-type]
    encoded = [struct.pack("<f", value) if number == 2 else varint(int(value)) for value in values]
    middle = len(encoded) // 2 if form.pieces else 0
    pieces = [_numbers(number, part, form) for part in (encoded[:middle], encoded[middle:]) if part]
    return form.strange + delimited(number, b"".join(pieces))


def _numbers(number: int, encoded: Sequence[bytes], form: Form) -> bytes:
    if form.packed:
        return delimited(1, b"".join(encoded))
    return b"".join((b"\x0d" if number == 2 else b"\x08") + value for value in encoded)


def delimited(number: int, data: bytes) -> bytes:
    """Return a field that holds bytes or a message."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(number: int) -> bytes:
    """Return a whole number, also a negative one, as protobuf writes it."""
    number &= 2**64 - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])
