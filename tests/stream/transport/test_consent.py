"""When a peer counts as gone: it neither answers nor sends."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aioice import stun

from stream.clock import MonotonicClock
from stream.transport import connection
from stream.transport.connection import DatagramQueue, watch_consent

pytestmark = pytest.mark.unit

SILENCE_S = 0.05


class _Ice:
    """As much of aioice's connection as the watch touches; it never answers a check."""

    def __init__(self) -> None:
        self._queue = DatagramQueue(MonotonicClock())
        self._nominated = {1: SimpleNamespace(protocol=self, remote_addr=("127.0.0.1", 9))}
        self.remote_password = "secret"
        self.closed = False

    def build_request(self, pair: Any, nominate: bool) -> None:
        """Nothing needs to be in it."""

    async def request(self, *_: Any, **__: Any) -> None:
        raise stun.TransactionTimeout

    async def close(self) -> None:
        self.closed = True


def _watch(monkeypatch: pytest.MonkeyPatch, *, sends: bool, within_s: float) -> _Ice:
    monkeypatch.setattr(connection, "_CONSENT_EVERY_S", 0.005)

    async def scenario() -> _Ice:
        ice = _Ice()
        watch = asyncio.create_task(watch_consent(ice, MonotonicClock(), SILENCE_S))
        for _ in range(round(within_s / 0.005)):
            await asyncio.wait([watch], timeout=0.005)
            if sends:
                ice._queue.put_nowait(b"media")
            if watch.done():
                break
        watch.cancel()
        return ice

    return asyncio.run(scenario())


def test_a_peer_that_neither_answers_nor_sends_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _watch(monkeypatch, sends=False, within_s=5.0).closed


def test_a_peer_that_sends_but_answers_too_late_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not _watch(monkeypatch, sends=True, within_s=4 * SILENCE_S).closed


def test_without_any_answer_consent_ends_although_media_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_CONSENT_ENDS_S", 2 * SILENCE_S)
    assert _watch(monkeypatch, sends=True, within_s=5.0).closed
