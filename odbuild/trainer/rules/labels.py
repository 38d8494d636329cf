"""Checks of the classes: declared, used, enough, and told apart."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from ..dataset import Dataset, Picture, used_labels
from ..findings import Finding, Rule, quote

FEW_BOXES = 10
"""Fewer boxes of a class than this cannot teach it; Cloud Annotations asks for 50."""

_TWICE = Rule("ANN004", "warning", "a label is declared twice", "declare it once")
_UNUSED = Rule("ANN004", "warning", "a declared label has no box and is left out")
_UNDECLARED = Rule("ANN004", "warning", "a label is used but not declared", "look for a typo")
_FEW = Rule("LBL303", "warning", f"a label has fewer than {FEW_BOXES} boxes", "draw more; 50 are a good beginning")
_ALIKE = Rule("LBL302", "warning", "two labels are nearly the same", "merge them unless both are meant")
_SPACES = Rule("LBL305", "warning", "a label begins or ends with white space", "rename it unless that is meant")
_CONTROLS = Rule("LBL305", "warning", "a label holds control characters", "rename it unless that is meant")


def check(dataset: Dataset) -> list[Finding]:
    """Find labels that are unused, undeclared, rare, alike or odd."""
    return list(_found(dataset.declared, dataset.pictures))


def _found(declared: Sequence[str], pictures: Sequence[Picture]) -> Iterator[Finding]:
    counts = Counter(box.label for picture in pictures for box in picture.boxes)
    for label, times in Counter(declared).items():
        if times > 1:
            yield _TWICE.at("labels", quote(label))
        if label not in counts:
            yield _UNUSED.at("labels", quote(label))
    for label in used_labels(declared, pictures):
        if declared and label not in declared:
            yield _UNDECLARED.at("labels", quote(label))
        if counts[label] < FEW_BOXES:
            yield _FEW.at("labels", f"{quote(label)} has {counts[label]}")
    yield from _odd_names(sorted(counts))


def _odd_names(labels: Iterable[str]) -> Iterator[Finding]:
    same: dict[str, str] = {}
    for label in labels:
        if label != label.strip():
            yield _SPACES.at("labels", quote(label))
        if any(unicodedata.category(character) == "Cc" for character in label):
            yield _CONTROLS.at("labels", quote(label))
        other = same.setdefault(unicodedata.normalize("NFC", label.strip().casefold()), label)
        if other != label:
            yield _ALIKE.at("labels", f"{quote(other)}, {quote(label)}")
