"""Fuzz one target by libFuzzer: `python -m fuzz.search TARGET SECONDS FOLDER`."""

import hashlib
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["odbuild.trainer", "google.protobuf.text_format", "yaml"]):
    # The readers load these two when they first need them, and nothing is followed that is loaded later than here.
    import google.protobuf.text_format  # noqa: F401
    import yaml  # noqa: F401

    from fuzz.targets import TARGETS, attempt, prepare

LONGEST = 8192
"""Bytes of an input."""

MOST_MB = 1024
HANGS = 60
"""Seconds after which an input hangs."""

MEMORY = Path("/dev/shm")  # noqa: S108  a folder of one's own is made in it


def main(name: str, seconds: int, work: Path) -> None:
    """Search, and keep an input for each place that crashes; it goes on behind each."""
    target = TARGETS[name]
    corpus, crashes = work / name, work / "crashes"
    for folder in (corpus, crashes):
        folder.mkdir(parents=True, exist_ok=True)
    for data in target.seeds():
        (corpus / hashlib.sha1(data, usedforsecurity=False).hexdigest()).write_bytes(data)
    words = work / f"{name}.dict"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words))
    place = prepare(Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None)))

    warnings.simplefilter("error")

    def one(data: bytes) -> None:
        try:
            attempt(target, place, data)
        except Exception as error:  # noqa: BLE001  whatever it is, it is a crash
            _keep(crashes, name, data, error)

    options = [
        f"-max_total_time={seconds}",
        f"-max_len={LONGEST}",
        f"-rss_limit_mb={MOST_MB}",
        f"-timeout={HANGS}",
    ]
    options += [f"-dict={words}", f"-artifact_prefix={crashes}/{name}-", "-print_final_stats=1", "-verbosity=1"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one)
    atheris.Fuzz()


def _keep(crashes: Path, name: str, data: bytes, error: Exception) -> None:
    """Write the shortest input for each place, with its traceback."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    path = crashes / f"{name}-{type(error).__name__}-{Path(frame.filename).stem}-{frame.lineno}"
    if not path.exists() or len(data) < path.stat().st_size:
        path.write_bytes(data)
        path.with_name(f"{path.name}.txt").write_text("".join(traceback.format_exception(error)))


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
