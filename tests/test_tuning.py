"""Laws of the config's tuning, over every config of both zoos at the pin."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from odbuild import protos
from odbuild.protos import Protos
from odbuild.trainer import tuning
from odbuild.upstream import Upstream

FOLDERS = {"tf1": "object_detection/samples/configs", "tf2": "object_detection/configs/tf2"}


class Configs(list[tuple[str, Any]]):
    """Pairs of a zoo and a config, shown in few words: Hypothesis prints what it passes on."""

    def __repr__(self) -> str:
        return f"<{len(self)} configs>"


@pytest.fixture(scope="module")
def configs(upstream_tree: Upstream, compiled: Protos) -> Configs:
    pipeline = protos.pipeline_class(compiled.descriptors)
    return Configs(
        (zoo, text_format.Parse(path.read_text(encoding="utf-8"), pipeline()))
        for zoo, folder in FOLDERS.items()
        for path in sorted((upstream_tree.path / folder).glob("*.config"))
    )


def a_run(zoo: str = "tf1", **fields: Any) -> tuning.Run:
    defaults = {
        "steps": 300,
        "batch_size": 8,
        "batch_reason": "what is asked of it",
        "num_classes": 2,
        "max_boxes": 7,
        "train_records": ("/data/train-00000-of-00001.record",),
        "validation_records": ("/data/validation-00000-of-00001.record",),
        "validation_pictures": 24,
        "label_map": "/data/label_map.pbtxt",
        "checkpoint": "/checkpoint/model.ckpt",
    }
    return tuning.Run(zoo=zoo, **{**defaults, **fields})


def copies(configs: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    for zoo, config in configs:
        copied = type(config)()
        copied.CopyFrom(config)
        yield zoo, copied


def batch_norms(message: Any) -> list[Any]:
    return [norm for norm, _ in tuning._batch_norms(message, "model")]


def schedule(config: Any) -> Any:
    optimizer = config.train_config.optimizer
    rate = getattr(optimizer, optimizer.WhichOneof("optimizer")).learning_rate
    return getattr(rate, rate.WhichOneof("learning_rate"))


def rates(config: Any) -> list[float]:
    stages = tuning._with_stages(schedule(config), "")
    return [float(getattr(stage, name)) for stage, _ in stages for name in tuning._fields(stage, tuning.RATES)]


def test_every_config_of_both_zoos_is_fitted_to_the_run(configs: Configs) -> None:
    assert len(configs) == 100
    for zoo, config in copies(configs):
        run = a_run(zoo)
        tuning.tune(config, run)
        train = config.train_config
        which = config.model.WhichOneof("model")
        assert getattr(config.model, which).num_classes == 2
        assert (train.num_steps, train.batch_size) == (300, 8)
        assert list(config.train_input_reader.tf_record_input_reader.input_path) == list(run.train_records)
        assert train.fine_tune_checkpoint == run.checkpoint
        assert train.load_all_detection_checkpoint_vars == (zoo == "tf1")
        assert all(norm.decay <= 0.9 + 1e-6 for norm in batch_norms(config.model))


def test_tuning_again_changes_nothing(configs: Configs) -> None:
    for zoo, config in copies(configs):
        tuning.tune(config, a_run(zoo))
        assert tuning.tune(config, a_run(zoo)) == ()


def test_every_change_says_what_it_was_and_why(configs: Configs) -> None:
    for zoo, config in copies(configs):
        for change in tuning.tune(config, a_run(zoo)):
            assert change.before != change.after
            assert change.reason
            assert str(change).startswith(change.field)


@given(
    steps=st.one_of(st.integers(1, 20), st.integers(1, 1_000_000)),
    batch=st.integers(1, 64),
    classes=st.integers(1, 500),
    most=st.integers(0, 900),
)
def test_schedules_fit_any_run(configs: Configs, steps: int, batch: int, classes: int, most: int) -> None:
    for zoo, config in copies(configs[::9]):
        tuning.tune(config, a_run(zoo, steps=steps, batch_size=batch, num_classes=classes, max_boxes=most))
        now = schedule(config)
        assert config.train_config.num_steps == steps
        # Upstream raises ValueError where a cosine's warm-up is longer than the whole.
        if "schedule" in now.DESCRIPTOR.fields_by_name:
            stages = [stage.step for stage in now.schedule]
            assert stages == sorted(set(stages))
            assert all(stage > 0 for stage in stages)
        if "total_steps" in now.DESCRIPTOR.fields_by_name:
            assert now.total_steps == steps
            assert now.warmup_steps <= now.total_steps
        assert config.train_input_reader.max_number_of_boxes >= max(100, most)


@given(batch=st.integers(1, 4096), checkpoint=st.sampled_from([None, "/checkpoint/model.ckpt"]))
def test_rates_shrink_with_the_batch_from_a_checkpoint_alone(
    configs: Configs, batch: int, checkpoint: str | None
) -> None:
    for zoo, config in copies(configs[::9]):
        before, of_the_sample = rates(config), config.train_config.batch_size
        tuning.tune(config, a_run(zoo, batch_size=batch, checkpoint=checkpoint))
        share = min(1.0, math.sqrt(batch / of_the_sample)) if checkpoint else 1.0
        assert rates(config) == pytest.approx([rate * share for rate in before], rel=1e-5)


@given(steps=st.integers(1, 1_000_000))
def test_a_warm_up_is_a_tenth_of_a_short_run_and_never_longer_than_the_sample_s(
    configs: Configs, steps: int
) -> None:
    seen = 0
    for zoo, config in copies(configs):
        warm_up = getattr(schedule(config), "warmup_steps", 0)
        horizon = getattr(schedule(config), "total_steps", 0)
        tuning.tune(config, a_run(zoo, steps=steps))
        if warm_up:
            seen += 1
            now = schedule(config).warmup_steps
            assert now <= max(warm_up, math.ceil(warm_up * steps / horizon))
            assert now < steps or now == 0
            assert now >= min(warm_up, steps // 10, steps - 1)
    assert seen > 30


@given(batch=st.integers(1, 4096))
def test_gradients_of_small_batches_are_clipped_where_nothing_else_bounds_a_step(
    configs: Configs, batch: int
) -> None:
    seen = set()
    for zoo, config in copies(configs):
        before, of_the_sample = config.train_config.gradient_clipping_by_norm, config.train_config.batch_size
        tuning.tune(config, a_run(zoo, batch_size=batch))
        optimizer = config.train_config.optimizer.WhichOneof("optimizer")
        needed = batch < of_the_sample and optimizer == "momentum_optimizer" and not before
        assert config.train_config.gradient_clipping_by_norm == (10 if needed else before)
        seen.add(needed)
    assert seen == {batch < 2048, False}


@given(steps=st.integers(1, 3_000_000))
def test_averages_turn_over_within_the_run(configs: Configs, steps: int) -> None:
    zoo, config = next(copies([c for c in configs if batch_norms(c[1].model)]))
    tuning.tune(config, a_run(zoo, steps=steps))
    for norm in batch_norms(config.model):
        window = 1 / (1 - norm.decay)
        assert window <= max(10, steps / tuning.AVERAGING_WINDOWS) * 1.01


def test_a_batch_above_one_makes_sizes_equal(configs: Configs) -> None:
    for zoo, config in copies(configs):
        tuning.tune(config, a_run(zoo, batch_size=2))
        assert not tuning.unequal_sizes(config)


def test_without_a_checkpoint_none_is_named(configs: Configs) -> None:
    for zoo, config in copies(configs):
        tuning.tune(config, a_run(zoo, checkpoint=None))
        assert not config.train_config.fine_tune_checkpoint
        if config.model.WhichOneof("model") == "faster_rcnn":
            assert config.model.faster_rcnn.feature_extractor.batch_norm_trainable


def test_an_ssd_s_base_network_obeys_unless_it_refuses_to(configs: Configs) -> None:
    seen = set()
    for zoo, config in copies([c for c in configs if c[1].model.WhichOneof("model") == "ssd"]):
        if config.model.ssd.feature_extractor.conv_hyperparams.HasField("batch_norm"):
            tuning.tune(config, a_run(zoo))
            extractor = config.model.ssd.feature_extractor
            refuses = "efficientnet" in extractor.type
            assert extractor.override_base_feature_extractor_hyperparams is not refuses
            seen.add(refuses)
    assert seen == {True, False}


def test_the_samples_of_the_zoo_lie_where_expected(upstream_tree: Upstream) -> None:
    assert all((upstream_tree.path / Path(folder)).is_dir() for folder in FOLDERS.values())
