"""Ways to break the rules of datasets: a sound one is drawn, and something in it changed or put beside it."""

import json
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from hypothesis import strategies as st
from PIL import Image as Pillow

from odbuild.trainer.dataset import EDGES, Box, Picture
from odbuild.trainer.findings import place, quote
from odbuild.trainer.labels import to_pbtxt
from odbuild.trainer.rules.boxes import LEAST_FOR_UNITS
from odbuild.trainer.rules.census import MANY_PICTURES
from odbuild.trainer.rules.labels import ENOUGH_BOXES, IMBALANCE

from . import annotations, pictures, samples
from .pictures import Image
from .samples import SIDES, SMALL, Sample
from .ways import Broken, breaks, register, under

JSON = "_annotations.json"
MODEL = "ssd_mobilenet_v2"
"""A model that stretches all pictures to 300 x 300 pixels and takes 100 boxes of each."""

TWICE = "\N{SYMBOL FOR NULL}twice"
"""Stands in the document in the place of a key that was there before."""

Entry = dict[str, Any]


@dataclass(kw_only=True, slots=True)
class Draft:
    """A folder of Cloud Annotations in the making.

    Attributes:
        labels: declared.
        annotations: by key.
        files: of the pictures, by key.
        sizes: of the pictures in pixels, by key.
        more: files beside the folder.
        text: the whole of the annotations' file; None for what the above makes.
    """

    labels: list[str]
    annotations: dict[str, Any]
    files: dict[str, bytes]
    sizes: dict[str, tuple[int, int]]
    more: dict[str, bytes] = field(default_factory=dict)
    text: str | None = None

    def document(self) -> str:
        """Return what the annotations' file holds."""
        return (
            self.text
            if self.text is not None
            else json.dumps(
                {
                    "version": "1.0",
                    "type": "localization",
                    "labels": self.labels,
                    "annotations": self.annotations,
                }
            )
        )

    def some_key(self, draw: st.DrawFn) -> str:
        """Draw one of the pictures."""
        return draw(st.sampled_from(sorted(self.files)))

    def some_label(self, draw: st.DrawFn) -> str:
        """Draw one of the classes."""
        return draw(st.sampled_from(self.labels))

    def some_entry(self, draw: st.DrawFn, *, label: str | None = None) -> Entry:
        """Draw a box."""
        return entry(draw(annotations.boxes(st.just(self.some_label(draw) if label is None else label))))

    def insert(self, draw: st.DrawFn, new: object, key: str = "") -> str:
        """Put something among the boxes of a picture, and return where it stands."""
        key = key or self.some_key(draw)
        at = draw(st.integers(0, len(self.annotations[key])))
        self.annotations[key].insert(at, new)
        return place(key, at)

    def add(self, entries: Iterable[Entry], image: Image | None = None, key: str = "") -> str:
        """Put a picture beside the others, and return its key."""
        image = image or pictures.image(seed=pictures.FRESH + len(self.files))
        # No drawn name has a hyphen.
        key = key or f"more-{len(self.files)}{image.suffix}"
        self.annotations[key] = list(entries)
        self.files[key] = image.data
        self.sizes[key] = image.width, image.height
        return key


def entry(box: Box) -> Entry:
    """Return a box as Cloud Annotations writes it."""
    edges = dict(zip(EDGES, (box.xmin, box.ymin, box.xmax, box.ymax), strict=True))
    return {**edges, "label": box.label}


def draft_of(sample: Sample) -> Draft:
    """Return a dataset as a draft."""
    return Draft(
        labels=list(sample.declared),
        annotations={one.key: [entry(box) for box in one.boxes] for one in sample.pictures},
        files={key: image.data for key, image in sample.images.items()},
        sizes={key: (image.width, image.height) for key, image in sample.images.items()},
    )


Change = Callable[[st.DrawFn, Draft], str]


def changes(
    code: str,
    *also: str,
    sample: st.SearchStrategy[Sample] | None = None,
    paths: tuple[str, ...] = ("data",),
    **options: Any,
) -> Callable[[Change], Change]:
    """Register the decorated change of a draft, which returns where it was made or how."""
    base = samples.datasets(most=3) if sample is None else sample

    @st.composite
    def made(draw: st.DrawFn, change: Change) -> Broken:
        draft = draft_of(draw(base))
        what = change(draw, draft)
        files = {**under("data", {**draft.files, JSON: draft.document().encode()}), **draft.more}
        others = SMALL.union(also) - {code}
        return Broken(code=code, what=what, files=files, paths=paths, options=options, also=others)

    def take(change: Change) -> Change:
        register(code, made(change))
        return change

    return take


