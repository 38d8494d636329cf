"""The pytest plugin: dataset folders, records and bundles as tests, one for each rule.

It does nothing unless `--odbuild` is given or the ini option `odbuild` is true, and imports nothing of odbuild
before that: a plain run of pytest must not pay for it.
"""

import os
import warnings
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .check import Options, Subject
    from .trainer.dataset import Dataset
    from .trainer.findings import Finding

FILES = (".record", ".pbtxt", ".zip")
"""Endings of files that are collected; what else odbuild can check is named on the command line of `validate`."""


_CHOSEN = pytest.StashKey[dict[Path, set[str]]]()
"""Codes that the command line names after `::`, by folder; pytest itself takes them behind files only."""


class FoundError(Exception):
    """Carry what a rule found, at or above the level that fails."""

    def __init__(self, findings: Sequence["Finding"]) -> None:
        super().__init__(findings)
        self.findings = findings


class OdbuildWarning(pytest.PytestWarning):
    """What a rule found below the level that fails."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("odbuild", "data and bundles checked by odbuild")
    group.addoption(
        "--odbuild",
        action="store_true",
        default=False,
        help="collect dataset folders, .record files, label maps and trainer.zip as tests, one for each rule",
    )
    parser.addini("odbuild", "collect data and bundles as with --odbuild", type="bool", default=False)
    parser.addini("odbuild_dataset", "folder that the fixture odbuild_dataset reads", default="")
    parser.addini("odbuild_records", "folder of records that the fixture odbuild_records reads", default="")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and take the codes behind folders off the command line."""
    config.addinivalue_line(
        "markers",
        "odbuild(severity, kind): a rule of odbuild: the worst that it reports, and what it is about, for -m",
    )
    chosen: dict[Path, set[str]] = {}
    places = []
    for argument in config.args if _wanted(config) else ():
        place, _, code = argument.partition("::")
        folder = Path(config.invocation_params.dir, place).resolve()
        if code and folder.is_dir():
            chosen.setdefault(folder, set()).add(code)
        places.append(place if code and folder.is_dir() else argument)
    if chosen:
        config.stash[_CHOSEN] = chosen
        config.args = list(dict.fromkeys(places))


def pytest_collect_directory(path: Path, parent: pytest.Collector) -> "SubjectFolder | None":
    """Take a dataset folder, unless something in it is asked for by name."""
    if not _wanted(parent.config) or _asked_below(path, parent.config):
        return None
    from .trainer import readers
    from .trainer.readers.files import Files

    files = Files(path)
    if not any(reader.recognise(files) for reader in readers.READERS.values()):
        return None
    return SubjectFolder.from_parent(parent, path=path)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> "SubjectFile | None":
    """Take records, label maps, and archives that hold a bundle."""
    if file_path.suffix not in FILES or not _wanted(parent.config):
        return None
    if file_path.suffix == ".zip" and not _is_bundle(file_path):
        return None
    return SubjectFile.from_parent(parent, path=file_path)


def _is_bundle(path: Path) -> bool:
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.count("/") == 1 and name.endswith("/start.sh") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return path.name == "trainer.zip"


def _wanted(config: pytest.Config) -> bool:
    return bool(config.getoption("odbuild") or config.getini("odbuild"))


def _asked_below(path: Path, config: pytest.Config) -> bool:
    """Say whether an argument of the command line lies in the folder, so that pytest must descend to it."""
    asked = (Path(config.invocation_params.dir, argument.split("::")[0]) for argument in config.args)
    return any(path in each.resolve().parents for each in asked)


class _Collected(pytest.Collector):
    """What is checked; it is read once, when its first rule runs, and the rules judge it one by one."""

    def collect(self) -> "Iterable[RuleItem]":
        from .check import catalogue, recognise

        kind = recognise(self.path, self.options)
        about = {kind, "dataset"} if kind == "records" else {kind}
        codes = [code for code, info in catalogue().items() if info.subject in about and self.options.wants(code)]
        chosen = self.config.stash.get(_CHOSEN, {}).get(self.path, set(codes))
        if not chosen <= set(codes):
            odd = ", ".join(sorted(chosen - set(codes)))
            raise pytest.UsageError(f"{self.path}: no rule {odd} is about it; `odbuild rules` lists all.")
        for code in codes:
            if code in chosen:
                yield RuleItem.from_parent(self, name=code)

    @cached_property
    def options(self) -> "Options":
        """How to check: by the table tool.odbuild of the project."""
        from . import settings
        from .check import Options

        return Options(**settings.load(self.config.rootpath))

    @cached_property
    def subject(self) -> "Subject":
        """What lies at the path, read."""
        from .check import open_all

        return open_all([self.path], self.options)[0]


