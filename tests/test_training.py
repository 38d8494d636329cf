"""start.sh for real: upstream's code, TensorFlow, photographs, on whatever row this Python has installed."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from odbuild import bundle, rehearse
from odbuild.cache import cache_folder
from odbuild.trainer.convert import convert
from odbuild.trainer.policies import Policies
from odbuild.upstream import Upstream

pytestmark = [pytest.mark.tensorflow, pytest.mark.training]

LABELS = ('O\'Brien "🦆" \\ {{x}}', "猫/$(touch oops)")
STEPS = 3
ORIENTATION, TO_TURN_RIGHT = 274, 6


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished start.sh: its exit code, its output, and RESULT_DIR."""

    code: int
    log: str
    result: Path

    @property
    def results(self) -> Mapping[str, Any]:
        return dict(json.loads((self.result / "results.json").read_text(encoding="utf-8")))

    def loss(self, index: int) -> float:
        return float(rehearse.STEP.findall(self.log)[index][0])

    @property
    def steps(self) -> list[int]:
        return [int(step) for _, step in rehearse.STEP.findall(self.log)]


@pytest.fixture(scope="module")
def photographs(upstream_tree: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lay out ducks the way users do: folders, a PNG, a turned photograph, odd labels, an empty picture."""
    folder = tmp_path_factory.mktemp("photographs")
    sources = sorted((upstream_tree.path / rehearse.DUCK_FOLDER).glob("*.jpg"))
    annotations: dict[str, Any] = {"stale.jpg": [{"x": 0.1, "y": 0.1, "x2": 0.2, "y2": 0.2, "label": LABELS[0]}]}
    for number in range(10):
        source = sources[number % len(sources)]
        ymin, xmin, ymax, xmax = rehearse.DUCKS[source.name]
        key = f"f{number % 2} ü/{number}.{'png' if number == 3 else 'jpg'}"
        write_picture(source, folder / key, number)
        label = LABELS[number % 2]
        annotations[key] = [{"x": xmin, "y": ymin, "x2": xmax, "y2": ymax, "label": label}]
    annotations["f0 ü/0.jpg"] = [{"label": "Negative"}]
    content = {"version": "1.0", "type": "localization", "labels": list(LABELS), "annotations": annotations}
    (folder / "_annotations.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def write_picture(source: Path, target: Path, number: int) -> None:
    target.parent.mkdir(exist_ok=True)
    with Image.open(source) as original:
        exif, picture = original.getexif(), original.convert("RGB")
    if number == 5:
        # Stored lying on its side, as a camera held upright does it.
        picture = picture.transpose(Image.Transpose.ROTATE_90)
        exif[ORIENTATION] = TO_TURN_RIGHT
    picture.putpixel((0, 0), (number, number, number))
    picture.save(target, exif=exif)


@dataclass(frozen=True, kw_only=True)
class Job:
    """An unpacked bundle and the folders that a service gives it."""

    folder: Path
    data: Path
    result: Path

    def start(self, steps: int, *, until: str = "") -> Run:
        """Run start.sh; where `until` is given, send SIGTERM when a line holds it."""
        environment = {
            **os.environ,
            "DATA_DIR": str(self.data),
            "RESULT_DIR": str(self.result),
            "ODBUILD_PYTHON": sys.executable,
            "CUDA_VISIBLE_DEVICES": "",
        }
        with subprocess.Popen(
            ["bash", "-c", rehearse.COMMAND.format(steps)],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            lines = []
            for line in process.stdout or ():
                lines.append(line)
                if until and until in line:
                    os.killpg(process.pid, signal.SIGTERM)
                    until = ""
        return Run(code=process.returncode, log="".join(lines), result=self.result)


Unpack = Callable[..., Job]


@pytest.fixture(scope="module")
def unpack(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Unpack:
    """Return a function that bundles a model and unpacks it as the service does."""
    pytest.importorskip("tensorflow")

    def unpacked(model: str, *, checkpoint: str | Path = "none") -> Job:
        folder = tmp_path_factory.mktemp(model)
        wanted = bundle.Request(
            model=model, out=folder / "dist", cache=cache_folder(), checkpoint=checkpoint, exif="apply"
        )
        with zipfile.ZipFile(bundle.bundle(wanted, print).path) as packed:
            packed.extractall(folder / "job")
        return Job(folder=folder / "job", data=photographs, result=folder / "result")

    return unpacked


@pytest.fixture(scope="module")
def tf1(unpack: Unpack) -> tuple[Run, Run]:
    """Train a TF1 model, stopped by SIGTERM after its first step and started again."""
    job = unpack("ssd_mobilenet_v1")
    return job.start(STEPS, until="step = 0 "), job.start(STEPS)


@pytest.fixture(scope="module")
def tf2_runs(unpack: Unpack, photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Train a TF2 model from random weights: to the end, once more with nothing left to do, and two steps on.

    Its DATA_DIR holds a finished conversion.
    """
    records = tmp_path_factory.mktemp("converted") / "records"
    convert(photographs, records, Policies(exif="apply"), print)
    job = replace(unpack("ssd_mobilenet_v2_fpnlite_320x320"), data=records)
    return [job.start(STEPS), job.start(STEPS), job.start(STEPS + 2)]


@pytest.fixture(scope="module")
def tf2(tf2_runs: list[Run]) -> Run:
    return tf2_runs[-1]


def markers(run: Run) -> list[str]:
    return [line for line in run.log.splitlines() if line.startswith("CACLI-")]


def test_a_stopped_run_is_a_failed_one_that_has_saved(tf1: tuple[Run, Run]) -> None:
    stopped, _ = tf1
    assert stopped.code == 128 + signal.SIGTERM, stopped.log
    assert markers(stopped) == [rehearse.FAILED]
    assert stopped.steps[0] == 0
    assert len(stopped.steps) < STEPS
    assert "Traceback" not in stopped.log


def test_the_same_start_again_goes_on(tf1: tuple[Run, Run]) -> None:
    stopped, resumed = tf1
    assert resumed.code == 0, resumed.log
    assert markers(resumed) == [rehearse.SUCCESS]
    assert stopped.steps + resumed.steps == list(range(STEPS))


def test_going_on_keeps_what_was_learned(tf2_runs: list[Run]) -> None:
    whole, again, on = tf2_runs
    assert [run.code for run in tf2_runs] == [0, 0, 0], again.log + on.log
    assert [run.steps for run in tf2_runs] == [[0, 1, 2], [], [3, 4]]
    # Starting again with nothing to do must not replace the weights by those of a model never called.
    tf = pytest.importorskip("tensorflow")
    kept = [tf.train.list_variables(str(on.result / "checkpoints" / f"ckpt-{step}")) for step in (3, 5)]
    assert kept[0] == kept[1]
    assert len(kept[0]) > 300
    assert on.results["loss_first"] == pytest.approx(whole.loss(0), abs=1e-6)
    assert on.results["loss_last"] == pytest.approx(on.loss(-1), abs=1e-6)


@pytest.mark.parametrize("which", ["tf1", "tf2"])
def test_a_run_leaves_what_clients_look_for(which: str, request: pytest.FixtureRequest) -> None:
    found = request.getfixturevalue(which)
    run = found[1] if isinstance(found, tuple) else found
    assert run.code == 0, run.log
    left = {str(path.relative_to(run.result)) for path in run.result.rglob("*")}
    assert {"model/saved_model.pb", "model/labels.json", "label_map.pbtxt", "pipeline.config"} <= left
    assert (run.result / "model" / "label_map.pbtxt").read_bytes() == (run.result / "label_map.pbtxt").read_bytes()
    assert {"detections.png", "results.json", "ledger.jsonl", "checkpoints/best.json"} <= left
    assert ("model/frozen_inference_graph.pb" in left) == (which == "tf1")
    assert 0 <= run.results["map"] <= run.results["map50"] <= 1
    assert json.loads((run.result / "model" / "labels.json").read_text(encoding="utf-8")) == list(LABELS)
    assert "stale.jpg" in (run.result / "ledger.jsonl").read_text(encoding="utf-8")


def test_labels_are_never_run(tf1: tuple[Run, Run]) -> None:
    assert not list(tf1[1].result.parent.rglob("oops"))


def test_every_change_of_the_config_is_told(tf1: tuple[Run, Run]) -> None:
    assert re.search(r"batch_norm\.decay: 0\.9997 -> 0\.9 ", tf1[1].log)
    assert re.search(rf"num_steps: 200000 -> {STEPS} ", tf1[1].log)
    # It starts from random weights.
    assert "learning_rate: 0.004 ->" not in tf1[1].log


def test_data_of_another_run_is_not_mixed_in(tf2: Run, unpack: Unpack, photographs: Path) -> None:
    job = unpack("ssd_mobilenet_v1")
    shutil.copytree(tf2.result, job.result)
    run = job.start(1)
    assert run.code == 1
    assert "RESULT_DIR of its own" in run.log
    assert run.steps == []


def test_a_tf2_run_starts_from_its_checkpoint(tf2: Run, unpack: Unpack) -> None:
    job = unpack("ssd_mobilenet_v2_fpnlite_320x320", checkpoint=tf2.result / "checkpoints" / "best")
    run = job.start(1)
    assert run.code == 0, run.log
    restored = run.results["restored"]
    assert restored["identical"] > 2 * restored["different"]


def test_a_checkpoint_of_another_model_trains_nothing(unpack: Unpack, tmp_path: Path) -> None:
    write = "import sys, tensorflow.compat.v1 as tf; tf.disable_eager_execution(); v = tf.get_variable('x', [2]); "
    write += "s = tf.Session(); s.run(v.initializer); tf.train.Saver().save(s, sys.argv[1])"
    subprocess.run([sys.executable, "-c", write, str(tmp_path / "model.ckpt")], check=True, capture_output=True)
    run = unpack("ssd_mobilenet_v1", checkpoint=tmp_path).start(1)
    assert run.code == 1
    assert markers(run) == [rehearse.FAILED]
    assert "belongs to another model" in run.log
    assert run.steps == []
    assert "Traceback" not in run.log
