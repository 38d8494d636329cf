"""What setup leaves on disk: for start.sh, for the stages after this one, and for its own next run."""

from pathlib import Path

#: In the folder of start.sh.
STATE = ".odbuild"
#: In an environment that we install into: `incomplete` until all of it is there, then `complete`.
MARK = "odbuild.state"


def leave(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    partial.replace(path)


def mark_of(prefix: Path) -> str:
    """Return how far an environment of ours came; empty where it is not ours."""
    mark = prefix / MARK
    return mark.read_text() if mark.exists() else ""
