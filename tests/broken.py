"""For each rule the smallest thing that breaks it and no other, made from what breaks none."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pictures
from PIL import Image

PICTURES = 110
"""So many that a fifth of them is enough to measure by, and no class is rare."""

BOXES = 2
MODEL = "ssd_mobilenet_v2"


@dataclass(frozen=True, kw_only=True)
class Case:
    """What to check, and how: the words of `Options`."""

    paths: tuple[Path, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


Maker = Callable[[Path], Case]

CASES: dict[str, Maker] = {}
"""The makers by code. Each is given an empty folder of its own."""

OTHERS: dict[str, tuple[str, ...]] = {
    # A number above num_classes is one that config and label map differ in.
}


def breaks(code: str) -> Callable[[Maker], Maker]:
    def register(make: Maker) -> Maker:
        CASES[code] = make
        return make

    return register


# Datasets


@dataclass
class Source:
    """A dataset in the making: what stands in its JSON file, and its pictures by key."""

    labels: list[str]
    annotations: dict[str, list[dict[str, Any]]]
    files: dict[str, bytes]

    def write(self, folder: Path) -> Path:
        document = {
            "version": "1.0",
            "type": "localization",
            "labels": self.labels,
            "annotations": self.annotations,
        }
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "_annotations.json").write_text(json.dumps(document))
        for key, data in self.files.items():
            pictures.write(folder, key, data)
        return folder


def sound() -> Source:
    """Return a dataset that no rule has anything to say about."""
    keys = [f"{number:03d}.jpg" for number in range(PICTURES)]
    files = {key: pictures.jpeg(64, 48, seed=number) for number, key in enumerate(keys)}
    annotations = {key: [box(number, label) for label in ("cat", "dog")] for number, key in enumerate(keys)}
    return Source(labels=["cat", "dog"], annotations=annotations, files=files)


def box(number: int, label: str) -> dict[str, Any]:
    """Return a box that no other number has: in the left half for cats, in the right half for others."""
    left, shift = (0.05 if label == "cat" else 0.5), number / 1000
    return {"x": left + shift, "y": 0.1 + shift, "x2": left + 0.3 + shift, "y2": 0.6 + shift, "label": label}


def changed(folder: Path, change: Callable[[Source], None], **options: Any) -> Case:
    source = sound()
    change(source)
    return Case(paths=(source.write(folder / "data"),), options=options)


def boxes_of(source: Source) -> list[dict[str, Any]]:
    return source.annotations["000.jpg"]


def dataset(change: Callable[[Source], None], **options: Any) -> Maker:
    return lambda folder: changed(folder, change, **options)


def put(**values: Any) -> Callable[[Source], None]:
    return lambda source: boxes_of(source)[0].update(values)


def picture(data: bytes) -> Callable[[Source], None]:
    return lambda source: source.files.update({"000.jpg": data})


def relabel(old: str, new: str, times: int) -> Callable[[Source], None]:
    """Rename the label of so many boxes."""

    def change(source: Source) -> None:
        every = [one for boxes in source.annotations.values() for one in boxes if one["label"] == old]
        for one in every[:times]:
            one["label"] = new
        source.labels = sorted({one["label"] for boxes in source.annotations.values() for one in boxes})

    return change


CASES["ANN001"] = dataset(lambda source: boxes_of(source)[0].pop("x2"))
CASES["ANN002"] = dataset(lambda source: source.annotations.update({"gone.jpg": []}))
CASES["ANN003"] = dataset(lambda source: boxes_of(source).clear())
CASES["ANN004"] = dataset(lambda source: source.labels.append("bird"))
CASES["ANN005"] = dataset(lambda source: source.annotations.update({"../up.jpg": []}))
CASES["ANN007"] = dataset(put(x2=320))
CASES["BOX201"] = dataset(put(x2=1.2))
CASES["BOX202"] = dataset(put(x=0.35, x2=0.05))
CASES["BOX205"] = dataset(
    lambda source: boxes_of(source).extend(
        box(number, "cat") | {"x": 0.01 * number} for number in range(100, 200)
    ),
    model=MODEL,
)
CASES["BOX206"] = dataset(lambda source: boxes_of(source).append(dict(boxes_of(source)[0])))
CASES["BOX207"] = dataset(put(x=0.0, y=0.0, x2=1.0, y2=1.0))
CASES["BOX208"] = dataset(lambda source: boxes_of(source).append(boxes_of(source)[0] | {"label": "dog"}))
CASES["IMG101"] = dataset(picture(pictures.jpeg()[:-200]))
CASES["IMG102"] = dataset(picture(pictures.encoded(pictures.drawing(), "GIF")))
CASES["IMG103"] = dataset(picture(pictures.jpeg(orientation=6)))
CASES["IMG105"] = dataset(picture(pictures.encoded(pictures.drawing(mode="CMYK"))))
CASES["IMG106"] = dataset(picture(pictures.encoded(Image.new("L", (5200, 5000)), "PNG")), check="structure")
CASES["IMG107"] = dataset(picture(pictures.jpeg(64, 20)))
CASES["IMG111"] = dataset(picture(pictures.jpeg()[:2] + b"\0\0\0" + pictures.jpeg()[2:]))
CASES["LBL302"] = dataset(relabel("cat", "Dog", PICTURES))
CASES["LBL303"] = dataset(relabel("cat", "bird", 9))
CASES["LBL305"] = dataset(relabel("cat", " cat", PICTURES))
