"""From a folder of annotated photographs to records that train: checked, split, written whole or not at all."""

import hashlib
import json
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import IO, Any, Literal, get_args

from . import examples, images, records
from .dataset import Box, Dataset, Picture, spelled, used_labels
from .errors import OdbuildError, UsageError
from .findings import Change, Finding, Rule, count, errors, place, quote, render
from .labels import label_ids, to_pbtxt
from .mend import BoxPolicy, mend, speck_finding, specks
from .readers import locate, read
from .rules import labels as label_rules
from .split import check as check_split
from .split import split

ExifPolicy = Literal["apply", "ignore", "fail"]
NegativePolicy = Literal["keep", "drop"]

LABEL_MAP, LEDGER, INDEX = "label_map.pbtxt", "ledger.jsonl", "index.json"

INDEX_FORMAT = 1

MOST_BYTES = 1 << 29
"""Size of a picture's file that is still opened; a record must stay below the 2 GB of a protobuf message."""

PROGRESS_SECONDS = 10.0
"""Pause between two lines of progress."""

_WORDS = {
    "boxes": BoxPolicy,
    "exif": ExifPolicy,
    "negatives": NegativePolicy,
    "formats": images.FormatPolicy,
}

_TURNED_VIEW = Rule(
    "IMG103",
    "error",
    "a picture carries an Exif orientation, so it is not known in which view its boxes were drawn",
    "make the bundle with --exif apply if they were drawn on the upright view, as browsers since 2020 show it, "
    "or with --exif ignore if on the stored pixels",
)
_DUPLICATE = Rule("IMG108", "warning", "a picture is the same file as another", "delete one of them")


