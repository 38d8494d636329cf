"""A mended copy: nothing of the source is lost without a line, nothing is guessed, and what is left is sound."""

import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pictures
import pytest
from broken import CASES
from formats import put, record, rounded, voc_xml, yolo_line
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from test_main import odbuild

from odbuild import fix as mending
from odbuild import strategies
from odbuild.check import Options, Report, catalogue
from odbuild.errors import OdbuildError, UsageError
from odbuild.fix import MENDED, REASONS, Request, fix
from odbuild.trainer import images, readers
from odbuild.trainer.dataset import Box, Dataset
from odbuild.trainer.findings import errors, place, render
from odbuild.trainer.index import LEDGER
from odbuild.trainer.rules.every import labelmaps

BOX: dict[str, Any] = {"x": 0.1, "y": 0.2, "x2": 0.5, "y2": 0.6, "label": "cat"}
Lines = list[dict[str, Any]]


def fixed(folder: Path, out: Path, **choices: Any) -> tuple[Report, Lines]:
    options = Options(jobs=1, **choices.pop("options", {}))
    report = fix(Request(dataset=folder, out=out, options=options, **choices), lambda _: None)
    return report, [json.loads(line) for line in (out / LEDGER).read_text().splitlines()]


def cloud(folder: Path, annotations: Mapping[str, Any], labels: list[str], **files: bytes) -> Path:
    """Write a project of Cloud Annotations whose keys are small pictures unless their files are given."""
    for seed, key in enumerate(annotations):
        pictures.write(folder, key, files.get(key.replace(".", "_"), pictures.jpeg(64, 48, seed=seed)))
    document = {"version": "1.0", "type": "localization", "labels": labels, "annotations": annotations}
    pictures.write(folder, "_annotations.json", json.dumps(document).encode())
    return folder


