"""Fixtures that all tests share."""

import contextlib
import os
import resource
import tarfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from io import BytesIO
from pathlib import Path

import pytest
from hosts import Host, running
from hypothesis import settings

from odbuild import protos, sdists, upstream
from odbuild.cache import cache_folder
from odbuild.errors import OdbuildError
from odbuild.protos import Protos
from odbuild.upstream import Upstream

# In CI the examples are the same in every run, so that a red one tells of the change; others look for new ones.
settings.register_profile("default", max_examples=50, deadline=None, derandomize=bool(os.environ.get("CI")))
settings.register_profile("deep", max_examples=2000, deadline=None)
settings.load_profile("default")  # unless --hypothesis-profile names the other


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is slow unless it is asked for."""
    if "slow" not in config.option.markexpr:
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="slow"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of facts and data beside the repository."""
    folder = Path(__file__).resolve().parent.parent.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here")
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Return an empty place for a cache."""
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def upstream_tree() -> Upstream:
    """Return upstream, from the user's own cache or brought into it."""
    try:
        return upstream.fetch("auto", cache=cache_folder(), offline=False, say=print)
    except OdbuildError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def compiled(upstream_tree: Upstream) -> Protos:
    """Return upstream's protos, compiled."""
    return protos.compile_protos(upstream_tree, cache=cache_folder(), say=print)


@pytest.fixture(scope="session")
def unpacked(upstream_tree: Upstream, compiled: Protos, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Unpack both sdists, and return the PYTHONPATH that start.sh would set."""
    pytest.importorskip("tensorflow")
    folder = tmp_path_factory.mktemp("sdists")
    for entry in sdists.build(upstream_tree, compiled, cache=cache_folder()):
        with tarfile.open(fileobj=BytesIO(entry.data)) as packed:
            packed.extractall(folder, filter="data")
    places = (Path(__file__).resolve().parent.parent, folder / "object_detection-0.1", folder / "slim-0.1")
    return os.pathsep.join(map(str, places))


@pytest.fixture
def full_disk() -> Callable[[int], AbstractContextManager[None]]:
    """Return a context in which no file can grow beyond so many bytes."""

    @contextlib.contextmanager
    def limit(size: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limit


@pytest.fixture(scope="session")
def _host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Path]]:
    folder = tmp_path_factory.mktemp("host")
    with running(folder) as host:
        yield host, folder / "ca.pem"


@pytest.fixture
def host(_host: tuple[Host, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """Return a host of archives over https, by a certificate that this process and its children trust."""
    running_host, authority = _host
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    monkeypatch.setenv("no_proxy", "localhost")
    running_host.reset()
    yield running_host
    running_host.released.set()
