"""What checking found, as text for people and in the formats of other tools: one module a format."""

from importlib import import_module

from odbuild.check import Report
from odbuild.errors import UsageError, did_you_mean

FORMATS = ("text", "json", "junit", "github", "sarif", "html")


def render(report: Report, form: str) -> str:
    """Return the report in one of the formats.

    Raises:
        UsageError: No format has that name.
    """
    if form not in FORMATS:
        raise UsageError(f"There is no output format {form!r}.{did_you_mean(form, FORMATS)}")
    module = import_module(f".{form}", __name__)
    return str(module.render(report))
