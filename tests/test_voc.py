import codecs
from pathlib import Path

import pictures
import pytest
from formats import apart, is_near, names, pixels, put, told_as_far, voc_object, voc_xml, whole
from hypothesis import given
from hypothesis import strategies as st

from odbuild.trainer import findings, readers
from odbuild.trainer.dataset import Box
from odbuild.trainer.findings import Finding
from odbuild.trainer.mend import mend
from odbuild.trainer.readers import markup, voc
from odbuild.trainer.readers.files import Files

JPEG = pictures.jpeg(40, 20)
CAT = ("cat", 4, 5, 8, 10)
XML = voc_xml((40, 20), [CAT], "a.jpg")
FOUND = Box(label="cat", ymin=0.25, xmin=0.1, ymax=0.5, xmax=0.2)
BOMB = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'


def _found(found: list[Finding], code: str) -> list[tuple[str, str]]:
    return [(it.where, it.value) for it in found if it.code == code]


@given(
    data=st.dictionaries(
        names,
        st.tuples(st.integers(1, 500), st.integers(1, 500), st.lists(pixels, max_size=4)),
        min_size=1,
    ).filter(apart),
    layout=st.sampled_from(
        [("Annotations/", "JPEGImages/"), ("", ""), ("train/", "train/"), ("annotations/xmls/", "images/")]
    ),
)
def test_boxes_are_those_written_over_the_size(
    tmp_path_factory: pytest.TempPathFactory,
    data: dict[str, tuple[int, int, list[tuple[str, int, int, int, int]]]],
    layout: tuple[str, str],
) -> None:
    folder = tmp_path_factory.mktemp("voc")
    for name, (width, height, boxes) in data.items():
        xml = voc_xml((width, height), boxes, name)
        put(folder, {f"{layout[0]}{name[:-4]}.xml": xml, f"{layout[1]}{name}": JPEG})
    read, found = readers.read(folder)
    assert read.format == "voc"
    far = 0
    assert {picture.key for picture in read.pictures} == {layout[1] + name for name in data}
    for picture in read.pictures:
        width, height, boxes = data[picture.key.removeprefix(layout[1])]
        assert picture.size == (width, height)
        assert picture.split == ("train" if layout[1] == "train/" else "")
        expected = [(label, y / height, x / width, y2 / height, x2 / width) for label, x, y, x2, y2 in boxes]
        near = [row for row in expected if is_near(row[1:])]
        assert [(b.label, b.ymin, b.xmin, b.ymax, b.xmax) for b in picture.boxes] == near
        far += len(expected) - len(near)
    assert told_as_far(found, far)
    assert whole(read)


@pytest.mark.parametrize("size", [(40, 20), (0, 0)])
def test_a_box_of_a_picture_without_a_file_is_left_out_with_it(tmp_path: Path, size: tuple[int, int]) -> None:
    far = voc_xml(size, [("cat", 4, 5, 10**9, 10)], "gone.jpg")
    data, found = readers.read(put(tmp_path, {"a.xml": XML, "a.jpg": JPEG, "gone.xml": far}))
    assert [(it.code, it.severity) for it in found] == [("ANN002", "warning")]
    assert whole(data)


