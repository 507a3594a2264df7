"""Stages on their own threads. The event loop only moves items; it never does a stage's work.

Here lives the one `except Exception` of the project: whatever a stage raises
costs its viewer nothing but the effect on that one picture.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from stream.clock import Clock
from stream.frames import NS_PER_S
from stream.stages import Stage, StageMeter

log = logging.getLogger(__name__)

In = TypeVar("In")
Out = TypeVar("Out")
T = TypeVar("T")


# `expected_ns` follows the last four items; of a stage that is spared it halves in 34.
_RECENT = 4
_FORGET = 50


class Lane:
    """One thread that does one thing after another, in the order it was asked.

    Args:
        name: The thread's name in a debugger and in logs.
    """

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)
        self.closed = False

    async def run(self, work: Callable[[], T]) -> T:
        """Do `work` on the lane's thread; the loop goes on meanwhile."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def close(self) -> None:
        """Finish what was asked and end the thread; does not wait for it."""
        self.closed = True
        self._executor.shutdown(wait=False)

    async def finish(self, last: Callable[[], None], within_s: float) -> bool:
        """Do `last` after all else and end the thread; False if that takes longer than `within_s`."""
        done = asyncio.get_running_loop().run_in_executor(self._executor, last)
        self.close()
        await asyncio.wait([done], timeout=within_s)
        return done.done()


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A piece of work without input as a stage, so that its failure is counted in the same place."""

    name: str
    work: Callable[[], T]

    def process(self, _: None) -> T:
        """Do it."""
        return self.work()


@dataclass(frozen=True, slots=True)
class _Raised:
    """What a stage raised instead of returning."""

    error: Exception


class StageRunner(Generic[In, Out]):
    """Runs one stage on a lane, meters it, and decides when to stop trusting it.

    A stage that raises costs that item its effect. One that raises for
    `patience_ns` on end is rebuilt once, where it can be, and then switched off.

    Args:
        stage: What to run.
        lane: Where to run it; lanes may be shared between runners.
        clock: Times the stage.
        rebuild: Makes the stage anew, on the lane; None where that makes no sense.
        on_off: Told the reason when the stage is switched off.
        patience_ns: How long a stage may raise without a success between.

    Attributes:
        off: The stage is switched off.
        failed: How often it raised.
        expected_ns: How long an item takes of late, the wait for the lane included.
        meter: Durations of the stage itself.
    """

    def __init__(
        self,
        stage: Stage[In, Out],
        lane: Lane,
        clock: Clock,
        *,
        rebuild: Callable[[], Stage[In, Out]] | None = None,
        on_off: Callable[[str], None] | None = None,
        patience_ns: int = NS_PER_S,
    ) -> None:
        self._stage = stage
        self._lane = lane
        self._clock = clock
        self._rebuild = rebuild
        self._on_off = on_off
        self._patience_ns = patience_ns
        self._failing_since_ns: int | None = None
        self._logged_ns: int | None = None
        self._unlogged = 0
        self.off = False
        self.failed = 0
        self.expected_ns = 0
        self.meter = StageMeter()

    @property
    def name(self) -> str:
        """The stage's name."""
        return self._stage.name

    async def apply(self, item: In) -> Out | None:
        """What the stage makes of `item`; None when it raised or is switched off."""
        if self.off:
            return None
        begun_ns = self._clock.now_ns()
        result = await self._lane.run(lambda: self._attempt(item))
        self.expected_ns += (self._clock.now_ns() - begun_ns - self.expected_ns) // _RECENT
        if isinstance(result, _Raised):
            await self._count(result.error)
            return None
        self._failing_since_ns = None
        return result

    def spare(self) -> None:
        """Note that the stage was not asked to, for want of time: little by little it is trusted to be quicker."""
        self.expected_ns -= self.expected_ns // _FORGET

    def retry(self) -> None:
        """Trust the stage again."""
        self.off = False
        self._failing_since_ns = None

    def _attempt(self, item: In) -> Out | _Raised:
        """Run the stage once; this is the lane's side."""
        start_ns = self._clock.now_ns()
        try:
            result = self._stage.process(item)
        except Exception as error:  # noqa: BLE001 - the one place: the original picture passes, counted
            self.meter.add(self._clock.now_ns() - start_ns, failed=True)
            return _Raised(error)
        self.meter.add(self._clock.now_ns() - start_ns)
        return result

    async def _count(self, error: Exception) -> None:
        now_ns = self._clock.now_ns()
        self.failed += 1
        if self._failing_since_ns is None:
            self._failing_since_ns = now_ns
        self._log(error, now_ns)
        if now_ns - self._failing_since_ns >= self._patience_ns:
            await self._give_up(error)

    def _log(self, error: Exception, now_ns: int) -> None:
        """One line with its traceback, at most once a second."""
        if self._logged_ns is not None and now_ns - self._logged_ns < NS_PER_S:
            self._unlogged += 1
            return
        log.warning(
            "%s raised %r: the original picture passes (%d more since the last line)",
            self.name,
            error,
            self._unlogged,
            exc_info=error,
        )
        self._logged_ns, self._unlogged = now_ns, 0

    async def _give_up(self, error: Exception) -> None:
        rebuild, self._rebuild = self._rebuild, None
        if rebuild is not None and await self._rebuilt(rebuild):
            self._failing_since_ns = None
            log.error("%s raised for a second on end (%r): made anew once", self.name, error)
            return
        self.off = True
        reason = f"it raised for a second on end, last {error!r}"
        log.error("%s is switched off: %s", self.name, reason)
        if self._on_off is not None:
            self._on_off(reason)

    async def _rebuilt(self, rebuild: Callable[[], Stage[In, Out]]) -> bool:
        """Replace the stage by a new one; False when that fails too."""
        stage = await StageRunner(Call(self.name, rebuild), self._lane, self._clock).apply(None)
        if stage is None:
            return False
        self._stage = stage
        return True
