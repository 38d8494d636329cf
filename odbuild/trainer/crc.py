"""CRC-32C, the checksum of TFRecord files and of TensorFlow's checkpoints."""

import sys
from collections.abc import Callable
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec

_MASK_DELTA = 0xA282EAD8
"""The constant that TFRecord adds to a rotated CRC, so that a CRC over stored CRCs stays useful."""


def masked_crc(*pieces: bytes | bytearray | memoryview) -> int:
    """Return the CRC-32C of all pieces one behind the other, rotated and shifted as TensorFlow stores it."""
    crc = 0
    for piece in pieces:
        crc = _crc32c(piece, crc)
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def _function() -> Callable[..., int]:
    """Return the function of the package `crc32c`, by its compiled module alone where that is found.

    The package asks for its own version as it starts, which takes as long as converting a hundred pictures.
    """
    package = None if "crc32c" in sys.modules else find_spec("crc32c")
    compiled = package and PathFinder.find_spec("crc32c._crc32c", package.submodule_search_locations)
    if not compiled or not compiled.loader:
        from crc32c import crc32c

        return crc32c
    module = module_from_spec(compiled)
    compiled.loader.exec_module(module)
    function: Callable[..., int] = module.crc32c
    return function


_crc32c = _function()
