"""Run a trainer.zip on this machine by the very command of the training service, and judge what it leaves.

Everything the service gives is given: a fresh folder, a fresh HOME, a mounted DATA_DIR that the run may not
change, RESULT_DIR, and nothing else. Everything the service's clients read is read with their own expressions.
"""

import contextlib
import dataclasses
import json
import math
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import archive, bundle, upstream
from .errors import OdbuildError, UsageError, did_you_mean
from .trainer import checkpoint, readers
from .trainer.runtime.rows import load_rows

Say = Callable[[str], None]

STEPS = 10

COMMAND = (
    'cd "$(dirname "$(find . -name "start.sh" -maxdepth 2 | head -1)")" && chmod 777 ./start.sh && ./start.sh {}'
)
"""What Cloud Annotations' clients ask the service to run, word for word."""

TOTAL_STEPS = re.compile(r"\.\/start\.sh (\d*)$")
STEP = re.compile(r"tensorflow:loss = ([\d.]*), step = (\d*)")
"""How cacli reads the number of steps from the command, and the progress from the log."""

SUCCESS, FAILED = "CACLI-TRAINING-SUCCESS", "CACLI-TRAINING-FAILED"

DUCKS = {
    "robertducky1.jpg": (0.436, 0.591, 0.629, 0.712),
    "robertducky2.jpg": (0.539, 0.583, 0.73, 0.71),
    "robertducky3.jpg": (0.464, 0.414, 0.626, 0.548),
    "robertducky4.jpg": (0.313, 0.308, 0.648, 0.526),
    "robertducky5.jpg": (0.256, 0.444, 0.484, 0.629),
}
"""Upstream's photographs of a rubber duck and its box in each: ymin, xmin, ymax, xmax.

Source: `object_detection/colab_tutorials/eager_few_shot_od_training_tf2_colab.ipynb` at the pin.
"""

DUCK_FOLDER = "object_detection/test_images/ducky/train"

