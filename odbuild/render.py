"""Render the two scripts of a bundle: literals and calls, never logic."""

import shlex

from jinja2 import Environment, FunctionLoader, StrictUndefined

from . import __version__
from .resources import templates
from .trainer.recipe import Recipe


def start_script(recipe: Recipe) -> str:
    """Return start.sh, which the training service runs."""
    return _environment().get_template("start.sh.jinja").render(model=recipe.model, version=__version__)


def prepare_script(recipe: Recipe) -> str:
    """Return prepare_training.py, which hands the recipe to the payload."""
    return _environment().get_template("prepare_training.py.jinja").render(recipe=recipe)


def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_source),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        # These are scripts, not pages: what must be quoted is quoted by the two filters.
        autoescape=False,  # noqa: S701
        # Jinja's own comments begin as the shell's ${#name} does.
        comment_start_string="<#--",
        comment_end_string="--#>",
    )
    environment.filters["sh"] = shlex.quote
    # As repr, but what counts as printable, and so would stand unescaped, differs between Pythons.
    environment.filters["py"] = ascii
    return environment


def _source(name: str) -> str:
    return (templates() / name).read_text(encoding="utf-8")
