"""Each rule of pipeline configs at its very border: what just breaks it and what just does not."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from odbuild import zoo
from odbuild.errors import OdbuildError
from odbuild.rules import config
from odbuild.rules.config import Config, Toolbox
from odbuild.trainer.findings import Finding
from odbuild.trainer.labels import Item
from odbuild.trainer.rules.labelmaps import LabelMap
from odbuild.upstream import Upstream

Told = list[tuple[str, str, str]]
"""Severity, place and value of each finding."""

Judge = Callable[..., Told]

TF1, TF2 = "ssd_mobilenet_v1", "ssd_mobilenet_v1_fpn_keras"


@pytest.fixture(scope="module")
def tools(upstream_tree: Upstream) -> Toolbox:
    return config.toolbox(offline=False)


@pytest.fixture
def told(tools: Toolbox) -> Judge:
    """Return what tells what a rule finds in the text of a config."""

    def tell(rule: Callable[[Config], Iterable[Finding]], text: str, **fields: Any) -> Told:
        value = Config(name="pipeline.config", message=config.parse(text, tools), toolbox=tools, **fields)
        return [(one.severity, one.where, one.value) for one in rule(value)]

    return tell


def ssd(extractor: str = TF1, rest: str = "") -> str:
    return f'model {{ ssd {{ feature_extractor {{ type: "{extractor}" }} {rest} }} }}\n'


def labels(*numbers: int | None, names: Iterable[str] = ()) -> LabelMap:
    items = [Item(name=f"class {index}", id=number) for index, number in enumerate(numbers)]
    items += [Item(name=name, id=index) for index, name in enumerate(names, 1)]
    return LabelMap(path=Path("labels.pbtxt"), items=tuple(items))


def train(text: str) -> str:
    return f"train_config {{ {text} }}\n"


def test_parts_that_a_config_lacks(told: Judge) -> None:
    assert told(config.incomplete, "") == [
        ("error", "model", ""),
        ("error", "train_config.optimizer", ""),
        ("error", "train_input_reader", ""),
        ("error", "eval_input_reader", ""),
    ]
    whole = ssd() + train("optimizer { adam_optimizer {} }") + "train_input_reader {} eval_input_reader {}"
    assert not told(config.incomplete, whole)
    assert told(config.incomplete, whole.replace("adam_optimizer {}", "")) == [
        ("error", "train_config.optimizer", "")
    ]


def test_a_web_page_is_no_config_and_told_as_one(tools: Toolbox) -> None:
    for text, page in (("\n <!DOCTYPE html>", True), ("modell {}", False), ("model { < }", False)):
        with pytest.raises(OdbuildError) as failed:
            config.parse(text, tools)
        assert str(failed.value).startswith("it is no pipeline config: ")
        assert str(failed.value).endswith(
            "(line:column). It is a web page: download the raw file." if page else "(line:column)."
        )


# Paths


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Return two folders, of which the second has files: a label map, two shards, and a checkpoint."""
    for name in ("labels.pbtxt", "train-0.record", "train-1.record", "ckpt.index", "ckpt.data-00000-of-00001"):
        (tmp_path / "b").mkdir(exist_ok=True)
        (tmp_path / "b" / name).touch()
    (tmp_path / "b/lone.index").touch()
    (tmp_path / "b/folder").mkdir()
    (tmp_path / "a").mkdir()
    return tmp_path / "a", tmp_path / "b"


@pytest.mark.parametrize(
    ("path", "fires"),
    [
        ("labels.pbtxt", False),
        ("", False),
        ("gs://bucket/labels.pbtxt", False),
        ("gone.pbtxt", True),
        ("gs:/bucket", True),
        ("folder", True),
        ("*.pbtxt", True),
        ("ckpt", True),
        (r"folder\\labels.pbtxt", True),
        ("PATH_TO_BE_CONFIGURED/labels.pbtxt", True),
    ],
)
def test_a_label_map_is_a_file(path: str, fires: bool, told: Judge, folders: Any) -> None:  # noqa: FBT001
    text = f'train_input_reader {{ label_map_path: "{path}" }}'
    shown = f'"{path}"'
    expected = [("error", "train_input_reader.label_map_path", shown)] if fires else []
    assert told(config.paths, text, folders=folders) == expected


