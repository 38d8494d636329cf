"""What would go wrong, as small checks with a code each: those of datasets, records and label maps.

The rules of pipeline configs, checkpoints and trainer.zip need more than the training machine has; they register
in the same catalogue where odbuild checks.
"""

from . import annotations, boxes, labelmaps, labels, pictures, records, sides
from .catalogue import CATALOGUE, KINDS, Kind, RuleInfo, rule
from .data import Data, ModelFacts

__all__ = [
    "CATALOGUE",
    "KINDS",
    "Data",
    "Kind",
    "ModelFacts",
    "RuleInfo",
    "annotations",
    "boxes",
    "labelmaps",
    "labels",
    "pictures",
    "records",
    "rule",
    "sides",
]
