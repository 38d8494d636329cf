"""`tf.train.Example` on the wire in all the forms that protobuf allows, which known writers use one or two of."""

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
        halves: packed lists and the features come in two pieces.
        turned: values come before keys.
        keys: the order of features; those that are not in it follow.
        noise: put before each message, fields that no reader knows.
    """

    packed: bool = True
    halves: bool = False
    turned: bool = False
    keys: tuple[str, ...] = field(default=())
    noise: bytes = b""


noises = st.lists(
    st.sampled_from([b"\x78\x96\x01", b"\x7d1234", b"\x7912345678", b"\x7a\x03abc", b"\xba\x3e\x00"]), max_size=2
).map(b"".join)
"""Fields 15 and 999 of every kind: a number, four bytes, eight bytes, counted bytes."""


def forms(keys: Sequence[str]) -> st.SearchStrategy[Form]:
    """Return a strategy for forms of an example with these keys."""
    order = st.just(tuple(keys)) | st.permutations(keys).map(tuple)
    flags = st.booleans()
    return st.builds(Form, packed=flags, halves=flags, turned=flags, keys=order, noise=noises)


def example(features: Features, form: Form) -> bytes:
    """Return an example in a form."""
    keys = [*(key for key in form.keys if key in features), *(key for key in features if key not in form.keys)]
    entries = [form.noise + _delimited(1, _entry(key, features[key], form)) for key in keys]
    middle = len(entries) // 2 if form.halves else 0
    return form.noise + b"".join(_delimited(1, b"".join(part)) for part in (entries[:middle], entries[middle:]))


def _entry(key: str, values: Values, form: Form) -> bytes:
    parts = [form.noise, _delimited(1, key.encode()), _delimited(2, form.noise + _feature(values, form))]
    return b"".join(reversed(parts) if form.turned else parts)


def _feature(values: Values, form: Form) -> bytes:
    if not values:
        return b""
    number = {bytes: 1, float: 2, int: 3, bool: 3}[type(values[0])]
    if number == 1:
        return _delimited(1, b"".join(_delimited(1, value) for value in values))  # type: ignore[arg-type]
    encoded = [struct.pack("<f", value) if number == 2 else varint(int(value)) for value in values]
    if not form.packed:
        return _delimited(number, b"".join((b"\x0d" if number == 2 else b"\x08") + value for value in encoded))
    middle = len(encoded) // 2 if form.halves else 0
    pieces = [b"".join(encoded[:middle]), b"".join(encoded[middle:])]
    return _delimited(number, b"".join(_delimited(1, piece) for piece in pieces if piece))


def _delimited(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(number: int) -> bytes:
    """Return a whole number, also a negative one, as protobuf writes it."""
    number &= 2**64 - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])
