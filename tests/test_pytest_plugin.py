"""The plugin, as pytest's own users meet it: by running pytest in a folder of their own."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pictures
import pytest

pytest_plugins = "pytester"

PAGE = Path(__file__).parent.parent / "docs/pytest.md"

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


def _pytest(project: pytest.Pytester, *arguments: str) -> tuple[int, str]:
    """Run pytest in a process of its own, where the plugin is found by its entry point."""
    done = project.runpytest_subprocess("-p", "no:cacheprovider", *arguments)
    return int(done.ret), f"{done.stdout}\n{done.stderr}"


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    _dataset(pytester.path / "data/good")
    _dataset(pytester.path / "data/bad", FLAT)
    pytester.makeini("[pytest]")
    pytester.makepyfile(test_plain="def test_plain():\n    pass\n")
    return pytester


def test_nothing_is_collected_unless_asked_for(project: pytest.Pytester) -> None:
    code, output = _pytest(project, "-q")
    assert code == 0
    assert "1 passed" in output


def test_every_rule_is_a_test_of_its_own(project: pytest.Pytester) -> None:
    code, output = _pytest(project, "--odbuild", "-v", "-rf")
    assert code == 1
    assert "data/good::BOX202 PASSED" in output
    assert "data/bad::BOX202 FAILED" in output
    assert "FAILED data/bad::BOX202" in output
    assert "1 failed" in output


def test_a_failure_speaks_to_people(project: pytest.Pytester) -> None:
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
def test_the_usual_choices_work(project: pytest.Pytester, arguments: list[str], passed: int) -> None:
    code, output = _pytest(project, "--odbuild", "-q", *arguments)
    assert code == 0, output
    assert f"{passed} passed" in output


def test_severities_can_be_chosen_by_marker(project: pytest.Pytester) -> None:
    _, errors = _pytest(project, "--odbuild", "-v", "-m", "odbuild(severity='error')", "data/good")
    assert "BOX202" in errors
    assert "LBL304" not in errors


def test_last_failed_and_exit_first_work(project: pytest.Pytester) -> None:
    command = ["--odbuild", "-q", "-p", "cacheprovider"]
    code, _ = _pytest(project, *command)
    assert code == 1
    _, again = _pytest(project, *command, "--lf")
    assert "1 failed" in again
    assert "passed" not in again
    _, first = _pytest(project, "--odbuild", "-x", "data/bad")
    assert "stopping after 1 failures" in first


def test_the_ini_option_and_the_project_s_settings_hold(project: pytest.Pytester) -> None:
    (project.path / "pytest.ini").write_text("[pytest]\nodbuild = true\n")
    (project.path / "pyproject.toml").write_text('[tool.odbuild]\nignore = ["BOX202"]\n')
    code, output = _pytest(project, "-q")
    assert code == 0, output
    assert "BOX202" not in output


def test_milder_findings_warn_and_fail_where_that_is_set(project: pytest.Pytester) -> None:
    _dataset(project.path / "data/few")
    whole = json.loads((project.path / "data/few/_annotations.json").read_text())
    whole["annotations"] = dict(list(whole["annotations"].items())[:3])
    (project.path / "data/few/_annotations.json").write_text(json.dumps(whole))
    code, output = _pytest(project, "--odbuild", "data/few::LBL303")
    assert code == 0
    assert "warning LBL303: a label has fewer than 10 boxes" in output
    (project.path / "pyproject.toml").write_text('[tool.odbuild]\nfail-on = "warning"\n')
    code, _ = _pytest(project, "--odbuild", "data/few::LBL303")
    assert code == 1


def test_what_cannot_be_read_fails_once_and_skips_the_rest(project: pytest.Pytester) -> None:
    (project.path / "data/bad/_annotations.json").write_text("{")
    code, output = _pytest(project, "--odbuild", "-q", "-rs", "data/bad")
    assert code == 1
    assert "1 failed" in output
    assert "is not valid JSON" in output
    assert "cannot be read at all: ANN001 tells why" in output


def test_a_code_that_is_none_is_told(project: pytest.Pytester) -> None:
    _, output = _pytest(project, "--odbuild", "data/good::BOX299")
    assert "no rule BOX299 is about it" in output


def test_junit_tells_each_rule(project: pytest.Pytester) -> None:
    _pytest(project, "--odbuild", "-q", "--junit-xml=report.xml", "data/bad")
    text = (project.path / "report.xml").read_text()
    assert 'name="BOX202"' in text
    assert "a box has no area" in text


@pytest.mark.parametrize("how", ["load", "loadgroup"])
def test_rules_run_on_several_workers(project: pytest.Pytester, how: str) -> None:
    code, output = _pytest(project, "--odbuild", "-n", "2", "--dist", how, "-rf", "--junit-xml=report.xml")
    _, alone = _pytest(project, "--odbuild", "-p", "no:xdist", "--junit-xml=alone.xml")
    assert code == 1, output
    assert "FAILED data/bad::BOX202" in output
    names = [
        sorted(re.findall(r'classname="[^"]*" name="[^"@]*', (project.path / name).read_text()))
        for name in ("report.xml", "alone.xml")
    ]
    assert names[0] == names[1]
    assert f"{len(names[1])} items" in alone


def test_fixtures_give_datasets(project: pytest.Pytester) -> None:
    (project.path / "pytest.ini").write_text("[pytest]\nodbuild_dataset = data/good\n")
    (project.path / "test_plain.py").write_text(
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


def test_the_page_s_example_prints_what_it_shows(tmp_path: Path) -> None:
    page = PAGE.read_text("utf-8")
    for name, text in re.findall(r"^`([\w.]+)`[^\n]*:\n\n```\w+\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        (tmp_path / name).write_text(text, encoding="utf-8")
    steps = re.findall(r"^\$ (.*)\n((?:(?!\$ |```).*\n)*)", page, re.MULTILINE)
    assert len(steps) > 6
    for command, shown in steps:
        program, *words = shlex.split(command)
        start = [sys.executable, *(["-m", program] if program == "pytest" else [])]
        # In CI, pytest does not shorten its lines.
        environment = {name: value for name, value in os.environ.items() if name not in {"CI", "BUILD_NUMBER"}}
        environment |= {"COLUMNS": "80", "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [*start, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert _steady(done.stdout) == _steady(shown), (command, done.stdout + done.stderr)


def _steady(output: str) -> list[str]:
    """Return the lines, without times and counts of rules, which change with the catalogue."""
    without_times = re.sub(r"in \d+\.\d+s", "in TIME", output)
    without_counts = re.sub(r"\b\d\d+ (passed|deselected)", r"N \1", without_times)
    return re.sub(r"^\.{9,}( +\[ *\d+%\]\n\.*)*", "DOTS", without_counts, flags=re.MULTILINE).splitlines()
