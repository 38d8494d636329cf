"""Keep what is costly to make under the user's cache folder, and trust none of it without its digest."""

import hashlib
import io
import os
from collections.abc import Mapping
from pathlib import Path

from .errors import OdbuildError

_DIGEST_SIZE = hashlib.sha256().digest_size * 2


def cache_folder() -> Path:
    """Return the folder for what odbuild keeps: ODBUILD_CACHE, or the platform's own place for caches."""
    chosen = os.environ.get("ODBUILD_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    import platformdirs

    return platformdirs.user_cache_path("odbuild")


def load(path: Path) -> dict[str, bytes] | None:
    """Return the files kept at a path, or None where there are none or any of their bytes has changed.

    Raises:
        OdbuildError: something is there that cannot be read.
    """
    try:
        kept = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OdbuildError(f"Cannot read {path}: {error.strerror}. Delete it, or set ODBUILD_CACHE.") from error
    digest, body = kept[:_DIGEST_SIZE], kept[_DIGEST_SIZE:]
    if digest != hashlib.sha256(body).hexdigest().encode():
        return None
    import zipfile

    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def store(path: Path, files: Mapping[str, bytes]) -> None:
    """Keep files at a path, whole or not at all: a zip after the sha256 of its bytes.

    Raises:
        OdbuildError: the cache cannot be written.
    """
    from .archive import Entry, write_bytes, zip_bytes

    body = zip_bytes(Entry(name, data) for name, data in files.items())
    make_folder(path.parent)
    write_bytes(path, hashlib.sha256(body).hexdigest().encode() + body)


def make_folder(folder: Path) -> None:
    """Make a folder of the cache.

    Raises:
        OdbuildError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        from .archive import cannot_write

        reason = cannot_write(folder, error)
        raise OdbuildError(f"{reason} ODBUILD_CACHE names another cache folder.") from error
