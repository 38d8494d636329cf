"""Every kind of good JPEG, 48 x 32 pixels each, and what can be taken apart in one."""

import base64
import itertools
import random
import re
import struct
from collections.abc import Iterator

import pictures

SIZE = (48, 32)

_CODES = ("00", "010", "011", "100", "101", "110")
"""Codes of the sizes 0 to 5 in the standard's DC table of the brightness; `1010` ends a block in its AC table."""

_ARITHMETIC = (
    "|JeWF01!$>Nk#wx0RR9200961|JwjV02>k%7Zed27Zw*D92+1gLMtdGB`8rkJupIGRb^yfRb5+Zc$tA}agcLcU4^xVke;Kft*d8%yve$z"
    "$C;?Br2pFhLjfEf9w;LyPAe-;q;6eqq@<*zq@<*zq@<*zq@<*zq@<*zq@<*zq@<*zq@<*zq@<*zq@<*zq@<*zq@<*zq@@4J01*fPAOJ7}"
    "0U`hb5di}c0sqVZ3IGrg1pyEd1^?Or3<CiG0ucid06zf#07SO{^iP82Sl&HXYQn)x#0BiNql)s{Ld!1N#iks4(eAM4gU^9%{g0V-LnWhc"
    "GJ%|w7}k55JPRFyn@#u|5q-Fytn3Fl?AVK$&I3lBqymf>Hd5tbV*dc1yD!VrAph9"
)
_ARITHMETIC_PROGRESSIVE = (
    "|JeWF01!$>Nk#wx0RR9200961|JwjV02>k%7Zed27Zw*D92+1gLMtdGB`8rkJupIGRb^yfRb5+Zc$tA}agcLcU4^xVke;Kft*d8%yve$z"
    "$C;?Br2pFhLjfEf9w;LyPAe-;q;6eqq@<*zq@<*zq@<*zq@<*zq@<*zq@<*zq@<*zq@<*zq@<*zq@<*zq@<*zq@<*zq@@4K01*fPAOJ7}"
    "0U`hb5di}c0sqVZ1^^HN5dYc$3<CiG0uTcb00060hyMU!bO$CK1|?5<A)w0^fd9+@1P}%P+5iXv0RRC70+tg7js*9bd521>AIs4t!2iqu"
    "1Q7-Q+5iXv0|5a)0l@#v00a>Q|Jncu0RjO5KLNo1%m4%s1^?Or2mt{A20sGEB`IjWb^pu&1P}%P+5iXv0RRC%ApmTNU2!v(o9w85%Y;tg"
    "|Jncy0|5X600RI301$aI8w6ng%m4%t1^?Or2mu2D0Y4DH|I7dc5e5I+00;pB0RcY{!2iqu1P}%P+5iXv0RRC%5Fb@M2Sppt*5!VsskNOK"
    "2l+bP!2bZv`8t5LP?52L%ik$S&LIEU"
)
"""`pictures.drawing()` as the imaging library cannot write it: made once by the tools of libjpeg-turbo."""

_MARKER = re.compile(rb"\xff([^\x00\xff])", re.DOTALL)

LAYOUTS = {
    **{name: name for name in ("11 11 11", "21 11 11", "22 11 11", "12 11 11", "41 11 11", "14 11 11")},
    "rare: an eighth": "42 11 11",
    "rare: quarter height": "24 11 11",
    "rare: a third of the width": "31 11 11",
    "rare: a third of the height": "13 11 11",
    "rare: a sixth": "23 11 11",
    "rare: across": "22 21 12",
    "rare: fine blue": "11 21 11",
    "rare: finer colours": "11 22 22",
    "rare: fine red": "22 11 22",
    "rare: fine blue, coarse red": "41 21 11",
    "rare: half of a quarter": "41 21 21",
    "rare: one third": "31 11 31",
    "all doubled": "21 21 21",
    "gray, sampled twice": "22",
    "four channels": "11 11 11 11",
    "four channels, halved": "22 11 11 22",
}
"""Sampling factors of each channel across and down."""


