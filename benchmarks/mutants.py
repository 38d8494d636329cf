"""Change the rules in one place at a time, and see whether the tests of the rules notice.

    python benchmarks/mutants.py [-j JOBS] [MODULE...]        such as boxes labels; all without

The tests are collected once; each change is then made in a forked process of its own, in the code of functions
that stand there already. What was found is kept in `build/mutants.jsonl`: the next call tries only what is new and
what survived, so that after tests were added only the survivors cost time.

A change is one of: a comparison moved by its border or turned round, `and` for `or`, `not` left out, an arithmetic
operator for its counterpart, a number made larger, a text made longer, a truth value turned, a condition turned, a
statement left out, `return` of nothing, `break` for `continue`, `min` for `max`, `any` for `all`, `sorted` left
out. Not changed are docstrings, types, the texts of messages, and what declares a rule.
"""

import argparse
import ast
import copy
import hashlib
import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
LOG = ROOT / "build/mutants.jsonl"

SECONDS = 30
"""Processor time for the tests of one change, which take a few; what takes longer is noticed."""

TESTS: Mapping[str, tuple[str, ...]] = {
    "trainer/rules/annotations": ("ANN", "dataset"),
    "trainer/rules/boxes": ("BOX", "dataset"),
    "trainer/rules/catalogue": ("ANN001", "every_rule"),
    "trainer/rules/census": ("BOX", "SPL", "LBL30", "dataset"),
    "trainer/rules/data": ("BOX", "SPL"),
    "trainer/rules/labelmaps": ("MAP", "labelmap"),
    "trainer/rules/labels": ("LBL", "ANN004", "dataset"),
    "trainer/rules/pictures": ("IMG", "dataset"),
    "trainer/rules/records": ("REC", "records"),
    "trainer/rules/sides": ("SPL", "dataset", "tables"),
    "rules/config": ("test_config_borders", "CFG", "config"),
    "rules/trainer_zip": ("test_zip_borders", "ZIP", "ENV", "zip"),
    "rules/weights": ("test_weights_borders", "CKP", "checkpoint"),
}
"""Modules below odbuild, and the names of tests that are run for each beside those of borders."""

FILES = (
    "tests/test_rule_borders.py",
    "tests/test_config_borders.py",
    "tests/test_zip_borders.py",
    "tests/test_weights_borders.py",
    "tests/test_rules.py",
    "tests/test_damaged_records.py",
)

