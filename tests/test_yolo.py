import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pictures
import pytest
import yaml
from formats import put, rounded, stored, whole, yolo_line
from hypothesis import given
from hypothesis import strategies as st

from odbuild.trainer import findings, readers
from odbuild.trainer.dataset import Box, Dataset, Picture, SplitName
from odbuild.trainer.errors import OdbuildError, UnreadableError
from odbuild.trainer.findings import Finding
from odbuild.trainer.readers import yolo
from odbuild.trainer.readers.files import Files

JPEG = pictures.jpeg(40, 20)
YAML = "train: images\nnames: [cat, dog]\n"
LINE = "1 0.5 0.25 0.5 0.125\n"
FOUND = Box(label="dog", ymin=0.1875, xmin=0.25, ymax=0.3125, xmax=0.75)
WORDS: dict[SplitName, str] = {"train": "train", "validation": "val", "test": "test", "": "unsplit"}


def _codes(found: list[Finding]) -> list[tuple[str, str, str]]:
    """Return what matters, without the notes on backgrounds."""
    return [(it.code, it.where, it.value) for it in found if (it.code, it.severity) != ("ANN003", "info")]


def _read(folder: Path, *lines: str, **files: str) -> tuple[Dataset, list[tuple[str, str, str]]]:
    """Read a data set of one picture with these lines of labels."""
    put(folder, {"data.yaml": YAML, "images/a.jpg": JPEG, "labels/a.txt": "".join(lines), **files})
    data, found = readers.read(folder)
    assert data.format == "yolo"
    assert whole(data)
    return data, _codes(found)


def _edges(picture: Picture) -> list[tuple[object, ...]]:
    (there,) = rounded([picture])
    return [(box.label, box.ymin, box.xmin, box.ymax, box.xmax) for box in there.boxes]


def _spelled(word: str, form: str, keys: list[str]) -> dict[str, str]:
    """Return the files, `data.yaml` aside, by which a form names the pictures of a side, and there its field."""
    if form == "list":
        return {word: f"{word}.txt", f"{word}.txt": "".join(f"./{key}\n" for key in keys)}
    return {word: {"outer": f"../{word}/images", "inner": f"./images/{word}/"}[form]}


@pytest.mark.parametrize(
    "files",
    [
        {"labels/0.txt": "", "labels/1.txt": "", "labels/2.txt": LINE},
        {"labels/a.txt": LINE, "notes.json": '{"categories": [{"id": 0, "name": "cat"}], "info": {"year": 2024}}'},
    ],
)
def test_it_is_told_by_the_first_labels_that_are_some(tmp_path: Path, files: dict[str, str]) -> None:
    shown = {f"images/{Path(key).stem}.jpg": JPEG for key in files if key.startswith("labels/")}
    put(tmp_path, {"classes.txt": "cat\ndog\n", **shown, **files})
    data, _ = readers.read(tmp_path)
    assert (data.format, len(data.pictures), data.drawn) == ("yolo", len(shown), 1)


@pytest.mark.parametrize(
    "config",
    [
        "train: images\nnames:\n  0: cat\n  1: car\n  1: dog\n",
        "train: images\nnames: {0: cat, 1: car, 1: dog}\n",
        "train: images\ntrain: others\nnames: [cat, dog]\n",
        "train: images\nnames: [cat, dog]\nx: [{a: 1, a: 2}]\n",
    ],
)
def test_a_key_that_stands_twice_in_the_config_is_refused(tmp_path: Path, config: str) -> None:
    with pytest.raises(UnreadableError, match="stands twice in one mapping, in lines") as caught:
        _read(tmp_path, LINE, **{"data.yaml": config})
    assert caught.value.code == "ANN006"


@pytest.mark.parametrize(
    "config", ["train: JPEGImages\nnames: [cat, dog]\n", "train: all.txt\nnames: [cat, dog]\n"]
)
@pytest.mark.parametrize("beside", [LINE.replace("1", "0", 1), ""])
def test_labels_in_two_places_are_told_whatever_names_the_picture(
    tmp_path: Path, config: str, beside: str
) -> None:
    put(tmp_path, {"data.yaml": config, "all.txt": "JPEGImages/a.jpg\n", "JPEGImages/a.jpg": JPEG})
    put(tmp_path, {"labels/a.txt": LINE, "JPEGImages/a.txt": beside})
    data, found = readers.read(tmp_path)
    assert _codes(found) == [("ANN006", '"labels/a.txt"', '"JPEGImages/a.txt"')]
    assert [picture.key for picture in data.pictures] == ["JPEGImages/a.jpg"]


