import asyncio
import json
from typing import Any

import pytest

from stream.frames import NS_PER_MS, NS_PER_S
from stream.http_page import SAMPLE
from stream.passage import Mode
from tests.stream.server_fakes import SDP, Desk, refused, visit

pytestmark = pytest.mark.unit


# -- sessions ---------------------------------------------------------------------------------------


def test_an_offer_is_answered_with_201_a_location_and_an_answer() -> None:
    async def act(desk: Desk) -> None:
        response = await desk.open()
        assert (response.status, response.content_type) == (201, "application/sdp")
        assert response.headers["Location"].startswith("/sessions/")
        assert (await response.text()).startswith("v=0")

    visit(act)


def test_a_session_begins_in_the_mode_asked_for() -> None:
    async def act(desk: Desk) -> None:
        guest = desk.guest(await desk.opened(mode="re-voice", voice="sample"))
        assert guest.session.mode is Mode.RE_VOICE

    visit(act)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"mode": "sing"}, ["mode", '"sing"', "pass-through or re-voice or dub"]),
        ({"mode": "re-voice", "voice": "nobody"}, ["voice", '"nobody"', "/api/options"]),
        ({"moed": "re-voice"}, ["moed", "did you mean mode"]),
    ],
)
def test_a_query_that_does_not_fit_is_refused_naming_the_field(query: dict[str, str], words: list[str]) -> None:
    async def act(desk: Desk) -> None:
        await refused(await desk.open(**query), 400, *words)
        assert desk.peers == []

    visit(act)


@pytest.mark.parametrize("body", ["hello", "{}", "m=video", "v=1", "\0"])
def test_a_malformed_offer_is_refused_with_400_and_its_peer_hung_up(body: str) -> None:
    async def act(desk: Desk) -> None:
        await refused(await desk.client.post("/sessions", data=body, headers=SDP), 400, "offer")
        assert all(peer.closed.is_set() for peer in desk.peers)
        assert desk.server.admission.sessions == 0

    visit(act)


def test_an_offer_that_is_not_text_is_refused() -> None:
    async def act(desk: Desk) -> None:
        await refused(await desk.client.post("/sessions", data=b"\xff\xfe", headers=SDP), 400, "UTF-8")

    visit(act)


def test_an_empty_offer_is_refused() -> None:
    async def act(desk: Desk) -> None:
        await refused(await desk.client.post("/sessions", headers=SDP), 400, "empty", "SDP offer")

    visit(act)


@pytest.mark.parametrize("declared", [True, False])
def test_an_offer_of_a_megabyte_is_refused_with_413(declared: bool) -> None:
    async def chunks() -> Any:
        for _ in range(16):
            yield b"a" * 65536

    async def act(desk: Desk) -> None:
        body = b"a" * (1 << 20) if declared else chunks()
        await refused(await desk.client.post("/sessions", data=body, headers=SDP), 413, "SDP offer", "262144 bytes")
        assert desk.peers == []

    visit(act)


def test_an_offer_of_another_type_is_refused_with_415() -> None:
    async def act(desk: Desk) -> None:
        await refused(await desk.client.post("/sessions", json={}), 415, "Content-Type", "application/sdp")

    visit(act)


def test_beyond_its_capacity_the_server_answers_503_and_when_to_come_back() -> None:
    async def act(desk: Desk) -> None:
        await desk.opened()
        response = await desk.open()
        await refused(response, 503, "all 1 places are taken", "7 s")
        assert response.headers["Retry-After"] == "7"

    visit(act, capacity=1, retry_after_s=7)


def test_offers_that_come_at_once_cannot_exceed_the_capacity_together() -> None:
    async def act(desk: Desk) -> None:
        statuses = [response.status for response in await asyncio.gather(*(desk.open() for _ in range(6)))]
        assert sorted(statuses) == [201, 201, 503, 503, 503, 503]

    visit(act, capacity=2)


def test_one_more_session_is_refused_while_a_running_one_has_no_time_to_spare() -> None:
    async def act(desk: Desk) -> None:
        guest = desk.guest(await desk.opened(mode="re-voice"))
        for _ in range(60):
            guest.session.playout.latency.add(75_000_000)
        await refused(await desk.open(), 503, "no time to spare")

    visit(act)


@pytest.mark.parametrize(
    ("busy_ms", "slack_ms", "words"),
    [(12, 60, ["needs 60% of its time"]), (4, 5, ["5 ms before their deadline"])],
)
def test_one_more_session_is_refused_while_the_engine_has_no_room_for_it(
    busy_ms: int, slack_ms: int, words: list[str]
) -> None:
    async def act(desk: Desk) -> None:
        await desk.opened()
        desk.clock.time_ns = NS_PER_S
        for _ in range(100):
            for session in (1, 2):
                desk.engines.batcher.load.worked(busy_ms * NS_PER_MS, 1)
                desk.engines.batcher.load.done(session, slack_ms * NS_PER_MS)
            desk.clock.time_ns += 40 * NS_PER_MS
        response = await desk.open()
        await refused(response, 503, *words)
        assert response.headers["Retry-After"] == "10"
        # When they have left, what they took tells nothing of what is free.
        for session in (1, 2):
            desk.engines.batcher.load.left(session)
        desk.clock.time_ns += NS_PER_S
        await desk.opened()

    visit(act)


