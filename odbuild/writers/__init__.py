"""The in-memory form back to files: pictures copied byte for byte beside annotations in a format's own words.

`ledger.jsonl` beside them lists what reading left out and what the format cannot say.

A writer is a module with

* `SAYS`: those of `WORDS` that its format can express,
* `annotations(dataset)`: the files to write, by path below the output folder,
* `image_path(picture)`: where the picture goes, below the output folder.
"""

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from types import ModuleType

from odbuild.archive import atomic_folder
from odbuild.errors import OdbuildError, UsageError, did_you_mean
from odbuild.trainer.dataset import Dataset, Picture
from odbuild.trainer.findings import Change, in_order, place, quote, render
from odbuild.trainer.index import LEDGER
from odbuild.trainer.readers.files import alike, odd_key
from odbuild.trainer.workshop import require_free

from . import cloud, coco, yolo

WRITERS: dict[str, ModuleType] = {"cloud": cloud, "coco": coco, "yolo": yolo}
"""Writers by the name that `--to` takes."""

WORDS = ("split", "group", "difficult", "crowd")
"""What a format may be unable to say of a picture or a box; keys, boxes and labels every format can."""

_COPIED = 1 << 20
"""Bytes that are moved at a time from a shard of records."""


Bring = Callable[[Picture, Path], None]
"""Puts the file of a picture at a path where nothing lies yet."""


def write(
    dataset: Dataset,
    out: Path,
    format: str,  # noqa: A002 - the word of the option
    *,
    bring: Bring | None = None,
    ledger: Iterable[Change] | None = None,
) -> tuple[Change, ...]:
    """Write the dataset as a folder that appears whole or not at all; return the lines of its ledger.

    Args:
        dataset: to write; its files are only read.
        out: folder to make; missing or empty.
        format: one of `WRITERS`.
        bring: puts each picture in its place; without it they are copied byte for byte.
        ledger: what was changed or left out before; the dataset's own where it is not given.

    Raises:
        OdbuildError: a picture cannot be read or changes meanwhile, two would get one name, or the folder cannot
            be written.
        UsageError: no format has that name, or `out` is not free or lies in the dataset.
    """
    check_target(out, dataset.root, format)
    writer = WRITERS[format]
    same = list(alike(dict.fromkeys(picture.key for picture in dataset.pictures)))
    if same:
        raise OdbuildError(
            f"Not all pictures can be files beside each other; nothing was written.\n{render(same)}"
        )
    before = dataset.ledger if ledger is None else ledger
    lines = sorted([*before, *_unsaid(dataset, writer.SAYS)], key=lambda change: in_order(change.where))
    with atomic_folder(out) as folder:
        (folder / LEDGER).write_text("".join(change.line() for change in lines), encoding="ascii")
        for name, data in writer.annotations(dataset).items():
            _place(folder, name, name).write_bytes(data)
        for picture in dataset.pictures:
            target = _place(folder, writer.image_path(picture), place(picture.key))
            if bring is None:
                _copy(dataset, picture, target)
            else:
                bring(picture, target)
    return tuple(lines)


def check_target(out: Path, root: Path, name: str) -> None:
    """Make sure that a dataset can be written to a folder in a format.

    Raises:
        UsageError: no format has that name, or `out` is not free or lies in the dataset, whose root is given.
    """
    if name not in WRITERS:
        raise UsageError(
            f"No writer for the format {name!r}.{did_you_mean(name, WRITERS)} There are: {', '.join(WRITERS)}."
        )
    if out.resolve().is_relative_to(root.resolve()):
        raise UsageError(f"{out} lies in the dataset {root}, which is never written to. Name another folder.")
    require_free(out)


def _place(folder: Path, name: str, what: str) -> Path:
    """Return the path of a new file in the folder, with its parents made."""
    odd = odd_key(name)
    if odd:
        raise OdbuildError(f"{what} cannot be written as {quote(name)}: the path {odd}. Rename it.")
    path = folder / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        taken = path.exists()
    except (FileExistsError, NotADirectoryError):
        taken = True
    if taken:
        raise OdbuildError(f"{what} cannot be written as {quote(name)}: another file has that name. Rename one.")
    return path


def _copy(dataset: Dataset, picture: Picture, target: Path) -> None:
    with target.open("xb") as copy:
        for data in _read(dataset.path(picture), picture):
            copy.write(data)


def _read(source: Path, picture: Picture) -> Iterator[bytes]:
    """Yield the bytes of a picture, from its own file or from within a shard."""
    try:
        with source.open("rb", buffering=0) as file:
            before = os.fstat(file.fileno())
            offset, left = (picture.span.offset, picture.span.length) if picture.span else (0, before.st_size)
            file.seek(offset)
            while left and (data := file.read(min(left, _COPIED))):
                yield data
                left -= len(data)
            after = os.fstat(file.fileno())
    except OSError as error:
        raise OdbuildError(f"{source} cannot be read: {error.strerror}.") from error
    if left or (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise OdbuildError(f"{source} changed while {place(picture.key)} was copied. Run again.")


def _unsaid(dataset: Dataset, says: Collection[str]) -> Iterator[Change]:
    """Yield a line of the ledger for each picture and box of which the format cannot say all."""
    silent = [word for word in WORDS if word not in says]
    for picture in dataset.pictures:
        lost = _words(picture, silent)
        if lost:
            yield Change(action="unsaid", what="picture", where=place(picture.key), code="", value=lost)
        for box in picture.boxes:
            lost = _words(box, silent)
            if lost:
                where = place(picture.key, box.index)
                yield Change(action="unsaid", what="box", where=where, code="", value=lost)


def _words(thing: object, silent: Collection[str]) -> str:
    said = ((word, getattr(thing, word, "")) for word in silent)
    return ", ".join(f"{word}={quote(str(value))}" for word, value in said if value)
