"""Label maps: the classes and their numbers, in all the spellings that a text proto allows."""

from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_encoding
from hypothesis import strategies as st

from odbuild.trainer.labels import Item

from . import annotations
from .files import put

NAME = "label_map.pbtxt"


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelMap:
    """A label map.

    Attributes:
        items: its entries, numbered from 1.
        entries: the text of each.
    """

    items: tuple[Item, ...]
    entries: tuple[str, ...]

    @property
    def text(self) -> str:
        """Return the file as text."""
        return "".join(self.entries)

    def write(self, folder: Path) -> Path:
        """Write it into a folder, and return its path."""
        return put(folder, {NAME: self.text.encode()}) / NAME


@st.composite
def label_maps(draw: st.DrawFn, *, labels: st.SearchStrategy[str] | None = None, least: int = 1) -> LabelMap:
    """Draw a label map that no rule has anything to say about.

    Args:
        draw: given by Hypothesis.
        labels: names of classes; all that a file can hold by default.
        least: classes.
    """
    one = annotations.labels(odd=True) if labels is None else labels
    names = draw(st.lists(one, min_size=least, max_size=5, unique=True))
    shown = draw(st.sampled_from([st.just(""), annotations.labels(odd=True)]))
    items = [Item(name=name, id=number, display_name=draw(shown)) for number, name in enumerate(names, start=1)]
    return LabelMap(items=tuple(items), entries=tuple(draw(_entries(item)) for item in items))


@st.composite
def _entries(draw: st.DrawFn, item: Item) -> str:
    """Draw one of the spellings of an entry."""
    fields = [f"name: {draw(quoted(item.name))}", f"id: {item.id}"]
    if item.display_name:
        fields.append(f"display_name: {draw(quoted(item.display_name))}")
    fields = draw(st.permutations(fields))
    gap = draw(st.sampled_from(["\n  ", " ", ", ", "\t", "\n# of upstream's\n"]))
    start, end = draw(st.sampled_from([("item {", "}\n"), ("item: {", "}\n"), ("item<", ">\n"), ("item{", "}")]))
    lead = "" if gap == ", " else gap
    return f"{start}{lead}{gap.join(fields)}\n{end}"


@st.composite
def quoted(draw: st.DrawFn, text: str) -> str:
    """Draw one of the spellings of a text: either kind of quotation mark, with escapes or without."""
    mark = draw(st.sampled_from("\"'"))
    as_is = draw(st.booleans())
    return f"{mark}{text_encoding.CEscape(text.encode(), as_utf8=as_is)}{mark}"
