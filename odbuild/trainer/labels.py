"""Class names and their numbers, and the label map file that upstream reads them from."""

from collections.abc import Sequence

from google.protobuf import text_encoding

from .errors import OdbuildError


def label_ids(labels: Sequence[str]) -> dict[str, int]:
    """Number the labels 1, 2, ... in the given order; 0 is the background's.

    Raises:
        OdbuildError: a label is empty or stands there twice.
    """
    ids = {label: number for number, label in enumerate(labels, start=1)}
    if "" in ids or len(ids) != len(labels):
        raise OdbuildError(f"Labels must be different and not empty, but are {list(labels)!r}.")
    return ids


def to_pbtxt(labels: Sequence[str]) -> str:
    """Return a text proto of `object_detection.protos.StringIntLabelMap`, ASCII only, any label escaped."""
    return "\n".join(_item(label, number) for label, number in label_ids(labels).items())


def _item(label: str, number: int) -> str:
    name = text_encoding.CEscape(label.encode(), as_utf8=False)
    return f'item {{\n  name: "{name}"\n  id: {number}\n}}\n'