# The file


@changes("ANN001")
def _lacks_edges(draw: st.DrawFn, draft: Draft) -> str:
    new = draft.some_entry(draw)
    for edge in draw(st.lists(st.sampled_from(EDGES), min_size=1, max_size=len(EDGES) - 1, unique=True)):
        del new[edge]
    return draft.insert(draw, new)


@changes("ANN001")
def _cut_file(draw: st.DrawFn, draft: Draft) -> str:
    text = draft.document()
    draft.text = text[: draw(st.integers(0, len(text) - 1))]
    return f"{JSON} cut after {len(draft.text)} of {len(text)} characters"


@changes("ANN001")
def _no_box(draw: st.DrawFn, draft: Draft) -> str:
    return draft.insert(draw, draw(st.sampled_from([None, 1, "box", []])))


@changes("ANN002")
def _no_file(draw: st.DrawFn, draft: Draft) -> str:
    key = f"gone-{draw(annotations.keys()).replace('/', '-')}"
    draft.annotations[key] = [draft.some_entry(draw)] * draw(st.integers(0, 2))
    if draw(st.booleans()):
        draft.files[f"{key[:-4]}.JPG"] = pictures.image(seed=pictures.FRESH).data
    return place(key)


@changes("ANN003")
def _background(draw: st.DrawFn, draft: Draft) -> str:
    mark = {"label": draft.some_label(draw)}
    return place(draft.add([mark] * draw(st.integers(0, 1))))


@changes("ANN004")
def _declared_twice(draw: st.DrawFn, draft: Draft) -> str:
    label = draft.some_label(draw)
    draft.labels.insert(draw(st.integers(0, len(draft.labels))), label)
    return quote(label)


@changes("ANN004")
def _unused(draw: st.DrawFn, draft: Draft) -> str:
    label = _fresh(draw, draft)
    draft.labels.insert(draw(st.integers(0, len(draft.labels))), label)
    return quote(label)


@changes("ANN004")
def _undeclared(draw: st.DrawFn, draft: Draft) -> str:
    label = _fresh(draw, draft)
    return draft.insert(draw, draft.some_entry(draw, label=label), draft.add([]))


def _fresh(draw: st.DrawFn, draft: Draft) -> str:
    """Draw a label that no other one is like."""
    known = set(map(annotations.folded, draft.labels))
    return draw(annotations.labels().filter(lambda label: annotations.folded(label) not in known))


@changes("ANN005")
def _odd_key(draw: st.DrawFn, draft: Draft) -> str:
    stem = draw(annotations.stems())
    key = draw(
        st.sampled_from(["../{}", "/{}", "more-//{}", "more-/./{}", "more-/../{}", "more-\n{}", "more-\0{}"])
    )
    draft.annotations[key.format(stem)] = [draft.some_entry(draw)] * draw(st.integers(0, 1))
    return place(key.format(stem))


@changes("ANN005")
def _twins(draw: st.DrawFn, draft: Draft) -> str:
    one = draft.add([draft.some_entry(draw)], key="more-a.jpg")
    other = draw(st.sampled_from(["more-A.jpg", "MORE-a.jpg", "more-a.JPG"]))
    draft.add([draft.some_entry(draw)], key=other)
    return f"{place(one)}, {place(other)}"


@changes("ANN006")
def _repeated_key(draw: st.DrawFn, draft: Draft) -> str:
    key = draft.some_key(draw)
    new = draft.some_entry(draw)
    where = draw(st.sampled_from(["document", "annotations", "box"]))
    if where == "document":
        draft.text = draft.document()[:-1] + ', "labels": []}'
        return "labels"
    if where == "annotations":
        draft.annotations[TWICE] = [new] * draw(st.integers(0, 1))
    else:
        key = draw(st.sampled_from(sorted(new)))
        draft.insert(draw, {**new, TWICE: new[key]})
    draft.text = draft.document().replace(json.dumps(TWICE), json.dumps(key))
    return quote(key)


