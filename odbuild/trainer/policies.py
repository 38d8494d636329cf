"""What a conversion does where the data leaves a choice."""

from dataclasses import dataclass
from typing import Literal, get_args

from .errors import UsageError
from .groups import grouping
from .images import Check, FormatPolicy
from .mend import BoxPolicy

ExifPolicy = Literal["apply", "ignore", "fail"]
NegativePolicy = Literal["keep", "drop"]
SplitPolicy = Literal["hash", "source"]
NearPolicy = Literal["apart", "together"]

SHARD_BYTES = 128 * 1024 * 1024
"""Size of the shards of large data: TensorFlow's guide names 100 to 200 MB as good for reading in parallel."""

_WORDS = {
    "boxes": BoxPolicy,
    "exif": ExifPolicy,
    "negatives": NegativePolicy,
    "formats": FormatPolicy,
    "check": Check,
    "split": SplitPolicy,
    "near_duplicates": NearPolicy,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Policies:
    """What to do where the data leaves a choice.

    Attributes:
        boxes: turned or outlying boxes: mend, leave out, or stop.
        exif: pictures with boxes and an Exif orientation: `apply` turns the pixels upright and leaves the boxes as
            they are, `ignore` leaves both as they are, `fail` stops.
        negatives: pictures without boxes.
        formats: GIF, WebP, BMP and TIFF: make them JPEG or PNG, or stop.
        check: how far the pictures are checked, as `images.inspect` does it.
        max_side: shrink larger pictures to this longest side, in pixels; None keeps every size.
        split: who divides: `hash` the content of the pictures, `source` the sides that the dataset brings.
        group: what belongs on one side, as `groups.grouping` takes it.
        near_duplicates: pictures that look nearly the same: `together` keeps them on one side.
        validation: share of the pictures that validate, above 0 and below 1.
        shard_bytes: most bytes of pictures in a shard, but for its last picture; small data gets smaller shards.

    Raises:
        UsageError: a value is none of these.
    """

    boxes: BoxPolicy = "clip"
    exif: ExifPolicy = "fail"
    negatives: NegativePolicy = "keep"
    formats: FormatPolicy = "transcode"
    check: Check = "decode"
    max_side: int | None = None
    split: SplitPolicy = "hash"
    group: str = "column"
    near_duplicates: NearPolicy = "apart"
    validation: float = 0.2
    shard_bytes: int = SHARD_BYTES

    def __post_init__(self) -> None:
        for name, kind in _WORDS.items():
            if getattr(self, name) not in get_args(kind):
                raise UsageError(f"{name} is {getattr(self, name)!r}; expected {' or '.join(get_args(kind))}.")
        grouping(self.group)
        if not 0 < self.validation < 1:
            raise UsageError(f"validation is {self.validation}; expected a share above 0 and below 1.")
        if self.max_side is not None and self.max_side < 1:
            raise UsageError(f"max_side is {self.max_side}; expected a number of pixels.")
        if self.shard_bytes < 1:
            raise UsageError(f"shard_bytes is {self.shard_bytes}; expected a number of bytes.")
