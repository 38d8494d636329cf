"""How datasets lie in folders by custom: which words name a side, and where pictures and annotations are."""

import os
import posixpath
import re
from collections.abc import Collection, Container, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from ..dataset import Picture, SplitName
from ..findings import Rule, place, quote
from .files import Files
from .reading import Reading, lose_picture

SIDES: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "trainval": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "eval": "validation",
    "test": "test",
    "testing": "test",
}
"""The words that name a side in names of files and folders."""

_FILLERS = {"", "images", "labels", "annotations", "data", "set", "dataset"}
"""Words beside which a folder's name may still name a side, as in `test_images`."""

_HOMES = {"annotations", "jpegimages", "images", "labels", "data"}
"""Folders below the root that may hold annotations or pictures, besides those of a side."""

PICTURES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif"}
)
"""Endings of pictures' files, in lower case."""

TWO_NAMES = Rule(
    "ANN006",
    "error",
    "two names of different folders lead to one picture, so it is not known whose its boxes are",
    "put the pictures into the folders that are named, or correct the names",
)
_TWO_SIDES = Rule("SPL402", "error", "a picture is on two sides of the split", "leave it on one")
_UNNAMED = Rule(
    "ANN003",
    "warning",
    "a picture has no annotation, so it was left out",
    "annotate it, or delete it; as background it needs an annotation without objects",
)
_LINKED = Rule(
    "ANN005", "warning", "a folder is a link, so it was not entered", "put the folder itself in the place"
)


def side(name: str) -> SplitName:
    """Return the side that the first of the words in a file's name names; empty for none."""
    return next((SIDES[word] for word in _words(name) if word in SIDES), "")


def side_of_folder(name: str) -> SplitName:
    """Return the side that a folder's name names and nothing else; empty for none."""
    words = [word for word in _words(name) if word not in _FILLERS]
    return SIDES.get(words[0], "") if len(words) == 1 else ""


def side_of_path(key: str) -> SplitName:
    """Return the side that the innermost folder of a path names; empty for none."""
    return next((found for part in reversed(key.split("/")[:-1]) if (found := side_of_folder(part))), "")


def _words(name: str) -> list[str]:
    return re.split(r"[^a-z]+", name.casefold())


def is_picture(name: str) -> bool:
    """Say whether the name ends as those of pictures do."""
    return PurePosixPath(name).suffix.lower() in PICTURES


def homes(files: Files) -> list[str]:
    """Return the folders below the root in which annotations lie by custom, the root itself as "" first."""
    first = [name for name in files.folders("") if name.casefold() in _HOMES or side_of_folder(name)]
    second = [f"{name}/{inner}" for name in first for inner in files.folders(name) if side_of_folder(inner)]
    return ["", *first, *second]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """List what is not hidden; a folder that cannot be listed is told where it is needed."""
    try:
        with os.scandir(folder) as found:
            return [entry for entry in found if not entry.name.startswith((".", "__MACOSX"))]
    except OSError:
        return []


def join(folder: str, name: str) -> str:
    """Return the path of a name in a folder, which is "" for the root."""
    return f"{folder}/{name}" if folder else name


def walk(reading: Reading, folder: str) -> Iterator[str]:
    """Yield the keys of all that lies in a folder and the folders in it, nothing hidden and no folder itself."""
    left = [folder]
    while left:
        here = left.pop()
        for entry in _entries(reading.root / here):
            key = join(here, entry.name)
            if entry.is_dir(follow_symlinks=False):
                left.append(key)
            elif entry.is_symlink() and entry.is_dir():
                reading.findings.append(_LINKED.at(quote(key)))
            else:
                yield key


def by_stem(files: Files, folder: str) -> dict[str, list[str]]:
    """Return the names of the pictures in a folder, sorted, by their name without ending."""
    found: dict[str, list[str]] = {}
    for name in sorted(files.names(folder)):
        if is_picture(name):
            found.setdefault(name.rpartition(".")[0], []).append(name)
    return found


def missing(files: Files, folders: Sequence[str], name: str) -> str:
    """Return the key that best stands for a picture without a file: in the folder that has something like it."""
    keys = [join(folder, name) for folder in folders]
    near = (key for key in keys if (problem := files.problem(key)) and problem.value)
    return next(near, keys[0])


def may_be_one(one: str, other: str) -> bool:
    """Say whether two names, as spelled, may be of one file: one of them is the end of the other."""
    if one == other:
        return True
    short, long = sorted((_parts(name) for name in (one, other)), key=len)
    return long[len(long) - len(short) :] == short


def _parts(name: str) -> list[str]:
    path = posixpath.normpath(name.replace("\\", "/")).casefold()
    return [part for part in path.split("/") if part not in ("", "..")]


def one_side(reading: Reading, key: str, sides: Collection[SplitName]) -> SplitName:
    """Return the one side that a picture is taken for; one that stands on several is told."""
    every: tuple[SplitName, ...] = ("train", "validation", "test")
    named = [side for side in every if side in sides]
    if len(named) > 1:
        reading.findings.append(_TWO_SIDES.at(place(key), ", ".join(named)))
    return named[0] if named else ""


def book_unnamed(reading: Reading, pictures: Iterable[Picture], claimed: Container[str]) -> list[str]:
    """Book each picture that lies beside those of the dataset without being in it, and return their keys.

    Args:
        reading: takes findings and ledger.
        pictures: the dataset's.
        claimed: keys that the source names, usable or not.
    """
    folders = {picture.key.rpartition("/")[0] for picture in pictures}
    keys = (join(folder, name) for folder in sorted(folders) for name in sorted(reading.files.names(folder)))
    unnamed = [key for key in keys if key not in claimed and is_picture(key)]
    for key in unnamed:
        lose_picture(reading, key, _UNNAMED.at(place(key)), (), "no annotation")
    return unnamed