@changes("ANN007")
def _unit(draw: st.DrawFn, draft: Draft) -> str:
    odd: st.SearchStrategy[object] = st.one_of(
        st.sampled_from([None, True, "0.5", "", []]),
        st.integers(2, 5000),
        st.floats(1.6, 1e30),
        st.floats(-1e30, -0.6),
    )
    edge = draw(st.sampled_from(EDGES))
    return draft.insert(draw, draft.some_entry(draw) | {edge: draw(odd)})


# Boxes


@changes("BOX201")
def _outside(draw: st.DrawFn, draft: Draft) -> str:
    low, high = draw(st.sampled_from([("x", "x2"), ("y", "y2")]))
    beyond = draw(st.integers(2, 499)) / 1000
    side = draw(st.sampled_from([{low: -beyond}, {high: 1 + beyond}, {low: -beyond, high: 1 + beyond}]))
    return draft.insert(draw, draft.some_entry(draw) | side)


@changes("BOX202", sample=samples.datasets(most=2))
def _no_area(draw: st.DrawFn, draft: Draft) -> str:
    new = draft.some_entry(draw)
    key = draft.some_key(draw)
    side = draw(st.integers(0, 1))
    low, high = (("x", "x2"), ("y", "y2"))[side]
    way = draw(st.sampled_from(["flat", "turned", "speck"]))
    if way == "turned":
        new[low], new[high] = new[high], new[low]
    else:
        # Of a pixel; the left or upper edge is far enough from the other end.
        share = 0 if way == "flat" else draw(st.integers(1, 99)) / 100
        new[low] = min(new[low], 0.9)
        new[high] = new[low] + share / draft.sizes[key][side]
    return draft.insert(draw, new, key)


@changes("BOX204", model=MODEL)
def _small(draw: st.DrawFn, draft: Draft) -> str:
    width, height = draft.sizes[key := draft.some_key(draw)]
    new = draft.some_entry(draw)
    pixels = draw(st.integers(100, 150)) / 100
    left, top = min(new["x"], 0.9), min(new["y"], 0.9)
    new |= {"x": left, "y": top, "x2": left + pixels / width, "y2": top + pixels / height}
    return draft.insert(draw, new, key)


@changes("BOX205", "BOX204", "LBL304", model=MODEL)
def _many(draw: st.DrawFn, draft: Draft) -> str:
    count = draw(st.integers(101, 196))
    return place(draft.add(map(entry, annotations.tiles(draft.some_label(draw), count))))


@changes("BOX206")
def _twice(draw: st.DrawFn, draft: Draft) -> str:
    return _nearly_again(draw, draft, {})


@changes("BOX208")
def _two_labels(draw: st.DrawFn, draft: Draft) -> str:
    label = _fresh(draw, draft)
    draft.labels.append(label)
    return _nearly_again(draw, draft, {"label": label})


def _nearly_again(draw: st.DrawFn, draft: Draft, other: Entry) -> str:
    """Draw a box a second time, up to a hundredth of its sides further in."""
    key = draft.some_key(draw)
    one = draw(st.sampled_from(draft.annotations[key]))
    within = [draw(st.integers(0, 10)) / 1000 for _ in EDGES]
    width, height = one["x2"] - one["x"], one["y2"] - one["y"]
    moves = (within[0] * width, within[1] * height, -within[2] * width, -within[3] * height)
    new = {edge: one[edge] + move for edge, move in zip(EDGES, moves, strict=True)}
    return draft.insert(draw, {**one, **new, **other}, key)


@changes("BOX207")
def _whole(draw: st.DrawFn, draft: Draft) -> str:
    edges = [draw(st.integers(0, 4)) / 1000 for _ in EDGES]
    whole = {"x": edges[0], "y": edges[1], "x2": 1 - edges[2], "y2": 1 - edges[3]}
    return draft.insert(draw, {**whole, "label": draft.some_label(draw)})


@changes("BOX207")
def _stamped(draw: st.DrawFn, draft: Draft) -> str:
    one = draft.some_entry(draw)
    keys = [draft.add([one]) for _ in range(MANY_PICTURES + draw(st.integers(0, 3)))]
    return f"{place(keys[0])} and {len(keys) - 1} others"


