"""All rules of datasets, records and label maps, which register as they are imported.

The rules of pipeline configs, checkpoints and trainer.zip need more than the training machine has; they register
in the same catalogue where odbuild checks.
"""

from . import annotations, boxes, labelmaps, labels, pictures, records, sides
from .catalogue import CATALOGUE, Kind, RuleInfo
from .data import Data, ModelFacts

__all__ = [
    "CATALOGUE",
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
    "sides",
]
