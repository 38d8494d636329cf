"""The HTML report: nothing of the data becomes markup, nothing is loaded, and a browser can be used on it."""

import json
import re
import shutil
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import pictures
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from odbuild import charts, gallery, reports
from odbuild.check import Options, Report, check
from odbuild.reports import html
from odbuild.trainer.dataset import Box, Picture
from odbuild.trainer.rules.every import Kind, ModelFacts

BOX = {"x": 0.25, "y": 0.25, "x2": 0.75, "y2": 0.5}

HOSTILE = (
    "</script><script>document.title='owned'</script>",
    "<img src=https://example.invalid/x.png onerror=alert(1)>",
    '" onclick="alert(1)',
    "{{ 7 * 7 }}",
    "line\u2028break\u2029",
    "\u202egnp.tac",
    "]]><!--",
    "\ud800 alone",
)

VOID = {"meta", "link", "img", "input", "br"}


def written(folder: Path, annotations: dict[str, list[dict[str, Any]]], **files: bytes) -> Path:
    """Write a Cloud Annotations project whose keys are files, all small pictures unless given."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, key in enumerate(annotations):
        pictures.write(folder, key, files.get(key.partition(".")[0], pictures.jpeg(seed=seed)))
    labels = list(dict.fromkeys(box["label"] for boxes in annotations.values() for box in boxes))
    document = {"version": "1.0", "type": "localization", "labels": labels, "annotations": annotations}
    (folder / "_annotations.json").write_text(json.dumps(document), encoding="utf-8")
    return folder


def checked(folder: Path) -> Report:
    return check([folder], Options())


def rendered(folder: Path) -> str:
    return reports.render(checked(folder), "html")


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """Return a dataset whose labels and folder are attacks, and a box of whose last picture is empty."""
    annotations = {f"p{index}.jpg": [{**BOX, "label": label}] for index, label in enumerate(HOSTILE)}
    annotations["q<b>&'\".jpg"] = [
        {**BOX, "label": "plain"},
        {**BOX, "x": 0.5, "x2": 0.5, "y2": 0.25, "label": "plain"},
    ]
    return written(tmp_path / "<i>set & 'co'", annotations)


class Seen(HTMLParser):
    """What a page holds: tags with attributes, texts, and whether every element ends where it should."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def shape(page: str) -> list[str]:
    """Return the tags of a page and the names of their attributes: what a label must not change."""
    return [f"{tag} {sorted(attributes)}" for tag, attributes in Seen(page).tags]


def with_label(report: Report, label: str) -> Report:
    """Return the report of a dataset in which the first class and the findings have another name."""
    subject = report.subjects[0]
    data = subject.data
    assert data is not None

    def renamed(picture: Picture) -> Picture:
        return replace(picture, boxes=tuple(replace(box, label=label) for box in picture.boxes))

    source = replace(data.source, declared=(label,), pictures=tuple(map(renamed, data.source.pictures)))
    dataset = replace(data.dataset, declared=(label,), pictures=tuple(map(renamed, data.dataset.pictures)))
    found = tuple(replace(one, value=label, message=label, fix=label) for one in subject.findings)
    values: dict[Kind, object] = {"dataset": replace(data, source=source, dataset=dataset)}
    return replace(report, subjects=(replace(subject, values=values, findings=found),))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = tmp_path_factory.mktemp("plain")
    return checked(written(folder, {"a.jpg": [{**BOX, "label": "x"}, {**BOX, "label": "x"}]}))


@pytest.fixture(scope="module")
def expected(plain: Report) -> list[str]:
    return shape(html.render(with_label(plain, "x")))


@given(label=st.one_of(st.text(min_size=1), st.sampled_from(HOSTILE)))
def test_no_label_becomes_markup(plain: Report, expected: list[str], label: str) -> None:
    page = html.render(with_label(plain, label))
    assert shape(page) == expected
    assert not Seen(page).open
    page.encode()


def test_hostile_names_are_shown_as_they_are_spelled(hostile: Path) -> None:
    page = rendered(hostile)
    seen = Seen(page)
    assert not seen.open
    text = "".join(seen.texts)
    for shown in (HOSTILE[0], HOSTILE[1], HOSTILE[2], HOSTILE[3], r"line\u2028break\u2029", r"\u202egnp.tac"):
        assert shown in text
    assert not {"\u2028", "\u2029", "\u202e"} & set(page)
    assert page.count("<script") == page.count("</script") == 1


