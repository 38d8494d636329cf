# ruff: noqa: UP021
"""Find or make a Python that has what training needs: the first stage of start.sh.

Runs before anything is installed, so it needs the standard library alone. It is also the one module
that keeps to the words of Python 3.6 (quoted types, no dataclasses, no new arguments of subprocess):
an old Python must read it far enough to say that it is too old.
"""

import ast
import difflib
import json
import operator
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import traceback
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from .errors import OdbuildError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

REQUIREMENTS = Path(__file__).parent / "requirements"
SDISTS = ("object_detection-0.1", "slim-0.1")
#: The Python that runs this, such as `3.11`.
MINOR = "{}.{}".format(*sys.version_info[:2])
#: Left for start.sh and for the stages after this one, in the folder of start.sh.
STATE = ".odbuild"
#: In an environment that we install into: `incomplete` until all of it is there, then `complete`.
MARK = "odbuild.state"
#: The names under which one and the same `tensorflow` package is published.
TENSORFLOWS = ("tensorflow", "tensorflow-cpu", "tensorflow-gpu", "tensorflow-macos", "tensorflow-rocm")
#: The locked numpy is what scipy and pycocotools were tried with, and TensorFlow takes any of its range.
ALWAYS_LOCKED = frozenset({"numpy"})
#: What a reader of the log wants to know the versions of.
NOTABLE = (*TENSORFLOWS, "numpy", "protobuf", "tf-slim")
PIP_OPTIONS = (
    "--no-deps",
    "--require-hashes",
    "--only-binary=:all:",
    # Some services set it for everyone, and a virtual environment refuses it.
    "--no-user",
    "--no-input",
    "--quiet",
    "--progress-bar=off",
    "--disable-pip-version-check",
    "--no-warn-script-location",
)
#: What pip says (a pattern), and what to do about it; the first that is found counts.
ADVICE = (
    ("No space left", "The disk is full: give the run a larger one, or clear this one."),
    ("DO NOT MATCH THE HASHES", "The index serves other files than the locked ones: use another index."),
    ("Permission denied", "Start it with a Python or in a folder that you may write to."),
    (
        "ConnectionError|NameResolutionError|Timeout|ProxyError|SSLError",
        "The package index cannot be reached: check the network, or put wheels/ into the bundle.",
    ),
    ("No matching distribution", "The index, or wheels/, lacks it for this Python and machine."),
)
COMPARISONS: "dict[type, Callable[[Any, Any], bool]]" = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


class Row(NamedTuple):
    """A tested set of Python, TensorFlow and locked packages."""

    name: "str"
    #: Major and minor version, such as `2.15`.
    tensorflow: "str"
    #: Major and minor versions, such as `3.11`, lowest first.
    pythons: "tuple[str, ...]"
    #: Free disk that installing it all takes, by device (`cpu`, `gpu`), measured or from the wheels' sizes.
    gigabytes: "Mapping[str, float]"


class Host(NamedTuple):
    """What the Python that started us already has."""

    #: Major and minor version, such as `3.11`.
    python: "str"
    #: The name that TensorFlow was installed by, and its version; None where there is none.
    tensorflow: "tuple[str, str] | None" = None
    #: It is of a virtual environment.
    virtual: "bool" = False
    #: Its environment may be written to.
    writable: "bool" = False


class Machine(NamedTuple):
    """What training may use of this machine."""

    python: "str"
    executable: "str"
    system: "str"
    cores: "int"
    #: Bytes.
    memory: "int"
    #: Free bytes where start.sh lies.
    disk: "int"
    #: NVIDIA cards with their driver's version.
    gpus: "tuple[str, ...]"


class Pin(NamedTuple):
    """One package of a lock."""

    name: "str"
    version: "str"
    #: Where it applies; empty for everywhere.
    marker: "str"
    #: Its lines in the lock, hashes and all.
    text: "str"


