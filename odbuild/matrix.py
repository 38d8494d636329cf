"""Try every model of the catalogue, each in a process of its own, and keep what came of it.

Cheap models first, and several at once: what costs is to build graphs, which takes one processor. A run that was
ended goes on with the models of which nothing is known yet.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from . import archive, bundle, outcomes, rehearse, upstream, zoo
from .bundle import Bundle
from .cache import cache_folder
from .errors import OdbuildError
from .outcomes import Outcome
from .trainer.runtime.unpack import SDISTS, unpack_sdists
from .zoo import Model

Say = Callable[[str], None]

SIDE = 256
"""Pixels of a picture's longer side, where a model takes larger ones; the strides of every pyramid divide it."""

SECONDS = 900
"""A trial that takes longer is ended."""

BYTES = 14_100_000_000
"""The most memory that a trial takes: CenterNet's with its hourglass."""

PROPOSALS = 32
"""Boxes that NASNet looks at twice: at the 300 of its config it takes 19 GB even for small pictures."""

TWO_STAGES = frozenset({"faster_rcnn", "rfcn", "context_rcnn"})

PACKAGE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What to try.

    Attributes:
        models: Names of the models to try, or none for all.
        again: Whether to try those too of which the outcome is known.
        results: File of the outcomes, which is added to.
        logs: Folder for what each trial prints.
        cache: Folder for what is costly to make.
        jobs: Trials at once.
    """

    models: tuple[str, ...] = ()
    again: bool = False
    results: Path = PACKAGE / outcomes.FILE
    logs: Path
    cache: Path
    jobs: int


def session(names: Sequence[str], say: Say = print) -> None:
    """Do what `nox -s zoo-matrix` promises: try, and keep the outcomes in the package.

    Raises:
        OdbuildError: If a name is unknown, or upstream cannot be had.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    logs = cache_folder() / "zoo-matrix"
    request = Request(models=tuple(names), again=bool(names), logs=logs, cache=cache_folder(), jobs=_jobs())
    run(request, say)
    say(f"outcomes in {PACKAGE / outcomes.FILE}, logs in {logs}; `nox -s docs` makes the page")


def _jobs() -> int:
    """Return how many trials this machine has processors and memory for."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(os.cpu_count() or 1, memory // BYTES))


def run(request: Request, say: Say) -> None:
    """Try the models that are due and write each outcome as soon as it is known.

    Raises:
        OdbuildError: If a name is unknown, or upstream cannot be had.
    """
    request.logs.mkdir(parents=True, exist_ok=True)
    tree = upstream.fetch("auto", cache=request.cache, offline=False, say=say)
    with tempfile.TemporaryDirectory(prefix="zoo-matrix-") as scratch:
        data = Path(scratch, "data")
        rehearse.lay_ducks(tree.path, data)
        due = list(_due(request, Path(scratch), say))
        say(f"{len(due)} models to try, {request.jobs} at once")
        for number, outcome in enumerate(_outcomes(due, data, request), 1):
            outcomes.append(request.results, outcome)
            told = ", ".join(f"{stage}: {why}" for stage, why in outcome.failed.items()) or "all stages passed"
            say(f"{number} of {len(due)}: {outcome.model}: {told} ({outcome.seconds:.0f} s)")
    _tidy(request.results)


def order(models: Sequence[Model]) -> list[Model]:
    """Put the models that are quick to try first: those for phones, then by speed on a graphics card."""
    return sorted(models, key=lambda model: 0 if model.edge_device else model.speed_ms or float("inf"))


def settings(model: Model) -> dict[str, str]:
    """Return the fields of the config, by path, that make a model's trial small."""
    kind = "faster_rcnn" if model.meta_architecture in TWO_STAGES else model.meta_architecture
    resizer = f"model.{kind}.image_resizer.{model.resizer}_resizer"
    names = ("height", "width") if model.resizer == "fixed_shape" else ("min_dimension", "max_dimension")
    small = {f"{resizer}.{name}": str(SIDE) for name in names} if max(model.input_size) > SIDE * 5 / 4 else {}
    if model.feature_extractor == "faster_rcnn_nas":
        fewer = (f"model.{kind}.first_stage_max_proposals", f"model.{kind}.second_stage_batch_size")
        small |= dict.fromkeys(fewer, str(PROPOSALS))
    return small


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    """A model to try: its bundle, or why there is none."""

    model: Model
    key: str
    settings: tuple[str, ...]
    folder: Path
    bundle: Bundle | None
    failed: str = ""


def _due(request: Request, scratch: Path, say: Say) -> Iterator[_Job]:
    """Make the bundles of the models to try; those of the others too, to see whether they are the same still."""
    named = {zoo.find_trainable(name).name for name in request.models}
    known = outcomes.parse(request.results.read_text(encoding="utf-8")) if request.results.exists() else {}
    for model in order([model for model in zoo.models() if not model.unavailable]):
        if named and model.name not in named:
            continue
        job = _job(model, scratch / model.name, request)
        before = known.get(model.name)
        if request.again or before is None or (before.key, before.settings) != (job.key, job.settings):
            yield job
        else:
            say(f"{model.name}: known already")
            shutil.rmtree(job.folder)


