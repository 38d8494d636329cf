"""The sample configs become ones that train on one machine, and every edit is told with its reason."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format

from odbuild import pipeline, protos, zoo
from odbuild.errors import OdbuildError
from odbuild.protos import Protos
from odbuild.upstream import Upstream

FOLDERS = {"tf1": "object_detection/samples/configs", "tf2": "object_detection/configs/tf2"}
MODELS = {"tf1": zoo.find("ssd_mobilenet_v1"), "tf2": zoo.find("ssd_mobilenet_v2_fpnlite_320x320")}

WITH_CONFIG = [model for model in zoo.models() if model.config]
EVERY = pytest.mark.parametrize("model", WITH_CONFIG, ids=lambda model: model.short_name)

PROTO = {"rfcn": "faster_rcnn", "context_rcnn": "faster_rcnn"}
"""Architectures that the config has as another one's variant."""


def parse(text: str, compiled: Protos) -> Any:
    return text_format.Parse(text, protos.pipeline_class(compiled.descriptors)())


@pytest.fixture(scope="module")
def samples(upstream_tree: Upstream) -> list[tuple[zoo.Model, str]]:
    """Every sample config of upstream, with a model of its zoo."""
    return [
        (MODELS[name], path.read_text(encoding="utf-8"))
        for name, folder in FOLDERS.items()
        for path in sorted((upstream_tree.path / folder).glob("*.config"))
    ]


@EVERY
def test_the_catalogue_agrees_with_the_config(model: zoo.Model, upstream_tree: Upstream, compiled: Protos) -> None:
    sample = (upstream_tree.path / model.config).read_text(encoding="utf-8")
    text = pipeline.derive(model, upstream_tree, compiled).text if model.assumed else sample
    config = parse(text, compiled)
    which = config.model.WhichOneof("model")
    assert which == PROTO.get(model.meta_architecture, model.meta_architecture)
    network = getattr(config.model, which)
    assert network.feature_extractor.type == model.feature_extractor
    resizer = network.image_resizer.WhichOneof("image_resizer_oneof")
    assert resizer == f"{model.resizer}_resizer"
    sides = getattr(network.image_resizer, resizer)
    names = ("height", "width") if model.resizer == "fixed_shape" else ("min_dimension", "max_dimension")
    assert tuple(getattr(sides, name) for name in names) == model.input_size


@EVERY
def test_a_derived_config_is_ready_for_one_machine(
    model: zoo.Model, upstream_tree: Upstream, compiled: Protos
) -> None:
    derived = pipeline.derive(model, upstream_tree, compiled)
    config = parse(derived.text, compiled)
    train, evaluation, reader = config.train_config, config.eval_config, config.eval_input_reader[0]
    assert not train.use_bfloat16
    assert not train.sync_replicas
    assert train.replicas_to_aggregate == 1
    assert train.startup_delay_steps == 0
    assert not train.optimizer.use_moving_average
    assert not evaluation.use_moving_averages
    assert train.fine_tune_checkpoint_type == model.checkpoint.type
    assert train.fine_tune_checkpoint_version == {"tf1": 1, "tf2": 2}[model.zoo]
    assert train.from_detection_checkpoint is (model.zoo == "tf1")
    assert model.checkpoint.type == "detection" or model.zoo == "tf2"
    assert not train.load_all_detection_checkpoint_vars
    assert list(evaluation.metrics_set) == ["coco_detection_metrics"]
    assert not evaluation.HasField("max_evals")
    assert not evaluation.HasField("num_examples")
    assert (evaluation.batch_size, reader.shuffle, reader.num_epochs) == (1, False, 1)
    assert not config.HasField("graph_rewriter")


@EVERY
def test_a_derived_config_asks_for_boxes_only(model: zoo.Model, upstream_tree: Upstream, compiled: Protos) -> None:
    text = pipeline.derive(model, upstream_tree, compiled).text
    config = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for word in ("keypoint", "mask_h", "_masks: true", "context_", "bfloat16: true", "SEQUENCE"):
        assert word not in config
    assert "number_of_stages: 3" not in config
    assert pipeline.PLACEHOLDER not in config