def setup(folder: "Path", environ: "Mapping[str, str]", say: "Callable[[str], None]") -> "None":
    """Say what machine this is, install what is missing, and unpack upstream.

    Leaves `.odbuild/python` (the path of the interpreter to train with) and `.odbuild/runtime.json`.

    Args:
        folder: where start.sh lies.
        environ: the environment; `ODBUILD_ROW` and `ODBUILD_PYTHON` steer.
        say: told what was found and is done.

    Raises:
        OdbuildError: this machine cannot hold a runtime row, or installing failed.
        UsageError: `ODBUILD_ROW` names no row, or one that does not fit.
    """
    rows, machine = load_rows(), describe(folder)
    tell(machine, say)
    if not any(MINOR in row.pythons for row in rows):
        start_over(rows, environ, say)
    host = look_around()
    say("TensorFlow here: " + (" ".join(host.tensorflow) if host.tensorflow else "none"))
    row, reason = pick(rows, host, environ.get("ODBUILD_ROW", ""))
    # TensorFlow's own builds for other processors cannot use NVIDIA cards.
    device = "gpu" if machine.gpus and platform.machine() == "x86_64" else "cpu"
    say(f"Runtime row {row.name} ({device}): {reason}")
    python = furnish(folder, row, device, host, say)
    unpack_sdists(folder)
    facts = dict(machine._asdict(), row=row.name, device=device)
    leave(folder / STATE / "runtime.json", json.dumps(facts, indent=2, sort_keys=True) + "\n")
    leave(folder / STATE / "python", f"{python}\n")


# --- which row ---


def load_rows() -> "tuple[Row, ...]":
    """Read the runtime rows, the preferred one first."""
    table = json.loads((REQUIREMENTS / "rows.json").read_text())
    return tuple(
        Row(row["name"], row["tensorflow"], tuple(row["pythons"]), row["gigabytes"]) for row in table["rows"]
    )


