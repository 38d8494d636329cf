"""The structure of a JPEG file, read as strictly as the decoder in TensorFlow reads it, without decoding a pixel.

What is refused here is what libjpeg-turbo ends on, and what can only be the work of damage: markers inside
the coded pixels, lost restart markers, channels without pixels. What it shrugs off without harm to the pixels,
such as stray bytes between segments, becomes a warning. The rules are those of ITU-T T.81 annex B and
of the sources of libjpeg-turbo 2 and 3. Files lie in memory as bytes or a view of a reused buffer; regular
expressions and slices do the work on the long parts.
"""

import re
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from . import exif

Data = bytes | bytearray | memoryview
"""A file in memory, or a view of it in a reused buffer."""

MOST_SIDE = 65500
"""libjpeg refuses longer sides, in pixels."""

MOST_SCANS = 500
"""More scans than that serve to keep a decoder busy; encoders write about ten."""

MOST_FILL = 1 << 20
"""More bytes between two segments than that serve to keep a decoder busy; encoders write hardly any."""

MOST_BLOCKS = 10
"""Most blocks of 8 x 8 samples in a unit of an interleaved scan, by the standard."""

MOST_HEADER = 4096
"""Bytes of a header, Exif and the like not counted, that is worth remembering; mostly it takes some 600."""

MOST_HEADERS = 64
"""Headers that are remembered."""

MOST_LENGTHS = 3
"""Lengths of headers, the last ones, that are tried."""

_FRAMES = {0xC0: "baseline", 0xC1: "extended", 0xC2: "progressive", 0xC9: "extended", 0xCA: "progressive"}
_ARITHMETIC = frozenset({0xC9, 0xCA})
_OTHER_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xCC} - _FRAMES.keys()

_MARKER = re.compile(rb"\xff([^\x00\xff])", re.DOTALL)
_EXIF = b"Exif\0\0"

_ORIGIN = frozenset({*range(0xE0, 0xF0), 0xFE})
"""Segments that tell where a picture comes from, mostly different ones in each file."""

_BARE = frozenset({0x01, *range(0xD0, 0xD8)})
_RESTARTS = bytes(range(0xD0, 0xD8))
_ZEROS = bytes(64)
_UNSEEN = b"\xff" * 64


class JpegError(ValueError):
    """Report a JPEG that no decoder should be given; the message goes on from 'cannot be decoded: '."""


class Jpeg(NamedTuple):
    """A JPEG file by its structure.

    Attributes:
        width: pixels as stored.
        height: pixels as stored.
        channels: 1, 3 or 4.
        progressive: whether its scans refine each other.
        orientation: Exif orientation, 1 to 8.
        exif: start and end of the block of Exif that says so; None where there is none before the first coded
            pixels, behind which nobody looks for it.
        warnings: oddities that harm no pixel.
        edits: start, end and new bytes of each stretch to be replaced so that libjpeg has nothing to warn of,
            in ascending order.
        quants: the quantization tables in use, their 64 values in the order of the file, of 8 or 16 bits.
        solid: start and end of each stretch of coded pixels in which zeros cannot go on for long.
        pixels_end: where the coded pixels of the last scan end, counted from the start of the file.
    """

    width: int
    height: int
    channels: int
    progressive: bool = False
    orientation: int = 1
    exif: tuple[int, int] | None = None
    warnings: tuple[str, ...] = ()
    edits: tuple[tuple[int, int, bytes], ...] = ()
    quants: tuple[bytes, ...] = ()
    solid: tuple[tuple[int, int], ...] = ()
    pixels_end: int = 0


class _Component(NamedTuple):
    name: int
    across: int
    down: int
    quant: int


class _Frame(NamedTuple):
    """What the frame header says; `across` and `down` are the largest sampling factors."""

    width: int
    height: int
    progressive: bool
    arithmetic: bool
    components: tuple[_Component, ...]
    across: int
    down: int


class _Scan(NamedTuple):
    """What is about to be coded: pixels of some components, in which zeros cannot go on for long if `solid`."""

    components: tuple[_Component, ...]
    solid: bool


class _Header(NamedTuple):
    """What a decoder knows when it comes to the pixels of a file with only one scan, as `_State` has it."""

    length: int
    frame: _Frame
    quants: dict[int, bytes]
    huffman: dict[int, bytes]
    interval: int
    seen: dict[int, bytes]
    used: dict[bytes, None]
    scan: _Scan


