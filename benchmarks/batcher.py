"""Many sessions on one engine thread: first come first served against the batcher, at a fixed offered rate.

Sessions send 25 pictures a second, each at its own phase, half of them due after a re-voiced session's delay and half
after a dub's. An engine is either simulated, a sleep of a fixed time and a time per face, or the shipped generator.
A picture is missed when it is not made by its deadline, for whatever reason; it then passes with its own lips.
"""

import argparse
import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import pictures
from benchmarks.harness import RESULTS, Measurement, percentiles, rows, table, write_result
from kernels.crop import crop_transform
from models.catalogue import load_engine
from stream.admission import why_no_room
from stream.batcher import GATHER_NS, Batcher
from stream.clock import MonotonicClock
from stream.config import ServerConfig, SessionConfig
from stream.errors import SessionClosed
from stream.frames import NS_PER_MS, NS_PER_S, FaceCrop, SyncedFrame, VideoFrame
from stream.painter import CpuPainter, Painter, Shot
from stream.pipeline import Lane, StageRunner
from stream.queues import BoundedQueue, Leaky
from stream.render import RenderStage

PICTURE_NS = NS_PER_S // 25
# Decoding and faces have taken this much of the delay when a picture comes to the engine, and up to so much more.
BEFORE_NS, JITTER_NS = 15 * NS_PER_MS, 10 * NS_PER_MS
WARMUP = 200
DELAYS_NS = tuple(
    round(delay_ms * NS_PER_MS) for delay_ms in (SessionConfig().re_voice_delay_ms, SessionConfig().dub_delay_ms)
)


@dataclass(frozen=True, slots=True)
class CostModel:
    """What a simulated engine takes for `n` faces: `fixed_ms + n * face_ms`."""

    fixed_ms: float = 2.0
    face_ms: float = 0.25
    max_batch: int = 32


class SleepingPainter:
    """Takes the time of a cost model without a processor, as a device does."""

    identity = "same_frame"

    def __init__(self, cost: CostModel) -> None:
        self._cost = cost
        self.max_batch = cost.max_batch

    def paint(self, shots: Sequence[Shot]) -> list[Exception | None]:
        """See `Painter`."""
        time.sleep((self._cost.fixed_ms + len(shots) * self._cost.face_ms) / 1e3)
        return [None] * len(shots)

    def close(self) -> None:
        """Nothing is held."""


class CountingPainter:
    """Notes how many faces another painter is given at a time."""

    def __init__(self, painter: Painter) -> None:
        self._painter = painter
        self.identity, self.max_batch, self.close = painter.identity, painter.max_batch, painter.close
        self.batches: Counter[int] = Counter()

    def paint(self, shots: Sequence[Shot]) -> list[Exception | None]:
        """See `Painter`."""
        self.batches[len(shots)] += 1
        return self._painter.paint(shots)


@dataclass(frozen=True, slots=True)
class Case:
    """What is run.

    Attributes:
        engine: "simulated" or "cpu".
        order: "fifo" is a lane that does each picture as it comes; "edf" is the batcher.
        gather_ms: How long the batcher waits for a fuller batch.
        sessions: How many.
    """

    engine: str
    order: str
    gather_ms: float
    sessions: int


class Caller:
    """One session's pictures, through a stage runner as a session drives it."""

    def __init__(self, number: int, runner: StageRunner[SyncedFrame, VideoFrame], picture: "Still") -> None:
        self._runner = runner
        self._picture = picture
        self._delay_ns = DELAYS_NS[number % len(DELAYS_NS)]
        self._dice = random.Random(number)
        self._queue: BoundedQueue[tuple[SyncedFrame, int]] = BoundedQueue(2, Leaky.DOWNSTREAM)
        self.offered = 0
        self.slacks_ns: list[int] = []
        self.missed: Counter[str] = Counter()

    async def run(self, start_ns: int, seconds: float) -> None:
        """Send and draw until the time is over."""
        drawing, clock = asyncio.ensure_future(self._draw()), MonotonicClock()
        phase_ns = self._dice.randrange(PICTURE_NS)
        for number in range(round(seconds * 25)):
            taken_ns = start_ns + phase_ns + number * PICTURE_NS
            await clock.sleep_until(taken_ns + BEFORE_NS + self._dice.randrange(JITTER_NS))
            self.offered += 1
            await self._queue.put((self._picture.at(number * PICTURE_NS), taken_ns + self._delay_ns))
        await self._queue.close()
        await drawing
        self.missed["overtaken"] = self._queue.stats.dropped

    async def _draw(self) -> None:
        try:
            while True:
                await self._one(*await self._queue.get())
        except SessionClosed:
            return

    async def _one(self, item: SyncedFrame, deadline_ns: int) -> None:
        if time.monotonic_ns() + self._runner.expected_ns > deadline_ns:
            self._runner.spare()
            self.missed["no time"] += 1
            return
        drawn = await self._runner.apply(item, deadline_ns)
        if drawn is None:
            self.missed["late at its turn"] += 1
            return
        self.slacks_ns.append(deadline_ns - time.monotonic_ns())
        self.missed["late when made"] += self.slacks_ns[-1] < 0


