"""A peer, a voice and stages that a test holds in its hand: no network, no network weights, no threads of aiortc."""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.engine import TensorSpec
from stream.clock import VirtualClock
from stream.config import SessionConfig
from stream.engines import Engines
from stream.frames import NS_PER_MS, AudioChunk, FaceCrop, SyncedFrame, VideoFrame
from stream.health import Health
from stream.painter import Painter, Shot
from stream.queues import BoundedQueue, Leaky
from stream.session import Session
from stream.speech.captions import Caption
from stream.speech.wish import DubWish
from stream.transport.config import PeerStats, Spread
from stream.transport.sdp import OfferError

MS = NS_PER_MS
FRAME_NS = 40 * MS
CHUNK_NS = 20 * MS
OFFER = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n"


class FakePeer:
    """Records what is sent and when; `connected` is up to the test."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.video_in: BoundedQueue[VideoFrame] = BoundedQueue(2, Leaky.DOWNSTREAM)
        self.audio_in: BoundedQueue[AudioChunk] = BoundedQueue(10, Leaky.DOWNSTREAM)
        self.closed = asyncio.Event()
        self.delay_ns = 0
        self.epoch_ns: int | None = None
        self.pictures: list[VideoFrame] = []
        self.sounds: list[AudioChunk] = []
        self.delays_ns: list[int] = []
        self.candidates: list[str] = []

    async def answer(self, offer_sdp: str) -> str:
        if not offer_sdp.startswith("v=0"):
            raise OfferError("the first line is not v=0")
        return offer_sdp.replace("o=- 1", "o=- 2")

    async def add_candidates(self, sdpfrag: str) -> None:
        if "a=" not in sdpfrag:
            raise OfferError("there is no a=candidate line")
        self.candidates.append(sdpfrag)

    async def send_video(self, frame: VideoFrame) -> None:
        self.pictures.append(frame)
        self.delays_ns.append(self.delay_ns)

    async def send_audio(self, chunk: AudioChunk) -> None:
        self.sounds.append(chunk)

    async def close(self) -> None:
        self.closed.set()
        await self.video_in.close()
        await self.audio_in.close()

    def stats(self) -> PeerStats:
        return PeerStats(
            connection="connected",
            video_codec="vp8",
            received=self.video_in.stats.pushed,
            decoded=self.video_in.stats.pushed,
            dropped=self.video_in.stats.dropped,
            sent=len(self.pictures),
            late=0,
            replaced=0,
            chunks_received=self.audio_in.stats.pushed,
            chunks_sent=len(self.sounds),
            concealed_ms=0.0,
            packets_lost={"audio": 0, "video": 0},
            packets_repaired=0,
            nacks_sent=0,
            keyframes_asked=0,
            keyframes_sent=1,
            jitter_depth={"audio": 2, "video": 1},
            aligned_by="arrival",
            lateness={"audio": Spread(), "video": Spread()},
            av_offset=Spread(),
            bitrate_bps=1_000_000,
            round_trip_ms=0.0,
        )


class Ramp:
    """A voice whose sample at t is t in seconds plus one, and whose mel window is filled with t in ms."""

    def __init__(self, duration_ns: int = 1000 * MS) -> None:
        self.duration_ns = duration_ns

    def audio(self, pts_ns: int, count: int, sample_rate_hz: int = 48_000) -> NDArray[np.float32]:
        index = round(pts_ns * sample_rate_hz / 1e9) + np.arange(count)
        inside = (index >= 0) & (index < self.duration_ns * sample_rate_hz // 1_000_000_000)
        return np.where(inside, 1 + index / sample_rate_hz, 0).astype(np.float32)

    def mel(self, pts_ns: int) -> NDArray[np.float32]:
        return np.full((80, 27), pts_ns / MS, np.float32)


class FakeEngine:
    """An engine by its shapes; the fake render stage never runs it."""

    backend, precision = "fake", "fp32"
    inputs: Mapping[str, TensorSpec] = {
        "face": TensorSpec("face", (None, 6, 96, 96)),
        "mel": TensorSpec("mel", (None, 1, 80, 27)),
    }
    outputs: Mapping[str, TensorSpec] = {}
    closed = False

    def infer(self, feed: Mapping[str, Any]) -> dict[str, Any]:
        raise NotImplementedError

    def close(self) -> None:
        self.closed = True


class FakeFinder:
    """Finds one face everywhere, unless told otherwise."""

    def __init__(self, find: Callable[[VideoFrame], list[FaceCrop]]) -> None:
        self.find = find
        self.closed = False

    def close(self) -> None:
        self.closed = True


class FakeRender:
    """Writes the mel window's time in ms, modulo 256, into the first pixel; nothing of it needs a painter."""

    name = "render"

    def __init__(self, painter: Painter, act: Callable[[SyncedFrame], None] = lambda _: None) -> None:
        self.painter = painter
        self._act = act
        self.passed: Counter[str] = Counter()
        self.made = 0

    def begin(self, item: SyncedFrame) -> list[Shot]:
        self._act(item)
        return []

    def move_to(self, painter: Painter) -> None:
        self.painter = painter

    def close(self) -> None:
        pass

    def process(self, item: SyncedFrame) -> VideoFrame:
        return self.finish(item, self.begin(item))

    def finish(self, item: SyncedFrame, _: Sequence[object]) -> VideoFrame:
        if not item.faces:
            self.passed["no_face"] += 1
            return item.frame
        if item.mel is None:
            self.passed["no_voice"] += 1
            return item.frame
        item.frame.planes[0][0, 0] = int(item.mel[0, 0]) % 256
        self.made += 1
        return item.frame


