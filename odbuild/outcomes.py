"""What came of trying each model of the catalogue: records, one JSON object a line, and the page made of them."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from . import zoo
from .errors import OdbuildError
from .resources import read_text
from .zoo import Model

FILE = "tried.jsonl"
"""The records of the newest run over the whole catalogue, in the package."""

STAGES = ("bundle", "config", "built", "step", "exported", "restored")
"""What is tried of a model, in this order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What came of one model.

    Attributes:
        model: Catalogue name.
        key: Digest of what was tried: another one makes the record stale.
        tensorflow: Version of TensorFlow, or None where none was loaded.
        settings: What was set to make the model small, as `field=value`.
        failed: Why a stage failed, by its name; all the stages that it lacks were passed.
        bundle_bytes: Size of the trainer.zip, or None where there is none.
        loss: Of the one step, or None where none was taken.
        restored: Variables by how they compare with the checkpoint, or None where none was restored.
        seconds: Of wall time.
        peak_mb: The most memory in megabytes, or None where it is not known.
    """

    model: str
    key: str
    tensorflow: str | None
    settings: tuple[str, ...]
    failed: Mapping[str, str]
    bundle_bytes: int | None
    loss: float | None
    restored: Mapping[str, int] | None
    seconds: float
    peak_mb: int | None


def parse(text: str) -> dict[str, Outcome]:
    """Return outcomes by model, the last of each; a last line that was cut off by a kill counts for nothing.

    Raises:
        OdbuildError: If another line is no outcome.
    """
    whole, _, _ = text.rpartition("\n")
    found: dict[str, Outcome] = {}
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            fields = json.loads(line)
            outcome = Outcome(**{**fields, "settings": tuple(fields["settings"])})
        except (ValueError, KeyError, TypeError) as error:
            raise OdbuildError(f"{FILE}, line {number}: is no outcome of a trial ({error})") from error
        found[outcome.model] = outcome
    return found


def render(outcomes: Iterable[Outcome]) -> str:
    """Return outcomes as text that `parse` reads."""
    return "".join(json.dumps(asdict(outcome)) + "\n" for outcome in outcomes)


def append(path: Path, outcome: Outcome) -> None:
    """Add an outcome to a file, on a line of its own even after one that was cut off."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    gap = "" if text.endswith("\n") or not text else "\n"
    if gap:
        path.write_text(text[: text.rfind("\n") + 1], encoding="utf-8")
    with path.open("a", encoding="utf-8") as file:
        file.write(render([outcome]))


def tried() -> dict[str, Outcome]:
    """Return the outcomes of the newest run over the catalogue, by model."""
    return parse(read_text(FILE))


INTRODUCTION = """\
<!-- Made from odbuild/tried.jsonl by `nox -s docs`; `nox -s zoo-matrix` makes that. -->
# The zoo matrix

What became of each model of the catalogue on the project's own machine, two CPU cores without a graphics card:
{passed} of {count} pass every stage, {stepped} take a step. `nox -s zoo-matrix` tries what is not known yet, so it
goes on where it was stopped; `nox -s zoo-matrix -- NAME...` tries single models anew.

* **bundle**: the `trainer.zip` without checkpoint and wheels, in kB. Everything after this is done by the payload
  in that zip.
* **config**: it parses, holds no placeholder, and is fitted to five photographs of a rubber duck.
* **built**, **step**: the model is built, and one training step from random weights ends with this finite loss.
* **exported**: as a SavedModel, for TF1 also as a frozen graph, and run on a photograph in a process of its own.
* **restored**: a new run of the model starts from the checkpoint of that step, all its numbers changed by 1 %, by
  the way that the zoo's checkpoint takes. So many of so many variables hold its values at step 0; the others are
  heads, which upstream leaves new where it restores a TF2 model.
* **set**: what was set so that a trial takes a minute: most models see pictures far smaller here than their own.

A step on a few pictures says that a model can be trained, not that it learns: rehearse the one that you choose.
"""


def page(outcomes: Mapping[str, Outcome]) -> str:
    """Return the page of the documentation: all models of the catalogue, each with a result or a reason."""
    known = [outcomes[model.name] for model in zoo.models() if model.name in outcomes]
    text = INTRODUCTION.format(
        count=len(zoo.models()),
        passed=sum(not outcome.failed for outcome in known),
        stepped=sum("step" not in outcome.failed for outcome in known),
    )
    return text + "\n".join(("", *_table(outcomes), ""))


def _table(outcomes: Mapping[str, Outcome]) -> Iterator[str]:
    header = ("model", *STAGES, "set", "TensorFlow", "s", "reason")
    yield f"| {' | '.join(header)} |"
    yield "|" + "---|" * len(header)
    for model in zoo.models():
        yield f"| {' | '.join(_cells(model, outcomes.get(model.name)))} |"


def _cells(model: Model, outcome: Outcome | None) -> Iterator[str]:
    yield f"`{model.short_name}`"
    if model.unavailable or outcome is None:
        reason = f"refused: {model.unavailable}" if model.unavailable else "not tried yet"
        yield from ("",) * (len(STAGES) + 3)
        yield reason
        return
    for stage in STAGES:
        yield "**no**" if stage in outcome.failed else _shown(stage, outcome)
    yield ", ".join(outcome.settings)
    yield outcome.tensorflow or ""
    yield f"{outcome.seconds:.0f}"
    # What follows from a failure is told by no word of its own.
    yield "; ".join(f"{stage}: {why}" for stage, why in outcome.failed.items() if why).replace("|", "\\|")


def _shown(stage: str, outcome: Outcome) -> str:
    if stage == "bundle" and outcome.bundle_bytes is not None:
        return f"{outcome.bundle_bytes / 1000:.0f}"
    if stage == "step" and outcome.loss is not None:
        return f"{outcome.loss:.2f}"
    if stage == "restored" and outcome.restored is not None:
        return f"{outcome.restored['identical']} of {sum(outcome.restored.values())}"
    return "yes"
