"""The command line: light to start, one clear sentence for every failure, and the right exit code."""

import argparse
import errno
import hashlib
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from odbuild import __main__ as command_line
from odbuild import __version__, bundle, rehearse
from odbuild.cache import cache_folder
from odbuild.errors import OdbuildError, UsageError
from odbuild.protos import Protos

REPOSITORY = Path(__file__).resolve().parent.parent

HEAVY = {"tensorflow", "numpy", "PIL", "google", "jinja2", "zopfli", "crc32c", "platformdirs"}

NO_SPACE = "no space left. Free some space and run again."

NO_DOWNLOAD = ("--checkpoint", "none", "--checkpoint-mirror", "https://localhost")

Done = subprocess.CompletedProcess[str]


def odbuild(*words: str, cwd: Path, **options: Any) -> Done:
    environment = {**os.environ, "ODBUILD_CACHE": str(cache_folder()), **options.pop("environment", {})}
    command = [sys.executable, "-m", "odbuild", *words]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, **options
    )


# Starting up ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["bundle", "--help"], ["rehearse", "--help"]])
def test_asking_for_help_loads_nothing_heavy(words: list[str], tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from odbuild.__main__ import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: code = end.code\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}), file=sys.stderr)\n"
        "sys.exit(code)"
    )
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert set(done.stderr.split()) & HEAVY == set()
    assert "odbuild" in done.stdout


def test_the_version_is_told(tmp_path: Path) -> None:
    assert odbuild("--version", cwd=tmp_path).stdout == f"odbuild {__version__}\n"


def test_the_help_tells_the_true_defaults() -> None:
    given_by = bundle.Request(model="x")
    text = " ".join(_help("bundle").split())
    for name in ("checkpoint", "validation", "boxes", "exif", "negatives", "out", "upstream"):
        assert re.search(rf"--{name} (?:(?! --).)*\(default: {getattr(given_by, name)}\)", text), name


def _help(command: str) -> str:
    parser = command_line._parser()
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return str(commands.choices[command].format_help())


# What is passed on ------------------------------------------------------------------------------------------


def parsed(*words: str) -> argparse.Namespace:
    return command_line._parser().parse_args(words)


def test_what_is_not_said_is_left_to_the_recipe() -> None:
    arguments = parsed("bundle", "m")
    assert command_line._request(arguments, "m", Path("dist")) == bundle.Request(model="m")


def test_what_is_said_is_passed_on() -> None:
    words = "--checkpoint embed --offline --upstream git --batch-size 4 --validation 0.5 --boxes drop --exif apply"
    words += " --negatives drop --max-side 800 --out o --checkpoint-mirror https://localhost:1/zoo"
    arguments = parsed("bundle", "m", *words.split())
    assert command_line._request(arguments, "m", arguments.out) == bundle.Request(
        model="m",
        out=Path("o"),
        offline=True,
        upstream="git",
        checkpoint="embed",
        checkpoint_mirror="https://localhost:1/zoo",
        batch_size=4,
        validation=0.5,
        boxes="drop",
        exif="apply",
        negatives="drop",
        max_side=800,
    )


def test_a_checkpoint_is_one_of_three_words_or_a_path() -> None:
    assert parsed("bundle", "m", "--checkpoint", "none").checkpoint == "none"
    assert parsed("bundle", "m", "--checkpoint", "./none").checkpoint == Path("none")


def rehearsal_of(monkeypatch: pytest.MonkeyPatch, *words: str) -> rehearse.Request:
    seen: list[rehearse.Request] = []
    monkeypatch.setattr(rehearse, "rehearse", lambda request, _say: seen.append(request))
    arguments = parsed("rehearse", *words)
    arguments.run(arguments)
    return seen[0]


def test_a_rehearsal_starts_from_random_weights_unless_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = rehearsal_of(monkeypatch, "m", "--out", "r")
    assert asked.bundle == bundle.Request(model="m", checkpoint="none", out=Path("r/bundle"))
    assert (asked.zip, asked.dataset, asked.row, asked.python) == (None, None, None, None)
    assert (asked.steps, asked.out) == (rehearse.STEPS, Path("r"))
    assert capsys.readouterr().out.split() == ["r/detections.png", "r/rehearsal.json"]


def test_a_rehearsal_is_told_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    words = "m photos --checkpoint c --steps 300 --row tf2.15 --python /p --batch-size 8"
    asked = rehearsal_of(monkeypatch, *words.split())
    assert (asked.bundle.checkpoint, asked.bundle.batch_size) == (Path("c"), 8)
    assert (asked.dataset, asked.steps, asked.row, asked.python) == (Path("photos"), 300, "tf2.15", Path("/p"))


