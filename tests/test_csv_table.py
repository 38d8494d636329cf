import csv
import io
from pathlib import Path

import pictures
import pytest
from formats import Pixels, apart, is_near, names, pixels, put, told_as_far, whole
from hypothesis import given
from hypothesis import strategies as st

from odbuild.trainer import findings, readers
from odbuild.trainer.dataset import Box
from odbuild.trainer.errors import OdbuildError
from odbuild.trainer.findings import Finding
from odbuild.trainer.readers import csv_table
from odbuild.trainer.readers.files import Files

JPEG = pictures.jpeg(40, 20)
HEAD = "filename,width,height,class,xmin,ymin,xmax,ymax\n"
ROW = "a.jpg,40,20,cat,4,5,8,10\n"
FOUND = Box(label="cat", ymin=0.25, xmin=0.1, ymax=0.5, xmax=0.2)


def _codes(found: list[Finding]) -> list[tuple[str, str, str]]:
    return [(it.code, it.where, it.value) for it in found if (it.code, it.severity) != ("ANN003", "info")]


@given(
    data=st.dictionaries(
        names,
        st.tuples(st.integers(1, 500), st.lists(pixels, max_size=3)),
        min_size=1,
    ).filter(apart),
    columns=st.permutations(["filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax", "group"]),
    delimiter=st.sampled_from(",;\t"),
    mark=st.sampled_from(["", "\ufeff"]),
)
def test_boxes_are_those_written_over_the_size(
    tmp_path_factory: pytest.TempPathFactory,
    data: dict[str, tuple[int, list[Pixels]]],
    *,
    columns: list[str],
    delimiter: str,
    mark: str,
) -> None:
    folder = tmp_path_factory.mktemp("table")
    text = io.StringIO()
    table = csv.DictWriter(text, columns, delimiter=delimiter, restval="")
    table.writeheader()
    for name, (side, boxes) in data.items():
        size = {"filename": name, "width": side, "height": side + 1, "group": name[0]}
        rows = [dict(zip(("class", "xmin", "ymin", "xmax", "ymax"), box, strict=True)) for box in boxes]
        table.writerows({**size, **row} for row in rows or [{}])
    put(folder, {"train_labels.csv": mark + text.getvalue(), **{f"images/{name}": JPEG for name in data}})
    read, found = readers.read(folder)
    assert read.format == "csv"
    far = 0
    assert [picture.key for picture in read.pictures] == sorted(f"images/{name}" for name in data)
    for picture in read.pictures:
        name = picture.key.removeprefix("images/")
        side, boxes = data[name]
        assert (picture.size, picture.split, picture.group) == ((side, side + 1), "train", name[0])
        expected = [(label, y / (side + 1), x / side, y2 / (side + 1), x2 / side) for label, x, y, x2, y2 in boxes]
        near = [row for row in expected if is_near(row[1:])]
        assert [(b.label, b.ymin, b.xmin, b.ymax, b.xmax) for b in picture.boxes] == near
        far += len(expected) - len(near)
    assert told_as_far(found, far)
    assert whole(read)


@pytest.mark.parametrize(
    ("table", "key", "split"),
    [
        ("a.csv", "a.jpg", ""),
        ("train_labels.csv", "train/a.jpg", "train"),
        ("train_labels.csv", "images/train/a.jpg", "train"),
        ("data/test_labels.csv", "images/a.jpg", "test"),
        ("valid/_annotations.csv", "valid/a.jpg", "validation"),
        ("annotations/labels.csv", "images/test/a.jpg", "test"),
    ],
)
def test_pictures_and_sides_are_found_by_custom(tmp_path: Path, table: str, key: str, split: str) -> None:
    data, found = readers.read(put(tmp_path, {table: HEAD + ROW, key: JPEG}))
    assert [(it.key, it.split, it.boxes) for it in data.pictures] == [(key, split, (FOUND,))]
    assert not found


def test_each_side_has_its_own_pictures(tmp_path: Path) -> None:
    files = {f"{side}_labels.csv": HEAD + ROW for side in ("train", "test")}
    data, _ = readers.read(put(tmp_path, {**files, "images/train/a.jpg": JPEG, "images/test/a.jpg": JPEG}))
    assert [(it.key, it.split) for it in data.pictures] == [
        ("images/test/a.jpg", "test"),
        ("images/train/a.jpg", "train"),
    ]


