"""One WebRTC peer: two input queues, two ways to send, one timeline.

A peer starts its own tasks, because they live exactly as long as its
connection, and joins them all in `close`.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from aiortc import RTCSessionDescription
from aiortc.codecs import get_capabilities
from aiortc.exceptions import InternalError, InvalidAccessError, InvalidStateError, OperationError

from stream.clock import Clock, MonotonicClock
from stream.errors import SessionClosed
from stream.frames import NS_PER_MS, AudioChunk, VideoFrame
from stream.media.codec_device import CPU, Codecs
from stream.queues import BoundedQueue
from stream.transport.audio_codec import CHUNK_SAMPLES, RATE_HZ
from stream.transport.codec_threads import CodecThreads
from stream.transport.config import PeerConfig, PeerStats, Spread
from stream.transport.connection import Kind, LiveConnection
from stream.transport.egress import AudioEgress, Pace, VideoEgress
from stream.transport.ingest import AudioIngest, VideoIngest
from stream.transport.receiver import LiveReceiver
from stream.transport.sdp import (
    OfferError,
    ask_for_bitrate,
    check_offer,
    is_hidden,
    parse_candidates,
    take_out_hidden,
)
from stream.transport.timeline import Timeline

__all__ = ["OfferError", "Peer", "PeerConfig", "PeerStats", "Spread"]

log = logging.getLogger(__name__)

# What a browser should send at once, enough for a clean 1280x720, and what it should not go below
# on a false alarm, so that it keeps that size.
_ASK_START_BPS = 2_500_000
_ASK_MIN_BPS = 1_000_000
_CLOSE_WITHIN_S = 2.5
# What aiortc raises for SDP that passes our checks and is bad all the same.
_SDP_FAULTS = (
    AssertionError,
    AttributeError,
    IndexError,
    InternalError,
    InvalidAccessError,
    InvalidStateError,
    KeyError,
    OperationError,
    RuntimeError,  # what a coroutine makes of StopIteration
    TypeError,
    ValueError,
)


class Peer:
    """One connection to a browser or another WebRTC client.

    Args:
        config: Settings.
        clock: The session's clock.
        codecs: Who decodes and encodes pictures.

    Attributes:
        video_in: Decoded pictures, at most two: the newest win.
        audio_in: Decoded sound, 48 kHz mono in chunks of 20 ms without holes, at most one second.
        closed: Set when the connection is gone, whoever ended it, and nothing runs any more.
    """

    def __init__(self, config: PeerConfig | None = None, clock: Clock | None = None, *, codecs: Codecs = CPU) -> None:
        self.config = config or PeerConfig()
        self.clock: Clock = clock or MonotonicClock()
        self.closed = asyncio.Event()
        self._timeline = Timeline()
        self._threads = CodecThreads()
        self._pace = Pace(self.clock, lambda: self._timeline.epoch_ns)
        self._audio = AudioIngest(self._timeline, self.clock)
        self._video_out = video_out = VideoEgress(self._pace, self._threads, self.config, codecs)
        self._video = VideoIngest(
            self._timeline, self._threads, self.clock, codecs, keeps=lambda: video_out.takes_from_card
        )
        self._audio_out = AudioEgress(self._pace)
        self._receivers: dict[Kind, LiveReceiver] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing: asyncio.Task[None] | None = None
        self._connected = asyncio.Event()
        self._connection = self._new_connection()

    def _new_connection(self) -> LiveConnection:
        connection = LiveConnection(
            self.clock,
            ice_servers=self.config.ice_servers,
            include_loopback=self.config.include_loopback,
            silence_timeout_s=self.config.silence_timeout_s,
            on_parts=self._attach,
        )
        connection.on("connectionstatechange", self._state_changed)
        return connection

    @property
    def video_in(self) -> BoundedQueue[VideoFrame]:
        """Decoded pictures; the newest win."""
        return self._video.queue

    @property
    def audio_in(self) -> BoundedQueue[AudioChunk]:
        """Decoded sound."""
        return self._audio.queue

    @property
    def epoch_ns(self) -> int | None:
        """Clock time of media time zero as the slower track arrives; None before the first media."""
        return self._timeline.epoch_ns

    @property
    def delay_ns(self) -> int:
        """From `epoch_ns + pts_ns` to leaving; 0 means at once, unpaced."""
        return self._pace.delay_ns

    @delay_ns.setter
    def delay_ns(self, delay_ns: int) -> None:
        if delay_ns < 0:
            raise ValueError(f"delay_ns is {delay_ns}, it must be 0 or more")
        self._pace.delay_ns = delay_ns

    async def answer(self, offer_sdp: str) -> str:
        """Answer an offer; media flow as soon as ICE and DTLS are through.

        Raises:
            OfferError: The offer cannot be answered. The peer is closed.
        """
        try:
            kinds = check_offer(offer_sdp)
            open_offer, hidden = take_out_hidden(offer_sdp)
            sdp = await self._negotiate(open_offer, kinds)
            await self.add_candidates(hidden)
        except OfferError:
            await self.close()
            raise
        self._start(self._close_unless_connected())
        return sdp

    async def _negotiate(self, offer_sdp: str, kinds: list[str]) -> str:
        connection = self._connection
        try:
            for kind in ("video", "audio"):
                if kind in kinds:
                    self._prepare(connection.addTransceiver(kind, direction="sendrecv"), kind)
            await connection.setRemoteDescription(RTCSessionDescription(sdp=offer_sdp, type="offer"))
            await connection.setLocalDescription(await connection.createAnswer())
        except _SDP_FAULTS as error:
            reason = str(error) or type(error).__name__
            raise OfferError(
                f"the offer cannot be answered: {reason}. Send the SDP of createOffer() unchanged"
            ) from error
        return ask_for_bitrate(
            connection.localDescription.sdp,
            self.config.start_bitrate_bps or _ASK_START_BPS,
            min(_ASK_MIN_BPS, self.config.max_bitrate_bps),
        )

    def _prepare(self, transceiver: Any, kind: str) -> None:  # noqa: ANN401 - untyped aiortc
        """Put the codec we prefer first; the first one that both sides know is used both ways."""
        if kind != "video":
            return
        first = {"auto": "video/h264", "h264": "video/h264", "vp8": "video/vp8"}[self.config.video_codec]
        codecs = get_capabilities("video").codecs
        transceiver.setCodecPreferences(sorted(codecs, key=lambda codec: codec.mimeType.lower() != first))

    async def add_candidates(self, fragment: str) -> None:
        """Take trickled candidates, as a sdpfrag or as bare candidate lines.

        Raises:
            OfferError: A candidate is malformed.
        """
        candidates, complete = parse_candidates(fragment)
        hidden = [candidate for candidate in candidates if is_hidden(candidate.ip)]
        for candidate in candidates:
            if candidate not in hidden:
                await self._connection.addIceCandidate(candidate)
        for candidate in hidden:
            self._start(self._find_hidden(candidate))
        # After the end nothing could be added any more.
        if complete and not hidden:
            await self._connection.addIceCandidate(None)

    async def _find_hidden(self, candidate: Any) -> None:  # noqa: ANN401 - untyped aiortc
        try:
            await self._connection.addIceCandidate(candidate)
        except (OSError, ValueError) as error:
            log.info("the address behind %s cannot be asked for: %s", candidate.ip, error)

    async def send_video(self, frame: VideoFrame) -> None:
        """Queue a picture for `epoch_ns + pts_ns + delay_ns`; after the end it is silently lost."""
        await _put(self._video_out.queue, frame)

    async def send_audio(self, chunk: AudioChunk) -> None:
        """Queue 20 ms of sound for `epoch_ns + pts_ns + delay_ns`; after the end it is silently lost.

        Raises:
            ValueError: It is not 960 samples at 48 kHz.
        """
        if chunk.sample_rate_hz != RATE_HZ or len(chunk.samples) != CHUNK_SAMPLES:
            raise ValueError(
                f"the chunk has {len(chunk.samples)} samples at {chunk.sample_rate_hz} Hz, "
                f"it must have {CHUNK_SAMPLES} at {RATE_HZ} Hz"
            )
        await _put(self._audio_out.queue, chunk)

    async def close(self) -> None:
        """Hang up; returns within 3 s, when no task and no thread of this peer is left."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        for queue in (self.video_in, self.audio_in):
            await queue.close()
        try:
            await asyncio.wait_for(self._connection.close(), _CLOSE_WITHIN_S)
        except (TimeoutError, ConnectionError, AttributeError) as error:
            # AttributeError: aiortc was left half negotiated by an offer that it choked on.
            log.warning("the connection did not close cleanly: %s", type(error).__name__)
        await self._video_out.queue.close()
        await self._audio_out.queue.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._threads.close()
        self.closed.set()

    def _attach(self, kind: Kind, receiver: LiveReceiver, sender: Any) -> None:  # noqa: ANN401 - untyped aiortc
        """Use the first track of each kind; any further ones are received by nobody."""
        if kind in self._receivers:
            return
        self._receivers[kind] = receiver
        receiver.round_trip_ns = lambda: sender.round_trip_ns
        if kind == "video":
            receiver.seed_rate(
                _ASK_START_BPS, min(_ASK_MIN_BPS, self.config.max_bitrate_bps), self.config.max_bitrate_bps
            )
            self._video.attach(receiver)
            self._video_out.attach(sender)
            self._start(self._video.run())
            self._start(self._video_out.run())
        else:
            self._audio.attach(receiver)
            self._audio_out.attach(sender)
            self._start(self._audio.run())
            self._start(self._audio_out.run())

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a task of this peer failed, hanging up", exc_info=task.exception())
            self._hang_up()

    def _state_changed(self) -> None:
        state = self._connection.connectionState
        if state == "connected":
            self._connected.set()
        elif state in ("failed", "closed"):
            self._hang_up()

    def _hang_up(self) -> None:
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())

    async def _close_unless_connected(self) -> None:
        try:
            await asyncio.wait_for(self._connected.wait(), self.config.connect_timeout_s)
        except TimeoutError:
            log.info("no connection within %g s, hanging up", self.config.connect_timeout_s)
            self._hang_up()

    def stats(self) -> PeerStats:
        """Counts and figures so far."""
        video, audio = self._receivers.get("video"), self._receivers.get("audio")
        encoder, video_out = self._video_out.encoder, self._video_out
        decoder = self._video.decoder
        sender = self._video_out._sender
        return PeerStats(
            connection="closed" if self.closed.is_set() else self._connection.connectionState,
            video_codec=encoder.codec if encoder else "",
            decoder=decoder.name if decoder else "",
            encoder=encoder.name if encoder else "",
            codec_fallbacks=(decoder.fallbacks if decoder else 0) + (encoder.fallbacks if encoder else 0),
            from_card=encoder.from_card if encoder else 0,
            received=self._video.counts.received,
            decoded=self._video.counts.decoded,
            dropped=self._video.counts.skipped + self.video_in.stats.dropped,
            sent=video_out.sent,
            late=video_out.late,
            replaced=video_out.replaced + video_out.queue.stats.dropped,
            chunks_received=self._audio.counts.chunks,
            chunks_sent=self._audio_out.sent,
            concealed_ms=self._audio.counts.concealed_ns / NS_PER_MS,
            packets_lost={"video": video.losses.lost if video else 0, "audio": audio.audio.lost if audio else 0},
            packets_repaired=video.losses.repaired if video else 0,
            nacks_sent=video.nacks_sent if video else 0,
            keyframes_asked=video.keyframes_asked if video else 0,
            keyframes_sent=encoder.keyframes if encoder else 0,
            jitter_depth={"video": video.video.depth if video else 0, "audio": audio.audio.depth if audio else 0},
            aligned_by=self._timeline.aligned_by,
            lateness={kind: meter.spread() for kind, meter in self._pace.lateness.items()},
            av_offset=self._pace.av_offset.spread(),
            bitrate_bps=encoder.bitrate_bps if encoder else 0,
            round_trip_ms=sender.round_trip_ns / NS_PER_MS if sender else 0.0,
            stages={
                "decode_wait": self._video.wait_meter.figures(),
                "decode": self._video.meter.figures(),
                "encode": video_out.meter.figures(),
                "send": video_out.send_meter.figures(),
                "audio_decode": self._audio.meter.figures(),
                "audio_encode": self._audio_out.meter.figures(),
            },
        )


async def _put(queue: BoundedQueue[Any], item: Any) -> None:  # noqa: ANN401 - either queue
    try:
        await queue.put(item)
    except SessionClosed:
        return
