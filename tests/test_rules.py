"""Every rule fires on what breaks it, and on nothing else."""

import re
from pathlib import Path
from typing import get_args

import pictures
import pytest
from broken import CASES, OTHERS, SOUND, Case
from formats import put

import odbuild
from odbuild import rulebook, upstream
from odbuild.check import Options, Report, catalogue, check
from odbuild.rules import config
from odbuild.trainer.findings import Severity, place, quote, render
from odbuild.trainer.rules.every import labelmaps
from odbuild.upstream import Upstream

PACKAGE = Path(odbuild.__file__).parent
SEVERITIES = get_args(Severity)

PLACEHOLDERS = {"CFG702"}
"""What every sample config breaks: its paths are still to be written."""

UPSTREAM_BREAKS = {
    # Metrics that upstream calls otherwise by now.
    "faster_rcnn_inception_resnet_v2_atrous_oid.config": {"CFG709"},
    "faster_rcnn_inception_resnet_v2_atrous_oid_v4.config": {"CFG709"},
    "ssd_mobilenet_v2_oid_v4.config": {"CFG709"},
    # A batch of 24 without a common size.
    "ssd_mobilenet_v2_fullyconv_coco.config": {"CFG706"},
    # A checkpoint of version V1 for a model of TensorFlow 2.
    "ssd_mobilenet_v2_pets_keras.config": {"CFG704"},
}


@pytest.fixture(autouse=True)
def _upstream(upstream_tree: Upstream) -> None:
    """Skip where upstream, which configs are judged by, cannot be had."""


def _checked(case: Case) -> Report:
    return check(case.paths, Options(jobs=1, **case.options))


@pytest.mark.parametrize("code", CASES)
def test_what_breaks_a_rule_breaks_no_other(code: str, tmp_path: Path) -> None:
    report = _checked(CASES[code](tmp_path))
    assert {finding.code for finding in report.findings} == {code} | OTHERS.get(code, set()), render(
        report.findings
    )
    for finding in report.findings:
        declared = catalogue()[finding.code].severity
        assert SEVERITIES.index(finding.severity) >= SEVERITIES.index(declared)
        assert finding.where
        assert finding.message


@pytest.mark.parametrize(
    ("one", "other"), [("A.jpg", "a.jpg"), ("a.JPG", "a.jpg"), ("d/a\u0308.jpg", "d/\u00e4.jpg")]
)
def test_names_that_are_one_on_some_disks_are_told(tmp_path: Path, one: str, other: str) -> None:
    lines = ["filename,class,xmin,ymin,xmax,ymax", *(f"{key},cat,5,5,30,10" for key in (one, other, "b.jpg"))]
    put(tmp_path, {"x.csv": "\n".join(lines), one: pictures.jpeg(40), other: pictures.jpeg(50)})
    found = [it for it in _checked(Case(paths=(tmp_path,))).findings if it.code == "ANN005"]
    assert [(it.severity, it.where, it.value) for it in found] == [("error", place(other), f"and {quote(one)}")]


@pytest.mark.parametrize("kind", SOUND)
def test_what_is_sound_breaks_none(kind: str, tmp_path: Path) -> None:
    report = _checked(SOUND[kind](tmp_path))
    assert not report.findings, render(report.findings)
    assert report.exit_code("info") == 0
    assert report.rules_run


def test_every_rule_has_something_that_breaks_it() -> None:
    assert set(CASES) == set(catalogue())


def test_the_worst_severity_is_reached_somewhere(tmp_path: Path) -> None:
    """A rule that says error and only ever warns would frighten for nothing."""
    mild = {}
    for code, make in CASES.items():
        folder = tmp_path / code
        folder.mkdir()
        found = {finding.severity for finding in _checked(make(folder)).findings if finding.code == code}
        if catalogue()[code].severity not in found:
            mild[code] = found
    # Of these the worst has a case in the tests of its reader or rule.
    assert set(mild) <= {"ANN003", "CFG707", "IMG106", "LBL305", "REC505", "ZIP1007"}, mild


@pytest.mark.parametrize("code", sorted(catalogue()))
def test_every_rule_is_explained(code: str) -> None:
    info = catalogue()[code]
    first, _, rest = info.help.partition("\n\n")
    assert first.endswith(".")
    assert rest, "say why it matters and what to do"
    assert re.fullmatch(r"[a-z#].*[^.]", info.name)
    assert info.help in rulebook.details(code)


def test_the_page_is_made_from_the_catalogue() -> None:
    page = PACKAGE.parent / "docs/rules.md"
    assert page.read_text(encoding="utf-8") == rulebook.page(), "run nox -s docs"


def test_every_code_in_the_source_is_a_rule() -> None:
    families = "|".join(sorted({code[:3] for code in catalogue()}))
    named = {
        code
        for path in PACKAGE.rglob("*.py")
        for code in re.findall(rf'"((?:{families})\d{{3,4}})"', path.read_text(encoding="utf-8"))
    }
    assert named <= set(catalogue())


def test_upstreams_own_label_maps_are_right(upstream_tree: Upstream) -> None:
    found = {}
    for path in sorted((upstream_tree.path / "object_detection/data").glob("*.pbtxt")):
        value = labelmaps.read(path)
        rules = [info for info in catalogue().values() if info.subject == "labelmap"]
        found[path.name] = [one for info in rules for one in info.check(value)]
    assert len(found) > 10
    assert {one.severity for ones in found.values() for one in ones} <= {"warning"}
    # Their numbers are those of the original annotations, of which some were left out.
    assert {name for name, ones in found.items() if ones} == {"ava_label_map_v2.1.pbtxt", "mscoco_label_map.pbtxt"}


def test_upstreams_own_configs_are_right_but_for_their_paths(upstream_tree: Upstream) -> None:
    tools = config.toolbox(offline=False)
    rules = [info for info in catalogue().values() if info.subject == "config"]
    names = [name for name in upstream.manifest() if name.endswith(".config") and "/configs/" in name]
    wrong = {}
    for name in names:
        text = upstream.read(upstream_tree, name).decode()
        value = config.Config(name=name, message=config.parse(text, tools), toolbox=tools, folders=(Path(),))
        codes = {one.code for info in rules for one in info.check(value) if one.severity == "error"}
        if codes - PLACEHOLDERS:
            wrong[name.rpartition("/")[2]] = codes - PLACEHOLDERS
    assert len(names) > 90
    assert wrong == UPSTREAM_BREAKS
