"""Checks of trainer.zip: that it is what was built, and runs where it is unpacked."""

import hashlib
import io
import json
import re
import stat
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image

from odbuild import archive, protos
from odbuild.errors import OdbuildError
from odbuild.trainer.findings import Finding, Rule, quote
from odbuild.trainer.rules.catalogue import rule
from odbuild.trainer.runtime.lock import Pin, parse_lock

MANIFEST, START = "MANIFEST.json", "start.sh"

SMALL = 1 << 20
"""Bytes up to which a member is kept to be looked into."""

MOST_DEPTH = 2
"""The service looks for start.sh at most one folder deep: so many parts has its path."""

GPS = 0x8825
"""The Exif tag that leads to where a photograph was taken."""

HOME = re.compile(rb"/home/[\w.-]+/|/Users/[\w.-]+/|[A-Za-z]:\\Users\\")

SECRETS = {
    "a private key": re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "an access key": re.compile(rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a token": re.compile(
        rb"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{22,}|hf_[A-Za-z]{34}|xox[abp]-[\w-]{20,})"
    ),
    "a password in an address": re.compile(rb"https?://[^/\s:@'\"{}$]+:[^/\s:@'\"{}$]+@[\w.-]+"),
}

SECRET_NAMES = re.compile(
    r"(^|/)(\.env|\.netrc|\.pypirc|\.aws/credentials|id_(rsa|ed25519|ecdsa|dsa))$|\.(pem|p12|key)$"
)

SWALLOWED = re.compile(r"""trap\s+(['"])(?:(?!\1).)*\bexit\s*;?\s*\1\s+ERR""", re.DOTALL)
"""A handler that ends with a bare `exit`: the status of the command before it, which succeeded."""

NETWORK = re.compile(
    r"^\s*[^#\n]*\b(curl|wget|git\s+clone|gsutil|aws\s+s3|pip3?\s+(?:install|download))\b[^\n]*", re.MULTILINE
)

