"""Datasets: annotated pictures in memory that no rule objects to, and the folders that they make."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Literal

from hypothesis import strategies as st

from odbuild import writers
from odbuild.trainer.dataset import Box, Dataset, Picture, SplitName, in_order, labels_of, used_labels
from odbuild.trainer.readers.files import fold

from . import annotations, pictures
from .files import Brief, put
from .pictures import Image

Format = Literal["cloud", "coco", "yolo", "csv"]

SMALL = frozenset({"LBL303", "SPL401", "SPL404", "SPL405"})
"""What the rules find in every dataset of a few pictures: few boxes, few pictures to validate by."""

ENOUGH = 150
"""Pictures of which a fifth is enough to validate by, and no class is rare."""

SIDES: tuple[SplitName, ...] = ("train", "validation")

_COLUMNS = ("filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax", "group")

Placed = Callable[[Box], tuple[float, float, float, float]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample(Brief):
    """A dataset in memory, with the files of its pictures.

    Attributes:
        declared: the classes, each with a box.
        pictures: sorted by key.
        images: their files, by key.
    """

    declared: tuple[str, ...]
    pictures: tuple[Picture, ...]
    images: Mapping[str, Image] = field(repr=False)

    def write(self, folder: Path, format: Format = "cloud") -> Path:  # noqa: A002 - the word of the writers
        """Write it below a folder, and return the folder.

        Args:
            folder: it is made where it is missing.
            format: Cloud Annotations, which knows no sides, COCO JSON, YOLO, or tables (csv) in pixels, one for
                each side.
        """
        return put(folder, self.files(format))

    def dataset(self, folder: Path) -> Dataset:
        """Write the pictures alone, and return the dataset as a reader would give it."""
        return self.rooted(put(folder, {key: image.data for key, image in self.images.items()}))

    def files(self, format: Format = "cloud") -> dict[str, bytes]:  # noqa: A002
        """Return all that it writes, by path below its folder."""
        found = _tables(self) if format == "csv" else writers.WRITERS[format].annotations(self._sized())
        return {**{key: image.data for key, image in self.images.items()}, **found}

    def rooted(self, root: Path) -> Dataset:
        """Return the dataset whose pictures lie below a folder."""
        return Dataset(
            root=root,
            format="",
            sources=(),
            declared=self.declared,
            pictures=self.pictures,
            keys=len(self.pictures),
            drawn=sum(len(picture.boxes) for picture in self.pictures),
        )

    def with_picture(self, picture: Picture, image: Image) -> "Sample":
        """Return the dataset with one more picture, and its classes declared."""
        found = sorted([*self.pictures, picture], key=lambda one: one.key)
        return replace(
            self,
            declared=tuple(dict.fromkeys([*self.declared, *labels_of(picture)])),
            pictures=tuple(found),
            images={**self.images, picture.key: image},
        )

    def _sized(self) -> Dataset:
        sizes = {key: (image.width, image.height) for key, image in self.images.items()}
        sized = tuple(replace(picture, size=sizes[picture.key]) for picture in self.pictures)
        return replace(self.rooted(Path()), pictures=sized)


@st.composite
def datasets(
    draw: st.DrawFn,
    *,
    labels: st.SearchStrategy[str] | None = None,
    images: st.SearchStrategy[Image] | None = None,
    least: int = 1,
    most: int = 6,
    sides: Sequence[SplitName] = ("",),
    groups: bool = False,
    marks: bool = False,
    backgrounds: bool = False,
    exact: bool = False,
    enough: bool = False,
) -> Sample:
    """Draw a dataset that the rules have nothing to say about but that it is small (`SMALL`).

    Args:
        draw: given by Hypothesis.
        labels: names of classes, of which up to three are drawn; `labels()` by default.
        images: the pictures' files; small ones, all different, by default.
        least: pictures.
        most: pictures.
        sides: those that pictures may be on; with `train` and `validation` among them, each class is on both.
        groups: put pictures into groups, each on one side.
        marks: mark boxes as difficult or as crowds.
        backgrounds: leave pictures without boxes, of which the rules take note (ANN003); at least one has some.
        exact: float32 holds the boxes' edges exactly.
        enough: fill up with plain pictures, always the same, until the dataset is not small: then no rule has
            anything to say. It makes some 150 files.
    """
    known = draw(
        st.lists(
            annotations.labels() if labels is None else labels,
            min_size=1,
            max_size=3,
            unique_by=annotations.folded,
        )
    )
    sided = set(SIDES) <= set(sides)
    stems = draw(
        st.lists(
            annotations.stems(),
            min_size=max(least, 2) if sided else least,
            max_size=max(most, 2) if sided else most,
            unique_by=fold,
        )
    )
    box = annotations.boxes(st.sampled_from(known), exact=exact)
    if marks:
        box = st.builds(marked, box, st.booleans(), st.booleans())
    found: list[Picture] = []
    files: dict[str, Image] = {}
    for number, stem in enumerate(stems):
        image = draw(pictures.images(seed=st.just(number)) if images is None else images)
        key = stem + image.suffix
        split = SIDES[number] if sided and number < len(SIDES) else draw(st.sampled_from(sides))
        rows = draw(st.lists(box, min_size=not backgrounds or (number == 0), max_size=3))
        group = draw(st.sampled_from(["", "a", "b"])) if groups else ""
        files[key] = image
        found.append(
            Picture(
                key=key, boxes=annotations.apart(rows), split=split, group=group and f"{group} {split}".strip()
            )
        )
    if sided:
        for number in range(len(SIDES)):
            found[number] = _complete(draw, found, number, exact=exact)
    used = used_labels((), found)
    sample = Sample(
        declared=in_order(known, used), pictures=tuple(sorted(found, key=lambda one: one.key)), images=files
    )
    return _filled(sample, SIDES if sided else ("",)) if enough else sample


def marked(box: Box, difficult: bool, crowd: bool) -> Box:  # noqa: FBT001 - Hypothesis gives them by place
    """Return a box with marks."""
    return replace(box, difficult=difficult, crowd=crowd)


def _complete(draw: st.DrawFn, found: Sequence[Picture], number: int, *, exact: bool) -> Picture:
    """Return a picture with a box more of each class that its side lacks."""
    picture = found[number]
    held = used_labels((), [one for one in found if one.split == picture.split])
    lacking = [label for label in used_labels((), found) if label not in held]
    boxes = list(picture.boxes)
    for label in lacking:
        free = annotations.boxes(st.just(label), exact=exact).filter(lambda box: annotations.beside(box, boxes))
        boxes.append(draw(free))
    return replace(picture, boxes=annotations.apart(boxes))


def _filled(sample: Sample, sides: Sequence[SplitName]) -> Sample:
    """Return the dataset with plain pictures up to `ENOUGH`, a box of each class on each."""
    files = dict(sample.images)
    found = list(sample.pictures)
    for number in range(len(found), ENOUGH):
        # No drawn name has a hyphen.
        key = f"more-{number:03d}.jpg"
        files[key] = pictures.image(seed=1000 + number)
        boxes = tuple(
            _filling(label, place / len(sample.declared), number, index=place)
            for place, label in enumerate(sample.declared)
        )
        side = sides[number % 4 == 0] if len(sides) > 1 else sides[0]
        found.append(Picture(key=key, boxes=boxes, split=side))
    return replace(sample, pictures=tuple(sorted(found, key=lambda one: one.key)), images=files)


def _filling(label: str, left: float, number: int, *, index: int) -> Box:
    """Return a box that no other number has: the same on many pictures would be odd."""
    shift = number / 4096
    return Box(
        label=label, ymin=0.1 + shift, xmin=left + shift, ymax=0.6 + shift, xmax=left + 0.2 + shift, index=index
    )


def _tables(sample: Sample) -> dict[str, bytes]:
    """Return a table of each side, in pixels."""
    by_side = sorted(sample.pictures, key=lambda picture: (picture.split, picture.key))
    return {
        f"{side or 'labels'}.csv": table(
            [row for picture in group for row in rows(picture, sample.images[picture.key])]
        )
        for side, group in groupby(by_side, key=lambda picture: picture.split)
    }


def rows(picture: Picture, image: Image, size: tuple[int, int] | None = None) -> list[list[object]]:
    """Return the rows of a table for a picture: one for each box, or one that says that there is none.

    Args:
        picture: with its boxes.
        image: its file.
        size: width and height to record; the file's by default.
    """
    width, height = size or (image.width, image.height)
    head: list[object] = [picture.key, width, height]
    return [
        [
            *head,
            box.label,
            *(box.xmin * width, box.ymin * height, box.xmax * width, box.ymax * height),
            picture.group,
        ]
        for box in picture.boxes
    ] or [[*head, "", "", "", "", "", picture.group]]


def table(body: Sequence[Sequence[object]]) -> bytes:
    """Return a table as a file."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows(body)
    return out.getvalue().encode()
