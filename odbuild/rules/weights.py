"""Checks of checkpoints: complete, undamaged, and of the TensorFlow that the model needs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from odbuild import tensors, zoo
from odbuild.tensors import Tensor
from odbuild.trainer import checkpoint
from odbuild.trainer.findings import Finding, Rule, quote
from odbuild.trainer.rules.catalogue import rule

OBJECT_GRAPH = checkpoint.OBJECT_GRAPH.decode()

_LACKING = Rule("CKP801", "error", "a data file of the checkpoint is missing", "copy all files of the checkpoint")
_CUT = Rule("CKP801", "error", "a data file of the checkpoint is cut", "copy it again")
_DAMAGED = Rule(
    "CKP801", "error", "a tensor of the checkpoint is damaged", "copy or download the checkpoint again"
)
_STYLE = Rule(
    "CKP802", "error", "the checkpoint is of the other TensorFlow line than the model", "take the model's own"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """A checkpoint to judge.

    Attributes:
        prefix: its path without `.index`.
        shards: data files that its index counts.
        tensors: by name.
        model: the catalogue's model that is to start from it, if named.
    """

    prefix: Path
    shards: int
    tensors: Mapping[str, Tensor]
    model: zoo.Model | None = None

    def data(self, shard: int) -> Path:
        """Return the path of a data file."""
        return self.prefix.with_name(f"{self.prefix.name}.data-{shard:05d}-of-{self.shards:05d}")


def read(path: Path, model: zoo.Model | None) -> Weights:
    """Read the index of the checkpoint at a path: its prefix, one of its files, or its folder.

    Raises:
        OdbuildError: there is none, or its index cannot be read.
    """
    prefix = checkpoint.find_prefix(path)
    shards, found = tensors.read_index(prefix.with_name(f"{prefix.name}.index"))
    return Weights(prefix=prefix, shards=shards, tensors=found, model=model)


@rule("CKP801", "error", "the checkpoint is incomplete or damaged")
def damaged(weights: Weights) -> Iterator[Finding]:
    """A file of the checkpoint is missing, cut or changed; every tensor is compared with its checksum.

    Training ends when it restores it, or starts from noise. Copy or download it again.
    """
    for shard in range(weights.shards):
        path = weights.data(shard)
        inside = {name: one for name, one in weights.tensors.items() if one.shard == shard}
        end = max((one.offset + one.size for one in inside.values()), default=0)
        if not path.is_file():
            yield _LACKING.at(path.name)
        elif path.stat().st_size < end:
            yield _CUT.at(path.name, f"{path.stat().st_size:,} of {end:,} bytes")
        else:
            yield from (_DAMAGED.at(quote(name)) for name, one in inside.items() if not tensors.intact(path, one))


@rule("CKP802", "error", "the checkpoint is of the other TensorFlow line than the model")
def style(weights: Weights) -> Iterator[Finding]:
    """A TF1 checkpoint names variables, a TF2 checkpoint holds objects; neither loop restores the other's.

    Needs `--model`. Take the checkpoint that the zoo gives for the model.
    """
    kind = "tf2" if OBJECT_GRAPH in weights.tensors else "tf1"
    if weights.model is not None and weights.model.zoo != kind:
        yield _STYLE.at(
            weights.prefix.name, f"{kind.upper()}, {weights.model.name} is of {weights.model.zoo.upper()}"
        )
