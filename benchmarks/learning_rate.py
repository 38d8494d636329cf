"""Compare rules for the learning rate, and upstream's sample configs, by the losses of short runs.

    python benchmarks/learning_rate.py PHOTOGRAPHS [--model NAME] [--steps 100] [--batch 2]
        [--checkpoint NAME=PATH] [--before OTHER_PHOTOGRAPHS] [--seed 1 --seed 2]

Each contender trains in a process of its own, by the payload of the model's own bundle, on the same records, from
the same seeds. Prints a Markdown table: the means of the first and of the last quarter of the losses, and the
slope of a line through all of them with its standard error, by 100 steps. A model without a checkpoint starts from
random weights or, with `--before`, from what a run on other photographs has left.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MODELS = ("ssdlite_mobilenet_v2", "ssd_mobilenet_v2_fpnlite_320x320", "efficientdet_d0")

SAMPLE = Path("sample.config")
"""Upstream's sample config as it is, in the folder of the unpacked bundle."""

SIDE = 640
"""Photographs are shrunk to so many pixels once, which is more than these models take."""


def main() -> None:
    """Make the records once, and for each model the bundle; run the contenders; print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--model", action="append", help=f"repeatable (default: {', '.join(MODELS)})")
    parser.add_argument("--contender", action="append", choices=CONTENDERS, help="repeatable (default: all)")
    parser.add_argument("--checkpoint", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--before", type=Path, help="photographs to train on first, where there is no checkpoint")
    parser.add_argument("--before-steps", type=int, default=250)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--seed", type=int, action="append", help="repeatable (default: 1)")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="as of odbuild bundle")
    words = parser.parse_args()
    checkpoints = dict(each.split("=", 1) for each in words.checkpoint)
    print("| model | contender | seed | first | last | slope | steps |", flush=True)
    print("|---|---|---|---:|---:|---:|---|", flush=True)
    with tempfile.TemporaryDirectory(prefix="learning-rate-") as scratch:
        records = Path(scratch, "records")
        convert(words.photographs, records)
        for model in words.model or MODELS:
            start = checkpoints.get(model) or before(model, words, Path(scratch, model))
            job = unpack(model, words, start, Path(scratch, model))
            for contender in words.contender or CONTENDERS:
                for seed in words.seed or [1]:
                    result = Path(scratch, model, contender, str(seed))
                    said = run(job, contender, (words.steps, seed), records, result)
                    print(f"| {model} | {contender} | {seed} | {row(said, words.steps)} |", flush=True)


def convert(photographs: Path, records: Path) -> None:
    """Make records of a dataset."""
    from odbuild.trainer import convert as engine
    from odbuild.trainer.policies import Policies

    engine.convert(photographs, records, Policies(max_side=SIDE), lambda _: None)


def before(model: str, words: argparse.Namespace, folder: Path) -> str | None:
    """Train on other photographs, where there are any, and return the prefix of the checkpoint."""
    if words.before is None:
        return None
    convert(words.before, folder / "records")
    job = unpack(model, words, None, folder / "before")
    said = run(job, BEFORE, (words.before_steps, 1), folder / "records", folder / "first")
    found = sorted((folder / "first" / "checkpoints").glob(f"*ckpt-{words.before_steps}.index"))
    if not found:
        raise SystemExit(f"{model}: the run before left no checkpoint\n{said}")
    return str(found[0].with_suffix(""))


def unpack(name: str, words: argparse.Namespace, checkpoint: str | None, folder: Path) -> Path:
    """Return the folder of the model's unpacked bundle, upstream's packages and its sample config in it."""
    from odbuild import bundle, upstream, zoo
    from odbuild.trainer.runtime.unpack import unpack_sdists

    wanted = bundle.Request(
        model=name,
        out=folder,
        checkpoint=checkpoint or "none",
        batch_size=words.batch,
        overrides=tuple((path, value) for path, _, value in (each.partition("=") for each in words.set)),
    )
    with zipfile.ZipFile(bundle.bundle(wanted, lambda _: None).path) as packed:
        packed.extractall(folder)
    job = folder / bundle.ROOT
    unpack_sdists(job)
    tree = upstream.fetch("auto", cache=wanted.cache, offline=False, say=lambda _: None)
    (job / SAMPLE).write_bytes(upstream.read(tree, zoo.find_trainable(name).config))
    return job


def run(job: Path, contender: str, steps_and_seed: tuple[int, int], records: Path, result: Path) -> str:
    """Let a contender train in a process of its own, and return what it said."""
    from odbuild.trainer.runtime.unpack import SDISTS

    path = (str(job), *(str(job / name) for name in SDISTS))
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path),
        "CUDA_VISIBLE_DEVICES": "",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    result.mkdir(parents=True)
    done = subprocess.run(
        [
            sys.executable,
            str(Path(__file__).resolve()),
            "--run",
            contender,
            *map(str, steps_and_seed),
            str(records),
            str(result),
        ],
        cwd=job,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    return done.stdout


def row(said: str, steps: int) -> str:
    """Return the columns that tell of a run."""
    import numpy as np

    from odbuild.rehearse import STEP

    losses = np.array([float(loss) for loss, _ in STEP.findall(said)])
    if len(losses) < steps:
        why = (said.strip().splitlines() or ["no word"])[-1]
        return f"| | | {len(losses)}: {why[:150]}"
    quarter = max(1, steps // 4)
    slope, error = line(losses)
    return f"{losses[:quarter].mean():.2f} | {losses[-quarter:].mean():.2f} | {slope:+.2f} ± {error:.2f} | {steps}"


def line(losses: Any) -> tuple[float, float]:
    """Return the slope of the line of least squares through the losses, and its standard error, by 100 steps."""
    import numpy as np

    steps = np.arange(len(losses)) / 100
    slope, start = np.polyfit(steps, losses, 1)
    off = losses - start - slope * steps
    spread = ((steps - steps.mean()) ** 2).sum()
    return float(slope), float(np.sqrt((off**2).sum() / max(1, len(losses) - 2) / spread))


@dataclass(frozen=True, kw_only=True, slots=True)
class Configs:
    """What a contender makes its config of: odbuild's, fitted to the run, the bundle's, and upstream's sample."""

    fitted: Any
    bundled: Any
    sample: Any


