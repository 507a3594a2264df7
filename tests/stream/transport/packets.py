"""RTP packets made by hand, and a clock and a transport for receivers and senders without a network."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.rtp import HeaderExtensionsMap, RtcpPacket, RtpPacket, is_rtcp

OPUS = RTCRtpCodecParameters(mimeType="audio/opus", clockRate=48000, channels=2, payloadType=111)
VP8 = RTCRtpCodecParameters(mimeType="video/VP8", clockRate=90000, payloadType=96)
H264 = RTCRtpCodecParameters(mimeType="video/H264", clockRate=90000, payloadType=102)

# VP8 payload descriptors (RFC 7741): start of a keyframe, of another frame, and a later packet of either.
KEY, DELTA, MORE = b"\x10\x00", b"\x10\x01", b"\x00\x55"


class HandClock:
    """Time that the test sets; nobody sleeps on it."""

    def __init__(self, now_ns: int = 0) -> None:
        self.ns = now_ns

    def now_ns(self) -> int:
        return self.ns

    async def sleep_until(self, deadline_ns: int) -> None:
        self.ns = max(self.ns, deadline_ns)


def packet(
    sequence: int, timestamp: int, payload: bytes = DELTA, *, marker: int = 1, payload_type: int = 96, ssrc: int = 7
) -> RtpPacket:
    """A packet as the depayloader leaves it."""
    made = RtpPacket(
        payload_type=payload_type,
        marker=marker,
        sequence_number=sequence & 0xFFFF,
        timestamp=timestamp & 0xFFFFFFFF,
        ssrc=ssrc,
        payload=payload,
    )
    made._data = payload
    return made


def video_frames(count: int, *, per_frame: int = 3, first: int = 0, key_at: int = 0) -> Iterator[list[RtpPacket]]:
    """`count` pictures of `per_frame` packets, 3000 ticks apart; the one at `key_at` is a keyframe."""
    for number in range(count):
        head = KEY if number == key_at else DELTA
        yield [
            packet(
                first + number * per_frame + part,
                number * 3000,
                head if part == 0 else MORE,
                marker=int(part == per_frame - 1),
            )
            for part in range(per_frame)
        ]


@dataclass
class FakeTransport:
    """Keeps what would have been sent, apart by RTP and RTCP."""

    rtp: list[RtpPacket] = field(default_factory=list)
    rtcp: list[Any] = field(default_factory=list)
    extensions: HeaderExtensionsMap = field(default_factory=HeaderExtensionsMap)

    async def _send_rtp(self, data: bytes) -> None:
        if is_rtcp(data):
            self.rtcp += RtcpPacket.parse(data)
        else:
            self.rtp.append(RtpPacket.parse(data, self.extensions))

    def _register_rtp_receiver(self, receiver: Any, parameters: Any) -> None:
        pass

    def _unregister_rtp_receiver(self, receiver: Any) -> None:
        pass

    def _register_rtp_sender(self, sender: Any, parameters: Any) -> None:
        pass

    def _unregister_rtp_sender(self, sender: Any) -> None:
        pass