def test_mappings_may_be_merged(tmp_path: Path) -> None:
    config = f"a: &a {{b: 1}}\nc: &c {{d: 2}}\ne:\n  <<: *a\n  <<: *c\n{YAML}"
    data, found = _read(tmp_path, LINE, **{"data.yaml": config})
    assert (list(data.pictures[0].boxes), found) == ([FOUND], [])


def test_a_name_that_cannot_be_one_is_left_out_where_no_box_has_it(tmp_path: Path) -> None:
    config = 'train: images\nnames: ["\\uD800", dog, ""]\n'
    data, found = _read(tmp_path, LINE, **{"data.yaml": config})
    assert data.declared == ("dog",)
    assert found == [("ANN004", "labels", '"\\ud800"'), ("ANN004", "labels", '""')]
    _, found = _read(tmp_path, LINE.replace("1 ", "0 ", 1), **{"data.yaml": config})
    assert [code for code, _, _ in found] == ["ANN004", "ANN004", "LBL305"]


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        ("images/a.jpg\nimages/a.jpg\n./images/a.jpg\n/data/images/a.jpg\n", None),
        ("/data/one/images/a.jpg\n/data/two/images/a.jpg\n", "/data/two/images/a.jpg"),
        ("C:\\one\\images\\a.jpg\nC:\\two\\images\\a.jpg\n", "C:\\two\\images\\a.jpg"),
    ],
)
def test_two_names_in_a_list_that_lead_to_one_picture_are_told(
    tmp_path: Path, lines: str, named: str | None
) -> None:
    data, found = _read(tmp_path, LINE, **{"data.yaml": "train: all.txt\nnames: [cat, dog]\n", "all.txt": lines})
    assert [picture.key for picture in data.pictures] == ["images/a.jpg"]
    codes = [(code, where) for code, where, _ in found]
    assert codes == ([("ANN006", "all.txt:2")] if named else [])
    assert [change.where for change in data.ledger] == ([findings.place(named)] if named else [])


@given(data=st.data(), form=st.sampled_from(["outer", "inner", "list"]), told=st.booleans())
def test_boxes_are_those_written(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, form: str, *, told: bool
) -> None:
    source = data.draw(stored(tmp_path_factory.mktemp("source")))
    root = Path(tempfile.mkdtemp(dir=source.root))
    keys = {}
    for picture in source.pictures:
        word = WORDS[picture.split]
        key = f"{word}/images/{picture.key}" if form == "outer" else f"images/{word}/{picture.key}"
        lines = [yolo_line(source.declared.index(box.label), box) for box in picture.boxes]
        labels = key.replace("images/", "labels/", 1).rpartition(".")[0] + ".txt"
        put(root, {key: source.path(picture).read_bytes(), **({labels: "\n".join(lines)} if lines else {})})
        keys[key] = picture
    config: dict[str, object] = {"nc": len(source.declared), "names": list(source.declared)}
    for word in {WORDS[picture.split] for picture in source.pictures} if told else ():
        spelled = _spelled(word, form, [key for key, it in keys.items() if WORDS[it.split] == word])
        config[word] = spelled.pop(word)
        put(root, spelled)
    put(root, {"data.yaml": yaml.safe_dump(config)})
    if form == "outer" and not told and any(not picture.split for picture in source.pictures):
        return
    read, found = readers.read(root)
    assert (read.format, read.declared) == ("yolo", source.declared)
    assert not findings.errors(found)
    assert {picture.key for picture in read.pictures} == set(keys)
    for picture in read.pictures:
        assert picture.split == keys[picture.key].split
        assert _edges(picture) == _edges(keys[picture.key])
    assert whole(read)


@pytest.mark.parametrize(
    "names",
    [
        "[cat, dog]",
        "\n- cat\n- dog",
        "{0: cat, 1: dog}",
        "\n  1: dog\n  0: cat",
        '{"0": cat, "1": "dog"}',
        "['cat', dog]",
    ],
)
def test_names_are_a_list_or_a_mapping(tmp_path: Path, names: str) -> None:
    data, found = _read(tmp_path, LINE, **{"data.yaml": f"train: images\nnames: {names}\n"})
    assert data.declared == ("cat", "dog")
    assert data.pictures[0].boxes == (FOUND,)
    assert not found


def test_names_that_yaml_takes_for_other_things_stay_names(tmp_path: Path) -> None:
    data, _ = _read(tmp_path, LINE, **{"data.yaml": "train: images\nnames: [no, on, 1.0, ~, 2020-01-01, 0x1]\n"})
    assert data.declared == ("no", "on", "1.0", "~", "2020-01-01", "0x1")


