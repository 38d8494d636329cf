"""Keys of pictures to files: exact in case at every level, never outside the root, never what is no plain file."""

import os
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import OdbuildError
from ..findings import Finding, Rule, place, quote

_NO_FILE = Rule(
    "ANN002",
    "warning",
    "there is no file for a picture, so it was left out",
    "put the file there, or delete it from the annotations",
)
_ODD_KEY = Rule(
    "ANN005",
    "error",
    "the name of a picture does not lead to a file in the folder, so it was not opened",
    "rename it to a plain path below the folder",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Listing:
    """The names in one folder, and each name by its form without case and by that without its ending."""

    names: frozenset[str] = frozenset()
    alike: Mapping[str, str] = field(default_factory=dict)


class Files:
    """The files below a root, looked up by key; each folder is listed once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._real = os.path.realpath(root)
        self._listings: dict[str, _Listing] = {}

    def problem(self, key: str) -> Finding | None:
        """Return what keeps the key from naming a readable file; None where it names one."""
        odd = odd_key(key)
        if odd:
            return _ODD_KEY.at(place(key), odd)
        folder, _, name = key.rpartition("/")
        listing = self._listing(folder)
        if name not in listing.names:
            near = listing.alike.get(_fold(name)) or listing.alike.get(_stem(name))
            return _NO_FILE.at(place(key), f"did you mean {quote(near)}?" if near else "")
        path = self.root / key
        if not _inside(os.path.realpath(path), self._real):
            return _ODD_KEY.at(place(key), "leads out of the folder by a link")
        if not path.exists():
            return _NO_FILE.at(place(key))
        if not path.is_file():
            return _ODD_KEY.at(place(key), "is no regular file")
        return None

    def _listing(self, folder: str) -> _Listing:
        """Return what lies in a folder of the dataset: nothing where it is missing, misspelt or outside."""
        if folder not in self._listings:
            self._listings[folder] = self._look(folder)
        return self._listings[folder]

    def _look(self, folder: str) -> _Listing:
        """List a folder once its own name is proven the same way, so that its case is exact at every level."""
        parent, _, name = folder.rpartition("/")
        if folder and name not in self._listing(parent).names:
            return _Listing()
        path = self.root / folder
        if not _inside(os.path.realpath(path), self._real) or not path.is_dir():
            return _Listing()
        try:
            names = sorted(child.name for child in path.iterdir())
        except OSError as error:
            raise OdbuildError(f"The folder {path} cannot be listed: {error.strerror}.") from error
        alike = {_stem(name): name for name in names} | {_fold(name): name for name in names}
        return _Listing(names=frozenset(names), alike=alike)


def odd_key(key: str) -> str:
    """Say why a key cannot be a plain path below the root; empty where it can."""
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in key):
        return "holds control characters"
    if key.startswith("/"):
        return "is an absolute path"
    if any(part in ("", ".", "..") for part in key.split("/")):
        return "has an empty part, or one of dots"
    return ""


def _inside(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def _fold(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _stem(name: str) -> str:
    folded = _fold(name)
    return folded.rpartition(".")[0] or folded
