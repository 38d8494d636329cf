"""One job done: the pictures of a shard read, checked, changed where they must be, written, and accounted for.

A shard and its account take their names when they are whole, the account last, so that a run that was stopped
anywhere goes on from what is there. An account names its job by digest: what was made of other data or by other
policies does not count.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

from . import examples, images, jobs, records
from .dataset import Box, Picture, labels_of, spelled
from .findings import Change, Finding, Rule, Tally, place
from .images import ImageError, ImageInfo
from .jobs import Job
from .jpeg import Data
from .mend import speck_finding, specks
from .packed import rows_of
from .policies import Policies
from .sources import Reader, Source, broken
from .verdicts import Verdicts

ENDING = ".record"
JOB, ACCOUNT = ".job", ".json"
"""Endings of the files of a job and of its account."""

LITTLE = 8
"""Pixels of a box's side below which there is hardly anything left to recognise."""

TURNED_VIEW = Rule(
    "IMG103",
    "error",
    "a picture carries an Exif orientation, so it is not known in which view its boxes were drawn",
    "say --exif apply to `odbuild bundle` or `convert` if they were drawn on the upright view, as browsers since "
    "2020 show it, or --exif ignore if on the stored pixels",
)
_OTHER_SIZE = Rule(
    "IMG104",
    "error",
    "a picture is not of the size that the annotations record",
    "find out which picture the boxes were drawn on",
)
_ODD = Rule("IMG111", "info", "a picture's file is odd, though its pixels are whole")

_CODES = {"transcoded": "IMG102", "turned": "IMG103", "shrunk": "IMG106"}


Smallest = tuple[float, str, int, str, float, float]


@dataclass(kw_only=True, slots=True)
class Account:
    """What became of the pictures of one shard, or of several.

    Attributes:
        keys: of the pictures written, in order.
        background: how many of them have no box.
        classes: boxes of each label.
        max_boxes: most boxes in one picture.
        smallest: the box that covers the least of its picture, first by that share: share, key, index, label, and
            width and height in pixels; None without boxes.
        extent: least and most width, least and most height in pixels; None without pictures.
        shrunk: boxes on pictures that were shrunk, and those of them with a side below `LITTLE`, before and after.
        ledger: what was changed or left out.
        findings: what is wrong or odd.
    """

    keys: list[str] = field(default_factory=list)
    background: int = 0
    classes: Counter[str] = field(default_factory=Counter)
    max_boxes: int = 0
    smallest: Smallest | None = None
    extent: tuple[int, int, int, int] | None = None
    shrunk: tuple[int, int, int] = (0, 0, 0)
    ledger: list[Change] = field(default_factory=list)
    findings: Tally = field(default_factory=Tally)


def make(
    names: Iterable[str], tell: Callable[[int], None], *, root: str, work: Path, verdicts: Path | None = None
) -> None:
    """Make shards and their accounts, unless they are there and sound.

    Args:
        names: of the jobs that lie in `work`; the next is asked for while the one before is still being written.
        tell: told the bytes of each picture when it is done.
        root: the dataset's folder.
        work: takes the accounts; the shards go into the folder `out` in it.
        verdicts: remembers which contents were decoded and found good.

    Raises:
        OdbuildError: a picture changed since it was surveyed.
        OSError: a shard cannot be written.
    """
    with records.Writer() as writer:
        reader = Reader(root, writer.room)
        for name in names:
            job = jobs.parse((work / f"{name}{JOB}").read_bytes())
            if _is_made(job, work):
                tell(sum(source.length for _, source in job.pictures()))
                continue
            known = _verdicts(verdicts) if verdicts and job.policies.check == "decode" else None
            account = Account()
            writer.begin(_unfinished(job, work))
            for picture, source in job.pictures():
                try:
                    prepared = _prepared(reader.read(source), job.policies, known)
                    account.findings += _oddities(picture, source, prepared.source, job.policies)
                    _add(picture, prepared, job, account, writer)
                except ImageError as error:
                    account.findings.append(broken(error).at(place(picture.key)))
                tell(source.length)
            writer.end(partial(_keep, job, work, account))


