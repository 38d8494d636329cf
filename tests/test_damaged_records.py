"""Every damage of a finished conversion is found by validate, by shard, and by record where that can be known."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pictures
import pytest
from formats import put

from odbuild.check import Options, check
from odbuild.trainer import index, records
from odbuild.trainer.convert import convert
from odbuild.trainer.findings import Finding
from odbuild.trainer.policies import Policies

SHARDS = ("train-00000-of-00002.record", "train-00001-of-00002.record", "validation-00000-of-00001.record")

OPTIONS = Options(check="none", jobs=1, select=("REC",))

STEPS = pytest.mark.parametrize("step", [13, pytest.param(1, marks=pytest.mark.slow)])
"""Every so many bytes are damaged; all of them where slow tests run. No multiple of 8, so that bits take turns."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small conversion of two shards to train and one to validate, with some records each."""
    folder = tmp_path_factory.mktemp("whole")
    box = {"x": 0.25, "y": 0.25, "x2": 0.75, "y2": 0.5}
    keys = [f"{number}.png" for number in range(8)]
    found = {key: [box | {"label": "cat" if at % 2 else "dog"}] for at, key in enumerate(keys)}
    drawn = {key: pictures.encoded(pictures.drawing(34, 33, "L", seed=at), "PNG") for at, key in enumerate(keys)}
    put(folder / "in", {**drawn, "_annotations.json": json.dumps({"version": "1.0", "annotations": found})})
    convert(folder / "in", folder / "out", Policies(shard_bytes=14_000), lambda _: None)
    return folder / "out"


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "copy"))


@pytest.fixture
def foreign(made: Path, tmp_path: Path) -> Path:
    """Return the same shards as another program would leave them: with a label map and nothing else."""
    names = [*SHARDS, index.LABEL_MAP]
    return put(tmp_path / "foreign", {name: (made / name).read_bytes() for name in names})


def _errors(folder: Path) -> list[Finding]:
    return [found for found in check([folder], OPTIONS).findings if found.severity == "error"]


def _where(found: list[Finding]) -> set[str]:
    return {one.where.strip('"') for one in found}


def _borders(shard: Path) -> list[int]:
    """Return where each record begins, and the file's end."""
    borders = [0]
    for record in records.read(shard):
        borders.append(borders[-1] + len(record) + 16)
    return borders


def _record_at(borders: list[int], byte: int) -> int:
    return sum(border <= byte for border in borders) - 1


def _flips(data: bytes, step: int) -> Iterator[tuple[int, bytes]]:
    """Yield the data with one bit of each chosen byte flipped, every bit in turn."""
    for at in range(0, len(data), step):
        yield at, data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]


def test_the_conversion_itself_is_sound(made: Path, foreign: Path) -> None:
    assert sorted(path.name for path in made.glob("*.record")) == sorted(SHARDS)
    assert all(len(_borders(made / shard)) > 2 for shard in SHARDS)
    assert not _errors(made)
    assert not _errors(foreign)


@STEPS
@pytest.mark.parametrize("indexed", [True, False])
def test_a_flipped_bit_anywhere_in_a_shard_is_found(
    copy: Path, foreign: Path, step: int, *, indexed: bool
) -> None:
    shard = (copy if indexed else foreign) / SHARDS[1]
    data, borders = shard.read_bytes(), _borders(shard)
    for at, flipped in _flips(data, step):
        shard.write_bytes(flipped)
        found = _errors(shard.parent)
        assert f"{shard.name}, record {_record_at(borders, at)}" in _where(found), at
    shard.write_bytes(data)
    assert not _errors(shard.parent)


@STEPS
@pytest.mark.parametrize("indexed", [True, False])
def test_a_cut_at_every_byte_is_found(copy: Path, foreign: Path, step: int, *, indexed: bool) -> None:
    """Without an index, nobody can know of a cut right between two records."""
    shard = (copy if indexed else foreign) / SHARDS[1]
    data, borders = shard.read_bytes(), _borders(shard)
    for length in sorted({*range(0, len(data), step), *borders[:-1]}):
        shard.write_bytes(data[:length])
        found = _where(_errors(shard.parent))
        if length not in borders:
            assert f"{shard.name}, record {_record_at(borders, length)}" in found, length
        elif indexed:
            assert shard.name in found, length
        else:
            assert not found
    if not indexed:
        shard.write_bytes(b"")
        codes = [(one.code, one.where, one.severity) for one in check([foreign], OPTIONS).findings]
        assert ("REC501", f'"{shard.name}"', "warning") in codes


