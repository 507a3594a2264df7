"""The one way out: both tracks leave at `epoch_ns + pts_ns + delay_ns`, on one clock.

RTP timestamps are the pts in ticks, never renumbered, and both tracks' sender
reports tell the same mapping from pts to time, so that the viewer aligns
them by when they were captured, not by when they were sent.
"""

import random
from collections.abc import Callable

import numpy as np
from aiortc import clock as ntp_clock

from stream.clock import Clock
from stream.errors import SessionClosed
from stream.frames import NS_PER_MS, NS_PER_S, AudioChunk, VideoFrame
from stream.media.codec_device import CPU, Codecs
from stream.queues import BoundedQueue, Leaky
from stream.stages import Recent, StageMeter
from stream.transport.audio_codec import (
    CHUNK_NS,
    CHUNK_SAMPLES,
    OPUS_LOOK_AHEAD_SAMPLES,
    RATE_HZ,
    OpusEncoder,
    level_dbov,
)
from stream.transport.codec_threads import CodecThreads
from stream.transport.config import PeerConfig, Spread
from stream.transport.sender import LiveSender
from stream.transport.video_codec import Codec, VideoEncoder

VIDEO_HZ = 90_000
# Encoding begins this long before a picture is due, so that it leaves on time: the slowest p95 of
# 1280x720 on one core is 10 ms.
_ENCODE_LEAD_NS = 15 * NS_PER_MS
# How far beyond the delay an item may be ahead of its time.
_AHEAD_AT_MOST_NS = NS_PER_S
# Sound made before the viewer was there: more than this of it is stale.
_CHUNKS_BEFORE_START = 2
# Unpaced sound leaves no closer than this to the last chunk: what a loss has made late stays evenly spaced, so that a
# viewer's buffer does not grow for its sake. 0.1 ms less than a chunk lasts: 5 ms a second are won back.
_SPACING_NS = CHUNK_NS - NS_PER_MS // 10
# 5 s of sound: more than the largest delay that can be set.
_CHUNKS_HELD = 256


class SpreadMeter:
    """Percentiles of a signed quantity over its last samples."""

    def __init__(self, window: int = 1500) -> None:
        self._values_ns = Recent(window)

    def add(self, value_ns: int) -> None:
        """Record one sample."""
        self._values_ns.add(value_ns)

    def spread(self) -> Spread:
        """Figures of the window; zeros before the first sample."""
        ns = [self._values_ns.last, *self._values_ns.percentiles(50, 95, 99)]
        return Spread(self._values_ns.count, *(value / NS_PER_MS for value in ns))


