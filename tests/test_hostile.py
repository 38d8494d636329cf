"""Hostile datasets through the very commands: refused with a finding, no harm done, in little memory and time."""

import os
import re
import shutil
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import hostile
import pictures
import pytest
from commands import Commands, Done, warm
from formats import put, voc_object
from hostile import ESCAPE, JPEG, LABELS, XML, YOLO, sparse
from PIL import Image

from odbuild.trainer import readers
from odbuild.trainer.readers import layout

MOST_MEGABYTES, MOST_SECONDS = 400, 20
"""Of memory and processor that a command may take for any of these, the program's own included."""

COMMANDS = (
    ("validate", "in"),
    ("convert", "in", "out", "--jobs=2"),
    ("convert", "in", "out", "--to=coco"),
    ("validate", "in", "--fix", "out"),
)

SECRET = pictures.jpeg(seed=9)
"""What lies beside the folder and is never to be read."""

Files = dict[str, str | bytes]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    with warm(tmp_path_factory.mktemp("commands")) as commands:
        yield commands


def _all(run: Commands, world: Path, name: str, message: str, codes: tuple[int, int]) -> None:
    """Let all commands meet the folder `in`, and look at what they say, take, change and leave.

    Args:
        run: a command.
        world: holds `in`.
        name: of the format; recognised where it is empty.
        message: what validate and convert are to say.
        codes: their exit codes.
    """
    before, out = _seen(world), world / "out"
    options = ("--format", name) if name else ()
    for words, code in zip(COMMANDS, (*codes, None, None), strict=True):
        done = run(*words, *options, cwd=world)
        assert (done.code in (0, 1, 2, 3)) if code is None else done.code == code, done
        assert code is None or re.search(message, done.out + done.told), done
        _harmless(done)
        if out.exists():
            assert words[0] == "validate" or not done.code
            assert not any(SECRET in path.read_bytes() for path in out.rglob("*") if path.is_file())
            assert not any(path.is_symlink() for path in out.rglob("*"))
            shutil.rmtree(out)
        assert _seen(world) == before


def _harmless(done: Done) -> None:
    text = done.out + done.told
    assert "Traceback" not in text
    assert text.replace("\n", "").isprintable()
    assert len(text) < 6000
    assert done.megabytes < MOST_MEGABYTES
    assert done.seconds < MOST_SECONDS


def _seen(folder: Path) -> dict[str, tuple[int, int]]:
    found = [folder, *folder.rglob("*")]
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in found if path != folder}


# Names --------------------------------------------------------------------------------------------------------

LINKED = "leads out of the folder by a link"

LOST, OUT = (1, 0), (1, 1)
"""Exit codes of validate and convert: a picture that is not there is left out, a name that leads out is not."""

KEYS: dict[str, tuple[str, str, tuple[int, int]]] = {
    "above": ("../secret.jpg", "has an empty part, or one of dots", OUT),
    "above within": ("a/../../secret.jpg", "has an empty part, or one of dots", OUT),
    "absolute": ("/etc/hostname", "is an absolute path", OUT),
    "nul": ("a\0.jpg", "holds control characters", OUT),
    "escape": (f"{ESCAPE}.jpg", "holds control characters", OUT),
    "surrogate": ("\ud800.jpg", "holds bytes that are no text", OUT),
    "64 KB": ("x" * 65536 + ".jpg", 'no file for a picture.*\n.*"x{60}...x{56}.jpg"', LOST),
    "deep": ("a/" * 32768 + "b.jpg", 'no file for a picture.*\n.*"a/a/.*/b.jpg"', LOST),
    "case": ("GOOD.JPG", 'differ in case alone.*\n.*"good.jpg"\\]: and "GOOD.JPG"', OUT),
    "folder": ("folder", "is no regular file", OUT),
    "link out": ("link.jpg", LINKED, OUT),
    "linked folder": ("linked/secret.jpg", LINKED, OUT),
    "device": ("zero.jpg", LINKED, OUT),
    "fifo": ("fifo.jpg", "is no regular file", OUT),
    "dangling": ("gone.jpg", "no file for a picture", LOST),
}
"""Key of a picture, what is said of it, and how the commands end."""


