"""The runtime rows: which one is picked, what their locks hold, and what installing leaves."""

import ast
import base64
import contextlib
import hashlib
import io
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.markers import Marker
from packaging.requirements import Requirement

from odbuild import locks
from odbuild.trainer.errors import OdbuildError, UsageError
from odbuild.trainer.runtime.environment import place
from odbuild.trainer.runtime.host import Host, canonical, installed_in, left_to_host
from odbuild.trainer.runtime.install import check_room
from odbuild.trainer.runtime.interpreter import MINOR, REQUIREMENTS
from odbuild.trainer.runtime.lock import Pin, missing, read_lock
from odbuild.trainer.runtime.machine import card_memory, describe, graphics, tell
from odbuild.trainer.runtime.markers import applies, marker_environment
from odbuild.trainer.runtime.rows import Row, load_rows, pick
from odbuild.trainer.runtime.state import MARK
from odbuild.trainer.runtime.unpack import SDISTS, unpack_sdists

ROWS = load_rows()
LOCKS = [(row, device) for row in ROWS for device in ("cpu", "gpu")]
#: Pins that trained, evaluated and exported on each row.
TRIED = {
    "tf2.15": {
        "numpy": "1.26.4",
        "protobuf": "4.25.9",
        "keras": "2.15.0",
        "tensorboard": "2.15.2",
        "tf-models-official": "2.15.0",
    },
    "tf2.21": {
        "numpy": "2.4.6",
        "protobuf": "7.36.2",
        "tf-keras": "2.21.0",
        "tensorboard": "2.21.0",
        "tf-models-official": "2.20.0",
    },
}
TRIED_ON_BOTH = {
    "tf-slim": "1.1.0",
    "pycocotools": "2.0.11",
    "scipy": "1.17.1",
    "pillow": "13.0.0",
    "matplotlib": "3.11.2",
    "six": "1.17.0",
    "tensorflow-estimator": "2.15.0",
    "crc32c": "2.9.post0",
    "pyyaml": "6.0.3",
}
PLATFORMS = [("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64")]
PAYLOAD = REQUIREMENTS.parent


def machine(python: str, system: str = "linux", processor: str = "x86_64") -> dict[str, str]:
    return marker_environment() | {
        "python_version": python,
        "python_full_version": f"{python}.4",
        "sys_platform": system,
        "platform_machine": processor,
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
    }


def lock(row: Row, device: str) -> list[Pin]:
    return read_lock(REQUIREMENTS / f"{row.name}-{device}.txt")


# --- which row ---


@pytest.mark.parametrize(
    ("python", "tensorflow", "wanted", "picked"),
    [
        ("3.11", None, "", "tf2.21"),
        ("3.12", None, "", "tf2.21"),
        ("3.13", None, "", "tf2.21"),
        ("3.11", "2.15.0", "", "tf2.15"),
        ("3.11", "2.15.1", "", "tf2.15"),
        ("3.11", "2.21.0", "", "tf2.21"),
        ("3.11", "2.15.1+nv24.1", "", "tf2.15"),
        ("3.11", "2.16.2", "", "tf2.21"),
        ("3.11", "2.150.0", "", "tf2.21"),
        ("3.12", "2.15.1", "", "tf2.21"),
        ("3.11", None, "tf2.15", "tf2.15"),
        ("3.11", "2.15.1", "tf2.21", "tf2.21"),
    ],
)
def test_pick(python: str, tensorflow: str | None, wanted: str, picked: str) -> None:
    host = Host(python=python, tensorflow=("tensorflow", tensorflow) if tensorflow else None)
    row, reason = pick(ROWS, host, wanted)
    assert row.name == picked
    assert reason


@pytest.mark.parametrize("python", ["3.6", "3.10", "3.14", "4.0"])
def test_no_row_fits(python: str) -> None:
    with pytest.raises(OdbuildError, match=r"Python 3\.11, 3\.12 or 3\.13 is needed.*ODBUILD_PYTHON"):
        pick(ROWS, Host(python=python))


def test_an_unknown_row() -> None:
    with pytest.raises(UsageError, match=r"'tf2\.12'\. Did you mean 'tf2\.\d+'\? Rows: tf2\.21, tf2\.15\."):
        pick(ROWS, Host(python="3.11"), "tf2.12")


