"""For each rule the smallest thing that breaks it and no other, made from what breaks none."""

import hashlib
import io
import json
import math
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pictures
from PIL import Image

from odbuild import archive, bundle, pipeline, zoo
from odbuild.archive import Entry
from odbuild.rules import config as rules
from odbuild.strategies import protowire
from odbuild.trainer import records
from odbuild.trainer.convert import convert
from odbuild.trainer.index import save
from odbuild.trainer.labels import to_pbtxt
from odbuild.trainer.policies import Policies
from odbuild.trainer.records import masked_crc

PICTURES = 150
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

OTHERS = {"BOX209": {"BOX202", "ANN004"}, "REC504": {"ANN003"}}
"""What cannot but be broken with it: all dogs come out turned around, and a record loses its boxes."""


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


def text(folder: Path, annotations: str) -> Case:
    pictures.write(folder, "data/_annotations.json", annotations.encode())
    return Case(paths=(folder / "data",))


def tile(number: int) -> dict[str, Any]:
    """Return one of a hundred boxes that do not touch each other."""
    x, y = number % 10 / 10, number // 10 / 10
    return {"x": x, "y": y, "x2": x + 0.09, "y2": y + 0.09 + number / 1e4, "label": "cat"}


def crowd(source: Source, times: int) -> None:
    """Draw many more cats, none in the place of another, and leave fifty dogs."""
    for number, boxes in enumerate(source.annotations.values()):
        del boxes[1 if number >= 55 else 2 :]
        for place in range(times * 55 // PICTURES):
            boxes.append(tile(place) | {"x2": place % 10 / 10 + 0.05 + number / 1e4})


def picture(data: bytes) -> Callable[[Source], None]:
    return lambda source: source.files.update({"000.jpg": data})


def twins(source: Source) -> None:
    """Put photographs in the place of the drawings, one of them twice."""
    seen = {key: pictures.photograph(number, (64, 48)) for number, key in enumerate(source.files)}
    source.files = {key: pictures.encoded(it) for key, it in seen.items()}
    source.files["000.jpg"] = pictures.encoded(seen["001.jpg"], quality=60)


def relabel(old: str, new: str, times: int) -> Callable[[Source], None]:
    """Rename the label of so many boxes."""

    def change(source: Source) -> None:
        every = [one for boxes in source.annotations.values() for one in boxes if one["label"] == old]
        for one in every[:times]:
            one["label"] = new
        source.labels = sorted({one["label"] for boxes in source.annotations.values() for one in boxes})

    return change


def stray(jpeg: bytes) -> bytes:
    """Put bytes that mean nothing between the first two segments."""
    end = 4 + int.from_bytes(jpeg[4:6]) - 2 + 2
    return jpeg[:end] + b"\0\0\0" + jpeg[end:]


def shrink(source: Source, times: int) -> None:
    """Make a tenth of the cats small."""
    for boxes in list(source.annotations.values())[: PICTURES // 10]:
        boxes[0]["x2"] = boxes[0]["x"] + 0.3 / times
        boxes[0]["y2"] = boxes[0]["y"] + 0.5 / times


CASES["ANN001"] = dataset(lambda source: boxes_of(source)[0].pop("x2"))
CASES["ANN002"] = dataset(lambda source: source.annotations.update({"gone.jpg": []}))
CASES["ANN003"] = dataset(lambda source: boxes_of(source).clear())
CASES["ANN004"] = dataset(lambda source: source.labels.append("bird"))
CASES["ANN005"] = dataset(lambda source: source.annotations.update({"../up.jpg": []}))
CASES["ANN006"] = lambda folder: text(folder, '{"labels": [], "labels": [], "annotations": {}}')
CASES["ANN007"] = dataset(put(x2=320))
CASES["BOX201"] = dataset(put(x2=1.2))
CASES["BOX202"] = dataset(put(x=0.35, x2=0.05))
CASES["BOX204"] = dataset(lambda source: shrink(source, 12), model=MODEL)
CASES["BOX205"] = dataset(
    lambda source: boxes_of(source).extend(tile(number) for number in range(100)),
    model="ssd_resnet101_v1_fpn_shared_box_predictor_oid_512x512_sync",
)
CASES["BOX206"] = dataset(lambda source: boxes_of(source).append(dict(boxes_of(source)[0])))
CASES["BOX207"] = dataset(put(x=0.0, y=0.0, x2=1.0, y2=1.0))
CASES["BOX208"] = dataset(lambda source: boxes_of(source).append(boxes_of(source)[0] | {"label": "dog"}))
CASES["IMG101"] = dataset(picture(pictures.jpeg()[:-200]))
CASES["IMG102"] = dataset(picture(pictures.encoded(pictures.drawing(), "GIF")))
CASES["IMG103"] = dataset(picture(pictures.jpeg(orientation=6)))
CASES["IMG105"] = dataset(picture(pictures.encoded(pictures.drawing(mode="CMYK"))))
CASES["IMG106"] = dataset(picture(pictures.encoded(Image.new("L", (5200, 5000)))), check="structure")
CASES["IMG107"] = dataset(picture(pictures.jpeg(64, 20)))
CASES["IMG108"] = dataset(lambda source: source.files.update({"000.jpg": source.files["001.jpg"]}))
CASES["IMG109"] = dataset(twins, near_duplicates=True)
CASES["IMG111"] = dataset(picture(stray(pictures.jpeg())))
CASES["LBL304"] = dataset(lambda source: crowd(source, 52))
CASES["LBL302"] = dataset(relabel("cat", "Dog", PICTURES))
CASES["LBL303"] = dataset(relabel("cat", "bird", 9))
CASES["LBL305"] = dataset(relabel("cat", " cat", PICTURES))


# Datasets with sides, sizes and groups: tables


def table(source: Source, side: str, keys: list[str], *, group: str = "") -> str:
    """Return the boxes of some pictures as a table in pixels."""
    lines = ["filename,width,height,class,xmin,ymin,xmax,ymax,group"]
    for key in keys:
        width, height = Image.open(io.BytesIO(source.files[key])).size
        for one in source.annotations[key]:
            edges = [one["x"] * width, one["y"] * height, one["x2"] * width, one["y2"] * height]
            cells = [f"{side}/{key}", width, height, one["label"], *edges, group]
            lines.append(",".join(map(str, cells)))
    return "\n".join(lines) + "\n"


def tables(source: Source, folder: Path, cut: int = PICTURES * 4 // 5, **groups: str) -> Path:
    """Write the dataset as two tables, the first `cut` pictures to train."""
    keys = sorted(source.files)
    for side, chosen in (("train", keys[:cut]), ("validation", keys[cut:])):
        group = groups.get(side, "")
        pictures.write(folder, f"{side}.csv", table(source, side, chosen, group=group).encode())
        for key in chosen:
            pictures.write(folder, f"{side}/{key}", source.files[key])
    return folder


def sided(change: Callable[[Source], None], cut: int = PICTURES * 4 // 5, **groups: str) -> Maker:
    def make(folder: Path) -> Case:
        source = sound()
        change(source)
        return Case(paths=(tables(source, folder / "data", cut, **groups),))

    return make


def nothing(_source: Source) -> None:
    pass


def only_train(source: Source) -> None:
    """Name the cats of validation dogs."""
    for boxes in list(source.annotations.values())[PICTURES * 4 // 5 :]:
        for one in boxes:
            one["label"] = "dog"


@breaks("IMG104")
def _(folder: Path) -> Case:
    data = tables(sound(), folder / "data")
    pictures.write(data, "train/000.jpg", pictures.jpeg(60, 48, seed=999))
    return Case(paths=(data,))


CASES["SPL401"] = sided(only_train)
CASES["SPL402"] = sided(lambda source: source.files.update({"000.jpg": source.files["149.jpg"]}))
CASES["SPL403"] = sided(nothing, train="film", validation="film")
CASES["SPL404"] = sided(nothing, cut=PICTURES - 5)


@breaks("SPL405")
def _(folder: Path) -> Case:
    data = tables(sound(), folder / "data", PICTURES - 1)
    (data / "validation.csv").unlink()
    return Case(paths=(data,))


def sizes_for_corners(source: Source) -> None:
    """Write width and height where corners belong."""
    for boxes in source.annotations.values():
        for one in boxes:
            one["x2"], one["y2"] = one["x2"] - one["x"], one["y2"] - one["y"]


CASES["BOX209"] = dataset(sizes_for_corners)


@breaks("LBL301")
def _(folder: Path) -> Case:
    labels = pictures.write(folder, "labels.pbtxt", b'item { name: "cat" id: 1 }\nitem { name: "cow" id: 2 }\n')
    return Case(paths=(sound().write(folder / "data"), labels))


# Records

Features = dict[str, protowire.Values]


def features(source: Source, key: str) -> Features:
    """Return what a record of a picture holds."""
    boxes = source.annotations[key]
    width, height = Image.open(io.BytesIO(source.files[key])).size
    edges = {"xmin": "x", "ymin": "y", "xmax": "x2", "ymax": "y2"}
    return {
        "image/encoded": [source.files[key]],
        "image/filename": [key.encode()],
        "image/width": [width],
        "image/height": [height],
        **{f"image/object/bbox/{name}": [one[edge] for one in boxes] for name, edge in edges.items()},
        "image/object/class/text": [one["label"].encode() for one in boxes],
        "image/object/class/label": [1 + source.labels.index(one["label"]) for one in boxes],
    }


def shard(found: Iterable[Features]) -> bytes:
    examples = (protowire.example(one, protowire.Form()) for one in found)
    return b"".join(piece for one in examples for piece in records.frame([one]))


def shards(folder: Path, *parts: Sequence[Features]) -> Path:
    """Write records as shards, the last of which validates, with a label map beside them."""
    for number, part in enumerate(parts[:-1]):
        pictures.write(folder, f"train-{number:05d}-of-{len(parts) - 1:05d}.record", shard(part))
    pictures.write(folder, "validation-00000-of-00001.record", shard(parts[-1]))
    pictures.write(folder, "label_map.pbtxt", to_pbtxt(["cat", "dog"]).encode())
    return folder


def recorded(change: Callable[[Features], None]) -> Maker:
    """Change the first record."""

    def make(folder: Path) -> Case:
        source = sound()
        every = [features(source, key) for key in source.files]
        change(every[0])
        return Case(paths=(shards(folder / "data", every[: PICTURES // 2], every[PICTURES // 2 :]),))

    return make


def spoiled(spoil: Callable[[Path], object]) -> Maker:
    """Change the folder of records."""

    def make(folder: Path) -> Case:
        (data,) = recorded(lambda _: None)(folder).paths
        spoil(data)
        return Case(paths=(data,))

    return make


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def set_value(key: str, *values: Any) -> Callable[[Features], None]:
    return lambda found: found.update({key: values})


TRAIN = "train-00000-of-00001.record"

CASES["REC501"] = spoiled(lambda data: flip(data / TRAIN, 300))
CASES["REC502"] = spoiled(lambda data: (data / TRAIN).rename(data / "train-00000-of-00002.record"))
CASES["REC503"] = recorded(set_value("image/width", b"64"))
CASES["REC504"] = recorded(set_value("image/object/bbox/xmin", 0.1))
CASES["REC505"] = spoiled(lambda data: (data / "label_map.pbtxt").write_text(to_pbtxt(["dog", "cat"])))
CASES["REC506"] = recorded(set_value("image/width", 65))
CASES["REC507"] = recorded(set_value("image/filename", b"001.jpg"))
CASES["BOX203"] = recorded(set_value("image/object/bbox/xmin", math.nan, 0.5))


@breaks("REC508")
def _(folder: Path) -> Case:
    source = sound()
    every = [features(source, key) for key in source.files]
    return Case(paths=(shards(folder / "data", every[:5], every[5:100], every[100:]),))


@breaks("REC509")
def _(folder: Path) -> Case:
    made = convert(sound().write(folder / "data"), folder / "records", Policies(), lambda _: None)
    save(replace(made, train=replace(made.train, boxes=made.train.boxes + 1)), Policies())
    return Case(paths=(folder / "records",))


# Label maps


def label_map(text: str) -> Maker:
    return lambda folder: Case(paths=(pictures.write(folder, "labels.pbtxt", text.encode()),))


CASES["MAP601"] = label_map('item { name: "cat" name: "dog" id: 1 }')
CASES["MAP602"] = label_map('item { name: "cat" id: 1 }\nitem { name: "dog" id: 1 }')
CASES["MAP603"] = label_map('item { name: "cat" id: 2 }\nitem { name: "dog" id: 1 }')


# Pipeline configs

Message = Any


def config(change: Callable[[Message], None], model: str = MODEL, **files: bytes) -> Maker:
    """Change the config of a bundle."""

    def make(folder: Path) -> Case:
        tools = rules.toolbox(offline=False)
        text = pipeline.derive(zoo.find(model), tools.tree, tools.protos).text
        message = rules.parse(text, tools)
        change(message)
        for name, data in files.items():
            pictures.write(folder, name.replace("__", "."), data)
        path = pictures.write(folder, "pipeline.config", pipeline.render(message).encode())
        return Case(paths=(path,))

    return make


def with_labels(message: Message) -> None:
    message.train_input_reader.label_map_path = "labels.pbtxt"
    message.model.ssd.num_classes = 2


SIDED = to_pbtxt(["left hand", "right hand"]).encode()


def old_version(message: Message) -> None:
    message.train_config.fine_tune_checkpoint = "ckpt"
    message.train_config.fine_tune_checkpoint_version = 1


def one_class(message: Message) -> None:
    with_labels(message)
    message.model.ssd.num_classes = 1


def mirrored(message: Message) -> None:
    with_labels(message)
    message.train_config.data_augmentation_options.add().random_horizontal_flip.SetInParent()


def unpadded(message: Message) -> None:
    message.train_config.batch_size = 2
    message.model.faster_rcnn.image_resizer.keep_aspect_ratio_resizer.pad_to_max_dimension = False


CASES["CFG701"] = lambda folder: Case(paths=(pictures.write(folder, "x.config", b"<!DOCTYPE html>"),))
CASES["CFG702"] = config(lambda it: setattr(it.train_input_reader, "label_map_path", "gone.pbtxt"))
CASES["CFG703"] = config(lambda it: setattr(it.model.ssd.feature_extractor, "type", "ssd_mobilenet_v9"))
CASES["CFG704"] = config(
    old_version, "ssd_mobilenet_v2_320x320", ckpt__index=b"", **{"ckpt__data-00000-of-00001": b""}
)
CASES["CFG705"] = config(one_class, labels__pbtxt=SIDED.replace(b"left", b"old").replace(b"right", b"new"))
CASES["CFG706"] = config(unpadded, "faster_rcnn_resnet101_coco")
CASES["CFG707"] = config(lambda it: setattr(it.train_config, "batch_size", 1), "ssd_mobilenet_v2_320x320")
CASES["CFG709"] = config(lambda it: it.eval_config.metrics_set.append("coco_metrics"))
CASES["CFG712"] = config(mirrored, labels__pbtxt=SIDED)


@breaks("CFG710")
def _(folder: Path) -> Case:
    labels = pictures.write(folder, "labels.pbtxt", to_pbtxt(["cat"]).encode())
    return Case(paths=(labels,), options={"model": "faster_rcnn_resnet101_coco", "export": "tflite"})


# Checkpoints


def checkpoint(folder: Path, tensors: Mapping[str, bytes]) -> Path:
    """Write a checkpoint as TensorFlow's BundleWriter does, and return its prefix."""
    data = b"".join(tensors.values())
    at = 0
    entries = [(b"", b"\x08\x01")]
    for name, value in sorted(tensors.items()):
        crc = struct.pack("<BI", 6 << 3 | 5, masked_crc(value))
        entries.append((name.encode(), bytes([0x08, 1, 0x20, at, 0x28, len(value)]) + crc))
        at += len(value)
    block = b"".join(bytes([0, len(key), len(value)]) + key + value for key, value in entries)
    block = _block(block + struct.pack("<II", 0, 1))
    meta = _block(struct.pack("<II", 0, 1))
    listing = bytes([0, 1, 2]) + b"~" + bytes([0, len(block) - 5]) + struct.pack("<II", 0, 1)
    handles = _varints(len(block), len(meta) - 5, len(block) + len(meta), len(listing))
    footer = handles.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    pictures.write(folder, "model.ckpt.index", block + meta + _block(listing) + footer)
    pictures.write(folder, "model.ckpt.data-00000-of-00001", data)
    return folder / "model.ckpt"


def _block(data: bytes) -> bytes:
    return data + b"\0" + struct.pack("<I", masked_crc(data + b"\0"))


def _varints(*numbers: int) -> bytes:
    return b"".join(protowire.varint(number) for number in numbers)


@breaks("CKP801")
def _(folder: Path) -> Case:
    prefix = checkpoint(folder, {"weights": b"12345678"})
    flip(folder / "model.ckpt.data-00000-of-00001", 3)
    return Case(paths=(prefix,))


@breaks("CKP802")
def _(folder: Path) -> Case:
    prefix = checkpoint(folder, {"weights": b"12345678"})
    return Case(paths=(prefix,), options={"model": "ssd_mobilenet_v2_320x320"})


# Bundles

Members = dict[str, Entry]


@cache
def bundled() -> Mapping[str, Entry]:
    """Return the members of a bundle without a checkpoint, by name below its folder."""
    with tempfile.TemporaryDirectory() as folder:
        made = bundle.bundle(bundle.Request(model=MODEL, out=Path(folder), checkpoint="none"), lambda _: None)
        with zipfile.ZipFile(made.path) as opened:
            return {
                info.filename.removeprefix("trainer/"): Entry(
                    info.filename, opened.read(info), executable=bool(info.external_attr >> 16 & 0o100)
                )
                for info in opened.infolist()
            }


def zipped(change: Callable[[Members], None], *, listed: bool = True) -> Maker:
    """Change a bundle's members; its manifest lists them as they then are, unless it is to be the old one."""

    def make(folder: Path) -> Case:
        members = dict(bundled())
        change(members)
        if listed:
            content = json.loads(members["MANIFEST.json"].data)
            digests = {name: hashlib.sha256(one.data).hexdigest() for name, one in members.items()}
            content["members"] = {name: {"sha256": digests[name]} for name in members if name != "MANIFEST.json"}
            put_member(members, "MANIFEST.json", json.dumps(content).encode())
        archive.write_zip(members.values(), folder / "trainer.zip")
        pictures.write(folder, "rehearsal.json", b'{"problems": []}')
        return Case(paths=(folder / "trainer.zip",))

    return make


def put_member(members: Members, name: str, data: bytes, *, executable: bool = False) -> None:
    members[name] = Entry(f"trainer/{name}", data, executable=executable)


def put_zip(name: str, data: bytes, **options: bool) -> Maker:
    return zipped(lambda members: put_member(members, name, data), **options)


def without_carriage(members: Members) -> None:
    put_member(members, "start.sh", members["start.sh"].data.replace(b"\n", b"\r\n"), executable=True)


def without(name: str) -> Callable[[Members], None]:
    return lambda members: members.__delitem__(name)


CASES["ZIP1001"] = put_zip("more.txt", b"", listed=False)
CASES["ZIP1003"] = zipped(without_carriage)
CASES["ZIP1004"] = put_zip("notes.txt", b"-----BEGIN RSA PRIVATE KEY-----")
CASES["ZIP1006"] = put_zip("wheels/some.whl", b"")
CASES["ENV901"] = put_zip("trainer/requirements/tf2.21-cpu.txt", b"tensorflow>=2\n")
CASES["ENV902"] = zipped(without("slim-0.1.tar.gz"))
CASES["ENV903"] = zipped(without("trainer/requirements/rows.json"))


@breaks("ZIP1002")
def _(folder: Path) -> Case:
    (path,) = zipped(lambda _: None)(folder).paths
    with zipfile.ZipFile(path) as opened, zipfile.ZipFile(folder / "new.zip", "w") as new:
        for info in opened.infolist():
            info.date_time = (2024, 2, 29, 12, 0, 0)
            new.writestr(info, opened.read(info))
    (folder / "new.zip").replace(path)
    return Case(paths=(path,))


@breaks("ZIP1007")
def _(folder: Path) -> Case:
    case = zipped(lambda _: None)(folder)
    (folder / "rehearsal.json").unlink()
    return case


SOUND: dict[str, Maker] = {
    "dataset": lambda folder: Case(paths=(sound().write(folder / "data"),), options={"model": MODEL}),
    "tables": sided(nothing),
    "records": recorded(lambda _: None),
    "labelmap": label_map('item { name: "cat" id: 1 }\nitem { name: "dog" id: 2 }'),
    "config": config(with_labels, labels__pbtxt=to_pbtxt(["cat", "dog"]).encode()),
    "checkpoint": lambda folder: Case(
        paths=(checkpoint(folder, {"weights": b"12345678"}),), options={"model": MODEL}
    ),
    "zip": zipped(lambda _: None),
}
"""What breaks no rule, one of each kind."""
