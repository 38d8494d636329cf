"""The rules for people: a table, one rule in full, and the documentation's page."""

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from . import archive, fix
from .check import catalogue
from .errors import UsageError, did_you_mean
from .trainer.rules.every import Kind, RuleInfo

TITLES: dict[Kind, str] = {
    "dataset": "Datasets",
    "records": "Records",
    "labelmap": "Label maps",
    "config": "Pipeline configs",
    "checkpoint": "Checkpoints",
    "zip": "trainer.zip",
}

HEAD = """\
# Rules

What `odbuild validate` checks. `odbuild rules CODE` prints the same text. This page is made by `nox -s docs`.

The severity is the worst that a rule reports. `--select`, `--ignore` and `--severity CODE=LEVEL` change what is
run and how it counts, on the command line or in `pyproject.toml`:

```toml
[tool.odbuild]
ignore = ["IMG108"]
fail-on = "warning"

[tool.odbuild.severity]
LBL303 = "error"
```
"""


def listing() -> str:
    """Return all rules as a table for the terminal, one line each."""
    return _lines(catalogue().values())


def _lines(rules: Iterable[RuleInfo]) -> str:
    return "\n".join(f"{info.code:<8} {info.severity:<8} {info.name}" for info in rules)


def details(code: str) -> str:
    """Return all of one rule, or the lines of those whose codes begin so.

    Raises:
        UsageError: No rule has that code.
    """
    word, rules = code.strip().upper(), catalogue()
    family = [info for known, info in rules.items() if word and known.startswith(word)]
    if word not in rules and family:
        return _lines(family)
    if word not in rules:
        raise UsageError(f"There is no rule {code!r}.{did_you_mean(word, rules)} `odbuild rules` lists all.")
    info = rules[word]
    return f"{info.code} ({info.severity}): {info.name}\n\n{info.help}{_fixing(word)}"


def _fixing(code: str) -> str:
    """Say what `--fix` does about a rule of datasets, as a last paragraph."""
    if code in fix.MENDED:
        return "\n\n`odbuild validate DATASET --fix OUT` mends it in a copy, or leaves out what nobody could mend."
    if code in fix.REASONS:
        return f"\n\n`odbuild validate DATASET --fix OUT` leaves what takes a guess: {fix.REASONS[code]}."
    return ""


def page() -> str:
    """Return the documentation's page of all rules, in Markdown."""
    parts = [HEAD]
    for kind, rules in groupby(catalogue().values(), key=lambda info: info.subject):
        parts += [f"## {TITLES[kind]}\n", *map(_section, rules)]
    return "\n".join(parts)


def write_page(folder: str) -> None:
    """Write the documentation's page into a folder."""
    archive.write_bytes(Path(folder, "rules.md"), page().encode())


def _section(info: RuleInfo) -> str:
    return f"### {info.code}: {info.name}\n\n*{info.severity}*\n\n{info.help}\n"
