"""Pictures that look nearly the same, such as frames of one film or one photograph saved twice.

A picture is shrunk to 9 x 8 grays, and each of 64 bits says whether a place is darker than its neighbour on the
right (dHash). Saving again, shrinking and brightening change few of them.
"""

import pickle
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import combinations, pairwise
from pathlib import Path

from . import images, pool
from .jpeg import Data
from .sources import Reader, Survey
from .strict import Gray

MOST_BITS = 4
"""Bits of 64 in which pictures may differ that count as nearly the same."""

PARTS = MOST_BITS + 2
"""Stretches of the 64 bits; where at most `MOST_BITS` differ, two of them agree."""

CHUNK = 1000
"""Pictures that a process looks at in one task."""

WIDTH, HEIGHT = 9, 8

_MASKS = [(1 << 64 * (part + 1) // PARTS) - (1 << 64 * part // PARTS) for part in range(PARTS)]


def look(data: Data, kept: Gray | None = None) -> int | None:
    """Return the 64 bits of a picture's look; None where it cannot be decoded.

    Args:
        data: the file.
        kept: what `images.inspect_and_keep` gave for it, which saves decoding it again and changes no bit.
    """
    try:
        grays = images.grays(data, WIDTH, HEIGHT, kept)
    except images.ImageError:
        return None
    bits = 0
    for row in range(HEIGHT):
        for left, right in pairwise(grays[row * WIDTH : (row + 1) * WIDTH]):
            bits = bits << 1 | (left < right)
    return bits


def look_at_all(seen: Survey, root: str, work: Path, run: pool.Run, tell: pool.Tell) -> list[int | None]:
    """Return the look of every picture.

    Args:
        seen: the pictures.
        root: the dataset's folder.
        work: takes the files by which the processes talk.
        run: does the looking.
        tell: told the bytes of each picture when it was looked at.
    """
    sources = [seen.source(index, picture) for index, picture in enumerate(seen.pictures)]
    names = []
    for start in range(0, len(sources), CHUNK):
        names.append(f"look-{start:09d}")
        (work / names[-1]).write_bytes(pickle.dumps(sources[start : start + CHUNK]))
    run(partial(_look_at, root=root, work=work), names, tell)
    return [bits for name in names for bits in pickle.loads(_looks(name, work).read_bytes())]  # noqa: S301  own files


def near(looks: Sequence[int | None]) -> Iterator[tuple[int, int]]:
    """Yield places of looks that differ in at most `MOST_BITS` bits: of equal ones the first with each other."""
    first: dict[int, int] = {}
    for index, bits in enumerate(looks):
        if bits is not None and first.setdefault(bits, index) != index:
            yield first[bits], index
    for one, other in combinations(_MASKS, 2):
        table: defaultdict[int, list[int]] = defaultdict(list)
        for bits in first:
            table[bits & (one | other)].append(bits)
        for found in table.values():
            for left, right in combinations(found, 2):
                if (left ^ right).bit_count() <= MOST_BITS:
                    yield first[left], first[right]


def _look_at(names: Iterable[str], tell: pool.Tell, *, root: str, work: Path) -> None:
    reader = Reader(root)
    for name in names:
        looks = []
        for source in pickle.loads((work / name).read_bytes()):  # noqa: S301  own files
            looks.append(look(reader.read(source)))
            tell(source.length)
        # Not in the place of the sources: a cluster may do a task twice.
        _looks(name, work).write_bytes(pickle.dumps(looks))


def _looks(name: str, work: Path) -> Path:
    return work / f"{name}.looks"
