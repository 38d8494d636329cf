"""Check what lies at some paths by every rule that is about it: data, records, label maps, configs, bundles."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

from . import anchors, pipeline, zoo
from .errors import OdbuildError, UnreadableError, UsageError, did_you_mean
from .rules import config, trainer_zip, weights
from .trainer import checkpoint, images, readers
from .trainer.dataset import Dataset
from .trainer.findings import Finding, Rule, Severity, count, escaped
from .trainer.looks import Look, look_all
from .trainer.mend import mend
from .trainer.packed import pack
from .trainer.rules.data import by_code
from .trainer.rules.every import CATALOGUE, Data, Kind, ModelFacts, RuleInfo, labelmaps
from .trainer.rules.labelmaps import LabelMap
from .trainer.rules.sides import SIDES
from .trainer.split import Split, divide

FailOn = Literal["error", "warning", "info", "never"]

SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""Worst first."""

VALIDATION = 0.2
"""Share of the pictures that validate where the dataset has no sides of its own, as a bundle has it by default."""

SUFFIXES: Mapping[str, Kind] = {".zip": "zip", ".pbtxt": "labelmap", ".config": "config"}
"""What files are by their names."""

BROKEN: Mapping[Kind, Rule] = {
    "dataset": Rule("ANN001", "error", "the annotations cannot be read"),
    "records": Rule("REC501", "error", "the records cannot be read"),
    "labelmap": Rule("MAP601", "error", "the label map cannot be read"),
    "config": Rule("CFG701", "error", "the pipeline config cannot be read"),
    "checkpoint": Rule("CKP801", "error", "the checkpoint cannot be read"),
    "zip": Rule("ZIP1001", "error", "the bundle cannot be read"),
}
"""The rule that a subject breaks which cannot be read at all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How to check.

    Attributes:
        model: Name of the model that a dataset is to train, which adds the rules that depend on it; or None.
        select: Codes of the rules to run, or the letters and digits that they begin with; all where empty.
        ignore: Codes of rules not to run, given the same way.
        severity: Severities other than the rules' own, by code.
        fail_on: The mildest finding that makes the exit code 1.
        format: Name of the datasets' format, or None to recognise it.
        check: How far pictures are checked: `none` reads headers, `structure` walks files, `decode` undoes their
            coding.
        near_duplicates: Whether to look for pictures that are nearly the same.
        jobs: Processes that look at pictures, or None for as many as there are processors.
        export: What the model is to be exported to, or None.
        offline: Take upstream from the cache alone, ask no network.
        upright: Whether boxes in pixels of pictures whose size is not recorded are of the view that their Exif
            orientation gives, not of the one that is stored.

    Raises:
        UsageError: A code or word is unknown.
    """

    model: str | None = None
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    severity: Mapping[str, Severity] = field(default_factory=dict)
    fail_on: FailOn = "error"
    format: str | None = None
    check: images.Check = "decode"
    near_duplicates: bool = False
    jobs: int | None = None
    export: config.Target | None = None
    offline: bool = False
    upright: bool = False

    def __post_init__(self) -> None:
        for code in (*self.select, *self.ignore):
            _require_code(code)
        for code, level in self.severity.items():
            _require_code(code)
            _require_word(f"the severity of {code}", level, SEVERITIES)
        _require_word("fail-on", self.fail_on, get_args(FailOn))
        _require_word("check", self.check, get_args(images.Check))

    def wants(self, code: str) -> bool:
        """Say whether a rule is to run."""
        chosen = not self.select or any(code.startswith(one) for one in self.select)
        return chosen and not any(code.startswith(one) for one in self.ignore)


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """One thing that was checked.

    Attributes:
        path: Where it lies.
        kind: What it is.
        values: What the rules of each kind look at; a folder of records has those of a dataset too.
        findings: What they found, in the order of the catalogue.
        broken: Whether it could not be read at all.
        notes: What could not be checked, and why.
    """

    path: Path
    kind: Kind
    values: Mapping[Kind, object] = field(default_factory=dict, repr=False)
    findings: tuple[Finding, ...] = ()
    broken: bool = False
    notes: tuple[str, ...] = ()

    @property
    def file(self) -> Path:
        """Return the file that findings are shown at: the annotations where they are one file, else the path."""
        source = None if self.data is None else self.data.source
        return source.root / source.sources[0] if source is not None and len(source.sources) == 1 else self.path

    @property
    def data(self) -> Data | None:
        """Return the dataset in it: pictures, boxes, files, sides."""
        value = self.values.get("dataset")
        return value if isinstance(value, Data) else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What checking found.

    Attributes:
        subjects: In the order of the paths.
        rules_run: Codes of the rules that ran, in the order of the catalogue.
        model: What is known of the model that was named.
        fail_on: The mildest finding that counts as a failure.
    """

    subjects: tuple[Subject, ...]
    rules_run: tuple[str, ...]
    model: ModelFacts | None = None
    fail_on: FailOn = "error"

    def fails(self, severity: Severity) -> bool:
        """Say whether a finding of this severity counts as a failure."""
        return self.fail_on != "never" and SEVERITIES.index(severity) <= SEVERITIES.index(self.fail_on)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Return the findings of all subjects."""
        return tuple(finding for subject in self.subjects for finding in subject.findings)

    @property
    def counts(self) -> Mapping[Severity, int]:
        """Return the number of findings of each severity, worst first."""
        return {
            severity: count(finding for finding in self.findings if finding.severity == severity)
            for severity in SEVERITIES
        }

    def exit_code(self, fail_on: FailOn) -> int:
        """Return 3 where something could not be read at all, 1 with findings so bad or worse, else 0."""
        if any(subject.broken for subject in self.subjects):
            return 3
        bad = () if fail_on == "never" else SEVERITIES[: SEVERITIES.index(fail_on) + 1]
        return int(any(self.counts[severity] for severity in bad))


def check(paths: Sequence[Path], options: Options) -> Report:
    """Check everything at the paths.

    Args:
        paths: Dataset folders, files or folders of records, label maps, pipeline configs, checkpoints, bundles.
            A file of a dataset stands for its folder. One label map among them goes with all the others.
        options: How.

    Raises:
        UsageError: Nothing that can be checked lies at a path, or the model is unknown.
        OdbuildError: What the rules of configs or models need cannot be had.
    """
    subjects = tuple(judged(subject, options) for subject in open_all(paths, options))
    kinds = {kind for subject in subjects for kind in subject.values}
    run = tuple(code for code, info in catalogue().items() if info.subject in kinds and options.wants(code))
    facts = next((subject.data.model for subject in subjects if subject.data is not None), None)
    return Report(subjects=subjects, rules_run=run, model=facts, fail_on=options.fail_on)


def catalogue() -> Mapping[str, RuleInfo]:
    """Return every rule by code, in the order of the documentation."""
    order = {kind: place for place, kind in enumerate(get_args(Kind))}
    return dict(
        sorted(CATALOGUE.items(), key=lambda item: (order[item[1].subject], item[0][:3], len(item[0]), item[0]))
    )


def open_all(paths: Sequence[Path], options: Options) -> tuple[Subject, ...]:
    """Read what lies at the paths, without judging it.

    Raises:
        UsageError: Nothing that can be checked lies at a path, or the model is unknown.
        OdbuildError: What the rules of configs or models need cannot be had.
    """
    kinds = {path: recognise(path, options) for path in paths}
    surroundings = _Surroundings(options=options, kinds=kinds)
    opened = [subject for path, kind in kinds.items() for subject in _opened(path, kind, surroundings)]
    return (*opened, *_wanted_model(surroundings))


def judged(subject: Subject, options: Options) -> Subject:
    """Return the subject with what the wanted rules find in it."""
    if subject.broken:
        return subject
    found = [
        finding
        for code, info in catalogue().items()
        if info.subject in subject.values and options.wants(code)
        for finding in findings_of(subject, info, options)
    ]
    return replace(subject, findings=tuple(found))


def findings_of(subject: Subject, info: RuleInfo, options: Options) -> Iterator[Finding]:
    """Yield what one rule finds in a subject that has a value of its kind, at the severity that is asked for."""
    level = options.severity.get(info.code)
    for finding in info.check(subject.values[info.subject]):
        yield finding if level is None else replace(finding, severity=level)


def recognise(path: Path, options: Options) -> Kind:
    """Say what lies at a path, by its name, and by what is in it where that says nothing.

    Raises:
        UsageError: Nothing, or nothing that can be checked.
    """
    if path.is_dir():
        return _recognise_folder(path, options)
    if path.suffix in SUFFIXES and path.is_file():
        return SUFFIXES[path.suffix]
    if checkpoint.PART.search(path.name) or path.with_name(f"{path.name}.index").is_file():
        return "checkpoint"
    if path.is_file():
        return _recognise_folder(path.parent, options)
    raise UsageError(f"{path} does not exist.")


def _recognise_folder(folder: Path, options: Options) -> Kind:
    try:
        _, name = readers.locate(folder, options.format)
    except UsageError:
        raise
    except OdbuildError as error:
        if any(folder.glob("*.index")):
            return "checkpoint"
        raise UsageError(f"Nothing to check: {error}") from error
    return "records" if name == "tfrecord" else "dataset"


@dataclass(frozen=True, kw_only=True)
class _Surroundings:
    """What the subjects of one call have to do with each other."""

    options: Options
    kinds: Mapping[Path, Kind]

    @cached_property
    def labels(self) -> LabelMap | None:
        """Return the one label map among the paths, where it can be read."""
        found = [path for path, kind in self.kinds.items() if kind == "labelmap"]
        with suppress(OdbuildError):
            return labelmaps.read(found[0]) if len(found) == 1 else None
        return None

    @cached_property
    def declared(self) -> tuple[str, ...]:
        """Return the labels that the one dataset among the paths declares."""
        found = [path for path, kind in self.kinds.items() if kind == "dataset"]
        with suppress(OdbuildError):
            return readers.read(_folder(found[0]), self.options.format)[0].declared if len(found) == 1 else ()
        return ()

    @cached_property
    def model(self) -> zoo.Model | None:
        """Return the model that was named."""
        return None if self.options.model is None else zoo.find_trainable(self.options.model)

    @cached_property
    def facts(self) -> ModelFacts | None:
        """Return what the named model looks for."""
        return None if self.model is None else anchors.facts(self.model, self.derived)

    @cached_property
    def derived(self) -> config.Message:
        """Return the pipeline config of the named model, as a bundle has it."""
        assert self.model is not None  # noqa: S101 - asked for only then
        return config.parse(pipeline.derive(self.model, self.toolbox.tree, self.toolbox.protos).text, self.toolbox)

    @property
    def toolbox(self) -> config.Toolbox:
        """Return upstream, which configs are parsed by."""
        return config.toolbox(offline=self.options.offline)


def _opened(path: Path, kind: Kind, surroundings: _Surroundings) -> Iterator[Subject]:
    """Yield what lies at a path, and the pipeline config in a bundle as a subject of its own."""
    if kind == "config" or surroundings.model is not None:
        # Outside the net below: that upstream cannot be had is no fault of the subject's.
        surroundings.toolbox  # noqa: B018
    subject = _read(path, kind, lambda: _OPEN[kind](path, surroundings))
    yield subject
    bundle = subject.values.get("zip")
    if isinstance(bundle, trainer_zip.Bundle):
        yield from _inside(bundle, surroundings)


def _read(path: Path, kind: Kind, opens: Callable[[], Mapping[Kind, object]]) -> Subject:
    try:
        return Subject(path=path, kind=kind, values=opens())
    except UsageError:
        raise
    except OdbuildError as error:
        rule = BROKEN[kind]
        code = error.code if isinstance(error, UnreadableError) else rule.code
        finding = replace(rule, code=code).at(escaped(str(path)), escaped(str(error)))
        return Subject(path=path, kind=kind, findings=(finding,), broken=True)


def _inside(bundle: trainer_zip.Bundle, surroundings: _Surroundings) -> Iterator[Subject]:
    """Yield the pipeline config of a bundle."""
    for name in bundle.files:
        if name.endswith(".config") and "/" not in name:
            path = bundle.path / name
            try:
                surroundings.toolbox  # noqa: B018
            except OdbuildError as error:
                yield Subject(path=path, kind="config", notes=(f"not checked: {error}",))
                return
            yield _read(path, "config", lambda: _config(name, bundle.text(name), (), surroundings))  # noqa: B023


def _wanted_model(surroundings: _Surroundings) -> Iterator[Subject]:
    """Yield the named model's own config where it is to be exported to something."""
    model, target = surroundings.model, surroundings.options.export
    if model is not None and target is not None:
        value = config.Config(
            name=model.name, message=surroundings.derived, toolbox=surroundings.toolbox, model=model, target=target
        )
        yield Subject(path=Path(model.config), kind="config", values={"config": value})


def _open_data(path: Path, surroundings: _Surroundings) -> Mapping[Kind, object]:
    options = surroundings.options
    source, found = readers.read(_folder(path), options.format, upright=options.upright)
    dataset, odd = mend(source, "fail")
    looks = look_all(source, options.check, near=options.near_duplicates, jobs=options.jobs)
    sides, given = _sides(dataset, looks)
    data = Data(
        source=source,
        dataset=dataset,
        found=by_code([*found, *odd]),
        images=looks,
        split=sides,
        given=given,
        label_map=None if surroundings.labels is None else surroundings.labels.numbers,
        model=surroundings.facts,
    )
    return {"dataset": data, "records": data} if source.format == "tfrecord" else {"dataset": data}


def _open_labels(path: Path, surroundings: _Surroundings) -> Mapping[Kind, object]:
    return {"labelmap": replace(labelmaps.read(path), declared=surroundings.declared)}


def _open_config(path: Path, surroundings: _Surroundings) -> Mapping[Kind, object]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OdbuildError(f"{path} cannot be read as text: {error}.") from error
    return _config(path.name, text, (Path(), path.parent), surroundings)


def _config(name: str, text: str, folders: tuple[Path, ...], surroundings: _Surroundings) -> Mapping[Kind, object]:
    value = config.Config(
        name=name,
        message=config.parse(text, surroundings.toolbox),
        toolbox=surroundings.toolbox,
        folders=folders,
        labels=surroundings.labels,
    )
    named = config.find_labels(value)
    if named is not None:
        with suppress(OdbuildError):
            value = replace(value, labels=labelmaps.read(named))
    return {"config": value}


def _open_checkpoint(path: Path, surroundings: _Surroundings) -> Mapping[Kind, object]:
    return {"checkpoint": weights.read(path, surroundings.model)}


def _open_zip(path: Path, _surroundings: _Surroundings) -> Mapping[Kind, object]:
    return {"zip": trainer_zip.read(path)}


_OPEN: Mapping[Kind, Callable[[Path, _Surroundings], Mapping[Kind, object]]] = {
    "dataset": _open_data,
    "records": _open_data,
    "labelmap": _open_labels,
    "config": _open_config,
    "checkpoint": _open_checkpoint,
    "zip": _open_zip,
}


def _folder(path: Path) -> Path:
    return path if path.is_dir() else path.parent


def _sides(dataset: Dataset, looks: Mapping[str, Look]) -> tuple[Split | None, bool]:
    """Return the sides of the source, or those that a conversion would make, and whether they are the source's."""
    pictures = pack(dataset.pictures)
    names = [picture.split for picture in pictures]
    if {"train", "validation"} <= set(names):
        train, validation = ([place for place, name in enumerate(names) if name == side] for side in SIDES)
        return Split(train=pictures.chosen(train), validation=pictures.chosen(validation)), True
    usable = pictures.chosen(place for place, key in enumerate(pictures.keys()) if looks[key].digest)
    if not usable:
        return None, False
    keys = usable.keys()
    train, validation = divide(usable, [bytes.fromhex(looks[key].digest) for key in keys], VALIDATION)
    trains = usable.chosen(train)
    return Split(train=trains, validation=trains if train == validation else usable.chosen(validation)), False


def _require_code(code: str) -> None:
    if not code or not any(known.startswith(code) for known in CATALOGUE):
        raise UsageError(
            f"There is no rule {code!r}.{did_you_mean(code.upper(), CATALOGUE)} `odbuild rules` lists all."
        )


def _require_word(name: str, word: object, known: Iterable[str]) -> None:
    known = tuple(known)
    if word not in known:
        raise UsageError(f"{name} is {word!r}; expected {', '.join(known)}.{did_you_mean(str(word), known)}")