@pytest.mark.parametrize(
    ("path", "fires"),
    [("train-0.record", False), ("train-?.record", False), ("train-??.record", True), ("ckpt", True)],
)
def test_records_may_be_a_pattern(path: str, fires: bool, told: Judge, folders: Any) -> None:  # noqa: FBT001
    reader = f'{{ tf_record_input_reader {{ input_path: ["train-1.record", "{path}"] }} }}'
    text = f"eval_input_reader {{}} eval_input_reader {reader}"
    where = "eval_input_reader[1].tf_record_input_reader.input_path[1]"
    assert told(config.paths, text, folders=folders) == ([("error", where, f'"{path}"')] if fires else [])


@pytest.mark.parametrize(
    ("path", "fires"), [("ckpt", False), ("lone", True), ("ckpt.index", True), ("labels.pbtxt", True)]
)
def test_a_checkpoint_is_there_with_its_data(path: str, fires: bool, told: Judge, folders: Any) -> None:  # noqa: FBT001
    text = train(f'fine_tune_checkpoint: "{path}"')
    expected = [("error", "train_config.fine_tune_checkpoint", f'"{path}"')] if fires else []
    assert told(config.paths, text, folders=folders) == expected


def test_what_is_wrong_with_a_path_is_said(tools: Toolbox) -> None:
    wrong = {
        "PATH_TO_BE_CONFIGURED": "a placeholder stands where a path belongs",
        r"a\\b": "a path has backslashes, which the training machine does not know",
        "gone": "there is nothing at a path",
    }
    for path, message in wrong.items():
        parsed = config.parse(f'train_input_reader {{ label_map_path: "{path}" }}', tools)
        (found,) = config.paths(Config(name="", message=parsed, toolbox=tools, folders=(Path(),)))
        assert found.message == message


@pytest.mark.parametrize("path", ["labels.pbtxt", "", "gone.pbtxt", "gs://labels.pbtxt", "folder"])
def test_the_label_map_that_a_config_names(path: str, tools: Toolbox, folders: tuple[Path, Path]) -> None:
    message = config.parse(f'train_input_reader {{ label_map_path: "{path}" }}', tools)
    found = config.find_labels(Config(name="", message=message, toolbox=tools, folders=folders))
    assert found == (folders[1] / path if path == "labels.pbtxt" else None)


# Networks


def test_extractors_belong_to_one_line_each(tools: Toolbox) -> None:
    found = config.extractors(tools)
    assert {TF1, "faster_rcnn_nas", "embedded_ssd_mobilenet_v1"} <= found["tf1"]
    assert {TF2, "faster_rcnn_resnet50_keras", "resnet_v2_50"} <= found["tf2"]
    assert not found["tf1"] & found["tf2"]
    registered = {(one.zoo, one.feature_extractor) for one in zoo.models() if one.config}
    assert not {(line, name) for line, name in registered if name not in found[line]}
    # The names of architectures stand in a table of the same module.
    assert not {"ssd", "faster_rcnn", "center_net"} & (found["tf1"] | found["tf2"])
    for text, line in ((ssd(TF1), "tf1"), (ssd(TF2), "tf2"), ("", "tf1")):
        assert Config(name="", message=config.parse(text, tools), toolbox=tools).line == line


def test_the_tables_of_a_module() -> None:
    source = 'A = {"x": 1, y: 2, **z}\nB.c = {"d": 1}\nE = ["f"]\nG = H = {"i": {"j": 1}}\nK: dict = {"l": 1}\n'
    assert config._tables(source) == {"A": ("x",), "G": ("i",)}


def test_unknown_extractors(told: Judge) -> None:
    for name in (TF1, TF2):
        assert not told(config.extractor, ssd(name))
    (found,) = told(config.extractor, ssd("ssd_mobilenet_v1_"))
    assert found == ("error", "model.ssd.feature_extractor", f"'ssd_mobilenet_v1_' Did you mean {TF1!r}?")
    assert told(config.extractor, ssd("x"))[0][2] == "'x'"
    assert not told(config.extractor, "")


