"""Imports go down only: shells, recipes, steps, floor, payload; and the payload stands alone."""

import ast
import graphlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import odbuild

PACKAGE = Path(odbuild.__file__).parent
PAYLOAD = PACKAGE / "trainer"

LAYERS = (
    ("payload", {"trainer"}),
    ("floor", {"__init__", "errors", "resources", "archive", "cache", "lockfile", "settings"}),
    (
        "steps",
        {
            "zoo",
            "upstream",
            "protos",
            "sdists",
            "pipeline",
            "render",
            "locks",
            "weights",
            "plot",
            "outcomes",
            "models",
            "writers",
            "anchors",
            "beam",
            "tensors",
        },
    ),
    ("rules", {"rules"}),
    ("recipes", {"bundle", "rehearse", "matrix", "check", "convert", "fix", "rewrite"}),
    ("views", {"reports", "rulebook", "charts", "gallery", "strategies"}),
    ("shells", {"__main__", "trial", "pytest_plugin"}),
)
LEVEL = {name: level for level, (_, names) in enumerate(LAYERS) for name in names}

EVERYWHERE = {"PIL", "crc32c", "google", "numpy", "simplejpeg", "yaml"}
TRAINING = {"tensorflow", "tf_keras", "keras", "tf_slim", "nets", "object_detection", "official"}
TRAINS = {"compat", "config", "detect", "export", "prepare", "run", "train_tf1", "train_tf2"}

MODULES = sorted(path for path in PACKAGE.rglob("*.py") if not path.is_relative_to(PAYLOAD))
SHIPPED = sorted(PAYLOAD.rglob("*.py"))


def imported(source: str, package: str) -> Iterator[str]:
    """Yield the full dotted name of everything that a module of a package imports, also inside functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            yield from (".".join([*parents, *filter(None, [node.module]), alias.name]) for alias in node.names)


def module(path: Path) -> str:
    """Return the file's module of odbuild: a folder is one, as its files are."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def below(path: Path) -> set[str]:
    """Return the other modules of odbuild, the payload as one, that a file of odbuild imports."""
    package = ".".join(["odbuild", *path.relative_to(PACKAGE).parent.parts])
    names = imported(path.read_text(encoding="utf-8"), package)
    parts = [name.split(".") for name in names if name.split(".")[0] == "odbuild"]
    return {part[1] if len(part) > 1 and part[1] in LEVEL else "__init__" for part in parts} - {module(path)}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_has_its_layer_and_imports_down(path: Path) -> None:
    assert module(path) in LEVEL, f"say in LAYERS which layer {path.name} belongs to"
    higher = {name for name in below(path) if LEVEL[name] > LEVEL[module(path)]}
    assert not higher


def test_modules_of_a_layer_import_each_other_in_one_direction_only() -> None:
    graph: dict[str, set[str]] = {}
    for path in MODULES:
        graph.setdefault(module(path), set()).update(below(path))
    assert list(graphlib.TopologicalSorter(graph).static_order())


def roots(path: Path) -> set[str]:
    package = ".".join(["odbuild", *path.relative_to(PACKAGE).parent.parts])
    return {_root(name) for name in imported(path.read_text(encoding="utf-8"), package)}


def _root(name: str) -> str:
    parts = name.split(".")
    return "trainer" if parts[:2] == ["odbuild", "trainer"] else parts[0]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(PAYLOAD)))
def test_the_payload_imports_nothing_of_the_rest(path: Path) -> None:
    assert "odbuild" not in roots(path)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(PAYLOAD)))
def test_the_payload_never_names_its_package(path: Path) -> None:
    # It is `odbuild.trainer` here and `trainer` there, so only relative imports mean the same in both.
    names = [
        alias.name if isinstance(node, ast.Import) else node.module
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and node.level == 0)
        for alias in node.names
    ]
    assert not [name for name in names if str(name).split(".")[0] in {"odbuild", "trainer"}]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(PAYLOAD)))
def test_the_payload_needs_few_packages(path: Path) -> None:
    foreign = roots(path) - set(sys.stdlib_module_names) - {"trainer", "odbuild"} - EVERYWHERE
    if path.stem in TRAINS:
        foreign -= TRAINING
    assert not foreign


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("import os.path, json", ["os.path", "json"]),
        ("from .zoo import find", ["odbuild.zoo.find"]),
        ("from . import zoo", ["odbuild.zoo"]),
        ("from .trainer.recipe import Recipe", ["odbuild.trainer.recipe.Recipe"]),
        ("def f():\n    from .bundle import bundle", ["odbuild.bundle.bundle"]),
    ],
)
def test_every_way_to_import_is_seen(line: str, names: list[str]) -> None:
    assert list(imported(line, "odbuild")) == names


def test_a_way_out_of_the_payload_is_seen() -> None:
    assert list(imported("from ..zoo import find", "odbuild.trainer")) == ["odbuild.zoo.find"]
