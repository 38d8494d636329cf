"""The laws: what is drawn as sound breaks no rule, what is drawn as broken breaks its rule and no other."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from odbuild import strategies
from odbuild.check import Options, Report, catalogue, check
from odbuild.errors import UsageError
from odbuild.strategies import SMALL, Broken, LabelMap, Records, Sample
from odbuild.strategies.samples import Format
from odbuild.strategies.ways import WAYS
from odbuild.trainer import examples, images, labels, readers
from odbuild.trainer.convert import convert
from odbuild.trainer.findings import render
from odbuild.trainer.policies import Policies
from odbuild.upstream import Upstream

PAGE = Path(__file__).parent.parent / "docs/strategies.md"

FEW = settings(max_examples=max(5, settings().max_examples // 10))
"""For what takes a tenth of a second: still a few hundred examples in the deep profile."""

NEED_UPSTREAM = ("CFG", "CKP", "ENV", "ZIP")
"""Families whose cases, or whose rules, need upstream."""

EVERY_WORD: dict[str, Any] = {
    "sides": ("", "train", "validation", "test"),
    "groups": True,
    "marks": True,
    "backgrounds": True,
}


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    return lambda: tmp_path_factory.mktemp("drawn")


def _checked(*paths: Path, **options: Any) -> Report:
    return check(paths, Options(jobs=1, **options))


def _codes(report: Report) -> set[str]:
    return {finding.code for finding in report.findings}


# Sound


@given(sample=strategies.datasets(), named=st.sampled_from(["cloud", "coco", "yolo", "csv"]))
def test_nothing_is_wrong_with_a_drawn_dataset_but_its_size(
    fresh: Callable[[], Path], sample: Sample, named: Format
) -> None:
    report = _checked(sample.write(fresh(), named))
    assert _codes(report) <= SMALL, render(report.findings)
    assert report.rules_run


@given(sample=strategies.datasets(sides=("train", "validation"), groups=True))
def test_nothing_is_wrong_with_a_drawn_dataset_with_sides_but_its_size(
    fresh: Callable[[], Path], sample: Sample
) -> None:
    report = _checked(sample.write(fresh(), "csv"))
    assert _codes(report) <= SMALL - {"SPL401", "SPL405"}, render(report.findings)


@given(found=strategies.records())
def test_nothing_is_wrong_with_drawn_records_but_their_number(fresh: Callable[[], Path], found: Records) -> None:
    report = _checked(found.write(fresh()))
    assert _codes(report) <= SMALL - {"SPL401", "SPL405"}, render(report.findings)


@given(found=strategies.label_maps())
def test_nothing_is_wrong_with_a_drawn_label_map(fresh: Callable[[], Path], found: LabelMap) -> None:
    path = found.write(fresh())
    report = _checked(path)
    assert not report.findings, render(report.findings)
    assert labels.read_label_map(path) == found.items


@FEW
@given(
    written=st.one_of(
        st.tuples(strategies.datasets(enough=True), st.just({})),
        st.tuples(strategies.datasets(enough=True, sides=("train", "validation")), st.just({"format": "csv"})),
        st.tuples(strategies.records(enough=True), st.just({})),
    )
)
def test_nothing_at_all_is_wrong_with_enough(
    fresh: Callable[[], Path], written: tuple[Any, dict[str, str]]
) -> None:
    thing, words = written
    report = _checked(thing.write(fresh(), **words))
    assert not report.findings, render(report.findings)


@given(sample=strategies.datasets(**EVERY_WORD))
def test_every_word_of_datasets_is_heeded_and_read_back(fresh: Callable[[], Path], sample: Sample) -> None:
    read, _ = readers.read(sample.write(fresh(), "csv"))
    assert [(one.key, one.split, one.group) for one in read.pictures] == [
        (one.key, one.split, one.group) for one in sample.pictures
    ]
    assert [len(one.boxes) for one in read.pictures] == [len(one.boxes) for one in sample.pictures]
    assert {box.label for one in sample.pictures for box in one.boxes} == set(sample.declared)


@pytest.mark.parametrize(
    "wanted",
    [
        lambda sample: any(not one.boxes for one in sample.pictures),
        lambda sample: any(box.difficult and box.crowd for one in sample.pictures for box in one.boxes),
        lambda sample: {one.split for one in sample.pictures} == {"", "train", "validation", "test"},
        lambda sample: {one.group for one in sample.pictures} >= {"", "a train", "b validation"},
        lambda sample: {image.format for image in sample.images.values()} == {"jpeg", "png"},
        lambda sample: any("/" in one.key for one in sample.pictures),
        lambda sample: len(sample.declared) == 3,
    ],
)
def test_every_word_of_datasets_can_come_up(wanted: Callable[[Sample], bool]) -> None:
    find(
        strategies.datasets(**EVERY_WORD),
        wanted,
        settings=settings(database=None, phases=[Phase.generate], max_examples=500),
    )


@given(image=strategies.images())
def test_pictures_are_what_they_say(image: strategies.Image) -> None:
    info = images.inspect(image.data, check="decode")
    assert (info.format, info.width, info.height) == (image.format, image.width, image.height)
    assert not info.warnings


@FEW
@given(sample=strategies.datasets(least=2))
def test_nothing_is_wrong_with_what_was_converted_but_its_size(fresh: Callable[[], Path], sample: Sample) -> None:
    folder = fresh()
    convert(sample.write(folder / "in"), folder / "out", Policies(), lambda _: None, processes=1)
    report = _checked(folder / "out")
    assert _codes(report) <= SMALL, render(report.findings)
    assert "REC509" in report.rules_run


@FEW
@given(sample=strategies.datasets(enough=True))
def test_nothing_at_all_is_wrong_with_enough_that_was_converted(fresh: Callable[[], Path], sample: Sample) -> None:
    folder = fresh()
    convert(sample.write(folder / "in"), folder / "out", Policies(), lambda _: None, processes=1)
    report = _checked(folder / "out")
    assert not report.findings, render(report.findings)


@given(found=strategies.records(labels=strategies.labels(odd=True)))
def test_drawn_records_are_read_back_as_they_are(fresh: Callable[[], Path], found: Records) -> None:
    every = [example for parts in found.shards.values() for part in parts for example in part]
    assert [examples.decode(examples.encode(example)) for example in every] == every
    read, _ = readers.read(found.write(fresh()))
    assert read.declared == found.labels
    assert {one.key: (tuple(one.boxes), one.size) for one in read.pictures} == {
        one.key: (one.boxes, (one.width, one.height)) for one in every
    }


# Broken


def test_every_rule_can_be_broken() -> None:
    assert set(WAYS) == set(catalogue())


@pytest.mark.parametrize("code", sorted(WAYS))
def test_what_is_drawn_to_break_a_rule_breaks_it_and_no_other(
    code: str, fresh: Callable[[], Path], request: pytest.FixtureRequest
) -> None:
    if code.startswith(NEED_UPSTREAM) or code in {"BOX204", "BOX205", "IMG107"}:
        request.getfixturevalue("upstream_tree")

    @FEW
    @given(case=strategies.broken(code))
    def breaks(case: Broken) -> None:
        report = _checked(*case.write(fresh()), **case.options)
        assert case.code == code
        assert code not in case.also
        assert code in _codes(report), case
        assert _codes(report) <= {code} | case.also, render(report.findings)

    breaks()


def test_a_rule_that_is_none_is_told() -> None:
    with pytest.raises(UsageError, match=r"There is no rule 'box202'\. Did you mean 'BOX202'"):
        strategies.broken("box202")


# Small


def _smallest(strategy: st.SearchStrategy[Any], wanted: Callable[[Any], bool] = lambda _: True) -> Any:
    return find(strategy, wanted, settings=settings(database=None))


def test_a_dataset_shrinks_to_one_picture_with_one_box() -> None:
    sample = _smallest(strategies.datasets())
    (picture,) = sample.pictures
    assert picture.key == "0.jpg"
    assert [(box.label, box.xmin, box.ymin, box.xmax, box.ymax) for box in picture.boxes] == [
        ("0", 0, 0, 0.05, 0.05)
    ]


def test_what_must_be_there_stays_and_nothing_else() -> None:
    sample = _smallest(
        strategies.datasets(), lambda it: any(box.xmax > 0.5 for one in it.pictures for box in one.boxes)
    )
    ((box,),) = (picture.boxes for picture in sample.pictures)
    assert (box.xmin, box.xmax, box.ymax) == (0, 0.501, 0.05)


def test_records_shrink_to_one_on_each_side() -> None:
    found = _smallest(strategies.records())
    assert {side: [len(part) for part in parts] for side, parts in found.shards.items()} == {
        "train": [1],
        "validation": [1],
    }


def test_a_label_map_shrinks_to_one_class() -> None:
    assert _smallest(strategies.label_maps()).text == 'item {\n  name: "0"\n  id: 1\n}\n'


@pytest.mark.parametrize("code", ["ANN007", "BOX202", "BOX206", "IMG101", "LBL305", "REC505"])
def test_what_is_broken_shrinks_to_the_least_that_shows_it(code: str) -> None:
    case = _smallest(strategies.broken(code))
    files = [name for name in case.files if name.endswith((".jpg", ".png", ".record"))]
    assert len(files) <= 2
    assert sum(map(len, case.files.values())) < 4000
    assert len(str(case)) < 300


# Upstream

READER = """
from odbuild.trainer import compat
compat.install("tf2")
import json, sys
import tensorflow as tf
from object_detection.core.standard_fields import InputDataFields as Fields
from object_detection.data_decoders.tf_example_decoder import TfExampleDecoder
from object_detection.utils import label_map_util

