import json
import os
import struct
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pictures
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from odbuild import strategies
from odbuild.strategies import Sample
from odbuild.trainer import examples, images, records, shard, strict
from odbuild.trainer.convert import convert
from odbuild.trainer.dataset import Box
from odbuild.trainer.errors import OdbuildError, UsageError
from odbuild.trainer.examples import Example
from odbuild.trainer.index import SIDES, Converted, Side, load
from odbuild.trainer.policies import ExifPolicy, Policies

BOX = {"x": 0.25, "y": 0.25, "x2": 0.75, "y2": 0.5, "label": "cat"}
PLAIN = Policies()


def _quiet(line: str) -> None:
    assert line


def _source(folder: Path, annotations: dict[str, list[dict[str, Any]]], **files: bytes) -> Path:
    """Write a data set; pictures that are not given are made, each of its own content."""
    folder.mkdir()
    document = {"version": "1.0", "type": "localization", "labels": [], "annotations": annotations}
    (folder / "_annotations.json").write_text(json.dumps(document))
    for seed, key in enumerate(annotations):
        pictures.write(folder, key, files.get(key.partition(".")[0], pictures.jpeg(seed=seed)))
    return folder


def _read(side: Side) -> list[Example]:
    return [examples.decode(record) for shard in side.shards for record in records.read(shard.path)]


def _both(converted: Converted) -> dict[str, Example]:
    return {it.key: it for it in [*_read(converted.train), *_read(converted.validation)]}


def _ledger(folder: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]


def _float32(number: float) -> float:
    return float(struct.unpack("f", struct.pack("f", number))[0])


def _rounded(box: Box) -> Box:
    return replace(
        box,
        ymin=_float32(box.ymin),
        xmin=_float32(box.xmin),
        ymax=_float32(box.ymax),
        xmax=_float32(box.xmax),
    )


drawn = strategies.datasets(labels=strategies.labels(odd=True), least=2, backgrounds=True)


@given(source=drawn, shard_bytes=st.sampled_from([1, 2000, 10**9]))
def test_records_hold_what_the_source_holds(
    tmp_path_factory: pytest.TempPathFactory, source: Sample, shard_bytes: int
) -> None:
    folder = source.write(tmp_path_factory.mktemp("data") / "in")
    out = folder.parent / "out"
    converted = convert(folder, out, replace(PLAIN, shard_bytes=shard_bytes), _quiet, processes=1)
    held = _both(converted)
    assert set(held) == set(source.images)
    for picture in source.pictures:
        it, image = held[picture.key], source.images[picture.key]
        boxes = [_rounded(box) for box in picture.boxes]
        assert list(it.boxes) == boxes
        assert it.ids == tuple(converted.labels.index(box.label) + 1 for box in boxes)
        assert (it.encoded, it.format, it.width, it.height) == (
            image.data,
            image.format,
            image.width,
            image.height,
        )
    assert load(out) == converted
    for one in (*converted.train.shards, *converted.validation.shards):
        records.verify(one)
    assert _ledger(out) == []
    assert not [path for path in out.parent.iterdir() if path.name.startswith(".")]


@given(source=drawn)
def test_the_counts_are_those_of_the_records(tmp_path_factory: pytest.TempPathFactory, source: Sample) -> None:
    folder = source.write(tmp_path_factory.mktemp("data") / "in")
    converted = convert(folder, folder.parent / "out", PLAIN, _quiet, processes=1)
    for side in (converted.train, converted.validation):
        held = _read(side)
        labels = Counter(box.label for it in held for box in it.boxes)
        assert (side.pictures, side.boxes) == (len(held), labels.total())
        assert side.background == sum(not it.boxes for it in held)
        assert side.classes == {label: labels[label] for label in converted.labels}
        assert len(held) == sum(shard.count for shard in side.shards)
    every = _both(converted).values()
    assert converted.max_boxes == max(len(it.boxes) for it in every)
    widths = [it.width for it in every]
    assert (converted.sizes.min_width, converted.sizes.max_width) == (min(widths), max(widths))
    smallest = min((b.xmax - b.xmin) * (b.ymax - b.ymin) for it in every for b in it.boxes)
    assert converted.smallest_box.share == pytest.approx(smallest, rel=1e-4)


