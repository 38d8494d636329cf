"""What the rules of datasets look at: the annotations as read and as mended, the pictures' files, the sides."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from ..dataset import Box, Dataset, Picture
from ..findings import Finding
from ..packed import count_labels

if TYPE_CHECKING:
    from ..looks import Look
    from ..split import Split
    from .census import Census, Places


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFacts:
    """What of a model decides whether it can learn from a dataset.

    Attributes:
        name: catalogue name.
        resizer: `fixed_shape` stretches every picture to `size`, `keep_aspect_ratio` scales it in between.
        size: pixels: height and width, or the least shorter and the most longer side.
        anchors: widths and heights of its anchors, in pixels of the resized picture; none for a model without.
        smallest: side of the square of the smallest area that it looks for, in pixels of the resized picture.
        max_boxes: boxes of one picture that its config takes.
        batch: pictures a step in its config.
        exports: what it can be exported to.
    """

    name: str
    resizer: Literal["fixed_shape", "keep_aspect_ratio"]
    size: tuple[int, int]
    anchors: tuple[tuple[float, float], ...]
    smallest: float
    max_boxes: int
    batch: int
    exports: tuple[str, ...]

    def resized(self, width: int, height: int) -> tuple[float, float]:
        """Return the width and height that a picture of so many pixels gets."""
        if self.resizer == "fixed_shape":
            return float(self.size[1]), float(self.size[0])
        least, most = self.size
        share = min(least / min(width, height), most / max(width, height))
        return width * share, height * share


@dataclass(frozen=True, kw_only=True)
class Data:
    """A dataset to judge.

    Attributes:
        source: as read.
        dataset: without the boxes that no policy could use, the others sorted and inside their pictures.
        found: what reading and mending found, by code.
        images: what is known of each picture's file, by key; empty where no file was opened.
        split: the sides; those of the source where `given`, else those that a conversion would make.
        given: whether the source has both sides itself.
        label_map: numbers of the labels by name, where a label map belongs to the dataset.
        model: the model it is to train, if named.
    """

    source: Dataset
    dataset: Dataset
    found: Mapping[str, tuple[Finding, ...]] = field(default_factory=dict)
    images: "Mapping[str, Look]" = field(default_factory=dict)
    split: "Split | None" = None
    given: bool = False
    label_map: Mapping[str, int] | None = None
    model: ModelFacts | None = None

    @cached_property
    def counts(self) -> Counter[str]:
        """Return how many boxes each label has."""
        return count_labels(self.dataset.pictures)

    @cached_property
    def census(self) -> "Census":
        """Return the pictures without their boxes, and how many boxes of each label there are."""
        from . import census

        return census.count(self.dataset.pictures)

    @cached_property
    def places(self) -> "Places":
        """Return the boxes that stand out by where they are."""
        from . import census

        return census.find(self.dataset.pictures, self.images)

    def boxes(self) -> Iterator[tuple[Picture, Box]]:
        """Yield every box that is fit to train on, with its picture."""
        return ((picture, box) for picture in self.dataset.pictures for box in picture.boxes)


def by_code(findings: Iterable[Finding]) -> dict[str, tuple[Finding, ...]]:
    """Return the findings by their codes."""
    table: dict[str, list[Finding]] = {}
    for finding in findings:
        table.setdefault(finding.code, []).append(finding)
    return {code: tuple(found) for code, found in table.items()}