def decoded(decoder, record):
    found = decoder.decode(record)
    return {
        "key": found[Fields.source_id].numpy().decode(),
        "shape": found[Fields.image].shape.as_list(),
        "boxes": found[Fields.groundtruth_boxes].numpy().tolist(),
        "classes": found[Fields.groundtruth_classes].numpy().tolist(),
        "difficult": found[Fields.groundtruth_difficult].numpy().tolist(),
        "crowd": found[Fields.groundtruth_is_crowd].numpy().tolist(),
    }

def answer(labels, shards):
    known = label_map_util.get_label_map_dict(labels)
    decoder = TfExampleDecoder(label_map_proto_file=labels if shards else None)
    return known, [decoded(decoder, record) for shard in shards for record in tf.data.TFRecordDataset(shard)]

for line in sys.stdin:
    try:
        found = answer(*json.loads(line))
    except Exception as error:
        found = None, repr(error)
    print("answer", json.dumps(found), flush=True)
"""


@pytest.fixture(scope="module")
def upstreams(unpacked: str) -> Iterator[Callable[[Path, list[Path]], Any]]:
    """Return what upstream reads from a label map and shards; it is started once, as TensorFlow takes seconds."""
    environment = {**os.environ, "PYTHONPATH": unpacked, "TF_CPP_MIN_LOG_LEVEL": "3"}
    with subprocess.Popen(
        [sys.executable, "-c", READER],
        env=environment,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as child:
        assert child.stdin
        assert child.stdout
        told, answers = child.stdin, child.stdout

        def ask(label_map: Path, shards: list[Path]) -> Any:
            told.write(json.dumps([str(label_map), list(map(str, shards))]) + "\n")
            told.flush()
            answer = next(line for line in answers if line.startswith("answer "))
            return json.loads(answer.removeprefix("answer "))

        yield ask
        told.close()


@pytest.mark.tensorflow
@given(found=strategies.label_maps())
def test_upstream_reads_a_label_map_as_we_do(
    fresh: Callable[[], Path], upstreams: Callable[[Path, list[Path]], Any], found: LabelMap
) -> None:
    path = found.write(fresh())
    known, _ = upstreams(path, [])
    assert known == {item.name: item.id for item in labels.read_label_map(path)}


@pytest.mark.tensorflow
@given(found=strategies.records(labels=strategies.labels(odd=True)))
def test_upstream_reads_records_as_we_do(
    fresh: Callable[[], Path], upstreams: Callable[[Path, list[Path]], Any], found: Records
) -> None:
    folder = found.write(fresh())
    shards = sorted(folder.glob("*.record"))
    known, seen = upstreams(folder / "label_map.pbtxt", shards)
    read, _ = readers.read(folder)
    assert known, seen
    theirs = {one["key"]: one for one in seen}
    assert set(theirs) == {picture.key for picture in read.pictures}
    for picture in read.pictures:
        one = theirs[picture.key]
        width, height = picture.size or (0, 0)
        assert one["shape"] == [height, width, 3]
        assert one["boxes"] == [[box.ymin, box.xmin, box.ymax, box.xmax] for box in picture.boxes]
        assert one["classes"] == [known[box.label] for box in picture.boxes]
        # Upstream takes what no record says for an empty list.
        assert one["difficult"] in ([], [box.difficult for box in picture.boxes])
        assert one["crowd"] in ([], [box.crowd for box in picture.boxes])


# For users

PACKAGES = {"PIL", "crc32c", "google", "jinja2", "markupsafe", "odbuild", "yaml"}
"""odbuild, and what it imports at its start of the packages that it depends on."""


def test_only_hypothesis_is_needed_beside_odbuild() -> None:
    code = "import sys, hypothesis; old = {*sys.modules}; import odbuild.strategies; print(*{*sys.modules} - old)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    new = {name.partition(".")[0] for name in done.stdout.split() if "cython" not in name}
    assert "odbuild" in new
    assert new - set(sys.stdlib_module_names) <= PACKAGES


def test_without_hypothesis_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['hypothesis'] = None; import odbuild.strategies"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "odbuild.strategies needs Hypothesis: pip install 'odbuild[strategies]'" in done.stderr


def test_the_example_of_the_page_runs_as_it_stands(tmp_path: Path, upstream_tree: Upstream) -> None:
    blocks = dict(
        re.findall(r"^`([\w.]+)`:\n\n```python\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    )
    assert set(blocks) == {"export.py", "test_export.py"}
    for name, text in blocks.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout


def test_the_page_lists_every_strategy() -> None:
    text = PAGE.read_text("utf-8")
    assert {name for name in strategies.__all__ if f"`{name}" not in text} == set()