def test_what_is_assumed_is_said_in_the_config(upstream_tree: Upstream, compiled: Protos) -> None:
    model = zoo.find("faster_rcnn_inception_resnet_v2_640x640")
    derived = pipeline.derive(model, upstream_tree, compiled)
    config = parse(derived.text, compiled).model.faster_rcnn
    assert f"# {model.assumed[0]}\n" in derived.text
    assert config.image_resizer.fixed_shape_resizer.height == 640
    assert config.number_of_stages == 2
    assert "model.faster_rcnn.image_resizer.fixed_shape_resizer.width" in {c.field for c in derived.changes}


def test_a_config_that_names_the_wrong_network_is_put_right(upstream_tree: Upstream, compiled: Protos) -> None:
    derived = pipeline.derive(zoo.find("centernet_resnet101_v1_fpn_512x512"), upstream_tree, compiled)
    (change,) = (c for c in derived.changes if c.field == "model.center_net.feature_extractor.type")
    assert (change.before, change.after) == ('"resnet_v2_101"', '"resnet_v1_101_fpn"')


def classes(source: str) -> set[str]:
    """Return the keys of upstream's maps from a network's name to its class."""
    maps = re.findall(r"_(?:CLASS|FUNCTION)_MAP = \{(.*?)\}", source, re.DOTALL)
    return {name for each in maps for name in re.findall(r"'([^']+)':", each)}


def test_upstream_knows_the_network_of_every_model_but_those_that_say_so(upstream_tree: Upstream) -> None:
    builder = upstream_tree.path / "object_detection/builders/model_builder.py"
    known = classes(builder.read_text(encoding="utf-8"))
    unknown = {model.feature_extractor for model in zoo.models()} - known
    assert unknown == {"ssd_spaghettinet", "mobilenet_v2_fpn_sep_conv"}
    later = [model for model in zoo.models() if model.feature_extractor in unknown]
    assert all("after the pinned commit" in str(model.unavailable) for model in later)


@EVERY
def test_the_payload_finds_every_path_empty(model: zoo.Model, upstream_tree: Upstream, compiled: Protos) -> None:
    config = parse(pipeline.derive(model, upstream_tree, compiled).text, compiled)
    assert config.train_config.fine_tune_checkpoint == ""
    for reader in (config.train_input_reader, config.eval_input_reader[0]):
        assert reader.label_map_path == ""
        assert list(reader.tf_record_input_reader.input_path) == []
        assert reader.WhichOneof("input_reader") == "tf_record_input_reader"


@EVERY
def test_the_text_says_where_it_comes_from(model: zoo.Model, upstream_tree: Upstream, compiled: Protos) -> None:
    first = pipeline.derive(model, upstream_tree, compiled).text.splitlines()[0]
    assert upstream_tree.commit in first
    assert model.config in first


def test_no_sample_keeps_a_placeholder(samples: list[tuple[zoo.Model, str]], compiled: Protos) -> None:
    assert len(samples) == 100
    for model, text in samples:
        config = parse(text, compiled)
        pipeline.edit(config, model)
        assert pipeline.PLACEHOLDER not in pipeline.render(config)


def test_what_is_rendered_parses_to_the_same_message(
    samples: list[tuple[zoo.Model, str]], compiled: Protos
) -> None:
    for model, text in samples:
        config = parse(text, compiled)
        pipeline.edit(config, model)
        rendered = pipeline.render(config)
        assert rendered.isascii()
        assert parse(rendered, compiled) == config


def test_editing_twice_changes_nothing(samples: list[tuple[zoo.Model, str]], compiled: Protos) -> None:
    for model, text in samples:
        config = parse(text, compiled)
        assert pipeline.edit(config, model)
        assert pipeline.edit(config, model) == ()


def test_every_difference_is_told_and_nothing_else(samples: list[tuple[zoo.Model, str]], compiled: Protos) -> None:
    for model, text in samples:
        before, after = parse(text, compiled), parse(text, compiled)
        changes = pipeline.edit(after, model)
        assert {change.field for change in changes} == set(differences(before, after))
        assert all(change.before != change.after and change.reason for change in changes)


def differences(before: Any, after: Any, prefix: str = "") -> list[str]:
    """List the paths of the fields in which two messages differ, as changes name them."""
    found: list[str] = []
    for field in before.DESCRIPTOR.fields:
        path = f"{prefix}{field.name}"
        one, other = getattr(before, field.name), getattr(after, field.name)
        if field.has_presence and before.HasField(field.name) == after.HasField(field.name) and field.message_type:
            found += differences(one, other, f"{path}.") if before.HasField(field.name) else []
        elif field.name in {"eval_input_reader", "data_augmentation_options"}:
            for index, pair in enumerate(zip(one, other, strict=True)):
                found += differences(*pair, f"{path}[{index}].")
        elif one != other or (field.has_presence and before.HasField(field.name) != after.HasField(field.name)):
            found.append(path)
    return found


