"""For each rule the smallest thing that breaks it and no other, made from what breaks none."""

import math
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pictures
from formats import put
from PIL import Image as Pillow

from odbuild import pipeline, zoo
from odbuild.rules import config as rules
from odbuild.strategies import Sample, broken_bundles, labelmaps, protowire, shards
from odbuild.strategies.broken_bundles import DATA, MODEL, PREFIX, ZIP, Members, bundled, checkpoint, put_member
from odbuild.strategies.broken_datasets import JSON, Draft, draft_of
from odbuild.strategies.pictures import image
from odbuild.trainer.convert import convert
from odbuild.trainer.dataset import Box, Picture
from odbuild.trainer.index import save
from odbuild.trainer.labels import label_ids, to_pbtxt
from odbuild.trainer.policies import Policies

PICTURES = 150
"""So many that a fifth of them is enough to measure by, and no class is rare."""


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


@cache
def sound() -> Sample:
    """Return a dataset that no rule has anything to say about."""
    keys = [f"{number:03d}.jpg" for number in range(PICTURES)]
    return Sample(
        declared=("cat", "dog"),
        pictures=tuple(Picture(key=key, boxes=boxes(number)) for number, key in enumerate(keys)),
        images={key: image("jpeg", 64, 48, seed=number) for number, key in enumerate(keys)},
    )


def boxes(number: int) -> tuple[Box, Box]:
    """Return a cat in the left half and a dog in the right one, where no other number has them."""
    shift = number / 1000
    cat = Box(label="cat", ymin=0.1 + shift, xmin=0.05 + shift, ymax=0.6 + shift, xmax=0.35 + shift)
    return cat, replace(cat, label="dog", xmin=0.5 + shift, xmax=0.8 + shift, index=1)


def dataset(change: Callable[[Draft], object], **options: Any) -> Maker:
    """Change the folder of Cloud Annotations."""

    def make(folder: Path) -> Case:
        draft = draft_of(sound())
        change(draft)
        files = {**draft.files, JSON: draft.document().encode()}
        return Case(paths=(put(folder / "data", files),), options=options)

    return make


def boxes_of(draft: Draft) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = draft.annotations["000.jpg"]
    return found


def edges(**values: Any) -> Callable[[Draft], object]:
    """Change the first box."""
    return lambda draft: boxes_of(draft)[0].update(values)


def tile(number: int) -> dict[str, Any]:
    """Return one of a hundred boxes that do not touch each other."""
    x, y = number % 10 / 10, number // 10 / 10
    return {"x": x, "y": y, "x2": x + 0.09, "y2": y + 0.09 + number / 1e4, "label": "cat"}


