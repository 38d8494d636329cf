"""Download one gzip archive over https: go on where an earlier attempt ended, and prove the whole at the end."""

import contextlib
import email.utils
import errno
import fcntl
import hashlib
import http.client
import io
import json
import os
import random
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

from .errors import OdbuildError
from .meter import Meter

Say = Callable[[str], None]

MAX_SIZE = 4 << 30
"""Bytes that an archive of unknown size may have: four times the largest of the zoos."""

CHUNK = 1 << 18

GZIP = b"\x1f\x8b"

PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP statuses of a host that may answer well the next time."""

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

UNPROVEN: Mapping[str, str] = MappingProxyType({})

LEAST = 1024
"""Bytes that must come in each `Patience.stall`: a host that drips would else hold a run for days."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long to put up with a bad connection.

    Attributes:
        attempts: Connections made in all, at least 1.
        backoff: Seconds before the second attempt; each later wait is twice as long, give or take a half.
        longest: Most seconds of one wait; a host that asks for more by Retry-After is given up.
        stall: Seconds in which at least `LEAST` bytes must come.
    """

    attempts: int = 8
    backoff: float = 0.5
    longest: float = 60.0
    stall: float = 30.0


def download(
    url: str,
    target: Path,
    *,
    say: Say,
    size: int | None = None,
    digests: Mapping[str, str] = UNPROVEN,
    patience: Patience | None = None,
) -> None:
    """Download a gzip archive to a path, where it appears whole and proven or not at all.

    What came before a failure stays beside the target as `.partial`, with the host's mark of its version in
    `.partial.json`; the next call goes on from there, unless the host's file has changed since.
    Proxies and certificates are those of the environment.

    Args:
        url: Address, https; redirects are followed to https only.
        target: The file to write.
        say: Takes one line about progress or another attempt.
        size: Bytes of the archive, where known.
        digests: Hex digest by name of the algorithm, of the archive, where known.
        patience: Attempts and waits.

    Raises:
        OdbuildError: If the archive cannot be had, is another one than expected, or cannot be written.
    """
    if not url.startswith("https://"):
        raise OdbuildError(f"{url}: a checkpoint is only fetched over https")
    patience = patience or Patience()
    with writing(target), _partial(url, target) as part:
        _complete(part, size, patience, say)
        _prove(part, size, digests)
        part.finish(target)


@contextlib.contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turn a full disk into an error that names what was being written.

    Raises:
        OdbuildError: If no room is left.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise OdbuildError(f"{target}: no space left ({error.strerror}). Free some and run again.") from error


class OtherFileError(OdbuildError):
    """Stop because the host has another file than the one expected."""


class _PassingError(Exception):
    """What may be gone at the next attempt; `wait` is what the host asks for, in seconds."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    def redirect_request(  # noqa: PLR0917  urllib's own signature
        self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: Any
    ) -> Any:
        if not newurl.startswith("https://"):
            raise OdbuildError(f"{req.full_url}: leads to {newurl}, but a checkpoint is only fetched over https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@dataclass(slots=True)
class _Partial:
    """A file under way: what came, and by what mark the host can tell that it still has the same file.

    Attributes:
        url: Where it comes from.
        path: The bytes so far.
        file: The same, open and locked.
        validator: Strong ETag or Last-Modified of the answer that the bytes are of, or None.
        total: Bytes of the whole by that answer, or None.
    """

    url: str
    path: Path
    file: io.BufferedRandom
    validator: str | None = None
    total: int | None = None

    @property
    def note(self) -> Path:
        """Where validator and total are written down."""
        return self.path.with_name(f"{self.path.name}.json")

    @property
    def have(self) -> int:
        """Bytes that are there."""
        return self.file.seek(0, os.SEEK_END)

    @property
    def is_whole(self) -> bool:
        """Whether all bytes that the host announced are there."""
        return self.total is not None and self.have == self.total

    def recall(self) -> None:
        """Read the note of an earlier attempt; start over where there is none for these bytes."""
        try:
            noted = json.loads(self.note.read_bytes())
            url, validator, total = noted["url"], noted["validator"], noted["total"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            url, validator, total = None, None, None
        if url == self.url and isinstance(validator, str) and isinstance(total, int | None):
            self.validator, self.total = validator, total
        else:
            self.start_over(None, None)

    def start_over(self, validator: str | None, total: int | None) -> None:
        """Drop all bytes, then note what the next ones are of: in this order a kill between does no harm."""
        self.file.truncate(0)
        self.validator, self.total = validator, total
        noted = {"url": self.url, "validator": validator, "total": total}
        fresh = self.note.with_name(f"{self.note.name}.new")
        fresh.write_text(json.dumps(noted), encoding="utf-8")
        fresh.replace(self.note)

    def finish(self, target: Path) -> None:
        """Put the file in its place."""
        self.file.flush()
        self.path.replace(target)
        self.note.unlink(missing_ok=True)

    def drop(self) -> None:
        """Delete all of it."""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


@contextlib.contextmanager
def _partial(url: str, target: Path) -> Iterator[_Partial]:
    target.parent.mkdir(parents=True, exist_ok=True)
    path = target.with_name(f"{target.name}.partial")
    with path.open("a+b") as file:
        _lock(file, path)
        part = _Partial(url, path, file)
        part.recall()
        try:
            yield part
        finally:
            if not part.have:
                part.drop()


def _lock(file: IO[bytes], path: Path) -> None:
    """Keep two runs from writing one file; the system frees the lock of a killed one."""
    taken = False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The other run may have finished, and so renamed the file, since it was opened here.
        taken = not (path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()))
    except BlockingIOError:
        taken = True
    except OSError:  # some network disks have no locks
        return
    if taken:
        raise OdbuildError(f"{path}: another run is downloading this file. Run again when it is done.")


def _complete(part: _Partial, size: int | None, patience: Patience, say: Say) -> None:
    if part.have and part.validator:
        say(f"{part.have / 1e6:,.1f} MB are here from an earlier attempt")
    for attempt in range(1, patience.attempts + 1):
        if part.is_whole:
            return
        try:
            _attempt(part, size, patience, say)
        except _PassingError as error:
            if attempt == patience.attempts:
                raise _give_up(part, error) from error
            wait = _wait(error, attempt, patience, part)
            say(f"{error}; trying again in {wait:.1f} s ({attempt + 1} of {patience.attempts})")
            time.sleep(wait)
        else:
            return


def _give_up(part: _Partial, reason: object) -> OdbuildError:
    came = f" after {part.have / 1e6:,.1f} MB, from where the next run goes on" if part.have else ""
    return OdbuildError(
        f"{part.url}: the checkpoint cannot be downloaded ({reason}){came}. Where the training machine has no "
        f"network, put the checkpoint into the bundle: odbuild bundle MODEL --checkpoint PATH"
    )


def _wait(error: _PassingError, attempt: int, patience: Patience, part: _Partial) -> float:
    if error.wait is None:
        # Not all machines of a fleet shall come back at the same moment.
        jitter = random.uniform(0.5, 1.5)  # noqa: S311
        return min(patience.longest, patience.backoff * 2.0 ** (attempt - 1) * jitter)
    if error.wait > patience.longest:
        raise _give_up(part, f"{error}; it asks to wait {error.wait:.0f} s") from error
    return error.wait


def _attempt(part: _Partial, size: int | None, patience: Patience, say: Say) -> None:
    """Ask once for what is missing and write down what comes."""
    with contextlib.closing(_ask(part, patience)) as answer, contextlib.closing(Meter(say=say)) as meter:
        if answer.status == http.client.PARTIAL_CONTENT:
            _continue(part, answer)
        else:
            length = answer.headers.get("Content-Length", "")
            part.start_over(_validator(answer), int(length) if length.isdecimal() else None)
        _require_size(part, part.total, size)
        for data in _stream(answer, patience.stall):
            part.file.write(data)
            _require_size(part, None, size)
            if len(GZIP) <= part.have <= CHUNK:  # one look, at the beginning
                _require_gzip(part, answer.headers.get_content_type())
            meter.tell(part.have, part.total)
        part.file.flush()
    if part.total is not None and part.have < part.total:
        raise _PassingError(f"the connection ended after {part.have:,} of {part.total:,} bytes")


def _ask(part: _Partial, patience: Patience) -> http.client.HTTPResponse:
    request = urllib.request.Request(part.url, headers={"User-Agent": "odbuild"})  # noqa: S310
    if part.have and part.validator:
        request.add_header("Range", f"bytes={part.have}-")
        request.add_header("If-Range", part.validator)
    try:
        answer: http.client.HTTPResponse = _opener().open(request, timeout=patience.stall)
    except urllib.error.HTTPError as error:
        with error:
            raise _refused(part, error) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, ssl.SSLCertVerificationError):
            hint = "SSL_CERT_FILE names the certificates of your own network, if it has some"
            raise _give_up(part, f"{reason}; {hint}") from error
        raise _PassingError(str(reason) or type(reason).__name__) from error
    return answer


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_HttpsOnly)


