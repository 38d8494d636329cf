"""The report as JUnit XML: a suite for each subject, a test for each rule, failed where it found an error."""

import re
from xml.etree import ElementTree as ET

from odbuild.check import Report, Subject, catalogue
from odbuild.trainer.findings import groups

_UNWRITABLE = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold in any spelling."""


def render(report: Report) -> str:
    """Return the report as XML. Warnings and notes stand in the output of a test that passes."""
    root = ET.Element("testsuites", name="odbuild validate")
    for subject in report.subjects:
        root.append(_suite(subject, report.rules_run))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=False) + "\n"


def _suite(subject: Subject, rules_run: tuple[str, ...]) -> ET.Element:
    rules = catalogue()
    about = [code for code in rules_run if rules[code].subject in subject.values]
    codes = dict.fromkeys([*about, *(finding.code for finding in subject.findings)])
    tests = [_test(subject, code) for code in codes]
    failed = sum(test.find("failure") is not None for test in tests)
    name = _clean(f"{subject.path} ({subject.kind})")
    suite = ET.Element(
        "testsuite", name=name, tests=str(len(tests)), failures=str(failed), errors="0", skipped="0"
    )
    suite.extend(tests)
    return suite


def _test(subject: Subject, code: str) -> ET.Element:
    name = f"{code} {catalogue()[code].name}"
    test = ET.Element("testcase", classname=_clean(str(subject.path)), name=name)
    for group in groups(finding for finding in subject.findings if finding.code == code):
        text = _clean("\n".join(group.lines()))
        if group.first.severity == "error":
            failure = ET.SubElement(test, "failure", message=_clean(group.first.message), type=code)
            failure.text = text
        else:
            output = ET.SubElement(test, "system-out")
            output.text = f"{group.first.severity}: {text}"
    return test


def _clean(text: str) -> str:
    return _UNWRITABLE.sub("�", text)
