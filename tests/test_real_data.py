"""Every real dataset beside the repository converts, and upstream reads back what its source says."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from odbuild.trainer import readers
from odbuild.trainer.convert import convert
from odbuild.trainer.dataset import Box
from odbuild.trainer.findings import place
from odbuild.trainer.index import Converted
from odbuild.trainer.policies import Policies

PICTURES = {"bccd_voc": 364, "cones_cubes_yolo": 187, "pens_toys": 120}
"""Pictures of each dataset, as its README counts them."""

EMPTY = {
    "bccd_voc": [
        'annotations["JPEGImages/BloodImage_00338.jpg"][12]',
        'annotations["JPEGImages/BloodImage_00343.jpg"][3]',
    ]
}
"""The boxes without an extent, by name."""

DECODE = """
import json, sys
from pathlib import Path
from odbuild.trainer import compat
compat.install("tf2")
import tensorflow as tf
from object_detection.data_decoders.tf_example_decoder import TfExampleDecoder
for folder in map(Path, sys.argv[1:]):
    decoder = TfExampleDecoder(label_map_proto_file=str(folder / "label_map.pbtxt"))
    decode = tf.function(decoder.decode, input_signature=[tf.TensorSpec([], tf.string)])
    for shard in sorted(folder.glob("*.record*")):
        for record in tf.data.TFRecordDataset(str(shard)):
            seen = decode(record)
            print(json.dumps({
                "dataset": folder.name,
                "shard": shard.name,
                "key": seen["source_id"].numpy().decode(),
                "shape": seen["image"].shape.as_list(),
                "boxes": seen["groundtruth_boxes"].numpy().tolist(),
                "classes": seen["groundtruth_classes"].numpy().tolist(),
            }))
"""
"""Prints what upstream's own decoder makes of each record."""


@dataclass(frozen=True)
class Made:
    """A dataset that was converted: where it was, and what came of it."""

    source: Path
    converted: Converted

    @property
    def ledger(self) -> list[Mapping[str, Any]]:
        lines = (self.converted.folder / "ledger.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def boxes(self) -> dict[str, list[Box]]:
        """Return the boxes of the source by picture, but for those that the ledger lists as dropped."""
        lost = {line["where"] for line in self.ledger if line["action"] == "dropped"}
        pictures = readers.read(self.source)[0].pictures
        return {it.key: [box for box in it.boxes if place(it.key, box.index) not in lost] for it in pictures}


@pytest.fixture(scope="module")
def made(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    folder, policies = tmp_path_factory.mktemp("converted"), Policies(shard_bytes=2 << 20)
    sources = {name: shared / "data" / name for name in PICTURES}
    return {
        name: Made(source, convert(source, folder / name, policies, lambda _: None))
        for name, source in sources.items()
    }


@pytest.fixture(scope="module")
def decoded(made: Mapping[str, Made], unpacked: str) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Return what upstream's decoder sees, by dataset and picture."""
    folders = [str(one.converted.folder) for one in made.values()]
    environment = {**os.environ, "PYTHONPATH": unpacked, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", DECODE, *folders]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    found = {name: {line["key"]: line for line in lines if line["dataset"] == name} for name in made}
    assert sum(map(len, found.values())) == len(lines), "a picture stands in two records"
    return found


def test_there_is_no_other_data(shared: Path) -> None:
    others = {path.name for path in (shared / "data").iterdir()} - PICTURES.keys()
    # It is a checkpoint.
    assert others == {"ssdlite_mobilenet_v2_coco"}


@pytest.mark.parametrize("name", PICTURES)
def test_it_converts_and_nothing_but_empty_boxes_is_lost(made: Mapping[str, Made], name: str) -> None:
    one = made[name]
    sides = (one.converted.train, one.converted.validation)
    assert sum(side.pictures for side in sides) == PICTURES[name]
    assert sum(side.boxes for side in sides) == sum(map(len, one.boxes().values()))
    assert len(one.converted.train.shards) > 1
    assert [line["where"] for line in one.ledger] == EMPTY.get(name, [])
    assert {(line["action"], line["what"], line["code"]) for line in one.ledger} <= {("dropped", "box", "BOX202")}


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", PICTURES)
def test_tensorflow_reads_every_shard_back(
    made: Mapping[str, Made], decoded: Mapping[str, Mapping[str, Any]], name: str
) -> None:
    converted, seen = made[name].converted, decoded[name]
    shards = [shard for side in (converted.train, converted.validation) for shard in side.shards]
    counts = [sum(it["shard"] == shard.path.name for it in seen.values()) for shard in shards]
    assert counts == [shard.count for shard in shards]
    assert seen.keys() == made[name].boxes().keys()
    assert {it["shape"][2] for it in seen.values()} == {3}


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", PICTURES)
def test_upstream_decodes_the_same_boxes_to_float32(
    made: Mapping[str, Made], decoded: Mapping[str, Mapping[str, Any]], name: str
) -> None:
    numbers = {label: number for number, label in enumerate(made[name].converted.labels, 1)}
    for key, boxes in made[name].boxes().items():
        edges = np.array([(box.ymin, box.xmin, box.ymax, box.xmax) for box in boxes], np.float32)
        assert decoded[name][key]["boxes"] == edges.tolist()
        assert decoded[name][key]["classes"] == [numbers[box.label] for box in boxes]
