"""The catalogue for people: a table to choose from, one model in full, a picture, and the documentation's page."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from . import archive, outcomes, plot, zoo
from .errors import UsageError
from .trainer import batch
from .trainer.recipe import Footprint, Zoo
from .zoo import Model

Sort: TypeAlias = Literal["zoo", "name", "ms", "map"]
Export: TypeAlias = Literal["saved_model", "frozen_graph", "tflite"]

HEADER = ("name", "zoo", "ms", "mAP", "input", "exports", "notes")

CARD = 16 << 30
"""Bytes of the card that memory is told for: what the smaller ones of training services have."""

EDGE = plot.Series(name="on its edge device", colour="#1f77b4", filled=False)
GONE = plot.Series(name="cannot be trained", colour="#999999", filled=False)
SERIES = {
    "tf1": plot.Series(name="TF1 zoo, GTX TITAN X", colour="#1f77b4"),
    "tf2": plot.Series(name="TF2 zoo, hardware not told", colour="#ff7f0e"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Which models to show, and in which order.

    Attributes:
        zoo: Only this zoo.
        max_ms: Only models that are told to take so many milliseconds at the most.
        min_map: Only models of so much COCO mAP at the least, 0..100.
        export: Only models that can be exported to this.
        sort: `zoo` is the catalogue's order, `ms` the fastest first, `map` the best first.
    """

    zoo: Zoo | None = None
    max_ms: float | None = None
    min_map: float | None = None
    export: Export | None = None
    sort: Sort = "zoo"


ORDER: dict[Sort, Callable[[Model], Any]] = {
    "zoo": lambda model: model.zoo,
    "name": lambda model: handle(model),  # noqa: PLW0108  defined below
    "ms": lambda model: model.speed_ms or float("inf"),
    "map": lambda model: -(model.coco_map or 0),
}


def select(wanted: Wanted) -> tuple[Model, ...]:
    """Return the models of the catalogue that are wanted, in the order wanted."""
    return tuple(sorted((model for model in zoo.models() if _fits(model, wanted)), key=ORDER[wanted.sort]))


def _fits(model: Model, wanted: Wanted) -> bool:
    return (
        wanted.zoo in {None, model.zoo}
        and (wanted.max_ms is None or (model.speed_ms is not None and model.speed_ms <= wanted.max_ms))
        and (wanted.min_map is None or (model.coco_map is not None and model.coco_map >= wanted.min_map))
        and (wanted.export is None or wanted.export in model.exports)
    )


def handle(model: Model) -> str:
    """Return the name to call a model by: the shortest that its short name begins with."""
    return min((name for name in model.names if model.short_name.startswith(name)), key=len)


