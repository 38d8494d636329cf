"""The command line: parse the words, call one recipe, print what it made, and map what it raises."""

import argparse
import errno
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, get_args

from . import __version__
from .errors import OdbuildError, UsageError
from .trainer.findings import escaped
from .trainer.recipe import Boxes, Exif, Negatives, Zoo

if TYPE_CHECKING:
    from .check import Options, Report

OK, FAILED, BUG, INTERRUPTED = 0, 1, 70, 130
"""Beside 2 for wrong usage; `validate` also ends with 1 for findings and 3 for what cannot be read at all."""

CHOICES = (
    "checkpoint",
    "checkpoint_mirror",
    "batch_size",
    "validation",
    "boxes",
    "exif",
    "negatives",
    "max_side",
    "overrides",
)
"""Options that a bundle is made with, so that a finished one has them."""

CHECKS, SPLITS, FORMATS = ("none", "structure", "decode"), ("hash", "source"), ("transcode", "fail")
NEAR = ("apart", "together")
SORTS, EXPORTS = ("zoo", "name", "ms", "map"), ("saved_model", "frozen_graph", "tflite")
RUNNERS = ("DirectRunner", "FlinkRunner", "SparkRunner", "DataflowRunner", "PortableRunner")
"""The words of `beam`, `trainer.policies` and `models`, which load too much to be asked for them."""

