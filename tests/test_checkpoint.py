"""The checkpoint's way to the training machine, tried against a real HTTPS server and hostile archives."""

import hashlib
import http.server
import io
import ssl
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import trustme

from odbuild.errors import OdbuildError
from odbuild.trainer import checkpoint
from odbuild.trainer.recipe import Checkpoint

Server = Callable[[bytes], str]


def archive(members: Mapping[str, bytes], *, links: Mapping[str, str] | None = None) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return packed.getvalue()


GOOD = {
    "model_2018/model.ckpt.index": b"index",
    "model_2018/model.ckpt.data-00000-of-00001": b"data",
    "model_2018/pipeline.config": b"not wanted",
}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Serve bytes over https on this machine, by a certificate that this process trusts."""

    class Handler(http.server.BaseHTTPRequestHandler):
        content: ClassVar[bytes] = b""

        def do_GET(self) -> None:
            self.send_response(200 if self.content else 404)
            self.send_header("Content-Length", str(len(self.content)))
            self.end_headers()
            self.wfile.write(self.content)

        def log_message(self, *_: Any) -> None:
            pass

    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("no_proxy", "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with http.server.ThreadingHTTPServer(("localhost", 0), Handler) as running:
        running.socket = context.wrap_socket(running.socket, server_side=True)
        threading.Thread(target=running.serve_forever, daemon=True).start()

        def serve(content: bytes) -> str:
            Handler.content = content
            return f"https://localhost:{running.server_port}/model.tar.gz"

        yield serve
        running.shutdown()


def fetch(url: str, folder: Path, **known: Any) -> str:
    return checkpoint.fetch(Checkpoint(prefix="model.ckpt", url=url, **known), folder, lambda _: None)


def test_the_checkpoint_alone_is_unpacked(server: Server, tmp_path: Path) -> None:
    content = archive(GOOD)
    known = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    prefix = Path(fetch(server(content), tmp_path / "out", **known))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "model.ckpt.data-00000-of-00001",
        "model.ckpt.index",
    ]
    assert [path.read_bytes() for path in checkpoint.files(prefix)] == [b"data", b"index"]


@pytest.mark.parametrize(
    ("known", "says"),
    [({"sha256": "0" * 64}, "sha256 is"), ({"sha384": "0" * 96}, "sha384 is"), ({"size": 1}, "expected 1")],
)
def test_another_archive_than_the_catalogues_is_refused(
    server: Server, tmp_path: Path, known: Mapping[str, Any], says: str
) -> None:
    with pytest.raises(OdbuildError, match=says):
        fetch(server(archive(GOOD)), tmp_path / "out", **known)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "cannot be downloaded.*--checkpoint PATH"),
        (b"<html>sign in</html>", "no gzip archive"),
        (archive(GOOD)[:60], "damaged"),
        (archive({"model/other.ckpt.index": b""}), "no checkpoint here"),
        (archive({"model/model.ckpt.index": b""}), r"lacks its model.ckpt.data"),
        (archive({**GOOD, "b/model.ckpt.index": b"twice"}), "refused as unsafe"),
        (archive({}, links={"m/model.ckpt.index": "/etc/passwd"}), "refused as unsafe"),
    ],
)
def test_what_is_no_checkpoint_is_told(server: Server, tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(OdbuildError, match=says):
        fetch(server(content), tmp_path / "out")


def test_members_never_leave_the_folder(server: Server, tmp_path: Path) -> None:
    climbing = {f"m/../../{name.split('/')[1]}": data for name, data in GOOD.items()}
    prefix = Path(fetch(server(archive(climbing)), tmp_path / "a" / "out"))
    assert prefix.parent == tmp_path / "a" / "out"
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["out"]


def test_only_https_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(OdbuildError, match="only fetched over https"):
        fetch("http://localhost/model.tar.gz", tmp_path)


def test_an_unknown_host_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(OdbuildError, match="cannot be downloaded"):
        fetch("https://localhost:9/model.tar.gz", tmp_path)


def lay(folder: Path, *names: str) -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"x")


@pytest.mark.parametrize("word", ["", "m.ckpt", "m.ckpt.index"])
def test_a_checkpoint_is_found_by_folder_prefix_or_file(tmp_path: Path, word: str) -> None:
    lay(tmp_path, "m.ckpt.index", "m.ckpt.data-00000-of-00001")
    assert checkpoint.find_prefix(tmp_path / word) == tmp_path / "m.ckpt"


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ((), "found no file that ends in .index"),
        (("a.index", "b.index"), "found a.index, b.index"),
        (("a.index",), "lacks its a.data"),
    ],
)
def test_a_folder_without_one_whole_checkpoint_is_refused(
    tmp_path: Path, names: tuple[str, ...], says: str
) -> None:
    lay(tmp_path, *names)
    with pytest.raises(OdbuildError, match=says):
        checkpoint.find_prefix(tmp_path)


def test_a_name_with_wildcards_is_a_name(tmp_path: Path) -> None:
    lay(tmp_path, "[a]*?.index", "[a]*?.data-00000-of-00001", "axx.data-00000-of-00001")
    assert len(checkpoint.files(tmp_path / "[a]*?")) == 2


def test_a_copy_is_whole(tmp_path: Path) -> None:
    lay(tmp_path / "from", "m.index", "m.data-00000-of-00002", "m.data-00001-of-00002")
    copied = checkpoint.copy(tmp_path / "from" / "m", tmp_path / "to")
    assert [p.name for p in checkpoint.files(copied)] == [
        p.name for p in checkpoint.files(tmp_path / "from" / "m")
    ]


@pytest.mark.parametrize(
    ("counts", "says"),
    [
        ((20, 0, 0, 180), "belongs to another model"),
        ((5, 12, 183, 0), "was not restored"),
        ((0, 0, 0, 200), "belongs to another model"),
    ],
)
def test_a_run_that_does_not_hold_its_checkpoint_is_refused(counts: tuple[int, ...], says: str) -> None:
    with pytest.raises(OdbuildError, match=says):
        checkpoint.require_restored(restored(*counts), "model.ckpt")


@pytest.mark.parametrize("counts", [(179, 12, 9, 0), (571, 4, 6, 0), (392, 12, 0, 0), (302, 0, 82, 0)])
def test_what_upstream_restores_passes(counts: tuple[int, ...]) -> None:
    checkpoint.require_restored(restored(*counts), "model.ckpt")


def restored(*counts: int) -> checkpoint.Restored:
    names = ("identical", "other_shape", "different", "new")
    return checkpoint.Restored(**dict(zip(names, counts, strict=True)))


@pytest.mark.tensorflow
def test_variables_are_compared_by_shape_and_value(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    saved = {"a": [1.0, 2.0], "b": [3.0], "c": [[4.0]]}
    prefix = tf.train.Checkpoint(**{k: tf.Variable(v) for k, v in saved.items()}).write(str(tmp_path / "ckpt"))
    checkpoint.require_style(checkpoint.find_prefix(Path(prefix)), "tf2")
    with pytest.raises(OdbuildError, match="TF2 checkpoint, but the model is of the TF1 zoo"):
        checkpoint.require_style(Path(prefix), "tf1")
    mine = {"a": [1.0, 2.0], "b": [9.0], "c": [4.0], "d": [0.0]}
    values = {f"{k}/.ATTRIBUTES/VARIABLE_VALUE": tf.constant(v).numpy() for k, v in mine.items()}
    assert checkpoint.compare(tf.train.load_checkpoint(prefix), values) == restored(1, 1, 1, 1)
