"""What every guide to these models asks to be edited, point by point, held for every config of the catalogue.

Each point is asked of every model that can be trained, fitted to a first try, to an evening's run and to a long
one, from its checkpoint and from random weights.
"""

import copy
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import pytest
from google.protobuf import text_format

from odbuild import pipeline, protos, zoo
from odbuild.protos import Protos
from odbuild.trainer import batch, tuning
from odbuild.trainer.batch import Room
from odbuild.upstream import Upstream

STEPS = (1, 10, 300, 20_000, 1_000_000)
MOST_BOXES = 350


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitted:
    """A model's config as the training machine has it, and as it is in the bundle."""

    model: zoo.Model
    run: tuning.Run
    config: Any
    bundled: Any

    @property
    def network(self) -> Any:
        return getattr(self.config.model, self.config.model.WhichOneof("model"))

    @property
    def schedule(self) -> Any:
        optimizer = self.config.train_config.optimizer
        rate = getattr(optimizer, optimizer.WhichOneof("optimizer")).learning_rate
        return getattr(rate, rate.WhichOneof("learning_rate"))

    def __str__(self) -> str:
        return f"{self.model.short_name}, {self.run.steps} steps, from {self.run.checkpoint}"


Point: TypeAlias = Callable[[Fitted], bool]


Derived: TypeAlias = list[tuple[zoo.Model, Any, Any]]


@pytest.fixture(scope="module")
def derived(upstream_tree: Upstream, compiled: Protos) -> Derived:
    """Every model that can be trained, with upstream's sample config and the bundle's."""
    read = protos.pipeline_class(compiled.descriptors)
    return [
        (
            model,
            pipeline.sample(model, upstream_tree, compiled),
            text_format.Parse(pipeline.derive(model, upstream_tree, compiled).text, read()),
        )
        for model in zoo.models()
        if not model.unavailable
    ]


@pytest.fixture(scope="module")
def fitted(derived: Derived) -> list[Fitted]:
    return [it for model, _, bundled in derived for it in fit(model, bundled)]


def fit(model: zoo.Model, bundled: Any) -> Iterator[Fitted]:
    for steps, start in itertools.product(STEPS, (None, "/job/checkpoint/model.ckpt")):
        room = Room(device="gpu", memory=16 << 30)
        chosen = batch.choose(bundled, bundled, footprint=model.footprint, room=room, train_pictures=500)
        for size in {chosen.size, 2}:
            config = copy.deepcopy(bundled)
            run = a_run(model, steps, size, start)
            tuning.tune(config, run)
            yield Fitted(model=model, run=run, config=config, bundled=bundled)


def a_run(model: zoo.Model, steps: int, size: int, start: str | None) -> tuning.Run:
    return tuning.Run(
        zoo=model.zoo,
        steps=steps,
        batch_size=size,
        batch_reason="as the memory has it",
        num_classes=3,
        max_boxes=MOST_BOXES,
        train_records=("/job/data/train-0", "/job/data/train-1"),
        validation_records=("/job/data/validation-0",),
        validation_pictures=7,
        label_map="/job/data/label_map.pbtxt",
        checkpoint=start,
    )


def network_of_its_zoo(it: Fitted) -> bool:
    name = it.network.feature_extractor.type
    keras = name.endswith("_keras") or it.model.meta_architecture == "center_net"
    return keras is (it.model.zoo == "tf2")


def classes_of_the_data(it: Fitted) -> bool:
    return bool(it.network.num_classes == 3)


def checkpoint_by_its_prefix(it: Fitted) -> bool:
    return bool(it.config.train_config.fine_tune_checkpoint == (it.run.checkpoint or ""))


def checkpoint_by_its_kind(it: Fitted) -> bool:
    train = it.config.train_config
    version = type(train).DESCRIPTOR.fields_by_name["fine_tune_checkpoint_version"].enum_type
    kind = "fine_tune" if it.model.meta_architecture == "center_net" else "detection"
    said = (train.fine_tune_checkpoint_type, version.values_by_number[train.fine_tune_checkpoint_version].name)
    everything = it.model.zoo == "tf1" and it.run.checkpoint is not None
    return (
        said == (kind, {"tf1": "V1", "tf2": "V2"}[it.model.zoo])
        and train.from_detection_checkpoint is (it.model.zoo == "tf1")
        and train.load_all_detection_checkpoint_vars is everything
    )


def batch_no_larger_than_the_sample_s(it: Fitted) -> bool:
    size = it.config.train_config.batch_size
    return bool(size == it.run.batch_size and size <= max(2, it.bundled.train_config.batch_size))


