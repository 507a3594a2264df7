"""Stages on their own threads. The event loop only moves items; it never does a stage's work.

Here lives the one `except Exception` of the project: whatever a stage raises
costs its viewer nothing but the effect on that one picture.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, ParamSpec, TypeVar

from models.engine import DeviceMemoryError
from stream.clock import Clock
from stream.frames import NS_PER_S
from stream.stages import Stage, StageMeter

log = logging.getLogger(__name__)

In = TypeVar("In")
Out = TypeVar("Out")
T = TypeVar("T")
P = ParamSpec("P")

# `expected_ns` follows the last four items; of a stage that is spared it halves in 34.
_RECENT = 4
_FORGET = 50
# A stage for which the device had no memory is not asked for so long.
_REST_NS = 10 * NS_PER_S


@dataclass(frozen=True, slots=True)
class Raised:
    """What was raised instead of a result."""

    error: Exception


def attempt(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | Raised:
    """Do a piece of work for one picture; what it raises is an answer like any other."""
    try:
        return work(*args, **kwargs)
    except Exception as error:  # noqa: BLE001 - the one place: the original picture passes, counted
        return Raised(error)


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What became of one item.

    Attributes:
        result: What the stage made of it, or what it raised; None where it was `late`.
        took_ns: How long the stage worked.
        late: It could not be had before its deadline, and was not tried.
    """

    result: T | Raised | None
    took_ns: int = 0
    late: bool = False


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

    def do(self, work: Callable[[], T]) -> T:
        """Do `work` and wait for it, where no event loop runs."""
        return self._executor.submit(work).result()

    def post(self, work: Callable[[], None]) -> None:
        """Have `work` done, from any thread, without waiting for it; it must not raise."""
        self._executor.submit(work)

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


class StageRunner(Generic[In, Out]):
    """Runs one stage on a lane, meters it, and decides when to stop trusting it.

    A stage that raises costs that item its effect. One that raises for
    `patience_ns` on end is rebuilt once, where it can be, and then switched off.
    One for which the device has no memory rests for ten seconds and is tried again.

    Args:
        stage: What to run.
        lane: Where to run it; lanes may be shared between runners.
        clock: Times the stage.
        through: Has an item done before a deadline (None for whenever), where that is more than a call of the stage.
        rebuild: Makes the stage anew, on the lane; None where that makes no sense.
        on_off: Told the reason when the stage is switched off or rests.
        on_again: Told when it works again after a rest.
        patience_ns: How long a stage may raise without a success between.

    Attributes:
        failed: How often it raised.
        late: How often its turn came too late for the deadline.
        expected_ns: How long an item takes of late, the wait for the lane included.
        meter: Durations of the stage itself.
    """

    def __init__(
        self,
        stage: Stage[In, Out],
        lane: Lane,
        clock: Clock,
        *,
        through: Callable[[In, int | None], Awaitable[Outcome[Out]]] | None = None,
        rebuild: Callable[[], Stage[In, Out]] | None = None,
        on_off: Callable[[str], None] | None = None,
        on_again: Callable[[], None] | None = None,
        patience_ns: int = NS_PER_S,
    ) -> None:
        self._stage = stage
        self._lane = lane
        self._clock = clock
        self._through = through or self._on_lane
        self._rebuild = rebuild
        self._on_off = on_off
        self._on_again = on_again
        self._patience_ns = patience_ns
        self._failing_since_ns: int | None = None
        self._rests_until_ns: int | None = None
        self._logged_ns: int | None = None
        self._unlogged = 0
        self._off = False
        self.failed = 0
        self.late = 0
        self.expected_ns = 0
        self.meter = StageMeter()

    @property
    def name(self) -> str:
        """The stage's name."""
        return self._stage.name

    @property
    def off(self) -> bool:
        """The stage is switched off, or rests."""
        return self._off or (self._rests_until_ns is not None and self._clock.now_ns() < self._rests_until_ns)

    async def apply(self, item: In, deadline_ns: int | None = None) -> Out | None:
        """What the stage makes of `item`; None when it raised, was too late, or is switched off."""
        if self.off:
            return None
        begun_ns = self._clock.now_ns()
        outcome = await self._through(item, deadline_ns)
        self.expected_ns += (self._clock.now_ns() - begun_ns - self.expected_ns) // _RECENT
        if outcome.late:
            self.late += 1
            return None
        failed = isinstance(outcome.result, Raised)
        self.meter.add(outcome.took_ns, failed=failed)
        if isinstance(outcome.result, Raised):
            await self._count(outcome.result.error)
            return None
        self._succeeded()
        return outcome.result

    def spare(self) -> None:
        """Note that the stage was not asked to, for want of time: little by little it is trusted to be quicker."""
        self.expected_ns -= self.expected_ns // _FORGET

    def relearn(self) -> None:
        """Note that the stage does something else from now on: how long that takes is not known."""
        self.expected_ns = 0

    def retry(self) -> None:
        """Trust the stage again."""
        self._off = False
        self._failing_since_ns = self._rests_until_ns = None

    async def _on_lane(self, item: In, _: int | None) -> Outcome[Out]:
        return await self._lane.run(lambda: self._process(item))

    def _process(self, item: In) -> Outcome[Out]:
        """Run the stage once; this is the lane's side."""
        start_ns = self._clock.now_ns()
        result = attempt(self._stage.process, item)
        return Outcome(result, self._clock.now_ns() - start_ns)

    def _succeeded(self) -> None:
        self._failing_since_ns = None
        if self._rests_until_ns is not None:
            self._rests_until_ns = None
            log.warning("%s works again", self.name)
            if self._on_again is not None:
                self._on_again()

    async def _count(self, error: Exception) -> None:
        now_ns = self._clock.now_ns()
        self.failed += 1
        if isinstance(error, DeviceMemoryError):
            self._rest(error, now_ns)
            return
        if self._failing_since_ns is None:
            self._failing_since_ns = now_ns
        self._log(error, now_ns)
        if now_ns - self._failing_since_ns >= self._patience_ns:
            await self._give_up(error)

    def _rest(self, error: Exception, now_ns: int) -> None:
        """What a device has no memory for now it may have later, and asking at once takes it from others."""
        self._rests_until_ns = now_ns + _REST_NS
        reason = f"{error}; it is tried again in {_REST_NS // NS_PER_S} s"
        log.warning("%s rests: %s", self.name, reason)
        if self._on_off is not None:
            self._on_off(reason)

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
        self._off = True
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
