"""Pack what training, evaluation and export need of upstream as two source distributions.

Upstream's code goes in unmodified, with the generated protos. The metadata is odbuild's own, for upstream's
`setup.py` lies outside the two proven folders and asks for packages that the runtime's lock decides.
"""

import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import upstream as upstreams
from .archive import ZOPFLI_ROUNDS, Entry, fingerprint, tar_gz
from .cache import load, store
from .errors import OdbuildError
from .protos import Protos
from .upstream import Upstream

VERSION = "0.1"

# Below slim, the packages that the sdist holds at its root, as upstream imports them (`from nets import ...`).
SLIM_PACKAGES = ("datasets", "deployment", "nets", "preprocessing")

# Below object_detection. `dataset_tools` also holds 3 MB that only DensePose reads, which no model of a zoo does.
_LEFT_OUT = (
    "colab_tutorials",
    "dataset_tools",
    "dockerfiles",
    "inference",
    "models/keras_models/base_models",
    "packages",
    "test_data",
    "test_images",
    "tpu_exporters",
)
_TEST_ENDS = ("_test.py", "_testbase.py", "_test_lib.py", "/test_case.py", "/test_utils.py")
# Downloads and converts the picture sets that slim's own examples train on.
_CONVERTERS = ("download_and_convert_", "build_imagenet_", "preprocess_imagenet_", "process_bounding_boxes")

# Raise when `tar_gz` makes something else of the same entries.
_STEP = "sdists 1"

_SUMMARIES = {
    "object_detection": "TensorFlow Object Detection API",
    "slim": "TensorFlow-Slim image classification models",
}

_PYPROJECT = """\
[build-system]
requires = ["setuptools>=61"]
build-backend = "setuptools.build_meta"
"""

_SETUP = '''\
"""Install upstream's {name}; what it needs is installed from the lock of the runtime."""

from setuptools import setup

setup(
    name="{name}",
    version="{version}",
    description="{summary}",
    url="https://github.com/tensorflow/models",
    license="Apache-2.0",
    license_files=["LICENSE"],
    packages=[
{packages}
    ],
)
'''

_PKG_INFO = """\
Metadata-Version: 2.1
Name: {name}
Version: {version}
Summary: {summary}
Home-page: https://github.com/tensorflow/models
License: Apache-2.0
"""


def build(upstream: Upstream, protos: Protos, *, cache: Path) -> tuple[Entry, Entry]:
    """Return object_detection-0.1.tar.gz and slim-0.1.tar.gz, newly packed or from the cache.

    The same upstream and protos make the same bytes.

    Raises:
        OdbuildError: upstream has changed, or the cache cannot be written.
    """
    contents = {
        f"{name}-{VERSION}.tar.gz": _members(name, files) for name, files in _contents(upstream, protos).items()
    }
    kept = cache / "sdists" / _key(contents)
    archives = load(kept)
    if archives is None:
        archives = {name: tar_gz(members) for name, members in contents.items()}
        store(kept, archives)
    first, second = (Entry(name, data) for name, data in sorted(archives.items()))
    return first, second


def module_names() -> list[str]:
    """Return the paths of upstream's modules that training, evaluation and export can reach, sorted."""
    return sorted(name for name in upstreams.manifest() if _is_needed(name))


def _is_needed(name: str) -> bool:
    if not name.endswith(".py") or name.endswith(_TEST_ENDS):
        return False
    top, _, rest = name.partition("/")
    if top == "slim":
        return rest.startswith(tuple(f"{package}/" for package in SLIM_PACKAGES)) and not rest.startswith(
            tuple(f"datasets/{converter}" for converter in _CONVERTERS)
        )
    return not rest.startswith(tuple(f"{folder}/" for folder in _LEFT_OUT))


def _key(contents: Mapping[str, Sequence[Entry]]) -> str:
    """Return what the archives depend on: every byte that goes in, and what compresses it."""
    tool = f"zopfli {importlib.metadata.version('zopfli')}, {ZOPFLI_ROUNDS} rounds"
    parts = (
        part for members in contents.values() for entry in members for part in (entry.name.encode(), entry.data)
    )
    return fingerprint((_STEP.encode(), tool.encode(), *parts))


def _contents(upstream: Upstream, protos: Protos) -> dict[str, dict[str, bytes]]:
    """Return the modules of each sdist by their path below its root."""
    modules = {name: upstreams.read(upstream, name) for name in module_names()}
    slim = {name.removeprefix("slim/"): data for name, data in modules.items() if name.startswith("slim/")}
    detection = {name: data for name, data in modules.items() if not name.startswith("slim/")}
    return {"object_detection": detection | dict(protos.python), "slim": slim}


def _members(name: str, files: Mapping[str, bytes]) -> list[Entry]:
    packages = sorted({path.rpartition("/")[0].replace("/", ".") for path in files})
    fields = {"name": name, "version": VERSION, "summary": _SUMMARIES[name]}
    listed = "\n".join(f'        "{package}",' for package in packages)
    metadata = {
        "LICENSE": _licence(),
        "PKG-INFO": _PKG_INFO.format(**fields).encode(),
        "pyproject.toml": _PYPROJECT.encode(),
        "setup.py": _SETUP.format(**fields, packages=listed).encode(),
    }
    return [Entry(f"{name}-{VERSION}/{path}", data) for path, data in (metadata | dict(files)).items()]


def _licence() -> bytes:
    """Return the Apache licence, which is odbuild's and upstream's alike; upstream's folders hold no copy."""
    try:
        text = importlib.metadata.distribution("odbuild").read_text("licenses/LICENSE")
    except importlib.metadata.PackageNotFoundError:
        text = None
    beside = Path(__file__).resolve().parent.parent / "LICENSE"
    if text is None and beside.is_file():
        text = beside.read_text(encoding="utf-8")
    if text is None:
        raise OdbuildError("odbuild's licence file is missing. Install odbuild again.")
    return text.encode()
