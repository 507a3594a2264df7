import asyncio
import logging
import threading

import pytest

from stream.clock import VirtualClock
from stream.frames import NS_PER_MS, NS_PER_S
from stream.pipeline import Lane, StageRunner

pytestmark = pytest.mark.unit


class Halver:
    """Halves even numbers, refuses odd ones."""

    name = "halver"

    def __init__(self) -> None:
        self.threads: set[int] = set()

    def process(self, item: int) -> int:
        self.threads.add(threading.get_ident())
        if item % 2:
            raise ValueError(f"{item} is odd")
        return item // 2


def run(
    items: list[int], step_ns: int = 40 * NS_PER_MS, **options: object
) -> tuple[list[int | None], StageRunner[int, int]]:
    """Push items through a runner, `step_ns` apart."""

    async def scenario() -> tuple[list[int | None], StageRunner[int, int]]:
        clock, lane = VirtualClock(), Lane("test")
        runner: StageRunner[int, int] = StageRunner(Halver(), lane, clock, **options)  # type: ignore[arg-type]
        results = []
        for item in items:
            results.append(await runner.apply(item))
            await clock.advance_to(clock.now_ns() + step_ns)
        lane.close()
        return results, runner

    return asyncio.run(scenario())


def test_a_stage_runs_on_its_lane_and_never_on_the_loops_thread() -> None:
    async def scenario() -> set[int]:
        stage, lane = Halver(), Lane("test")
        runner: StageRunner[int, int] = StageRunner(stage, lane, VirtualClock())
        for item in (2, 4, 6):
            await runner.apply(item)
        lane.close()
        return stage.threads

    threads = asyncio.run(scenario())
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_what_a_stage_raises_becomes_none_and_is_counted() -> None:
    results, runner = run([2, 3, 8])
    assert results == [1, None, 4]
    assert (runner.meter.figures().count, runner.meter.figures().failed) == (3, 1)


def test_one_success_ends_a_run_of_failures() -> None:
    _, runner = run(([3] * 24 + [2]) * 4)
    assert not runner.off


def test_failures_for_a_second_on_end_switch_the_stage_off_and_say_why() -> None:
    reasons: list[str] = []
    results, runner = run([3] * 60, on_off=reasons.append)
    assert runner.off
    assert runner.failed == 26
    assert results == [None] * 60
    assert reasons == ["it raised for a second on end, last ValueError('3 is odd')"]


def test_a_stage_that_is_off_is_not_called_again() -> None:
    _, runner = run([3] * 60)
    assert runner.meter.figures().count == 26


def test_a_stage_that_can_be_made_anew_gets_one_more_second() -> None:
    _, runner = run([3] * 60, rebuild=Halver)
    assert (runner.off, runner.failed) == (True, 52)


def test_a_stage_that_cannot_be_made_anew_after_all_is_switched_off() -> None:
    def fail() -> Halver:
        raise OSError("no device")

    _, runner = run([3] * 60, rebuild=fail)
    assert (runner.off, runner.failed) == (True, 26)


def test_a_failing_stage_is_logged_at_most_once_a_second_with_the_number_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "stream.pipeline"):
        run([3] * 75, patience_ns=10 * NS_PER_S)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 3
    assert "(24 more since the last line)" in messages[1]


def test_switching_a_stage_off_is_an_error_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    run([3] * 60)
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert errors == ["halver is switched off: it raised for a second on end, last ValueError('3 is odd')"]


def test_finishing_a_lane_does_the_last_thing_after_all_else() -> None:
    async def scenario() -> tuple[bool, list[int]]:
        done: list[int] = []
        lane = Lane("test")
        first = asyncio.ensure_future(lane.run(lambda: done.append(1)))
        await asyncio.sleep(0)
        ended = await lane.finish(lambda: done.append(2), 5.0)
        await first
        return ended, done

    assert asyncio.run(scenario()) == (True, [1, 2])
