"""checkpoints.lock: what was once downloaded on trust, and must be the same ever after.

The zoos publish no digest for most of their archives. The first download is trusted and written down here, in
the working directory, where a team keeps what it builds from: committed to its repository, the file makes
every later download, on every machine, give the same weights or stop.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from . import archive
from .errors import OdbuildError

HEAD = """\
# Checkpoints that odbuild downloaded on trust. Later downloads must be the same: commit this file.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Locked:
    """One archive: its bytes, and the hex digest of them."""

    size: int
    sha256: str


def load(path: Path) -> Mapping[str, Locked]:
    """Return the archives of a lock file by the catalogue names of their models; none where there is no file.

    Raises:
        OdbuildError: The file cannot be read, is no TOML, or an entry is not what `add` writes.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise OdbuildError(f"{path}: cannot be read ({error}). Restore it, or delete it to trust anew.") from error
    return {name: _locked(path, name, row) for name, row in table.items()}


def add(path: Path, name: str, locked: Locked) -> None:
    """Write down an archive that was downloaded on trust; the file appears whole or not at all.

    Raises:
        OdbuildError: The file cannot be read or written.
    """
    rows = {**load(path), name: locked}
    text = "".join(
        f'\n["{each}"]\nsize = {row.size}\nsha256 = "{row.sha256}"\n' for each, row in sorted(rows.items())
    )
    archive.write_bytes(path, (HEAD + text).encode())


def _locked(path: Path, name: str, row: object) -> Locked:
    match row:
        case {"size": int(size), "sha256": str(sha256), **rest} if not rest and re.fullmatch(
            "[0-9a-f]{64}", sha256
        ):
            return Locked(size=size, sha256=sha256)
    raise OdbuildError(f"{path}: [{name!r}]: {row!r}; expected size (bytes) and sha256 (64 hex digits)")
