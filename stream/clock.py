"""The only source of time. Everything that waits is given a `Clock`."""

import asyncio
import heapq
import time
from typing import Protocol


class Clock(Protocol):
    """Monotonic time in nanoseconds; its zero means nothing by itself."""

    def now_ns(self) -> int:
        """Nanoseconds since an arbitrary instant; never goes backwards."""
        ...

    async def sleep_until(self, deadline_ns: int) -> None:
        """Return at `deadline_ns`, or after one turn of the loop if it has passed."""
        ...


class MonotonicClock:
    """The machine's monotonic clock."""

    def now_ns(self) -> int:
        """Nanoseconds of `time.monotonic_ns`."""
        return time.monotonic_ns()

    async def sleep_until(self, deadline_ns: int) -> None:
        """Sleep on the running loop; at most about a millisecond late on an idle loop."""
        await asyncio.sleep(max(0, deadline_ns - time.monotonic_ns()) / 1e9)


class VirtualClock:
    """Time that moves only when told to: tests run without sleeping."""

    def __init__(self, now_ns: int = 0) -> None:
        self._now_ns = now_ns
        self._order = 0
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []

    def now_ns(self) -> int:
        """The time last advanced to."""
        return self._now_ns

    async def sleep_until(self, deadline_ns: int) -> None:
        """Wait until `advance_to` has passed `deadline_ns`."""
        if deadline_ns <= self._now_ns:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._order += 1
        heapq.heappush(self._sleepers, (deadline_ns, self._order, woken))
        await woken

    async def advance_to(self, now_ns: int) -> None:
        """Move time forward, waking each sleeper at its own deadline, in order."""
        while self._sleepers and self._sleepers[0][0] <= now_ns:
            deadline_ns, _, woken = heapq.heappop(self._sleepers)
            self._now_ns = max(self._now_ns, deadline_ns)
            if not woken.done():
                woken.set_result(None)
            await self._settle()
        self._now_ns = max(self._now_ns, now_ns)
        await self._settle()

    @staticmethod
    async def _settle(turns: int = 20) -> None:
        """Let the woken tasks run until they wait again (a few hops at most)."""
        for _ in range(turns):
            await asyncio.sleep(0)