def test_a_row_for_another_python() -> None:
    with pytest.raises(UsageError, match=r"tf2\.15 needs Python 3\.11, and this is 3\.13"):
        pick(ROWS, Host(python="3.13"), "tf2.15")


@pytest.mark.parametrize(
    ("tensorflow", "virtual", "writable", "where"),
    [
        (None, True, True, "here"),
        ("2.21.0", True, True, "here"),
        ("2.16.0", True, True, "isolated"),
        (None, True, False, "isolated"),
        ("2.21.0", True, False, "isolated"),
        (None, False, True, "isolated"),
        ("2.21.0", False, True, "inherit"),
        ("2.21.0", False, False, "inherit"),
        ("2.16.0", False, True, "isolated"),
    ],
)
def test_place(tensorflow: str | None, virtual: bool, writable: bool, where: str) -> None:  # noqa: FBT001
    host = Host(
        python="3.11",
        tensorflow=("tensorflow", tensorflow) if tensorflow else None,
        virtual=virtual,
        writable=writable,
    )
    assert place(ROWS[0], host) == where


# --- the locks ---


@pytest.mark.parametrize(("row", "device"), LOCKS)
def test_every_pin_is_exact_and_hashed(row: Row, device: str) -> None:
    for pin in lock(row, device):
        first, *hashes = pin.text.rstrip().split(" \\\n    ")
        requirement = Requirement(first)
        assert (requirement.name, str(requirement.specifier)) == (pin.name, f"=={pin.version}")
        assert hashes
        for line in hashes:
            name, digest = line.rsplit(":", 1)
            assert name == "--hash=sha256"
            assert len(bytes.fromhex(digest)) == 32


@pytest.mark.parametrize(("row", "device"), LOCKS)
def test_one_version_each(row: Row, device: str) -> None:
    for python, (system, processor) in itertools.product(row.pythons, PLATFORMS):
        pins = missing(lock(row, device), {}, machine(python, system, processor))
        names = [pin.name for pin in pins]
        assert len(names) == len(set(names))
        assert len({"tensorflow", "tensorflow-cpu"}.intersection(names)) == 1


@pytest.mark.parametrize(("row", "device"), LOCKS)
def test_the_pins_are_those_that_were_tried(row: Row, device: str) -> None:
    held = {pin.name: pin.version for pin in missing(lock(row, device), {}, machine("3.11"))}
    tensorflow = "tensorflow-cpu" if device == "cpu" else "tensorflow"
    patch = {"tf2.15": "2.15.1", "tf2.21": "2.21.0"}[row.name]
    expected = TRIED_ON_BOTH | TRIED[row.name] | {tensorflow: patch}
    assert {name: held.get(name) for name in expected} == expected
    assert patch.startswith(row.tensorflow + ".")
    assert any(name.startswith("nvidia-") for name in held) == (device == "gpu")


@pytest.mark.parametrize(("row", "device"), LOCKS)
def test_tf_models_official_comes_alone(row: Row, device: str) -> None:
    names = {pin.name for pin in lock(row, device)}
    assert "tf-models-official" in names
    assert not names & {"tensorflow-text", "tensorflow-datasets", "tensorflow-hub", "sentencepiece", "kaggle"}


@pytest.mark.parametrize(("row", "device"), LOCKS)
def test_the_lock_holds_what_its_source_asks_for(row: Row, device: str) -> None:
    pins = lock(row, device)
    for line in sources(REQUIREMENTS / f"{row.name}-{device}.in"):
        asked = Requirement(line)
        for python in row.pythons:
            environment = machine(python)
            if not asked.marker or asked.marker.evaluate(environment):
                held = {pin.name: pin.version for pin in missing(pins, {}, environment)}
                assert held[asked.name] in asked.specifier, f"{asked}: run `nox -s lock`"


def sources(path: Path) -> list[str]:
    found = []
    for line in path.read_text().splitlines():
        if line.startswith("-r "):
            found += sources(path.parent / line.removeprefix("-r "))
        elif line and not line.startswith("#"):
            found.append(line)
    return found


