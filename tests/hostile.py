"""Datasets that somebody made to do harm: names, numbers and sizes that a reader may stumble over."""

import json
import struct
import zlib
from pathlib import Path

import crc32c
import pictures
from formats import voc_xml, yolo_line

from odbuild.strategies import protowire
from odbuild.trainer.dataset import Box

JPEG = pictures.jpeg(40, 20)
ESCAPE = "\x1b]0;owned\x07\x1b[2J\u202e"
"""Renames the window of a terminal, clears it, and turns the direction of writing."""

EDGES = {"x": 0.1, "y": 0.2, "x2": 0.6, "y2": 0.7}
PIXELS = ("cat", 4, 4, 24, 14)
BOX = Box(label="cat", ymin=0.2, xmin=0.1, ymax=0.7, xmax=0.6)
YOLO = yolo_line(0, BOX)
XML = voc_xml((40, 20), [PIXELS])
LABELS = 'item { name: "cat" id: 1 }\n'


def cloud(*keys: str) -> str:
    """Return annotations of version 1: a box on good.jpg, and pictures without."""
    boxes = {"good.jpg": [{**EDGES, "label": "cat"}], **{key: [] for key in keys}}
    return json.dumps({"version": "1.0", "type": "localization", "labels": ["cat"], "annotations": boxes})


def iris(*keys: str) -> str:
    """Return the same in version 2."""
    box = {"label": "1", "tool": "box", "targets": [{"x": 0.1, "y": 0.2}, {"x": 0.6, "y": 0.7}]}
    images = {"good.jpg": {"annotations": ["0"]}, **{key: {"annotations": []} for key in keys}}
    labels = {"1": {"name": "cat"}}
    return json.dumps({"version": "v2", "labels": labels, "images": images, "annotations": {"0": box}})


def coco(*names: str) -> str:
    """Return the same as COCO JSON."""
    every = enumerate(("good.jpg", *names))
    images = [{"id": at, "file_name": name, "width": 40, "height": 20} for at, name in every]
    box = {"id": 1, "image_id": 0, "category_id": 1, "bbox": [4, 4, 20, 10]}
    return json.dumps({"categories": [{"id": 1, "name": "cat"}], "images": images, "annotations": [box]})


def table(*names: str) -> str:
    """Return a box on good.jpg and each other name as a CSV table."""
    rows = "".join(f'"{name}",40,20,cat,4,4,24,14\n' for name in ("good.jpg", *names))
    return f"filename,width,height,class,xmin,ymin,xmax,ymax\n{rows}"


def framed(*records: bytes) -> bytes:
    """Return records in the frames of a TFRecord."""
    return b"".join(header(len(record)) + record + _masked(record) for record in records)


def header(length: int) -> bytes:
    """Return what stands before a record of so many bytes."""
    return struct.pack("<Q", length) + _masked(struct.pack("<Q", length))


def _masked(data: bytes) -> bytes:
    crc = crc32c.crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def example(name: str = "good.jpg", encoded: bytes = JPEG, **more: protowire.Values) -> bytes:
    """Return a record with one box; more features by the last part of their names."""
    box = {"ymin": [0.2], "xmin": [0.1], "ymax": [0.7], "xmax": [0.6]}
    features: dict[str, protowire.Values] = {
        "image/encoded": [encoded],
        "image/filename": [name.encode("utf-8", "surrogatepass")],
        **{f"image/object/bbox/{edge}": more.get(edge, values) for edge, values in box.items()},
        "image/object/class/text": more.get("text", [b"cat"]),
        "image/object/class/label": more.get("label", [1]),
    }
    others = {key: values for key, values in more.items() if "/" in key}
    return protowire.example({**features, **others}, protowire.Form())


def naming(name: str, *keys: str) -> dict[str, str | bytes]:
    """Return the files of a dataset in a format, good.jpg and other pictures named by these keys."""
    lists = "".join(f"{key}\n" for key in ("good.jpg", *keys))
    records = [example(key, pictures.jpeg(40, 20, seed=at)) for at, key in enumerate(keys, 1)]
    files: dict[str, dict[str, str | bytes]] = {
        "cloud": {"_annotations.json": cloud(*keys)},
        "iris": {"_annotations.json": iris(*keys)},
        "coco": {"x.json": coco(*keys)},
        "voc": {"good.xml": XML, **{f"{at}.xml": voc_xml((40, 20), [PIXELS], key) for at, key in enumerate(keys)}},
        "yolo": {"data.yaml": "names: [cat]\ntrain: list.txt\n", "list.txt": lists, "good.txt": YOLO},
        "csv": {"x.csv": table(*keys)},
        "tfrecord": {"x.record": framed(example(), *records), "x.pbtxt": LABELS},
    }
    return {**files[name], **({} if name == "tfrecord" else {"good.jpg": JPEG})}


def sparse(path: Path, head: bytes, size: int) -> None:
    """Write a file that goes on in zeros: as large as it says, though it takes hardly any room."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(head)
        file.truncate(size)


def chunk(name: bytes, body: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, *extra: bytes, bits: int = 8, colour: int = 0, rows: int | None = None) -> bytes:
    """Return a PNG of zeros, packed as tightly as can be, perhaps with fewer or more rows than it says."""
    squeeze = zlib.compressobj(9)
    row = bytes(1 + (width * bits * {0: 1, 2: 3, 6: 4}[colour] + 7) // 8)
    packed = b"".join(squeeze.compress(row) for _ in range(height if rows is None else rows)) + squeeze.flush()
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    parts = (chunk(b"IHDR", head), *extra, chunk(b"IDAT", packed), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
