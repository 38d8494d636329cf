"""Strategies of Hypothesis for the tests of your own project: data that are right, and data that break one rule.

* `labels`, `keys`, `boxes`, `images`: the parts.
* `datasets`, `records`, `label_maps`: whole things that no rule has anything to say about, and their files.
* `broken("BOX202")`: something that breaks this rule at a place and in a way drawn at random.

All shrink to the smallest that there is, such as one picture with one box. Needs Hypothesis:
`pip install 'odbuild[strategies]'`. docs/strategies.md shows how they are used.
"""

try:
    import hypothesis as _hypothesis
except ImportError as error:
    raise ImportError("odbuild.strategies needs Hypothesis: pip install 'odbuild[strategies]'") from error

from .annotations import boxes, keys, labels
from .broken import broken
from .labelmaps import LabelMap, label_maps
from .pictures import Image, images
from .samples import SMALL, Sample, datasets
from .shards import Records, examples, records
from .ways import Broken

__all__ = [
    "SMALL",
    "Broken",
    "Image",
    "LabelMap",
    "Records",
    "Sample",
    "boxes",
    "broken",
    "datasets",
    "examples",
    "images",
    "keys",
    "label_maps",
    "labels",
    "records",
]
del _hypothesis
