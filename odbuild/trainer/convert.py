"""From a folder of annotated photographs to records that train: checked, split, written whole or not at all.

A conversion is planned without reading a picture whole, made shard by shard, each a job of its own, and finished
with an index of what was made. Each picture is read once and held no longer than it takes to write it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from . import index, pool, shard
from .errors import OdbuildError, UsageError
from .findings import Change, Finding, Rule, count, errors, render
from .index import KEYS, LABEL_MAP, LEDGER, SIDES, Converted, Side, Sizes, SmallestBox
from .labels import to_pbtxt
from .meter import Meter
from .policies import Policies
from .readers import locate
from .records import Shard
from .schedule import Schedule, schedule
from .shard import Account
from .sources import Survey
from .split import judge
from .workshop import OUT, workshop

_LITTLE = Rule(
    "IMG106",
    "warning",
    f"shrinking takes boxes below {shard.LITTLE} pixels on a side",
    "choose a larger --max-side, or cut the pictures into pieces",
)

_Changes = Counter[tuple[str, str, str]]
"""Lines of the ledger by action, thing and code."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Made:
    """The shards of one side, and what they hold together."""

    shards: tuple[Shard, ...]
    account: Account


def convert(
    folder: Path,
    out: Path,
    policies: Policies,
    say: Callable[[str], None],
    *,
    named: str | None = None,
    processes: int | None = None,
    run: pool.Run | None = None,
    verdicts: Path | None = None,
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
        run: makes the shards in another way than by processes of this machine.
        verdicts: file that remembers which contents were decoded and found good, so that none is decoded twice.

    Raises:
        OdbuildError: the data has errors or no usable box, or the output cannot be written.
        UsageError: `out` is not free, or lies in the source.
    """
    root, named = locate(folder, named)
    if out.resolve().is_relative_to(root.resolve()):
        raise UsageError(f"{out} lies in the dataset {root}, which is never written to. Name another folder.")
    with workshop(out, f"*{shard.ACCOUNT}") as work:
        run = run or pool.here(processes)

        def look(seen: Survey, root: Path) -> list[int | None]:
            from .alike import look_at_all

            with _told(sum(seen.lengths), say) as tell:
                return look_at_all(seen, str(root), work, run, tell)

        plan = schedule(root, named, policies, work, look)
        say(f"{plan.pictures:,} pictures with {plan.boxes:,} boxes in {plan.root}")
        with _told(plan.bytes, say) as tell:
            make = partial(shard.make, root=str(plan.root), work=work, verdicts=verdicts)
            run(make, plan.jobs, tell)
        converted = _finish(plan, policies, work)
    notes = render(converted.findings)
    if notes:
        say(notes)
    return index.moved(converted, out)


@contextmanager
def _told(total: int, say: Callable[[str], None]) -> Iterator[Callable[[int], None]]:
    """Give what to tell of bytes that are done, and show how far they are."""
    meter = Meter(say=say)
    done = 0

    def tell(size: int) -> None:
        nonlocal done
        done += size
        meter.tell(done, total)

    try:
        yield tell
    finally:
        meter.close()


def _finish(plan: Schedule, policies: Policies, work: Path) -> Converted:
    """Write what stands beside the shards, and return all that was made."""
    out = work / OUT
    changes: _Changes = Counter()
    with (out / LEDGER).open("w", encoding="ascii") as ledger:

        def book(lines: Iterable[Change]) -> None:
            for change in lines:
                ledger.write(change.line())
                changes[change.action, change.what, change.code] += 1

        book(plan.ledger)
        made = {side: _sum(side, plan, work, book) for side in SIDES}
    total = Account()
    total.findings += plan.findings
    for side in plan.own:
        shard.add(total, made[side].account)
    total.findings += _shrinking(total.shrunk)
    _stop_on_errors(plan, total, changes, work)
    (out / LABEL_MAP).write_text(to_pbtxt(plan.labels), encoding="ascii")
    converted = Converted(
        folder=out,
        labels=plan.labels,
        train=_side(made["train"], plan.labels),
        validation=_side(made["validation"], plan.labels),
        test=_side(made["test"], plan.labels),
        max_boxes=total.max_boxes,
        smallest_box=_smallest(total),
        sizes=_sizes(total),
        ledger=_counted(changes),
        findings=tuple(total.findings.told()),
    )
    return index.save(_judged(converted, shared=plan.shared), policies)


def _judged(converted: Converted, *, shared: bool) -> Converted:
    train, validation = converted.train, converted.validation
    odd = judge(converted.labels, train.classes, validation.classes, validation.pictures, shared=shared)
    return replace(converted, findings=(*converted.findings, *odd))


def _shrinking(shrunk: tuple[int, int, int]) -> Iterator[Finding]:
    """Tell of boxes that shrinking made so small that little can be learned from them."""
    boxes, before, after = shrunk
    if after > before:
        yield _LITTLE.at("pictures that were shrunk", f"{after:,} of {boxes:,} boxes; {before:,} were before")


def _sum(side: str, plan: Schedule, work: Path, book: Callable[[Iterable[Change]], None]) -> _Made:
    """Return what was made of one side, book its changes, and write down the keys of its pictures."""
    shards: list[Shard] = []
    total = Account()
    with (work / OUT / KEYS[side]).open("w", encoding="utf-8", newline="") as keys:
        for name in plan.sides.get(side, ()):
            one, account = shard.collect(name, work)
            shards.append(one)
            shard.add(total, account)
            keys.writelines(f"{key}\n" for key in account.keys)
            if side in plan.own:
                book(account.ledger)
    return _Made(shards=tuple(shards), account=total)


def _stop_on_errors(plan: Schedule, total: Account, changes: _Changes, work: Path) -> None:
    wrong = errors(total.findings.told())
    if not wrong and total.classes.total():
        return
    for account in work.glob(f"*{shard.ACCOUNT}"):
        # The next run finds other data, and what it finds the same is quickly checked again.
        account.unlink()
    if wrong:
        raise OdbuildError(f"{plan.root} has {count(wrong):,} errors; nothing was written.\n{render(wrong)}")
    lost: Counter[str] = Counter()
    for (action, _, code), times in changes.items():
        lost[code] += times * (action == "dropped")
    why = ", ".join(f"{times:,} {code}" for code, times in sorted(lost.items()) if times)
    told = render(finding for finding in total.findings.told() if lost[finding.code])
    raise OdbuildError(
        f"{plan.root} has no usable box: {plan.pictures:,} pictures, {plan.boxes:,} boxes"
        f"{f', left out for {why}' if why else ''}"
        + (f":\n{told}" if told else ". Draw boxes around the objects to be found.")
    )


def _side(made: _Made, labels: Iterable[str]) -> Side:
    account = made.account
    return Side(
        shards=made.shards,
        pictures=sum(one.count for one in made.shards),
        background=account.background,
        boxes=account.classes.total(),
        classes={label: account.classes[label] for label in labels},
    )


def _smallest(total: Account) -> SmallestBox:
    assert total.smallest is not None  # noqa: S101 - there are boxes
    share, key, number, label, *sides = total.smallest
    # Of more digits the last ones depend on the format that the boxes were read from.
    share, width, height = (float(f"{value:.6g}") for value in (share, *sides))
    return SmallestBox(key=key, index=number, label=label, width=width, height=height, share=share)


def _sizes(total: Account) -> Sizes:
    assert total.extent is not None  # noqa: S101 - there are pictures
    narrowest, widest, lowest, highest = total.extent
    return Sizes(min_width=narrowest, max_width=widest, min_height=lowest, max_height=highest)


def _counted(changes: _Changes) -> dict[str, int]:
    """Return the lines of the ledger by action and thing."""
    counts: Counter[str] = Counter()
    for (action, what, _), times in changes.items():
        counts[f"{action} {what}"] += times
    return dict(sorted(counts.items()))
