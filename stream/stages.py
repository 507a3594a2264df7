"""What a stage is, and the meter that accounts for every millisecond it takes."""

import threading
from collections import deque
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

In = TypeVar("In", contravariant=True)
Out = TypeVar("Out", covariant=True)


class Stage(Protocol[In, Out]):
    """A synchronous step. It knows nothing of tasks, loops or queues."""

    @property
    def name(self) -> str:
        """The stage's name in figures and logs."""
        ...

    def process(self, item: In) -> Out:
        """Turn one item into the next one."""
        ...


@dataclass(frozen=True, slots=True)
class StageFigures:
    """Latency of one stage over its last samples, in milliseconds."""

    count: int
    failed: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


class StageMeter:
    """Durations of one stage; written by its thread, read by any other.

    Args:
        window: How many of the latest durations the percentiles cover.
    """

    def __init__(self, window: int = 1500) -> None:
        self._lock = threading.Lock()
        self._durations_ns: deque[int] = deque(maxlen=window)
        self._count = 0
        self._failed = 0

    def add(self, duration_ns: int, *, failed: bool = False) -> None:
        """Record one call of the stage."""
        with self._lock:
            self._durations_ns.append(duration_ns)
            self._count += 1
            self._failed += failed

    def figures(self) -> StageFigures:
        """Percentiles of the window; zeros before the first call."""
        with self._lock:
            durations_ms = np.array(self._durations_ns, np.float64) / 1e6
            count, failed = self._count, self._failed
        if not len(durations_ms):
            return StageFigures(0, 0, 0.0, 0.0, 0.0, 0.0)
        p50, p95, p99 = np.percentile(durations_ms, [50, 95, 99])
        return StageFigures(count, failed, float(p50), float(p95), float(p99), float(durations_ms.max()))
