"""Pictures that belong on one side of a split: of one content, of one group, or of nearly the same look."""

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from .dataset import Picture
from .errors import UsageError
from .packed import groups_of

WAYS = "column, none, folder, prefix:NUMBER, prefix:SEPARATOR or regex:EXPRESSION"

NAME_BYTES = 16
"""Length of the hash of a group, as that of a picture's fingerprint."""

Grouping = Callable[[Iterable[Picture]], Iterable[str]]
"""Names the group of each picture, empty where it has none."""


def grouping(way: str) -> Grouping:
    """Return what names the groups of pictures.

    Args:
        way: `column` takes the group that the source names; `folder` that of the picture's key;
            `prefix:NUMBER` so many characters of the file's name, `prefix:SEPARATOR` what stands in it before the
            first separator; `regex:EXPRESSION` the expression's first group in the picture's key, or all that it
            matches; `none` makes no groups.

    Raises:
        UsageError: it is none of these.
    """
    kind, _, rest = way.partition(":")
    if kind == "prefix" and rest.isdecimal() and int(rest):
        return _each(lambda picture: _file(picture)[: int(rest)])
    if kind == "prefix" and rest and not rest.isdecimal():
        return _each(lambda picture: _before(_file(picture), rest))
    if kind == "regex" and rest:
        return _each(_matching(rest))
    if way in _PLAIN:
        return _PLAIN[way]
    raise UsageError(f"group is {way!r}; expected {WAYS}.")


def together(prints: Sequence[bytes], groups: Iterable[str], alike: Iterable[tuple[int, int]] = ()) -> list[bytes]:
    """Return a name for each picture, equal for those that belong on one side.

    A name is the hash of the group or, without one, of the content, so it stays when pictures come to a group.
    Groups and contents that something ties together, as one file in two of them does, have the least of their
    names.

    Args:
        prints: fingerprint of each picture's content.
        groups: the group of each picture, empty where it has none.
        alike: places of two pictures that are to be kept together for another reason.
    """
    groups, alike = list(groups), list(alike)
    if not any(groups) and not alike:
        return list(prints)
    names = [_name(group) if group else digest for group, digest in zip(groups, prints, strict=True)]
    above: dict[bytes, bytes] = {}

    def top(name: bytes) -> bytes:
        while name in above:
            name = above[name]
        return name

    def tie(one: bytes, other: bytes) -> None:
        least, most = sorted((top(one), top(other)))
        if least != most:
            above[most] = least

    first: dict[bytes, bytes] = {}
    for digest, name in zip(prints, names, strict=True):
        tie(first.setdefault(digest, name), name)
    for one, other in alike:
        tie(names[one], names[other])
    return [top(name) for name in names]


def _name(group: str) -> bytes:
    return hashlib.sha256(b"group:" + group.encode()).digest()[:NAME_BYTES]


def _file(picture: Picture) -> str:
    return picture.key.rpartition("/")[2]


def _folder(picture: Picture) -> str:
    return picture.key.rpartition("/")[0]


def _before(name: str, separator: str) -> str:
    start, found, _ = name.partition(separator)
    return start if found else ""


def _each(group: Callable[[Picture], str]) -> Grouping:
    return partial(map, group)


def _matching(expression: str) -> Callable[[Picture], str]:
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise UsageError(f"group is 'regex:{expression}', which is no regular expression: {error}.") from error

    def group(picture: Picture) -> str:
        found = pattern.search(picture.key)
        return (found[min(1, pattern.groups)] or "") if found else ""

    return group


_PLAIN: dict[str, Grouping] = {
    "column": groups_of,
    "folder": _each(_folder),
    "none": _each(lambda _: ""),
}