def _refused(part: _Partial, error: urllib.error.HTTPError) -> Exception:
    said = f"HTTP {error.code} {error.reason}"
    if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and part.have:
        part.start_over(None, None)
        return _PassingError(said)
    if error.code in PASSING:
        return _PassingError(said, _seconds(error.headers.get("Retry-After")))
    return _give_up(part, said)


def _seconds(retry_after: str | None) -> float | None:
    """Read Retry-After: a number of seconds, or the time of a clock."""
    word = (retry_after or "").strip()
    if word.isascii() and word.isdecimal():
        return float(word[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(word).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _validator(answer: http.client.HTTPResponse) -> str | None:
    etag = answer.headers.get("ETag", "")
    # A weak ETag (W/"...") does not promise the same bytes.
    return etag if etag.startswith('"') else answer.headers.get("Last-Modified")


def _continue(part: _Partial, answer: http.client.HTTPResponse) -> None:
    """Take an answer that goes on where the bytes end, of the same file; else drop them."""
    found = re.fullmatch(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", answer.headers.get("Content-Range", ""))
    total = int(found[2]) if found and found[2] != "*" else part.total
    fits = found is not None and int(found[1]) == part.have and part.total in {None, total}
    if not fits or _validator(answer) not in {None, part.validator}:
        part.start_over(None, None)
        raise _PassingError("the host went on with another file than it began with")
    part.total = total


def _stream(answer: http.client.HTTPResponse, stall: float) -> Iterator[bytes]:
    """Yield what comes as it comes; the connection's own errors may pass."""
    since, came = time.monotonic(), 0
    while True:
        try:
            data = answer.read1(CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise _PassingError(str(error) or type(error).__name__) from error
        if not data:
            return
        yield data
        came += len(data)
        now = time.monotonic()
        if now - since > stall:
            if came < LEAST:
                raise _PassingError(f"only {came} bytes came in {now - since:.0f} s")
            since, came = now, 0


def _require_gzip(part: _Partial, kind: str) -> None:
    part.file.seek(0)
    start = part.file.read(len(GZIP))
    if start != GZIP:
        part.drop()
        raise OdbuildError(f"{part.url}: the answer is no gzip archive but {kind}: a page of the host, perhaps")


def _require_size(part: _Partial, announced: int | None, size: int | None) -> None:
    """Refuse what is not as long as expected, before it fills the disk."""
    have = part.have
    if size is not None and announced not in {None, size}:
        part.drop()
        raise OtherFileError(f"{part.url}: the host has {announced} bytes, expected {size}")
    limit = MAX_SIZE if size is None else size
    if max(have, announced or 0) > limit:
        part.drop()
        raise OtherFileError(f"{part.url}: more than the expected {limit} bytes came")


def _prove(part: _Partial, size: int | None, digests: Mapping[str, str]) -> None:
    _require_gzip(part, f"{part.have} bytes")
    if size is not None and part.have != size:
        part.drop()
        raise OtherFileError(f"{part.url}: {part.have} bytes came, expected {size}")
    for name, expected in digests.items():
        part.file.seek(0)
        seen = hashlib.file_digest(part.file, name).hexdigest()
        if seen != expected:
            part.drop()
            raise OtherFileError(f"{part.url}: {name} is {seen}, expected {expected}")
