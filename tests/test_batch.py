"""Laws of the batch: as large as the sample's, the device, the data and the memory allow, and never larger."""

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from odbuild import pipeline, protos, zoo
from odbuild.protos import Protos
from odbuild.trainer import batch
from odbuild.trainer.batch import Batch, Room
from odbuild.trainer.overrides import apply
from odbuild.trainer.recipe import Footprint
from odbuild.upstream import Upstream

TRAINABLE = [model for model in zoo.models() if not model.unavailable]
COUNT = Path(__file__).resolve().parent.parent / "benchmarks" / "memory.py"


class Samples(list[tuple[zoo.Model, Any]]):
    """Pairs of a model and its config, shown in few words: Hypothesis prints what it passes on."""

    def __repr__(self) -> str:
        return f"<{len(self)} samples>"


@pytest.fixture(scope="module")
def samples(upstream_tree: Upstream, compiled: Protos) -> Samples:
    read = protos.pipeline_class(compiled.descriptors)
    return Samples(
        (model, text_format.Parse(pipeline.derive(model, upstream_tree, compiled).text, read()))
        for model in TRAINABLE
    )


def choose(
    config: Any,
    held: Footprint | None,
    memory: int | None,
    *,
    device: str = "gpu",
    asked: Any = None,
    pictures: int = 999,
) -> Batch:
    room = Room(device=device, memory=memory)
    return batch.choose(config, asked or config, footprint=held, room=room, train_pictures=pictures)


memories = st.integers(0, 100 << 30)


@given(memory=memories, pictures=st.integers(1, 300), device=st.sampled_from(["gpu", "cpu"]))
def test_no_bound_is_crossed(samples: Samples, memory: int, pictures: int, device: str) -> None:
    for model, config in samples:
        chosen = choose(config, model.footprint, memory, device=device, pictures=pictures)
        free = choose(config, model.footprint, None, device=device, pictures=pictures)
        assert 1 <= chosen.size <= free.size <= min(config.train_config.batch_size, batch.MOST[device], pictures)
        assert chosen.reason
        if model.footprint and chosen.size > 1:
            held = chosen.size * batch.SLACK * model.footprint.activations_mb * 1e6
            assert held + batch.COPIES * model.footprint.weights_mb * 1e6 + batch.RESERVED <= memory


@given(held=st.builds(Footprint, weights_mb=st.integers(1, 900), activations_mb=st.integers(1, 9000)))
def test_more_memory_never_means_fewer_pictures(held: Footprint) -> None:
    counts = [batch.fitting(held, gigabytes << 30) for gigabytes in range(81)]
    assert counts == sorted(counts)
    assert counts[0] == 0


def test_memory_says_why_it_takes_pictures_away(samples: Samples) -> None:
    model, config = next(each for each in samples if each[0].short_name == "ssd_resnet50_v1_fpn_640x640")
    few = choose(config, model.footprint, 8 << 30)
    assert 1 < few.size < 16
    assert few.reason == "what memory has room for: about 1.34 GB a picture of 8.6 GB"
    assert choose(config, model.footprint, 80 << 30).size == 16
    none = choose(config, model.footprint, 2 << 30)
    assert (none.size, none.reason[:24]) == (1, "even one may be too much")


@pytest.mark.parametrize(
    ("held", "memory"), [(None, 1 << 30), (Footprint(weights_mb=1, activations_mb=9000), None)]
)
def test_what_is_not_known_takes_nothing_away(
    samples: Samples, held: Footprint | None, memory: int | None
) -> None:
    for _, config in samples:
        chosen = choose(config, held, memory)
        alone = "cannot share" in chosen.reason
        assert chosen.size == (1 if alone else min(16, config.train_config.batch_size))


def test_larger_pictures_mean_fewer_of_them(samples: Samples) -> None:
    model, config = next(each for each in samples if each[0].short_name == "ssd_mobilenet_v2_fpnlite_320x320")
    asked = copy.deepcopy(config)
    side = "model.ssd.image_resizer.fixed_shape_resizer"
    assert len(tuple(apply(asked, ((f"{side}.height", "960"), (f"{side}.width", "960"))))) == 2
    assert batch.pixels(asked) == 9 * batch.pixels(config)
    assert choose(config, model.footprint, 8 << 30).size == 16
    assert 1 < choose(config, model.footprint, 8 << 30, asked=asked).size < 16


def test_pictures_are_padded_to_a_square_or_not_at_all(samples: Samples) -> None:
    sizes = {model.short_name: batch.pixels(config) for model, config in samples}
    assert sizes["faster_rcnn_resnet101_coco"] == 600 * 1024
    assert sizes["faster_rcnn_resnet50_v1_800x1333"] == 1333 * 1333
    assert sizes["ssd_mobilenet_v1_coco"] == 300 * 300


def test_every_model_that_trains_was_counted() -> None:
    assert [model.name for model in TRAINABLE if model.footprint is None] == []


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "name", ["ssdlite_mobilenet_v2", "ssd_mobilenet_v2_fpnlite_320x320", "faster_rcnn_resnet50"]
)
def test_the_catalogue_has_what_is_counted(
    name: str, unpacked: str, upstream_tree: Upstream, compiled: Protos
) -> None:
    model = zoo.find(name)
    done = subprocess.run(
        [sys.executable, str(COUNT), model.zoo],
        input=pipeline.derive(model, upstream_tree, compiled).text,
        env={**os.environ, "PYTHONPATH": unpacked, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    held = model.footprint
    assert held is not None
    weights, activations = (int(line.split(" = ")[1]) for line in done.stdout.splitlines())
    assert weights == held.weights_mb
    # Another TensorFlow may keep a tensor more or less.
    assert activations == pytest.approx(held.activations_mb, rel=0.02)