@changes("BOX209", "BOX202", "ANN004")
def _sizes_for_corners(draw: st.DrawFn, draft: Draft) -> str:
    label = draft.some_label(draw)
    # Each begins further right than it is wide.
    draft.add(entry(box) for box in annotations.tiles(label, 2 * LEAST_FOR_UNITS) if box.xmin > 0.1)
    for boxes in draft.annotations.values():
        for one in boxes:
            one["x2"], one["y2"] = one["x2"] - one["x"], one["y2"] - one["y"]
    return "all boxes"


# Pictures


@changes("IMG101")
def _cut_picture(draw: st.DrawFn, draft: Draft) -> str:
    key = draft.some_key(draw)
    data = draft.files[key]
    # What is cut within the bytes that announce the format is a picture of none.
    end = draw(st.sampled_from([0]) | st.integers(8, len(data) - 1))
    draft.files[key] = data[:end]
    return f"{place(key)} cut after {end} of {len(data)} bytes"


@changes("IMG102")
def _other_format(draw: st.DrawFn, draft: Draft) -> str:
    form = draw(st.sampled_from(["gif", "webp", "bmp", "tiff"]))
    return place(draft.add([draft.some_entry(draw)], _encoded(form), key="more-0.jpg"))


@changes("IMG102")
def _misnamed(draw: st.DrawFn, draft: Draft) -> str:
    kind, suffix = draw(st.sampled_from([("jpeg", "png"), ("png", "jpg"), ("png", "JPEG")]))
    return place(
        draft.add([draft.some_entry(draw)], pictures.image(kind, seed=pictures.FRESH), key=f"more-0.{suffix}")
    )


@changes("IMG103")
def _turned_view(draw: st.DrawFn, draft: Draft) -> str:
    exif = Pillow.Exif()
    exif[0x0112] = draw(st.integers(2, 8))
    return place(draft.add([draft.some_entry(draw)], _encoded("jpeg", exif=exif)))


@changes("IMG105")
def _colours_of_print(draw: st.DrawFn, draft: Draft) -> str:
    return place(draft.add([draft.some_entry(draw)], _encoded("jpeg", "CMYK", quality=draw(st.integers(50, 95)))))


@changes("IMG106", check="structure")
def _huge(draw: st.DrawFn, draft: Draft) -> str:
    return place(draft.add([draft.some_entry(draw)], _gray(*draw(st.sampled_from([(5001, 5000), (5000, 5200)])))))


@changes("IMG107")
def _tiny(draw: st.DrawFn, draft: Draft) -> str:
    # A twentieth of twenty pixels, the least side of a box, is a pixel.
    sides = draw(st.permutations([draw(st.integers(20, 31)), draw(st.integers(20, 64))]))
    return place(draft.add([draft.some_entry(draw)], pictures.image("png", *sides, seed=1)))


@changes("IMG107", "BOX204", model=MODEL)
def _long(draw: st.DrawFn, draft: Draft) -> str:
    sides = draw(st.permutations([32, draw(st.integers(161, 300))]))
    return place(draft.add([draft.some_entry(draw)], pictures.image("jpeg", *sides, seed=1)))


@changes("IMG108")
def _same_file(draw: st.DrawFn, draft: Draft) -> str:
    key = draft.some_key(draw)
    width, height = draft.sizes[key]
    same = Image(
        data=draft.files[key], format="png" if key.endswith("png") else "jpeg", width=width, height=height
    )
    return place(draft.add([draft.some_entry(draw)], same))


@changes("IMG109", near_duplicates=True)
def _nearly_same(draw: st.DrawFn, draft: Draft) -> str:
    for number, key in enumerate(draft.files):
        draft.files[key] = _photograph(number, "png" if key.endswith("png") else "jpeg", 95)
    number = draw(st.integers(0, len(draft.files) - 1))
    data = _photograph(number, "jpeg", draw(st.integers(60, 90)))
    image = Image(data=data, format="jpeg", width=pictures.MOST, height=pictures.MOST)
    return place(draft.add([draft.some_entry(draw)], image))


@changes("IMG111")
def _odd_file(draw: st.DrawFn, draft: Draft) -> str:
    image = pictures.image(seed=pictures.FRESH)
    return place(draft.add([draft.some_entry(draw)], replace(image, data=draw(_odd(image.data)))))


