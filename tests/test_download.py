"""One file over https: whatever the host does, the right file in the end or one clear sentence."""

import contextlib
import email.utils
import gzip
import hashlib
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import hosts
import pytest
from hosts import Answer, Host, good
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from odbuild.errors import OdbuildError
from odbuild.trainer import download as module
from odbuild.trainer.download import Patience, download

SWIFT = Patience(attempts=8, backoff=0.001, longest=2.0, stall=0.3)
"""No test shall wait."""

CONTENT, OTHER, OTHER_LENGTH = (
    gzip.compress(random.Random(length).randbytes(length), mtime=0)  # noqa: S311
    for length in (60_000, 60_001, 70_000)
)
OTHER = OTHER[: len(CONTENT)]  # as long, so that its mark alone tells it apart
SHA256 = {"sha256": hashlib.sha256(CONTENT).hexdigest()}


def get(host: Host, target: Path, *script: Answer, patience: Patience = SWIFT, **known: Any) -> list[str]:
    """Download the host's content and return what was said."""
    host.content = host.content or CONTENT
    host.script[:] = script
    said: list[str] = []
    download(host.url, target, say=said.append, patience=patience, **known)
    return said


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


PARTIAL = ["a.tar.gz.partial", "a.tar.gz.partial.json"]


@pytest.mark.parametrize(
    "fault",
    [
        hosts.truncates,
        hosts.resets,
        hosts.stalls,
        hosts.silent,
        hosts.babbles,
        hosts.drips,
        hosts.status_only(500),
        hosts.status_only(503),
        hosts.status_only(429, Retry_After="0"),
        hosts.status_only(429, Retry_After=email.utils.formatdate(0, usegmt=True)),
        hosts.status_only(503, Retry_After="soon"),
    ],
)
def test_what_passes_is_tried_again(fault: Answer, host: Host, tmp_path: Path) -> None:
    said = get(host, tmp_path / "a.tar.gz", fault, fault, size=len(CONTENT), digests=SHA256)
    assert (tmp_path / "a.tar.gz").read_bytes() == CONTENT
    assert left(tmp_path) == ["a.tar.gz"]
    assert sum("trying again" in line for line in said) == len(host.asked) - 1 == 2


def test_the_next_attempt_asks_for_what_is_missing(host: Host, tmp_path: Path) -> None:
    get(host, tmp_path / "a.tar.gz", hosts.truncates, digests=SHA256)
    assert "Range" not in host.asked[0]
    assert host.asked[1]["Range"] == f"bytes={len(CONTENT) // 3}-"
    assert host.asked[1]["If-Range"] == '"1"'


def test_a_file_without_a_mark_is_never_pieced_together(host: Host, tmp_path: Path) -> None:
    host.etag = None
    get(host, tmp_path / "a.tar.gz", hosts.truncates, digests=SHA256)
    assert "Range" not in host.asked[1]


def test_a_weak_etag_is_no_mark(host: Host, tmp_path: Path) -> None:
    host.etag = 'W/"1"'
    get(host, tmp_path / "a.tar.gz", hosts.truncates, digests=SHA256)
    assert "Range" not in host.asked[1]


@pytest.mark.parametrize("changed", [OTHER, OTHER_LENGTH])
@pytest.mark.parametrize("answer", [good, hosts.ignores_range, hosts.ignores_if_range])
def test_a_file_that_changed_starts_over(changed: bytes, answer: Answer, host: Host, tmp_path: Path) -> None:
    get(host, tmp_path / "a.tar.gz", hosts.truncates, hosts.changes_to(changed, '"2"', answer))
    assert (tmp_path / "a.tar.gz").read_bytes() == changed


@pytest.mark.parametrize(
    "answer", [hosts.ignores_range, hosts.goes_on_elsewhere, hosts.chunked, hosts.status_only(416)]
)
def test_an_odd_answer_to_a_range_does_no_harm(answer: Answer, host: Host, tmp_path: Path) -> None:
    get(host, tmp_path / "a.tar.gz", hosts.truncates, answer, digests=SHA256)
    assert (tmp_path / "a.tar.gz").read_bytes() == CONTENT


