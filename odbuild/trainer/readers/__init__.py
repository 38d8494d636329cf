"""Datasets of every common format, read into the one in-memory form."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from types import ModuleType

from ..dataset import Dataset
from ..errors import OdbuildError, UsageError, did_you_mean
from ..findings import SHOWN, Finding, quote
from . import cloud, coco, csv_table, iris, tfrecord, voc, yolo
from .files import Files, folders

READERS: dict[str, ModuleType] = {
    "cloud": cloud,
    "iris": iris,
    "coco": coco,
    "voc": voc,
    "yolo": yolo,
    "csv": csv_table,
    "tfrecord": tfrecord,
}
"""Readers by the name that `--format` takes, in the order in which they are asked."""


def read(folder: Path, named: str | None = None, *, upright: bool = False) -> tuple[Dataset, list[Finding]]:
    """Read a dataset folder, or the only one in it, in the named or the recognised format.

    Boxes stand in the dataset as the source has them, not yet mended.

    Args:
        folder: holds the dataset, itself or one level down.
        named: the format; recognised where it is None.
        upright: boxes in pixels of pictures whose size is not recorded are of the view that their Exif orientation
            gives, not of the one that is stored.

    Raises:
        OdbuildError: there is no dataset, more than one, or it cannot be read at all.
        UsageError: no format has that name.
    """
    root, name = locate(folder, named)
    dataset, findings = READERS[name].read(root, upright=upright)
    return dataset, findings


def locate(folder: Path, named: str | None = None) -> tuple[Path, str]:
    """Return the folder that holds the dataset, the given one or the only one in it that does, and its format.

    Raises:
        OdbuildError: there is none, or more than one.
        UsageError: there is no such folder, or no format of that name.
    """
    if named is not None and named not in READERS:
        near = did_you_mean(named, READERS)
        raise UsageError(f"There is no format {named!r}.{near} There are: {', '.join(READERS)}.")
    if not folder.is_dir():
        what = "is a file; unpack it and name the folder" if folder.exists() else "does not exist"
        raise UsageError(f"The dataset folder {folder} {what}.")
    unread: list[OSError] = []
    try:
        for places in _places(folder):
            found = {place: names for place in places if (names := _formats(place, named, unread))}
            if len(found) > 1:
                several = ", ".join(place.name for place in found)
                raise OdbuildError(f"{folder} holds several datasets ({several}); name one of these folders.")
            for place, formats in found.items():
                return place, _sole(place, formats)
        if unread:
            raise unread[0]
    except OSError as error:
        raise OdbuildError(f"{error.filename or folder} cannot be read: {error.strerror}.") from error
    wanted = "\n".join(f"  {name}: {READERS[name].HOLDS}" for name in ([named] if named else READERS))
    raise OdbuildError(
        f"{folder} holds no annotations that are known: there {_lies(folder)}. "
        f"Name the folder that holds them; known are\n{wanted}"
    )


def _formats(place: Path, named: str | None, unread: list[OSError]) -> list[str]:
    """Return the formats that are recognised in a folder, or the named one if it is; add what was not readable."""
    formats = []
    files = Files(place)
    for name in [named] if named else READERS:
        try:
            if READERS[name].recognise(files):
                formats.append(name)
        except OSError as error:
            unread.append(error)
    return formats


def _sole(place: Path, formats: Sequence[str]) -> str:
    if len(formats) > 1:
        named = " or ".join(f"--format {name}" for name in formats)
        raise OdbuildError(f"{place} holds annotations in several formats; choose one with {named}.")
    return formats[0]


def _lies(folder: Path) -> str:
    """Say what lies in a folder: how many files of which endings, and the names of some folders."""
    files, inner = Counter[str](), list[str]()
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                inner.append(quote(entry.name))
            else:
                files[PurePath(entry.name).suffix.lower()] += 1
    kinds = [f"{count:,} {quote(ending)[1:-1] or 'other'}" for ending, count in files.most_common(SHOWN)]
    parts = [f"lie files ({', '.join(kinds)})"] if files else []
    more = ", ..." if len(inner) > SHOWN else ""
    parts += [f"lie folders ({', '.join(sorted(inner)[:SHOWN])}{more})"] if inner else []
    return " and ".join(parts) or "lies nothing"


def _places(folder: Path) -> Iterator[Sequence[Path]]:
    """Yield where to look, first the folder itself; its folders are only listed if need be."""
    yield [folder]
    yield [folder / name for name in folders(folder)]
