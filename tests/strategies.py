"""Hypothesis strategies that the tests share."""

import json
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pictures
from hypothesis import strategies as st

from odbuild.trainer.dataset import Box, Dataset, Picture, SplitName
from odbuild.trainer.examples import Example

labels = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
"""Any label that Cloud Annotations lets a user type, and worse."""

names = st.text(st.characters(categories=("L", "N")), min_size=1, max_size=8).map(lambda name: f"{name}.jpg")
keys = st.one_of(names, st.tuples(st.sampled_from(["a", "b/c"]), names).map("/".join))

fractions = st.integers(0, 2**20).map(lambda number: number / 2**20)
"""Fractions that float32 holds exactly."""


@st.composite
def boxes(draw: st.DrawFn, label: st.SearchStrategy[str] = labels) -> Box:
    """Draw a box of at least a twentieth of the picture each way, so that it spans pixels of a tiny one."""
    ymin, xmin = (draw(st.integers(0, 95)) / 100 for _ in "yx")
    ymax, xmax = (draw(st.integers(round(low * 100) + 5, 100)) / 100 for low in (ymin, xmin))
    return Box(label=draw(label), ymin=ymin, xmin=xmin, ymax=ymax, xmax=xmax)


words = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8)
"""Labels that every format of text can hold, and that stripping leaves alone."""

pixels = st.tuples(words, *[st.integers(-50, 500)] * 4)
"""Label, left, top, right and bottom of a box, which may be turned around or outside."""


@st.composite
def examples(draw: st.DrawFn) -> Example:
    """Draw a record whose box edges float32 holds exactly; its picture is any bytes."""
    edges = st.tuples(fractions, fractions, fractions, fractions)
    marks = draw(st.sampled_from([st.just((False, False)), st.tuples(st.booleans(), st.booleans())]))
    rows = draw(st.lists(st.tuples(labels, edges, st.integers(1, 2**40), marks), max_size=5))
    return Example(
        key=draw(keys),
        encoded=draw(st.binary(max_size=300)),
        format=draw(st.sampled_from(["jpeg", "png"])),
        width=draw(st.integers(1, 70000)),
        height=draw(st.integers(1, 70000)),
        boxes=tuple(
            Box(
                label=label,
                ymin=edge[0],
                xmin=edge[1],
                ymax=edge[2],
                xmax=edge[3],
                index=index,
                difficult=marks[0],
                crowd=marks[1],
            )
            for index, (label, edge, _, marks) in enumerate(rows)
        ),
        ids=tuple(number for _, _, number, _ in rows),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A valid data set: what stands in its JSON file, and its pictures by key."""

    document: dict[str, Any]
    files: dict[str, bytes]

    def write(self, folder: Path) -> Path:
        """Put it on disk and return its folder."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "_annotations.json").write_text(json.dumps(self.document), encoding="utf-8")
        for key, data in self.files.items():
            pictures.write(folder, key, data)
        return folder


def annotation(box: Box) -> dict[str, Any]:
    """Return a box as Cloud Annotations writes it."""
    return {"x": box.xmin, "y": box.ymin, "x2": box.xmax, "y2": box.ymax, "label": box.label, "id": "0-0"}


@st.composite
def sources(draw: st.DrawFn, *, least: int = 2) -> Source:
    """Draw a valid data set of small real pictures with different contents, some of them without boxes."""
    known = draw(st.lists(labels, min_size=1, max_size=3, unique=True))
    unique = draw(st.lists(keys, min_size=least, max_size=8, unique_by=str.casefold))
    sets = [draw(st.lists(boxes(st.sampled_from(known)), max_size=3)) for _ in unique]
    if not any(sets):
        sets[0] = [draw(boxes(st.sampled_from(known)))]
    return Source(
        document={
            "version": "1.0",
            "type": "localization",
            "labels": known,
            "annotations": {
                key: [annotation(box) for box in found] for key, found in zip(unique, sets, strict=True)
            },
        },
        files={key: pictures.jpeg(40 + number, 40, seed=number) for number, key in enumerate(unique)},
    )


@st.composite
def datasets(
    draw: st.DrawFn, folder: Path, sides: Sequence[SplitName] = ("", "train", "validation", "test")
) -> Dataset:
    """Draw a data set in memory, its pictures' files in a new folder below the given one."""
    root = Path(tempfile.mkdtemp(dir=folder))
    known = draw(st.lists(labels, min_size=1, max_size=3, unique=True))
    unique = draw(st.lists(keys, min_size=1, max_size=5, unique_by=str.casefold))
    one = boxes(st.sampled_from(known))
    marked = st.builds(
        lambda box, hard, many: replace(box, difficult=hard, crowd=many), one, st.booleans(), st.booleans()
    )
    found = []
    for number, key in enumerate(sorted(unique)):
        pictures.write(root, key, pictures.jpeg(40 + number, 40, seed=number))
        rows = tuple(replace(box, index=index) for index, box in enumerate(draw(st.lists(marked, max_size=3))))
        group = draw(st.sampled_from(["", "a", "b"]))
        found.append(Picture(key=key, boxes=rows, split=draw(st.sampled_from(sides)), group=group))
    drawn = sum(len(picture.boxes) for picture in found)
    return Dataset(
        root=root,
        format="",
        sources=(),
        declared=tuple(known),
        pictures=tuple(found),
        keys=len(found),
        drawn=drawn,
    )


def rounded(found: Iterable[Picture]) -> list[Picture]:
    """Return the pictures with edges to a billionth, and without the size that they may but need not carry."""
    return [replace(picture, size=None, boxes=tuple(map(_rounded, picture.boxes))) for picture in found]


def _rounded(box: Box) -> Box:
    return replace(box, **{edge: round(getattr(box, edge), 9) for edge in ("ymin", "xmin", "ymax", "xmax")})
