"""Read a hash lock, and tell what of it is missing."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import OdbuildError
from .markers import applies

PIN = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>[^\s;]+)(?: ; (?P<marker>[^\\]+?))? \\\n\s+--hash=sha256:")


@dataclass(frozen=True, kw_only=True, slots=True)
class Pin:
    """One package of a lock.

    Attributes:
        name: Canonical name.
        version: The one and only.
        marker: Where it applies; empty for everywhere.
        text: Its lines in the lock, hashes and all.
    """

    name: str
    version: str
    marker: str
    text: str


def read_lock(path: Path) -> list[Pin]:
    """Read a hash lock: `name==version ; marker`, then one `--hash` to a line.

    Raises:
        OdbuildError: a line is no exact pin with a hash.
    """
    return parse_lock(path.read_text(), path.name)


def parse_lock(text: str, name: str) -> list[Pin]:
    """Read the text of a hash lock, called by a name.

    Raises:
        OdbuildError: a line is no exact pin with a hash.
    """
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    pins = []
    for block in re.split(r"\n(?=\S)", "\n".join(lines).strip()):
        found = PIN.match(block)
        if not found:
            raise OdbuildError(f"{name}: no exact pin with a hash: {block.splitlines()[0]!r}")
        pins.append(Pin(**found.groupdict(""), text=block + "\n"))
    return pins


def missing(
    pins: Iterable[Pin],
    installed: Mapping[str, str],
    environment: Mapping[str, str],
    left: Collection[str] = (),
) -> list[Pin]:
    """List the pins that apply here and are not installed in that very version.

    Args:
        pins: those of the lock.
        installed: versions by canonical name.
        environment: what markers ask for, see `marker_environment`.
        left: canonical names that stay as the host has them.
    """
    return [
        pin
        for pin in pins
        if pin.name not in left
        and installed.get(pin.name) != pin.version
        and (not pin.marker or applies(pin.marker, environment))
    ]