def test_the_same_data_gives_the_same_bytes_elsewhere_and_in_any_order(tmp_path: Path) -> None:
    annotations = {f"{number}.jpg": [BOX] for number in range(9)}
    first = convert(_source(tmp_path / "a", annotations), tmp_path / "x", PLAIN, _quiet)
    other = _source(tmp_path / "b", annotations)
    document = json.loads((other / "_annotations.json").read_text())
    document["annotations"] = dict(reversed(document["annotations"].items()))
    (other / "_annotations.json").write_text(json.dumps(document, indent=1))
    second = convert(other, tmp_path / "deeper/y", PLAIN, _quiet)
    assert first.digest == second.digest
    for path in first.folder.iterdir():
        assert path.read_bytes() == (second.folder / path.name).read_bytes()


@given(source=drawn, shard_bytes=st.sampled_from([1, 9000]), processes=st.integers(2, 5))
@settings(max_examples=15)
def test_the_number_of_processes_does_not_show(
    tmp_path_factory: pytest.TempPathFactory, source: Sample, shard_bytes: int, processes: int
) -> None:
    folder = source.write(tmp_path_factory.mktemp("data") / "in")
    policies = replace(PLAIN, shard_bytes=shard_bytes)
    alone = convert(folder, folder.parent / "alone", policies, _quiet, processes=1)
    together = convert(folder, folder.parent / "together", policies, _quiet, processes=processes)
    assert together.findings == alone.findings
    for path in alone.folder.iterdir():
        assert path.read_bytes() == (together.folder / path.name).read_bytes()


def test_other_data_has_another_digest(tmp_path: Path) -> None:
    digests = set()
    for name, x in (("a", 0.25), ("b", 0.26)):
        source = _source(tmp_path / name, {"1.jpg": [{**BOX, "x": x}], "2.jpg": [BOX]})
        digests.add(convert(source, tmp_path / f"out-{name}", PLAIN, _quiet).digest)
    assert len(digests) == 2


def test_everything_in_is_written_or_in_the_ledger(tmp_path: Path) -> None:
    annotations: dict[str, list[dict[str, Any]]] = {
        "good.jpg": [BOX, {**BOX, "x2": 1.2}, {**BOX, "x2": 0.25}],
        "speck.jpg": [{**BOX, "x2": 0.26}, BOX],
        "only-speck.jpg": [{**BOX, "y2": 0.251}],
        "negative.jpg": [{"label": "Negative"}],
        "gone.jpg": [BOX, BOX],
    }
    source = _source(tmp_path / "in", annotations)
    (source / "gone.jpg").unlink()
    for negatives in ("keep", "drop"):
        policies = Policies(negatives=negatives)
        converted = convert(source, tmp_path / negatives, policies, _quiet)
        lines = Counter(f"{it['action']} {it['what']}" for it in _ledger(converted.folder))
        assert lines == converted.ledger
        sides = (converted.train, converted.validation)
        assert sum(side.pictures for side in sides) + lines["dropped picture"] == 5
        assert sum(side.boxes for side in sides) + lines["dropped box"] == 8
        assert (lines["dropped picture"], lines["dropped box"]) == ((1, 5) if negatives == "keep" else (3, 5))
    seen = {it["where"]: it["value"] for it in _ledger(tmp_path / "keep") if it["action"] == "clipped"}
    assert seen == {'annotations["good.jpg"][1]': 'x=0.25, y=0.25, x2=1.2, y2=0.5, "cat"'}


