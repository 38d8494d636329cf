"""Run other programs, and hear what they say."""

import os
import subprocess
from pathlib import Path

#: Installing anywhere but where we say would leave the environment empty.
ELSEWHERE = {"PIP_TARGET", "PIP_PREFIX"}


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; its `stdout` holds all that it said."""
    return subprocess.run(
        command,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={name: value for name, value in os.environ.items() if name not in ELSEWHERE},
    )


def ask(python: Path, code: str) -> str:
    """Return what an interpreter prints when it runs some code; nothing where it cannot."""
    try:
        done = subprocess.run([python, "-c", code], check=False, capture_output=True, text=True)
    except OSError:
        return ""
    return "" if done.returncode else done.stdout.strip()
