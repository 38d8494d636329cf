"""From a folder of annotated photographs to records that train: checked, split, written whole or not at all.

A conversion is planned without reading a picture whole, made shard by shard, each a job of its own, and finished
with an index of what was made. Each picture is read once and held no longer than it takes to write it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

from . import index, jobs, pool, shard
from .dataset import used_labels
from .errors import OdbuildError, UsageError
from .findings import Change, Finding, errors, place, render
from .index import KEYS, LABEL_MAP, LEDGER, Converted, Side, Sizes, SmallestBox
from .labels import label_ids, to_pbtxt
from .mend import mend
from .meter import Meter
from .policies import Policies
from .readers import locate, read
from .records import Shard
from .rules import labels as label_rules
from .shard import Account
from .sources import Survey, survey
from .split import divide, judge
from .workshop import LOCK, OUT, workshop


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    """What there is to do.

    Attributes:
        root: the dataset's folder.
        pictures: pictures in the source.
        boxes: boxes in the source.
        labels: classes in the order of their ids, from 1.
        ledger: what reading and mending changed.
        findings: what is wrong or odd so far.
        train: names of the jobs that train.
        validation: names of the jobs that validate.
        shared: whether the pictures of both are the same.
        bytes: of all pictures to be read.
    """

    root: Path
    pictures: int
    boxes: int
    labels: tuple[str, ...]
    ledger: tuple[Change, ...]
    findings: tuple[Finding, ...]
    train: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    shared: bool = False
    bytes: int = 0


def convert(
    folder: Path,
    out: Path,
    policies: Policies,
    say: Callable[[str], None],
    *,
    named: str | None = None,
    processes: int | None = None,
) -> Converted:
    """Check a dataset, split it, and write it as records.

    All that is wrong is told at once. Nothing is written into the source, and `out` appears whole or not at all. A
    conversion that was stopped goes on behind its last finished shard when it is started again.

    Args:
        folder: holds the dataset, itself or one level down.
        out: folder to make; missing or empty.
        policies: what to do where the data leaves a choice.
        say: takes lines of progress and, at the end, the warnings.
        named: the dataset's format; recognised where it is not given.
        processes: how many work at the same time, each on a shard of its own; one for each processor where it is
            not given. The output is the same for any number.

    Raises:
        OdbuildError: the data has errors or no usable box, or the output cannot be written.
        UsageError: `out` is not free, or lies in the source.
    """
    root = locate(folder, named)[0]
    if out.resolve().is_relative_to(root.resolve()):
        raise UsageError(f"{out} lies in the dataset {root}, which is never written to. Name another folder.")
    with workshop(out, f"*{shard.ACCOUNT}") as work:
        plan = _plan(folder, named, policies, work)
        say(f"{plan.pictures:,} pictures with {plan.boxes:,} boxes in {plan.root}")
        _make(plan, work, processes, say)
        converted = _finish(plan, policies, work)
    notes = render(converted.findings)
    if notes:
        say(notes)
    return index.moved(converted, out)


def _plan(folder: Path, named: str | None, policies: Policies, work: Path) -> _Plan:
    """Read the annotations, divide the pictures, and leave the jobs in the workshop."""
    dataset, findings = read(folder, named)
    dataset, odd = mend(dataset, policies.boxes)
    findings += [*odd, *label_rules.check(dataset)]
    ledger = list(dataset.ledger)
    if policies.negatives == "drop":
        bare = (picture for picture in dataset.pictures if not picture.boxes)
        ledger += [shard.dropped("picture", place(picture.key), "ANN003", "no box") for picture in bare]
        dataset = replace(dataset, pictures=tuple(picture for picture in dataset.pictures if picture.boxes))
    seen = survey(dataset)
    plan = _Plan(
        root=dataset.root,
        pictures=dataset.keys,
        boxes=dataset.drawn,
        labels=used_labels(dataset.declared, seen.pictures),
        ledger=tuple(ledger),
        findings=(*findings, *seen.findings),
    )
    return _divided(plan, seen, policies, work) if seen.pictures else plan


def _divided(plan: _Plan, seen: Survey, policies: Policies, work: Path) -> _Plan:
    train, validation = divide(seen.pictures, seen.prints, policies.validation)
    job = jobs.Job(name="", labels=plan.labels, policies=policies, rows=())
    planned = replace(
        plan,
        train=_lay("train", train, seen, job, work),
        validation=_lay("validation", validation, seen, job, work),
        shared=train == validation,
        bytes=sum(map(seen.length, (*train, *validation))),
    )
    _sweep(work, (*planned.train, *planned.validation))
    return planned


def _lay(side: str, chosen: Sequence[int], seen: Survey, job: jobs.Job, work: Path) -> tuple[str, ...]:
    """Write the jobs of one side, and return their names.

    The pictures are ordered by their contents' hashes: a shuffle for nothing, where names often go class by class.
    """
    ids = label_ids(job.labels)
    ordered = sorted(chosen, key=seen.prints.__getitem__)
    counts = jobs.cut([seen.length(it) for it in ordered], job.policies.shard_bytes)
    names = jobs.names(side, len(counts))
    rest = iter(ordered)
    for name, count in zip(names, counts, strict=True):
        rows = tuple(jobs.row(seen.pictures[it], seen.source(it), ids) for it in islice(rest, count))
        (work / f"{name}{shard.JOB}").write_bytes(replace(job, name=name, rows=rows).data)
    return names


def _sweep(work: Path, names: Iterable[str]) -> None:
    """Clear what an earlier run by another plan left."""
    known = {f"{name}{ending}" for name in names for ending in (shard.JOB, shard.ACCOUNT, shard.ENDING)} | {
        LOCK,
        OUT,
    }
    for path in (*work.iterdir(), *(work / OUT).iterdir()):
        if path.name not in known:
            path.unlink()


def _make(plan: _Plan, work: Path, processes: int | None, say: Callable[[str], None]) -> None:
    meter = Meter(say=say)
    done = 0

    def tell(size: int) -> None:
        nonlocal done
        done += size
        meter.tell(done, plan.bytes)

    task = partial(shard.make_named, root=str(plan.root), work=work)
    try:
        pool.run(task, (*plan.train, *plan.validation), processes or pool.processors(), tell)
    finally:
        meter.close()


def _finish(plan: _Plan, policies: Policies, work: Path) -> Converted:
    """Write what stands beside the shards, and return all that was made."""
    out = work / OUT
    changes: Counter[tuple[str, str, str]] = Counter()
    with (out / LEDGER).open("w", encoding="ascii") as ledger:

        def book(lines: Iterable[Change]) -> None:
            for change in lines:
                ledger.write(change.line())
                changes[change.action, change.what, change.code] += 1

        book(plan.ledger)
        train, trained = _sum("train", plan.train, work, book)
        validation, validated = _sum("validation", plan.validation, work, _forget if plan.shared else book)
    total = Account(findings=list(plan.findings))
    for account in (trained,) if plan.shared else (trained, validated):
        shard.add(total, account)
    _stop_on_errors(plan, total, changes, work)
    (out / LABEL_MAP).write_text(to_pbtxt(plan.labels), encoding="ascii")
    converted = Converted(
        folder=out,
        labels=plan.labels,
        train=_side(train, trained, plan.labels),
        validation=_side(validation, validated, plan.labels),
        max_boxes=total.max_boxes,
        smallest_box=_smallest(total),
        sizes=_sizes(total),
        ledger=_counted(changes),
        findings=tuple(total.findings),
    )
    return index.save(_judged(converted, shared=plan.shared), policies)


def _judged(converted: Converted, *, shared: bool) -> Converted:
    train, validation = converted.train, converted.validation
    odd = judge(converted.labels, train.classes, validation.classes, validation.pictures, shared=shared)
    return replace(converted, findings=(*converted.findings, *odd))


def _sum(
    side: str, names: Sequence[str], work: Path, book: Callable[[Iterable[Change]], None]
) -> tuple[tuple[Shard, ...], Account]:
    """Return the shards of one side and what they hold together, and write down the keys of their pictures."""
    shards: list[Shard] = []
    total = Account()
    with (work / OUT / KEYS[side]).open("w", encoding="utf-8", newline="") as keys:
        for name in names:
            made, account = shard.collect(name, work)
            shards.append(made)
            shard.add(total, account)
            book(account.ledger)
            keys.writelines(f"{key}\n" for key in account.keys)
    return tuple(shards), total


def _forget(_: Iterable[Change]) -> None:
    """Book nothing: the pictures of this side were booked with the other one, whose pictures are the same."""


def _stop_on_errors(plan: _Plan, total: Account, changes: Mapping[tuple[str, str, str], int], work: Path) -> None:
    wrong = errors(total.findings)
    if not wrong and total.classes.total():
        return
    for account in work.glob(f"*{shard.ACCOUNT}"):
        # The next run finds other data, and what it finds the same is quickly checked again.
        account.unlink()
    if wrong:
        raise OdbuildError(f"{plan.root} has {len(wrong):,} errors; nothing was written.\n{render(wrong)}")
    lost: Counter[str] = Counter()
    for (action, _, code), count in changes.items():
        lost[code] += count * (action == "dropped")
    why = ", ".join(f"{count:,} {code}" for code, count in sorted(lost.items()) if count)
    raise OdbuildError(
        f"{plan.root} has no usable box: {plan.pictures:,} pictures, {plan.boxes:,} boxes"
        f"{f', left out for {why}' if why else ''}. Draw boxes around the objects to be found."
    )


def _side(shards: tuple[Shard, ...], account: Account, labels: Iterable[str]) -> Side:
    return Side(
        shards=shards,
        pictures=sum(one.count for one in shards),
        background=account.background,
        boxes=account.classes.total(),
        classes={label: account.classes[label] for label in labels},
    )


def _smallest(total: Account) -> SmallestBox:
    assert total.smallest is not None  # noqa: S101 - there are boxes
    share, key, number, label, width, height = total.smallest
    return SmallestBox(key=key, index=number, label=label, width=width, height=height, share=share)


def _sizes(total: Account) -> Sizes:
    assert total.extent is not None  # noqa: S101 - there are pictures
    narrowest, widest, lowest, highest = total.extent
    return Sizes(min_width=narrowest, max_width=widest, min_height=lowest, max_height=highest)


def _counted(changes: Mapping[tuple[str, str, str], int]) -> dict[str, int]:
    """Return the lines of the ledger by action and thing."""
    counts: Counter[str] = Counter()
    for (action, what, _), count in changes.items():
        counts[f"{action} {what}"] += count
    return dict(sorted(counts.items()))