class Still:
    """A picture with one face and a voice, at any time."""

    def __init__(self, crop_px: int, columns: int, height: int, width: int) -> None:
        dice = np.random.default_rng(0)
        self._sizes = ((height, width), (height // 2, width // 2), (height // 2, width // 2))
        self._planes = [dice.integers(60, 200, size, np.uint8) for size in self._sizes]
        self._points = pictures.face(width / 2, height / 2, height / 8)
        self._to_crop = crop_transform(self._points, crop_px)
        self._mel = np.zeros((80, columns), np.float32)

    def at(self, pts_ns: int) -> SyncedFrame:
        """A fresh copy."""
        y, u, v = (plane.copy() for plane in self._planes)
        face = FaceCrop(0, pts_ns, self._to_crop, self._points, 1.0)
        return SyncedFrame(VideoFrame(pts_ns, 0, "yuv420p", (y, u, v)), (face,), self._mel)


async def offer(case: Case, painter: CountingPainter, picture: Still, seconds: float) -> dict[str, Any]:
    """Run all sessions of a case and account for every picture; `cores` is what the whole process took."""
    lane, clock = Lane("engine"), MonotonicClock()
    batcher = Batcher(lane, painter, clock, gather_ns=round(case.gather_ms * NS_PER_MS))
    callers = [Caller(number, _runner(case, painter, lane, batcher, clock), picture) for number in range(case.sessions)]
    start_ns = clock.now_ns() + NS_PER_S // 10
    used_s = time.process_time()
    await asyncio.gather(*(caller.run(start_ns, seconds) for caller in callers))
    used_s = time.process_time() - used_s
    lane.close()
    load = batcher.load.figures()
    why = "not measured" if case.order == "fifo" else why_no_room(load, ServerConfig()) or "yes"
    return {
        **account(case, callers, painter.batches),
        "cores": round(used_s / seconds, 2),
        "busy_share": round(load.busy_share, 3),
        "needed_share": round(load.needed_share, 3),
        "room_for_one_more": why,
    }


def _runner(
    case: Case, painter: Painter, lane: Lane, batcher: Batcher, clock: MonotonicClock
) -> StageRunner[SyncedFrame, VideoFrame]:
    stage = RenderStage(painter)
    if case.order == "fifo":
        return StageRunner(stage, lane, clock)
    return StageRunner(stage, lane, clock, through=lambda item, due_ns: batcher.submit(stage, item, due_ns))


def account(case: Case, callers: Sequence[Caller], batches: Counter[int]) -> dict[str, Any]:
    """What became of the pictures of a case."""
    offered = sum(caller.offered for caller in callers)
    missed = sum((caller.missed for caller in callers), Counter[str]())
    slacks_ms = [slack / NS_PER_MS for caller in callers for slack in caller.slacks_ns]
    sizes = sorted(batches.elements())
    return {
        **asdict(case),
        "offered": offered,
        "missed": missed.total(),
        "missed_share": round(missed.total() / offered, 4),
        "missed_by": dict(missed),
        # Percentiles of what was left before the deadline: 1 of 100 pictures had less than p1.
        "slack_ms": dict(zip(("p1", "p5", "p50"), np.percentile(slacks_ms, [1, 5, 50]).round(2).tolist(), strict=True)),
        "batch": {
            "count": len(sizes),
            "mean": round(sum(sizes) / len(sizes), 2),
            "p50": sizes[len(sizes) // 2],
            "p95": sizes[len(sizes) * 95 // 100],
        },
    }


def measure_overhead(count: int) -> list[Measurement]:
    """A picture to the engine's thread and back with nothing painted there, on a lane and through the batcher."""
    return [asyncio.run(_there_and_back(name, order, count)) for name, order in (("lane", "fifo"), ("batcher", "edf"))]


async def _there_and_back(name: str, order: str, count: int) -> Measurement:
    lane, clock, nothing = Lane(name), MonotonicClock(), SleepingPainter(CostModel(0.0, 0.0))
    runner = _runner(Case("none", order, 0.0, 1), nothing, lane, Batcher(lane, nothing, clock), clock)
    picture, took_ms = Still(96, 27, 120, 160).at(0), []
    for index in range(WARMUP + count):
        start_ns = time.perf_counter_ns()
        await runner.apply(picture, time.monotonic_ns() + NS_PER_S)
        if index >= WARMUP:
            took_ms.append((time.perf_counter_ns() - start_ns) / 1e6)
    lane.close()
    return Measurement(f"there and back, {name}", percentiles(took_ms), {"warmup": WARMUP})


def measure_cases(asked: argparse.Namespace) -> list[dict[str, Any]]:
    """Every case, one after the other; those of one number of sessions follow each other."""
    cost = CostModel(asked.fixed_ms, asked.face_ms, asked.max_batch)
    generator = load_engine(threads=1)
    crop_px, columns = generator.manifest.crop.size_px, generator.manifest.mel.columns
    setups: dict[str, tuple[Callable[[], Painter], Still, list[tuple[str, float]], list[int]]] = {
        "simulated": (
            lambda: SleepingPainter(cost),
            Still(crop_px, columns, 120, 160),
            [("fifo", 0.0), ("edf", 0.0), ("edf", GATHER_NS / NS_PER_MS)],
            asked.sessions,
        ),
        "cpu": (
            lambda: CpuPainter(generator),
            Still(crop_px, columns, 480, 640),
            [("fifo", 0.0), ("edf", 0.0)],
            asked.cpu_sessions,
        ),
    }
    found = []
    for engine, (open_painter, picture, orders, sessions) in setups.items():
        for number in sessions:
            for order, gather_ms in orders:
                case = Case(engine, order, gather_ms, number)
                found.append(asyncio.run(offer(case, CountingPainter(open_painter()), picture, asked.seconds)))
                print(line(found[-1]), flush=True)
    generator.close()
    return found


def line(figures: dict[str, Any]) -> str:
    """One case for the terminal."""
    slack, batch = figures["slack_ms"], figures["batch"]
    return (
        f"{figures['engine']:9} {figures['sessions']:3d} sessions"
        f"  {figures['order']:4} gather {figures['gather_ms']:g} ms"
        f"  missed {figures['missed_share']:7.2%} of {figures['offered']}"
        f"  slack p1 {slack['p1']:6.1f} p5 {slack['p5']:6.1f} p50 {slack['p50']:6.1f} ms"
        f"  batch {batch['mean']:.2f} (p95 {batch['p95']})  {figures['cores']:.2f} cores"
        f"  busy {figures['busy_share']:.2f} needed {figures['needed_share']:.2f} room: {figures['room_for_one_more']}"
    )


def main(argv: list[str]) -> int:
    """Measure, print, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks run batcher", description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each case")
    parser.add_argument("--sessions", type=int, nargs="*", default=[8, 16, 20, 32, 48, 64], help="simulated engine")
    parser.add_argument("--cpu-sessions", type=int, nargs="*", default=[1, 2, 3, 4, 6], help="shipped generator")
    parser.add_argument("--fixed-ms", type=float, default=2.0, help="simulated engine, for each go")
    parser.add_argument("--face-ms", type=float, default=0.25, help="simulated engine, for each face")
    parser.add_argument("--max-batch", type=int, default=32, help="simulated engine")
    parser.add_argument("--count", type=int, default=3000, help="timed ways to the engine and back")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR")
    asked = parser.parse_args(argv)
    overhead = measure_overhead(asked.count)
    print(table(overhead))
    cases = measure_cases(asked)
    body = {
        "cost_model": asdict(CostModel(asked.fixed_ms, asked.face_ms, asked.max_batch)),
        "delays_ms": [delay_ns / NS_PER_MS for delay_ns in DELAYS_NS],
        "before_ms": [BEFORE_NS / NS_PER_MS, (BEFORE_NS + JITTER_NS) / NS_PER_MS],
        "overhead": rows(overhead),
        "cases": cases,
    }
    print(write_result("batcher", body, asked.results))
    return 0
