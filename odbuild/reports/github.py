"""The report as workflow commands of GitHub Actions: an annotation for each kind of finding."""

from odbuild.check import Report, Subject
from odbuild.trainer.findings import Group, groups

LEVELS = {"error": "error", "warning": "warning", "info": "notice"}


def render(report: Report) -> str:
    """Return one line a kind of finding; GitHub shows ten of a level at most, so the worst come first."""
    lines = [
        _line(subject, group)
        for level in LEVELS
        for subject in report.subjects
        for group in groups(subject.findings)
        if group.first.severity == level
    ]
    return "".join(f"{line}\n" for line in lines)


def _line(subject: Subject, group: Group) -> str:
    command = LEVELS[group.first.severity]
    properties = {"file": subject.file.as_posix(), "title": group.first.code}
    shown = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    text = _escaped("\n".join(group.lines()))
    return f"::{command} {shown}::{text}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")
