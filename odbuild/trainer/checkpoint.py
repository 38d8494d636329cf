"""Get the checkpoint that training starts from, and prove that training did start from it."""

import hashlib
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .download import Patience, download
from .errors import OdbuildError
from .recipe import Checkpoint
from .unpack import unpack

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


PART = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})$")


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
    prefix = path.with_name(PART.sub("", path.name))
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


def require_whole(prefix: Path) -> None:
    """Refuse a checkpoint that was copied in part: each shard's name says how many there are.

    Raises:
        OdbuildError: If a shard is missing.
    """
    present = {file.name.removeprefix(f"{prefix.name}.data-") for file in files(prefix)}
    counts = {count for shard in present if (count := shard.rpartition("-of-")[2]).isdecimal()}
    wanted = {f"{shard:05d}-of-{count}" for count in counts for shard in range(int(count))}
    missing = sorted(wanted - present)
    if missing or not wanted:
        lost = f"{prefix.name}.data-{missing[0] if missing else '00000-of-00001'}"
        raise OdbuildError(f"{prefix}: the checkpoint lacks {lost}. Copy all of its files.")


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


def digests(prefix: Path) -> dict[str, str]:
    """Name a checkpoint by the content of its files: SHA-256 in hex by file name."""
    return {path.name: _digest(path, "sha256") for path in files(prefix)}


def fetch(checkpoint: Checkpoint, folder: Path, say: Say, *, patience: Patience | None = None) -> Path:
    """Download a checkpoint's archive, prove it, unpack the checkpoint alone, and return its prefix.

    Raises:
        OdbuildError: If the archive cannot be had, is not the one expected, or holds no such checkpoint.
    """
    archive = folder / "archive.tar.gz"
    fetch_archive(checkpoint, archive, say, patience=patience)
    try:
        name, others = str(checkpoint.url), checkpoint.alternatives
        return unpack(archive, checkpoint.prefix, folder, name=name, alternatives=others)
    finally:
        archive.unlink()


def fetch_archive(checkpoint: Checkpoint, target: Path, say: Say, *, patience: Patience | None = None) -> None:
    """Have a checkpoint's archive at a path, proven by all that the recipe knows of it.

    What is there already is taken if it is that archive; else it is downloaded anew.

    Raises:
        OdbuildError: If the archive cannot be had, or is not the one expected.
    """
    if is_archive(checkpoint, target):
        return
    if checkpoint.url is None:
        raise OdbuildError(f"{checkpoint.prefix}: the catalogue knows no address for this checkpoint")
    say(f"downloading the checkpoint {checkpoint.url}")
    digests = _digests(checkpoint)
    download(checkpoint.url, target, say=say, size=checkpoint.size, digests=digests, patience=patience)


def is_archive(checkpoint: Checkpoint, path: Path) -> bool:
    """Say whether a file is there and is the checkpoint's archive, by all that the recipe knows of it."""
    if not path.is_file() or checkpoint.size not in {None, path.stat().st_size}:
        return False
    return all(_digest(path, name) == expected for name, expected in _digests(checkpoint).items())


def _digests(checkpoint: Checkpoint) -> dict[str, str]:
    known = {"sha256": checkpoint.sha256, "sha384": checkpoint.sha384}
    return {name: digest for name, digest in known.items() if digest is not None}


def _digest(path: Path, name: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, name).hexdigest()


def _escaped(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


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
