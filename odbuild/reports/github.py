"""The report as workflow commands of GitHub Actions: an annotation for each kind of finding."""

from odbuild.check import Report, Subject
from odbuild.reports import place
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
    notes = [_command("notice", subject, "odbuild", note) for subject in report.subjects for note in subject.notes]
    return "".join(f"{line}\n" for line in (*lines, *notes))


def _line(subject: Subject, group: Group) -> str:
    return _command(LEVELS[group.first.severity], subject, group.first.code, "\n".join(group.lines()))


def _command(command: str, subject: Subject, title: str, text: str) -> str:
    properties = {"file": place(subject).as_posix(), "title": title}
    shown = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    return f"::{command} {shown}::{_escaped(text)}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")
