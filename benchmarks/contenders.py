"""The ways to make records that are compared, each run in a process of its own: contenders.py WAY DATA OUT.

Prints, as JSON, the seconds of its work: from when everything is imported until everything is written. Nothing is
imported here that a way may do without, for its start counts.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

BLOCK = 1 << 22
"""Bytes of memory that are written and hashed at once; a picture has fewer."""

BLOCKS = 3
"""One is filled, one hashed, and one lies ready."""

Work = Callable[[], object]
Way = Callable[[Path, Path], Work]
"""Imports what it needs and returns what is to be done, from a folder to one that does not exist."""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One way.

    Attributes:
        title: what it is called in tables.
        way: how it is done.
        packages: what must be installed.
        keeps: whether its output holds the bytes of all pictures.
        native: whether it is a program of its own, which this process only starts.
        remembers: whether it finds the verdicts of an earlier run.
    """

    title: str
    way: Way
    packages: tuple[str, ...] = ()
    keeps: bool = True
    native: bool = False
    remembers: bool = False

    @property
    def missing(self) -> list[str]:
        """Return the packages that are not installed."""
        import importlib.util

        return [name for name in self.packages if importlib.util.find_spec(name) is None]

    @property
    def versioned(self) -> str:
        """Return the title, with the version of the first package that it needs."""
        if not self.packages:
            return self.title
        import importlib.metadata

        # TensorFlow's package is called otherwise where it is for the CPU alone.
        distribution = importlib.metadata.packages_distributions()[self.packages[0]][0]
        return f"{self.title}, {self.packages[0]} {importlib.metadata.version(distribution)}"


def copy(data: Path, out: Path) -> Work:
    """Copy the files by `cp`."""
    import subprocess

    return lambda: subprocess.run(["cp", "-r", data, out], check=True)


def checksum(data: Path, _out: Path) -> Work:
    """Read every file and make its CRC-32C, writing nothing."""
    import crc32c

    return lambda: [crc32c.crc32c(path.read_bytes()) for path in pictures(data)]


def append(data: Path, out: Path) -> Work:
    """Read every file and write it behind the one before."""

    def work() -> None:
        out.mkdir()
        with (out / "all").open("wb", buffering=0) as file:
            for path in pictures(data):
                file.write(path.read_bytes())

    return work


def digest(data: Path, out: Path) -> Work:
    """Do the least that leaves all pictures in a file whose checksums and digest are known."""
    import hashlib
    import os
    from queue import SimpleQueue
    from threading import Thread

    import crc32c

    free: SimpleQueue[memoryview] = SimpleQueue()
    full: SimpleQueue[memoryview | None] = SimpleQueue()

    def follow() -> None:
        sha = hashlib.sha256()
        while (given := full.get()) is not None:
            sha.update(given)
            free.put(memoryview(given.obj))

    def work() -> None:
        out.mkdir()
        for _ in range(BLOCKS):
            free.put(memoryview(bytearray(BLOCK)))
        thread = Thread(target=follow)
        thread.start()
        block, at = free.get(), 0
        with (out / "all").open("wb", buffering=0) as file:
            for path in pictures(data):
                picture = os.open(path, os.O_RDONLY)
                size = os.fstat(picture).st_size
                if at + size > BLOCK:
                    file.write(block[:at])
                    full.put(block[:at])
                    block, at = free.get(), 0
                assert os.readv(picture, [block[at : at + size]]) == size  # noqa: S101 - nothing else writes here
                os.close(picture)
                crc32c.crc32c(block[at : at + size])
                at += size
            file.write(block[:at])
            full.put(block[:at])
        full.put(None)
        thread.join()

    return work


def odbuild(check: str, jobs: int, data: Path, out: Path) -> Work:
    """Run the command as it is."""
    import odbuild.convert
    from odbuild.__main__ import main

    assert odbuild.convert  # noqa: S101 - what the command loads later counts as start-up, not as work
    words = ["convert", str(data), str(out), "--check", check, "--jobs", str(jobs)]

    def work() -> None:
        assert main(words) == 0  # noqa: S101 - the time of a failure would be worthless

    return work


