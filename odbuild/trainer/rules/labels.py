"""Checks of the classes: declared, used, numbered, enough, and told apart."""

import difflib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator

from ..dataset import Dataset, in_order
from ..findings import Finding, Rule, quote
from .catalogue import rule
from .data import Data

FEW_BOXES = 10
"""Fewer boxes of a class than this cannot teach it."""

ENOUGH_BOXES = 50
"""Boxes of each class that Cloud Annotations asks for."""

IMBALANCE = 50
"""Times that the most frequent class may have the boxes of the rarest; the limit that Datumaro warns from."""

_TWICE = Rule("ANN004", "warning", "a label is declared twice", "declare it once")
_UNUSED = Rule("ANN004", "warning", "a declared label has no box and is left out")
_UNDECLARED = Rule("ANN004", "warning", "a label is used but not declared", "look for a typo")
_UNNUMBERED = Rule(
    "LBL301",
    "error",
    "a label has no number in the label map, so its boxes would train as background",
    "add it to the label map, or mend the typo",
)
_ALIKE = Rule("LBL302", "warning", "two labels are nearly the same", "merge them unless both are meant")
_FEW = Rule("LBL303", "warning", f"a label has fewer than {FEW_BOXES} boxes", "draw more; 50 are a good beginning")
_SOME = Rule("LBL303", "info", f"a label has fewer than {ENOUGH_BOXES} boxes", "more of them would help")
_UNEVEN = Rule(
    "LBL304", "info", f"the most frequent label has more than {IMBALANCE} times the boxes of the rarest"
)
_SPACES = Rule("LBL305", "warning", "a label begins or ends with white space", "rename it unless that is meant")
_CONTROLS = Rule("LBL305", "warning", "a label holds control characters", "rename it unless that is meant")
_QUOTES = Rule(
    "LBL305",
    "info",
    "a label holds quotation marks or a backslash, which break label maps that are written without care",
)


def check(dataset: Dataset) -> list[Finding]:
    """Find labels that are unused, undeclared, rare, alike or odd, before any picture is opened."""
    data = Data(source=dataset, dataset=dataset)
    return [found for one in (declared, alike, few, odd_name) for found in one(data)]


@rule("ANN004", "warning", "declared labels and used labels differ")
def declared(data: Data) -> Iterator[Finding]:
    """A label is declared twice, declared but on no box, or on a box but not declared.

    What is used without being declared is often a typo, and then a class of its own. A label without boxes is left
    out, so that the model has no output that nothing teaches.
    """
    names = data.dataset.declared
    counts = data.counts
    for label, times in Counter(names).items():
        if times > 1:
            yield _TWICE.at("labels", quote(label))
        if label not in counts:
            yield _UNUSED.at("labels", quote(label))
    for label in sorted(counts.keys() - set(names)) if names else ():
        yield _UNDECLARED.at("labels", quote(label) + _near(label, names))


@rule("LBL301", "error", "a label has no number in the label map")
def unnumbered(data: Data) -> Iterator[Finding]:
    """A box has a label that the label map given with the data does not know.

    TensorFlow makes -1 of it and an empty target of that, so the object trains as background, without an error.
    """
    yield from data.found.get("LBL301", ())
    if data.label_map is None:
        return
    for label, times in sorted(data.counts.items()):
        if label not in data.label_map:
            yield _UNNUMBERED.at("labels", f"{quote(label)}, {times:,} boxes{_near(label, data.label_map)}")


@rule("LBL302", "warning", "two labels are nearly the same")
def alike(data: Data) -> Iterator[Finding]:
    """Two labels are equal but for upper and lower case, spaces at the ends, or the Unicode form of a letter.

    They train as two classes that compete for the same objects. Merge them.
    """
    same: dict[str, str] = {}
    for label in sorted(data.counts):
        other = same.setdefault(unicodedata.normalize("NFC", label.strip().casefold()), label)
        if other != label:
            yield _ALIKE.at("labels", f"{quote(other)}, {quote(label)}")


@rule("LBL303", "warning", "a label has few boxes")
def few(data: Data) -> Iterator[Finding]:
    """A class with a handful of boxes is not learned, and what is measured on it says nothing.

    Ten are the least to try with, fifty a good beginning.
    """
    counts = data.counts
    for label in in_order(data.dataset.declared, counts):
        if counts[label] < ENOUGH_BOXES:
            kind = _FEW if counts[label] < FEW_BOXES else _SOME
            yield kind.at("labels", f"{quote(label)} has {counts[label]}")


@rule("LBL304", "info", "labels differ much in their number of boxes")
def uneven(data: Data) -> Iterator[Finding]:
    """The most frequent class has more than fifty times the boxes of the rarest, which it will crowd out.

    Draw more of the rare one, or train fewer pictures of the frequent one.
    """
    counts = sorted(data.counts.items(), key=lambda item: (-item[1], item[0]))
    if counts and counts[0][1] > IMBALANCE * counts[-1][1]:
        (most, many), (least, rare) = counts[0], counts[-1]
        yield _UNEVEN.at("labels", f"{quote(most)} has {many:,}, {quote(least)} has {rare:,}")


@rule("LBL305", "error", "a label is empty or has odd characters")
def odd_name(data: Data) -> Iterator[Finding]:
    """A label is no text, begins or ends with white space, or holds control characters, quotes or backslashes.

    Quotes break label maps that are put together without escaping. odbuild escapes them; other tools may not.
    """
    yield from data.found.get("LBL305", ())
    for label in sorted(data.counts):
        if label != label.strip():
            yield _SPACES.at("labels", quote(label))
        if any(unicodedata.category(character) == "Cc" for character in label):
            yield _CONTROLS.at("labels", quote(label))
        if set(label) & set("'\"\\"):
            yield _QUOTES.at("labels", quote(label))


def _near(label: str, known: Iterable[str]) -> str:
    """Return a hint at the known label that is nearest, or nothing where none is near."""
    folded = {one.casefold(): one for one in known}
    near = difflib.get_close_matches(label.casefold(), folded, n=1, cutoff=0.75)
    return f"; did you mean {quote(folded[near[0]])}?" if near else ""
