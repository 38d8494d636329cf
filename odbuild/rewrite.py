"""Write a dataset in another format, as its source says it: no box is mended and no picture re-encoded."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from .errors import OdbuildError
from .trainer.dataset import Dataset
from .trainer.findings import Change, Finding, count, errors, render
from .trainer.index import LEDGER
from .trainer.readers import read
from .trainer.readers.sizes import sizes_of
from .trainer.shard import odd_size
from .writers import write


def rewrite(folder: Path, out: Path, to: str, say: Callable[[str], None], *, named: str | None = None) -> None:
    """Read a dataset, write it in another format, and tell what came of it.

    Args:
        folder: holds the dataset, itself or one level down.
        out: folder to make; missing or empty.
        to: a format of `writers`.
        say: takes what was found and what was written, in lines.
        named: the dataset's format; recognised where it is None.

    Raises:
        UsageError: `out` is not free or lies in the dataset, or a format is unknown.
        OdbuildError: the annotations have errors, or the output cannot be written.
    """
    dataset, findings = read(folder, named)
    wrong = [*errors(findings), *_other_sizes(dataset)]
    if wrong:
        raise OdbuildError(f"{dataset.root} has {count(wrong):,} errors; nothing was written.\n{render(wrong)}")
    ledger = write(dataset, out, to)
    if findings:
        say(render(findings))
    for line in _told(dataset, to, ledger):
        say(line)


def _other_sizes(dataset: Dataset) -> Iterator[Finding]:
    """Find boxes that were divided by a size that their picture does not have, upright or as stored."""
    for picture in dataset.pictures:
        if picture.size and picture.boxes and picture.span is None:
            sizes = sizes_of(dataset.path(picture))
            if sizes:
                yield from odd_size(picture.key, picture.size, sizes)


def _told(dataset: Dataset, to: str, ledger: Iterable[Change]) -> Iterator[str]:
    boxes = sum(len(picture.boxes) for picture in dataset.pictures)
    yield f"{len(dataset.pictures):,} pictures with {boxes:,} boxes"
    counts = Counter(f"{change.action} {change.what}" for change in ledger)
    if counts:
        lines = ", ".join(f"{times:,} {what}" for what, times in sorted(counts.items()))
        yield f"left out, or more than {to} can say: {lines}; see {LEDGER}"