PASSED_ON = ("PATH", "LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Variables of this machine that the run needs to reach its package index, beside pip's and the proxy's."""

MARK = ".odbuild-rehearsal"
"""Stands in every folder that a rehearsal made, and so may clear."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What to rehearse.

    Attributes:
        bundle: How to make the zip; its checkpoint is None for random weights.
        zip: A finished trainer.zip instead, or None.
        dataset: A Cloud Annotations folder, or None for upstream's rubber ducks.
        steps: Training steps.
        row: Runtime row, or None to let start.sh choose.
        python: Interpreter of the virtual environment, or None to find one that fits the row.
        out: Folder for the results; one of an earlier rehearsal is replaced.
    """

    bundle: bundle.Request
    zip: Path | None
    dataset: Path | None
    steps: int
    row: str | None
    python: Path | None
    out: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Rehearsal:
    """What came of it, as written to rehearsal.json.

    Attributes:
        model: Catalogue name.
        row: Runtime row that start.sh chose.
        steps: Steps asked for.
        exit_code: Of the service's command.
        restored: Counts of variables compared with the checkpoint at step 0, or None without one.
        loss_first: Loss of the first step.
        loss_last: Loss of the last step.
        map: COCO mAP@[.5:.95] on the validation split, 0..1.
        map50: mAP@.5 on the validation split, 0..1.
        exports: Paths of the exports below the result folder.
        picture: Path of the PNG with ground truth and detections, below `out`.
        problems: What a service or its clients would have stumbled over; empty when all is well.
    """

    model: str | None
    row: str | None
    steps: int
    exit_code: int
    restored: Mapping[str, int] | None
    loss_first: float | None
    loss_last: float | None
    map: float | None
    map50: float | None
    exports: tuple[str, ...]
    picture: str | None
    problems: tuple[str, ...]


def rehearse(request: Request, say: Say) -> Rehearsal:
    """Make the zip, run it as the service does, and judge it.

    Leaves `rehearsal.json`, `log.txt`, `detections.png` and `result/` in `request.out`.

    Raises:
        OdbuildError: If anything that the service or its clients rely on does not hold.
    """
    python = _python(request)
    _look_ahead(request)
    _fresh(request.out)
    with _service(request.out) as service:
        trainer_zip = request.zip or bundle.bundle(request.bundle, say).path
        _unpack(trainer_zip, service.job)
        data = _data(request, service.data, say)
        before = _snapshot(data)
        _make_environment(python, service.environment, say)
        say(f"running the service's command: ./start.sh {request.steps}, log in {request.out / 'log.txt'}")
        exit_code = _run(service, request, say)
        changed = before != _snapshot(data)
    found = _judge(request, exit_code, changed=changed)
    _write(request.out / "rehearsal.json", found)
    if found.problems:
        tail = "".join(_log(request.out).splitlines(keepends=True)[-15:])
        problems = "\n".join(f"  - {problem}" for problem in found.problems)
        raise OdbuildError(f"the rehearsal failed:\n{problems}\nThe log ends:\n{tail}")
    return found


def python_for(row: str | None) -> Path:
    """Find an interpreter on this machine that the row runs on; this one first.

    Raises:
        UsageError: If there is no such row.
        OdbuildError: If there is no such interpreter; the message says which versions would do.
    """
    rows = [known for known in load_rows() if row in {None, known.name}]
    if not rows:
        names = [known.name for known in load_rows()]
        raise UsageError(f"--row {row}: unknown row.{did_you_mean(str(row), names)} Rows: {', '.join(names)}")
    wanted = [version for known in rows for version in known.pythons]
    here = ".".join(map(str, sys.version_info[:2]))
    if here in wanted:
        return Path(sys.executable)
    for version in wanted:
        found = shutil.which(f"python{version}")
        if found and _version(Path(found)) == version:
            return Path(found)
    raise OdbuildError(
        f"{row or 'every runtime row'} needs Python {' or '.join(wanted)}, but this one is {here} and no other "
        f"is on PATH. Name one: --python PATH"
    )


def _python(request: Request) -> Path:
    if request.python is None:
        return python_for(request.row)
    if _version(request.python) is None:
        raise UsageError(f"--python {request.python}: is no Python interpreter")
    return request.python


def _version(python: Path) -> str | None:
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _look_ahead(request: Request) -> None:
    """Tell of a missing zip or dataset before minutes are spent on the rest."""
    if request.zip is not None and not zipfile.is_zipfile(request.zip):
        raise UsageError(f"{request.zip}: is no readable zip file")
    if request.dataset is not None:
        readers.locate(request.dataset)
    if request.out.exists() and not request.out.is_dir():
        raise UsageError(f"--out {request.out}: is no folder. Name another one.")


def _fresh(out: Path) -> None:
    """Clear what an earlier rehearsal left, and nothing that is not one's own."""
    if out.exists() and any(out.iterdir()) and not (out / MARK).exists():
        raise UsageError(f"{out}: is not empty and no rehearsal made it. Name another folder: --out DIR")
    _remove(out)
    out.mkdir(parents=True)
    (out / MARK).touch()


def _remove(folder: Path) -> None:
    """Delete a folder of one's own, write-protected parts of it too."""
    for parent, _, _ in os.walk(folder):
        Path(parent).chmod(stat.S_IRWXU)
    shutil.rmtree(folder, ignore_errors=True)


def _data(request: Request, target: Path, say: Say) -> Path:
    """Lay out DATA_DIR: the annotations and every picture that they name, write-protected."""
    if request.dataset is None:
        tree = upstream.fetch(
            request.bundle.upstream, cache=request.bundle.cache, offline=request.bundle.offline, say=say
        )
        lay_ducks(tree.path, target)
        say("data: five photographs of a rubber duck")
    else:
        _copy_dataset(request.dataset, target)
        say(f"data: {request.dataset}")
    for parent, _, names in os.walk(target):
        for path in (Path(parent), *(Path(parent, name) for name in names)):
            path.chmod(path.stat().st_mode & ~0o222)
    return target


def lay_ducks(tree: Path, target: Path) -> None:
    """Write upstream's five photographs of a duck as a Cloud Annotations folder."""
    target.mkdir()
    annotations = {}
    for name, (ymin, xmin, ymax, xmax) in DUCKS.items():
        shutil.copyfile(tree / DUCK_FOLDER / name, target / name)
        annotations[name] = [{"x": xmin, "y": ymin, "x2": xmax, "y2": ymax, "label": "rubber_ducky"}]
    content = {
        "version": "1.0",
        "type": "localization",
        "labels": ["rubber_ducky"],
        "annotations": annotations,
    }
    (target / "_annotations.json").write_text(json.dumps(content), encoding="utf-8")


def _copy_dataset(source: Path, target: Path) -> None:
    """Copy what the annotations name and no more: a bucket also holds earlier runs."""
    found, _ = readers.read(source)
    pictures = [picture.key for picture in found.pictures if picture.span is None]
    for name in (*found.sources, *pictures):
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(found.root / name, copy)


def _snapshot(folder: Path) -> Mapping[str, tuple[int, int]]:
    """Return size and time of change of every file: root may write where the mode forbids it."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Service:
    job: Path
    data: Path
    home: Path
    environment: Path


@contextlib.contextmanager
def _service(out: Path) -> Iterator[_Service]:
    """Give the folders of a fresh machine, and take them away again."""
    service = _Service(job=out / "job", data=out / "data", home=out / "home", environment=out / "venv")
    try:
        service.job.mkdir()
        service.home.mkdir()
        yield service
    finally:
        for folder in (service.environment, service.job, service.home, service.data):
            _remove(folder)


def _make_environment(python: Path, target: Path, say: Say) -> None:
    say(f"making a fresh virtual environment of {python}")
    # In a process of its own, which an interrupt ends before its folder is taken away.
    done = subprocess.run([str(python), "-m", "venv", str(target)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OdbuildError(f"{python}: cannot make a virtual environment: {done.stdout}{done.stderr}")


def _unpack(trainer_zip: Path, job: Path) -> None:
    try:
        with zipfile.ZipFile(trainer_zip) as packed:
            packed.extractall(job)
    except zipfile.BadZipFile as error:
        raise OdbuildError(f"{trainer_zip}: is a damaged zip file ({error})") from error


def _environment(service: _Service, request: Request) -> dict[str, str]:
    passed = {k: v for k, v in os.environ.items() if k in PASSED_ON or k.startswith(("PIP_", "pip_"))}
    proxies = {k: v for k, v in os.environ.items() if k.lower().endswith("_proxy")}
    cache = {"PIP_CACHE_DIR": _pip_cache()} if "PIP_CACHE_DIR" not in passed else {}
    row = {"ODBUILD_ROW": request.row} if request.row else {}
    return {
        **passed,
        **proxies,
        **cache,
        **row,
        "PATH": f"{service.environment / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "HOME": str(service.home),
        "DATA_DIR": str(service.data.absolute()),
        "RESULT_DIR": str((request.out / "result").absolute()),
        "CUDA_VISIBLE_DEVICES": "",
    }


def _pip_cache() -> str:
    """Return pip's cache of this user: HOME is fresh, but what was downloaded once need not be again."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "cache", "dir"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or str(Path.home() / ".cache" / "pip")


def _run(service: _Service, request: Request, say: Say) -> int:
    """Run the command, keep its whole output, and tell the lines that a person wants to see."""
    (request.out / "result").mkdir()
    every = max(1, request.steps // 10)
    with (
        (request.out / "log.txt").open("w", encoding="utf-8") as log,
        _started(service, request) as process,
    ):
        for line in process.stdout or ():
            log.write(line)
            log.flush()
            step = STEP.search(line)
            if step is None or int(step[2] or 0) % every == 0:
                say(f"  | {line.rstrip()}")
    return process.returncode


@contextlib.contextmanager
def _started(service: _Service, request: Request) -> Iterator[subprocess.Popen[str]]:
    """Start the command in a session of its own, so that Ctrl-C here ends all of it."""
    process = subprocess.Popen(
        ["bash", "-c", COMMAND.format(request.steps)],
        cwd=service.job,
        env=_environment(service, request),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        yield process
        process.wait()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def _log(out: Path) -> str:
    return (out / "log.txt").read_text(encoding="utf-8")


def _judge(request: Request, exit_code: int, *, changed: bool) -> Rehearsal:
    log, result = _log(request.out), request.out / "result"
    told = _results(result)
    picture = told.get("picture")
    if picture and (result / picture).exists():
        shutil.copyfile(result / picture, request.out / "detections.png")
    found = Rehearsal(
        model=told.get("model"),
        row=_row(log),
        steps=request.steps,
        exit_code=exit_code,
        restored=told.get("restored"),
        loss_first=told.get("loss_first"),
        loss_last=told.get("loss_last"),
        map=told.get("map"),
        map50=told.get("map50"),
        exports=tuple(name for name in told.get("exports", ()) if (result / name).exists()),
        picture="detections.png" if (request.out / "detections.png").exists() else None,
        problems=(),
    )
    problems = [*_marker_problems(log, exit_code), *_step_problems(log, request.steps)]
    if changed:
        problems.append("the run changed files in DATA_DIR")
    if exit_code == 0:
        problems += _result_problems(found, wants_checkpoint=_wants_checkpoint(request))
    return dataclasses.replace(found, problems=tuple(problems))


def _results(result: Path) -> dict[str, Any]:
    path = result / "results.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def _row(log: str) -> str | None:
    found = re.search(r"^Runtime row (\S+)", log, re.MULTILINE)
    return found[1] if found else None


def _wants_checkpoint(request: Request) -> bool:
    return request.zip is None and request.bundle.checkpoint != "none"


def _marker_problems(log: str, exit_code: int) -> Iterator[str]:
    markers = [line for line in log.splitlines() if line in {SUCCESS, FAILED}]
    if exit_code:
        yield f"the command ended with exit code {exit_code}"
    expected = FAILED if exit_code else SUCCESS
    if markers != [expected]:
        yield f"exit code {exit_code} wants one line {expected}, the log has {markers or 'none'}"


def _step_problems(log: str, steps: int) -> Iterator[str]:
    total = TOTAL_STEPS.search(COMMAND.format(steps))
    if total is None or int(total[1]) != steps:
        yield f"cacli would not read {steps} steps from the command"
    seen = [int(step) for _, step in STEP.findall(log)]
    if seen != list(range(steps)):
        missing = sorted(set(range(steps)) - set(seen))
        yield f"cacli would read {len(seen)} of {steps} steps from the log; the first it misses is {missing[:1]}"


def _result_problems(found: Rehearsal, *, wants_checkpoint: bool) -> Iterator[str]:
    for name in ("loss_first", "loss_last"):
        value = getattr(found, name)
        if value is None or not math.isfinite(value):
            yield f"{name} is {value}, not a finite number"
    for name in ("map", "map50"):
        value = getattr(found, name)
        if value is None or not 0 <= value <= 1:
            yield f"evaluation gave no {name} ({value})"
    if "model/saved_model.pb" not in found.exports:
        yield "there is no SavedModel in the result folder"
    if found.picture is None:
        yield "the exported model was not run on a picture"
    if wants_checkpoint:
        yield from _restored_problems(found)


def _restored_problems(found: Rehearsal) -> Iterator[str]:
    if found.restored is None:
        yield "the run says nothing of its checkpoint: it was not restored"
        return
    try:
        checkpoint.require_restored(checkpoint.Restored(**found.restored), "checkpoint")
    except OdbuildError as error:
        yield str(error)


def _write(path: Path, found: Rehearsal) -> None:
    with archive.atomic(path) as partial:
        partial.write_text(json.dumps(dataclasses.asdict(found), indent=1), encoding="utf-8")
