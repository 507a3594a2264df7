"""Bounded queues between stages. Every item that enters is delivered or counted as dropped.

The words are GStreamer's: a queue that leaks *downstream* gives up its oldest
item for the new one, one that leaks *upstream* refuses the new one.
"""

import asyncio
import enum
from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

from stream.errors import SessionClosed

T = TypeVar("T")


class Leaky(enum.Enum):
    """What a full queue does with one item too many."""

    NO = "no"
    UPSTREAM = "upstream"
    DOWNSTREAM = "downstream"


@dataclass(slots=True)
class QueueStats:
    """Counts since the queue was made: pushed = got + dropped + held."""

    pushed: int = 0
    got: int = 0
    dropped: int = 0
    high_water: int = 0


class BoundedQueue(Generic[T]):
    """A queue of at most `capacity` items for one event loop.

    Args:
        capacity: Most items held, at least 1.
        leaky: What happens to one item too many; `Leaky.NO` makes `put` wait.
    """

    def __init__(self, capacity: int, leaky: Leaky = Leaky.NO) -> None:
        if capacity < 1:
            raise ValueError(f"capacity is {capacity}, it must be at least 1")
        self._capacity = capacity
        self._leaky = leaky
        self._items: deque[T] = deque()
        self._changed = asyncio.Condition()
        self._closed = False
        self.stats = QueueStats()

    def resize(self, capacity: int) -> None:
        """Hold at most `capacity` items from now on; what is held beyond that stays until it is taken."""
        self._capacity = capacity

    def __len__(self) -> int:
        return len(self._items)

    async def put(self, item: T) -> None:
        """Add an item, waiting for room only when the queue does not leak.

        Raises:
            SessionClosed: The queue was closed.
        """
        async with self._changed:
            while self._leaky is Leaky.NO and not self._closed and len(self._items) >= self._capacity:
                await self._changed.wait()
            if self._closed:
                raise SessionClosed("queue closed")
            self._add(item)
            self._changed.notify_all()

    def _add(self, item: T) -> None:
        self.stats.pushed += 1
        if len(self._items) >= self._capacity:
            self.stats.dropped += 1
            if self._leaky is Leaky.UPSTREAM:
                return
            self._items.popleft()
        self._items.append(item)
        self.stats.high_water = max(self.stats.high_water, len(self._items))

    async def get(self) -> T:
        """Take the oldest item, waiting for one.

        Raises:
            SessionClosed: The queue is closed and empty.
        """
        async with self._changed:
            while not self._items:
                if self._closed:
                    raise SessionClosed("queue closed")
                await self._changed.wait()
            item = self._items.popleft()
            self.stats.got += 1
            self._changed.notify_all()
            return item

    async def close(self) -> None:
        """Refuse new items; those held can still be taken."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()
