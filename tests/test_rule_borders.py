"""Each rule at its very border: what just breaks it and what just does not, with place and value as shown."""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pictures import jpeg, write

from odbuild.check import Options, check
from odbuild.trainer.convert import convert
from odbuild.trainer.dataset import Box, Dataset, Picture, Span, SplitName
from odbuild.trainer.findings import Finding, Rule
from odbuild.trainer.images import ImageInfo
from odbuild.trainer.index import Converted, save
from odbuild.trainer.labels import Item
from odbuild.trainer.looks import Look
from odbuild.trainer.policies import Policies
from odbuild.trainer.rules import catalogue
from odbuild.trainer.rules.catalogue import RuleInfo
from odbuild.trainer.rules.data import by_code
from odbuild.trainer.rules.every import (
    Data,
    ModelFacts,
    annotations,
    boxes,
    labelmaps,
    labels,
    pictures,
    records,
    sides,
)
from odbuild.trainer.rules.labelmaps import LabelMap
from odbuild.trainer.split import Split

Told = list[tuple[str, str, str]]
"""Severity, place and value of each finding."""

MODEL = ModelFacts(
    name="model",
    resizer="fixed_shape",
    size=(300, 600),
    anchors=(),
    smallest=30.0,
    max_boxes=3,
    batch=8,
    exports=(),
)


def box(*edges: float, label: str = "cat", index: int = 0) -> Box:
    """Return a box of left, top, right and bottom edge."""
    left, top, right, bottom = edges
    return Box(label=label, xmin=left, ymin=top, xmax=right, ymax=bottom, index=index)


def data(*found: Picture, declared: Sequence[str] = (), **fields: Any) -> Data:
    """Return a dataset that needs no mending."""
    source = Dataset(root=Path(), format="", sources=(), declared=tuple(declared), pictures=found)
    return Data(**{"source": source, "dataset": source, **fields})


def picture(key: str, *found: Box, **fields: Any) -> Picture:
    return Picture(key=key, boxes=found, **fields)


def many(count: int, label: str = "cat", key: str = "a.jpg", **fields: Any) -> Picture:
    """Return a picture with so many boxes, one beside the other."""
    step = 1 / (count + 1)
    return picture(
        key, *(box(at * step, 0.1, (at + 0.5) * step, 0.5, label=label, index=at) for at in range(count)), **fields
    )


def look(width: int = 100, height: int = 100, digest: str = "d", kind: str = "jpeg", **fields: Any) -> Look:
    info = ImageInfo(format=kind, width=width, height=height, **fields)
    return Look(info=info, digest=digest, kind=kind)


def told(rule: Callable[[Any], Iterable[Finding]], value: object) -> Told:
    return [(one.severity, one.where, one.value) for one in rule(value)]


def at(key: str, index: int | None = None) -> str:
    return f'annotations["{key}"]' + ("" if index is None else f"[{index}]")


# Findings of the reader


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        (annotations.shape, "ANN001"),
        (annotations.background, "ANN003"),
        (annotations.odd_key, "ANN005"),
        (annotations.repeated_key, "ANN006"),
        (annotations.unit, "ANN007"),
        (boxes.outside, "BOX201"),
        (boxes.no_area, "BOX202"),
        (boxes.not_finite, "BOX203"),
        (labels.unnumbered, "LBL301"),
        (labels.odd_name, "LBL305"),
        (pictures.other_size, "IMG104"),
        (sides.leaked, "SPL402"),
        (records.damaged, "REC501"),
        (records.incomplete, "REC502"),
        (records.foreign, "REC503"),
        (records.ragged, "REC504"),
        (records.contrary, "REC505"),
        (records.unnamed, "REC507"),
    ],
)
def test_what_the_reader_found_is_told_under_its_code(
    rule: Callable[[Data], Iterable[Finding]], code: str, tmp_path: Path
) -> None:
    source = Dataset(root=tmp_path, format="", sources=(), declared=(), pictures=())
    every = sorted(
        {
            f"{family}{number}"
            for family in ("ANN00", "BOX20", "LBL30", "IMG10", "SPL40", "REC50")
            for number in range(1, 10)
        }
    )
    found = by_code([Rule(one, "info", "x").at(one, times) for one in every for times in "ab"])
    value = Data(source=source, dataset=source, found=found)
    assert list(rule(value)) == [Rule(code, "info", "x").at(code, times) for times in "ab"]
    assert not list(rule(Data(source=source, dataset=source)))


def test_a_missing_file_is_an_error_when_data_are_checked() -> None:
    found = by_code([Rule("ANN002", "warning", "x", "y").at("here", "seen")])
    assert told(annotations.missing_file, data(found=found)) == [("error", "here", "seen")]


