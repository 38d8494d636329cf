"""Exit codes of the payload's stages."""

import errno
from collections.abc import Callable

import pytest

from odbuild.errors import OdbuildError, UsageError
from odbuild.trainer import stage


def raising(error: BaseException) -> Callable[[], int]:
    def work() -> int:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (OdbuildError("no box"), 1, "no box"),
        (UsageError("steps"), 2, "steps"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(errno.ENOSPC, "No space left on device", "/out/a"), 1, "no space left for /out/a"),
    ],
)
def test_what_went_wrong_is_one_sentence(
    error: BaseException, code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stage.run(raising(error)) == code
    told = capsys.readouterr().err
    assert told.startswith("odbuild: error: ")
    assert says in told
    assert "Traceback" not in told


@pytest.mark.parametrize("error", [ValueError("odd"), PermissionError(errno.EPERM, "odd")])
def test_a_bug_looks_like_one(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    assert stage.run(raising(error)) == 70
    told = capsys.readouterr().err
    assert "Traceback" in told
    assert "please report it" in told


def test_success_is_the_works_own_code() -> None:
    assert stage.run(lambda: 143) == 143
