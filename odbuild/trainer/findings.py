"""What a check found in the data, and what the conversion did about it."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "info"]
Action = Literal["clipped", "sorted", "label-only", "dropped", "transcoded", "turned", "shrunk"]

SHOWN = 3
"""How many findings of one kind a text spells out before it only counts."""

LONGEST = 120
"""Characters of a name or value that a message shows: a key may be 64 KB long."""

_RANK: dict[Severity, int] = {"error": 0, "warning": 1, "info": 2}


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One violation of one rule.

    Findings of one kind have the same `code`, `severity`, `message` and `fix`; what differs from one
    place to the next stands in `where` and `value`.

    Attributes:
        code: the rule, such as `BOX202`.
        severity: `error` stops a conversion; `warning` and `info` do not.
        where: path into the data, such as `annotations["cat.jpg"][2].x2`.
        value: what was seen there, as text; empty where there is nothing to show.
        message: what is wrong.
        fix: what to do about it.
    """

    code: str
    severity: Severity
    where: str
    value: str
    message: str
    fix: str


@dataclass(frozen=True, slots=True)
class Rule:
    """What the findings of one kind have in common."""

    code: str
    severity: Severity
    message: str
    fix: str = ""

    def at(self, where: str, value: str = "") -> Finding:
        """Return the finding at one place."""
        return Finding(
            code=self.code,
            severity=self.severity,
            where=where,
            value=value,
            message=self.message,
            fix=self.fix,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One line of the ledger: something in the output that is not as the source has it.

    Law: pictures (and boxes) in the source = those written + lines here with action `dropped`.

    Attributes:
        action: what was done.
        what: the kind of thing it was done to.
        where: path into the data.
        code: the rule that asked for it.
        value: what the source has.
    """

    action: Action
    what: Literal["picture", "box", "label"]
    where: str
    code: str
    value: str

    def line(self) -> str:
        """Return the change as one line of JSON Lines, newline included, ASCII only."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps(fields, sort_keys=True) + "\n"


def place(key: str, index: int | None = None, field: str = "") -> str:
    """Return the path of a picture, of its box, or of a field of that box."""
    return f"annotations[{quote(key)}]" + ("" if index is None else f"[{index}]") + (f".{field}" if field else "")


def quote(text: str) -> str:
    """Return the text in double quotes, safe to print: shortened, with control characters escaped."""
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]}...{text[-LONGEST // 2 :]}"
    plain = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in plain)


def errors(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the findings that stop a conversion."""
    return tuple(finding for finding in findings if finding.severity == "error")


@dataclass(frozen=True, slots=True)
class Group:
    """Findings of one kind, in the order found; at least one."""

    findings: Sequence[Finding]

    @property
    def first(self) -> Finding:
        """Return the one that stands for all."""
        return self.findings[0]

    def lines(self) -> Iterator[str]:
        """Yield what to show: the message with the count, the first places with their values, and the fix."""
        times = f" ({len(self.findings):,} times)" if len(self.findings) > 1 else ""
        yield f"{self.first.message}{times}"
        for found in self.findings[:SHOWN]:
            yield f"{found.where}: {found.value}" if found.value else found.where
        if len(self.findings) > SHOWN:
            yield f"... and {len(self.findings) - SHOWN:,} more"
        if self.first.fix:
            yield f"fix: {self.first.fix}"


def groups(findings: Iterable[Finding]) -> tuple[Group, ...]:
    """Return the findings by kind: those of one code, severity, message and fix; worst first, then by code."""
    kinds: dict[tuple[int, str, str, str], list[Finding]] = {}
    for found in findings:
        kinds.setdefault((_RANK[found.severity], found.code, found.message, found.fix), []).append(found)
    return tuple(Group(tuple(kinds[kind])) for kind in sorted(kinds))


def render(findings: Iterable[Finding]) -> str:
    """Return the findings as text, worst first, one paragraph a kind, long lists counted."""
    return "\n".join(_paragraph(group) for group in groups(findings))


def _paragraph(group: Group) -> str:
    return f"{group.first.severity} {group.first.code}: " + "\n  ".join(group.lines())
