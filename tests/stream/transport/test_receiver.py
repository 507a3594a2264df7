"""Receiving over a lossy line, in virtual time: our sender and receiver on two ends of a pair of fake transports."""

import asyncio
import itertools
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from aiortc.rtcrtpparameters import (
    RTCRtcpParameters,
    RTCRtpCodecParameters,
    RTCRtpDecodingParameters,
    RTCRtpReceiveParameters,
    RTCRtpRtxParameters,
    RTCRtpSendParameters,
)
from aiortc.rtp import RtcpPacket, RtcpSrPacket, RtpPacket, is_rtcp

from stream.frames import NS_PER_MS, NS_PER_S, AudioChunk
from stream.transport.audio_codec import CHUNK_NS, CHUNK_SAMPLES, OpusEncoder
from stream.transport.ingest import AudioIngest
from stream.transport.jitter import EncodedFrame
from stream.transport.receiver import LiveReceiver, SeededRate
from stream.transport.sender import LiveSender
from stream.transport.timeline import Timeline
from tests.stream.transport.packets import DELTA, H264, KEY, OPUS, VP8, FakeTransport, HandClock, packet

pytestmark = pytest.mark.unit

VP8_RTX = RTCRtpCodecParameters(mimeType="video/rtx", clockRate=90000, payloadType=97, parameters={"apt": 96})


class Line:
    """Carries packets both ways, losing `loss` of the media; retransmissions may be lost too."""

    def __init__(self, loss: Callable[[RtpPacket], bool]) -> None:
        self.clock = HandClock(NS_PER_S)
        self.loss = loss
        self.frames: list[EncodedFrame] = []
        self.sender = LiveSender("video", _End(self, to_receiver=True), self.clock)
        self.receiver = LiveReceiver("video", _End(self, to_receiver=False), self.clock)
        self.receiver._set_rtcp_ssrc(99)
        self.receiver.on_frame = lambda _, frame: self.frames.append(frame)
        self.keyframe_asked_at: list[int] = []

    async def open(self) -> None:
        codecs = [VP8, VP8_RTX]
        await self.sender.send(RTCRtpSendParameters(codecs=codecs, rtcp=RTCRtcpParameters(cname="c", mux=True)))
        encoding = RTCRtpDecodingParameters(ssrc=self.sender._ssrc, payloadType=96)
        encoding.rtx = RTCRtpRtxParameters(ssrc=self.sender._rtx_ssrc)
        await self.receiver.receive(RTCRtpReceiveParameters(codecs=codecs, encodings=[encoding]))

    async def close(self) -> None:
        await self.receiver.stop()
        await self.sender.stop()

    async def play(self, pictures: int, *, packets: int = 4) -> None:
        """Send at 30 fps; a keyframe when the receiver asked for one."""
        for number in range(pictures):
            self.clock.ns = NS_PER_S + number * NS_PER_S // 30
            key = number == 0 or self.sender.keyframe_asked
            if self.sender.keyframe_asked:
                self.keyframe_asked_at.append(number)
            self.sender.keyframe_asked = False
            body = [KEY if key else DELTA, *[b"\x00\x55"] * (packets - 1)]
            await self.sender.send_frame([part + b"%06d" % number for part in body], number * 3000)


