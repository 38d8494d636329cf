"""A host of archives on this machine, over https, that can be told how to misbehave."""

import contextlib
import http.server
import io
import re
import socket
import ssl
import struct
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import trustme

Answer: TypeAlias = Callable[["Host", http.server.BaseHTTPRequestHandler], object]


class Host:
    """Serves one content at every path; what stands in `script` answers first, one request each.

    Attributes:
        content: The bytes.
        etag: Their mark, or None to send none.
        script: How to answer the next requests; the last answer is `good` for ever.
        asked: The headers of every request so far.
        paths: The path of every request so far.
        released: Ends the answers that hold a connection.
    """

    def __init__(self, port: int) -> None:
        self.base = f"https://localhost:{port}"
        self.reset()

    def reset(self, content: bytes = b"") -> None:
        self.content = content
        self.etag: str | None = '"1"'
        self.script: list[Answer] = []
        self.asked: list[Mapping[str, str]] = []
        self.paths: list[str] = []
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"{self.base}/models/model.tar.gz"

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        self.asked.append(dict(handler.headers))
        self.paths.append(handler.path)
        with contextlib.suppress(OSError):  # the client may have left, as it should
            (self.script.pop(0) if self.script else good)(self, handler)


def good(host: Host, handler: Any, *, upto: int | None = None) -> bytes:
    """Answer as a host does that keeps to the standard, up to so many bytes of the body; return the rest."""
    body, status = host.content, 200
    span = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    if span and handler.headers.get("If-Range") == host.etag:
        if int(span[1]) >= len(body):
            status_only(416)(host, handler)
            return b""
        status = 206
    handler.send_response(status)
    if span and status == 206:
        start = int(span[1])
        handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        body = body[start:]
    if host.etag:
        handler.send_header("ETag", host.etag)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    upto = len(body) if upto is None else upto
    handler.wfile.write(body[:upto])
    return body[upto:]


def truncates(host: Host, handler: Any) -> None:
    good(host, handler, upto=len(host.content) // 3)
    handler.connection.shutdown(socket.SHUT_RDWR)


def resets(host: Host, handler: Any) -> None:
    good(host, handler, upto=len(host.content) // 3)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def stalls(host: Host, handler: Any) -> None:
    good(host, handler, upto=len(host.content) // 3)
    host.released.wait(10)


def silent(host: Host, _handler: Any) -> None:
    host.released.wait(10)


def babbles(_host: Host, handler: Any) -> None:
    handler.wfile.write(b"\x00\xff this is no HTTP\r\n\r\n")


def drips(host: Host, handler: Any) -> None:
    for byte in good(host, handler, upto=1):
        if host.released.wait(0.05):
            return
        handler.wfile.write(bytes([byte]))


def ignores_range(host: Host, handler: Any) -> None:
    del handler.headers["Range"]
    good(host, handler)


def ignores_if_range(host: Host, handler: Any) -> None:
    """Go on in the middle of whatever file is there now."""
    del handler.headers["If-Range"]
    handler.headers["If-Range"] = host.etag
    good(host, handler)


def goes_on_elsewhere(host: Host, handler: Any) -> None:
    """Answer another part than the one that was asked for."""
    handler.send_response(206)
    handler.send_header("Content-Range", f"bytes 1-{len(host.content) - 1}/{len(host.content)}")
    handler.send_header("Content-Length", str(len(host.content) - 1))
    handler.end_headers()
    handler.wfile.write(host.content[1:])


def chunked(host: Host, handler: Any) -> None:
    """Send all without saying how much that is."""
    handler.protocol_version = "HTTP/1.1"
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    for start in range(0, len(host.content), 1000):
        part = host.content[start : start + 1000]
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
    handler.wfile.write(b"0\r\n\r\n")
    handler.close_connection = True


def endless(host: Host, handler: Any) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(host.content)
    while not host.released.is_set():
        handler.wfile.write(bytes(100_000))


def html(_host: Host, handler: Any) -> None:
    page = b"<!doctype html><title>Sign in</title>"
    handler.send_response(200)
    handler.send_header("Content-Type", "text/html; charset=utf-8")
    handler.send_header("Content-Length", str(len(page)))
    handler.end_headers()
    handler.wfile.write(page)


def status_only(code: int, **headers: str) -> Answer:
    def answer(_host: Host, handler: Any) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def changes_to(content: bytes, etag: str | None, then: Answer = good) -> Answer:
    def answer(host: Host, handler: Any) -> None:
        host.content, host.etag = content, etag
        then(host, handler)

    return answer


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Host]:
    """Run a host by a certificate whose authority lies in `folder/ca.pem`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host.answer(self)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            pass  # a connection that the client broke off

    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with Server(("localhost", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        host = Host(server.server_port)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield host
        host.released.set()
        server.shutdown()


def tar_gz(members: Mapping[str, bytes]) -> bytes:
    """Return a tar.gz of these files."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return packed.getvalue()
