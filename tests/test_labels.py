from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from hypothesis import given
from hypothesis import strategies as st

from odbuild import strategies
from odbuild.trainer import labels
from odbuild.trainer.errors import OdbuildError
from odbuild.trainer.labels import label_ids, to_pbtxt
from odbuild.upstream import Upstream


@pytest.fixture(scope="session")
def label_map() -> type[Any]:
    """The message that upstream reads the file with: the fields of its proto that matter here."""
    file = descriptor_pb2.FileDescriptorProto(name="map.proto", package="object_detection.protos")
    item = file.message_type.add(name="StringIntLabelMapItem")
    item.field.add(name="name", number=1, type=9, label=1)
    item.field.add(name="id", number=2, type=5, label=1)
    whole = file.message_type.add(name="StringIntLabelMap")
    kind = ".object_detection.protos.StringIntLabelMapItem"
    whole.field.add(name="item", number=1, type=11, label=3, type_name=kind)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    name = "object_detection.protos.StringIntLabelMap"
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


@given(labels=st.lists(strategies.labels(odd=True), unique=True, max_size=6))
def test_any_label_survives_the_file(label_map: type[Any], labels: list[str]) -> None:
    text = to_pbtxt(labels)
    assert text.isascii()
    parsed = text_format.Parse(text, label_map())
    assert [(item.name, item.id) for item in parsed.item] == list(label_ids(labels).items())


def test_ids_begin_at_one_in_the_given_order() -> None:
    assert label_ids(["toy", "pen"]) == {"toy": 1, "pen": 2}


@pytest.mark.parametrize("labels", [["a", "a"], ["a", ""]])
def test_labels_that_could_not_be_told_apart_are_refused(labels: list[str]) -> None:
    with pytest.raises(OdbuildError, match="different and not empty"):
        label_ids(labels)


def test_the_real_message_agrees(label_map: type[Any], upstream_tree: Upstream) -> None:
    proto = (upstream_tree.path / "object_detection/protos/string_int_label_map.proto").read_text(encoding="utf-8")
    for field in label_map.DESCRIPTOR.fields_by_name["item"].message_type.fields:
        assert f" {field.name} = {field.number};" in proto


def test_an_escape_that_is_none_is_taken_as_it_stands_and_without_a_warning(tmp_path: Path) -> None:
    text = r'item { name: "a\ b" id: 1 }'
    (tmp_path / "labels.pbtxt").write_text(text)
    assert [item.name for item in labels.from_pbtxt(text)] == [r"a\ b"]
    assert [item.name for item in labels.read_label_map(tmp_path / "labels.pbtxt")] == [r"a\ b"]
