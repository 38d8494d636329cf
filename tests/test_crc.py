"""The checksum of records, against the package that it comes from and the vectors of RFC 3720, B.4."""

import subprocess
import sys
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from odbuild.trainer import crc
from odbuild.trainer.crc import masked_crc

VECTORS = {
    bytes(32): 0x8A9136AA,
    b"\xff" * 32: 0x62A8AB43,
    bytes(range(32)): 0x46DD794E,
    bytes(range(31, -1, -1)): 0x113FDB5C,
}


def unmasked(masked: int) -> int:
    """Undo the mask, as tensorflow/core/lib/hash/crc32c.h does."""
    rotated = (masked - 0xA282EAD8) % (1 << 32)
    return (rotated >> 17 | rotated << 15) % (1 << 32)


@pytest.mark.parametrize("data", VECTORS)
def test_the_vectors_of_the_standard_hold(data: bytes) -> None:
    assert unmasked(masked_crc(data)) == VECTORS[data]


@given(st.lists(st.binary()))
def test_pieces_count_as_one(pieces: Sequence[bytes]) -> None:
    assert masked_crc(*pieces) == masked_crc(b"".join(pieces)) == masked_crc(memoryview(b"".join(pieces)))


@given(st.binary())
def test_the_package_says_the_same(data: bytes) -> None:
    import crc32c

    assert unmasked(masked_crc(data)) == crc32c.crc32c(data)


def test_where_the_package_is_already_loaded_it_is_taken() -> None:
    import crc32c

    assert crc._function() is crc32c.crc32c


def test_a_conversion_starts_without_what_takes_long() -> None:
    code = "import sys, odbuild.convert, odbuild.__main__; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "odbuild.trainer.crc" in loaded
    assert not {"crc32c", "importlib.metadata", "numpy", "PIL.Image", "multiprocessing", "tensorflow"} & {*loaded}
