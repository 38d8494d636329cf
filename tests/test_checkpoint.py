"""The checkpoint's way to the training machine, and the proof that training began with it."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hosts import Host, tar_gz

from odbuild.errors import OdbuildError
from odbuild.trainer import checkpoint
from odbuild.trainer.recipe import Checkpoint

MEMBERS = {
    "model_2018/model.ckpt.index": b"index",
    "model_2018/model.ckpt.data-00000-of-00001": b"data",
    "model_2018/pipeline.config": b"not wanted",
}


def fetch(host: Host, folder: Path, **known: Any) -> Path:
    wanted = Checkpoint(prefix="model.ckpt", url=host.url, **known)
    return checkpoint.fetch(wanted, folder, lambda _: None)


def test_the_checkpoint_alone_is_left(host: Host, tmp_path: Path) -> None:
    host.content = tar_gz(MEMBERS)
    known = {"size": len(host.content), "sha256": hashlib.sha256(host.content).hexdigest()}
    prefix = fetch(host, tmp_path / "out", **known)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "model.ckpt.data-00000-of-00001",
        "model.ckpt.index",
    ]
    assert [path.read_bytes() for path in checkpoint.files(prefix)] == [b"data", b"index"]


@pytest.mark.parametrize("known", [{"sha256": "0" * 64}, {"sha384": "0" * 96}, {"size": 1}])
def test_another_archive_than_the_catalogues_is_refused(
    host: Host, tmp_path: Path, known: Mapping[str, Any]
) -> None:
    host.content = tar_gz(MEMBERS)
    with pytest.raises(OdbuildError, match="expected"):
        fetch(host, tmp_path / "out", **known)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"model/readme": b""}, "no checkpoint"),
        ({**MEMBERS, "model/../../evil": b""}, "refused as unsafe: its member .* leads out of it"),
        ({**MEMBERS, "./model_2018/model.ckpt.index": b""}, "refused as unsafe: its member .* occurs twice"),
        ({**MEMBERS, "model/zeros": bytes(40 << 20)}, "refused as unsafe: it unpacks to far more"),
    ],
)
def test_an_archive_without_a_checkpoint_to_trust_is_not_kept(
    members: Mapping[str, bytes], says: str, host: Host, tmp_path: Path
) -> None:
    host.content = tar_gz(members)
    with pytest.raises(OdbuildError, match=says):
        fetch(host, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_an_archive_that_is_there_is_proven_again(host: Host, tmp_path: Path) -> None:
    host.content = tar_gz(MEMBERS)
    wanted = Checkpoint(prefix="m", url=host.url, sha256=hashlib.sha256(host.content).hexdigest())
    archive = tmp_path / "archive.tar.gz"
    for there in (b"rotten", host.content):
        archive.write_bytes(there)
        checkpoint.fetch_archive(wanted, archive, lambda _: None)
        assert archive.read_bytes() == host.content
    assert len(host.asked) == 1


@pytest.mark.parametrize("there", ["model.ckpt-400000", "model.ckpt"])
def test_either_place_of_a_checkpoint_is_fetched(there: str, host: Host, tmp_path: Path) -> None:
    files = {f"m/fp32/{there}.{part}": b"right" for part in ("index", "data-00000-of-00001")}
    others = {f"m/uint8/{there}.{part}": b"wrong" for part in ("index", "data-00000-of-00001")}
    host.content = tar_gz({**files, **others})
    wanted = Checkpoint(prefix="fp32/model.ckpt-400000", alternatives=("fp32/model.ckpt",), url=host.url)
    prefix = checkpoint.fetch(wanted, tmp_path, lambda _: None)
    assert prefix == tmp_path / "model.ckpt-400000"
    assert {path.read_bytes() for path in checkpoint.files(prefix)} == {b"right"}


def lay(folder: Path, *names: str) -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"x")


@pytest.mark.parametrize("word", ["", "m.ckpt", "m.ckpt.index", "m.ckpt.meta", "m.ckpt.data-00000-of-00001"])
def test_a_checkpoint_is_found_by_folder_prefix_or_file(tmp_path: Path, word: str) -> None:
    lay(tmp_path, "m.ckpt.index", "m.ckpt.data-00000-of-00001")
    assert checkpoint.find_prefix(tmp_path / word) == tmp_path / "m.ckpt"


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ((), "found no file that ends in .index"),
        (("a.index", "b.index"), "found a.index, b.index"),
        (("a.index",), "lacks its a.data"),
    ],
)
def test_a_folder_without_one_whole_checkpoint_is_refused(
    tmp_path: Path, names: tuple[str, ...], says: str
) -> None:
    lay(tmp_path, *names)
    with pytest.raises(OdbuildError, match=says):
        checkpoint.find_prefix(tmp_path)


def test_a_name_with_wildcards_is_a_name(tmp_path: Path) -> None:
    lay(tmp_path, "[a]*?.index", "[a]*?.data-00000-of-00001", "axx.data-00000-of-00001")
    assert len(checkpoint.files(tmp_path / "[a]*?")) == 2


def test_a_copy_is_whole(tmp_path: Path) -> None:
    lay(tmp_path / "from", "m.index", "m.data-00000-of-00002", "m.data-00001-of-00002")
    copied = checkpoint.copy(tmp_path / "from" / "m", tmp_path / "to")
    assert [p.name for p in checkpoint.files(copied)] == [
        p.name for p in checkpoint.files(tmp_path / "from" / "m")
    ]


@pytest.mark.parametrize(
    ("counts", "says"),
    [
        ((20, 0, 0, 180), "belongs to another model"),
        ((5, 12, 183, 0), "was not restored"),
        ((0, 0, 0, 200), "belongs to another model"),
    ],
)
def test_a_run_that_does_not_hold_its_checkpoint_is_refused(counts: tuple[int, ...], says: str) -> None:
    with pytest.raises(OdbuildError, match=says):
        checkpoint.require_restored(restored(*counts), "model.ckpt")


@pytest.mark.parametrize("counts", [(179, 12, 9, 0), (571, 4, 6, 0), (392, 12, 0, 0), (302, 0, 82, 0)])
def test_what_upstream_restores_passes(counts: tuple[int, ...]) -> None:
    checkpoint.require_restored(restored(*counts), "model.ckpt")


def restored(*counts: int) -> checkpoint.Restored:
    names = ("identical", "other_shape", "different", "new")
    return checkpoint.Restored(**dict(zip(names, counts, strict=True)))


@pytest.mark.tensorflow
def test_variables_are_compared_by_shape_and_value(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    saved = {"a": [1.0, 2.0], "b": [3.0], "c": [[4.0]]}
    prefix = tf.train.Checkpoint(**{k: tf.Variable(v) for k, v in saved.items()}).write(str(tmp_path / "ckpt"))
    checkpoint.require_style(checkpoint.find_prefix(Path(prefix)), "tf2")
    with pytest.raises(OdbuildError, match="TF2 checkpoint, but the model is of the TF1 zoo"):
        checkpoint.require_style(Path(prefix), "tf1")
    mine = {"a": [1.0, 2.0], "b": [9.0], "c": [4.0], "d": [0.0]}
    values = {f"{k}/.ATTRIBUTES/VARIABLE_VALUE": tf.constant(v).numpy() for k, v in mine.items()}
    assert checkpoint.compare(tf.train.load_checkpoint(prefix), values) == restored(1, 1, 1, 1)