V2 = 'fine_tune_checkpoint_type: "detection" fine_tune_checkpoint_version: V2'

DETECTOR = "path/ssd_mobilenet_v1_coco_2018_01_28/model.ckpt"


@pytest.mark.parametrize(
    ("line", "text", "places"),
    [
        (TF2, 'fine_tune_checkpoint_type: "detection"', ["version"]),
        (TF2, V2, []),
        (TF2, f"{V2} load_all_detection_checkpoint_vars: true", ["load_all"]),
        (TF1, 'fine_tune_checkpoint_type: "detection" load_all_detection_checkpoint_vars: true', []),
        (TF1, 'fine_tune_checkpoint_type: "detektion"', ["type"]),
        (TF1, 'fine_tune_checkpoint_type: "fine_tune"', ["type"]),
        (TF1, 'fine_tune_checkpoint_type: "classification"', ["type"]),
        (TF1, "", ["type"]),
        (TF1, "from_detection_checkpoint: true", []),
        (TF1, 'from_detection_checkpoint: true fine_tune_checkpoint_type: "classification"', ["type"]),
    ],
)
def test_how_a_detector_is_restored(line: str, text: str, places: list[str], told: Judge) -> None:
    full = ssd(line) + train(f'fine_tune_checkpoint: "{DETECTOR}" {text}')
    found = told(config.start, full)
    names = {"version": "checkpoint_version", "type": "checkpoint_type"}
    whole = {name: f"train_config.fine_tune_{end}" for name, end in names.items()}
    whole["load_all"] = "train_config.load_all_detection_checkpoint_vars"
    assert [(level, where) for level, where, _ in found] == [("error", whole[name]) for name in places]
    assert not told(config.start, ssd(line) + train(text))


def test_how_a_checkpoint_may_be_restored_is_told(told: Judge, tools: Toolbox) -> None:
    text = train('fine_tune_checkpoint: "mine" fine_tune_checkpoint_type: "detektion"')
    (found,) = told(config.start, ssd() + text)
    assert found[2] == "\"detektion\"; expected detection or classification. Did you mean 'detection'?"
    center = 'model { center_net { feature_extractor { type: "resnet_v2_50" } } }\n'
    tuned = train('fine_tune_checkpoint: "mine" fine_tune_checkpoint_type: "fine_tune"')
    assert [where for _, where, _ in told(config.start, center + tuned)] == [
        "train_config.fine_tune_checkpoint_version"
    ]
    message = config.parse(ssd() + train(f'fine_tune_checkpoint: "{DETECTOR}"'), tools)
    (silent,) = config.start(Config(name="", message=message, toolbox=tools))
    assert silent.value == f'"{DETECTOR}"'
    assert silent.message.startswith("a detector's checkpoint is declared a classifier's")


def test_a_classifier_may_be_declared_one(told: Judge) -> None:
    assert not told(config.start, ssd() + train('fine_tune_checkpoint: "mine/resnet.ckpt"'))


@pytest.mark.parametrize(
    ("numbers", "count", "severity"),
    [
        ([1, 2], 2, ""),
        ([2], 2, ""),
        ([3], 2, "error"),
        ([1, None], 2, "warning"),
        ([None], 1, "warning"),
        ([], 1, "warning"),
    ],
)
def test_classes_and_numbers(numbers: list[int | None], count: int, severity: str, told: Judge) -> None:
    most = max((number or 0 for number in numbers), default=0)
    expected = [(severity, "model.ssd.num_classes", f"{count}, the label map goes to {most}")] if severity else []
    text = ssd(rest=f"num_classes: {count}")
    assert told(config.classes, text, labels=labels(*numbers)) == expected
    assert not told(config.classes, text)
    assert not told(config.classes, "", labels=labels(*numbers))


