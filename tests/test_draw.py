"""The sheet of pictures shows what it is asked to show."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from odbuild.trainer import draw

fractions = st.floats(-0.5, 1.5)
marks = st.builds(
    draw.Mark,
    box=st.tuples(fractions, fractions, fractions, fractions),
    caption=st.text(max_size=12),
    colour=st.sampled_from([draw.GROUND_TRUTH, draw.DETECTION]),
)


def a_picture(folder: Path, width: int, height: int) -> Path:
    path = folder / "picture.png"
    Image.new("RGB", (width, height), "#808080").save(path)
    return path


@given(boxes=st.lists(marks, max_size=4), width=st.integers(1, 700), height=st.integers(1, 700))
def test_any_box_and_caption_can_be_drawn(
    tmp_path_factory: object, boxes: list[draw.Mark], width: int, height: int
) -> None:
    folder = Path(tmp_path_factory.mktemp("draw"))  # type: ignore[attr-defined]
    scene = draw.Scene(picture=a_picture(folder, width, height), marks=tuple(boxes))
    draw.sheet([scene] * 4, folder / "sheet.png", "four")
    with Image.open(folder / "sheet.png") as sheet:
        assert sheet.width == 3 * draw.SIDE
        assert draw.CAPTION < sheet.height <= 2 * draw.SIDE + draw.CAPTION


def test_a_box_is_drawn_where_it_lies(tmp_path: Path) -> None:
    mark = draw.Mark(box=(0.25, 0.5, 0.75, 1.0), caption="", colour=draw.DETECTION)
    scene = draw.Scene(picture=a_picture(tmp_path, 400, 200), marks=(mark,))
    draw.sheet([scene], tmp_path / "sheet.png", "one")
    with Image.open(tmp_path / "sheet.png") as sheet:
        red = tuple(int(draw.DETECTION[i : i + 2], 16) for i in (1, 3, 5))
        assert sheet.getpixel((200, draw.CAPTION + 100)) == red
        assert sheet.getpixel((100, draw.CAPTION + 100)) == (128, 128, 128)
