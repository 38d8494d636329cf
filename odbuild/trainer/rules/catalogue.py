"""The register of rules: each a small function with a code, whose docstring is its help."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from ..findings import Finding, Severity

Kind = Literal["dataset", "records", "labelmap", "config", "checkpoint", "zip"]

Check = Callable[[Any], Iterable[Finding]]

KINDS: Mapping[str, Kind] = {
    "ANN": "dataset",
    "IMG": "dataset",
    "BOX": "dataset",
    "LBL": "dataset",
    "SPL": "dataset",
    "REC": "records",
    "MAP": "labelmap",
    "CFG": "config",
    "CKP": "checkpoint",
    "ENV": "zip",
    "ZIP": "zip",
}
"""What the rules of a family, named by the letters of the code, are about."""

_C = TypeVar("_C", bound=Check)

_RULES: dict[str, "RuleInfo"] = {}

CATALOGUE: Mapping[str, "RuleInfo"] = MappingProxyType(_RULES)
"""Every rule that has been imported, by code."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RuleInfo:
    """One rule.

    Attributes:
        code: such as `BOX202`.
        severity: the worst that it reports.
        name: what is wrong where it fires, in one line.
        help: why that matters and what to do, in paragraphs.
        subject: the kind of thing it is about, which its check takes.
        check: yields the findings of one subject, every one of them with this code.
    """

    code: str
    severity: Severity
    name: str
    help: str
    subject: Kind
    check: Check


def rule(code: str, severity: Severity, name: str) -> Callable[[_C], _C]:
    """Register the decorated check under its code; its docstring becomes the help."""

    def register(check: _C) -> _C:
        if code in _RULES:
            raise ValueError(f"there are two rules {code}")
        _RULES[code] = RuleInfo(
            code=code,
            severity=severity,
            name=name,
            help=inspect.cleandoc(check.__doc__ or ""),
            subject=KINDS[code[:3]],
            check=check,
        )
        return check

    return register
