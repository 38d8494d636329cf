"""Take the checkpoint out of an archive that nobody vouches for: its names and sizes are hostile until proven.

No name of the archive reaches the disk: the index and the shards are written under the name that the caller
wants. The tar headers are walked here and not by `tarfile.open`, which would read a header's extension of any
size into memory, and seek through the whole archive to skip a member.
"""

import gzip
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from .download import writing
from .errors import OdbuildError

MAX_BYTES = 4 << 30
"""Bytes that an archive may unpack to: four times the largest archive of the zoos."""

MAX_RATIO, FREE = 20, 1 << 24
"""Times its own size, plus some, that an archive may unpack to: random numbers do not shrink, bombs did."""

MAX_MEMBERS = 10_000
"""Members of an archive: those of the zoos have about twenty."""

MAX_EXTENSION = 1 << 16
"""Bytes of one extended header: a path and a few dates."""

CHUNK = 1 << 20
BLOCK = tarfile.BLOCKSIZE

SCRATCH = ".unpack-"
"""How the names of folders begin that hold files on their way."""

FILES = frozenset({tarfile.REGTYPE, tarfile.AREGTYPE})

EXTENSIONS = frozenset({tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK})
"""Types of the headers that add to the next member's: its name and size matter, the rest is passed over."""

CHECKPOINT = re.compile(r"(.*)\.(index|data-\d{5}-of-\d{5})", re.DOTALL)


def unpack(archive: Path, prefix: str, folder: Path, *, name: str, alternatives: Sequence[str] = ()) -> Path:
    """Write one checkpoint of a tar.gz into a folder, whole or not at all, and return its prefix there.

    Of the prefixes the first counts that the archive has. Where it has none of them but one checkpoint alone, that
    one is taken. Whichever it is, it is written under the name of `prefix`.

    Args:
        archive: The tar.gz.
        prefix: Path of the checkpoint below the archive's top folder, without `.index`.
        folder: Where to write; it is made where it is missing.
        name: What to call the archive in messages.
        alternatives: Other paths that the checkpoint may have, best first.

    Raises:
        OdbuildError: If the archive is damaged or unsafe, or does not hold exactly one such checkpoint.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for killed in folder.glob(f"{SCRATCH}*"):
        shutil.rmtree(killed)
    with writing(folder), tempfile.TemporaryDirectory(dir=folder, prefix=SCRATCH) as scratch:
        found = _checkpoint(_read(archive, Path(scratch), name), (prefix, *alternatives), name)
        target = folder / PurePosixPath(prefix).name
        for suffix in sorted(found):  # the index comes last: without it there is no checkpoint
            found[suffix].replace(target.with_name(f"{target.name}.{suffix}"))
    return target


def _read(archive: Path, scratch: Path, name: str) -> Mapping[str, Path]:
    """Write all files of checkpoints under numbers; return these by their names in the archive."""
    limit = min(MAX_BYTES, MAX_RATIO * archive.stat().st_size + FREE)
    found: dict[str, Path] = {}
    try:
        with gzip.open(archive) as file:
            stream = _Stream(file, limit, name)
            for member in _members(stream):
                if CHECKPOINT.fullmatch(member.name) and not member.is_folder:
                    found[member.name] = scratch / str(len(found))
                    with found[member.name].open("wb") as out:
                        stream.copy(member.size, out)
                else:
                    stream.copy(member.size, None)
                stream.copy(-member.size % BLOCK, None)
            stream.drain()
    except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.HeaderError) as error:
        raise OdbuildError(f"{name}: the archive is damaged ({error})") from error
    return found


def _checkpoint(found: Mapping[str, Path], prefixes: Sequence[str], name: str) -> Mapping[str, Path]:
    """Return the files of the one checkpoint that is meant, by what follows its prefix."""
    groups: dict[str, dict[str, Path]] = {}
    for member, path in found.items():
        match = CHECKPOINT.fullmatch(member)
        if match:
            groups.setdefault(match[1], {})[match[2]] = path
    whole = {each: files for each, files in groups.items() if "index" in files and len(files) > 1}
    meant = next(filter(None, (_ending(whole, prefix) for prefix in prefixes)), sorted(whole))
    if len(meant) != 1:
        listed = ", ".join(map(repr, meant[:5])) or "none that has both index and data"
        wanted = " or ".join(map(repr, prefixes))
        raise OdbuildError(f"{name}: no checkpoint here that is the only {wanted}; found {listed}")
    return whole[meant[0]]


def _ending(checkpoints: Iterable[str], prefix: str) -> list[str]:
    """Return those of the checkpoints whose path ends with all parts of a prefix."""
    wanted = PurePosixPath(prefix).parts
    return sorted(each for each in checkpoints if PurePosixPath(each).parts[-len(wanted) :] == wanted)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Member:
    name: str
    size: int
    is_folder: bool


@dataclass(slots=True)
class _Stream:
    """The unpacked bytes of an archive, read once from front to end, and only so many."""

    file: gzip.GzipFile
    left: int
    name: str

    def read(self, size: int) -> bytes:
        """Return at most so many bytes; fewer at the end alone."""
        data = self.file.read(min(size, self.left + 1))
        self.left -= len(data)
        if self.left < 0:
            raise _refuse(self.name, "it unpacks to far more than a checkpoint")
        return data

    def exactly(self, size: int) -> bytes:
        """Return just so many bytes."""
        data = self.read(size)
        if len(data) != size:
            raise EOFError("it ends too early")
        return data

    def copy(self, size: int, out: IO[bytes] | None) -> None:
        """Write so many bytes, or skip them, never more than one chunk in memory."""
        while size:
            data = self.exactly(min(size, CHUNK))
            size -= len(data)
            if out is not None:
                out.write(data)

    def drain(self) -> None:
        """Read to the end, where gzip's checksum stands."""
        while self.read(CHUNK):
            pass


