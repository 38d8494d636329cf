"""Which pictures train and which validate: decided by their content, so that it never changes by accident.

A picture's place is the hash of its content read as a fraction: below the wanted share it validates. Order
and names do not matter, an added picture moves no other, and equal files land together. Three repairs follow, each
a pure function of the contents, and the larger the data the less they have to do:

* shares: chance strays far from the wanted share in small sets, so the count that validates is kept within a
  quarter of it (rounded outwards), first among the contents with the same set of classes, then in all.
* sides: at least one content on each.
* classes: a class on two or more contents is brought to both sides, with the fewest moves for each class
  in turn; a class on only one content trains.

Whatever a repair moves lies next to the cut, so an added picture rarely moves more than one other.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from .dataset import Picture, labels_of
from .findings import Finding, Rule, quote
from .packed import label_sets

FEW_VALIDATION = 20
"""Below this many validation pictures the mAP is mostly noise."""

SLACK = 0.25
"""How far the share of validation may stray from the wanted one, as a fraction of it."""

MOST_MOVES = 6
"""Longest chain of moves tried to bring one class to both sides; finding any chain at all is NP-hard."""

MOST_TRIES = 5_000
"""Moves tried for one class and chain length before giving up, so that no data set can stall the split."""


_MISSING = Rule(
    "SPL401",
    "warning",
    "a class has no box on this side of the split",
    "label at least two different pictures of each class",
)
SAME = Rule(
    "SPL405",
    "warning",
    "all pictures are of one content or group, so they both train and validate and the mAP says nothing",
    "label more pictures",
)
_FEW = Rule(
    "SPL404",
    "info",
    f"fewer than {FEW_VALIDATION} pictures validate, so the mAP is noisy",
    "label more pictures",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """The two sides, each sorted by key. They share pictures only where there is one content in all."""

    train: Sequence[Picture]
    validation: Sequence[Picture]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Content:
    """All pictures of one file content. `place` is its hash as a fraction in [0, 1)."""

    place: float
    digest: bytes
    classes: frozenset[str]


def split(pictures: Sequence[Picture], digests: Mapping[str, str], fraction: float) -> Split:
    """Divide the pictures, about `fraction` of the different contents to validation.

    Args:
        pictures: at least one.
        digests: hash of each picture's content in hex, by key.
        fraction: wanted share of validation, above 0 and below 1.
    """
    ordered = sorted(pictures, key=lambda picture: picture.key)
    prints = [bytes.fromhex(digests[picture.key]) for picture in ordered]
    train, validation = divide(ordered, prints, fraction)
    return Split(train=tuple(ordered[it] for it in train), validation=tuple(ordered[it] for it in validation))


def divide(pictures: Sequence[Picture], prints: Sequence[bytes], fraction: float) -> tuple[list[int], list[int]]:
    """Return the places of the pictures that train and of those that validate, all on both where all are one.

    Args:
        pictures: at least one.
        prints: what keeps pictures together, the hash of their content or a name from `groups.together`.
        fraction: wanted share of validation, above 0 and below 1.
    """
    contents = _contents(pictures, prints)
    every = list(range(len(pictures)))
    if len(contents) == 1:
        return every, every
    chosen = _repair(contents, _cut(contents, fraction))
    return [it for it in every if prints[it] not in chosen], [it for it in every if prints[it] in chosen]


def check(divided: Split, labels: Sequence[str]) -> list[Finding]:
    """Find what the split could not give: classes missing from a side, a side too small, a shared picture."""
    train, validation = (
        Counter(label for picture in side for label in labels_of(picture))
        for side in (divided.train, divided.validation)
    )
    return judge(labels, train, validation, len(divided.validation), shared=divided.train == divided.validation)


def judge(
    labels: Sequence[str], train: Mapping[str, int], validation: Mapping[str, int], pictures: int, *, shared: bool
) -> list[Finding]:
    """Find what a split could not give, by its numbers.

    Args:
        labels: all classes.
        train: boxes of each class that train.
        validation: boxes of each class that validate.
        pictures: how many validate.
        shared: whether the same pictures train and validate.
    """
    found = [
        _MISSING.at(name, quote(label))
        for name, side in (("train", train), ("validation", validation))
        for label in labels
        if not side.get(label)
    ]
    if shared:
        found.append(SAME.at("train, validation", f"{pictures} of one content"))
    elif pictures < FEW_VALIDATION:
        found.append(_FEW.at("validation", f"{pictures} pictures"))
    return found


def _contents(pictures: Sequence[Picture], prints: Sequence[bytes]) -> tuple[_Content, ...]:
    classes: dict[bytes, frozenset[str]] = {}
    for labels, digest in zip(label_sets(pictures), prints, strict=True):
        # Sets are shared by pictures, of which there may be millions.
        before = classes.setdefault(digest, labels)
        if not labels <= before:
            classes[digest] = before | labels
    return tuple(
        _Content(place=int.from_bytes(digest) / 256 ** len(digest), digest=digest, classes=classes[digest])
        for digest in sorted(classes)
    )


def _cut(contents: Sequence[_Content], fraction: float) -> set[bytes]:
    """Return the digests that validate by their place, kept near the wanted share in each stratum and in all."""
    strata: defaultdict[frozenset[str], list[_Content]] = defaultdict(list)
    for content in contents:
        strata[content.classes].append(content)
    chosen = {content.digest for content in contents if content.place < fraction}
    for stratum in strata.values():
        _bring_near(stratum, chosen, _band(len(stratum), fraction))
    least, most = _band(len(contents), fraction)
    _bring_near(contents, chosen, (max(least, 1), min(most, len(contents) - 1)))
    return chosen


def _band(count: int, fraction: float) -> tuple[int, int]:
    return math.floor((1 - SLACK) * fraction * count), math.ceil((1 + SLACK) * fraction * count)


def _bring_near(contents: Sequence[_Content], chosen: set[bytes], band: tuple[int, int]) -> None:
    """Bring the count of chosen contents into the band; those whose place is next to the cut change sides."""
    inside = [content.digest for content in contents if content.digest in chosen]
    outside = [content.digest for content in contents if content.digest not in chosen]
    least, most = band
    chosen.difference_update(inside[most:])
    chosen.update(outside[: max(0, least - len(inside))])


def _repair(contents: Sequence[_Content], chosen: set[bytes]) -> set[bytes]:
    """Return the digests that validate once every class is on both sides, as far as that can be."""
    holders = _holders(contents)
    alone = {members[0].digest for members in holders.values() if len(members) == 1}
    chosen = chosen - alone
    shared = {label: members for label, members in holders.items() if len(members) > 1}
    cut = max((content.place for content in contents if content.digest in chosen), default=0.0)
    for label in sorted(shared):
        chosen ^= _bring(label, shared, chosen, alone, cut)
    return chosen


def _holders(contents: Sequence[_Content]) -> dict[str, tuple[_Content, ...]]:
    """Return the contents that hold each class. The class "" is held by all that count as a side of their own.

    It makes `neither side is empty` the same wish as `this class is on both sides`. Contents with boxes
    count where there are two of them, since a side of bare backgrounds measures nothing.
    """
    holders: defaultdict[str, list[_Content]] = defaultdict(list)
    for content in contents:
        for label in content.classes:
            holders[label].append(content)
    boxed = [content for content in contents if content.classes]
    holders[""] = boxed if len(boxed) > 1 else list(contents)
    return {label: tuple(members) for label, members in holders.items()}


def _bring(
    label: str,
    shared: Mapping[str, Sequence[_Content]],
    chosen: set[bytes],
    alone: set[bytes],
    cut: float,
) -> frozenset[bytes]:
    """Return as few contents as possible to move so that the class is on both sides and no other leaves one."""

    def preference(content: _Content) -> tuple[bool, float, bytes]:
        return content.digest in alone, abs(content.place - cut), content.digest

    def chain(moved: Mapping[bytes, _Content], moves: int) -> frozenset[bytes] | None:
        goals = {label, *(goal for content in moved.values() for goal in ("", *content.classes))} & shared.keys()
        wanting = [
            goal
            for goal in sorted(goals)
            if _lacking(shared[goal], chosen, moved) and (goal == label or not _lacking(shared[goal], chosen, ()))
        ]
        if not wanting:
            return frozenset(moved)
        if len(moved) == moves:
            return None
        free = sorted((it for it in shared[wanting[0]] if it.digest not in moved), key=preference)
        for content in free:
            if next(tries, None) is None:
                break
            found = chain({**moved, content.digest: content}, moves)
            if found is not None:
                return found
        return None

    for moves in range(MOST_MOVES + 1):
        tries = iter(range(MOST_TRIES))
        found = chain({}, moves)
        if found is not None:
            return found
    return frozenset()


def _lacking(holders: Sequence[_Content], chosen: set[bytes], moved: Container[bytes]) -> bool:
    """Say whether all holders of a class are on one side once the moved ones have changed theirs."""
    side = (holders[0].digest in chosen) != (holders[0].digest in moved)
    return all(((it.digest in chosen) != (it.digest in moved)) == side for it in holders)
