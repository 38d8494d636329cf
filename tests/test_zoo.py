"""The catalogue: found by every name, refused when malformed, and true to upstream's configs."""

import dataclasses
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from odbuild import zoo
from odbuild.errors import OdbuildError, UsageError

NAMES = [(name, model) for model in zoo.models() for name in model.names]

ROW = """
[a_model]
short_name = "a"
aliases = ["b"]
zoo = "tf1"
meta_architecture = "ssd"
feature_extractor = "x"
resizer = "fixed_shape"
input_size = [1, 2]
dataset = "coco14"
config = "object_detection/a.config"
[a_model.checkpoint]
url = "https://host/a.tar.gz"
prefix = "model.ckpt"
type = "detection"
"""


@pytest.mark.parametrize(("name", "model"), NAMES)
def test_a_model_is_found_by_every_name_in_any_case(name: str, model: zoo.Model) -> None:
    assert zoo.find(name) is zoo.find(name.upper()) is zoo.find(f" {name} ") is model


def test_the_first_four_models_are_there() -> None:
    names = (
        "faster_rcnn_resnet101",
        "ssd_mobilenet_v1",
        "ssdlite_mobilenet_v2",
        "ssd_mobilenet_v2_fpnlite_320x320",
    )
    assert [zoo.find(name).zoo for name in names] == ["tf1", "tf1", "tf1", "tf2"]


def test_an_unknown_name_gets_a_guess_and_a_way_to_the_others() -> None:
    with pytest.raises(UsageError) as raised:
        zoo.find("faster_rcnn_resnet10")
    assert str(raised.value) == (
        "Unknown model 'faster_rcnn_resnet10'. Did you mean 'faster_rcnn_resnet101'? "
        "`odbuild models` lists all 78."
    )


@pytest.mark.parametrize(("name", "other"), [(name, other) for other in zoo.refused() for name in other.names])
def test_a_model_that_is_no_boxes_model_gets_its_reason_and_the_nearest_one(name: str, other: zoo.Refused) -> None:
    with pytest.raises(UsageError) as raised:
        zoo.find(name.upper())
    assert str(raised.value).endswith(f"{other.reason}. The nearest of those is {other.nearest}.")
    assert not zoo.find_trainable(other.nearest).unavailable


UNAVAILABLE = [
    "spaghettinet_edgetpu_s_2021_10_13",
    "spaghettinet_edgetpu_m_2021_10_13",
    "spaghettinet_edgetpu_l_2021_10_13",
    "centernet_mobilenetv2fpn_512x512_coco17_od",
]


def test_both_zoos_are_whole() -> None:
    assert [sum(model.zoo == which for model in zoo.models()) for which in ("tf1", "tf2")] == [43, 35]
    assert len(zoo.refused()) == 12
    assert [model.name for model in zoo.models() if model.unavailable] == UNAVAILABLE


@pytest.mark.parametrize("name", UNAVAILABLE)
def test_a_model_that_cannot_be_trained_is_listed_with_its_reason(name: str) -> None:
    model = zoo.find(name)
    assert model.exports == ()
    with pytest.raises(UsageError, match="cannot be trained: it"):
        zoo.find_trainable(name)


def test_no_name_means_two_models() -> None:
    rows = [model.names for model in zoo.models()] + [other.names for other in zoo.refused()]
    names = [name.casefold() for names in rows for name in names]
    assert len(names) == len(set(names)) == 309


def test_what_is_trained_can_be_exported() -> None:
    assert zoo.find("ssd_mobilenet_v1").exports == ("saved_model", "frozen_graph", "tflite")
    assert zoo.find("faster_rcnn_resnet101").exports == ("saved_model", "frozen_graph")
    assert zoo.find("centernet_resnet50_v2_512x512").exports == ("saved_model",)


@given(st.text())
def test_any_text_is_a_model_or_a_usage_error(name: str) -> None:
    try:
        assert name.strip().casefold() in map(str.casefold, zoo.find(name).names)
    except UsageError as error:
        assert repr(name) in str(error)  # noqa: PT017  half of the property


