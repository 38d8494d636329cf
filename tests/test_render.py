"""Templates render literals and calls: what goes in comes back out, whatever it holds."""

import ast
import dataclasses
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from odbuild import __version__, render, resources
from odbuild.trainer import recipe
from odbuild.trainer.recipe import Checkpoint, Footprint, Recipe

RECIPE = Recipe(
    model="ssd_mobilenet_v1_coco_2018_01_28",
    zoo="tf1",
    config="ssd_mobilenet_v1_coco.config",
    checkpoint=Checkpoint(prefix="model.ckpt"),
    footprint=Footprint(weights_mb=27, activations_mb=78),
    batch_size=None,
    validation=0.2,
    boxes="clip",
    exif="fail",
    negatives="keep",
    max_side=None,
    overrides=(("train_config.batch_size", "8"),),
)

# A shell word cannot hold NUL, and UTF-8 no lone surrogate.
words = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
checkpoints = st.builds(
    Checkpoint,
    prefix=st.text(),
    alternatives=st.lists(st.text(), max_size=2).map(tuple),
    url=st.none() | st.text(),
    size=st.none() | st.integers(),
    sha256=st.none() | st.text(),
    sha384=st.none() | st.text(),
)
recipes = st.builds(
    Recipe,
    model=words,
    config=st.text(),
    checkpoint=st.none() | checkpoints,
    footprint=st.none() | st.builds(Footprint),
    batch_size=st.none() | st.integers(),
    validation=st.floats(allow_nan=False, allow_infinity=False),
    max_side=st.none() | st.integers(),
    overrides=st.lists(st.tuples(st.text(), st.text()), max_size=3).map(tuple),
)


def literal(text: str) -> Recipe:
    """Read the recipe back from a rendered script, by nothing but literals and the three names."""
    tree = ast.parse(text)
    (call,) = (node.value for node in tree.body if isinstance(node, ast.Assign))
    return Recipe(**_fields(call))


NAMES = {"Recipe": Recipe, "Checkpoint": Checkpoint, "Footprint": Footprint}


def _fields(call: ast.expr) -> dict[str, Any]:
    assert isinstance(call, ast.Call)
    return {str(word.arg): _value(word.value) for word in call.keywords}


def _value(node: ast.expr) -> object:
    if isinstance(node, ast.Call):
        assert isinstance(node.func, ast.Name)
        return NAMES[node.func.id](**_fields(node))
    return ast.literal_eval(node)


@given(recipes)
def test_a_recipe_reads_back_from_the_script(wanted: Recipe) -> None:
    text = render.prepare_script(wanted)
    assert literal(text) == wanted
    assert text.isascii()


@given(recipes)
def test_a_recipe_is_its_repr(wanted: Recipe) -> None:
    assert eval(repr(wanted), dict(NAMES)) == wanted  # noqa: S307  what repr says


def test_every_choice_of_a_recipe_is_written() -> None:
    text = render.prepare_script(RECIPE)
    assert [
        line.split("=")[0].strip() for line in text.splitlines() if line.startswith("    ") and "=" in line
    ] == [field.name for field in dataclasses.fields(Recipe)]


def test_the_script_calls_the_payload_with_its_arguments(tmp_path: Path) -> None:
    (tmp_path / "prepare_training.py").write_text(render.prepare_script(RECIPE), encoding="utf-8")
    (tmp_path / "trainer").mkdir()
    (tmp_path / "trainer" / "__init__.py").touch()
    shutil.copyfile(recipe.__file__, tmp_path / "trainer" / "recipe.py")
    stage = "def main(recipe, arguments):\n    print(repr(recipe), arguments)\n    return 7\n"
    (tmp_path / "trainer" / "prepare.py").write_text(stage, encoding="utf-8")
    command = [sys.executable, "prepare_training.py", "5", "-x"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (7, f"{RECIPE!r} ['5', '-x']\n")


@given(words)
def test_a_shell_word_splits_back(model: str) -> None:
    text = render.start_script(dataclasses.replace(RECIPE, model=model))
    start = text.index("\nmodel=") + len("\nmodel=")
    assert shlex.split(text[start : text.index("\nversion=")]) == [model]


def test_the_shell_reads_what_was_meant(tmp_path: Path) -> None:
    hostile = "$(touch gone) `id` \"'\\ \n é猫"
    text = render.start_script(dataclasses.replace(RECIPE, model=hostile))
    head = text[: text.index("\nversion=")]
    (tmp_path / "head.sh").write_text(f'{head}\nprintf %s "$model"\n', encoding="utf-8")
    done = subprocess.run(["bash", "head.sh"], cwd=tmp_path, capture_output=True, check=True)
    assert done.stdout.decode() == hostile
    assert not (tmp_path / "gone").exists()


def test_start_sh_begins_as_the_service_needs_it() -> None:
    text = render.start_script(RECIPE)
    assert text.startswith("#!/usr/bin/env bash\n")
    assert text.endswith("\n")
    assert "\r" not in text
    assert f"version={__version__}\n" in text


def test_the_shell_s_own_braces_survive() -> None:
    # ${#name} and ${name%%pattern} look like Jinja; the template is the script but for its two words.
    source = (resources.templates() / "start.sh.jinja").read_text(encoding="utf-8")
    plain = re.sub(r"\{\{.*?\}\}", "X", source)
    rendered = render.start_script(RECIPE)
    assert rendered.replace(RECIPE.model, "X").replace(f"version={__version__}", "version=X") == plain


def test_a_misspelt_variable_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError):
        render._environment().from_string("{{ modle }}").render(model="x")
