"""Mend a dataset: a corrected copy in a folder of its own, and a ledger of what is not in it as in the source.

What is mended is what an expert would sign without a look at the pictures. Whatever would take a guess is left as
it is and told with the reason; what no training can use, and nobody could mend, is left out.
"""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from . import writers
from .check import Options, Report, check, open_all, recognise
from .errors import OdbuildError, UsageError
from .trainer import images, looks, readers
from .trainer.dataset import Box, Dataset, Picture, all_labels, spelled, without
from .trainer.findings import Action, Change, Finding, Rule, count, place, quote, render
from .trainer.images import ImageError, ImageInfo
from .trainer.index import LEDGER
from .trainer.looks import Look
from .trainer.mend import TOLERANCE, mend, specks
from .trainer.packed import count_labels, pack
from .trainer.readers.files import fold
from .trainer.readers.reading import FAR
from .trainer.rules.data import by_code
from .trainer.rules.every import CATALOGUE, Data
from .trainer.rules.pictures import misnamed
from .trainer.shard import TURNED_VIEW

Say = Callable[[str], None]

FORMATS: Mapping[str, str] = {"iris": "cloud", "voc": "coco", "csv": "coco", "tfrecord": "coco"}
"""What is written where nothing writes the dataset's own format: the nearest that can say as much of it."""

MENDED = frozenset(
    {"ANN001", "ANN002", "ANN005", "ANN006", "ANN007", "BOX201", "BOX202", "BOX203", "IMG101", "IMG102", "IMG104"}
)
"""Rules that no copy breaks: what broke them was mended or left out."""

REASONS: Mapping[str, str] = {
    "ANN003": "whether a picture shows nothing to be found takes a look at it",
    "ANN004": "every box of this label was left out; it stays declared, so that the loss is seen",
    "BOX204": "no other box would be right: it is the model that cannot see it",
    "BOX205": "all of them may be right: it is the model's config that takes fewer",
    "BOX206": "the two boxes differ a little, and which of them fits takes a look",
    "BOX207": "whether it is meant takes a look",
    "BOX208": "which of the two labels is right takes a look",
    "BOX209": "no box can be trusted until the dataset is exported as corners",
    "IMG103": "in which view the boxes were drawn is not in the file; say it with --exif apply or --exif ignore",
    "IMG105": "which colours are meant is not in the file; save it as RGB where they can be seen",
    "IMG106": "how far it may shrink depends on the model; `odbuild convert --max-side` does it in the records",
    "IMG107": "a larger or squarer picture cannot be made of it",
    "IMG108": "the equal pictures differ in their boxes, side or group, and which are right takes a look",
    "IMG109": "both may be meant; `odbuild convert --near-duplicates together` keeps them on one side",
    "IMG111": "no pixel is harmed, but one would be by encoding it anew",
    "LBL301": "a number for it belongs into the label map, which is yours",
    "LBL302": "they differ in upper and lower case, which may be meant",
    "LBL303": "boxes are drawn by people",
    "LBL304": "boxes are drawn by people",
    "LBL305": "what is odd within the name may be meant",
    "SPL401": "which pictures change sides is yours to say; without sides of its own odbuild splits the dataset",
    "SPL402": "which side keeps the picture decides what is measured, so it is yours to say",
    "SPL403": "which side keeps the group decides what is measured, so it is yours to say",
    "SPL404": "which pictures change sides is yours to say",
    "SPL405": "pictures for that side are not in the dataset",
}
"""Why what breaks these rules is left as it is."""

_ENDINGS = {"jpeg": ".jpg", "png": ".png"}

_TURNED: Mapping[Action, str] = {"transcoded": "IMG102", "turned": "IMG103"}

