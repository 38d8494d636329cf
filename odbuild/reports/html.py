"""The report as one page that opens offline: counts, charts, and pictures with their boxes, to filter.

All of it is markup made on this side, so the page says the same without its script, which only filters; nothing of
the data ever stands inside a script or a style.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from odbuild import charts, gallery
from odbuild import render as rendering
from odbuild.check import Report, Subject, catalogue
from odbuild.trainer.findings import Group, groups
from odbuild.trainer.rules.every import Data

MOST_PICTURES = 200
"""Pictures in one page, some 8 MB with their findings; the others are counted."""

MOST_PLACES = 20
"""Places of one kind of finding that are spelled out; the others are counted."""

MOST_KINDS = 200
"""Kinds of findings of one subject with a row of their own."""

MOST_CHOICES = 500
"""Classes to filter by; the search finds the others."""

MOST_NAMES = 8
"""Classes named under one picture; the others are counted."""

COLOURS = 8
"""Colours of boxes; classes beyond share them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Charts:
    """What the charts of a dataset show."""

    classes: tuple[charts.ClassRow, ...]
    sides: tuple[str, ...]
    boxes: charts.Plane | None
    pictures: charts.Plane | None
    aspects: tuple[charts.Column, ...]
    crowds: tuple[charts.Column, ...]
    together: charts.Together


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """A subject as the page shows it; `charts` is None for what is no dataset."""

    subject: Subject
    kinds: tuple[Group, ...]
    charts: Charts | None
    shown: tuple[gallery.Shown, ...]


def render(report: Report) -> str:
    """Return the report as an HTML page."""
    views = _views(report)
    shown = [picture for view in views for picture in view.shown]
    used = Counter(label for picture in shown for label in picture.labels)
    labels = {label: index for index, label in enumerate(sorted(used))}
    found: Counter[str] = Counter()
    for finding in report.findings:
        found[finding.code] += finding.times
    rules = {code: info for code, info in catalogue().items() if code in found or code in report.rules_run}
    return rendering.page(
        "report",
        report=report,
        views=views,
        total=sum(len(view.subject.data.source.pictures) for view in views if view.subject.data is not None),
        shown=len(shown),
        rules=rules,
        found=found,
        labels=labels,
        choices=dict(list(labels.items())[:MOST_CHOICES]),
        codes=_present((picture.codes for picture in shown), rules),
        sides=_present(((picture.side,) for picture in shown), charts.SIDES),
        most_classes=charts.MOST_CLASSES,
        most_places=MOST_PLACES,
        most_kinds=MOST_KINDS,
        most_names=MOST_NAMES,
        colours=COLOURS,
    )


def _views(report: Report) -> tuple[View, ...]:
    datasets = sum(subject.data is not None for subject in report.subjects)
    share = max(1, MOST_PICTURES // max(1, datasets))
    return tuple(_view(subject, share) for subject in report.subjects)


def _view(subject: Subject, most: int) -> View:
    data = subject.data
    return View(
        subject=subject,
        kinds=groups(subject.findings),
        charts=None if data is None else _charts(data),
        shown=() if data is None else gallery.gallery(data, subject.findings, most),
    )


def _charts(data: Data) -> Charts:
    classes = charts.class_rows(data)
    frequent = sorted(classes, key=lambda row: (-row.pictures, row.label))
    return Charts(
        classes=classes,
        sides=_present([{part.side for part in row.parts} for row in classes], charts.SIDES),
        boxes=charts.plane(charts.box_sizes(data), data.model.anchors if data.model else ()),
        pictures=charts.plane(charts.picture_sizes(data)),
        aspects=charts.aspects(charts.box_sizes(data)),
        crowds=charts.crowds(data.source.pictures),
        together=charts.together(data, [row.label for row in frequent if row.pictures]),
    )


def _present(groups_of_words: Iterable[Iterable[str]], order: Iterable[str]) -> tuple[str, ...]:
    """Return the words that occur, in the given order."""
    words = {word for group in groups_of_words for word in group}
    return tuple(word for word in order if word in words)
