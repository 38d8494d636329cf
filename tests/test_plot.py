"""The picture: well-formed and hostile-safe, the same shapes as SVG and as PNG, labels apart."""

import io
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from odbuild import plot

SERIES = (plot.Series(name="a", colour="#ff0000"), plot.Series(name="b", colour="#0000ff", filled=False))
SVG = "{http://www.w3.org/2000/svg}"

points = st.lists(
    st.builds(
        plot.Point,
        ms=st.floats(0.5, 5000),
        map=st.floats(0, 100),
        label=st.text(max_size=40),
        series=st.sampled_from(SERIES),
        chosen=st.booleans(),
    ),
    max_size=30,
    unique=True,
)


def elements(drawn: Sequence[plot.Point], name: str) -> list[ET.Element]:
    return list(ET.fromstring(plot.svg(drawn)).iter(f"{SVG}{name}"))  # noqa: S314  our own


@given(points)
def test_any_label_leaves_a_well_formed_picture_that_runs_nothing(drawn: list[plot.Point]) -> None:
    tags = {element.tag.removeprefix(SVG) for element in ET.fromstring(plot.svg(drawn)).iter()}  # noqa: S314
    assert tags <= {"svg", "rect", "line", "circle", "title", "text"}


@given(points)
def test_every_point_is_drawn_inside(drawn: list[plot.Point]) -> None:
    titles = {element.text or "" for element in elements(drawn, "title")}
    assert all(any(f"{point.ms:g} ms, mAP {point.map:g}" in title for title in titles) for point in drawn)
    for circle in elements(drawn, "circle"):
        assert 0 <= float(circle.attrib["cx"]) <= plot.WIDTH
        assert 0 <= float(circle.attrib["cy"]) <= plot.HEIGHT


@given(points)
def test_labels_do_not_overlap(drawn: list[plot.Point]) -> None:
    at = {point: plot._Axes.around(drawn).place(point) for point in drawn}
    boxes = [plot._box(shape) for shape in plot._labels(at) if isinstance(shape, plot.Text) and shape.text]
    assert not any(plot._overlap(a, b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_a_label_is_text_and_nothing_else() -> None:
    label = "<script>&\"'\x00\u202e</script>"
    drawn = [plot.Point(ms=10, map=20, label=label, series=SERIES[0])]
    assert "<script>&\"'</script>" in [element.text for element in elements(drawn, "text")]
    assert "<script" not in plot.svg(drawn)


def test_the_png_has_the_colours_of_the_series_and_of_the_chosen_one() -> None:
    drawn = [
        plot.Point(ms=10, map=20, label="one", series=SERIES[0]),
        plot.Point(ms=100, map=40, label="two", series=SERIES[1], chosen=True),
    ]
    with Image.open(io.BytesIO(plot.png(drawn))) as picture:
        assert picture.size == (plot.WIDTH, plot.HEIGHT)
        colours = {colour for _, colour in picture.convert("RGB").getcolors(maxcolors=1 << 24) or ()}
    assert {(255, 0, 0), (0, 0, 255)} <= colours


def test_the_fastest_is_on_the_left_and_the_best_on_top() -> None:
    slow = plot.Point(ms=100, map=20, label="slow", series=SERIES[0])
    good = plot.Point(ms=10, map=40, label="good", series=SERIES[0])
    axes = plot._Axes.around([slow, good])
    assert axes.place(good) < axes.place(slow)
    assert axes.place(good)[1] < axes.place(slow)[1]