RECORDS = "records"
WRITERS = ("cloud", "coco", "yolo")
"""The words of `writers`, which loads too much, too; `convert` makes records unless one of them is named."""

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
MACHINE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ENAMETOOLONG, errno.EMFILE})
"""Failures of the operating system that are the machine's and not a bug of odbuild's."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0 is success, 1 failed work or findings, 2 wrong usage, 3 broken data, 70 a bug, 130 an interrupt.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            # It was closed before the start, as services do that want nothing of it.
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - as long as the process
    # A path may hold bytes that the terminal's encoding lacks; that must not end a finished build.
    for stream in (sys.stdout, sys.stderr):
        getattr(stream, "reconfigure", lambda **_: None)(errors="backslashreplace")
    # A service stops a process by SIGTERM: clean up as after Ctrl-C.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        words = list(sys.argv[1:] if argv is None else argv)
        arguments = _parser(words).parse_args(words)
        code: int | None = arguments.run(arguments)
        sys.stdout.flush()
    except OdbuildError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted; nothing was left half-written", INTERRUPTED, kind="")
    except BrokenPipeError:
        return _reader_left()
    except OSError as error:
        return _failed_by_machine(error)
    except MemoryError:
        return _fail("memory ran out. --jobs 1 takes the least; else run where there is more.", FAILED)
    except Exception:  # noqa: BLE001  the one place where a bug gets its exit code, traceback and all
        return _bug()
    return code or OK


def _bundle(arguments: argparse.Namespace) -> None:
    from .bundle import bundle, explain

    request = _request(arguments, arguments.model, arguments.out)
    if arguments.explain:
        print(explain(request, _say))
        _say("start.sh changes what depends on data, steps and machine, and prints it with its reasons")
        return
    made = bundle(request, _say)
    _say(f"{made.model}: {made.size / 1e6:,.2f} MB")
    print(f"{made.sha256}  {made.path}")


def _rehearse(arguments: argparse.Namespace) -> None:
    from .rehearse import Request, rehearse

    finished = _finished(arguments)
    arguments.out = arguments.out or Path("rehearsal", Path(arguments.model).stem)
    vars(arguments).setdefault("checkpoint", "none")
    request = Request(
        bundle=_request(arguments, arguments.model, arguments.out / "bundle"),
        zip=finished,
        dataset=arguments.dataset,
        steps=arguments.steps,
        row=arguments.row,
        python=arguments.python,
        out=arguments.out,
    )
    rehearse(request, _say)
    for name in ("detections.png", "rehearsal.json"):
        print(arguments.out / name)


def _models(arguments: argparse.Namespace) -> None:
    from . import models, zoo

    chosen = zoo.find(arguments.model) if arguments.model else None
    given = vars(arguments)
    wanted = models.Wanted(**{name: given[name] for name in models.Wanted.__dataclass_fields__ if name in given})
    found = models.select(wanted)
    if arguments.plot:
        models.write_plot(found, chosen, arguments.plot)
        print(arguments.plot)
    elif arguments.json:
        print(models.as_json([chosen] if chosen else found))
    elif chosen:
        print(models.details(chosen))
    else:
        print(models.table(found))
        _say(f"{len(found)} of {len(zoo.models())} models; odbuild models NAME tells all of one")


def _validate(arguments: argparse.Namespace) -> int:
    from . import archive, reports, settings
    from .check import Options, check

    held = settings.load(Path.cwd())
    given = {**held, **vars(arguments)}
    given["severity"] = {**held.get("severity", {}), **getattr(arguments, "severity", {})}
    options = Options(**{name: given[name] for name in Options.__dataclass_fields__ if name in given})
    for name in ("to", "exif") if "fix" not in given else ():
        if name in given:
            raise UsageError(f"--{name} says how a copy is made. Name its folder with --fix, or leave it out.")
    report = _fix(arguments, options) if "fix" in given else check(arguments.paths, options)
    text = reports.render(report, arguments.output_format)
    if arguments.output is None:
        print(text, end="")
    else:
        archive.write_bytes(arguments.output, text.encode())
        print(arguments.output)
    return report.exit_code(options.fail_on)


def _fix(arguments: argparse.Namespace, options: "Options") -> "Report":
    """Write a mended copy and return the report on it."""
    from .fix import Request, fix

    if len(arguments.paths) > 1:
        raise UsageError(f"--fix takes one dataset, not {len(arguments.paths)} paths.")
    given = {name: value for name, value in vars(arguments).items() if name in {"to", "exif"}}
    return fix(Request(dataset=arguments.paths[0], out=arguments.fix, options=options, **given), _say)


def _rules(arguments: argparse.Namespace) -> None:
    from . import rulebook

    print(rulebook.listing() if arguments.code is None else rulebook.details(arguments.code))


def _convert(arguments: argparse.Namespace) -> None:
    if arguments.to != RECORDS:
        _rewrite(arguments)
        return
    from .convert import Request, convert
    from .trainer.policies import Policies

    given = vars(arguments)
    idle = [name for name in ("validation", "group", "near_duplicates") if name in given]
    if idle and given.get("split") == "source":
        option = idle[0].replace("_", "-")
        raise UsageError(
            f"--{option} says how to divide, but --split source takes the sides as they are. Leave out one."
        )
    chosen = {name: given[name] for name in Policies.__dataclass_fields__ if name in given and name != "max_side"}
    rest = {name: given[name] for name in Request.__dataclass_fields__ if name in given}
    made = convert(Request(**rest, policies=Policies(**chosen)), _say)
    print(f"{made.digest}  {made.folder}")


def _rewrite(arguments: argparse.Namespace) -> None:
    from .rewrite import rewrite

    extra = sorted(set(vars(arguments)) - {"run", "dataset", "out", "to", "format"})
    if extra:
        option = extra[0].replace("_", "-")
        raise UsageError(f"--{option} is for records. Leave it out, or leave out --to {arguments.to}.")
    rewrite(arguments.dataset, arguments.out, arguments.to, _say, named=getattr(arguments, "format", None))
    print(arguments.out)


def _finished(arguments: argparse.Namespace) -> Path | None:
    """Return the zip to rehearse where one is named: its choices are made."""
    if not arguments.model.endswith(".zip"):
        return None
    for name in CHOICES:
        if hasattr(arguments, name):
            option = "set" if name == "overrides" else name.replace("_", "-")
            raise UsageError(
                f"--{option}: {arguments.model} is finished. Name a model instead, or leave --{option} out."
            )
    return Path(arguments.model)


def _request(arguments: argparse.Namespace, model: str, out: Path) -> Any:
    from .bundle import Request

    given = {name: value for name, value in vars(arguments).items() if name in {*CHOICES, "offline", "upstream"}}
    given["overrides"] = tuple(given.get("overrides", ()))
    return Request(model=model, out=out, **given)


def _parser(words: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Return what parses the words; of the commands only the one that they name, if any, as each takes a while."""
    # What is not given is left out, so that the defaults stand in one place: the recipe's request.
    parser = argparse.ArgumentParser(
        prog="odbuild",
        description="Build, check and rehearse trainer.zip bundles for TensorFlow Object Detection models.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"odbuild {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    every = {
        "bundle": _add_bundle,
        "rehearse": _add_rehearse,
        "models": _add_models,
        "validate": _add_validate,
        "rules": _add_rules,
        "convert": _add_convert,
    }
    named = every.get(words[0]) if words else None
    for add in [named] if named else every.values():
        add(commands)
    return parser


def _add_command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int | None], summary: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    parser.set_defaults(run=run)
    return parser


def _add_bundle(commands: Any) -> None:
    parser = _add_command(commands, "bundle", _bundle, "Make trainer.zip for a model.")
    parser.add_argument("model", metavar="MODEL", help="a model of the zoos, such as faster_rcnn_resnet101")
    _add_choices(parser, checkpoint="fetch")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", default=Path("dist"), help="folder for the bundle (default: dist)"
    )
    parser.add_argument(
        "--explain",
        action="store_true",
        default=False,
        help="print each change of upstream's sample config as a diff with its reason, and write nothing",
    )


