"""The runtime rows, and which one fits."""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import OdbuildError, UsageError
from .host import Host
from .interpreter import REQUIREMENTS, unfit


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A tested set of Python, TensorFlow and locked packages.

    Attributes:
        name: Such as `tf2.15`.
        tensorflow: Major and minor version, such as `2.15`.
        pythons: Major and minor versions, such as `3.11`, lowest first.
        gigabytes: Free disk that installing it all takes, by device (`cpu`, `gpu`), measured or from the
            wheels' sizes.
    """

    name: str
    tensorflow: str
    pythons: tuple[str, ...]
    gigabytes: Mapping[str, float]


def load_rows() -> tuple[Row, ...]:
    """Read the runtime rows, the preferred one first."""
    table = json.loads((REQUIREMENTS / "rows.json").read_text())
    return tuple(Row(**row | {"pythons": tuple(row["pythons"])}) for row in table["rows"])


def pick(rows: Sequence[Row], host: Host, wanted: str = "") -> tuple[Row, str]:
    """Choose the row that fits, and say why.

    A row that is asked for comes first, then the row of the TensorFlow that is installed, then the
    first that this Python can hold.

    Raises:
        UsageError: `wanted` names no row, or one that this Python cannot hold.
        OdbuildError: no row fits this Python.
    """
    if wanted:
        return _named(rows, host, wanted), "ODBUILD_ROW asks for it"
    fitting = [row for row in rows if host.python in row.pythons]
    if not fitting:
        raise OdbuildError(unfit(python for row in rows for python in row.pythons))
    for row in fitting:
        if serves(row, host):
            return row, "it fits the TensorFlow that is installed here"
    return fitting[0], f"the first that fits Python {host.python}"


def serves(row: Row, host: Host) -> bool:
    """Tell whether the TensorFlow that is installed is the one of this row."""
    return host.tensorflow is not None and host.tensorflow[1].startswith(row.tensorflow + ".")


def _named(rows: Sequence[Row], host: Host, wanted: str) -> Row:
    named = {row.name: row for row in rows}
    if wanted not in named:
        near = difflib.get_close_matches(wanted, named, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"ODBUILD_ROW: unknown row {wanted!r}.{hint} Rows: {', '.join(named)}.")
    row = named[wanted]
    if host.python not in row.pythons:
        raise UsageError(
            f"ODBUILD_ROW: {wanted} needs Python {' or '.join(row.pythons)}, and this is {host.python}. "
            "Set ODBUILD_PYTHON to one that fits, or unset ODBUILD_ROW."
        )
    return row
