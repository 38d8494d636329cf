"""The line that cacli reads, for any loss and step."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from odbuild.errors import OdbuildError
from odbuild.rehearse import STEP
from odbuild.trainer.progress import Progress


@given(st.lists(st.floats(0, 1e12, allow_nan=False), min_size=1, max_size=5), st.integers(0, 10**9))
def test_cacli_reads_every_step(losses: list[float], first: int) -> None:
    lines: list[str] = []
    progress = Progress(say=lines.append)
    for step, loss in enumerate(losses, first):
        progress.tell(step, loss)
    read = [STEP.search(line) for line in lines]
    assert [int(found[2]) for found in read if found] == list(range(first, first + len(losses)))
    assert all(
        found and float(found[1]) == pytest.approx(loss, abs=1e-6)
        for found, loss in zip(read, losses, strict=True)
    )
    assert all(re.match(r"^INFO:tensorflow:loss = ([0-9]+[.][0-9]+), step = ([0-9]*)", line) for line in lines)
    assert (progress.first, progress.last) == (losses[0], losses[-1])


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), float("-inf")])
def test_a_loss_that_is_not_finite_ends_the_run(loss: float) -> None:
    with pytest.raises(OdbuildError, match="at step 7: training diverged"):
        Progress(say=print).tell(7, loss)