def test_a_file_of_unsaid_length_is_taken(host: Host, tmp_path: Path) -> None:
    get(host, tmp_path / "a.tar.gz", hosts.chunked, size=len(CONTENT))
    assert (tmp_path / "a.tar.gz").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("answer", "known", "says"),
    [
        (hosts.status_only(404), {}, "HTTP 404 Not Found"),
        (hosts.status_only(403), {}, r"HTTP 403 .*--checkpoint PATH"),
        (hosts.status_only(416), {}, "HTTP 416"),
        (hosts.status_only(429, Retry_After="3600"), {}, "429 .* asks to wait 3600 s"),
        (hosts.html, {}, "no gzip archive but text/html"),
        (hosts.html, {"size": 37}, "no gzip archive but text/html"),
        (hosts.status_only(200), {}, "no gzip archive but 0 bytes"),
        (good, {"size": 1}, rf"the host has {len(CONTENT)} bytes, expected 1"),
        (good, {"size": len(CONTENT) + 1}, rf"the host has {len(CONTENT)} bytes, expected"),
        (hosts.chunked, {"size": len(CONTENT) + 1}, rf"{len(CONTENT)} bytes came, expected"),
        (hosts.endless, {"size": len(CONTENT)}, "more than the expected"),
        (good, {"digests": {"sha256": "0" * 64}}, f"sha256 is {SHA256['sha256']}, expected 000"),
        (good, {"digests": {"sha384": "0" * 96}}, "sha384 is .*, expected 000"),
        (hosts.status_only(302, Location="http://localhost/a.tar.gz"), {}, "leads to http://.* only fetched over"),
        (hosts.status_only(302, Location="file:///etc/passwd"), {}, "url .file:///etc/passwd. is not allowed"),
    ],
)
def test_what_will_not_pass_is_told_at_once(
    answer: Answer, known: dict[str, Any], says: str, host: Host, tmp_path: Path
) -> None:
    with pytest.raises(OdbuildError, match=says):
        get(host, tmp_path / "a.tar.gz", answer, **known)
    assert len(host.asked) == 1
    assert left(tmp_path) == []
    # And nothing stands in the way of a good answer.
    get(host, tmp_path / "a.tar.gz", digests=SHA256)
    assert left(tmp_path) == ["a.tar.gz"]