COMPARISONS: Mapping[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
ARITHMETIC: Mapping[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "sorted": "list"}


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One change: the module below odbuild, the line, what was there and what is instead, the whole source."""

    module: str
    line: int
    before: str
    after: str
    source: str

    @property
    def key(self) -> str:
        """Return what tells it from others, wherever its line moves to."""
        return hashlib.sha256(f"{self.module}\n{self.source}".encode()).hexdigest()[:16]


def mutants(module: str) -> Iterator[Mutant]:
    """Yield every change of a module."""
    tree = ast.parse((ROOT / "odbuild" / f"{module}.py").read_text(encoding="utf-8"))
    for number, node in enumerate(ast.walk(tree)):
        node.number = number  # type: ignore[attr-defined]
    for node in _changeable(tree):
        for replacement in _replacements(node):
            changed = _with(tree, node.number, replacement)  # type: ignore[attr-defined]
            yield Mutant(
                module=module,
                line=node.lineno,  # type: ignore[attr-defined]
                before=ast.unparse(node),
                after=ast.unparse(replacement),
                source=ast.unparse(changed),
            )


def _changeable(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield what is in functions, and the numbers that constants of the module are."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant | ast.BinOp):
            yield from (part for part in ast.walk(node.value) if hasattr(part, "lineno"))
        elif isinstance(node, ast.FunctionDef):
            yield from _inside(node)
        elif isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef):
                    yield from _inside(inner)


def _inside(function: ast.FunctionDef) -> Iterator[ast.AST]:
    body = function.body[1:] if ast.get_docstring(function) else function.body
    for statement in body:
        yield from _walk(statement)


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """Walk over a part of the code, but not over types and the texts of messages."""
    if hasattr(node, "lineno"):
        yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            text = isinstance(node, ast.JoinedStr) and isinstance(child, ast.Constant)
            if isinstance(child, ast.AST) and not text and name != "format_spec":
                yield from _walk(child)


def _replacements(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Compare():
            for at, operator in enumerate(node.ops):
                for other in COMPARISONS[type(operator)]:
                    yield _copy(node, ops=[*node.ops[:at], other(), *node.ops[at + 1 :]])
        case ast.BoolOp():
            yield _copy(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield node.operand
        case ast.BinOp() if type(node.op) in ARITHMETIC:
            yield _copy(node, op=ARITHMETIC[type(node.op)]())
        case ast.Constant(value=bool() as value):
            yield _copy(node, value=not value)
        case ast.Constant(value=int() as value):
            yield _copy(node, value=value + 1)
        case ast.Constant(value=float() as value):
            yield _copy(node, value=value * 1.5 or 1.0)
        case ast.Constant(value=str() as value):
            yield _copy(node, value=value + "?")
        case ast.Constant(value=bytes() as value):
            yield _copy(node, value=value + b"?")
        case ast.If() | ast.IfExp() if not isinstance(node.test, ast.Compare):
            yield _copy(node, test=ast.UnaryOp(op=ast.Not(), operand=node.test))
        case ast.Name(id=name) if name in NAMES:
            yield _copy(node, id=NAMES[name])
        case ast.Expr() | ast.AugAssign():
            yield ast.Pass()
        case ast.Return(value=ast.AST()):
            yield _copy(node, value=None)
        case ast.Break():
            yield ast.Continue()
        case ast.Continue():
            yield ast.Break()
        case ast.GeneratorExp() | ast.ListComp() | ast.SetComp() | ast.DictComp():
            for at, one in enumerate(node.generators):
                if one.ifs:
                    less = _copy(one, ifs=one.ifs[1:])
                    yield _copy(node, generators=[*node.generators[:at], less, *node.generators[at + 1 :]])


def _copy(node: ast.AST, **changes: Any) -> Any:
    made = copy.copy(node)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def _with(tree: ast.Module, number: int, replacement: ast.AST) -> ast.Module:
    """Return the tree with one of its nodes replaced."""

    class Replace(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            if getattr(node, "number", None) == number:
                return replacement
            return super().generic_visit(node)

    return ast.fix_missing_locations(Replace().visit(copy.deepcopy(tree)))


class Plugin:
    """Runs all tests once, and then those of each change's module against the change."""

    def __init__(self, waiting: Sequence[Mutant], jobs: int) -> None:
        self.waiting = list(waiting)
        self.jobs = jobs
        self.outcomes: list[tuple[Mutant, str]] = []

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Take the place of pytest's own loop."""
        modules = {mutant.module for mutant in self.waiting}
        needed = [item for item in session.items if any(_tests(item, module) for module in modules)]
        if not _pass(session, needed):
            raise session.Failed("the tests fail though nothing is changed")
        running: dict[int, Mutant] = {}
        left, began = list(reversed(self.waiting)), time.monotonic()
        with LOG.open("a") as log:
            while left or running:
                while left and len(running) < self.jobs:
                    mutant = left.pop()
                    running[_start(session, mutant)] = mutant
                child, status = os.wait()
                code, mutant = os.waitstatus_to_exitcode(status), running.pop(child)
                row = {"key": mutant.key, "outcome": "alive" if code == 0 else "dead", "module": mutant.module}
                log.write(json.dumps(row) + "\n")
                log.flush()
                self.outcomes.append((mutant, str(row["outcome"])))
                if len(self.outcomes) % 50 == 0:
                    took = time.monotonic() - began
                    print(f"{len(self.outcomes)} tried in {took:.0f} s", file=sys.stderr, flush=True)
        return True


def _tests(item: pytest.Item, module: str) -> bool:
    """Say whether a test is one of those that judge a module."""
    words = ("test_rule_borders", *TESTS[module])
    return any(word in item.nodeid for word in words) and not item.get_closest_marker("skip")


def _pass(session: pytest.Session, items: Sequence[pytest.Item]) -> bool:
    for item, after in zip(items, (*items[1:], None), strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
        if session.testsfailed:
            return False
    return True


def _start(session: pytest.Session, mutant: Mutant) -> int:
    """Make a change in a new process, run the tests of its module in it, and return its number."""
    child = os.fork()
    if not child:
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
            apply(mutant)
            passed = _pass(session, [item for item in session.items if _tests(item, mutant.module)])
        except BaseException:  # noqa: BLE001  whatever it is, it was noticed
            passed = False
        os._exit(int(not passed))
    return child


def apply(mutant: Mutant) -> None:
    """Put the changed code into the functions, and the changed constants into the module, that are loaded."""
    module = importlib.import_module("odbuild." + mutant.module.replace("/", "."))
    code = compile(mutant.source, mutant.module, "exec")
    _swap(module, code)
    for value in vars(module).values():
        if hasattr(value, "cache_clear") and value.__module__ == module.__name__:
            value.cache_clear()
    for node in ast.parse(mutant.source).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant | ast.BinOp):
            exec(compile(ast.Module([node], []), mutant.module, "exec"), vars(module))  # noqa: S102  our own


def _swap(owner: ModuleType | type, code: CodeType) -> None:
    for inner in code.co_consts:
        if not isinstance(inner, CodeType) or inner.co_name not in vars(owner):
            continue
        value = vars(owner)[inner.co_name]
        if isinstance(value, type):
            _swap(value, inner)
        else:
            for part in ("fget", "func", "__wrapped__"):
                value = getattr(value, part, value)
            value.__code__ = inner


def main(names: Sequence[str], jobs: int) -> int:
    """Try all that is new or alive; return 1 where a tenth or more of all is alive."""
    os.chdir(ROOT)
    LOG.parent.mkdir(exist_ok=True)
    known = {}
    if LOG.exists():
        known = {row["key"]: row for row in map(json.loads, LOG.read_text().splitlines())}
    modules = [module for module in TESTS if not names or module.rpartition("/")[2] in names]
    every = [mutant for module in modules for mutant in mutants(module)]
    waiting = [one for one in every if known.get(one.key, {}).get("outcome", "alive") == "alive"]
    print(f"{len(every)} changes, {len(waiting)} to try", file=sys.stderr, flush=True)
    sys.path.insert(0, str(ROOT))
    plugin = Plugin(waiting, jobs)
    code = pytest.main(["-x", "-q", "--assert=plain", "-p", "no:cacheprovider", *FILES], plugins=[plugin])
    if waiting and not plugin.outcomes:
        return int(code) or 2
    outcomes = {key: row["outcome"] for key, row in known.items()}
    outcomes |= {mutant.key: outcome for mutant, outcome in plugin.outcomes}
    return report(every, outcomes, modules)


def report(every: Sequence[Mutant], outcomes: Mapping[str, str], modules: Sequence[str]) -> int:
    """Print those alive, and the share of them in each module."""
    alive = [one for one in every if outcomes[one.key] == "alive"]
    for one in alive:
        print(f"odbuild/{one.module}.py:{one.line}: {_short(one.before)}  ->  {_short(one.after)}")
    for module in modules:
        of = [one for one in every if one.module == module]
        print(f"{module:28} {sum(one in alive for one in of):4} of {len(of):4} alive")
    print(f"{'all':28} {len(alive):4} of {len(every):4} alive: {len(alive) / max(1, len(every)):.1%}")
    return int(len(alive) * 10 >= len(every))


def _short(code: str) -> str:
    line = " ".join(code.split())
    return line if len(line) <= 100 else f"{line[:97]}..."


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="such as boxes; all without")
    parser.add_argument("-j", "--jobs", type=int, default=os.cpu_count() or 1, help="changes tried at a time")
    told = parser.parse_args()
    sys.exit(main(told.modules, told.jobs))
