"""What the user sets by hand: it reaches its field, or one sentence says what is wrong with it."""

from typing import Any

import pytest
from google.protobuf import text_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from odbuild import pipeline, zoo
from odbuild.errors import UsageError
from odbuild.protos import Protos
from odbuild.trainer import overrides, prepare, tuning
from odbuild.trainer.recipe import Recipe
from odbuild.upstream import Upstream

SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def config(upstream_tree: Upstream, compiled: Protos) -> Any:
    return pipeline.sample(zoo.find("ssd_mobilenet_v2_fpnlite_320x320"), upstream_tree, compiled)


def test_each_type_of_value_reaches_its_field(config: Any) -> None:
    asked = (
        ("train_config.batch_size", "8"),
        ("train_config.gradient_clipping_by_norm", "10"),
        ("train_config.use_bfloat16", "true"),
        ("train_config.fine_tune_checkpoint_version", "V1"),
        ("train_config.fine_tune_checkpoint_type", "full"),
        ("eval_input_reader[0].num_readers", "3"),
        ("model.ssd.anchor_generator.multiscale_anchor_generator.aspect_ratios[1]", "2.5"),
        ("train_config.data_augmentation_options[1].random_crop_image.min_area", "0.25"),
        ("eval_config.max_evals", "2"),
    )
    changes = tuple(overrides.apply(config, asked))
    assert [change.field for change in changes] == [path for path, _ in asked]
    assert str(changes[0]) == "train_config.batch_size: 128 -> 8 (asked for by --set)"
    assert str(changes[3]) == "train_config.fine_tune_checkpoint_version: V2 -> V1 (asked for by --set)"
    train = config.train_config
    assert (train.batch_size, train.gradient_clipping_by_norm, train.use_bfloat16) == (8, 10.0, True)
    assert (train.fine_tune_checkpoint_version, train.fine_tune_checkpoint_type) == (1, "full")
    assert config.eval_input_reader[0].num_readers == 3
    assert config.model.ssd.anchor_generator.multiscale_anchor_generator.aspect_ratios[1] == 2.5
    assert train.data_augmentation_options[1].random_crop_image.min_area == 0.25
    assert config.eval_config.max_evals == 2


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("train_config.bacth_size", "8", "train_config has no field 'bacth_size'. Did you mean 'batch_size'?"),
        (
            "trainconfig.batch_size",
            "8",
            "has no field 'trainconfig'. Did you mean 'train_config'",
        ),
        (
            "eval_input_reader[0].shufle",
            "true",
            "[0] has no field 'shufle'. Did you mean 'shuffle'",
        ),
        ("zzz", "1", "It has model, train_config, train_input_reader"),
        ("train_config", "1", "holds fields of its own: go on with one of batch_size"),
        ("train_config.batch_size.x", "1", "batch_size is a value and has no fields"),
        ("train_config.batch_size[0]", "1", "batch_size is no list: leave [0] out"),
        ("eval_input_reader.shuffle", "true", "is a list: say which, such as eval_input_reader[0]"),
        ("eval_input_reader[1].shuffle", "true", "there is no eval_input_reader[1]"),
        ("eval_input_reader[-1].shuffle", "true", "is no name of a field"),
        ("eval_config.metrics_set", "x", "is a list"),
        ("model.faster_rcnn.number_of_stages", "2", "model has ssd here, not faster_rcnn"),
        (
            "train_config.data_augmentation_options[0].random_crop_image.min_area",
            "1",
            "random_horizontal_flip here",
        ),
        ("train_config.batch_size", "8.5", "'8.5' is no whole number"),
        ("train_config.batch_size", "0", "one picture at the least"),
        ("train_config.batch_size", "4294967296", "does not fit the field"),
        ("train_config.gradient_clipping_by_norm", "nan", "is no number that the field can hold"),
        ("train_config.gradient_clipping_by_norm", "1e39", "is no number that the field can hold"),
        ("train_config.sync_replicas", "True", "'True' is none of true, false. Did you mean 'true'?"),
        ("train_config.fine_tune_checkpoint_version", "v2", "none of UNKNOWN, V1, V2. Did you mean 'V2'?"),
        ("train_config.fine_tune_checkpoint_type", "\udcff", "does not fit the field"),
        ("train_config.num_steps", "9", "the steps are the argument of start.sh"),
        ("train_config.fine_tune_checkpoint", "x", "--checkpoint names"),
        ("model.ssd.num_classes", "9", "the classes are those of the data"),
        ("train_input_reader.tf_record_input_reader.input_path[0]", "x", "makes this file of the data"),
    ],
)
def test_what_is_wrong_is_told_and_changes_nothing(config: Any, path: str, value: str, told: str) -> None:
    before = config.SerializeToString(deterministic=True)
    with pytest.raises(UsageError) as raised:
        tuple(overrides.apply(config, [(path, value)]))
    assert str(raised.value).startswith(f"--set {path}={value}: ")
    assert told in str(raised.value)
    assert config.SerializeToString(deterministic=True) == before


parts = st.sampled_from(
    ["train_config", "model", "ssd", "batch_size", "eval_input_reader[0]", "", "[0]", "optimizer"]
)


@SHARED
@given(path=st.lists(parts | st.text(max_size=5), max_size=4).map(".".join), value=st.text(max_size=10))
def test_any_words_set_a_field_or_are_refused(path: str, value: str, config: Any) -> None:
    try:
        tuple(overrides.apply(config, [(path, value)]))
    except UsageError as error:
        assert "--set" in str(error)  # noqa: PT017  half of the property
    text_format.Parse(text_format.MessageToString(config), type(config)())


RUN = tuning.Run(
    zoo="tf2",
    steps=100,
    batch_size=4,
    batch_reason="asked for",
    num_classes=2,
    max_boxes=3,
    train_records=("a",),
    validation_records=("b",),
    validation_pictures=5,
    label_map="c",
    checkpoint=None,
)


def test_the_user_wins_over_the_tuning(config: Any) -> None:
    tuning.tune(config, RUN)
    tuple(overrides.apply(config, [("train_config.batch_size", "7"), ("eval_config.num_visualizations", "1")]))
    assert config.train_config.batch_size == 7
    assert config.eval_config.num_visualizations == 1


def test_the_learning_rate_is_scaled_to_the_batch_that_is_set(config: Any) -> None:
    def recipe(*asked: tuple[str, str]) -> Recipe:
        return Recipe(
            model="m",
            zoo="tf2",
            config="c",
            checkpoint=None,
            footprint=None,
            batch_size=2,
            validation=0.2,
            boxes="clip",
            exif="fail",
            negatives="keep",
            max_side=None,
            overrides=asked,
        )

    by_option = prepare._batch(recipe(), config, pictures=1)
    by_field = prepare._batch(recipe(("train_config.batch_size", "8")), config, pictures=1)
    assert (by_option.size, by_option.reason) == (2, "asked for by --batch-size")
    assert (by_field.size, by_field.reason) == (8, "asked for by --set")
    assert config.train_config.batch_size == 128
