"""Datasets of every common format, read into the one in-memory form."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

from ..dataset import Dataset
from ..errors import OdbuildError, UsageError
from ..findings import Finding
from . import cloud, coco, csv_table, iris, tfrecord, voc, yolo
from .files import folders

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


def read(folder: Path, named: str | None = None) -> tuple[Dataset, list[Finding]]:
    """Read a dataset folder, or the only one in it, in the named or the recognised format.

    Boxes stand in the dataset as the source has them, not yet mended.

    Raises:
        OdbuildError: there is no dataset, more than one, or it cannot be read at all.
        UsageError: no format has that name.
    """
    root, name = locate(folder, named)
    dataset, findings = READERS[name].read(root)
    return dataset, findings


def locate(folder: Path, named: str | None = None) -> tuple[Path, str]:
    """Return the folder that holds the dataset, the given one or the only one in it that does, and its format.

    Raises:
        OdbuildError: there is none, or more than one.
        UsageError: no format has that name.
    """
    if named is not None and named not in READERS:
        raise UsageError(f"There is no format {named!r}; there are {', '.join(READERS)}.")
    if not folder.is_dir():
        what = "is a file; unpack it and name the folder" if folder.exists() else "does not exist"
        raise OdbuildError(f"The dataset folder {folder} {what}.")
    try:
        for places in _places(folder):
            found = {place: name for place in places for name in [_format(place, named)] if name}
            if len(found) > 1:
                names = ", ".join(place.name for place in found)
                raise OdbuildError(f"{folder} holds several datasets ({names}); name one of these folders.")
            if found:
                return found.popitem()
    except OSError as error:
        raise OdbuildError(f"The dataset folder {folder} cannot be read: {error.strerror}.") from error
    raise OdbuildError(
        f"{folder} holds no annotations of a known format ({', '.join(READERS)}), such as {cloud.NAME}. "
        "Name the folder that does."
    )


def _format(place: Path, named: str | None) -> str | None:
    """Return the first format that is recognised in a folder."""
    return next((name for name in ([named] if named else READERS) if READERS[name].recognise(place)), None)


def _places(folder: Path) -> Iterator[Sequence[Path]]:
    """Yield where to look, first the folder itself; its folders are only listed if need be."""
    yield [folder]
    yield [folder / name for name in folders(folder)]