def _job(model: Model, folder: Path, request: Request) -> _Job:
    batch = 1 if model.meta_architecture in TWO_STAGES else 2
    small = settings(model)
    wanted = bundle.Request(
        model=model.name,
        out=folder,
        cache=request.cache,
        checkpoint="none",
        batch_size=batch,
        overrides=tuple(small.items()),
    )
    told = (f"batch {batch}", *(f"{path.rpartition('.')[2]} {value}" for path, value in small.items()))
    try:
        made = bundle.bundle(wanted, lambda _: None)
    except OdbuildError as error:
        return _Job(model=model, key="", settings=told, folder=folder, bundle=None, failed=str(error))
    return _Job(model=model, key=_key(made.path), settings=told, folder=folder, bundle=made)


def _key(trainer_zip: Path) -> str:
    """Name what is tried: upstream's code and the config, but not the payload, which changes all the time."""
    with zipfile.ZipFile(trainer_zip) as packed:
        manifest = json.loads(packed.read(f"{bundle.ROOT}/MANIFEST.json"))
    names = (manifest["recipe"]["config"], *(f"{name}.tar.gz" for name in SDISTS))
    return sha256("".join(manifest["members"][name]["sha256"] for name in names).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Trial:
    """A process under way."""

    job: _Job
    process: subprocess.Popen[bytes]
    since: float


def _outcomes(jobs: Sequence[_Job], data: Path, request: Request) -> Iterator[Outcome]:
    """Run the trials, so many at once, and yield what came of each as it ends; whatever ends this ends them."""
    waiting = list(jobs)
    running: list[_Trial] = []
    try:
        while waiting or running:
            while waiting and len(running) < request.jobs:
                job = waiting.pop(0)
                if job.bundle is None:
                    yield _outcome(job, 0, {})
                else:
                    running.append(_start(job, data, request.logs))
            time.sleep(0.2)
            for trial in [trial for trial in running if _over(trial)]:
                running.remove(trial)
                yield _ended(trial)
    finally:
        for trial in running:
            _kill(trial)


def _start(job: _Job, data: Path, logs: Path) -> _Trial:
    with zipfile.ZipFile(job.folder / job.model.name / "trainer.zip") as packed:
        packed.extractall(job.folder)
    place = job.folder / bundle.ROOT
    unpack_sdists(place)
    path = (str(PACKAGE.parent), *(str(place / name) for name in SDISTS))
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path),
        "CUDA_VISIBLE_DEVICES": "",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    with (logs / f"{job.model.name}.txt").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "odbuild.trial", str(data), str(job.folder / "out"), str(_account(job))],
            cwd=place,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return _Trial(job=job, process=process, since=time.monotonic())


def _account(job: _Job) -> Path:
    return job.folder / "account.jsonl"


def _over(trial: _Trial) -> bool:
    return trial.process.poll() is not None or time.monotonic() - trial.since > SECONDS


def _kill(trial: _Trial) -> None:
    # The whole session: a trial runs its export in a process of its own.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(trial.process.pid, signal.SIGKILL)
    trial.process.wait()


def _ended(trial: _Trial) -> Outcome:
    seconds = time.monotonic() - trial.since
    _kill(trial)
    path = _account(trial.job)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    told = {fact["stage"]: fact for fact in map(json.loads, lines)}
    shutil.rmtree(trial.job.folder)
    missing = [stage for stage in outcomes.STAGES[1:] if stage not in told]
    if missing:
        told[missing[0]] = {"failed": _end(trial.process.returncode, late=seconds > SECONDS)}
    return _outcome(trial.job, seconds, told)


def _end(code: int, *, late: bool) -> str:
    """Say why a trial ended before it had told of every stage."""
    if late:
        return f"took longer than {SECONDS} s"
    return "killed, most often for want of memory" if code == -signal.SIGKILL else f"ended with exit code {code}"


def _outcome(job: _Job, seconds: float, told: Mapping[str, Mapping[str, Any]]) -> Outcome:
    """Read a trial's account; what it does not tell of was not reached."""
    failed = {"bundle": job.failed} if job.bundle is None else {}
    for stage in outcomes.STAGES[1:]:
        why = told.get(stage, {"failed": ""})["failed"]
        failed |= {} if why is None else {stage: why}
    return Outcome(
        model=job.model.name,
        key=job.key,
        tensorflow=told.get("started", {}).get("tensorflow"),
        settings=job.settings,
        failed=failed,
        bundle_bytes=job.bundle.size if job.bundle else None,
        loss=told.get("step", {}).get("loss"),
        restored=told.get("restored", {}).get("restored"),
        seconds=round(seconds, 1),
        peak_mb=told.get("ended", {}).get("peak_mb"),
    )


def _tidy(results: Path) -> None:
    """Leave one line a model, in the order of the catalogue, whatever order they ended in."""
    if not results.exists():
        return
    known = outcomes.parse(results.read_text(encoding="utf-8"))
    kept = [known[model.name] for model in zoo.models() if model.name in known]
    with archive.atomic(results) as partial:
        partial.write_text(outcomes.render(kept), encoding="utf-8")
