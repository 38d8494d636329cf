"""The parts of a page that a script makes again: what stands between two comments that name them."""

from collections.abc import Iterable
from pathlib import Path


def put(page: Path, part: str, lines: Iterable[str]) -> None:
    """Replace a part of a page.

    Raises:
        ValueError: the page has no such part.
    """
    begin, end = f"<!-- begin of {part} -->\n", f"<!-- end of {part} -->\n"
    text = page.read_text(encoding="utf-8")
    head, found, rest = text.partition(begin)
    _, closed, tail = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"{page} has no lines {begin.strip()} and {end.strip()}")
    page.write_text("".join((head, begin, *(f"{line}\n" for line in lines), end, tail)), encoding="utf-8")
