"""The report as one JSON document, every finding in full."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from odbuild.check import Report, Subject

FORMAT = 1
"""Raise when a reader of the document must change."""


def render(report: Report) -> str:
    """Return the report as indented JSON, ASCII only."""
    document = {
        "format": FORMAT,
        "counts": report.counts,
        "rules": report.rules_run,
        "subjects": [_subject(subject) for subject in report.subjects],
    }
    return json.dumps(document, indent=1) + "\n"


def _subject(subject: Subject) -> Mapping[str, Any]:
    return {
        "path": str(subject.path),
        "kind": subject.kind,
        "broken": subject.broken,
        "notes": subject.notes,
        "findings": [asdict(finding) for finding in subject.findings],
    }