@pytest.mark.parametrize(
    ("files", "labels"),
    [
        (["data.yaml"], "train/labels/a.txt"),
        (["classes.txt"], "train/labels/a.txt"),
        (["train/labels/classes.txt"], "train/labels/a.txt"),
        (["train/_darknet.labels"], "train/images/a.txt"),
        (["obj.names"], "train/images/a.txt"),
        (["obj.data", "lists.txt", "some.names"], "train/labels/a.txt"),
    ],
)
def test_classes_are_named_in_many_ways(tmp_path: Path, files: list[str], labels: str) -> None:
    known = {
        "data.yaml": "names: [cat, dog]\n",
        "obj.data": "classes = 2\ntrain = data/lists.txt\nnames = data/some.names\nbackup = backup/\n",
        "lists.txt": "data/train/images/a.jpg\n",
    }
    put(tmp_path, {"train/images/a.jpg": JPEG, labels: LINE})
    data, found = readers.read(put(tmp_path, {name: known.get(name, "cat\r\ndog\r\n") for name in files}))
    assert data.format == "yolo"
    (picture,) = data.pictures
    assert (picture.key, picture.split, picture.boxes) == ("train/images/a.jpg", "train", (FOUND,))
    assert not _codes(found)


@pytest.mark.parametrize(
    ("base", "path", "key", "odd"),
    [
        ("", "images/train", "images/train/a.jpg", False),
        ("", "../train/images", "train/images/a.jpg", True),
        ("", "./images/train/", "images/train/a.jpg", False),
        ("", "images\\train", "images/train/a.jpg", True),
        ("", "/content/some/images/train", "images/train/a.jpg", True),
        ("../datasets/some", "images/train", "images/train/a.jpg", False),
        ("/home/me/some", "images/train", "images/train/a.jpg", False),
        ("more", "images", "more/images/a.jpg", False),
        ("", ".", "a.jpg", False),
        ("", "../../../../images/train", "images/train/a.jpg", True),
    ],
)
def test_paths_lead_to_what_lies_below_the_root(
    tmp_path: Path, base: str, path: str, key: str, *, odd: bool
) -> None:
    config = f"path: {base}\ntrain: {path}\nnames: [cat]\n"
    data, found = readers.read(put(tmp_path / "some", {key: JPEG, "data.yaml": config}))
    assert [(it.key, it.split) for it in data.pictures] == [(key, "train")]
    assert [it.code for it in found if "leads out" in it.message] == ["ANN001"] * odd


def test_nothing_outside_is_looked_at(tmp_path: Path) -> None:
    put(tmp_path / "train/images", {"a.jpg": JPEG})
    root = put(
        tmp_path / "some",
        {"data.yaml": "train: ../train/images\nval: images\nnames: [cat]\n", "images/b.jpg": JPEG},
    )
    data, found = readers.read(root)
    assert [picture.key for picture in data.pictures] == ["images/b.jpg"]
    assert _codes(found) == [("ANN001", "data.yaml", 'train: "../train/images"')]
    (root / "images/b.jpg").unlink()
    (root / "images").rmdir()
    with pytest.raises(OdbuildError, match=r'names "../train/images", "images", but nothing of it is here'):
        readers.read(root)


def test_a_picture_without_labels_is_background(tmp_path: Path) -> None:
    data, found = _read(tmp_path, LINE, **{"images/b.jpg": "", "images/c.jpg": "", "labels/c.txt": "\n \n"})
    assert [len(picture.boxes) for picture in data.pictures] == [1, 0, 0]
    assert not found


def test_labels_of_an_odd_ending_are_not_lost(tmp_path: Path) -> None:
    others = {"images/b.png": "", "images/c.jpg": "", "labels/b.TXT": LINE, "labels/c.TXT": LINE}
    data, found = _read(tmp_path, LINE, **others)
    assert [(it.key, len(it.boxes)) for it in data.pictures] == [
        ("images/a.jpg", 1),
        ("images/b.png", 1),
        ("images/c.jpg", 1),
    ]
    assert not found


def test_two_files_of_labels_for_one_picture_are_an_error(tmp_path: Path) -> None:
    data, found = _read(tmp_path, LINE, **{"labels/a.TXT": LINE + LINE})
    assert [len(it.boxes) for it in data.pictures] == [1]
    assert [code for code, _, _ in found] == ["ANN006"]