def apply_diff(before: list[str], diff: list[str]) -> list[str]:
    """Apply a unified diff, and check every line that it says was there."""
    out: list[str] = []
    at = 0
    for line in diff[2:]:
        if line.startswith("@@"):
            start = int(re.findall(r"-(\d+)", line)[0]) - 1
            out += before[at:start]
            at = start
        elif line.startswith("+"):
            out.append(line[1:])
        else:
            assert before[at] == line[1:]
            out += [line[1:]] if line.startswith(" ") else []
            at += 1
    return out + before[at:]


@EVERY
def test_the_explanation_is_a_diff_to_the_bundled_config(
    model: zoo.Model, upstream_tree: Upstream, compiled: Protos
) -> None:
    asked = (("train_config.batch_size", "3"),)
    told = pipeline.explain(model, upstream_tree, compiled, asked).splitlines()
    assumed, diff = told[: len(model.assumed)], told[len(model.assumed) :]
    assert all(each in line for each, line in zip(model.assumed, assumed, strict=True))
    sample = pipeline.sample(model, upstream_tree, compiled)
    after = "\n".join(apply_diff(pipeline.render(sample).splitlines(), diff))
    derived = pipeline.derive(model, upstream_tree, compiled)
    expected = parse(derived.text, compiled)
    expected.train_config.batch_size = 3
    assert parse(after, compiled) == expected
    for change in derived.changes:
        assert f"# {change.field.split('.')[-1]}: {change.reason}" in after


def test_quantization_is_taken_out_and_said(upstream_tree: Upstream, compiled: Protos) -> None:
    name = "object_detection/samples/configs/ssd_mobilenet_v2_quantized_300x300_coco.config"
    model = dataclasses.replace(MODELS["tf1"], config=name)
    derived = pipeline.derive(model, upstream_tree, compiled)
    (change,) = (change for change in derived.changes if change.field == "graph_rewriter")
    assert "delay: 48000" in change.before
    assert (change.after, "quantization" in change.reason) == ("unset", True)


def test_an_averaging_optimizer_is_told_with_its_default(upstream_tree: Upstream, compiled: Protos) -> None:
    derived = pipeline.derive(zoo.find("ssdlite_mobilenet_v2"), upstream_tree, compiled)
    field = "train_config.optimizer.use_moving_average"
    (change,) = (change for change in derived.changes if change.field == field)
    assert (change.before, change.after) == ("unset (true)", "false")


def test_text_of_any_alphabet_is_written_the_same_everywhere(compiled: Protos) -> None:
    config = parse("", compiled)
    config.train_config.fine_tune_checkpoint = "é'\"\n\x01猫\\"
    expected = r'fine_tune_checkpoint: "\303\251\'\"\n\001\347\214\253\\"'
    assert expected in pipeline.render(config)
    assert parse(pipeline.render(config), compiled) == config


def test_a_config_that_upstream_lacks_is_named(upstream_tree: Upstream, compiled: Protos) -> None:
    model = dataclasses.replace(MODELS["tf1"], config="object_detection/samples/configs/none.config")
    with pytest.raises(OdbuildError, match=r"none\.config"):
        pipeline.derive(model, upstream_tree, compiled)


CODE = """
import sys
from pathlib import Path
from odbuild import pipeline, protos, upstream, zoo
tree = upstream.fetch(cache=Path(sys.argv[1]), offline=True, say=print)
compiled = protos.compile_protos(tree, cache=Path(sys.argv[1]), say=print)
sys.stdout.write(pipeline.derive(zoo.find("ssdlite_mobilenet_v2"), tree, compiled).text)
"""


@pytest.mark.parametrize("kind", ["python", "upb"])
def test_both_implementations_of_protobuf_write_the_same(
    kind: str, upstream_tree: Upstream, compiled: Protos, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", kind)
    cache = upstream_tree.path.parent.parent
    command = [sys.executable, "-c", CODE, str(cache)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent)
    assert done.stdout == pipeline.derive(zoo.find("ssdlite_mobilenet_v2"), upstream_tree, compiled).text
