"""Bring the pinned tensorflow/models here, and prove that it is nothing else.

The proof is git's own: the ids of the two folders at the pinned commit. Whatever brings a folder, a package
index, a git host or the user's disk, is trusted with nothing but the bytes.
"""

import errno
import importlib.util
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache as once
from pathlib import Path

from . import archive, resources
from .archive import GitFile
from .cache import make_folder
from .errors import OdbuildError, UsageError, did_you_mean

Say = Callable[[str], None]

SOURCES = ("auto", "registry", "git")

_MANIFEST = "upstream.manifest"
_WORK = ".work-"
_INDEX_SECONDS = 900.0
# No blobs yet: a server that is silent for this long will not answer.
_GIT_FETCH_SECONDS = 120.0
_GIT_CHECKOUT_SECONDS = 600.0
_STALE_SECONDS = 86_400
# What Python and desktops drop into a folder that someone has looked at. None of it is ever copied.
_BYPRODUCTS = ("__pycache__", ".DS_Store")


@dataclass(frozen=True, kw_only=True, slots=True)
class Wheel:
    """A pinned wheel that holds upstream's files below a folder; `only` some of them, or all."""

    requirement: str
    sha256: str
    folder: str
    only: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Pin:
    """Which upstream, and where it can be had: the parsed `upstream.toml`."""

    repository: str
    commit: str
    trees: Mapping[str, str]
    wheels: tuple[Wheel, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Upstream:
    """A folder that holds `object_detection` and `slim` as they are at a commit, and their git tree ids."""

    path: Path
    commit: str
    trees: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One path, relative to the folder of both trees, that is not what upstream has there."""

    path: str
    problem: str


class _UnavailableError(OdbuildError):
    """One source cannot give upstream; another may."""


def fetch(source: str | Path = "auto", *, cache: Path, offline: bool, say: Say) -> Upstream:
    """Return the pinned upstream from the cache, or bring it into the cache first.

    What the cache holds is proven each time; what has changed there is named and fetched anew.

    Args:
        source: `auto` (the package index, then git), `registry`, `git`, or a folder: a clone of
            tensorflow/models, its `research`, or a folder that holds `object_detection` and `slim`.
            A folder is proven even where the cache could do without it.
        cache: the folder for what odbuild keeps.
        offline: never ask the network.
        say: told what is being fetched, and what was found changed.

    Raises:
        UsageError: the source is no folder and no known word.
        OdbuildError: no source could be reached, or none is the pinned upstream.
    """
    pin = read_pin()
    kept = cache.absolute() / "upstream" / pin.commit
    folder = None if source in SOURCES else _find_trees(Path(source), pin)
    if folder is not None:
        _prove(folder, pin)
    with archive.reported(kept):
        if not _is_whole(kept, offline=offline and folder is None, say=say):
            _bring(source if folder is None else folder, kept, pin, say)
    return Upstream(path=kept, commit=pin.commit, trees=pin.trees)


def read(upstream: Upstream, name: str) -> bytes:
    """Return a file of upstream, proven by its blob id.

    Args:
        upstream: where to read.
        name: the path below upstream's folder, such as `object_detection/model_lib.py`.

    Raises:
        OdbuildError: upstream has no such file, or its bytes have changed since upstream was proven.
    """
    expected = manifest().get(name)
    if expected is None:
        raise OdbuildError(f"Upstream at {upstream.commit} has no file {name}.{did_you_mean(name, manifest())}")
    path = upstream.path / name
    data = _bytes(path)
    if archive.git_blob_id(data) != expected.id:
        raise OdbuildError(f"{path} has changed: it is not upstream's any more. {_heal(upstream.path)}")
    return data


@once
def read_pin() -> Pin:
    """Return the pin.

    Raises:
        KeyError: an entry lacks its hash.
    """
    data = tomllib.loads(resources.read_text("upstream.toml"))
    return Pin(
        repository=data["repository"],
        commit=data["commit"],
        trees=data["trees"],
        wheels=tuple(
            Wheel(
                requirement=row["requirement"],
                sha256=row["sha256"],
                folder=row["folder"],
                only=tuple(row.get("only", ())),
            )
            for row in data["wheels"]
        ),
    )


@once
def manifest() -> Mapping[str, GitFile]:
    """Return every file of upstream by path, as the package's list has it, once the pin has proven the list.

    Raises:
        OdbuildError: the list does not add up to the pinned tree ids.
    """
    rows = (line.split(" ", 2) for line in resources.read_text(_MANIFEST).splitlines())
    files = {path: GitFile(digest, mode == "100755") for mode, digest, path in rows}
    if tree_ids(files) != dict(read_pin().trees):
        raise OdbuildError(f"odbuild's {_MANIFEST} is not the list that its pin asks for. Install odbuild again.")
    return files


def render_manifest(files: Mapping[str, GitFile]) -> str:
    """Return the text of `upstream.manifest`: `mode id path` for each file, by path."""
    return "".join(f"{file.mode} {file.id} {path}\n" for path, file in sorted(files.items()))


def tree_ids(files: Mapping[str, GitFile]) -> dict[str, str]:
    """Return the git tree id of each top-level folder."""
    folders: dict[str, dict[str, GitFile]] = {}
    for path, file in files.items():
        top, _, rest = path.partition("/")
        folders.setdefault(top, {})[rest] = file
    return {top: archive.git_tree_id(inner) for top, inner in folders.items()}


def survey(folder: Path, tops: Sequence[str]) -> dict[str, GitFile]:
    """Return what lies in some folders of a folder, by path; what is no regular file has an empty id.

    Raises:
        OdbuildError: a file cannot be read.
    """
    try:
        return {path: _as_git(Path(entry)) for top in tops for path, entry in _walk(folder / top, top)}
    except OSError as error:
        raise OdbuildError(f"Cannot read {error.filename}: {error.strerror}.") from error


def differences(folder: Path) -> list[Difference]:
    """Return each path of a folder that is not what the pinned upstream has there, sorted.

    Raises:
        OdbuildError: a file cannot be read.
    """
    expected = manifest()
    found = survey(folder, sorted(read_pin().trees))
    problems = {
        path: _problem(folder / path, expected.get(path), found.get(path))
        for path in sorted(expected.keys() | found.keys())
    }
    return [Difference(path=path, problem=problem) for path, problem in problems.items() if problem]


def _problem(path: Path, expected: GitFile | None, found: GitFile | None) -> str | None:
    if found == expected:
        return None
    if found is None:
        return "is missing"
    if expected is None:
        return "is not upstream's"
    if not found.id:
        return "is not a regular file"
    if found.id == expected.id:
        return "is not executable" if expected.executable else "is executable"
    if archive.git_blob_id(_bytes(path).replace(b"\r\n", b"\n")) == expected.id:
        return "has CRLF line ends, upstream's are LF"
    return "has changed"


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, str]]:
    if folder.is_symlink() or folder.is_file():
        yield prefix, str(folder)
    elif folder.is_dir():
        yield from _walk_folder(folder, prefix)


def _walk_folder(folder: Path, prefix: str) -> Iterator[tuple[str, str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name in _BYPRODUCTS or entry.name.endswith(".pyc"):
                continue
            path = f"{prefix}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                yield from _walk_folder(Path(entry.path), path)
            else:
                yield path, entry.path


def _as_git(path: Path) -> GitFile:
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        return GitFile("")
    return GitFile(archive.git_blob_id(_bytes(path)), bool(status.st_mode & stat.S_IXUSR))


def _prove(folder: Path, pin: Pin) -> None:
    wrong = differences(folder)
    if not wrong:
        return
    first, more = wrong[0], len(wrong) - 1
    others = f" {more:,} more path{'s' if more > 1 else ''} differ." if more else ""
    hint = "clone with `git -c core.autocrlf=false clone`" if "CRLF" in first.problem else "undo all changes"
    raise OdbuildError(
        f"{folder / first.path} {first.problem}.{others} odbuild needs tensorflow/models at commit {pin.commit}, "
        f"to the last byte; in a clone: {hint}, `git checkout {pin.commit}`, `git clean -dfx research`."
    )


def _find_trees(path: Path, pin: Pin) -> Path:
    for folder in (path / "research", path):
        if all((folder / top).is_dir() for top in pin.trees):
            return folder
    if path.is_dir():
        wanted = " and ".join(pin.trees)
        raise UsageError(
            f"{path} holds no {wanted}. Name a clone of tensorflow/models, its research folder, or a folder "
            "that holds both."
        )
    raise UsageError(
        f"Unknown upstream {str(path)!r}: there is no such folder.{did_you_mean(str(path), SOURCES)} "
        f"Name a folder, or one of: {', '.join(SOURCES)}."
    )


def _is_whole(kept: Path, *, offline: bool, say: Say) -> bool:
    if not kept.is_dir():
        if offline:
            raise OdbuildError(
                f"Upstream is not in the cache ({kept}), and offline nothing can be fetched. Run once without "
                "--offline, or name a clone of tensorflow/models: --upstream DIR."
            )
        return False
    wrong = differences(kept)
    if not wrong:
        return True
    what = f"{kept / wrong[0].path} {wrong[0].problem}"
    if offline:
        raise OdbuildError(f"{what}: the cache is not to be trusted. {_heal(kept)}")
    say(f"{what}: bringing the cache back to upstream's state")
    return False


def _heal(kept: Path) -> str:
    return f"Run once without --offline to fetch it anew, or delete {kept}."


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise OdbuildError(f"Cannot read {path}: {error.strerror}.") from error


def _bring(source: str | Path, kept: Path, pin: Pin, say: Say) -> None:
    make_folder(kept.parent)
    _sweep(kept.parent)
    # In the cache itself: a rename into place works only on the same disk.
    with tempfile.TemporaryDirectory(prefix=_WORK, dir=kept.parent) as work:
        if isinstance(source, Path):
            tree = _copy(source, Path(work) / "copy")
            _prove(tree, pin)
        else:
            tree = _first_to_answer(source, pin, Path(work), say)
        _adopt(tree, kept, pin)


def _sweep(folder: Path) -> None:
    for left in folder.glob(f"{_WORK}*"):
        # A killed run could not tidy up; a running one is never this old.
        if time.time() - left.lstat().st_mtime > _STALE_SECONDS:
            shutil.rmtree(left, ignore_errors=True)


def _copy(folder: Path, target: Path) -> Path:
    for name, file in manifest().items():
        _place(target / name, _bytes(folder / name), file)
    return target


def _place(path: Path, data: bytes, file: GitFile) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(0o755 if file.executable else 0o644)


def _adopt(tree: Path, kept: Path, pin: Pin) -> None:
    try:
        tree.rename(kept)
    except OSError:
        if not kept.is_dir():
            raise
        # Either another build was quicker, or the entry is damaged. Mending it file by file never takes
        # a good file away from a build that is reading it. What is not upstream's goes first: it may be in
        # the place of a folder.
        for wrong in sorted(differences(kept), key=lambda wrong: (tree / wrong.path).is_file()):
            _mend(kept / wrong.path, tree / wrong.path)
        _prove(kept, pin)


def _mend(target: Path, source: Path) -> None:
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    if source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)
    else:
        target.unlink(missing_ok=True)


def _first_to_answer(source: str, pin: Pin, work: Path, say: Say) -> Path:
    ways = {"registry": _from_registry, "git": _from_git}
    asked = list(ways) if source == "auto" else [source]
    reasons: list[str] = []
    for name in asked:
        try:
            return ways[name](pin, work / name, say)
        except _UnavailableError as error:
            reasons.append(f"\n  {name}: {error}")
    raise OdbuildError(
        "Upstream is not in the cache and could not be fetched. Check the network and run again, or name a clone "
        f"of tensorflow/models that has the commit {pin.commit}: --upstream DIR. What was tried:{''.join(reasons)}"
    )


def _from_registry(pin: Pin, work: Path, say: Say) -> Path:
    work.mkdir()
    say("fetching upstream from the package index (two wheels, 22 MB)")
    tree = _unpack(zip(_download(pin.wheels, work), pin.wheels, strict=True), work / "tree")
    return _proven(tree, pin)


def _proven(tree: Path, pin: Pin) -> Path:
    try:
        _prove(tree, pin)
    except OdbuildError as error:
        raise _UnavailableError(str(error)) from error
    return tree


def _download(wheels: Sequence[Wheel], work: Path) -> list[Path]:
    wanted, target = work / "wanted.txt", work / "wheels"
    wanted.write_text("".join(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n" for wheel in wheels))
    options = ("--no-deps", "--require-hashes", "--only-binary=:all:", "--retries=1", "--no-input", "--quiet")
    command = [*_pip(), "download", *options, "--disable-pip-version-check", "--progress-bar=off"]
    # A rule of the user's for installing; nothing is installed here.
    environment = os.environ | {"PIP_REQUIRE_VIRTUALENV": "0"}
    _run([*command, "-r", str(wanted), "-d", str(target)], work, environment, _INDEX_SECONDS)
    brought = {archive.sha256(path): path for path in target.glob("*.whl")}
    for wheel in wheels:
        if wheel.sha256 not in brought:
            raise _UnavailableError(f"pip brought no {wheel.requirement} with sha256 {wheel.sha256}")
    return [brought[wheel.sha256] for wheel in wheels]


def _pip() -> list[str]:
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    pip = shutil.which("pip3") or shutil.which("pip")
    if pip is None:
        raise _UnavailableError(f"{sys.executable} has no pip; `python -m ensurepip` adds it")
    return [pip]


def _unpack(wheels: Iterable[tuple[Path, Wheel]], target: Path) -> Path:
    for path, wheel in wheels:
        with zipfile.ZipFile(path) as packed:
            for member in packed.namelist():
                name = member.removeprefix(f"{wheel.folder}/")
                # Any name but upstream's own stays out: generated code, and what might lead elsewhere.
                if name != member and name in (wheel.only or manifest()):
                    _place(target / name, packed.read(member), manifest()[name])
    return target


def _from_git(pin: Pin, work: Path, say: Say) -> Path:
    work.mkdir()
    url = os.environ.get("ODBUILD_UPSTREAM_GIT") or pin.repository
    say(f"fetching upstream by git from {url}")
    environment = _git_environment(work)
    folders = [f"/research/{top}/" for top in sorted(pin.trees)]
    for arguments in (
        ("init", "--quiet", "--template=", "."),
        ("remote", "add", "origin", url),
        ("config", "remote.origin.promisor", "true"),
        ("config", "remote.origin.partialclonefilter", "blob:none"),
        ("config", "core.sparseCheckout", "true"),
        ("config", "core.autocrlf", "false"),
        ("config", "core.fileMode", "true"),
        ("config", "http.lowSpeedLimit", "1000"),
        ("config", "http.lowSpeedTime", "30"),
        ("fetch", "--quiet", "--no-tags", "--depth=1", "--filter=blob:none", "origin", pin.commit),
    ):
        _run(["git", *arguments], work, environment, _GIT_FETCH_SECONDS)
    info = work / ".git" / "info"
    info.mkdir(exist_ok=True)
    (info / "sparse-checkout").write_text("".join(f"{folder}\n" for folder in folders))
    # Above any .gitattributes: the bytes as they were committed.
    (info / "attributes").write_text("* -text -eol -filter -ident -working-tree-encoding\n")
    _run(["git", "checkout", "--quiet", "--detach", pin.commit], work, environment, _GIT_CHECKOUT_SECONDS)
    return _proven(work / "research", pin)


def _git_environment(work: Path) -> dict[str, str]:
    # A caller's GIT_DIR (odbuild inside a hook), hooks, filters and rewritten URLs must not take part;
    # proxies and certificates must.
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("GIT_") or key.startswith(("GIT_SSL_", "GIT_PROXY_"))
    }
    return kept | {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CEILING_DIRECTORIES": str(work.parent),
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "true",
        "LC_ALL": "C",
    }


def _run(command: Sequence[str], folder: Path, environment: Mapping[str, str], seconds: float) -> None:
    # Its own session: it can ask nothing of the terminal, and its helpers end with it.
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise _UnavailableError(f"cannot run {command[0]}: {error.strerror}") from error
    with process:
        try:
            _, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired as error:
            _end(process)
            raise _UnavailableError(f"{Path(command[0]).name} took longer than {seconds:.0f} s") from error
        except BaseException:
            _end(process)
            raise
    if process.returncode:
        if os.strerror(errno.ENOSPC) in errors:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise _UnavailableError(_telling(errors) or f"{command[0]} ended with exit code {process.returncode}")


def _end(process: subprocess.Popen[str]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _telling(errors: str) -> str:
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    marked = [found[1] for line in lines if (found := re.match(r"(?:error|fatal): *(.+)", line, re.IGNORECASE))]
    # Without a network pip says at last that there is no such version, and why only in a warning before.
    broken = re.search(r"connection broken by (.+)", errors)
    because = f" (connection broken by {broken[1]})" if broken else ""
    # Of a crash it is the last line that tells.
    first = lines[-1] if marked[:1] == ["Exception:"] else (marked or lines or [""])[0]
    return f"{first}{because}"[:500]