def test_no_file_names_an_index() -> None:
    for path in REQUIREMENTS.iterdir():
        text = path.read_text()
        assert "://" not in text, path
        assert "index-url" not in text, path


def test_a_row_has_its_files() -> None:
    for row in ROWS:
        assert sorted(row.gigabytes) == ["cpu", "gpu"]
        assert list(row.pythons) == sorted(row.pythons, key=lambda word: int(word.split(".")[1]))


@pytest.mark.parametrize(
    "text", ["numpy", "numpy>=1 \\\n    --hash=sha256:ab", "numpy==1", "numpy==1 \\\n    --hash=md5:ab"]
)
def test_a_lock_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.txt").write_text(f"# header\n{text}\n")
    with pytest.raises(OdbuildError, match=r"bad\.txt: no exact pin with a hash: 'numpy"):
        read_lock(tmp_path / "bad.txt")


@pytest.mark.parametrize(
    ("wheel", "fits"),
    [
        ("numpy-2.4.6-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl", True),
        ("numpy-2.4.6-cp313-cp313-macosx_14_0_arm64.whl", True),
        ("numpy-2.4.6-cp313-cp313t-manylinux_2_28_x86_64.whl", False),
        ("numpy-2.4.6-cp314-cp314-manylinux_2_28_x86_64.whl", False),
        ("numpy-2.4.6-cp311-cp311-musllinux_1_2_x86_64.whl", False),
        ("numpy-2.4.6-cp311-cp311-win_amd64.whl", False),
        ("numpy-2.4.6-cp311-cp311-manylinux2014_ppc64le.manylinux_2_17_ppc64le.whl", False),
        ("cryptography-50.0.2-cp39-abi3-manylinux_2_28_x86_64.whl", True),
        ("cryptography-50.0.2-cp314-abi3-manylinux_2_28_x86_64.whl", False),
        ("astunparse-1.6.3-py2.py3-none-any.whl", True),
        ("nvidia_nccl_cu12-2.16.5-py3-none-manylinux1_x86_64.whl", True),
        ("old-1-py2-none-any.whl", False),
    ],
)
def test_wheels_that_fit(wheel: str, fits: bool) -> None:  # noqa: FBT001
    assert locks.fits(wheel, ("3.11", "3.12", "3.13")) is fits


# --- markers ---


def test_markers_of_the_locks_agree_with_packaging() -> None:
    markers = {pin.marker for row, device in LOCKS for pin in lock(row, device) if pin.marker}
    assert markers
    for marker, python, (system, processor) in itertools.product(markers, ("3.11", "3.12", "3.13"), PLATFORMS):
        environment = machine(python, system, processor)
        assert applies(marker, environment) == Marker(marker).evaluate(environment), marker


VERSIONS = st.builds(
    lambda minor, patch: f"3.{minor}{patch}", st.integers(9, 14), st.sampled_from(["", ".0", ".4", ".10"])
)
COMPARED = st.one_of(
    st.builds("python_full_version {} '{}'".format, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), VERSIONS),
    st.builds("python_full_version {} '3.{}.*'".format, st.sampled_from(["==", "!="]), st.integers(9, 14)),
    st.builds("sys_platform {} '{}'".format, st.sampled_from(["==", "!="]), st.sampled_from(["linux", "win32"])),
)
MARKERS = st.recursive(
    COMPARED,
    lambda inner: st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or"]), inner),
    max_leaves=5,
)


@given(MARKERS, st.integers(9, 14), st.sampled_from(["linux", "darwin"]))
def test_markers_agree_with_packaging(marker: str, minor: int, system: str) -> None:
    environment = machine(f"3.{minor}", system)
    assert applies(marker, environment) == Marker(marker).evaluate(environment)


@pytest.mark.parametrize(
    "marker",
    ["", "linux", "extra == 'gpu'", "sys_platform ~= 'x'", "print('x')", "'a' < sys_platform < 'b'", "os_name =="],
)
def test_a_marker_that_is_none(marker: str) -> None:
    with pytest.raises(OdbuildError, match="marker that cannot be read"):
        applies(marker, machine("3.11"))


# --- what is missing ---