def _add_rehearse(commands: Any) -> None:
    summary = "Run trainer.zip on this machine by the very command of the training service."
    parser = _add_command(commands, "rehearse", _rehearse, summary)
    parser.add_argument("model", metavar="MODEL_OR_ZIP", help="a model of the zoos, or a finished trainer.zip")
    parser.add_argument(
        "dataset",
        metavar="DATASET",
        type=Path,
        nargs="?",
        default=None,
        help="a folder with _annotations.json and its photographs (default: upstream's rubber ducks)",
    )
    # A rehearsal shall not wait for a download that nobody asked for.
    _add_choices(parser, checkpoint="none")
    parser.add_argument("--steps", type=_count, metavar="N", default=10, help="training steps (default: 10)")
    parser.add_argument("--row", metavar="ROW", default=None, help="the runtime row, such as tf2.21")
    parser.add_argument(
        "--python", type=Path, metavar="PATH", default=None, help="the interpreter of the fresh environment"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        default=None,
        help="folder for the results (default: rehearsal/MODEL)",
    )


def _add_models(commands: Any) -> None:
    summary = "Choose a model: list those of the zoos, or tell all of one."
    parser = _add_command(commands, "models", _models, summary)
    parser.add_argument("model", metavar="NAME", nargs="?", default=None, help="tell all of this one")
    parser.add_argument("--zoo", choices=get_args(Zoo), help="only this zoo")
    parser.add_argument("--max-ms", type=_number, metavar="MS", help="only as fast, by the zoo's own measure")
    parser.add_argument("--min-map", type=_number, metavar="MAP", help="only as good, by COCO mAP of 0 to 100")
    parser.add_argument("--export", choices=EXPORTS, help="only what can be exported to this")
    parser.add_argument("--sort", choices=SORTS, help="fastest or best first (default: the zoos' order)")
    parser.add_argument("--json", action="store_true", default=False, help="print JSON")
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        default=None,
        help="draw speed against mAP into FILE.svg or FILE.png, NAME marked",
    )


