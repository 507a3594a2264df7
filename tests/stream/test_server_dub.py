"""The dub over HTTP, on a dub that is made up."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from stream.admission import Caller
from stream.dub_offer import NO_DUB, DubOffer
from stream.dubbing import Dubbing
from stream.http_errors import explain
from stream.http_page import PageApi
from stream.http_sessions import SessionsApi
from stream.session import Session
from stream.speech.wish import DubWish
from tests.stream.server_fakes import SDP, Desk, refused, visit
from tests.stream.session_fakes import OFFER, FakeDubbing

pytestmark = pytest.mark.unit

_OFFER = DubOffer((("en", "es"), ("es", "en")), ("a draft",), ("ada", "ben"))
_DUB = {"mode": "dub"}
Client = TestClient[Any, Any]


class _Studio:
    """A server that dubs, and the dubs that it made."""

    def __init__(self, desk: Desk, client: Client, dubs: list[FakeDubbing]) -> None:
        self.desk, self.client, self.dubs = desk, client, dubs

    async def opened(self, **query: str) -> str:
        response = await self.client.post("/sessions", params=query, data=OFFER, headers=SDP)
        assert response.status == 201, await response.text()
        return response.headers["Location"]


def _dub(act: Callable[[_Studio], Awaitable[None]], offer: DubOffer = _OFFER) -> None:
    async def inside(desk: Desk) -> None:
        server, dubs = desk.server, list[FakeDubbing]()

        def open_dubbing(wish: DubWish, *_: Any) -> Dubbing:
            dubs.append(FakeDubbing(wish))
            return cast("Dubbing", dubs[-1])

        def make_session(peer: Caller, name: str) -> Session:
            config = server.config.session
            return Session(
                peer, config, server.engines, server.clock, health=server.health, name=name, open_dubbing=open_dubbing
            )

        limits = server.config.server
        sessions = SessionsApi(
            limits,
            server.clock,
            server.admission,
            server.voices,
            server.lag,
            server.make_peer,
            make_session,
            server.engines.filters,
            dub=offer,
        )
        app = web.Application(middlewares=[explain])
        app.add_routes(sessions.routes())
        app.add_routes(
            PageApi(
                limits,
                server.voices,
                server.admission,
                server.health,
                server.engines.batcher.load,
                server.engines.filters,
                dub=offer,
            ).routes()
        )
        async with TestClient(TestServer(app)) as client:
            await act(_Studio(desk, client, dubs))
            await server.admission.dismiss_all()

    visit(inside)


def test_the_options_name_the_languages_and_the_warning() -> None:
    async def act(studio: _Studio) -> None:
        options = await (await studio.client.get("/api/options")).json()
        assert options["modes"] == ["pass-through", "re-voice", "dub"]
        assert options["dubbing"] == {
            "languages": [{"from": "en", "to": "es"}, {"from": "es", "to": "en"}],
            "voices": ["ada", "ben"],
            "warning": "a draft",
        }

    _dub(act)


def test_a_server_without_back_ends_does_not_offer_a_dub_and_refuses_it() -> None:
    async def act(studio: _Studio) -> None:
        options = await (await studio.client.get("/api/options")).json()
        assert "dub" not in options["modes"]
        response = await studio.client.post("/sessions", params=_DUB, data=OFFER, headers=SDP)
        await refused(response, 400, "speech back ends")

    _dub(act, NO_DUB)


def test_the_voices_are_offered_and_a_long_list_of_them_is_not_told_whole() -> None:
    many = tuple(f"voice{index}" for index in range(40))

    async def act(studio: _Studio) -> None:
        options = await (await studio.client.get("/api/options")).json()
        assert options["dubbing"]["voices"] == list(many)
        query = {"mode": "dub", "speaker_voice": "eve"}
        response = await studio.client.post("/sessions", params=query, data=OFFER, headers=SDP)
        await refused(response, 400, "voice11 and 28 more: /api/options")

    _dub(act, DubOffer((("en", "es"),), voices=many))


def test_a_server_whose_speaker_has_no_voices_of_its_own_says_so() -> None:
    async def act(studio: _Studio) -> None:
        query = {"mode": "dub", "speaker_voice": "eve"}
        response = await studio.client.post("/sessions", params=query, data=OFFER, headers=SDP)
        await refused(response, 400, "none but the languages' own")

    _dub(act, DubOffer((("en", "es"),)))


def test_a_session_begins_in_a_dub_from_english_to_spanish_unless_told_otherwise() -> None:
    async def act(studio: _Studio) -> None:
        await studio.opened(mode="dub")
        query = {"from": "es", "to": "en", "video": "together", "speaker_voice": "ada", "duck": "0"}
        await studio.opened(mode="dub", **query)
        plain, named = (each.wish for each in studio.dubs)
        assert plain == DubWish(source="en", target="es")
        assert named == DubWish(source="es", target="en", video="together", voice="ada", duck=0.0)

    _dub(act)


def test_a_patch_changes_only_what_it_names() -> None:
    async def act(studio: _Studio) -> None:
        location = await studio.opened(mode="dub", duck="0.3", speaker_voice="ada")
        assert (await studio.client.patch(location, json={"video": "together", "speaker_voice": ""})).status == 200
        assert studio.dubs[-1].wish == DubWish(source="en", target="es", video="together", duck=0.3)

    _dub(act)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"mode": "dub", "to": "fr"}, ["en to fr", "en to es"]),
        ({"mode": "dub", "from": 3}, ["from is 3"]),
        ({"mode": "dub", "video": "never"}, ["never", "live or together"]),
        ({"mode": "dub", "duck": 2}, ["duck is 2", "0 to 1"]),
        ({"mode": "dub", "duck": True}, ["duck is true"]),
        ({"mode": "dub", "speaker_voice": 3}, ["speaker_voice is 3", "ada, ben"]),
        ({"mode": "dub", "speaker_voice": "eve"}, ['speaker_voice is "eve"', "ada, ben"]),
        ({"mode": "dub", "vidoe": "live"}, ["did you mean video"]),
        ({"to": "es"}, ["to belongs to mode", "pass-through"]),
        ({"interrupt": False}, ["interrupt goes alone"]),
        ({"interrupt": True}, ["no dub to interrupt"]),
    ],
)
def test_a_patch_that_does_not_fit_is_refused_and_makes_no_dub(body: dict[str, Any], words: list[str]) -> None:
    async def act(studio: _Studio) -> None:
        await refused(await studio.client.patch(await studio.opened(), json=body), 400, *words)
        assert studio.dubs == []

    _dub(act)


def test_an_interruption_reaches_the_dub_and_changes_nothing_else() -> None:
    async def act(studio: _Studio) -> None:
        location = await studio.opened(mode="dub")
        response = await studio.client.patch(location, json={"interrupt": True})
        assert (response.status, await response.json()) == (200, _DUB)
        assert [each.interrupted for each in studio.dubs] == [1]

    _dub(act)


@pytest.mark.parametrize(
    ("query", "file_name", "words"),
    [
        ("", "captions-target.vtt", "WEBVTT"),
        ("?format=srt&text=source", "captions-source.srt", "the source"),
    ],
)
def test_captions_are_a_download(query: str, file_name: str, words: str) -> None:
    async def act(studio: _Studio) -> None:
        response = await studio.client.get(await studio.opened(mode="dub") + "/captions" + query)
        assert file_name in response.headers["Content-Disposition"]
        assert words in await response.text()

    _dub(act)


def test_the_sound_is_a_download() -> None:
    async def act(studio: _Studio) -> None:
        response = await studio.client.get(await studio.opened(mode="dub") + "/dub.wav")
        assert (response.content_type, await response.read()) == ("audio/wav", b"RIFF")

    _dub(act)


def test_a_caption_file_of_an_unknown_form_is_refused() -> None:
    async def act(studio: _Studio) -> None:
        location = await studio.opened(mode="dub")
        await refused(await studio.client.get(location + "/captions?format=pdf"), 400, "pdf", "vtt or srt")

    _dub(act)


@pytest.mark.parametrize("file", ["captions", "dub.wav"])
def test_without_a_dub_there_is_nothing_to_download(file: str) -> None:
    async def act(studio: _Studio) -> None:
        await refused(await studio.client.get(f"{await studio.opened()}/{file}"), 404, "pass-through", "dub")

    _dub(act)


def test_the_events_carry_the_dub() -> None:
    async def act(studio: _Studio) -> None:
        location = await studio.opened(mode="dub")
        async with studio.client.get(location + "/events") as response:
            figures = json.loads((await response.content.readline()).removeprefix(b"data: "))
            assert (figures["mode"], figures["dub"]["to"]) == ("dub", "es")
            await asyncio.wait_for(studio.client.delete(location), 5)

    _dub(act)