def _world(folder: Path) -> Path:
    root = put(folder / "in", {"GOOD.JPG": pictures.jpeg(40, 20, seed=3)})
    pictures.write(folder, "secret.jpg", SECRET)
    (root / "folder").mkdir()
    (root / "link.jpg").symlink_to(folder / "secret.jpg")
    (root / "linked").symlink_to(folder)
    (root / "zero.jpg").symlink_to("/dev/zero")
    (root / "gone.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(root / "fifo.jpg")
    return root


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("name", ["cloud", "iris", "coco"])
def test_a_key_that_is_no_plain_path_is_never_opened(run: Commands, tmp_path: Path, name: str, key: str) -> None:
    put(_world(tmp_path), hostile.naming(name, KEYS[key][0]))
    _all(run, tmp_path, name, *KEYS[key][1:])


LINES = [key for key in KEYS if key != "surrogate"]
"""What text can hold."""

BY_NAME = ["64 KB", "case", "folder", "link out", "device", "fifo", "dangling"]
"""What stays of a key of which only the file's name counts, as in an annotation of Pascal VOC."""


@pytest.mark.parametrize(
    ("name", "key"),
    [("yolo", key) for key in LINES] + [("csv", key) for key in LINES] + [("voc", key) for key in BY_NAME],
)
def test_so_is_one_in_lists_tables_and_xml(run: Commands, tmp_path: Path, name: str, key: str) -> None:
    put(_world(tmp_path), hostile.naming(name, KEYS[key][0]))
    _all(run, tmp_path, name, *KEYS[key][1:])


@pytest.mark.parametrize("key", KEYS)
def test_names_in_records_are_only_names(run: Commands, tmp_path: Path, key: str) -> None:
    put(_world(tmp_path), hostile.naming("tfrecord", KEYS[key][0]))
    codes = (1, 1) if key == "surrogate" else (0, 0)
    _all(run, tmp_path, "tfrecord", "REC503|REC507" if key in ("surrogate", "above", "64 KB") else "", codes)
    if not codes[1]:
        done = run("convert", "in", "coco", "--to=coco", "--format=tfrecord", cwd=tmp_path)
        # As files the names would be one on some disks.
        assert (done.code, "differ in case alone" in done.told) == ((1, True) if key == "case" else (0, False)), (
            done
        )
        found = [path for path in (tmp_path / "coco").rglob("*") if layout.is_picture(path.name)]
        assert len(found) == (0 if key == "case" else 2)


@pytest.mark.parametrize("name", ["voc", "yolo", "csv"])
def test_files_and_labels_do_not_steer_the_terminal(run: Commands, tmp_path: Path, name: str) -> None:
    odd = ("b\x1b[2J", "c\nd", os.fsdecode(b"e\xff"), "f\u202e")
    files: Files = {f"{stem}.{end}": XML if end == "xml" else JPEG for stem in odd for end in ("xml", "jpg")}
    files |= {f"{stem}.{end}": "names: [cat]\n" for stem in odd for end in ("yaml", "csv", "txt")}
    put(tmp_path / "in", {**hostile.naming(name), **files})
    for words in (["validate", "in"], ["convert", "in", "out"], ["convert", "in", "coco", "--to=coco"]):
        done = run(*words, "--format", name, cwd=tmp_path)
        assert done.code in (0, 1)
        _harmless(done)


# Annotations --------------------------------------------------------------------------------------------------


def _json(text: str) -> dict[str, tuple[str | bytes, str, tuple[int, int]]]:
    body, number = text[:-1], re.search(r"(?<=[\[ ])(0\.1|4)(?=, )", text)
    assert number

    def instead(word: str) -> str:
        return text[: number.start()] + word + text[number.end() :]

    deep, inner = 1_000_000, '{"a":'
    return {
        "deep lists": (f'{body}, "z": {"[" * deep}{"]" * deep}}}', "nested too deeply", (3, 1)),
        "deep objects": (f'{body}, "z": {inner * deep}1{"}" * deep}}}', "nested too deeply", (3, 1)),
        "deep number": (instead("[" * deep), "nested too deeply", (3, 1)),
        "repeated": (f'{body}, "labels": 1, "labels": 2}}', 'the key "labels" stands twice', (3, 1)),
        "nan": (instead("NaN"), "NaN is no number at line 1", (3, 1)),
        "infinite": (instead("1e400"), "1e400 is no number at line 1", (3, 1)),
        "digits": (instead("1" * 1_000_000), "1{30} is no number at line 1", (3, 1)),
        "huge": (instead("1e308"), "ANN007", (1, 1)),
        "escape in a key": (f'{body}, "{ESCAPE}": 1}}', "Invalid control character at line 1", (3, 1)),
        "escape behind": (f"{text}{ESCAPE}", "Extra data at line 1", (3, 1)),
        "long": (f'{body}, "z": "{"x" * (20 << 20)}"}}', "more than 16,777,216 characters", (3, 1)),
        "cut": (text[:-1], "is not valid JSON: Expecting", (3, 1)),
        "latin": (text.replace("cat", "c\xe4t").encode("latin-1"), "is not UTF-8: byte", (3, 1)),
    }


JSON = {
    "cloud": ("_annotations.json", hostile.cloud()),
    "iris": ("_annotations.json", hostile.iris()),
    "coco": ("x.json", hostile.coco()),
}


@pytest.mark.parametrize("trick", _json(hostile.cloud()))
@pytest.mark.parametrize("name", JSON)
def test_json_of_bad_will(run: Commands, tmp_path: Path, name: str, trick: str) -> None:
    file, text = JSON[name]
    data, *expected = _json(text)[trick]
    put(tmp_path / "in", {"good.jpg": JPEG, file: data})
    _all(run, tmp_path, name, *expected)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", JSON)
def test_a_gigabyte_of_json_without_sense_ends_at_once(run: Commands, tmp_path: Path, name: str) -> None:
    file, text = JSON[name]
    put(tmp_path / "in", {"good.jpg": JPEG})
    for more, message in ((b', "z": "', "Invalid control character"), (b', "z": ', "Expecting value")):
        sparse(tmp_path / "in" / file, text[:-1].encode() + more, 1 << 30)
        _all(run, tmp_path, name, message, (3, 1))


@pytest.mark.slow
@pytest.mark.parametrize("name", JSON)
def test_a_gigabyte_of_json_is_read_in_little_memory(run: Commands, tmp_path: Path, name: str) -> None:
    file, text = JSON[name]
    put(tmp_path / "in", {"good.jpg": JPEG})
    filler = b'{"a": [1, 2, 3, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"]},' * 16384
    with (tmp_path / "in" / file).open("wb") as out:
        out.write(text[:-1].encode() + b', "z": [')
        while out.tell() < 1 << 30:
            out.write(filler)
        out.write(b"1]}")
    for words in (["validate", "in"], ["convert", "in", "out"]):
        done = run(*words, cwd=tmp_path, seconds=600)
        assert (done.code, "Traceback" in done.told) == (0, False), done
        assert done.megabytes < MOST_MEGABYTES


OTHERS: dict[str, Callable[[Path, Path], object]] = {
    "link": lambda path, outside: path.symlink_to(outside),
    "device": lambda path, _: path.symlink_to("/dev/zero"),
    "fifo": lambda path, _: os.mkfifo(path),
    "folder": lambda path, _: path.mkdir(),
}
"""What may lie in the place of a file."""

ANNOTATIONS = [(name, key) for name in readers.READERS for key in hostile.naming(name) if not key.endswith(".jpg")]


@pytest.mark.parametrize("what", OTHERS)
@pytest.mark.parametrize(("name", "file"), ANNOTATIONS)
def test_annotations_that_are_no_file_are_not_read(
    run: Commands, tmp_path: Path, name: str, file: str, what: str
) -> None:
    files = hostile.naming(name)
    path, outside = tmp_path / "in" / file, put(tmp_path / "outside", {"secret": files.pop(file)}) / "secret"
    put(tmp_path / "in", files)
    OTHERS[what](path, outside)
    assert outside
    for words in COMMANDS:
        done = run(*words, "--format", name, cwd=tmp_path, seconds=10)
        _harmless(done)
        assert done.code, done
        assert re.search(f"{LINKED}|no annotations that are known|is no regular file|ANN005", done.out + done.told)


ENTITIES = "".join(f'<!ENTITY {chr(98 + at)} "{f"&{chr(97 + at)};" * 10}">' for at in range(12))
MARKUP: dict[str, tuple[str | bytes, str]] = {
    "entities": (
        f'<!DOCTYPE a [<!ENTITY a "a">{ENTITIES}]>{XML.replace("cat", "&m;")}',
        "declares a document type",
    ),
    "external": (
        f'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>{XML.replace("cat", "&x;")}',
        "declares a document type",
    ),
    "network": (f'<!DOCTYPE a SYSTEM "http://127.0.0.1:9/">{XML}', "declares a document type"),
    "deep": ("<annotation>" + "<a>" * 1_000_000, "nested deeper than 64"),
    "escape": (XML.replace("cat", ESCAPE), "not well-formed"),
    "escaped": (XML.replace("cat", "&#x1b;"), "invalid character number"),
    "nan": (XML.replace("<xmin>4", "<xmin>NaN"), 'xmin is "NaN"'),
    "infinite": (XML.replace("<xmin>4", "<xmin>1e400"), 'xmin is "1e400"'),
    "size": (XML.replace("<width>40", "<width>1e300"), "IMG104"),
    "encoding": (f'<?xml version="1.0" encoding="idna"?>{XML}', "unknown encoding"),
    "utf-7": (f'<?xml version="1.0" encoding="utf-7"?>{XML}', "unknown encoding"),
    "many": (XML.replace("</annotation>", voc_object(("cat", 1, 1, 9, 9)) * 30_000), "larger than 4,194,304"),
}


@pytest.mark.parametrize("trick", MARKUP)
def test_xml_of_bad_will(run: Commands, tmp_path: Path, trick: str) -> None:
    data, message = MARKUP[trick]
    put(tmp_path / "in", {"good.jpg": JPEG, "good.xml": data})
    _all(run, tmp_path, "voc", message, (1, 1))


ALIASES = "".join(f"{chr(98 + at)}: &{chr(98 + at)} [{', '.join([f'*{chr(97 + at)}'] * 9)}]\n" for at in range(10))
CONFIGS: dict[str, tuple[str, str, tuple[int, int]]] = {
    "tag": ("names: [!!python/object/apply:os.system ['touch owned']]\ntrain: .\n", "names is neither", (3, 1)),
    "aliases": (f"a: &a [x]\n{ALIASES}names: *k\ntrain: .\n", "names is neither", (3, 1)),
    "aliased sides": (f"a: &a [x]\n{ALIASES}names: [cat]\ntrain: *k\n", "train is neither", (3, 1)),
    "loop": ("names: &a [*a]\n", "recursive node", (3, 1)),
    "deep": ("names: [cat]\nz: " + "[" * 20_000, "nested too deeply", (3, 1)),
    "up": ("names: [cat]\ntrain: ../../../etc\n", 'names "../../../etc", but nothing of it', (3, 1)),
    "path": ("names: [cat]\npath: /etc\ntrain: passwd.txt\n", 'names "passwd.txt", but nothing of it', (3, 1)),
    "long": ("names: [cat]\ntrain: " + "a/" * 60_000, "nothing of it is here", (3, 1)),
    "many": ("names: [cat]\ntrain: [" + "a/b, " * 20_000 + "a]", 'names "a/b", "a/b", "a/b", ..., but', (3, 1)),
    "large": ("names: [" + "a," * 200_000 + "]", "larger than 262,144 bytes", (3, 1)),
    "escape": (f"names: [cat]\ntrain: {ESCAPE}\n", "characters that YAML does not allow", (3, 1)),
    "escaped": ('names: [cat]\ntrain: "\\e[2J"\n', r'names "\\u001b\[2J", but nothing', (3, 1)),
    "numbers": ("names: {1e308: cat}\nnc: 1e400\ntrain: .\n", "LBL301", (1, 1)),
    "points": ("names: [cat]\nkpt_shape: [1e308, 99999999999]\ntrain: .\n", "", (0, 0)),
}


@pytest.mark.parametrize("trick", CONFIGS)
def test_a_config_of_bad_will(run: Commands, tmp_path: Path, trick: str) -> None:
    data, message, codes = CONFIGS[trick]
    put(tmp_path / "in", {"data.yaml": data, "good.jpg": JPEG, "good.txt": YOLO})
    _all(run, tmp_path, "yolo", message, codes)
    assert not list(tmp_path.rglob("owned"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 nan 0.5 0.5 0.5", '"nan"'),
        ("0 1e400 0.5 0.5 0.5", '"1e400"'),
        ("0 1e308 0.5 0.5 0.5", "ANN007"),
        ("9" * 100_000 + " .5 .5 .5 .5", "LBL301"),
        (f"0 {ESCAPE} 0 0 0", r"\\u001b"),
        ("0 " + "x" * (15 << 20), "2 columns"),
        ("\n" * (17 << 20), "larger than 16,777,216 bytes"),
    ],
)
def test_labels_of_bad_will(run: Commands, tmp_path: Path, line: str, message: str) -> None:
    files: Files = {"data.yaml": "names: [cat]\ntrain: .\n", "good.jpg": JPEG, "good.txt": line}
    put(tmp_path / "in", files)
    _all(run, tmp_path, "yolo", message, (1, 1))


TABLE = hostile.table()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (f'{TABLE}"{"x" * 200_000}",40,20,cat,4,4,24,14\n', "field larger than field limit"),
        (TABLE + '"' + "x,\n" * 100_000, "field larger than field limit"),
        (f"{TABLE}{'x,' * 1_000_000}\n", "line is longer than 1,048,576 bytes"),
        (TABLE.replace(",4,4", ",nan,4"), 'xmin is "nan"'),
        (TABLE.replace(",4,4", ",1e400,4"), 'xmin is "1e400"'),
        (TABLE.replace(",40,20", ",1e308,1e308"), "BOX202|no usable box|IMG104"),
        (f"{TABLE}a.jpg,{ESCAPE}\n", "2 columns instead of 8"),
    ],
    ids=range(7),
)
def test_a_table_of_bad_will(run: Commands, tmp_path: Path, table: str, message: str) -> None:
    put(tmp_path / "in", {"good.jpg": JPEG, "x.csv": table})
    _all(run, tmp_path, "csv", message, (1, 1))


