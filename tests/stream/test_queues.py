import asyncio

import pytest

from stream.errors import SessionClosed
from stream.queues import BoundedQueue, Leaky

pytestmark = pytest.mark.unit


def test_leaky_downstream_keeps_the_newest_and_counts_the_loss() -> None:
    async def scenario() -> tuple[list[int], int]:
        queue: BoundedQueue[int] = BoundedQueue(2, Leaky.DOWNSTREAM)
        for item in range(5):
            await queue.put(item)
        return [await queue.get(), await queue.get()], queue.stats.dropped

    assert asyncio.run(scenario()) == ([3, 4], 3)


def test_leaky_upstream_keeps_the_oldest_and_counts_the_loss() -> None:
    async def scenario() -> tuple[list[int], int]:
        queue: BoundedQueue[int] = BoundedQueue(2, Leaky.UPSTREAM)
        for item in range(5):
            await queue.put(item)
        return [await queue.get(), await queue.get()], queue.stats.dropped

    assert asyncio.run(scenario()) == ([0, 1], 3)


def test_a_full_queue_that_does_not_leak_makes_the_giver_wait() -> None:
    async def scenario() -> tuple[bool, list[int]]:
        queue: BoundedQueue[int] = BoundedQueue(1)
        await queue.put(0)
        giver = asyncio.create_task(queue.put(1))
        await asyncio.sleep(0)
        waited = not giver.done()
        items = [await queue.get(), await queue.get()]
        await giver
        return waited, items

    assert asyncio.run(scenario()) == (True, [0, 1])


@pytest.mark.parametrize("leaky", list(Leaky))
def test_every_item_pushed_is_got_dropped_or_held(leaky: Leaky) -> None:
    async def scenario() -> tuple[int, int]:
        queue: BoundedQueue[int] = BoundedQueue(3, leaky)
        for item in range(9):
            if leaky is not Leaky.NO or len(queue) < 3:
                await queue.put(item)
            if item % 4 == 3:
                await queue.get()
        stats = queue.stats
        return stats.pushed, stats.got + stats.dropped + len(queue)

    pushed, accounted = asyncio.run(scenario())
    assert pushed == accounted


def test_close_lets_the_rest_out_and_then_ends_both_sides() -> None:
    async def scenario() -> int:
        queue: BoundedQueue[int] = BoundedQueue(2)
        await queue.put(7)
        await queue.close()
        held = await queue.get()
        with pytest.raises(SessionClosed):
            await queue.get()
        with pytest.raises(SessionClosed):
            await queue.put(8)
        return held

    assert asyncio.run(scenario()) == 7


def test_close_wakes_a_waiting_taker() -> None:
    async def scenario() -> None:
        queue: BoundedQueue[int] = BoundedQueue(1)
        taker = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        await queue.close()
        with pytest.raises(SessionClosed):
            await taker

    asyncio.run(scenario())


def test_a_queue_that_can_hold_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        BoundedQueue(0)