def _add_validate(commands: Any) -> None:
    summary = "Check datasets, records, label maps, configs, checkpoints and bundles before a run is paid for."
    parser = _add_command(commands, "validate", _validate, summary)
    parser.add_argument("paths", metavar="PATH", type=Path, nargs="+", help="a file or folder to check")
    parser.add_argument("--model", metavar="NAME", help="add what depends on the model that the data is to train")
    parser.add_argument("--select", type=_codes, metavar="CODES", help="only these rules, such as BOX,IMG101")
    parser.add_argument("--ignore", type=_codes, metavar="CODES", help="not these rules")
    parser.add_argument(
        "--severity",
        type=_level,
        action=_Levels,
        metavar="CODE=LEVEL",
        help="take a rule's findings for error, warning or info; repeatable",
    )
    parser.add_argument(
        "--fail-on",
        choices=("error", "warning", "info", "never"),
        help="the mildest finding that makes the exit code 1 (default: error)",
    )
    parser.add_argument(
        "--export", choices=EXPORTS, help="what the model is to be exported to, which it must allow"
    )
    parser.add_argument("--offline", action="store_true", help="use the cache alone, ask no network")
    parser.add_argument("--format", metavar="NAME", help="the datasets' format (default: recognised)")
    parser.add_argument(
        "--check",
        choices=("none", "structure", "decode"),
        help="how far pictures are checked: headers, whole files, or every coded pixel (default: decode)",
    )
    parser.add_argument(
        "--near-duplicates", action="store_true", help="look for pictures that are nearly the same, too (IMG109)"
    )
    parser.add_argument("--jobs", type=_count, metavar="N", help="processes (default: one a processor)")
    parser.add_argument(
        "--output-format",
        choices=("text", "json", "junit", "github", "sarif", "html"),
        default="text",
        help="form of the report (default: text)",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", default=None, help="write the report there")
    parser.add_argument(
        "--fix",
        type=Path,
        metavar="OUT",
        help="write a mended copy of the one dataset to a new folder, with a ledger of what was changed, and "
        "report on the copy; nothing is changed in place, and label maps, configs and bundles are not mended",
    )
    parser.add_argument(
        "--to",
        choices=WRITERS,
        help="with --fix: the format of the copy (default: the dataset's own, else the nearest)",
    )
    parser.add_argument(
        "--exif",
        choices=("apply", "ignore"),
        help="with --fix: turn pictures upright by their Exif orientation, on which their boxes were drawn, or "
        "take it away (default: leave them)",
    )


def _add_rules(commands: Any) -> None:
    parser = _add_command(commands, "rules", _rules, "List the rules, or explain one.")
    parser.add_argument(
        "code",
        metavar="CODE",
        nargs="?",
        default=None,
        help="explain this one, such as BOX202; list those that begin so, such as BOX",
    )


class _Levels(argparse.Action):
    """Gather `--severity CODE=LEVEL` into one table."""

    def __call__(self, _parser: Any, namespace: Any, values: Any, _option: Any = None) -> None:
        setattr(namespace, self.dest, {**getattr(namespace, self.dest, {}), **dict([values])})


def _codes(word: str) -> tuple[str, ...]:
    return tuple(code.strip() for code in word.split(",") if code.strip())


def _level(word: str) -> tuple[str, str]:
    code, separator, level = word.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"{word!r} sets nothing; expected CODE=LEVEL, such as LBL303=error")
    return code.strip(), level.strip()


def _add_convert(commands: Any) -> None:
    summary = (
        "Make records of a dataset (TFRecord shards, label map, ledger, index), or write it in another format."
    )
    parser = _add_command(commands, "convert", _convert, summary)
    parser.add_argument("dataset", metavar="DATASET", type=Path, help="a folder with annotations and pictures")
    parser.add_argument("out", metavar="OUT", type=Path, help="the folder to make; a stopped run goes on")
    parser.add_argument("--format", metavar="NAME", help="the dataset's format (default: recognised)")
    parser.add_argument(
        "--to",
        choices=(RECORDS, *WRITERS),
        default=RECORDS,
        help="write the same pictures and boxes in another format instead, which takes no option but --format "
        "(default: records)",
    )
    parser.add_argument("--model", metavar="NAME", help="the model to train, for --max-side auto")
    parser.add_argument(
        "--max-side", type=_side, metavar="N|auto", help="shrink larger pictures, auto: to what the model can use"
    )
    parser.add_argument("--jobs", type=_count, metavar="N", help="processes at work (default: one a processor)")
    parser.add_argument("--runner", choices=RUNNERS, help="let Apache Beam do the work, by this runner")
    parser.add_argument(
        "--beam-option",
        type=_beam_option,
        action="append",
        dest="beam_options",
        metavar="NAME[=VALUE]",
        help="an option of its pipeline, such as direct_num_workers=4; repeatable",
    )
    parser.add_argument("--check", choices=CHECKS, help="how far pictures are checked (default: decode)")
    parser.add_argument("--split", choices=SPLITS, help="who divides the pictures (default: hash)")
    parser.add_argument(
        "--group",
        metavar="WAY",
        help="what stays on one side: column, none, folder, prefix:NUMBER, prefix:SEPARATOR or regex:EXPRESSION "
        "(default: column, the group that the dataset names)",
    )
    parser.add_argument(
        "--near-duplicates",
        choices=NEAR,
        help="pictures that look nearly the same: together on one side (default: apart, which costs no look)",
    )
    parser.add_argument("--shard-bytes", type=_bytes, metavar="N", help="most bytes of a shard (default: 128M)")
    parser.add_argument("--formats", choices=FORMATS, help="GIF, WebP, BMP and TIFF (default: transcode)")
    _add_data(parser)
    _add_sources(parser)


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--validation", type=_fraction, metavar="F", help="share of the pictures (default: 0.2)")
    parser.add_argument("--boxes", choices=get_args(Boxes), help="boxes that leave the picture (default: clip)")
    parser.add_argument("--exif", choices=get_args(Exif), help="pictures with a rotation (default: fail)")
    parser.add_argument("--negatives", choices=get_args(Negatives), help="pictures without boxes (default: keep)")