def state(folder: Path) -> dict[str, tuple[str, int]]:
    """Return content and time of change of all that lies in a folder."""
    return {
        str(path.relative_to(folder)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def said(lines: Lines) -> Counter[tuple[str, str, str]]:
    return Counter((line["action"], line["what"], line["code"]) for line in lines)


def whole(source: Dataset, copy: Dataset, lines: Lines) -> None:
    """Make sure that pictures and boxes in are those out and those that the ledger drops."""
    lost = Counter(line["what"] for line in lines if line["action"] == "dropped")
    boxes = sum(len(picture.boxes) for picture in copy.pictures)
    assert (source.keys, source.drawn) == (len(copy.pictures) + lost["picture"], boxes + lost["box"])


def accounted(source: Dataset, copy: Dataset, lines: Lines) -> None:
    """Make sure that each box of the source is in the copy as it was, or that a line tells why not."""
    told = {line["where"] for line in lines}
    by_key = {picture.key: Counter(rounded([picture])[0].boxes) for picture in copy.pictures}
    renamed = any(line["action"] == "renamed" and line["what"] == "label" for line in lines)
    for picture in source.pictures:
        if place(picture.key) in told:
            continue
        held = by_key[picture.key]
        for box, plain in zip(picture.boxes, rounded([picture])[0].boxes, strict=True):
            assert place(picture.key, box.index) in told or renamed or held[plain] > 0
            held[plain] -= 1


# Every rule -------------------------------------------------------------------------------------------------


def test_for_every_rule_of_datasets_it_is_known_whether_it_is_mended() -> None:
    codes = {code for code, info in catalogue().items() if info.subject == "dataset"}
    assert MENDED | REASONS.keys() == codes
    assert not MENDED & REASONS.keys()
    assert all(re.fullmatch(r"[a-z].*[^.]", reason) for reason in REASONS.values())


ELSEWHERE = {"BOX204", "BOX205", "LBL301", "SPL403"}
"""Broken only together with a model or a label map, or by a word that the copy's format lacks."""


@pytest.mark.parametrize("code", [code for code in CASES if catalogue()[code].subject == "dataset"])
def test_what_breaks_a_rule_is_mended_or_told_with_a_reason(code: str, tmp_path: Path) -> None:
    case = CASES[code](tmp_path)
    options = Options(jobs=1, **{name: value for name, value in case.options.items() if name != "model"})
    before = state(case.paths[0])
    told: list[str] = []
    request = Request(dataset=case.paths[0], out=tmp_path / "out", options=options)
    if code == "BOX209":
        with pytest.raises(OdbuildError, match="no box can be trusted"):
            fix(request, told.append)
        assert not request.out.exists()
        return
    report = fix(request, told.append)
    assert state(case.paths[0]) == before
    if code == "ANN006":
        assert report.exit_code("error") == 3
        assert not request.out.exists()
        return
    left = {finding.code for finding in report.findings}
    assert not left & MENDED, render(report.findings)
    assert left <= REASONS.keys()
    assert all(any(f"{it}: {REASONS[it]}" in line for line in told) for it in left)
    assert {finding.code for finding in errors(report.findings)} <= {"IMG103", "SPL401", "SPL402"}
    lines = [json.loads(line) for line in (request.out / LEDGER).read_text().splitlines()]
    assert code in left | {line["code"] for line in lines} | ELSEWHERE


SMALL = pictures.jpeg(64, 48)
HEAD = "filename,width,height,class,xmin,ymin,xmax,ymax\n"
TWO_IDS: dict[str, Any] = {
    "images": [{"id": 1, "file_name": name, "width": 64, "height": 48} for name in ("a.jpg", "b.jpg")],
    "annotations": [{"id": it, "image_id": 1, "category_id": 1, "bbox": [8, 8, 16, 16]} for it in range(2)],
    "categories": [{"id": 1, "name": "cat"}],
}
TWO_NAMES = {
    **TWO_IDS,
    "images": TWO_IDS["images"][:1],
    "categories": [{"id": 1, "name": name} for name in ("cat", "dog")],
}
DOUBTFUL: Mapping[str, tuple[str, Mapping[str, str | bytes]]] = {
    "two pictures of one id": ("ANN006", {"x.json": json.dumps(TWO_IDS), "b.jpg": pictures.jpeg(64, 48, seed=1)}),
    "two classes of one id": ("ANN006", {"x.json": json.dumps(TWO_NAMES)}),
    "two files of labels": (
        "ANN006",
        {
            "data.yaml": "train: images\nnames: [cat]\n",
            "images/a.jpg": SMALL,
            "labels/a.txt": yolo_line(0, Box(label="cat", ymin=0.1, xmin=0.1, ymax=0.5, xmax=0.5)),
            "images/a.txt": yolo_line(0, Box(label="cat", ymin=0.2, xmin=0.1, ymax=0.5, xmax=0.5)) * 2,
        },
    ),
    "a table with a torn row": (
        "ANN001",
        {"x.csv": f'{HEAD}a.jpg,64,48,"cat"x,1,1,9,9\na.jpg,64,48,cat,1,1,9,9\n'},
    ),
    "records with a damaged length": (
        "REC501",
        {
            "x.record": (RECORD := record(SMALL, Box(label="cat", ymin=0.1, xmin=0.1, ymax=0.5, xmax=0.5)))
            + b"x"
            + RECORD
        },
    ),
}


@pytest.mark.parametrize("name", DOUBTFUL)
def test_nothing_is_mended_where_nobody_knows_what_the_source_holds(tmp_path: Path, name: str) -> None:
    code, files = DOUBTFUL[name]
    put(tmp_path / "in", {"a.jpg": SMALL, **files})
    with pytest.raises(OdbuildError, match=rf"^Nothing is mended: .*\n(.|\n)*{code}"):
        fixed(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("recorded", "kept"), [([32, 48], 2), (None, 2), ([48, 32], 1)])
def test_boxes_in_pixels_are_not_turned_into_others(tmp_path: Path, recorded: list[int] | None, kept: int) -> None:
    size = dict(zip(("width", "height"), recorded, strict=True)) if recorded else {}
    document = {
        "images": [
            {"id": 0, "file_name": "0.jpg", **size},
            {"id": 1, "file_name": "1.jpg", "width": 48, "height": 32},
        ],
        "annotations": [
            {"id": it, "image_id": it, "category_id": 1, "bbox": [8, 8, 16, 16], "iscrowd": 0} for it in range(2)
        ],
        "categories": [{"id": 1, "name": "cat"}],
    }
    contents = {"0.jpg": pictures.jpeg(48, 32, orientation=6), "1.jpg": pictures.jpeg(48, 32, seed=1)}
    put(tmp_path / "in", {**contents, "annotations.json": json.dumps(document)})
    report, lines = fixed(tmp_path / "in", tmp_path / "out", exif="apply")
    copy, _ = readers.read(tmp_path / "out")
    assert len(copy.pictures) == kept
    if kept == 2:
        (box,) = copy.pictures[0].boxes
        assert (box.xmin * 32, box.ymax * 48) == pytest.approx((8, 24))
    assert ("IMG104" in {line["code"] for line in lines} | {it.code for it in report.findings}) == (kept == 1)


# Any dataset ------------------------------------------------------------------------------------------------

edges = st.one_of(
    st.floats(-0.4, 1.4), st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.sampled_from([17, "x", None, True])
)
entries = st.fixed_dictionaries(
    {"label": st.sampled_from(["cat", " cat", "Cat", "caf\u00e9", "cafe\u0301 ", "", "dog"])},
    optional=dict.fromkeys(("x", "y", "x2", "y2"), edges),
)
TURNED = pictures.encoded(pictures.drawing(40, 30), "WEBP", exif=pictures.exif(6))
"""To be encoded anew, whatever view its boxes were drawn on."""

files = st.sampled_from(
    [
        pictures.jpeg(40, 30),
        pictures.jpeg(40, 30, seed=1),
        pictures.encoded(pictures.drawing(40, 30), "PNG"),
        pictures.encoded(pictures.drawing(40, 30), "GIF"),
        TURNED,
        pictures.jpeg(40, 30, orientation=6),
        pictures.jpeg()[:-90],
        b"",
        None,
    ]
)
names = st.sampled_from(
    ["a.jpg", "A.jpg", "a.png", "b.jpeg", "d/a.gif", "d/b.jpg", "../up.jpg", "/root.jpg", "a-2.png"]
)


@st.composite
def hurt(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Draw a project in which anything may be wrong that its reader still understands."""
    keys = draw(st.lists(names, min_size=1, max_size=6, unique=True))
    annotations = {key: draw(st.lists(entries, max_size=4)) for key in keys}
    annotations["z.jpg"] = [dict(BOX)]
    labels = draw(st.lists(st.sampled_from(["cat", " cat", "bird", "cat"]), max_size=4))
    document = {"version": "1.0", "type": "localization", "labels": labels, "annotations": annotations}
    held = {key: draw(files) for key in keys if not key.startswith(("/", ".."))}
    found = {key: data for key, data in held.items() if data is not None}
    return document, {**found, "z.jpg": pictures.jpeg(40, 30, seed=9)}


@given(drawn=hurt(), exif=st.sampled_from(["apply", "ignore", None]), to=st.sampled_from(["cloud", "coco", None]))
def test_input_is_output_and_ledger_whatever_is_wrong(
    tmp_path_factory: pytest.TempPathFactory, drawn: Any, exif: Any, to: str | None
) -> None:
    document, contents = drawn
    root = tmp_path_factory.mktemp("hurt")
    folder = put(root / "in", {**contents, "_annotations.json": json.dumps(document)})
    before = state(folder)
    source, found = readers.read(folder)
    if exif is None and any(it.boxes and contents[it.key] == TURNED for it in source.pictures):
        with pytest.raises(OdbuildError, match=r"say it with --exif apply or --exif ignore\.\nerror IMG103"):
            fixed(folder, root / "out", exif=exif, to=to)
        return
    report, lines = fixed(folder, root / "out", exif=exif, to=to)
    copy, _ = readers.read(root / "out", to)
    assert state(folder) == before
    whole(source, copy, lines)
    accounted(source, copy, lines)
    left = {finding.code for finding in report.findings}
    assert not left & MENDED, render(report.findings)
    assert {it.code for it in errors(report.findings)} <= (set() if exif else {"IMG103"}), render(report.findings)
    assert {it.code for it in found if it.severity != "info"} <= {line["code"] for line in lines} | left
    # What is mended has nothing to be mended.
    again, none = fixed(root / "out", root / "again", exif=exif, to=to)
    assert none == []
    assert {key: it for key, (it, _) in state(root / "again").items() if key != LEDGER} == {
        key: it for key, (it, _) in state(root / "out").items() if key != LEDGER
    }
    assert {it.code for it in again.findings} == left


@given(source=strategies.datasets(labels=strategies.labels(odd=True), least=2, backgrounds=True))
def test_what_is_right_is_copied_as_it_is(
    tmp_path_factory: pytest.TempPathFactory, source: strategies.Sample
) -> None:
    root = tmp_path_factory.mktemp("right")
    folder = source.write(root / "in")
    # Labels may begin with a space here; that is another test's.
    _, lines = fixed(folder, root / "out", options={"ignore": ("LBL",)})
    assert lines == []
    before, _ = readers.read(folder)
    after, _ = readers.read(root / "out")
    assert rounded(after.pictures) == rounded(before.pictures)
    assert after.declared == before.declared
    assert all((root / "out" / key).read_bytes() == image.data for key, image in source.images.items())


# Pictures ---------------------------------------------------------------------------------------------------


def pixels(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@given(orientation=st.integers(1, 8), png=st.booleans(), more=st.booleans())
def test_taking_an_orientation_away_changes_no_pixel(orientation: int, png: bool, more: bool) -> None:  # noqa: FBT001
    block = Image.Exif()
    block[0x0112] = orientation
    if more:
        block[0x010E] = "a tag before it"
        block[0x0132] = "2026:01:02 03:04:05"
    data = pictures.encoded(pictures.drawing(), "PNG" if png else "JPEG", exif=block)
    new = images.untagged(data)
    assert images.inspect(data, check="decode").orientation == orientation
    assert images.inspect(new, check="decode").orientation == 1
    assert len(new) == len(data)
    assert sum(one != other for one, other in zip(data, new, strict=True)) <= (6 if png else 2)
    opened = pixels(new)
    opened.load()
    assert opened.tobytes() == pixels(data).tobytes()
    assert opened.getexif().get(0x0112) == 1
    assert opened.getexif().get(0x0132) == (block[0x0132] if more else None)


def test_a_picture_without_orientation_is_left_alone() -> None:
    assert images.untagged(pictures.jpeg()) == pictures.jpeg()


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("to", ["cloud", "coco"])
def test_boxes_drawn_on_the_upright_view_stay_where_they_were(orientation: int, to: str, tmp_path: Path) -> None:
    data = pictures.jpeg(64, 48, orientation=orientation)
    folder = cloud(tmp_path / "in", {"a.jpg": [BOX]}, ["cat"], a_jpg=data)
    report, lines = fixed(folder, tmp_path / "out", exif="apply", to=to)
    assert not errors(report.findings), render(report.findings)
    assert said(lines) == {("turned", "picture", "IMG103"): 1}
    with pixels((tmp_path / "out/a.jpg").read_bytes()) as turned:
        expected = ImageOps.exif_transpose(pixels(data))
        assert turned.size == expected.size
        assert turned.getexif().get(0x0112, 1) == 1
        difference = zip(turned.convert("L").tobytes(), expected.convert("L").tobytes(), strict=True)
        assert max(abs(one - other) for one, other in difference) < 12
    copy, _ = readers.read(tmp_path / "out", to)
    (box,) = copy.pictures[0].boxes
    assert (round(box.xmin, 6), round(box.ymax, 6)) == (0.1, 0.6)


def test_boxes_drawn_on_the_stored_view_stay_where_they_were(tmp_path: Path) -> None:
    data = pictures.jpeg(64, 48, orientation=6)
    folder = cloud(tmp_path / "in", {"a.jpg": [BOX]}, ["cat"], a_jpg=data)
    report, lines = fixed(folder, tmp_path / "out", exif="ignore")
    assert not errors(report.findings)
    assert said(lines) == {("corrected", "picture", "IMG103"): 1}
    assert pixels((tmp_path / "out/a.jpg").read_bytes()).tobytes() == pixels(data).tobytes()


def test_without_a_word_on_the_view_nothing_is_turned(tmp_path: Path) -> None:
    data = pictures.jpeg(64, 48, orientation=6)
    folder = cloud(tmp_path / "in", {"a.jpg": [BOX]}, ["cat"], a_jpg=data)
    report, lines = fixed(folder, tmp_path / "out")
    assert [it.code for it in errors(report.findings)] == ["IMG103"]
    assert report.exit_code("error") == 1
    assert lines == []
    assert (tmp_path / "out/a.jpg").read_bytes() == data


def test_a_name_tells_the_format_and_none_is_another_on_any_disk(tmp_path: Path) -> None:
    annotations = {
        key: [BOX] for key in ("a.jpg", "a.gif", "b.png", "b.jpg", "C.jpg", "c.jpg", "e.JPEG", "f.webp")
    }
    drawing = [pictures.drawing(64, 48, seed=seed) for seed in range(8)]
    folder = cloud(
        tmp_path / "in",
        annotations,
        ["cat"],
        a_gif=pictures.encoded(drawing[0], "GIF"),
        b_png=pictures.encoded(drawing[1]),
        f_webp=pictures.encoded(drawing[2], "WEBP"),
    )
    for to in ("cloud", "coco"):
        report, lines = fixed(folder, tmp_path / to, to=to)
        assert {it.code for it in report.findings} <= {"LBL303", "SPL404", "BOX207"}
        copy, _ = readers.read(tmp_path / to, to)
        keys = [picture.key for picture in copy.pictures]
        assert keys == sorted(["a.jpg", "a-2.png", "b-2.jpg", "b.jpg", "C.jpg", "c-2.jpg", "e.JPEG", "f.jpg"])
        assert len({key.casefold() for key in keys}) == len(annotations)
        assert said(lines)["renamed", "picture", "IMG102"] == 3
        assert said(lines)["renamed", "picture", "ANN005"] == 1
        assert said(lines)["transcoded", "picture", "IMG102"] == 2
        for picture in copy.pictures:
            kind = images.sniff(copy.path(picture).read_bytes())
            assert {"jpeg": ("jpg", "JPEG"), "png": ("png",)}[kind].count(picture.key.rpartition(".")[2])


def test_renamed_pictures_keep_their_labels_apart_in_yolo(tmp_path: Path) -> None:
    gif = pictures.encoded(pictures.drawing(64, 48), "GIF")
    line = yolo_line(0, Box(label="cat", xmin=0.1, ymin=0.2, xmax=0.5, ymax=0.6))
    files: dict[str, str | bytes] = {"classes.txt": "cat\n", "a.jpg": gif, "a.txt": line, "b.jpg": pictures.jpeg()}
    report, lines = fixed(put(tmp_path / "in", {**files, "b.txt": line}), tmp_path / "out")
    assert not errors(report.findings)
    copy, _ = readers.read(tmp_path / "out")
    assert [(picture.key, len(picture.boxes)) for picture in copy.pictures] == [("a.png", 1), ("b.jpg", 1)]
    assert {line["action"] for line in lines} == {"transcoded", "renamed"}


@pytest.mark.parametrize(
    ("recorded", "boxes", "kept"),
    [
        ((128, 96), [("cat", 10, 10, 100, 90)], True),
        ((32, 24), [("cat", 5, 5, 30, 20)], True),
        ((48, 64), [("cat", 5, 5, 30, 20)], False),
        ((32, 24), [("cat", 5, 5, 60, 40)], False),
        ((0, 0), [("cat", 5, 5, 30, 20)], None),
    ],
)
def test_a_wrong_size_is_corrected_where_the_boxes_are_right_all_the_same(
    recorded: tuple[int, int],
    boxes: Any,
    kept: bool | None,  # noqa: FBT001
    tmp_path: Path,
) -> None:
    files: dict[str, str | bytes] = {
        "Annotations/a.xml": voc_xml(recorded, boxes),
        "JPEGImages/a.jpg": pictures.jpeg(64, 48),
        "Annotations/b.xml": voc_xml((64, 48), [("cat", 5, 5, 30, 20)]),
        "JPEGImages/b.jpg": pictures.jpeg(64, 48, seed=1),
    }
    folder = put(tmp_path / "in", files)
    source, _ = readers.read(folder)
    report, lines = fixed(folder, tmp_path / "out")
    copy, _ = readers.read(tmp_path / "out")
    assert not errors(report.findings)
    whole(source, copy, lines)
    assert [picture.key for picture in copy.pictures] == ["JPEGImages/a.jpg", "JPEGImages/b.jpg"][kept is False :]
    assert {picture.size for picture in copy.pictures} == {(64, 48)}
    expected = {True: {("corrected", "picture")}, False: {("dropped", "picture"), ("dropped", "box")}, None: set()}
    assert {(line["action"], line["what"]) for line in lines} - {
        ("clipped", "box"),
        ("settled", "file"),
    } == expected[kept]
    if kept:
        assert rounded(copy.pictures)[0].boxes == rounded(source.pictures)[0].boxes


def test_equal_pictures_are_dropped_only_with_equal_boxes(tmp_path: Path) -> None:
    other = {**BOX, "x": 0.3}
    data = pictures.jpeg(64, 48)
    annotations = {"a.jpg": [BOX, other], "b.jpg": [other, BOX], "c.jpg": [BOX], "d.jpg": [BOX]}
    folder = cloud(tmp_path / "in", annotations, ["cat"], a_jpg=data, b_jpg=data, c_jpg=data)
    report, lines = fixed(folder, tmp_path / "out")
    assert [line["where"] for line in lines if line["what"] == "picture"] == ['annotations["b.jpg"]']
    assert {line["code"] for line in lines} == {"IMG108"}
    assert [it.where for it in report.findings if it.code == "IMG108"] == ['annotations["c.jpg"]']
    assert fixed(folder, tmp_path / "same", options={"ignore": ("IMG108",)})[1] == []


# Boxes and labels -------------------------------------------------------------------------------------------


def test_boxes_are_sorted_clipped_and_dropped_and_each_is_told(tmp_path: Path) -> None:
    boxes = [
        BOX,
        {**BOX, "x": 0.6, "x2": 0.2},
        {**BOX, "y2": 1.3},
        {**BOX, "x2": 0.1},
        {**BOX, "y": 0.201, "y2": 0.202},
        dict(BOX),
        {**BOX, "label": "dog"},
    ]
    folder = cloud(tmp_path / "in", {"a.jpg": boxes}, ["cat", "dog"])
    report, lines = fixed(folder, tmp_path / "out")
    assert [(line["action"], line["where"][-2], line["code"]) for line in lines] == [
        ("sorted", "1", "BOX202"),
        ("clipped", "2", "BOX201"),
        ("dropped", "3", "BOX202"),
        ("dropped", "4", "BOX202"),
        ("dropped", "5", "BOX206"),
    ]
    copy, _ = readers.read(tmp_path / "out")
    assert [(round(box.xmin, 3), round(box.ymax, 3)) for box in copy.pictures[0].boxes] == [
        (0.1, 0.6),
        (0.2, 0.6),
        (0.1, 1.0),
        (0.1, 0.6),
    ]
    assert "BOX208" in {it.code for it in report.findings}


def test_labels_are_merged_where_they_look_the_same_and_nowhere_else(tmp_path: Path) -> None:
    names = ["cat", " cat", "Cat", "caf\u00e9", "cafe\u0301", "dog ", "e\u0301"]
    boxes = [{**BOX, "x": number / 100, "label": name} for number, name in enumerate(names)]
    folder = cloud(tmp_path / "in", {"a.jpg": boxes}, [*names[:3], "unused", "cat"])
    _, lines = fixed(folder, tmp_path / "out")
    copy, _ = readers.read(tmp_path / "out")
    assert [box.label for box in copy.pictures[0].boxes] == ["cat", "cat", "Cat", "café", "café", "dog", "e\u0301"]
    assert copy.declared == ("cat", "Cat", "café", "dog", "e\u0301")
    assert said(lines) == {
        ("renamed", "label", "LBL302"): 1,
        ("renamed", "label", "LBL305"): 2,
        ("dropped", "label", "ANN004"): 2,
        ("declared", "label", "ANN004"): 3,
    }


def test_where_no_box_is_left_nothing_is_written(tmp_path: Path) -> None:
    folder = cloud(tmp_path / "in", {"a.jpg": [{**BOX, "x2": 0.1}]}, ["cat"])
    with pytest.raises(OdbuildError, match=r"has no box that is left after mending(.|\n)*dropped: 1 box \(BOX202"):
        fixed(folder, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


# Formats ----------------------------------------------------------------------------------------------------

PLAIN = Box(label="cat", ymin=0.25, xmin=0.125, ymax=0.5, xmax=0.75)


@pytest.mark.parametrize(
    ("name", "written"),
    [("voc", "coco"), ("yolo", "yolo"), ("csv", "coco"), ("tfrecord", "coco"), ("coco", "coco")],
)
@pytest.mark.parametrize("to", [None, "cloud", "coco", "yolo"])
def test_the_copy_is_in_the_dataset_s_own_format_or_the_nearest(
    tmp_path: Path, name: str, written: str, to: str | None
) -> None:
    encoded = pictures.jpeg(40, 20)
    categories, listed = [{"id": 1, "name": "cat"}], [{"id": 1, "file_name": "a.jpg", "width": 40, "height": 20}]
    drawn = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 5, 25, 5]}]
    json_text = json.dumps({"categories": categories, "images": listed, "annotations": drawn})
    files: dict[str, dict[str, str | bytes]] = {
        "voc": {"Annotations/a.xml": voc_xml((40, 20), [("cat", 5, 5, 30, 10)]), "JPEGImages/a.jpg": encoded},
        "yolo": {"classes.txt": "cat", "a.txt": yolo_line(0, PLAIN), "a.jpg": encoded},
        "csv": {"a.csv": "filename,class,xmin,ymin,xmax,ymax\na.jpg,cat,5,5,30,10\n", "a.jpg": encoded},
        "tfrecord": {"a.record": record(encoded, PLAIN)},
        "coco": {"annotations/instances.json": json_text, "a.jpg": encoded},
    }
    folder = put(tmp_path / "in", files[name])
    report, lines = fixed(folder, tmp_path / "out", to=to)
    assert not errors(report.findings)
    assert [line for line in lines if line["action"] != "unsaid"] == []
    copy, _ = readers.read(tmp_path / "out")
    assert copy.format == (to or written)
    source, _ = readers.read(folder)
    assert rounded(copy.pictures) == rounded(
        replace(picture, span=None, split="" if copy.format == "cloud" else picture.split)
        for picture in source.pictures
    )
    assert copy.path(copy.pictures[0]).read_bytes() == encoded


def test_what_a_format_cannot_say_is_told(tmp_path: Path) -> None:
    xml = voc_xml((40, 20), [("cat", 5, 5, 30, 10)]).replace("<difficult>0", "<difficult>1")
    folder = put(tmp_path / "in", {"Annotations/a.xml": xml, "JPEGImages/a.jpg": pictures.jpeg(40, 20)})
    _, lines = fixed(folder, tmp_path / "out")
    assert said(lines) == {("unsaid", "box", ""): 1}


def test_what_the_reader_settled_by_itself_is_told(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "Annotations/a.xml": voc_xml((48, 32), [("cat", 5, 5, 30, 10)]),
        "JPEGImages/a.jpg": pictures.jpeg(),
        "ImageSets/Main/train.txt": "a\n",
        "ImageSets/Main/val.txt": "a\n",
    }
    report, lines = fixed(put(tmp_path / "in", files), tmp_path / "out")
    assert ("settled", "file", "SPL402") in said(lines)
    assert "SPL402" not in {it.code for it in report.findings}


# Files and words --------------------------------------------------------------------------------------------


def test_a_full_disk_or_a_changed_picture_leaves_nothing(
    tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = cloud(tmp_path / "in", {"a.jpg": [BOX], "b.jpg": [BOX]}, ["cat"])
    with pytest.raises(OdbuildError, match=r"no room|cannot be written|Cannot write|no space"), full_disk(500):
        fixed(folder, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    real = mending._whole

    def meanwhile(*arguments: Any) -> Dataset:
        (folder / "b.jpg").write_bytes(pictures.jpeg(seed=9))
        return real(*arguments)

    monkeypatch.setattr(mending, "_whole", meanwhile)
    with pytest.raises(OdbuildError, match=r"b\.jpg changed while it was mended"):
        fixed(folder, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_the_command_ends_by_what_is_left_in_the_copy(tmp_path: Path) -> None:
    folder = cloud(tmp_path / "in", {"a.jpg": [BOX, {**BOX, "x2": 0.1}], "b.jpg": [{**BOX, "x": 0.2}]}, ["cat"])
    done = odbuild("validate", "in", "--fix", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "out (cloud): 2 pictures with 2 boxes" in done.stderr
    assert "dropped: 1 box (BOX202 " in done.stderr
    assert "not mended: 1 LBL303: boxes are drawn by people" in done.stderr
    assert done.stdout.startswith("out: dataset (cloud)")
    assert odbuild("validate", "in", cwd=tmp_path).returncode == 1
    strict = odbuild(
        "validate", "in", "--fix", "2", "--fail-on", "warning", "--output-format", "json", cwd=tmp_path
    )
    assert strict.returncode == 1
    assert json.loads(strict.stdout)["subjects"][0]["path"] == "2"
    (folder / "_annotations.json").write_text("{")
    broken = odbuild("validate", "in", "--fix", "3", cwd=tmp_path)
    assert (broken.returncode, "ANN001" in broken.stdout) == (3, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "in", "out"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["in", "in", "--fix", "out"], "--fix takes one dataset, not 2 paths"),
        (["labels.pbtxt", "--fix", "out"], "labels.pbtxt is no dataset, and nothing else is mended"),
        (["in", "--fix", "in/out"], "lies in the dataset"),
        (["in", "--fix", "full"], "exists already"),
        (["in", "--to", "coco"], "--to says how a copy is made. Name its folder with --fix"),
        (["in", "--exif", "apply"], "--exif says how a copy is made. Name its folder with --fix"),
        (["in", "--fix", "out", "--to", "voc"], "invalid choice: 'voc'"),
        (["in", "--fix", "out", "--exif", "fail"], "invalid choice: 'fail'"),
    ],
)
def test_wrong_words_end_with_2_before_anything_is_written(words: list[str], told: str, tmp_path: Path) -> None:
    cloud(tmp_path / "in", {"a.jpg": [BOX]}, ["cat"])
    pictures.write(tmp_path, "full/mine.txt", b"")
    pictures.write(tmp_path, "labels.pbtxt", b'item { name: "cat" id: 1 }')
    assert labelmaps.read(tmp_path / "labels.pbtxt")
    before = state(tmp_path)
    done = odbuild("validate", *words, cwd=tmp_path)
    assert (done.returncode, told in done.stderr) == (2, True), done.stderr
    assert state(tmp_path) == before


def test_a_format_that_nothing_writes_is_told(tmp_path: Path) -> None:
    folder = cloud(tmp_path / "in", {"a.jpg": [BOX]}, ["cat"])
    with pytest.raises(UsageError, match="No writer for the format 'coca'"):
        fixed(folder, tmp_path / "out", to="coca")


# Real data --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [("bccd_voc", {("dropped", "box", "BOX202"): 2}), ("cones_cubes_yolo", {}), ("pens_toys", {})],
)
def test_real_data_are_clean_once_they_are_mended(
    name: str, expected: Mapping[tuple[str, str, str], int], shared: Path, tmp_path: Path
) -> None:
    folder = shared / "data" / name
    before = state(folder)
    source, _ = readers.read(folder)
    report, lines = fixed(folder, tmp_path / "out", options={"check": "structure"})
    copy, _ = readers.read(tmp_path / "out")
    assert report.exit_code("error") == 0, render(report.findings)
    assert said(lines) == expected
    whole(source, copy, lines)
    accounted(source, copy, lines)
    assert state(folder) == before
