"""`odbuild validate` as people and tools meet it: every format of output, kind of path, and exit code."""

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree as ET

import pictures
import pytest
from broken import CASES, SOUND
from hypothesis import given
from hypothesis import strategies as st
from test_main import odbuild

from odbuild import __version__, reports, rulebook
from odbuild.check import FailOn, Options, Report, Subject, catalogue, check
from odbuild.errors import UsageError
from odbuild.trainer.findings import Finding, count, groups
from odbuild.upstream import Upstream

BOX: dict[str, Any] = {"x": 0.1, "y": 0.2, "x2": 0.5, "y2": 0.6, "label": "cat"}
FLAT = {**BOX, "x2": 0.1}

KINDS = ("dataset", "tables", "records", "labelmap", "config", "checkpoint", "zip")

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
nasty = st.sampled_from(["\x1b[2J", "\r\n::error::x", "%0A,:", "]]>&<'\"", "\u202e", "\0", "\ud800", "a b"])
findings = st.builds(
    Finding,
    code=st.sampled_from(["BOX202", "ANN001", "IMG108"]),
    severity=st.sampled_from(["error", "warning", "info"]),
    where=st.one_of(texts, nasty),
    value=st.one_of(texts, nasty),
    message=st.one_of(texts, nasty),
    fix=texts,
    times=st.integers(1, 3),
)


def path(text: str) -> Path:
    """Return a path that the system could hold: bytes that are no text come as these halves of characters."""
    return Path(text.replace("/", "-").replace("\0", "0").replace("\ud800", "\udcff"))


subjects = st.builds(
    Subject,
    path=st.one_of(texts.filter(bool), nasty).map(path),
    kind=st.sampled_from(["dataset", "zip"]),
    findings=st.lists(findings, max_size=5).map(tuple),
    broken=st.booleans(),
    notes=st.lists(texts, max_size=1).map(tuple),
)
all_reports = st.builds(
    Report,
    subjects=st.lists(subjects, max_size=3).map(tuple),
    rules_run=st.sampled_from([("BOX202", "BOX203"), ()]),
    fail_on=st.sampled_from(["error", "warning", "info", "never"]),
)


def data(folder: Path, *boxes: dict[str, Any]) -> Path:
    """Write a project of one picture."""
    pictures.write(folder, "a.jpg", pictures.jpeg())
    document = {"version": "1.0", "type": "localization", "labels": ["cat"], "annotations": {"a.jpg": boxes}}
    pictures.write(folder, "_annotations.json", json.dumps(document).encode())
    return folder


# Formats ----------------------------------------------------------------------------------------------------


@given(report=all_reports)
def test_json_holds_every_finding(report: Report) -> None:
    found = json.loads(reports.render(report, "json"))
    assert found["counts"] == report.counts
    assert [it["where"] for one in found["subjects"] for it in one["findings"]] == [
        it.where for it in report.findings
    ]


@given(report=all_reports)
def test_junit_is_well_formed_and_fails_what_the_exit_code_fails(report: Report) -> None:
    root = ET.fromstring(reports.render(report, "junit").encode())  # noqa: S314  our own
    cases = list(root.iter("testcase"))
    failed = [case for case in cases if case.find("failure") is not None]
    assert root.tag == "testsuites"
    assert (int(root.attrib["tests"]), int(root.attrib["failures"])) == (len(cases), len(failed))
    for suite in root:
        own = suite.findall("testcase")
        assert int(suite.attrib["tests"]) == len(own)
        assert int(suite.attrib["failures"]) == len([case for case in own if case.find("failure") is not None])
        assert {"name", "errors", "skipped"} <= suite.attrib.keys()
    for case in cases:
        assert {"name", "classname"} <= case.attrib.keys()
        # The order that the schemas of Jenkins and others demand.
        order = [child.tag for child in case]
        assert order == sorted(order, key=["failure", "system-out"].index)
    for failure in root.iter("failure"):
        assert failure.attrib["type"] in catalogue()
    broken = any(subject.broken and subject.findings for subject in report.subjects)
    if not any(subject.broken for subject in report.subjects):
        assert bool(failed) == bool(report.exit_code(report.fail_on))
    assert not broken or failed


