"""What shrinking is worth to a training: python benchmarks/reader.py DATASET CHECKPOINT [--steps 300].

Makes records of a dataset as it is and by `--max-side auto`, and reads both by a pipeline of tf.data with
upstream's decoder and the model's resizer, in turn in every round, each in a process of its own. With `--steps` a
model is also fine-tuned on both, as often as `--runs` says. `--docs` puts the tables into a page too. Needs
TensorFlow; `nox -s benchmark -- reader ...` installs it.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from page import put

WAYS: Mapping[str, Sequence[str]] = {"as they are": (), "--max-side auto": ("--max-side", "auto")}
"""What is said to `odbuild convert`, by what it is called in tables."""

SECONDS = 10.0
"""How long a pipeline is read, once it runs."""

LEAST = 5
"""How many times as fast shrunk pictures have to be read."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """What reading cost.

    Attributes:
        pictures: a second.
        work: seconds of all processors for each picture.
    """

    pictures: float
    work: float


def main() -> None:
    """Measure and print, or do the part of one process."""
    if sys.argv[1] == "--measure":
        print(json.dumps(read(Path(sys.argv[2]), Path(sys.argv[3]))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("checkpoint", help="what the fine-tuning starts from, as `odbuild bundle` takes it")
    parser.add_argument("--model", default="ssdlite_mobilenet_v2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=0, help="of the fine-tuning; none if not given")
    parser.add_argument("--runs", type=int, default=2, help="trainings on each kind of records")
    parser.add_argument("--work", type=Path, default=Path("build", "reader"), help="folder to make anew")
    parser.add_argument("--docs", type=Path, help="page whose parts `reader` and `training` are made again")
    words = parser.parse_args()
    work = words.work.absolute()
    shutil.rmtree(work, ignore_errors=True)
    folders = {way: convert(words, work / str(number), said) for number, (way, said) in enumerate(WAYS.items())}
    job = unpacked(words, work)
    parts = {"reader": paced(folders, job, words.rounds)}
    if words.steps:
        parts["training"] = trained(words, folders, job)
    for part, lines in parts.items():
        told = []
        for line in lines:
            print(line, flush=True)
            told.append(line)
        print()
        if words.docs:
            put(words.docs, part, told)


def convert(words: argparse.Namespace, out: Path, said: Sequence[str]) -> Path:
    """Make records in a folder, and return it."""
    call("-m", "odbuild", "convert", words.dataset, out, "--model", words.model, *said)
    return out


def unpacked(words: argparse.Namespace, work: Path) -> Path:
    """Make the bundle, and return the folder that holds its `start.sh`, upstream's packages unpacked."""
    bundle = ("bundle", words.model, "--checkpoint", words.checkpoint, "--batch-size", "8", "--out", work / "dist")
    call("-m", "odbuild", *bundle)
    shutil.unpack_archive(next((work / "dist").rglob("trainer.zip")), work / "job")
    job = next((work / "job").rglob("start.sh")).parent
    # Python's own way forgets that it can be run.
    (job / "start.sh").chmod(0o755)
    for sdist in job.glob("*.tar.gz"):
        shutil.unpack_archive(sdist, job, filter="data")
    return job


