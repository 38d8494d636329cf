"""How far a download is: a live line for a person, few lines for a log, none for what is quick."""

import io

import pytest

from odbuild.trainer import meter
from odbuild.trainer.meter import Meter


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_what_is_quick_is_not_told() -> None:
    stream = Terminal()
    told = Meter(say=pytest.fail, stream=stream)
    told.tell(1, 2)
    told.close()
    assert stream.getvalue() == ""


def test_a_terminal_has_one_line_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "LIVE", 0.0)
    stream = Terminal()
    told = Meter(say=pytest.fail, stream=stream, quiet=0)
    told.tell(25_500_000, 51_000_000)
    told.tell(51_000_000, None)
    told.close()
    assert stream.getvalue() == "\r  25.5 MB of 51.0 MB, 50 %\x1b[K\r  51.0 MB\x1b[K\r\x1b[K"


def test_a_log_has_few_lines() -> None:
    said: list[str] = []
    told = Meter(say=said.append, stream=io.StringIO(), quiet=0)
    for done in range(1000):
        told.tell(done, 1000)
    told.close()
    assert said == ["  0.0 MB of 0.0 MB, 0 %"]