def test_a_table_of_one_side_takes_no_picture_of_another(tmp_path: Path) -> None:
    files = {
        "train_labels.csv": HEAD + ROW + ROW.replace("a.", "b."),
        "test_labels.csv": HEAD + ROW.replace("a.", "c."),
    }
    put(tmp_path, {**files, "images/train/b.jpg": JPEG, "images/test/a.jpg": JPEG, "images/test/c.jpg": JPEG})
    data, found = readers.read(tmp_path)
    assert [it.key for it in data.pictures] == ["images/test/c.jpg", "images/train/b.jpg"]
    assert [(it.code, it.where) for it in found] == [
        ("ANN002", 'annotations["a.jpg"]'),
        ("ANN003", 'annotations["images/test/a.jpg"]'),
    ]
    assert whole(data)


def test_a_side_without_a_folder_has_its_pictures_in_those_of_others(tmp_path: Path) -> None:
    tables = {f"{side}.csv": HEAD + ROW.replace("a.", f"{side}.") for side in ("train", "val", "test")}
    shown = {f"train/{name}.jpg": JPEG for name in ("train", "val")}
    data, found = readers.read(put(tmp_path, {**tables, **shown, "test/test.jpg": JPEG}))
    assert {it.key: it.split for it in data.pictures} == {
        "train/train.jpg": "train",
        "train/val.jpg": "validation",
        "test/test.jpg": "test",
    }
    assert not found


def test_tables_of_one_class_each_add_up(tmp_path: Path) -> None:
    dogs = HEAD + ROW.replace("cat", "dog") + "b.jpg,40,20,,,,,\n"
    files = {"cats.csv": HEAD + ROW + "b.jpg,40,20,cat,4,5,8,10\n", "dogs.csv": dogs}
    data, found = readers.read(put(tmp_path, {**files, "a.jpg": JPEG, "b.jpg": JPEG}))
    assert [[box.label for box in it.boxes] for it in data.pictures] == [["cat", "dog"], ["cat"]]
    assert not found


@pytest.mark.parametrize("size", ["40,20", ","])
def test_a_box_of_a_picture_without_a_file_is_left_out_with_it(tmp_path: Path, size: str) -> None:
    table = HEAD + ROW + f"gone.jpg,{size},cat,4,5,1e9,10\n"
    data, found = readers.read(put(tmp_path, {"x.csv": table, "a.jpg": JPEG}))
    assert [(it.code, it.severity) for it in found] == [("ANN002", "warning")]
    assert whole(data)


@pytest.mark.parametrize("others", [["all"], ["all", "train"], ["b", "train_2"]])
def test_a_picture_in_two_tables_of_one_side_is_told(tmp_path: Path, others: list[str]) -> None:
    names = ["a_labels", *(f"{name}_labels" for name in others)]
    data, found = readers.read(put(tmp_path, {**{f"{name}.csv": HEAD + ROW for name in names}, "a.jpg": JPEG}))
    assert [(it.code, it.value) for it in findings.errors(found)] == [
        ("ANN006", f'"a_labels.csv", "{min(names[1:])}.csv"')
    ]
    assert whole(data)


def test_a_picture_in_two_tables_trains_with_the_boxes_of_both(tmp_path: Path) -> None:
    files = {f"{side}_labels.csv": HEAD + ROW for side in ("train", "test")}
    data, found = readers.read(put(tmp_path, {**files, "images/a.jpg": JPEG}))
    assert [(it.split, it.boxes) for it in data.pictures] == [("train", (FOUND, FOUND))]
    assert len({box.index for it in data.pictures for box in it.boxes}) == 2
    assert _codes(found) == [("SPL402", 'annotations["images/a.jpg"]', "train, test")]


@pytest.mark.parametrize("name", ["images\\a.jpg", "C:\\work\\a.jpg", "/content/images/a.jpg", "../a.jpg"])
def test_names_of_other_machines_are_found(tmp_path: Path, name: str) -> None:
    data, _ = readers.read(put(tmp_path, {"x.csv": HEAD + ROW.replace("a.jpg", name), "images/a.jpg": JPEG}))
    assert [picture.key for picture in data.pictures] == ["images/a.jpg"]


@pytest.mark.parametrize("size", ["0,0", ",", "40,", "x,y"])
def test_a_size_that_is_not_there_is_that_of_the_file(tmp_path: Path, size: str) -> None:
    put(tmp_path, {"a.csv": HEAD + ROW.replace("40,20", size), "a.jpg": JPEG})
    data, _ = readers.read(tmp_path)
    assert [(it.size, it.boxes) for it in data.pictures] == [((40, 20), (FOUND,))]
    data, found = readers.read(put(tmp_path, {"a.jpg": b"none"}))
    assert [it.code for it in findings.errors(found)] == ["IMG104"]
    assert whole(data)


