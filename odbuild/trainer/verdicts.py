"""Which contents were found good before, so that no picture is decoded twice.

One file of lines that are only ever added to, one for each content; a line is written at once, so that processes
that share the file do not mix theirs. Whatever is not a whole line of this version of the check is as good as
absent. A cache that cannot be read or written costs time and nothing else.
"""

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from .images import ImageInfo

VERSION = 1
"""To be raised when the check finds more than before, so that older verdicts no longer count."""

MOST = 1 << 20
"""Most verdicts that are kept; about 120 bytes each in the file, 300 in memory."""

MOST_BYTES = MOST * 120
"""A longer file is begun anew."""

_LINE = re.compile(
    rb"^%d ([0-9a-f]{64}) ((?:jpeg|png) [1-9]\d{0,9} [1-9]\d{0,9} [1-8];[a-zA-Z ;]{0,300})$" % VERSION,
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Good pictures by the SHA-256 of their content.

    Attributes:
        path: the file.
        known: the rest of a line by digest, of the lines that stood there and those put since.
    """

    path: Path
    known: dict[bytes, bytes]

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read the verdicts of earlier runs, if there are any."""
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.stat().st_size > MOST_BYTES:
                path.unlink()
            lines = _LINE.findall(path.read_bytes())
            return cls(path, {bytes.fromhex(digest.decode()): rest for digest, rest in lines})
        return cls(path, {})

    def get(self, digest: bytes) -> ImageInfo | None:
        """Return what is known of a good picture, or None where its content was never found good."""
        rest = self.known.get(digest)
        if rest is None:
            return None
        header, *warnings = rest.decode().split(";")
        kind, width, height, orientation = header.split()
        return ImageInfo(
            format=kind,
            width=int(width),
            height=int(height),
            orientation=int(orientation),
            warnings=tuple(filter(None, warnings)),
        )

    def put(self, digest: bytes, info: ImageInfo) -> None:
        """Remember a picture that passed the whole check.

        Args:
            digest: SHA-256 of its content, 32 bytes.
            info: what the check returned.
        """
        if digest in self.known or len(self.known) >= MOST:
            return
        numbers = f"{info.width} {info.height} {info.orientation}"
        rest = f"{info.format} {numbers};{';'.join(info.warnings)}".encode()
        self.known[digest] = rest
        with suppress(OSError):
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(file, b"%d %s %s\n" % (VERSION, digest.hex().encode(), rest))
            finally:
                os.close(file)
