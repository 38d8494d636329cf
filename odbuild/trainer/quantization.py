"""The quantization tables that most encoders use, and how to tell that damage changed one.

Decoders take any table. But one that is the table of some quality except for a value or two that lie far off
has been hit, and every block of the picture comes out wrong.
"""

from functools import cache, lru_cache

MOST_HITS = 4
"""A table that differs from a known one in more values is taken for a table of its own."""

FAR_OFF = 16
"""Least difference of a value that neither rounding nor tuning explains."""

_LUMA = (
    *(16, 11, 12, 14, 12, 10, 16, 14, 13, 14, 18, 17, 16, 19, 24, 40),
    *(26, 24, 22, 22, 24, 49, 35, 37, 29, 40, 58, 51, 61, 60, 57, 51),
    *(56, 55, 64, 72, 92, 78, 64, 68, 87, 69, 55, 56, 80, 109, 81, 87),
    *(95, 98, 103, 104, 103, 62, 77, 113, 121, 112, 100, 120, 92, 101, 103, 99),
)
_CHROMA = (17, 18, 18, 24, 21, 24, 47, 26, 26, 47, 99, 66, 56, 66, *(99,) * 50)
"""ITU-T T.81 annex K.1, in the order of the file."""

_GROUP = 8


@lru_cache
def is_hit(table: bytes) -> bool:
    """Say whether damage explains a table better than any encoder does.

    Args:
        table: its 64 values in the order of the file, a byte each.
    """
    if 0 in table:
        return True
    known = _known()
    parts = (known.get((at, table[at : at + _GROUP]), ()) for at in range(0, len(table), _GROUP))
    near = {whole for part in parts for whole in part}
    return table not in near and any(_hit(table, whole) for whole in near)


def _hit(table: bytes, known: bytes) -> bool:
    """Compare all but the first value, which some encoders keep small on purpose."""
    distances = [abs(a - b) for a, b in zip(table[1:], known[1:], strict=True) if a != b]
    return len(distances) <= MOST_HITS and max(distances, default=0) >= FAR_OFF


@cache
def _known() -> dict[tuple[int, bytes], list[bytes]]:
    """Return the tables of qualities 1 to 100 by each eight values in a row: some of them are never hit."""
    groups: dict[tuple[int, bytes], list[bytes]] = {}
    for base in (_LUMA, _CHROMA):
        for quality in range(1, 101):
            # The rule of the Independent JPEG Group's library, which nearly all encoders follow.
            percent = 5000 // quality if quality < 50 else 200 - 2 * quality
            table = bytes(min(255, max(1, (value * percent + 50) // 100)) for value in base)
            for at in range(0, len(table), _GROUP):
                groups.setdefault((at, table[at : at + _GROUP]), []).append(table)
    return groups
