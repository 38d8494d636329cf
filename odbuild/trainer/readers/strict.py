"""Strict JSON of any size, walked with a window of it in memory.

What Python's parser accepts in silence, repeated keys and numbers that are none, is an error at its place.
"""

import codecs
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NoReturn

from ..errors import OdbuildError, UnreadableError
from ..findings import quote

SNIPPET = 30
"""Characters shown on each side of a place in the JSON, which is usually one long line."""

WINDOW = 1 << 20
"""Bytes that are read at a time."""

LARGEST = 1 << 24
"""Characters of one value; a box, even with the outline of what is in it, takes some thousands."""

PEEKED = 1 << 16
"""Bytes at either end of a file that tell what it is."""

_SPACE = re.compile(r"[ \t\n\r]*")

_TOKENS = re.compile(r'("(?:[^"\\]|\\.)*")(\s*:)?|[{}]', re.DOTALL)

TWICE = "ANN006"
"""The rule against objects that hold a key twice."""

_UNSURE = 16
"""Characters from the end of the window in which an error may only mean that the value goes on beyond it."""


class _NoNumberError(ValueError):
    """A number that is none: its token."""


class _TwiceError(ValueError):
    """An object that holds a key twice."""


class Document:
    """A file of JSON on the walk: at every moment before a value, which one of the methods must take.

    Every method raises OdbuildError, with the place, where the file is no strict JSON.
    """

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path = path
        self._file = file
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._read = 0
        self._text = ""
        self._at = 0
        self._began = 0
        self._ended = False
        self._line, self._column = 1, 0

    def peek(self) -> str:
        """Return the first character of the value; empty at the end of the file."""
        while True:
            first = self._text[self._at : self._at + 1]
            if first > " ":
                return first
            self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._text):
                return self._text[self._at]
            if self._ended:
                return ""
            self._more()

    def value(self) -> Any:
        """Take the value whole."""
        self.peek()
        while True:
            try:
                value, end = _STRICT.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._ended or self._sure(error):
                    self._fail(error.msg, error.pos)
            except _NoNumberError as error:
                token = str(error)
                self._fail(f"{token[:SNIPPET]} is no number", _outside_strings(self._text, token, self._at))
            except _TwiceError:
                key, position = _repeated(self._text, self._at)
                self._fail(f"the key {quote(key)} stands twice in one object", position, code=TWICE)
            except RecursionError as error:
                raise OdbuildError(
                    f"{self.path} is nested too deeply to be annotations. Export it again."
                ) from error
            else:
                # A number at the window's end may go on behind it, even after a dot or an `e+`.
                if end < len(self._text) - 2 or self._ended:
                    self._began, self._at = self._at, end
                    return value
            self._more()

    def members(self) -> Iterator[str]:
        """Enter the object and yield each key; its value must be taken before the next."""
        self._at += 1
        if self.peek() == "}":
            self._at += 1
            return
        seen: set[str] = set()
        while True:
            if self.peek() != '"':
                self._fail("Expecting property name enclosed in double quotes", self._at)
            key = self.value()
            if key in seen:
                self._fail(f"the key {quote(key)} stands twice in one object", self._began, code=TWICE)
            seen.add(key)
            if self.peek() != ":":
                self._fail("Expecting ':' delimiter", self._at)
            self._at += 1
            yield key
            if self._last("}"):
                return

    def items(self) -> Iterator[Any]:
        """Take the list and yield each of its values."""
        self.peek()
        try:
            values, end = _STRICT.raw_decode(self._text, self._at)
        except (ValueError, RecursionError):
            yield from self._items()
        else:
            self._at = end
            yield from values

    def skip(self) -> None:
        """Take the value and forget it."""
        first = self.peek()
        if first == "[":
            for _ in self.items():
                pass
        elif first == "{":
            for _ in self.members():
                self.value()
        else:
            self.value()

    def end(self) -> None:
        """Make sure that nothing follows."""
        if self.peek():
            self._fail("Extra data", self._at)

    def _items(self) -> Iterator[Any]:
        """Take the list one value at a time."""
        self._at += 1
        if self.peek() == "]":
            self._at += 1
            return
        while True:
            yield self.value()
            if self._last("]"):
                return

    def _last(self, closing: str) -> bool:
        """Take the comma or the end after a value; say whether it was the end."""
        character = self.peek()
        if character not in (",", closing):
            self._fail("Expecting ',' delimiter", self._at)
        self._at += 1
        return character == closing

    def _more(self) -> None:
        """Forget what was taken and read on: as much again as is held, so that a long value costs linear time."""
        cut = max(0, self._at - SNIPPET)
        self._line, self._column = self._place(cut)
        self._text = self._text[cut:]
        self._at -= cut
        if len(self._text) > LARGEST:
            line, column = self._place(self._at)
            raise OdbuildError(
                f"{self.path} holds a value of more than {LARGEST:,} characters at line {line}, "
                f"column {column + 1}, which is too long for an annotation. Export it again."
            )
        data = self._bytes(max(WINDOW, len(self._text)))
        try:
            self._text += self._decode(data, final=not data)
        except UnicodeDecodeError as error:
            byte = self._read - (len(error.object) - len(data)) + error.start
            raise OdbuildError(
                f"{self.path} is not UTF-8: byte {byte} is 0x{error.object[error.start]:02x}. Save it as UTF-8."
            ) from error
        self._read += len(data)
        self._ended = not data

    def _bytes(self, size: int) -> bytes:
        try:
            return self._file.read(size)
        except OSError as error:
            raise OdbuildError(f"{self.path} cannot be read: {error.strerror}.") from error

    def _sure(self, error: json.JSONDecodeError) -> bool:
        """Say whether it is an error whatever follows the window."""
        return error.pos < len(self._text) - _UNSURE and not error.msg.startswith("Unterminated string")

    def _place(self, position: int) -> tuple[int, int]:
        """Return the line, from 1, and the characters before the position in it."""
        lines = self._text.count("\n", 0, position)
        if not lines:
            return self._line, self._column + position
        return self._line + lines, position - self._text.rindex("\n", 0, position) - 1

    def _fail(self, what: str, position: int, code: str = "ANN001") -> NoReturn:
        line, column = self._place(position)
        what = what.removesuffix(" at")
        near = quote(self._text[max(0, position - SNIPPET) : position + SNIPPET])
        raise UnreadableError(
            f"{self.path} is not valid JSON: {what} at line {line}, column {column + 1}, near {near}. "
            "Mend it or export it again.",
            code,
        )