Way = Literal["copied", "encoded", "untagged"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What to mend, and how.

    Attributes:
        dataset: A folder of a dataset or of records, or a file in it.
        out: Folder to make.
        to: The format to write; the dataset's own, or the nearest to it, where it is None.
        exif: The view that the boxes of pictures with an Exif orientation were drawn on: `apply` for the upright
            one, which turns the pixels, `ignore` for the stored one, which takes the orientation away; None leaves
            such pictures as they are.
        options: How to check. Rules that are not wanted mend nothing that trains as it is.
    """

    dataset: Path
    out: Path
    to: str | None = None
    exif: Literal["apply", "ignore"] | None = None
    options: Options = field(default_factory=Options)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Copy:
    """A picture of the copy.

    Attributes:
        picture: as it is written.
        origin: as the source has it.
        way: how its file is made of the source's.
        digest: of the source's file.
        kind: the format of the new file.
    """

    picture: Picture
    origin: Picture
    way: Way
    digest: str
    kind: str


@dataclass(kw_only=True)
class _Work:
    """What mending needs, and what it gathers on its way."""

    request: Request
    data: Data
    ledger: list[Change] = field(default_factory=list)
    undecided: list[Finding] = field(default_factory=list)

    @cached_property
    def far(self) -> frozenset[str]:
        """The places of pictures of which the reader left out a box that reached far out of them."""
        lost = (change.where for change in self.data.source.ledger if change.code == FAR.code)
        return frozenset(where.rpartition("[")[0] for where in lost)

    def wants(self, code: str) -> bool:
        return self.request.options.wants(code)

    def book(
        self, action: Action, what: Literal["picture", "box", "label"], where: str, code: str, value: str
    ) -> None:
        self.ledger.append(Change(action=action, what=what, where=where, code=code, value=value))

    def lose_boxes(self, key: str, boxes: Iterable[Box], code: str) -> None:
        for box in boxes:
            self.book("dropped", "box", place(key, box.index), code, spelled(box))

    def lose(self, picture: Picture, code: str, value: str) -> None:
        self.book("dropped", "picture", place(picture.key), code, value)
        self.lose_boxes(picture.key, picture.boxes, code)


def fix(request: Request, say: Say) -> Report:
    """Write a mended copy of a dataset, and return the report on it, or on the source where that is unreadable.

    Nothing is written into the source, and `out` appears whole or not at all. Pictures and boxes of the source are
    those of the copy and those that its ledger lists as dropped.

    Raises:
        UsageError: No dataset lies at the path, no writer has that name, or `out` is not free.
        OdbuildError: Mending would take a guess at every box, nothing is left to train on, a picture cannot be
            read, or the copy cannot be written.
    """
    if recognise(request.dataset, request.options) not in ("dataset", "records"):
        raise UsageError(f"{request.dataset} is no dataset, and nothing else is mended. Leave --fix out.")
    folder = request.dataset if request.dataset.is_dir() else request.dataset.parent
    root, own = readers.locate(folder, request.options.format)
    name = request.to or FORMATS.get(own, own)
    writers.check_target(request.out, root, name)
    subject = open_all([request.dataset], replace(request.options, upright=request.exif == "apply"))[0]
    if subject.data is None:
        return Report(subjects=(subject,), rules_run=())
    work = _Work(request=request, data=subject.data)
    _require_certainty(work.data)
    copies = _mended(work)
    dataset = _whole(work, [copy.picture for copy in copies])
    made = {copy.picture.key: copy for copy in copies}
    ledger = writers.write(
        dataset,
        request.out,
        name,
        bring=lambda picture, target: _bring(work, made[picture.key], target),
        ledger=work.ledger,
    )
    report = check([request.out], replace(request.options, format=name))
    for line in _told(request, name, dataset, ledger, report):
        say(line)
    return report


def _require_certainty(data: Data) -> None:
    """Refuse a dataset of which nobody knows all its boxes, or whose they are.

    Raises:
        OdbuildError: Mending would take a guess.
    """
    twice = [finding for finding in data.found.get("ANN006", ()) if finding.severity == "error"]
    doubts = {
        REASONS["BOX209"]: list(CATALOGUE["BOX209"].check(data)),
        "which of two things of one name is meant is not in the files": twice,
        "what else is in a file that cannot be read to its end is not known": data.source.unread,
    }
    for why, found in doubts.items():
        if found:
            raise OdbuildError(f"Nothing is mended: {why}.\n{render(found)}")


def _mended(work: _Work) -> list[_Copy]:
    """Return the pictures of the copy, as they are and as they were."""
    source = work.data.source
    names = _names(work)
    drawn = source.pictures
    if names:
        drawn = pack(
            replace(it, boxes=tuple(replace(box, label=names.get(box.label, box.label)) for box in it.boxes))
            for it in source.pictures
        )
    mended, _ = mend(replace(source, pictures=drawn), "clip")
    work.ledger += mended.ledger
    pairs = zip(source.pictures, mended.pictures, strict=True)
    copies = [copy for origin, picture in pairs for copy in _copied(work, origin, picture)]
    if work.undecided:
        raise OdbuildError(f"Nothing is mended: {REASONS['IMG103']}.\n{render(work.undecided)}")
    _settle(work)
    return list(_renamed(work, list(_once(work, copies))))


def _whole(work: _Work, pictures: Iterable[Picture]) -> Dataset:
    """Return the dataset to write: the pictures, and the labels that are declared."""
    source, names = work.data.source, _merged(work)
    used = count_labels(source.pictures)
    declared: dict[str, None] = {}
    for label in source.declared:
        again = label in declared or label not in used
        if again and work.wants("ANN004"):
            work.book("dropped", "label", "labels", "ANN004", quote(label))
        else:
            declared.setdefault(names.get(label, label))
    dataset = replace(source, declared=tuple(declared), pictures=pack(pictures).by_key())
    if not count_labels(dataset.pictures):
        raise OdbuildError(
            f"{source.root} has no box that is left after mending, so nothing was written.\n"
            + "\n".join(_counted(work.ledger))
        )
    for label in all_labels(dataset)[len(declared) :] if declared else ():
        work.book("declared", "label", "labels", "ANN004", quote(label))
    return dataset


def _names(work: _Work) -> Mapping[str, str]:
    """Return the new names of labels that are to be renamed, and book them."""
    names = _merged(work)
    counts = count_labels(work.data.source.pictures)
    for old, new in names.items():
        code = "LBL305" if old.strip() == new else "LBL302"
        work.book("renamed", "label", "labels", code, f"{quote(old)} to {quote(new)}, {counts[old]:,} boxes")
    return names


def _merged(work: _Work) -> Mapping[str, str]:
    """Return the new names of labels: without the spaces around them, and one for those that look the same."""
    alike: dict[str, list[str]] = {}
    for label in count_labels(work.data.source.pictures):
        alike.setdefault(unicodedata.normalize("NFC", label.strip()), []).append(label)
    names = {}
    for plain, labels in alike.items():
        if not plain:
            continue
        for label in labels:
            new = plain if len(labels) > 1 and work.wants("LBL302") else label.strip()
            if new != label and (len(labels) > 1 or work.wants("LBL305")):
                names[label] = new
    return names


def _copied(work: _Work, origin: Picture, picture: Picture) -> Iterator[_Copy]:
    """Yield what becomes of a picture whose boxes are mended, or nothing where it is left out.

    Raises:
        OdbuildError: Its file could not be read, so nobody knows whether it has to be left out.
    """
    seen, booked = work.data.images[origin.key], len(work.ledger)
    if seen.problem is not None and seen.problem.code == "IMG101" and not seen.digest:
        raise _unread(work.data.source.path(origin), seen.problem)
    try:
        way, kind, info, size = _made(work, origin, seen)
        size = _size(work, origin, way, info, size)
    except ImageError as error:
        del work.ledger[booked:]
        work.lose(picture, error.code, error.message)
        return
    picture, lost = specks(picture, *(size if way != "copied" else (info.width, info.height)))
    work.lose_boxes(picture.key, lost, "BOX202")
    if work.wants("BOX206"):
        first: dict[Box, int] = {}
        again = [box for box in picture.boxes if first.setdefault(box, box.index) != box.index]
        work.lose_boxes(picture.key, again, "BOX206")
        picture = without(picture, (box.index for box in again))
    yield _Copy(
        picture=replace(picture, size=size, span=None), origin=origin, way=way, digest=seen.digest, kind=kind
    )


def _made(work: _Work, origin: Picture, seen: Look) -> tuple[Way, str, ImageInfo, tuple[int, int]]:
    """Return how the new file is made, its format, what the old one is, and the size of the new one in pixels.

    Raises:
        ImageError: The picture cannot be used.
    """
    exif, info = work.request.exif, seen.info
    where = place(origin.key)
    if info is None:
        return _transcoded(work, origin, seen)
    if info.orientation == 1 or exif is None:
        return "copied", info.format, info, info.stored
    told = f"orientation {info.orientation}"
    if exif == "ignore":
        work.book("corrected", "picture", where, "IMG103", told)
        return "untagged", info.format, info, info.stored
    work.book("turned", "picture", where, "IMG103", told)
    return "encoded", info.format, info, info.upright


def _transcoded(work: _Work, origin: Picture, seen: Look) -> tuple[Way, str, ImageInfo, tuple[int, int]]:
    problem = seen.problem
    assert problem is not None  # noqa: S101 - a look has either this or what the header says
    if seen.kind not in images.FOREIGN or problem.code != "IMG102":
        raise ImageError(problem.code, problem.message, problem.fix)
    prepared = _prepared(work, origin)
    if work.request.exif is None and prepared.source.orientation != 1 and origin.boxes:
        # JPEG and PNG keep the orientation for somebody to decide; the new file would have none.
        told = f"{seen.kind} of orientation {prepared.source.orientation}"
        work.undecided.append(TURNED_VIEW.at(place(origin.key), told))
    for action in prepared.changes:
        work.book(action, "picture", place(origin.key), _TURNED[action], prepared.source.format)
    info = prepared.info
    return "encoded", info.format, prepared.source, (info.width, info.height)


def _prepared(work: _Work, origin: Picture) -> images.Prepared:
    data = looks.read(work.data.source.path(origin), origin.span)
    turn = work.request.exif == "apply"
    return images.prepare(data, turn=turn, formats="transcode", max_side=None, check="none")


def _size(work: _Work, origin: Picture, way: Way, info: ImageInfo, new: tuple[int, int]) -> tuple[int, int]:
    """Return the size to record. One that is wrong is corrected where the boxes lie right all the same.

    Raises:
        ImageError: The boxes were divided by a size of other proportions, so nobody knows where they lie.
    """
    recorded = origin.size
    # As long as nobody said which view it is, the recorded one is the only hint; boxes in records are fractions.
    either = way == "copied" or origin.span is not None
    if recorded is None or recorded in ((info.stored, info.upright) if either else (new,)):
        return recorded if recorded and way == "copied" else new
    code = "IMG104" if origin.span is None else "REC506"
    seen = "{} x {}, is {} x {}".format(*recorded, *info.stored)
    if not _in_proportion(recorded, new) or not all(map(_inside, origin.boxes)) or place(origin.key) in work.far:
        raise ImageError(code, f"recorded {seen}", "find out which picture the boxes were drawn on")
    work.book("corrected", "picture", place(origin.key), code, f"recorded {seen}")
    return new


def _in_proportion(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Say whether one size is the other scaled, to a pixel of the smaller."""
    return abs(one[0] * other[1] - one[1] * other[0]) <= max(one[0], other[0])


def _inside(box: Box) -> bool:
    return all(-TOLERANCE <= edge <= 1 + TOLERANCE for edge in (box.xmin, box.ymin, box.xmax, box.ymax))


def _once(work: _Work, copies: Iterable[_Copy]) -> Iterator[_Copy]:
    """Yield the pictures but for those that are equal to another of their side, boxes and all."""
    first: dict[object, str] = {}
    for copy in copies:
        picture = copy.picture
        boxes = frozenset(Counter(picture.boxes).items())
        other = first.setdefault((copy.digest, picture.split, picture.group, boxes), picture.key)
        if other == picture.key or not work.wants("IMG108"):
            yield copy
        else:
            work.lose(picture, "IMG108", f"same as {quote(other)}")


def _renamed(work: _Work, copies: list[_Copy]) -> Iterator[_Copy]:
    """Yield the pictures with names that tell their format, no two of which are one on any disk."""
    taken = Counter(fold(copy.picture.key) for copy in copies)
    stems = Counter(fold(_stem(copy.picture.key)) for copy in copies)
    seen: set[str] = set()
    for copy in copies:
        key = copy.picture.key
        wrong = copy.way == "encoded" and not _said(key, copy.kind)
        wrong = wrong or (misnamed(key, copy.kind) and work.wants("IMG102"))
        double = fold(key) in seen
        seen.add(fold(key))
        if not wrong and not double:
            yield copy
            continue
        new = _free(key, _ENDINGS[copy.kind] if wrong else key[len(_stem(key)) :], taken, stems)
        work.book("renamed", "picture", place(key), "IMG102" if wrong else "ANN005", quote(new))
        yield replace(copy, picture=replace(copy.picture, key=new))


def _said(key: str, kind: str) -> bool:
    """Say whether the ending of a name is one of the format."""
    return not misnamed(key, kind) and misnamed(key, "png" if kind == "jpeg" else "jpeg")


def _free(key: str, ending: str, taken: Counter[str], stems: Counter[str]) -> str:
    """Return a name that nothing has, nor anything with another ending: labels may be named by the stem."""
    stem, number = _stem(key), 1
    new = stem
    while taken[fold(new + ending)] or stems[fold(new)] > (new == stem):
        number += 1
        new = f"{stem}-{number}"
    taken[fold(new + ending)] += 1
    stems[fold(new)] += new != stem
    return new + ending


def _stem(key: str) -> str:
    folder, slash, name = key.rpartition("/")
    return f"{folder}{slash}{name.rpartition('.')[0] or name}"


def _settle(work: _Work) -> None:
    """Book what the reader found wrong and settled by itself, so that nothing goes without a line."""
    booked = {(change.code, change.where) for change in work.ledger}
    for finding in (one for found in work.data.found.values() for one in found):
        bare = re.sub(r"\.\w+$", "", finding.where)
        if finding.severity == "info" or {(finding.code, finding.where), (finding.code, bare)} & booked:
            continue
        work.ledger.append(
            Change(action="settled", what="file", where=finding.where, code=finding.code, value=_seen(finding))
        )


def _seen(finding: Finding) -> str:
    return f"{finding.message}: {finding.value}" if finding.value else finding.message


def _bring(work: _Work, copy: _Copy, target: Path) -> None:
    """Write the file of a picture.

    Raises:
        OdbuildError: The source's file is not what it was.
    """
    path = work.data.source.path(copy.origin)
    try:
        data = looks.read(path, copy.origin.span)
    except ImageError as error:
        raise _unread(path, error) from error
    if hashlib.sha256(data).hexdigest() != copy.digest:
        raise OdbuildError(f"{path} changed while it was mended. Run again.")
    if copy.way == "untagged":
        data = images.untagged(data)
    elif copy.way == "encoded":
        data = bytes(_prepared(work, copy.origin).data)
    target.write_bytes(data)


def _unread(path: Path, why: Rule | ImageError) -> OdbuildError:
    return OdbuildError(f"{path}: {why.message}, so nothing was written. To go on, {why.fix}.")


def _told(
    request: Request, name: str, dataset: Dataset, ledger: Iterable[Change], report: Report
) -> Iterator[str]:
    """Yield what was done, and what was not and why."""
    boxes = count_labels(dataset.pictures).total()
    other = f", which {dataset.format} is written as unless --to names another" if request.to is None else ""
    form = name if name == dataset.format else f"{name}{other}"
    yield f"{request.out} ({form}): {len(dataset.pictures):,} pictures with {boxes:,} boxes"
    done = list(_counted(ledger))
    yield from done
    yield f"each of these is a line of {request.out / LEDGER}" if done else "nothing was there to mend"
    for code, found in by_code(report.findings).items():
        yield f"not mended: {count(found):,} {code}: {REASONS[code]}"


def _counted(ledger: Iterable[Change]) -> Iterator[str]:
    """Yield how often each thing was done, with the rule that asked for it."""
    lines = Counter((change.action, change.what, change.code) for change in ledger)
    for (action, what, code), times in sorted(lines.items()):
        plural = what if times == 1 else {"box": "boxes"}.get(what, f"{what}s")
        yield f"{action}: {times:,} {plural}" + (f" ({code} {CATALOGUE[code].name})" if code else "")
