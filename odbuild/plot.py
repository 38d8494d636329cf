"""Draw speed against mAP: one list of shapes, written as SVG with the standard library or as PNG with Pillow."""

import html
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import product
from typing import TypeAlias

WIDTH, HEIGHT = 1200, 800
LEFT, RIGHT, TOP, BOTTOM = 70, 30, 60, 60
SIZE, RADIUS = 11, 5
INK, GRID, PAPER, CHOSEN = "#333333", "#dddddd", "#ffffff", "#d62728"
CHARACTER = 0.56
"""Width of a character as a share of the size of the text: of a sans serif, on the generous side."""

TICKS = tuple(step * 10**power for power in range(-1, 5) for step in (1, 2, 5))

Box: TypeAlias = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """Points that are told apart: how the legend calls them, their colour, and whether they are filled."""

    name: str
    colour: str
    filled: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A dot of the picture: ms above 0 on a logarithmic axis, mAP 0..100, its name and its series."""

    ms: float
    map: float
    label: str
    series: Series
    chosen: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A straight line between two places, in pixels from the upper left corner."""

    start: tuple[float, float]
    end: tuple[float, float]
    colour: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Dot:
    """A circle; `title` is what a browser shows for it."""

    at: tuple[float, float]
    radius: float
    colour: str
    fill: str
    title: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """A line of text whose middle line begins, lies or ends at a place: anchor `start`, `middle` or `end`."""

    at: tuple[float, float]
    text: str
    colour: str = INK
    size: int = SIZE
    anchor: str = "start"


Shape: TypeAlias = Line | Dot | Text


