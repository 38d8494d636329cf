"""The errors of the payload, and the words that every layer above shares."""

import difflib
from collections.abc import Iterable

from .trainer.errors import OdbuildError, UsageError

__all__ = ["OdbuildError", "UsageError", "did_you_mean"]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the nearest known word, or nothing where none is near."""
    near = difflib.get_close_matches(word.casefold(), list(known), n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""