def drafted(layout: str, *, interval: int = 0, together: bool = True, tables: bool = True) -> bytes:
    """Return a JPEG of coloured blocks, in ways that the imaging library cannot write.

    Args:
        layout: sampling factors as in `LAYOUTS`.
        interval: units between restart markers; 0 for none.
        together: code all channels in one scan.
        tables: write the Huffman tables, which are those of the standard.
    """
    factors = [(int(pair[0]), int(pair[1])) for pair in layout.split()]
    width, height = SIZE
    frame = struct.pack(">BHHB", 8, height, width, len(factors))
    frame += b"".join(bytes((number, 16 * x + y, 0)) for number, (x, y) in enumerate(factors, 1))
    parts = [b"\xff\xd8", _segment(0xDB, b"\0" + bytes((8,)) * 64), _segment(0xC0, frame)]
    if tables:
        parts += [part for part in segments(pictures.jpeg()) if part[1] == 0xC4]
    parts.append(_segment(0xDD, struct.pack(">H", interval)))
    across, down = (max(side) for side in zip(*factors, strict=True))
    dice = random.Random(layout)  # noqa: S311
    everyone = list(enumerate(factors, 1))
    for chosen in [everyone] if together else [[one] for one in everyone]:
        if len(chosen) > 1:
            blocks = [x * y for _, (x, y) in chosen]
            units = -(-width // (8 * across)) * -(-height // (8 * down))
        else:
            ((_, (x, y)),) = chosen
            blocks = [1]
            units = -(-width * x // (8 * across)) * -(-height * y // (8 * down))
        names = b"".join(bytes((number, 0)) for number, _ in chosen)
        parts.append(_segment(0xDA, bytes((len(chosen),)) + names + b"\0\x3f\0"))
        parts.append(_blocks(dice, sum(blocks), units, interval))
    return b"".join([*parts, b"\xff\xd9"])


def _segment(code: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, code, 2 + len(body)) + body


def _blocks(dice: random.Random, blocks: int, units: int, interval: int) -> bytes:
    out = b""
    every = interval or units
    for index, done in enumerate(range(0, units, every)):
        if done:
            out += bytes((0xFF, 0xD0 + (index - 1) % 8))
        bits = ""
        for _ in range(blocks * min(every, units - done)):
            size = dice.randrange(len(_CODES))
            bits += _CODES[size] + "".join(dice.choice("01") for _ in range(size)) + "1010"
        bits += "1" * (-len(bits) % 8)
        out += int(bits, 2).to_bytes(len(bits) // 8).replace(b"\xff", b"\xff\0")
    return out


def segments(data: bytes) -> Iterator[bytes]:
    """Yield the segments between the start mark and the first coded pixels."""
    at, end = 2, pixels(data)[0]
    while at < end:
        length = 2 + int.from_bytes(data[at + 2 : at + 4])
        yield data[at : at + length]
        at += length


def pixels(data: bytes) -> tuple[int, int]:
    """Return where the coded pixels of the first scan start and end."""
    at, code = 2, 0
    while code != 0xDA:
        found = _MARKER.search(data, at)
        assert found
        code, at = found[1][0], found.end()
        if code != 0x01 and not 0xD0 <= code <= 0xD7:
            at += max(2, int.from_bytes(data[at : at + 2]))
    end = re.compile(rb"\xff[^\x00\xd0-\xd7]", re.DOTALL).search(data, at)
    assert end
    return at, end.start()


def put(data: bytes, code: int, new: bytes) -> bytes:
    """Put bytes before the first segment of a kind; 0xD9 is the end mark."""
    at = data.rindex(b"\xff\xd9") if code == 0xD9 else data.index(bytes((0xFF, code)))
    return data[:at] + new + data[at:]


def _scans_apart(count: int) -> bytes:
    """Return the progressive picture with its first scans alone: fine detail is missing, which is legal."""
    data = pictures.encoded(pictures.drawing(), progressive=True)
    ends = [found.start() for found in re.finditer(rb"\xff[\xc4\xda\xd9]", data[pixels(data)[0] :])]
    return data[: pixels(data)[0] + ends[count]] + b"\xff\xd9"


_DRAWN = pictures.drawing()

GOOD = {
    "baseline": pictures.jpeg(),
    "progressive": pictures.encoded(_DRAWN, progressive=True),
    "optimized": pictures.encoded(_DRAWN, optimize=True),
    "no subsampling": pictures.encoded(_DRAWN, subsampling=0),
    "restart markers": pictures.encoded(_DRAWN, restart_marker_rows=1),
    "many restart markers": pictures.encoded(_DRAWN, restart_marker_blocks=1),
    "progressive restart markers": pictures.encoded(_DRAWN, progressive=True, restart_marker_blocks=2),
    "gray": pictures.encoded(pictures.drawing(mode="L")),
    "gray progressive": pictures.encoded(pictures.drawing(mode="L"), progressive=True),
    "cmyk": pictures.encoded(pictures.drawing(mode="CMYK")),
    "cmyk progressive": pictures.encoded(pictures.drawing(mode="CMYK"), progressive=True),
    "red, green and blue": pictures.encoded(_DRAWN, keep_rgb=True),
    "arithmetic": base64.b85decode(_ARITHMETIC),
    "arithmetic progressive": base64.b85decode(_ARITHMETIC_PROGRESSIVE),
    "best quality": pictures.encoded(_DRAWN, quality=100),
    "worst quality": pictures.encoded(_DRAWN, quality=1),
    "trailing junk": pictures.jpeg() + b"junk \xff\xd9 \xff\xc3",
    "several pictures": pictures.encoded(_DRAWN, "MPO", save_all=True, append_images=[pictures.drawing(seed=3)]),
    "broken exif": pictures.encoded(_DRAWN, exif=b"Exif\0\0II*\0\xff\xff\xff\xff"),
    "picture in the exif": pictures.encoded(_DRAWN, exif=b"Exif\0\0" + pictures.jpeg(8, 8)),
    "comment": pictures.encoded(_DRAWN, comment=b"\xff\xd9\xff\xda"),
    "fill bytes": put(put(pictures.jpeg(), 0xDB, b"\xff" * 5), 0xD9, b"\xff" * 5),
    "empty comment": put(pictures.jpeg(), 0xDB, b"\xff\xfe\0\2"),
    "comment of length 0": put(pictures.jpeg(), 0xDB, b"\xff\xfe\0\0"),
    "markers without length": put(pictures.jpeg(), 0xDB, b"\xff\x01\xff\xd3"),
    "number of lines": put(pictures.jpeg(), 0xD9, b"\xff\xdc\0\4\0\x20"),
    "restart marker at the end": put(pictures.jpeg(), 0xD9, b"\xff\xd5"),
    "scans apart": drafted("22 11 11", together=False),
    "scans apart, restart markers": drafted("22 11 11", together=False, interval=3),
    "restart markers beyond seven": drafted("11 11 11", interval=2),
    "no huffman tables": drafted("22 11 11", tables=False),
    **{name: drafted(layout) for name, layout in LAYOUTS.items()},
}
"""What decodes without a word."""

ODD = {
    "stray bytes between its segments": put(pictures.jpeg(), 0xDB, b"abc"),
    "a JFIF header of an unknown version": pictures.jpeg().replace(b"JFIF\0\1", b"JFIF\0\7"),
    "an Adobe header of an unknown colour transform": put(
        pictures.jpeg(), 0xDB, b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\x07"
    ),
    "a scan header with parameters of a progressive one": pictures.jpeg().replace(b"\0\x3f\0", b"\0\0\0"),
    "fine detail that was never written": _scans_apart(1),
    "filler after its last pixel": put(pictures.jpeg(), 0xD9, bytes(64)),
}
"""What decodes to the right pixels, by the warning that it gets."""

BASELINE, PROGRESSIVE, RESTARTS = GOOD["baseline"], GOOD["progressive"], GOOD["restart markers beyond seven"]


def _changed(data: bytes, code: int, at: int, new: bytes) -> bytes:
    """Overwrite bytes of the first segment of a kind, counted from the start of its content."""
    start = data.index(bytes((0xFF, code))) + 4 + at
    return data[:start] + new + data[start + len(new) :]


def _without(data: bytes, code: int) -> bytes:
    """Leave all segments of a kind out."""
    kept = [part for part in segments(data) if part[1] != code]
    return b"\xff\xd8" + b"".join(kept) + data[pixels(data)[0] :]


def _in_pixels(data: bytes, new: bytes) -> bytes:
    start, end = pixels(data)
    middle = (start + end) // 2
    assert data[middle - 1] != 0xFF
    return data[:middle] + new + data[middle:]


def _swapped_marks(data: bytes) -> bytes:
    return data.replace(b"\xff\xd1", b"\xff\x00").replace(b"\xff\xd2", b"\xff\xd1", 1)


def huffman(data: bytes, counts: bytes, values: bytes, table: int = 0) -> bytes:
    """Add a Huffman table right before the pixels."""
    body = bytes((table,)) + counts.ljust(16, b"\0") + values
    return put(data, 0xDA, b"\xff\xc4" + struct.pack(">H", 2 + len(body)) + body)


def scans(data: bytes) -> list[bytes]:
    """Return the scans of a progressive file, each with the tables before it."""
    ends = [found.end() for found in re.finditer(rb"\xff\xda.{8,}?(?=\xff[\xc4\xda\xd9])", data, re.DOTALL)]
    starts = [data.index(b"\xff\xc4"), *ends]
    return [data[start:end] for start, end in itertools.pairwise(starts)]


def _lost_channel() -> bytes:
    data = GOOD["scans apart"]
    return data[: data.rindex(b"\xff\xda")] + b"\xff\xd9"


def _lost_scan() -> bytes:
    """Overwrite the mark of a scan, so that decoders skip it as stray bytes."""
    scan = scans(PROGRESSIVE)[2]
    return PROGRESSIVE.replace(scan, scan.replace(b"\xff\xda", b"\0\0"))


BROKEN: dict[str, tuple[bytes, str]] = {
    "second start": (put(BASELINE, 0xDB, b"\xff\xd8"), "marker 0xd8 is out of place"),
    "reserved marker": (put(BASELINE, 0xDB, b"\xff\xf0\0\2"), "marker 0xf0 is out of place"),
    "end at once": (b"\xff\xd8\xff\xd9", "no pixels"),
    "end before the pixels": (put(BASELINE, 0xDA, b"\xff\xd9"), "no pixels"),
    "two frames": (put(BASELINE, 0xC0, next(p for p in segments(BASELINE) if p[1] == 0xC0)), "two frames"),
    "frame after the pixels": (put(BASELINE, 0xD9, b"\xff\xc0\0\x0b\x08\0\x20\0\x30\1\1\x11\0"), "two frames"),
    "pixels before the frame": (_without(BASELINE, 0xC0), "before its size"),
    "no width": (_changed(BASELINE, 0xC0, 3, b"\0\0"), "size is zero"),
    "no height": (_changed(BASELINE, 0xC0, 1, b"\0\0"), "size is zero"),
    "too wide": (_changed(BASELINE, 0xC0, 3, b"\xff\xff"), "65535 x 32 pixels"),
    "two channels": (_changed(BASELINE, 0xC0, 5, b"\2"), "2 channels"),
    "12 bits": (_changed(BASELINE, 0xC0, 0, b"\x0c"), "12 bits a sample"),
    "sampled 5 times": (_changed(BASELINE, 0xC0, 7, b"\x51"), "no possible way"),
    "sampled 0 times": (_changed(BASELINE, 0xC0, 7, b"\x10"), "no possible way"),
    "sampled 3 to 2": (_changed(BASELINE, 0xC0, 7, b"\x31\0\2\x21"), "fractions"),
    "too many blocks": (_changed(BASELINE, 0xC0, 7, b"\x44"), "too finely"),
    "channel of no frame": (_changed(BASELINE, 0xDA, 1, b"\x09"), "does not exist"),
    "one channel twice": (_changed(BASELINE, 0xDA, 3, b"\1"), "does not exist"),
    "five channels in a scan": (_changed(BASELINE, 0xDA, 0, b"\5"), "scan header does not fit"),
    "no quantization": (_without(BASELINE, 0xDB), "quantization table is missing"),
    "quantization table 4": (_changed(BASELINE, 0xDB, 0, b"\4"), "numbers a quantization table 4"),
    "quantization too short": (put(BASELINE, 0xDA, b"\xff\xdb\0\5\0\1\1"), "does not fit its segment"),
    "quantization of no length": (put(BASELINE, 0xDA, b"\xff\xdb\0\1"), "does not fit its segment"),
    "huffman table 4": (huffman(BASELINE, b"\1", b"\0", table=4), "numbers a Huffman table 4"),
    "huffman table cut": (put(BASELINE, 0xDA, b"\xff\xc4\0\5\0\1\1"), "does not fit its segment"),
    "huffman table too long": (huffman(BASELINE, b"\0\0\0\0\0\0\0\0\xff\xff", bytes(510)), "does not fit"),
    "huffman of no length": (put(BASELINE, 0xDA, b"\xff\xc4\0\0"), "impossible length"),
    "huffman codes of all ones": (huffman(BASELINE, b"\2", b"\0\1"), "table is broken"),
    "huffman size of 16 bits": (huffman(BASELINE, b"\1", b"\x10"), "table is broken"),
    "huffman table missing": (_without(PROGRESSIVE, 0xC4), "Huffman table is missing"),
    "huffman table 2 missing": (_changed(BASELINE, 0xDA, 2, b"\x20"), "Huffman table is missing"),
    "restart interval of 3 bytes": (put(BASELINE, 0xDA, b"\xff\xdd\0\5\0\0\0"), "does not fit its segment"),
    "arithmetic table 32": (put(BASELINE, 0xDA, b"\xff\xcc\0\4\x20\0"), "arithmetic"),
    "arithmetic bounds": (put(BASELINE, 0xDA, b"\xff\xcc\0\4\0\x01"), "arithmetic"),
    "arithmetic of odd length": (put(BASELINE, 0xDA, b"\xff\xcc\0\3\0"), "arithmetic"),
    "marker among the pixels": (_in_pixels(BASELINE, b"\xff\xf7"), "does not fit|out of place"),
    "second file among the pixels": (_in_pixels(BASELINE, BASELINE), "marker 0xd8 is out of place"),
    "restart marker without need": (_in_pixels(BASELINE, b"\xff\xd0"), "restart markers"),
    "restart marker lost": (RESTARTS.replace(b"\xff\xd3", b"", 1), "restart markers"),
    "restart marker repeated": (RESTARTS.replace(b"\xff\xd3", b"\xff\xd3\xff\xd3", 1), "restart markers"),
    "restart markers swapped": (_swapped_marks(RESTARTS), "restart markers"),
    "restart interval changed": (_changed(RESTARTS, 0xDD, 0, b"\0\7"), "restart markers"),
    "second scan of all": (put(BASELINE, 0xD9, BASELINE[BASELINE.index(b"\xff\xda") : -2]), "goes on after"),
    "channel lost": (_lost_channel(), "a channel has no pixels"),
    "impossible band": (_changed(PROGRESSIVE, 0xDA, 7, b"\0\5"), "impossible parameters"),
    "impossible step": (_changed(PROGRESSIVE, 0xDA, 9, b"\x31"), "impossible parameters"),
    "impossible shift": (_changed(PROGRESSIVE, 0xDA, 9, b"\x0e"), "impossible parameters"),
    "refined too early": (_changed(PROGRESSIVE, 0xDA, 9, b"\x21"), "contradict"),
    "scan repeated": (PROGRESSIVE.replace(scans(PROGRESSIVE)[1], scans(PROGRESSIVE)[1] * 2), "contradict"),
    "detail before the rest": (PROGRESSIVE.replace(scans(PROGRESSIVE)[0], b""), "contradict|missing"),
    "scan overwritten": (_lost_scan(), "contradict|beyond recognition"),
    "very many scans": (
        put(PROGRESSIVE, 0xD9, b"\xff\xda\0\x08\1\1\0\0\0\0" * 600),
        "more than 500 scans|contradict",
    ),
}
"""Files that are to be refused, and what is to be said."""

SILENT = {
    "restart marker without need",
    "restart marker lost",
    "restart marker repeated",
    "restart markers swapped",
    "restart interval changed",
    "channel lost",
    "refined too early",
    "scan repeated",
    "detail before the rest",
    "scan overwritten",
    "very many scans",
}
"""Those of them that TensorFlow's decoder takes: to wrong pixels, or in no end of time."""