@pytest.mark.parametrize("batch", [0, 1, 2, 3])
def test_pictures_of_unequal_sizes_need_a_batch_of_one(batch: int, told: Judge) -> None:
    size = train(f"batch_size: {batch}")
    kept = "image_resizer { keep_aspect_ratio_resizer { %s } }"
    expected = [("error", "train_config.batch_size", str(batch))] if batch > 1 else []
    assert told(config.unpadded, ssd(rest=kept % "") + size) == expected
    assert not told(config.unpadded, ssd(rest=kept % "pad_to_max_dimension: true") + size)
    fixed = "image_resizer { fixed_shape_resizer { height: 1 width: 1 } }"
    assert not told(config.unpadded, ssd(rest=fixed) + size)
    assert not told(config.unpadded, size)


# Learning rates


def rate(schedule: str, optimizer: str = "momentum_optimizer", batch: int = 1, steps: int = 0) -> str:
    rates = f"optimizer {{ {optimizer} {{ learning_rate {{ {schedule} }} }} }}"
    return train(f"batch_size: {batch} num_steps: {steps} {rates}")


SCHEDULES = {
    "constant_learning_rate": "learning_rate: %s",
    "exponential_decay_learning_rate": "initial_learning_rate: %s",
    "manual_step_learning_rate": "initial_learning_rate: %s",
    "cosine_decay_learning_rate": "learning_rate_base: %s total_steps: 9 warmup_steps: 0",
}


@pytest.mark.parametrize(
    ("optimizer", "batch", "high", "most"),
    [
        ("momentum_optimizer", 100, 1.001, 1.0),
        ("momentum_optimizer", 1, 0.01001, 0.01),
        ("momentum_optimizer", 0, 0.01001, 0.01),
        ("rms_prop_optimizer", 8, 0.00801, 0.008),
        ("adam_optimizer", 8, 0.01601, 0.016),
    ],
)
def test_a_rate_is_high_for_its_batch(optimizer: str, batch: int, high: float, most: float, told: Judge) -> None:
    for kind, fields in SCHEDULES.items():
        where = f"train_config.optimizer.{optimizer}.learning_rate.{kind}"
        found = told(config.rate, rate(f"{kind} {{ {fields % high} }}", optimizer, batch))
        assert found == [("warning", where, f"{high:g} with a batch of {batch}")]
        assert not told(config.rate, rate(f"{kind} {{ {fields % most} }}", optimizer, batch))


@pytest.mark.parametrize(
    ("total", "warmup", "steps", "expected"),
    [
        (1000, 1000, 1000, None),
        (1000, 1001, 1000, ("error", "1,001 of 1,000 steps")),
        (1000, 1001, 0, ("error", "1,001 of 1,000 steps")),
        (1000, 10, 0, None),
        (1001, 10, 1000, ("warning", "1,001 for 1,000 steps")),
        (999, 10, 1000, ("warning", "999 for 1,000 steps")),
    ],
)
def test_a_schedule_has_the_length_of_the_run(
    total: int, warmup: int, steps: int, expected: tuple[str, str] | None, told: Judge
) -> None:
    lengths = f"learning_rate_base: 0 total_steps: {total} warmup_steps: {warmup}"
    found = told(config.rate, rate(f"cosine_decay_learning_rate {{ {lengths} }}", steps=steps))
    where = "train_config.optimizer.momentum_optimizer.learning_rate.cosine_decay_learning_rate"
    assert found == ([(expected[0], where, expected[1])] if expected else [])


@pytest.mark.parametrize(("first", "steps", "fires"), [(1000, 1000, True), (999, 1000, False), (1000, 0, False)])
def test_a_rate_drops_within_the_run(first: int, steps: int, fires: bool, told: Judge) -> None:  # noqa: FBT001
    drops = f"schedule {{ step: 9000 }} schedule {{ step: {first} }}"
    schedule = f"manual_step_learning_rate {{ initial_learning_rate: 0 {drops} }}"
    where = "train_config.optimizer.momentum_optimizer.learning_rate.manual_step_learning_rate"
    expected = [("warning", where, "first drop at 1,000 of 1,000 steps")] if fires else []
    assert told(config.rate, rate(schedule, steps=steps)) == expected