class Pace:
    """When an item is due, and how the session's time maps to the wall's.

    Args:
        clock: The session's clock.
        epoch_ns: Clock time of session zero; None before the first media came.
    """

    def __init__(self, clock: Clock, epoch_ns: Callable[[], int | None]) -> None:
        self.clock = clock
        self.delay_ns = 0
        self.lateness = {"audio": SpreadMeter(), "video": SpreadMeter()}
        self.av_offset = SpreadMeter()
        self._epoch_of_peer = epoch_ns
        self._own_epoch_ns: int | None = None
        self._audio_late_ns: int | None = None
        # Wall time is read once: if it is set during the call, the reports do not jump.
        self._ntp_zero = ntp_clock.current_ntp_time() - ((clock.now_ns() << 32) // NS_PER_S)

    def epoch_ns(self, pts_ns: int) -> int:
        """Clock time of session zero; a peer that sends nothing gets one that makes its first item due now."""
        epoch_ns = self._epoch_of_peer()
        if epoch_ns is not None:
            return epoch_ns
        if self._own_epoch_ns is None:
            self._own_epoch_ns = self.clock.now_ns() - pts_ns
        return self._own_epoch_ns

    def due_ns(self, pts_ns: int) -> int:
        """Clock time at which the item at `pts_ns` leaves."""
        return self.epoch_ns(pts_ns) + pts_ns + self.delay_ns

    async def wait(self, pts_ns: int, lead_ns: int = 0) -> None:
        """Return `lead_ns` before the item at `pts_ns` is due; pts that make no sense hold nothing up for ever."""
        latest_ns = self.clock.now_ns() + self.delay_ns + _AHEAD_AT_MOST_NS
        await self.clock.sleep_until(min(self.due_ns(pts_ns) - lead_ns, latest_ns))

    def left(self, kind: str, pts_ns: int) -> None:
        """Note that the item at `pts_ns` has left now."""
        late_ns = self.clock.now_ns() - self.due_ns(pts_ns)
        self.lateness[kind].add(late_ns)
        if kind == "audio":
            self._audio_late_ns = late_ns
        elif self._audio_late_ns is not None:
            self.av_offset.add(self._audio_late_ns - late_ns)

    def capture_pair(self, base: int, rate_hz: int) -> tuple[int, int]:
        """RTP timestamp and NTP time of now, by the capture clock that both tracks share."""
        now_ns = self.clock.now_ns()
        media_ns = now_ns - self.epoch_ns(0)
        return base + media_ns * rate_hz // NS_PER_S, self._ntp_zero + ((now_ns << 32) // NS_PER_S)


class VideoEgress:
    """Encodes and sends pictures.

    Args:
        pace: Shared with the sound.
        threads: Where to encode.
        config: Rates and tolerances.
        codecs: Who encodes.
    """

    def __init__(self, pace: Pace, threads: CodecThreads, config: PeerConfig, codecs: Codecs = CPU) -> None:
        self.queue: BoundedQueue[VideoFrame] = BoundedQueue(config.egress_frames, Leaky.DOWNSTREAM)
        self.meter, self.send_meter = StageMeter(), StageMeter()
        self.encoder: VideoEncoder | None = None
        self.sent = self.late = self.replaced = 0
        self._pace, self._threads, self._config, self._codecs = pace, threads, config, codecs
        self._base = random.getrandbits(32)
        self._sender: LiveSender | None = None

    @property
    def takes_from_card(self) -> bool:
        """Whether pictures that stay on the card are encoded there."""
        return self.encoder is not None and self.encoder.takes_from_card

    def attach(self, sender: LiveSender) -> None:
        """Send through this sender."""
        self._sender = sender
        sender.capture_pair = lambda: self._pace.capture_pair(self._base, VIDEO_HZ)
        sender.on_estimate = self._set_estimate

    def _set_estimate(self, bitrate_bps: int) -> None:
        if self.encoder is not None:
            self.encoder.set_estimate(bitrate_bps)

    async def run(self) -> None:
        """Send until the queue is closed or the connection is gone."""
        assert self._sender is not None
        await self._sender.ready.wait()
        assert self._sender.codec is not None
        codec: Codec = "H264" if self._sender.codec.name.upper() == "H264" else "VP8"
        self.encoder = VideoEncoder(
            codec,
            start_bitrate_bps=self._config.start_bitrate_bps,
            min_bitrate_bps=self._config.min_bitrate_bps,
            max_bitrate_bps=self._config.max_bitrate_bps,
            codecs=self._codecs,
        )
        try:
            while True:
                frame = await self._next()
                if frame is not None:
                    await self._send(self._sender, self.encoder, frame)
        except (SessionClosed, ConnectionError):
            return

    async def _next(self) -> VideoFrame | None:
        """The next picture when its time has come, None where it came too late."""
        clock, pace = self._pace.clock, self._pace
        frame = await self.queue.get()
        if not pace.delay_ns:
            # Unpaced: leave at once, the newest wins.
            while len(self.queue):
                self.replaced += 1
                frame = await self.queue.get()
            late_ns = clock.now_ns() - frame.arrival_ns if frame.arrival_ns else 0
        else:
            await pace.wait(frame.pts_ns, _ENCODE_LEAD_NS)
            late_ns = clock.now_ns() - pace.due_ns(frame.pts_ns)
        if late_ns > self._config.max_lateness_ms * NS_PER_MS:
            self.late += 1
            return None
        return frame

    async def _send(self, sender: LiveSender, encoder: VideoEncoder, frame: VideoFrame) -> None:
        clock = self._pace.clock
        keyframe, sender.keyframe_asked = sender.keyframe_asked, False
        begun_ns = clock.now_ns()
        encoded = await self._threads.run(encoder.encode, frame, begun_ns, keyframe=keyframe)
        self.meter.add(clock.now_ns() - begun_ns)
        if not encoded.payloads:
            return
        if self._pace.delay_ns:
            await self._pace.wait(frame.pts_ns)
        begun_ns = clock.now_ns()
        await sender.send_frame(encoded.payloads, self._base + frame.pts_ns * VIDEO_HZ // NS_PER_S)
        self.send_meter.add(clock.now_ns() - begun_ns)
        self.sent += 1
        self._pace.left("video", frame.pts_ns)


class AudioEgress:
    """Encodes and sends sound; it is never dropped for being late.

    Args:
        pace: Shared with the picture.
    """

    def __init__(self, pace: Pace) -> None:
        self.queue: BoundedQueue[AudioChunk] = BoundedQueue(_CHUNKS_HELD, Leaky.DOWNSTREAM)
        self.meter = StageMeter()
        self.sent = 0
        self._pace = pace
        self._base = random.getrandbits(32)
        self._encoder = OpusEncoder()
        self._leaves_ns = 0
        self._sender: LiveSender | None = None

    def attach(self, sender: LiveSender) -> None:
        """Send through this sender."""
        self._sender = sender
        # The viewer hears a sample `OPUS_LOOK_AHEAD_SAMPLES` after its packet's timestamp.
        sender.capture_pair = lambda: self._pace.capture_pair(self._base + OPUS_LOOK_AHEAD_SAMPLES, RATE_HZ)

    async def run(self) -> None:
        """Send until the queue is closed or the connection is gone."""
        assert self._sender is not None
        await self._sender.ready.wait()
        try:
            while len(self.queue) > _CHUNKS_BEFORE_START:
                await self.queue.get()
            while True:
                chunk = await self.queue.get()
                await self._send(self._sender, chunk)
        except (SessionClosed, ConnectionError):
            return

    async def _space(self) -> None:
        """Keep the distance to the last chunk; one behind which others wait already leaves at once."""
        now_ns = self._pace.clock.now_ns()
        self._leaves_ns = now_ns if len(self.queue) else max(now_ns, self._leaves_ns + _SPACING_NS)
        await self._pace.clock.sleep_until(self._leaves_ns)

    async def _send(self, sender: LiveSender, chunk: AudioChunk) -> None:
        clock = self._pace.clock
        samples = np.zeros(CHUNK_SAMPLES, np.float32)
        samples[: len(chunk.samples)] = chunk.samples[:CHUNK_SAMPLES]
        if self._pace.delay_ns:
            await self._pace.wait(chunk.pts_ns)
        else:
            await self._space()
        begun_ns = clock.now_ns()
        payload = self._encoder.encode(samples)
        self.meter.add(clock.now_ns() - begun_ns)
        timestamp = self._base + chunk.pts_ns * RATE_HZ // NS_PER_S
        await sender.send_frame([payload], timestamp, level_dbov(samples))
        self.sent += 1
        self._pace.left("audio", chunk.pts_ns)
