"""A server over HTTP whose peers are fakes, and what its tests ask of every refusal."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer

from stream.admission import Caller, Guest
from stream.clock import Clock, MonotonicClock, VirtualClock
from stream.config import Config, ServerConfig
from stream.engines import Engines
from stream.filters import FilterShelf
from stream.server import Server, make_server
from tests.stream.session_fakes import OFFER, FakeEngine, FakeFinder, FakePeer, FakeRender, a_face
from tests.stream.tagged import HandClock

SDP = {"Content-Type": "application/sdp"}


class Desk:
    """A server over HTTP whose peers are fakes."""

    def __init__(self, config: ServerConfig, open_filters: Callable[[Clock], FilterShelf] | None = None) -> None:
        self.peers: list[FakePeer] = []
        self.clock = HandClock()
        self.engines = Engines(
            FakeEngine, lambda _: FakeFinder(a_face), FakeRender, clock=self.clock, open_filters=open_filters
        )
        self.server: Server = make_server(
            Config(server=config), self.engines, MonotonicClock(), make_peer=self._make_peer
        )
        self.client: TestClient[Any, Any] = TestClient(TestServer(self.server.app()))

    def _make_peer(self) -> Caller:
        self.peers.append(FakePeer(VirtualClock()))
        return self.peers[-1]

    async def open(self, **query: str) -> ClientResponse:
        return await self.client.post("/sessions", params=query, data=OFFER, headers=SDP)

    async def opened(self, **query: str) -> str:
        response = await self.open(**query)
        assert response.status == 201, await response.text()
        return response.headers["Location"]

    def guest(self, location: str) -> Guest:
        """The session at this location."""
        found = self.server.admission.find(location.rsplit("/", 1)[1])
        assert found is not None
        return found


def visit(
    act: Callable[[Desk], Awaitable[None]],
    *,
    open_filters: Callable[[Clock], FilterShelf] | None = None,
    **limits: Any,
) -> Desk:
    """Run `act` against a server with these limits and filters; every session ends with it."""

    async def scenario() -> Desk:
        desk = Desk(ServerConfig(capacity=limits.pop("capacity", 3), **limits), open_filters)
        async with desk.client:
            try:
                await act(desk)
            finally:
                await desk.server.admission.dismiss_all()
                desk.server.voices.close()
                desk.engines.close()
        return desk

    return asyncio.run(scenario())


async def refused(response: ClientResponse, status: int, *words: str) -> None:
    """The answer has this status and one line of JSON with all the words."""
    assert response.status == status, await response.text()
    error = (await response.json())["error"]
    assert "\n" not in error
    for word in words:
        assert word in error
