"""The sdists hold all that training reaches and nothing else, with the same bytes everywhere."""

import ast
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import venv
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from odbuild import sdists, upstream
from odbuild.archive import Entry
from odbuild.cache import cache_folder
from odbuild.errors import OdbuildError
from odbuild.protos import Protos
from odbuild.upstream import Upstream

# These bytes are part of every trainer.zip: whoever changes them tells the users.
GOLDEN = {
    "object_detection-0.1.tar.gz": "c63272180bca97008d582b3814eaf8b3ba5f0ab07ea0cb911ffdc2c57c3fdf13",
    "slim-0.1.tar.gz": "a0a051fe39df8255922dae1cb0e43e780cebcd47c2a4f69453c37b544f3cd055",
}

ROOTS = (
    "object_detection.model_main",
    "object_detection.model_main_tf2",
    "object_detection.exporter",
    "object_detection.exporter_lib_v2",
    "object_detection.exporter_main_v2",
    "object_detection.export_inference_graph",
    "object_detection.export_tflite_ssd_graph",
    "object_detection.export_tflite_ssd_graph_lib",
    "object_detection.export_tflite_graph_tf2",
    "object_detection.export_tflite_graph_lib_tf2",
)

PACK = """\
import hashlib, pathlib, sys
from odbuild import protos, sdists, upstream
warm, cold = map(pathlib.Path, sys.argv[1:])
tree = upstream.fetch(cache=warm, offline=True, say=print)
compiled = protos.compile_protos(tree, cache=cold, say=lambda _: None)
for entry in sdists.build(tree, compiled, cache=cold):
    print(entry.name, hashlib.sha256(entry.data).hexdigest())
"""


@pytest.fixture(scope="module")
def pair(upstream_tree: Upstream, compiled: Protos) -> tuple[Entry, Entry]:
    return sdists.build(upstream_tree, compiled, cache=cache_folder())


@pytest.fixture(scope="module")
def files(pair: tuple[Entry, Entry]) -> dict[str, bytes]:
    """Return every packed file by its path below the folder that the service's script changes into."""
    found: dict[str, bytes] = {}
    for entry in pair:
        with tarfile.open(fileobj=io.BytesIO(entry.data)) as packed:
            for member in packed:
                file = packed.extractfile(member)
                assert file is not None
                found[member.name] = file.read()
    return found