def test_all_errors_are_told_at_once_and_nothing_is_left(tmp_path: Path) -> None:
    annotations = {"cut.jpg": [BOX], "text.jpg": [BOX], "px.jpg": [{**BOX, "x2": 90}], "exif.jpg": [BOX]}
    files = {"cut": pictures.jpeg()[:-9], "text": b"hello", "exif": pictures.jpeg(orientation=6)}
    source = _source(tmp_path / "in", {**annotations, "../evil.jpg": [], "fine.jpg": [BOX]}, **files)
    with pytest.raises(OdbuildError, match="has 5 errors; nothing was written") as caught:
        convert(source, tmp_path / "out", PLAIN, _quiet)
    text = str(caught.value)
    for code, key in (
        ("IMG101", "cut.jpg"),
        ("IMG102", "text.jpg"),
        ("ANN007", "px.jpg"),
        ("ANN005", "../evil.jpg"),
    ):
        assert f"error {code}" in text
        assert f'annotations["{key}"]' in text
    assert "--exif apply" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evil.jpg", "in"]


@pytest.mark.parametrize(("policy", "size"), [("apply", (32, 48)), ("ignore", (48, 32))])
def test_orientation_follows_the_policy(tmp_path: Path, policy: Any, size: tuple[int, int]) -> None:
    data = pictures.jpeg(orientation=6)
    source = _source(tmp_path / "in", {"exif.jpg": [BOX], "b.jpg": [BOX]}, exif=data)
    converted = convert(source, tmp_path / "out", Policies(exif=policy), _quiet)
    held = _both(converted)["exif.jpg"]
    assert (held.width, held.height) == size
    assert (held.encoded == data) == (policy == "ignore")
    assert held.boxes == (Box(label="cat", ymin=0.25, xmin=0.25, ymax=0.5, xmax=0.75),)
    assert converted.ledger == ({"turned picture": 1} if policy == "apply" else {})


def test_orientation_matters_only_where_there_are_boxes(tmp_path: Path) -> None:
    source = _source(tmp_path / "in", {"exif.jpg": [], "b.jpg": [BOX]}, exif=pictures.jpeg(orientation=6))
    assert convert(source, tmp_path / "out", PLAIN, _quiet).ledger == {}


def test_pictures_are_transcoded_and_shrunk_into_records(tmp_path: Path) -> None:
    files = {"gif": pictures.encoded(pictures.drawing(mode="P"), "GIF"), "big": pictures.jpeg(400, 300)}
    source = _source(tmp_path / "in", {"gif.jpg": [BOX], "big.jpg": [BOX], "small.jpg": [BOX]}, **files)
    converted = convert(source, tmp_path / "out", Policies(max_side=100), _quiet)
    held = _both(converted)
    assert (held["gif.jpg"].format, held["gif.jpg"].width) == ("png", 48)
    assert (held["big.jpg"].width, held["big.jpg"].height) == (100, 75)
    assert held["small.jpg"].encoded == (source / "small.jpg").read_bytes()
    assert converted.ledger == {"shrunk picture": 1, "transcoded picture": 1}
    seen = {it["where"]: it["value"] for it in _ledger(converted.folder)}
    assert seen['annotations["big.jpg"]'] == "jpeg, 400 x 300, orientation 1"


def test_a_box_that_only_shrinking_makes_tiny_is_kept(tmp_path: Path) -> None:
    thin = {**BOX, "x": 0.5, "x2": 0.505}
    source = _source(tmp_path / "in", {"big.jpg": [thin], "b.jpg": [BOX]}, big=pictures.jpeg(400, 300))
    converted = convert(source, tmp_path / "out", Policies(max_side=50), _quiet)
    assert converted.smallest_box.key == "big.jpg"
    assert converted.smallest_box.width == pytest.approx(0.25)