def call(*words: Any, **environment: str) -> str:
    """Run Python with these arguments, and return what it prints.

    Raises:
        SystemExit: it failed.
    """
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{words} ended with {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return done.stdout


def paced(folders: Mapping[str, Path], job: Path, rounds: int) -> Iterator[str]:
    """Read all records in every round, and yield the lines of a table of the best of each."""
    places = os.pathsep.join([str(job / "object_detection-0.1"), str(job / "slim-0.1")])
    best: dict[str, Pace] = {}
    for _ in range(rounds):
        for way, folder in folders.items():
            told = call(__file__, "--measure", folder, next(job.glob("*.config")), PYTHONPATH=places)
            pace = Pace(**json.loads(told.splitlines()[-1]))
            last = best.get(way, pace)
            best[way] = Pace(pictures=max(pace.pictures, last.pictures), work=min(pace.work, last.work))
    yield "| records | MB | pictures a second | times as fast | ms of processors a picture | times less |"
    yield "|---|--:|--:|--:|--:|--:|"
    slow = best[next(iter(folders))]
    for way, folder in folders.items():
        size = sum(path.stat().st_size for path in folder.glob("*.record")) / 1e6
        pace = best[way]
        yield (
            f"| {way} | {size:.1f} | {pace.pictures:.1f} | {pace.pictures / slow.pictures:.2f} "
            f"| {pace.work * 1000:.1f} | {slow.work / pace.work:.2f} |"
        )
    yield ""
    yield f"Promised: {LEAST} times as fast."


def read(folder: Path, config: Path) -> dict[str, float]:
    """Read records as a training does, again and again, and return a `Pace`."""
    from google.protobuf import text_format

    from odbuild.trainer import compat

    compat.install("tf2")
    import tensorflow as tf
    from object_detection.builders import image_resizer_builder
    from object_detection.data_decoders.tf_example_decoder import TfExampleDecoder
    from object_detection.protos import pipeline_pb2

    model = text_format.Parse(config.read_text(), pipeline_pb2.TrainEvalPipelineConfig()).model
    resize = image_resizer_builder.build(getattr(model, model.WhichOneof("model")).image_resizer)
    decoder = TfExampleDecoder(label_map_proto_file=str(folder / "label_map.pbtxt"))

    def prepare(record: Any) -> Any:
        seen = decoder.decode(record)
        return resize(tf.cast(seen["image"], tf.float32))[0], seen["groundtruth_boxes"]

    shards = sorted(map(str, folder.glob("*.record")))
    pictures = tf.data.TFRecordDataset(shards).repeat().map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
    rest = iter(pictures.prefetch(tf.data.AUTOTUNE))
    for _ in range(20):
        next(rest)
    count, begin, worked = 0, time.perf_counter(), time.process_time()
    while (took := time.perf_counter() - begin) < SECONDS:
        next(rest)
        count += 1
    return {"pictures": count / took, "work": (time.process_time() - worked) / count}


def trained(words: argparse.Namespace, folders: Mapping[str, Path], job: Path) -> Iterator[str]:
    """Fine-tune on all records in every run, and yield the lines of a table."""
    yield f"| {words.steps} steps on records | run | mAP | mAP@.5 | seconds |"
    yield "|---|--:|--:|--:|--:|"
    found: dict[str, list[Mapping[str, Any]]] = {way: [] for way in folders}
    for run in range(1, words.runs + 1):
        for way, folder in folders.items():
            begin = time.perf_counter()
            results = train(job, folder, words.steps)
            took = time.perf_counter() - begin
            found[way].append(results)
            yield f"| {way} | {run} | {results['map']:.3f} | {results['map50']:.3f} | {took:.0f} |"
    if words.runs > 1:
        yield from (
            f"| {way} | all | {spread(runs, 'map')} | {spread(runs, 'map50')} | |" for way, runs in found.items()
        )


def spread(runs: Sequence[Mapping[str, Any]], name: str) -> str:
    """Return the mean of a result over several runs, and its standard error."""
    values = [run[name] for run in runs]
    return f"{mean(values):.3f} ± {stdev(values) / len(values) ** 0.5:.3f}"


def train(job: Path, records: Path, steps: int) -> Mapping[str, Any]:
    """Run a fresh copy of the job, and return its results.

    Raises:
        SystemExit: it failed.
    """
    fresh, result = job.with_name("fresh"), job.with_name("result")
    for folder in (fresh, result):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(job, fresh)
    result.mkdir()
    done = subprocess.run(
        ["./start.sh", str(steps)],
        cwd=fresh,
        env={
            **os.environ,
            "DATA_DIR": str(records),
            "RESULT_DIR": str(result),
            "ODBUILD_PYTHON": sys.executable,
            "TF_CPP_MIN_LOG_LEVEL": "3",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"start.sh ended with {done.returncode}\n{done.stdout[-3000:]}")
    return dict(json.loads((result / "results.json").read_text()))


if __name__ == "__main__":
    main()