class _Headers:
    """Headers that were found sound: those of one program and one size are equal, and come again and again."""

    def __init__(self) -> None:
        self._known: dict[bytes, _Header] = {}
        self._lengths: list[int] = []

    def find(self, view: memoryview, at: int) -> _Header | None:
        """Return what is known of the header that begins there, if it is one of those that came last."""
        for length in self._lengths:
            found = self._known.get(bytes(view[at : at + length]))
            if found is not None:
                return found
        return None

    def keep(self, view: memoryview, at: int, header: _Header) -> None:
        """Remember a header."""
        key = bytes(view[at : at + min(header.length, MOST_HEADER)])
        # Whether Exif counts is decided by what stands before it.
        if header.length > MOST_HEADER or _EXIF in key:
            return
        if len(self._known) >= MOST_HEADERS:
            self._known.clear()
        self._known[key] = header
        others = [length for length in self._lengths if length != header.length]
        self._lengths = [header.length, *others[: MOST_LENGTHS - 1]]


@dataclass(slots=True)
class _State:
    """What a decoder remembers on its way through the file; tables are replaced, for a header may share them."""

    view: memoryview
    frame: _Frame | None = None
    exif: tuple[int, int] | None = None
    quants: dict[int, bytes] = field(default_factory=dict)
    huffman: dict[int, bytes] = field(default_factory=dict)
    interval: int = 0
    scans: int = 0
    single: bool = False
    seen: dict[int, bytes] = field(default_factory=dict)
    warnings: dict[str, None] = field(default_factory=dict)
    edits: list[tuple[int, int, bytes]] = field(default_factory=list)
    used: dict[bytes, None] = field(default_factory=dict)
    solid: list[tuple[int, int]] = field(default_factory=list)
    pixels_end: int = 0

    def tolerate(self, warning: str, start: int, end: int, instead: bytes = b"") -> None:
        self.warnings[warning] = None
        self.edits.append((start, end, instead))


def read(data: Data, *, whole: bool = True) -> Jpeg:
    """Walk a JPEG from its start mark to its end mark.

    Args:
        data: the file. What follows the end mark is ignored, as decoders do: cameras put further pictures there.
        whole: go on to the end mark; without it only up to the first coded pixels.

    Raises:
        JpegError: it is cut, damaged, or of a kind that TensorFlow's decoder cannot read.
    """
    state = _State(memoryview(data))
    try:
        _walk(state, whole=whole)
    except (IndexError, struct.error) as error:
        raise JpegError("it ends inside its header") from error
    frame = state.frame
    if frame is None:
        raise JpegError("it has no pixels")
    if whole:
        _complete(state, frame)
    return Jpeg(
        width=frame.width,
        height=frame.height,
        channels=len(frame.components),
        progressive=frame.progressive,
        orientation=exif.orientation(state.view[slice(*state.exif)]) if state.exif else 1,
        exif=state.exif,
        warnings=tuple(state.warnings),
        edits=tuple(state.edits),
        quants=tuple(state.used),
        solid=tuple(state.solid),
        pixels_end=state.pixels_end,
    )


def _walk(state: _State, *, whole: bool) -> None:
    view = state.view
    length = len(view)
    segments = _SEGMENTS if whole else _NO_TABLES
    first = edits = 0
    at = 2
    while True:
        code = view[at + 1] if view[at] == 0xFF else 0
        if code in (0x00, 0xFF):
            at = _next_marker(state, at)
            code = view[at + 1]
        if code == 0xD9:
            return
        if code in _BARE:
            at += 2
            continue
        if code not in segments:
            raise JpegError(f"the marker 0x{code:02x} is out of place at byte {at}")
        start, end = at + 4, at + 2 + (view[at + 2] << 8 | view[at + 3])
        if end > length:
            raise JpegError(f"it is cut short: the segment at byte {at} does not fit")
        if not first and whole and code not in _ORIGIN:
            first, edits = at, len(state.edits)
            header = _HEADERS.find(view, at)
            if header is not None:
                at = _pixels(state, header.frame, _recall(state, header), at + header.length)
                continue
        if code == 0xDA:
            if not whole:
                return
            scan = _scan(state, start, end)
            if state.single and len(state.edits) == edits:
                _HEADERS.keep(view, first, _header(state, scan, end - first))
            at = _pixels(state, _framed(state), scan, end)
            continue
        segment = segments[code]
        if segment is not None:
            segment(state, code, start, end)
        # A segment may claim a length of 0 or 1, which leaves its two bytes of length to be stepped over.
        at = max(start, end)