EXAMPLE = hostile.example()
MORE = pictures.jpeg(seed=4)
RECORDS: dict[str, tuple[bytes, str, str, tuple[int, int]]] = {
    "2^64": (hostile.header((1 << 64) - 1), LABELS, "18446744073709551615 bytes are announced", (1, 1)),
    "2^63": (hostile.header(1 << 63), LABELS, "9223372036854775808 bytes are announced", (1, 1)),
    "inner length": (hostile.framed(b"\x0a\xff\xff\xff\xff\x0fabc"), LABELS, "no tf.train.Example", (1, 1)),
    "groups": (hostile.framed(b"\x0b" * 1_000_000), LABELS, "no tf.train.Example", (1, 1)),
    "nested": (hostile.framed(b"\x0a\x02" * 500_000), LABELS, "no tf.train.Example", (1, 1)),
    "nan": (hostile.framed(hostile.example("b.jpg", MORE, xmin=[float("nan")])), LABELS, "BOX203", (1, 1)),
    "escape": (hostile.framed(hostile.example("b.jpg", MORE, text=[ESCAPE.encode()])), LABELS, "LBL305", (0, 0)),
    "feature": (
        hostile.framed(hostile.example("b.jpg", MORE, **{"image/object/\x1b[2J": [1]})),
        LABELS,
        "",
        (0, 0),
    ),
    "number": (hostile.framed(hostile.example("b.jpg", MORE, label=[1 << 62])), LABELS, "REC505", (0, 0)),
    "deep map": (b"", "item {" * 100_000, "no label map", (3, 1)),
    "map with an escape": (b"", f"item {{ name: '{ESCAPE}", "no label map", (3, 1)),
    "large map": (b"", "#" * (17 << 20), "larger than 16,777,216 bytes", (3, 1)),
}


