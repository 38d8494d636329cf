"""Where the weights of a bundle come from: the zoo or a mirror, the cache, or a place of the user's."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hosts import Host, tar_gz

from odbuild import lockfile, weights, zoo
from odbuild.archive import Entry
from odbuild.errors import OdbuildError, UsageError
from odbuild.lockfile import Locked
from odbuild.trainer import checkpoint
from odbuild.trainer.recipe import Checkpoint

PROVEN = zoo.find("ssd_mobilenet_v1")
_ROW = zoo.find("ssd_mobilenet_v2_fpnlite_320x320")
TRUSTED = replace(_ROW, checkpoint=replace(_ROW.checkpoint, size=None, sha256=None, sha384=None))
"""A model whose archive has a published digest, and one whose archive has none."""

TF1 = {"m/model.ckpt.index": b"index", "m/model.ckpt.data-00000-of-00001": b"data"}
TF2 = {"m/checkpoint/ckpt-0.index": checkpoint.OBJECT_GRAPH, "m/checkpoint/ckpt-0.data-00000-of-00001": b"data"}


def choose(folder: Path, wanted: str | Path, model: zoo.Model = TRUSTED, **choices: Any) -> dict[str, bytes]:
    """Return the embedded files by their names."""
    known = {"mirror": None, "cache": folder / "cache", "offline": False, "lock": folder / "checkpoints.lock"}
    choice = weights.Choice(wanted=wanted, **(known | choices))
    with weights.chosen(choice, model, print) as start:
        return {entry.name: _read(entry) for entry in start.entries}


def _read(entry: Entry) -> bytes:
    with entry.open() as file:
        return file.read()


def recipe(folder: Path, **choices: Any) -> Checkpoint | None:
    known = {"mirror": None, "cache": folder / "cache", "offline": False, "lock": folder / "checkpoints.lock"}
    with weights.chosen(weights.Choice(wanted="fetch", **(known | choices)), TRUSTED, print) as start:
        return start.checkpoint


@pytest.fixture
def published(host: Host) -> Host:
    """Publish an archive at the host."""
    host.content = tar_gz(TF2)
    return host


EMBEDDED = {
    "checkpoint/ckpt-0.index": checkpoint.OBJECT_GRAPH,
    "checkpoint/ckpt-0.data-00000-of-00001": b"data",
}


def test_the_first_download_is_trusted_and_written_down(published: Host, tmp_path: Path) -> None:
    assert choose(tmp_path, "embed", mirror=published.base) == EMBEDDED
    known = Locked(size=len(published.content), sha256=hashlib.sha256(published.content).hexdigest())
    assert lockfile.load(tmp_path / "checkpoints.lock") == {TRUSTED.name: known}
    assert published.paths == [TRUSTED.checkpoint.url.removeprefix("https://storage.googleapis.com")]
    assert [path.name for path in (tmp_path / "cache" / "checkpoints").iterdir()] == [f"{TRUSTED.name}.tar.gz"]


def test_the_cache_is_enough_the_next_time(published: Host, tmp_path: Path) -> None:
    choose(tmp_path, "embed", mirror=published.base)
    before = (tmp_path / "checkpoints.lock").read_bytes()
    assert choose(tmp_path, "embed", offline=True) == EMBEDDED
    assert len(published.paths) == 1
    assert (tmp_path / "checkpoints.lock").read_bytes() == before


def test_a_cached_archive_that_rotted_is_replaced(published: Host, tmp_path: Path) -> None:
    choose(tmp_path, "embed", mirror=published.base)
    archive = tmp_path / "cache" / "checkpoints" / f"{TRUSTED.name}.tar.gz"
    archive.write_bytes(archive.read_bytes()[:-1] + b"x")
    with pytest.raises(OdbuildError, match="--offline forbids"):
        choose(tmp_path, "embed", offline=True)
    assert choose(tmp_path, "embed", mirror=published.base) == EMBEDDED


def test_another_archive_than_the_locked_one_is_refused(published: Host, tmp_path: Path) -> None:
    choose(tmp_path, "embed", mirror=published.base)
    published.content = tar_gz({**TF2, "m/more": b""})
    with pytest.raises(OdbuildError, match=rf"expected .* by .*checkpoints\.lock.*delete \['{TRUSTED.name}'\]"):
        choose(tmp_path, "embed", mirror=published.base, cache=tmp_path / "another")
    assert list((tmp_path / "another" / "checkpoints").iterdir()) == []


def test_the_training_machine_is_told_what_the_lock_knows(published: Host, tmp_path: Path) -> None:
    before = recipe(tmp_path)
    assert before is not None
    assert (before.size, before.sha256) == (None, None)
    choose(tmp_path, "embed", mirror=published.base)
    after = recipe(tmp_path, mirror=f"{published.base}/")
    path = TRUSTED.checkpoint.url.removeprefix("https://storage.googleapis.com")
    assert after == Checkpoint(
        prefix="checkpoint/ckpt-0",
        url=f"{published.base}{path}",
        size=len(published.content),
        sha256=hashlib.sha256(published.content).hexdigest(),
    )


def test_a_published_digest_needs_no_lock(host: Host, tmp_path: Path) -> None:
    host.content = tar_gz(TF1)
    lockfile.add(tmp_path / "checkpoints.lock", PROVEN.name, Locked(size=1, sha256="0" * 64))
    with pytest.raises(OdbuildError, match=f"the host has .* expected {PROVEN.checkpoint.size}"):
        choose(tmp_path, "embed", PROVEN, mirror=host.base)


@pytest.mark.parametrize("wanted", ["none", Path("somewhere")])
def test_a_mirror_without_a_download_is_wrong_usage(wanted: str | Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--checkpoint-mirror: nothing is downloaded"):
        choose(tmp_path, wanted, mirror="https://localhost")
    assert list(tmp_path.iterdir()) == []


def test_an_archive_of_the_other_tensorflow_leaves_no_scratch(tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(tar_gz(TF2))
    with pytest.raises(OdbuildError, match="TF2 checkpoint"):
        choose(tmp_path, tmp_path / "a.tar.gz", PROVEN)
    assert list((tmp_path / "cache" / "checkpoints").iterdir()) == []


# Places of the user's --------------------------------------------------------------------------------------


@pytest.mark.parametrize("named", ["", "a.tar.gz"])
def test_an_archive_is_taken_by_its_name_or_its_folder(named: str, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.tar.gz").write_bytes(tar_gz(TF2))
    assert choose(tmp_path, tmp_path / "mine" / named) == EMBEDDED
    assert not (tmp_path / "checkpoints.lock").exists()


def test_a_folder_of_many_archives_is_refused(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.tar.gz").write_bytes(tar_gz(TF2))
    with pytest.raises(OdbuildError, match="expected one checkpoint in this folder"):
        choose(tmp_path, tmp_path)


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OdbuildError, match=r"lost\.tar\.gz: no checkpoint here"):
        choose(tmp_path, tmp_path / "lost.tar.gz")


def test_an_archive_in_which_a_shard_is_missing_is_refused(tmp_path: Path) -> None:
    parts = {"m/checkpoint/ckpt-0.index": b"", "m/checkpoint/ckpt-0.data-00001-of-00002": b""}
    (tmp_path / "a.tar.gz").write_bytes(tar_gz(parts))
    with pytest.raises(OdbuildError, match=r"lacks ckpt-0\.data-00000-of-00002"):
        choose(tmp_path, tmp_path / "a.tar.gz")


@pytest.mark.parametrize("name", ["ssd_mobilenet_v1", "faster_rcnn_resnet101"])
def test_a_checkpoint_of_another_backbone_is_refused(name: str, shared: Path, tmp_path: Path) -> None:
    with pytest.raises(OdbuildError, match=r"lie in MobilenetV2/ but .* belongs to another model"):
        choose(tmp_path, shared / "data" / "ssdlite_mobilenet_v2_coco", zoo.find(name))


def test_a_checkpoint_of_the_same_backbone_is_taken(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "ssdlite_mobilenet_v2_coco"
    assert len(choose(tmp_path, folder, zoo.find("ssdlite_mobilenet_v2"))) == 2


@pytest.mark.parametrize("names", [b"MobilenetV1/Conv2d_0/weights", b"MobilenetV1/ MobilenetV2/", b"mine/weights"])
def test_names_that_may_be_right_pass(names: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(tar_gz({**TF1, "m/model.ckpt.index": names}))
    assert len(choose(tmp_path, tmp_path / "a.tar.gz", PROVEN)) == 2
