"""Make records of a dataset on this machine: what the training machine does first, done once and looked at."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from .cache import cache_folder
from .errors import UsageError
from .trainer import convert as engine
from .trainer import index, workshop
from .trainer.index import SIDES, Converted
from .trainer.policies import Policies
from .trainer.pool import Run
from .trainer.recipe import MaxSide

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What to convert, and how.

    Attributes:
        dataset: Folder of the dataset, or the one that holds it.
        out: Folder to make.
        format: The dataset's format; recognised where it is None.
        policies: What to do where the data leaves a choice, but for the size of pictures.
        max_side: Longest side of a picture in pixels; `auto` for what the model can use; None to keep all.
        model: Any name of the model that is to be trained, for `auto`.
        jobs: Processes that work at the same time; None for one on each processor.
        runner: The runner of Apache Beam that does the work; None for processes of this machine.
        beam_options: Options of its pipeline, as `NAME=VALUE` or `NAME`.
        cache: Folder for what is costly to make.
        offline: Use the cache alone, ask no network.
        upstream: Where tensorflow/models comes from: `auto`, `registry`, `git`, or a folder.
    """

    dataset: Path
    out: Path
    format: str | None = None
    policies: Policies = field(default_factory=Policies)
    max_side: MaxSide = None
    model: str | None = None
    jobs: int | None = None
    runner: str | None = None
    beam_options: Sequence[str] = ()
    cache: Path = field(default_factory=cache_folder)
    offline: bool = False
    upstream: str | Path = "auto"


def convert(request: Request, say: Say) -> Converted:
    """Convert a dataset, and tell what came of it.

    Raises:
        UsageError: The target is not free, or a choice or the model is unknown.
        OdbuildError: The data has errors, the output cannot be written, or upstream cannot be had.
    """
    run = _run(request, say)
    policies = replace(request.policies, max_side=_max_side(request, say))
    try:
        made = engine.convert(
            request.dataset if request.runner is None else request.dataset.absolute(),
            request.out,
            policies,
            say,
            named=request.format,
            processes=request.jobs,
            run=run,
            verdicts=request.cache / "verdicts",
        )
    except KeyboardInterrupt:
        if workshop.beside(request.out).exists():
            say("what is finished is kept: run the same again to go on")
        raise
    for line in _told(made):
        say(line)
    return made


def _run(request: Request, say: Say) -> Run | None:
    """Return what does the work where that is not for processes of this machine."""
    if request.runner is None:
        if request.beam_options:
            raise UsageError("--beam-option is for a runner of Apache Beam. Name it with --runner.")
        return None
    if request.jobs is not None:
        raise UsageError(
            f"--jobs is for processes of this machine; {request.runner} has options of its own, such as "
            "--beam-option direct_num_workers=4 of the DirectRunner."
        )
    work = workshop.beside(request.out)
    from . import beam

    return beam.cluster(request.runner, request.beam_options, work=work, dataset=request.dataset, say=say).run


def _max_side(request: Request, say: Say) -> int | None:
    if request.max_side != "auto":
        if request.model is not None:
            raise UsageError("--model says what --max-side auto can use. Say that, too, or leave --model out.")
        return request.max_side
    if request.model is None:
        raise UsageError("--max-side auto is what a model can use. Name it with --model.")
    # Most conversions need no model, and are done before these would be loaded.
    from . import pipeline, protos, upstream, zoo
    from .trainer.resolution import useful_side

    model = zoo.find_trainable(request.model)
    tree = upstream.fetch(request.upstream, cache=request.cache, offline=request.offline, say=say)
    compiled = protos.compile_protos(tree, cache=request.cache, say=say)
    side = useful_side(pipeline.sample(model, tree, compiled))
    say(f"{model.name} can use {side} pixels of the longest side, its random crops counted")
    return side


def _told(made: Converted) -> Iterator[str]:
    for name in SIDES:
        side = getattr(made, name)
        if side.shards:
            size = sum(shard.bytes for shard in side.shards)
            yield (
                f"{name}: {side.pictures:,} pictures with {side.boxes:,} boxes, "
                f"{size / 1e6:,.1f} MB in {len(side.shards):,} shards"
            )
    if made.ledger:
        lines = ", ".join(f"{times:,} {what}" for what, times in made.ledger.items())
        yield f"changed or left out: {lines}; see {index.LEDGER}"
