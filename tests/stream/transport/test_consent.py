"""When a peer counts as gone: it neither answers nor sends."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aioice import stun

from stream.clock import VirtualClock
from stream.frames import NS_PER_MS
from stream.transport.connection import DatagramQueue, watch_consent

pytestmark = pytest.mark.unit

SILENCE_S = 2.0


class _Ice:
    """As much of aioice's connection as the watch touches; it never answers a check."""

    def __init__(self, clock: VirtualClock) -> None:
        self._queue = DatagramQueue(clock)
        self._nominated = {1: SimpleNamespace(protocol=self, remote_addr=("127.0.0.1", 9))}
        self.remote_password = "secret"
        self.closed = False

    def build_request(self, pair: Any, nominate: bool) -> None:
        """Nothing needs to be in it."""

    async def request(self, *_: Any, **__: Any) -> None:
        raise stun.TransactionTimeout

    async def close(self) -> None:
        self.closed = True


def closed_after_s(*, sends: bool, within_s: float) -> float | None:
    """When the connection was closed; None where it is still open after `within_s`."""

    async def scenario() -> float | None:
        clock = VirtualClock()
        ice = _Ice(clock)
        watch = asyncio.create_task(watch_consent(ice, clock, SILENCE_S))
        for tenth in range(round(within_s * 10)):
            await clock.advance_to(tenth * 100 * NS_PER_MS)
            if ice.closed:
                return tenth / 10
            if sends:
                ice._queue.put_nowait(b"media")
                await ice._queue.get()
        watch.cancel()
        return None

    return asyncio.run(scenario())


def test_a_peer_that_neither_answers_nor_sends_is_gone_within_three_seconds() -> None:
    gone_s = closed_after_s(sends=False, within_s=5)
    assert gone_s is not None
    assert SILENCE_S <= gone_s < 3


def test_a_peer_that_sends_but_answers_too_late_stays() -> None:
    assert closed_after_s(sends=True, within_s=20) is None


def test_without_any_answer_consent_ends_although_media_comes() -> None:
    assert closed_after_s(sends=True, within_s=40) == pytest.approx(30, abs=0.5)  # RFC 7675, section 5.1
