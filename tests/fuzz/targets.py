"""What is fuzzed: one target for each kind of file, with inputs to begin from, made by code."""

import json
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pictures
from formats import put, voc_xml, whole

from odbuild.errors import OdbuildError
from odbuild.strategies import protowire
from odbuild.trainer import labels, readers, records
from odbuild.trainer.findings import render
from odbuild.trainer.mend import mend
from odbuild.trainer.rules.data import by_code
from odbuild.trainer.rules.every import CATALOGUE, Data, labelmaps

SEP = b"\0\xff\0"
"""What parts an input that becomes several files or records."""

MOST_SECONDS = 5.0
"""Processor time for one input of some kilobytes, instrumented; it takes some milliseconds."""

MOST_GROWTH = 200 << 20
"""Bytes that the process may grow by on one input of some kilobytes."""


class CostlyError(AssertionError):
    """Report an input that takes more time or memory than its size can justify."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """One kind of file.

    Attributes:
        lay: writes an input into the folder.
        read: reads the folder, and raises what a user would see as a crash, or OdbuildError.
        seeds: inputs to begin from.
        words: bytes that mean something in it.
    """

    lay: Callable[[Path, bytes], None]
    read: Callable[[Path], None]
    seeds: Callable[[], Sequence[bytes]]
    words: Sequence[bytes]


def prepare(folder: Path) -> Path:
    """Put into the folder what inputs refer to."""
    for key in ("a.jpg", "b/c.jpg", "images/a.jpg", "train/a.jpg"):
        pictures.write(folder, key, pictures.jpeg(40, 30))
    return folder


def attempt(target: Target, folder: Path, data: bytes, seconds: float = MOST_SECONDS) -> bool:
    """Read one input; say whether it was data, and not refused with an error of the project's own.

    Raises:
        Exception: any other, which is a crash.
        CostlyError: it took too much time or memory.
    """
    target.lay(folder, data)
    grown, began = _peak(), time.process_time()
    try:
        target.read(folder)
    except OdbuildError as error:
        assert str(error)  # noqa: PT017
        return False
    finally:
        took, grown = time.process_time() - began, _peak() - grown
    if took > seconds or grown > MOST_GROWTH:
        raise CostlyError(f"{len(data):,} bytes took {took:.1f} s and {grown >> 20:,} MB")
    return True


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _judge(folder: Path, form: str) -> None:
    """Read a folder and judge it as validate does, pictures not looked at."""
    source, found = readers.read(folder, form)
    assert whole(source)
    dataset, odd = mend(source, "fail")
    data = Data(source=source, dataset=dataset, found=by_code([*found, *odd]))
    _check("dataset", data)
    if form == "tfrecord":
        _check("records", data)


def _check(kind: str, value: object) -> None:
    found = [one for info in CATALOGUE.values() if info.subject == kind for one in info.check(value)]
    render(found).encode()


def _read_labels(folder: Path) -> None:
    """Read a label map by both readers, and judge it; what it names can be written and read again."""
    path = folder / "labels.pbtxt"
    try:
        items = labels.from_pbtxt(path.read_bytes().decode("utf-8", "replace"))
    except OdbuildError:
        pass
    else:
        names = [item.name for item in items]
        if all(names) and len(set(names)) == len(names):
            assert [item.name for item in labels.from_pbtxt(labels.to_pbtxt(names))] == names
    _check("labelmap", labelmaps.read(path))


def _read_shards(folder: Path) -> None:
    """Read a folder of records; the reader of finished conversions agrees with that of any writer's."""
    _judge(folder, "tfrecord")
    for _ in records.read(folder / SHARD):
        pass


def _file(name: str) -> Callable[[Path, bytes], None]:
    def lay(folder: Path, data: bytes) -> None:
        put(folder, {name: data})

    return lay


def _files(*names: str) -> Callable[[Path, bytes], None]:
    """Write the parts of an input as files, those that it lacks empty."""

    def lay(folder: Path, data: bytes) -> None:
        parts = data.split(SEP, len(names) - 1)
        put(folder, dict(zip(names, [*parts, *[b""] * (len(names) - len(parts))], strict=True)))

    return lay


def _framed(folder: Path, data: bytes) -> None:
    """Write the parts of an input as records with right checksums, which no search would ever meet."""
    put(folder, {SHARD: shard(data.split(SEP))})


