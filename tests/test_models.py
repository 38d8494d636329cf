"""The catalogue as people see it: filtered, sorted, in full, drawn, and in the documentation."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from odbuild import models, zoo
from odbuild.__main__ import main
from odbuild.errors import UsageError
from odbuild.models import Wanted

DOCS = Path(__file__).resolve().parent.parent / "docs"

wanted = st.builds(
    Wanted,
    zoo=st.sampled_from([None, "tf1", "tf2"]),
    max_ms=st.none() | st.floats(1, 2000),
    min_map=st.none() | st.floats(1, 60),
    export=st.sampled_from([None, "saved_model", "frozen_graph", "tflite"]),
    sort=st.sampled_from(["zoo", "name", "ms", "map"]),
)


@given(wanted)
def test_what_is_shown_fits_and_what_is_left_out_does_not(asked: Wanted) -> None:
    found = models.select(asked)
    for model in zoo.models():
        fits = (
            asked.zoo in {None, model.zoo},
            asked.max_ms is None or (model.speed_ms or 1e9) <= asked.max_ms,
            asked.min_map is None or (model.coco_map or 0) >= asked.min_map,
            asked.export is None or asked.export in model.exports,
        )
        assert (model in found) is all(fits)


def test_models_are_sorted_as_asked() -> None:
    fastest = [model.speed_ms for model in models.select(Wanted(sort="ms")) if model.speed_ms]
    best = [model.coco_map for model in models.select(Wanted(sort="map")) if model.coco_map]
    assert fastest == sorted(fastest)
    assert best == sorted(best, reverse=True)
    assert models.select(Wanted()) == zoo.models()
    assert models.select(Wanted(sort="map"))[0].short_name == "efficientdet_d7"


@pytest.mark.parametrize("model", zoo.models(), ids=lambda model: model.short_name)
def test_a_model_is_told_in_full_and_by_a_name_it_answers_to(model: zoo.Model) -> None:
    assert zoo.find(models.handle(model)) is model
    told = models.details(model)
    known = (*model.names, model.checkpoint.url, model.config, *model.assumed, model.unavailable or "")
    assert all(each in told for each in known)
    assert ("GB a picture in training" in told) is (model.footprint is not None)
    assert (f"odbuild bundle {models.handle(model)}" in told) is (model.unavailable is None)


def test_a_table_has_a_line_for_each_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--zoo", "tf1", "--export", "tflite", "--max-ms", "30", "--sort", "ms"]) == 0
    shown = capsys.readouterr()
    header, *lines = shown.out.splitlines()
    assert header.split() == ["name", "zoo", "ms", "mAP", "input", "exports", "notes"]
    assert lines[0].startswith("ssd_mobilenet_edgetpu ")
    assert all("tflite" in line and " TF1 " in line for line in lines)
    assert f"{len(lines)} of 78 models" in shown.err


def test_unavailable_models_are_listed_with_the_reason() -> None:
    lines = models.table(zoo.models()).splitlines()
    assert sum("cannot be trained: it" in line for line in lines) == 4
    assert len(lines) == 79


def test_json_holds_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == [model.name for model in zoo.models()]
    assert rows[0]["exports"] == ["saved_model", "frozen_graph", "tflite"]
    assert main(["models", "facessd", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["metric"] == "Open Images mAP@0.5"


def test_one_model_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "SSD_MobileNet_v1"]) == 0
    assert capsys.readouterr().out.startswith("ssd_mobilenet_v1_coco_2018_01_28\n  also called")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["ssd_mobilnet_v1"], "Did you mean 'ssd_mobilenet_v1'?"),
        (["mask_rcnn_inception_v2"], "The nearest of those is faster_rcnn_inception_v2."),
        (["--max-ms", "fast"], "'fast' is no positive number"),
        (["--export", "coreml"], "invalid choice: 'coreml'"),
        (["--plot", "models.jpg"], "expected a file that ends in .svg or .png"),
        (["facessd", "--plot", "models.svg"], "cannot be drawn"),
    ],
)
def test_a_wrong_call_is_told(
    words: list[str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        code = main(["models", *words])
    except SystemExit as stop:  # argparse's own
        code = int(str(stop.code))
    assert code == 2
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.svg", "b.PNG"])
def test_the_chosen_model_is_marked(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / name
    assert main(["models", "ssd_mobilenet_v2", "--zoo", "tf2", "--plot", str(target)]) == 0
    assert capsys.readouterr().out.strip() == str(target)
    if name.endswith("svg"):
        assert '#d62728">ssd_mobilenet_v2</text>' in target.read_text(encoding="utf-8")
    else:
        with Image.open(target) as picture:
            assert picture.format == "PNG"


def test_nothing_to_draw_is_an_empty_picture(tmp_path: Path) -> None:
    models.write_plot([], None, tmp_path / "a.svg")
    assert "<circle" not in (tmp_path / "a.svg").read_text(encoding="utf-8")


def test_another_ending_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        models.write_plot(zoo.models(), None, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_the_documentation_is_the_catalogue_s() -> None:
    for name, text in models.pages().items():
        page = DOCS / name
        fresh = page.exists() and page.read_text(encoding="utf-8") == text
        assert fresh, f"docs/{name} is stale: make it again with `nox -s docs`"