@given(report=all_reports)
def test_sarif_has_all_that_its_schema_requires(report: Report) -> None:
    text = reports.render(report, "sarif")
    document = json.loads(text)
    assert text.isascii()
    assert (document["version"], set(document)) == ("2.1.0", {"$schema", "version", "runs"})
    (run,) = document["runs"]
    driver = run["tool"]["driver"]
    assert (driver["name"], driver["version"]) == ("odbuild", __version__)
    ids = [rule["id"] for rule in driver["rules"]]
    assert len(set(ids)) == len(ids)
    assert all(rule["shortDescription"]["text"] and rule["fullDescription"]["text"] for rule in driver["rules"])
    levels = {"none", "note", "warning", "error"}
    assert {rule["defaultConfiguration"]["level"] for rule in driver["rules"]} <= levels
    (invocation,) = run["invocations"]
    assert invocation["executionSuccessful"] == (not any(subject.broken for subject in report.subjects))
    notes = [note["message"]["text"] for note in invocation["toolExecutionNotifications"]]
    assert notes == [note for subject in report.subjects for note in subject.notes]
    assert sum(result["occurrenceCount"] for result in run["results"]) == count(report.findings)
    for result, finding in zip(run["results"], report.findings, strict=True):
        assert ids[result["ruleIndex"]] == result["ruleId"] == finding.code
        assert result["level"] in levels
        assert isinstance(result["message"]["text"], str)
        (location,) = result["locations"]
        uri = location["physicalLocation"]["artifactLocation"]["uri"]
        assert re.fullmatch(r"(file://)?[A-Za-z0-9._~/%-]+", uri)
        assert location["physicalLocation"]["region"]["startLine"] >= 1


@given(report=all_reports)
def test_an_annotation_of_github_is_one_line_that_gives_back_what_was_said(report: Report) -> None:
    text = reports.render(report, "github")
    assert "\r" not in text
    lines = text.split("\n")[:-1]
    kinds = sum(len(groups(subject.findings)) for subject in report.subjects)
    assert len(lines) == kinds + sum(len(subject.notes) for subject in report.subjects)
    told = []
    for line in lines:
        found = re.fullmatch(r"::(error|warning|notice) file=([^:,]*),title=(\w+)::(.*)", line, re.DOTALL)
        assert found
        told.append(_said(found[4]).split("\n")[0])
    messages = [group.first.message for one in report.subjects for group in groups(one.findings)]
    assert all(any(_first(message) in it for it in told) for message in messages)


def _said(text: str) -> str:
    return text.replace("%0A", "\n").replace("%0D", "\r").replace("%25", "%")


def _first(message: str) -> str:
    return message.split("\n", maxsplit=1)[0]


def test_a_hostile_name_of_a_file_is_no_command(tmp_path: Path) -> None:
    folder = data(tmp_path / "a\n::error::b\x1b[2J\u202e", {**FLAT, "label": "\x1b[31m\r\n::warning::x"})
    report = check([folder], Options(jobs=1))
    text = reports.render(report, "text")
    assert all(line.isprintable() for line in text.split("\n"))
    assert not re.search("^::", text, re.MULTILINE)
    github = reports.render(report, "github")
    assert all(line.startswith("::") and line.count("::error ") <= 1 for line in github.splitlines())
    (folder / "_annotations.json").write_text("{")
    text = reports.render(check([folder], Options(jobs=1)), "text")
    assert all(line.isprintable() for line in text.split("\n"))
    done = odbuild("validate", "no\x1b[2J\nsuch", cwd=tmp_path)
    assert done.stderr == "odbuild: error: no\\u001b[2J\nsuch does not exist.\n"