def test_what_looks_like_a_flag_may_belong_to_a_name(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {}
    for name in ("photo 0", "photo 1", "photo", "b"):
        files |= {f"Annotations/{name}.xml": XML, f"JPEGImages/{name}.jpg": JPEG}
    lists = {"train": "photo 1\nb 1\n", "val": "photo 0\n", "test": "photo  -1\n"}
    files |= {f"ImageSets/Main/{name}.txt": text for name, text in lists.items()}
    data, found = readers.read(put(tmp_path, files))
    sides = {picture.key[len("JPEGImages/") :]: picture.split for picture in data.pictures}
    assert sides == {"photo 0.jpg": "validation", "photo 1.jpg": "train", "photo.jpg": "test", "b.jpg": "train"}
    assert not _found(found, "ANN002")


def test_lists_name_the_sides(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {}
    for name in "abcde":
        files |= {f"Annotations/{name}.xml": XML, f"JPEGImages/{name}.jpg": JPEG}
    lists = {"train": "a\nd\n", "val": "b.jpg\n", "test": "JPEGImages/c  1\nd\n", "trainval": "a\nb\ne\ngone\n"}
    files |= {f"ImageSets/Main/{name}.txt": text for name, text in lists.items()}
    files["ImageSets/Main/cat_train.txt"] = "e -1\n"
    data, found = readers.read(put(tmp_path, files))
    assert [picture.split for picture in data.pictures] == ["train", "validation", "test", "train", "train"]
    assert _found(found, "SPL402") == [('annotations["JPEGImages/d.jpg"]', "train, test")]
    assert ('annotations["gone"]', "") in _found(found, "ANN002")
    assert len(data.pictures) == 5
    assert whole(data)


def test_a_difficult_object_is_marked(tmp_path: Path) -> None:
    text = XML.replace("</annotation>", voc_object(CAT, difficult=1) + "</annotation>")
    (picture,) = readers.read(put(tmp_path, {"a.xml": text, "a.jpg": JPEG}))[0].pictures
    assert [box.difficult for box in picture.boxes] == [False, True]


def test_parts_are_no_objects(tmp_path: Path) -> None:
    part = (
        "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
    )
    data, found = readers.read(
        put(tmp_path, {"a.xml": XML.replace("</object>", f"{part}</object>"), "a.jpg": JPEG})
    )
    assert data.pictures[0].boxes == (FOUND,)
    assert not findings.errors(found)


@pytest.mark.parametrize("size", ["", "<size/>", "<size><width>0</width><height>0</height></size>"])
def test_a_size_that_is_not_there_is_that_of_the_file(tmp_path: Path, size: str) -> None:
    text = XML.replace("<size><width>40</width><height>20</height><depth>3</depth></size>", size)
    assert size in text
    (picture,) = readers.read(put(tmp_path, {"a.xml": text, "a.jpg": JPEG}))[0].pictures
    assert (picture.size, picture.boxes) == ((40, 20), (FOUND,))
    data, found = readers.read(put(tmp_path, {"a.jpg": b"no picture"}))
    assert [finding.code for finding in findings.errors(found)] == ["IMG104"]
    assert whole(data)
    assert not data.pictures


@pytest.mark.parametrize(
    ("filename", "files", "key", "warned"),
    [
        ("a.jpg", ["a.jpg"], "a.jpg", False),
        ("a", ["a.png"], "a.png", False),
        ("old.jpg", ["a.jpg"], "a.jpg", False),
        ("old.jpg", ["a.jpg", "old.jpg"], "a.jpg", True),
        ("a.png", ["a.jpg", "a.png"], "a.png", False),
        ("other.jpg", ["other.jpg"], "other.jpg", False),
        ("C:\\work\\other.jpg", ["other.jpg"], "other.jpg", False),
        ("other", ["other.jpg"], "other.jpg", False),
        ("../../etc/passwd.jpg", ["a.jpg"], "a.jpg", False),
    ],
)
def test_the_picture_is_the_namesake_and_else_the_one_that_is_named(
    tmp_path: Path, filename: str, files: list[str], key: str, *, warned: bool
) -> None:
    text = voc_xml((40, 20), [CAT], filename)
    put(tmp_path, dict.fromkeys(files, JPEG))
    data, found = readers.read(put(tmp_path, {"a.xml": text}))
    assert [picture.key for picture in data.pictures] == [key]
    assert _found(found, "ANN001") == ([('"a.xml"', f'"{filename}"')] if warned else [])
    assert whole(data)


def test_what_is_missing_or_left_over_is_told_and_booked(tmp_path: Path) -> None:
    put(tmp_path, {"Annotations/a.xml": XML, "Annotations/b.xml": voc_xml((9, 9), [CAT], "b.jpg")})
    put(tmp_path / "JPEGImages", {"a.jpg": JPEG, "b.JPG": JPEG, "c.png": JPEG})
    data, found = readers.read(tmp_path)
    assert [picture.key for picture in data.pictures] == ["JPEGImages/a.jpg", "JPEGImages/b.JPG"]
    assert _found(found, "ANN003") == [('annotations["JPEGImages/c.png"]', "")]
    assert whole(data)
    (tmp_path / "JPEGImages/b.JPG").rename(tmp_path / "JPEGImages/B.jpg")
    data, found = readers.read(tmp_path)
    assert _found(found, "ANN002") == [('annotations["JPEGImages/b.jpg"]', 'did you mean "B.jpg"?')]
    assert whole(data)


def test_two_files_may_not_annotate_one_picture(tmp_path: Path) -> None:
    data, found = readers.read(put(tmp_path, {"a.xml": XML, "b.xml": XML, "a.jpg": JPEG}))
    assert [(it.code, it.where) for it in findings.errors(found)] == [("ANN006", '"b.xml"')]
    assert whole(data)


@pytest.mark.parametrize(
    ("old", "new", "code", "place", "value"),
    [
        ("<xmin>4</xmin>", "<xmin>nan</xmin>", "ANN007", "a.xml:6", 'xmin is "nan"'),
        ("<xmin>4</xmin>", "<xmin>1e999</xmin>", "ANN007", "a.xml:6", 'xmin is "1e999"'),
        ("<xmin>4</xmin>", "<xmin>1_0</xmin>", "ANN007", "a.xml:6", 'xmin is "1_0"'),
        ("<xmin>4</xmin>", "<xmin>\u0664</xmin>", "ANN007", "a.xml:6", 'xmin is "\u0664"'),
        ("<xmin>4</xmin>", "<xmin/>", "ANN007", "a.xml:6", 'xmin is ""'),
        ("<xmin>4</xmin>", "", "ANN001", "a.xml:6", '"cat"'),
        ("<xmin>4</xmin>", "<xmin>4</xmin><xmin>5</xmin>", "ANN001", "a.xml:6", '"cat"'),
        ("bndbox", "robndbox", "ANN001", "a.xml:6", '"cat"'),
        ("<name>cat</name>", "<name> </name>", "LBL305", "a.xml:6.label", '""'),
        ("<name>cat</name>", "", "LBL305", "a.xml:6.label", '""'),
    ],
)
def test_odd_objects_are_errors_at_their_line(
    tmp_path: Path, old: str, new: str, *, code: str, place: str, value: str
) -> None:
    data, found = readers.read(put(tmp_path, {"a.xml": XML.replace(old, new), "a.jpg": JPEG}))
    assert [(it.code, it.where, it.value) for it in findings.errors(found)] == [(code, place, value)]
    assert [len(picture.boxes) for picture in data.pictures] == [0]
    assert data.drawn == 1
    assert whole(data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation>\n<size>\n</annotation>", "a.xml:3: it is not well-formed XML: mismatched tag"),
        ("<annotation>\n&nbsp;</annotation>", "a.xml:2: it is not well-formed XML: undefined entity"),
        (f"<?xml version='1.0'?>\n{BOMB}<annotation>&b;</annotation>", "a.xml:2: it declares a document type"),
        ("<annotation>" * 100, "it is nested deeper than"),
        ("<annotation>" + " " * markup.MOST_BYTES, "it is larger than 4,194,304 bytes"),
        ("<?xml version='1.0' encoding='x-\u00e4'?><annotation/>", "it is not well-formed"),
        ("<?xml version='1.0' encoding='utf-7'?><annotation/>", "it is"),
        (b"<annotation><object><name>\xff</name></object></annotation>", "not well-formed XML"),
        (b"<annotation>\0</annotation>", "not well-formed XML"),
    ],
)
def test_broken_and_hostile_xml_is_an_error_of_its_file(tmp_path: Path, text: str | bytes, message: str) -> None:
    data, found = readers.read(put(tmp_path, {"a.xml": text, "a.jpg": JPEG, "b.xml": XML, "b.jpg": JPEG}))
    (wrong,) = findings.errors(found)
    assert message in f"{wrong.where}: {wrong.value}"
    assert [picture.key for picture in data.pictures] == ["b.jpg"]
    assert whole(data)


@given(data=st.binary(max_size=200) | st.text("<>/annotiobjec &;#x!-[]", max_size=200).map(str.encode))
def test_noise_is_an_error_or_a_tree(data: bytes) -> None:
    try:
        tree = markup.parse(data)
    except markup.MarkupError as error:
        assert str(error).startswith(("is ", "declares "))  # noqa: PT017 - either end is fine
    else:
        assert tree.tag


@pytest.mark.parametrize("mark", [codecs.BOM_UTF8, b""])
def test_other_encodings_are_read(tmp_path: Path, mark: bytes) -> None:
    text = XML.replace("cat", "Käfer")
    files = {"a.xml": mark + text.encode(), "a.jpg": JPEG, "c.jpg": JPEG, "d.jpg": JPEG}
    declared = "<?xml version='1.0' encoding='{}'?>\n" + text
    files |= {
        "c.xml": declared.format("utf-16").encode("utf-16"),
        "d.xml": declared.format("latin-1").encode("latin-1"),
    }
    data, found = readers.read(put(tmp_path, dict(files)))
    assert {box.label for picture in data.pictures for box in picture.boxes} == {"Käfer"}
    assert not findings.errors(found)


def test_links_and_other_xml_are_not_read(tmp_path: Path) -> None:
    outside = put(tmp_path / "outside", {"x.xml": XML, "x.jpg": JPEG})
    root = put(tmp_path / "data", {"Annotations/a.xml": XML, "JPEGImages/a.jpg": JPEG, "pom.xml": "<project/>"})
    (root / "Annotations/x.xml").symlink_to(outside / "x.xml")
    (root / "Annotations/more").symlink_to(outside)
    data, found = readers.read(root)
    assert [picture.key for picture in data.pictures] == ["JPEGImages/a.jpg"]
    assert [it.where for it in findings.errors(found)] == ['annotations["Annotations/x.xml"]']
    warned = {it.where for it in found if it.severity == "warning"}
    assert warned == {'"Annotations/more"', '"pom.xml"'}
    assert whole(data)


@pytest.mark.parametrize("text", ["<annotations><image/></annotations>", "<project/>", "", "x" * 9000 + XML])
def test_other_xml_is_not_recognised(tmp_path: Path, text: str) -> None:
    assert not voc.recognise(Files(put(tmp_path, {"a.xml": text})))


def test_the_real_data(shared: Path) -> None:
    data, found = readers.read(shared / "data/bccd_voc")
    assert (len(data.pictures), data.drawn, found, data.ledger) == (364, 4888, [], ())
    assert [sum(it.split == side for it in data.pictures) for side in ("train", "validation", "test")] == [
        205,
        87,
        72,
    ]
    mended, _ = mend(data, "clip")
    assert [change.where for change in mended.ledger if change.action == "dropped"] == [
        'annotations["JPEGImages/BloodImage_00338.jpg"][12]',
        'annotations["JPEGImages/BloodImage_00343.jpg"][3]',
    ]
