from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from odbuild.trainer import findings
from odbuild.trainer.findings import Finding, Rule, Tally, place

BAD = Rule("BOX201", "warning", "a box is bad", "mend it")
WORSE = Rule("BOX202", "error", "a box is worse")


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(findings, "KEPT", 5)
    return 5


places = st.builds(
    place, st.sampled_from(["a", "b", 'c"]', "d[1]"]), st.none() | st.integers(0, 20), st.sampled_from(["", "x"])
)
found = st.lists(st.builds(Rule.at, st.sampled_from([BAD, WORSE]), places), max_size=30)


def test_a_million_of_a_kind_are_counted_and_some_kept(few: int) -> None:
    tally = Tally()
    tally += (BAD.at(place("a.jpg", index)) for index in range(1000))
    tally.append(WORSE.at(place("a.jpg")))
    told = tally.told()
    assert len(told) == few + 2
    assert findings.count(told) == 1001
    assert findings.render(told) == (
        'error BOX202: a box is worse\n  annotations["a.jpg"]\n'
        'warning BOX201: a box is bad (1,000 times)\n  annotations["a.jpg"][0]\n  annotations["a.jpg"][1]\n'
        '  annotations["a.jpg"][2]\n  ... and 997 more\n  fix: mend it'
    )
    again = Tally()
    again += told
    assert again.told() == told


@given(found=found, order=st.randoms(use_true_random=False))
def test_the_order_in_which_findings_come_does_not_matter(found: list[Finding], order: object) -> None:
    shuffled = list(found)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = Tally(), Tally()
    one += found
    other += shuffled
    assert one.told() == other.told() or Counter(one.told()) == Counter(other.told())
    assert Counter(one.told()) == Counter(found)
    assert [it.where for it in one.told()] == [it.where for it in other.told()]


def test_boxes_are_told_by_number() -> None:
    tally = Tally()
    tally += [BAD.at(place(key, index)) for key, index in (("b", 1), ("a", 10), ("a", 9), ("a", None))]
    assert [it.where for it in tally.told()] == [place("a"), place("a", 9), place("a", 10), place("b", 1)]