@given(st.data())
def test_missing_is_what_is_not_there(data: st.DataObject) -> None:
    pins = lock(ROWS[0], "cpu")
    all_of_it = {pin.name: pin.version for pin in missing(pins, {}, machine("3.13"))}
    gone = data.draw(st.sets(st.sampled_from(sorted(all_of_it))))
    older = data.draw(st.sets(st.sampled_from(sorted(all_of_it))))
    left = data.draw(st.sets(st.sampled_from(sorted(all_of_it))))
    installed = {
        name: "0.1" if name in older else version for name, version in all_of_it.items() if name not in gone
    }
    found = missing(pins, installed, machine("3.13"), left)
    assert {pin.name for pin in found} == (gone | older) - left


def test_what_a_host_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "tensorflow_gpu-2.15.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: tensorflow-gpu\nVersion: 2.15.0\nRequires-Dist: numpy<2.0.0,>=1.23.5\n"
        "Requires-Dist: ml_dtypes~=0.2.0\nRequires-Dist: six>=1.12.0\nRequires-Dist: keras<2.16\n"
        "Requires-Dist: nvidia-nccl-cu12==2.16.5; extra == 'and-cuda'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    pins = lock(ROWS[1], "gpu")
    host = Host(python="3.11", tensorflow=("tensorflow-gpu", "2.15.0"))
    installed = {"tensorflow-gpu": "2.15.0", "numpy": "1.25.0", "ml-dtypes": "0.2.0", "six": "1.16.0"}
    left = left_to_host(host, installed, [pin.name for pin in pins])
    wanted = {pin.name for pin in missing(pins, installed, machine("3.11"), left)}
    assert not wanted & {"tensorflow", "ml-dtypes", "six", "nvidia-nccl-cu12", "nvidia-cudnn-cu12"}
    # Keras is asked for but not there; numpy is always the locked one.
    assert wanted >= {"keras", "numpy", "tf-slim", "pillow", "crc32c"}


def test_nothing_is_left_without_a_tensorflow() -> None:
    assert left_to_host(Host(python="3.11"), {"six": "1"}, ["six", "nvidia-nccl-cu12"]) == set()


@given(st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,8}[A-Za-z0-9])?", fullmatch=True))
def test_canonical_names(name: str) -> None:
    from packaging.utils import canonicalize_name

    assert canonical(name) == canonicalize_name(name)


def test_installed_in() -> None:
    from importlib.metadata import version

    assert installed_in(Path(sys.executable))["pytest"] == version("pytest")


def test_no_room(tmp_path: Path) -> None:
    pins = lock(ROWS[0], "cpu")
    with pytest.raises(OdbuildError, match=r"No room: installing TensorFlow takes 1000000.* GB"):
        check_room(tmp_path, 1e6, pins)
    check_room(tmp_path, 1e6, [pin for pin in pins if pin.name == "six"])


# --- the machine ---


@pytest.mark.parametrize(
    ("script", "gpus", "memory"),
    [
        (
            "echo 'Tesla V100-SXM2-16GB, 535.1, 16384 MiB'; echo 'Tesla T4, 535.1, 15360 MiB'",
            ("Tesla V100-SXM2-16GB, 535.1, 16384 MiB", "Tesla T4, 535.1, 15360 MiB"),
            15 << 30,
        ),
        (
            "echo 'Tesla T4, 535.1, 15360 MiB'; echo 'MIG, 535.1, [N/A]'",
            ("Tesla T4, 535.1, 15360 MiB", "MIG, 535.1, [N/A]"),
            None,
        ),
        ("echo 'No devices were found'; exit 6", (), None),
        ("exit 0", (), None),
    ],
)
def test_graphics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, gpus: tuple[str, ...], memory: int | None
) -> None:
    if Path("/dev/nvidia0").exists():
        pytest.skip("this machine has a card")
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert graphics() == gpus
    assert card_memory(gpus) == memory


def test_describe(tmp_path: Path) -> None:
    said: list[str] = []
    tell(describe(tmp_path), said.append)
    assert sys.executable in said[0]
    assert "GiB of memory" in said[0]
    assert said[1].startswith("GPU: ")


# --- old Pythons ---

