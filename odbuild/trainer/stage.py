"""Run one stage of start.sh: turn what it raises into a sentence and an exit code."""

import errno
import signal
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from .errors import OdbuildError
from .findings import escaped

BUG = 70
INTERRUPTED = 130
TERMINATED = 128 + signal.SIGTERM


def run(work: Callable[[], int]) -> int:
    """Call a stage and return the exit code that it ends with.

    0 is success; an `OdbuildError` brings its own code; 130 is Ctrl-C; 143 is a SIGTERM, on which the stage cleans
    up; 70 is a bug, told with its traceback.
    """
    signal.signal(signal.SIGTERM, _terminate)
    try:
        return work()
    except OdbuildError as error:
        return _tell(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _tell("interrupted", INTERRUPTED)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return _tell(f"no space left for {error.filename or 'the output'}. Free some and start again.", 1)
        return _bug()
    except Exception:  # noqa: BLE001  the one place that turns a bug into its exit code, traceback and all
        return _bug()


def _terminate(*_: object) -> NoReturn:
    raise SystemExit(TERMINATED)


def _bug() -> int:
    traceback.print_exc()
    return _tell("this is a bug in odbuild, please report it with the lines above", BUG)


def _tell(message: str, code: int) -> int:
    print(escaped(f"odbuild: error: {message}", keep="\n"), file=sys.stderr, flush=True)
    return code
