import asyncio

import pytest

from stream.clock import MonotonicClock, VirtualClock

pytestmark = pytest.mark.unit


def test_virtual_sleepers_wake_in_the_order_of_their_deadlines() -> None:
    async def scenario() -> list[tuple[str, int]]:
        clock, woken = VirtualClock(), []

        async def sleeper(name: str, deadline_ns: int) -> None:
            await clock.sleep_until(deadline_ns)
            woken.append((name, clock.now_ns()))

        tasks = [asyncio.create_task(sleeper("late", 30)), asyncio.create_task(sleeper("soon", 10))]
        await asyncio.sleep(0)
        await clock.advance_to(40)
        await asyncio.gather(*tasks)
        return woken

    assert asyncio.run(scenario()) == [("soon", 10), ("late", 30)]


def test_a_virtual_deadline_in_the_past_does_not_wait() -> None:
    async def scenario() -> int:
        clock = VirtualClock(50)
        await clock.sleep_until(20)
        return clock.now_ns()

    assert asyncio.run(scenario()) == 50


def test_the_monotonic_clock_never_returns_before_the_deadline() -> None:
    async def scenario() -> int:
        clock = MonotonicClock()
        deadline_ns = clock.now_ns() + 3_000_000
        await clock.sleep_until(deadline_ns)
        return clock.now_ns() - deadline_ns

    # The loop rounds its timers to its clock's resolution, far below 0.1 ms.
    assert asyncio.run(scenario()) > -100_000
