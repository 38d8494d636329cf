"""The files that odbuild carries: the payload, the templates, and the catalogue of models."""

from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from .errors import OdbuildError


def templates() -> Traversable:
    """Return the folder of templates: inside an installed package, beside it in a clone.

    Raises:
        OdbuildError: The installation lacks them.
    """
    installed = files(__package__) / "templates"
    if installed.is_dir():
        return installed
    beside = Path(__file__).resolve().parent.parent / "templates"
    if beside.is_dir():
        return beside
    raise OdbuildError(f"{beside}: the templates are missing. Install odbuild again.")


def read_text(name: str) -> str:
    """Return the text of a data file of the package, such as `zoo.toml`."""
    return (files(__package__) / name).read_text(encoding="utf-8")


def payload_files() -> dict[str, bytes]:
    """Return the files that run on the training machine: path below `odbuild/trainer` to bytes, sorted."""
    return dict(sorted(_walk(files(__package__) / "trainer", "")))


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if _is_byproduct(entry.name):
            continue
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        else:
            yield f"{prefix}{entry.name}", entry.read_bytes()


def _is_byproduct(name: str) -> bool:
    # What Python, editors and desktops leave in a folder would change the bundle's bytes.
    return name == "__pycache__" or name.startswith(".") or name.endswith(("~", ".pyc", ".orig", ".rej"))
