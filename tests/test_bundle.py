"""trainer.zip: what the service needs, nothing else, and the same bytes wherever it is made."""

import dataclasses
import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from hosts import tar_gz

from odbuild import bundle, upstream, zoo
from odbuild.cache import cache_folder
from odbuild.errors import OdbuildError, UsageError
from odbuild.protos import Protos
from odbuild.trainer import checkpoint
from odbuild.trainer.policies import Policies
from odbuild.trainer.recipe import Checkpoint

REPOSITORY = Path(__file__).resolve().parent.parent

COMMAND = (
    'cd "$(dirname "$(find . -name "start.sh" -maxdepth 2 | head -1)")" && chmod 777 ./start.sh && ./start.sh {}'
)
"""What Cloud Annotations' clients ask the service to run, word for word."""


@pytest.fixture
def request_for(tmp_path: Path, compiled: Protos) -> Callable[..., bundle.Request]:
    """Ask for bundles below the test's folder, from the cache that the session filled."""

    def ask(model: str = "ssd_mobilenet_v1", **choices: Any) -> bundle.Request:
        known: dict[str, Any] = {"out": tmp_path / "dist", "cache": cache_folder(), "offline": True}
        return bundle.Request(model=model, **(known | choices))

    return ask


@pytest.fixture
def made(request_for: Callable[..., bundle.Request]) -> bundle.Bundle:
    return bundle.bundle(request_for(), print)


@pytest.fixture
def unpacked(made: bundle.Bundle, tmp_path: Path) -> Path:
    """Unpack as the service does: without modes."""
    job = tmp_path / "job"
    with zipfile.ZipFile(made.path) as archive:
        archive.extractall(job)
    return job


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def recipe_of(path: Path) -> dict[str, Any]:
    return dict(json.loads(members(path)["trainer/MANIFEST.json"])["recipe"])


def plain(value: Any) -> dict[str, Any]:
    """Return a frozen value as JSON has it."""
    return dict(json.loads(json.dumps(dataclasses.asdict(value))))


def test_the_defaults_are_the_payload_s() -> None:
    defaults = {field.name: field.default for field in dataclasses.fields(bundle.Request)}
    policies = Policies()
    for name in ("validation", "boxes", "exif", "negatives", "max_side"):
        assert defaults[name] == getattr(policies, name)


