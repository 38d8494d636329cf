"""The pictures that a report shows: which ones, small, with their boxes as paths and their findings."""

import io
import math
import re
from base64 import b64encode
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from . import charts
from .check import SEVERITIES
from .trainer import images, looks
from .trainer.dataset import Box, Picture
from .trainer.findings import Finding, quote
from .trainer.rules.every import Data

SIDE = 480
"""Longest side of a small picture in pixels."""

QUALITY = 72
"""JPEG quality of a small picture, some 30 KB."""

MOST_PIXELS = 1 << 26
"""A larger picture is not decoded for the report, unless it is a JPEG, which the codec shrinks as it reads."""

MOST_BOXES = 300
"""Boxes drawn on one picture; the others are counted."""

MOST_FINDINGS = 20
"""Findings spelled out under one picture; the others are counted."""

SPECK = 8
"""Sides in pixels of a small picture below which a box is hard to find."""

BLANK = (640, 480)
"""Width and height of the frame for a picture whose size nobody knows."""

_PLACE = re.compile(r'annotations\[("(?:[^"\\]|\\.)*")\](?:\[([0-9]+)\])?')

_Rank = tuple[int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """A box to draw.

    Attributes:
        outline: SVG path data in pixels of the small picture; also a box without area is seen.
        x: left end of the caption, in the same pixels.
        y: its baseline.
        label: the class.
        codes: rules that the box breaks.
        speck: its middle, in the same pixels, where it is too small to be found by eye; else None.
    """

    outline: str
    x: float
    y: float
    label: str
    codes: tuple[str, ...]
    speck: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """A picture with what is to be seen on it.

    Attributes:
        key: of the picture.
        side: of the split, empty for none.
        image: data URI of a small JPEG as the training decodes it, Exif orientation ignored; empty without one.
        width: pixels of the frame that boxes are drawn in; the longer side is `SIDE`.
        height: pixels of that frame.
        size: width and height of the file in pixels; None if unknown.
        marks: the boxes, as the source has them.
        boxes: how many there are.
        labels: classes by number of boxes.
        findings: about this picture.
        found: how many there are.
        codes: the rules that it breaks.
    """

    key: str
    side: str
    image: str
    width: int
    height: int
    size: tuple[int, int] | None
    marks: tuple[Mark, ...]
    boxes: int
    labels: Mapping[str, int]
    findings: tuple[Finding, ...]
    found: int
    codes: tuple[str, ...]


def gallery(data: Data, findings: Iterable[Finding], most: int) -> tuple[Shown, ...]:
    """Return at most so many pictures: those with findings first, worst first and each rule in turn."""
    about = _by_picture(data.source.pictures, findings)
    side_of = charts.sides(data)
    return tuple(
        _shown(data, picture, about.get(picture.key, ()), side_of.get(picture.key, ""))
        for picture in _chosen(data.source.pictures, about, most)
    )


def _by_picture(pictures: Iterable[Picture], findings: Iterable[Finding]) -> Mapping[str, Sequence[Finding]]:
    # Findings shorten long keys, so two such keys may share theirs.
    keys = defaultdict(list)
    for picture in pictures:
        keys[quote(picture.key)].append(picture.key)
    table: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        at = _PLACE.match(finding.where)
        for key in keys.get(at[1] if at else finding.where, ()):
            table[key].append(finding)
    return table


def _chosen(pictures: Sequence[Picture], about: Mapping[str, Sequence[Finding]], most: int) -> Sequence[Picture]:
    ranks = _ranks(about)
    bad = sorted((one for one in pictures if one.key in ranks), key=lambda one: (ranks[one.key], one.key))[:most]
    good = [one for one in pictures if one.key not in ranks]
    room = most - len(bad)
    # Keys often name places or days: take from all over, not from the beginning.
    spread = good if len(good) <= room else [good[index * len(good) // room] for index in range(room)]
    return [*bad, *spread]


def _ranks(about: Mapping[str, Sequence[Finding]]) -> Mapping[str, _Rank]:
    """Return how bad each picture is, and how many were as bad by the same rule before it."""
    seen: Counter[tuple[int, str]] = Counter()
    ranks = {}
    for key, findings in about.items():
        kinds = {(SEVERITIES.index(finding.severity), finding.code) for finding in findings}
        ranks[key] = min((level, seen[level, code]) for level, code in kinds)
        seen.update(kinds)
    return ranks


def _shown(data: Data, picture: Picture, findings: Sequence[Finding], side: str) -> Shown:
    size = charts.size(data, picture)
    image, width, height = _small(data, picture, size or BLANK)
    # Captions have one size, so a tiny picture is not drawn in its own pixels.
    share = SIDE / max(width, height)
    width, height = max(1, round(width * share)), max(1, round(height * share))
    codes: dict[int, list[str]] = defaultdict(list)
    for finding in findings:
        at = _PLACE.match(finding.where)
        if at and at[2]:
            codes[int(at[2])].append(finding.code)
    # Boxes with findings first, in case that there are more than are drawn.
    boxes = sorted(picture.boxes, key=lambda box: box.index not in codes)[:MOST_BOXES]
    marks = (_mark(box, width, height, codes.get(box.index, ())) for box in boxes)
    return Shown(
        key=picture.key,
        side=side,
        image=image,
        width=width,
        height=height,
        size=size,
        marks=tuple(mark for mark in marks if mark is not None),
        boxes=len(picture.boxes),
        labels=dict(Counter(box.label for box in picture.boxes).most_common()),
        findings=tuple(sorted(findings, key=lambda one: SEVERITIES.index(one.severity))[:MOST_FINDINGS]),
        found=len(findings),
        codes=tuple(sorted({finding.code for finding in findings})),
    )


def _mark(box: Box, width: int, height: int, codes: Iterable[str]) -> Mark | None:
    """Return the box in pixels, what lies outside at the edge; None where an edge is no number."""
    edges = (box.xmin, box.xmax, box.ymin, box.ymax)
    if not all(math.isfinite(edge) for edge in edges):
        return None
    x, x2, y, y2 = (
        min(max(edge, 0.0), 1.0) * side for edge, side in zip(edges, (width, width, height, height), strict=True)
    )
    left, right, top, bottom = *sorted((x, x2)), *sorted((y, y2))
    outline = f"M{left:.1f} {top:.1f}H{right:.1f}V{bottom:.1f}H{left:.1f}Z"
    caption = top - 5 if top >= 22 else min(top + 18, height - 4)
    return Mark(
        outline=outline,
        x=left + 3,
        y=caption,
        label=box.label,
        codes=tuple(dict.fromkeys(codes)),
        speck=((left + right) / 2, (top + bottom) / 2) if max(right - left, bottom - top) < SPECK else None,
    )


def _small(data: Data, picture: Picture, size: tuple[int, int]) -> tuple[str, int, int]:
    """Return a data URI and its width and height in pixels; without one, those of the file."""
    try:
        encoded, width, height = thumbnail(looks.read(data.source.path(picture), picture.span))
    except images.ImageError:
        return "", *size
    return f"data:image/jpeg;base64,{b64encode(encoded).decode()}", width, height


def thumbnail(data: bytes) -> tuple[bytes, int, int]:
    """Return a picture as a small JPEG without metadata, as the training would decode it, and its size.

    Raises:
        ImageError: It cannot be decoded, or only by a lot of memory.
    """
    if images.sniff(data) == "png":
        info = images.inspect(data, check="none")
        if info.width * info.height > MOST_PIXELS:
            raise images.ImageError("IMG106", "the picture is too large to be shown", "shrink it")
    made = images.prepare(data, turn=False, formats="transcode", max_side=SIDE, check="none")
    with images.decoding():
        picture: Image.Image = Image.open(io.BytesIO(made.data), formats=["JPEG", "PNG"])
        picture.load()
    if picture.mode.startswith("I;16"):
        picture = picture.convert("I").point(lambda value: value / 256).convert("L")
    plain = picture.convert("RGB")
    # The library would copy the comment of a picture that needed no change.
    plain.info.clear()
    out = io.BytesIO()
    plain.save(out, "JPEG", quality=QUALITY, optimize=True)
    return out.getvalue(), plain.width, plain.height