@pytest.mark.parametrize("lay", [os.mkfifo, lambda path: path.symlink_to("nowhere")])
def test_what_is_no_plain_file_is_not_opened(tmp_path: Path, lay: Callable[[Path], None]) -> None:
    _read(tmp_path, LINE)
    lay(tmp_path / "labels/z.txt")
    data, found = readers.read(tmp_path)
    assert [picture.key for picture in data.pictures] == ["images/a.jpg"]
    assert any("z.txt" in it.where for it in found)


def test_labels_without_a_picture_are_told_and_booked(tmp_path: Path) -> None:
    files = {
        "labels/b.txt": LINE * 2,
        "labels/readme.txt": "about",
        "images/B.jpg": "",
        "labels/classes.txt": LINE,
    }
    data, found = _read(tmp_path, LINE, **files)
    assert [picture.key for picture in data.pictures] == ["images/B.jpg", "images/a.jpg"]
    assert found == [("ANN002", 'annotations["images/b.jpg"]', 'did you mean "B.jpg"?')]
    assert (data.keys, data.drawn) == (3, 3)


def test_pictures_that_no_side_names_are_told_and_booked(tmp_path: Path) -> None:
    config = "train: images/train\nnames: [cat, dog]\n"
    data, found = _read(tmp_path, **{"data.yaml": config, "images/train/b.jpg": "", "labels/train/b.txt": LINE})
    assert [picture.key for picture in data.pictures] == ["images/train/b.jpg"]
    assert found == [("ANN003", 'annotations["images/a.jpg"]', "")]


def test_a_picture_on_two_sides_trains(tmp_path: Path) -> None:
    data, found = _read(tmp_path, LINE, **{"data.yaml": "val: images\ntrain: images\nnames: [cat, dog]\n"})
    assert [picture.split for picture in data.pictures] == ["train"]
    assert found == [("SPL402", 'annotations["images/a.jpg"]', "train, validation")]


def test_polygons_become_boxes_and_that_is_booked(tmp_path: Path) -> None:
    data, found = _read(tmp_path, LINE, "1 0.25 0.1875 0.75 0.25 0.5 0.3125\n")
    assert [box for picture in data.pictures for box in picture.boxes] == [FOUND, FOUND]
    assert found == [("ANN001", "labels/a.txt:2", "")]
    assert [(it.action, it.where) for it in data.ledger] == [("boxed", 'annotations["images/a.jpg"][1]')]


def test_keypoints_are_no_polygons(tmp_path: Path) -> None:
    config = "train: images\nkpt_shape: [2, 3]\nnames: [cat, dog]\n"
    line = LINE.strip() + " 0.9 0.9 2 0.1 0.1 1\n"
    data, found = _read(tmp_path, line, **{"data.yaml": config})
    assert data.pictures[0].boxes == (FOUND,)
    assert not found


@pytest.mark.parametrize(
    ("line", "code", "value"),
    [
        ("1 0.5 0.25 0.5", "ANN001", "4 columns"),
        ("1 0.5 0.25 0.5 0.125 0.9", "ANN001", "6 columns"),
        ("1", "ANN001", "1 columns"),
        ("2 0.5 0.25 0.5 0.125", "LBL301", '"2"'),
        ("-1 0.5 0.25 0.5 0.125", "LBL301", '"-1"'),
        ("1.5 0.5 0.25 0.5 0.125", "LBL301", '"1.5"'),
        ("dog 0.5 0.25 0.5 0.125", "LBL301", '"dog"'),
        ("1 0.5 0,25 0.5 0.125", "ANN007", '"0,25"'),
        ("1 0.5 nan 0.5 0.125", "ANN007", '"nan"'),
        ("1 0.5 1e999 0.5 0.125", "ANN007", '"1e999"'),
        ("1 0.5 12 0.5 0.125", "ANN007", '"12"'),
        ("1 1 1 2 2 3 300", "ANN007", '"2"'),
    ],
)
def test_odd_lines_are_errors_at_their_place(tmp_path: Path, line: str, code: str, value: str) -> None:
    data, found = _read(tmp_path, "\n", LINE, f"{line}\r\n")
    assert found == [(code, "labels/a.txt:3", value)]
    assert [box.index for box in data.pictures[0].boxes] == [1]
    assert data.drawn == 2


@pytest.mark.parametrize("line", ["1.0 0.5 0.25 0.5 0.125", "01\t5e-1 .25 +0.5 0.125 "])
def test_plain_numbers_in_any_form_are_read(tmp_path: Path, line: str) -> None:
    data, found = _read(tmp_path, line)
    assert data.pictures[0].boxes == (FOUND,)
    assert not found