def _keep(job: Job, work: Path, account: Account, shard: records.Shard) -> None:
    """Let a shard that is written take its name, and its account."""
    shard.path.rename(_path(job.name, work))
    _save(job, work, shard, account)


def collect(name: str, work: Path) -> tuple[records.Shard, Account]:
    """Return a shard that was made, and its account."""
    saved = _saved(name, work)
    return records.Shard(path=_path(name, work), **saved["shard"]), _account(saved["account"])


def _is_made(job: Job, work: Path) -> bool:
    try:
        saved = _saved(job.name, work)
        with _path(job.name, work).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return (job.digest, digest) == (saved["job"], saved["shard"]["sha256"])
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        # It is not there, or lost its end with the power.
        return False


@lru_cache(maxsize=1)
def _verdicts(path: Path) -> Verdicts:
    return Verdicts.open(path)


def _add(picture: Picture, prepared: images.Prepared, job: Job, account: Account, writer: records.Writer) -> None:
    """Write one picture and book it."""
    policies = job.policies
    picture, lost = specks(picture, *_upright(prepared))
    for box in lost:
        _book_speck(account, picture.key, box, policies)
    if not picture.boxes and policies.negatives == "drop":
        account.ledger.append(dropped("picture", place(picture.key), "ANN003", "no box"))
        return
    for action in prepared.changes:
        seen = f"{prepared.source.format}, {_by(prepared.source)}, orientation {prepared.source.orientation}"
        where = place(picture.key)
        account.ledger.append(Change(action=action, what="picture", where=where, code=_CODES[action], value=seen))
    info = prepared.info
    example = examples.Example(
        key=picture.key,
        encoded=prepared.data,
        format=info.format,
        width=info.width,
        height=info.height,
        boxes=picture.boxes,
        ids=tuple([job.ids[label] for label in labels_of(picture)]),
    )
    writer.add(*examples.pieces(example))
    _count(account, picture, info)
    if "shrunk" in prepared.changes:
        before, after = (_little(picture, *size) for size in (_upright(prepared), (info.width, info.height)))
        account.shrunk = _sum(account.shrunk, (len(picture.boxes), before, after))


def _prepared(data: Data, policies: Policies, known: Verdicts | None) -> images.Prepared:
    """Check a picture, but for what is known to be good, and change it where it must be.

    Raises:
        ImageError: it cannot be used.
    """
    digest = hashlib.sha256(data).digest() if known else b""
    verdict = known.get(digest) if known else None
    prepared = images.prepare(
        data,
        turn=policies.exif == "apply",
        formats=policies.formats,
        max_side=policies.max_side,
        check="none" if verdict else policies.check,
    )
    if verdict:
        return prepared._replace(source=verdict)
    if known and prepared.source.format in {"jpeg", "png"}:
        known.put(digest, prepared.source)
    return prepared


def dropped(what: Literal["picture", "box"], where: str, code: str, value: str) -> Change:
    """Return the ledger's line for what was left out."""
    return Change(action="dropped", what=what, where=where, code=code, value=value)


def _oddities(picture: Picture, source: Source, info: ImageInfo, policies: Policies) -> Iterator[Finding]:
    if info.orientation != 1 and policies.exif == "fail" and picture.boxes:
        yield TURNED_VIEW.at(place(picture.key), f"orientation {info.orientation}")
    views = {"apply": (info.upright,), "ignore": (info.stored,), "fail": (info.stored, info.upright)}
    # Boxes in pixels were divided by what is recorded, so that must be the view that they are taken for; those of
    # records were fractions from the start.
    exif = policies.exif if picture.boxes and source.file == picture.key else "fail"
    view = {"apply": " upright", "ignore": " as stored"}.get(exif, "") if info.stored != info.upright else ""
    yield from odd_size(picture.key, picture.size, views[exif], view)
    for warning in info.warnings:
        yield _ODD.at(place(picture.key), warning)


def odd_size(
    key: str, recorded: tuple[int, int] | None, sizes: Sequence[tuple[int, int]], view: str = ""
) -> Iterator[Finding]:
    """Tell of a recorded size that is none of those that a picture may have.

    Args:
        key: of the picture.
        recorded: width and height in pixels; None where none is.
        sizes: those that it may have, first the one to be told.
        view: what that one is of, to be told behind it.
    """
    if recorded not in (None, *sizes):
        wrong, true = (" x ".join(map(str, size)) for size in (recorded or (), sizes[0]))
        yield _OTHER_SIZE.at(place(key), f"recorded {wrong}, is {true}{view}")