def pick(rows: "tuple[Row, ...]", host: "Host", wanted: "str" = "") -> "tuple[Row, str]":
    """Choose the row that fits, and say why.

    A row that is asked for comes first, then the row of the TensorFlow that is installed, then the
    first that this Python can hold.

    Raises:
        UsageError: `wanted` names no row, or one that this Python cannot hold.
        OdbuildError: no row fits this Python.
    """
    names = [row.name for row in rows]
    if wanted and wanted not in names:
        near = difflib.get_close_matches(wanted, names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UsageError("ODBUILD_ROW: unknown row {!r}.{} Rows: {}.".format(wanted, hint, ", ".join(names)))
    fitting = [row for row in rows if host.python in row.pythons]
    if wanted:
        for row in fitting:
            if row.name == wanted:
                return row, "ODBUILD_ROW asks for it"
        raise UsageError(
            f"ODBUILD_ROW: {wanted} needs Python {_either(rows[names.index(wanted)].pythons)}, and this is "
            f"{host.python}. Set ODBUILD_PYTHON to one that fits, or unset ODBUILD_ROW."
        )
    for row in fitting:
        if serves(row, host):
            return row, "it fits the TensorFlow that is installed here"
    if not fitting:
        raise OdbuildError(too_old_or_new(rows))
    return fitting[0], f"the first that fits Python {host.python}"


def serves(row: "Row", host: "Host") -> "bool":
    """Tell whether the TensorFlow that is installed is the one of this row."""
    return host.tensorflow is not None and host.tensorflow[1].startswith(row.tensorflow + ".")


def start_over(rows: "tuple[Row, ...]", environ: "Mapping[str, str]", say: "Callable[[str], None]") -> "NoReturn":
    """Start again with a Python of PATH that fits a row; does not return where there is one.

    Raises:
        OdbuildError: there is none, or the user named this one.
    """
    pythons = sorted({python for row in rows for python in row.pythons}, key=_numbers, reverse=True)
    for python in pythons if not environ.get("ODBUILD_PYTHON") else ():
        found = shutil.which("python" + python)
        if found and _ask(found, "import platform; print(platform.python_version())").startswith(python + "."):
            say(f"No row fits Python {platform.python_version()}; going on with {found}")
            sys.stdout.flush()
            # The new process finds the variable set, so it cannot look any further.
            os.execve(  # noqa: S606 - this process becomes the other
                found, [found, "-m", __spec__.name, "setup"], dict(environ, ODBUILD_PYTHON=found)
            )
    raise OdbuildError(too_old_or_new(rows))


def too_old_or_new(rows: "Iterable[Row]") -> "str":
    """Say which Pythons would do instead of this one."""
    pythons = sorted({python for row in rows for python in row.pythons}, key=_numbers)
    return (
        f"Python {platform.python_version()} at {sys.executable} cannot train: "
        f"Python {_either(pythons)} is needed. Install one, or set ODBUILD_PYTHON to its path."
    )


# --- what machine ---


def look_around() -> "Host":
    """Look at what the Python that runs this has."""
    return Host(MINOR, _tensorflow(), sys.prefix != sys.base_prefix, os.access(sys.prefix, os.W_OK))


def describe(folder: "Path") -> "Machine":
    """Measure this machine."""
    return Machine(
        python=platform.python_version(),
        executable=sys.executable,
        system=f"{platform.system()} {platform.machine()}",
        cores=_cores(),
        memory=_memory(),
        disk=shutil.disk_usage(str(folder)).free,
        gpus=graphics(),
    )


def tell(machine: "Machine", say: "Callable[[str], None]") -> "None":
    """Say what was found."""
    say(
        f"Python {machine.python} at {machine.executable} on {machine.system}: {machine.cores} cores, "
        f"{machine.memory / 2**30:.1f} GiB of memory, {machine.disk / 2**30:.1f} GiB of free disk"
    )
    say("GPU: " + ("; ".join(machine.gpus) or "none found"))


def graphics() -> "tuple[str, ...]":
    """Name the NVIDIA cards and their driver's version; empty where there is none, or none may be seen."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return ()
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(
            query,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            universal_newlines=True,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired):
        cards: list[str] = []
    else:
        cards = [] if done.returncode else [line.strip() for line in done.stdout.splitlines() if line.strip()]
    if not cards and Path("/dev/nvidia0").exists():
        cards = ["an NVIDIA card that nvidia-smi cannot name"]
    return tuple(cards)


def _cores() -> "int":
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory() -> "int":
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    # A container may use less than the machine has: cgroups, second and first version.
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            sizes.append(int(Path(limit).read_text()))
        except (OSError, ValueError):
            continue
    return min(sizes)


def _tensorflow() -> "tuple[str, str] | None":
    from importlib.metadata import PackageNotFoundError, version

    for name in TENSORFLOWS:
        try:
            return name, version(name)
        except PackageNotFoundError:
            continue
    return None


# --- what is missing ---


def read_lock(path: "Path") -> "list[Pin]":
    """Read a hash lock: `name==version ; marker`, then one `--hash` to a line.

    Raises:
        OdbuildError: a line is no exact pin with a hash.
    """
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    pins = []
    for block in re.split(r"\n(?=\S)", "\n".join(lines).strip()):
        found = re.match(r"([a-z0-9-]+)==([^\s;]+)(?: ; ([^\\]+?))? \\\n\s+--hash=sha256:", block)
        if not found:
            raise OdbuildError(f"{path.name}: no exact pin with a hash: {block.splitlines()[0]!r}")
        pins.append(Pin(found.group(1), found.group(2), found.group(3) or "", block + "\n"))
    return pins


def missing(
    pins: "Iterable[Pin]",
    installed: "Mapping[str, str]",
    environment: "Mapping[str, str]",
    left: "Iterable[str]" = (),
) -> "list[Pin]":
    """List the pins that apply here and are not installed in that very version.

    Args:
        pins: those of the lock.
        installed: versions by canonical name.
        environment: what markers ask for, see `marker_environment`.
        left: canonical names that stay as the host has them.
    """
    left = set(left)
    return [
        pin
        for pin in pins
        if pin.name not in left
        and installed.get(pin.name) != pin.version
        and (not pin.marker or applies(pin.marker, environment))
    ]


def marker_environment() -> "dict[str, str]":
    """Return what the markers of a lock may ask for, as this Python answers."""
    return {
        "implementation_name": sys.implementation.name,
        "os_name": os.name,
        "platform_machine": platform.machine(),
        "platform_python_implementation": platform.python_implementation(),
        "platform_system": platform.system(),
        "python_full_version": platform.python_version(),
        "python_version": "{}.{}".format(*sys.version_info[:2]),
        "sys_platform": sys.platform,
    }


def applies(marker: "str", environment: "Mapping[str, str]") -> "bool":
    """Tell whether a marker holds.

    pip evaluates markers too, but offers no way to ask it. Every marker of a lock is also a Python
    expression, which is what is read here; nothing is executed.

    Raises:
        OdbuildError: it is no marker, or asks for something that `marker_environment` lacks.
    """
    try:
        return _holds(ast.parse(marker, mode="eval").body, environment)
    except (SyntaxError, AttributeError, KeyError, ValueError) as error:
        raise OdbuildError(f"The lock has a marker that cannot be read: {marker!r}.") from error


def _holds(node: "ast.AST", environment: "Mapping[str, str]") -> "bool":
    if isinstance(node, ast.BoolOp):
        join = all if isinstance(node.op, ast.And) else any
        return join([_holds(value, environment) for value in node.values])
    if not isinstance(node, ast.Compare) or not isinstance(node.left, ast.Name) or len(node.ops) != 1:
        raise ValueError(node)
    asked, wanted = node.left.id, str(ast.literal_eval(node.comparators[0]))
    have = environment[asked]
    compare = COMPARISONS[type(node.ops[0])]
    if not asked.startswith("python_"):
        return compare(have, wanted)
    if wanted.endswith(".*"):
        length = wanted.count(".")
        return compare(_numbers(have)[:length], _numbers(wanted)[:length])
    return compare(_numbers(have), _numbers(wanted))


def _numbers(version: "str") -> "tuple[int, ...]":
    numbers = [int(part) for part in re.findall(r"\d+", version)[:3]]
    return tuple(numbers + [0] * (3 - len(numbers))) if "." in version else tuple(numbers)


def left_to_host(host: "Host", installed: "Iterable[str]", locked: "Iterable[str]") -> "set[str]":
    """Name what stays as the host has it, because the host's own TensorFlow is used.

    That is TensorFlow under any name, CUDA's libraries, and whatever of TensorFlow's own requirements
    is installed, as they were put together by someone who knew the machine.
    """
    from importlib.metadata import requires

    if host.tensorflow is None:
        return set()
    asked = [line for line in requires(host.tensorflow[0]) or () if "extra ==" not in line]
    names = {canonical(re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0]) for line in asked}
    left = (
        set(TENSORFLOWS) | {name for name in locked if name.startswith("nvidia-")} | names.intersection(installed)
    )
    return left - ALWAYS_LOCKED


def canonical(name: "str") -> "str":
    """Write a package's name the way locks do."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed_in(python: "Path") -> "dict[str, str]":
    """Ask an interpreter for its packages: versions by canonical name."""
    code = (
        "import importlib.metadata as m; "
        "[print(d.metadata['Name'], d.version) for d in m.distributions() if d.metadata['Name']]"
    )
    found: dict[str, str] = {}
    for line in _ask(str(python), code).splitlines():
        name, version = line.split(" ", 1)
        # The first on the path is the one that is imported: a virtual environment's before the system's.
        found.setdefault(canonical(name), version)
    return found


# --- where to install ---


def place(row: "Row", host: "Host") -> "str":
    """Decide where to install: `here`, in a `./venv` that can `inherit`, or in an `isolated` one.

    A virtual environment is the user's choice, so it is used; anything else may be read-only or
    managed by the system. A TensorFlow of another version must not be mixed with ours.
    """
    if host.virtual and host.writable and (host.tensorflow is None or serves(row, host)):
        return "here"
    # A new environment inherits from the base Python, never from another virtual environment.
    if serves(row, host) and not host.virtual:
        return "inherit"
    return "isolated"


def furnish(folder: "Path", row: "Row", device: "str", host: "Host", say: "Callable[[str], None]") -> "Path":
    """Return an interpreter that has the row's packages, installing only what is missing.

    Raises:
        OdbuildError: no room, no pip, or pip failed.
    """
    where = place(row, host)
    python = Path(sys.executable) if where == "here" else make_venv(folder / "venv", inherit=where == "inherit")
    prefix = python.parent.parent
    state = _state(prefix)
    # The TensorFlow that an earlier run of ours brought is not the host's: what came with it may be incomplete.
    ours = where == "isolated" or (where == "here" and (host.tensorflow is None or state != ""))
    anew = where == "here" and state == "incomplete"
    wanted = lacking(REQUIREMENTS / f"{row.name}-{device}.txt", python, None if ours else host, anew=anew)
    if wanted:
        check_room(prefix, row.gigabytes[device], wanted)
        patience = ", which takes minutes" if any(pin.name in TENSORFLOWS for pin in wanted) else ""
        say(f"Packages to install into {prefix}: {len(wanted)}{patience}")
        if ours:
            leave(prefix / MARK, "incomplete")
        pip_install(python, wanted, folder, anew=anew)
        check_installed(python, wanted)
    if where != "here" or (ours and wanted):
        leave(prefix / MARK, "complete")
    told = [pin for pin in wanted if pin.name in NOTABLE] or wanted
    names = ", ".join(f"{pin.name} {pin.version}" for pin in told)
    say(f"Installed: {names}" if wanted else f"Everything is installed in {prefix}")
    return python


def lacking(lock: "Path", python: "Path", host: "Host | None", *, anew: "bool") -> "list[Pin]":
    """List what is to be installed.

    Args:
        lock: the row's lock.
        python: of the environment that is to have it all.
        host: whose TensorFlow stays; None where ours is to be used.
        anew: trust nothing that is there.
    """
    pins, installed = read_lock(lock), {} if anew else installed_in(python)
    left = left_to_host(host, installed, [pin.name for pin in pins]) if host else set()
    return missing(pins, installed, marker_environment(), left)


def make_venv(target: "Path", *, inherit: "bool") -> "Path":
    """Make a virtual environment, or use the one that an earlier run left whole; return its interpreter.

    Raises:
        OdbuildError: venv failed.
    """
    python = target / "bin" / "python"
    if _whole(target, inherit=inherit):
        return python
    if target.exists() and not _state(target):
        raise OdbuildError(
            f"{target} was not made by odbuild: move it away, or start the bundle in a fresh folder."
        )
    options = ["--system-site-packages"] if inherit else []
    # Debian splits ensurepip off into python3-venv; pip can still come from outside, see `find_pip`.
    for more in ([], ["--without-pip"]):
        shutil.rmtree(str(target), ignore_errors=True)
        leave(target / MARK, "incomplete")
        done = _run([sys.executable, "-m", "venv", *options, *more, str(target)])
        if not done.returncode:
            return python
    raise OdbuildError(f"Making a virtual environment in {target} failed: {_last(done.stdout)}")


def find_pip(python: "Path") -> "list[str]":
    """Return the command that installs into an interpreter's environment.

    Raises:
        OdbuildError: there is no pip, neither there nor in a Python that can reach there.
    """
    if not _run([str(python), "-m", "pip", "--version"]).returncode:
        return [str(python), "-m", "pip"]
    for outer in (sys.executable, getattr(sys, "_base_executable", sys.executable)):
        done = _run([outer, "-m", "pip", "--version"])
        # `--python` came with pip 22.3.
        if not done.returncode and _numbers(done.stdout.split()[1]) >= (22, 3, 0):
            return [outer, "-m", "pip", "--python", str(python)]
    raise OdbuildError(
        f"{sys.executable} has no pip. Install it (on Debian and Ubuntu: apt-get install python3-venv), "
        "or set ODBUILD_PYTHON to a Python that has it."
    )


def pip_install(python: "Path", pins: "Iterable[Pin]", folder: "Path", *, anew: "bool" = False) -> "None":
    """Install pins, by hash, wheels only; from `wheels/` alone where the bundle brings it.

    Args:
        python: of the environment to install into.
        pins: what to install.
        folder: where start.sh lies, and `wheels/` perhaps.
        anew: write over what is there, as an interrupted pip cannot be asked what it left.

    Raises:
        OdbuildError: pip failed; the message ends pip's last lines with what to do.
    """
    listing = folder / STATE / "missing.txt"
    leave(listing, "".join(pin.text for pin in pins))
    command = [*find_pip(python), "install", *PIP_OPTIONS, "--requirement", str(listing)]
    command += ["--ignore-installed"] if anew else []
    if (folder / "wheels").is_dir():
        command += ["--no-index", "--find-links", str(folder / "wheels")]
    done = _run(command)
    if done.returncode:
        advice = [todo for signs, todo in ADVICE if re.search(signs, done.stdout)]
        last = "\n".join(done.stdout.strip().splitlines()[-4:])
        raise OdbuildError(
            "{}\npip could not install. {}".format(last, (advice or ["See its last lines above."])[0])
        )


def check_room(folder: "Path", gigabytes: "float", wanted: "Iterable[Pin]") -> "None":
    """Refuse to fill the disk with half a TensorFlow.

    Raises:
        OdbuildError: TensorFlow is to be installed, and too little is free.
    """
    free = shutil.disk_usage(str(folder)).free / 1e9
    if free < gigabytes and any(pin.name in TENSORFLOWS for pin in wanted):
        raise OdbuildError(
            f"No room: installing TensorFlow takes {gigabytes} GB, and {folder} has {free:.1f} GB left. "
            "Give the run a larger disk, or clear this one."
        )


def check_installed(python: "Path", wanted: "Iterable[Pin]") -> "None":
    """Compare what is there now with what was wanted.

    Raises:
        OdbuildError: pip was content, but a package is not the locked one.
    """
    installed = installed_in(python)
    for pin in wanted:
        if installed.get(pin.name) != pin.version:
            raise OdbuildError(
                "{} {} was installed, but {} finds {}: something on PYTHONPATH hides it. Unset PYTHONPATH.".format(
                    pin.name, pin.version, python, installed.get(pin.name, "none")
                )
            )


def _whole(target: "Path", *, inherit: "bool") -> "bool":
    if _state(target) != "complete":
        return False
    settings = (target / "pyvenv.cfg").read_text()
    version = _ask(str(target / "bin" / "python"), "import platform; print(platform.python_version())")
    return (
        f"include-system-site-packages = {str(inherit).lower()}" in settings
        and version == platform.python_version()
    )


def _state(prefix: "Path") -> "str":
    mark = prefix / MARK
    return mark.read_text() if mark.exists() else ""


# --- upstream ---


def unpack_sdists(folder: "Path") -> "None":
    """Unpack upstream's two archives beside start.sh, anew each time, as a folder may be from an older bundle.

    Raises:
        OdbuildError: an archive is missing, broken, or holds anything but plain files of its own folder.
    """
    for name in SDISTS:
        archive, fresh = folder / (name + ".tar.gz"), folder / STATE / name
        shutil.rmtree(str(fresh), ignore_errors=True)
        try:
            with tarfile.open(str(archive), "r:gz") as tar:
                for member in tar:
                    _write_member(tar, member, name, fresh)
        except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
            raise OdbuildError(f"{archive} cannot be unpacked ({error}). Build the bundle again.") from error
        shutil.rmtree(str(folder / name), ignore_errors=True)
        fresh.replace(folder / name)


def _write_member(tar: "tarfile.TarFile", member: "tarfile.TarInfo", name: "str", fresh: "Path") -> "None":
    # tarfile's own filter came in a patch release of 3.11, which some systems do not have yet.
    parts = member.name.split("/")
    if parts[0] != name or ".." in parts or not (member.isfile() or member.isdir()):
        raise OdbuildError(f"{name}.tar.gz holds {member.name!r}, which does not belong there.")
    target = fresh.joinpath(*parts[1:])
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    content = tar.extractfile(member)
    if content is not None:
        with content:
            target.write_bytes(content.read())


# --- asking and leaving ---


def leave(path: "Path", text: "str") -> "None":
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    partial.replace(path)


def _run(command: "list[str]") -> "subprocess.CompletedProcess[str]":
    # Installing anywhere but where we say would leave the environment empty.
    environ = {name: value for name, value in os.environ.items() if name not in ("PIP_TARGET", "PIP_PREFIX")}
    return subprocess.run(
        command,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
        errors="replace",
        env=environ,
    )


def _ask(python: "str", code: "str") -> "str":
    try:
        done = subprocess.run(
            [python, "-c", code],
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            universal_newlines=True,
        )
    except OSError:
        return ""
    return "" if done.returncode else done.stdout.strip()


def _last(text: "str") -> "str":
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def _either(words: "Iterable[str]") -> "str":
    words = list(words)
    return " or ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)


def _stop(number: "int", _frame: "object") -> "None":
    # Unwinding makes subprocess.run take its child with it; by default pip would be left behind.
    raise SystemExit(128 + number)


def main(arguments: "list[str]") -> "int":
    """Run `setup` in the current folder; return the exit code."""
    signal.signal(signal.SIGTERM, _stop)
    if arguments != ["setup"]:
        sys.stderr.write("Usage: python3 -m trainer.runtime setup\n")
        return UsageError.exit_code
    try:
        setup(Path.cwd(), os.environ, lambda line: print(line, flush=True))
    except OdbuildError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except OSError as error:
        sys.stderr.write(f"{error}. Check that {Path.cwd()} may be written to and the disk has room.\n")
        return OdbuildError.exit_code
    except Exception:  # noqa: BLE001 - a bug must look like one
        traceback.print_exc()
        sys.stderr.write("This is a bug in odbuild: please report it with the lines above.\n")
        return 70
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