def svg(points: Sequence[Point]) -> str:
    """Return the scatter as an SVG page; whatever a label holds, it stays text."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" font-family="sans-serif">\n<rect width="100%" height="100%" fill="{PAPER}"/>\n'
    )
    return head + "".join(f"{_element(shape)}\n" for shape in _shapes(points)) + "</svg>\n"


def png(points: Sequence[Point]) -> bytes:
    """Return the scatter as a PNG of the same size."""
    from PIL import Image, ImageDraw, ImageFont

    scale = 2  # Pillow draws edges without blending: draw large, then shrink
    picture = Image.new("RGB", (WIDTH * scale, HEIGHT * scale), PAPER)
    pen = ImageDraw.Draw(picture)
    for shape in _shapes(points):
        match shape:
            case Line(start=start, end=end):
                pen.line([_scaled(start, scale), _scaled(end, scale)], shape.colour, scale)
            case Dot(at=at, radius=radius):
                pen.circle(_scaled(at, scale), radius * scale, shape.fill, shape.colour, 2 * scale)
            case Text(at=at, size=size):
                anchor = {"start": "lm", "middle": "mm", "end": "rm"}[shape.anchor]
                font = ImageFont.load_default(size * scale)
                pen.text(_scaled(at, scale), _printable(shape.text), shape.colour, font, anchor)
    out = BytesIO()
    picture.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS).save(out, "PNG", optimize=True)
    return out.getvalue()


def _scaled(at: tuple[float, float], scale: int) -> tuple[float, float]:
    return at[0] * scale, at[1] * scale


def _element(shape: Shape) -> str:
    match shape:
        case Line(start=(x1, y1), end=(x2, y2), colour=colour):
            return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'
        case Dot(at=(x, y), radius=radius, colour=colour, fill=fill, title=title):
            circle = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" stroke="{colour}" fill="{fill}" '
            return f'{circle}stroke-width="2"><title>{_escaped(title)}</title></circle>'
        case Text(at=(x, y), text=text, colour=colour, size=size, anchor=anchor):
            # Not `dominant-baseline`, which some viewers ignore.
            place = f'x="{x:.1f}" y="{y + 0.35 * size:.1f}" text-anchor="{anchor}"'
            return f'<text {place} font-size="{size}" fill="{colour}">{_escaped(text)}</text>'


def _escaped(text: str) -> str:
    return html.escape(_printable(text))


def _printable(text: str) -> str:
    """Return a text without what XML cannot hold or a line of text cannot show."""
    return "".join(character for character in text if character.isprintable())


def _shapes(points: Sequence[Point]) -> Iterator[Shape]:
    axes = _Axes.around(points)
    yield from _grid(axes)
    yield from _legend(points)
    at = {point: axes.place(point) for point in points}
    for point in sorted(points, key=lambda point: point.chosen):
        yield from _dot(point, at[point])
    yield from _labels(at)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Axes:
    """The ranges of both axes: milliseconds, logarithmic; mAP, linear."""

    fastest: float
    slowest: float
    lowest: float
    highest: float

    @classmethod
    def around(cls, points: Sequence[Point]) -> "_Axes":
        times = [point.ms for point in points] or [10.0, 100.0]
        maps = [point.map for point in points] or [0.0, 50.0]
        return cls(
            fastest=min(times) / 1.2,
            slowest=max(times) * 1.6,
            lowest=5 * math.floor(min(maps) / 5 - 0.2),
            highest=5 * math.ceil(max(maps) / 5 + 0.2),
        )

    def x(self, ms: float) -> float:
        share = math.log(ms / self.fastest) / math.log(self.slowest / self.fastest)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, mean: float) -> float:
        share = (mean - self.lowest) / (self.highest - self.lowest)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    def place(self, point: Point) -> tuple[float, float]:
        return self.x(point.ms), self.y(point.map)


def _grid(axes: _Axes) -> Iterator[Shape]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    for tick in TICKS:
        if axes.fastest <= tick <= axes.slowest:
            yield Line(start=(axes.x(tick), TOP), end=(axes.x(tick), bottom), colour=GRID)
            yield Text(at=(axes.x(tick), bottom + 16), text=f"{tick:g}", size=13, anchor="middle")
    for mean in range(int(axes.lowest), int(axes.highest) + 1, 5):
        yield Line(start=(LEFT, axes.y(mean)), end=(right, axes.y(mean)), colour=GRID)
        yield Text(at=(LEFT - 10, axes.y(mean)), text=str(mean), size=13, anchor="end")
    yield Text(at=((LEFT + right) / 2, HEIGHT - 18), text="milliseconds a picture", size=14, anchor="middle")
    yield Text(at=(LEFT - 40, TOP - 30), text="COCO mAP", size=14)


def _legend(points: Sequence[Point]) -> Iterator[Shape]:
    x = LEFT + 110.0
    for series in dict.fromkeys(point.series for point in points):
        fill = series.colour if series.filled else PAPER
        yield Dot(at=(x, TOP - 30), radius=RADIUS, colour=series.colour, fill=fill)
        yield Text(at=(x + 12, TOP - 30), text=series.name, size=13)
        x += 45 + 13 * CHARACTER * len(series.name)


def _dot(point: Point, at: tuple[float, float]) -> Iterator[Shape]:
    series = point.series
    title = f"{point.label}: {point.ms:g} ms, mAP {point.map:g}"
    if point.chosen:
        yield Dot(at=at, radius=2 * RADIUS, colour=CHOSEN, fill=PAPER, title=title)
    fill = series.colour if series.filled else PAPER
    yield Dot(at=at, radius=RADIUS, colour=series.colour, fill=fill, title=title)


def _labels(at: dict[Point, tuple[float, float]]) -> Iterator[Shape]:
    """Name each dot beside it where there is room: the chosen one first, then the best; others by hovering."""
    taken: list[Box] = [(x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS) for x, y in at.values()]
    for point in sorted(at, key=lambda point: (not point.chosen, -point.map, point.ms, point.label)):
        for text in _candidates(point, at[point]):
            box = _box(text)
            if _inside(box) and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                yield text
                break


def _candidates(point: Point, at: tuple[float, float]) -> Iterator[Text]:
    (x, y), gap = at, 2 * RADIUS if point.chosen else RADIUS
    size, colour = (SIZE + 3, CHOSEN) if point.chosen else (SIZE, INK)
    sides = (("start", gap + 4), ("end", -gap - 4), ("middle", 0))
    for rise, (anchor, shift) in product((0, -8, 8, -14, 14), sides):
        if anchor != "middle" or abs(rise) >= gap + size / 2:
            yield Text(at=(x + shift, y + rise), text=point.label, colour=colour, size=size, anchor=anchor)


def _box(text: Text) -> Box:
    (x, y), width = text.at, CHARACTER * text.size * len(text.text)
    left = x - {"start": 0.0, "middle": width / 2, "end": width}[text.anchor]
    return left, y - text.size / 2, left + width, y + text.size / 2


def _inside(box: Box) -> bool:
    return box[0] >= LEFT and box[1] >= TOP and box[2] <= WIDTH and box[3] <= HEIGHT - BOTTOM


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
