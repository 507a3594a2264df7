"""Sends one RTP stream: packets, repair, reports. Takes the place of aiortc's `RTCRtpSender`.

aiortc's sender pulls from a track, encodes in the loop's shared executor and
pairs RTP time with *send* time in its reports, which hides from the viewer by
how much one track's path is slower. This one is given encoded frames with
their RTP timestamps and pairs them with *capture* time.
"""

import asyncio
import random
import uuid
from collections.abc import Callable
from typing import Any, Literal

from aiortc.codecs import is_rtx
from aiortc.rtcrtpparameters import RTCRtpCodecParameters, RTCRtpSendParameters
from aiortc.rtp import (
    RTCP_PSFB_APP,
    RTCP_PSFB_FIR,
    RTCP_PSFB_PLI,
    RTCP_RTPFB_NACK,
    HeaderExtensionsMap,
    RtcpByePacket,
    RtcpPsfbPacket,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    RtcpSdesPacket,
    RtcpSenderInfo,
    RtcpSourceInfo,
    RtcpSrPacket,
    RtpPacket,
    unpack_remb_fci,
    wrap_rtx,
)
from aiortc.stats import RTCStatsReport
from aiortc.utils import random32

from stream.clock import Clock
from stream.frames import NS_PER_MS, NS_PER_S
from stream.transport.nack import RTP_HISTORY

# Packets of one frame that leave back to back; the rest follow 1 ms apart, within 5 ms in all, so
# that a keyframe does not overflow a small buffer on its way (aiortc sends all of them at once).
_BURST = 12
_SPREAD_NS = 5 * NS_PER_MS
# A viewer aligns both tracks from two reports of each. Chromium looks once a second and takes only the latest one, so
# that it must find another one each time: at first they come more often than that, later at RFC 3550's pace.
_REPORTS_SOON_S = (0.05, *[0.35] * 12)
_RTT_WEIGHT = 0.15

# RTP timestamp and 32.32 NTP time of the same instant.
CapturePair = Callable[[], tuple[int, int]]