def test_files_are_named_from_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = check([data(tmp_path / "d ä", FLAT)], Options(jobs=1))
    monkeypatch.chdir(tmp_path)
    assert "file=d ä/_annotations.json," in reports.render(report, "github")
    (run,) = json.loads(reports.render(report, "sarif"))["runs"]
    uri = run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert unquote(uri) == "d ä/_annotations.json"
    monkeypatch.chdir("/")
    monkeypatch.setattr(Path, "is_relative_to", lambda *_: False)
    (run,) = json.loads(reports.render(report, "sarif"))["runs"]
    uri = run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert (urlsplit(uri).scheme, unquote(urlsplit(uri).path)) == ("file", f"{tmp_path}/d ä/_annotations.json")


def test_ten_thousand_of_one_kind_stay_readable_in_every_format(tmp_path: Path) -> None:
    report = check([data(tmp_path / "many", BOX, *[FLAT] * 12_000)], Options(jobs=1, select=("BOX202",)))
    assert report.counts["error"] == 12_000
    for form, most in (("text", 2_000), ("github", 2_000), ("junit", 2_000), ("html", 200_000)):
        text = reports.render(report, form)
        assert len(text) < most, form
        assert "12,000 time" in text, form
    (run,) = json.loads(reports.render(report, "sarif"))["runs"]
    assert sum(result["occurrenceCount"] for result in run["results"]) == 12_000
    assert "11,997 more" in reports.render(report, "text")
    assert "11,980 more" in reports.render(report, "html")


def test_a_format_that_is_none_is_told() -> None:
    with pytest.raises(UsageError, match=r"no output format 'sarf'\. Did you mean 'sarif'\?"):
        reports.render(Report(subjects=(), rules_run=()), "sarf")


# Paths and exit codes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", reports.FORMATS)
def test_every_kind_of_path_has_a_report_in_every_format(
    kind: str, form: str, upstream_tree: Upstream, tmp_path: Path
) -> None:
    case = SOUND[kind](tmp_path)
    report = check(case.paths, Options(jobs=1, check="none", **case.options))
    text = reports.render(report, form)
    text.encode()
    shown = case.paths[0].name
    assert shown in text or form in ("github", "sarif")


@pytest.mark.parametrize("fail_on", ["error", "warning", "info", "never"])
@pytest.mark.parametrize("severity", ["error", "warning", "info"])
def test_the_exit_code_is_that_of_the_mildest_finding_that_fails(severity: Any, fail_on: FailOn) -> None:
    finding = Finding(code="BOX202", severity=severity, where="x", value="", message="m", fix="")
    subject = Subject(path=Path("x"), kind="dataset", findings=(finding,))
    report = Report(subjects=(subject,), rules_run=(), fail_on=fail_on)
    worse = {
        "error": {"error"},
        "warning": {"error", "warning"},
        "info": {"error", "warning", "info"},
        "never": set(),
    }
    assert report.exit_code(fail_on) == int(severity in worse[fail_on])
    assert report.fails(severity) == (severity in worse[fail_on])


