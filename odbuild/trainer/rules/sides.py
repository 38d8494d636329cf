"""Checks of the split: nothing missing from a side, nothing on both."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence

from ..dataset import SplitName
from ..findings import Finding, Rule, place, quote
from ..split import FEW_VALIDATION, SAME, check
from .catalogue import rule
from .census import Row
from .data import Data

SIDES: tuple[SplitName, ...] = ("train", "validation")
"""The sides that training needs; what is put aside to test may be anything."""

SMALL_SIDE = 0.05
"""Share of the pictures below which a validation side is too small."""

_MISSING = Rule(
    "SPL401",
    "error",
    "a class has no box on this side of the split",
    "move pictures of the class to this side, or let odbuild split by leaving the sides out",
)
_BOTH = Rule(
    "SPL402", "error", "a picture is on two sides of the split", "keep it on one side; its content is the same"
)
_GROUP = Rule("SPL403", "warning", "pictures of one group are on two sides of the split", "keep a group together")
_THIN = Rule("SPL404", "warning", f"less than {SMALL_SIDE:.0%} of the pictures validate", "move more to that side")
_FEW = Rule(
    "SPL404", "info", f"fewer than {FEW_VALIDATION} pictures validate, so the mAP is noisy", "label more pictures"
)
_EMPTY = Rule(
    "SPL405",
    "warning",
    "the dataset has sides of its own, but this one has no picture, so odbuild divides the others anew",
    "put its pictures there",
)
_BATCH = Rule(
    "SPL405",
    "info",
    "fewer pictures train than the model's config takes in one step",
    "start.sh of a bundle makes the batch smaller; elsewhere set batch_size",
)


@rule("SPL401", "error", "a class has no box on one side of the split")
def missing(data: Data) -> Iterator[Finding]:
    """A class that is not on the training side cannot be learned; one not on the validation side is not measured.

    Evaluation gives -1 for it, which is easily taken for a bad model. An error where the dataset brings its own
    sides; where odbuild splits, it can only be that a class is on one picture, which is a warning.
    """
    if data.split is None:
        return
    labels = sorted(data.counts)
    if not data.given:
        yield from (found for found in check(data.split, labels) if found.code == "SPL401")
        return
    for name in SIDES:
        held = data.census.labels[name]
        yield from (_MISSING.at(name, quote(label)) for label in labels if not held[label])


@rule("SPL402", "error", "a picture is on two sides of the split")
def leaked(data: Data) -> Iterator[Finding]:
    """The same file, byte for byte, is on two sides: what was learned by heart is measured as if it were skill.

    The mAP comes out too high, without an error. Delete one of the two. odbuild's own split puts equal files
    together.
    """
    yield from data.found.get("SPL402", ())
    yield from _shared(data, _BOTH, lambda row: _digest(data, row))


@rule("SPL403", "warning", "a group is on two sides of the split")
def divided_group(data: Data) -> Iterator[Finding]:
    """Pictures of one group, such as the frames of one film, are alike: who has seen one knows the others.

    Keep each group on one side, as `--group` does in a conversion, which tells of pictures that it finds none for.
    """
    yield from _shared(data, _GROUP, lambda row: row.group)


@rule("SPL404", "warning", "few pictures validate")
def thin(data: Data) -> Iterator[Finding]:
    """With few pictures the mAP depends more on which they are than on the model.

    Twenty are the least to tell two models apart.
    """
    if data.split is None or data.split.train is data.split.validation:
        return
    count, total = len(data.split.validation), len(data.split.train) + len(data.split.validation)
    if 0 < count < SMALL_SIDE * total:
        yield _THIN.at("validation", f"{count:,} of {total:,} pictures")
    elif 0 < count < FEW_VALIDATION:
        yield _FEW.at("validation", f"{count} pictures")


@rule("SPL405", "warning", "a side of the split is empty or smaller than a batch")
def empty(data: Data) -> Iterator[Finding]:
    """Training on nothing hangs at step 0 while the machine is paid; upstream drops a last batch that is not full.

    Where a dataset brings its own sides and one of them is empty, its pictures were most likely left behind. A
    single picture both trains and validates, and the mAP says nothing.
    """
    if data.split is None:
        return
    if not data.given:
        named = {row.split for row in data.census.rows} & set(SIDES)
        yield from (_EMPTY.at(name) for name in SIDES if named and name not in named)
    if data.split.train is data.split.validation:
        yield SAME.at(", ".join(SIDES), f"{len(data.split.train)} of one content")
    if data.model is not None and 0 < len(data.split.train) < data.model.batch:
        yield _BATCH.at("train", f"{len(data.split.train)} pictures, batch {data.model.batch}")


def _digest(data: Data, row: Row) -> str:
    return data.images[row.key].digest if row.key in data.images else ""


def _shared(data: Data, rule: Rule, name: Callable[[Row], str]) -> Iterator[Finding]:
    """Yield a finding for each name, not empty, that pictures of two sides have."""
    sides: defaultdict[str, list[Row]] = defaultdict(list)
    for row in data.census.rows:
        if row.split and name(row):
            sides[name(row)].append(row)
    for rows in sides.values():
        if len({row.split for row in rows}) > 1:
            yield rule.at(place(rows[0].key), _spread(rows))


def _spread(rows: Sequence[Row]) -> str:
    counts = Counter(row.split for row in rows)
    other = next(row for row in rows if row.split != rows[0].split)
    split = " and ".join(f"{count} in {name}" for name, count in sorted(counts.items()))
    return f"{split}, such as {quote(other.key)}"
