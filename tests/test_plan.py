"""A plan survives its file."""

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
