"""What a conversion has to do, found out without reading a picture whole: who goes where, in which shard."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from . import jobs, shard
from .dataset import in_order
from .errors import OdbuildError
from .findings import Change, Finding, Rule, place, quote, render
from .groups import grouping, together
from .labels import label_ids
from .mend import mend
from .packed import count_labels, pack
from .policies import Policies
from .readers import read
from .rules import labels as label_rules
from .sources import Survey, survey
from .split import divide
from .workshop import LOCK, OUT

_ALIKE = Rule("IMG109", "info", "a picture looks nearly the same as another, and is kept on its side of the split")
_LEAKED = Rule(
    "SPL402",
    "error",
    "a picture is on two sides of the split that the dataset brings",
    "keep it on one side, as its content is the same, or choose --split hash",
)
_NO_GROUP = Rule("SPL403", "warning", "pictures have no group by --group, so each stands for itself")


Looks = Sequence[int | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """What there is to do.

    Attributes:
        root: the dataset's folder.
        pictures: pictures in the source.
        boxes: boxes in the source.
        labels: classes in the order of their ids, from 1.
        ledger: what reading and mending changed.
        findings: what is wrong or odd so far.
        sides: names of the jobs of each side, in order.
        shared: whether the same pictures train and validate.
        bytes: of all pictures to be read.
    """

    root: Path
    pictures: int
    boxes: int
    labels: tuple[str, ...]
    ledger: tuple[Change, ...]
    findings: tuple[Finding, ...]
    sides: Mapping[str, tuple[str, ...]]
    shared: bool
    bytes: int

    @property
    def own(self) -> tuple[str, ...]:
        """The sides that have pictures of their own."""
        return tuple(side for side in self.sides if not (self.shared and side == "validation"))

    @property
    def jobs(self) -> tuple[str, ...]:
        """The names of all jobs."""
        return tuple(name for names in self.sides.values() for name in names)


def schedule(
    folder: Path, named: str | None, policies: Policies, work: Path, look: Callable[[Survey, Path], Looks]
) -> Schedule:
    """Read the annotations, divide the pictures, and leave a job for each shard in the workshop.

    Args:
        folder: holds the dataset, itself or one level down.
        named: the dataset's format; recognised where it is None.
        policies: what to do where the data leaves a choice.
        work: the workshop.
        look: looks at all pictures below the dataset's folder, where near duplicates are to be kept together.

    Raises:
        OdbuildError: the dataset cannot be read at all, or lacks the sides that are asked for.
    """
    dataset, findings = read(folder, named, upright=policies.exif == "apply")
    dataset, odd = mend(dataset, policies.boxes)
    findings += [*odd, *label_rules.check(dataset)]
    ledger = list(dataset.ledger)
    if policies.negatives == "drop":
        bare = (picture for picture in dataset.pictures if not picture.boxes)
        ledger += [shard.dropped("picture", place(picture.key), "ANN003", "no box") for picture in bare]
        dataset = replace(dataset, pictures=pack(picture for picture in dataset.pictures if picture.boxes))
        findings = [finding for finding in findings if (finding.code, finding.severity) != ("ANN003", "info")]
    seen = survey(dataset)
    labels = in_order(dataset.declared, count_labels(seen.pictures))
    groups = list(grouping(policies.group)(seen.pictures)) if policies.split == "hash" else []
    if groups and labels and policies.group not in ("column", "none"):
        _require_groups(seen, policies.group, groups, [*findings, *seen.findings.told()])
    sides = _sides(seen, policies, groups, dataset.root, look) if seen.pictures else {}
    job = jobs.Job(name="", labels=labels, policies=policies, rows=())
    names = {side: _lay(side, chosen, seen, job, work) for side, chosen in sides.items()}
    _sweep(work, [name for laid in names.values() for name in laid])
    return Schedule(
        root=dataset.root,
        pictures=dataset.keys,
        boxes=dataset.drawn,
        labels=labels,
        ledger=tuple(ledger),
        findings=(*findings, *seen.findings.told()),
        sides=names,
        shared=bool(sides) and sides["train"] == sides["validation"],
        bytes=sum(seen.lengths[it] for chosen in sides.values() for it in chosen),
    )


def _sides(
    seen: Survey, policies: Policies, groups: Iterable[str], root: Path, look: Callable[[Survey, Path], Looks]
) -> dict[str, list[int]]:
    """Return the places of the pictures of each side."""
    if policies.split == "source":
        return _given(seen, root)
    near: Sequence[tuple[int, int]] = ()
    if policies.near_duplicates == "together":
        from . import alike

        near = tuple(alike.near(look(seen, root)))
    for index, other in {max(pair): min(pair) for pair in near}.items():
        where, like = (seen.pictures[it].key for it in (index, other))
        seen.findings.append(_ALIKE.at(place(where), f"like {quote(like)}"))
    names = together(seen.prints, groups, near)
    train, validation = divide(seen.pictures, names, policies.validation)
    return {"train": train, "validation": validation}


def _require_groups(seen: Survey, way: str, groups: Sequence[str], found: Iterable[Finding]) -> None:
    """Tell of pictures without a group, though it was said how to name it.

    Args:
        seen: the pictures.
        way: how their groups are named.
        groups: the name of each one's, empty where it has none.
        found: what was found before, which may be why.

    Raises:
        OdbuildError: none has one, or all have the same.
    """
    bare = [index for index, group in enumerate(groups) if not group]
    problem = ""
    if len(bare) == len(groups):
        problem = f"names no group, not of {quote(seen.pictures[0].key)} and not of another picture"
    elif len(set(groups)) == 1 < len(set(seen.prints)):
        problem = f"puts all {len(groups):,} pictures into one group, which leaves none to validate"
    if problem:
        told = render(found)
        raise OdbuildError(
            f"--group {way} {problem}. Choose another, or --group none." + (f"\n{told}" if told else "")
        )
    if bare:
        where = place(seen.pictures[bare[0]].key)
        seen.findings.append(_NO_GROUP.at("pictures", f"{len(bare):,} of {len(groups):,}, {where} the first"))


def _given(seen: Survey, root: Path) -> dict[str, list[int]]:
    """Return the sides that the source brings; pictures of none of them train."""
    sides: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    first: dict[bytes, str] = {}
    for index, (picture, digest) in enumerate(zip(seen.pictures, seen.prints, strict=True)):
        side = picture.split or "train"
        sides[side].append(index)
        if first.setdefault(digest, side) != side:
            seen.findings.append(_LEAKED.at(place(picture.key), f"{first[digest]}, {side}"))
    for side in ("train", "validation"):
        if not sides[side]:
            raise OdbuildError(f"{root} has no pictures for {side}. Let --split hash divide them.")
    return sides


def _lay(side: str, chosen: Sequence[int], seen: Survey, job: jobs.Job, work: Path) -> tuple[str, ...]:
    """Write the jobs of one side, and return their names.

    The pictures are ordered by their contents' hashes: a shuffle for nothing, where names often go class by class.
    """
    ids = label_ids(job.labels)
    ordered = sorted(chosen, key=seen.prints.__getitem__)
    counts = jobs.cut([seen.lengths[it] for it in ordered], job.policies.shard_bytes)
    names = jobs.names(side, len(counts))
    rest = iter(ordered)
    for name, many in zip(names, counts, strict=True):
        rows = tuple(_row(seen, it, ids) for it in islice(rest, many))
        (work / f"{name}{shard.JOB}").write_bytes(replace(job, name=name, rows=rows).data)
    return names


def _row(seen: Survey, index: int, ids: Mapping[str, int]) -> tuple[Any, ...]:
    picture = seen.pictures[index]
    return jobs.row(picture, seen.source(index, picture), ids)


def _sweep(work: Path, names: Iterable[str]) -> None:
    """Clear what an earlier run by another plan left."""
    known = {f"{name}{ending}" for name in names for ending in (shard.JOB, shard.ACCOUNT, shard.ENDING)} | {
        LOCK,
        OUT,
    }
    for path in (*work.iterdir(), *(work / OUT).iterdir()):
        if path.name not in known:
            path.unlink()
