import hashlib
import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from odbuild.trainer import records
from odbuild.trainer.errors import OdbuildError

payloads = st.lists(st.lists(st.binary(max_size=40), min_size=2, max_size=4), max_size=8)

KNOWN = bytes.fromhex("0300000000000000" + "b099490e" + "616263" + "6e57f121")
"""The record `abc` as TensorFlow writes it (proven by the test marked tensorflow)."""


def _write(folder: Path, *payloads: bytes) -> records.Shard:
    made: list[records.Shard] = []
    with records.Writer() as writer:
        writer.begin(folder / "train-00000-of-00001.record")
        for payload in payloads:
            writer.add(b"", payload, b"")
        writer.end(made.append)
    return made[0]


@given(payloads=payloads)
def test_a_shard_gives_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, payloads: list[list[bytes]]
) -> None:
    path = tmp_path_factory.mktemp("shards") / "x.record"
    made: list[records.Shard] = []
    with records.Writer() as writer:
        writer.begin(path)
        for pieces in payloads:
            writer.add(pieces[0], memoryview(bytearray(b"".join(pieces[1:-1]))), pieces[-1])
        writer.end(made.append)
    (shard,) = made
    assert list(records.read(path)) == [b"".join(pieces) for pieces in payloads]
    data = path.read_bytes()
    assert (shard.bytes, shard.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert shard.count == len(payloads)
    records.verify(shard)


def test_nothing_is_written_over(tmp_path: Path) -> None:
    _write(tmp_path, b"first")
    with pytest.raises(FileExistsError):
        _write(tmp_path, b"second")


def test_the_frame_is_the_known_one() -> None:
    assert b"".join(records.frame([b"a", b"bc"])) == KNOWN


def test_the_pattern_names_the_shards(tmp_path: Path) -> None:
    names = [f"train-{number:05d}-of-00002.record" for number in range(2)]
    shards = tuple(records.Shard(path=tmp_path / name, count=1, bytes=1, sha256="") for name in names)
    for shard in shards:
        shard.path.touch()
    pattern = records.pattern(shards)
    assert pattern == f"{tmp_path}/train-?????-of-00002.record"
    assert sorted(tmp_path.glob(Path(pattern).name)) == [shard.path for shard in shards]


def test_every_cut_is_found(tmp_path: Path) -> None:
    """Cuts between records look whole to `read`, as to TensorFlow, and only `verify` sees them."""
    shard = _write(tmp_path, b"first", b"second", b"")
    data = shard.path.read_bytes()
    borders = {0, 16 + 5, 2 * 16 + 11}
    for length in range(len(data)):
        shard.path.write_bytes(data[:length])
        if length in borders:
            list(records.read(shard.path))
        else:
            with pytest.raises(OdbuildError, match=r"train-00000-of-00001\.record, record \d: .*cut"):
                list(records.read(shard.path))
        with pytest.raises(OdbuildError):
            records.verify(shard)


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    shard = _write(tmp_path, b"first", b"second")
    data = shard.path.read_bytes()
    for position in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[position // 8] ^= 1 << position % 8
        shard.path.write_bytes(flipped)
        number = int(position // 8 >= 16 + 5)
        with pytest.raises(OdbuildError, match=rf"record {number}: the checksum"):
            list(records.read(shard.path))


def test_a_hostile_length_asks_for_no_memory(tmp_path: Path) -> None:
    header = struct.pack("<Q", 2**62)
    crc = records.frame([header])[-1]
    (tmp_path / "x.record").write_bytes(header + crc + b"little")
    with pytest.raises(OdbuildError, match=r"record 0: 4611686018427387904 bytes are announced"):
        list(records.read(tmp_path / "x.record"))


def test_a_repeated_record_is_seen_by_the_count(tmp_path: Path) -> None:
    shard = _write(tmp_path, b"one")
    shard.path.write_bytes(shard.path.read_bytes() * 2)
    with pytest.raises(OdbuildError, match=r"holds 2 records in 38 bytes .* but 1 in 19"):
        records.verify(shard)


@pytest.mark.tensorflow
def test_tensorflow_reads_and_writes_the_same_bytes(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    written = [b"", b"abc", bytes(range(256)) * 10]
    shard = _write(tmp_path, *written)
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        for record in written:
            writer.write(record)
    assert (tmp_path / "theirs").read_bytes() == shard.path.read_bytes()
    assert [record.numpy() for record in tf.data.TFRecordDataset(str(shard.path))] == written


def test_large_and_many_records_come_through(tmp_path: Path) -> None:
    written = [bytes([number % 251]) * (number * 37 % 5000) for number in range(3000)]
    written[7] = bytes(range(256)) * 3 * 4096
    shard = _write(tmp_path, *written)
    assert list(records.read(shard.path)) == written
    records.verify(shard)


@given(
    parts=st.lists(
        st.tuples(
            st.binary(max_size=40), st.integers(0, 400_000), st.binary(max_size=9000), st.sampled_from("rca")
        ),
        max_size=20,
    )
)
def test_a_body_may_be_read_into_the_room_given_for_it(
    tmp_path_factory: pytest.TempPathFactory, parts: list[tuple[bytes, int, bytes, str]]
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    written: list[list[bytes]] = [[], [], []]
    made: list[records.Shard] = []
    with records.Writer() as writer:
        for file, bodies in enumerate(written):
            writer.begin(folder / f"{file}.record")
            for number, (head, length, tail, way) in enumerate(parts):
                body = bytes([number + file + 1]) * length
                room = writer.room(length)
                room[:] = body
                if way == "a":
                    continue
                writer.add(head, room if way == "r" else body, tail)
                bodies.append(head + body + tail)
            writer.end(made.append)
    for shard, bodies in zip(made, written, strict=True):
        assert list(records.read(shard.path)) == bodies
        records.verify(shard)


def test_a_file_that_is_not_ended_is_told_by_nobody(tmp_path: Path) -> None:
    made: list[records.Shard] = []

    def write() -> None:
        with records.Writer() as writer:
            writer.begin(tmp_path / "whole.record")
            writer.add(b"", b"abc", b"")
            writer.end(made.append)
            writer.begin(tmp_path / "part.record")
            writer.add(b"", b"abc", b"")
            raise KeyError

    with pytest.raises(KeyError):
        write()
    assert [shard.path.name for shard in made] == ["whole.record"]
    records.verify(made[0])


def test_what_fails_behind_a_file_is_raised_to_whoever_goes_on(tmp_path: Path) -> None:
    def refuse(_: records.Shard) -> None:
        raise OSError(28, "No space left on device")

    def write() -> None:
        with records.Writer() as writer:
            writer.begin(tmp_path / "x.record")
            writer.end(refuse)

    with pytest.raises(OSError, match="No space"):
        write()


def test_a_body_larger_than_a_block_has_room(tmp_path: Path) -> None:
    body = bytes(range(256)) * 3 * 4096
    made: list[records.Shard] = []
    with records.Writer() as writer:
        writer.begin(tmp_path / "x.record")
        for _ in range(9):
            room = writer.room(len(body))
            room[:] = body
            writer.add(b"head", room, b"tail")
        writer.end(made.append)
    (shard,) = made
    assert list(records.read(shard.path)) == [b"head" + body + b"tail"] * 9
    records.verify(shard)


def test_a_body_is_not_lost_where_what_follows_it_takes_more_room_than_was_kept(tmp_path: Path) -> None:
    head, tail = b"head", bytes(records.SLACK + 1000)
    body = bytes(range(1, 252)) * (records.BLOCK // 251 + 1)
    body = body[: records.BLOCK - records.SLACK - 12 - len(head)]
    made: list[records.Shard] = []
    with records.Writer() as writer:
        writer.begin(tmp_path / "x.record")
        writer.add(head, b"", b"")
        for _ in range(9):
            room = writer.room(len(body))
            room[:] = body
            writer.add(head, room, tail)
        writer.end(made.append)
    assert list(records.read(made[0].path)) == [head] + [head + body + tail] * 9


def test_a_disk_that_is_full_is_told_at_the_end_at_the_latest(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    made: list[records.Shard] = []

    def write() -> None:
        with records.Writer() as writer:
            writer.begin(tmp_path / "whole.record")
            writer.add(b"", bytes(records.BLOCK), b"")
            writer.end(made.append)
            writer.begin(tmp_path / "x.record")
            file = os.open(full, os.O_RDWR)
            os.dup2(file, writer._file)
            os.close(file)
            writer.add(b"", bytes(2 * records.BLOCK), b"")
            writer.end(made.append)
            writer.begin(tmp_path / "y.record")
            writer.end(made.append)

    with pytest.raises(OSError, match="No space left"):
        write()
    assert [shard.path.name for shard in made] == ["whole.record"]
    records.verify(made[0])
