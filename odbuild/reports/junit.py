"""The report as JUnit XML: a suite for each subject, a test for each rule, failed where `--fail-on` says so."""

import re
from xml.etree import ElementTree as ET

from odbuild.check import Report, Subject, catalogue
from odbuild.trainer.findings import groups

_UNWRITABLE = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold in any spelling."""


def render(report: Report) -> str:
    """Return the report as XML. What is milder than a failure stands in the output of its test."""
    suites = [_suite(subject, report) for subject in report.subjects]
    sums = {
        name: str(sum(int(suite.attrib[name]) for suite in suites)) for name in ("tests", "failures", "errors")
    }
    root = ET.Element("testsuites", {"name": "odbuild validate", **sums})
    root.extend(suites)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=False) + "\n"


def _suite(subject: Subject, report: Report) -> ET.Element:
    rules = catalogue()
    about = [code for code in report.rules_run if rules[code].subject in subject.values]
    codes = dict.fromkeys([*about, *(finding.code for finding in subject.findings)])
    tests = [_test(subject, code, report) for code in codes]
    failed = sum(test.find("failure") is not None for test in tests)
    name = _clean(f"{subject.path} ({subject.kind})")
    suite = ET.Element(
        "testsuite", name=name, tests=str(len(tests)), failures=str(failed), errors="0", skipped="0"
    )
    suite.extend(tests)
    if subject.notes:
        ET.SubElement(suite, "system-out").text = _clean("\n".join(subject.notes))
    return suite


def _test(subject: Subject, code: str, report: Report) -> ET.Element:
    name = f"{code} {catalogue()[code].name}"
    test = ET.Element("testcase", classname=_clean(str(subject.path)), name=name)
    for group in groups(finding for finding in subject.findings if finding.code == code):
        text = _clean("\n".join(group.lines()))
        if subject.broken or report.fails(group.first.severity):
            failure = ET.SubElement(test, "failure", message=_clean(group.first.message), type=code)
            failure.text = text
        else:
            output = ET.SubElement(test, "system-out")
            output.text = f"{group.first.severity}: {text}"
    return test


def _clean(text: str) -> str:
    return _UNWRITABLE.sub("�", text)
