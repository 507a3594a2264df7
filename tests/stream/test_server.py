import asyncio
import socket
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from stream.config import ServerConfig
from stream.errors import ConfigError
from stream.http_page import SAMPLE
from stream.server import running
from tests.stream.server_fakes import SDP, Desk, refused, visit
from tests.stream.session_fakes import OFFER

pytestmark = pytest.mark.unit

VOICE = SAMPLE.with_name("voice.wav")


# -- the page and its voices ------------------------------------------------------------------------


def test_the_options_name_modes_voices_and_the_largest_upload() -> None:
    async def act(desk: Desk) -> None:
        options = await (await desk.client.get("/api/options")).json()
        assert options["modes"] == ["pass-through", "re-voice"]
        assert options["voices"][0].keys() == {"id", "name", "duration_s"}
        assert options["max_upload_bytes"] == ServerConfig().max_upload_bytes

    visit(act)


def test_an_uploaded_voice_can_be_chosen_at_once() -> None:
    async def act(desk: Desk) -> None:
        response = await desk.client.post("/api/voices", params={"name": "Anna\n<b>"}, data=VOICE.read_bytes())
        voice = await response.json()
        assert (response.status, voice["name"]) == (201, "Anna<b>")
        assert voice["duration_s"] == pytest.approx(5.7, abs=0.1)
        await desk.opened(mode="re-voice", voice=voice["id"])

    visit(act)


@pytest.mark.parametrize(
    "body", [b"not a sound at all", b"RIFF\0\0\0\0WAVEfmt ", SAMPLE.read_bytes()[:2000], b"\0" * 5000]
)
def test_an_upload_that_is_not_audio_is_refused_in_one_line(body: bytes) -> None:
    async def act(desk: Desk) -> None:
        await refused(await desk.client.post("/api/voices", data=body), 400, "voice")
        assert len((await (await desk.client.get("/api/options")).json())["voices"]) == 1

    visit(act)


def test_an_upload_that_is_too_large_is_refused_with_413() -> None:
    async def act(desk: Desk) -> None:
        await refused(await desk.client.post("/api/voices", data=b"\0" * 5000), 413, "audio file", "4096 bytes")

    visit(act, max_upload_bytes=4096)


def test_a_voice_that_is_too_long_is_refused() -> None:
    async def act(desk: Desk) -> None:
        await refused(await desk.client.post("/api/voices", data=VOICE.read_bytes()), 400, "2 s")

    visit(act, max_voice_s=2.0)


def test_beyond_the_limit_the_oldest_upload_goes_and_the_bundled_voice_stays() -> None:
    async def act(desk: Desk) -> None:
        names = ["a", "b", "c"]
        for name in names:
            await desk.client.post("/api/voices", params={"name": name}, data=VOICE.read_bytes())
        voices = (await (await desk.client.get("/api/options")).json())["voices"]
        assert [voice["name"] for voice in voices] == ["Sample voice", "b", "c"]

    visit(act, max_voices=2)


def test_health_names_status_sessions_and_capacity() -> None:
    async def act(desk: Desk) -> None:
        await desk.opened()
        health = await (await desk.client.get("/health")).json()
        engine = health.pop("engine")
        assert health == {"status": "ok", "sessions": 1, "capacity": 3}
        assert engine == {
            "busy_share": 0.0,
            "needed_share": 0.0,
            "sessions": 0,
            "pictures": 0,
            "faces": 0,
            "batches": 0,
            "filtered": 0,
            "late": 0,
            "slack_ms": {"p5": 0.0, "p50": 0.0},
        }

    visit(act)


@pytest.mark.parametrize("path", ["/", "/sample.mp4", "/static/app.js"])
def test_the_page_and_its_files_are_served_unguessed(path: str) -> None:
    async def act(desk: Desk) -> None:
        response = await desk.client.get(path)
        assert response.status == 200
        assert response.headers["X-Content-Type-Options"] == "nosniff"

    visit(act)


@pytest.mark.parametrize("path", ["/nothing", "/static/../server.py", "/static/%2e%2e/server.py", "/static/"])
def test_what_is_not_there_is_refused_in_one_line(path: str) -> None:
    async def act(desk: Desk) -> None:
        response = await desk.client.get(path)
        assert response.status in (403, 404)
        assert "\n" not in (await response.json())["error"]

    visit(act)


def test_a_method_that_a_path_does_not_take_is_405() -> None:
    async def act(desk: Desk) -> None:
        await refused(await desk.client.put("/sessions"), 405, "PUT", "POST")

    visit(act)


# -- strangers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/voices", "/sessions"])
def test_a_page_of_another_origin_is_refused(path: str) -> None:
    async def act(desk: Desk) -> None:
        headers = {"Origin": "http://evil.example", "Content-Type": "text/plain"}
        await refused(await desk.client.post(path, data=b"x", headers=headers), 403, "Origin", "evil.example")

    visit(act)


def test_a_name_that_points_at_this_machine_is_refused_unless_it_is_allowed() -> None:
    headers = {"Host": "face.example:8080"}

    async def deny(desk: Desk) -> None:
        await refused(await desk.client.get("/health", headers=headers), 403, "Host", "allowed_hosts")

    async def allow(desk: Desk) -> None:
        assert (await desk.client.get("/health", headers=headers)).status == 200

    visit(deny)
    visit(allow, allowed_hosts=("face.example",))


def test_no_answer_invites_other_origins() -> None:
    async def act(desk: Desk) -> None:
        for answer in (await desk.client.get("/api/options"), await desk.client.options("/sessions")):
            assert not [name for name in answer.headers if name.startswith("Access-Control")]

    visit(act)


# -- starting and stopping --------------------------------------------------------------------------


def test_a_port_in_use_is_one_line_with_the_remedy() -> None:
    async def scenario() -> str:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            desk = Desk(ServerConfig(port=taken.getsockname()[1]))
            with pytest.raises(ConfigError) as raised:
                async with running(desk.server):
                    raise AssertionError("it listens on a port that is taken")
        desk.engines.close()
        return str(raised.value)

    message = asyncio.run(scenario())
    assert "is in use" in message
    assert "--port" in message
    assert "\n" not in message


def test_stopping_ends_sessions_and_event_streams_and_leaves_no_task() -> None:
    async def scenario() -> tuple[bool, bytes, int]:
        desk = Desk(ServerConfig(port=0))
        async with running(desk.server) as port:
            client: TestClient[Any, Any] = TestClient(TestServer(desk.server.app()))
            async with client.session as session:
                opened = await session.post(f"http://127.0.0.1:{port}/sessions", data=OFFER, headers=SDP)
                events = await session.get(f"http://127.0.0.1:{port}{opened.headers['Location']}/events")
                stopping = asyncio.create_task(desk.server.admission.dismiss_all())
                rest = await events.content.read()
                await stopping
        desk.engines.close()
        return desk.peers[0].closed.is_set(), rest, len(asyncio.all_tasks())

    closed, rest, tasks = asyncio.run(scenario())
    assert closed
    assert b"event: end" in rest
    assert tasks == 1
