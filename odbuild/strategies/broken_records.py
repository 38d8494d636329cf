"""Ways to break the rules of records and label maps: sound ones are drawn, and something changed or added."""

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from odbuild.trainer.convert import convert
from odbuild.trainer.dataset import Box, Picture
from odbuild.trainer.findings import quote
from odbuild.trainer.index import Side, save
from odbuild.trainer.labels import label_ids, to_pbtxt
from odbuild.trainer.policies import Policies
from odbuild.trainer.readers.tfrecord import FEATURES
from odbuild.trainer.rules.census import MANY_PICTURES
from odbuild.trainer.rules.records import UNEVEN

from . import annotations, labelmaps, pictures, protowire, samples, shards
from .labelmaps import LabelMap
from .samples import SIDES, SMALL
from .ways import Broken, breaks, register, under

Parts = dict[str, list[list[bytes]]]


@dataclass(kw_only=True, slots=True)
class Shelf:
    """A folder of records in the making.

    Attributes:
        labels: the classes, in the order of their numbers.
        keys: of the pictures that were drawn.
        parts: the encoded examples of each shard, by side.
        fresh: how many pictures were put beside them.
    """

    labels: tuple[str, ...]
    keys: tuple[str, ...]
    parts: Parts
    fresh: int = 0

    def named(self) -> dict[str, bytes]:
        """Return the files of records, by name."""
        return {
            shards.shard_name(side, number, len(parts)): shards.shard(part)
            for side, parts in self.parts.items()
            for number, part in enumerate(parts)
        }

    def files(self) -> dict[str, bytes]:
        """Return the whole folder, by name."""
        return {**self.named(), labelmaps.NAME: to_pbtxt(self.labels).encode()}

    def beside(self, draw: st.DrawFn) -> dict[str, Any]:
        """Draw the features of a picture that is not there yet, with two boxes or three."""
        label = st.sampled_from(self.labels)
        boxes = annotations.tiles("", draw(st.integers(2, 3)))
        found = tuple(_relabelled(box, draw(label)) for box in boxes)
        image = pictures.image(seed=pictures.FRESH + self.fresh)
        self.fresh += 1
        picture = Picture(key=f"more-{self.fresh}{image.suffix}", boxes=found)
        return dict(shards.features(shards.example(picture, image, label_ids(self.labels))))

    def insert(self, draw: st.DrawFn, record: bytes) -> str:
        """Put a record among the others, and return where it stands."""
        side = draw(st.sampled_from(SIDES))
        number = draw(st.integers(0, len(self.parts[side]) - 1))
        part = self.parts[side][number]
        at = draw(st.integers(0, len(part)))
        part.insert(at, record)
        return f"{shards.shard_name(side, number, len(self.parts[side]))}, record {at}"


def _relabelled(box: Box, label: str) -> Box:
    return Box(label=label, ymin=box.ymin, xmin=box.xmin, ymax=box.ymax, xmax=box.xmax, index=box.index)


@st.composite
def _shelves(draw: st.DrawFn) -> Shelf:
    """Draw a folder of records, each in one of the forms that protobuf allows."""
    found = draw(shards.records(most=4))
    return Shelf(
        labels=found.labels,
        keys=tuple(one.key for parts in found.shards.values() for part in parts for one in part),
        parts={side: [[*part] for part in found.encoded(side)] for side in found.shards},
    )


Change = Callable[[st.DrawFn, Shelf], "tuple[str, dict[str, bytes]]"]
Edit = Callable[[st.DrawFn, Shelf, dict[str, Any]], object]


def spoils(code: str, *also: str) -> Callable[[Change], Change]:
    """Register the decorated change of a folder of records, which returns where and the files."""

    @st.composite
    def made(draw: st.DrawFn, change: Change) -> Broken:
        what, files = change(draw, draw(_shelves()))
        others = SMALL.union(also) - {code}
        return Broken(code=code, what=what, files=under("data", files), also=others)

    def take(change: Change) -> Change:
        register(code, made(change))
        return change

    return take


