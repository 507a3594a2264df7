"""The whole server with real WebRTC on both sides: stock aiortc calls, media go through, come back, and all ends."""

import asyncio
import contextlib
import fractions
import json
import threading
from dataclasses import dataclass, field
from typing import Any

import av
import numpy as np
import pytest
from aiohttp import ClientSession
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

from stream.clock import MonotonicClock
from stream.config import Config, ServerConfig
from stream.engines import Engines
from stream.server import make_server, running
from stream.transport.config import PeerConfig
from tests.stream.session_fakes import FakeEngine, FakeFinder, FakeRender, a_face

pytestmark = pytest.mark.unit

FPS, PICTURES = 25, 50


class _Paced(MediaStreamTrack):  # type: ignore[misc] # aiortc has no types
    """Gives items on a fixed schedule from the first one on, then waits for its end."""

    def __init__(self, period_s: float, count: int) -> None:
        super().__init__()
        self._period_s, self._count, self._index, self._begun_s = period_s, count, 0, 0.0
        self.done = asyncio.Event()

    async def tick(self) -> int:
        loop = asyncio.get_running_loop()
        if self._index >= self._count:
            self.done.set()
            await asyncio.Event().wait()
        self._begun_s = self._begun_s or loop.time()
        await asyncio.sleep(max(0.0, self._begun_s + self._index * self._period_s - loop.time()))
        self._index += 1
        return self._index - 1


class Camera(_Paced):
    """Grey pictures, each a little lighter than the last."""

    kind = "video"

    async def recv(self) -> av.VideoFrame:
        index = await self.tick()
        frame = av.VideoFrame.from_ndarray(np.full((360, 320), 40 + 3 * index, np.uint8), format="yuv420p")
        frame.pts, frame.time_base = index * 90_000 // FPS, fractions.Fraction(1, 90_000)
        return frame


class Microphone(_Paced):
    """A tone of 440 Hz."""

    kind = "audio"

    async def recv(self) -> av.AudioFrame:
        index = await self.tick()
        phase = (index * 960 + np.arange(960)) * (2 * np.pi * 440 / 48_000)
        # Stereo, because the caller's encoder would make a mono sound 3 dB softer.
        both = np.repeat(8000 * np.sin(phase), 2).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(both, format="s16", layout="stereo")
        frame.pts, frame.sample_rate, frame.time_base = index * 960, 48_000, fractions.Fraction(1, 48_000)
        return frame


@dataclass
class Heard:
    """What came back to the caller, and what the server said about it."""

    levels: list[float] = field(default_factory=list)
    loudness: list[float] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    _came: asyncio.Event = field(default_factory=asyncio.Event)

    def saw(self, level: float) -> None:
        self.levels.append(level)
        self._came.set()

    async def until(self, pictures: int) -> None:
        while len(self.levels) < pictures:
            self._came.clear()
            await self._came.wait()


async def _receive(track: MediaStreamTrack, heard: Heard) -> None:
    try:
        while True:
            frame = await track.recv()
            if track.kind == "video":
                heard.saw(float(frame.to_ndarray(format="gray").mean()))
            else:
                heard.loudness.append(float(np.abs(frame.to_ndarray()).mean()))
    except MediaStreamError:
        return


async def call(url: str, query: str, switch: dict[str, str] | None) -> Heard:
    """Call for two seconds of media; `switch` is patched in after one."""
    heard, receiving = Heard(), []
    camera, microphone = Camera(1 / FPS, PICTURES), Microphone(0.02, 2 * PICTURES)
    caller = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    caller.on("track", lambda track: receiving.append(asyncio.ensure_future(_receive(track, heard))))
    caller.addTrack(camera)
    caller.addTrack(microphone)
    await caller.setLocalDescription(await caller.createOffer())
    async with ClientSession(url) as http:
        offer, kind = caller.localDescription.sdp, {"Content-Type": "application/sdp"}
        async with http.post(f"/sessions{query}", data=offer, headers=kind) as reply:
            assert reply.status == 201, await reply.text()
            location, answer = reply.headers["Location"], await reply.text()
        await caller.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        if switch is not None:
            await heard.until(5)
            assert (await http.patch(location, json=switch)).status == 200
        await asyncio.wait_for(asyncio.gather(camera.done.wait(), microphone.done.wait()), 10)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(heard.until(PICTURES - 2), 1.0)
        async with http.get(f"{location}/events") as events:
            heard.figures = await _first_event(events)
        assert (await http.delete(location)).status == 200
    await caller.close()
    await asyncio.gather(*receiving)
    return heard


async def _first_event(events: Any) -> dict[str, Any]:
    line = await events.content.readline()
    figures: dict[str, Any] = json.loads(line.removeprefix(b"data: "))
    return figures


def two_seconds(query: str, switch: dict[str, str] | None = None) -> tuple[Heard, list[str]]:
    """What a caller gets, and the names of the tasks and threads that are left afterwards."""

    async def scenario() -> tuple[Heard, list[str]]:
        engines = Engines(FakeEngine, lambda _: FakeFinder(a_face), FakeRender)
        config = Config(server=ServerConfig(port=0, capacity=1), peer=PeerConfig(video_codec="vp8"))
        async with running(make_server(config, engines, MonotonicClock())) as port:
            heard = await asyncio.wait_for(call(f"http://127.0.0.1:{port}", query, switch), 25)
        engines.close()
        left = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        return heard, left

    heard, left = asyncio.run(scenario())
    ending = [thread for thread in threading.enumerate() if "faces" in thread.name]
    for thread in ending:
        thread.join(5)
    return heard, left + [thread.name for thread in ending if thread.is_alive()]


def test_a_call_passes_through_a_real_connection_and_leaves_nothing_behind() -> None:
    heard, left = two_seconds("")
    # On a quiet machine all 50 come back; on a busy one newer pictures overtake older ones.
    assert len(heard.levels) >= PICTURES * 0.2, heard
    assert heard.levels == sorted(heard.levels)
    # Opus at 440 Hz with an amplitude of 8000: the mean of |sin| is 2/pi of it.
    assert np.median(heard.loudness[10:]) == pytest.approx(8000 * 2 / np.pi, rel=0.1)
    assert heard.figures["mode"] == "pass-through"
    assert heard.figures["delay_ms"] == 0
    frames = heard.figures["frames"]
    # One or two may still be between the decoder and the exit when the figures are made.
    assert frames["passed"].keys() == {"pass_through"}
    assert frames["passed"]["pass_through"] + frames["dropped"] >= frames["received"] - 2
    assert {"decode", "encode", "faces", "render"} <= heard.figures["stages"].keys()
    assert left == []


def test_a_call_can_be_switched_to_a_voice_while_it_runs() -> None:
    heard, left = two_seconds("", {"mode": "re-voice", "voice": "sample"})
    assert len(heard.levels) >= PICTURES * 0.2, heard
    assert heard.figures["mode"] == "re-voice"
    assert heard.figures["delay_ms"] == 80
    frames, render = heard.figures["frames"], heard.figures["stages"]["render"]
    assert render["count"] > 0
    assert sum(frames["passed"].values()) + render["count"] + frames["dropped"] >= frames["received"] - 5
    assert left == []