def by_module(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the source of every packed module by its dotted name."""
    below = {name.partition("/")[2]: data for name, data in files.items()}
    return {
        name.removesuffix(".py").removesuffix("/__init__").replace("/", "."): data
        for name, data in below.items()
        if name.endswith(".py") and "/" in name
    }


def upstream_modules() -> set[str]:
    """Return the dotted name of every module that upstream has, generated ones included."""
    names = {name.replace(".proto", "_pb2.py") for name in upstream.manifest()}
    python = {name.removeprefix("slim/").removesuffix(".py") for name in names if name.endswith(".py")}
    return {name.removesuffix("/__init__").replace("/", ".") for name in python}


def imports(source: bytes) -> Iterator[str]:
    """Return every name that a module may mean a module by, wherever in it the import stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_all_that_the_entry_points_reach_is_packed(files: dict[str, bytes]) -> None:
    packed, known = by_module(files), upstream_modules()
    payload = Path(sdists.__file__).parent / "trainer"
    asked = {name for path in payload.rglob("*.py") for name in imports(path.read_bytes())}
    waiting, seen = [*ROOTS, *sorted(asked & known)], set[str]()
    while waiting:
        name = waiting.pop()
        assert name in packed
        if name not in seen:
            seen.add(name)
            waiting += [other for other in imports(packed[name]) if other in known]
    assert len(seen) > 200


def test_no_packed_module_reaches_what_was_left_out(files: dict[str, bytes]) -> None:
    packed, known = by_module(files), upstream_modules()
    lacking = {
        (name, other) for name in packed for other in imports(packed[name]) if other in known - packed.keys()
    }
    assert not lacking


def test_every_folder_is_a_package_and_is_installed(files: dict[str, bytes]) -> None:
    for root in ("object_detection-0.1", "slim-0.1"):
        modules = [name.removeprefix(f"{root}/") for name in files if name.startswith(f"{root}/")]
        folders = {name.rpartition("/")[0] for name in modules if "/" in name}
        assert all(f"{folder}/__init__.py" in modules for folder in folders)
        setup = files[f"{root}/setup.py"].decode()
        (call,) = (node for node in ast.walk(ast.parse(setup)) if isinstance(node, ast.Call))
        given = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
        assert given["packages"] == sorted(folder.replace("/", ".") for folder in folders)
        assert (given["name"], given["version"]) == tuple(root.rsplit("-", 1))
        assert f"Name: {given['name']}\nVersion: 0.1\n" in files[f"{root}/PKG-INFO"].decode()


def test_nothing_but_code_and_its_licence_is_packed(files: dict[str, bytes]) -> None:
    inner = {name.partition("/")[2] for name in files}
    assert {name for name in inner if not name.endswith(".py")} == {"LICENSE", "PKG-INFO", "pyproject.toml"}
    assert not {name for name in inner if name.endswith(("_test.py", "_testbase.py", "_test_lib.py"))}
    assert {name.split("/")[1] for name in files if name.startswith("slim-0.1/") and name.count("/") > 1} == {
        *("datasets", "deployment", "nets", "preprocessing"),
    }
    assert files["slim-0.1/LICENSE"] == files["object_detection-0.1/LICENSE"]
    assert b"Apache License" in files["slim-0.1/LICENSE"]


def test_the_code_is_upstreams_and_the_protos(
    files: dict[str, bytes], upstream_tree: Upstream, compiled: Protos
) -> None:
    for name, data in files.items():
        root, _, inner = name.partition("/")
        if "/" not in inner:
            continue
        origin = f"slim/{inner}" if root == "slim-0.1" else inner
        assert data == (compiled.python.get(origin) or upstream.read(upstream_tree, origin))


def test_golden_bytes(pair: tuple[Entry, Entry]) -> None:
    assert {entry.name: hashlib.sha256(entry.data).hexdigest() for entry in pair} == GOLDEN


def test_bytes_do_not_depend_on_where_and_how(upstream_tree: Upstream, compiled: Protos, tmp_path: Path) -> None:
    ways: list[tuple[int, dict[str, str]]] = [
        (0o022, {"TZ": "UTC", "PYTHONHASHSEED": "1", "LC_ALL": "C"}),
        (0o077, {"TZ": "Asia/Kathmandu", "PYTHONHASHSEED": "2", "PYTHONUTF8": "1", "SOURCE_DATE_EPOCH": "7"}),
    ]
    builds = []
    for mask, extra in ways:
        folder = tmp_path / f"{mask:o}"
        folder.mkdir()
        command = [sys.executable, "-c", PACK, str(cache_folder()), str(folder / "cold")]
        environment = os.environ | extra | {"HOME": str(folder)}
        builds.append(
            subprocess.Popen(command, cwd=folder, env=environment, umask=mask, stdout=subprocess.PIPE, text=True)
        )
    told = [build.communicate()[0] for build in builds]
    assert [build.returncode for build in builds] == [0, 0]
    assert told[0] == told[1] == "".join(f"{name} {digest}\n" for name, digest in GOLDEN.items())


def test_the_cache_gives_the_same_heals_and_is_proven(
    pair: tuple[Entry, Entry], upstream_tree: Upstream, compiled: Protos, cache: Path
) -> None:
    (kept,) = (path for path in (cache_folder() / "sdists").iterdir() if pair[0].data in path.read_bytes())
    copy = cache / "sdists" / kept.name
    copy.parent.mkdir(parents=True)
    copy.write_bytes(kept.read_bytes())
    taken = copy.stat().st_mtime_ns
    assert sdists.build(upstream_tree, compiled, cache=cache) == pair
    assert copy.stat().st_mtime_ns == taken
    copy.write_bytes(kept.read_bytes().replace(b"slim-0.1", b"slim-0.2"))
    assert sdists.build(upstream_tree, compiled, cache=cache) == pair
    assert copy.read_bytes() == kept.read_bytes()


def test_other_metadata_is_never_taken_from_the_cache(
    pair: tuple[Entry, Entry], upstream_tree: Upstream, compiled: Protos, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = {entry.name: [Entry("a", b"")] for entry in pair}
    before = sdists._key(contents)
    for changed in ({"x": [Entry("a", b"")]}, {"x": [Entry("a", b"1")]}, {"x": [Entry("b", b"")]}):
        assert sdists._key({**contents, **changed}) != before
    monkeypatch.setattr(sdists, "ZOPFLI_ROUNDS", 1)
    assert sdists._key(contents) != before


def test_a_tampered_module_is_refused_though_the_cache_is_warm(
    pair: tuple[Entry, Entry], upstream_tree: Upstream, compiled: Protos, tmp_path: Path
) -> None:
    first, *rest = sdists.module_names()
    for name in (first, *rest):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(upstream.read(upstream_tree, name) + b"#" * (name == first))
    tampered = Upstream(path=tmp_path, commit=upstream_tree.commit, trees=upstream_tree.trees)
    with pytest.raises(OdbuildError, match=f"{first} has changed"):
        sdists.build(tampered, compiled, cache=cache_folder())


@pytest.mark.network
def test_pip_installs_both(pair: tuple[Entry, Entry], tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    for entry in pair:
        (tmp_path / entry.name).write_bytes(entry.data)
    archives = [str(tmp_path / entry.name) for entry in pair]
    subprocess.run([python, "-m", "pip", "install", "--quiet", *archives], check=True)
    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format=freeze"], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert {"object-detection==0.1", "slim==0.1"} <= {line.replace("_", "-") for line in listed}
    program = "import nets.mobilenet, datasets, object_detection.models.keras_models; print(nets.__file__)"
    done = subprocess.run([python, "-c", program], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert done.startswith(str(tmp_path / "venv"))