def _next_marker(state: _State, at: int) -> int:
    """Skip what decoders skip before a marker: fill bytes silently, others with a warning."""
    found = _MARKER.search(state.view, at)
    if found is None:
        raise JpegError("it is cut short: the end mark is missing")
    if found.start() - at > MOST_FILL:
        raise JpegError(f"{found.start() - at:,} bytes lie between its segments at byte {at}")
    if bytes(state.view[at : found.start()]).strip(b"\xff"):
        state.tolerate("stray bytes between its segments", at, found.start())
    return found.start()


def _application(state: _State, code: int, start: int, end: int) -> None:
    name = bytes(state.view[start : start + 6])
    if code == 0xE1 and name == _EXIF and state.exif is None and not state.scans:
        state.exif = start + 6, end
    elif code == 0xE0 and end - start >= 14 and name.startswith(b"JFIF\0") and name[5] != 1:
        state.tolerate("a JFIF header of an unknown version", start - 4, end)
    elif code == 0xEE and end - start >= 12 and name.startswith(b"Adobe") and state.view[start + 11] > 2:
        state.tolerate("an Adobe header of an unknown colour transform", start - 4, end)


def _frame(state: _State, code: int, start: int, end: int) -> None:
    if state.frame is not None:
        raise JpegError("it holds two frames")
    state.frame = _frame_of(code, bytes(state.view[start:end]))


@lru_cache
def _frame_of(code: int, segment: bytes) -> _Frame:
    precision, height, width, channels = struct.unpack_from(">BHHB", segment)
    if code not in _FRAMES or precision != 8:
        raise JpegError(f"it is a rare kind of JPEG (frame {code - 0xC0}, {precision} bits a sample)")
    if channels not in (1, 3, 4) or len(segment) != 6 + 3 * channels:
        raise JpegError(f"it has {channels} channels")
    if not width or not height:
        raise JpegError("its size is zero")
    if max(width, height) > MOST_SIDE:
        raise JpegError(f"its size is {width} x {height} pixels, of which libjpeg reads {MOST_SIDE:,} at most")
    components = _components(segment[6:])
    return _Frame(
        width=width,
        height=height,
        progressive=_FRAMES[code] == "progressive",
        arithmetic=code in _ARITHMETIC,
        components=components,
        across=max(component.across for component in components),
        down=max(component.down for component in components),
    )


def _components(spec: bytes) -> tuple[_Component, ...]:
    components = tuple(
        _Component(name, sampling >> 4, sampling & 15, quant)
        for name, sampling, quant in struct.iter_unpack("BBB", spec)
    )
    if not all(1 <= factor <= 4 for one in components for factor in (one.across, one.down)):
        raise JpegError("its channels are sampled in no possible way")
    across = max(component.across for component in components)
    down = max(component.down for component in components)
    if any(across % component.across or down % component.down for component in components):
        raise JpegError("its channels are sampled at fractions of each other")
    return components


def _quants(state: _State, _code: int, start: int, end: int) -> None:
    if start > end:
        raise JpegError("a quantization table does not fit its segment")
    state.quants = state.quants | _quant_tables(bytes(state.view[start:end]))


@lru_cache
def _quant_tables(segment: bytes) -> dict[int, bytes]:
    """Return the tables of a segment by their number."""
    tables = {}
    at = 0
    while at < len(segment):
        table = segment[at]
        if table & 15 > 3:
            raise JpegError(f"it numbers a quantization table {table & 15}")
        after = at + (129 if table >> 4 else 65)
        tables[table & 15] = segment[at + 1 : after]
        at = after
    if at != len(segment):
        raise JpegError("a quantization table does not fit its segment")
    return tables


def _huffman(state: _State, _code: int, start: int, end: int) -> None:
    if start > end:
        raise JpegError("a segment of Huffman tables has an impossible length")
    state.huffman = state.huffman | _huffman_tables(bytes(state.view[start:end]))


@lru_cache
def _huffman_tables(segment: bytes) -> dict[int, bytes]:
    """Return the tables of a segment, as counts and values, by class (16 is AC) and number."""
    tables = {}
    at = 0
    while len(segment) - at > 16:
        counts = segment[at + 1 : at + 17]
        values = sum(counts)
        if values > 256 or at + 17 + values > len(segment):
            raise JpegError("a Huffman table does not fit its segment")
        if segment[at] & ~0x10 > 3:
            raise JpegError(f"it numbers a Huffman table {segment[at]}")
        tables[segment[at]] = segment[at + 1 : at + 17 + values]
        at += 17 + values
    if at != len(segment):
        raise JpegError("a Huffman table does not fit its segment")
    return tables