def edits(code: str, *also: str) -> Callable[[Edit], Edit]:
    """Register the decorated change of the features of one record more."""

    def take(edit: Edit) -> Edit:
        @spoils(code, *also)
        def change(draw: st.DrawFn, shelf: Shelf) -> tuple[str, dict[str, bytes]]:
            features = shelf.beside(draw)
            edit(draw, shelf, features)
            record = protowire.example(features, draw(protowire.forms(list(features))))
            return shelf.insert(draw, record), shelf.files()

        return edit

    return take


@spoils("REC501")
def _damaged(draw: st.DrawFn, shelf: Shelf) -> tuple[str, dict[str, bytes]]:
    name, found = _one_more(draw, shelf)
    data = bytearray(shards.shard(found))
    at = draw(st.integers(0, len(data) - 1))
    data[at] ^= 1 << draw(st.integers(0, 7))
    return f"{name}, byte {at}", {**shelf.files(), name: bytes(data)}


@spoils("REC501")
def _cut(draw: st.DrawFn, shelf: Shelf) -> tuple[str, dict[str, bytes]]:
    name, found = _one_more(draw, shelf)
    data = shards.shard(found)
    # A file that ends between two records looks whole; an empty one does not.
    whole = {len(shards.shard(found[:count])) for count in range(1, len(found))}
    end = draw(st.integers(0, len(data) - 1).filter(lambda at: at not in whole))
    return f"{name} cut after {end} of {len(data)} bytes", {**shelf.files(), name: data[:end]}


def _one_more(draw: st.DrawFn, shelf: Shelf) -> tuple[str, list[bytes]]:
    """Put a shard beside those that are there, and return its name and records."""
    count = draw(st.integers(1, 2))
    found = [protowire.example(shelf.beside(draw), protowire.Form()) for _ in range(count)]
    parts = shelf.parts[draw(st.sampled_from(SIDES))]
    at = draw(st.integers(0, len(parts)))
    parts.insert(at, found)
    side = next(side for side in SIDES if shelf.parts[side] is parts)
    return shards.shard_name(side, at, len(parts)), found


@spoils("REC502")
def _incomplete(draw: st.DrawFn, shelf: Shelf) -> tuple[str, dict[str, bytes]]:
    name, _ = _one_more(draw, shelf)
    files = shelf.files()
    del files[name]
    return name, files


@spoils("REC503")
def _noise(draw: st.DrawFn, shelf: Shelf) -> tuple[str, dict[str, bytes]]:
    return shelf.insert(draw, draw(st.binary(max_size=40))), shelf.files()


@edits("REC503")
def _no_picture(draw: st.DrawFn, _shelf: Shelf, features: dict[str, Any]) -> None:
    if draw(st.booleans()):
        del features["image/encoded"]
    else:
        features["image/encoded"] = [b""]


@edits("REC503")
def _other_type(draw: st.DrawFn, _shelf: Shelf, features: dict[str, Any]) -> None:
    key = draw(st.sampled_from([key for key in FEATURES if key in features]))
    kinds = {"bytes": b"1", "float": 1.5, "int64": 1}
    features[key] = [draw(st.sampled_from([value for kind, value in kinds.items() if kind != FEATURES[key]]))]


@edits("REC503")
def _masks(draw: st.DrawFn, _shelf: Shelf, features: dict[str, Any]) -> None:
    features[f"image/object/{draw(st.sampled_from(['mask', 'weight', 'keypoint/x']))}"] = [b"\x89PNG"]


@spoils("REC503")
def _unread(draw: st.DrawFn, shelf: Shelf) -> tuple[str, dict[str, bytes]]:
    strange = draw(protowire.noises)
    record = protowire.example(shelf.beside(draw), protowire.Form(pieces=not strange, strange=strange))
    return shelf.insert(draw, record), shelf.files()


@edits("REC504", "ANN003")
def _ragged(draw: st.DrawFn, _shelf: Shelf, features: dict[str, Any]) -> None:
    key = draw(st.sampled_from([key for key in FEATURES if key.startswith("image/object/") and key in features]))
    features[key] = [*features[key], features[key][0]] if draw(st.booleans()) else features[key][1:]