def test_a_rule_is_registered_once_with_its_docstring_as_help(monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[str, RuleInfo] = {}
    monkeypatch.setattr(catalogue, "_RULES", known)

    def check(_value: object) -> Iterable[Finding]:
        """Say why.

        And what to do.
        """
        return ()

    assert catalogue.rule("MAP999", "info", "something is odd")(check) is check
    assert known["MAP999"] == RuleInfo(
        code="MAP999",
        severity="info",
        name="something is odd",
        help="Say why.\n\nAnd what to do.",
        subject="labelmap",
        check=check,
    )
    with pytest.raises(ValueError, match="two rules MAP999"):
        catalogue.rule("MAP999", "info", "another")(check)
    catalogue.rule("BOX999", "info", "no help")(lambda _: ())
    assert known["BOX999"].help == ""


# Boxes


@pytest.mark.parametrize(("side", "fires"), [(29.9, True), (30.0, False), (30.1, False)])
def test_a_box_is_small_below_the_smallest_anchor(side: float, fires: bool) -> None:  # noqa: FBT001
    small = box(0.1, 0.2, 0.1 + side / 600, 0.2 + side / 300 * 1.0000001, index=4)
    found = told(boxes.small, data(picture("a.jpg", small), images={"a.jpg": look(50, 80)}, model=MODEL))
    seen = f'"cat": 1 of 1 below 30 pixels, this one {side:.1f}'
    assert found == ([("warning", at("a.jpg", 4), seen)] if fires else [])


@pytest.mark.parametrize(("large", "fires"), [(18, True), (19, True), (20, False)])
def test_small_boxes_matter_from_a_twentieth_of_a_class(large: int, fires: bool) -> None:  # noqa: FBT001
    small = picture("a.jpg", box(0, 0, 0.04, 0.04))
    other = picture("b.jpg", *(box(0, 0, 0.5, 0.5, index=index) for index in range(large)))
    seen = {"a.jpg": look(), "b.jpg": look()}
    found = told(boxes.small, data(small, other, images=seen, model=MODEL))
    value = f'"cat": 1 of {large + 1} below 30 pixels, this one 17.0'
    assert found == ([("warning", at("a.jpg", 0), value)] if fires else [])


def test_small_boxes_are_told_by_class_and_the_smallest_is_named() -> None:
    found = [
        picture("a.jpg", box(0, 0, 0.04, 0.04, label="dog"), box(0, 0, 0.04, 0.04, index=1)),
        picture("b.jpg", box(0, 0, 0.03, 0.04, index=1), box(0, 0, 0.5, 0.5, label="cow", index=2)),
        picture("c.jpg", box(0, 0, 0.001, 0.001)),
        picture("d.jpg", box(0, 0, 0.001, 0.001)),
    ]
    seen = {"a.jpg": look(), "b.jpg": look(), "c.jpg": Look()}
    value = data(*found, images=seen, model=MODEL)
    assert told(boxes.small, value) == [
        ("warning", at("b.jpg", 1), '"cat": 2 of 2 below 30 pixels, this one 14.7'),
        ("warning", at("a.jpg", 0), '"dog": 1 of 1 below 30 pixels, this one 17.0'),
    ]
    assert not told(boxes.small, data(*found, images=seen))


def test_a_box_of_the_smallest_anchors_size_is_not_small() -> None:
    square = ModelFacts(
        name="",
        resizer="fixed_shape",
        size=(512, 512),
        anchors=(),
        smallest=256,
        max_boxes=1,
        batch=1,
        exports=(),
    )
    for edge, fires in ((0.5, False), (0.4999, True)):
        value = data(picture("a.jpg", box(0, 0, edge, 0.5)), images={"a.jpg": look()}, model=square)
        assert bool(told(boxes.small, value)) == fires


def test_the_side_of_a_box_is_that_of_a_square_of_its_area() -> None:
    small = picture("a.jpg", box(0.5, 0.25, 0.509, 0.75))
    (found,) = told(boxes.small, data(small, images={"a.jpg": look()}, model=MODEL))
    assert found[2].endswith(f"this one {math.sqrt(0.009 * 600 * 0.5 * 300):.1f}")


def test_pictures_are_resized_as_the_model_does() -> None:
    assert MODEL.resized(7, 9) == (600.0, 300.0)
    kept = ModelFacts(
        name="",
        resizer="keep_aspect_ratio",
        size=(300, 600),
        anchors=(),
        smallest=0,
        max_boxes=1,
        batch=1,
        exports=(),
    )
    assert kept.resized(150, 200) == (300, 400)
    assert kept.resized(200, 150) == (400, 300)
    assert kept.resized(300, 3000) == (60, 600)
    assert kept.resized(100, 200) == (300, 600)


def test_more_boxes_than_the_config_takes() -> None:
    value = data(many(3), many(4, key="b.jpg"), model=MODEL)
    assert told(boxes.many, value) == [("warning", at("b.jpg"), "4 boxes, limit 3")]
    assert not told(boxes.many, data(many(500)))


@pytest.mark.parametrize(("width", "same"), [(0.951, True), (0.95, False), (0.949, False)])
@pytest.mark.parametrize("turned", [False, True])
def test_two_boxes_are_one_region_above_ninety_five_percent(width: float, same: bool, turned: bool) -> None:  # noqa: FBT001
    edges = (0.0, 0.0, width, 1.0)
    second = box(*(edges[1::-1] + edges[:1:-1] if turned else edges), index=1)
    value = data(picture("a.jpg", box(0, 0, 1, 1, index=0), second))
    assert len(told(boxes.drawn_twice, value)) == same


@pytest.mark.parametrize(("shift", "same"), [(0.0125, True), (0.0129, False), (0.3, False)])
@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("back", [1, -1])
def test_shifted_boxes_are_one_region_by_their_overlap(shift: float, same: bool, down: bool, back: int) -> None:  # noqa: FBT001
    """Two boxes of half the picture that are shifted by s overlap by (0.5 - s) / (0.5 + s)."""
    by = shift * back
    moved = (0.25, 0.25 + by, 0.75, 0.75 + by) if down else (0.25 + by, 0.25, 0.75 + by, 0.75)
    value = data(picture("a.jpg", box(0.25, 0.25, 0.75, 0.75), box(*moved, index=1)))
    assert len(told(boxes.drawn_twice, value)) == same


@pytest.mark.parametrize(
    ("edges", "same"),
    [
        ((0.1196, 0.2, 0.5, 0.6), True),
        ((0.1204, 0.2, 0.5, 0.6), False),
        ((0.1, 0.2196, 0.5, 0.6), True),
        ((0.1001, 0.1794, 0.5, 0.6), True),
        ((0.1001, 0.1786, 0.5, 0.6), False),
    ],
)
def test_one_region_may_begin_before_the_other(edges: tuple[float, ...], same: bool) -> None:  # noqa: FBT001
    """By a twentieth of the larger box, to the left or above: so far apart are boxes compared at all."""
    value = data(picture("a.jpg", box(0.1, 0.2, 0.5, 0.6), box(*edges, index=1)))
    assert len(told(boxes.drawn_twice, value)) == same


def test_boxes_that_touch_or_miss_each_other_are_two() -> None:
    for other in ((0.5, 0, 1, 0.5), (0, 0.5, 0.5, 1), (0, 0.5000001, 0.5, 1), (0.6, 0.6, 1, 1)):
        assert not told(boxes.drawn_twice, data(picture("a.jpg", box(0, 0, 0.5, 0.5), box(*other, index=1))))


def test_a_box_far_above_another_is_not_in_its_place() -> None:
    """Though their left edges agree, and the upper one is so flat that it ends above the lower one's beginning."""
    flat = box(0.1, 0.48, 0.5, 0.481, index=1)
    assert not told(boxes.drawn_twice, data(picture("a.jpg", box(0.1, 0.5, 0.5, 0.99), flat)))


def test_boxes_whose_area_is_too_small_for_a_number_are_compared() -> None:
    tiny = [box(0, 0, 1e-200, 1e-200, index=index) for index in range(2)]
    assert not told(boxes.drawn_twice, data(picture("a.jpg", *tiny)))


def test_pairs_are_told_in_the_order_of_the_source_by_label() -> None:
    first, second = box(0.1, 0.1, 0.5, 0.5, index=2), box(0.1, 0.1, 0.5, 0.501, index=5)
    twin = picture("a.jpg", second, box(0.6, 0.6, 0.9, 0.9, index=3), first)
    assert told(boxes.drawn_twice, data(twin)) == [
        ("warning", at("a.jpg", 5), 'x=0.1, y=0.1, x2=0.5, y2=0.501, "cat"; like [2], "cat"')
    ]
    assert not told(boxes.two_labels, data(twin))
    named = picture("a.jpg", box(0.1, 0.1, 0.5, 0.5, index=2, label="dog"), second)
    assert told(boxes.two_labels, data(named)) == [
        ("warning", at("a.jpg", 5), 'x=0.1, y=0.1, x2=0.5, y2=0.501, "cat"; like [2], "dog"')
    ]
    assert not told(boxes.drawn_twice, data(named))


def test_each_box_is_told_with_the_next_one_in_its_place() -> None:
    found = picture("a.jpg", *(box(0.1, 0.1, 0.5, 0.5, index=index) for index in range(3)))
    assert [where for _, where, _ in told(boxes.drawn_twice, data(found))] == [at("a.jpg", 1), at("a.jpg", 2)]


@pytest.mark.parametrize(("between", "seen"), [(15, True), (16, False)])
def test_a_box_is_compared_with_so_many_neighbours(between: int, seen: bool) -> None:  # noqa: FBT001
    """In the order of their left edges; those between lie elsewhere."""
    tall = [box(0.1 + index / 1e5, 0.8, 0.12 + index / 1000, 0.9, index=index + 1) for index in range(between)]
    found = picture("a.jpg", box(0.1, 0.1, 0.5, 0.5), *tall, box(0.101, 0.1, 0.5, 0.5, index=99))
    assert (at("a.jpg", 99) in [where for _, where, _ in told(boxes.drawn_twice, data(found))]) == seen


@pytest.mark.parametrize(
    ("edges", "fires"),
    [
        ((0, 0, 0.99, 0.99), True),
        ((0, 0, 0.98999, 1), False),
        ((0, 0, 1, 0.98999), False),
        ((0.01, 0, 1, 1), True),
        ((0, 0.01, 1, 1), True),
        ((0.0101, 0, 1, 1), False),
        ((0, 0.0101, 1, 1), False),
    ],
)
def test_a_box_is_the_whole_picture_from_ninety_nine_percent(edges: tuple[float, ...], fires: bool) -> None:  # noqa: FBT001
    found = told(boxes.suspicious, data(picture("a.jpg", box(*edges, index=3))))
    shown = ", ".join(f"{name}={edge:.6g}" for name, edge in zip(("x", "y", "x2", "y2"), edges, strict=True))
    assert found == ([("info", at("a.jpg", 3), f'{shown}, "cat"')] if fires else [])


@pytest.mark.parametrize("times", [9, 10, 11])
def test_a_box_is_stamped_from_ten_pictures(times: int) -> None:
    found = [picture(f"{number:02d}.jpg", box(0.1, 0.1, 0.5, 0.5, index=1)) for number in range(times)]
    seen = f'x=0.1, y=0.1, x2=0.5, y2=0.5, "cat"; on {times} pictures'
    assert told(boxes.suspicious, data(picture("-.jpg"), *found)) == (
        [("info", at("00.jpg", 1), seen)] if times >= 10 else []
    )


def test_a_stamp_counts_pictures_and_whole_pictures_are_none() -> None:
    twice = [box(0.1, 0.1, 0.5, 0.5, index=index) for index in range(2)]
    assert not told(boxes.suspicious, data(*(picture(f"{number}.jpg", *twice) for number in range(9))))
    whole = [picture(f"{number}.jpg", box(0, 0, 1, 1)) for number in range(12)]
    assert len(told(boxes.suspicious, data(*whole))) == 12


def test_specks_are_told_in_pixels_of_the_file() -> None:
    found = picture("a.jpg", box(0, 0, 0.009, 0.5, index=2), box(0, 0, 0.5, 0.5, index=3))
    value = data(found, picture("b.jpg", box(0, 0, 0.0001, 0.5)), images={"a.jpg": look(), "c.jpg": look()})
    assert told(boxes.no_area, value) == [("error", at("a.jpg", 2), 'x=0, y=0, x2=0.009, y2=0.5, "cat"')]
    assert not told(boxes.no_area, data(found, images={"a.jpg": Look(digest="d")}))


TURNED = {"BOX202": (Rule("BOX202", "error", "x").at("y"),)}


@pytest.mark.parametrize(
    ("turned", "upright", "fires"), [(1, 9, True), (1, 8, False), (1, 10, False), (2, 18, True), (0, 10, False)]
)
def test_boxes_look_like_sizes_from_a_tenth_of_ten(turned: int, upright: int, fires: bool) -> None:  # noqa: FBT001
    every = [box(0.5, 0.1, 0.3, 0.5)] * turned + [box(0.1, 0.1, 0.3, 0.5)] * upright
    found = told(boxes.units, data(picture("a.jpg", *every), found=TURNED))
    value = f"{turned} of {turned + upright} boxes are the wrong way round"
    assert found == ([("warning", "annotations", value)] if fires else [])


@pytest.mark.parametrize(
    ("odd", "fires"),
    [
        ((0.5, 0.1, 0.5, 0.1), True),
        ((0.1, 0.5, 0.1, 0.5), True),
        ((0.0, 0.0, 1.0, 1.0), True),
        ((0.2, 0.0, 0.8009, 1.0), True),
        ((0.2, 0.0, 0.8011, 1.0), False),
        ((0.0, 0.2, 1.0, 0.8011), False),
        ((0, 0, 0, 1), False),
        ((0, 0, 1, 0), False),
        ((-0.01, 0, 1, 1), False),
        ((0, -0.01, 1, 1), False),
        ((0, 0, -0.1, 1), False),
    ],
)
def test_every_box_must_fit_as_a_size(odd: tuple[float, ...], fires: bool) -> None:  # noqa: FBT001
    every = [box(0.5, 0.1, 0.3, 0.5), box(0.1, 0.5, 0.5, 0.3), *[box(0.1, 0.1, 0.3, 0.5)] * 8, box(*odd)]
    assert bool(told(boxes.units, data(picture("a.jpg", *every), found=TURNED))) == fires
    assert not told(boxes.units, data(picture("a.jpg", *every)))


def test_boxes_without_area_are_not_the_wrong_way_round() -> None:
    upright = [box(0.1, 0.1, 0.3, 0.5)] * 9
    for flat in (box(0.1, 0.1, 0.1, 0.5), box(0.1, 0.1, 0.3, 0.1)):
        assert not told(boxes.units, data(picture("a.jpg", flat, *upright), found=TURNED))


# Labels


def test_labels_declared_twice_unused_and_undeclared() -> None:
    value = data(
        picture("a.jpg", box(0, 0, 1, 1, label="cat"), box(0, 0, 1, 1, label="dgo"), box(0, 0, 1, 1, label="ant")),
        declared=("cat", "dog", "dog", "cow"),
    )
    assert told(labels.declared, value) == [
        ("warning", "labels", '"dog"'),
        ("warning", "labels", '"dog"'),
        ("warning", "labels", '"cow"'),
        ("warning", "labels", '"ant"'),
        ("warning", "labels", '"dgo"'),
    ]
    assert [one.message for one in labels.declared(value)][:2] == [
        "a label is declared twice",
        "a declared label has no box and is left out",
    ]
    assert not told(labels.declared, data(many(1)))


def test_labels_that_are_not_declared_are_told_in_order() -> None:
    value = data(*(many(1, label) for label in "hgfedcba"), declared=("cat", *"hgfedcba"[4:]))
    assert [seen for _, _, seen in told(labels.declared, value)] == ['"cat"', '"e"', '"f"', '"g"', '"h"']


def test_the_nearest_known_label_is_offered() -> None:
    for label, known, hint in (
        ("catt", "Cats", '; did you mean "Cats"?'),
        ("c", "cats", ""),
        ("abcd", "abcx", '; did you mean "abcx"?'),
        ("abcd", "abxx", ""),
    ):
        value = data(many(1, label), declared=(known,))
        assert ("warning", "labels", f'"{label}"{hint}') in told(labels.declared, value)
    value = data(many(1, "cats"), declared=("catz", "cat"))
    assert ("warning", "labels", '"cats"; did you mean "cat"?') in told(labels.declared, value)


def test_labels_without_a_number() -> None:
    value = data(many(2, "dog"), many(1, "cat"), many(1, "ape"), label_map={"cat": 1, "dogs": 2})
    assert told(labels.unnumbered, value) == [
        ("error", "labels", '"ape", 1 boxes'),
        ("error", "labels", '"dog", 2 boxes; did you mean "dogs"?'),
    ]
    assert not told(labels.unnumbered, data(many(1)))


def test_labels_that_are_nearly_the_same() -> None:
    value = data(*(many(1, label) for label in ("cat", "Cat ", "\u00e9", "e\u0301", "dog", "CAT")))
    assert told(labels.alike, value) == [
        ("warning", "labels", '"CAT", "Cat "'),
        ("warning", "labels", '"CAT", "cat"'),
        ("warning", "labels", '"e\u0301", "\u00e9"'),
    ]


@pytest.mark.parametrize(
    ("count", "severity"), [(1, "warning"), (9, "warning"), (10, "info"), (49, "info"), (50, "")]
)
def test_few_boxes_of_a_label(count: int, severity: str) -> None:
    value = data(many(count), many(60, "dog"))
    assert told(labels.few, value) == ([(severity, "labels", f'"cat" has {count}')] if severity else [])


def test_labels_with_few_boxes_stand_in_their_declared_order() -> None:
    value = data(many(1, "cat"), many(1, "dog"), many(1, "ape"), declared=("dog", "cat", "cow"))
    assert [seen for _, _, seen in told(labels.few, value)] == ['"dog" has 1', '"cat" has 1', '"ape" has 1']


@pytest.mark.parametrize(("count", "fires"), [(100, False), (101, True)])
def test_labels_are_uneven_above_fifty_times(count: int, fires: bool) -> None:  # noqa: FBT001
    value = data(many(2, "dog"), many(count, "cat"), many(50, "cow"))
    seen = f'"cat" has {count}, "dog" has 2'
    assert told(labels.uneven, value) == ([("info", "labels", seen)] if fires else [])
    assert not told(labels.uneven, data())


def test_labels_with_odd_characters() -> None:
    value = data(*(many(1, label) for label in ("plain", "f\\", "b ", 'e"', "c\n", "g\x07h", "d'", " a", "what?")))
    assert told(labels.odd_name, value) == [
        ("warning", "labels", '" a"'),
        ("warning", "labels", '"b "'),
        ("warning", "labels", '"c\\n"'),
        ("warning", "labels", '"c\\n"'),
        ("info", "labels", '"d\'"'),
        ("info", "labels", '"e\\""'),
        ("info", "labels", '"f\\\\"'),
        ("warning", "labels", '"g\\u0007h"'),
    ]


def test_all_that_is_said_of_labels_before_pictures_are_opened() -> None:
    source = data(many(1, "cat"), many(1, "Cat"), many(1, "d'"), declared=("cow",)).source
    assert {one.code for one in labels.check(source)} == {"ANN004", "LBL302", "LBL303", "LBL305"}


# Pictures


def looks(rule: Callable[[Data], Iterable[Finding]], seen: Look, key: str = "a.jpg", **fields: Any) -> Told:
    """Tell what a rule finds in a picture with a box, and nothing where its file is unusable or unseen."""
    shown = picture(key, box(0.1, 0.1, 0.5, 0.5), **fields)
    unusable = Look(info=seen.info, digest="d", kind=seen.kind, problem=Rule("IMG999", "error", "x"))
    for other in ({key: unusable}, {}):
        assert not told(rule, data(shown, images=other))
    return told(rule, data(picture("other.jpg"), shown, images={key: seen}))


@pytest.mark.parametrize(
    ("rule", "code"), [(pictures.damaged, "IMG101"), (pictures.other_format, "IMG102"), (pictures.huge, "IMG106")]
)
def test_why_a_file_cannot_be_used_is_told_under_its_code(
    rule: Callable[[Data], Iterable[Finding]], code: str
) -> None:
    seen = {f"{one}.jpg": Look(problem=Rule(one, "error", "x")) for one in ("IMG101", "IMG102", "IMG106")} | {
        "good.jpg": look()
    }
    every = [picture("unseen.jpg"), *(picture(key) for key in seen)]
    assert told(rule, data(*every, images=seen)) == [("error", at(f"{code}.jpg"), "")]


@pytest.mark.parametrize(
    ("key", "kind", "fires"),
    [
        ("a.jpg", "jpeg", False),
        ("a.JPEG", "jpeg", False),
        ("a.jfif", "png", True),
        ("a.jpe", "jpeg", False),
        ("a.jpg", "png", True),
        ("a.png", "jpeg", True),
        ("a.PNG", "png", False),
        ("a.bmp", "png", False),
        ("jpg", "png", True),
        ("a.png.tif", "jpeg", False),
    ],
)
def test_names_that_say_another_format(key: str, kind: str, fires: bool) -> None:  # noqa: FBT001
    expected = [("warning", at(key), f"is {kind.upper()}")] if fires else []
    assert looks(pictures.other_format, look(kind=kind), key=key) == expected


def test_an_orientation_matters_where_there_are_boxes() -> None:
    assert looks(pictures.turned_view, look(orientation=2)) == [("error", at("a.jpg"), "orientation 2")]
    assert not looks(pictures.turned_view, look())
    assert not told(pictures.turned_view, data(picture("a.jpg"), images={"a.jpg": look(orientation=2)}))
    assert not told(pictures.turned_view, data(many(1), images={"a.jpg": Look()}))


def test_sizes_may_be_recorded_upright_or_as_stored() -> None:
    for size, orientation, fires in (
        ((40, 30), 1, False),
        ((30, 40), 1, True),
        ((30, 40), 6, False),
        ((40, 30), 6, False),
        ((40, 31), 6, True),
        (None, 1, False),
    ):
        expected = (
            [("error", at("a.jpg"), f"recorded {size[0]} x {size[1]}, is 40 x 30")] if fires and size else []
        )
        assert looks(pictures.other_size, look(40, 30, orientation=orientation), size=size) == expected
    inside = Span(file="s", offset=0, length=1)
    shown = picture("a.jpg", size=(1, 1), span=inside)
    sound = picture("c.jpg", size=(1, 1))
    seen = {"a.jpg": look(), "b.jpg": Look(), "c.jpg": look()}
    value = data(shown, picture("b.jpg", size=(1, 1)), sound, images=seen)
    assert [where for _, where, _ in told(pictures.other_size, value)] == [at("c.jpg")]


def test_only_jpeg_of_four_colours_is_in_those_of_print() -> None:
    assert looks(pictures.colours, look(channels=4)) == [("warning", at("a.jpg"), "")]
    assert not looks(pictures.colours, look(channels=3))
    assert not looks(pictures.colours, look(channels=5))
    assert not looks(pictures.colours, look(channels=4, kind="png"))


@pytest.mark.parametrize(("height", "fires"), [(5000, False), (5001, True)])
def test_a_picture_is_huge_above_twenty_five_million_pixels(height: int, fires: bool) -> None:  # noqa: FBT001
    expected = [("warning", at("a.jpg"), f"5000 x {height}")] if fires else []
    assert looks(pictures.huge, look(5000, height)) == expected
    assert bool(looks(pictures.huge, look(24_995_000 + height, 1))) == fires


@pytest.mark.parametrize(
    ("width", "height", "fires"),
    [
        (32, 40, False),
        (31, 40, True),
        (40, 31, True),
        (32, 160, False),
        (32, 161, True),
        (161, 32, True),
        (31, 900, True),
    ],
)
def test_a_picture_is_tiny_or_long(width: int, height: int, fires: bool) -> None:  # noqa: FBT001
    value = data(many(1), images={"a.jpg": look(width, height)}, model=MODEL)
    found = told(pictures.odd_shape, value)
    assert found == ([("warning", at("a.jpg"), f"{width} x {height}")] if fires else [])
    short = [one.message for one in pictures.odd_shape(value) if "shorter than 32" in one.message]
    assert bool(short) == (min(width, height) < 32)
    kept = ModelFacts(
        name="", resizer="keep_aspect_ratio", size=(1, 1), anchors=(), smallest=0, max_boxes=1, batch=1, exports=()
    )
    for model in (None, kept):
        other = data(many(1), images={"a.jpg": look(width, height)}, model=model)
        assert bool(told(pictures.odd_shape, other)) == bool(short)


def test_a_picture_whose_header_is_unknown_breaks_no_rule_of_sizes() -> None:
    bare = Look(digest="d", kind="jpeg")
    for rule in (
        pictures.turned_view,
        pictures.other_size,
        pictures.colours,
        pictures.huge,
        pictures.odd_shape,
        pictures.oddity,
    ):
        assert not told(rule, data(many(1, size=(1, 1)), images={"a.jpg": bare}, model=MODEL))
    # Those behind it are still looked at.
    value = data(many(1), many(1, key="b.jpg"), images={"a.jpg": bare, "b.jpg": look(9, 9)})
    assert told(pictures.odd_shape, value) == [("warning", at("b.jpg"), "9 x 9")]


def test_equal_files_on_one_side() -> None:
    every = [picture(key) for key in ("a", "b", "c", "d", "e", "f")]
    every[4] = picture("e", split="train")
    seen = {
        "a": look(digest="1"),
        "b": look(digest="2"),
        "c": look(digest="1"),
        "d": look(digest=""),
        "e": look(digest="1"),
    }
    assert told(pictures.duplicate, data(*every, images=seen | {"g": look(digest="")})) == [
        ("warning", at("c"), 'same as "a"')
    ]
    none = [picture(key) for key in "xy"]
    assert not told(pictures.duplicate, data(*none, images={"x": look(digest=""), "y": look(digest="")}))
    assert not told(pictures.duplicate, data(*none))


def test_pictures_that_look_alike_but_are_not_one_file() -> None:
    bits = {"a": 0, "b": 0b1111, "c": 0b11111, "d": 0, "e": None, "f": 2**63}
    seen = {key: Look(digest=key if key != "d" else "a", bits=one) for key, one in bits.items()}
    assert told(pictures.near_duplicate, data(*map(picture, [*bits, "g"]), images=seen)) == [
        ("info", at("b"), 'like "a"'),
        ("info", at("c"), 'like "b"'),
        ("info", at("f"), 'like "a"'),
    ]


def test_oddities_of_files() -> None:
    assert looks(pictures.oddity, look(warnings=("one", "two"))) == [
        ("info", at("a.jpg"), "one"),
        ("info", at("a.jpg"), "two"),
    ]


# Sides

TRAIN, VALIDATION = (many(1, key=f"{side}.jpg", split=side) for side in sides.SIDES)


def split(train: int, validation: int) -> Split:
    return Split(
        train=tuple(many(1, key=f"t{number}.jpg") for number in range(train)),
        validation=tuple(many(1, key=f"v{number}.jpg") for number in range(validation)),
    )


def test_a_class_that_is_missing_from_a_side() -> None:
    value = data(
        TRAIN,
        VALIDATION,
        many(1, "dog", key="d.jpg", split="train"),
        many(1, "ape", key="e.jpg", split="test"),
        split=split(1, 1),
        given=True,
    )
    assert told(sides.missing, value) == [
        ("error", "train", '"ape"'),
        ("error", "validation", '"ape"'),
        ("error", "validation", '"dog"'),
    ]
    assert not told(sides.missing, data(TRAIN, given=True))
    made = data(TRAIN, many(1, "dog", key="d.jpg"), split=Split(train=(TRAIN,), validation=(many(1, "dog"),)))
    assert told(sides.missing, made) == [("warning", "train", '"dog"'), ("warning", "validation", '"cat"')]


def test_one_file_or_group_on_two_sides() -> None:
    side: Sequence[SplitName] = ("train", "validation", "validation", "", "train")
    every = [picture(key, split=name, group="g") for key, name in zip("abcde", side, strict=True)]
    other = [
        picture("x", split="train", group="h"),
        picture("y", split="train", group="h"),
        picture("z", split="validation"),
    ]
    seen = {key: look(digest="1") for key in "abcde"} | {"x": look(digest="2"), "z": look(digest="")}
    value = data(*every, *other, images=seen)
    expected = '2 in train and 2 in validation, such as "b"'
    assert told(sides.leaked, value) == [("error", at("a"), expected)]
    assert told(sides.divided_group, value) == [("warning", at("a"), expected)]
    turned = [picture("b", split="validation", group="g"), picture("a", split="train", group="g")]
    assert told(sides.divided_group, data(*turned)) == [
        ("warning", at("b"), '1 in train and 1 in validation, such as "a"')
    ]
    empty = [picture("p", split="train"), picture("q", split="validation")]
    assert not told(sides.leaked, data(*empty, images={key: look(digest="") for key in "pq"}))
    assert not told(sides.leaked, data(*empty))
    assert not told(sides.divided_group, data(*empty))


@pytest.mark.parametrize(
    ("train", "validation", "expected"),
    [
        (19, 1, [("info", "validation", "1 pictures")]),
        (20, 1, [("warning", "validation", "1 of 21 pictures")]),
        (100, 19, [("info", "validation", "19 pictures")]),
        (100, 20, []),
        (100, 0, []),
        (1980, 20, [("warning", "validation", "20 of 2,000 pictures")]),
        (380, 20, []),
        (381, 20, [("warning", "validation", "20 of 401 pictures")]),
    ],
)
def test_few_pictures_validate(train: int, validation: int, expected: Told) -> None:
    assert told(sides.thin, data(split=split(train, validation))) == expected


def test_a_side_that_is_shared_or_unknown_is_not_thin() -> None:
    shared = (TRAIN,)
    assert not told(sides.thin, data(split=Split(train=shared, validation=shared)))
    assert not told(sides.thin, data())
    assert not told(sides.empty, data())


def test_sides_that_are_empty_or_shared() -> None:
    assert told(sides.empty, data(TRAIN, split=split(2, 1))) == [("warning", "validation", "")]
    assert told(sides.empty, data(VALIDATION, split=split(2, 1))) == [("warning", "train", "")]
    assert not told(sides.empty, data(TRAIN, split=split(2, 1), given=True))
    assert not told(sides.empty, data(many(1), many(1, split="test"), split=split(2, 1)))
    shared = (many(1), many(1))
    assert told(sides.empty, data(many(1), split=Split(train=shared, validation=shared))) == [
        ("warning", "train, validation", "2 of one content")
    ]


@pytest.mark.parametrize(("train", "fires"), [(0, False), (1, True), (7, True), (8, False)])
def test_fewer_pictures_than_a_batch(train: int, fires: bool) -> None:  # noqa: FBT001
    expected = [("info", "train", f"{train} pictures, batch 8")] if fires else []
    assert told(sides.empty, data(split=split(train, 1), given=True, model=MODEL)) == expected
    assert not told(sides.empty, data(split=split(train, 1), given=True))


# Records


def test_recorded_sizes_are_those_of_the_picture() -> None:
    every = [
        picture("a", size=(40, 30)),
        picture("b", size=(30, 40)),
        picture("c"),
        picture("d", size=(1, 1)),
        picture("e", size=(1, 1)),
        picture("f", size=(40, 31)),
    ]
    seen = {"a": look(40, 30), "b": look(40, 30), "c": look(), "e": Look(), "f": look(40, 30)}
    assert told(records.other_size, data(*every, images=seen)) == [
        ("error", at("b"), "recorded 30 x 40, is 40 x 30"),
        ("error", at("f"), "recorded 40 x 31, is 40 x 30"),
    ]


@pytest.fixture
def converted(tmp_path: Path) -> Converted:
    """Return a conversion of six pictures, four of which train."""
    box_of = {"x": 0.1, "y": 0.1, "x2": 0.5, "y2": 0.5, "label": "cat"}
    source = {f"{number}.jpg": [box_of] for number in range(6)}
    for number, key in enumerate(source):
        write(tmp_path / "in", key, jpeg(seed=number))
    text = json.dumps({"type": "localization", "labels": ["cat"], "annotations": source})
    write(tmp_path / "in", "_annotations.json", text.encode())
    return convert(tmp_path / "in", tmp_path / "out", Policies(validation=0.34), lambda _: None)


def test_a_file_is_told_as_changed_only_where_nothing_else_is_told_of_it(converted: Converted) -> None:
    shard = converted.folder / "train-00000-of-00001.record"
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    converted.label_map.write_bytes(converted.label_map.read_bytes() + b"\n")
    (converted.folder / "validation-00000-of-00001.record").write_bytes(b"")
    report = check([converted.folder], Options(jobs=1))
    told = [(one.message, one.where) for one in report.findings if one.code == "REC501"]
    assert ("a record is damaged", f"{shard.name}, record 0") in told
    assert [
        where for message, where in told if message == "a file of a conversion is not the one that was written"
    ] == ['"label_map.pbtxt"']


def test_what_the_index_counts_and_no_record_holds(converted: Converted) -> None:
    train = converted.train
    more = replace(train, pictures=train.pictures + 1, classes={**train.classes, "cow": 2})
    save(replace(converted, train=more), Policies())
    report = check([converted.folder], Options(jobs=1))
    assert [(one.where, one.value) for one in report.findings if one.code == "REC509"] == [
        ("train", f"pictures: {train.pictures} instead of {train.pictures + 1}"),
        ("train", '"cow": 0 instead of 2'),
    ]


@pytest.mark.parametrize(("count", "fires"), [(8, False), (9, True)])
def test_shards_are_uneven_above_four_times(count: int, fires: bool) -> None:  # noqa: FBT001
    def inside(shard: str, times: int, side: SplitName = "train") -> list[Picture]:
        span = Span(file=shard, offset=0, length=1)
        return [picture(f"{shard}{number}", span=span, split=side) for number in range(times)]

    value = data(
        *inside("a", count), *inside("b", 2), *inside("c", 5), *inside("d", 1, "validation"), picture("x")
    )
    assert told(records.uneven, value) == ([("info", '"a"', f'{count} records, "b" has 2')] if fires else [])


# Label maps


def label_map(*items: tuple[str, int | None], declared: Sequence[str] = ()) -> LabelMap:
    made = tuple(Item(name=name, id=number) for name, number in items)
    return LabelMap(path=Path("folder/labels.pbtxt"), items=made, declared=tuple(declared))


def test_a_label_map_is_numbered_from_one() -> None:
    assert told(labelmaps.numbering, label_map()) == [("error", "labels.pbtxt", "")]
    assert not told(labelmaps.numbering, label_map(("cat", 1), ("dog", 2)))
    assert told(labelmaps.numbering, label_map(("cat", 0), ("dog", 1))) == [("error", "item[0]", '"cat", 0')]
    assert told(labelmaps.numbering, label_map(("dog", 1), ("cat", None))) == [
        ("error", "item[1]", '"cat", no id')
    ]
    assert told(labelmaps.numbering, label_map(("cat", -1))) == [("error", "item[0]", '"cat", -1')]
    assert told(labelmaps.numbering, label_map(("", 1))) == [("error", "item[0]", "")]


def test_only_the_background_may_have_the_number_zero() -> None:
    assert not told(labelmaps.numbering, label_map(("background", 0), ("cat", 1)))
    assert told(labelmaps.numbering, label_map(("background", None)))
    assert told(labelmaps.numbering, label_map(("background", -1)))
    shown = LabelMap(path=Path("x"), items=(Item(name="/m/0", id=0, display_name="background"),))
    assert not told(labelmaps.numbering, shown)


def test_a_number_or_a_name_that_stands_twice() -> None:
    assert told(labelmaps.numbering, label_map(("cat", 1), ("dog", 1), ("cow", 2))) == [
        ("error", "item", '1: "cat", "dog"')
    ]
    assert told(labelmaps.numbering, label_map(("cat", 1), ("dog", 2), ("cat", 3))) == [("error", "item", '"cat"')]
    twice = told(labelmaps.numbering, label_map(("", None), ("", None)))
    assert [where for _, where, _ in twice] == ["item[0]", "item[0]", "item[1]", "item[1]"]


def test_gaps_in_the_numbers() -> None:
    assert told(labelmaps.numbering, label_map(("cat", 1), ("dog", 3), ("cow", 7))) == [
        ("warning", "item", "4 of 1 to 7 are missing, the first is 2")
    ]
    assert told(labelmaps.numbering, label_map(("cat", 2))) == [
        ("warning", "item", "1 of 1 to 2 are missing, the first is 1")
    ]
    assert not told(labelmaps.numbering, label_map(("background", 0), ("cat", 1)))
    assert told(labelmaps.numbering, label_map(("background", 0), ("cat", 2))) == [
        ("warning", "item", "1 of 1 to 2 are missing, the first is 1")
    ]


def test_the_order_of_a_label_map() -> None:
    assert not told(labelmaps.order, label_map(("cat", 1), ("dog", 2)))
    assert told(labelmaps.order, label_map(("cat", 1), ("dog", 3), ("cow", 2))) == [
        ("warning", "item[2]", "2 after 3")
    ]
    assert not told(labelmaps.order, label_map(("cat", 2), ("dog", 1), ("cow", 1)))
    assert not told(labelmaps.order, label_map(("cat", 1), ("dog", None), ("cow", 2)))


def test_numbers_follow_the_alphabet_or_what_is_declared() -> None:
    items = (("dog", 1), ("ape", 2), ("cat", 3))
    wrong = [("warning", "item", '"dog", "ape", "cat"')]
    assert told(labelmaps.order, label_map(*items, declared=("cat", "ape", "dog"))) == wrong
    assert not told(labelmaps.order, label_map(*items, declared=("dog", "dog", "ape", "cat")))
    assert not told(labelmaps.order, label_map(*items, declared=("dog", "cow", "ape", "cat")))
    assert not told(labelmaps.order, label_map(*items, declared=("dog", "ape")))
    assert told(labelmaps.order, label_map(*items, declared=("cat", "dog", "pig"))) == wrong
    assert not told(labelmaps.order, label_map(("ape", 1), ("cat", 2), ("dog", 3), declared=("cat", "dog", "ape")))
    assert not told(labelmaps.order, label_map(*items))
    long = [(name, number) for number, name in enumerate("badcfe", 1)]
    assert told(labelmaps.order, label_map(*long, declared="fedcba")) == [
        ("warning", "item", '"b", "a", "d", "c", "f"')
    ]
    unnumbered = (("ape", 1), ("dog", None))
    assert told(labelmaps.order, label_map(*unnumbered, declared=("cat", "ape", "dog"))) == [
        ("warning", "item", '"dog", "ape"')
    ]


def test_numbers_by_name_leave_out_what_has_none() -> None:
    assert label_map(("cat", 1), ("dog", None), ("cat", 3)).numbers == {"cat": 3}
