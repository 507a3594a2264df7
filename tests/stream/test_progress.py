"""How far a file is, on a terminal and in a log."""

import io

import pytest

from stream.clock import VirtualClock
from stream.progress import ProgressLine

pytestmark = pytest.mark.unit


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_a_line_for_every_tenth() -> None:
    log = io.StringIO()
    progress = ProgressLine(log, VirtualClock(), "in.mp4", 25.0)
    for done in range(1, 201):
        progress.show(done, 200)
    progress.end()
    lines = log.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == [str(10 * n) for n in range(1, 11)]
    assert "\r" not in log.getvalue()


def test_a_terminal_gets_one_line_redrawn_ten_times_a_second_at_most() -> None:
    terminal, clock = Terminal(), VirtualClock(10**9)
    progress = ProgressLine(terminal, clock, "in.mp4", 25.0)
    for done in range(1, 101):
        clock._now_ns += 10_000_000
        progress.show(done, 100)
    progress.end()
    written = terminal.getvalue()
    assert 10 <= written.count("\r") <= 12
    assert written.rstrip("\n").count("\n") == 0
    assert "100 % 4.0 times real time" in written


def test_more_pictures_than_promised_stay_at_a_hundred_percent() -> None:
    log = io.StringIO()
    progress = ProgressLine(log, VirtualClock(), "in.mp4", 25.0)
    for done in range(1, 20):
        progress.show(done, 10)
    assert log.getvalue().splitlines()[-1].startswith("in.mp4: 100 %")
