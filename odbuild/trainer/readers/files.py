"""Keys of pictures to files: exact in case at every level, never outside the root, never what is no plain file."""

import os
import re
import unicodedata
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property
from itertools import chain, pairwise
from pathlib import Path

from ..errors import OdbuildError
from ..findings import Finding, Rule, place, quote

MOST_ALIKE = 100_000
"""Names in a folder beyond which none is suggested for one that is missing: to compare them takes memory."""

_ODD_PART = re.compile(r"(?:^|/)\.{0,2}(?:/|$)")

_NO_FILE = Rule(
    "ANN002",
    "warning",
    "there is no file for a picture, so it was left out",
    "put the file there, or delete it from the annotations",
)
_LINKED = "leads out of the folder by a link"
_SAME_NAME = Rule(
    "ANN005",
    "error",
    "the names of two pictures differ in case alone, and are one file on the disks of Macs and Windows",
    "rename one of them",
)
_ODD_KEY = Rule(
    "ANN005",
    "error",
    "the name of a picture does not lead to a file in the folder, so it was not opened",
    "rename it to a plain path below the folder",
)


class _Listing:
    """One folder: the plain files, and the other names, in it, nothing where it lies outside."""

    def __init__(
        self,
        files: Collection[str] = (),
        others: Collection[str] = (),
        folders: Collection[str] = (),
        *,
        outside: bool = False,
    ) -> None:
        self.files = frozenset(files)
        self.others = frozenset(others)
        self.folders = frozenset(folders)
        self.outside = outside

    @cached_property
    def alike(self) -> Mapping[str, str]:
        """Each name by its form without case and by that without its ending."""
        names = sorted([*self.files, *self.others, *self.folders])
        if len(names) > MOST_ALIKE:
            return {}
        return {_stem(name): name for name in names} | {fold(name): name for name in names}


class Files:
    """The files below a root, looked up by key; each folder is listed once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._real = os.path.realpath(root)
        self._listings: dict[str, _Listing] = {}

    def has(self, key: str) -> bool:
        """Say whether the key names a readable file."""
        if odd_key(key):
            return False
        folder, _, name = key.rpartition("/")
        listing = self._listing(folder)
        return name in listing.files or (name in listing.others and self._link_problem(key) is None)

    def has_folder(self, name: str) -> bool:
        """Say whether a folder of this name, not empty, lies below the root."""
        listing = self._listing(name)
        return bool(listing.files or listing.others or listing.folders)

    def problem(self, key: str) -> Finding | None:
        """Return what keeps the key from naming a readable file; None where it names one."""
        odd = odd_key(key)
        if odd:
            return _ODD_KEY.at(place(key), odd)
        folder, _, name = key.rpartition("/")
        listing = self._listing(folder)
        if name in listing.files:
            return None
        if listing.outside:
            return _ODD_KEY.at(place(key), _LINKED)
        if name in listing.others or name in listing.folders:
            return self._link_problem(key)
        near = listing.alike.get(fold(name)) or listing.alike.get(_stem(name))
        return _NO_FILE.at(place(key), f"did you mean {quote(near)}?" if near else "")

    def _link_problem(self, key: str) -> Finding | None:
        """Return what keeps a link, or what is neither a link nor a plain file, from being read."""
        path = self.root / key
        if not _inside(os.path.realpath(path), self._real):
            return _ODD_KEY.at(place(key), _LINKED)
        if not path.exists():
            return _NO_FILE.at(place(key))
        return None if path.is_file() else _ODD_KEY.at(place(key), "is no regular file")

    def exists(self, key: str) -> bool:
        """Say whether anything of that name lies below the root."""
        folder, _, name = key.rpartition("/")
        listing = _Listing() if odd_key(key) else self._listing(folder)
        return name in listing.files or name in listing.others or name in listing.folders

    def folders(self, folder: str) -> list[str]:
        """Return the names of the folders in a folder, or in the root, "": neither links nor what is hidden.

        A folder that cannot be listed is told where what lies in it is needed.
        """
        try:
            listing = _Listing() if folder and odd_key(folder) else self._listing(folder)
        except OdbuildError:
            return []
        return sorted(name for name in listing.folders if not name.startswith((".", "__MACOSX")))

    def names(self, folder: str) -> Iterator[str]:
        """Yield what lies in a folder below the root, or in the root, "", itself; nothing where it is missing."""
        listing = _Listing() if folder and odd_key(folder) else self._listing(folder)
        return chain(listing.files, listing.others, listing.folders)

    def _listing(self, folder: str) -> _Listing:
        """Return what lies in a folder of the dataset: nothing where it is missing, misspelt or outside.

        It is proven from the root on, so that the case of its name is exact at every level.
        """
        found = self._listings.get(folder)
        if found is not None:
            return found
        found = self._listings[""] = self._listings.get("") or self._look("")
        for part in re.finditer("[^/]+", folder):
            if part[0] not in found.folders and part[0] not in found.others:
                return _Listing(outside=found.outside)
            here = folder[: part.end()]
            found = self._listings[here] = self._listings.get(here) or self._look(here)
        return found

    def _look(self, folder: str) -> _Listing:
        """List a folder that is there, if it is one."""
        path = self.root / folder
        if not _inside(os.path.realpath(path), self._real):
            return _Listing(outside=True)
        if not path.is_dir():
            return _Listing()
        files: list[str] = []
        others: list[str] = []
        folders: list[str] = []
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.is_file(follow_symlinks=False):
                        files.append(entry.name)
                    else:
                        (folders if entry.is_dir(follow_symlinks=False) else others).append(entry.name)
        except OSError as error:
            raise OdbuildError(f"The folder {path} cannot be listed: {error.strerror}.") from error
        return _Listing(files, others, folders)


def folders(root: Path) -> list[str]:
    """Return the names of the folders right in a folder, links to folders among them, sorted."""
    with os.scandir(root) as entries:
        names = [entry.name for entry in entries if entry.is_symlink() or entry.is_dir(follow_symlinks=False)]
    return sorted(name for name in names if (root / name).is_dir())


def alike(keys: Iterable[str]) -> Iterator[Finding]:
    """Find keys that are one file where disks do not tell capitals from small letters."""
    keys = list(keys)
    # There may be a million, whose folded texts would take ten times the memory of their hashes.
    hashes = array("q", (hash(fold(key)) for key in keys))
    if len(set(hashes)) == len(hashes):
        return
    for one, other in pairwise(sorted(range(len(keys)), key=hashes.__getitem__)):
        if hashes[one] == hashes[other] and fold(keys[one]) == fold(keys[other]):
            yield _SAME_NAME.at(place(keys[other]), f"and {quote(keys[one])}")


def odd_key(key: str) -> str:
    """Say why a key cannot be a plain path below the root; empty where it can."""
    kinds = set() if key.isprintable() else set(map(unicodedata.category, key))
    if "Cc" in kinds:
        return "holds control characters"
    if "Cs" in kinds:
        return "holds bytes that are no text"
    if key.startswith("/"):
        return "is an absolute path"
    if _ODD_PART.search(key):
        return "has an empty part, or one of dots"
    return ""


def _inside(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def fold(name: str) -> str:
    """Return what the names of one file have in common on a disk that does not tell upper from lower case."""
    return unicodedata.normalize("NFC", name).casefold()


def _stem(name: str) -> str:
    folded = fold(name)
    return folded.rpartition(".")[0] or folded
