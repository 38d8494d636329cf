"""Preparing a run, as far as that goes without upstream."""

from pathlib import Path

import pytest
from hosts import Host, tar_gz

from odbuild.trainer import checkpoint, prepare
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
