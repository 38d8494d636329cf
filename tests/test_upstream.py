"""Upstream is proven whatever brings it, and what goes wrong on the way is told in words."""

import contextlib
import dataclasses
import os
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from odbuild import archive, upstream
from odbuild.archive import GitFile
from odbuild.errors import OdbuildError, UsageError
from odbuild.upstream import Upstream, Wheel

Tamper = Callable[[Path], object]

FETCH = """\
import pathlib, sys
from odbuild import upstream
from odbuild.errors import OdbuildError
cache, source, *rest = sys.argv[1:]
try:
    print(upstream.fetch(source, cache=pathlib.Path(cache), offline="offline" in rest, say=print).path)
except OdbuildError as error:
    sys.exit(str(error))
"""


def quiet(_: str) -> None:
    pass


def left_in(cache: Path) -> list[str]:
    """Return what lies in the cache of upstreams, hidden leftovers included."""
    folder = cache / "upstream"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def link_tree(source: Path, target: Path) -> None:
    """Copy a folder in no time; what a test spoils it must `own` first."""

    def link(one: str, other: str) -> None:
        try:
            os.link(one, other)
        except OSError:
            shutil.copy2(one, other)

    shutil.copytree(source, target, copy_function=link)


def own(path: Path) -> Path:
    """Put a true copy in the place of a linked file or folder, where there is one."""
    aside = path.with_name("aside")
    if path.is_dir():
        shutil.copytree(path, aside)
        shutil.rmtree(path)
        aside.rename(path)
    elif path.exists():
        shutil.copy2(path, aside)
        aside.replace(path)
    return path


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"#")


def to_crlf(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))


def to_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere.md"))
    path.symlink_to("elsewhere.md")


def to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "inner").write_bytes(b"")


def folder_to_file(path: Path) -> None:
    shutil.rmtree(path)
    path.write_bytes(b"")