class SubjectFolder(_Collected, pytest.Directory):
    """A dataset folder, or a folder of records."""


class SubjectFile(_Collected, pytest.File):
    """A file of records, a label map, or a bundle."""


class RuleItem(pytest.Item):
    """One rule on one subject."""

    parent: _Collected

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        from .check import catalogue

        self.rule = catalogue()[self.name]
        self.add_marker(pytest.mark.odbuild(severity=self.rule.severity, kind=self.rule.subject))
        if self.config.pluginmanager.hasplugin("xdist"):
            # With --dist loadgroup one worker reads what the others then need not.
            self.add_marker(pytest.mark.xdist_group(str(self.path)))

    def runtest(self) -> None:
        """Fail with what the rule finds at the level that fails or worse; warn of the rest."""
        from .trainer.findings import groups

        bad, mild = self._found()
        for group in groups(mild):
            text = "\n  ".join(group.lines())
            if group.first.severity == "info":
                self.add_report_section("call", "odbuild", f"info {self.name}: {text}")
            else:
                warnings.warn(OdbuildWarning(f"{group.first.severity} {self.name}: {text}"), stacklevel=1)
        if bad:
            raise FoundError(bad)

    def _found(self) -> "tuple[list[Finding], list[Finding]]":
        from .check import SEVERITIES, findings_of

        subject, options = self.parent.subject, self.parent.options
        if subject.broken:
            found = [finding for finding in subject.findings if finding.code == self.name]
            if not found:
                pytest.skip(f"{subject.path.name} cannot be read at all: {subject.findings[0].code} tells why")
        else:
            found = list(findings_of(subject, self.rule, options)) if self.rule.subject in subject.values else []
        failing = () if options.fail_on == "never" else SEVERITIES[: SEVERITIES.index(options.fail_on) + 1]
        return (
            [finding for finding in found if finding.severity in failing],
            [finding for finding in found if finding.severity not in failing],
        )

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Return what was found as text for people; a bug keeps its traceback."""
        from .errors import OdbuildError
        from .trainer.findings import render

        if isinstance(excinfo.value, FoundError):
            # The first line is what the summary shows of it.
            where = f"found in {self._place()}; `odbuild rules {self.name}` tells more"
            return f"{render(excinfo.value.findings)}\n{where}"
        if isinstance(excinfo.value, OdbuildError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def _place(self) -> str:
        """Return the path from the project's folder, escaped where it holds what is not printed."""
        from .trainer.findings import escaped

        return escaped(os.path.relpath(self.path, self.config.rootpath))

    def reportinfo(self) -> tuple[Path, None, str]:
        """Return what a report calls the test."""
        return self.path, None, f"{self.parent.name}::{self.name} {self.rule.name}"


@pytest.fixture(scope="session")
def odbuild_dataset(request: pytest.FixtureRequest) -> "Dataset":
    """Return the dataset in the folder that the ini option `odbuild_dataset` names, or an indirect parameter."""
    return _read(request, "odbuild_dataset", None)


@pytest.fixture(scope="session")
def odbuild_records(request: pytest.FixtureRequest) -> "Dataset":
    """Return the records in the folder that the ini option `odbuild_records` names, or an indirect parameter."""
    return _read(request, "odbuild_records", "tfrecord")


def _read(request: pytest.FixtureRequest, option: str, named: str | None) -> "Dataset":
    from .errors import OdbuildError
    from .trainer import readers

    asked = getattr(request, "param", None) or request.config.getini(option)
    if not asked:
        pytest.fail(
            f"Say which: set {option} in pytest's ini file, or parametrize with indirect=True", pytrace=False
        )
    try:
        dataset, _ = readers.read(request.config.rootpath / asked, named)
    except OdbuildError as error:
        pytest.fail(str(error), pytrace=False)
    return dataset