def shard(found: Sequence[bytes]) -> bytes:
    """Return a file of records."""
    return b"".join(piece for one in found for piece in records.frame([one]))


SHARD = "train-00000-of-00001.record"
INDEX = "index.json"


def _cloud() -> Iterator[bytes]:
    box = {"x": 0.1, "y": 0.2, "x2": 0.5, "y2": 0.75, "label": "cat", "id": "0-0"}
    many = [box, box | {"label": "dog"}, {"label": "cat"}, {"label": "Negative"}, box | {"x2": 1.2}, {"x": 0.5}]
    for boxes in ([], [box], many, [box | {"x": True}], [box | {"x": None, "label": 3}]):
        for labels_ in (["cat", "dog"], ["cat", "cat", "\u00e9 "]):
            found = {"a.jpg": boxes, "b/c.jpg": [box], "../d.jpg": boxes, "gone.jpg": [box]}
            document = {"version": "1.0", "type": "localization", "labels": labels_, "annotations": found}
            yield json.dumps(document).encode()
    tiny = b'{"x": 0, "y": 0, "x2": 1e-200, "y2": 1e-200, "label": "cat"}'
    yield b'{"type": "localization", "annotations": {"a.jpg": [%b, %b]}}' % (tiny, tiny)
    yield b'{"annotations": {"a.jpg": [{"x": 1e400, "y": -0, "x2": 1E-5, "y2": 12345678901234567890123}]}}'
    yield b'\xef\xbb\xbf{"labels": [], "annotations": {}, "type": "classification", "more": {"a": [1, {}]}}'


def _iris() -> Iterator[bytes]:
    corners = [{"x": 0.1, "y": 0.2}, {"x": 0.5, "y": 0.75}]
    for tool in ("box", "tag", "pen"):
        annotation = {"label": "l", "tool": tool, "targets": corners}
        document = {
            "version": "v2",
            "labels": {"l": {"name": "cat"}, "m": {"name": ""}},
            "images": {"a.jpg": {"annotations": ["0", "1", "2"]}, "b/c.jpg": {"annotations": []}},
            "annotations": {"0": annotation, "1": annotation | {"label": "m"}, "9": annotation},
        }
        yield json.dumps(document).encode()
    yield b'{"version": "v2", "images": {"a.jpg": {"annotations": ["0"]}}, "annotations": {"0": {}}}'


def _coco() -> Iterator[bytes]:
    for category, picture, box in ((1, 1, [4, 3, 20, 12]), ("x", "y", [-9, 1e9, 0.5, 0]), (1.5, 2, [1, 2, 3])):
        document = {
            "info": {"year": 2020},
            "images": [{"id": picture, "file_name": "a.jpg", "width": 40, "height": 30}, {"id": 7}],
            "categories": [{"id": category, "name": "cat", "supercategory": "animal"}, {"id": 9, "name": "cat"}],
            "annotations": [
                {"id": 1, "image_id": picture, "category_id": category, "bbox": box, "iscrowd": 0, "area": 9},
                {"id": 1, "image_id": 99, "category_id": 99, "bbox": box, "iscrowd": 1},
                {"id": 2, "image_id": picture, "category_id": category, "segmentation": [[1, 2, 3, 4]]},
            ],
        }
        yield json.dumps(document).encode()
        yield json.dumps(dict(reversed(document.items()))).encode()
    yield b'{"categories": [], "images": [{"id": 1, "file_name": "../a.jpg"}], "annotations": []}'


def _voc() -> Iterator[bytes]:
    boxes = [("cat", 4, 3, 24, 15), ("dog", 24, 15, 4, 3), ("", -90, 0, 900, 30)]
    yield voc_xml((40, 30), boxes[:1], "a.jpg").encode()
    yield voc_xml((0, 0), boxes, "b/c.jpg").encode()
    yield b'<?xml version="1.0" encoding="latin-1"?><annotation><object><bndbox/></object></annotation>'
    yield b'<!DOCTYPE annotation [<!ENTITY a "b">]><annotation>&a;</annotation>'
    yield "<annotation>".encode("utf-16")
    yield b"<annotation>" + b"<part>" * 80


