"""Trials for real: a bundle's own payload builds a model, takes a step, exports and restores it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from odbuild import matrix, outcomes, zoo
from odbuild.cache import cache_folder
from odbuild.outcomes import Outcome
from odbuild.upstream import Upstream

MODELS = ("ssd_mobilenet_v3_small_coco", "ssd_mobilenet_v1_coco")

RUN = """
import sys
from pathlib import Path
from odbuild import matrix
_, folder, cache, *models = sys.argv
folder = Path(folder)
matrix.run(
    matrix.Request(
        models=tuple(models), results=folder / "tried.jsonl", logs=folder / "logs", cache=Path(cache), jobs=1
    ),
    print,
)
"""


def request_of(folder: Path) -> matrix.Request:
    return matrix.Request(
        models=MODELS, results=folder / "tried.jsonl", logs=folder / "logs", cache=cache_folder(), jobs=1
    )


def read(request: matrix.Request) -> dict[str, Outcome]:
    return outcomes.parse(request.results.read_text(encoding="utf-8")) if request.results.exists() else {}


@pytest.fixture(scope="module")
def stopped(upstream_tree: Upstream, tmp_path_factory: pytest.TempPathFactory) -> matrix.Request:
    """Run the matrix over two models, and stop it when it knows the outcome of one."""
    pytest.importorskip("tensorflow")
    folder = tmp_path_factory.mktemp("matrix")
    request = request_of(folder)
    command = [sys.executable, "-c", RUN, str(folder), str(cache_folder()), *MODELS]
    environment = {**os.environ, "TMPDIR": str(folder)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not read(request):
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate()
    assert read(request), told
    return request


@pytest.mark.tensorflow
@pytest.mark.training
def test_a_model_passes_every_stage(stopped: matrix.Request) -> None:
    (outcome,) = read(stopped).values()
    log = (stopped.logs / f"{outcome.model}.txt").read_text(encoding="utf-8")
    assert outcome.failed == {}, log
    assert outcome.model.startswith(MODELS[0])
    assert outcome.loss is not None
    assert 0 < outcome.loss < 1000
    assert outcome.restored is not None
    assert outcome.restored["identical"] > 100
    assert outcome.restored["different"] == 0


@pytest.mark.tensorflow
@pytest.mark.training
def test_a_stopped_matrix_goes_on_and_leaves_nothing_behind(stopped: matrix.Request, tmp_path: Path) -> None:
    assert not list(stopped.results.parent.glob("zoo-matrix-*"))
    told: list[str] = []
    due = list(matrix._due(stopped, tmp_path, told.append))
    assert [job.model.short_name for job in due] == [MODELS[1]]
    assert told == [f"{zoo.find(MODELS[0]).name}: known already"]


def test_models_that_are_quick_to_try_go_first() -> None:
    ordered = matrix.order(zoo.models())
    assert sorted(ordered, key=zoo.models().index) == list(zoo.models())
    speeds = [model.speed_ms or float("inf") for model in ordered if not model.edge_device]
    assert speeds == sorted(speeds)


def test_large_pictures_are_shrunk_and_small_ones_are_not() -> None:
    assert matrix.settings(zoo.find("ssd_mobilenet_v1")) == {}
    assert matrix.settings(zoo.find("rfcn_resnet101")) == {
        "model.faster_rcnn.image_resizer.keep_aspect_ratio_resizer.min_dimension": "256",
        "model.faster_rcnn.image_resizer.keep_aspect_ratio_resizer.max_dimension": "256",
    }
    assert matrix.settings(zoo.find("centernet_hg104_1024x1024")) == {
        "model.center_net.image_resizer.keep_aspect_ratio_resizer.min_dimension": "256",
        "model.center_net.image_resizer.keep_aspect_ratio_resizer.max_dimension": "256",
    }


def test_nasnet_looks_twice_at_fewer_boxes() -> None:
    for model in zoo.models():
        fewer = matrix.settings(model).get("model.faster_rcnn.first_stage_max_proposals")
        assert (fewer == str(matrix.PROPOSALS)) is (model.short_name.startswith("faster_rcnn_nas"))