@pytest.mark.parametrize("trick", RECORDS)
def test_records_of_bad_will(run: Commands, tmp_path: Path, trick: str) -> None:
    more, labels, message, codes = RECORDS[trick]
    put(tmp_path / "in", {"x.record": hostile.framed(EXAMPLE) + more, "x.pbtxt": labels})
    _all(run, tmp_path, "tfrecord", message, codes)


ENDLESS: dict[str, tuple[str, Files, str, bytes, int, str, tuple[int, int]]] = {
    "xml": ("voc", {}, "good.xml", XML.encode(), 32, "larger than 4,194,304", (1, 1)),
    "list of VOC": (
        "voc",
        {"Annotations/good.xml": XML, "JPEGImages/good.jpg": JPEG},
        "ImageSets/Main/train.txt",
        b"good\n",
        32,
        "larger than 134,217,728",
        (3, 1),
    ),
    "config": ("yolo", {"good.txt": YOLO}, "data.yaml", b"names: [cat]\n", 34, "larger than 262,144", (3, 1)),
    "labels": ("yolo", {"data.yaml": "names: [cat]\ntrain: .\n"}, "good.txt", b"\n", 30, "larger than", (1, 1)),
    "list": (
        "yolo",
        {"data.yaml": "names: [cat]\ntrain: list.txt\n", "good.txt": YOLO},
        "list.txt",
        b"good.jpg\n",
        26,
        "holds control characters",
        (1, 1),
    ),
    "table": ("csv", {}, "x.csv", TABLE.encode(), 31, "line is longer than 1,048,576 bytes", (1, 1)),
    "record": (
        "tfrecord",
        {"x.pbtxt": LABELS},
        "x.record",
        hostile.framed(EXAMPLE) + hostile.header(1 << 30),
        31,
        "more than an example may have",
        (1, 1),
    ),
    "label map": ("tfrecord", {"x.record": hostile.framed(EXAMPLE)}, "x.pbtxt", b"", 31, "larger than", (3, 1)),
}
"""Format, other files, the file that hardly ends, its beginning, binary logarithm of its size, message, codes."""


