"""What ends a run on purpose: one class, one exit code each, a message made for people."""


class OdbuildError(Exception):
    """Stop with a message that says what is wrong, where, and what to do. Exit code 1."""

    exit_code = 1


class UsageError(OdbuildError):
    """Stop because the words of the call are off. Exit code 2."""

    exit_code = 2
