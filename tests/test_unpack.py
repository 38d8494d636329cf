"""Archives that mean harm, or are merely broken: refused in one sentence, with nothing left behind."""

import gzip
import io
import os
import signal
import subprocess
import sys
import tarfile
import tracemalloc
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from hosts import tar_gz
from hypothesis import given, settings
from hypothesis import strategies as st

from odbuild import zoo
from odbuild.errors import OdbuildError
from odbuild.trainer import unpack as module
from odbuild.trainer.unpack import unpack

INDEX, DATA = "m/model.ckpt.index", "m/model.ckpt.data-00000-of-00001"
GOOD = {INDEX: b"index", DATA: b"data"}


def tar(*more: tarfile.TarInfo, form: int = tarfile.GNU_FORMAT, files: dict[str, bytes] | None = None) -> bytes:
    """Return a tar of the good files and more headers, each followed by as many zeros as it says."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=form) as archive:
        for name, data in (GOOD if files is None else files).items():
            archive.addfile(header(name, size=len(data)), io.BytesIO(data))
        for info in more:
            archive.addfile(info, io.BytesIO(bytes(info.size)))
    return packed.getvalue()


def header(name: str, **fields: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def take(packed: bytes, folder: Path, prefix: str = "model.ckpt", *alternatives: str) -> Path:
    archive = folder / "a.tar.gz"
    archive.write_bytes(packed)
    return unpack(archive, prefix, folder / "out", name="ARCHIVE", alternatives=alternatives)


def left(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "out").iterdir()}


def refused(packed: bytes, folder: Path, says: str) -> None:
    with pytest.raises(OdbuildError, match=f"^ARCHIVE: .*{says}") as caught:
        take(packed, folder)
    assert "\n" not in str(caught.value)
    assert left(folder) == {}
    assert sorted(path.name for path in folder.iterdir()) == ["a.tar.gz", "out"]


TAKEN = {"model.ckpt.index": b"index", "model.ckpt.data-00000-of-00001": b"data"}


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_one_checkpoint_is_taken_from_every_kind_of_tar(form: int, tmp_path: Path) -> None:
    more = [
        header("m", type=tarfile.DIRTYPE),
        header("m/saved_model/", type=tarfile.DIRTYPE),
        header("m/x", size=9),
    ]
    prefix = take(gzip.compress(tar(*more, form=form)), tmp_path)
    assert prefix == tmp_path / "out" / "model.ckpt"
    assert left(tmp_path) == TAKEN


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_are_read(form: int, tmp_path: Path) -> None:
    files = {f"{'猫' * 80}/{'x' * 90}/{name}": data for name, data in GOOD.items()}
    take(gzip.compress(tar(form=form, files=files)), tmp_path)
    assert left(tmp_path) == TAKEN


def test_a_pax_header_of_the_whole_archive_is_passed_over(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", format=tarfile.PAX_FORMAT, pax_headers={"comment": "c"}) as out:
        for name, data in GOOD.items():
            out.addfile(header(name, size=len(data), mtime=1.5), io.BytesIO(data))
    take(packed.getvalue(), tmp_path)
    assert left(tmp_path) == TAKEN


def test_a_checkpoint_is_told_by_its_folder(tmp_path: Path) -> None:
    files = {name.replace("m/", f"m/{kind}/"): kind.encode() for name in GOOD for kind in ("fp32", "uint8")}
    take(tar_gz(files), tmp_path, "fp32/model.ckpt")
    assert set(left(tmp_path).values()) == {b"fp32"}


@pytest.mark.parametrize("top", ["", "./", "m/", "./m/"])
def test_the_top_folder_does_not_matter(top: str, tmp_path: Path) -> None:
    take(tar_gz({name.replace("m/", f"{top}checkpoint/"): data for name, data in GOOD.items()}), tmp_path)
    assert left(tmp_path) == TAKEN


def test_the_only_checkpoint_is_taken_under_the_wanted_name(tmp_path: Path) -> None:
    take(tar_gz({name.replace("model.ckpt", "other-7"): data for name, data in GOOD.items()}), tmp_path)
    assert left(tmp_path) == TAKEN


LAYOUTS = [
    (("fp32/model.ckpt-400000", "uint8/model.ckpt-400000"), "fp32/model.ckpt-400000"),
    (("fp32/model.ckpt", "uint8/model.ckpt"), "fp32/model.ckpt"),
    (("uint8/model.ckpt-400000", "uint8/model.ckpt"), "uint8/model.ckpt-400000"),
    (("model.ckpt",), "model.ckpt"),
]
"""What archives of MobileDet are told to hold, and which of it counts; the last is told of none."""


@pytest.mark.parametrize(("layout", "expected"), LAYOUTS)
@pytest.mark.parametrize("name", ["ssd_mobiledet_edgetpu_coco", "ssd_mobiledet_dsp_coco"])
def test_the_first_prefix_that_is_there_counts(
    name: str, layout: tuple[str, ...], expected: str, tmp_path: Path
) -> None:
    known = zoo.find(name).checkpoint
    files = {f"m/{each}.{part}": each.encode() for each in layout for part in ("index", "data-00000-of-00001")}
    prefix = take(tar_gz(files), tmp_path, known.prefix, *known.alternatives)
    assert prefix.name == "model.ckpt-400000"
    assert set(left(tmp_path).values()) == {expected.encode()}


@pytest.mark.parametrize("name", ["model.ckpt-400000", "model.ckpt"])
def test_a_prefix_without_a_folder_has_alternatives_too(name: str, tmp_path: Path) -> None:
    known = zoo.find("ssd_mobiledet_cpu_coco").checkpoint
    files = {
        f"m/{each}.{part}": each.encode() for each in (name, "x") for part in ("index", "data-00000-of-00001")
    }
    take(tar_gz(files), tmp_path, known.prefix, *known.alternatives)
    assert set(left(tmp_path).values()) == {name.encode()}


def test_two_of_none_of_the_prefixes_are_told_with_all_that_was_sought(tmp_path: Path) -> None:
    files = {name.replace("model", kind): b"" for name in GOOD for kind in "ab"}
    with pytest.raises(OdbuildError, match=r"the only 'x' or 'y'; found 'm/a\.ckpt', 'm/b\.ckpt'"):
        take(tar_gz(files), tmp_path, "x", "y")
    assert left(tmp_path) == {}


def test_many_shards_stay_together(tmp_path: Path) -> None:
    shards = {f"m/model.ckpt.data-{n:05d}-of-00003": b"%d" % n for n in range(3)}
    take(tar_gz({INDEX: b"index", **shards}), tmp_path)
    assert left(tmp_path) == {"model.ckpt.index": b"index", **{name[2:]: data for name, data in shards.items()}}


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "none that has both index and data"),
        ({"m/readme": b""}, "none that has both index and data"),
        ({INDEX: b""}, "none that has both"),
        ({DATA: b""}, "none that has both"),
        ({name.replace("model", kind): b"" for name in GOOD for kind in "ab"}, "found 'm/a.ckpt', 'm/b.ckpt'"),
        ({f"{top}/{name}": b"" for name in GOOD for top in "ab"}, "found 'a/m/model.ckpt', 'b/m/model.ckpt'"),
    ],
)
def test_no_checkpoint_or_two_are_told(files: dict[str, bytes], says: str, tmp_path: Path) -> None:
    refused(tar_gz(files), tmp_path, says)


HOSTILE = {
    "traversal": header("m/../../evil", size=4),
    "traversal of a checkpoint": header("../model.ckpt.index", size=4),
    "traversal of a folder": header("..", type=tarfile.DIRTYPE),
    "absolute": header("/etc/passwd", size=4),
    "absolute checkpoint": header("/tmp/model.ckpt.index", size=4),  # noqa: S108
    "absolute and long": header("/" + "x" * 300, size=4),
    "twice": header(INDEX, size=4),
    "twice by another spelling": header(f"./m//./{INDEX[2:]}", size=4),
    "symlink": header("m/link", type=tarfile.SYMTYPE, linkname="/etc"),
    "symlink as a checkpoint": header("m/b.ckpt.index", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "hard link": header("m/b.ckpt.index", type=tarfile.LNKTYPE, linkname="/etc/passwd"),
    "character device": header("m/b", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
    "block device": header("m/b", type=tarfile.BLKTYPE, devmajor=1, devminor=3),
    "fifo": header("m/b.ckpt.index", type=tarfile.FIFOTYPE),
    "unknown type": header("m/b", type=b"Z"),
}


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_member_is_refused(hostile: tarfile.TarInfo, form: int, tmp_path: Path) -> None:
    refused(gzip.compress(tar(hostile, form=form)), tmp_path, "refused as unsafe: its member")


def test_sparse_members_are_refused(tmp_path: Path) -> None:
    packed = io.BytesIO()
    info = header("m/x", size=4, pax_headers={"GNU.sparse.major": "1", "GNU.sparse.minor": "0"})
    with tarfile.open(fileobj=packed, mode="w:gz", format=tarfile.PAX_FORMAT) as out:
        out.addfile(info, io.BytesIO(b"4\n0\n"))
    refused(packed.getvalue(), tmp_path, "sparse")


def zeros(size: int) -> bytes:
    """Return gzipped zeros, quickly: one member repeated, as gzip allows."""
    part = 1 << 24
    return gzip.compress(bytes(part), 9, mtime=0) * (size // part)


@pytest.mark.parametrize("name", ["m/other.ckpt.index", "m/anything"])
def test_ten_gigabytes_of_zeros_are_refused_early(name: str, tmp_path: Path) -> None:
    bomb = header(name, size=10 << 30).tobuf(tarfile.GNU_FORMAT)
    tracemalloc.start()
    refused(gzip.compress(bomb) + zeros(10 << 30), tmp_path, "unpacks to far more than a checkpoint")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 << 20


def test_zeros_after_the_end_are_a_bomb_too(tmp_path: Path) -> None:
    refused(gzip.compress(tar()) + zeros(10 << 30), tmp_path, "unpacks to far more than a checkpoint")


@pytest.mark.parametrize(
    "kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK]
)
def test_a_huge_header_is_not_read_into_memory(kind: bytes, tmp_path: Path) -> None:
    bomb = header("m/x", type=kind, size=10 << 30).tobuf(tarfile.GNU_FORMAT)
    refused(gzip.compress(bomb) + zeros(1 << 28), tmp_path, "is no header")


@pytest.mark.parametrize("kind", [tarfile.DIRTYPE, tarfile.REGTYPE, tarfile.XGLTYPE])
def test_two_hundred_thousand_members_are_refused(kind: bytes, tmp_path: Path) -> None:
    block = header("m", type=kind).tobuf(tarfile.USTAR_FORMAT)
    many = (
        block * 200_000
        if kind != tarfile.REGTYPE
        else b"".join(header(f"m/{n}").tobuf(tarfile.USTAR_FORMAT) for n in range(20_000))
    )
    refused(gzip.compress(many, 1), tmp_path, "more than 10000 members")


def test_a_negative_size_does_not_go_backwards(tmp_path: Path) -> None:
    bad = bytearray(tar(header("m/x")))
    start = bad.index(b"m/x")
    bad[start + 124 : start + 136] = b"\xff" * 12
    bad[start + 148 : start + 156] = b" " * 8
    bad[start + 148 : start + 156] = b"%06o\0 " % sum(bad[start : start + 512])
    refused(gzip.compress(bytes(bad)), tmp_path, "damaged")


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"no gzip at all",
        gzip.compress(b""),
        gzip.compress(b"no tar at all"),
        gzip.compress(b"no tar at all" * 100),
        gzip.compress(tar()) + b"garbage",
        gzip.compress(tar()[:-20_000]),
    ],
)
def test_what_is_no_tar_gz_is_told(packed: bytes, tmp_path: Path) -> None:
    refused(packed, tmp_path, "damaged")


def test_every_truncation_is_told(tmp_path: Path) -> None:
    packed = gzip.compress(tar())
    for end in range(len(packed)):
        refused(packed[:end], tmp_path, "damaged")


@given(st.data())
def test_flipped_bytes_give_an_error_or_a_checkpoint(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    folder = tmp_path_factory.mktemp("flip")
    plain = bytearray(tar(header("m/" + "x" * 120, size=5), form=data.draw(st.sampled_from([1, 2]))))
    for _ in range(data.draw(st.integers(1, 4))):
        plain[data.draw(st.integers(0, 6000))] = data.draw(st.integers(0, 255))
    try:
        take(gzip.compress(bytes(plain), 1), folder)
    except OdbuildError:
        assert left(folder) == {}
    else:
        assert left(folder).keys() == TAKEN.keys()


NAMES = st.text(st.sampled_from("./amodel.ckptindex-0 \\\0\n猫"), min_size=1, max_size=20)


@settings(max_examples=200)
@given(st.lists(st.tuples(NAMES, st.sampled_from([b"0", b"5", b"1", b"2", b"L", b"x"]), st.binary(max_size=30))))
def test_no_name_leaves_the_folder(
    tmp_path_factory: pytest.TempPathFactory, members: list[tuple[str, bytes, bytes]]
) -> None:
    folder = tmp_path_factory.mktemp("names") / "deep"
    folder.mkdir()
    blocks = []
    for name, kind, body in members:
        info = header(name, type=kind, size=len(body), linkname="x")
        blocks += [info.tobuf(tarfile.GNU_FORMAT, "utf-8"), body.ljust(-(-len(body) // 512) * 512, b"\0")]
    try:
        take(gzip.compress(b"".join(blocks) + tar(), 1), folder)
    except OdbuildError:
        assert left(folder) == {}
    assert [path.name for path in folder.parent.iterdir()] == ["deep"]
    assert sorted(path.name for path in folder.iterdir()) == ["a.tar.gz", "out"]


def test_a_full_disk_leaves_nothing(
    tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    packed = tar_gz({INDEX: b"index", DATA: os.urandom(100_000)})
    (tmp_path / "a.tar.gz").write_bytes(packed)
    with full_disk(50_000), pytest.raises(OdbuildError, match="no space left"):
        unpack(tmp_path / "a.tar.gz", "model.ckpt", tmp_path / "out", name="ARCHIVE")
    assert left(tmp_path) == {}


def test_what_a_killed_run_left_is_swept(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(tar_gz(GOOD))
    code = (
        "import os, signal, sys; from pathlib import Path; from odbuild.trainer import unpack\n"
        "unpack._Stream.drain = lambda self: os.kill(os.getpid(), signal.SIGKILL)\n"
        "unpack.unpack(Path(sys.argv[1]), 'model.ckpt', Path(sys.argv[2]), name='a')"
    )
    done = subprocess.run([sys.executable, "-c", code, archive, tmp_path / "out"], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list((tmp_path / "out").iterdir())) == 1
    take(tar_gz(GOOD), tmp_path)
    assert left(tmp_path) == TAKEN


def test_an_interrupt_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module._Stream, "drain", interrupted)
    with pytest.raises(KeyboardInterrupt):
        take(tar_gz(GOOD), tmp_path)
    assert left(tmp_path) == {}