@pytest.mark.parametrize("trick", ENDLESS)
def test_a_file_without_end_takes_little_memory(run: Commands, tmp_path: Path, trick: str) -> None:
    name, files, key, head, size, message, codes = ENDLESS[trick]
    put(tmp_path / "in", {"good.jpg": JPEG, **files} if name != "tfrecord" else files)
    sparse(tmp_path / "in" / key, head, 1 << size)
    _all(run, tmp_path, name, message, codes)


def test_every_reader_was_tried() -> None:
    tried = {*JSON, "voc", "csv", "yolo", "tfrecord"}
    assert tried == set(readers.READERS)


# Pictures -----------------------------------------------------------------------------------------------------


def _resized(width: int, height: int) -> bytes:
    """Return a small JPEG that claims to be of another size."""
    data = bytearray(pictures.jpeg())
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def _scans(count: int) -> bytes:
    """Return a progressive JPEG that says its last scan again and again."""
    data = pictures.encoded(Image.new("L", (4000, 4000)), progressive=True)
    scan, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    return data[:end] + data[scan:end] * count + data[end:]


def _within(fill: bytes, at: int) -> bytes:
    data = pictures.jpeg()
    return data[:at] + fill + data[at:]


INFLATED = zlib.compress(bytes(1 << 28), 9)
"""A quarter of a gigabyte."""