def test_a_row_may_leave_out_what_its_zoo_does_not_print() -> None:
    (model,) = zoo.load(ROW)
    assert (model.speed_ms, model.coco_map, model.checkpoint.sha256) == (None, None, None)


def test_a_name_may_hold_a_dot() -> None:
    (model,) = zoo.load(_renamed("ava_v2.1"))
    assert model.name == "ava_v2.1"


def _renamed(name: str) -> str:
    return ROW.replace("[a_model", f"[{json.dumps(name)}")


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ('zoo = "tf1"', 'zoo = "tf3"', "zoo = 'tf3'; expected 'tf1' or 'tf2'"),
        ('short_name = "a"', "", "short_name is missing"),
        ('short_name = "a"', 'short_name = "../a"', "short_name = '../a'"),
        ('short_name = "a"', 'shot_name = "a"', "unknown key 'shot_name'. Did you mean 'short_name'?"),
        ("[1, 2]", "[1, 0]", "input_size = [1, 0]; expected two counts of pixels"),
        ("[1, 2]", "[true, 2]", "input_size"),
        ('aliases = ["b"]', 'aliases = "b"', "aliases = 'b'; expected a list of names"),
        ('aliases = ["b"]', 'aliases = ["b"]\nspeed_ms = "fast"', "speed_ms = 'fast'; expected milliseconds"),
        ('aliases = ["b"]', 'aliases = ["b"]\nspeed_ms = nan', "speed_ms = nan"),
        ('aliases = ["b"]', 'aliases = ["b"]\ncoco_map = 101', "coco_map = 101"),
        ('config = "object_detection/a.config"', "", "config is missing; only a model with `unavailable`"),
        ('aliases = ["b"]', 'aliases = ["b"]\ntflite = 1', "tflite = 1; expected true or false"),
        ('aliases = ["b"]', 'aliases = ["b"]\nassumed = ["a\\nb"]', "expected a list of sentences"),
        ('type = "detection"', 'type = "detection"\nalternatives = ["../a"]', "checkpoint: alternatives"),
        ("object_detection/a.config", "/etc/passwd", "config = '/etc/passwd'; expected a relative path"),
        ("object_detection/a.config", "a/../../b", "config = 'a/../../b'"),
        ("https://", "http://", "url = 'http://host/a.tar.gz'; expected an https address"),
        ('type = "detection"', 'type = "full"', "checkpoint: type = 'full'"),
        ('type = "detection"', 'type = "detection"\nsha256 = "ABC"', "checkpoint: sha256 = 'ABC'"),
        ('type = "detection"', 'type = "detection"\nsize = -1', "checkpoint: size = -1"),
        ("[a_model.checkpoint]", "footprint = 1\n[a_model.checkpoint]", "footprint = 1; expected a table"),
        (
            "[a_model.checkpoint]",
            "footprint = {weights_mb = 1, activations_mb = 0}\n[a_model.checkpoint]",
            "footprint: activations_mb = 0; expected megabytes",
        ),
        ("[a_model.checkpoint]", "[a_model.chekpoint]", "unknown key 'chekpoint'. Did you mean 'checkpoint'?"),
    ],
)
def test_a_malformed_row_is_named_with_its_key(before: str, after: str, told: str) -> None:
    assert before in ROW
    with pytest.raises(OdbuildError) as raised:
        zoo.load(ROW.replace(before, after))
    assert str(raised.value).startswith("zoo.toml: [a_model]")
    assert told in str(raised.value)


@pytest.mark.parametrize("name", ["..", ".hidden", "a/b", "", "a b"])
def test_a_name_that_is_no_folder_name_is_refused(name: str) -> None:
    with pytest.raises(OdbuildError, match="expected a name"):
        zoo.load(_renamed(name))