def _odd(data: bytes) -> st.SearchStrategy[bytes]:
    """Return files that break the standard and harm no pixel."""
    stray = st.binary(min_size=1, max_size=9).filter(lambda noise: b"\xff" not in noise)
    end = 4 + int.from_bytes(data[4:6])
    return st.one_of(
        stray.map(lambda noise: data[:end] + noise + data[end:]),
        st.integers(3, 255).map(lambda version: data.replace(b"JFIF\0\1", b"JFIF\0" + bytes([version]))),
    )


@lru_cache(maxsize=256)
def _photograph(number: int, form: str, quality: int) -> bytes:
    return pictures.saved(pictures.photographs()[number], form, quality=quality)


@lru_cache(maxsize=4)
def _gray(width: int, height: int) -> Image:
    data = pictures.saved(Pillow.new("L", (width, height)), "jpeg")
    return Image(data=data, format="jpeg", width=width, height=height)


def _encoded(form: str, mode: str = "RGB", **options: Any) -> Image:
    data = pictures.saved(pictures.drawing(48, 40, pictures.FRESH).convert(mode), form, **options)
    return Image(data=data, format="jpeg", width=48, height=40)


# Labels


@changes("LBL301", paths=("data", "labels.pbtxt"))
def _unnumbered(draw: st.DrawFn, draft: Draft) -> str:
    lost = draft.some_label(draw)
    known = [label for label in draft.labels if label != lost]
    draft.more["labels.pbtxt"] = to_pbtxt([*known, _fresh(draw, draft)]).encode()
    return quote(lost)


@changes("LBL302", "LBL305")
def _alike(draw: st.DrawFn, draft: Draft) -> str:
    label = _fresh(draw, draft)
    forms = (
        label.upper(),
        label.lower(),
        label.title(),
        unicodedata.normalize("NFD", label),
        f" {label}",
        f"{label}\t",
    )
    others = [form for form in forms if form != label and annotations.folded(form) == annotations.folded(label)]
    other = draw(st.sampled_from(others))
    for one in draw(st.permutations([label, other])):
        draft.labels.append(one)
        draft.add([draft.some_entry(draw, label=one)])
    return f"{quote(label)}, {quote(other)}"


@changes("LBL303", "SPL401", sample=samples.datasets(enough=True, most=2))
def _few(draw: st.DrawFn, draft: Draft) -> str:
    # So many that the others are not fifty times as many.
    return _rare(draw, draft, draw(st.integers(4, ENOUGH_BOXES - 1)))


def _rare(draw: st.DrawFn, draft: Draft, count: int) -> str:
    """Draw so many boxes of a label of their own on pictures that are all the same."""
    label = _fresh(draw, draft)
    draft.labels.append(label)
    for number in range(count):
        shift = number / 4096
        key = f"more-{samples.ENOUGH - 1 - number}.jpg"
        draft.annotations[key].append({"x": shift, "y": 0.7, "x2": 0.2 + shift, "y2": 0.9, "label": label})
    return f"{quote(label)} has {count}"


@changes("LBL304")
def _uneven(draw: st.DrawFn, draft: Draft) -> str:
    label = _fresh(draw, draft)
    draft.labels.append(label)
    draft.add([draft.some_entry(draw, label=label)])
    count = draw(st.integers(IMBALANCE + 1, 120))
    return place(draft.add(map(entry, annotations.tiles(draft.labels[0], count))))


@changes("LBL305")
def _odd_label(draw: st.DrawFn, draft: Draft) -> str:
    label = _fresh(draw, draft)
    odd = draw(
        st.sampled_from(
            [" {}", "{} ", "{}\N{NO-BREAK SPACE}", "{}'", '"{}"', "\\{}", "\x07{}", "{}\x7f", "{0}\n{0}"]
        )
    )
    draft.labels.append(odd.format(label))
    return place(draft.add([draft.some_entry(draw, label=odd.format(label))]))


@changes("LBL305")
def _no_label(draw: st.DrawFn, draft: Draft) -> str:
    odd: st.SearchStrategy[object] = st.sampled_from(["", None, 5, True, [], "\ud800"])
    return draft.insert(draw, draft.some_entry(draw) | {"label": draw(odd)})


