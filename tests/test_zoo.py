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


def test_an_unknown_name_gets_a_guess_and_the_known_names() -> None:
    with pytest.raises(UsageError) as raised:
        zoo.find("faster_rcnn_resnet10")
    message = str(raised.value)
    assert "Unknown model 'faster_rcnn_resnet10'. Did you mean 'faster_rcnn_resnet101'?" in message
    assert all(min(model.names, key=len) in message for model in zoo.models())


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
        ("object_detection/a.config", "/etc/passwd", "config = '/etc/passwd'; expected a relative path"),
        ("object_detection/a.config", "a/../../b", "config = 'a/../../b'"),
        ("https://", "http://", "url = 'http://host/a.tar.gz'; expected an https address"),
        ('type = "detection"', 'type = "full"', "checkpoint: type = 'full'"),
        ('type = "detection"', 'type = "detection"\nsha256 = "ABC"', "checkpoint: sha256 = 'ABC'"),
        ('type = "detection"', 'type = "detection"\nsize = -1', "checkpoint: size = -1"),
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


def test_seventy_rows_are_data() -> None:
    rows = "".join(
        ROW.replace("[a_model", f"[m{i}").replace('"a"', f'"a{i}"').replace('"b"', f'"b{i}"') for i in range(70)
    )
    assert len(zoo.load(rows)) == 70


def test_the_catalogue_agrees_with_the_facts(shared: Path) -> None:
    facts = {row["name"]: row for row in json.loads((shared / "facts" / "zoo.json").read_text(encoding="utf-8"))}
    for model in zoo.models():
        fact = facts[model.name]
        assert model.names == tuple(dict.fromkeys((fact["name"], fact["short_name"], *fact["aliases"])))
        assert (model.zoo, model.speed_ms, model.coco_map) == (fact["zoo"], fact["speed_ms"], fact["coco_map"])
        assert model.config == f"object_detection/{fact['pipeline_config']}"
        assert model.checkpoint.url == fact["https_url_derived"]
        assert model.checkpoint.prefix == fact["checkpoint_prefix"]
        assert model.checkpoint.type == fact["fine_tune_checkpoint_type"]
        assert model.checkpoint.size == fact["archive_size_bytes"]
        known = fact["checksum"] or {"algorithm": "sha256", "value": None}
        assert getattr(model.checkpoint, known["algorithm"]) == known["value"]
