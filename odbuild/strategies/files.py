"""Files by their paths, put on disk; and values that are shown without them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Brief:
    """A value that Hypothesis shows by its `repr`, which leaves the bytes of files out."""

    __slots__ = ()

    def _repr_pretty_(self, printer: Any, _cycle: object) -> None:
        printer.text(repr(self))


def put(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write files by path below a folder, which is made where it is missing, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder
