"""Receives one RTP stream: repair, order, reports. Takes the place of aiortc's `RTCRtpReceiver`.

aiortc's receiver hides its jitter buffer, its decoder thread and its two
unbounded queues behind private names. This one has the methods that
`RTCPeerConnection` and `RTCDtlsTransport` call, and hands whole encoded
frames to a callback on the loop; it holds nothing else.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any, Literal

from aiortc.codecs import depayload, is_rtx
from aiortc.rate import AimdRateControl, RemoteBitrateEstimator
from aiortc.rtcrtpparameters import RTCRtpCodecParameters, RTCRtpReceiveParameters
from aiortc.rtcrtpreceiver import StreamStatistics
from aiortc.rtp import (
    RTCP_PSFB_APP,
    RTCP_PSFB_PLI,
    RTCP_RTPFB_NACK,
    RtcpByePacket,
    RtcpPsfbPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    RtcpSrPacket,
    RtpPacket,
    pack_remb_fci,
    unwrap_rtx,
)
from aiortc.stats import RTCStatsReport

from stream.clock import Clock
from stream.frames import NS_PER_MS
from stream.transport.jitter import AudioJitterBuffer, EncodedFrame, VideoJitterBuffer
from stream.transport.keyframes import starts_keyframe
from stream.transport.nack import LossTracker

# A keyframe takes a round trip and an encode: asking more often only makes more of them.
_KEYFRAME_RETRY_NS = 300 * NS_PER_MS

# A stream and its repair; a few more after the sender restarted.
_SOURCES_AT_MOST = 16

FrameSink = Callable[[RTCRtpCodecParameters, EncodedFrame], None]
ReportSink = Callable[[int, int], None]


class SeededRate(AimdRateControl):  # type: ignore[misc] # aiortc is not typed for us
    """Starts at the rate asked for and is not tied to what the sender happens to send.

    Answers aiortc's slow start: three seconds without an estimate, then 1.5
    times the throughput at most, which keeps a sender small that began small.
    """

    def __init__(self, start_bps: int, min_bps: int, max_bps: int) -> None:
        super().__init__()
        self._min_bps, self._max_bps = min_bps, max_bps
        self.current_bitrate = start_bps
        self.current_bitrate_initialized = True

    def _clamp_bitrate(self, new_bitrate: int, estimated_throughput: int) -> int:  # noqa: ARG002 - aiortc's signature
        return max(self._min_bps, min(new_bitrate, self._max_bps))


class LiveReceiver:
    """One incoming RTP stream.

    Args:
        kind: "audio" or "video".
        transport: aiortc's DTLS transport.
        clock: Tells arrival times.
    """

    def __init__(self, kind: Literal["audio", "video"], transport: Any, clock: Clock) -> None:  # noqa: ANN401 - untyped aiortc
        self.kind = kind
        self.transport = transport
        self.on_frame: FrameSink | None = None
        self.on_report: ReportSink | None = None
        self.on_codec: Callable[[RTCRtpCodecParameters], None] | None = None
        self.round_trip_ns: Callable[[], int] = lambda: 0
        self.losses = LossTracker()
        self.video = VideoJitterBuffer(self._starts_keyframe)
        self.audio = AudioJitterBuffer()
        self.nacks_sent = 0
        self.keyframes_asked = 0
        self.ended = asyncio.Event()
        self._clock = clock
        self._track: Any = None
        self._enabled = True
        self._codecs: dict[int, RTCRtpCodecParameters] = {}
        self._codec: RTCRtpCodecParameters | None = None
        self._rtx_ssrc: dict[int, int] = {}
        self._rtcp_ssrc: int | None = None
        self._streams: dict[int, StreamStatistics] = {}
        self._last_report: dict[int, tuple[int, int]] = {}
        self._asked_keyframe_ns: int | None = None
        self._estimator: RemoteBitrateEstimator | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def track(self) -> Any:  # noqa: ANN401 - untyped aiortc
        """The track that aiortc announces; nothing is ever read from it."""
        return self._track

    def seed_rate(self, start_bps: int, min_bps: int, max_bps: int) -> None:
        """Let the sender begin at `start_bps`; without it no rate is fed back."""
        self._estimator = RemoteBitrateEstimator()
        self._estimator.rate_control = SeededRate(start_bps, min_bps, max_bps)

    async def receive(self, parameters: RTCRtpReceiveParameters) -> None:
        """Begin (aiortc calls this once the transport is up)."""
        if self._task is not None:
            return
        self._codecs = {codec.payloadType: codec for codec in parameters.codecs}
        self._rtx_ssrc = {e.rtx.ssrc: e.ssrc for e in parameters.encodings if e.rtx}
        self.transport._register_rtp_receiver(self, parameters)
        self._task = asyncio.ensure_future(self._report())

    async def stop(self) -> None:
        """End for good; returns when nothing runs any more."""
        self.ended.set()
        if self._task is None:
            return
        self.transport._unregister_rtp_receiver(self)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def setTransport(self, transport: Any) -> None:  # noqa: ANN401, N802 - aiortc's name
        """Move to the bundled transport."""
        self.transport = transport

    async def getStats(self) -> RTCStatsReport:  # noqa: N802 - aiortc's name
        """Nothing in aiortc's form; see `PeerStats`."""
        return RTCStatsReport()

    def _set_rtcp_ssrc(self, ssrc: int) -> None:
        self._rtcp_ssrc = ssrc

    def _handle_disconnect(self) -> None:
        self.ended.set()

    async def _handle_rtcp_packet(self, packet: Any) -> None:  # noqa: ANN401 - untyped aiortc
        if isinstance(packet, RtcpSrPacket):
            sent = packet.sender_info
            self._last_report[packet.ssrc] = ((sent.ntp_timestamp >> 16) & 0xFFFFFFFF, self._clock.now_ns())
            if self.on_report is not None:
                self.on_report(sent.ntp_timestamp, sent.rtp_timestamp)
        elif isinstance(packet, RtcpByePacket):
            self.ended.set()

    async def _handle_rtp_packet(self, packet: RtpPacket, arrival_time_ms: int) -> None:
        codec = self._codecs.get(packet.payload_type)
        if codec is None or not self._enabled or self.on_frame is None:
            return
        await self._estimate_rate(packet, arrival_time_ms)
        if packet.ssrc not in self._streams:
            if len(self._streams) >= _SOURCES_AT_MOST:
                return
            self._streams[packet.ssrc] = StreamStatistics(codec.clockRate)
        self._streams[packet.ssrc].add(packet)
        if is_rtx(codec):
            unwrapped = self._unwrap_rtx(packet, codec)
            if unwrapped is None:
                return
            packet, codec = unwrapped
        if codec is not self._codec:
            self._codec = codec
            if self.on_codec is not None:
                self.on_codec(codec)
        try:
            packet._data = depayload(codec, packet.payload) if packet.payload else b""
        except ValueError:
            return
        if self.kind == "audio":
            frames = self.audio.add(packet, self._clock.now_ns())
        else:
            frames = await self._video_packet(packet)
        for frame in frames:
            self.on_frame(codec, frame)

    async def _video_packet(self, packet: RtpPacket) -> list[EncodedFrame]:
        """Put a packet in its place, ask for missing ones, give up old holes."""
        now_ns = self._clock.now_ns()
        sequence = self.video.unwrap(packet.sequence_number)
        self.losses.add(sequence, now_ns)
        frames = self.video.add(sequence, packet, now_ns)
        if self.video.next_sequence is not None:
            self.losses.forget_before(self.video.next_sequence)
        if self.losses.is_hopeless(now_ns):
            frames += self.video.give_up()
            self.losses.forget_before(sequence)
        if self.video.wants_keyframe:
            await self.ask_keyframe()
        missing = self.losses.due(now_ns, self.round_trip_ns())
        if missing:
            await self._ask_again(packet.ssrc, missing)
        return frames

    def _starts_keyframe(self, packet: Any) -> bool:  # noqa: ANN401 - untyped aiortc
        return self._codec is not None and starts_keyframe(self._codec.name, packet.payload)

    def _unwrap_rtx(self, packet: RtpPacket, codec: Any) -> tuple[RtpPacket, Any] | None:  # noqa: ANN401 - untyped aiortc
        """The repaired packet inside a retransmission; None for padding and for strangers."""
        ssrc, payload_type = self._rtx_ssrc.get(packet.ssrc), codec.parameters.get("apt")
        if ssrc is None or len(packet.payload) < 2 or payload_type not in self._codecs:
            return None
        return unwrap_rtx(packet, payload_type=payload_type, ssrc=ssrc), self._codecs[payload_type]

    async def _estimate_rate(self, packet: RtpPacket, arrival_time_ms: int) -> None:
        if self._estimator is None or packet.extensions.abs_send_time is None or self._rtcp_ssrc is None:
            return
        estimate = self._estimator.add(
            abs_send_time=packet.extensions.abs_send_time,
            arrival_time_ms=arrival_time_ms,
            payload_size=len(packet.payload) + packet.padding_size,
            ssrc=packet.ssrc,
        )
        if estimate is not None:
            fci = pack_remb_fci(*estimate)
            await self._send(RtcpPsfbPacket(fmt=RTCP_PSFB_APP, ssrc=self._rtcp_ssrc, media_ssrc=0, fci=fci))

    async def ask_keyframe(self) -> None:
        """Send a picture loss indication, unless one is on its way."""
        now_ns = self._clock.now_ns()
        if self._asked_keyframe_ns is not None and now_ns - self._asked_keyframe_ns < _KEYFRAME_RETRY_NS:
            return
        media = next((s for s in self._streams if s not in self._rtx_ssrc), None)
        if self._rtcp_ssrc is None or media is None:
            return
        self._asked_keyframe_ns = now_ns
        self.keyframes_asked += 1
        await self._send(RtcpPsfbPacket(fmt=RTCP_PSFB_PLI, ssrc=self._rtcp_ssrc, media_ssrc=media))

    async def _ask_again(self, media_ssrc: int, missing: list[int]) -> None:
        if self._rtcp_ssrc is None:
            return
        self.nacks_sent += 1
        lost = [sequence & 0xFFFF for sequence in missing]
        await self._send(RtcpRtpfbPacket(fmt=RTCP_RTPFB_NACK, ssrc=self._rtcp_ssrc, media_ssrc=media_ssrc, lost=lost))

    async def _report(self) -> None:
        """Send a receiver report about once a second (RFC 3550, 6.2)."""
        while True:
            await asyncio.sleep(0.5 + random.random())
            reports = [self._reception(ssrc, stream) for ssrc, stream in self._streams.items()]
            if self._rtcp_ssrc is not None and reports:
                await self._send(RtcpRrPacket(ssrc=self._rtcp_ssrc, reports=reports))

    def _reception(self, ssrc: int, stream: StreamStatistics) -> RtcpReceiverInfo:
        lsr, dlsr = 0, 0
        if ssrc in self._last_report:
            lsr, at_ns = self._last_report[ssrc]
            dlsr = min(0xFFFFFFFF, ((self._clock.now_ns() - at_ns) << 16) // 1_000_000_000)
        return RtcpReceiverInfo(
            ssrc=ssrc,
            fraction_lost=stream.fraction_lost,
            packets_lost=stream.packets_lost,
            highest_sequence=stream.max_seq,
            jitter=stream.jitter,
            lsr=lsr,
            dlsr=dlsr,
        )

    async def _send(self, packet: Any) -> None:  # noqa: ANN401 - untyped aiortc
        try:
            await self.transport._send_rtp(bytes(packet))
        except ConnectionError:
            self.ended.set()