def _conditioning(state: _State, _code: int, start: int, end: int) -> None:
    """Check the parameters of arithmetic coding: DC tables 0 to 15 with a range, AC tables 16 to 31."""
    pairs = bytes(state.view[start:end])
    ranged = all(
        table < 32 and (table >= 16 or bounds & 15 <= bounds >> 4)
        for table, bounds in zip(pairs[::2], pairs[1::2], strict=False)
    )
    if start > end or len(pairs) % 2 or not ranged:
        raise JpegError("its parameters of arithmetic coding make no sense")


def _restart_interval(state: _State, _code: int, start: int, end: int) -> None:
    if end - start != 2:
        raise JpegError("its restart interval does not fit its segment")
    state.interval = int.from_bytes(state.view[start:end])


def _header(state: _State, scan: _Scan, length: int) -> _Header:
    frame = _framed(state)
    return _Header(
        length, frame, state.quants, state.huffman, state.interval, dict(state.seen), dict(state.used), scan
    )


def _recall(state: _State, header: _Header) -> _Scan:
    """Go on as if the header had been read; nothing of it changes in a file that may have no other scan."""
    _, state.frame, state.quants, state.huffman, state.interval, state.seen, state.used, scan = header
    state.scans, state.single = 1, True
    return scan


def _framed(state: _State) -> _Frame:
    if state.frame is None:
        raise JpegError("its pixels come before its size")
    return state.frame


def _scan(state: _State, start: int, end: int) -> _Scan:
    """Check what is said of one scan."""
    frame = _framed(state)
    chosen = _chosen(frame.components, bytes(state.view[start:end]))
    if state.single:
        raise JpegError("it goes on after its last pixel")
    state.single = not state.scans and not frame.progressive and len(chosen) == len(frame.components)
    state.scans += 1
    if state.scans > MOST_SCANS:
        raise JpegError(f"it has more than {MOST_SCANS} scans")
    for component, _ in chosen.values():
        if component.quant not in state.quants:
            raise JpegError("a quantization table is missing")
        state.used[state.quants[component.quant]] = None
    first, last, bits = state.view[end - 3 : end]
    if frame.progressive:
        _refined(state, tuple(chosen), first, last, bits)
    else:
        state.seen.update(dict.fromkeys(chosen, _ZEROS))
        if (first, last, bits) != (0, 63, 0):
            state.tolerate("a scan header with parameters of a progressive one", end - 3, end, b"\0\x3f\0")
    tables = {tables for _, tables in chosen.values()}
    if not frame.arithmetic:
        _coded(state, frame, tables, first, bits)
    says = not frame.arithmetic and not frame.progressive and any(_says(state, table & 15) for table in tables)
    return _Scan(tuple([component for component, _ in chosen.values()]), says)


@lru_cache
def _chosen(components: tuple[_Component, ...], header: bytes) -> dict[int, tuple[_Component, int]]:
    """Return the components of a scan by their index in the frame, each with the byte that names its tables."""
    count = header[0]
    if not 1 <= count <= 4 or len(header) != 4 + 2 * count:
        raise JpegError("a scan header does not fit its segment")
    chosen: dict[int, tuple[_Component, int]] = {}
    for name, tables in zip(header[1:-3:2], header[2:-3:2], strict=True):
        # Files that give two components one name exist; the first that is not yet taken is meant.
        index = next((i for i, one in enumerate(components) if one.name == name and i not in chosen), None)
        if index is None:
            raise JpegError("a scan is of a channel that does not exist")
        chosen[index] = components[index], tables
    if count > 1 and sum(one.across * one.down for one, _ in chosen.values()) > MOST_BLOCKS:
        raise JpegError("its channels are sampled too finely for one scan")
    return chosen


def _refined(state: _State, indices: tuple[int, ...], first: int, last: int, bits: int) -> None:
    """Check that a progressive scan brings what the scans before it left open.

    Args:
        state: of the file.
        indices: of the components.
        first: of the coefficients, 0 to 63.
        last: of the coefficients.
        bits: in its high half the lowest bit known before, in its low half the lowest one afterwards.
    """
    before, after = bits >> 4, bits & 15
    banded = first <= last < 64 and len(indices) == 1 if first else last == 0
    if not banded or after > 13 or (before and after != before - 1):
        raise JpegError("a scan has impossible parameters")
    # A coefficient never seen counts as known to bit 0, as one that is complete does.
    expected = bytes((before,)) if before else b"\x00\xff"
    for index in indices:
        seen = state.seen.get(index, _UNSEEN)
        if seen[first : last + 1].strip(expected) or (first and seen[0] == 0xFF):
            raise JpegError("its scans contradict each other")
        state.seen[index] = seen[:first] + bytes((after,)) * (last + 1 - first) + seen[last + 1 :]


