"""What checking found, as text for people and in the formats of other tools: one module a format."""

from importlib import import_module
from pathlib import Path

from odbuild.check import Report, Subject
from odbuild.errors import UsageError, did_you_mean

FORMATS = ("text", "json", "junit", "github", "sarif", "html")


def place(subject: Subject) -> Path:
    """Return the file of a subject as other tools look for it: from the working folder where it lies in that."""
    file = subject.file
    return file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file


def render(report: Report, form: str) -> str:
    """Return the report in one of the formats.

    Raises:
        UsageError: No format has that name.
    """
    if form not in FORMATS:
        raise UsageError(f"There is no output format {form!r}.{did_you_mean(form, FORMATS)}")
    module = import_module(f".{form}", __name__)
    return str(module.render(report))
