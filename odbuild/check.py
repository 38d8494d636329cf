"""Check what lies at some paths by every rule that is about it: data, records, label maps, configs, bundles."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

from .errors import OdbuildError, UsageError, did_you_mean
from .trainer import images, readers
from .trainer.dataset import Dataset, Picture
from .trainer.findings import Finding, Rule, Severity
from .trainer.looks import look_all
from .trainer.mend import mend
from .trainer.rules import CATALOGUE, Data, Kind, ModelFacts, RuleInfo
from .trainer.rules.data import by_code
from .trainer.split import Split, split

FailOn = Literal["error", "warning", "info", "never"]

SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""Worst first."""

VALIDATION = 0.2
"""Share of the pictures that validate where the dataset has no sides of its own, as a bundle has it by default."""

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
        jobs: Pictures looked at together, or None for as many as there are processors.

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
    jobs: int | None = None

    def __post_init__(self) -> None:
        for code in (*self.select, *self.ignore):
            _require_code(code)
        for code, level in self.severity.items():
            _require_code(code)
            _require_word("severity", level, SEVERITIES)
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
    """

    path: Path
    kind: Kind
    values: Mapping[Kind, object] = field(default_factory=dict, repr=False)
    findings: tuple[Finding, ...] = ()
    broken: bool = False

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
    """

    subjects: tuple[Subject, ...]
    rules_run: tuple[str, ...]
    model: ModelFacts | None = None

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Return the findings of all subjects."""
        return tuple(finding for subject in self.subjects for finding in subject.findings)

    @property
    def counts(self) -> Mapping[Severity, int]:
        """Return the number of findings of each severity, worst first."""
        seen = Counter(finding.severity for finding in self.findings)
        return {severity: seen[severity] for severity in SEVERITIES}

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
        options: How.

    Raises:
        UsageError: Nothing that can be checked lies at a path, or the model is unknown.
        OdbuildError: What the model's rules need cannot be had.
    """
    opened = open_all(paths, options)
    subjects = tuple(judged(subject, options) for subject in opened)
    kinds = {kind for subject in subjects for kind in subject.values}
    run = tuple(code for code, info in catalogue().items() if info.subject in kinds and options.wants(code))
    return Report(subjects=subjects, rules_run=run, model=None)


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
        OdbuildError: What the model's rules need cannot be had.
    """
    return tuple(_opened(path, _kind(path), options) for path in paths)


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


def _kind(path: Path) -> Kind:
    """Say what lies at a path.

    Raises:
        UsageError: Nothing, or nothing that can be checked.
    """
    if not path.exists():
        raise UsageError(f"{path} does not exist.")
    if path.is_dir():
        return "dataset"
    raise UsageError(f"{path} is nothing that can be checked.")


def _opened(path: Path, kind: Kind, options: Options) -> Subject:
    try:
        return Subject(path=path, kind=kind, values={"dataset": _data(path, options)})
    except UsageError:
        raise
    except OdbuildError as error:
        finding = BROKEN[kind].at(str(path), str(error))
        return Subject(path=path, kind=kind, findings=(finding,), broken=True)


def _data(path: Path, options: Options) -> Data:
    source, found = readers.read(path, options.format)
    dataset, odd = mend(source, "fail")
    looks = look_all(source, options.check, jobs=options.jobs)
    sides, given = _sides(dataset, {key: look.digest for key, look in looks.items() if look.digest})
    return Data(
        source=source, dataset=dataset, found=by_code([*found, *odd]), images=looks, split=sides, given=given
    )


def _sides(dataset: Dataset, digests: Mapping[str, str]) -> tuple[Split | None, bool]:
    """Return the sides of the source, or those that a conversion would make, and whether they are the source's."""
    if {picture.split for picture in dataset.pictures} & {"train", "validation"}:
        train, validation = (_side(dataset.pictures, name) for name in ("train", "validation"))
        return Split(train=train, validation=validation), True
    usable = [picture for picture in dataset.pictures if picture.key in digests]
    return (split(usable, digests, VALIDATION) if usable else None), False


def _side(pictures: Iterable[Picture], name: str) -> tuple[Picture, ...]:
    return tuple(picture for picture in pictures if picture.split == name)


def _require_code(code: str) -> None:
    if not code or not any(known.startswith(code) for known in CATALOGUE):
        raise UsageError(
            f"There is no rule {code!r}.{did_you_mean(code.upper(), CATALOGUE)} `odbuild rules` lists all."
        )


def _require_word(name: str, word: object, known: Iterable[str]) -> None:
    known = tuple(known)
    if word not in known:
        raise UsageError(f"{name} is {word!r}; expected {', '.join(known)}.{did_you_mean(str(word), known)}")