def _coded(state: _State, frame: _Frame, tables: Iterable[int], first: int, bits: int) -> None:
    """Check the Huffman tables that a scan uses; unused ones may be broken."""
    for table in tables:
        if not (frame.progressive and (first or bits >> 4)):
            _require(state, table >> 4, standard=not frame.progressive)
        if not frame.progressive or first:
            _require(state, 16 + (table & 15), standard=not frame.progressive)


def _require(state: _State, table: int, *, standard: bool) -> None:
    spec = state.huffman.get(table)
    if spec is None:
        # Frames of Motion JPEG leave the tables out that the standard gives as examples; decoders know them.
        if not standard or table & 15 > 1:
            raise JpegError("a Huffman table is missing")
    elif not _sound(spec, dc=table < 16):
        raise JpegError("a Huffman table is broken")


def _says(state: _State, table: int) -> bool:
    """Say whether the AC code that is all zeros stands for a coefficient.

    Where it does, zeros code one faint coefficient after the other, which no picture holds; in a table without
    such a code they may stand for block after block of one colour.
    """
    spec = state.huffman.get(16 + table)
    # The tables of the standard: only that of the brightness, number 0, is of this kind.
    return bool(spec[16] & 15) if spec and len(spec) > 16 else not spec and table == 0


@lru_cache
def _sound(spec: bytes, *, dc: bool) -> bool:
    """Say whether the codes fit their lengths, none of them all ones, and a DC table holds sizes up to 15 bits."""
    code = 0
    for length, count in enumerate(spec[:16], 1):
        code += count
        if count and code >= 1 << length:
            return False
        code <<= 1
    return not dc or max(spec[16:], default=0) <= 15


def _pixels(state: _State, frame: _Frame, scan: _Scan, start: int) -> int:
    """Return where the marker after the coded pixels stands; restart markers and stuffed bytes belong to them."""
    marks = bytearray()
    after = start
    for found in _MARKER.finditer(state.view, start):
        if found[1] not in _RESTARTS:
            break
        marks += found[1]
        after = found.end()
    else:
        raise JpegError("it is cut short: the end mark is missing")
    end = found.start()
    if marks and after == end:
        # One more at the very end does no harm.
        del marks[-1:]
    if marks or state.interval:
        expected = (_units(frame, scan.components) - 1) // state.interval if state.interval else 0
        if marks != (_RESTARTS * (expected // 8 + 1))[:expected]:
            raise JpegError("its restart markers are incomplete or out of order")
    state.pixels_end = end
    if scan.solid:
        state.solid.append((start, end))
    return end


def _units(frame: _Frame, components: Sequence[_Component]) -> int:
    """Count the units that a scan codes one after the other: blocks, or groups of blocks of several components."""
    across, down = 8 * frame.across, 8 * frame.down
    width, height = frame.width, frame.height
    if len(components) == 1:
        width, height = width * components[0].across, height * components[0].down
    return -(-width // across) * -(-height // down)


def _complete(state: _State, frame: _Frame) -> None:
    """Check that every channel got its pixels.

    Fine detail may be missing by the standard, but where stray bytes were skipped, a scan was lost among them.
    """
    if not state.scans:
        raise JpegError("it has no pixels")
    if any(state.seen.get(index, _UNSEEN)[0] == 0xFF for index in range(len(frame.components))):
        raise JpegError("a channel has no pixels")
    if any(seen != _ZEROS for seen in state.seen.values()):
        if state.warnings:
            raise JpegError("a scan is damaged beyond recognition")
        state.warnings["fine detail that was never written"] = None


_Segment = Callable[[_State, int, int, int], None]
"""Takes a segment by its code, and where its content starts and ends."""

_NO_TABLES: dict[int, _Segment | None] = {
    **dict.fromkeys((0xC4, 0xCC, 0xDA, 0xDB, 0xDD)),
    **dict.fromkeys((*_FRAMES, *_OTHER_FRAMES), _frame),
    **dict.fromkeys(range(0xE0, 0xF0), _application),
    # A comment, and the number of lines, which libjpeg takes from the frame header alone.
    **dict.fromkeys((0xFE, 0xDC)),
}
"""What is done with each segment for the size and the orientation; None where it is passed over."""

_SEGMENTS: dict[int, _Segment | None] = {
    **_NO_TABLES,
    0xC4: _huffman,
    0xCC: _conditioning,
    0xDB: _quants,
    0xDD: _restart_interval,
}
"""What is done with each segment where the structure is checked; that of a scan stands apart."""

_HEADERS = _Headers()
