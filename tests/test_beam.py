"""A conversion by Apache Beam: the same bytes, and one sentence where it fails."""

import json
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pictures
import pytest

from odbuild import __main__ as command_line
from odbuild import beam
from odbuild.errors import OdbuildError, UsageError
from odbuild.trainer.index import load
from odbuild.trainer.pool import Task, Tell

DIRECT = ("--runner=DirectRunner", "--beam-option=direct_num_workers=2")
WORKERS = (*DIRECT, "--beam-option=direct_running_mode=multi_processing")
EACH = ("--shard-bytes=1", "--max-side=40")

needs_beam = pytest.mark.skipif(find_spec("apache_beam") is None, reason="nox -s beam has Apache Beam")
without_beam = pytest.mark.skipif(find_spec("apache_beam") is not None, reason="Apache Beam is here")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for seed in range(12):
        # Two and two look the same.
        picture = pictures.encoded(pictures.photograph(seed // 2, (96, 72)), quality=80 + seed % 2)
        pictures.write(tmp_path / "in", f"{seed}.jpg", picture)
    box = {"x": 0.25, "y": 0.25, "x2": 0.75, "y2": 0.5, "label": "cat"}
    annotations = {f"{seed}.jpg": [box, {**box, "x2": 1.5, "label": "dog"}] for seed in range(12)}
    document = {"version": "1.0", "type": "localization", "labels": ["cat", "dog"], "annotations": annotations}
    (tmp_path / "in" / "_annotations.json").write_text(json.dumps(document))
    return tmp_path / "in"


def _begun(source: Path, name: str, *words: str) -> "subprocess.Popen[str]":
    """Start a conversion into a folder beside the dataset, in a group of processes of its own."""
    command = [sys.executable, "-m", "odbuild", "convert", source.name, name, *EACH, *words]
    environment = {**os.environ, "ODBUILD_CACHE": str(source.parent / f"cache-{name}")}
    return subprocess.Popen(
        command, env=environment, cwd=source.parent, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def _converted(source: Path, name: str, *words: str) -> dict[str, bytes]:
    run = _begun(source, name, *words)
    _, told = run.communicate()
    assert run.returncode == 0, told
    return {path.name: path.read_bytes() for path in (source.parent / name).iterdir()}


def _failed(source: Path, fault: Callable[[Path], object]) -> list[str]:
    """Do something when the work has been handed out, and return the lines of the run that fails by it."""
    run = _begun(source, "out", *WORKERS)
    while not (signs := list(source.parent.glob(".out.partial/beam-*"))):
        assert run.poll() is None
        time.sleep(0.005)
    fault(signs[0])
    _, told = run.communicate()
    assert run.returncode == 1, told
    assert not (source.parent / "out").exists()
    return told.splitlines()


def _group(leader: int) -> list[str]:
    """Return the command lines of a group of processes."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(process.name)) == leader:
                found.append((process / "cmdline").read_text())
        except OSError:
            continue
    return found


@needs_beam
def test_workers_of_a_cluster_make_the_same_bytes(source: Path) -> None:
    near = "--near-duplicates=together"
    alone = _converted(source, "alone", near, "--jobs=1")
    assert _converted(source, "together", near, "--jobs=2") == alone
    run = _begun(source, "beam", near, *WORKERS)
    most = 0
    while run.poll() is None:
        most = max(most, sum("sdk_worker_main" in line for line in _group(run.pid)))
        time.sleep(0.2)
    _, told = run.communicate()
    assert run.returncode == 0, told
    assert most >= 2
    assert {path.name: path.read_bytes() for path in (source.parent / "beam").iterdir()} == alone
    made = load(source.parent / "beam")
    assert len(made.train.shards) + len(made.validation.shards) == 12
    assert sorted(made.ledger.values()) == [12, 12]
    assert not list(source.parent.glob(".*.partial"))


@needs_beam
def test_a_picture_that_changes_stops_it_and_the_rest_goes_on(source: Path) -> None:
    changed = source / "7.jpg"
    lines = _failed(source, lambda _: changed.write_bytes(pictures.jpeg(seed=99)))
    assert lines[-1].startswith(f"odbuild: error: {changed} changed while it was converted.")
    assert not any("Traceback" in line for line in lines)
    kept = {path.name for path in source.parent.glob(".out.partial/*")}
    assert not [name for name in kept if name.startswith(("beam-", "failure-"))]
    assert _converted(source, "out", *DIRECT) == _converted(source, "whole", "--jobs=1")


@needs_beam
def test_workers_that_do_not_see_the_folder_are_told_of(source: Path) -> None:
    lines = _failed(source, Path.unlink)
    assert "The pipeline on DirectRunner failed: the worker " in lines[-1]
    assert f"does not see {source.parent / '.out.partial' / 'beam-'}" in lines[-1]
    assert lines[-1].endswith("Run the same again to go on behind what is finished.")


@needs_beam
@pytest.mark.parametrize(
    ("runner", "option", "message"),
    [
        (
            "DirectRunner",
            "direct_num_worker=2",
            "no option 'direct_num_worker'. Did you mean 'direct_num_workers'",
        ),
        ("DirectRunner", "direct_num_workers=two", "argument --direct_num_workers: invalid int value: 'two'"),
        ("DirectRunner", "direct_running_mode=x", "argument --direct_running_mode: invalid choice: 'x'"),
    ],
)
def test_wrong_options_are_refused(tmp_path: Path, runner: str, option: str, message: str) -> None:
    with pytest.raises(UsageError, match="--beam-option") as caught:
        _cluster(tmp_path, runner, [option])
    assert message in str(caught.value)


@needs_beam
def test_options_of_a_job_server_are_passed_on(tmp_path: Path) -> None:
    cluster = _cluster(tmp_path, "FlinkRunner", ["parallelism=8", "flink_master=host:8081"])
    options = cluster.options.get_all_options(retain_unknown_options=True)
    assert (options["runner"], options["flink_master"]) == ("FlinkRunner", "host:8081")
    assert options["parallelism"] in {8, "8"}


@needs_beam
def test_a_runner_that_is_not_there_is_told_of_in_one_sentence(tmp_path: Path) -> None:
    cluster = _cluster(tmp_path, "DataflowRunner", [])
    with pytest.raises(OdbuildError, match=r"The pipeline on DataflowRunner failed: .* Run the same again"):
        cluster.run(_note, ["a"], print)
    assert not list(tmp_path.iterdir())


@without_beam
def test_without_beam_it_is_said_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"pip install 'odbuild\[beam\]'"):
        _cluster(tmp_path, "DirectRunner", [])


def test_nothing_of_beam_is_loaded_where_it_is_not_asked_for() -> None:
    code = "import sys, odbuild.convert, odbuild.beam; print('apache_beam' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
    assert command_line.RUNNERS == beam.RUNNERS


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--beam-option=streaming"], "Name it with --runner"),
        (["--runner=DirectRunner", "--jobs=2"], "--jobs is for processes of this machine"),
        (["--runner=direct"], "argument --runner: invalid choice"),
        (["--runner=DirectRunner", "--beam-option=--x"], "'--x' is no option such as direct_num_workers=4"),
    ],
)
def test_words_that_do_not_fit_are_refused(source: Path, words: Sequence[str], message: str) -> None:
    run = _begun(source, "out", *words)
    _, told = run.communicate()
    assert run.returncode == 2
    assert message in told
    assert [path.name for path in source.parent.iterdir()] == ["in"]


def _cluster(folder: Path, runner: str, options: Sequence[str]) -> beam.Cluster:
    return beam.cluster(runner, options, work=folder, dataset=folder, say=print)


def _note(names: Iterable[str], tell: Tell) -> None:
    tell(sum(map(len, names)))


def _fail(names: Iterable[str], tell: Tell) -> None:
    raise UsageError(*names)


def _never(names: Iterable[str], tell: Tell) -> None:
    pytest.fail(str(names))


def _worker(folder: Path, task: Task = _note, **other: Any) -> None:
    places = {"sign": folder / "sign", "failure": folder / "failure", "dataset": folder}
    beam._do("a", task=task, **{**places, **other})


def test_a_worker_makes_sure_that_it_is_like_the_launcher(tmp_path: Path) -> None:
    with pytest.raises(OdbuildError, match=r"does not see .*sign as the launcher does"):
        _worker(tmp_path)
    (tmp_path / "sign").write_text(json.dumps(beam._versions()))
    _worker(tmp_path)
    with pytest.raises(OdbuildError, match=r"does not see .*elsewhere as the launcher does"):
        _worker(tmp_path, dataset=tmp_path / "elsewhere")
    (tmp_path / "sign").write_text(json.dumps({**beam._versions(), "pillow": "1.0"}))
    with pytest.raises(OdbuildError, match="Install the same on all"):
        _worker(tmp_path)


def test_a_worker_leaves_what_it_failed_with_and_begins_no_more(tmp_path: Path) -> None:
    (tmp_path / "sign").write_text(json.dumps(beam._versions()))
    _worker(tmp_path, _fail)
    error = pickle.loads((tmp_path / "failure").read_bytes())  # noqa: S301  written above
    assert (type(error), str(error)) == (UsageError, "a")
    _worker(tmp_path, _never)
    assert {path.name for path in tmp_path.iterdir()} == {"sign", "failure"}
