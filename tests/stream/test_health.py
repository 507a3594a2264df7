import asyncio

import pytest

from stream.clock import VirtualClock
from stream.frames import NS_PER_MS
from stream.health import Health, LoopLagMonitor

pytestmark = pytest.mark.unit


class LateClock(VirtualClock):
    """Wakes every sleeper 7 ms late, as a loop that is held up does."""

    async def sleep_until(self, deadline_ns: int) -> None:
        await super().sleep_until(deadline_ns + 7 * NS_PER_MS)


@pytest.mark.parametrize(("clock", "lag_ms"), [(VirtualClock(), 0.0), (LateClock(), 7.0)])
def test_loop_lag_is_how_late_a_regular_tick_is_woken(clock: VirtualClock, lag_ms: float) -> None:
    async def scenario() -> LoopLagMonitor:
        monitor = LoopLagMonitor(clock)
        ticking = asyncio.create_task(monitor.run())
        await asyncio.sleep(0)
        await clock.advance_to(2000 * NS_PER_MS)
        ticking.cancel()
        return monitor

    figures = asyncio.run(scenario()).figures()
    assert figures.count >= 70
    assert figures.p99_ms == pytest.approx(lag_ms)


def test_health_is_degraded_as_long_as_anything_is_off() -> None:
    health = Health()
    health.degrade("a", "render", "it broke")
    health.degrade("a", "faces", "it broke too")
    health.degrade("b", "faces", "no")
    health.recover("a")
    assert health.status == "degraded"
    assert health.reasons == ["b: faces is off: no"]
    health.degrade("b", "render", "no memory")
    health.recover("b", "render")
    assert health.reasons == ["b: faces is off: no"]
    health.recover("b")
    assert health.status == "ok"
    assert health.switched_off == 4
