"""The plugin, as pytest's own users meet it: by running pytest in a folder of their own."""

import json
import subprocess
import sys
from pathlib import Path

import pictures
import pytest

BOX = {"x": 0.1, "y": 0.2, "x2": 0.5, "y2": 0.6, "label": "cat"}
FLAT = {**BOX, "x2": 0.1}


def _dataset(folder: Path, *boxes: dict[str, object]) -> Path:
    names = [f"{number:02d}.jpg" for number in range(10)]
    annotations = {name: [BOX] for name in names}
    annotations[names[0]] = [BOX, *boxes]
    for number, name in enumerate(names):
        pictures.write(folder, name, pictures.jpeg(64 + number, 64, seed=number))
    whole = {"version": "1.0", "type": "localization", "labels": ["cat"], "annotations": annotations}
    (folder / "_annotations.json").write_text(json.dumps(whole))
    return folder


def _pytest(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run pytest as its users do, in a process of its own, with the plugin found by its entry point."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def project(tmp_path: Path) -> Path:
    _dataset(tmp_path / "data/good")
    _dataset(tmp_path / "data/bad", FLAT)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_plain.py").write_text("def test_plain():\n    pass\n")
    return tmp_path


def test_nothing_is_collected_unless_asked_for(project: Path) -> None:
    code, output = _pytest(project, "-q")
    assert code == 0
    assert "1 passed" in output


def test_every_rule_is_a_test_of_its_own(project: Path) -> None:
    code, output = _pytest(project, "--odbuild", "-v", "-rf")
    assert code == 1
    assert "data/good::BOX202 PASSED" in output
    assert "data/bad::BOX202 FAILED" in output
    assert "FAILED data/bad::BOX202" in output
    assert "1 failed" in output


def test_a_failure_speaks_to_people(project: Path) -> None:
    _, output = _pytest(project, "--odbuild", "data/bad::BOX202")
    assert "a box has no area or is smaller than one pixel" in output
    assert 'annotations["00.jpg"][1]: x=0.1' in output
    assert "fix: " in output
    assert "Traceback" not in output
    assert "runtest" not in output


@pytest.mark.parametrize(
    ("arguments", "passed"),
    [
        (["-k", "BOX202 and good"], 1),
        (["-k", "BOX203"], 2),
        (["data/good::BOX202"], 1),
        (["data/good::BOX202", "data/good::BOX201", "data/bad::BOX201"], 3),
    ],
)
def test_the_usual_choices_work(project: Path, arguments: list[str], passed: int) -> None:
    code, output = _pytest(project, "--odbuild", "-q", *arguments)
    assert code == 0, output
    assert f"{passed} passed" in output


def test_severities_can_be_chosen_by_marker(project: Path) -> None:
    _, errors = _pytest(project, "--odbuild", "-v", "-m", "odbuild(severity='error')", "data/good")
    assert "BOX202" in errors
    assert "LBL304" not in errors


def test_last_failed_and_exit_first_work(project: Path) -> None:
    command = ["--odbuild", "-q", "-p", "cacheprovider"]
    code, _ = _pytest(project, *command)
    assert code == 1
    _, again = _pytest(project, *command, "--lf")
    assert "1 failed" in again
    assert "passed" not in again
    _, first = _pytest(project, "--odbuild", "-x", "data/bad")
    assert "stopping after 1 failures" in first


def test_the_ini_option_and_the_project_s_settings_hold(project: Path) -> None:
    (project / "pytest.ini").write_text("[pytest]\nodbuild = true\n")
    (project / "pyproject.toml").write_text('[tool.odbuild]\nignore = ["BOX202"]\n')
    code, output = _pytest(project, "-q")
    assert code == 0, output
    assert "BOX202" not in output


def test_milder_findings_warn_and_fail_where_that_is_set(project: Path) -> None:
    _dataset(project / "data/few")
    whole = json.loads((project / "data/few/_annotations.json").read_text())
    whole["annotations"] = dict(list(whole["annotations"].items())[:3])
    (project / "data/few/_annotations.json").write_text(json.dumps(whole))
    code, output = _pytest(project, "--odbuild", "data/few::LBL303")
    assert code == 0
    assert "warning LBL303: a label has fewer than 10 boxes" in output
    (project / "pyproject.toml").write_text('[tool.odbuild]\nfail-on = "warning"\n')
    code, _ = _pytest(project, "--odbuild", "data/few::LBL303")
    assert code == 1


def test_what_cannot_be_read_fails_once_and_skips_the_rest(project: Path) -> None:
    (project / "data/bad/_annotations.json").write_text("{")
    code, output = _pytest(project, "--odbuild", "-q", "-rs", "data/bad")
    assert code == 1
    assert "1 failed" in output
    assert "is not valid JSON" in output
    assert "cannot be read at all: ANN001 tells why" in output


def test_a_code_that_is_none_is_told(project: Path) -> None:
    _, output = _pytest(project, "--odbuild", "data/good::BOX299")
    assert "no rule BOX299 is about it" in output


def test_junit_tells_each_rule(project: Path) -> None:
    _pytest(project, "--odbuild", "-q", "--junit-xml=report.xml", "data/bad")
    text = (project / "report.xml").read_text()
    assert 'name="BOX202"' in text
    assert "a box has no area" in text


def test_fixtures_give_datasets(project: Path) -> None:
    (project / "pytest.ini").write_text("[pytest]\nodbuild_dataset = data/good\n")
    (project / "test_plain.py").write_text(
        "import pytest\n\n"
        "def test_ten(odbuild_dataset):\n    assert len(odbuild_dataset.pictures) == 10\n\n"
        "@pytest.mark.parametrize('odbuild_dataset', ['data/bad'], indirect=True)\n"
        "def test_bad(odbuild_dataset):\n    assert odbuild_dataset.drawn == 11\n\n"
        "def test_none(odbuild_records):\n    pass\n"
    )
    code, output = _pytest(project, "-q")
    assert code == 1
    assert "2 passed, 1 error" in output
    assert "set odbuild_records in pytest's ini file" in " ".join(output.split())


def test_a_plain_run_imports_nothing_of_odbuild_s() -> None:
    code = (
        "import sys, odbuild.pytest_plugin\n"
        "heavy = {'odbuild.check', 'odbuild.trainer', 'PIL', 'numpy', 'google.protobuf', 'tensorflow'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
