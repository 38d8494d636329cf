"""Strict JSON: what Python's parser accepts in silence is an error at its place too."""

import json
import re
from pathlib import Path
from typing import Any, NoReturn

from ..errors import OdbuildError, UnreadableError
from ..findings import quote

SNIPPET = 30
"""Characters shown on each side of a place in the JSON, which is usually one long line."""


def load(path: Path) -> Any:
    """Parse a file of JSON in UTF-8, with or without byte order mark.

    Raises:
        OdbuildError: it cannot be read, is no JSON, repeats a key in one object, or holds a number that is none.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise OdbuildError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise OdbuildError(
            f"{path} is not UTF-8: byte {error.start} is 0x{error.object[error.start]:02x}. Save it as UTF-8."
        ) from error
    try:
        return _decode(text)
    except RecursionError as error:
        raise OdbuildError(f"{path} is nested too deeply to be annotations. Export it again.") from error
    except json.JSONDecodeError as error:
        raise UnreadableError(
            f"{path} is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}, "
            f"near {_snippet(text, error.pos)}. Mend it or export it again.",
            code="ANN006" if error.msg.startswith("the key") else "ANN001",
        ) from error


def _decode(text: str) -> Any:
    """Parse strictly: what `json` would accept in silence is an error at its place too."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) != len(pairs):
            key, position = _repeated(text)
            raise json.JSONDecodeError(f"the key {quote(key)} stands twice in one object", text, position)
        return members

    def number(token: str) -> float:
        value = float(token)
        if value - value != 0:
            refuse(token)
        return value

    def integer(token: str) -> float:
        # Python refuses to parse integers of thousands of digits, and no coordinate has twenty.
        return int(token) if len(token) < 20 else number(token)

    def refuse(token: str) -> NoReturn:
        raise json.JSONDecodeError(f"{token[:SNIPPET]} is no number", text, _outside_strings(text, token))

    return json.loads(text, object_pairs_hook=unique, parse_float=number, parse_int=integer, parse_constant=refuse)


def _repeated(text: str) -> tuple[str, int]:
    """Return the first key that its object already has, and where it stands."""
    scopes: list[set[str]] = []
    for token in re.finditer(r'("(?:[^"\\]|\\.)*")(\s*:)?|[{}]', text, re.DOTALL):
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


def _outside_strings(text: str, token: str) -> int:
    """Return where the token stands, strings not counted."""
    found = re.finditer(rf'"(?:[^"\\]|\\.)*"|({re.escape(token)})', text, re.DOTALL)
    return next((match.start() for match in found if match[1]), 0)


def _snippet(text: str, position: int) -> str:
    return quote(text[max(0, position - SNIPPET) : position + SNIPPET])


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