def test_a_finished_zip_is_rehearsed_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rehearsal_of(monkeypatch, "dist/m/trainer.zip").zip == Path("dist/m/trainer.zip")


def test_a_finished_zip_takes_no_fields() -> None:
    with pytest.raises(UsageError, match=r"--set: a\.zip is finished"):
        command_line._finished(parsed("rehearse", "a.zip", "--set", "train_config.batch_size=8"))


def test_fields_are_set_in_the_order_given() -> None:
    words = ["--set", "a.b=1", "--set", "c = x=y"]
    request = command_line._request(parsed("bundle", "m", *words), "m", Path("o"))
    assert request.overrides == (("a.b", "1"), ("c", "x=y"))


def test_an_explanation_prints_the_diff_and_makes_no_bundle(
    compiled: Protos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command_line.main(["bundle", "ssd_mobilenet_v1", "--offline", "--explain"]) == 0
    assert "+    # use_moving_average: the optimizer" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_a_finished_zip_takes_no_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"--batch-size: a\.zip is finished"):
        rehearsal_of(monkeypatch, "a.zip", "--batch-size", "4")


# Bad words --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "required: COMMAND"),
        (["bundel"], "invalid choice: 'bundel'"),
        (["bundle"], "required: MODEL"),
        (["bundle", "m", "--off"], "unrecognized arguments: --off"),
        (["bundle", "m", "--batch-size", "0"], "'0' is no positive integer"),
        (["bundle", "m", "--batch-size", "-1"], "'-1' is no positive integer"),
        (["bundle", "m", "--batch-size", "٣"], "'٣' is no positive integer"),
        (["bundle", "m", "--set", "train_config.batch_size"], "sets nothing; expected FIELD=VALUE"),
        (["bundle", "m", "--max-side", "1e3"], "'1e3' is no positive integer"),
        (["bundle", "m", "--validation", "1"], "'1' is no fraction between 0 and 1"),
        (["bundle", "m", "--validation", "nan"], "'nan' is no fraction"),
        (["bundle", "m", "--boxes", "keep"], "invalid choice: 'keep'"),
        (["bundle", "m", "--checkpoint", ""], "is empty"),
        (["bundle", "m", "--checkpoint-mirror", "http://h/zoo"], "is no https address such as"),
        (["bundle", "m", "--checkpoint-mirror", "https://me:secret@h/zoo"], "is no https address such as"),
        (["bundle", "m", "--checkpoint-mirror", "https://h/zoo?token=1"], "is no https address such as"),
        (["bundle", "ssd_mobilenet_v1", *NO_DOWNLOAD], "nothing is downloaded with --checkpoint none"),
        (["rehearse", "m", "--steps", "many"], "'many' is no positive integer"),
        (["bundle", "nothing_like_it"], "Unknown model 'nothing_like_it'"),
        (["bundle", "ssd_mobilenet_v1", "--upstream", "./no"], "no"),
    ],
)
def test_wrong_usage_ends_with_a_sentence_and_2(words: list[str], told: str, tmp_path: Path) -> None:
    done = odbuild(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert told in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


@given(st.text())
def test_no_word_breaks_the_parser(word: str) -> None:
    for kind in (command_line._count, command_line._fraction, command_line._checkpoint, command_line._mirror):
        try:
            kind(word)
        except argparse.ArgumentTypeError as error:
            assert str(error)  # noqa: PT017  half of the property


# What is raised ---------------------------------------------------------------------------------------------


def ends_with(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException
) -> tuple[int, str]:
    """Run the command line around a recipe that raises, and return the exit code and stderr."""

    def fail(_request: bundle.Request, _say: Callable[[str], None]) -> None:
        raise error

    monkeypatch.setattr(bundle, "bundle", fail)
    code = command_line.main(["bundle", "ssd_mobilenet_v1"])
    return code, capsys.readouterr().err


@pytest.fixture(autouse=True)
def _own_signals() -> Any:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (OdbuildError("do this"), 1, "odbuild: error: do this\n"),
        (UsageError("say that"), 2, "odbuild: error: say that\n"),
        (KeyboardInterrupt(), 130, "odbuild: interrupted; nothing was left half-written\n"),
        (OSError(errno.ENOSPC, "No space", "f"), 1, f"odbuild: error: f: {NO_SPACE}\n"),
        (OSError(errno.EDQUOT, "Quota"), 1, f"odbuild: error: {NO_SPACE}\n"),
        (PermissionError(errno.EACCES, "Permission denied", "f"), 1, "odbuild: error: f: Permission denied\n"),
    ],
    ids=repr,
)
def test_each_failure_is_one_sentence_and_its_code(
    error: BaseException,
    code: int,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert ends_with(monkeypatch, capsys, error) == (code, told)


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("x"), FileNotFoundError(errno.ENOENT, "No such", "f"), KeyError(1)]
)
def test_a_bug_shows_its_traceback_and_asks_for_a_report(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, told = ends_with(monkeypatch, capsys, error)
    assert code == 70
    assert "Traceback" in told
    assert type(error).__name__ in told
    assert told.endswith("Please report it with the lines above.\n")


# For real ---------------------------------------------------------------------------------------------------


def test_the_last_line_is_what_sha256sum_prints(compiled: Protos, tmp_path: Path) -> None:
    done = odbuild("bundle", "ssd_mobilenet_v1", "--offline", cwd=tmp_path)
    path = Path("dist/ssd_mobilenet_v1_coco_2018_01_28/trainer.zip")
    digest = hashlib.sha256((tmp_path / path).read_bytes()).hexdigest()
    assert (done.returncode, done.stdout) == (0, f"{digest}  {path}\n")
    assert done.stderr


def test_a_path_that_the_terminal_cannot_show_ends_no_build(compiled: Protos, tmp_path: Path) -> None:
    latin = {"PYTHONIOENCODING": "ascii"}
    done = odbuild("bundle", "ssd_mobilenet_v1", "--offline", "--out", "猫", cwd=tmp_path, environment=latin)
    assert (done.returncode, "\\u732b" in done.stdout) == (0, True)


def test_nothing_cached_and_offline_says_what_to_do(tmp_path: Path) -> None:
    empty = {"ODBUILD_CACHE": str(tmp_path / "cache")}
    done = odbuild("bundle", "ssd_mobilenet_v1", "--offline", cwd=tmp_path, environment=empty)
    assert done.returncode == 1
    assert done.stderr.startswith("odbuild: error: ")
    assert "--offline" in done.stderr
    assert not (tmp_path / "dist").exists()


def test_no_space_is_a_sentence(compiled: Protos, tmp_path: Path) -> None:
    def small_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = odbuild("bundle", "ssd_mobilenet_v1", "--offline", cwd=tmp_path, preexec_fn=small_disk)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("odbuild: error: Cannot write dist/")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_out_that_is_a_file_is_a_sentence(compiled: Protos, tmp_path: Path) -> None:
    (tmp_path / "dist").write_text("mine")
    done = odbuild("bundle", "ssd_mobilenet_v1", "--offline", cwd=tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert (tmp_path / "dist").read_text() == "mine"


def test_a_reader_that_leaves_is_no_traceback(compiled: Protos, tmp_path: Path) -> None:
    script = f"exec 2>err; {sys.executable} -m odbuild bundle ssd_mobilenet_v1 --offline | exec true"
    environment = {**os.environ, "ODBUILD_CACHE": str(cache_folder())}
    subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, check=False)
    assert "Traceback" not in (tmp_path / "err").read_text()
    assert "Exception ignored" not in (tmp_path / "err").read_text()


@pytest.mark.parametrize(("number", "delay"), [(signal.SIGINT, 0.0), (signal.SIGINT, 1.0), (signal.SIGTERM, 1.0)])
def test_interrupted_in_any_stage_nothing_is_left(
    number: signal.Signals, delay: float, compiled: Protos, tmp_path: Path
) -> None:
    # A cache without the slow steps' results, so that protoc and packing are on their way.
    cache = tmp_path / "cache"
    shutil.copytree(cache_folder() / "upstream", cache / "upstream")
    before = {path for path in cache.rglob("*") if path.is_file()}
    process = subprocess.Popen(
        [sys.executable, "-m", "odbuild", "bundle", "ssd_mobilenet_v1", "--offline"],
        cwd=tmp_path,
        env={**os.environ, "ODBUILD_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    process.stderr.readline()
    time.sleep(delay)
    process.send_signal(number)
    out, told = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert told.splitlines()[-1] == "odbuild: interrupted; nothing was left half-written"
    left = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert not [path for path in left if path.name.startswith(".") or path.suffix == ".zip"]


# The switchboard --------------------------------------------------------------------------------------------


def test_the_noxfile_imports_only_nox_and_the_standard_library() -> None:
    lines = (REPOSITORY / "noxfile.py").read_text(encoding="utf-8").splitlines()
    modules = {line.split()[1].split(".")[0] for line in lines if line.startswith(("import ", "from "))}
    assert modules - set(sys.stdlib_module_names) == {"nox"}
