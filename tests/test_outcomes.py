"""The records of trials: they outlive a kill, and the page made of them tells of every model."""

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from odbuild import outcomes, zoo
from odbuild.errors import OdbuildError
from odbuild.outcomes import STAGES, Outcome

NAMES = [model.name for model in zoo.models()]
RESTORED = {"identical": 3, "other_shape": 2, "different": 1, "new": 0}
PASSED = Outcome(
    model=NAMES[0],
    key="0" * 64,
    tensorflow="2.21.0",
    settings=("batch 2", "height 256"),
    failed={},
    bundle_bytes=1_234_567,
    loss=14.283,
    restored=RESTORED,
    seconds=41.6,
    peak_mb=1939,
)

some = st.builds(
    replace,
    st.just(PASSED),
    model=st.sampled_from(NAMES[:4]),
    failed=st.dictionaries(st.sampled_from(STAGES), st.text()),
    loss=st.none() | st.floats(allow_nan=False),
)


@given(st.lists(some))
def test_the_last_record_of_a_model_counts(records: list[Outcome]) -> None:
    assert outcomes.parse(outcomes.render(records)) == {record.model: record for record in records}


@given(st.lists(some, min_size=1), some, st.data())
def test_a_record_that_a_kill_cut_off_costs_no_other(
    records: list[Outcome], new: Outcome, data: st.DataObject
) -> None:
    text = outcomes.render(records)
    last = len(outcomes.render(records[-1:]))
    cut = data.draw(st.integers(1, last))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, outcomes.FILE)
        path.write_text(text[:-cut], encoding="utf-8")
        assert outcomes.parse(path.read_text(encoding="utf-8")) == {r.model: r for r in records[:-1]}
        outcomes.append(path, new)
        assert outcomes.parse(path.read_text(encoding="utf-8")) == {r.model: r for r in (*records[:-1], new)}


@pytest.mark.parametrize("line", ["x", "[]", "{}", '{"settings": []}'])
def test_another_line_is_refused(line: str) -> None:
    with pytest.raises(OdbuildError, match="line 2: is no outcome"):
        outcomes.parse(outcomes.render([PASSED]) + line + "\n")


def rows(page: str) -> dict[str, list[str]]:
    cells = ([cell.strip() for cell in line.split(" | ")] for line in page.splitlines() if line.startswith("| `"))
    return {name.strip("| `"): rest for name, *rest in cells}


def test_every_model_stands_in_the_page_with_a_result_or_a_reason() -> None:
    found = rows(outcomes.page({PASSED.model: PASSED}))
    assert list(found) == [model.short_name for model in zoo.models()]
    for model in zoo.models():
        told = found[model.short_name][-1]
        if model.unavailable:
            assert told == f"refused: {model.unavailable} |"
        elif model.name != PASSED.model:
            assert told == "not tried yet |"
    cells = ["1235", "yes", "yes", "14.28", "yes", "3 of 6", "batch 2, height 256", "2.21.0", "42", "|"]
    assert found[zoo.models()[0].short_name] == cells


def test_a_failure_is_told_with_its_stage_and_what_follows_is_not() -> None:
    failed = replace(PASSED, failed={"built": "TypeError: a | b", "step": "", "exported": "", "restored": ""})
    page = outcomes.page({failed.model: failed})
    assert "| yes | **no** | **no** | **no** | **no** |" in page
    assert "| built: TypeError: a \\| b |" in page
    assert f"0 of {len(NAMES)} pass every stage, 0 take a step" in " ".join(page.split())


def test_the_records_in_the_package_are_of_models_that_can_be_trained() -> None:
    assert set(outcomes.tried()) <= {model.name for model in zoo.models() if not model.unavailable}
