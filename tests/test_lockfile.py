"""checkpoints.lock: what was trusted once is written down, and read back or refused."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from odbuild import lockfile
from odbuild.errors import OdbuildError
from odbuild.lockfile import Locked

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True)
LOCKED = st.builds(Locked, size=st.integers(1, 1 << 40), sha256=st.from_regex("[0-9a-f]{64}", fullmatch=True))


@given(st.lists(st.tuples(NAMES, LOCKED)))
def test_what_is_added_is_read_back_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, Locked]]
) -> None:
    one, other = (tmp_path_factory.mktemp("lock") / "checkpoints.lock" for _ in range(2))
    rows = list(dict(rows).items())
    for name, locked in rows:
        lockfile.add(one, name, locked)
    for name, locked in reversed(rows):
        lockfile.add(other, name, locked)
    assert lockfile.load(one) == lockfile.load(other) == dict(rows)
    assert not rows or one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize(
    "text",
    ["[", "a = 1", "[a]", "[a]\nsize = 1", '[a]\nsize = 1\nsha256 = "x"', "\0", '[a]\nsize = "1"\nsha256 = ""'],
)
def test_what_is_no_lock_file_is_refused_and_kept(text: str, tmp_path: Path) -> None:
    path = tmp_path / "checkpoints.lock"
    path.write_text(text)
    for touch in (lambda: lockfile.load(path), lambda: lockfile.add(path, "b", Locked(size=1, sha256="0" * 64))):
        with pytest.raises(OdbuildError, match=r"checkpoints\.lock: "):
            touch()
    assert path.read_text() == text


def test_a_full_disk_leaves_the_earlier_file(
    tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    path = tmp_path / "checkpoints.lock"
    lockfile.add(path, "a", Locked(size=1, sha256="0" * 64))
    before = path.read_bytes()
    with full_disk(50), pytest.raises(OdbuildError, match="Free some space"):
        lockfile.add(path, "b", Locked(size=1, sha256="0" * 64))
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["checkpoints.lock"]
