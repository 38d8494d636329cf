"""Each rule of checkpoints at its very border: what just breaks it and what just does not."""

from pathlib import Path

from odbuild import zoo
from odbuild.rules import weights
from odbuild.rules.weights import Weights
from odbuild.tensors import Tensor
from odbuild.trainer.crc import masked_crc

VARIABLES = zoo.find("ssd_mobilenet_v1")
OBJECTS = zoo.find("ssd_mobilenet_v2_320x320")


def told(value: Weights) -> list[tuple[str, str, str]]:
    return [(one.message, one.where, one.value) for one in weights.damaged(value)]


def held(folder: Path, *files: bytes) -> Weights:
    """Return a checkpoint of two data files, those that are given on disk; of its tensors one is of strings."""
    prefix = folder / "model.ckpt"
    value = Weights(
        prefix=prefix,
        shards=2,
        tensors={
            "first": Tensor(shard=0, offset=0, size=4, crc=masked_crc(b"abcd")),
            "second": Tensor(shard=0, offset=4, size=1000, crc=masked_crc(b"e" * 1000)),
            "text": Tensor(shard=1, offset=2, size=4, crc=None),
        },
    )
    for number, data in enumerate(files):
        value.data(number).write_bytes(data)
    return value


def test_data_files_are_named_by_number_and_count(tmp_path: Path) -> None:
    assert held(tmp_path).data(1) == tmp_path / "model.ckpt.data-00001-of-00002"


def test_data_files_that_are_missing_or_cut(tmp_path: Path) -> None:
    whole = b"abcd" + b"e" * 1000
    value = held(tmp_path, whole)
    assert told(value) == [("a data file of the checkpoint is missing", "model.ckpt.data-00001-of-00002", "")]
    assert not told(held(tmp_path, whole, b"......"))
    assert told(held(tmp_path, whole[:-1], b".....")) == [
        ("a data file of the checkpoint is cut", "model.ckpt.data-00000-of-00002", "1,003 of 1,004 bytes"),
        ("a data file of the checkpoint is cut", "model.ckpt.data-00001-of-00002", "5 of 6 bytes"),
    ]
    assert not told(held(tmp_path, whole + b"more", b"more than six"))


def test_a_data_file_without_tensors_may_be_empty(tmp_path: Path) -> None:
    value = Weights(prefix=tmp_path / "model.ckpt", shards=1, tensors={})
    assert len(told(value)) == 1
    value.data(0).touch()
    assert not told(value)


def test_every_tensor_is_compared_with_its_checksum(tmp_path: Path) -> None:
    value = held(tmp_path, b"abcD" + b"e" * 1000, b"any text")
    assert told(value) == [("a tensor of the checkpoint is damaged", '"first"', "")]


def test_a_checkpoint_is_of_one_line(tmp_path: Path) -> None:
    graph = {weights.OBJECT_GRAPH: Tensor(shard=0, offset=0, size=0, crc=None)}
    for tensors, model, value in (
        ({}, VARIABLES, None),
        (graph, OBJECTS, None),
        (graph, None, None),
        ({}, OBJECTS, f"TF1, {OBJECTS.name} is of TF2"),
        (graph, VARIABLES, f"TF2, {VARIABLES.name} is of TF1"),
    ):
        found = list(weights.style(Weights(prefix=tmp_path / "x", shards=1, tensors=tensors, model=model)))
        assert [(one.where, one.value) for one in found] == ([("x", value)] if value else [])
