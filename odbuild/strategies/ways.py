"""The register of ways to break each rule."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from .files import Brief, put


@dataclass(frozen=True, kw_only=True, slots=True)
class Broken(Brief):
    """Something that breaks a rule.

    Attributes:
        code: the rule.
        what: where it was broken, or how, in words.
        files: what it consists of, by path.
        paths: those of them, or folders of them, to be checked; none where the options alone break the rule.
        options: how to check, as the words of `odbuild.check.Options`.
        also: other rules that may fire, as what breaks this one, or a dataset of a few pictures, breaks them too.
    """

    code: str
    what: str
    files: Mapping[str, bytes] = field(repr=False)
    paths: tuple[str, ...] = ("data",)
    options: Mapping[str, Any] = field(default_factory=dict)
    also: frozenset[str] = frozenset()

    def write(self, folder: Path) -> tuple[Path, ...]:
        """Write it into an empty folder, and return the paths to check."""
        put(folder, self.files)
        return tuple(folder / path for path in self.paths)


WAYS: dict[str, list[st.SearchStrategy[Broken]]] = {}
"""The ways to break each rule, by code."""


def register(code: str, way: st.SearchStrategy[Broken]) -> None:
    """Take up a way to break a rule."""
    WAYS.setdefault(code, []).append(way)


def under(folder: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files with their paths below a folder."""
    return {f"{folder}/{name}": data for name, data in files.items()}


Make = Callable[..., st.SearchStrategy[Broken]]


def breaks(code: str) -> Callable[[Make], Make]:
    """Register a composite that needs no arguments."""

    def take(make: Make) -> Make:
        register(code, make())
        return make

    return take
