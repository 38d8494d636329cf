"""Render the two scripts of a bundle, literals and calls, never logic; and the page of a report."""

import shlex
from base64 import b64encode
from functools import cache
from hashlib import sha256
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from . import __version__
from .resources import templates
from .trainer.findings import LONGEST, escaped
from .trainer.recipe import Recipe


def start_script(recipe: Recipe) -> str:
    """Return start.sh, which the training service runs."""
    return _environment().get_template("start.sh.jinja").render(model=recipe.model, version=__version__)


def prepare_script(recipe: Recipe) -> str:
    """Return prepare_training.py, which hands the recipe to the payload."""
    return _environment().get_template("prepare_training.py.jinja").render(recipe=recipe)


def page(name: str, **values: Any) -> str:
    """Return an HTML page made of the template, the style and the script of one name.

    The browser is told to load nothing, and to run this script and apply this style only.
    """
    # These two are ours and hold nothing of the values, so that their hashes are known before those are.
    style, script = (_source(f"{name}.{kind}") for kind in ("css", "js"))
    policy = f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'"
    return (
        _page_environment()
        .get_template(f"{name}.html.jinja")
        .render(
            **values,
            version=__version__,
            policy=f"{policy}; base-uri 'none'; form-action 'none'",
            style=Markup(style),  # noqa: S704  a file of odbuild's
            script=Markup(script),  # noqa: S704  a file of odbuild's
        )
    )


@cache
def _page_environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_source),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    environment.filters["short"] = _short
    return environment


def _hash(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _visible(value: Any) -> Any:
    """Return a text with what cannot be seen, or reorders what is seen, as escapes; other values as they are."""
    return escaped(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _short(text: str, most: int = LONGEST) -> str:
    """Return a text of at most so many characters and an ellipsis, without its middle where it is longer."""
    return text if len(text) <= most else f"{text[: most // 2]}\N{HORIZONTAL ELLIPSIS}{text[-most // 2 :]}"


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