@pytest.mark.parametrize("pair", [(0, 1), (0, 2)])
def test_swapped_shards_are_found(copy: Path, pair: tuple[int, int]) -> None:
    one, other = (copy / SHARDS[at] for at in pair)
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    assert {one.name, other.name} <= _where(_errors(copy))


@pytest.mark.parametrize("shard", SHARDS)
def test_a_missing_shard_is_found(copy: Path, foreign: Path, shard: str) -> None:
    for folder in (copy, foreign):
        (folder / shard).unlink()
        found = [one for one in _errors(folder) if one.code == "REC502"]
        # Of a set that is gone as a whole only the index knows.
        assert _where(found) == ({shard} if folder == copy or shard.startswith("train") else set())


def test_a_shard_in_the_place_of_another_is_found(copy: Path) -> None:
    (copy / SHARDS[1]).write_bytes((copy / SHARDS[0]).read_bytes())
    assert SHARDS[1] in _where(_errors(copy))


@pytest.mark.parametrize("name", ["train-00002-of-00002.record", "more.tfrecord", "train/train.record"])
def test_a_shard_too_many_is_found(copy: Path, name: str) -> None:
    put(copy, {name: (copy / SHARDS[0]).read_bytes()})
    assert name in _where(_errors(copy))


@pytest.mark.parametrize("shard", SHARDS)
def test_appended_and_repeated_and_reordered_records_are_found(copy: Path, shard: str) -> None:
    path = copy / shard
    data = path.read_bytes()
    parts = list(records.read(path))
    framed = [b"".join(map(bytes, records.frame([part]))) for part in parts]
    changes = {
        "a byte more": (data + b"\0", f"{shard}, record {len(parts)}"),
        "a header more": (data + framed[0][:12], f"{shard}, record {len(parts)}"),
        "the last again": (data + framed[-1], shard),
        "the first lost": (b"".join(framed[1:]), shard),
        "another order": (b"".join(reversed(framed)), shard),
        "an empty one": (b"".join(framed) + b"".join(map(bytes, records.frame([b""]))), shard),
    }
    for what, (changed, where) in changes.items():
        path.write_bytes(changed)
        assert where in _where(_errors(copy)), what


@STEPS
def test_a_flipped_bit_anywhere_beside_the_shards_is_found(copy: Path, step: int) -> None:
    for name in (index.LABEL_MAP, *index.KEYS.values()):
        data = (copy / name).read_bytes()
        for _, flipped in _flips(data, step):
            (copy / name).write_bytes(flipped)
            report = check([copy], OPTIONS)
            assert report.exit_code("error"), flipped
            assert any(name in f"{one.where} {one.value}" for one in report.findings), flipped
        (copy / name).write_bytes(data)
    assert not _errors(copy)


@pytest.mark.parametrize("name", [index.LABEL_MAP, index.LEDGER, *index.KEYS.values()])
def test_a_file_beside_the_shards_that_is_lost_or_longer_is_found(copy: Path, name: str) -> None:
    data = (copy / name).read_bytes()
    (copy / name).write_bytes(data + b"\n")
    assert name in _where(_errors(copy))
    (copy / name).unlink()
    assert name in _where(_errors(copy))


@STEPS
def test_a_flipped_bit_anywhere_in_the_index_is_found(copy: Path, step: int) -> None:
    """But in the policies, which say how the records were made and are not part of them."""
    path = copy / index.INDEX
    data = path.read_bytes()
    policies = re.search(rb'"policies": \{[^{}]*\}', data)
    assert policies is not None
    for at, flipped in _flips(data, step):
        if policies.start() <= at < policies.end():
            continue
        path.write_bytes(flipped)
        report = check([copy], OPTIONS)
        assert report.exit_code("error"), (at, flipped[at - 20 : at + 20])
        assert any(index.INDEX in f"{one.where} {one.value}" for one in report.findings), flipped
    path.write_bytes(data)
    assert not _errors(copy)


@pytest.mark.parametrize("side", ["train", "validation"])
@pytest.mark.parametrize("member", ["pictures", "boxes", "count", "bytes"])
def test_a_wrong_count_in_the_index_is_found(copy: Path, side: str, member: str) -> None:
    path = copy / index.INDEX
    content = json.loads(path.read_text())
    place = content[side]["shards"][0] if member in ("count", "bytes") else content[side]
    place[member] += 1
    path.write_text(json.dumps(content))
    found = _where(_errors(copy))
    assert index.INDEX in found
    assert (place["name"] if member in ("count", "bytes") else side) in found


def test_an_index_of_another_program_is_none_of_ours(foreign: Path) -> None:
    for content in ('{"train": 1, "files": []}', "[]", '{"format": 1}'):
        (foreign / index.INDEX).write_text(content)
        assert not _errors(foreign)
