"""The way out of a session: one delay for both tracks, and an account of every deadline.

A longer delay holds from the next item on; a shorter one is reached step by
step, so that neither a picture nor a sound already on its way comes too late.
"""

import asyncio
from typing import Protocol

from stream.clock import Clock
from stream.config import SessionConfig
from stream.frames import NS_PER_MS, NS_PER_S, AudioChunk, VideoFrame
from stream.queues import BoundedQueue
from stream.stages import StageMeter
from stream.transport.config import PeerStats

# The latest pictures that the latency figures cover: 10 s at 25 a second.
_LATENCIES = 250


class PeerLike(Protocol):
    """What a session needs of a peer; `stream.transport.peer.Peer` is one."""

    closed: asyncio.Event
    delay_ns: int

    @property
    def video_in(self) -> BoundedQueue[VideoFrame]:
        """Decoded pictures; the newest win."""
        ...

    @property
    def audio_in(self) -> BoundedQueue[AudioChunk]:
        """Decoded sound, 48 kHz mono."""
        ...

    @property
    def epoch_ns(self) -> int | None:
        """Clock time of media time zero; None before the first media."""
        ...

    async def send_video(self, frame: VideoFrame) -> None:
        """Queue a picture for `epoch_ns + pts_ns + delay_ns`."""
        ...

    async def send_audio(self, chunk: AudioChunk) -> None:
        """Queue sound for `epoch_ns + pts_ns + delay_ns`."""
        ...

    async def close(self) -> None:
        """Hang up."""
        ...

    def stats(self) -> PeerStats:
        """What came, what left, and when."""
        ...


class Playout:
    """Hands pictures and sound to the peer, in order, under one delay.

    Args:
        peer: Where they leave.
        config: Tolerance and the rate at which the delay shrinks.
        clock: The peer's clock.
    """

    def __init__(self, peer: PeerLike, config: SessionConfig, clock: Clock) -> None:
        self._peer = peer
        self._clock = clock
        self._tolerance_ns = round(config.late_tolerance_ms * NS_PER_MS)
        self._catch_up_ns_per_s = round(config.catch_up_ms_per_s * NS_PER_MS)
        self._aim_ns = peer.delay_ns
        self._moved_ns = clock.now_ns()
        self.sound_end_ns: int | None = None
        self.latency = StageMeter(_LATENCIES)
        self.sent = 0
        self.late = 0

    def aim(self, delay_ns: int) -> None:
        """Take up a longer delay at once, begin to approach a shorter one."""
        self._aim_ns = delay_ns
        self._moved_ns = self._clock.now_ns()
        self._peer.delay_ns = max(self._peer.delay_ns, delay_ns)

    async def picture(self, frame: VideoFrame) -> None:
        """Send a picture and account for its deadline and for its time inside the engine."""
        self._approach()
        now_ns = self._clock.now_ns()
        self.latency.add(now_ns - frame.arrival_ns)
        self.sent += 1
        self.late += now_ns > self._due_ns(frame) + self._tolerance_ns
        await self._peer.send_video(frame)

    def has_time(self, frame: VideoFrame, needed_ns: int) -> bool:
        """Whether `needed_ns` of work would have the picture ready in time; without a delay nothing ever is."""
        deadline_ns = self.deadline_ns(frame)
        return deadline_ns is None or self._clock.now_ns() + needed_ns <= deadline_ns

    def deadline_ns(self, frame: VideoFrame) -> int | None:
        """Clock time by which the picture must be ready; None without a delay, when nothing is ever in time."""
        return self._due_ns(frame) if self._peer.delay_ns else None

    def _due_ns(self, frame: VideoFrame) -> int:
        """When the picture is due; one that the network brought after that is due at once."""
        due_ns = (self._peer.epoch_ns or 0) + frame.pts_ns + self._peer.delay_ns
        return max(due_ns, frame.arrival_ns)

    async def sound(self, chunk: AudioChunk) -> None:
        """Send a chunk; one that begins before the last one ended is left out."""
        if self.sound_end_ns is not None and chunk.pts_ns < self.sound_end_ns - NS_PER_MS:
            return
        self._approach()
        self.sound_end_ns = chunk.end_ns
        await self._peer.send_audio(chunk)

    def _approach(self) -> None:
        """Shorten the delay by what the time since the last step allows."""
        now_ns = self._clock.now_ns()
        step_ns = self._catch_up_ns_per_s * min(now_ns - self._moved_ns, NS_PER_S // 10) // NS_PER_S
        self._moved_ns = now_ns
        self._peer.delay_ns = max(self._aim_ns, self._peer.delay_ns - step_ns)