def test_what_a_schedule_does_at_the_end_is_said(tools: Toolbox) -> None:
    for total, message in ((1001, "never comes down"), (999, "is 0 long before the last step")):
        cosine = f"cosine_decay_learning_rate {{ learning_rate_base: 0 total_steps: {total} warmup_steps: 0 }}"
        value = Config(name="", message=config.parse(rate(cosine, steps=1000), tools), toolbox=tools)
        (found,) = config.rate(value)
        assert message in found.message


def test_no_rate_no_finding(told: Judge) -> None:
    assert not told(config.rate, "")
    assert not told(config.rate, train("optimizer { momentum_optimizer {} }"))
    assert not told(config.rate, train("optimizer { momentum_optimizer { learning_rate {} } }"))


# Evaluation


def test_metrics_that_are_unknown(told: Judge) -> None:
    text = 'eval_config { metrics_set: ["coco_detection_metrics", "coco_detektion_metrics", "x"] }'
    assert told(config.evaluation, text) == [
        (
            "error",
            "eval_config.metrics_set[1]",
            "\"coco_detektion_metrics\". Did you mean 'coco_detection_metrics'?",
        ),
        ("error", "eval_config.metrics_set[2]", '"x".'),
    ]


@pytest.mark.parametrize(("batch", "fires"), [(0, False), (1, False), (2, True)])
def test_evaluation_drops_the_rest_of_a_batch(batch: int, fires: bool, told: Judge) -> None:  # noqa: FBT001
    found = told(config.evaluation, f"eval_config {{ batch_size: {batch} }}")
    assert found == ([("warning", "eval_config.batch_size", str(batch))] if fires else [])


@pytest.mark.parametrize(("epochs", "fires"), [(0, True), (1, False), (2, True)])
def test_evaluation_has_an_end(epochs: int, fires: bool, told: Judge) -> None:  # noqa: FBT001
    reader = f"eval_input_reader {{ num_epochs: {epochs} }} eval_input_reader {{ num_epochs: 1 }}"
    expected = [("warning", "eval_input_reader[0].num_epochs", str(epochs))] if fires else []
    assert told(config.evaluation, ssd(TF2) + reader) == expected
    assert not told(config.evaluation, ssd(TF1) + reader)
    assert not told(config.evaluation, reader)
    assert not told(config.evaluation, ssd(TF2))


# Exports and pictures


def test_a_model_goes_where_it_can(told: Judge) -> None:
    fixed = next(model for model in zoo.models() if model.exports and "tflite" not in model.exports)
    untrainable = next(model for model in zoo.models() if not model.exports)
    assert told(config.target, "", model=fixed, target="tflite") == [
        ("warning", "model", f"{fixed.name} to tflite; it can be exported to {', '.join(fixed.exports)}")
    ]
    assert told(config.target, "", model=untrainable, target="tflite") == [
        ("warning", "model", f"{untrainable.name} to tflite; it can be exported to nothing")
    ]
    assert not told(config.target, "", model=fixed, target="saved_model")
    assert not told(config.target, "", model=fixed)
    assert not told(config.target, "", target="tflite")


@pytest.mark.parametrize(
    ("name", "fires"),
    [
        ("left", True),
        ("Left hand", True),
        ("hand_RIGHT", True),
        ("left2", True),
        ("bright", False),
        ("cleft", False),
        ("lefty", False),
    ],
)
def test_labels_that_speak_of_sides(name: str, fires: bool, told: Judge) -> None:  # noqa: FBT001
    flip = "data_augmentation_options { random_horizontal_flip {} }"
    other = "data_augmentation_options { random_vertical_flip {} }"
    where = "train_config.data_augmentation_options[1]"
    text = train(f"{other} {flip}")
    found = told(config.mirrored, text, labels=labels(names=["cat", name]))
    assert found == ([("info", where, f'"{name}"')] if fires else [])
    assert not told(config.mirrored, train(other), labels=labels(names=[name]))
    assert not told(config.mirrored, text)


def test_three_labels_of_sides_are_named(told: Judge) -> None:
    text = train("data_augmentation_options { random_horizontal_flip {} }")
    four = [f"left {number}" for number in range(4)]
    (found,) = told(config.mirrored, text, labels=labels(names=four))
    assert found[2] == '"left 0", "left 1", "left 2"'