def sow(seed: int) -> None:
    """Let the trainers, which always take the same seed, take this one."""
    import tensorflow as tf

    eager, config = tf.random.set_seed, tf.compat.v1.estimator.RunConfig
    tf.random.set_seed = lambda _: eager(seed)
    tf.compat.v1.estimator.RunConfig = lambda **given: config(**{**given, "tf_random_seed": seed})


def fitted(configs: Configs) -> Any:
    """Return the config as odbuild fits it."""
    return configs.fitted


def scaled(power: float) -> Callable[[Configs], Any]:
    """Return a contender: the sample's rates times a power of the batch's share, all else as odbuild has it."""

    def contender(configs: Configs) -> Any:
        from trainer import tuning

        mine, sample = schedule(configs.fitted), schedule(configs.bundled)
        share = configs.fitted.train_config.batch_size / configs.bundled.train_config.batch_size
        for (to, _), (of, _) in zip(
            tuning._with_stages(mine, ""),  # noqa: SLF001
            tuning._with_stages(sample, ""),  # noqa: SLF001
            strict=True,
        ):
            for name in tuning._fields(of, tuning.RATES):
                setattr(to, name, getattr(of, name) * share**power)
        return configs.fitted

    return contender


def hasty(configs: Configs) -> Any:
    """Return odbuild's config with the sample's share of the steps for the warm-up, be it a single step."""
    mine, sample = schedule(configs.fitted), schedule(configs.bundled)
    if "warmup_steps" in mine.DESCRIPTOR.fields_by_name:
        mine.warmup_steps = -(-sample.warmup_steps * mine.total_steps // sample.total_steps)
    return configs.fitted


def unclipped(configs: Configs) -> Any:
    """Return odbuild's config with gradients as they come, where the sample takes them so."""
    configs.fitted.train_config.gradient_clipping_by_norm = configs.bundled.train_config.gradient_clipping_by_norm
    return configs.fitted


def cropped(configs: Configs) -> Any:
    """Return odbuild's config with the random crops of the sample."""
    options = configs.fitted.train_config.data_augmentation_options
    del options[:]
    options.extend(configs.bundled.train_config.data_augmentation_options)
    return configs.fitted


def untouched(configs: Configs) -> Any:
    """Return the sample."""
    return configs.sample


def filled_in(configs: Configs) -> Any:
    """Return the sample with its paths, its classes and the batch filled in, as every guide tells."""
    config, mine = configs.sample, configs.fitted
    pairs = (
        (config.train_input_reader, mine.train_input_reader),
        (config.eval_input_reader[0], mine.eval_input_reader[0]),
    )
    for reader, known in pairs:
        reader.label_map_path = known.label_map_path
        reader.tf_record_input_reader.input_path[:] = known.tf_record_input_reader.input_path[:]
    for name in ("fine_tune_checkpoint", "fine_tune_checkpoint_type", "batch_size"):
        setattr(config.train_config, name, getattr(mine.train_config, name))
    network(config).num_classes = network(mine).num_classes
    return config


def without_averages(configs: Configs) -> Any:
    """Return the sample filled in, without the averaged weights that no TensorFlow has any more."""
    config = filled_in(configs)
    config.train_config.optimizer.use_moving_average = False
    return config


def shortened(configs: Configs) -> Any:
    """Return the same with the run's steps, and with the schedule's where it tells its own."""
    config = without_averages(configs)
    config.train_config.num_steps = configs.fitted.train_config.num_steps
    if "total_steps" in schedule(config).DESCRIPTOR.fields_by_name:
        schedule(config).total_steps = config.train_config.num_steps
    return config


def quick(configs: Configs) -> Any:
    """Return a config with Adam, whose steps do not depend on how flat the loss is at random weights."""
    adam = configs.fitted.train_config.optimizer.adam_optimizer
    adam.learning_rate.constant_learning_rate.learning_rate = 0.001
    return configs.fitted


def network(config: Any) -> Any:
    """Return the part of a config that is the model's."""
    return getattr(config.model, config.model.WhichOneof("model"))


def schedule(config: Any) -> Any:
    """Return the schedule of a config's learning rate."""
    optimizer = config.train_config.optimizer
    rate = getattr(optimizer, optimizer.WhichOneof("optimizer")).learning_rate
    return getattr(rate, rate.WhichOneof("learning_rate"))


CONTENDERS: dict[str, Callable[[Configs], Any]] = {
    "odbuild": fitted,
    "linear": scaled(1),
    "square root": scaled(0.5),
    "rate left alone": scaled(0),
    "warm-up of the sample's share": hasty,
    "gradients as they come": unclipped,
    "random crops kept": cropped,
    "sample as it is": untouched,
    "sample, filled in": filled_in,
    "sample, no averaged weights": without_averages,
    "sample, steps too": shortened,
}

BEFORE = "before"
"""What makes a checkpoint to start from."""


def train(arguments: Sequence[str]) -> None:
    """Train one contender, in the folder of an unpacked bundle; the losses go to standard output."""
    import warnings

    # The names that they have in the bundle.
    import prepare_training
    from trainer import compat, config, prepare
    from trainer import run as training
    from trainer.progress import Progress

    warnings.simplefilter("ignore")
    contender, steps, seed, records, result = arguments
    recipe = prepare_training.RECIPE
    compat.install(recipe.zoo)
    sow(int(seed))
    plan = prepare.prepare(recipe, int(steps), Path(records), Path(result))
    configs = Configs(
        fitted=config.read(Path(plan.pipeline)),
        bundled=config.read(Path(recipe.config)),
        sample=config.read(SAMPLE),
    )
    config.write(Path(plan.pipeline), {**CONTENDERS, BEFORE: quick}[contender](configs))
    training.make_trainer(plan, Progress(say=lambda text: print(text, flush=True))).train(int(steps))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        train(sys.argv[2:])
    else:
        main()