def _yolo() -> Iterator[bytes]:
    config = b"names: [cat, dog]\nnc: 2\ntrain: images\nval: ../images\n"
    line = b"0 0.5 0.5 0.25 0.5\n"
    yield config + SEP + line
    yield config + SEP + line + b"1 0.1 0.1 0.9 0.1 0.5 0.9\n7 0.5 0.5 0.1 0.1\n\n0 5 5 9 9\nx\n"
    yield b"path: .\nnames:\n  0: cat\n  7: dog\ntrain: [images, train]\nkpt_shape: [2, 3]\n" + SEP + line
    yield b"names: &a [*a]\ntrain: ./images/a.jpg" + SEP + line
    yield b"names: {0: !!python/object:x y}\ntest: 5" + SEP + b"\xff\xfe"


def _csv() -> Iterator[bytes]:
    head = "filename,width,height,class,xmin,ymin,xmax,ymax,group\n"
    rows = "a.jpg,40,30,cat,4,3,24,15,g\nb/c.jpg,40,30,dog,24,15,4,3,\ngone.jpg,,,cat,1,2,3,4,\na.jpg,41,30,cat"
    yield (head + rows).encode()
    yield (head + rows).replace(",", ";").encode()
    yield (head + '"a.jpg",0,-1,"c\na""t",1e9,nan,inf,0x10,\n').encode("utf-8-sig")
    yield (head + "a.jpg,,,cat,,,,,\n" * 2).replace(",", "\t").encode()


def _example(**changes: protowire.Values) -> bytes:
    features: dict[str, protowire.Values] = {
        "image/encoded": [pictures.jpeg(16, 16)],
        "image/filename": [b"a.jpg"],
        "image/source_id": [b"7"],
        "image/width": [16],
        "image/height": [16],
        "image/object/class/text": [b"cat", b"dog"],
        "image/object/class/label": [1, 2],
        "image/object/difficult": [0, 1],
    }
    features |= {f"image/object/bbox/{edge}": [0.1, 0.5] for edge in ("xmin", "ymin")}
    features |= {f"image/object/bbox/{edge}": [0.4, 0.75] for edge in ("xmax", "ymax")}
    return protowire.example({**features, **changes}, protowire.Form())


def _examples() -> Iterator[bytes]:
    yield _example()
    odd: list[dict[str, protowire.Values]] = [
        {"image/object/bbox/xmin": [float("nan")]},
        {"image/object/class/text": [], "image/encoded": [b""]},
        {"image/filename": [b"../../\xff\n"], "image/width": [-1]},
    ]
    yield from (_example(**changes) for changes in odd)
    text: protowire.Features = {"image/encoded": [b"GIF89a"], "image/object/class/text": [b"cat"]}
    yield protowire.example(text, protowire.Form(packed=False, halves=True, turned=True, noise=b"\x78\x96\x01"))


def _payloads() -> Iterator[bytes]:
    yield from (found := list(_examples()))
    yield SEP.join(found[:2])
    yield SEP.join((found[0], b"", found[0]))


def _shards() -> Iterator[bytes]:
    found = list(_examples())
    yield shard(found[:1])
    yield shard(found)
    yield shard([b""])
    yield b""
    yield b"\x1f\x8b\x08\0"


def _index_of(count: object, **more: object) -> bytes:
    side = {"shards": [{"name": SHARD, "count": count, "bytes": 1, "sha256": ""}], "pictures": 1, "background": 0}
    counted = side | {"boxes": 2, "classes": [["cat", 1], ["dog", 1]]}
    none: dict[str, object] = {"shards": [], "pictures": 0, "background": 0, "boxes": 0, "classes": []}
    box = {"key": "a.jpg", "index": 0, "label": "cat", "width": 1.0, "height": 1.0, "share": 0.1}
    sizes = dict.fromkeys(("min_width", "max_width", "min_height", "max_height"), 16)
    document = {"format": 2, "labels": ["cat", "dog"], "train": counted, "validation": none, "test": none}
    document |= {"max_boxes": 2, "smallest_box": box, "sizes": sizes, "ledger": {}, "digest": "", "files": {}}
    return json.dumps(document | more).encode()


def _indexes() -> Iterator[bytes]:
    good = shard(list(_examples())[:1])
    yield from (_index_of(count) + SEP + good for count in (1, 2, "1", None))
    yield _index_of(1, validation=[], test=3, labels=None) + SEP + good
    yield b"[]" + SEP + good


