"""The first stage of start.sh, as it is called: `python3 -m trainer.runtime setup`."""

import os
import signal
import sys
import traceback
from pathlib import Path

from ..errors import OdbuildError, UsageError
from . import interpreter


def main(arguments: "list[str]") -> int:
    """Run `setup` in the current folder; return the exit code."""
    signal.signal(signal.SIGTERM, _stop)
    if arguments != ["setup"]:
        sys.stderr.write("Usage: python3 -m trainer.runtime setup\n")
        return UsageError.exit_code
    try:
        interpreter.require(os.environ, _say)
        # Not earlier: an old Python cannot read what this imports.
        from .setup import setup

        setup(Path.cwd(), os.environ, _say)
    except OdbuildError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except OSError as error:
        sys.stderr.write(f"{error}. Check that {Path.cwd()} may be written to and the disk has room.\n")
        return OdbuildError.exit_code
    except Exception:  # noqa: BLE001 - a bug must look like one
        traceback.print_exc()
        sys.stderr.write("This is a bug in odbuild: please report it with the lines above.\n")
        return 70
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


def _stop(number: int, _frame: object) -> None:
    # Unwinding makes subprocess.run take its child with it; by default pip would be left behind.
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
