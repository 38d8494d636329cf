"""Which contents were found good before, so that no picture is decoded twice.

One file of lines that are only ever added to, one for each content; a line is written at once, so that processes
that share the file do not mix theirs. Whatever is not a whole line of this version of the check is as good as
absent. A cache that cannot be read or written costs time and nothing else.
"""

import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from .images import ImageInfo

VERSION = 2
"""To be raised when the check finds more than before, so that older verdicts no longer count."""

MOST = 1 << 20
"""Most verdicts that are kept; about 120 bytes each in the file, and as many in memory."""

MOST_BYTES = MOST * 120
"""A longer file is begun anew."""

DIGEST_BYTES = 16
"""Start of a digest that is kept in memory: long enough that no two of any contents agree."""

_LINE = re.compile(
    rb"^%d ([0-9a-f]{64}) ((?:jpeg|png) [1-9]\d{0,9} [1-9]\d{0,9} [1-8] [134];[a-zA-Z ;]{0,300})$" % VERSION,
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Good pictures by the SHA-256 of their content.

    Attributes:
        path: the file.
        known: the rest of a line by the start of the digest, of the lines that stood there and those put since.
    """

    path: Path
    known: dict[bytes, bytes] = field(default_factory=dict)
    _rests: dict[bytes, bytes] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read the verdicts of earlier runs, if there are any."""
        found = cls(path)
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.stat().st_size > MOST_BYTES:
                path.unlink()
            with path.open("rb") as file:
                for line in filter(None, map(_LINE.match, file)):
                    found._add(bytes.fromhex(line[1].decode()), line[2])
        return found

    def get(self, digest: bytes) -> ImageInfo | None:
        """Return what is known of a good picture, or None where its content was never found good."""
        rest = self.known.get(digest[:DIGEST_BYTES])
        if rest is None:
            return None
        header, *warnings = rest.decode().split(";")
        kind, *numbers = header.split()
        width, height, orientation, channels = map(int, numbers)
        return ImageInfo(
            format=kind,
            width=width,
            height=height,
            orientation=orientation,
            channels=channels,
            warnings=tuple(filter(None, warnings)),
        )

    def put(self, digest: bytes, info: ImageInfo) -> None:
        """Remember a picture that passed the whole check.

        Args:
            digest: SHA-256 of its content, 32 bytes.
            info: what the check returned.
        """
        if digest[:DIGEST_BYTES] in self.known or len(self.known) >= MOST:
            return
        numbers = f"{info.width} {info.height} {info.orientation} {info.channels}"
        rest = f"{info.format} {numbers};{';'.join(info.warnings)}".encode()
        self._add(digest, rest)
        with suppress(OSError):
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(file, b"%d %s %s\n" % (VERSION, digest.hex().encode(), rest))
            finally:
                os.close(file)

    def _add(self, digest: bytes, rest: bytes) -> None:
        # Pictures of one camera differ in nothing here, so that most share one object.
        self.known[digest[:DIGEST_BYTES]] = self._rests.setdefault(rest, rest)
