from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from odbuild.trainer import jobs
from odbuild.trainer.dataset import Box, Picture
from odbuild.trainer.policies import SHARD_BYTES, Policies
from odbuild.trainer.sources import Source

MB = 1 << 20


@given(lengths=st.lists(st.integers(0, 5000), min_size=1, max_size=60), most=st.integers(1, 60_000))
def test_shards_are_of_nearly_equal_bytes_and_none_is_empty(lengths: list[int], most: int) -> None:
    counts = jobs.cut(lengths, most)
    assert sum(counts) == len(lengths)
    assert all(counts)
    weights = [length + jobs.PICTURE_BYTES for length in lengths]
    ends = list(accumulate(counts))
    sizes = [sum(weights[end - count : end]) for end, count in zip(ends, counts, strict=True)]
    assert all(size < most + max(weights) for size in sizes)


def test_data_decides_on_the_size_of_shards() -> None:
    def shards(megabytes: float) -> int:
        return len(jobs.cut([100_000] * round(megabytes * MB / 104_096), SHARD_BYTES))

    assert shards(10) == 1
    assert shards(40) == 3
    assert shards(159) == 10
    assert shards(1000) == 16
    assert shards(20_000) == 157


def test_tiny_pictures_do_not_crowd_a_shard() -> None:
    assert max(jobs.cut([1] * 200_000, SHARD_BYTES)) < 40_000


def _job(x: float = 0.25) -> jobs.Job:
    box = Box(label="b", ymin=0.1, xmin=x, ymax=0.3, xmax=0.9, index=3, difficult=True)
    picture = Picture(key="ä/1.jpg", boxes=(box,), size=(3, 4))
    source = Source("ä/1.jpg", 0, 2**40, 2**40, 2**60, 2**64 - 1)
    row = jobs.row(picture, source, {"a": 1, "b": 2})
    return jobs.Job(name="train-00000-of-00001", labels=("a", "b"), policies=Policies(max_side=9), rows=(row,))


def test_a_job_comes_back_from_its_bytes() -> None:
    job = _job()
    back = jobs.parse(job.data)
    assert back == job
    assert back.data == job.data
    assert list(back.pictures()) == list(job.pictures())
    ((picture, source),) = back.pictures()
    assert (picture.boxes[0].label, picture.boxes[0].index, picture.boxes[0].difficult) == ("b", 3, True)
    assert (picture.size, source.inode) == ((3, 4), 2**64 - 1)


def test_another_job_has_another_digest() -> None:
    assert _job().digest == _job().digest
    assert _job().digest != _job(0.26).digest