def test_an_endless_answer_of_unknown_size_ends(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_SIZE", 1_000_000)
    with pytest.raises(OdbuildError, match="more than the expected 1000000 bytes"):
        get(host, tmp_path / "a.tar.gz", hosts.endless)
    assert left(tmp_path) == []


def test_a_redirect_is_followed(host: Host, tmp_path: Path) -> None:
    get(host, tmp_path / "a.tar.gz", hosts.status_only(302, Location="/elsewhere"), digests=SHA256)
    assert host.paths == ["/models/model.tar.gz", "/elsewhere"]


def test_a_redirect_to_a_page_is_told(host: Host, tmp_path: Path) -> None:
    with pytest.raises(OdbuildError, match="no gzip archive but text/html"):
        get(host, tmp_path / "a.tar.gz", hosts.status_only(302, Location="/sign-in"), hosts.html)
    assert left(tmp_path) == []


def test_a_redirect_in_a_circle_ends(host: Host, tmp_path: Path) -> None:
    circle = [hosts.status_only(302, Location="/models/model.tar.gz")] * 50
    with pytest.raises(OdbuildError, match=r"cannot be downloaded .*infinite loop"):
        get(host, tmp_path / "a.tar.gz", *circle)
    assert len(host.asked) < 20
    assert left(tmp_path) == []


def test_attempts_are_counted(host: Host, tmp_path: Path) -> None:
    patience = Patience(attempts=3, backoff=0.001)
    with pytest.raises(OdbuildError, match=r"cannot be downloaded \(HTTP 500 .*--checkpoint PATH"):
        get(host, tmp_path / "a.tar.gz", *[hosts.status_only(500)] * 4, patience=patience)
    assert len(host.asked) == 3
    assert left(tmp_path) == []


def test_the_host_s_wish_to_wait_is_kept(host: Host, tmp_path: Path) -> None:
    began = time.monotonic()
    get(host, tmp_path / "a.tar.gz", hosts.status_only(429, Retry_After="1"))
    assert time.monotonic() - began >= 1


def test_what_came_before_giving_up_is_used_by_the_next_run(host: Host, tmp_path: Path) -> None:
    with pytest.raises(OdbuildError, match=r"after 0\.0 MB, from where the next run goes on"):
        get(host, tmp_path / "a.tar.gz", hosts.truncates, patience=Patience(attempts=1))
    assert left(tmp_path) == PARTIAL
    said = get(host, tmp_path / "a.tar.gz", digests=SHA256)
    assert "from an earlier attempt" in said[0]
    assert host.asked[1]["Range"] == f"bytes={len(CONTENT) // 3}-"


def test_a_run_killed_at_the_last_moment_asks_for_nothing_more(host: Host, tmp_path: Path) -> None:
    with pytest.raises(OdbuildError):
        get(host, tmp_path / "a.tar.gz", hosts.truncates, patience=Patience(attempts=1))
    (tmp_path / PARTIAL[0]).write_bytes(CONTENT)
    get(host, tmp_path / "a.tar.gz", digests=SHA256)
    assert len(host.asked) == 1


@pytest.mark.parametrize(
    "note", [b"", b"{", b"[]", b'{"url": 1}', b'{"url": "https://x/", "validator": "", "total": 1}']
)
def test_a_partial_file_without_its_own_note_is_not_used(note: bytes, host: Host, tmp_path: Path) -> None:
    (tmp_path / PARTIAL[0]).write_bytes(b"\x1f\x8b of something else")
    (tmp_path / PARTIAL[1]).write_bytes(note)
    get(host, tmp_path / "a.tar.gz", digests=SHA256)
    assert (tmp_path / "a.tar.gz").read_bytes() == CONTENT


def test_a_rotten_partial_file_is_found_by_the_digest_and_deleted(host: Host, tmp_path: Path) -> None:
    with pytest.raises(OdbuildError):
        get(host, tmp_path / "a.tar.gz", hosts.truncates, patience=Patience(attempts=1))
    with (tmp_path / PARTIAL[0]).open("r+b") as file:
        file.seek(100)
        file.write(b"rotten")
    with pytest.raises(OdbuildError, match="sha256 is"):
        get(host, tmp_path / "a.tar.gz", digests=SHA256)
    assert left(tmp_path) == []


def test_two_runs_do_not_write_one_file(host: Host, tmp_path: Path) -> None:
    first = threading.Thread(
        target=get, args=(host, tmp_path / "a.tar.gz", hosts.stalls), kwargs={"patience": Patience(stall=5)}
    )
    first.start()
    while not host.asked or PARTIAL[1] not in left(tmp_path):
        time.sleep(0.01)
    with pytest.raises(OdbuildError, match="another run is downloading this file"):
        download(host.url, tmp_path / "a.tar.gz", say=print)
    host.released.set()
    first.join()
    assert (tmp_path / "a.tar.gz").read_bytes() == CONTENT


def test_a_killed_run_is_gone_on_with(host: Host, tmp_path: Path) -> None:
    host.content, host.script[:] = CONTENT, [hosts.stalls]
    code = (
        "import sys; from pathlib import Path; from odbuild.trainer.download import download\n"
        "download(sys.argv[1], Path(sys.argv[2]), say=print)"
    )
    with subprocess.Popen([sys.executable, "-c", code, host.url, str(tmp_path / "a.tar.gz")]) as process:
        while not (tmp_path / PARTIAL[0]).exists() or not (tmp_path / PARTIAL[0]).stat().st_size:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    have = (tmp_path / PARTIAL[0]).stat().st_size
    host.released.set()
    get(host, tmp_path / "a.tar.gz", digests=SHA256)
    assert host.asked[-1]["Range"] == f"bytes={have}-"
    assert left(tmp_path) == ["a.tar.gz"]


def test_a_full_disk_is_one_sentence_and_the_next_run_goes_on(
    host: Host, tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    with full_disk(20_000), pytest.raises(OdbuildError, match=r"a\.tar\.gz: no space left .*Free some"):
        get(host, tmp_path / "a.tar.gz")
    assert left(tmp_path) == PARTIAL
    get(host, tmp_path / "a.tar.gz", digests=SHA256)
    assert "Range" in host.asked[-1]


def test_an_unknown_certificate_is_told_at_once(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(OdbuildError, match=r"certificate verify failed.*SSL_CERT_FILE"):
        download(host.url, tmp_path / "a.tar.gz", say=pytest.fail)


@pytest.mark.parametrize("url", ["http://localhost/a.tar.gz", "file:///etc/passwd", "ftp://h/a", ""])
def test_only_https_is_fetched(url: str, tmp_path: Path) -> None:
    with pytest.raises(OdbuildError, match="only fetched over https"):
        download(url, tmp_path / "a.tar.gz", say=print)
    assert left(tmp_path) == []


def test_a_host_that_does_not_answer_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(OdbuildError, match=r"cannot be downloaded.*refused"):
        download("https://localhost:9/a.tar.gz", tmp_path / "a.tar.gz", say=print, patience=Patience(attempts=1))


FAULTS: Sequence[Answer] = (
    hosts.truncates,
    hosts.resets,
    hosts.status_only(500),
    hosts.status_only(416),
    hosts.status_only(429, Retry_After="0"),
    hosts.changes_to(OTHER, '"2"', hosts.truncates),
    hosts.changes_to(OTHER_LENGTH, '"3"', hosts.resets),
    hosts.changes_to(CONTENT, '"1"', hosts.truncates),
    hosts.changes_to(OTHER, None, hosts.truncates),
    hosts.changes_to(OTHER, '"2"', hosts.ignores_if_range),
    hosts.goes_on_elsewhere,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(FAULTS), max_size=6))
def test_any_faults_and_then_a_good_answer_give_a_right_file(
    host: Host, tmp_path_factory: pytest.TempPathFactory, faults: list[Answer]
) -> None:
    # One attempt a run, so that every fault also ends a run and the next one finds what it left.
    folder = tmp_path_factory.mktemp("any")
    host.reset(CONTENT)
    one = Patience(attempts=1, stall=5)
    for fault in faults:
        with contextlib.suppress(OdbuildError):
            get(host, folder / "a.tar.gz", fault, patience=one)
    get(host, folder / "a.tar.gz", hosts.changes_to(CONTENT, '"1"'), patience=SWIFT, digests=SHA256)
    assert (folder / "a.tar.gz").read_bytes() == CONTENT
    assert left(folder) == ["a.tar.gz"]
