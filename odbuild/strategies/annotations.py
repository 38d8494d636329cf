"""Labels, names of pictures, and boxes."""

import unicodedata
from collections.abc import Iterable
from dataclasses import replace

from hypothesis import strategies as st

from odbuild.trainer.dataset import Box

STEPS, EXACT_STEPS = 1000, 1024
"""Steps of a picture's side on which edges lie; fractions of a power of two are exact in float32."""

LONGEST = 12
"""Characters of a label, and of a name without its ending."""

APART = 0.8
"""Intersection over union up to which two drawn boxes are different ones."""

# Hypothesis takes its time to make and check a strategy, so those that are always the same are made once.
_ODD = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=LONGEST)
_PLAIN = (
    st.text(
        st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="'\"\\"), min_size=1, max_size=LONGEST
    )
    .map(str.strip)
    .filter(bool)
)
_STEMS = st.builds(
    "{}{}".format,
    st.sampled_from(["", "a/", "b/c/"]),
    st.text(st.characters(categories=("L", "N")), min_size=1, max_size=LONGEST),
)


def labels(*, odd: bool = False) -> st.SearchStrategy[str]:
    """Return a strategy for names of classes, of all writing systems.

    Args:
        odd: also what a rule has something to say about, but every file can hold: white space at the ends, control
            characters, quotation marks, backslashes.
    """
    return _ODD if odd else _PLAIN


def folded(name: str) -> str:
    """Return what two names have in common that are told apart by case, spaces or Unicode form alone."""
    return unicodedata.normalize("NFC", name.strip().casefold())


def stems() -> st.SearchStrategy[str]:
    """Return a strategy for paths of pictures below a dataset's folder, without the ending."""
    return _STEMS


def keys() -> st.SearchStrategy[str]:
    """Return a strategy for paths of JPEG files below a dataset's folder."""
    return stems().map(lambda stem: f"{stem}.jpg")


@st.composite
def boxes(draw: st.DrawFn, label: st.SearchStrategy[str] | None = None, *, exact: bool = False) -> Box:
    """Draw a box inside its picture, a twentieth to nine tenths of it each way.

    Args:
        draw: given by Hypothesis.
        label: names of classes; `labels()` by default.
        exact: float32, and so a record, holds the edges exactly.
    """
    steps = EXACT_STEPS if exact else STEPS
    top, bottom = _span(draw, steps)
    left, right = _span(draw, steps)
    return Box(label=draw(labels() if label is None else label), ymin=top, xmin=left, ymax=bottom, xmax=right)


def _span(draw: st.DrawFn, steps: int) -> tuple[float, float]:
    least, most = -(-steps // 20), steps * 9 // 10
    start = draw(st.integers(0, steps - least))
    length = draw(st.integers(least, min(most, steps - start)))
    return start / steps, (start + length) / steps


def apart(found: Iterable[Box]) -> tuple[Box, ...]:
    """Return the boxes, numbered, without those that another one covers almost."""
    kept: list[Box] = []
    for box in found:
        if beside(box, kept):
            kept.append(replace(box, index=len(kept)))
    return tuple(kept)


def beside(box: Box, others: Iterable[Box]) -> bool:
    """Say whether a box is another one than each of these."""
    return all(overlap(box, other) <= APART for other in others)


def overlap(one: Box, other: Box) -> float:
    """Return the intersection of two boxes over their union."""
    width = min(one.xmax, other.xmax) - max(one.xmin, other.xmin)
    height = min(one.ymax, other.ymax) - max(one.ymin, other.ymin)
    both = max(0.0, width) * max(0.0, height)
    areas = [(box.xmax - box.xmin) * (box.ymax - box.ymin) for box in (one, other)]
    return both / (sum(areas) - both)


def tiles(label: str, count: int) -> tuple[Box, ...]:
    """Return up to 196 boxes that do not touch each other."""
    places = [(number % 14 / 14, number // 14 / 14) for number in range(count)]
    return tuple(
        Box(label=label, ymin=y, xmin=x, ymax=y + 0.06, xmax=x + 0.06, index=number)
        for number, (x, y) in enumerate(places)
    )
