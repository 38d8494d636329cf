"""A plan survives its file, and a run goes by it."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from odbuild.trainer import plan, run


@given(
    st.builds(plan.Plan, labels=st.lists(st.text(), max_size=4).map(tuple), validation_records=st.just(("a", "b")))
)
def test_a_plan_is_read_back_as_it_was(tmp_path_factory: object, prepared: plan.Plan) -> None:
    path = Path(tmp_path_factory.mktemp("plan")) / "plan.json"  # type: ignore[attr-defined]
    prepared.save(path)
    assert plan.load(path) == prepared


@given(st.integers(1, 2_000_000))
def test_evaluation_never_misses_the_last_step(steps: int) -> None:
    stages = run.stages(steps)
    assert stages[-1] == steps
    assert stages == sorted(set(stages))
    assert len(stages) <= run.EVALUATIONS
    assert len(stages) == 1 or stages[0] >= run.EVALUATE_FROM_STEPS


@given(st.builds(plan.Plan, batch_size=st.integers(2, 64)))
def test_a_step_too_large_for_the_memory_is_answered_by_half_of_it(prepared: plan.Plan) -> None:
    told = str(run.too_small(prepared))
    assert f"for {prepared.batch_size} pictures" in told
    assert f"--batch-size {prepared.batch_size // 2}." in told


@given(st.builds(plan.Plan, batch_size=st.just(1)))
def test_one_picture_too_large_for_the_memory_is_not_halved(prepared: plan.Plan) -> None:
    assert "--batch-size" not in str(run.too_small(prepared))