def test_no_content_is_decoded_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []
    check = strict.check

    def counting(*args: Any) -> strict.Checked:
        decoded.append(args)
        return check(*args)

    monkeypatch.setattr(strict, "check", counting)
    files = {
        "odd": pictures.jpeg(seed=7).replace(b"\xff\xda", b"\xff\xff\xda"),
        "turned": pictures.jpeg(orientation=6),
    }
    annotations = {"odd.jpg": [BOX], "turned.jpg": [BOX], "c.jpg": [BOX]}
    source = _source(tmp_path / "in", annotations, **files)
    policies, verdicts = Policies(exif="apply"), tmp_path / "verdicts"
    plain = convert(source, tmp_path / "plain", policies, _quiet, processes=1)
    for name in ("first", "second"):
        decoded.clear()
        shard._verdicts.cache_clear()
        converted = convert(source, tmp_path / name, policies, _quiet, processes=1, verdicts=verdicts)
        assert len(decoded) == (3 if name == "first" else 0)
        assert converted.findings == plain.findings
        for path in plain.folder.iterdir():
            assert path.read_bytes() == (converted.folder / path.name).read_bytes()


def test_a_picture_of_another_size_than_recorded_is_an_error(tmp_path: Path) -> None:
    source = _source(tmp_path / "in", {"a.jpg": [BOX], "b.jpg": [BOX]})
    (source / "_annotations.json").unlink()
    coco = {
        "images": [
            {"id": number, "file_name": f"{key}.jpg", "width": 48, "height": 31} for number, key in enumerate("ab")
        ],
        "annotations": [{"id": 1, "image_id": 0, "category_id": 1, "bbox": [1, 1, 20, 20], "iscrowd": 0}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (source / "annotations.json").write_text(json.dumps(coco))
    with pytest.raises(OdbuildError, match=r"IMG104(.|\n)*recorded 48 x 31, is 48 x 32"):
        convert(source, tmp_path / "out", PLAIN, _quiet)


@pytest.mark.parametrize(
    ("policy", "recorded", "wanted"),
    [
        ("apply", [32, 48], ""),
        ("apply", [48, 32], "recorded 48 x 32, is 32 x 48 upright"),
        ("apply", None, ""),
        ("ignore", [48, 32], ""),
        ("ignore", None, ""),
        ("ignore", [32, 48], "recorded 32 x 48, is 48 x 32 as stored"),
    ],
)
def test_boxes_in_pixels_are_of_the_view_that_the_policy_takes(
    tmp_path: Path, policy: ExifPolicy, recorded: list[int] | None, wanted: str
) -> None:
    for seed in range(2):
        pictures.write(tmp_path, f"in/{seed}.jpg", pictures.jpeg(48, 32, seed=seed, orientation=6))
    size = dict(zip(("width", "height"), recorded, strict=True)) if recorded else {}
    document = {
        "images": [{"id": number, "file_name": f"{number}.jpg", **size} for number in range(2)],
        "annotations": [
            {"id": it, "image_id": it, "category_id": 1, "bbox": [8, 8, 16, 16], "iscrowd": 0} for it in range(2)
        ],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (tmp_path / "in/annotations.json").write_text(json.dumps(document))
    policies = replace(PLAIN, exif=policy)
    if wanted:
        with pytest.raises(OdbuildError, match=rf"IMG104(.|\n)*{wanted}"):
            convert(tmp_path / "in", tmp_path / "out", policies, _quiet)
        return
    made = _both(convert(tmp_path / "in", tmp_path / "out", policies, _quiet))
    for it in made.values():
        (box,) = it.boxes
        assert (box.xmin * it.width, box.ymax * it.height) == pytest.approx((8, 24))


def _coco(folder: Path, sides: dict[str, list[str]], **files: bytes) -> Path:
    """Write a COCO set that brings its own sides."""
    for number, (side, names) in enumerate(sides.items()):
        images_ = [{"id": at, "file_name": name, "width": 48, "height": 32} for at, name in enumerate(names)]
        boxes = [
            {"id": at, "image_id": at, "category_id": 1, "bbox": [5, 5, 20, 20]} for at, _ in enumerate(names)
        ]
        document = {"images": images_, "annotations": boxes, "categories": [{"id": 1, "name": "cat"}]}
        pictures.write(folder, f"annotations/instances_{side}.json", json.dumps(document).encode())
        for at, name in enumerate(names):
            data = files.get(name.partition(".")[0], pictures.jpeg(seed=10 * number + at))
            pictures.write(folder, f"{side}/{name}", data)
    return folder


def test_sides_of_the_source_are_kept_where_asked_for(tmp_path: Path) -> None:
    sides = {"train": ["a.jpg", "b.jpg"], "val": ["c.jpg"], "test": ["d.jpg", "e.jpg"]}
    source = _coco(tmp_path / "in", sides)
    converted = convert(source, tmp_path / "out", Policies(split="source"), _quiet)
    held = {side: [it.key.rpartition("/")[2] for it in _read(getattr(converted, side))] for side in SIDES}
    assert {side: sorted(keys) for side, keys in held.items()} == {
        "train": ["a.jpg", "b.jpg"],
        "validation": ["c.jpg"],
        "test": ["d.jpg", "e.jpg"],
    }
    for side in SIDES:
        written = (converted.folder / f"{side}.txt").read_text().splitlines()
        assert [key.rpartition("/")[2] for key in written] == held[side]
    assert load(converted.folder) == converted


def test_a_content_on_two_sides_of_the_source_is_an_error(tmp_path: Path) -> None:
    same = pictures.jpeg(seed=77)
    source = _coco(tmp_path / "in", {"train": ["a.jpg", "b.jpg"], "val": ["c.jpg"]}, a=same, c=same)
    with pytest.raises(OdbuildError, match=r"SPL402(.|\n)*train, validation"):
        convert(source, tmp_path / "out", Policies(split="source"), _quiet)
    assert convert(source, tmp_path / "out", PLAIN, _quiet).train.pictures in {1, 2}


def test_a_source_without_sides_cannot_give_them(tmp_path: Path) -> None:
    source = _source(tmp_path / "in", {"a.jpg": [BOX], "b.jpg": [BOX]})
    with pytest.raises(OdbuildError, match="has no pictures for validation"):
        convert(source, tmp_path / "out", Policies(split="source"), _quiet)


@pytest.mark.parametrize("processes", [1, 2])
def test_near_duplicates_stay_together_where_asked_for(tmp_path: Path, processes: int) -> None:
    files = {}
    for number in range(30):
        picture = pictures.photograph(number // 3)
        files[f"{number}"] = pictures.encoded(picture, quality=(40, 60, 80)[number % 3])
    source = _source(tmp_path / "in", {f"{key}.jpg": [BOX] for key in files}, **files)
    policies = Policies(near_duplicates="together", shard_bytes=5000)
    converted = convert(source, tmp_path / "out", policies, _quiet, processes=processes)
    sides = [{int(it.key[:-4]) // 3 for it in _read(side)} for side in (converted.train, converted.validation)]
    assert sides[0].isdisjoint(sides[1])
    assert all(sides)
    assert sum(it.code == "IMG109" for it in converted.findings) == 20
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_folder_stays_on_one_side(tmp_path: Path) -> None:
    source = _source(tmp_path / "in", {f"{number % 5}/{number}.jpg": [BOX] for number in range(25)})
    converted = convert(source, tmp_path / "out", Policies(group="folder"), _quiet)
    sides = [{it.key.partition("/")[0] for it in _read(side)} for side in (converted.train, converted.validation)]
    assert sides[0].isdisjoint(sides[1])
    assert all(sides)


def test_shrinking_says_what_it_does_to_small_boxes(tmp_path: Path) -> None:
    boxes = [{**BOX, "x": 0.5, "x2": 0.5 + width / 400} for width in (7, 8, 9, 31, 33, 100)]
    annotations = {"big.jpg": boxes, "small.jpg": [{**BOX, "x": 0.5, "x2": 0.6}]}
    source = _source(tmp_path / "in", annotations, big=pictures.jpeg(400, 300))
    for side, told in (
        (100, ["4 of 6 boxes; 1 were before"]),
        (350, ["3 of 6 boxes; 1 were before"]),
        (390, ["2 of 6 boxes; 1 were before"]),
    ):
        converted = convert(source, tmp_path / f"{side}", Policies(max_side=side), _quiet)
        assert [it.value for it in converted.findings if "shrinking" in it.message] == told
    assert not [
        it for it in convert(source, tmp_path / "kept", PLAIN, _quiet).findings if "shrinking" in it.message
    ]


def test_one_picture_is_on_both_sides(tmp_path: Path) -> None:
    converted = convert(_source(tmp_path / "in", {"a.jpg": [BOX]}), tmp_path / "out", PLAIN, _quiet)
    assert (converted.train.pictures, converted.validation.pictures) == (1, 1)
    assert "SPL405" in [found.code for found in converted.findings]


def test_equal_files_are_named(tmp_path: Path) -> None:
    same = pictures.jpeg(seed=9)
    source = _source(tmp_path / "in", {"a.jpg": [BOX], "b.jpg": [BOX], "c.jpg": [BOX]}, a=same, b=same)
    converted = convert(source, tmp_path / "out", PLAIN, _quiet)
    assert [it.value for it in converted.findings if it.code == "IMG108"] == ['same as "a.jpg"']


@pytest.mark.parametrize(
    ("annotations", "why"),
    [
        ({}, "0 pictures, 0 boxes. Draw"),
        ({"a.jpg": []}, "1 pictures, 0 boxes. Draw"),
        ({"a.jpg": [{"label": "Negative"}]}, "1 pictures, 0 boxes. Draw"),
        ({"a.jpg": [{**BOX, "x2": 0.25}]}, "1 pictures, 1 boxes, left out for 1 BOX202:\nwarning BOX202: "),
        ({"gone.jpg": [BOX]}, "1 pictures, 1 boxes, left out for 2 ANN002:\nwarning ANN002: "),
    ],
)
def test_no_usable_box_is_told_with_the_reason(tmp_path: Path, annotations: dict[str, Any], why: str) -> None:
    source = _source(tmp_path / "in", annotations)
    (source / "gone.jpg").unlink(missing_ok=True)
    with pytest.raises(OdbuildError, match="has no usable box") as caught:
        convert(source, tmp_path / "out", PLAIN, _quiet)
    assert why in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_the_target_must_be_free_and_outside_the_source(tmp_path: Path) -> None:
    source = _source(tmp_path / "in", {"a.jpg": [BOX]})
    for out, message in (
        (source / "out", "lies in the dataset"),
        (source, "lies in"),
        (tmp_path, "exists already"),
    ):
        with pytest.raises(UsageError, match=message):
            convert(source, out, PLAIN, _quiet)
    (tmp_path / "empty").mkdir()
    assert convert(source, tmp_path / "empty", PLAIN, _quiet).train.pictures == 1


def test_a_read_only_source_is_enough(tmp_path: Path) -> None:
    source = _source(tmp_path / "in", {"a.jpg": [BOX]})
    before = {path: path.stat().st_mtime_ns for path in (source, *source.iterdir())}
    source.chmod(0o555)
    convert(source, tmp_path / "out", PLAIN, _quiet)
    assert {path: path.stat().st_mtime_ns for path in (source, *source.iterdir())} == before


def test_a_full_disk_leaves_nothing(
    tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    source = _source(tmp_path / "in", {"a.jpg": [BOX], "b.jpg": [BOX]})
    with full_disk(500), pytest.raises(OdbuildError, match=r"out cannot be written: File too large\."):
        convert(source, tmp_path / "out", PLAIN, _quiet)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_an_interrupt_before_the_first_shard_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stop(BaseException):
        pass

    def stop(*_: Any, **__: Any) -> Any:
        raise Stop

    source = _source(tmp_path / "in", {"a.jpg": [BOX], "b.jpg": [BOX]})
    monkeypatch.setattr(images, "prepare", stop)
    with pytest.raises(Stop):
        convert(source, tmp_path / "out", PLAIN, _quiet, processes=1)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize(
    ("gone", "message"), [(False, r"\.jpg changed while"), (True, r"\.jpg changed while.*No such file")]
)
def test_a_picture_that_changes_meanwhile_stops_the_conversion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, gone: bool, message: str
) -> None:
    source = _source(tmp_path / "in", {"a.jpg": [BOX], "b.jpg": [BOX]})

    def meddle(line: str) -> None:
        for seed, key in enumerate(("a.jpg", "b.jpg"), start=50):
            (source / key).unlink(missing_ok=True)
            if not gone:
                (source / key).write_bytes(pictures.jpeg(seed=seed))

    with pytest.raises(OdbuildError, match=message):
        convert(source, tmp_path / "out", PLAIN, meddle)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_picture_is_named(tmp_path: Path) -> None:
    source = _source(tmp_path / "in", {"a.jpg": [BOX]})
    (source / "a.jpg").chmod(0)
    with pytest.raises(OdbuildError, match="cannot be read: Permission denied"):
        convert(source, tmp_path / "out", PLAIN, _quiet)


@pytest.mark.parametrize(
    "wrong", [{"boxes": "mend"}, {"exif": ""}, {"validation": 0}, {"validation": 1.0}, {"max_side": 0}]
)
def test_unknown_policies_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(wrong))} is .*; expected"):
        Policies(**wrong)


def test_a_folder_that_is_no_conversion_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OdbuildError, match="no finished conversion"):
        load(tmp_path)
    (tmp_path / "index.json").write_text('{"format": 0}')
    with pytest.raises(OdbuildError, match="another version"):
        load(tmp_path)


def test_hostile_labels_come_through(tmp_path: Path) -> None:
    labels = ["O'Brien", 'say "x"', "Grün", "猫", "a/b", "back\\slash", "🦆", "two\nlines"]
    entries = [{**BOX, "label": label} for label in labels]
    source = _source(tmp_path / "in", {"a.jpg": entries, "b.jpg": entries})
    converted = convert(source, tmp_path / "out", PLAIN, _quiet)
    assert converted.labels == tuple(sorted(labels))
    assert [box.label for box in _both(converted)["a.jpg"].boxes] == labels
    assert load(tmp_path / "out").labels == converted.labels


def test_the_real_photographs_convert(shared: Path, tmp_path: Path) -> None:
    converted = convert(shared / "data/pens_toys", tmp_path / "out", Policies(max_side=320), _quiet)
    sides = (converted.train, converted.validation)
    assert converted.labels == ("pen", "toy")
    assert [sum(side.classes[label] for side in sides) for label in converted.labels] == [62, 73]
    assert converted.validation.pictures == pytest.approx(24, abs=6)
    assert converted.sizes.max_width <= 320


@pytest.mark.tensorflow
def test_tensorflow_reads_the_records(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    source = _source(tmp_path / "in", {"a.jpg": [BOX], "b.jpg": [], "c.jpg": [BOX, BOX]})
    converted = convert(source, tmp_path / "out", PLAIN, _quiet)
    paths = [str(shard.path) for side in (converted.train, converted.validation) for shard in side.shards]
    seen = {}
    for record in tf.data.TFRecordDataset(paths):
        features = tf.train.Example.FromString(record.numpy()).features.feature
        key = features["image/source_id"].bytes_list.value[0].decode()
        picture = tf.io.decode_image(features["image/encoded"].bytes_list.value[0], channels=3)
        seen[key] = (tuple(picture.shape), list(features["image/object/bbox/xmax"].float_list.value))
    assert seen == {"a.jpg": ((32, 48, 3), [0.75]), "b.jpg": ((32, 48, 3), []), "c.jpg": ((32, 48, 3), [0.75] * 2)}