def test_names_of_two_folders_are_not_one_picture(tmp_path: Path) -> None:
    names = ("a.jpg", "cam1/a.jpg", "a.jpg", "x\\..\\CAM1/./a.jpg", "cam2/a.jpg")
    rows = [ROW.replace("a.jpg", name) for name in names]
    tables = {"x.csv": HEAD + "".join(rows), "y.csv": HEAD + rows[-1]}
    data, found = readers.read(put(tmp_path, {**tables, "images/a.jpg": JPEG}))
    assert [(it.code, it.where) for it in findings.errors(found)] == [("ANN006", "x.csv:6"), ("ANN006", "y.csv:2")]
    assert [len(it.boxes) for it in data.pictures] == [4]
    assert whole(data)


def test_size_may_be_left_out_altogether(tmp_path: Path) -> None:
    text = "class,filename,xmin,ymin,xmax,ymax\ncat,a.jpg,4,5,8,10\n"
    data, _ = readers.read(put(tmp_path, {"a.csv": text, "a.jpg": JPEG}))
    assert [it.boxes for it in data.pictures] == [(FOUND,)]


def test_what_is_missing_or_left_over_is_told_and_booked(tmp_path: Path) -> None:
    text = HEAD + ROW + ROW.replace("a.jpg", "B.jpg") * 2
    data, found = readers.read(put(tmp_path, {"a.csv": text, "images/a.jpg": JPEG, "images/b.jpg": JPEG}))
    assert [picture.key for picture in data.pictures] == ["images/a.jpg"]
    assert _codes(found) == [
        ("ANN002", 'annotations["images/B.jpg"]', 'did you mean "b.jpg"?'),
        ("ANN003", 'annotations["images/b.jpg"]', ""),
    ]
    assert (data.keys, data.drawn) == (3, 3)
    assert whole(data)


@pytest.mark.parametrize(
    ("row", "code", "value"),
    [
        ("a.jpg,40,20,cat,4,5,8\n", "ANN001", "7 columns instead of 8"),
        ("a.jpg,40,20,cat,4,5,8,10,12\n", "ANN001", "9 columns instead of 8"),
        ("a.jpg,40,20,cat,4,5,8,\n", "ANN007", 'ymax is ""'),
        ("a.jpg,40,20,cat,four,5,8,10\n", "ANN007", 'xmin is "four"'),
        ('a.jpg,40,20,cat,"4,5",5,8,10\n', "ANN007", 'xmin is "4,5"'),
        ("a.jpg,40,20,cat,nan,5,8,10\n", "ANN007", 'xmin is "nan"'),
        ("a.jpg,40,20,,4,5,8,10\n", "LBL305", '""'),
        ('a.jpg,40,20,"cat"x,4,5,8,10\n', "ANN001", "',' expected after '\"'"),
        ('a.jpg,40,20,"cat,4,5,8,10\n', "ANN001", "unexpected end of data"),
        (f"a.jpg,40,20,{'c' * 200_000},4,5,8,10\n", "ANN001", "field larger than field limit (131072)"),
    ],
)
def test_odd_rows_are_errors_at_their_line(tmp_path: Path, row: str, code: str, value: str) -> None:
    data, found = readers.read(put(tmp_path, {"a.csv": f"{HEAD}\n{ROW}{row}", "a.jpg": JPEG}))
    (wrong,) = findings.errors(found)
    assert (wrong.code, wrong.where.removesuffix(".label"), wrong.value) == (code, "a.csv:4", value)
    assert [it.boxes for it in data.pictures] == [(FOUND,)]
    assert whole(data)


def test_rows_that_contradict_each_other_are_an_error(tmp_path: Path) -> None:
    text = HEAD + ROW + ROW.replace("40,20", "20,40")
    _, found = readers.read(put(tmp_path, {"a.csv": text, "a.jpg": JPEG}))
    assert [(it.code, it.value) for it in findings.errors(found)] == [("ANN001", '"(20, 40) and (40, 20)"')]


def test_a_table_in_another_encoding_ends_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(OdbuildError, match=r"a\.csv is not UTF-8 in line 2"):
        readers.read(put(tmp_path, {"a.csv": HEAD.encode() + ROW.replace("cat", "Käfer").encode("latin-1")}))


@pytest.mark.parametrize(
    "head",
    [
        "",
        "a,b\n",
        "filename,cell_type,xmin,xmax,ymin,ymax\n",
        "filename,class,xmin,ymin,xmax,ymax,class\n",
        "\0" * 99,
    ],
)
def test_other_tables_are_not_recognised(tmp_path: Path, head: str) -> None:
    assert not csv_table.recognise(Files(put(tmp_path, {"a.csv": head})))


@given(text=st.text(',;"\n\ra.jpg0123cat\t\0', max_size=60))
def test_any_rows_are_read_or_an_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    data, _ = readers.read(put(tmp_path_factory.mktemp("any"), {"a.csv": HEAD + text, "a.jpg": JPEG}))
    assert whole(data)
