"""Datasets of all formats on disk, written the plain way for the tests of their readers, and how they compare."""

import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from xml.sax.saxutils import escape

import pictures
from hypothesis import strategies as st

from odbuild import strategies
from odbuild.strategies import protowire
from odbuild.trainer import records
from odbuild.trainer.dataset import Box, Dataset, Picture, SplitName
from odbuild.trainer.findings import Finding, errors
from odbuild.trainer.readers.files import fold

Pixels = tuple[str, int, int, int, int]
"""Label, left, top, right, bottom."""

names = st.text(st.characters(categories=("L", "N")), min_size=1, max_size=8).map(lambda name: f"{name}.jpg")

words = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8)
"""Labels that every format of text can hold, and that stripping leaves alone."""

pixels = st.tuples(words, *[st.integers(-50, 500)] * 4)
"""Boxes, which may be turned around or outside."""


@st.composite
def stored(
    draw: st.DrawFn, folder: Path, sides: Sequence[SplitName] = ("", "train", "validation", "test")
) -> Dataset:
    """Draw a dataset of any labels, sides, groups and marks, its pictures in a new folder below the given one."""
    sample = draw(
        strategies.datasets(
            labels=strategies.labels(odd=True), sides=sides, groups=True, marks=True, backgrounds=True
        )
    )
    return sample.dataset(Path(tempfile.mkdtemp(dir=folder)))


anything = strategies.examples(
    image=st.builds(
        strategies.Image,
        data=st.binary(max_size=300),
        format=st.sampled_from(["jpeg", "png"]),
        width=st.integers(1, 70000),
        height=st.integers(1, 70000),
    )
)
"""Records whose pictures are any bytes, sometimes none."""


def rounded(found: Iterable[Picture]) -> list[Picture]:
    """Return the pictures with edges to a billionth, and without the size that they may but need not carry."""
    return [replace(picture, size=None, boxes=tuple(map(_rounded, picture.boxes))) for picture in found]


def _rounded(box: Box) -> Box:
    return replace(box, **{edge: round(getattr(box, edge), 9) for edge in ("ymin", "xmin", "ymax", "xmax")})


def voc_xml(size: tuple[int, int], boxes: list[Pixels], filename: str = "") -> str:
    """Return an annotation as labelImg writes it."""
    objects = "".join(voc_object(box) for box in boxes)
    return (
        f"<annotation>\n\t<folder>x</folder>\n\t<filename>{escape(filename)}</filename>\n"
        f"\t<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>\n"
        f"\t<segmented>0</segmented>\n{objects}</annotation>\n"
    )


def voc_object(box: Pixels, *, difficult: int = 0) -> str:
    """Return one object of an annotation, in one line."""
    label, left, top, right, bottom = box
    return (
        f"<object><name>{escape(label)}</name><pose>Unspecified</pose><truncated>0</truncated>"
        f"<difficult>{difficult}</difficult><bndbox><xmin>{left}</xmin><ymin>{top}</ymin>"
        f"<xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>\n"
    )


def yolo_line(number: int, box: Box) -> str:
    """Return a box as a line of labels."""
    values = (
        (box.xmin + box.xmax) / 2,
        (box.ymin + box.ymax) / 2,
        box.xmax - box.xmin,
        box.ymax - box.ymin,
    )
    return " ".join([str(number), *map(repr, values)])


def is_near(edges: Sequence[float]) -> bool:
    """Say whether a box, given by the fractions of its edges, does not reach far out of its picture."""
    return all(-0.5 <= edge <= 1.5 for edge in edges)


def told_as_far(found: Iterable[Finding], times: int) -> bool:
    """Say whether all that is wrong is that so many boxes reach far out of their pictures."""
    wrong = errors(found)
    return {it.code for it in wrong} <= {"ANN007"} and sum(it.times for it in wrong) == times


def put(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write files by key and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for key, content in files.items():
        pictures.write(folder, key, content.encode() if isinstance(content, str) else content)
    return folder


def whole(data: Dataset) -> bool:
    """Say whether pictures and boxes in are those out and those dropped."""
    lost = [change.what for change in data.ledger if change.action == "dropped"]
    boxes = sum(len(picture.boxes) for picture in data.pictures)
    return (data.keys, data.drawn) == (len(data.pictures) + lost.count("picture"), boxes + lost.count("box"))


def record(encoded: bytes, box: Box, **others: protowire.Values) -> bytes:
    """Return a file of one record that holds a picture with one box, and other features."""
    features: dict[str, protowire.Values] = {
        "image/encoded": [encoded],
        "image/filename": [b"a.jpg"],
        "image/object/class/text": [box.label.encode()],
        **{f"image/object/bbox/{edge}": [getattr(box, edge)] for edge in ("ymin", "xmin", "ymax", "xmax")},
        **others,
    }
    return b"".join(records.frame([protowire.example(features, protowire.Form())]))


def apart(keys: Collection[str]) -> bool:
    """Say whether no two keys differ in case alone, which is an error in every format."""
    return len(set(map(fold, keys))) == len(keys)
