"""How many pictures a training step holds: as many as the sample, unless the machine has no room for them."""

from dataclasses import dataclass
from typing import Any

from .recipe import Footprint
from .tuning import resizer, unequal_sizes

Message = Any  # a TrainEvalPipelineConfig, of upstream's generated class or of a dynamic one

MOST = {"gpu": 16, "cpu": 8}
"""The most pictures a step: with more of them the same steps take longer and are paid for, on few photographs."""

RESERVED = 1536 << 20
"""Bytes for CUDA and its libraries: what TensorFlow leaves of a card of compute capability 8 or later
(`MinSystemMemory` in its `gpu_device.cc`). On a CPU, those of TensorFlow itself and of the data's reader."""

COPIES = 4
"""The weights, their gradients, and two averages of the optimizer for each: RMSProp and Adam keep two."""

SLACK = 1.25
"""What a step takes for each byte of activations. One step each of four models took 0.95 to 1.08 on a CPU by
TensorFlow's own account; the rest is for a card's convolutions and the gaps in its memory, which is a guess."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Pictures a step, at least 1, and why so many."""

    size: int
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """What the machine has for a step.

    Attributes:
        device: `gpu` or `cpu`.
        memory: Bytes of that device, or None where they are not known.
    """

    device: str
    memory: int | None


def choose(
    sample: Message, asked: Message, *, footprint: Footprint | None, room: Room, train_pictures: int
) -> Batch:
    """Choose a batch for a config: never larger than the sample's.

    Args:
        sample: The config of the bundle, whose size of pictures the footprint was counted for.
        asked: The same with what the user has set.
        footprint: What a step of the model holds, where it is known.
        room: What the machine has.
        train_pictures: Pictures to train on.
    """
    if unequal_sizes(asked):
        return Batch(size=1, reason="pictures of unequal sizes cannot share a batch")
    bounds = [
        Batch(size=asked.train_config.batch_size, reason="that of the sample"),
        Batch(size=MOST[room.device], reason=f"the most on a {room.device.upper()}"),
        Batch(size=max(1, train_pictures), reason="all pictures to train on"),
    ]
    if footprint is not None and room.memory is not None:
        bounds.append(_fitting(footprint, pixels(asked) / pixels(sample), room.memory))
    return min(bounds, key=lambda batch: batch.size)  # of equals the first


def _fitting(footprint: Footprint, scale: float, memory: int) -> Batch:
    """Return the batch that memory has room for, of pictures that have `scale` times the pixels counted."""
    count = fitting(footprint, memory, scale)
    taken = f"{footprint.activations_mb * 1e6 * SLACK * scale / 1e9:.2f} GB a picture of {memory / 1e9:.1f} GB"
    if count < 1:
        return Batch(size=1, reason=f"even one may be too much: about {taken}")
    return Batch(size=count, reason=f"what memory has room for: about {taken}")


def fitting(footprint: Footprint, memory: int, scale: float = 1.0) -> int:
    """Return how many pictures a step has room for in so many bytes; 0 where not even one.

    Activations grow with the pixels of the picture that the network sees, after the resizer. That holds for all
    of a single-stage network, and is too much for the second stage of a Faster R-CNN, whose proposals stay as
    many.
    """
    left = memory - RESERVED - COPIES * footprint.weights_mb * 1e6
    return max(0, int(left / (SLACK * footprint.activations_mb * 1e6 * scale)))


def pixels(config: Message) -> int:
    """Return the most pixels of a picture after the resizer."""
    kind = resizer(config).WhichOneof("image_resizer_oneof")
    sides = getattr(resizer(config), kind)
    if kind == "fixed_shape_resizer":
        return int(sides.height * sides.width)
    return int(sides.max_dimension * (sides.max_dimension if sides.pad_to_max_dimension else sides.min_dimension))
