"""Where a pin of a lock applies."""

import ast
import operator
import os
import platform
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import OdbuildError
from .interpreter import MINOR

COMPARISONS: dict[type, Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


def marker_environment() -> dict[str, str]:
    """Return what the markers of a lock may ask for, as this Python answers."""
    return {
        "implementation_name": sys.implementation.name,
        "os_name": os.name,
        "platform_machine": platform.machine(),
        "platform_python_implementation": platform.python_implementation(),
        "platform_system": platform.system(),
        "python_full_version": platform.python_version(),
        "python_version": MINOR,
        "sys_platform": sys.platform,
    }


def applies(marker: str, environment: Mapping[str, str]) -> bool:
    """Tell whether a marker holds.

    pip evaluates markers too, but offers no way to ask it. Every marker of a lock is also a Python
    expression, which is what is read here; nothing is executed.

    Raises:
        OdbuildError: it is no marker, or asks for something that `marker_environment` lacks.
    """
    try:
        return _holds(ast.parse(marker, mode="eval").body, environment)
    except (SyntaxError, AttributeError, KeyError, ValueError) as error:
        raise OdbuildError(f"The lock has a marker that cannot be read: {marker!r}.") from error


def _holds(node: ast.AST, environment: Mapping[str, str]) -> bool:
    if isinstance(node, ast.BoolOp):
        join = all if isinstance(node.op, ast.And) else any
        return join([_holds(value, environment) for value in node.values])
    if not isinstance(node, ast.Compare) or not isinstance(node.left, ast.Name) or len(node.ops) != 1:
        raise ValueError(node)
    asked, wanted = node.left.id, str(ast.literal_eval(node.comparators[0]))
    have = environment[asked]
    compare = COMPARISONS[type(node.ops[0])]
    if not asked.startswith("python_"):
        return compare(have, wanted)
    if wanted.endswith(".*"):
        length = wanted.count(".")
        return compare(_numbers(have)[:length], _numbers(wanted)[:length])
    return compare(_numbers(have), _numbers(wanted))


def _numbers(version: str) -> tuple[int, ...]:
    numbers = [int(part) for part in re.findall(r"\d+", version)]
    return tuple([*numbers, 0, 0][:3])