def _label_maps() -> Iterator[bytes]:
    yield labels.to_pbtxt(["cat", "d'\u00f6g", "\n"]).encode()
    yield b"item { name: '/m/1' id: 1 display_name: 'cat' keypoints { id: 1 label: 'nose' } ancestor_ids: [1, 2] }"
    yield b'item < name: "a" "b" id: -1 > # note\nitem { id: 0x10, name: "background"; frequency: RARE }'
    yield b'item { name: "a" name: "b" id: 1 }'
    yield b"\xef\xbb\xbfitem { id: 99999999999 [ext.field]: 1 }"


_JSON_WORDS = (
    b'"',
    b"{}",
    b"[]",
    b"null",
    b"true",
    b"-0",
    b"1e999",
    b"NaN",
    b"\\ud800",
    b"\\u0000",
    b'": [',
    b'": {',
)

TARGETS: dict[str, Target] = {
    "cloud": Target(
        lay=_file("_annotations.json"),
        read=lambda folder: _judge(folder, "cloud"),
        seeds=lambda: list(_cloud()),
        words=(*_JSON_WORDS, b'"labels"', b'"annotations"', b'"type"', b'"x"', b'"x2"', b'"label"', b'"a.jpg"'),
    ),
    "iris": Target(
        lay=_file("_annotations.json"),
        read=lambda folder: _judge(folder, "iris"),
        seeds=lambda: list(_iris()),
        words=(
            *_JSON_WORDS,
            b'"version": "v2"',
            b'"images"',
            b'"targets"',
            b'"tool"',
            b'"box"',
            b'"tag"',
            b'"name"',
        ),
    ),
    "coco": Target(
        lay=_file("_annotations.coco.json"),
        read=lambda folder: _judge(folder, "coco"),
        seeds=lambda: list(_coco()),
        words=(
            *_JSON_WORDS,
            b'"images"',
            b'"categories": [',
            b'"bbox"',
            b'"id"',
            b'"image_id":',
            b'"category_id"',
        ),
    ),
    "voc": Target(
        lay=_file("a.xml"),
        read=lambda folder: _judge(folder, "voc"),
        seeds=lambda: list(_voc()),
        words=(b"<object>", b"</object>", b"<bndbox>", b"<size>", b"<![CDATA[", b"<!--", b"&#0;", b"&lt;", b"</"),
    ),
    "yolo": Target(
        lay=_files("data.yaml", "labels/a.txt"),
        read=lambda folder: _judge(folder, "yolo"),
        seeds=lambda: list(_yolo()),
        words=(
            SEP,
            b"names:",
            b"train:",
            b"path:",
            b"&a",
            b"*a",
            b"!!",
            b"<<:",
            b"- ",
            b"kpt_shape:",
            b"0x",
            b"{",
            b"[",
        ),
    ),
    "csv": Target(
        lay=_file("a.csv"),
        read=lambda folder: _judge(folder, "csv"),
        seeds=lambda: list(_csv()),
        words=(b"filename", b"class", b'"', b'""', b"\r", b"\0", b"nan", b"inf", b"1e400", b"\t", b";"),
    ),
    "shard": Target(
        lay=_file(SHARD), read=_read_shards, seeds=lambda: list(_shards()), words=(b"\0" * 8, b"\xff" * 8)
    ),
    "example": Target(
        lay=_framed,
        read=_read_shards,
        seeds=lambda: list(_payloads()),
        words=(
            SEP,
            b"\n\rimage/encoded",
            b"image/object/bbox/xmin",
            b"\xff" * 9 + b"\x01",
            b"\x12",
            b"\x0a",
            b"\x1a",
        ),
    ),
    "index": Target(
        lay=_files(INDEX, SHARD),
        read=_read_shards,
        seeds=lambda: list(_indexes()),
        words=(*_JSON_WORDS, SEP, b'"shards"', b'"count"', b'"name"', b'"format": 2', b'"classes"'),
    ),
    "labels": Target(
        lay=_file("labels.pbtxt"),
        read=_read_labels,
        seeds=lambda: list(_label_maps()),
        words=(
            b"item {",
            b"name:",
            b"id:",
            b"display_name:",
            b"keypoints {",
            b"\\",
            b"\\x",
            b"'",
            b"[",
            b"<",
            b"-",
            b"inf",
        ),
    ),
}
"""By name; JSON of Cloud Annotations in its two versions, of COCO, other annotations, records, label maps."""