BOMBS: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "PNG of 900 megapixels": ("png", lambda: hostile.png(30_000, 30_000, bits=1, rows=1), "IMG106"),
    "wide PNG": ("png", lambda: hostile.png((1 << 31) - 1, 1, rows=0), "IMG106"),
    "PNG without its rows": ("png", lambda: hostile.png(1, 170_000_000, rows=1), "cut short"),
    "PNG with a million rows more": ("png", lambda: hostile.png(40, 20, rows=1_000_000), "IMG101"),
    "JPEG of 4 gigapixels": ("jpg", lambda: _resized(65_500, 65_500), "IMG106"),
    "JPEG of 65,535 pixels a side": ("jpg", lambda: _resized(65_535, 65_535), "IMG10[16]"),
    "JPEG of 169 megapixels in 800 bytes": ("jpg", lambda: _resized(13_000, 13_000), "decodes to wrong pixels"),
    "JPEG of no size": ("jpg", lambda: _resized(0, 0), "its size is zero"),
    "JPEG of many scans": ("jpg", lambda: _scans(400), "scans contradict each other"),
    "JPEG with filler": ("jpg", lambda: _within(b"\xff" * (20 << 20), 2), "lie between its segments"),
    "JPEG of restarts": ("jpg", lambda: _within(b"\xff\xd0" * 500_000, -2), "restart markers"),
    "BMP of 3.6 gigapixels": ("bmp", lambda: _bmp(60_000), "IMG106"),
    "BMP without its pixels": ("bmp", lambda: _bmp(13_000), "IMG101"),
    "GIF of 4 gigapixels": ("gif", lambda: _gif(65_535), "IMG106"),
    "nothing": ("jpg", lambda: b"", "it is empty"),
}


