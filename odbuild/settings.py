"""What a project sets for odbuild once and for all: `[tool.odbuild]` of the nearest pyproject.toml."""

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .errors import UsageError, did_you_mean

FILE = "pyproject.toml"


def load(folder: Path) -> dict[str, Any]:
    """Return the settings that hold in a folder, by the names of the options with `_` for `-`.

    The nearest pyproject.toml counts, in the folder or above it. Without one, or such a table in it, none hold.

    Raises:
        UsageError: The file cannot be read, or a setting is unknown or of the wrong type.
    """
    path = next((each / FILE for each in (folder, *folder.parents) if (each / FILE).is_file()), None)
    return {} if path is None else _checked(_table(path), path)


def _table(path: Path) -> Mapping[str, Any]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {}).get("odbuild", {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}.") from error
    if not isinstance(table, dict):
        raise UsageError(f"{path}: tool.odbuild is {table!r}; expected a table.")
    return table


def _checked(table: Mapping[str, Any], path: Path) -> dict[str, Any]:
    for key, value in table.items():
        if key not in _SETTINGS:
            known = ", ".join(_SETTINGS)
            raise UsageError(
                f"{path}: [tool.odbuild] has no {key!r}.{did_you_mean(key, _SETTINGS)} It has {known}."
            )
        expected, fits = _SETTINGS[key]
        if not fits(value):
            raise UsageError(f"{path}: [tool.odbuild] {key} is {value!r}; expected {expected}.")
    return {
        key.replace("-", "_"): tuple(value) if isinstance(value, list) else value for key, value in table.items()
    }


def _is_codes(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(code, str) for code in value)


def _is_levels(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(level, str) for level in value.values())


def _is_word(value: object) -> bool:
    return isinstance(value, str)


_SETTINGS: Mapping[str, tuple[str, Callable[[object], bool]]] = {
    "select": ("a list of codes", _is_codes),
    "ignore": ("a list of codes", _is_codes),
    "severity": ("a table of levels by code", _is_levels),
    "fail-on": ("error, warning, info or never", _is_word),
    "model": ("the name of a model", _is_word),
}
