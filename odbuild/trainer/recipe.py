"""What a bundle was made for: the literals that prepare_training.py hands to the payload."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Zoo: TypeAlias = Literal["tf1", "tf2"]
Boxes: TypeAlias = Literal["clip", "drop", "fail"]
Exif: TypeAlias = Literal["apply", "ignore", "fail"]
MaxSide: TypeAlias = int | Literal["auto"] | None
Negatives: TypeAlias = Literal["keep", "drop"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """Pre-trained weights: inside the bundle where `url` is None, else fetched on the training machine.

    Attributes:
        prefix: Path of the checkpoint without `.index`: below the archive's one top folder where it is
            fetched, below `checkpoint/` where it is embedded.
        alternatives: Other prefixes that the archive may have it under, best first.
        url: Where the archive (tar.gz) lies, https.
        size: Bytes of the archive, where known.
        sha256: Hex digest of the archive, where known.
        sha384: Hex digest of the archive, where only this one was published.
    """

    prefix: str
    alternatives: tuple[str, ...] = ()
    url: str | None = None
    size: int | None = None
    sha256: str | None = None
    sha384: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Footprint:
    """What a training step holds of a model, counted in its graph by `benchmarks/memory.py`.

    Attributes:
        weights_mb: Megabytes (1e6 bytes) of what is trained.
        activations_mb: Megabytes that the backward pass reads of one picture's forward pass, at the size that
            the config resizes to and with COCO's 90 classes.
    """

    weights_mb: int
    activations_mb: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """One bundle's choices, all literals, so that `repr` writes it down and reads back.

    Attributes:
        model: Catalogue name of the model.
        zoo: `tf1` trains with the Estimator loop, `tf2` with the TF2 loop.
        config: File name of the pipeline config beside start.sh.
        checkpoint: Pre-trained weights, or None to train from random ones.
        footprint: What a training step holds of the model, where it is known.
        batch_size: Pictures a step, or None to choose by model and memory.
        validation: Fraction of the pictures kept for evaluation, 0 < validation < 1.
        boxes: What to do with boxes that leave the picture.
        exif: What to do with pictures that carry an EXIF orientation.
        negatives: What to do with pictures without boxes.
        max_side: Longest side of a picture in pixels, longer ones are shrunk; `auto` for what the model can use;
            or None to keep all.
        overrides: Fields of the pipeline config that the user sets, by path, and their values as text.
    """

    model: str
    zoo: Zoo
    config: str
    checkpoint: Checkpoint | None
    footprint: Footprint | None
    batch_size: int | None
    validation: float
    boxes: Boxes
    exif: Exif
    negatives: Negatives
    max_side: MaxSide
    overrides: tuple[tuple[str, str], ...]
