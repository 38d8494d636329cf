"""The index of a finished conversion, read back from friend and foe."""

import json
from pathlib import Path
from typing import Any

import pictures
import pytest

from odbuild.trainer import index
from odbuild.trainer.convert import convert
from odbuild.trainer.errors import OdbuildError
from odbuild.trainer.policies import Policies


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    box = {"x": 0.25, "y": 0.25, "x2": 0.75, "y2": 0.5, "label": "cat"}
    for seed, key in enumerate("ab"):
        pictures.write(tmp_path / "in", f"{key}.jpg", pictures.jpeg(seed=seed))
    document = {"version": "1.0", "annotations": {"a.jpg": [box], "b.jpg": [box]}}
    (tmp_path / "in" / "_annotations.json").write_text(json.dumps(document))
    return convert(tmp_path / "in", tmp_path / "out", Policies(), print).folder


def test_what_is_as_it_was_written_passes(finished: Path) -> None:
    index.verify(index.load(finished))


def test_every_change_of_a_file_is_found(finished: Path) -> None:
    for path in finished.iterdir():
        if path.name == index.INDEX:
            continue
        before = path.read_bytes()
        for after in (before + b"x", bytes([*before[:-1], before[-1] ^ 1]) if before else b"y"):
            path.write_bytes(after)
            with pytest.raises(OdbuildError, match=path.name):
                index.verify(index.load(finished))
        path.unlink()
        with pytest.raises(OdbuildError, match=path.name):
            index.verify(index.load(finished))
        path.write_bytes(before)
    index.verify(index.load(finished))


@pytest.mark.parametrize(
    "broken",
    [
        {"labels": None},
        {"train": []},
        {"train": {"shards": [{"name": "../x", "count": 1, "bytes": 1, "sha256": ""}]}},
        {"train": {"shards": [{"name": "/x", "count": 1, "bytes": 1, "sha256": ""}]}},
        {"validation": {"shards": 3}},
        {"smallest_box": {"key": 1}},
        {"sizes": 7},
    ],
)
def test_a_broken_index_is_one_sentence(finished: Path, broken: dict[str, Any]) -> None:
    path = finished / index.INDEX
    path.write_text(json.dumps({**json.loads(path.read_text()), **broken}))
    with pytest.raises(OdbuildError, match=r"index\.json is damaged"):
        index.load(finished)
