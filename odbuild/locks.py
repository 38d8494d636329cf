"""The hash locks of the runtime rows, compiled from their `.in` files by uv.

A tool of the project, not of its users: it needs `uv` on PATH and the package index.
`nox -s lock` calls `compile_all`.
"""

import re
import subprocess
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .errors import OdbuildError
from .trainer.runtime.interpreter import REQUIREMENTS
from .trainer.runtime.rows import Row, load_rows

#: Platforms with wheels of TensorFlow; there are none for musl or Windows machines.
PLATFORM = re.compile(r"any|manylinux\w*_(x86_64|aarch64)|macosx\w+")
HASH = re.compile(r"--hash=(sha256:[0-9a-f]{64})")
HEADER = "# Compiled from {source} by `nox -s lock`: edit that file, not this one.\n"


def compile_all(say: Callable[[str], None], *, folder: Path = REQUIREMENTS, upgrade: bool = False) -> None:
    """Write the lock of each row and device beside its `.in` file.

    Versions that the present locks hold stay where they still fit.

    Args:
        say: told each lock that was written.
        folder: where the `.in` files lie.
        upgrade: take the newest versions instead of those in the present locks.

    Raises:
        OdbuildError: uv failed or is missing, or a package has no wheel that fits.
    """
    for row in load_rows():
        for device in sorted(row.gigabytes):
            source = folder / f"{row.name}-{device}.in"
            target = source.with_suffix(".txt")
            present = target.read_text() if target.exists() and not upgrade else ""
            target.write_text(HEADER.format(source=source.name) + compile_lock(source, row, present))
            say(f"{target.name}: {target.read_text().count('==')} packages")


def compile_lock(source: Path, row: Row, present: str = "") -> str:
    """Return the lock of one `.in` file: pins, markers, and the hashes of the wheels that fit the row.

    Args:
        source: the `.in` file; an `.override` file beside it is used too.
        row: gives the Pythons whose wheels are of use.
        present: an earlier lock whose versions are kept where they still fit.
    """
    with tempfile.TemporaryDirectory() as folder:
        text, listing = Path(folder, "lock.txt"), Path(folder, "pylock.toml")
        text.write_text(present)
        _uv(source, row, text, "--generate-hashes")
        _uv(source, row, listing, "--format=pylock.toml", f"--constraints={text}")
        fitting = set(_fitting_hashes(tomllib.loads(listing.read_text()), row))
        return "".join(_trimmed(text.read_text(), fitting))


def fits(wheel: str, pythons: tuple[str, ...]) -> bool:
    """Tell whether a wheel of this file name installs on one of these Pythons, on a platform we serve."""
    tag, abi, platforms = wheel.removesuffix(".whl").rsplit("-", 3)[1:]
    minors = [int(python.split(".")[1]) for python in pythons]
    return any(PLATFORM.fullmatch(platform) for platform in platforms.split(".")) and any(
        part == "py3"
        or (abi == "abi3" and int(part.removeprefix("cp3")) <= max(minors))
        or part == abi == f"cp3{minor}"
        for part in tag.split(".")
        if part == "py3" or part.startswith("cp3")
        for minor in minors
    )


def _uv(source: Path, row: Row, target: Path, *options: str) -> None:
    override = source.with_suffix(".override")
    command = ["uv", "pip", "compile", str(source), "--universal", "--only-binary=:all:", *options]
    command += [f"--python-version={row.pythons[0]}", "--no-header", "--no-annotate", "--quiet"]
    command += [f"--overrides={override}"] if override.exists() else []
    try:
        done = subprocess.run([*command, "-o", str(target)], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise OdbuildError("uv is not on PATH. Run `nox -s lock`, which installs it.") from error
    if done.returncode:
        raise OdbuildError(f"uv could not lock {source.name}: {done.stderr.strip()}")


def _fitting_hashes(listing: dict[str, Any], row: Row) -> Iterator[str]:
    for package in listing["packages"]:
        for wheel in package.get("wheels", ()):
            name = str(wheel.get("name") or str(wheel["url"]).rsplit("/", 1)[1])
            if fits(name, row.pythons):
                yield f"sha256:{wheel['hashes']['sha256']}"


def _trimmed(lock: str, fitting: set[str]) -> Iterator[str]:
    for block in re.split(r"\n(?=\S)", lock.strip()):
        pin = block.split(" \\\n", 1)[0]
        hashes = [found for found in HASH.findall(block) if found in fitting]
        if not hashes:
            raise OdbuildError(f"{pin} has no wheel for any Python of its row. Pin another version.")
        yield " \\\n".join([pin, *(f"    --hash={found}" for found in hashes)]) + "\n"