def test_nothing_is_loaded_and_only_our_script_and_style_run(hostile: Path) -> None:
    page = rendered(hostile)
    for tag, attributes in Seen(page).tags:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        for name in ("src", "href", "action", "srcset", "xlink:href", "formaction"):
            assert attributes.get(name, "#")[:5] in {"#", "#pict", "data:"}, f"<{tag} {name}>"  # type: ignore[index]
    policy = next(one["content"] for tag, one in Seen(page).tags if tag == "meta" and "http-equiv" in one)
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    for tag in ("style", "script"):
        body = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert len(body) == 1
        digest = b64encode(sha256(body[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert page.index("http-equiv") < page.index("<style>")


def test_pictures_with_findings_come_first_and_the_rest_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = {f"{index}.jpg": [{**BOX, "label": "x"}] for index in range(9)}
    flat = {**BOX, "x2": 0.25, "label": "x"}
    report = checked(written(tmp_path, {**good, "z.jpg": [{**BOX, "label": "x"}, flat]}))
    monkeypatch.setattr(html, "MOST_PICTURES", 4)
    page = html.render(report)
    keys = re.findall(r'class="key">([^<]*)<', page)
    assert keys[0] == "z.jpg"
    assert len(keys) == 4
    assert "4 of 10 pictures" in page
    assert "6 more pictures are not in this page" in page
    assert 'class="mark k0 bad"' in page
    assert page.count('class="name"') == 4
    assert page.count('class="ring"') == 0


def test_a_box_too_small_to_see_has_a_ring(hostile: Path) -> None:
    # One box is empty; the others, however small their pictures, are not.
    assert rendered(hostile).count('class="ring"') == 1


def test_a_thumbnail_shows_the_pixels_as_stored_without_metadata(tmp_path: Path) -> None:
    drawing = pictures.drawing(60, 30)
    whole = pictures.encoded(drawing, exif=pictures.exif(6), comment=b"private")
    data, width, height = gallery.thumbnail(whole)
    assert (width, height) == (60, 30)
    with Image.open(BytesIO(data)) as small:
        assert small.size == (60, 30)
        assert not small.getexif()
        assert "comment" not in small.info
        assert abs(small.getpixel((2, 28))[0] - drawing.getpixel((2, 28))[0]) < 30  # type: ignore[index]
    page = rendered(written(tmp_path, {"turned.jpg": [{**BOX, "label": "x"}]}, turned=whole))
    assert 'viewBox="0 0 480 240"' in page
    # A quarter and three quarters of the width, a quarter and a half of the height, of the stored picture.
    assert 'd="M120.0 60.0H360.0V120.0H120.0Z"' in page


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "I;16", "1"])
def test_every_kind_of_png_has_a_thumbnail(mode: str) -> None:
    picture = pictures.encoded(pictures.drawing(40, 20, mode=mode), "PNG")
    assert gallery.thumbnail(picture)[1:] == (40, 20)


def test_a_large_picture_is_small_in_the_page() -> None:
    data, width, height = gallery.thumbnail(pictures.jpeg(2000, 1000))
    assert (width, height) == (gallery.SIDE, gallery.SIDE // 2)
    assert len(data) < 40_000


def test_a_picture_that_cannot_be_decoded_has_its_boxes_in_a_frame(tmp_path: Path) -> None:
    broken = pictures.jpeg()[:60]
    page = rendered(written(tmp_path, {"broken.jpg": [{**BOX, "label": "x"}]}, broken=broken))
    assert "the picture cannot be shown" in page
    assert 'class="mark k0' in page


@given(st.lists(st.floats(), min_size=4, max_size=4))
def test_a_mark_stays_on_its_picture_whatever_its_edges(edges: list[float]) -> None:
    box = Box(label="x", ymin=edges[0], xmin=edges[1], ymax=edges[2], xmax=edges[3])
    mark = gallery._mark(box, 480, 320, ())
    if mark is None:
        assert not all(abs(edge) < float("inf") for edge in edges)
        return
    left, top, right, bottom, again = map(float, re.findall(r"[\d.]+", mark.outline))
    assert 0 <= left <= right <= 480
    assert 0 <= top <= bottom <= 320
    assert again == left


positive = st.floats(min_value=1e-6, max_value=1e9)


@given(st.lists(st.tuples(positive, positive), min_size=1), st.lists(st.tuples(positive, positive)))
def test_a_plane_holds_every_size_and_anchor(
    sizes: list[tuple[float, float]], anchors: list[tuple[float, float]]
) -> None:
    plane = charts.plane(sizes, anchors)
    assert plane is not None
    assert sum(cell.count for cell in plane.cells) == plane.total == len(sizes)
    assert len(plane.anchors) == min(len(anchors), charts.MOST_ANCHORS)
    for cell in plane.cells:
        assert -1e-6 <= cell.x <= 100 - cell.side + 1e-6
        assert -1e-6 <= cell.y <= 100 - cell.side + 1e-6
        assert 1 <= cell.shade <= charts.SHADES
    assert all(-1e-6 <= edge <= 100 + 1e-6 for x, y, _ in plane.anchors for edge in (x, y))


@given(st.lists(st.tuples(positive, positive)))
def test_aspect_ratios_count_every_box(sizes: list[tuple[float, float]]) -> None:
    assert sum(column.count for column in charts.aspects(sizes)) == len(sizes)


def test_aspect_ratios_put_the_square_in_the_middle() -> None:
    columns = charts.aspects([(10, 10), (20, 10)])
    assert columns[len(columns) // 2].name == "1:1"
    assert {column.name: column.count for column in columns if column.count} == {"1:1": 1, "2:1": 1}


@pytest.mark.parametrize(
    ("boxes", "name"), [(0, "0"), (1, "1"), (2, "2"), (3, "3-4"), (4, "3-4"), (5, "5-8"), (8, "5-8"), (9, "9-16")]
)
def test_crowds_double(boxes: int, name: str) -> None:
    box = Box(label="x", ymin=0, xmin=0, ymax=1, xmax=1)
    assert charts.crowds([Picture(key="k", boxes=(box,) * boxes)])[-1].name == name


def test_classes_are_counted_by_boxes_pictures_and_side(tmp_path: Path) -> None:
    a, b = ({**BOX, "label": label} for label in "ab")
    report = checked(written(tmp_path, {"1.jpg": [a, a, b], "2.jpg": [a], "3.jpg": [b]}))
    data = report.subjects[0].data
    assert data is not None
    rows = charts.class_rows(data)
    assert [(row.label, row.boxes, row.pictures) for row in rows] == [("a", 3, 2), ("b", 2, 2)]
    assert [sum(part.count for part in row.parts) for row in rows] == [3, 2]
    assert charts.together(data, ["a", "b"]).rows == (((2, 8), (1, 4)), ((1, 4), (2, 8)))


def test_boxes_are_shown_as_the_model_sees_them(tmp_path: Path) -> None:
    report = checked(written(tmp_path, {"1.jpg": [{**BOX, "label": "a"}]}))
    subject = report.subjects[0]
    data = subject.data
    assert data is not None
    facts = ModelFacts(
        name="ssd",
        resizer="fixed_shape",
        size=(300, 300),
        anchors=((60.0, 120.0),),
        smallest=60.0,
        max_boxes=100,
        batch=8,
        exports=(),
    )
    values: dict[Kind, object] = {"dataset": replace(data, model=facts)}
    assert list(charts.box_sizes(replace(data, model=facts))) == [(150.0, 75.0)]
    page = html.render(replace(report, subjects=(replace(subject, values=values),)))
    assert "anchor 60 x 120" in page
    assert "in pixels after ssd resized the picture" in page


def test_what_is_no_dataset_has_its_findings_only(tmp_path: Path) -> None:
    page = rendered(written(tmp_path / "set", {}))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "_annotations.json").write_text("{", encoding="utf-8")
    broken = rendered(tmp_path / "broken")
    for one in (page, broken):
        assert not Seen(one).open
        assert 'id="pictures"' not in one
    assert "ANN001" in broken


def test_the_pictures_are_those_of_the_dataset(tmp_path: Path) -> None:
    page = rendered(written(tmp_path, {"a.jpg": [{**BOX, "label": "x"}]}))
    sources = [one["src"] for tag, one in Seen(page).tags if tag == "img"]
    assert sources
    assert sources[0] is not None
    with Image.open(BytesIO(b64decode(sources[0].partition(",")[2]))) as picture:
        assert picture.size == (48, 32)


class Browser:
    """A Chromium without a network, driven by its own protocol."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, page: Path) -> None:
        self.driver.get(page.as_uri())

    def all(self, selector: str) -> list[Any]:
        found: list[Any] = self.driver.find_elements("css selector", selector)
        return found

    def one(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def keys(self) -> list[str]:
        return [item.text for item in self.all(".key") if item.is_displayed()]

    def choose(self, selector: str, text: str) -> None:
        from selenium.webdriver.support.select import Select

        Select(self.one(selector)).select_by_visible_text(text)

    def press(self, *keys: str) -> None:
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def focused(self) -> str:
        script = "return document.activeElement.closest('.picture')?.querySelector('.key').textContent ?? ''"
        return str(self.driver.execute_script(script))

    def complaints(self) -> list[Any]:
        return list(self.driver.get_log("browser"))

    def requests(self) -> set[str]:
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [one["params"] for one in messages if one["method"] == "Network.requestWillBeSent"]
        return {one["request"]["url"].partition(",")[0] for one in sent}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    driver = shutil.which("chromedriver")
    binary = shutil.which("chromium") or shutil.which("google-chrome")
    if driver is None or binary is None:
        pytest.skip("there is no Chromium with its driver")
    from selenium import webdriver
    from selenium.common.exceptions import WebDriverException

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    # The sandbox needs what containers seldom allow; the pages are ours.
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1200,900"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    try:
        running = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))
    except WebDriverException as error:
        pytest.skip(f"Chromium does not start here: {error.msg}")
    try:
        yield Browser(running)
    finally:
        running.quit()


@pytest.fixture
def opened(hostile: Path, tmp_path: Path, browser: Browser) -> Iterator[Browser]:
    """Open the page of the hostile dataset; afterwards nothing must have been complained of or asked for."""
    page = tmp_path / "report.html"
    page.write_text(rendered(hostile), encoding="utf-8")
    browser.complaints()
    browser.requests()
    browser.open(page)
    yield browser
    assert browser.complaints() == []
    assert browser.requests() <= {page.as_uri(), "data:", "data:image/jpeg;base64"}
    assert browser.driver.title.startswith("odbuild validate: ")


COUNT = len(HOSTILE) + 1


def test_filters_show_what_fits(opened: Browser) -> None:
    assert len(opened.keys()) == COUNT
    opened.choose("#by-class", HOSTILE[2])
    assert opened.keys() == ["p2.jpg"]
    assert opened.one("#count").text == f"1 of {COUNT} pictures"
    opened.one("#reset").click()
    codes = [option.get_attribute("value") for option in opened.all("#by-rule option")]
    assert "BOX202" in codes
    opened.driver.execute_script("document.querySelector('.kind:has([data-rule=BOX202])').open = true")
    opened.one("[data-rule=BOX202]").click()
    assert opened.keys() == ["q<b>&'\".jpg"]
    assert opened.one("#by-rule").get_attribute("value") == "BOX202"
    opened.one("#reset").click()
    opened.choose("#by-side", "validation")
    held = opened.keys()
    opened.choose("#by-side", "train")
    assert len(held) + len(opened.keys()) == COUNT
    opened.one("#reset").click()
    opened.one("#by-text").send_keys("ONERROR")
    assert opened.keys() == ["p1.jpg"]
    opened.one("#by-text").send_keys(" nowhere")
    assert opened.keys() == []
    assert opened.one("#empty").is_displayed()


def test_other_classes_fade_where_one_is_chosen(opened: Browser) -> None:
    opened.choose("#by-class", "plain")
    assert opened.all(".mark.dim")
    assert not opened.one(".picture:not([hidden]) .mark").get_attribute("class").endswith("dim")


def test_keys_lead_from_picture_to_picture(opened: Browser) -> None:
    keys = opened.keys()
    opened.press("j")
    assert opened.focused() == keys[0]
    opened.press("j", "\ue014")  # arrow right
    assert opened.focused() == keys[2]
    opened.press("k", "\ue013", "k")  # arrow up, and once more than there are
    assert opened.focused() == keys[0]
    outline = "return getComputedStyle(document.activeElement).outlineStyle"
    assert opened.driver.execute_script(outline) == "solid"
    opened.press("\ue007")  # enter
    assert opened.driver.switch_to.active_element.get_attribute("aria-expanded") == "true"
    opened.press("\ue00c")  # escape
    assert opened.driver.switch_to.active_element.get_attribute("aria-expanded") == "false"
    opened.press("/")
    opened.press("p3.j")
    assert opened.keys() == ["p3.jpg"]
    opened.press("\ue00c")
    assert len(opened.keys()) == COUNT


def test_the_first_tab_skips_to_the_pictures(opened: Browser) -> None:
    opened.press("\ue004")
    assert opened.driver.switch_to.active_element.text == "Skip to the pictures"
    opened.press("\ue007")
    assert opened.driver.switch_to.active_element.get_attribute("id") == "pictures"


def test_the_page_fits_a_phone(opened: Browser) -> None:
    metrics = {"width": 360, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    opened.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        assert opened.driver.execute_script("return document.documentElement.scrollWidth") <= 360
    finally:
        opened.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_captions_are_small_on_a_tiny_picture_too(opened: Browser) -> None:
    height = "getBoundingClientRect().height"
    script = f"return arguments[0].{height} / arguments[0].closest('.frame').{height}"
    captions = opened.all(".mark text")
    assert len(captions) >= COUNT
    assert all(0 < opened.driver.execute_script(script, text) < 1 / 6 for text in captions)


def test_dark_mode_is_dark(opened: Browser) -> None:
    script = "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]"
    media = [{"name": "prefers-color-scheme", "value": "dark"}]
    light = opened.driver.execute_script(script)
    opened.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
    try:
        assert opened.driver.execute_script(script) < 60
        assert light > 200
    finally:
        opened.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
