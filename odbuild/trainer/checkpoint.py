"""Get the checkpoint that training starts from, and prove that training did start from it."""

import gzip
import hashlib
import http.client
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import OdbuildError
from .recipe import Checkpoint

Say = Callable[[str], None]

MIN_RESTORED = 0.5
"""The least share of the variables common to model and checkpoint that must hold the checkpoint's values.

Upstream restores all of them for a TF1 model and 79 % for a TF2 SSD, whose heads it leaves new; a run that
ignored its checkpoint holds a few per cent, by chance of equal initial values.
"""

MIN_COMMON = 0.5
"""The least share of the model's variables that a checkpoint of the same model has: the rest is heads."""

OBJECT_GRAPH = b"_CHECKPOINTABLE_OBJECT_GRAPH"
"""The first key of every object-based (TF2) checkpoint, stored in full in its index."""

MAX_UNPACKED = 4 << 30
"""Bytes that an archive may unpack to: four times the largest archive of the zoos."""

CHUNK = 1 << 20


def find_prefix(path: Path) -> Path:
    """Return the checkpoint's prefix (`.../model.ckpt`) for a prefix, one of its files, or a folder.

    Raises:
        OdbuildError: If there is no checkpoint, more than one, or one without its data.
    """
    if path.is_dir():
        found = sorted(path.glob("*.index"))
        if len(found) != 1:
            names = ", ".join(p.name for p in found) or "no file that ends in .index"
            raise OdbuildError(f"{path}: expected one checkpoint in this folder, found {names}. Name its prefix.")
        path = found[0]
    prefix = path.with_suffix("") if path.suffix == ".index" else path
    if not prefix.with_name(f"{prefix.name}.index").is_file():
        raise OdbuildError(f"{prefix}: no checkpoint here (there is no {prefix.name}.index)")
    if not any(prefix.parent.glob(f"{_escaped(prefix.name)}.data-*")):
        raise OdbuildError(f"{prefix}: the checkpoint lacks its {prefix.name}.data-* files")
    return prefix


def exists(prefix: Path) -> bool:
    """Say whether a checkpoint of this prefix is there, its data too."""
    return len(files(prefix)) > 1


def files(prefix: Path) -> list[Path]:
    """List the files of a checkpoint: the index and every shard of the data, sorted."""
    name = _escaped(prefix.name)
    return sorted([*prefix.parent.glob(f"{name}.index"), *prefix.parent.glob(f"{name}.data-*")])


def require_style(prefix: Path, zoo: str) -> None:
    """Refuse a checkpoint of the other TensorFlow: names of variables in TF1, a graph of objects in TF2.

    Raises:
        OdbuildError: If the checkpoint is of the other kind.
    """
    index = prefix.with_name(f"{prefix.name}.index").read_bytes()
    kind = "tf2" if OBJECT_GRAPH in index else "tf1"
    if kind != zoo:
        raise OdbuildError(
            f"{prefix}: this is a {kind.upper()} checkpoint, but the model is of the {zoo.upper()} zoo. "
            f"Take the checkpoint of the model itself."
        )


def fetch(checkpoint: Checkpoint, folder: Path, say: Say) -> str:
    """Download a checkpoint's archive, prove it, unpack the checkpoint alone, and return its prefix.

    The archive is read over https and refused unless size and SHA-256 are the catalogue's, where it knows them.

    Raises:
        OdbuildError: If the archive cannot be had, is not the one expected, or holds no such checkpoint.
    """
    if checkpoint.url is None:
        raise OdbuildError(f"{checkpoint.prefix}: the catalogue knows no address for this checkpoint")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        archive = Path(scratch) / "archive.tar.gz"
        say(f"downloading the checkpoint {checkpoint.url}")
        _download(checkpoint, archive)
        return str(_unpack(archive, checkpoint, folder))