class LiveSender:
    """One outgoing RTP stream.

    Args:
        kind: "audio" or "video".
        transport: aiortc's DTLS transport.
        clock: Tells send times.
    """

    def __init__(self, kind: Literal["audio", "video"], transport: Any, clock: Clock) -> None:  # noqa: ANN401 - untyped aiortc
        self.kind = kind
        self.transport = transport
        self.track: Any = None
        self.codec: RTCRtpCodecParameters | None = None
        self.ready = asyncio.Event()
        self.keyframe_asked = False
        self.on_estimate: Callable[[int], None] | None = None
        self.capture_pair: CapturePair | None = None
        self.round_trip_ns = 0
        self.packets_sent = 0
        self._ssrc, self._rtx_ssrc = random32(), random32()
        self._stream_id = self._track_id = str(uuid.uuid4())
        self._enabled = True
        self._clock = clock
        # In the lower half, so that SRTP does not see it wrap early (aiortc's `random_sequence_number`).
        self._sequence, self._rtx_sequence = random.randrange(1 << 15), random.randrange(1 << 15)
        self._extensions = HeaderExtensionsMap()
        self._history: dict[int, RtpPacket] = {}
        self._rtx_payload_type: int | None = None
        self._mid: str | None = None
        self._cname = ""
        self._octets_sent = 0
        self._reports: dict[int, int] = {}
        self._task: asyncio.Task[None] | None = None
        self._first_sent = asyncio.Event()

    async def send(self, parameters: RTCRtpSendParameters) -> None:
        """Begin (aiortc calls this once the transport is up)."""
        if self._task is not None:
            return
        self._cname, self._mid = parameters.rtcp.cname, parameters.muxId
        self.transport._register_rtp_sender(self, parameters)
        self._extensions.configure(parameters)
        self.codec = parameters.codecs[0]
        for codec in parameters.codecs:
            if is_rtx(codec) and codec.parameters["apt"] == self.codec.payloadType:
                self._rtx_payload_type = codec.payloadType
        self._task = asyncio.ensure_future(self._report())
        self.ready.set()

    async def stop(self) -> None:
        """Say goodbye and end for good."""
        if self._task is None:
            return
        self.transport._unregister_rtp_sender(self)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._send(bytes(RtcpByePacket(sources=[self._ssrc])))

    def replaceTrack(self, track: Any) -> None:  # noqa: ANN401, N802 - aiortc's name
        """Tracks are not used."""
        self.track = track

    def setTransport(self, transport: Any) -> None:  # noqa: ANN401, N802 - aiortc's name
        """Move to the bundled transport."""
        self.transport = transport

    async def getStats(self) -> RTCStatsReport:  # noqa: N802 - aiortc's name
        """Nothing in aiortc's form; see `PeerStats`."""
        return RTCStatsReport()

    async def send_frame(self, payloads: list[bytes], timestamp: int, audio_level: int | None = None) -> None:
        """Send one encoded frame.

        Args:
            payloads: RTP payloads, in order.
            timestamp: RTP timestamp, taken modulo 2**32.
            audio_level: Loudness in -dBov, 0 (loudest) to 127 (RFC 6464).

        Raises:
            ConnectionError: The transport is closed.
        """
        if not self._enabled or self.codec is None:
            return
        begun_ns = self._clock.now_ns()
        groups = max(1, -(-len(payloads) // _BURST))
        for index, payload in enumerate(payloads):
            if index and index % _BURST == 0:
                await self._clock.sleep_until(begun_ns + _SPREAD_NS * (index // _BURST) // groups)
            packet = self._packet(payload, timestamp, last=index == len(payloads) - 1)
            if audio_level is not None:
                packet.extensions.audio_level = (False, audio_level)
            self._history[packet.sequence_number % RTP_HISTORY] = packet
            await self.transport._send_rtp(packet.serialize(self._extensions))
            self.packets_sent += 1
            self._octets_sent += len(payload)
        self._first_sent.set()

    def _packet(self, payload: bytes, timestamp: int, *, last: bool) -> RtpPacket:
        assert self.codec is not None
        packet = RtpPacket(
            payload_type=self.codec.payloadType,
            marker=int(last),
            sequence_number=self._sequence,
            timestamp=timestamp & 0xFFFFFFFF,
            ssrc=self._ssrc,
            payload=payload,
        )
        self._sequence = (self._sequence + 1) & 0xFFFF
        # 24 bits of 6.18 fixed point seconds on any steady clock (abs-send-time).
        packet.extensions.abs_send_time = ((self._clock.now_ns() << 18) // NS_PER_S) & 0xFFFFFF
        packet.extensions.mid = self._mid
        return packet

    async def _handle_rtcp_packet(self, packet: Any) -> None:  # noqa: ANN401 - untyped aiortc
        if isinstance(packet, (RtcpRrPacket, RtcpSrPacket)):
            for report in packet.reports:
                self._take_reception(report)
        elif isinstance(packet, RtcpRtpfbPacket) and packet.fmt == RTCP_RTPFB_NACK:
            for sequence in packet.lost:
                await self._retransmit(sequence)
        elif isinstance(packet, RtcpPsfbPacket) and packet.fmt in (RTCP_PSFB_FIR, RTCP_PSFB_PLI):
            self.keyframe_asked = True
        elif isinstance(packet, RtcpPsfbPacket) and packet.fmt == RTCP_PSFB_APP:
            self._take_estimate(packet.fci)

    def _take_estimate(self, fci: bytes) -> None:
        try:
            bitrate_bps, ssrcs = unpack_remb_fci(fci)
        except ValueError:
            return
        if self._ssrc in ssrcs and self.on_estimate is not None:
            self.on_estimate(bitrate_bps)

    def _take_reception(self, report: Any) -> None:  # noqa: ANN401 - untyped aiortc
        """Measure the round trip from the echo of one of our reports (RFC 3550, 6.4.1)."""
        if report.ssrc != self._ssrc or report.lsr not in self._reports:
            return
        held_ns = (report.dlsr * NS_PER_S) >> 16
        round_trip_ns = max(0, self._clock.now_ns() - self._reports[report.lsr] - held_ns)
        weight = _RTT_WEIGHT if self.round_trip_ns else 1.0
        self.round_trip_ns += int(weight * (round_trip_ns - self.round_trip_ns))

    async def _retransmit(self, sequence: int) -> None:
        packet = self._history.get(sequence % RTP_HISTORY)
        if packet is None or packet.sequence_number != sequence:
            return
        if self._rtx_payload_type is not None:
            packet = wrap_rtx(
                packet,
                payload_type=self._rtx_payload_type,
                sequence_number=self._rtx_sequence,
                ssrc=self._rtx_ssrc,
            )
            self._rtx_sequence = (self._rtx_sequence + 1) & 0xFFFF
        await self._send(packet.serialize(self._extensions))

    async def _report(self) -> None:
        await self._first_sent.wait()
        for wait_s in _REPORTS_SOON_S:
            await asyncio.sleep(wait_s)
            await self._send_report()
        while True:
            # Randomised over 0.5 to 1.5 times the interval (RFC 3550, 6.2).
            await asyncio.sleep(0.5 + random.random())
            await self._send_report()

    async def _send_report(self) -> None:
        if self.capture_pair is None:
            return
        timestamp, ntp = self.capture_pair()
        sender = RtcpSrPacket(
            ssrc=self._ssrc,
            sender_info=RtcpSenderInfo(
                ntp_timestamp=ntp,
                rtp_timestamp=timestamp & 0xFFFFFFFF,
                packet_count=self.packets_sent & 0xFFFFFFFF,
                octet_count=self._octets_sent & 0xFFFFFFFF,
            ),
        )
        self._reports[(ntp >> 16) & 0xFFFFFFFF] = self._clock.now_ns()
        while len(self._reports) > 8:
            del self._reports[next(iter(self._reports))]
        name = RtcpSdesPacket(chunks=[RtcpSourceInfo(ssrc=self._ssrc, items=[(1, self._cname.encode())])])
        await self._send(bytes(sender) + bytes(name))

    async def _send(self, data: bytes) -> None:
        try:
            await self.transport._send_rtp(data)
        except ConnectionError:
            return
