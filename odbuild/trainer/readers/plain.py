"""Plain text of annotations: lines, numbers, and places in a file."""

import math
import re
from pathlib import Path

from ..errors import OdbuildError
from ..findings import quote

MOST_BYTES = 1 << 27
"""Size of a file that is still read whole: a million lines."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


class TextError(OdbuildError):
    """A file can be read, but does not hold the text of annotations."""


def text(path: Path, most: int = MOST_BYTES) -> str:
    """Return a file's text, in UTF-8 with or without byte order mark, of so many bytes at most.

    Raises:
        OdbuildError: it cannot be read.
        TextError: it is too large, or no UTF-8.
    """
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise OdbuildError(f"{path} cannot be read: {error.strerror}.") from error
    if len(data) > most:
        raise TextError(f"{path} is larger than {most:,} bytes, too large for annotations. Split it.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TextError(
            f"{path} is not UTF-8: byte {error.start} is 0x{data[error.start]:02x}. Save it as UTF-8."
        ) from error


def lines(text: str) -> list[tuple[int, str]]:
    """Return number and text, stripped, of the lines that hold more than white space; the first is line 1."""
    found = ((at, line.strip()) for at, line in enumerate(text.split("\n"), 1))
    return [(at, line) for at, line in found if line]


def number(text: str) -> float | None:
    """Return the finite number that plain digits spell; None for anything else that `float` would take."""
    value = float(text) if _NUMBER.fullmatch(text) else math.inf
    return value if math.isfinite(value) else None


def whole(text: str) -> int | None:
    """Return the integer that plain digits spell, also as `3.0`; None for anything else."""
    value = number(text)
    return int(value) if value is not None and value.is_integer() else None


def spot(key: str, line: int) -> str:
    """Return the place of a line in a file below the root, as messages show it."""
    return f"{quote(key)[1:-1]}:{line}"