def table(models: Sequence[Model]) -> str:
    """Return the models as a table for the terminal, one line each."""
    rows = [HEADER, *map(_cells, models)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    return "\n".join(_line(row, widths) for row in rows)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = (
        cell.rjust(width) if name in {"ms", "mAP"} else cell.ljust(width)
        for name, cell, width in zip(HEADER, row, widths, strict=True)
    )
    return "  ".join(cells).rstrip()


def _cells(model: Model) -> tuple[str, ...]:
    mean = model.coco_map or model.other_map
    return (
        handle(model),
        model.zoo.upper(),
        _number(model.speed_ms),
        _number(mean),
        _input(model),
        " ".join(model.exports),
        "; ".join(_notes(model)),
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _input(model: Model) -> str:
    one, other = model.input_size
    return f"{one}x{other}" if model.resizer == "fixed_shape" or one == other else f"{one}-{other}"


def _notes(model: Model) -> Iterator[str]:
    if model.unavailable:
        yield f"cannot be trained: {model.unavailable}"
    if model.edge_device:
        yield f"ms on {model.edge_device}"
    if model.metric:
        yield f"{model.metric} on {model.dataset}"
    if model.quantization_aware and not model.unavailable:
        yield "made for integers, trained in floating point"
    if model.meta_architecture == "context_rcnn":
        yield "trained without what it knew of a camera's other pictures"
    if model.assumed and not model.unavailable:
        yield "config of its closest relative"


def as_json(models: Iterable[Model]) -> str:
    """Return models as JSON: every field of the catalogue, and what they export to."""
    return json.dumps([asdict(model) | {"exports": model.exports} for model in models], indent=1)


def details(model: Model) -> str:
    """Return all that is known of one model, and how to bundle it."""
    rows = [(title, text) for title, text in _facts(model) if text]
    width = max(len(title) for title, _ in rows)
    return "\n".join([model.name, *(f"  {title.ljust(width)}  {text}" for title, text in rows)])


def _facts(model: Model) -> Iterator[tuple[str, str]]:
    weights = model.checkpoint
    quantized = f", {model.coco_map_uint8:g} after quantization" if model.coco_map_uint8 else ""
    kept = "" if model.resizer == "fixed_shape" else ", aspect ratio kept"
    device = f" on {model.edge_device}" if model.edge_device else ""
    yield "also called", ", ".join(model.names[1:])
    yield "zoo", f"{model.zoo.upper()}, trained on {model.dataset}"
    yield "network", f"{model.meta_architecture} with the feature extractor {model.feature_extractor}"
    yield "input", f"{_input(model)} pixels{kept}"
    yield "speed", f"{model.speed_ms:g} ms a picture{device}" if model.speed_ms else ""
    yield "COCO mAP", f"{model.coco_map:g}{quantized}" if model.coco_map else ""
    yield "mAP", f"{model.other_map:g}, {model.metric}" if model.other_map else ""
    yield "exports", ", ".join(model.exports)
    here = "" if model.unavailable else ", in floating point here"
    yield "quantization", f"trained for integers by the zoo{here}" if model.quantization_aware else ""
    yield "memory", _memory(model.footprint) if model.footprint else ""
    yield "config", model.config
    for assumption in model.assumed:
        yield "assumed", assumption
    yield "checkpoint", weights.url
    yield "", f"prefix {' or '.join((weights.prefix, *weights.alternatives))}, type {weights.type}"
    yield "", f"{weights.size:,} bytes" if weights.size else ""
    yield "", next((f"{k} {v}" for k in ("sha256", "sha384") if (v := getattr(weights, k))), "")
    if model.unavailable:
        yield "unavailable", model.unavailable
    else:
        yield "to bundle", f"odbuild bundle {handle(model)}"


def _memory(held: Footprint) -> str:
    """Return what a training step takes, and what that means for a card."""
    taken = batch.SLACK * held.activations_mb / 1000
    count = batch.fitting(held, CARD)
    room = f"room for {count} on" if count else "more than"
    return f"about {taken:.2g} GB a picture in training, {room} a card of {CARD >> 30} GiB"


def write_plot(models: Sequence[Model], chosen: Model | None, target: Path) -> None:
    """Draw speed against COCO mAP, the chosen model marked, as SVG or PNG by the name's ending.

    Models without a speed or a COCO mAP are left out.

    Raises:
        UsageError: The file is to be something else, or the chosen model has no place in the picture.
    """
    write = {".svg": lambda points: plot.svg(points).encode(), ".png": plot.png}.get(target.suffix.lower())
    if write is None:
        raise UsageError(f"{target}: expected a file that ends in .svg or .png")
    if chosen is not None and not _drawable(chosen):
        raise UsageError(f"{chosen.name} cannot be drawn: the zoo prints no speed or no COCO mAP of it")
    drawn = dict.fromkeys(filter(_drawable, (*models, *filter(None, [chosen]))))
    data = write([_point(model, chosen=model is chosen) for model in drawn])
    with archive.atomic(target) as scratch:
        scratch.write_bytes(data)


def _drawable(model: Model) -> bool:
    return model.speed_ms is not None and model.coco_map is not None


def _point(model: Model, *, chosen: bool = False) -> plot.Point:
    series = GONE if model.unavailable else EDGE if model.edge_device else SERIES[model.zoo]
    return plot.Point(
        ms=float(model.speed_ms or 0),
        map=float(model.coco_map or 0),
        label=handle(model),
        series=series,
        chosen=chosen,
    )


def pages() -> dict[str, str]:
    """Return the pages of the documentation that are made from the catalogue and from what was tried of it.

    The texts by their file names.
    """
    picture = plot.svg([_point(model) for model in zoo.models() if _drawable(model)])
    matrix = outcomes.page(outcomes.tried())
    return {"models.md": "\n".join(_page()), "models.svg": picture, "zoo-matrix.md": matrix}


def write_pages(folder: str | Path) -> None:
    """Write the documentation's pages that are made from the catalogue and from what was tried of it."""
    Path(folder).mkdir(exist_ok=True)
    for name, text in pages().items():
        Path(folder, name).write_text(text, encoding="utf-8", newline="\n")


INTRODUCTION = """\
<!-- Made from odbuild/zoo.toml by `nox -s docs`: edit that. -->
# Models

All {count} detectors of the two TensorFlow zoos that output boxes only. {trainable} of them make a bundle, and
{passed} were built, trained for a step, exported and restored on the project's own machine:
[the zoo matrix](zoo-matrix.md) tells of each. Rehearse the one that you choose before you pay for it.

Speeds and mAP are the zoos' own: of the TF1 zoo on a GeForce GTX TITAN X with 600x600 pictures, of the TF2 zoo on
hardware that it does not tell, so compare within one zoo. mAP is COCO's (mAP@[.5:.95]) where the notes say nothing
else. A run leaves a SavedModel, and for TF1 models a frozen graph; `tflite` marks what can be converted to that.

![speed against mAP](models.svg)

The same table can be filtered and sorted, and shows one model in full:

```sh
odbuild models --max-ms 60 --min-map 25 --export tflite --sort map
odbuild models ssd_mobilenet_v2 --plot models.svg
```"""


def _page() -> Iterator[str]:
    trainable = sum(not model.unavailable for model in zoo.models())
    passed = sum(not outcome.failed for outcome in outcomes.tried().values())
    yield INTRODUCTION.format(count=len(zoo.models()), trainable=trainable, passed=passed)
    for which in get_args(Zoo):
        yield f"\n## {which.upper()} zoo\n"
        yield from _markdown(
            HEADER[:1] + HEADER[2:],
            ((f"`{name}`", *rest) for name, _, *rest in map(_cells, select(Wanted(zoo=which)))),
        )
    yield "\n## Not for odbuild\n"
    yield "Models of the zoos that output more than boxes, or none.\n"
    rows = ((f"`{other.name}`", other.reason, f"`{other.nearest}`") for other in zoo.refused())
    yield from _markdown(("name", "why", "nearest"), rows)
    yield ""


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield "|" + "---|" * len(header)
    for row in rows:
        yield f"| {' | '.join(row)} |"