def test_the_command_ends_with_0_1_2_or_3(tmp_path: Path) -> None:
    data(tmp_path / "good", BOX)
    data(tmp_path / "bad", BOX, FLAT)
    pictures.write(tmp_path, "broken.zip", b"no zip")
    (tmp_path / "empty").mkdir()
    ends = {
        ("good", "--fail-on", "error"): 0,
        ("bad",): 1,
        ("bad", "--fail-on", "never"): 0,
        ("bad", "--ignore", "BOX202"): 0,
        ("bad", "--severity", "BOX202=warning"): 0,
        ("empty",): 2,
        ("good", "--select", "BOX999"): 2,
        ("good", "broken.zip", "--fail-on", "never"): 3,
    }
    for words, code in ends.items():
        done = odbuild("validate", *words, cwd=tmp_path)
        assert (words, done.returncode) == (words, code), done.stdout + done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "required: PATH"),
        (("none",), "none does not exist"),
        (("good", "--severity", "BOX202"), "'BOX202' sets nothing; expected CODE=LEVEL"),
        (("good", "--severity", "BOX202=bad"), "the severity of BOX202 is 'bad'; expected error, warning, info"),
        (("good", "--severity", "BOX2O2=error"), "no rule 'BOX2O2'. Did you mean 'BOX202'?"),
        (("good", "--model", "ssd_mobilnet_v2"), "Did you mean"),
        (("good", "--output-format", "xml"), "invalid choice: 'xml'"),
        (("good", "--format", "cocoa"), "no format 'cocoa'. Did you mean 'coco'?"),
    ],
)
def test_what_is_wrong_with_the_words_is_told(words: tuple[str, ...], told: str, tmp_path: Path) -> None:
    data(tmp_path / "good", BOX)
    done = odbuild("validate", *words, cwd=tmp_path)
    assert (done.returncode, told in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ('selct = ["BOX"]', "has no 'selct'. Did you mean 'select'?"),
        ("model = 3", "model is 3; expected the name of a model"),
        ('fail-on = "warnings"', "fail-on is 'warnings'; expected error, warning, info, never"),
        ('ignore = ["BOX9"]', "no rule 'BOX9'"),
        ("ignore = [", "cannot be read"),
    ],
)
def test_what_is_wrong_in_the_project_s_file_is_told(table: str, told: str, tmp_path: Path) -> None:
    data(tmp_path / "good", BOX)
    (tmp_path / "pyproject.toml").write_text(f"[tool.odbuild]\n{table}\n")
    done = odbuild("validate", "good", cwd=tmp_path)
    assert (done.returncode, told in done.stderr) == (2, True), done.stderr


def test_the_command_line_goes_before_the_project_s_file_rule_by_rule(tmp_path: Path) -> None:
    data(tmp_path / "data", BOX, FLAT)
    (tmp_path / "pyproject.toml").write_text(
        '[tool.odbuild]\nignore = ["LBL", "SPL"]\n[tool.odbuild.severity]\nBOX202 = "info"\nANN003 = "error"\n'
    )
    held = odbuild("validate", "data", cwd=tmp_path)
    assert (held.returncode, held.stdout.count("info BOX202"), "LBL303" in held.stdout) == (0, 1, False)
    other = odbuild("validate", "data", "--severity", "LBL303=error", "--ignore", "ANN", cwd=tmp_path)
    assert other.returncode == 1
    assert "error LBL303" in other.stdout
    assert "info BOX202" in other.stdout


def test_a_report_goes_to_a_file_whole(tmp_path: Path) -> None:
    data(tmp_path / "data", FLAT, BOX)
    done = odbuild("validate", "data", "--output-format", "sarif", "--output", "new/x.sarif", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "new/x.sarif\n")
    assert json.loads((tmp_path / "new/x.sarif").read_text())["version"] == "2.1.0"


def test_a_model_adds_its_rules(upstream_tree: Upstream, tmp_path: Path) -> None:
    case = CASES["BOX204"](tmp_path)
    without = check(case.paths, Options(jobs=1))
    assert "BOX204" not in {it.code for it in without.findings}
    assert "BOX204" in {it.code for it in check(case.paths, Options(jobs=1, **case.options)).findings}


def test_rules_are_told_by_code_or_family() -> None:
    assert rulebook.details("box202 ").startswith("BOX202 (error): ")
    assert rulebook.details("box").splitlines() == [
        line for line in rulebook.listing().splitlines() if line[:3] == "BOX"
    ]
    assert "--exif apply" in rulebook.details("IMG103").splitlines()[-1]
    assert "leaves out what nobody could mend" in rulebook.details("BOX203")
    assert "--fix" not in rulebook.details("ZIP1001")
    for odd in ("", "XYZ", "BOX2022"):
        with pytest.raises(UsageError, match="There is no rule"):
            rulebook.details(odd)