@pytest.mark.parametrize(
    "model", [model for model in zoo.models() if not model.unavailable], ids=lambda model: model.short_name
)
def test_every_model_makes_one_small_bundle_anywhere(
    model: zoo.Model,
    request_for: Callable[..., bundle.Request],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = bundle.bundle(request_for(model.name), print)
    assert first.path == tmp_path / "dist" / model.name / "trainer.zip"
    assert first.model == model.name
    assert first.sha256 == hashlib.sha256(first.path.read_bytes()).hexdigest()
    assert first.size == first.path.stat().st_size < 3_000_000
    (tmp_path / "else where").mkdir()
    monkeypatch.chdir(tmp_path / "else where")
    second = bundle.bundle(request_for(model.names[-1].upper(), out=Path("é")), print)
    assert second.path.read_bytes() == first.path.read_bytes()


def test_a_model_that_cannot_be_trained_is_refused_at_once(tmp_path: Path) -> None:
    asked = bundle.Request(model="spaghettinet_edgetpu_l", out=tmp_path / "dist", cache=tmp_path / "cache")
    with pytest.raises(UsageError, match=r"spaghettinet_edgetpu_l\w* cannot be trained: its network"):
        bundle.bundle(asked, print)
    assert list(tmp_path.iterdir()) == []


def test_a_borrowed_config_bears_the_model_s_name_and_is_told(
    request_for: Callable[..., bundle.Request], capsys: pytest.CaptureFixture[str]
) -> None:
    done = bundle.bundle(request_for("faster_rcnn_resnet50_lowproposals"), print)
    name = "faster_rcnn_resnet50_lowproposals_coco_2018_01_28.config"
    assert recipe_of(done.path)["config"] == name
    assert f"trainer/{name}" in members(done.path)
    assert "upstream has none for this model, so object_detection/samples" in capsys.readouterr().out


def test_the_layout_is_what_the_service_expects(made: bundle.Bundle) -> None:
    names = members(made.path).keys()
    tops = {name.removeprefix("trainer/").split("/")[0] for name in names}
    assert all(name.startswith("trainer/") for name in names)
    assert tops == {
        "start.sh",
        "prepare_training.py",
        "trainer",
        "ssd_mobilenet_v1_coco.config",
        "object_detection-0.1.tar.gz",
        "slim-0.1.tar.gz",
        "MANIFEST.json",
    }


def test_start_sh_can_be_run_and_is_the_only_one(made: bundle.Bundle) -> None:
    with zipfile.ZipFile(made.path) as archive:
        modes = {info.filename: stat.S_IMODE(info.external_attr >> 16) for info in archive.infolist()}
    assert {name for name, mode in modes.items() if mode & 0o111} == {"trainer/start.sh"}
    assert [name for name in modes if name.endswith("start.sh")] == ["trainer/start.sh"]
    assert b"\r" not in members(made.path)["trainer/start.sh"]


def test_the_service_s_own_command_reaches_start_sh(unpacked: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(unpacked)}
    command = ["bash", "-c", COMMAND.format(5)]
    done = subprocess.run(command, cwd=unpacked, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "ssd_mobilenet_v1_coco_2018_01_28" in done.stdout.splitlines()[0]
    assert "DATA_DIR is not set" in done.stderr
    assert done.stdout.splitlines()[-1] == "CACLI-TRAINING-FAILED"


def test_the_payload_stands_alone(unpacked: Path) -> None:
    code = (
        "import importlib.abc, sys\n"
        "class Refuse(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        assert name.split('.')[0] not in {'odbuild', 'tensorflow'}, name\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "sys.path.insert(0, '.')\n"
        "import prepare_training, trainer.runtime.__main__, trainer.runtime.setup\n"
        "print(prepare_training.RECIPE.model)\n"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=unpacked / "trainer", capture_output=True, text=True, check=False)
    assert (done.stderr, done.stdout) == ("", "ssd_mobilenet_v1_coco_2018_01_28\n")


def test_the_manifest_lists_every_other_member(made: bundle.Bundle) -> None:
    found = members(made.path)
    manifest = json.loads(found.pop("trainer/MANIFEST.json"))
    assert manifest["members"] == {
        name.removeprefix("trainer/"): {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        for name, data in found.items()
    }


def test_the_manifest_says_where_all_comes_from(made: bundle.Bundle) -> None:
    manifest = json.loads(members(made.path)["trainer/MANIFEST.json"])
    pin = upstream.read_pin()
    assert manifest["model"] == manifest["catalogue"]["name"] == made.model
    assert manifest["upstream"] == {"commit": pin.commit, "trees": dict(pin.trees)}
    assert manifest["protoc"] == "26.1"
    assert manifest["checkpoint"].startswith("fetched on the training machine from https://")
    fields = {"field", "before", "after", "reason"}
    assert manifest["changes"]
    assert all(change.keys() == fields for change in manifest["changes"])


def test_choices_reach_the_recipe(request_for: Callable[..., bundle.Request]) -> None:
    choices = {
        "batch_size": 4,
        "validation": 0.5,
        "boxes": "fail",
        "exif": "apply",
        "negatives": "drop",
        "max_side": 800,
    }
    done = bundle.bundle(request_for(checkpoint="none", **choices), print)
    recipe = recipe_of(done.path)
    assert choices.items() <= recipe.items()
    assert recipe["checkpoint"] is None


def test_what_is_set_reaches_the_recipe(request_for: Callable[..., bundle.Request]) -> None:
    asked = (("train_config.batch_size", "8"), ("train_config.fine_tune_checkpoint_type", "\"'é"))
    done = bundle.bundle(request_for(checkpoint="none", overrides=asked), print)
    assert recipe_of(done.path)["overrides"] == [list(each) for each in asked]


def test_a_wrong_override_is_told_before_the_checkpoint_is_fetched(
    request_for: Callable[..., bundle.Request], tmp_path: Path
) -> None:
    asked = request_for(checkpoint=tmp_path / "none", overrides=(("train_config.x", "8"),))
    with pytest.raises(UsageError, match="train_config has no field 'x'"):
        bundle.bundle(asked, print)
    assert list(tmp_path.iterdir()) == []


def test_an_explanation_writes_nothing(request_for: Callable[..., bundle.Request], tmp_path: Path) -> None:
    told = bundle.explain(request_for(), print)
    assert told.startswith("--- object_detection/samples/configs/ssd_mobilenet_v1_coco.config\n+++ ")
    assert list(tmp_path.iterdir()) == []


def test_the_catalogue_s_checkpoint_is_fetched_with_its_digest(made: bundle.Bundle) -> None:
    known = plain(zoo.find("ssd_mobilenet_v1").checkpoint)
    del known["type"]
    assert recipe_of(made.path)["checkpoint"] == known


def test_an_unknown_model_costs_nothing(tmp_path: Path) -> None:
    asked = bundle.Request(model="ssd_mobilnet_v1", out=tmp_path / "dist", cache=tmp_path / "cache")
    with pytest.raises(UsageError, match="Did you mean 'ssd_mobilenet_v1'"):
        bundle.bundle(asked, print)
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_bundle_is_replaced(request_for: Callable[..., bundle.Request]) -> None:
    first = bundle.bundle(request_for(batch_size=1), print)
    second = bundle.bundle(request_for(batch_size=2), print)
    assert first.path == second.path
    assert first.sha256 != second.sha256 == hashlib.sha256(second.path.read_bytes()).hexdigest()
    assert [path.name for path in second.path.parent.iterdir()] == ["trainer.zip"]


def test_a_full_disk_leaves_the_earlier_bundle(
    made: bundle.Bundle,
    request_for: Callable[..., bundle.Request],
    full_disk: Callable[[int], AbstractContextManager[None]],
) -> None:
    before = made.path.read_bytes()
    with full_disk(100_000), pytest.raises(OdbuildError, match="Free some space"):
        bundle.bundle(request_for(batch_size=3), print)
    assert made.path.read_bytes() == before
    assert [path.name for path in made.path.parent.iterdir()] == ["trainer.zip"]


# Checkpoints -----------------------------------------------------------------------------------------------


def write_checkpoint(prefix: Path, *, shards: int = 1, graph: bool = False) -> Path:
    prefix.parent.mkdir(parents=True, exist_ok=True)
    prefix.with_name(f"{prefix.name}.index").write_bytes(
        checkpoint.OBJECT_GRAPH if graph else b"names of variables"
    )
    for shard in range(shards):
        prefix.with_name(f"{prefix.name}.data-{shard:05d}-of-{shards:05d}").write_bytes(b"values")
    return prefix


def embedded(made: bundle.Bundle) -> set[str]:
    folder = "trainer/checkpoint/"
    return {name.removeprefix(folder) for name in members(made.path) if name.startswith(folder)}


@pytest.mark.parametrize("named", ["", "model.ckpt-7", "model.ckpt-7.index"])
def test_a_checkpoint_is_embedded_by_folder_prefix_or_index(
    named: str, tmp_path: Path, request_for: Callable[..., bundle.Request]
) -> None:
    write_checkpoint(tmp_path / "mine" / "model.ckpt-7", shards=2)
    (tmp_path / "mine" / "model.ckpt-7.meta").write_bytes(b"a graph that nobody needs")
    done = bundle.bundle(request_for(checkpoint=tmp_path / "mine" / named), print)
    assert embedded(done) == {
        "model.ckpt.index",
        "model.ckpt.data-00000-of-00002",
        "model.ckpt.data-00001-of-00002",
    }
    assert recipe_of(done.path)["checkpoint"] == plain(Checkpoint(prefix="model.ckpt"))


def test_the_folder_of_a_tf2_archive_is_enough(tmp_path: Path, request_for: Callable[..., bundle.Request]) -> None:
    write_checkpoint(tmp_path / "archive" / "checkpoint" / "ckpt-0", graph=True)
    asked = request_for("ssd_mobilenet_v2_fpnlite_320x320", checkpoint=tmp_path / "archive")
    done = bundle.bundle(asked, print)
    assert embedded(done) == {"ckpt-0.index", "ckpt-0.data-00000-of-00001"}


def test_a_bundle_says_nothing_of_where_the_checkpoint_lay(
    tmp_path: Path, request_for: Callable[..., bundle.Request]
) -> None:
    digests = {
        bundle.bundle(request_for(checkpoint=write_checkpoint(tmp_path / name / "model.ckpt")), print).sha256
        for name in ("here", "there")
    }
    assert len(digests) == 1


def test_a_folder_without_a_checkpoint_is_named(
    tmp_path: Path, request_for: Callable[..., bundle.Request]
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(OdbuildError, match=r"empty: .*no file that ends in \.index"):
        bundle.bundle(request_for(checkpoint=tmp_path / "empty"), print)


def test_a_folder_with_many_checkpoints_lists_them(
    tmp_path: Path, request_for: Callable[..., bundle.Request]
) -> None:
    for step in (10, 20):
        write_checkpoint(tmp_path / "many" / f"model.ckpt-{step}")
    with pytest.raises(OdbuildError, match=r"model\.ckpt-10\.index, model\.ckpt-20\.index"):
        bundle.bundle(request_for(checkpoint=tmp_path / "many"), print)


@pytest.mark.parametrize("lost", ["model.ckpt.data-00001-of-00003", "model.ckpt.data-00002-of-00003"])
def test_a_missing_shard_is_named(lost: str, tmp_path: Path, request_for: Callable[..., bundle.Request]) -> None:
    write_checkpoint(tmp_path / "model.ckpt", shards=3)
    (tmp_path / lost).unlink()
    with pytest.raises(OdbuildError, match=f"lacks {lost}"):
        bundle.bundle(request_for(checkpoint=tmp_path / "model.ckpt"), print)


def test_a_shard_with_an_odd_name_is_not_counted(
    tmp_path: Path, request_for: Callable[..., bundle.Request]
) -> None:
    prefix = write_checkpoint(tmp_path / "model.ckpt")
    (tmp_path / "model.ckpt.data-00000-of-00001").rename(tmp_path / "model.ckpt.data-copy")
    with pytest.raises(OdbuildError, match=r"lacks model\.ckpt\.data-00000-of-00001"):
        bundle.bundle(request_for(checkpoint=prefix), print)


def test_a_checkpoint_of_the_other_tensorflow_is_refused(
    tmp_path: Path, request_for: Callable[..., bundle.Request]
) -> None:
    prefix = write_checkpoint(tmp_path / "ckpt-0", graph=True)
    with pytest.raises(OdbuildError, match="TF2 checkpoint"):
        bundle.bundle(request_for(checkpoint=prefix), print)
    assert not (tmp_path / "dist").exists()


def test_embedding_takes_what_the_cache_has(
    tmp_path: Path, request_for: Callable[..., bundle.Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = shutil.copytree(cache_folder(), tmp_path / "cache")
    model = zoo.find("ssd_mobilenet_v2_fpnlite_320x320")
    unproven = dataclasses.replace(model.checkpoint, size=None, sha256=None, sha384=None)
    monkeypatch.setattr(zoo, "find", lambda _: dataclasses.replace(model, checkpoint=unproven))
    files = {"m/checkpoint/ckpt-0.index": checkpoint.OBJECT_GRAPH, "m/checkpoint/ckpt-0.data-00000-of-00001": b""}
    (cache / "checkpoints").mkdir(exist_ok=True)
    (cache / "checkpoints" / f"{model.name}.tar.gz").write_bytes(tar_gz(files))
    asked = request_for(model.name, checkpoint="embed", cache=cache, lock=tmp_path / "checkpoints.lock")
    assert embedded(bundle.bundle(asked, print)) == {"ckpt-0.index", "ckpt-0.data-00000-of-00001"}
    assert model.name in (tmp_path / "checkpoints.lock").read_text()


def test_embedding_offline_without_a_cache_says_what_to_do(request_for: Callable[..., bundle.Request]) -> None:
    with pytest.raises(OdbuildError, match="--offline forbids its download"):
        bundle.bundle(request_for("faster_rcnn_resnet101", checkpoint="embed"), print)


# The same bytes everywhere ---------------------------------------------------------------------------------


def sha256_of(python: Path, folder: Path, environment: dict[str, str], *, umask: int = 0o022) -> str:
    """Make a bundle in a process of its own and return its sha256."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ["bundle", "ssd_mobilenet_v1", "--offline"]
    base = {"PATH": os.environ["PATH"], "HOME": str(folder), "ODBUILD_CACHE": str(cache_folder())}
    done = subprocess.run(
        [str(python), "-m", "odbuild", *words],
        cwd=folder,
        env=base | environment,
        umask=umask,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    digest, path = done.stdout.splitlines()[-1].split("  ")
    assert digest == hashlib.sha256((folder / path).read_bytes()).hexdigest()
    return digest


@pytest.mark.parametrize(
    "circumstances",
    [
        {"TZ": "Pacific/Kiritimati"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8"},
        {"PYTHONHASHSEED": "0"},
        {"PYTHONHASHSEED": "4711"},
        {"SOURCE_DATE_EPOCH": "1"},
        {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"},
        {"PYTHONOPTIMIZE": "2"},
    ],
    ids=lambda circumstances: "-".join(f"{name}={value}" for name, value in circumstances.items()),
)
def test_circumstances_leave_no_trace(circumstances: dict[str, str], made: bundle.Bundle, tmp_path: Path) -> None:
    assert sha256_of(Path(sys.executable), tmp_path / "é 猫", circumstances) == made.sha256


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_the_umask_leaves_no_trace(umask: int, made: bundle.Bundle, tmp_path: Path) -> None:
    assert sha256_of(Path(sys.executable), tmp_path / "there", {}, umask=umask) == made.sha256


def test_a_clone_elsewhere_with_other_times_and_modes_makes_the_same(made: bundle.Bundle, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    for name in ("odbuild", "templates"):
        shutil.copytree(REPOSITORY / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in clone.rglob("*.py"):
        path.chmod(0o700)
        os.utime(path, (1, 1))
    assert sha256_of(Path(sys.executable), clone, {"PYTHONPATH": str(clone)}) == made.sha256


def test_a_cache_filled_anew_makes_the_same(made: bundle.Bundle, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    shutil.copytree(cache_folder() / "upstream", cache / "upstream")
    assert sha256_of(Path(sys.executable), tmp_path / "there", {"ODBUILD_CACHE": str(cache)}) == made.sha256


def find_python(version: str) -> Path:
    found = shutil.which(f"python{version}")
    known = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
    for candidate in filter(None, [found, *map(str, known)]):
        code = "import sys; print('%d.%d' % sys.version_info[:2])"
        done = subprocess.run([candidate, "-c", code], capture_output=True, text=True, check=False)
        if done.stdout.strip() == version:
            return Path(candidate)
    pytest.skip(f"there is no Python {version} here")


@pytest.mark.network
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_every_python_makes_the_same_from_an_installed_wheel(
    version: str, made: bundle.Bundle, tmp_path: Path
) -> None:
    environment = tmp_path / "venv"
    subprocess.run([find_python(version), "-m", "venv", environment], check=True)
    python = environment / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", str(REPOSITORY)]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode and "ConnectionError" in done.stderr + done.stdout:
        pytest.skip("there is no package index here")
    assert done.returncode == 0, done.stderr
    cache = tmp_path / "cache"
    shutil.copytree(cache_folder() / "upstream", cache / "upstream")
    assert sha256_of(python, tmp_path / "there", {"ODBUILD_CACHE": str(cache)}) == made.sha256