# Sides, sizes and groups, in tables

Move = Callable[[st.DrawFn, Sample], tuple[Sample, str]]


def moves(code: str, *also: str, sample: st.SearchStrategy[Sample] | None = None) -> Callable[[Move], Move]:
    """Register the decorated change of a dataset with sides, which returns it changed and where or how."""
    base = samples.datasets(most=4, sides=SIDES, groups=True) if sample is None else sample

    @st.composite
    def made(draw: st.DrawFn, move: Move) -> Broken:
        moved, what = move(draw, draw(base))
        others = SMALL.union(also) - {code}
        return Broken(code=code, what=what, files=under("data", moved.files("csv")), also=others)

    def take(move: Move) -> Move:
        register(code, made(move))
        return move

    return take


def _beside(draw: st.DrawFn, sample: Sample, side: str, image: Image | None = None, **more: Any) -> Picture:
    """Draw a picture that a dataset does not have yet."""
    key = f"more-{len(sample.pictures)}{image.suffix if image else '.jpg'}"
    label = draw(st.sampled_from(sample.declared))
    box = draw(annotations.boxes(st.just(label)))
    return Picture(**{"key": key, "boxes": (box,), "split": side, **more})


def _side(draw: st.DrawFn) -> str:
    return draw(st.sampled_from(SIDES))


@moves("SPL401")
def _missing(draw: st.DrawFn, sample: Sample) -> tuple[Sample, str]:
    label = "-".join(map(annotations.folded, sample.declared))
    side = _side(draw)
    box = draw(annotations.boxes(st.just(f"no {label}")))
    picture = _beside(draw, sample, side, boxes=(box,))
    return sample.with_picture(picture, pictures.image(seed=pictures.FRESH)), side


@moves("SPL402")
def _leaked(draw: st.DrawFn, sample: Sample) -> tuple[Sample, str]:
    one = draw(st.sampled_from(sample.pictures))
    image = sample.images[one.key]
    (other,) = set(SIDES) - {one.split}
    return sample.with_picture(_beside(draw, sample, other, image), image), place(one.key)


@moves("SPL403")
def _divided(draw: st.DrawFn, sample: Sample) -> tuple[Sample, str]:
    for number, side in enumerate(SIDES):
        picture = _beside(draw, sample, side, group="film")
        sample = sample.with_picture(picture, pictures.image(seed=pictures.FRESH + number))
    return sample, "film"


@moves("SPL404", sample=samples.datasets(enough=True, most=2, sides=SIDES))
def _thin(draw: st.DrawFn, sample: Sample) -> tuple[Sample, str]:
    count = draw(st.integers(1, 7))
    keys = sorted((one.key for one in sample.pictures if one.key.startswith("more-")), reverse=True)[:count]
    moved = tuple(replace(one, split=SIDES[one.key in keys]) for one in sample.pictures)
    return replace(sample, pictures=moved), f"{count} of {len(moved)} validate"


@moves("SPL405")
def _one_side(draw: st.DrawFn, sample: Sample) -> tuple[Sample, str]:
    side = draw(st.sampled_from(SIDES))
    return replace(sample, pictures=tuple(replace(one, split=side, group="") for one in sample.pictures)), side


@changes("SPL405", sample=samples.datasets(most=1))
def _one_picture(_draw: st.DrawFn, draft: Draft) -> str:
    return place(next(iter(draft.files)))


@breaks("IMG104")
@st.composite
def _other_size(draw: st.DrawFn) -> Broken:
    sample = draw(samples.datasets(most=3))
    wrong = draw(st.sampled_from(sample.pictures))
    true = sample.images[wrong.key].width, sample.images[wrong.key].height
    sides = st.integers(1, 9999)
    size = draw(st.one_of(st.just(true[::-1]), st.tuples(sides, sides)).filter(lambda it: it != true))
    body = [
        row
        for one in sample.pictures
        for row in samples.rows(one, sample.images[one.key], size if one is wrong else None)
    ]
    files = {key: image.data for key, image in sample.images.items()}
    return Broken(
        code="IMG104",
        what=f"{place(wrong.key)} of {true[0]} x {true[1]} recorded as {size[0]} x {size[1]}",
        files=under("data", {**files, "labels.csv": samples.table(body)}),
        also=SMALL,
    )
