"""The command run many times, each in a fresh copy of one warm process, with what it took measured."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

SERVER = """
import ctypes, json, os, resource, signal, sys
import numpy, simplejpeg, yaml
from PIL import Image
from odbuild import __main__, check, convert, reports, rewrite
Image.init()
libc = ctypes.CDLL(None, use_errno=True)

def bow():
    # Root is held by the modes of files without CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH of capabilities(7).
    head, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if libc.capget(head, sets):
        raise OSError(ctypes.get_errno(), "capget")
    sets[0] &= ~(1 << 1 | 1 << 2)
    if libc.capset(head, sets):
        raise OSError(ctypes.get_errno(), "capset")

base = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
for line in sys.stdin:
    words, cwd, told, room, seconds, mortal = json.loads(line)
    pid = os.fork()
    if not pid:
        os.chdir(cwd)
        for stream, path in zip((1, 2), told):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), stream)
        resource.setrlimit(resource.RLIMIT_AS, (base + room, base + room))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if mortal:
            bow()
        sys.stdin.close()
        code = 255
        try:
            code = __main__.main(words)
        except SystemExit as end:
            code = end.code
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    _, status, used = os.wait4(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    print(json.dumps([code, used.ru_utime + used.ru_stime, used.ru_maxrss]), flush=True)
"""
"""Reads calls and answers each with exit code, seconds of the processor, and kilobytes at the peak."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """One call that ended.

    Attributes:
        code: exit code; negative for a signal, such as that of the limits.
        out: what it printed.
        told: what it said beside that.
        seconds: of the processor.
        megabytes: at the peak, with the some 60 that the program itself takes.
    """

    code: int
    out: str
    told: str
    seconds: float
    megabytes: float


class Commands:
    """Calls of `odbuild`, one at a time."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process = process
        self._folder = folder

    def __call__(
        self, *words: object, cwd: Path, megabytes: int = 1000, seconds: int = 60, mortal: bool = False
    ) -> Done:
        """Run a command to its end.

        Args:
            words: of the command.
            cwd: where it runs.
            megabytes: of address space that it may take beside that of the warm process.
            seconds: of the processor that it may take.
            mortal: whether the modes of files hold even where the tests are run by root.
        """
        told = [str(self._folder / name) for name in ("out", "told")]
        call = [[*map(str, words)], str(cwd), told, megabytes << 20, seconds, mortal]
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps(call), file=self._process.stdin, flush=True)
        code, used, peak = json.loads(self._process.stdout.readline())
        out, err = (Path(path).read_text(encoding="utf-8", errors="surrogateescape") for path in told)
        return Done(code=code, out=out, told=err, seconds=used, megabytes=peak / 1024)


@contextmanager
def warm(folder: Path) -> Iterator[Commands]:
    """Start the process that all commands are copies of; it writes into that folder."""
    environment = {**os.environ, "ODBUILD_CACHE": str(folder / "cache")}
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        yield Commands(process, folder)
    finally:
        _close(process.stdin)
        process.wait()
        _close(process.stdout)


def _close(stream: IO[str] | None) -> None:
    assert stream
    stream.close()