def _upright(prepared: images.Prepared) -> tuple[int, int]:
    """Return width and height of the picture in the view that its boxes are fractions of, not yet shrunk."""
    source = prepared.source
    return source.upright if "turned" in prepared.changes else source.stored


def _by(info: ImageInfo) -> str:
    return f"{info.width} x {info.height}"


def _book_speck(account: Account, key: str, box: Box, policies: Policies) -> None:
    where = place(key, box.index)
    account.findings.append(speck_finding(where, spelled(box), policies.boxes))
    account.ledger.append(dropped("box", where, "BOX202", spelled(box)))


def _count(account: Account, picture: Picture, info: ImageInfo) -> None:
    width, height = info.width, info.height
    account.keys.append(picture.key)
    account.background += not picture.boxes
    account.max_boxes = max(account.max_boxes, len(picture.boxes))
    account.extent = _wider(account.extent, (width, width, height, height))
    for label, ymin, xmin, ymax, xmax, index, *_ in rows_of(picture.boxes):
        account.classes[label] += 1
        across, down = xmax - xmin, ymax - ymin
        found = (across * down, picture.key, index, label, across * width, down * height)
        account.smallest = found if account.smallest is None else min(account.smallest, found)


def _little(picture: Picture, width: int, height: int) -> int:
    sides = (min((box.xmax - box.xmin) * width, (box.ymax - box.ymin) * height) for box in picture.boxes)
    return sum(side < LITTLE for side in sides)


def _sum(one: tuple[int, int, int], other: tuple[int, int, int]) -> tuple[int, int, int]:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]


def _wider(one: tuple[int, int, int, int] | None, other: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    if one is None:
        return other
    return min(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), max(one[3], other[3])


def add(total: Account, account: Account) -> None:
    """Add the numbers and findings of another shard to a total, not its keys and ledger, which may be long."""
    total.background += account.background
    total.classes += account.classes
    total.shrunk = _sum(total.shrunk, account.shrunk)
    total.max_boxes = max(total.max_boxes, account.max_boxes)
    total.smallest = min(filter(None, (total.smallest, account.smallest)), default=None)
    total.extent = _wider(total.extent, account.extent) if account.extent else total.extent
    total.findings += account.findings.told()


def _save(job: Job, work: Path, shard: records.Shard, account: Account) -> None:
    saved = {
        "job": job.digest,
        "shard": {"count": shard.count, "bytes": shard.bytes, "sha256": shard.sha256},
        "account": account,
    }
    unfinished = _unfinished(job, work)
    unfinished.write_text(json.dumps(saved, default=_plain), encoding="utf-8")
    unfinished.replace(work / f"{job.name}{ACCOUNT}")


def _unfinished(job: Job, work: Path) -> Path:
    """Return a new name, for a cluster may let two workers make the same shard at the same time."""
    return work / f"{job.name}.{os.urandom(16).hex()}.part"


def _plain(value: Any) -> Any:
    return value.told() if isinstance(value, Tally) else {name: getattr(value, name) for name in value.__slots__}


def _saved(name: str, work: Path) -> dict[str, Any]:
    saved: dict[str, Any] = json.loads((work / f"{name}{ACCOUNT}").read_text(encoding="utf-8"))
    return saved


def _account(saved: dict[str, Any]) -> Account:
    findings = Tally()
    findings += [Finding(**finding) for finding in saved["findings"]]
    return Account(
        **{
            **saved,
            "classes": Counter(saved["classes"]),
            "smallest": saved["smallest"] and tuple(saved["smallest"]),
            "extent": saved["extent"] and tuple(saved["extent"]),
            "shrunk": tuple(saved["shrunk"]),
            "ledger": [Change(**change) for change in saved["ledger"]],
            "findings": findings,
        }
    )


def _path(name: str, work: Path) -> Path:
    return work / "out" / f"{name}{ENDING}"
