"""From encoded frames to the peer's two input queues, on the session's timeline.

Pictures are decoded in a codec thread, one after the other; sound on the loop.
Nothing here waits for a reader: both queues give up their oldest item.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import av

from stream.clock import Clock
from stream.errors import SessionClosed
from stream.frames import NS_PER_S, AudioChunk, VideoFrame
from stream.media.codec_device import CPU, Codecs
from stream.queues import BoundedQueue, Leaky
from stream.stages import StageMeter
from stream.transport.audio_codec import OPUS_LOOK_AHEAD_NS, RATE_HZ, AudioDecoder, Chunker
from stream.transport.codec_threads import CodecThreads
from stream.transport.conceal import Concealer
from stream.transport.jitter import EncodedFrame
from stream.transport.receiver import LiveReceiver
from stream.transport.timeline import Timeline
from stream.transport.video_codec import Codec, VideoDecoder

log = logging.getLogger(__name__)

# Encoded pictures that may wait for the decoder: a burst after a repaired hole. More than a second
# behind, it is faster to go on at a keyframe.
_ENCODED_HELD = 30
# A hole longer than this is silence from the sender, not loss.
_CONCEAL_AT_MOST_NS = NS_PER_S


@dataclass(slots=True)
class IngestCounts:
    """Counts since the start."""

    received: int = 0
    decoded: int = 0
    skipped: int = 0
    decode_errors: int = 0
    chunks: int = 0
    concealed_ns: int = 0


class VideoIngest:
    """Decodes pictures into a queue of two, newest wins (aiortc: an unbounded queue).

    Args:
        timeline: Gives each picture its session time.
        threads: Where to decode.
        clock: Stamps `arrival_ns`.
        codecs: Who decodes.
        keeps: See `VideoDecoder`.
    """

    def __init__(
        self,
        timeline: Timeline,
        threads: CodecThreads,
        clock: Clock,
        codecs: Codecs = CPU,
        *,
        keeps: Callable[[], bool] = lambda: False,
    ) -> None:
        self.queue: BoundedQueue[VideoFrame] = BoundedQueue(2, Leaky.DOWNSTREAM)
        self.counts = IngestCounts()
        self.meter, self.wait_meter = StageMeter(), StageMeter()
        self._timeline, self._threads, self._clock = timeline, threads, clock
        self._waiting: deque[tuple[str, EncodedFrame, int]] = deque()
        self._arrived = asyncio.Event()
        self._receiver: LiveReceiver | None = None
        self.decoder: VideoDecoder | None = None
        self._codecs, self._keeps = codecs, keeps
        self._decoder_codec = ""

    def attach(self, receiver: LiveReceiver) -> None:
        """Take this receiver's pictures."""
        self._receiver = receiver
        receiver.on_frame = self._take
        receiver.on_report = lambda ntp, timestamp: self._timeline.report("video", ntp, timestamp)

    def _take(self, codec: Any, frame: EncodedFrame) -> None:  # noqa: ANN401 - untyped aiortc
        self.counts.received += 1
        pts_ns = self._timeline.media("video", frame.rtp_timestamp, frame.arrival_ns)
        if len(self._waiting) >= _ENCODED_HELD and self._receiver is not None:
            self.counts.skipped += len(self._waiting) + 1
            self._waiting.clear()
            self._receiver.video.wants_keyframe = True
            return
        self._waiting.append((codec.name, frame, pts_ns))
        self._arrived.set()

    async def run(self) -> None:
        """Decode until cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                codec, frame, pts_ns = self._waiting.popleft()
                for picture in await self._decode(codec, frame, pts_ns):
                    self.counts.decoded += 1
                    try:
                        await self.queue.put(picture)
                    except SessionClosed:
                        return

    async def _decode(self, codec: str, frame: EncodedFrame, pts_ns: int) -> list[VideoFrame]:
        if self.decoder is None or codec != self._decoder_codec:
            name: Codec = "H264" if codec.upper() == "H264" else "VP8"
            self.decoder, self._decoder_codec = VideoDecoder(name, self._codecs, keeps=self._keeps), codec
        begun_ns = self._clock.now_ns()
        self.wait_meter.add(begun_ns - frame.arrival_ns)
        try:
            pictures = await self._threads.run(self.decoder.decode, frame.data, pts_ns)
        except (av.FFmpegError, ValueError) as error:
            # The decoder's state is kept: without it every picture up to the next keyframe would fail.
            self.meter.add(self._clock.now_ns() - begun_ns, failed=True)
            self.counts.decode_errors += 1
            log.debug("a picture cannot be decoded: %s", error)
            if self._receiver is not None:
                await self._receiver.ask_keyframe()
            return []
        now_ns = self._clock.now_ns()
        self.meter.add(now_ns - begun_ns)
        return [replace(picture, arrival_ns=now_ns) for picture in pictures]


class AudioIngest:
    """Decodes sound into chunks of 20 ms without holes.

    Args:
        timeline: Gives each packet its session time.
        clock: For the meter.
    """

    def __init__(self, timeline: Timeline, clock: Clock) -> None:
        # One second: a reader that is further behind would only make the sound late.
        self.queue: BoundedQueue[AudioChunk] = BoundedQueue(50, Leaky.DOWNSTREAM)
        self.counts = IngestCounts()
        self.meter = StageMeter()
        self._timeline, self._clock = timeline, clock
        self._decoder: AudioDecoder | None = None
        self._concealer = Concealer()
        self._chunker = Chunker()
        self._end_ns: int | None = None
        self._ready: deque[AudioChunk] = deque(maxlen=100)
        self._arrived = asyncio.Event()

    def attach(self, receiver: LiveReceiver) -> None:
        """Take this receiver's sound."""
        receiver.on_codec = self._set_codec
        receiver.on_frame = self._take
        receiver.on_report = lambda ntp, timestamp: self._timeline.report("audio", ntp, timestamp)

    def _set_codec(self, codec: Any) -> None:  # noqa: ANN401 - untyped aiortc
        self._decoder = AudioDecoder(codec.name)
        look_ahead_ns = OPUS_LOOK_AHEAD_NS if codec.name.lower() == "opus" else 0
        self._timeline.set_audio_codec(codec.clockRate, look_ahead_ns)

    def _take(self, codec: Any, frame: EncodedFrame) -> None:  # noqa: ANN401, ARG002 - the sink's signature
        # No data would tell the decoder that the stream has ended.
        if self._decoder is None or not frame.data:
            return
        begun_ns = self._clock.now_ns()
        try:
            samples = self._decoder.decode(frame.data)
        except (av.FFmpegError, ValueError) as error:
            # Its place on the timeline is filled when the next packet shows the hole.
            self.meter.add(self._clock.now_ns() - begun_ns, failed=True)
            self.counts.decode_errors += 1
            log.debug("a packet of sound cannot be decoded: %s", error)
            return
        if not len(samples):
            return
        duration_ns = len(samples) * NS_PER_S // RATE_HZ
        pts_ns = self._timeline.media("audio", frame.rtp_timestamp, frame.arrival_ns, duration_ns)
        self._fill(pts_ns)
        self._push(pts_ns, self._concealer.heard(samples))
        self.meter.add(self._clock.now_ns() - begun_ns)

    def _fill(self, pts_ns: int) -> None:
        """Make up what is missing before `pts_ns`."""
        if self._end_ns is None:
            return
        hole_ns = pts_ns - self._end_ns
        count = round(hole_ns * RATE_HZ / NS_PER_S)
        if 0 < hole_ns <= _CONCEAL_AT_MOST_NS and count:
            self.counts.concealed_ns += hole_ns
            self._push(self._end_ns, self._concealer.conceal(count))

    def _push(self, pts_ns: int, samples: Any) -> None:  # noqa: ANN401 - float32 [n]
        self._end_ns = pts_ns + len(samples) * NS_PER_S // RATE_HZ
        for chunk in self._chunker.push(pts_ns, samples):
            self.counts.chunks += 1
            self._ready.append(chunk)
            self._arrived.set()

    async def run(self) -> None:
        """Hand chunks to the queue until cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._ready:
                try:
                    await self.queue.put(self._ready.popleft())
                except SessionClosed:
                    return
