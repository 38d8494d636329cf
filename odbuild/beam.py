"""The work of a conversion as an Apache Beam pipeline, where one machine is not enough.

The launcher plans and finishes; workers make shards by the same step as a process of the launcher's machine. They
talk through the workshop alone, a folder that all see: a job is a file there, and so is what a worker failed with.
Files that one waits for have names of their own in each run, since network file systems remember what was missing.
"""

import contextlib
import io
import json
import pickle
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any
from uuid import uuid4

from .errors import OdbuildError, UsageError, did_you_mean
from .trainer import pool

RUNNERS = ("DirectRunner", "FlinkRunner", "SparkRunner", "DataflowRunner", "PortableRunner")

SERVED = frozenset({"FlinkRunner", "SparkRunner", "PortableRunner"})
"""Runners behind a job server, which may have options of its own."""

PACKAGES = ("odbuild", "pillow", "simplejpeg")
"""What decides about the bytes of a shard, beside its job."""

DEFAULTS = (
    # Without it the DirectRunner hands so plain a pipeline to Prism, a program that it downloads and that takes no
    # notice of direct_num_workers.
    "--allow_unsafe_triggers",
    "--default_sdk_harness_log_level=ERROR",
)

_OWN = re.compile(r"OdbuildError: (.*?)(?: \[while running .*)?$", re.MULTILINE)
"""What a worker raised, in the traceback that Beam makes of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """Where tasks are done.

    Attributes:
        runner: one of `RUNNERS`.
        options: Beam's own form of the pipeline's options.
        work: the workshop, which the workers must see.
        dataset: the dataset's folder, which they must see too.
        say: takes a line of progress.
    """

    runner: str
    options: Any
    work: Path
    dataset: Path
    say: Callable[[str], None]

    def run(self, task: pool.Task, names: Sequence[str], _: pool.Tell) -> None:
        """Have a task do each name once; how far that is, the runner tells in its own ways.

        Raises:
            OdbuildError: the pipeline failed, or a worker lacks what it needs.
            Exception: what a task failed with; the workers begin no other after that.
        """
        token = uuid4().hex
        sign, failure = self.work / f"beam-{token}", self.work / f"failure-{token}"
        sign.write_text(json.dumps(_versions()), encoding="ascii")
        self.say(f"{len(names):,} jobs for the workers of {self.runner}, which must see {self.work}")
        try:
            self._pipe(partial(_do, task=task, sign=sign, failure=failure, dataset=self.dataset), names)
            if failure.exists():
                raise pickle.loads(failure.read_bytes())  # noqa: S301  written by our own workers
        finally:
            sign.unlink(missing_ok=True)
            failure.unlink(missing_ok=True)

    def _pipe(self, do: Callable[[str], None], names: Sequence[str]) -> None:
        import apache_beam

        try:
            pipeline = apache_beam.Pipeline(options=self.options)
            # Without the shuffle, all would be done in the one place where the names are made.
            _ = pipeline | apache_beam.Create(names) | apache_beam.Reshuffle() | "Do" >> apache_beam.Map(do)
            result = pipeline.run()
            try:
                state = result.wait_until_finish()
            except KeyboardInterrupt:
                result.cancel()
                raise
        except Exception as error:
            raise OdbuildError(self._why(str(error) or type(error).__name__)) from error
        if state != "DONE":
            raise OdbuildError(self._why(f"it ended as {state}"))

    def _why(self, told: str) -> str:
        own = _OWN.findall(told)
        last = own[-1] if own else told.strip().splitlines()[-1].partition(" [while running ")[0]
        return f"The pipeline on {self.runner} failed: {last} Run the same again to go on behind what is finished."


def cluster(
    runner: str, options: Sequence[str], *, work: Path, dataset: Path, say: Callable[[str], None]
) -> Cluster:
    """Return where tasks are to be done, all words checked.

    Args:
        runner: one of `RUNNERS`.
        options: Beam's pipeline options, as `NAME=VALUE` or `NAME`.
        work: the workshop.
        dataset: the dataset's folder.
        say: takes a line of progress.

    Raises:
        UsageError: Beam is not installed, or an option is unknown or has a wrong value.
    """
    try:
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise UsageError(f"--runner needs Apache Beam ({error}): pip install 'odbuild[beam]'") from error
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            parsed = PipelineOptions([*DEFAULTS, *(f"--{option}" for option in options), f"--runner={runner}"])
            known = parsed.get_all_options()
            unknown = parsed.get_all_options(retain_unknown_options=True).keys() - known.keys()
    except SystemExit as error:
        raise UsageError(f"--beam-option: {told.getvalue().strip().rpartition('error: ')[2]}") from error
    if unknown and runner not in SERVED:
        word = min(unknown)
        raise UsageError(f"--beam-option: {runner} has no option {word!r}.{did_you_mean(word, known)}")
    return Cluster(runner=runner, options=parsed, work=work, dataset=dataset.absolute(), say=say)


def _do(name: str, *, task: pool.Task, sign: Path, failure: Path, dataset: Path) -> None:
    """Do one task on a worker, and leave what it failed with where the launcher finds it."""
    _require_same(sign, dataset)
    if failure.exists():
        return
    error = pool.attempt(task, [name], lambda _: None)
    if error is not None:
        unfinished = failure.with_name(f"{failure.name}-{uuid4().hex}")
        unfinished.write_bytes(pickle.dumps(error))
        unfinished.replace(failure)


def _require_same(sign: Path, dataset: Path) -> None:
    """Make sure that a worker sees the launcher's folders, and works by the same code."""
    host = socket.gethostname()
    try:
        wanted = json.loads(sign.read_text(encoding="ascii"))
        dataset.stat()
    except OSError as error:
        raise OdbuildError(
            f"the worker {host} does not see {error.filename} as the launcher does ({error.strerror}). Put "
            "dataset and output on a file system that is mounted at the same place on all machines."
        ) from error
    if (here := _versions()) != wanted:
        raise OdbuildError(f"the worker {host} has {here}, the launcher {wanted}. Install the same on all.")


def _versions() -> dict[str, str]:
    return {package: metadata.version(package) for package in PACKAGES}
