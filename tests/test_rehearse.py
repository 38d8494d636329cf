"""The rehearsal's judgement on made-up results, and its handling of the folder it works in."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from odbuild import bundle, rehearse
from odbuild.errors import OdbuildError, UsageError

RESULTS: Mapping[str, Any] = {
    "model": "ssd",
    "restored": {"identical": 179, "other_shape": 12, "different": 9, "new": 0},
    "loss_first": 12.5,
    "loss_last": 3.5,
    "map": 0.1,
    "map50": 0.2,
    "exports": ["model/saved_model.pb"],
    "picture": "detections.png",
}


def request(out: Path, **fields: Any) -> rehearse.Request:
    made = bundle.Request(model="ssd_mobilenet_v1", checkpoint=fields.pop("checkpoint", "none"))
    defaults: dict[str, Any] = {"zip": None, "dataset": None, "steps": 3, "row": None, "python": None}
    return rehearse.Request(bundle=made, out=out, **{**defaults, **fields})


def steps(count: int) -> list[str]:
    return [f"INFO:tensorflow:loss = {9 / (n + 1):.7f}, step = {n} (0.100 sec)" for n in range(count)]


def lay(out: Path, log: list[str], results: Mapping[str, Any] | None) -> None:
    """Leave what a run leaves."""
    (out / "result" / "model").mkdir(parents=True)
    (out / "log.txt").write_text("\n".join(["Runtime row tf2.15 (cpu): it fits", *log]) + "\n", encoding="utf-8")
    if results is not None:
        (out / "result" / "results.json").write_text(json.dumps(results), encoding="utf-8")
        (out / "result" / "model" / "saved_model.pb").touch()
        (out / "result" / "detections.png").touch()


def judged(out: Path, log: list[str], results: Mapping[str, Any] | None, code: int = 0, **fields: Any) -> str:
    lay(out, log, results)
    return "; ".join(rehearse._judge(request(out, **fields), code, changed=False).problems)


def test_a_good_run_has_no_problems(tmp_path: Path) -> None:
    lay(tmp_path, [*steps(3), rehearse.SUCCESS], RESULTS)
    found = rehearse._judge(request(tmp_path, checkpoint=tmp_path), 0, changed=False)
    assert found.problems == ()
    assert (found.row, found.map50, found.exports) == ("tf2.15", 0.2, ("model/saved_model.pb",))
    assert found.picture == "detections.png"


@pytest.mark.parametrize(
    ("log", "code", "says"),
    [
        ([*steps(3), rehearse.FAILED], 1, "ended with exit code 1"),
        ([*steps(3), rehearse.FAILED], 0, "wants one line CACLI-TRAINING-SUCCESS"),
        ([*steps(3), rehearse.SUCCESS], 1, "wants one line CACLI-TRAINING-FAILED"),
        ([*steps(3), rehearse.SUCCESS, rehearse.SUCCESS], 0, "wants one line"),
        (steps(3), 0, "the log has none"),
        ([*steps(2), rehearse.SUCCESS], 0, r"2 of 3 steps"),
        ([*steps(4), rehearse.SUCCESS], 0, r"4 of 3 steps"),
        (["I0423 basic_session_run_hooks.py:260] loss = 2.5, step = 0", rehearse.SUCCESS], 0, "0 of 3 steps"),
    ],
)
def test_what_the_log_must_say(tmp_path: Path, log: list[str], code: int, says: str) -> None:
    assert says in judged(tmp_path, log, RESULTS, code)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ({"loss_last": float("nan")}, "loss_last is nan"),
        ({"loss_first": None}, "loss_first is None"),
        ({"map": -1.0}, "evaluation gave no map"),
        ({"map50": None}, "evaluation gave no map50"),
        ({"exports": []}, "no SavedModel"),
        ({"exports": ["model/gone.pb"]}, "no SavedModel"),
        ({"picture": None}, "not run on a picture"),
        ({"restored": None}, "says nothing of its checkpoint"),
        ({"restored": {"identical": 5, "other_shape": 0, "different": 195, "new": 0}}, "was not restored"),
    ],
)
def test_what_the_results_must_hold(tmp_path: Path, fault: Mapping[str, Any], says: str) -> None:
    assert says in judged(tmp_path, [*steps(3), rehearse.SUCCESS], {**RESULTS, **fault}, checkpoint=tmp_path)


def test_a_run_without_results_is_told(tmp_path: Path) -> None:
    assert "no SavedModel" in judged(tmp_path, [*steps(3), rehearse.SUCCESS], None)


def test_changed_data_is_told(tmp_path: Path) -> None:
    lay(tmp_path, [*steps(3), rehearse.SUCCESS], RESULTS)
    assert "changed files in DATA_DIR" in str(rehearse._judge(request(tmp_path), 0, changed=True).problems)


def test_a_snapshot_sees_what_is_written(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    before = rehearse._snapshot(tmp_path)
    assert rehearse._snapshot(tmp_path) == before
    (tmp_path / "b").touch()
    assert rehearse._snapshot(tmp_path) != before


@given(st.integers(1, 10**9))
def test_cacli_reads_the_steps_from_the_command(count: int) -> None:
    found = rehearse.TOTAL_STEPS.search(rehearse.COMMAND.format(count))
    assert found
    assert int(found[1]) == count


def test_a_folder_of_someone_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UsageError, match="no rehearsal made it"):
        rehearse._fresh(tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_a_folder_of_an_earlier_rehearsal_is_cleared_even_where_protected(tmp_path: Path) -> None:
    out = tmp_path / "out"
    rehearse._fresh(out)
    (out / "data").mkdir()
    (out / "data" / "a.jpg").touch(mode=0o400)
    (out / "data").chmod(0o500)
    rehearse._fresh(out)
    assert [path.name for path in out.iterdir()] == [rehearse.MARK]


def test_the_service_gets_a_fresh_home_and_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "x")
    monkeypatch.setenv("PYTHONPATH", "x")
    service = rehearse._Service(
        job=tmp_path / "j", data=tmp_path / "d", home=tmp_path / "h", environment=tmp_path / "v"
    )
    made = rehearse._environment(service, request(tmp_path, row="tf2.15"))
    assert made["HOME"] == str(tmp_path / "h")
    assert made["ODBUILD_ROW"] == "tf2.15"
    assert made["PATH"].startswith(f"{tmp_path}/v/bin{os.pathsep}")
    assert not {"SECRET_TOKEN", "PYTHONPATH"} & set(made)


def test_an_interpreter_is_found_for_each_row_or_told() -> None:
    assert rehearse.python_for(None)
    with pytest.raises(UsageError, match=r"Did you mean .tf2\.15."):
        rehearse.python_for("tf215")


def test_what_is_no_python_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no Python interpreter"):
        rehearse._python(request(tmp_path, python=tmp_path))
    assert rehearse._python(request(tmp_path, python=Path(sys.executable))) == Path(sys.executable)


def test_what_is_no_zip_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"no zip")
    for name in ("a.zip", "none.zip"):
        with pytest.raises(UsageError, match="no readable zip file"):
            rehearse.rehearse(request(tmp_path / "out", zip=tmp_path / name), print)
    assert not (tmp_path / "out").exists()


def test_a_dataset_that_is_none_is_told_before_anything_is_done(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(OdbuildError, match=r"_annotations\.json"):
        rehearse.rehearse(request(tmp_path / "out", dataset=tmp_path / "empty"), print)
    assert not (tmp_path / "out").exists()


def test_an_out_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(UsageError, match="is no folder"):
        rehearse.rehearse(request(tmp_path / "out"), print)


def test_the_folders_of_the_machine_go_whatever_happens(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), rehearse._service(tmp_path) as service:  # noqa: PT012
        service.data.mkdir()
        (service.data / "a.jpg").touch()
        service.data.chmod(0o500)
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
