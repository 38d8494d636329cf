"""What ends a run on purpose: one class, one exit code each, a message made for people."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class OdbuildError(Exception):
    """Stop with a message that says what is wrong, where, and what to do. Exit code 1."""

    exit_code = 1


class UnreadableError(OdbuildError):
    """Stop because data cannot be read at all; `code` names the rule that it breaks."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class UsageError(OdbuildError):
    """Stop because the words of the call are off. Exit code 2."""

    exit_code = 2


def did_you_mean(word: str, known: "Iterable[str]") -> str:
    """Return ` Did you mean 'x'?` for the nearest known word, or nothing where none is near."""
    import difflib

    folded = {one.casefold(): one for one in known}
    near = difflib.get_close_matches(word.casefold(), folded, n=1, cutoff=0.6)
    return f" Did you mean {folded[near[0]]!r}?" if near else ""
