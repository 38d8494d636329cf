"""The report as SARIF 2.1.0, the format of code scanning: rules with help, findings with places."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from odbuild import __version__
from odbuild.check import Report, Subject, catalogue
from odbuild.reports import place
from odbuild.trainer.findings import Finding

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"

LEVELS = {"error": "error", "warning": "warning", "info": "note"}


def render(report: Report) -> str:
    """Return the report as one run of one tool."""
    codes = dict.fromkeys([*report.rules_run, *(finding.code for finding in report.findings)])
    places = {code: place for place, code in enumerate(codes)}
    driver = {"name": "odbuild", "version": __version__, "rules": [_rule(code) for code in codes]}
    results = [_result(subject, finding, places) for subject in report.subjects for finding in subject.findings]
    run = {
        "tool": {"driver": driver},
        "invocations": [_invocation(report)],
        "columnKind": "unicodeCodePoints",
        "results": results,
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"


def _invocation(report: Report) -> Mapping[str, Any]:
    """Return whether all could be read, and what was not checked."""
    notes = [
        {"level": "note", "message": {"text": note}, "locations": [_location(subject)]}
        for subject in report.subjects
        for note in subject.notes
    ]
    return {
        "executionSuccessful": not any(subject.broken for subject in report.subjects),
        "toolExecutionNotifications": notes,
    }


def _rule(code: str) -> Mapping[str, Any]:
    info = catalogue()[code]
    return {
        "id": code,
        "shortDescription": {"text": info.name},
        "fullDescription": {"text": info.help},
        "defaultConfiguration": {"level": LEVELS[info.severity]},
    }


def _result(subject: Subject, finding: Finding, places: Mapping[str, int]) -> Mapping[str, Any]:
    parts: Sequence[str] = (finding.message, f"{finding.where}: {finding.value}", finding.fix)
    return {
        "ruleId": finding.code,
        "ruleIndex": places[finding.code],
        "level": LEVELS[finding.severity],
        "message": {"text": ". ".join(part.removesuffix(": ") for part in parts if part)},
        "occurrenceCount": finding.times,
        "locations": [{**_location(subject), "logicalLocations": [{"fullyQualifiedName": finding.where}]}],
    }


def _location(subject: Subject) -> dict[str, Any]:
    """Return the place of the subject's file; code scanning wants a line, and it is about all of it."""
    file = place(subject)
    # As bytes, for a name need not be text.
    uri = quote(os.fsencode(file.as_posix()))
    return {
        "physicalLocation": {
            "artifactLocation": {"uri": f"file://{uri}" if file.is_absolute() else uri},
            "region": {"startLine": 1},
        }
    }