@contextmanager
def opened(path: Path) -> Iterator[Document]:
    """Open a file of JSON in UTF-8, with or without byte order mark.

    Raises:
        OdbuildError: it cannot be read.
    """
    try:
        file = path.open("rb", buffering=0)
    except OSError as error:
        raise OdbuildError(f"{path} cannot be read: {error.strerror}.") from error
    with file:
        yield Document(path, file)


def load(path: Path) -> Any:
    """Return all of a small file of JSON.

    Raises:
        OdbuildError: it cannot be read or is no strict JSON.
    """
    with opened(path) as document:
        value = document.value()
        document.end()
        return value


def ends(path: Path) -> str:
    """Return the first and the last part of a file, enough to tell what it is.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(PEEKED)
        file.seek(max(len(head), file.seek(0, 2) - PEEKED))
        return (head + b"\n" + file.read(PEEKED)).decode("utf-8", "replace")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _TwiceError
    return members


def _number(token: str) -> float:
    value = float(token)
    if value - value != 0:
        raise _NoNumberError(token)
    return value


def _integer(token: str) -> float:
    # Python refuses to parse integers of thousands of digits, and no coordinate has twenty.
    return int(token) if len(token) < 20 else _number(token)


def _refuse(token: str) -> NoReturn:
    raise _NoNumberError(token)


_STRICT = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_number, parse_int=_integer, parse_constant=_refuse
)


def _repeated(text: str, start: int) -> tuple[str, int]:
    """Return the first key that its object already has, and where it stands."""
    scopes: list[set[str]] = []
    for token in _TOKENS.finditer(text, start):
        if token[0] == "{":
            scopes.append(set())
        elif token[0] == "}":
            scopes.pop()
        elif token[2]:
            key = json.loads(token[1], strict=False)
            if key in scopes[-1]:
                return key, token.start()
            scopes[-1].add(key)
    raise AssertionError("called only for text with a repeated key")


def _outside_strings(text: str, token: str, start: int) -> int:
    """Return where the token stands, strings not counted."""
    found = re.compile(rf'"(?:[^"\\]|\\.)*"|({re.escape(token)})', re.DOTALL).finditer(text, start)
    return next((match.start() for match in found if match[1]), start)


def shown(value: object) -> str:
    """Return a JSON value for a message; lists and objects only by name, as they may be of any depth."""
    if isinstance(value, str):
        return quote(value)
    return str(value) if isinstance(value, int | float) else _name(value)


def kind(value: object, wanted: type = dict) -> str:
    """Say what a JSON value is; a list by the first of its items that is not as wanted."""
    if isinstance(value, list):
        odd = [item for item in value if not isinstance(item, wanted)]
        return f"a list with {_name(odd[0])} in it" if odd else "a list"
    return _name(value)


def _name(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a truth value", type(None): "nothing"}
    return names.get(type(value), "a number")
