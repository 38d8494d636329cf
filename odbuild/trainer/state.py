"""Small JSON files that survive a stop: written whole or not at all."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .runtime.state import leave


def read(path: Path) -> dict[str, Any]:
    """Return the object in a file, or an empty one where there is no file."""
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def write(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a file by an object as JSON."""
    leave(path, json.dumps(value, indent=1, default=str))