def _escaped(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def _download(checkpoint: Checkpoint, target: Path) -> None:
    url = str(checkpoint.url)
    if not url.startswith("https://"):
        raise OdbuildError(f"{url}: a checkpoint is only fetched over https")
    try:
        with urllib.request.urlopen(url, timeout=60) as answer, target.open("wb") as out:  # noqa: S310
            shutil.copyfileobj(answer, out, CHUNK)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise OdbuildError(
            f"{url}: the checkpoint cannot be downloaded ({reason}). Where the training machine has no network, "
            f"put the checkpoint into the bundle: odbuild bundle MODEL --checkpoint PATH"
        ) from error
    _prove(checkpoint, target)


def _prove(checkpoint: Checkpoint, archive: Path) -> None:
    size = archive.stat().st_size
    with archive.open("rb") as file:
        if file.read(2) != b"\x1f\x8b":
            raise OdbuildError(f"{checkpoint.url}: the answer is no gzip archive; a page of the host, perhaps")
    if checkpoint.size is not None and size != checkpoint.size:
        raise OdbuildError(f"{checkpoint.url}: {size} bytes came, expected {checkpoint.size}")
    for name in ("sha256", "sha384"):
        expected = getattr(checkpoint, name)
        if expected is not None and (seen := _digest(archive, name)) != expected:
            raise OdbuildError(f"{checkpoint.url}: {name} is {seen}, expected {expected}")


def _digest(path: Path, name: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, name).hexdigest()


def _unpack(archive: Path, checkpoint: Checkpoint, folder: Path) -> Path:
    """Write the members of one checkpoint, and nothing else of the archive, flat into a folder."""
    wanted = Path(checkpoint.prefix).name
    try:
        with tarfile.open(archive, "r:gz") as tar:
            members = list(_members(tar, wanted, checkpoint))
            for member in members:
                source = tar.extractfile(member)
                if source is not None:
                    with source, (folder / Path(member.name).name).open("wb") as out:
                        shutil.copyfileobj(source, out, CHUNK)
    except (tarfile.TarError, gzip.BadGzipFile, EOFError) as error:
        raise OdbuildError(f"{checkpoint.url}: the archive is damaged ({error})") from error
    return find_prefix(folder / wanted)


def _members(tar: tarfile.TarFile, wanted: str, checkpoint: Checkpoint) -> Iterable[tarfile.TarInfo]:
    seen: set[str] = set()
    total = 0
    for member in tar:
        path = Path(member.name)
        if not path.name.startswith((f"{wanted}.index", f"{wanted}.data-")):
            continue
        if not path.match(f"*/{_escaped(checkpoint.prefix)}.*"):
            continue
        total += member.size
        if not member.isreg() or path.name in seen or total > MAX_UNPACKED:
            raise OdbuildError(f"{checkpoint.url}: the archive's member {member.name!r} is refused as unsafe")
        seen.add(path.name)
        yield member


@dataclass(frozen=True, kw_only=True, slots=True)
class Restored:
    """How the model's variables compare with the checkpoint before the first step.

    Attributes:
        identical: Variables that hold the checkpoint's value.
        other_shape: Variables that the checkpoint has in another shape: heads sized by the classes.
        different: Variables of the same shape with another value: what was not restored.
        new: Variables that the checkpoint does not have.
    """

    identical: int
    other_shape: int
    different: int
    new: int

    def __str__(self) -> str:
        """Render the four counts as a sentence's part."""
        return (
            f"{self.identical} variables equal the checkpoint's, {self.other_shape} have another shape there, "
            f"{self.different} were not restored, {self.new} are new"
        )


def compare(reader: Any, variables: Mapping[str, Any]) -> Restored:
    """Compare variables with a checkpoint.

    Args:
        reader: A TensorFlow CheckpointReader.
        variables: Values as numpy arrays by their key in a checkpoint of this model.
    """
    import numpy as np

    shapes = reader.get_variable_to_shape_map()
    common = {key: value for key, value in variables.items() if key in shapes}
    same = {key: value for key, value in common.items() if tuple(shapes[key]) == np.shape(value)}
    identical = sum(np.array_equal(reader.get_tensor(key), value) for key, value in same.items())
    return Restored(
        identical=identical,
        other_shape=len(common) - len(same),
        different=len(same) - identical,
        new=len(variables) - len(common),
    )


def require_restored(restored: Restored, checkpoint: str) -> None:
    """Refuse to train a model that does not hold its checkpoint: upstream would do so without a word.

    Raises:
        OdbuildError: If the checkpoint is another model's, or was not restored.
    """
    common = restored.identical + restored.other_shape + restored.different
    if common < MIN_COMMON * (common + restored.new):
        raise OdbuildError(
            f"{checkpoint}: this checkpoint belongs to another model: it has {common} of the "
            f"{common + restored.new} variables of this one. Take the checkpoint of the model itself."
        )
    if restored.identical < MIN_RESTORED * (restored.identical + restored.different):
        raise OdbuildError(f"{checkpoint}: the checkpoint was not restored: {restored}")


def copy(prefix: Path, folder: Path) -> Path:
    """Copy a checkpoint into a folder, whole or not at all, and return its prefix there."""
    folder.mkdir(parents=True, exist_ok=True)
    for source in files(prefix):  # sorted, so the index comes last: without it there is no checkpoint
        partial = folder / f"{source.name}.partial"
        shutil.copyfile(source, partial)
        partial.replace(folder / source.name)
    return folder / prefix.name
