"""Is the process well: how late its event loop runs, and which features had to be switched off."""

from stream.clock import Clock
from stream.stages import StageFigures, StageMeter


class LoopLagMonitor:
    """Measures how late the event loop wakes a task that asked for a regular tick.

    Args:
        clock: Tells the time and wakes the monitor.
        period_ns: Time between ticks; 20 ms is one packet of sound.
    """

    def __init__(self, clock: Clock, period_ns: int = 20_000_000) -> None:
        self._clock = clock
        self._period_ns = period_ns
        self._meter = StageMeter()

    async def run(self) -> None:
        """Tick until cancelled."""
        due_ns = self._clock.now_ns()
        while True:
            due_ns = max(due_ns + self._period_ns, self._clock.now_ns())
            await self._clock.sleep_until(due_ns)
            self._meter.add(max(0, self._clock.now_ns() - due_ns))

    def figures(self) -> StageFigures:
        """Percentiles of the lateness over the last 30 s."""
        return self._meter.figures()


class Health:
    """What is switched off right now, and by whom."""

    def __init__(self) -> None:
        self._off: dict[tuple[str, str], str] = {}
        self.switched_off = 0

    def degrade(self, owner: str, feature: str, reason: str) -> None:
        """Note that `owner` (a session, or the server itself) goes on without `feature`."""
        self._off[owner, feature] = reason
        self.switched_off += 1

    def recover(self, owner: str, feature: str | None = None) -> None:
        """Forget what `owner` had switched off, or the one feature: it is tried again, or it has ended."""
        for key in [key for key in self._off if key[0] == owner and feature in (None, key[1])]:
            del self._off[key]

    @property
    def status(self) -> str:
        """Either "ok", or "degraded" while any feature is off."""
        return "degraded" if self._off else "ok"

    @property
    def reasons(self) -> list[str]:
        """One line for each feature that is off."""
        return [f"{owner}: {feature} is off: {reason}" for (owner, feature), reason in self._off.items()]