def without_files(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir()


def folder_to_link(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to("moved", target_is_directory=True)


# name: what is done below the folder of both trees, the first path that then differs, and how that is told
TAMPERED: Mapping[str, tuple[str, Tamper, str]] = {
    "changed": ("slim/setup.py", append, "slim/setup.py has changed"),
    "missing": ("slim/nets/vgg.py", Path.unlink, "slim/nets/vgg.py is missing"),
    "extra": ("slim/zz.py", Path.touch, "slim/zz.py is not upstream's"),
    "generated": (
        "object_detection/protos/a_pb2.py",
        Path.touch,
        "object_detection/protos/a_pb2.py is not upstream's",
    ),
    "not executable": (
        "slim/scripts/export_mobilenet.sh",
        lambda path: path.chmod(0o644),
        "slim/scripts/export_mobilenet.sh is not executable",
    ),
    "executable": ("slim/README.md", lambda path: path.chmod(0o755), "slim/README.md is executable"),
    "crlf": ("slim/README.md", to_crlf, "slim/README.md has CRLF line ends"),
    "link": ("slim/README.md", to_link, "slim/README.md is not a regular file"),
    "folder": ("slim/README.md", to_folder, "slim/README.md is missing"),
    "file for a folder": (
        "object_detection/builders",
        folder_to_file,
        "object_detection/builders is not upstream's",
    ),
    "link for a folder": (
        "object_detection/builders",
        folder_to_link,
        "object_detection/builders is not upstream's",
    ),
    "no slim files": ("slim", without_files, "slim/BUILD is missing"),
    "link for all of slim": ("slim", folder_to_link, "slim is not upstream's"),
}


@pytest.fixture
def clone(upstream_tree: Upstream, tmp_path: Path) -> Path:
    """Return a copy of the two folders that a test may spoil, laid out as in a clone."""
    link_tree(upstream_tree.path, tmp_path / "clone" / "research")
    return tmp_path / "clone"


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> str:
    """Point pip and git at a port where nobody listens, and return its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    for name in [name for name in os.environ if name.startswith("PIP_") or name.casefold().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", f"{address}/simple")
    monkeypatch.setenv("ODBUILD_UPSTREAM_GIT", f"{address}/models.git")
    return address


# The pin and its list


def test_the_list_proves_itself_and_names_every_file() -> None:
    files = upstream.manifest()
    assert len(files) == 803
    assert sum(file.executable for file in files.values()) == 6
    assert upstream.tree_ids(files) == dict(upstream.read_pin().trees)


@given(st.data())
def test_any_change_of_the_list_changes_the_proof(data: st.DataObject) -> None:
    files = dict(upstream.manifest())
    path = data.draw(st.sampled_from(sorted(files)))
    file = files.pop(path)
    change = data.draw(st.sampled_from(["gone", "mode", "bytes", "name"]))
    if change == "mode":
        files[path] = dataclasses.replace(file, executable=not file.executable)
    elif change == "bytes":
        files[path] = GitFile(archive.git_blob_id(data.draw(st.binary())), file.executable)
    elif change == "name":
        files[f"{path}_"] = file
    assert upstream.tree_ids(files) != dict(upstream.read_pin().trees)


def test_the_list_is_what_the_tree_gives(upstream_tree: Upstream) -> None:
    files = upstream.survey(upstream_tree.path, sorted(upstream_tree.trees))
    assert upstream.render_manifest(files) == upstream.render_manifest(upstream.manifest())
    assert files == upstream.manifest()


# From a folder


@pytest.mark.parametrize("inner", [".", "research"])
def test_a_folder_is_taken_offline_and_then_needed_no_more(inner: str, clone: Path, cache: Path) -> None:
    first = upstream.fetch(clone / inner, cache=cache, offline=True, say=quiet)
    assert not upstream.differences(first.path)
    shutil.rmtree(clone)
    assert upstream.fetch("auto", cache=cache, offline=True, say=pytest.fail) == first
    assert left_in(cache) == [first.commit]


def test_a_folder_may_hold_byproducts_and_none_is_taken(clone: Path, cache: Path) -> None:
    for name in ("slim/__pycache__/x.py", "slim/.DS_Store", "object_detection/x.pyc"):
        (clone / "research" / name).parent.mkdir(exist_ok=True)
        (clone / "research" / name).touch()
    taken = upstream.fetch(str(clone), cache=cache, offline=False, say=quiet).path
    assert not list(taken.rglob("*.pyc"))
    assert not (taken / "slim" / "__pycache__").exists()


@pytest.mark.parametrize("case", TAMPERED)
def test_a_folder_that_is_not_upstream_is_refused_by_path(case: str, clone: Path, cache: Path) -> None:
    name, tamper, told = TAMPERED[case]
    tamper(own(clone / "research" / name))
    with pytest.raises(OdbuildError) as refusal:
        upstream.fetch(clone, cache=cache, offline=False, say=quiet)
    assert str(refusal.value).startswith(f"{clone / 'research' / told}")
    assert upstream.read_pin().commit in str(refusal.value)
    assert not left_in(cache)


def test_a_clone_with_crlf_everywhere_is_told_what_to_do(clone: Path, cache: Path) -> None:
    for path in clone.rglob("*.py"):
        to_crlf(own(path))
    with pytest.raises(OdbuildError, match=r"CRLF.* [45]\d\d more paths differ\..*core\.autocrlf=false"):
        upstream.fetch(clone, cache=cache, offline=False, say=quiet)


def test_unknown_sources_are_bad_usage(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(UsageError, match=r"no such folder\. Did you mean 'registry'\?"):
        upstream.fetch("registy", cache=cache, offline=False, say=quiet)
    with pytest.raises(UsageError, match="holds no object_detection and slim"):
        upstream.fetch(tmp_path, cache=cache, offline=False, say=quiet)


# The cache


def test_offline_and_cold_is_one_sentence_and_touches_nothing(cache: Path) -> None:
    with pytest.raises(OdbuildError, match=r"not in the cache .* --upstream DIR"):
        upstream.fetch("auto", cache=cache, offline=True, say=pytest.fail)
    assert not cache.exists()


@pytest.mark.parametrize("case", TAMPERED)
def test_a_tampered_cache_is_named_then_mended(case: str, upstream_tree: Upstream, cache: Path) -> None:
    source = upstream_tree.path
    kept = cache / "upstream" / upstream_tree.commit
    link_tree(source, kept)
    name, tamper, told = TAMPERED[case]
    tamper(own(kept / name))
    with pytest.raises(OdbuildError) as refusal:
        upstream.fetch("auto", cache=cache, offline=True, say=quiet)
    assert str(refusal.value).startswith(f"{kept / told}")
    said: list[str] = []
    assert upstream.fetch(source, cache=cache, offline=False, say=said.append).path == kept
    assert any(told in line for line in said)
    assert not upstream.differences(kept)
    assert left_in(cache) == [kept.name]


def test_mending_leaves_good_files_alone(upstream_tree: Upstream, cache: Path) -> None:
    kept = upstream.fetch(upstream_tree.path, cache=cache, offline=True, say=quiet).path
    good = (kept / "slim/README.md").stat().st_ino
    append(kept / "slim/setup.py")
    upstream.fetch(upstream_tree.path, cache=cache, offline=True, say=quiet)
    assert (kept / "slim/README.md").stat().st_ino == good


def test_reading_proves_each_file(upstream_tree: Upstream, cache: Path) -> None:
    tree = upstream.fetch(upstream_tree.path, cache=cache, offline=True, say=quiet)
    assert upstream.read(tree, "slim/setup.py") == (tree.path / "slim/setup.py").read_bytes()
    append(tree.path / "slim/setup.py")
    (tree.path / "slim/BUILD").unlink()
    with pytest.raises(OdbuildError, match=r"setup\.py has changed"):
        upstream.read(tree, "slim/setup.py")
    with pytest.raises(OdbuildError, match="BUILD: No such file"):
        upstream.read(tree, "slim/BUILD")
    with pytest.raises(OdbuildError, match=r"Did you mean 'slim/setup\.py'"):
        upstream.read(tree, "slim/setup.pi")


def test_two_builds_at_once_share_a_cold_cache(upstream_tree: Upstream, cache: Path) -> None:
    command = [sys.executable, "-c", FETCH, str(cache), str(upstream_tree.path)]
    builds = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    told = [build.communicate()[0].strip() for build in builds]
    assert [build.returncode for build in builds] == [0, 0, 0]
    assert len(set(told)) == 1
    assert not upstream.differences(Path(told[0]))
    assert left_in(cache) == [Path(told[0]).name]


def test_a_killed_build_is_swept_up_by_a_later_one(upstream_tree: Upstream, cache: Path) -> None:
    command = [sys.executable, "-c", FETCH, str(cache), str(upstream_tree.path)]
    with subprocess.Popen(command) as build:
        while not left_in(cache):
            assert build.poll() is None
            time.sleep(0.001)
        build.kill()
    assert upstream.read_pin().commit not in left_in(cache)
    for left in (cache / "upstream").iterdir():
        os.utime(left, (0, 0))
    tree = upstream.fetch(upstream_tree.path, cache=cache, offline=True, say=quiet)
    assert left_in(cache) == [tree.commit]


def test_an_interrupt_leaves_nothing(cache: Path, no_network: str) -> None:
    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upstream.fetch("auto", cache=cache, offline=False, say=interrupt)
    assert not left_in(cache)


def test_a_full_disk_is_told(
    upstream_tree: Upstream, cache: Path, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    with full_disk(50_000), pytest.raises(OdbuildError, match=r"File too large\. Free some space"):
        upstream.fetch(upstream_tree.path, cache=cache, offline=True, say=quiet)
    assert not left_in(cache)


def test_a_cache_that_cannot_be_written_is_told(upstream_tree: Upstream, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OdbuildError, match="ODBUILD_CACHE"):
        upstream.fetch(upstream_tree.path, cache=tmp_path / "file" / "cache", offline=True, say=quiet)


# From the package index


def test_a_disk_that_pip_or_git_finds_full_is_told_as_such(tmp_path: Path) -> None:
    program = "import os, sys; sys.exit(os.strerror(28))"
    with pytest.raises(OSError, match="No space left"):
        upstream._run([sys.executable, "-c", program], tmp_path, os.environ, 60.0)


def test_without_network_both_reasons_and_two_ways_out_are_told(cache: Path, no_network: str) -> None:
    with pytest.raises(OdbuildError) as failure:
        upstream.fetch("auto", cache=cache, offline=False, say=quiet)
    told = str(failure.value)
    assert "registry: Could not find a version" in told
    assert "connection broken" in told
    assert f"git: unable to access '{no_network}" in told
    assert "--upstream DIR" in told
    assert not left_in(cache)


def test_a_wheel_of_another_hash_is_refused(
    cache: Path, no_network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for wheel in upstream.read_pin().wheels:
        write_wheel(tmp_path, wheel, {f"{wheel.folder}/slim/evil.py": b""})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(OdbuildError, match=r"(?i)registry: .*do not match the hashes"):
        upstream.fetch("registry", cache=cache, offline=False, say=quiet)
    assert not left_in(cache)


def test_wheels_give_upstream_without_what_else_they_hold(
    upstream_tree: Upstream, no_network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin = upstream.read_pin()
    whole, edited = pin.wheels
    files = {f"{whole.folder}/{name}": upstream.read(upstream_tree, name) for name in upstream.manifest()}
    files |= {f"{whole.folder}/{name}": b"edited" for name in edited.only}
    files |= {f"{whole.folder}/object_detection/protos/ssd_pb2.py": b"", f"{whole.folder}/../evil": b""}
    originals = {f"{edited.folder}/{name}": upstream.read(upstream_tree, name) for name in edited.only}
    originals[f"{edited.folder}/slim/setup.py"] = b"older"
    wheels = (write_wheel(tmp_path, whole, files), write_wheel(tmp_path, edited, originals))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    tree = upstream._from_registry(dataclasses.replace(pin, wheels=wheels), tmp_path / "work", quiet)
    assert not upstream.differences(tree)
    with pytest.raises(OdbuildError, match=r"data_parser\.py has changed"):
        upstream._from_registry(dataclasses.replace(pin, wheels=wheels[:1]), tmp_path / "less", quiet)


def write_wheel(folder: Path, wheel: Wheel, files: Mapping[str, bytes]) -> Wheel:
    """Write a wheel that pip takes for the pinned one, and return its own pin."""
    name, _, version = wheel.requirement.partition("==")
    stem = f"{name.replace('-', '_')}-{version}"
    path = folder / f"{stem}-py3-none-any.whl"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    tags = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(path, "w") as packed:
        for member, data in files.items():
            packed.writestr(member, data)
        packed.writestr(f"{stem}.dist-info/METADATA", metadata)
        packed.writestr(f"{stem}.dist-info/WHEEL", tags)
        packed.writestr(f"{stem}.dist-info/RECORD", "")
    return dataclasses.replace(wheel, sha256=archive.sha256(path))


@pytest.mark.network
def test_the_package_index_gives_upstream(cache: Path) -> None:
    tree = upstream.fetch("registry", cache=cache, offline=False, say=quiet)
    assert not upstream.differences(tree.path)


# From git


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_git_gives_upstream_whatever_the_user_has_configured(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (clone / ".gitattributes").write_text("* text eol=crlf\n")
    (clone / "other").mkdir()
    (clone / "other" / "big").write_bytes(os.urandom(1000))
    commit = make_repository(clone)
    hostile = tmp_path / "home"
    hooks = hostile / "hooks"
    hooks.mkdir(parents=True)
    (hooks / "post-checkout").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\nexit 1\n")
    (hooks / "post-checkout").chmod(0o755)
    (hostile / ".gitconfig").write_text(
        f'[core]\nautocrlf = true\nhooksPath = {hooks}\nfileMode = false\n[url "x:"]\ninsteadOf = "file:"\n'
    )
    monkeypatch.setenv("HOME", str(hostile))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setenv("ODBUILD_UPSTREAM_GIT", clone.as_uri())
    pin = dataclasses.replace(upstream.read_pin(), commit=commit)
    tree = upstream._from_git(pin, tmp_path / "work", quiet)
    assert not upstream.differences(tree)
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "work" / "other").exists()


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_git_of_something_else_is_refused_by_path(
    clone: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(own(clone / "research" / "slim" / "setup.py"))
    pin = dataclasses.replace(upstream.read_pin(), commit=make_repository(clone))
    monkeypatch.setenv("ODBUILD_UPSTREAM_GIT", clone.as_uri())
    with pytest.raises(OdbuildError, match=r"slim/setup\.py has changed"):
        upstream._from_git(pin, tmp_path / "work", quiet)
    with pytest.raises(OdbuildError, match="git: "):  # there is no such commit
        upstream.fetch("git", cache=cache, offline=False, say=quiet)
    assert not left_in(cache)


def make_repository(folder: Path) -> str:
    """Commit a folder, byte for byte, and return the commit's id."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    identity = ["-c", "user.name=t", "-c", "user.email=t@t.invalid"]

    def git(*arguments: str) -> str:
        command = ["git", *identity, *arguments]
        return subprocess.run(
            command, cwd=folder, env=environment, check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init", "-q")
    (folder / ".git" / "info").mkdir(exist_ok=True)
    (folder / ".git" / "info" / "attributes").write_text("* -text\n")
    git("config", "core.compression", "0")
    git("config", "uploadpack.allowFilter", "true")
    git("config", "uploadpack.allowAnySHA1InWant", "true")
    git("add", "--force", ".")
    git("commit", "-q", "-m", "t")
    return git("rev-parse", "HEAD")


def test_without_git_that_is_the_reason(
    cache: Path, no_network: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OdbuildError, match="git: cannot run git: No such file"):
        upstream.fetch("git", cache=cache, offline=False, say=quiet)


@contextlib.contextmanager
def a_server_that_never_answers() -> Iterator[str]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_a_server_that_never_answers_is_given_up(
    cache: Path, no_network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "_GIT_FETCH_SECONDS", 1.0)
    with a_server_that_never_answers() as address:
        monkeypatch.setenv("ODBUILD_UPSTREAM_GIT", f"{address}/models.git")
        with pytest.raises(OdbuildError, match="git took longer than 1 s"):
            upstream.fetch("git", cache=cache, offline=False, say=quiet)
    assert not left_in(cache)


def test_a_process_given_up_takes_its_helpers_along(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    program = (
        "import subprocess, sys, pathlib, time\n"
        "helper = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"pathlib.Path({str(mark)!r}).write_text(str(helper.pid)); time.sleep(60)\n"
    )
    with pytest.raises(OdbuildError, match="longer than"):
        upstream._run([sys.executable, "-c", program], tmp_path, os.environ, 2.0)
    helper = Path(f"/proc/{mark.read_text()}")
    if not Path("/proc/self").exists():
        pytest.skip("looks into /proc")
    while helper.exists() and "Z" not in (helper / "stat").read_text().split():
        time.sleep(0.01)