def seed(load: bool, data: Path, out: Path) -> Work:  # noqa: FBT001
    """Do what the walkthrough's generate_tf_record.py does, and decode each picture if asked."""
    import io

    import PIL.Image
    import tensorflow as tf

    def one(value: Any, kind: str) -> Any:
        return many([value], kind)

    def many(values: list[Any], kind: str) -> Any:
        lists = {"int64": tf.train.Int64List, "bytes": tf.train.BytesList, "float": tf.train.FloatList}
        return tf.train.Feature(**{f"{kind}_list": lists[kind](value=values)})

    def example(name: str, boxes: list[dict[str, Any]], ids: dict[str, int]) -> Any:
        with tf.io.gfile.GFile(str(data / name), "rb") as file:
            encoded = file.read()
        image = PIL.Image.open(io.BytesIO(encoded))
        if image.format != "JPEG":
            raise ValueError("Image format not JPEG")
        if load:
            image.load()
        width, height = image.size
        features = {
            "image/height": one(height, "int64"),
            "image/width": one(width, "int64"),
            "image/filename": one(name.encode("utf8"), "bytes"),
            "image/source_id": one(name.encode("utf8"), "bytes"),
            "image/encoded": one(encoded, "bytes"),
            "image/format": one(b"jpeg", "bytes"),
            "image/object/bbox/xmin": many([box["x"] for box in boxes], "float"),
            "image/object/bbox/xmax": many([box["x2"] for box in boxes], "float"),
            "image/object/bbox/ymin": many([box["y"] for box in boxes], "float"),
            "image/object/bbox/ymax": many([box["y2"] for box in boxes], "float"),
            "image/object/class/text": many([box["label"].encode("utf8") for box in boxes], "bytes"),
            "image/object/class/label": many([ids[box["label"]] for box in boxes], "int64"),
        }
        return tf.train.Example(features=tf.train.Features(feature=features))

    def work() -> None:
        out.mkdir()
        annotations = json.loads((data / "_annotations.json").read_text())["annotations"]
        labels = list({box["label"] for boxes in annotations.values() for box in boxes})
        ids = {label: number for number, label in enumerate(labels, 1)}
        with (out / "label_map.pbtxt").open("w") as file:
            for label, number in ids.items():
                file.write(f"item {{\n\tname: '{label}'\n\tid: {number}\n}}\n")
        with tf.io.TFRecordWriter(str(out / "train.record")) as writer:
            for name, boxes in annotations.items():
                if not (data / name).is_file():
                    continue
                try:
                    writer.write(example(name, boxes, ids).SerializeToString())
                except ValueError:
                    print("Invalid example, ignoring.")

    return work


def tensorflow(data: Path, out: Path) -> Work:
    """Let TensorFlow write the records that odbuild assembles, headers read, nothing checked."""
    import tensorflow as tf

    from odbuild.trainer import examples, images, readers

    def work() -> None:
        out.mkdir()
        dataset, _ = readers.read(data)
        ids = {label: number for number, label in enumerate(dataset.declared, 1)}
        with tf.io.TFRecordWriter(str(out / "train.record")) as writer:
            for picture in dataset.pictures:
                encoded = dataset.path(picture).read_bytes()
                info = images.inspect(encoded, check="none")
                example = examples.Example(
                    key=picture.key,
                    encoded=encoded,
                    format=info.format,
                    width=info.width,
                    height=info.height,
                    boxes=tuple(picture.boxes),
                    ids=tuple(ids[box.label] for box in picture.boxes),
                )
                writer.write(examples.encode(example))

    return work


def tfrecord(data: Path, out: Path) -> Work:
    """Use the package tfrecord, sizes read by Pillow."""
    import PIL.Image
    from tfrecord.writer import TFRecordWriter

    def work() -> None:
        out.mkdir()
        ids = {label: number for number, label in enumerate(labels(data), 1)}
        writer = TFRecordWriter(str(out / "train.record"))
        for path, boxes in annotated(data):
            with PIL.Image.open(path) as image:
                width, height = image.size
            name = path.name.encode()
            writer.write(
                {
                    "image/height": (height, "int"),
                    "image/width": (width, "int"),
                    "image/filename": (name, "byte"),
                    "image/source_id": (name, "byte"),
                    "image/encoded": (path.read_bytes(), "byte"),
                    "image/format": (b"jpeg", "byte"),
                    "image/object/bbox/xmin": ([box["x"] for box in boxes], "float"),
                    "image/object/bbox/xmax": ([box["x2"] for box in boxes], "float"),
                    "image/object/bbox/ymin": ([box["y"] for box in boxes], "float"),
                    "image/object/bbox/ymax": ([box["y2"] for box in boxes], "float"),
                    "image/object/class/text": ([box["label"].encode() for box in boxes], "byte"),
                    "image/object/class/label": ([ids[box["label"]] for box in boxes], "int"),
                }
            )
        writer.close()

    return work


