"""Preparing a run, as far as that goes without upstream."""

import json
from pathlib import Path

import pictures
import pytest
from hosts import Host, tar_gz

from odbuild.trainer import checkpoint, index, prepare
from odbuild.trainer.convert import convert
from odbuild.trainer.errors import OdbuildError
from odbuild.trainer.policies import Policies
from odbuild.trainer.recipe import Checkpoint, Recipe


def recipe(start: Checkpoint | None) -> Recipe:
    return Recipe(
        model="m",
        zoo="tf2",
        config="c",
        checkpoint=start,
        footprint=None,
        batch_size=None,
        validation=0.2,
        boxes="clip",
        exif="fail",
        negatives="keep",
        max_side=None,
        overrides=(),
    )


def test_a_run_started_anew_downloads_no_second_time(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = {"m/checkpoint/ckpt-0.index": checkpoint.OBJECT_GRAPH, "m/checkpoint/ckpt-0.data-00000-of-00001": b""}
    host.content = tar_gz(files)
    start = Checkpoint(prefix="checkpoint/ckpt-0", url=host.url)
    prefixes = {prepare._checkpoint(recipe(start)) for _ in range(2)}
    assert prefixes == {str(tmp_path / "checkpoint" / "ckpt-0")}
    assert len(host.asked) == 1


def _photographs(folder: Path) -> Path:
    box = {"x": 0.25, "y": 0.25, "x2": 0.75, "y2": 0.5, "label": "cat"}
    for seed in range(4):
        pictures.write(folder, f"{seed}.jpg", pictures.jpeg(seed=seed))
    document = {"version": "1.0", "annotations": {f"{seed}.jpg": [box] for seed in range(4)}}
    (folder / "_annotations.json").write_text(json.dumps(document))
    return folder


def test_a_finished_conversion_is_trained_from_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = _photographs(tmp_path / "in")
    finished = convert(source, tmp_path / "records", Policies(), print)
    taken = prepare._records(recipe(None), tmp_path / "records", None)
    assert (taken.folder, taken) == (tmp_path / "records", finished)
    assert prepare._records(recipe(None), source, None).digest == finished.digest
    shard = finished.train.shards[0].path
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(OdbuildError, match="Convert again"):
        prepare._records(recipe(None), tmp_path / "records", None)


def test_a_start_anew_decodes_no_picture_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = _photographs(tmp_path / "in")
    first = prepare._records(recipe(None), source, None)
    written = prepare.VERDICTS.read_bytes()
    assert written.count(b"\n") == 4
    assert prepare._records(recipe(None), source, None) == first
    assert prepare.VERDICTS.read_bytes() == written
    assert index.load(prepare.DATA.absolute()) == first
