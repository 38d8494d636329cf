"""Whatever is in a file, its reader gives data or an error of the project's own, tried on some damage."""

import random
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from fuzz.targets import TARGETS, CostlyError, Target, attempt, prepare

ROUNDS = 400


def _changed(data: bytes, words: Sequence[bytes], other: bytes, dice: random.Random) -> bytes:
    """Change an input at one to four places."""
    for _ in range(dice.randrange(1, 5)):
        at = dice.randrange(len(data) + 1)
        to = min(len(data), at + dice.choice((0, 1, 4, 30)))
        put = (
            b"",
            dice.randbytes(to - at),
            dice.choice(words),
            data[at:to] * 2,
            bytes([(data[at] if at < len(data) else 0) ^ 1 << dice.randrange(8)]),
            other[dice.randrange(len(other) + 1) :],
        )
        data = data[:at] + dice.choice(put) + data[to:]
    return data[:8192]


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_crashes_a_reader(name: str, tmp_path: Path) -> None:
    target, folder, dice = TARGETS[name], prepare(tmp_path), random.Random(name)  # noqa: S311
    seeds = target.seeds()
    read = sum(attempt(target, folder, seed) for seed in seeds)
    assert read, "no seed is read"
    for _ in range(ROUNDS):
        data = _changed(dice.choice(seeds), target.words, dice.choice(seeds), dice)
        try:
            attempt(target, folder, data)
        except Exception as error:
            raise AssertionError(f"{name} crashes on {data!r}") from error


def test_a_crash_and_what_takes_long_are_told(tmp_path: Path) -> None:
    def broken(_folder: Path) -> None:
        raise KeyError

    def slow(_folder: Path) -> None:
        until = time.process_time() + 0.2
        while time.process_time() < until:
            pass

    known = TARGETS["labels"]
    for read, expected in ((broken, KeyError), (slow, CostlyError)):
        with pytest.raises(expected):
            attempt(Target(lay=known.lay, read=read, seeds=known.seeds, words=()), tmp_path, b"", seconds=0.1)