@dataclass(slots=True)
class _Said:
    """What headers before a member say of it, where its own header has no room."""

    name: str | None = None
    size: int | None = None


def _members(stream: _Stream) -> Iterator[_Member]:
    """Yield folders and files; before the next is asked for, all bytes of this one must have been read."""
    seen: set[str] = set()
    said = _Said()
    for header in _headers(stream):
        if header.type in EXTENSIONS:
            _extend(said, header, stream)
            continue
        member = _member(header, said, stream.name)
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts:
            raise _refuse(stream.name, f"its member {member.name!r} leads out of it")
        if not member.is_folder and str(path) in seen:
            raise _refuse(stream.name, f"its member {member.name!r} occurs twice")
        seen.add(str(path))
        said = _Said()
        yield member


def _headers(stream: _Stream) -> Iterator[tarfile.TarInfo]:
    count = 0
    while (block := stream.exactly(BLOCK)) != bytes(BLOCK):
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        count += 1
        if count > MAX_MEMBERS:
            raise _refuse(stream.name, f"it has more than {MAX_MEMBERS} members")
        if header.size < 0:
            raise tarfile.HeaderError(f"a member of {header.size} bytes")
        yield header


def _member(header: tarfile.TarInfo, said: _Said, archive: str) -> _Member:
    name = header.name if said.name is None else said.name
    if header.type not in FILES | {tarfile.DIRTYPE}:
        raise _refuse(archive, f"its member {name!r} is neither file nor folder")
    is_folder = header.type == tarfile.DIRTYPE
    size = header.size if said.size is None else said.size
    return _Member(name=name, size=0 if is_folder else size, is_folder=is_folder)


def _extend(said: _Said, header: tarfile.TarInfo, stream: _Stream) -> None:
    if header.size > MAX_EXTENSION:
        raise _refuse(stream.name, f"a header of {header.size} bytes is no header")
    data = stream.exactly(header.size)
    stream.copy(-header.size % BLOCK, None)
    if header.type == tarfile.GNUTYPE_LONGNAME:
        said.name = _text(data.partition(b"\0")[0])
    elif header.type == tarfile.XHDTYPE:
        records = _records(data)
        if any(key.startswith(b"GNU.sparse.") for key in records):
            raise _refuse(stream.name, "it has sparse members")
        if b"path" in records:
            said.name = _text(records[b"path"])
        if b"size" in records:
            said.size = _count(records[b"size"])


def _records(data: bytes) -> Mapping[bytes, bytes]:
    """Read the records of a pax header: `<length> <key>=<value>` and a line feed, length of all of it."""
    records = {}
    while data:
        length, blank, _ = data.partition(b" ")
        record = data[len(length) + 1 : _count(length)]
        key, equals, value = record.partition(b"=")
        if not (blank and equals and value.endswith(b"\n")):
            raise tarfile.HeaderError("bad pax header")
        records[key] = value[:-1]
        data = data[_count(length) :]
    return records


def _count(digits: bytes) -> int:
    if not re.fullmatch(rb"\d{1,18}", digits):
        raise tarfile.HeaderError("bad number in a pax header")
    return int(digits)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _refuse(archive: str, reason: str) -> OdbuildError:
    return OdbuildError(f"{archive}: the archive is refused as unsafe: {reason}")