_NO_MANIFEST = Rule(
    "ZIP1001", "error", "the bundle has no manifest that can be read", "build it with odbuild bundle"
)
_UNSAFE = Rule(
    "ZIP1001", "error", "the name of a member leads out of the bundle or stands twice", "build it again"
)
_DAMAGED = Rule("ZIP1001", "error", "a member is damaged", "copy or build the bundle again")
_CHANGED = Rule("ZIP1001", "error", "a member is not the one that the manifest lists", "build the bundle again")
_LOST = Rule("ZIP1001", "error", "a member that the manifest lists is missing", "build the bundle again")
_EXTRA = Rule("ZIP1001", "error", "a member is not in the manifest", "build the bundle again")
_UNLIKE = Rule(
    "ZIP1002", "error", "the bundle depends on when or where it was written", "build it with odbuild bundle"
)
_HOST = Rule("ZIP1002", "error", "a member names a folder of the machine that built it", "use relative paths")
_NO_START = Rule(
    "ZIP1003", "error", "there is no start.sh at most one folder deep", "build it with odbuild bundle"
)
_START = Rule("ZIP1003", "error", "start.sh cannot be started as it is", "build it with odbuild bundle")
_SWALLOWED = Rule("ZIP1003", "error", "start.sh succeeds when it fails", "let its handler end with exit 1")
_GOES_ON = Rule("ZIP1003", "warning", "start.sh goes on after a command that failed", "begin it with set -e")
_SECRET = Rule("ZIP1004", "error", "a member holds what must stay secret", "take it out, and make the secret void")
_PLACE = Rule("ZIP1004", "warning", "a photograph says where it was taken", "strip its Exif data")
_FETCHES = Rule(
    "ZIP1006", "error", "a bundle that brings its wheels asks the network all the same", "embed it all"
)
_WHEELS = Rule(
    "ZIP1006", "error", "the wheels that a bundle brings do not fill any of its locks", "add the wheels"
)
_UNTRIED = Rule("ZIP1007", "info", "no rehearsal of the bundle lies beside it", "run odbuild rehearse on it")
_FAILED = Rule("ZIP1007", "warning", "the bundle's rehearsal had problems", "mend them and rehearse again")
_NO_LOCK = Rule("ENV901", "error", "the bundle pins no packages", "build it with odbuild bundle")
_LOOSE = Rule("ENV901", "error", "a lock has a package without exact version and hash", "lock it again")
_NO_PACKAGE = Rule("ENV902", "error", "a package that training imports is not in the bundle", "build it again")
_NO_MODULE = Rule(
    "ENV902", "error", "a package in the bundle lacks a module that training imports", "build it again"
)
_NO_ROW = Rule(
    "ENV903", "warning", "the bundle does not state which Python and TensorFlow it is for", "build it again"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One member as the zip has it.

    Attributes:
        info: its entry in the zip's directory.
        sha256: hex digest of its bytes; empty where they are damaged.
        data: its bytes where they are few, or a picture's; else None.
    """

    info: zipfile.ZipInfo
    sha256: str
    data: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A trainer.zip to judge.

    Attributes:
        path: where it lies.
        members: in the order of the zip.
    """

    path: Path
    members: tuple[Member, ...]

    @cached_property
    def files(self) -> Mapping[str, Member]:
        """Return the members below the folder of start.sh, by their names there."""
        return {
            member.info.filename.removeprefix(self.root): member
            for member in self.members
            if member.info.filename.startswith(self.root) and not member.info.is_dir()
        }

    @cached_property
    def root(self) -> str:
        """Return the folder of start.sh with a slash at its end; empty where there is none."""
        names = [member.info.filename for member in self.members]
        found = [name for name in names if name.rpartition("/")[2] == START and name.count("/") < MOST_DEPTH]
        return min(found, key=len).removesuffix(START) if found else ""

    @cached_property
    def manifest(self) -> Mapping[str, Any] | None:
        """Return what MANIFEST.json says, or None where it is missing or says nothing."""
        try:
            content = json.loads(self.text(MANIFEST))
        except ValueError:
            return None
        members = content.get("members") if isinstance(content, dict) else None
        entries = members.values() if isinstance(members, dict) else [None]
        return content if all(isinstance(entry, dict) and "sha256" in entry for entry in entries) else None

    @cached_property
    def locks(self) -> Mapping[str, str]:
        """Return the text of every lock, by name."""
        return {
            name: self.text(name)
            for name in self.files
            if "requirements" in name and name.endswith(".txt") and self.text(name)
        }

    def text(self, name: str) -> str:
        """Return a small member's text; empty where there is none."""
        member = self.files.get(name)
        return "" if member is None or member.data is None else member.data.decode(errors="replace")


def read(path: Path) -> Bundle:
    """Read every member of a zip once.

    Raises:
        OdbuildError: it cannot be read or is no zip.
    """
    try:
        with zipfile.ZipFile(path) as opened:
            return Bundle(path=path, members=tuple(_member(opened, info) for info in opened.infolist()))
    except zipfile.BadZipFile as error:
        raise OdbuildError(f"{path} is no whole zip: {error}. Copy or build it again.") from error
    except OSError as error:
        raise OdbuildError(f"{path} cannot be read: {error.strerror}.") from error


def _member(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    digest, kept = hashlib.sha256(), io.BytesIO()
    keeps = info.file_size <= SMALL or info.filename.lower().endswith((".jpg", ".jpeg", ".tar.gz"))
    try:
        with opened.open(info) as file:
            while chunk := file.read(archive.CHUNK):
                digest.update(chunk)
                if keeps:
                    kept.write(chunk)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError):
        return Member(info=info, sha256="")
    return Member(info=info, sha256=digest.hexdigest(), data=kept.getvalue() if keeps else None)


@rule("ZIP1001", "error", "the bundle is not what its manifest says")
def manifest(bundle: Bundle) -> Iterator[Finding]:
    """A member is damaged, changed, missing or too many, or has a name that leads out of the folder.

    MANIFEST.json lists the SHA-256 of every member. What differs was changed after the bundle was built, or on its
    way.
    """
    names = Counter(member.info.filename for member in bundle.members)
    for member in bundle.members:
        name = member.info.filename
        if name.startswith("/") or ".." in name.split("/") or "\\" in name or names[name] > 1:
            yield _UNSAFE.at(quote(name))
        if not member.sha256:
            yield _DAMAGED.at(quote(name))
    if bundle.manifest is None:
        yield _NO_MANIFEST.at(MANIFEST)
        return
    listed = bundle.manifest["members"]
    here = {name: member for name, member in bundle.files.items() if name != MANIFEST}
    for name in sorted(listed.keys() | here.keys()):
        if name not in here:
            yield _LOST.at(quote(name))
        elif name not in listed:
            yield _EXTRA.at(quote(name))
        elif here[name].sha256 not in ("", listed[name]["sha256"]):
            yield _CHANGED.at(quote(name), f"sha256 {here[name].sha256[:16]}...")
    outside = [
        member.info.filename for member in bundle.members if not member.info.filename.startswith(bundle.root)
    ]
    yield from (_EXTRA.at(quote(name)) for name in outside)


@rule("ZIP1002", "error", "two builds of the bundle would differ")
def reproducible(bundle: Bundle) -> Iterator[Finding]:
    """Times, order, modes or compression are not the fixed ones, or a member names a folder of one machine.

    Equal inputs shall give equal bytes, so that a digest says what was trained. `odbuild bundle` does that.
    """
    names = [member.info.filename for member in bundle.members]
    if names != sorted(names):
        yield _UNLIKE.at("the order of the members", "not sorted by name")
    for member in bundle.members:
        info = member.info
        odd = [
            f"written {info.date_time}" if info.date_time != archive.EPOCH else "",
            f"mode {info.external_attr >> 16:o}" if not _plain(info) else "",
            "compressed" if info.compress_type != zipfile.ZIP_STORED else "",
        ]
        if any(odd):
            yield _UNLIKE.at(quote(info.filename), ", ".join(filter(None, odd)))
        found = HOME.search(member.data or b"")
        if found:
            yield _HOST.at(quote(info.filename), quote(found[0].decode()))


def _plain(info: zipfile.ZipInfo) -> bool:
    return info.create_system == 3 and info.external_attr >> 16 in (stat.S_IFREG | 0o644, stat.S_IFREG | 0o755)


@rule("ZIP1003", "error", "start.sh cannot be started, or hides that it failed")
def start(bundle: Bundle) -> Iterator[Finding]:
    """The service unpacks the zip, looks for start.sh at most one folder deep, and runs it.

    It needs a line `#!`, line ends of Unix, the executable bit, and an exit code that tells of failure: the
    handler `trap '...; exit' ERR` ends with 0.
    """
    member = bundle.files.get(START)
    if member is None or member.data is None:
        yield _NO_START.at(START)
        return
    text = bundle.text(START)
    if not text.startswith("#!"):
        yield _START.at(START, "it does not begin with #!")
    if "\r" in text:
        yield _START.at(START, "it has line ends of Windows")
    if not member.info.external_attr >> 16 & stat.S_IXUSR:
        yield _START.at(START, "it lacks the executable bit")
    if SWALLOWED.search(text):
        yield _SWALLOWED.at(START, "trap '...; exit' ERR")
    elif not re.search(r"^\s*set\s+-\w*e|\|\|\s*exit\b", text, re.MULTILINE):
        yield _GOES_ON.at(START)


@rule("ZIP1004", "error", "the bundle holds what is nobody else's business")
def secrets(bundle: Bundle) -> Iterator[Finding]:
    """A key, a token, a password in an address, or a photograph with the place where it was taken.

    A bundle is uploaded and copied. Take it out, and have the secret declared void: it may have been seen.
    """
    for member in bundle.members:
        name, data = member.info.filename, member.data or b""
        if SECRET_NAMES.search(name):
            yield _SECRET.at(quote(name), "by its name")
        # Never the secret itself: reports are kept and shared.
        yield from (_SECRET.at(quote(name), what) for what, sign in SECRETS.items() if sign.search(data))
        if data.startswith(b"\xff\xd8\xff") and _located(data):
            yield _PLACE.at(quote(name))


def _located(data: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as picture:
            return bool(picture.getexif().get_ifd(GPS))
    except (OSError, SyntaxError, ValueError):
        return False


@rule("ZIP1006", "error", "an offline bundle asks the network")
def offline(bundle: Bundle) -> Iterator[Finding]:
    """A bundle with `wheels/` is meant for a machine without network, and something in it wants one.

    The wheels must fill one of the locks, hash by hash, the checkpoint must be embedded, and start.sh must not
    download anything.
    """
    wheels = {member.sha256 for name, member in bundle.files.items() if name.startswith("wheels/")}
    if not wheels:
        return
    wanted = (bundle.manifest or {}).get("recipe", {}).get("checkpoint") or {}
    if wanted.get("url"):
        yield _FETCHES.at("checkpoint", quote(str(wanted["url"])))
    for found in NETWORK.finditer(bundle.text(START)):
        if "--no-index" not in found[0]:
            yield _FETCHES.at(START, quote(found[0].strip()))
    lacking = {
        name: [pin for pin in _pins(text) if not _filled(pin, wheels)] for name, text in bundle.locks.items()
    }
    if lacking and all(lacking.values()):
        name, pins = min(lacking.items(), key=lambda item: len(item[1]))
        yield _WHEELS.at(name, f"{len(pins)} are missing, such as {pins[0].name}=={pins[0].version}")


def _pins(lock: str) -> Sequence[Pin]:
    try:
        return parse_lock(lock, "")
    except OdbuildError:
        return []


def _filled(pin: Pin, wheels: set[str]) -> bool:
    # What a marker asks for may not be needed on the machine that the wheels are for.
    return bool(pin.marker) or any(digest in pin.text for digest in wheels)


@rule("ZIP1007", "warning", "the bundle has not been run on a small scale")
def rehearsed(bundle: Bundle) -> Iterator[Finding]:
    """A run of ten steps on a processor, by the service's own command, finds what no reading of files can.

    `odbuild rehearse trainer.zip DATASET` does it and leaves rehearsal.json, which is looked for beside the bundle
    and in the two folders above.
    """
    found = [folder / "rehearsal.json" for folder in bundle.path.absolute().parents[:3]]
    report = next((path for path in found if path.is_file()), None)
    if report is None:
        yield _UNTRIED.at(bundle.path.name)
        return
    try:
        content = json.loads(report.read_text(encoding="utf-8"))
        problems = [str(problem) for problem in content["problems"]]
    except (OSError, ValueError, KeyError, TypeError):
        problems = [f"{report} cannot be read"]
    yield from (_FAILED.at(report.name, problem) for problem in problems)


@rule("ENV901", "error", "the bundle does not pin its packages by hash")
def locked(bundle: Bundle) -> Iterator[Finding]:
    """Packages that are not pinned change between two runs: a new TensorFlow or numpy, and the import fails.

    Each lock must give every package an exact version with hashes.
    """
    if not bundle.locks:
        yield _NO_LOCK.at("requirements")
    for name, text in bundle.locks.items():
        try:
            parse_lock(text, name)
        except OdbuildError as error:
            yield _LOOSE.at(name, str(error))


@rule("ENV902", "error", "what training imports is not in the bundle")
def importable(bundle: Bundle) -> Iterator[Finding]:
    """`No module named object_detection`, `nets` or `..._pb2` is the most frequent first line of a failed run.

    The two packages must be there, with their modules and the code that protoc makes of every proto. Whether all
    of it imports under the lock shows in a rehearsal.
    """
    compiled = [name.removesuffix(".proto") + "_pb2.py" for name in protos.proto_names()]
    wanted = {
        "object_detection": ["object_detection/__init__.py", "object_detection/model_lib_v2.py", *compiled],
        "slim": ["nets/__init__.py", "nets/mobilenet_v1.py"],
    }
    for package, modules in wanted.items():
        name = f"{package}-0.1.tar.gz"
        member = bundle.files.get(name)
        if member is None:
            yield _NO_PACKAGE.at(name)
            continue
        inside = _names(member.data or b"")
        yield from (_NO_MODULE.at(name, one) for one in modules if f"{package}-0.1/{one}" not in inside)


def _names(data: bytes) -> frozenset[str]:
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
            return frozenset(tar.getnames())
    except (tarfile.TarError, OSError, EOFError):
        return frozenset()


@rule("ENV903", "warning", "the bundle does not state its runtime")
def stated(bundle: Bundle) -> Iterator[Finding]:
    """Which Python, TensorFlow and packages go together is written in rows.json, which start.sh goes by.

    Without it, the first to tell that CUDA or Python does not fit is TensorFlow, in the middle of the run.
    """
    rows = next((name for name in bundle.files if name.endswith("requirements/rows.json")), None)
    if rows is None:
        yield _NO_ROW.at("rows.json")
    elif "trainer.runtime" not in bundle.text(START):
        yield _NO_ROW.at(START, "does not call trainer.runtime")