@dataclass(frozen=True, kw_only=True, slots=True)
class Policies:
    """What to do where the data leaves a choice.

    Attributes:
        boxes: turned or outlying boxes: mend, leave out, or stop.
        exif: pictures with boxes and an Exif orientation: `apply` turns the pixels upright and leaves the boxes as
            they are, `ignore` leaves both as they are, `fail` stops.
        negatives: pictures without boxes.
        formats: GIF, WebP, BMP and TIFF: make them JPEG or PNG, or stop.
        max_side: shrink larger pictures to this longest side, in pixels; None keeps every size.
        validation: share of the pictures that validate, above 0 and below 1.
        shard_bytes: size at which a new shard begins.

    Raises:
        UsageError: a value is none of these.
    """

    boxes: BoxPolicy = "clip"
    exif: ExifPolicy = "fail"
    negatives: NegativePolicy = "keep"
    formats: images.FormatPolicy = "transcode"
    max_side: int | None = None
    validation: float = 0.2
    shard_bytes: int = records.SHARD_BYTES

    def __post_init__(self) -> None:
        kinds = {
            "boxes": BoxPolicy,
            "exif": ExifPolicy,
            "negatives": NegativePolicy,
            "formats": images.FormatPolicy,
        }
        for name, kind in kinds.items():
            if getattr(self, name) not in get_args(kind):
                raise UsageError(f"{name} is {getattr(self, name)!r}; expected {' or '.join(get_args(kind))}.")
        if not 0 < self.validation < 1:
            raise UsageError(f"validation is {self.validation}; expected a share above 0 and below 1.")
        if self.max_side is not None and self.max_side < 1:
            raise UsageError(f"max_side is {self.max_side}; expected a number of pixels.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One side of the split.

    Attributes:
        shards: its files in order.
        pictures: pictures in them.
        background: those of them without a box.
        boxes: boxes in them.
        classes: boxes of each label, in the order of the labels; 0 where the side lacks one.
    """

    shards: tuple[records.Shard, ...]
    pictures: int
    background: int
    boxes: int
    classes: Mapping[str, int]

    @property
    def pattern(self) -> str:
        """The file pattern of exactly these shards."""
        return records.pattern(self.shards)


@dataclass(frozen=True, kw_only=True, slots=True)
class SmallestBox:
    """The box that covers the least of its picture; sides in pixels of the picture as written."""

    key: str
    index: int
    label: str
    width: float
    height: float
    share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """The extremes of the pictures as written, in pixels."""

    min_width: int
    max_width: int
    min_height: int
    max_height: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Converted:
    """A finished conversion.

    Attributes:
        folder: holds the shards, the label map, the ledger and the index.
        labels: in the order of their ids, which begin at 1.
        train: what trains.
        validation: what validates.
        max_boxes: most boxes in one picture.
        smallest_box: of both sides.
        sizes: of both sides.
        ledger: lines of the ledger by action and thing, such as `{"dropped box": 2}`.
        digest: SHA-256 that names this data: equal for equal output, wherever it lies.
        findings: warnings and notes; not kept in the index.
    """

    folder: Path
    labels: tuple[str, ...]
    train: Side
    validation: Side
    max_boxes: int
    smallest_box: SmallestBox
    sizes: Sizes
    ledger: Mapping[str, int]
    digest: str
    findings: tuple[Finding, ...] = field(default=(), compare=False)

    @property
    def label_map(self) -> Path:
        """The label map's file."""
        return self.folder / LABEL_MAP


@dataclass(frozen=True, kw_only=True, slots=True)
class _Checked:
    """A picture that will be written. `spool` is where its changed bytes lie: offset and length, or None."""

    picture: Picture
    path: Path
    digest: str
    info: images.ImageInfo
    spool: tuple[int, int] | None


@dataclass(kw_only=True, slots=True)
class _Job:
    """What one conversion gathers on its way."""

    dataset: Dataset
    policies: Policies
    findings: list[Finding]
    ledger: list[Change]
    checked: list[_Checked] = field(default_factory=list)


def convert(folder: Path, out: Path, policies: Policies, say: Callable[[str], None]) -> Converted:
    """Check a folder of Cloud Annotations, split it, and write it as records.

    Every picture is decoded once and all that is wrong is told at once. Nothing is written into the source, and
    `out` appears whole or not at all.

    Args:
        folder: holds `_annotations.json`, itself or one level down.
        out: folder to make; missing or empty.
        policies: what to do where the data leaves a choice.
        say: takes lines of progress and, at the end, the warnings.

    Raises:
        OdbuildError: the data has errors or no usable box, or the output cannot be written.
        UsageError: `out` is not free, or lies in the source.
    """
    _check_target(out, locate(folder)[0])
    dataset, findings = read(folder)
    dataset, odd = mend(dataset, policies.boxes)
    findings += [*odd, *label_rules.check(dataset)]
    job = _Job(dataset=dataset, policies=policies, findings=findings, ledger=list(dataset.ledger))
    say(f"{dataset.keys:,} pictures with {dataset.drawn:,} boxes in {dataset.root}")
    with _whole(out) as work, tempfile.TemporaryFile(dir=work) as spool:
        _check_pictures(job, spool, say)
        _stop_on_errors(job)
        converted = _write(job, spool, work)
    notes = render(converted.findings)
    if notes:
        say(notes)
    return _moved(converted, out)


def load(folder: Path) -> Converted:
    """Read the index of a finished conversion.

    Raises:
        OdbuildError: there is none, or it was made by another version.
    """
    path = folder / INDEX
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OdbuildError(f"{folder} is no finished conversion: {path} cannot be read ({error}).") from error
    if not isinstance(index, dict) or index.get("format") != INDEX_FORMAT:
        raise OdbuildError(f"{path} was made by another version of this program. Convert again.")
    return Converted(
        folder=folder,
        labels=tuple(index["labels"]),
        train=_side_from(index["train"], folder),
        validation=_side_from(index["validation"], folder),
        max_boxes=index["max_boxes"],
        smallest_box=SmallestBox(**index["smallest_box"]),
        sizes=Sizes(**index["sizes"]),
        ledger=index["ledger"],
        digest=index["digest"],
    )


def _check_target(out: Path, root: Path) -> None:
    if out.resolve().is_relative_to(root.resolve()):
        raise UsageError(f"{out} lies in the dataset {root}, which is never written to. Name another folder.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} exists already. Name another folder, or remove it.")


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """Give a folder beside the target that becomes the target once the block ends well."""
    work = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        work.chmod(0o755)
        yield work
        work.rename(out)
    except OSError as error:
        raise OdbuildError(f"{out} cannot be written: {error.strerror or error}.") from error
    finally:
        if work is not None:
            shutil.rmtree(work, ignore_errors=True)


def _check_pictures(job: _Job, spool: IO[bytes], say: Callable[[str], None]) -> None:
    """Decode every picture, book what is wrong and what changes, and keep changed bytes in the spool."""
    total = len(job.dataset.pictures)
    spoken = time.monotonic()
    for done, picture in enumerate(job.dataset.pictures):
        if time.monotonic() - spoken > PROGRESS_SECONDS:
            spoken = time.monotonic()
            say(f"{done:,} of {total:,} pictures checked")
        try:
            _check_picture(job, picture, spool)
        except images.ImageError as error:
            rule = Rule(error.code, "error", error.message, error.fix)
            job.findings.append(rule.at(place(picture.key)))
    job.findings += _duplicates(job.checked)


def _check_picture(job: _Job, picture: Picture, spool: IO[bytes]) -> None:
    policies = job.policies
    path = job.dataset.path(picture)
    data = _bytes(path)
    prepared = images.prepare(
        data, turn=policies.exif == "apply", formats=policies.formats, max_side=policies.max_side
    )
    source = prepared.source
    if source.orientation != 1 and policies.exif == "fail" and picture.boxes:
        job.findings.append(_TURNED_VIEW.at(place(picture.key), f"orientation {source.orientation}"))
    turned = "turned" in prepared.changes and source.orientation >= images.FIRST_SIDEWAYS
    width, height = (source.height, source.width) if turned else (source.width, source.height)
    picture, lost = specks(picture, width, height)
    _book_specks(job, picture, lost)
    if not picture.boxes and policies.negatives == "drop":
        job.ledger.append(_dropped("picture", place(picture.key), "ANN003", "no box"))
        return
    spot = None
    if prepared.changes:
        _book_changes(job, picture, prepared)
        spot = spool.tell(), len(prepared.data)
        spool.write(prepared.data)
    digest = hashlib.sha256(data).hexdigest()
    job.checked.append(_Checked(picture=picture, path=path, digest=digest, info=prepared.info, spool=spot))


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise images.ImageError("IMG106", f"the file is larger than {MOST_BYTES:,} bytes", "shrink it")
        return path.read_bytes()
    except OSError as error:
        raise images.ImageError(
            "IMG101", f"the file cannot be read: {error.strerror}", "make it readable"
        ) from error


def _book_specks(job: _Job, picture: Picture, lost: Iterable[Box]) -> None:
    for box in lost:
        where = place(picture.key, box.index)
        job.findings.append(speck_finding(where, spelled(box), job.policies.boxes))
        job.ledger.append(_dropped("box", where, "BOX202", spelled(box)))


def _book_changes(job: _Job, picture: Picture, prepared: images.Prepared) -> None:
    source = prepared.source
    seen = f"{source.format}, {source.width} x {source.height}, orientation {source.orientation}"
    codes = {"transcoded": "IMG102", "turned": "IMG103", "shrunk": "IMG106"}
    job.ledger += [
        Change(action=action, what="picture", where=place(picture.key), code=codes[action], value=seen)
        for action in prepared.changes
    ]


def _dropped(what: Literal["picture", "box"], where: str, code: str, value: str) -> Change:
    return Change(action="dropped", what=what, where=where, code=code, value=value)


def _duplicates(checked: Iterable[_Checked]) -> Iterator[Finding]:
    first: dict[str, str] = {}
    for row in checked:
        key = row.picture.key
        other = first.setdefault(row.digest, key)
        if other != key:
            yield _DUPLICATE.at(place(key), f"same as {quote(other)}")


def _stop_on_errors(job: _Job) -> None:
    wrong = errors(job.findings)
    if wrong:
        raise OdbuildError(
            f"{job.dataset.root} has {count(wrong):,} errors; nothing was written.\n{render(wrong)}"
        )
    if not any(row.picture.boxes for row in job.checked):
        lost = Counter(change.code for change in job.ledger if change.action == "dropped")
        why = ", ".join(f"{count:,} {code}" for code, count in sorted(lost.items()))
        raise OdbuildError(
            f"{job.dataset.root} has no usable box: {job.dataset.keys:,} pictures, {job.dataset.drawn:,} boxes"
            f"{f', left out for {why}' if why else ''}. Draw boxes around the objects to be found."
        )


def _write(job: _Job, spool: IO[bytes], work: Path) -> Converted:
    labels = used_labels(job.dataset.declared, [row.picture for row in job.checked])
    rows = {row.picture.key: row for row in job.checked}
    digests = {key: row.digest for key, row in rows.items()}
    divided = split([row.picture for row in job.checked], digests, job.policies.validation)
    sides = {
        name: _write_side(name, [rows[picture.key] for picture in pictures], labels, spool, (work, job.policies))
        for name, pictures in (("train", divided.train), ("validation", divided.validation))
    }
    (work / LABEL_MAP).write_text(to_pbtxt(labels), encoding="ascii")
    (work / LEDGER).write_text("".join(change.line() for change in job.ledger), encoding="ascii")
    converted = Converted(
        folder=work,
        labels=labels,
        **sides,
        max_boxes=max(len(row.picture.boxes) for row in job.checked),
        smallest_box=_smallest(job.checked),
        sizes=_sizes([row.info for row in job.checked]),
        ledger=dict(sorted(Counter(f"{change.action} {change.what}" for change in job.ledger).items())),
        digest="",
        findings=(*job.findings, *check_split(divided, labels)),
    )
    return _with_index(converted, job.policies)


def _write_side(
    name: str, rows: Sequence[_Checked], labels: Sequence[str], spool: IO[bytes], target: tuple[Path, Policies]
) -> Side:
    """Write one side, ordered by content: a shuffle for nothing, where names often go class by class."""
    work, policies = target
    ids = label_ids(labels)
    ordered = sorted(rows, key=lambda row: (row.digest, row.picture.key))
    encoded = (examples.encode(_example(row, ids, spool)) for row in ordered)
    shards = records.write_shards(encoded, work, name, policies.shard_bytes)
    for shard in shards:
        records.verify(shard)
    classes = Counter(box.label for row in rows for box in row.picture.boxes)
    return Side(
        shards=shards,
        pictures=len(rows),
        background=sum(not row.picture.boxes for row in rows),
        boxes=classes.total(),
        classes={label: classes[label] for label in labels},
    )


def _example(row: _Checked, ids: Mapping[str, int], spool: IO[bytes]) -> examples.Example:
    data = _again(row, spool)
    return examples.Example(
        key=row.picture.key,
        encoded=data,
        sha256=row.digest if row.spool is None else hashlib.sha256(data).hexdigest(),
        format=row.info.format,
        width=row.info.width,
        height=row.info.height,
        boxes=row.picture.boxes,
        ids=tuple(ids[box.label] for box in row.picture.boxes),
    )


def _again(row: _Checked, spool: IO[bytes]) -> bytes:
    """Return the bytes that were checked: the changed ones, or the file's once more if they are still the same."""
    if row.spool is not None:
        offset, length = row.spool
        spool.seek(offset)
        return spool.read(length)
    path = row.path
    try:
        data = _bytes(path)
    except images.ImageError as error:
        raise OdbuildError(f"{path} changed while it was converted: {error.message}. Convert again.") from error
    if hashlib.sha256(data).hexdigest() != row.digest:
        raise OdbuildError(f"{path} changed while it was converted. Convert again.")
    return data


def _smallest(checked: Iterable[_Checked]) -> SmallestBox:
    boxes = ((_share(box), row.picture.key, box.index, box, row) for row in checked for box in row.picture.boxes)
    share, key, index, box, row = min(boxes, key=lambda found: found[:3])
    return SmallestBox(
        key=key,
        index=index,
        label=box.label,
        width=(box.xmax - box.xmin) * row.info.width,
        height=(box.ymax - box.ymin) * row.info.height,
        share=share,
    )


def _share(box: Box) -> float:
    return (box.xmax - box.xmin) * (box.ymax - box.ymin)


def _sizes(infos: Sequence[images.ImageInfo]) -> Sizes:
    widths, heights = [info.width for info in infos], [info.height for info in infos]
    return Sizes(min_width=min(widths), max_width=max(widths), min_height=min(heights), max_height=max(heights))


def _with_index(converted: Converted, policies: Policies) -> Converted:
    """Write the index and return the conversion with the digest that stands in it."""
    index: dict[str, Any] = {
        "format": INDEX_FORMAT,
        "labels": converted.labels,
        "train": _side_index(converted.train),
        "validation": _side_index(converted.validation),
        "max_boxes": converted.max_boxes,
        "smallest_box": asdict(converted.smallest_box),
        "sizes": asdict(converted.sizes),
        "ledger": converted.ledger,
        "policies": asdict(policies),
        "files": {name: _sha256(converted.folder / name) for name in (LABEL_MAP, LEDGER)},
    }
    index["digest"] = hashlib.sha256(json.dumps(index, sort_keys=True).encode()).hexdigest()
    text = json.dumps(index, indent=2, sort_keys=True) + "\n"
    (converted.folder / INDEX).write_text(text, encoding="ascii")
    return replace(converted, digest=index["digest"])


def _side_index(side: Side) -> dict[str, Any]:
    shards = [
        {"name": shard.path.name, "count": shard.count, "bytes": shard.bytes, "sha256": shard.sha256}
        for shard in side.shards
    ]
    plain = {one.name: getattr(side, one.name) for one in fields(side)}
    return {**plain, "classes": [[label, count] for label, count in side.classes.items()], "shards": shards}


def _side_from(index: Mapping[str, Any], folder: Path) -> Side:
    shards = tuple(
        records.Shard(path=folder / shard["name"], **{name: shard[name] for name in ("count", "bytes", "sha256")})
        for shard in index["shards"]
    )
    return Side(**{**index, "shards": shards, "classes": dict(index["classes"])})


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _moved(converted: Converted, folder: Path) -> Converted:
    """Return the conversion as it stands in its final folder."""
    train, validation = (_side_at(side, folder) for side in (converted.train, converted.validation))
    return replace(converted, folder=folder, train=train, validation=validation)


def _side_at(side: Side, folder: Path) -> Side:
    return replace(side, shards=tuple(replace(shard, path=folder / shard.path.name) for shard in side.shards))