class _End:
    def __init__(self, line: Line, *, to_receiver: bool) -> None:
        self._line, self._to_receiver = line, to_receiver

    async def _send_rtp(self, data: bytes) -> None:
        line = self._line
        if is_rtcp(data):
            for report in RtcpPacket.parse(data):
                await (line.receiver if self._to_receiver else line.sender)._handle_rtcp_packet(report)
            return
        media = RtpPacket.parse(data)
        if not line.loss(media):
            await line.receiver._handle_rtp_packet(media, arrival_time_ms=line.clock.ns // NS_PER_MS)

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.endswith(("register_rtp_sender", "register_rtp_receiver")):
            return lambda *_: None
        raise AttributeError(name)


def play(line: Line, pictures: int) -> list[int]:
    """Numbers of the pictures that came out."""

    async def whole() -> None:
        await line.open()
        await line.play(pictures)
        await line.close()

    asyncio.run(whole())
    return [frame.rtp_timestamp // 3000 for frame in line.frames]


@pytest.mark.parametrize("share", [0.01, 0.05, 0.1])
def test_lost_video_packets_are_repaired_and_every_picture_comes_out(share: float) -> None:
    generator = random.Random(1)
    line = Line(lambda _: generator.random() < share)
    numbers = play(line, 600)

    # The last pictures may wait for a repair that the end of the call leaves out.
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= 590
    assert line.receiver.losses.repaired >= line.receiver.losses.lost - 4
    assert line.receiver.keyframes_asked == 0


def test_a_packet_that_cannot_be_repaired_costs_a_quarter_of_a_second_and_a_keyframe() -> None:
    line = Line(
        lambda media: media.payload_type == 97 or (media.payload.endswith(b"000100") and media.payload[:1] == b"\x00")
    )
    numbers = play(line, 300)

    missing = sorted(set(range(300)) - set(numbers))
    assert missing[0] == 100
    assert len(missing) <= 10  # 250 ms are 7.5 pictures, and one until the keyframe
    assert line.keyframe_asked_at == [missing[-1] + 1]
    assert line.receiver.video.depth == 0


def test_a_burst_beyond_repair_does_not_leave_the_buffer_deep() -> None:
    line = Line(lambda media: 100 <= int(media.payload[-6:]) < 130)
    numbers = play(line, 400)
    assert line.receiver.video.depth == 0
    assert numbers[-1] == 399
    assert set(range(145, 400)) <= set(numbers)


def test_a_call_that_begins_without_a_keyframe_asks_for_one_until_it_comes() -> None:
    line = Line(lambda media: int(media.payload[-6:]) < 3)
    numbers = play(line, 60)
    assert line.keyframe_asked_at
    assert numbers == list(range(line.keyframe_asked_at[0], 60))


def test_an_unread_receiver_keeps_nothing() -> None:
    line = Line(lambda _: False)
    line.receiver.on_frame = None
    play(line, 100)
    assert line.receiver.video.depth == 0
    assert not line.receiver._streams


def sound(count: int) -> list[bytes]:
    encoder = OpusEncoder()
    wave = (0.3 * np.sin(2 * np.pi * 200 * np.arange(count * CHUNK_SAMPLES) / 48_000)).astype(np.float32)
    return [encoder.encode(wave[n * CHUNK_SAMPLES : (n + 1) * CHUNK_SAMPLES]) for n in range(count)]


def listen(loss: float, count: int, seed: int = 3) -> tuple[list[AudioChunk], LiveReceiver, AudioIngest, list[int]]:
    """Send `count` packets of Opus 20 ms apart; chunks are read as they come."""
    generator, clock = random.Random(seed), HandClock(NS_PER_S)
    receiver = LiveReceiver("audio", FakeTransport(), clock)
    depths: list[int] = []

    async def whole() -> tuple[list[AudioChunk], AudioIngest]:
        ingest = AudioIngest(Timeline(), clock)
        ingest.attach(receiver)
        await receiver.receive(RTCRtpReceiveParameters(codecs=[OPUS], encodings=[]))
        reader = asyncio.ensure_future(ingest.run())
        chunks: list[AudioChunk] = []
        for number, payload in enumerate(sound(count)):
            clock.ns = NS_PER_S + (number + 1) * CHUNK_NS
            if number and generator.random() < loss:
                continue
            media = packet(number, number * CHUNK_SAMPLES, payload, payload_type=111)
            await receiver._handle_rtp_packet(media, arrival_time_ms=clock.ns // NS_PER_MS)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            while len(ingest.queue):
                chunks.append(await ingest.queue.get())
            depths.append(receiver.audio.depth)
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        await receiver.stop()
        return chunks, ingest

    chunks, ingest = asyncio.run(whole())
    return chunks, receiver, ingest, depths


def test_sound_has_no_hole_after_five_percent_of_its_packets_are_lost() -> None:
    chunks, receiver, ingest, depths = listen(0.05, 1500)

    assert receiver.audio.lost > 50
    pts = [chunk.pts_ns for chunk in chunks]
    assert {later - earlier for earlier, later in itertools.pairwise(pts)} == {CHUNK_NS}
    assert ingest.counts.concealed_ns == receiver.audio.lost * CHUNK_NS
    # The depth is the same at the end as at the beginning: nothing accumulates.
    assert max(depths) <= 2
    assert depths[-200:].count(0) > 150
    # What was made up is as loud as what is around it, less the fade.
    levels = [float(np.sqrt(np.mean(chunk.samples**2))) for chunk in chunks[5:]]
    assert min(levels) > 0.25 * float(np.median(levels))


def test_the_sound_is_where_it_was_after_losses() -> None:
    whole, lossy = listen(0.0, 400)[0], listen(0.05, 400)[0]
    at = {chunk.pts_ns: chunk.samples for chunk in lossy}
    same = [float(np.corrcoef(chunk.samples, at[chunk.pts_ns])[0, 1]) for chunk in whole[5:] if chunk.pts_ns in at]
    assert np.median(same) > 0.99
    assert np.percentile(same, 10) > 0.9


def test_what_the_sender_left_out_for_longer_than_a_second_is_not_made_up() -> None:
    ingest, clock = AudioIngest(Timeline(), HandClock()), HandClock()
    ingest._set_codec(OPUS)
    for number, payload in enumerate(sound(20)):
        at = number + (100 if number >= 10 else 0)
        clock.ns = at * CHUNK_NS
        ingest._take(OPUS, EncodedFrame(payload, at * CHUNK_SAMPLES, clock.ns + CHUNK_NS))
    assert ingest.counts.concealed_ns == 0
    assert ingest.counts.chunks == 20
    assert ingest._ready[10].pts_ns - ingest._ready[9].end_ns == 100 * CHUNK_NS


def test_sender_reports_reach_the_timeline() -> None:
    seen: list[tuple[int, int]] = []
    receiver = LiveReceiver("video", FakeTransport(), HandClock())
    receiver.on_report = lambda ntp, stamp: seen.append((ntp, stamp))
    report: Any = RtcpSrPacket.parse(b"\0\0\0\7" + (5 << 32).to_bytes(8, "big") + b"\0\0\0\6" + bytes(8), 0)
    asyncio.run(receiver._handle_rtcp_packet(report))
    assert seen == [(5 << 32, 6)]


def test_a_viewer_that_looks_once_a_second_finds_another_report_each_time_at_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sender = LiveSender("video", FakeTransport(), HandClock())
    sent_s: list[float] = []
    now_s = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds
        if now_s > 60:
            raise asyncio.CancelledError

    async def send() -> None:
        sent_s.append(now_s)

    monkeypatch.setattr("stream.transport.sender.asyncio.sleep", sleep)
    monkeypatch.setattr(sender, "_send_report", send)
    sender._first_sent.set()
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(sender._report())

    gaps = np.diff([0.0, *sent_s])
    begins = np.array([0.0, *sent_s[:-1]])
    assert max(gaps[begins < 4]) <= 0.5
    # Later as RFC 3550 has it: about one a second.
    assert min(gaps[begins > 6]) > 0.4
    assert 0.7 < np.mean(gaps[begins > 6]) < 1.3


def test_a_small_sender_is_not_told_to_stay_small() -> None:
    rate = SeededRate(2_500_000, 1_000_000, 6_000_000)
    assert rate._clamp_bitrate(2_700_000, estimated_throughput=100_000) == 2_700_000
    assert rate._clamp_bitrate(200_000, estimated_throughput=100_000) == 1_000_000
    assert rate._clamp_bitrate(9_000_000, estimated_throughput=100_000) == 6_000_000


def test_an_empty_packet_does_not_end_the_sound() -> None:
    ingest = AudioIngest(Timeline(), HandClock())
    ingest._set_codec(OPUS)
    for number, payload in enumerate(sound(10)):
        ingest._take(OPUS, EncodedFrame(b"" if number == 3 else payload, number * CHUNK_SAMPLES, number * CHUNK_NS))
    assert ingest.counts.decode_errors == 0
    assert ingest.counts.chunks == 10


@pytest.mark.parametrize(("kind", "codec"), [("audio", OPUS), ("video", VP8), ("video", H264)])
def test_no_packet_whatever_is_in_it_can_end_the_call(kind: Any, codec: RTCRtpCodecParameters) -> None:
    """An exception here would end aiortc's loop that reads the socket."""
    generator = random.Random(0)
    clock = HandClock(NS_PER_S)
    receiver = LiveReceiver(kind, FakeTransport(), clock)
    receiver._set_rtcp_ssrc(99)
    timeline = Timeline()

    async def whole() -> None:
        if kind == "audio":
            AudioIngest(timeline, clock).attach(receiver)
        else:
            receiver.on_frame = lambda _, frame: timeline.media("video", frame.rtp_timestamp, frame.arrival_ns) and None
        await receiver.receive(RTCRtpReceiveParameters(codecs=[codec], encodings=[]))
        for number in range(3000):
            clock.ns += generator.randrange(40 * NS_PER_MS)
            wild = generator.random() < 0.2
            media = packet(
                generator.getrandbits(16) if wild else number,
                generator.getrandbits(32) if wild else number * 960,
                generator.randbytes(generator.choice([0, 1, 2, 3, 40, 1100])),
                marker=generator.getrandbits(1),
                payload_type=codec.payloadType,
                ssrc=generator.getrandbits(32) if wild else 7,
            )
            await receiver._handle_rtp_packet(media, arrival_time_ms=clock.ns // NS_PER_MS)
        await receiver.stop()

    asyncio.run(whole())
    assert receiver.video.depth <= 1024
    assert receiver.audio.depth <= 250
    assert len(receiver._streams) <= 16