def test_a_place_is_free_again_when_its_peer_is_gone() -> None:
    async def act(desk: Desk) -> None:
        location = await desk.opened()
        guest = desk.guest(location)
        await desk.peers[0].close()
        await asyncio.wait([guest.task])
        await desk.opened()

    visit(act, capacity=1)


def test_ending_a_session_twice_is_the_same_as_once() -> None:
    async def act(desk: Desk) -> None:
        location = await desk.opened()
        assert [(await desk.client.delete(location)).status for _ in range(2)] == [200, 200]
        assert desk.peers[0].closed.is_set()
        assert desk.server.admission.sessions == 0

    visit(act)


def test_a_session_that_breaks_down_takes_no_other_with_it_and_degrades_health() -> None:
    async def act(desk: Desk) -> None:
        guest = desk.guest(await desk.opened())
        await desk.opened()

        async def broken() -> None:
            raise RuntimeError("a fault of ours")

        desk.peers[0].video_in.get = broken  # type: ignore[assignment, method-assign]
        await desk.peers[0].video_in.put(None)  # type: ignore[arg-type]
        desk.peers[0].audio_in.get = broken  # type: ignore[assignment, method-assign]
        await asyncio.wait([guest.task])
        assert desk.server.admission.sessions == 1
        assert not desk.peers[1].closed.is_set()
        assert (await (await desk.client.get("/health")).json())["status"] == "degraded"

    visit(act)


# -- changing and watching --------------------------------------------------------------------------


def test_a_patch_switches_mode_and_voice() -> None:
    async def act(desk: Desk) -> None:
        location = await desk.opened()
        response = await desk.client.patch(location, json={"mode": "re-voice", "voice": "sample"})
        assert (response.status, await response.json()) == (200, {"mode": "re-voice"})
        assert desk.peers[0].delay_ns > 0

    visit(act)


def test_a_switch_back_and_forth_keeps_the_voice_that_was_chosen() -> None:
    async def act(desk: Desk) -> None:
        upload = await desk.client.post("/api/voices", data=SAMPLE.with_name("voice.wav").read_bytes())
        voice_id = (await upload.json())["id"]
        location = await desk.opened(mode="re-voice", voice=voice_id)
        for mode in ("pass-through", "re-voice"):
            assert (await desk.client.patch(location, json={"mode": mode})).status == 200
        chosen = desk.server.voices.find(voice_id)
        assert chosen is not None
        assert desk.guest(location).session.voice is chosen.voice

    visit(act)


def test_a_patch_with_a_fragment_adds_candidates() -> None:
    async def act(desk: Desk) -> None:
        kind = {"Content-Type": "application/trickle-ice-sdpfrag"}
        location = await desk.opened()
        assert (await desk.client.patch(location, data="a=end-of-candidates", headers=kind)).status == 204
        assert desk.peers[0].candidates == ["a=end-of-candidates"]
        await refused(await desk.client.patch(location, data="nonsense", headers=kind), 400, "candidate")

    visit(act)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("{", ["not JSON"]),
        ("[" * 5000, ["not JSON"]),
        ("[]", ["JSON object"]),
        ('{"mode": 3}', ["mode is 3"]),
        ('{"voice": 3}', ["voice is 3"]),
        ('{"vioce": "a"}', ["did you mean voice"]),
    ],
)
def test_a_patch_that_does_not_fit_is_refused_and_changes_nothing(body: str, words: list[str]) -> None:
    async def act(desk: Desk) -> None:
        location = await desk.opened()
        response = await desk.client.patch(location, data=body, headers={"Content-Type": "application/json"})
        await refused(response, 400, *words)
        assert desk.peers[0].delay_ns == 0

    visit(act)


def test_a_patch_of_another_type_is_refused_with_415() -> None:
    async def act(desk: Desk) -> None:
        await refused(await desk.client.patch(await desk.opened(), data="x"), 415, "Content-Type", "sdpfrag")

    visit(act)


@pytest.mark.parametrize("method", ["PATCH", "GET"])
def test_a_session_that_is_not_there_is_404_with_the_remedy(method: str) -> None:
    async def act(desk: Desk) -> None:
        path = "/sessions/none" + ("/events" if method == "GET" else "")
        await refused(await desk.client.request(method, path, json={}), 404, "none", "POST")

    visit(act)


def test_the_events_of_a_session_carry_its_figures_and_end_with_it() -> None:
    async def act(desk: Desk) -> None:
        location = await desk.opened()
        async with desk.client.get(location + "/events") as response:
            assert response.content_type == "text/event-stream"
            figures = json.loads((await response.content.readline()).removeprefix(b"data: "))
            assert figures["mode"] == "pass-through"
            assert {"decode", "faces", "render", "encode"} <= figures["stages"].keys() | {"decode", "encode"}
            assert figures["frames"].keys() == {"received", "dropped", "late", "sent", "passed"}
            assert {"p50", "p95", "now"} <= figures["av_offset_ms"].keys()
            assert {"p50", "p95", "p99"} <= figures["latency_ms"].keys()
            assert {"p50", "p99"} <= figures["loop_lag_ms"].keys()
            await desk.client.delete(location)
            assert b"event: end" in await response.content.read()

    visit(act)
