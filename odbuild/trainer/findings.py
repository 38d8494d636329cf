"""What a check found in the data, and what the conversion did about it."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

Severity = Literal["error", "warning", "info"]
Action = Literal[
    "clipped",
    "sorted",
    "label-only",
    "boxed",
    "dropped",
    "transcoded",
    "turned",
    "shrunk",
    "unsaid",
    "corrected",
    "renamed",
    "declared",
    "settled",
]

SHOWN = 3
"""How many findings of one kind a text spells out before it only counts."""

KEPT = 10_000
"""How many findings of one kind are kept; further ones are only counted, as there may be a million."""

LONGEST = 120
"""Characters of a name or value that a message shows: a key may be 64 KB long."""

_PLACE = re.compile(r"(.*?)(?:\[([0-9]+)\]([^\]]*))?", re.DOTALL)
"""A path into the data; the number in brackets is that of a box, as keys stand in quotes."""

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
        times: how many places it stands for; above 1 only in the one that counts those beyond `KEPT`.
    """

    code: str
    severity: Severity
    where: str
    value: str
    message: str
    fix: str
    times: int = 1

    @property
    def kind(self) -> tuple[int, str, str, str]:
        """What it has in common with others of its kind; the worst kinds sort first."""
        return _RANK[self.severity], self.code, self.message, self.fix


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
    what: Literal["picture", "box", "label", "file"]
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
    if len(text) <= LONGEST and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]}...{text[-LONGEST // 2 :]}"
    return escaped(json.dumps(text, ensure_ascii=False))


def escaped(text: str, keep: str = "") -> str:
    """Return the text with what is not printed, such as control characters, as escapes; safe for a terminal.

    Args:
        text: perhaps with names from somebody's files.
        keep: characters that stay as they are, such as the ends of lines.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else json.dumps(c)[1:-1] for c in text)


class Tally:
    """Findings as they come, of each kind the first `KEPT` and the number of the others."""

    def __init__(self) -> None:
        self._kept: list[Finding] = []
        self._times: Counter[tuple[int, str, str, str]] = Counter()

    def append(self, finding: Finding) -> None:
        """Take a finding."""
        self._times[finding.kind] += finding.times
        if self._times[finding.kind] <= KEPT:
            self._kept.append(finding)

    def __iadd__(self, findings: Iterable[Finding]) -> Self:
        """Take several."""
        for finding in findings:
            self.append(finding)
        return self

    def told(self) -> list[Finding]:
        """Return the findings by place, whatever the order in which they came, and then the numbers of others."""
        seen = Counter(finding.kind for finding in self._kept)
        last = {finding.kind: finding for finding in self._kept}
        more = [
            replace(last[kind], where="elsewhere", value="", times=times - seen[kind])
            for kind, times in self._times.items()
            if times > seen[kind]
        ]
        return [*sorted(self._kept, key=lambda finding: in_order(finding.where)), *more]


def in_order(where: str) -> tuple[str, int, str]:
    """Return what sorts paths into the data: by picture, then by number of the box."""
    head, index, field = _PLACE.fullmatch(where).groups()  # type: ignore[union-attr]
    return head, int(index or -1), field


def errors(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the findings that stop a conversion."""
    return tuple(finding for finding in findings if finding.severity == "error")


def count(findings: Iterable[Finding]) -> int:
    """Return in how many places something was found."""
    return sum(finding.times for finding in findings)


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
        total = count(self.findings)
        times = f" ({total:,} times)" if total > 1 else ""
        yield f"{self.first.message}{times}"
        for found in self.findings[:SHOWN]:
            yield f"{found.where}: {found.value}" if found.value else found.where
        if total > SHOWN:
            yield f"... and {total - SHOWN:,} more"
        if self.first.fix:
            yield f"fix: {self.first.fix}"


def groups(findings: Iterable[Finding]) -> tuple[Group, ...]:
    """Return the findings by kind: those of one code, severity, message and fix; worst first, then by code."""
    kinds: dict[tuple[int, str, str, str], list[Finding]] = {}
    for found in findings:
        kinds.setdefault(found.kind, []).append(found)
    return tuple(Group(tuple(kinds[kind])) for kind in sorted(kinds))


def render(findings: Iterable[Finding]) -> str:
    """Return the findings as text, worst first, one paragraph a kind, long lists counted."""
    return "\n".join(_paragraph(group) for group in groups(findings))


def _paragraph(group: Group) -> str:
    return f"{group.first.severity} {group.first.code}: " + "\n  ".join(group.lines())
