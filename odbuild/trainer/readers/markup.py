"""XML of annotations as a small tree: no document types, so no entities, and bounded in size and depth."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

MOST_BYTES = 4 << 20
"""Size of a file that is still read: the annotations of one picture, at some 200 bytes a box."""

DEEPEST = 64
"""Elements inside each other that are still read; Pascal VOC needs five."""


class MarkupError(ValueError):
    """Report XML that is not read. The message fits behind `it `; `line` counts from 1, 0 for the whole file."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


@dataclass(kw_only=True, slots=True)
class Element:
    """One element.

    Attributes:
        tag: its name.
        line: where it begins, from 1.
        text: all text directly in it.
        children: the elements directly in it, in order.
    """

    tag: str
    line: int
    text: str = ""
    children: list["Element"] = field(default_factory=list)

    def all(self, tag: str) -> Iterator["Element"]:
        """Yield the elements of that name directly in this one."""
        return (child for child in self.children if child.tag == tag)

    def word(self, tag: str) -> str:
        """Return the text of the first element of that name directly in this one, stripped; empty without one."""
        return next((child.text.strip() for child in self.all(tag)), "")


def load(path: Path) -> Element:
    """Parse a file and return its outermost element.

    Raises:
        MarkupError: it is not well-formed, declares a document type, or is too large or too deep.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise MarkupError(f"is larger than {MOST_BYTES:,} bytes")
    return parse(data)


def parse(data: bytes) -> Element:
    """Parse bytes and return their outermost element, as `load` does."""
    parser = expat.ParserCreate()
    parser.buffer_text = True
    top = Element(tag="", line=0)
    open_elements = [top]
    pieces: list[list[str]] = [[]]

    def start(tag: str, _attributes: dict[str, str]) -> None:
        if len(open_elements) > DEEPEST:
            raise MarkupError(f"is nested deeper than {DEEPEST} elements", parser.CurrentLineNumber)
        element = Element(tag=tag, line=parser.CurrentLineNumber)
        open_elements[-1].children.append(element)
        open_elements.append(element)
        pieces.append([])

    def end(_tag: str) -> None:
        open_elements.pop().text = "".join(pieces.pop())

    def text(data: str) -> None:
        pieces[-1].append(data)

    def refuse(*_: object) -> None:
        raise MarkupError("declares a document type, which annotations never need", parser.CurrentLineNumber)

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise MarkupError(f"is not well-formed XML: {expat.ErrorString(error.code)}", error.lineno) from error
    except (LookupError, ValueError) as error:
        if isinstance(error, MarkupError):
            raise
        raise MarkupError(f"is in an unknown encoding: {error}") from error
    return top.children[0]
