"""Unpack upstream's two archives, which may hold anything."""

import shutil
import tarfile
import zlib
from pathlib import Path

from ..errors import OdbuildError
from .state import STATE

SDISTS = ("object_detection-0.1", "slim-0.1")


def unpack_sdists(folder: Path) -> None:
    """Unpack upstream's two archives beside start.sh, anew each time, as a folder may be from an older bundle.

    Raises:
        OdbuildError: an archive is missing, broken, or holds anything but plain files of its own folder.
    """
    for name in SDISTS:
        archive, fresh = folder / f"{name}.tar.gz", folder / STATE / name
        shutil.rmtree(fresh, ignore_errors=True)
        try:
            with tarfile.open(archive, "r:gz") as tar:
                for member in tar:
                    _write_member(tar, member, name, fresh)
        except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
            raise OdbuildError(f"{archive} cannot be unpacked ({error}). Build the bundle again.") from error
        shutil.rmtree(folder / name, ignore_errors=True)
        fresh.replace(folder / name)


def _write_member(tar: tarfile.TarFile, member: tarfile.TarInfo, name: str, fresh: Path) -> None:
    # tarfile's own filter came in a patch release of 3.11, which some systems do not have yet.
    parts = member.name.split("/")
    if parts[0] != name or ".." in parts or not (member.isfile() or member.isdir()):
        raise OdbuildError(f"{name}.tar.gz holds {member.name!r}, which does not belong there.")
    target = fresh.joinpath(*parts[1:])
    folder = target if member.isdir() else target.parent
    folder.mkdir(parents=True, exist_ok=True)
    content = tar.extractfile(member)
    if content is not None:
        with content:
            target.write_bytes(content.read())
