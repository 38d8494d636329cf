"""Tell how far a long piece of work has come: one live line on a terminal, now and then a line in a log."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TextIO

QUIET = 2.0
"""Seconds that work may take before it is worth a word."""

LIVE, SPARSE = 0.2, 30.0
"""Seconds between two lines on a terminal, and in a log."""


@dataclass(slots=True, kw_only=True)
class Meter:
    """The account of one piece of work that is measured in bytes.

    Attributes:
        say: Takes one line, where the stream is no terminal.
        stream: Shows the live line where it is a terminal.
        quiet: Seconds before the first word.
    """

    say: Callable[[str], None]
    stream: TextIO = field(default_factory=lambda: sys.stderr)
    quiet: float = QUIET
    _live: bool = False
    _began: float = field(default_factory=time.monotonic)
    _next: float = field(default_factory=time.monotonic)

    def tell(self, done: int, total: int | None) -> None:
        """Tell that so many bytes are done, of so many where that is known."""
        now = time.monotonic()
        if now < max(self._next, self._began + self.quiet):
            return
        line = f"  {done / 1e6:,.1f} MB"
        if total:
            line += f" of {total / 1e6:,.1f} MB, {100 * done // total} %"
        if self.stream.isatty():
            self.stream.write(f"\r{line}\x1b[K")
            self.stream.flush()
            self._live = True
        else:
            self.say(line)
        self._next = now + (LIVE if self._live else SPARSE)

    def close(self) -> None:
        """Take the live line away."""
        if self._live:
            self.stream.write("\r\x1b[K")
            self.stream.flush()
            self._live = False
