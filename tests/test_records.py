import hashlib
import struct
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from odbuild.trainer import records
from odbuild.trainer.errors import OdbuildError

payloads = st.lists(st.binary(max_size=40), max_size=8)

KNOWN = bytes.fromhex("0300000000000000" + "b099490e" + "616263" + "6e57f121")
"""The record `abc` as TensorFlow writes it (proven by the test marked tensorflow)."""


@given(payloads=payloads, limit=st.integers(1, 200))
def test_shards_give_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, payloads: list[bytes], limit: int
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    shards = records.write_shards(iter(payloads), folder, "train", limit)
    assert [record for shard in shards for record in records.read(shard.path)] == payloads
    names = [f"train-{number:05d}-of-{len(shards):05d}.record" for number in range(len(shards))]
    assert [shard.path.name for shard in shards] == names
    assert sorted(path.name for path in folder.iterdir()) == names
    for shard in shards:
        data = shard.path.read_bytes()
        assert (shard.bytes, shard.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert shard.count == 1 or shard.bytes <= limit
        records.verify(shard)
    for shard, following in pairwise(shards):
        first = len(next(records.read(following.path))) + 16
        assert shard.bytes + first > limit


def test_the_frame_is_the_known_one() -> None:
    assert b"".join(records.frame(b"abc")) == KNOWN


def test_the_pattern_names_the_shards(tmp_path: Path) -> None:
    shards = records.write_shards([b"a", b"b"], tmp_path, "train", 1)
    pattern = records.pattern(shards)
    assert pattern == f"{tmp_path}/train-?????-of-00002.record"
    assert sorted(tmp_path.glob(Path(pattern).name)) == [shard.path for shard in shards]


def test_every_cut_is_found(tmp_path: Path) -> None:
    """Cuts between records look whole to `read`, as to TensorFlow, and only `verify` sees them."""
    (shard,) = records.write_shards([b"first", b"second", b""], tmp_path, "train")
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
    (shard,) = records.write_shards([b"first", b"second"], tmp_path, "train")
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
    crc = records.frame(header)[2]
    (tmp_path / "x.record").write_bytes(header + crc + b"little")
    with pytest.raises(OdbuildError, match=r"record 0: 4611686018427387904 bytes are announced"):
        list(records.read(tmp_path / "x.record"))


def test_a_repeated_record_is_seen_by_the_count(tmp_path: Path) -> None:
    (shard,) = records.write_shards([b"one"], tmp_path, "train")
    shard.path.write_bytes(shard.path.read_bytes() * 2)
    with pytest.raises(OdbuildError, match=r"holds 2 records in 38 bytes .* but 1 in 19"):
        records.verify(shard)


@pytest.mark.tensorflow
def test_tensorflow_reads_and_writes_the_same_bytes(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    written = [b"", b"abc", bytes(range(256)) * 10]
    (shard,) = records.write_shards(written, tmp_path, "train")
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        for record in written:
            writer.write(record)
    assert (tmp_path / "theirs").read_bytes() == shard.path.read_bytes()
    assert [record.numpy() for record in tf.data.TFRecordDataset(str(shard.path))] == written
