"""Write archives whose bytes depend on their content alone, and files that appear whole or not at all."""

import errno
import hashlib
import io
import os
import re
import secrets
import shutil
import stat
import tarfile
import threading
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from .errors import OdbuildError

# The earliest time that a zip can hold; wheels built from an older source file would be refused.
EPOCH = (1980, 1, 1, 0, 0, 0)
EPOCH_SECONDS = 315_532_800

# Beyond five rounds zopfli takes twice the time for 0.1 % of the size (measured on object_detection).
ZOPFLI_ROUNDS = 5

CHUNK = 1 << 20

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of an archive.

    Attributes:
        name: Its `/`-separated name inside.
        data: Its bytes.
        executable: Whether it may be run.
        file: Where its bytes lie instead, for those too many to hold in memory.
    """

    name: str
    data: bytes = b""
    executable: bool = False
    file: Path | None = None

    @property
    def size(self) -> int:
        """Return the number of its bytes."""
        return len(self.data) if self.file is None else self.file.stat().st_size

    def open(self) -> io.BytesIO | io.BufferedReader:
        """Open its bytes for reading."""
        return io.BytesIO(self.data) if self.file is None else self.file.open("rb")


@dataclass(frozen=True, slots=True)
class GitFile:
    """One file as git sees it: the id of its blob (40 hex digits) and whether it may be run."""

    id: str
    executable: bool = False

    @property
    def mode(self) -> str:
        """Return the mode that git writes for a regular file."""
        return "100755" if self.executable else "100644"


def write_zip(entries: Iterable[Entry], target: Path) -> str:
    """Write a zip that appears whole or not at all, and return its sha256 in hex.

    Members are stored, not compressed: the same entries give the same bytes with any zlib, and what is
    large in a bundle is compressed already.

    Raises:
        OdbuildError: a name is unsafe or occurs twice, or the file cannot be written.
    """
    ordered = _in_order(entries)
    with atomic(target) as part:
        with part.open("wb") as file:
            _write_zip(file, ordered)
        return sha256(part)


def zip_bytes(entries: Iterable[Entry]) -> bytes:
    """Return the bytes that `write_zip` would write.

    Raises:
        OdbuildError: a name is unsafe or occurs twice.
    """
    file = io.BytesIO()
    _write_zip(file, _in_order(entries))
    return file.getvalue()


def tar_gz(entries: Iterable[Entry]) -> bytes:
    """Return a gzipped ustar archive, compressed by zopfli's own bundled code.

    Neither the tar headers nor the gzip header hold a user, a time or a machine, and no zlib takes part.

    Raises:
        OdbuildError: a name is unsafe, too long for ustar, or occurs twice.
    """
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT, encoding="utf-8") as tar:
        for entry in _in_order(entries):
            _add_to_tar(tar, entry)
    return _compress(file.getvalue())


@contextmanager
def atomic(target: Path) -> Iterator[Path]:
    """Give an empty temporary file beside the target, which takes the target's place when all went well.

    The folder is made where it is missing. The temporary file keeps the target's suffix, and is removed
    on any exception, an interrupt included; the target then still is what it was.

    Raises:
        OdbuildError: the target cannot be written, or no room is left.
    """
    part = target.with_name(f".odbuild-{secrets.token_hex(8)}{target.suffix}")
    try:
        # What else fails in the caller's block is the caller's to explain.
        with reported(target, only=_NO_ROOM):
            _create(part, target)
            yield part
        with reported(target):
            part.replace(target)
    finally:
        with suppress(OSError):  # it may never have come to be, and what went wrong is told already
            part.unlink()


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Give an empty folder beside the target, which takes the target's place when all went well.

    The target must be missing or an empty folder. What was begun is removed on any exception, an interrupt
    included.

    Raises:
        OdbuildError: the target cannot be written, or no room is left.
    """
    part = target.with_name(f".odbuild-{secrets.token_hex(8)}")
    try:
        with reported(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            part.mkdir()
            yield part
            part.replace(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_bytes(target: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all.

    Raises:
        OdbuildError: the target cannot be written, or no room is left.
    """
    with atomic(target) as part:
        part.write_bytes(data)


@contextmanager
def reported(target: Path, *, only: Collection[int] | None = None) -> Iterator[None]:
    """Turn what the operating system refuses into an error that names the target.

    Args:
        target: what is being written.
        only: the numbers (`errno`) to turn; all by default. Others pass as they are.

    Raises:
        OdbuildError: the target cannot be written, or no room is left.
    """
    try:
        yield
    except OSError as error:
        if only is None or error.errno in only:
            raise cannot_write(target, error) from error
        raise


def cannot_write(target: Path, error: OSError) -> OdbuildError:
    """Return the error that says why a target cannot be written, and what to do."""
    if error.errno in _NO_ROOM:
        advice = "Free some space on its disk, or choose another folder, and run again."
    else:
        advice = "Choose a folder that you may write to, and run again."
    return OdbuildError(f"Cannot write {target}: {error.strerror}. {advice}")


def sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(parts: Iterable[bytes]) -> str:
    """Return one sha256 in hex for a sequence of byte strings; where one ends and the next begins counts."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(hashlib.sha256(part).digest())
    return whole.hexdigest()


def git_blob_id(data: bytes) -> str:
    """Return the id that git gives to a file of these bytes."""
    return _git_id("blob", data)


def git_tree_id(files: Mapping[str, GitFile]) -> str:
    """Return the id that git gives to a folder: it covers every name, mode and byte below.

    Args:
        files: the files by `/`-separated path relative to the folder.
    """
    rows: dict[bytes, bytes] = {}
    folders: dict[str, dict[str, GitFile]] = {}
    for path, file in files.items():
        name, slash, rest = path.partition("/")
        if slash:
            folders.setdefault(name, {})[rest] = file
        else:
            rows[name.encode()] = _git_row(file.mode, name, file.id)
    for name, inner in folders.items():
        # Git orders a folder as if its name ended in a slash.
        rows[name.encode() + b"/"] = _git_row("40000", name, git_tree_id(inner))
    return _git_id("tree", b"".join(rows[key] for key in sorted(rows)))


def _write_zip(file: IO[bytes], ordered: Sequence[Entry]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for entry in ordered:
            info = zipfile.ZipInfo(entry.name, EPOCH)
            info.create_system = 3  # Unix, whatever this machine is: else the modes below mean nothing
            info.external_attr = (stat.S_IFREG | _mode(entry)) << 16
            info.file_size = entry.size  # zipfile must know beforehand whether more than 2 GiB will come
            with entry.open() as source, archive.open(info, "w") as out:
                shutil.copyfileobj(source, out, CHUNK)


def _compress(data: bytes) -> bytes:
    import zopfli.gzip

    done: list[bytes] = []

    def work() -> None:
        done.append(zopfli.gzip.compress(data, numiterations=ZOPFLI_ROUNDS))

    # In a thread that ends with the process: an interrupt need not wait seconds for compiled code.
    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    worker.join()
    return done[0]


def _add_to_tar(tar: tarfile.TarFile, entry: Entry) -> None:
    info = tarfile.TarInfo(entry.name)
    info.size, info.mode, info.mtime = entry.size, _mode(entry), EPOCH_SECONDS
    try:
        with entry.open() as source:
            tar.addfile(info, source)
    except ValueError as error:
        raise OdbuildError(f"Cannot put {entry.name!r} into a tar archive: {error}. Shorten it.") from error


def _mode(entry: Entry) -> int:
    return 0o755 if entry.executable else 0o644


def _in_order(entries: Iterable[Entry]) -> list[Entry]:
    ordered = sorted(entries, key=lambda entry: entry.name)
    files: dict[str, str] = {}
    folders: dict[str, str] = {}
    for entry in ordered:
        _check_name(entry.name)
        # A Mac's disk takes names that differ in case alone for one.
        folded = entry.name.casefold()
        if folded in files:
            raise OdbuildError(f"Two archive entries would be one file: {files[folded]!r} and {entry.name!r}.")
        files[folded] = entry.name
        parts = folded.split("/")
        folders |= {"/".join(parts[:depth]): entry.name for depth in range(1, len(parts))}
    for name in files.keys() & folders.keys():
        raise OdbuildError(f"Archive entry {files[name]!r} is a file, but {folders[name]!r} lies in it.")
    return ordered


def _check_name(name: str) -> None:
    parts = name.split("/")
    if not name:
        problem = "is empty"
    elif name.startswith("/") or re.match(r"[A-Za-z]:", name):
        problem = "is absolute"
    elif "\\" in name:
        problem = "has a backslash"
    elif ".." in parts:
        problem = "leads out of the archive by '..'"
    elif "." in parts or "" in parts:
        problem = "has an empty part or '.'"
    elif _CONTROL.search(name):
        problem = "has a control character"
    elif not _is_unicode(name):
        problem = "is not valid Unicode"
    else:
        return
    raise OdbuildError(f"Archive entry {name!r} {problem}. Use a relative name such as 'trainer/start.sh'.")


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _create(part: Path, target: Path) -> None:
    with reported(target):
        for folder in target.parents:
            if folder.is_file():
                raise NotADirectoryError(errno.ENOTDIR, f"{folder} is a file")
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        # By open, not by tempfile: the finished file shall have the mode that the user's umask asks for.
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))


def _git_row(mode: str, name: str, digest: str) -> bytes:
    return f"{mode} {name}\0".encode() + bytes.fromhex(digest)


def _git_id(kind: str, body: bytes) -> str:
    header = f"{kind} {len(body)}\0".encode()
    return hashlib.sha1(header + body, usedforsecurity=False).hexdigest()