#: What Python reads before it is known to be new enough.
OLD_WORDS = ("__init__.py", "errors.py", "runtime/__init__.py", "runtime/__main__.py", "runtime/interpreter.py")


def test_no_more_than_that_is_read_early() -> None:
    code = (
        "import sys, odbuild.trainer.runtime.__main__; "
        "print(*(module.__file__ for name, module in sys.modules.items() if name.startswith('odbuild.trainer')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {str(Path(file).relative_to(PAYLOAD)) for file in done.stdout.split()} == set(OLD_WORDS)


@pytest.mark.parametrize("name", OLD_WORDS)
def test_the_syntax_is_that_of_an_old_python(name: str) -> None:
    tree = ast.parse((PAYLOAD / name).read_text(), feature_version=(3, 7))
    for node in ast.walk(tree):
        assert not isinstance(node, ast.NamedExpr)
        if isinstance(node, ast.ImportFrom):
            assert node.level or (node.module or "").split(".")[0] in sys.stdlib_module_names
            assert node.module != "__future__"
        if isinstance(node, ast.Import):
            assert all(alias.name.split(".")[0] in sys.stdlib_module_names for alias in node.names)


@pytest.mark.parametrize("minor", range(6, 11))
def test_an_old_python_says_so(tmp_path: Path, minor: int) -> None:
    old = old_python(minor)
    if old is None:
        pytest.skip(f"no Python 3.{minor} here")
    shutil.copytree(PAYLOAD, tmp_path / "trainer", ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run(
        [old, "-m", "trainer.runtime", "setup"],
        cwd=tmp_path,
        env={"PATH": os.defpath, "ODBUILD_PYTHON": old},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f"Python 3.{minor}." in done.stderr
    assert "Python 3.11, 3.12 or 3.13 is needed" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_old_python_goes_on_with_a_newer_one(tmp_path: Path) -> None:
    old = next(filter(None, map(old_python, range(10, 5, -1))), None)
    if old is None:
        pytest.skip("no old Python here")
    shutil.copytree(PAYLOAD, tmp_path / "trainer", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "bin").mkdir()
    newer = tmp_path / "bin" / f"python{MINOR}"
    newer.symlink_to(base_python())
    done = subprocess.run(
        [old, "-m", "trainer.runtime", "setup"],
        cwd=tmp_path,
        # The unknown row ends the newer Python's run before it installs anything.
        env={"PATH": str(newer.parent), "ODBUILD_ROW": "none"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"going on with {newer}\n" in done.stdout
    assert done.returncode == 2
    assert done.stderr.startswith("ODBUILD_ROW: unknown row 'none'.")


def old_python(minor: int) -> str | None:
    installed = sorted(Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python"))
    return str(installed[-1]) if installed else None


def base_python() -> str:
    return str(Path(sys.base_prefix) / "bin" / f"python{MINOR}")


# --- installing, for real, from wheels made here ---


def make_wheel(folder: Path, name: str, version: str) -> str:
    """Write a wheel of one empty module; return its sha256."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": b"",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip('=')},{len(data)}\n"
        for path, data in files.items()
    )
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in files.items():
            archive.writestr(member, data)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make_sdist(folder: Path, name: str, members: Mapping[str, bytes]) -> None:
    with tarfile.open(folder / f"{name}.tar.gz", "w:gz") as archive:
        for member, data in members.items():
            entry = tarfile.TarInfo(member)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Lay out a bundle with a row of its own: two small packages, whose wheels lie inside."""
    if subprocess.run([base_python(), "-c", "import ensurepip"], capture_output=True, check=False).returncode:
        pytest.skip(f"{base_python()} cannot make virtual environments")
    folder = tmp_path / "trainer"
    (folder / "wheels").mkdir(parents=True)
    shutil.copytree(PAYLOAD, folder / "trainer", ignore=shutil.ignore_patterns("__pycache__", "*.txt"))
    requirements = folder / "trainer" / "requirements"
    row = {"name": "demo", "tensorflow": "9.9", "pythons": [MINOR], "gigabytes": {"cpu": 1, "gpu": 1}}
    (requirements / "rows.json").write_text(json.dumps({"rows": [row]}))
    pins = {name: make_wheel(folder / "wheels", name, "1.0") for name in ("demoone", "demotwo")}
    text = "".join(f"{name}==1.0 \\\n    --hash=sha256:{digest}\n" for name, digest in pins.items())
    for device in ("cpu", "gpu"):
        (requirements / f"demo-{device}.txt").write_text(text)
    make_sdist(folder, "object_detection-0.1", {"object_detection-0.1/object_detection/__init__.py": b"one"})
    make_sdist(folder, "slim-0.1", {"slim-0.1/nets/__init__.py": b"two"})
    return folder


def set_up(bundle: Path, python: Path | None = None, **changes: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [python or base_python(), "-m", "trainer.runtime", "setup"],
        cwd=bundle,
        env={"PATH": os.environ["PATH"], "HOME": str(bundle)} | changes,
        capture_output=True,
        text=True,
        check=False,
    )


def test_setup_installs_what_is_missing_once(bundle: Path) -> None:
    first = set_up(bundle, PIP_USER="1", PIP_TARGET="/no/such/folder")
    assert (first.returncode, first.stderr) == (0, "")
    assert f"Packages to install into {bundle / 'venv'}: 2\n" in first.stdout
    assert "Installed: demoone 1.0, demotwo 1.0\n" in first.stdout
    python = Path((bundle / ".odbuild" / "python").read_text().rstrip("\n"))
    assert installed_in(python).items() >= {"demoone": "1.0", "demotwo": "1.0"}.items()
    assert (bundle / "slim-0.1" / "nets" / "__init__.py").read_bytes() == b"two"
    facts = json.loads((bundle / ".odbuild" / "runtime.json").read_text())
    assert facts["row"] == "demo"
    assert facts["cores"] >= 1

    again = set_up(bundle)
    assert (again.returncode, again.stderr) == (0, "")
    assert f"Everything is installed in {bundle / 'venv'}\n" in again.stdout

    # Inside a virtual environment, that one is used, and only what went missing comes back.
    subprocess.run([python, "-m", "pip", "uninstall", "-q", "-y", "demotwo"], check=True)
    shutil.move(bundle / "venv" / MARK, bundle / "elsewhere")
    inside = set_up(bundle, python)
    assert (inside.returncode, inside.stderr) == (0, "")
    assert "Installed: demotwo 1.0\n" in inside.stdout
    assert "Everything is installed" in set_up(bundle, python).stdout

    # An interrupted run leaves the mark; what it left is not trusted.
    (bundle / "venv" / MARK).write_text("incomplete")
    assert "Installed: demoone 1.0, demotwo 1.0\n" in set_up(bundle, python).stdout
    assert "Everything is installed" in set_up(bundle, python).stdout
    (bundle / "venv" / MARK).write_text("incomplete")
    (bundle / "venv" / "rubbish").touch()
    resumed = set_up(bundle)
    assert (resumed.returncode, resumed.stderr) == (0, "")
    assert "to install into" in resumed.stdout
    assert not (bundle / "venv" / "rubbish").exists()


def test_setup_without_ensurepip(bundle: Path) -> None:
    # As on Debian without python3-venv: the environment is bare, and the pip outside fills it.
    (bundle / "venv.py").write_text(
        "import os, runpy, sys\n"
        "if '--without-pip' not in sys.argv: sys.exit('ensurepip is not available')\n"
        "sys.path[:] = [path for path in sys.path if path not in ('', os.getcwd())]\n"
        "runpy.run_module('venv', run_name='__main__', alter_sys=True)\n"
    )
    done = set_up(bundle)
    if "has no pip" in done.stderr:
        assert "apt-get install python3-venv" in done.stderr
        pytest.skip(f"{base_python()} has no pip that can fill another environment")
    assert (done.returncode, done.stderr) == (0, "")
    assert not list(bundle.glob("venv/lib/*/site-packages/pip"))
    assert list(bundle.glob("venv/lib/*/site-packages/demoone.py"))


def test_setup_refuses_another_file_than_the_locked_one(bundle: Path) -> None:
    make_wheel(bundle / "wheels", "demoone", "1.0")
    with zipfile.ZipFile(bundle / "wheels" / "demoone-1.0-py3-none-any.whl", "a") as wheel:
        wheel.writestr("more.py", "")
    done = set_up(bundle)
    assert done.returncode == 1
    assert done.stderr.endswith(
        "pip could not install. The index serves other files than the locked ones: use another index.\n"
    )
    assert "Traceback" not in done.stderr
    assert not (bundle / ".odbuild" / "python").exists()


def test_setup_names_a_wheel_that_is_missing(bundle: Path) -> None:
    (bundle / "wheels" / "demotwo-1.0-py3-none-any.whl").unlink()
    done = set_up(bundle)
    assert done.returncode == 1
    assert "demotwo==1.0" in done.stderr
    assert done.stderr.endswith("lacks it for this Python and machine.\n")


def test_setup_leaves_a_venv_of_others_alone(bundle: Path) -> None:
    (bundle / "venv").mkdir()
    (bundle / "venv" / "precious").touch()
    done = set_up(bundle)
    assert done.returncode == 1
    assert "venv was not made by odbuild: move it away" in done.stderr
    assert (bundle / "venv" / "precious").exists()


def test_setup_takes_no_other_words() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "odbuild.trainer.runtime", "install"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (2, "Usage: python3 -m trainer.runtime setup\n")


def test_sigterm_takes_pip_along(tmp_path: Path) -> None:
    code = (
        "import signal; from odbuild.trainer.runtime import __main__, child; "
        "signal.signal(signal.SIGTERM, __main__._stop); "
        f"child.run(['sh', '-c', 'echo $$ >{tmp_path}/pid; exec sleep 60'])"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as run:
        while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text().endswith("\n")):
            assert run.poll() is None
            time.sleep(0.01)
        # The child speaks before `Popen` has returned it to its parent, who cannot end it until then.
        time.sleep(0.5)
        run.send_signal(signal.SIGTERM)
    assert run.returncode == 143
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


# --- upstream's archives ---


def test_unpacking_replaces_what_was_there(tmp_path: Path) -> None:
    for name in SDISTS:
        make_sdist(tmp_path, name, {f"{name}/new.py": b"new"})
        (tmp_path / name).mkdir()
        (tmp_path / name / "old.py").touch()
    unpack_sdists(tmp_path)
    for name in SDISTS:
        assert [path.name for path in (tmp_path / name).iterdir()] == ["new.py"]


@pytest.mark.parametrize(
    "member", ["../out.py", "object_detection-0.1/../../out.py", "/out.py", "slim-0.1/out.py", "out.py"]
)
def test_unpacking_refuses_to_leave_its_folder(tmp_path: Path, member: str) -> None:
    make_sdist(tmp_path, "object_detection-0.1", {member: b""})
    with pytest.raises(OdbuildError, match="does not belong there"):
        unpack_sdists(tmp_path)
    assert not list(tmp_path.rglob("out.py"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_unpacking_refuses_what_is_no_file(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "object_detection-0.1.tar.gz", "w:gz") as archive:
        entry = tarfile.TarInfo("object_detection-0.1/link")
        entry.type, entry.linkname = kind, "/etc/passwd"
        archive.addfile(entry)
    with pytest.raises(OdbuildError, match="does not belong there"):
        unpack_sdists(tmp_path)


@given(st.data())
def test_unpacking_a_damaged_archive(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in SDISTS:
            make_sdist(Path(folder), name, {f"{name}/one.py": b"some text " * 9})
        archive = Path(folder, "object_detection-0.1.tar.gz")
        content = bytearray(archive.read_bytes())
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] ^= data.draw(st.integers(1, 255))
        archive.write_bytes(bytes(content))
        # A byte of the header may not matter; nothing but our own error may come out.
        with contextlib.suppress(OdbuildError):
            unpack_sdists(Path(folder))


@pytest.mark.parametrize("content", [None, b"", b"no archive", b"\x1f\x8b\x08\x00cut"])
def test_unpacking_a_broken_archive(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "object_detection-0.1.tar.gz").write_bytes(content)
    with pytest.raises(OdbuildError, match=r"cannot be unpacked .*Build the bundle again"):
        unpack_sdists(tmp_path)
    assert not (tmp_path / "object_detection-0.1").exists()