@edits("REC505")
def _contrary(draw: st.DrawFn, shelf: Shelf, features: dict[str, Any]) -> None:
    numbers = list(features["image/object/class/label"])
    at = draw(st.integers(0, len(numbers) - 1))
    others = st.integers(0, len(shelf.labels) + 3).filter(lambda number: number != numbers[at])
    numbers[at] = draw(others)
    features["image/object/class/label"] = numbers


@edits("REC506")
def _other_size(draw: st.DrawFn, _shelf: Shelf, features: dict[str, Any]) -> None:
    side = draw(st.sampled_from(["image/width", "image/height"]))
    features[side] = [draw(st.integers(1, 9999).filter(lambda size: size != pictures.LEAST))]


@edits("REC507")
def _unnamed(draw: st.DrawFn, shelf: Shelf, features: dict[str, Any]) -> None:
    odd = ["", "/more.jpg", "../more.jpg", "more//a.jpg", "more\\a.jpg", "more-\n.jpg"]
    taken = [key for key in shelf.keys if key.endswith(".jpg")]
    name = draw(st.sampled_from([*odd, *taken]))
    features["image/filename"] = features["image/source_id"] = [name.encode()]


@edits("BOX203")
def _not_finite(draw: st.DrawFn, _shelf: Shelf, features: dict[str, Any]) -> None:
    key = f"image/object/bbox/{draw(st.sampled_from(['xmin', 'ymin', 'xmax', 'ymax']))}"
    edges = list(features[key])
    edges[draw(st.integers(0, len(edges) - 1))] = draw(st.sampled_from([math.nan, math.inf, -math.inf]))
    features[key] = edges


@spoils("REC508", "LBL304")
def _uneven(draw: st.DrawFn, shelf: Shelf) -> tuple[str, dict[str, bytes]]:
    side = draw(st.sampled_from(SIDES))
    counts = draw(st.permutations([1, draw(st.integers(UNEVEN + 1, MANY_PICTURES - 2))]))
    for count in counts:
        found = [protowire.example(shelf.beside(draw), protowire.Form()) for _ in range(count)]
        shelf.parts[side].append(found)
    return f"{counts} records in shards that {side}", shelf.files()


@breaks("REC509")
@st.composite
def _lost(draw: st.DrawFn) -> Broken:
    sample = draw(samples.datasets(least=2, most=3))
    name = draw(st.sampled_from(SIDES))
    what = draw(st.sampled_from(["pictures", "boxes", "classes"]))
    more = draw(st.integers(1, 9))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out")
        made = convert(sample.write(Path(folder, "in")), out, Policies(), lambda _: None, processes=1)
        side: Side = getattr(made, name)
        if what == "classes":
            label = draw(st.sampled_from(list(side.classes)))
            counts: dict[str, Any] = {what: {**side.classes, label: side.classes[label] + more}}
        else:
            counts = {what: getattr(side, what) + more}
        sides: dict[str, Any] = {name: replace(side, **counts)}
        save(replace(made, **sides), Policies())
        files = {path.name: path.read_bytes() for path in out.iterdir()}
    return Broken(code="REC509", what=f"{what} + {more}", files=under("data", files), also=SMALL)


# Label maps

Rewrite = Callable[[st.DrawFn, LabelMap], "tuple[str, bytes]"]


def rewrites(code: str, *, least: int = 1, file: str = "labels.pbtxt") -> Callable[[Rewrite], Rewrite]:
    """Register the decorated change of a label map, which returns what was done and the file."""

    @st.composite
    def made(draw: st.DrawFn, rewrite: Rewrite) -> Broken:
        what, data = rewrite(draw, draw(labelmaps.label_maps(least=least)))
        return Broken(code=code, what=what, files={file: data}, paths=(file,))

    def take(rewrite: Rewrite) -> Rewrite:
        register(code, made(rewrite))
        return rewrite

    return take


def _some(draw: st.DrawFn, found: LabelMap) -> int:
    return draw(st.integers(0, len(found.items) - 1))


def _with(found: LabelMap, at: int, entry: str) -> bytes:
    return "".join([*found.entries[:at], entry, *found.entries[at + 1 :]]).encode()


