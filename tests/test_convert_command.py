"""`odbuild convert`: the words of the command line, and what it tells."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import pictures
import pytest

from odbuild import __main__ as command_line
from odbuild import convert, models
from odbuild.cache import cache_folder
from odbuild.errors import UsageError
from odbuild.protos import Protos
from odbuild.trainer import index, policies
from odbuild.trainer.images import Check, FormatPolicy
from odbuild.trainer.policies import Policies
from odbuild.upstream import Upstream

BOX = {"x": 0.25, "y": 0.25, "x2": 0.75, "y2": 0.5, "label": "cat"}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for seed in range(8):
        pictures.write(tmp_path / "in", f"{seed % 4}/{seed}.jpg", pictures.jpeg(2000, 1500, seed=seed))
    annotations = {f"{seed % 4}/{seed}.jpg": [BOX] for seed in range(8)}
    document = {"version": "1.0", "type": "localization", "labels": ["cat"], "annotations": annotations}
    (tmp_path / "in" / "_annotations.json").write_text(json.dumps(document))
    return tmp_path / "in"


def _command(*words: object) -> list[str]:
    return [sys.executable, "-m", "odbuild", "convert", *map(str, words)]


def _run(cache: Path, *words: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ODBUILD_CACHE": str(cache)}
    return subprocess.run(_command(*words), env=environment, capture_output=True, text=True, check=False)


def test_the_words_of_the_command_line_are_those_of_the_policies() -> None:
    assert get_args(Check) == command_line.CHECKS
    assert get_args(policies.SplitPolicy) == command_line.SPLITS
    assert get_args(policies.NearPolicy) == command_line.NEAR
    assert get_args(FormatPolicy) == command_line.FORMATS
    assert get_args(models.Sort) == command_line.SORTS
    assert get_args(models.Export) == command_line.EXPORTS


def test_every_choice_arrives(source: Path, cache: Path) -> None:
    out = source.parent / "deep" / "out"
    words = ["--format=cloud", "--max-side=300", "--jobs=2", "--check=structure", "--split=hash", "--group=folder"]
    words += ["--validation=0.4", "--shard-bytes=1K", "--boxes=drop", "--exif=ignore", "--negatives=drop"]
    words += ["--near-duplicates=together"]
    done = _run(cache, source, out, *words, "--formats=fail")
    assert done.returncode == 0, done.stderr
    made = index.load(out)
    assert done.stdout == f"{made.digest}  {out}\n"
    assert json.loads((out / "index.json").read_text())["policies"] == {
        "boxes": "drop",
        "check": "structure",
        "exif": "ignore",
        "formats": "fail",
        "group": "folder",
        "max_side": 300,
        "near_duplicates": "together",
        "negatives": "drop",
        "shard_bytes": 1024,
        "split": "hash",
        "validation": 0.4,
    }
    assert made.sizes.max_width == 300
    assert f"train: {made.train.pictures} pictures with {made.train.pictures} boxes" in done.stderr
    assert "changed or left out: 8 shrunk picture; see ledger.jsonl" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--group=x"], "group is 'x'; expected column"),
        (["--max-side=auto"], "Name it with --model"),
        (["--max-side=auto", "--model=ssd_mobilenet"], "ssd_mobilenet"),
        (["--format=coko"], "There is no format 'coko'"),
        (["--jobs=0"], "argument --jobs"),
        (["--shard-bytes=5T"], "argument --shard-bytes"),
        (["--split=dice"], "argument --split"),
        (["--shard-bytes=1KM"], "argument --shard-bytes: '1KM' is no number of bytes such as 64M"),
        (["--split=source", "--group=folder"], "--group says how to divide, but --split source takes the sides"),
        (["--split=source", "--near-duplicates=together"], "--near-duplicates says how to divide"),
        (["--split=source", "--validation=0.5"], "--validation says how to divide"),
        (["--model=ssd_mobilenet_v1"], "Say that, too, or leave --model out"),
        (["--model=ssd_mobilenet_v1", "--max-side=500"], "Say that, too, or leave --model out"),
    ],
)
def test_a_wrong_word_is_told_and_nothing_is_left(
    source: Path, cache: Path, words: list[str], message: str
) -> None:
    done = _run(cache, source, source.parent / "out", *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in source.parent.iterdir() if path != cache) == ["in"]


@pytest.mark.parametrize(
    ("way", "message"),
    [
        (r"regex:cam(\d+)", r"--group regex:cam(\d+) names no group, not of "),
        ("prefix:_", "--group prefix:_ names no group, not of "),
        (r"regex:jpg", "--group regex:jpg puts all 8 pictures into one group, which leaves none to validate"),
    ],
)
def test_a_grouping_that_divides_nothing_is_told(source: Path, cache: Path, way: str, message: str) -> None:
    done = _run(cache, source, source.parent / "out", f"--group={way}", "--check=none")
    assert (done.returncode, message in done.stderr) == (1, True), done.stderr
    assert not (source.parent / "out").exists()


def test_pictures_that_a_grouping_passes_over_are_told(source: Path, cache: Path) -> None:
    done = _run(cache, source, source.parent / "out", "--group=regex:[012]/", "--check=none")
    assert done.returncode == 0
    assert "warning SPL403: pictures have no group by --group" in done.stderr
    assert 'pictures: 2 of 8, annotations["3/3.jpg"] the first' in done.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_without_somebody_to_tell_it_works_all_the_same(source: Path, cache: Path, closed: str) -> None:
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", *_command(source, source.parent / "out", "--check=none")]
    done = subprocess.run(
        command, env={**os.environ, "ODBUILD_CACHE": str(cache)}, capture_output=True, check=False
    )
    assert done.returncode == 0
    assert index.load(source.parent / "out").train.pictures
    assert b"Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("to", ["records", "coco"])
@pytest.mark.parametrize("leads", ["to a folder", "nowhere"])
def test_a_link_is_no_target(source: Path, cache: Path, to: str, leads: str) -> None:
    link = source.parent / "link"
    link.symlink_to("real")
    if leads == "to a folder":
        (source.parent / "real").mkdir()
    done = _run(cache, source, link, f"--to={to}")
    assert (done.returncode, "is a link. Name a folder where nothing is" in done.stderr) == (2, True), done.stderr
    assert not (source.parent / ".link.partial").exists()


@pytest.mark.parametrize(("word", "size"), [("7", 7), ("3K", 3072), ("128M", 1 << 27), ("2G", 1 << 31)])
def test_bytes_may_be_given_in_larger_units(word: str, size: int) -> None:
    assert command_line._bytes(word) == size
    for wrong in (f"{word}x", f"-{word}", "K", "MM"):
        with pytest.raises(argparse.ArgumentTypeError):
            command_line._bytes(wrong)


def test_auto_is_what_the_model_can_use(
    source: Path, tmp_path: Path, upstream_tree: Upstream, compiled: Protos
) -> None:
    said: list[str] = []
    request = convert.Request(
        dataset=source,
        out=tmp_path / "out",
        max_side="auto",
        model="ssd_mobilenet_v1",
        cache=cache_folder(),
        policies=Policies(check="structure"),
        offline=True,
    )
    assert convert.convert(request, said.append).sizes.max_width == 1265
    assert any("can use 1265 pixels" in line for line in said)
    assert command_line._side("auto") == "auto"
    with pytest.raises(UsageError, match="--model"):
        convert.convert(convert.Request(dataset=source, out=tmp_path / "x", max_side="auto"), said.append)


def test_an_interrupt_keeps_what_is_finished_and_says_so(source: Path, cache: Path) -> None:
    out = source.parent / "out"
    environment = {**os.environ, "ODBUILD_CACHE": str(cache)}
    words = _command(source, out, "--shard-bytes=1", "--max-side=1999", "--jobs=2")
    run = subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while not list(source.parent.glob(".out.partial/*.json")):
        assert run.poll() is None
        time.sleep(0.005)
    os.killpg(run.pid, signal.SIGINT)
    _, told = run.communicate()
    if run.returncode:
        assert run.returncode == 130
        assert "run the same again to go on" in told
        assert "Traceback" not in told
        assert _run(cache, source, out, "--shard-bytes=1", "--max-side=1999").returncode == 0
    assert index.load(out).sizes.max_width == 1999
    assert not list(source.parent.glob(".out*"))