def test_boxes_are_not_judged(tmp_path: Path) -> None:
    data, found = _read(tmp_path, "0 0.5 0.5 0 0\n", "0 0.5 0.5 -0.5 0.5\n", "0 1 1 1 1\n")
    assert [(box.xmin, box.xmax) for box in data.pictures[0].boxes] == [(0.5, 0.5), (0.75, 0.25), (0.5, 1.5)]
    assert not found


def test_labels_that_are_no_text_lose_their_picture(tmp_path: Path) -> None:
    put(tmp_path, {"labels/b.txt": b"\xff", "images/b.jpg": JPEG, "secret": LINE, "images/c.jpg": JPEG})
    (tmp_path / "labels/c.txt").symlink_to("/etc/hostname")
    data, found = _read(tmp_path, LINE)
    assert [picture.key for picture in data.pictures] == ["images/a.jpg"]
    assert [row[0] for row in found] == ["ANN001", "ANN005"]
    assert "b.txt is not UTF-8: byte 0 is 0xff" in found[0][2]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("names: [cat\ntrain: images", "not valid YAML in line 2"),
        ("names: *a", "not valid YAML in line 1"),
        ("names: \0", "characters that YAML does not allow"),
        ("names: " + "[" * 100_000, "nested too deeply"),
        ("names: cat", "neither a list of names nor a mapping"),
        ("names: []", "neither a list of names nor a mapping"),
        ("names: [[cat]]", "neither a list of names nor a mapping"),
        ("names: {cat: 0}", "neither a list of names nor a mapping"),
        ("names: {0: cat, 00: dog}", "gives two names to one number"),
        ("names: [cat]\ntrain: {a: b}", "train is neither a text nor a list of texts"),
        ("- a\nnames: b", "not valid YAML in line 2"),
        ("|\n names:\nnames: b", "not valid YAML"),
        ("a: 1\nnames: !!python/object/apply:os.system [echo]\ntrain: nowhere", "nothing of it is here"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nnames: [cat]\ntrain: [*b, *b]", "neither a text nor a list of texts"),
        ("names: [a]\n" + "#" * (1 << 18), "larger than 262,144 bytes"),
        ("names: [a]\ntrain: " + "a/" * 100_000, "nothing of it is here"),
        ("names: [a]\ntrain: [" + "a, " * 1000 + "a]", 'names "a", "a", "a", ..., but'),
    ],
)
def test_broken_and_hostile_configs_end_in_one_sentence(tmp_path: Path, config: str, message: str) -> None:
    with pytest.raises(OdbuildError, match=message) as caught:
        readers.read(put(tmp_path, {"data.yaml": config, "images/a.jpg": JPEG}))
    assert len(str(caught.value)) < 600


def test_a_wrong_count_of_classes_is_an_error(tmp_path: Path) -> None:
    _, found = _read(tmp_path, LINE, **{"data.yaml": f"{YAML}nc: 3\n"})
    assert found == [("ANN001", "data.yaml: nc", '"3" for 2 names')]


def test_without_names_it_says_how_to_give_them(tmp_path: Path) -> None:
    with pytest.raises(OdbuildError, match=r"nothing names its classes. Write classes.txt"):
        readers.read(put(tmp_path, {"images/a.jpg": JPEG, "labels/a.txt": LINE}))


@pytest.mark.parametrize(
    "files",
    [
        {"images/a.jpg": JPEG, "labels/a.txt": "some text\n"},
        {"classes.txt": "cat\n"},
        {"a.yaml": "version: 3\n"},
        {"a.txt": LINE},
    ],
)
def test_other_folders_are_not_recognised(tmp_path: Path, files: dict[str, str | bytes]) -> None:
    assert not yolo.recognise(Files(put(tmp_path, files)))


@given(text=st.text("0123456789. -e\n\tnaif+", max_size=60))
def test_any_labels_are_read_or_an_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    data, _ = _read(tmp_path_factory.mktemp("any"), text)
    assert all(abs(edge) < 3 for it in data.pictures for box in it.boxes for edge in (box.xmin, box.ymax))


def test_the_real_data(shared: Path) -> None:
    data, found = readers.read(shared / "data/cones_cubes_yolo")
    assert (len(data.pictures), data.drawn, data.declared, data.ledger) == (187, 435, ("cone", "cube"), ())
    assert {picture.split for picture in data.pictures} == {"validation", "test"}
    assert [(it.code, it.severity, it.value) for it in found] == [
        ("ANN001", "info", 'train: "../train/images"'),
        ("ANN001", "info", 'validation: "../valid/images", taken as "valid/images"'),
        ("ANN001", "info", 'test: "../test/images", taken as "test/images"'),
    ]