def steps_as_asked(it: Fitted) -> bool:
    return bool(it.config.train_config.num_steps == it.run.steps)


def schedule_of_the_steps(it: Fitted) -> bool:
    """A cosine ends with the last step, stages come in their order and before it, a warm-up is over before it
    and goes up.
    """
    schedule, steps = it.schedule, it.run.steps
    known = schedule.DESCRIPTOR.fields_by_name
    stages = [stage.step for stage in schedule.schedule] if "schedule" in known else []
    return (
        ("total_steps" not in known or schedule.total_steps == steps)
        and ("warmup_steps" not in known or schedule.warmup_steps < steps)
        and ("warmup_steps" not in known or schedule.warmup_learning_rate <= schedule.learning_rate_base)
        and ("burnin_steps" not in known or schedule.burnin_steps < steps)
        and stages == sorted(set(stages))
        and all(stage < steps or steps <= len(stages) for stage in stages)
    )


def nothing_for_clusters(it: Fitted) -> bool:
    train = it.config.train_config
    return not (train.use_bfloat16 or train.sync_replicas or train.startup_delay_steps) and bool(
        train.replicas_to_aggregate == 1
    )


def paths_of_the_data(it: Fitted) -> bool:
    readers = (it.config.train_input_reader, it.config.eval_input_reader[0])
    records = [tuple(reader.tf_record_input_reader.input_path) for reader in readers]
    return (
        records == [it.run.train_records, it.run.validation_records]
        and {reader.label_map_path for reader in readers} == {it.run.label_map}
        and len(it.config.eval_input_reader) == 1
    )


def no_placeholder(it: Fitted) -> bool:
    return pipeline.PLACEHOLDER not in text_format.MessageToString(it.config)


def evaluation_of_every_picture_once(it: Fitted) -> bool:
    evaluation, reader = it.config.eval_config, it.config.eval_input_reader[0]
    return (
        list(evaluation.metrics_set) == ["coco_detection_metrics"]
        and not evaluation.max_evals
        and not evaluation.HasField("num_examples")
        and not evaluation.include_metrics_per_category
        and (evaluation.batch_size, reader.num_epochs, reader.shuffle, reader.sample_1_of_n_examples)
        == (1, 1, False, 1)
        and evaluation.num_visualizations <= it.run.validation_pictures
    )


def boxes_only(it: Fitted) -> bool:
    text = text_format.MessageToString(it.config)
    return not any(word in text for word in ("keypoint", "mask_height", "instance_masks: true", "context_"))


def room_for_every_box(it: Fitted) -> bool:
    places = (it.config.train_config, it.config.train_input_reader, it.config.eval_input_reader[0])
    return all(place.max_number_of_boxes >= MOST_BOXES for place in places)


def pictures_of_a_batch_of_one_size(it: Fitted) -> bool:
    return it.run.batch_size == 1 or not tuning.unequal_sizes(it.config)


def no_quantization_that_never_comes(it: Fitted) -> bool:
    return not it.config.HasField("graph_rewriter")


def no_averaged_weights(it: Fitted) -> bool:
    return not (it.config.train_config.optimizer.use_moving_average or it.config.eval_config.use_moving_averages)


POINTS: tuple[Point, ...] = (
    network_of_its_zoo,
    classes_of_the_data,
    checkpoint_by_its_prefix,
    checkpoint_by_its_kind,
    batch_no_larger_than_the_sample_s,
    steps_as_asked,
    schedule_of_the_steps,
    nothing_for_clusters,
    paths_of_the_data,
    no_placeholder,
    evaluation_of_every_picture_once,
    boxes_only,
    room_for_every_box,
    pictures_of_a_batch_of_one_size,
    no_quantization_that_never_comes,
    no_averaged_weights,
)


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.__name__)
def test_the_point_holds_for_every_model(point: Point, fitted: list[Fitted]) -> None:
    assert [str(it) for it in fitted if not point(it)] == []


def test_every_model_is_asked(fitted: list[Fitted]) -> None:
    assert {it.model.name for it in fitted} == {model.name for model in zoo.models() if not model.unavailable}


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.__name__)
def test_upstream_s_own_samples_fail_the_point(point: Point, derived: Derived) -> None:
    unedited = []
    for model, sample, bundled in derived:
        # As if the model were of the other zoo, since no sample names the network of a wrong one.
        swapped = replace(model, zoo="tf2" if model.zoo == "tf1" else "tf1")
        run = a_run(swapped, steps=100, size=3, start=None)
        unedited.append(Fitted(model=swapped, run=run, config=sample, bundled=bundled))
    assert not all(map(point, unedited))