def test_a_name_belongs_to_one_model() -> None:
    with pytest.raises(OdbuildError, match=r"\[other\]: the name 'A' belongs to \[a_model\]"):
        zoo.load(ROW + ROW.replace("[a_model", "[other").replace('"a"', '"A"').replace('"b"', '"c"'))


def test_a_catalogue_that_is_no_toml_is_told() -> None:
    with pytest.raises(OdbuildError, match=r"zoo\.toml: .*line 2"):
        zoo.load("a = 1\nb = x")


@given(
    st.dictionaries(
        st.sampled_from([field.name for field in dataclasses.fields(zoo.Model)]),
        st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers()) | st.just({}),
    )
)
def test_no_row_of_any_shape_breaks_the_loader(row: dict[str, Any]) -> None:
    whole = tomllib.loads(ROW)["a_model"]
    with pytest.raises(OdbuildError, match=r"zoo\.toml: \[x\]"):
        zoo._model("x", {**whole, **row, "checkpoint": {}})


@pytest.mark.parametrize("text", ["a = 1", "[a]\naliases = []\nreason = ''\nnearest = 'b'", "[a"])
def test_a_malformed_refusal_is_named(text: str) -> None:
    with pytest.raises(OdbuildError, match=r"refused\.toml"):
        zoo.load_refused(text)


def is_detector(fact: dict[str, Any]) -> bool:
    return (fact["outputs"], fact["kind"]) == (["boxes"], "detector")


def test_the_catalogue_agrees_with_the_facts(shared: Path) -> None:
    facts = json.loads((shared / "facts" / "zoo.json").read_text(encoding="utf-8"))
    assert [model.name for model in zoo.models()] == [fact["name"] for fact in facts if is_detector(fact)]
    for model, fact in zip(zoo.models(), filter(is_detector, facts), strict=True):
        assert model.names == tuple(dict.fromkeys((fact["name"], fact["short_name"], *fact["aliases"])))
        for name in ("zoo", "meta_architecture", "feature_extractor", "speed_ms", "edge_device"):
            assert getattr(model, name) == fact[name]
        assert (model.coco_map, model.coco_map_uint8) == (fact["coco_map"], fact["coco_map_uint8"])
        if fact["coco_map"] is None and fact["map_value"] is not None:
            assert (model.other_map, model.metric) == (fact["map_value"], fact["map_metric"])
        assert fact["dataset"].startswith(model.dataset)
        assert model.quantization_aware == fact["quantization_aware"]
        assert ("efficientnet" in model.feature_extractor) == fact["needs_official"]
        config = fact["pipeline_config"] or fact["closest_config"]
        assert model.config == (f"object_detection/{config}" if config else "")
        assert bool(model.assumed) == (config is not None and fact["pipeline_config"] is None)
        assert_archive_agrees(model.checkpoint, fact)


def assert_archive_agrees(archive: zoo.Archive, fact: dict[str, Any]) -> None:
    prefixes = [fact["checkpoint_prefix"], *fact["checkpoint_prefix_alternatives"]]
    assert [archive.prefix, *archive.alternatives] == [prefix for prefix in prefixes if prefix]
    assert archive.url == fact["https_url_derived"]
    assert archive.type == fact["fine_tune_checkpoint_type"]
    assert archive.size == fact["archive_size_bytes"]
    # SHA-1 was broken in 2017, so a digest that is only that counts for none.
    known = {digest["algorithm"]: digest["value"] for digest in fact["checksums"]}
    assert {"sha256": archive.sha256, "sha384": archive.sha384} == {"sha256": None, "sha384": None} | {
        name: value for name, value in known.items() if name != "sha1"
    }


def test_the_refusals_agree_with_the_facts(shared: Path) -> None:
    facts = json.loads((shared / "facts" / "zoo.json").read_text(encoding="utf-8"))
    others = {fact["name"]: {fact["name"], fact["short_name"], *fact["aliases"]} for fact in facts}
    expected = {fact["name"]: others[fact["name"]] for fact in facts if not is_detector(fact)}
    assert {other.name: set(other.names) for other in zoo.refused()} == expected