def _bmp(side: int) -> bytes:
    data = bytearray(pictures.encoded(pictures.drawing(), "BMP"))
    data[18:26] = struct.pack("<ii", side, side)
    return bytes(data)


def _gif(side: int) -> bytes:
    data = bytearray(pictures.encoded(pictures.drawing(mode="P"), "GIF"))
    data[6:10] = struct.pack("<HH", side, side)
    return bytes(data)


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_picture_that_bursts_is_refused(run: Commands, tmp_path: Path, bomb: str) -> None:
    ending, make, message = BOMBS[bomb]
    document = hostile.cloud(f"bad.{ending}")
    put(tmp_path / "in", {"_annotations.json": document, "good.jpg": JPEG, f"bad.{ending}": make()})
    codes = (1, 1)
    if ending in ("gif", "bmp"):
        message = f"{message}|IMG102"
    _all(run, tmp_path, "", message, codes)


@pytest.mark.parametrize(
    "extra",
    [
        hostile.chunk(b"iCCP", b"x\0\0" + INFLATED),
        hostile.chunk(b"zTXt", b"x\0\0" + INFLATED),
        hostile.chunk(b"iTXt", b"x\0\1\0\0\0" + INFLATED),
        hostile.chunk(b"teXt", b"") * 100_000,
    ],
    ids=["profile", "text", "unicode", "chunks"],
)
@pytest.mark.parametrize("side", [None, 10])
def test_what_a_png_holds_beside_its_pixels_is_not_inflated(
    run: Commands, tmp_path: Path, extra: bytes, side: int | None
) -> None:
    files: Files = {"_annotations.json": hostile.cloud(), "good.jpg": hostile.png(40, 20, extra)}
    put(tmp_path / "in", files)
    for words in (["validate", "in", "--near-duplicates"], ["convert", "in", "out"]):
        more = [f"--max-side={side}"] if side and words[0] == "convert" else []
        done = run(*words, *more, cwd=tmp_path)
        assert done.code in (0, 1)
        _harmless(done)


def test_of_what_moves_the_first_picture_is_taken(run: Commands, tmp_path: Path) -> None:
    frames = [pictures.drawing(64, 64, seed=seed) for seed in range(1, 40)]
    for name, kind in (
        ("a.gif", "GIF"),
        ("b.webp", "WEBP"),
        ("c.png", "PNG"),
        ("d.tif", "TIFF"),
        ("e.jpg", "MPO"),
    ):
        data = pictures.encoded(pictures.drawing(64, 64), kind, save_all=True, append_images=frames)
        put(tmp_path / "in", {name: data})
    names = sorted(path.name for path in (tmp_path / "in").iterdir())
    put(tmp_path / "in", {"_annotations.json": hostile.cloud(*names), "good.jpg": JPEG})
    done = run("convert", "in", "out", cwd=tmp_path)
    assert done.code == 0, done
    _harmless(done)
    assert done.told.count("3 transcoded picture") == 1


@contextmanager
def _restless(path: Path) -> Iterator[None]:
    """Let somebody write to a file all the time, now a byte more, now one less."""
    stop = threading.Event()

    def write() -> None:
        size = path.stat().st_size
        with path.open("r+b", buffering=0) as file:
            while not stop.is_set():
                file.truncate(size + 1)
                file.truncate(size)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        stop.set()
        writer.join()


@pytest.mark.parametrize("name", readers.READERS)
def test_a_picture_that_changes_while_it_is_read_is_told(run: Commands, tmp_path: Path, name: str) -> None:
    # So large that reading takes longer than the system's clock takes to tick.
    large = JPEG + bytes(32 << 20)
    files, key = hostile.naming(name), "x.record" if name == "tfrecord" else "good.jpg"
    files[key] = hostile.framed(hostile.example(encoded=large)) if name == "tfrecord" else large
    moving = put(tmp_path / "in", files) / key
    with _restless(moving):
        for words in COMMANDS:
            for _ in range(20):
                done = run(*words, "--format", name, cwd=tmp_path)
                _harmless(done)
                if done.code and "changed while" in done.out + done.told:
                    break
                shutil.rmtree(tmp_path / "out", ignore_errors=True)
            assert "changed while" in done.out + done.told, done
            assert re.search(r"good\.jpg|x\.record", done.out + done.told)
            assert not (tmp_path / "out").exists()