@rewrites("MAP601")
def _field_twice(draw: st.DrawFn, found: LabelMap) -> tuple[str, bytes]:
    at = _some(draw, found)
    more = draw(st.sampled_from(['name: "other"', "id: 7", "id: 7 id: 8"]))
    entry = found.entries[at].rstrip()
    return f"item {at}: {more}", _with(found, at, f"{entry[:-1]}{more} {entry[-1]}\n")


@rewrites("MAP601")
def _not_text(draw: st.DrawFn, found: LabelMap) -> tuple[str, bytes]:
    lead = draw(st.sampled_from([b"\xef\xbb\xbf", b"<!DOCTYPE html>", b"\xff\xfe", b"items {}\n", b'"\n', b"{"]))
    return f"{lead!r} at the start", lead + found.text.encode()


@rewrites("MAP601")
def _unescaped(draw: st.DrawFn, found: LabelMap) -> tuple[str, bytes]:
    at = _some(draw, found)
    mark = draw(st.sampled_from("\"'"))
    return f"item {at}", _with(found, at, f"item {{ name: {mark}O{mark}Brien{mark} id: {at + 1} }}\n")


@rewrites("MAP602")
def _no_number(draw: st.DrawFn, found: LabelMap) -> tuple[str, bytes]:
    name = draw(labelmaps.quoted(found.items[0].name))
    number = draw(st.sampled_from(["", "id: 0", "id: -1", "id: -2147483648"]))
    return f"item 0: {number or 'no id'}", _with(found, 0, f"item {{ name: {name} {number} }}\n")


@rewrites("MAP602")
def _no_name(draw: st.DrawFn, found: LabelMap) -> tuple[str, bytes]:
    at = _some(draw, found)
    name = draw(st.sampled_from(["", 'name: ""']))
    return f"item {at}", _with(found, at, f"item {{ id: {at + 1} {name} }}\n")


@rewrites("MAP602", least=2)
def _same(draw: st.DrawFn, found: LabelMap) -> tuple[str, bytes]:
    at, other = draw(st.permutations(range(len(found.items))))[:2]
    number, name = at + 1, found.items[at].name
    if draw(st.booleans()):
        number = other + 1
    else:
        name = found.items[other].name
    return f"item {at}", _with(found, at, f"item {{ name: {draw(labelmaps.quoted(name))} id: {number} }}\n")


@rewrites("MAP602")
def _gap(draw: st.DrawFn, found: LabelMap) -> tuple[str, bytes]:
    last = len(found.items) - 1
    name = draw(labelmaps.quoted(found.items[last].name))
    number = draw(st.integers(last + 2, 2**31 - 1))
    return f"item {last}: id {number}", _with(found, last, f"item {{ name: {name} id: {number} }}\n")


@rewrites("MAP602")
def _empty(draw: st.DrawFn, _found: LabelMap) -> tuple[str, bytes]:
    return "no item", draw(st.sampled_from([b"", b"\n", b"# nothing\n"]))


@rewrites("MAP603", least=2)
def _shuffled(draw: st.DrawFn, found: LabelMap) -> tuple[str, bytes]:
    sound = list(range(len(found.items)))
    order = draw(st.permutations(sound).filter(lambda it: it != sound))
    return f"items in the order {order}", "".join(found.entries[at] for at in order).encode()


@breaks("MAP603")
@st.composite
def _dealt_out(draw: st.DrawFn) -> Broken:
    names = draw(st.lists(annotations.labels(), min_size=3, max_size=4, unique_by=annotations.folded))
    boxes = [_relabelled(box, name) for box, name in zip(annotations.tiles("", len(names)), names, strict=True)]
    order = draw(st.permutations(names).filter(lambda it: it not in (names, sorted(names))))
    image = draw(pictures.images())
    sample = samples.Sample(
        declared=tuple(names),
        pictures=(Picture(key=f"a{image.suffix}", boxes=tuple(boxes)),),
        images={f"a{image.suffix}": image},
    )
    files = {**under("data", sample.files()), "labels.pbtxt": to_pbtxt(order).encode()}
    return Broken(
        code="MAP603",
        what=", ".join(map(quote, order)),
        files=files,
        paths=("data", "labels.pbtxt"),
        also=SMALL,
    )