def crowd(draft: Draft, times: int) -> None:
    """Draw many more cats, none in the place of another, and leave fifty dogs."""
    for number, found in enumerate(draft.annotations.values()):
        del found[1 if number >= 55 else 2 :]
        for place in range(times * 55 // PICTURES):
            found.append(tile(place) | {"x2": place % 10 / 10 + 0.05 + number / 1e4})


def picture(data: bytes) -> Callable[[Draft], object]:
    return lambda draft: draft.files.update({"000.jpg": data})


def twins(draft: Draft) -> None:
    """Put photographs in the place of the drawings, one of them twice."""
    seen = {key: pictures.photograph(number, (64, 48)) for number, key in enumerate(draft.files)}
    draft.files = {key: pictures.encoded(it) for key, it in seen.items()}
    draft.files["000.jpg"] = pictures.encoded(seen["001.jpg"], quality=60)


def relabel(old: str, new: str, times: int) -> Callable[[Draft], None]:
    """Rename the label of so many boxes."""

    def change(draft: Draft) -> None:
        every = [one for found in draft.annotations.values() for one in found]
        for one in [one for one in every if one["label"] == old][:times]:
            one["label"] = new
        draft.labels = sorted({one["label"] for one in every})

    return change


def stray(jpeg: bytes) -> bytes:
    """Put bytes that mean nothing between the first two segments."""
    end = 4 + int.from_bytes(jpeg[4:6]) - 2 + 2
    return jpeg[:end] + b"\0\0\0" + jpeg[end:]


def shrink(draft: Draft, times: int) -> None:
    """Make a tenth of the cats small."""
    for found in list(draft.annotations.values())[: PICTURES // 10]:
        found[0]["x2"] = found[0]["x"] + 0.3 / times
        found[0]["y2"] = found[0]["y"] + 0.5 / times


def sizes_for_corners(draft: Draft) -> None:
    """Write width and height where corners belong."""
    for found in draft.annotations.values():
        for one in found:
            one["x2"], one["y2"] = one["x2"] - one["x"], one["y2"] - one["y"]


CASES["ANN001"] = dataset(lambda draft: boxes_of(draft)[0].pop("x2"))
CASES["ANN002"] = dataset(lambda draft: draft.annotations.update({"gone.jpg": []}))
CASES["ANN003"] = dataset(lambda draft: boxes_of(draft).clear())
CASES["ANN004"] = dataset(lambda draft: draft.labels.append("bird"))
CASES["ANN005"] = dataset(lambda draft: draft.annotations.update({"../up.jpg": []}))
CASES["ANN006"] = dataset(lambda draft: setattr(draft, "text", '{"labels": [], ' + draft.document()[1:]))
CASES["ANN007"] = dataset(edges(x2=320))
CASES["BOX201"] = dataset(edges(x2=1.2))
CASES["BOX202"] = dataset(edges(x=0.35, x2=0.05))
CASES["BOX204"] = dataset(lambda draft: shrink(draft, 12), model=MODEL)
CASES["BOX205"] = dataset(
    lambda draft: boxes_of(draft).extend(tile(number) for number in range(100)),
    model="ssd_resnet101_v1_fpn_shared_box_predictor_oid_512x512_sync",
)
CASES["BOX206"] = dataset(lambda draft: boxes_of(draft).append(dict(boxes_of(draft)[0])))
CASES["BOX207"] = dataset(edges(x=0.0, y=0.0, x2=1.0, y2=1.0))
CASES["BOX208"] = dataset(lambda draft: boxes_of(draft).append(boxes_of(draft)[0] | {"label": "dog"}))
CASES["BOX209"] = dataset(sizes_for_corners)
CASES["IMG101"] = dataset(picture(pictures.jpeg()[:-200]))
CASES["IMG102"] = dataset(picture(pictures.encoded(pictures.drawing(), "GIF")))
CASES["IMG103"] = dataset(picture(pictures.jpeg(orientation=6)))
CASES["IMG105"] = dataset(picture(pictures.encoded(pictures.drawing(mode="CMYK"))))
CASES["IMG106"] = dataset(picture(pictures.encoded(Pillow.new("L", (5200, 5000)))), check="structure")
CASES["IMG107"] = dataset(picture(pictures.jpeg(64, 20)))
CASES["IMG108"] = dataset(lambda draft: draft.files.update({"000.jpg": draft.files["001.jpg"]}))
CASES["IMG109"] = dataset(twins, near_duplicates=True)
CASES["IMG111"] = dataset(picture(stray(pictures.jpeg())))
CASES["LBL304"] = dataset(lambda draft: crowd(draft, 52))
CASES["LBL302"] = dataset(relabel("cat", "Dog", PICTURES))
CASES["LBL303"] = dataset(relabel("cat", "bird", 9))
CASES["LBL305"] = dataset(relabel("cat", " cat", PICTURES))


@breaks("LBL301")
def _(folder: Path) -> Case:
    labels = pictures.write(folder, "labels.pbtxt", b'item { name: "cat" id: 1 }\nitem { name: "cow" id: 2 }\n')
    return Case(paths=(sound().write(folder / "data"), labels))


# Datasets with sides, sizes and groups: tables


def sides(sample: Sample, cut: int = PICTURES * 4 // 5, group: str = "") -> Sample:
    """Return the dataset with the first pictures on one side and the others on the other."""
    found = [
        replace(one, split="train" if number < cut else "validation", group=group)
        for number, one in enumerate(sample.pictures)
    ]
    return replace(sample, pictures=tuple(found))


def tables(sample: Sample, **files: bytes) -> Maker:
    """Write the dataset, and files in the place of its own."""
    return lambda folder: Case(paths=(put(folder / "data", {**sample.files("csv"), **files}),))


def without_validated_cats(sample: Sample) -> Sample:
    found = [
        replace(one, boxes=[box for box in one.boxes if one.split == "train" or box.label == "dog"])
        for one in sample.pictures
    ]
    return replace(sample, pictures=tuple(found))


def leaked(sample: Sample) -> Sample:
    """Put a picture that validates among those that train as well."""
    return replace(sample, images={**sample.images, "000.jpg": sample.images["149.jpg"]})


CASES["IMG104"] = tables(sides(sound()), **{"000.jpg": pictures.jpeg(60, 48, seed=999)})
CASES["SPL401"] = tables(without_validated_cats(sides(sound())))
CASES["SPL402"] = tables(sides(leaked(sound())))
CASES["SPL403"] = tables(sides(sound(), group="film"))
CASES["SPL404"] = tables(sides(sound(), PICTURES - 5))
CASES["SPL405"] = tables(sides(sound(), PICTURES))


# Records

Features = dict[str, protowire.Values]


def features() -> list[Features]:
    """Return what the records of the dataset hold."""
    sample = sound()
    ids = label_ids(sample.declared)
    return [dict(shards.features(shards.example(one, sample.images[one.key], ids))) for one in sample.pictures]


def recorded(folder: Path, *parts: Sequence[Features]) -> Path:
    """Write records as shards, the last of which validates, with a label map beside them."""
    *train, validation = ([protowire.example(one, protowire.Form()) for one in part] for part in parts)
    named = {shards.shard_name("train", number, len(train)): part for number, part in enumerate(train)}
    named[shards.shard_name("validation", 0, 1)] = validation
    files = {name: shards.shard(part) for name, part in named.items()}
    return put(folder, {**files, labelmaps.NAME: to_pbtxt(sound().declared).encode()})


def record(change: Callable[[Features], None]) -> Maker:
    """Change the first record."""

    def make(folder: Path) -> Case:
        every = features()
        change(every[0])
        return Case(paths=(recorded(folder / "data", every[: PICTURES // 2], every[PICTURES // 2 :]),))

    return make


def spoiled(spoil: Callable[[Path], object]) -> Maker:
    """Change the folder of records."""

    def make(folder: Path) -> Case:
        case = record(lambda _: None)(folder)
        spoil(*case.paths)
        return case

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
CASES["REC503"] = record(set_value("image/width", b"64"))
CASES["REC504"] = record(set_value("image/object/bbox/xmin", 0.1))
CASES["REC505"] = spoiled(lambda data: (data / labelmaps.NAME).write_text(to_pbtxt(["dog", "cat"])))
CASES["REC506"] = record(set_value("image/width", 65))
CASES["REC507"] = record(set_value("image/filename", b"001.jpg"))
CASES["BOX203"] = record(set_value("image/object/bbox/xmin", math.nan, 0.5))


@breaks("REC508")
def _(folder: Path) -> Case:
    every = features()
    return Case(paths=(recorded(folder / "data", every[:5], every[5:100], every[100:]),))


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

WEIGHTS = checkpoint({"weights": b"12345678"})


def weights(files: Mapping[str, bytes], **options: Any) -> Maker:
    return lambda folder: Case(paths=(put(folder, files) / PREFIX,), options=options)


CASES["CKP801"] = weights({**WEIGHTS, DATA: b"123x5678"})
CASES["CKP802"] = weights(WEIGHTS, model="ssd_mobilenet_v2_320x320")


# Bundles


def zipped(change: Callable[[Members], object], *, listed: bool = True) -> Maker:
    """Change a bundle's members; its manifest lists them as they then are, unless it is to be the old one."""

    def make(folder: Path) -> Case:
        members = dict(bundled())
        change(members)
        files = {ZIP: broken_bundles.zipped(members, listed=listed), "rehearsal.json": b'{"problems": []}'}
        return Case(paths=(put(folder, files) / ZIP,))

    return make


def put_zip(name: str, data: bytes, **options: bool) -> Maker:
    return zipped(lambda members: put_member(members, name, data), **options)


def with_carriages(members: Members) -> None:
    put_member(members, "start.sh", members["start.sh"].data.replace(b"\n", b"\r\n"), executable=True)


def without(name: str) -> Callable[[Members], object]:
    return lambda members: members.pop(name)


CASES["ZIP1001"] = put_zip("more.txt", b"", listed=False)
CASES["ZIP1003"] = zipped(with_carriages)
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
    "dataset": dataset(lambda _: None, model=MODEL),
    "tables": tables(sides(sound())),
    "records": record(lambda _: None),
    "labelmap": label_map('item { name: "cat" id: 1 }\nitem { name: "dog" id: 2 }'),
    "config": config(with_labels, labels__pbtxt=to_pbtxt(["cat", "dog"]).encode()),
    "checkpoint": weights(WEIGHTS, model=MODEL),
    "zip": zipped(lambda _: None),
}
"""What breaks no rule, one of each kind."""