def _add_sources(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--offline", action="store_true", help="use the cache alone, ask no network")
    parser.add_argument(
        "--upstream", metavar="auto|registry|git|DIR", help="where tensorflow/models comes from (default: auto)"
    )


def _add_choices(parser: argparse.ArgumentParser, *, checkpoint: str) -> None:
    parser.add_argument(
        "--checkpoint",
        type=_checkpoint,
        metavar="fetch|embed|none|PATH",
        help="the weights to start from: fetched by the training machine, downloaded now and embedded, none "
        f"(random), or a checkpoint's folder, prefix or archive to embed (default: {checkpoint})",
    )
    parser.add_argument(
        "--checkpoint-mirror", type=_mirror, metavar="URL", help="https address in the place of the zoos' host"
    )
    _add_sources(parser)
    parser.add_argument("--batch-size", type=_count, metavar="N", help="pictures a step (default: what fits)")
    _add_data(parser)
    parser.add_argument(
        "--max-side",
        type=_side,
        metavar="N|auto",
        help="shrink larger pictures, auto: to what the model can use (default: keep them)",
    )
    parser.add_argument(
        "--set",
        type=_assignment,
        action="append",
        dest="overrides",
        metavar="FIELD=VALUE",
        help="set a field of the pipeline config, such as train_config.batch_size=8, last of all; repeatable",
    )


def _checkpoint(word: str) -> str | Path:
    if not word:
        raise argparse.ArgumentTypeError("is empty; expected fetch, embed, none or a path")
    return word if word in {"fetch", "embed", "none"} else Path(word)


def _mirror(word: str) -> str:
    # It is written into the bundle, where no password belongs.
    if not re.fullmatch(r"https://[a-zA-Z0-9.:\[\]-]+(/[\x21-\x7e]*)?", word) or set(word) & set("?#@"):
        raise argparse.ArgumentTypeError(f"{word!r} is no https address such as https://mirror.example/zoo")
    return word


def _assignment(word: str) -> tuple[str, str]:
    path, separator, value = word.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"{word!r} sets nothing; expected FIELD=VALUE")
    return path.strip(), value.strip()


def _beam_option(word: str) -> str:
    if not re.fullmatch(r"[a-z]\w*(=.*)?", word, re.ASCII | re.DOTALL):
        raise argparse.ArgumentTypeError(f"{word!r} is no option such as direct_num_workers=4")
    return word


def _count(word: str) -> int:
    if not (word.isascii() and word.isdecimal() and len(word) < 10 and int(word)):
        raise argparse.ArgumentTypeError(f"{word!r} is no positive integer")
    return int(word)


def _side(word: str) -> int | str:
    return word if word == "auto" else _count(word)


def _bytes(word: str) -> int:
    unit = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(word[-1:])
    if unit and not word[:-1].isdecimal():
        raise argparse.ArgumentTypeError(f"{word!r} is no number of bytes such as 64M")
    return _count(word[:-1]) * unit if unit else _count(word)


def _number(word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{word!r} is no positive number")
    return value


def _fraction(word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{word!r} is no fraction between 0 and 1, such as 0.2")
    return value


def _say(line: str) -> None:
    # A name in it may hold what a terminal takes for a command.
    print(escaped(line, keep="\n"), file=sys.stderr, flush=True)


def _interrupt(_signal: int, _frame: Any) -> NoReturn:
    raise KeyboardInterrupt


def _fail(message: str, code: int, *, kind: str = "error: ") -> int:
    _say(f"odbuild: {kind}{message}")
    return code


def _reader_left() -> int:
    # Python flushes at exit once more, into the pipe that nobody reads.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    return FAILED


def _failed_by_machine(error: OSError) -> int:
    place = f"{error.filename}: " if error.filename else ""
    if error.errno in NO_SPACE:
        return _fail(f"{place}no space left. Free some space and run again.", FAILED)
    if error.errno in MACHINE:
        return _fail(f"{place}{error.strerror}", FAILED)
    return _bug()


def _bug() -> int:
    import traceback

    traceback.print_exc()
    return _fail("this is a bug in odbuild. Please report it with the lines above.", BUG)


if __name__ == "__main__":
    sys.exit(main())
