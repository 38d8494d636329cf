"""What a model looks for, read off its pipeline config: the sizes of its anchors in the resized picture."""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Literal

from .trainer.rules.every import ModelFacts
from .zoo import Model

Message = Any  # a message of a class made at run time, which has no static type

CENTER_NET_STRIDE = 4
"""Pixels between two places of CenterNet's output, of all its feature extractors."""

LEAST_CELLS = 2
"""Strides that the side of an object must span to be told from its neighbours by a model without anchors."""

LOWEST_SSD = 0.1
"""Scale of the smallest anchor of SSD's finest layer, in upstream's code unless the config says otherwise."""


def facts(model: Model, config: Message) -> ModelFacts:
    """Return what decides whether a model can learn from a dataset.

    Args:
        model: of the catalogue.
        config: its pipeline config.
    """
    found = tuple(sorted(set(anchors(config)), key=lambda one: (one[0] * one[1], one)))
    kind, size = _resizer(_network(config).image_resizer)
    return ModelFacts(
        name=model.name,
        resizer=kind,
        size=size,
        anchors=found,
        smallest=math.sqrt(found[0][0] * found[0][1]) if found else LEAST_CELLS * CENTER_NET_STRIDE,
        max_boxes=config.train_input_reader.max_number_of_boxes,
        batch=config.train_config.batch_size,
        exports=model.exports,
    )


def anchors(config: Message) -> Iterator[tuple[float, float]]:
    """Yield width and height of each of a config's anchors, in pixels of the resized picture; none for CenterNet.

    As upstream's `anchor_generators` lay them out, before they are cut at the picture's edges.
    """
    network = _network(config)
    which = config.model.WhichOneof("model")
    if which == "ssd":
        side = min(_resizer(network.image_resizer)[1])
        yield from _generated(network.anchor_generator, side)
    elif which == "faster_rcnn":
        yield from _generated(network.first_stage_anchor_generator, 0)


def _network(config: Message) -> Message:
    return getattr(config.model, config.model.WhichOneof("model"))


def _resizer(resizer: Message) -> tuple[Literal["fixed_shape", "keep_aspect_ratio"], tuple[int, int]]:
    if resizer.WhichOneof("image_resizer_oneof") == "keep_aspect_ratio_resizer":
        kept = resizer.keep_aspect_ratio_resizer
        return "keep_aspect_ratio", (kept.min_dimension, kept.max_dimension)
    return "fixed_shape", (resizer.fixed_shape_resizer.height, resizer.fixed_shape_resizer.width)


def _generated(generator: Message, side: int) -> Iterator[tuple[float, float]]:
    """Yield the anchors of any generator; SSD's are fractions of the picture's shorter side."""
    kind = generator.WhichOneof("anchor_generator_oneof")
    chosen = getattr(generator, kind)
    match kind:
        case "ssd_anchor_generator":
            yield from _ssd(chosen, side)
        case "grid_anchor_generator":
            yield from _grid(chosen.width, chosen.height, chosen.scales, chosen.aspect_ratios)
        case "multiscale_anchor_generator":
            for level in range(chosen.min_level, chosen.max_level + 1):
                base = 2**level * chosen.anchor_scale
                scales = [2 ** (step / chosen.scales_per_octave) for step in range(chosen.scales_per_octave)]
                yield from _grid(base, base, scales, chosen.aspect_ratios)
        case "flexible_grid_anchor_generator":
            for grid in chosen.anchor_grid:
                yield from _grid(1, 1, grid.base_sizes, grid.aspect_ratios)


def _grid(width: float, height: float, scales: Any, ratios: Any) -> Iterator[tuple[float, float]]:
    for scale in scales:
        for ratio in ratios:
            yield scale * math.sqrt(ratio) * width, scale / math.sqrt(ratio) * height


def _ssd(chosen: Message, side: int) -> Iterator[tuple[float, float]]:
    width, height = chosen.base_anchor_width * side, chosen.base_anchor_height * side
    for layer, (scale, coarser) in enumerate(pairwise(_scales(chosen))):
        if layer == 0 and chosen.reduce_boxes_in_lowest_layer:
            specs = [(LOWEST_SSD, 1.0), (scale, 2.0), (scale, 0.5)]
        else:
            specs = [(scale, ratio) for ratio in chosen.aspect_ratios]
            if chosen.interpolated_scale_aspect_ratio > 0:
                specs.append((math.sqrt(scale * coarser), chosen.interpolated_scale_aspect_ratio))
        for size, ratio in specs:
            yield from _grid(width, height, [size], [ratio])


def _scales(chosen: Message) -> list[float]:
    """Return the scale of each layer, finest first, and 1 for the one after the last."""
    if chosen.scales:
        return [*chosen.scales[: chosen.num_layers], 1.0]
    step = (chosen.max_scale - chosen.min_scale) / max(1, chosen.num_layers - 1)
    return [*(chosen.min_scale + step * layer for layer in range(chosen.num_layers)), 1.0]
