"""The report for a terminal: each subject with its findings, worst first and counted, and a line that sums up."""

from odbuild.check import Report, Subject
from odbuild.trainer import findings


def render(report: Report) -> str:
    """Return the report as lines of text, newline at the end."""
    parts = [_subject(subject) for subject in report.subjects]
    return findings.escaped("\n\n".join((*parts, _summary(report))) + "\n", keep="\n")


def _subject(subject: Subject) -> str:
    title = f"{findings.escaped(str(subject.path))}: {_what(subject)}"
    found = findings.render(subject.findings)
    return "\n".join((title, *subject.notes, found) if found else (title, *(subject.notes or ("nothing found",))))


def _what(subject: Subject) -> str:
    data = subject.data
    if data is None:
        return subject.kind
    pictures, boxes = len(data.source.pictures), sum(len(one.boxes) for one in data.source.pictures)
    return f"{subject.kind} ({data.source.format}), {pictures:,} pictures with {boxes:,} boxes"


def _summary(report: Report) -> str:
    counts = ", ".join(_counted(count, severity) for severity, count in report.counts.items())
    return f"{_counted(len(report.rules_run), 'rule')}: {counts}"


def _counted(count: int, word: str) -> str:
    plural = "" if count == 1 or word == "info" else "s"
    return f"{count:,} {word}{plural}"