def picture(pts_ns: int, arrival_ns: int | None = None) -> VideoFrame:
    """A small picture whose first pixel is 255: what no voice of less than 255 ms writes there."""
    planes = (np.full((4, 4), 255, np.uint8), np.full((2, 2), 128, np.uint8), np.full((2, 2), 128, np.uint8))
    return VideoFrame(pts_ns, pts_ns if arrival_ns is None else arrival_ns, "yuv420p", planes)


def sound(pts_ns: int, level: float = 0.5) -> AudioChunk:
    """20 ms of a constant."""
    return AudioChunk(pts_ns, 48_000, np.full(960, level, np.float32))


def a_face(frame: VideoFrame) -> list[FaceCrop]:
    """One face, wherever."""
    return [FaceCrop(1, frame.pts_ns, np.zeros((2, 3), np.float32), np.zeros((478, 2), np.float32), 1.0)]


class Rig:
    """A session on a virtual clock, with everything around it fake.

    Args:
        find: What the face finder does.
        draw: What the render stage does before it draws.
        config: Delays and tolerances.
        clock: The clock of the engines, where those are given.
        engines: What it shares with other sessions; None for engines of its own.
    """

    def __init__(
        self,
        *,
        find: Callable[[VideoFrame], list[FaceCrop]] = a_face,
        draw: Callable[[SyncedFrame], None] = lambda _: None,
        config: SessionConfig | None = None,
        clock: VirtualClock | None = None,
        engines: Engines | None = None,
    ) -> None:
        self.clock = clock or VirtualClock()
        self.peer = FakePeer(self.clock)
        self.health = Health()
        self.finders: list[FakeFinder] = []
        self.open_gate: threading.Event | None = None
        self.engines_opened = 0
        self.engines = engines or Engines(
            self._open_engine,
            lambda _: self._open_finder(find),
            lambda painter: FakeRender(painter, draw),
            clock=self.clock,
        )
        self.session = Session(
            self.peer, config or SessionConfig(), self.engines, self.clock, health=self.health, name="test"
        )

    def _open_engine(self) -> FakeEngine:
        self.engines_opened += 1
        return FakeEngine()

    def _open_finder(self, find: Callable[[VideoFrame], list[FaceCrop]]) -> FakeFinder:
        if self.open_gate is not None:
            self.open_gate.wait(5)
        self.finders.append(FakeFinder(find))
        return self.finders[-1]

    async def settle(self) -> None:
        """Let the loop and the stages' threads come to rest."""
        await self.clock.advance_to(self.clock.now_ns())
        filtering = self.session.filter_lane
        for lane in (self.session.face_lane, filtering, self.engines.lane, filtering) * 2:
            if not lane.closed:
                await lane.run(lambda: None)
            await self.clock.advance_to(self.clock.now_ns())

    async def feed(self, begin_ns: int, end_ns: int, *, with_sound: bool = True) -> None:
        """Let media of this stretch of session time arrive as it happens: 25 pictures and 50 chunks a second."""
        await self.settle()
        for now_ns in range(begin_ns, end_ns, CHUNK_NS):
            await self.clock.advance_to(now_ns)
            if self.peer.epoch_ns is None:
                self.peer.epoch_ns = now_ns
            if now_ns % FRAME_NS == 0:
                await self.peer.video_in.put(picture(now_ns))
            if with_sound:
                await self.peer.audio_in.put(sound(now_ns))
            await self.settle()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The session runs inside the block and ends with it."""
        carrying = asyncio.create_task(self.session.run())
        try:
            await self.settle()
            yield
        finally:
            await self.peer.close()
            await carrying
            self.engines.close()


class FakeDubbing:
    """A dub in which nothing is said; it counts its interruptions."""

    hold_ns = 0

    def __init__(self, wish: DubWish) -> None:
        self.wish = wish
        self.interrupted = 0
        self.ended = asyncio.Event()

    async def run(self) -> None:
        await self.ended.wait()

    async def close(self) -> None:
        self.ended.set()

    async def hear(self, chunk: AudioChunk) -> None:
        pass

    def interrupt(self) -> None:
        self.interrupted += 1

    def public(self) -> dict[str, Any]:
        return {"from": self.wish.source, "to": self.wish.target, "video": self.wish.video, "captions": []}

    def captions(self, text: str = "target") -> list[Caption]:
        return [Caption(0, 1000 * MS, f"the {text}", self.wish.target)]

    def wav(self) -> bytes:
        return b"RIFF"
