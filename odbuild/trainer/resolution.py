"""How large pictures need to be for a model: what its resizer makes of them, with room for its random crops."""

import math
from typing import Any

from .errors import OdbuildError
from .tuning import resizer

Message = Any  # a TrainEvalPipelineConfig, of upstream's generated class or of a dynamic one

ASPECT = 4 / 3
"""Sides of a photograph: where a model squeezes it into a square, the short one must suffice for it, too."""

LEAST_AREA = 0.1
"""Area of the smallest random crop, as a share of the picture, where a config does not say: SSD's own default in
upstream's `preprocessor.py`."""

_OPERATIONS = (
    "ssd_random_crop",
    "ssd_random_crop_pad",
    "ssd_random_crop_fixed_aspect_ratio",
    "ssd_random_crop_pad_fixed_aspect_ratio",
)
_CROPS = ("random_crop_image", "random_crop_pad_image")


def useful_side(config: Message) -> int:
    """Return the longest side of a picture, in pixels, beyond which a model cannot use more of them.

    It is the longest side that the resizer puts out; times 4/3 where it puts photographs into a fixed shape; and
    divided by the share of a side that the smallest random crop keeps, as crops are enlarged to the same size: the
    square root of its least area, or the least scale of a crop that is given by its side.

    Raises:
        OdbuildError: the config resizes pictures in a way that is not known here.
    """
    return math.ceil(_resized(config) * math.prod(map(_enlarged, config.train_config.data_augmentation_options)))


def _resized(config: Message) -> float:
    chosen = resizer(config)
    match chosen.WhichOneof("image_resizer_oneof"):
        case "fixed_shape_resizer":
            fixed = chosen.fixed_shape_resizer
            return float(max(fixed.height, fixed.width) * ASPECT)
        case "keep_aspect_ratio_resizer":
            return float(chosen.keep_aspect_ratio_resizer.max_dimension)
        case other:
            raise OdbuildError(f"The model's {other} tells no size of its pictures. Give --max-side a number.")


def _enlarged(option: Message) -> float:
    """Return how many times a step of the augmentation may enlarge a part of the picture."""
    name = option.WhichOneof("preprocessing_step")
    step = getattr(option, name)
    if name in _OPERATIONS:
        return math.sqrt(1 / min([one.min_area for one in step.operations], default=LEAST_AREA))
    if name in _CROPS:
        return math.sqrt(1 / step.min_area)
    if name == "random_square_crop_by_scale":
        return 1 / float(step.scale_min)
    if name == "random_scale_crop_and_pad_to_square":
        return max(1.0, float(step.scale_max))
    return 1.0