def tensorflow_datasets(data: Path, out: Path) -> Work:
    """Use tensorflow_datasets, given the files' paths, so that it keeps their bytes."""
    import tensorflow_datasets as tfds

    class Photographs(tfds.core.GeneratorBasedBuilder):
        """The album."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> Any:
            names = labels(data)
            box = {"bbox": tfds.features.BBoxFeature(), "label": tfds.features.ClassLabel(names=names)}
            features = {
                "image": tfds.features.Image(),
                "filename": tfds.features.Text(),
                "objects": tfds.features.Sequence(box),
            }
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, _manager: Any) -> Any:
            return {"train": self._generate_examples()}

        def _generate_examples(self) -> Any:
            for path, boxes in annotated(data):
                objects = [
                    {
                        "bbox": tfds.features.BBox(ymin=b["y"], xmin=b["x"], ymax=b["y2"], xmax=b["x2"]),
                        "label": b["label"],
                    }
                    for b in boxes
                ]
                yield path.name, {"image": str(path), "filename": path.name, "objects": objects}

    tfds.disable_progress_bar()

    def work() -> None:
        Photographs(data_dir=str(out), file_format="tfrecord").download_and_prepare()

    return work


def datumaro(data: Path, out: Path) -> Work:
    """Use datumaro's export for the Object Detection API, which keeps bytes that it is given."""
    from datumaro.components.annotation import AnnotationType, Bbox, LabelCategories
    from datumaro.components.dataset import Dataset
    from datumaro.components.dataset_base import DatasetItem
    from datumaro.components.media import Image
    from PIL import Image as pillow  # noqa: N813

    def items() -> Iterator[Any]:
        names = labels(data)
        for path, boxes in annotated(data):
            with pillow.open(path) as image:
                width, height = image.size
            drawn = [
                Bbox(
                    box["x"] * width,
                    box["y"] * height,
                    (box["x2"] - box["x"]) * width,
                    (box["y2"] - box["y"]) * height,
                    label=names.index(box["label"]),
                )
                for box in boxes
            ]
            # Bytes it keeps, while files it decodes and encodes anew.
            media = Image.from_bytes(path.read_bytes, ext=path.suffix, size=(height, width))
            yield DatasetItem(id=path.stem, subset="train", media=media, annotations=drawn)

    def work() -> None:
        categories = {AnnotationType.label: LabelCategories.from_iterable(labels(data))}
        Dataset.from_iterable(list(items()), categories=categories).export(
            str(out), "tf_detection_api", save_media=True
        )

    return work


def annotated(data: Path) -> Iterator[tuple[Path, list[dict[str, Any]]]]:
    """Yield every picture and its boxes."""
    for name, boxes in json.loads((data / "_annotations.json").read_text())["annotations"].items():
        yield data / name, boxes


def pictures(data: Path) -> Iterator[Path]:
    """Yield every picture."""
    return (path for path, _ in annotated(data))


def labels(data: Path) -> list[str]:
    """Return the classes."""
    return json.loads((data / "_annotations.json").read_text())["labels"]


CONTENDERS = {
    "cp": Contender(title="`cp -r`", way=copy, native=True),
    "crc": Contender(title="read, CRC-32C", way=checksum, keeps=False),
    "append": Contender(title="read, append to one file", way=append),
    "digest": Contender(title="read, append to one file, CRC-32C, SHA-256", way=digest),
    "none": Contender(title="odbuild, checks off", way=partial(odbuild, "none", 1)),
    "none2": Contender(title="odbuild, checks off, two processes", way=partial(odbuild, "none", 2)),
    "structure": Contender(title="odbuild, structure", way=partial(odbuild, "structure", 1)),
    "structure2": Contender(title="odbuild, structure, two processes", way=partial(odbuild, "structure", 2)),
    "decode": Contender(title="odbuild, decode", way=partial(odbuild, "decode", 1)),
    "decode2": Contender(title="odbuild, decode, two processes", way=partial(odbuild, "decode", 2)),
    "known": Contender(title="odbuild, decoded before", way=partial(odbuild, "decode", 1), remembers=True),
    "seed": Contender(title="the walkthrough", way=partial(seed, False), packages=("tensorflow",)),
    "load": Contender(title="the walkthrough with `load()`", way=partial(seed, True), packages=("tensorflow",)),
    "tensorflow": Contender(title="TensorFlow's writer", way=tensorflow, packages=("tensorflow",)),
    "tfrecord": Contender(title="tfrecord", way=tfrecord, packages=("tfrecord",)),
    "tfds": Contender(
        title="tensorflow_datasets", way=tensorflow_datasets, packages=("tensorflow_datasets", "tensorflow")
    ),
    "datumaro": Contender(title="datumaro", way=datumaro, packages=("datumaro", "tensorflow")),
}


def main() -> None:
    """Do one way's work."""
    name, data, out = sys.argv[1:]
    work = CONTENDERS[name].way(Path(data), Path(out))
    start = time.perf_counter()
    work()
    print(json.dumps(time.perf_counter() - start))


if __name__ == "__main__":
    main()
