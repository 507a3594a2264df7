import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
from aiortc.rtcrtpparameters import RTCRtcpParameters, RTCRtpSendParameters
from aiortc.rtp import RTCP_PSFB_PLI, RTCP_RTPFB_NACK, RtcpPsfbPacket, RtcpRtpfbPacket, RtcpSrPacket

from stream.clock import VirtualClock
from stream.frames import NS_PER_MS, NS_PER_S, AudioChunk, VideoFrame
from stream.transport.codec_threads import CodecThreads
from stream.transport.config import PeerConfig
from stream.transport.egress import AudioEgress, Pace, VideoEgress
from stream.transport.sender import LiveSender
from stream.transport.video_codec import EncodedVideo
from tests.stream.transport.packets import OPUS, VP8, FakeTransport

pytestmark = pytest.mark.unit

EPOCH_NS = 1000 * NS_PER_S


class InstantThreads(CodecThreads):
    """Codec work on the spot: virtual time does not wait for threads."""

    async def run(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        return call(*args, **kwargs)


class OneByteEncoder:
    """As many payloads of one byte as the picture says in its first pixel."""

    bitrate_bps = 0
    keyframes = 0

    def __init__(self) -> None:
        self.asked: list[bool] = []

    def encode(self, frame: VideoFrame, _: int, *, keyframe: bool = False) -> EncodedVideo:
        self.asked.append(keyframe)
        return EncodedVideo([b"x"] * int(frame.planes[0][0, 0]), keyframe)


def picture(pts_ns: int, *, payloads: int = 1, arrival_ns: int = 0) -> VideoFrame:
    plane = np.full((2, 2), payloads, np.uint8)
    return VideoFrame(pts_ns, arrival_ns, "yuv420p", (plane, plane[:1, :1], plane[:1, :1]))


def chunk(pts_ns: int) -> AudioChunk:
    return AudioChunk(pts_ns, 48_000, np.zeros(960, np.float32))


class Rig:
    """Both egresses on a virtual clock, with a log of what left when."""

    def __init__(self, config: PeerConfig | None = None) -> None:
        self.clock = VirtualClock(EPOCH_NS)
        self.pace = Pace(self.clock, lambda: EPOCH_NS)
        self.transport = {"video": FakeTransport(), "audio": FakeTransport()}
        self.sender = {
            "video": LiveSender("video", self.transport["video"], self.clock),
            "audio": LiveSender("audio", self.transport["audio"], self.clock),
        }
        threads = InstantThreads()
        self.video, self.audio = VideoEgress(self.pace, threads, config or PeerConfig()), AudioEgress(self.pace)
        self.video.attach(self.sender["video"])
        self.audio.attach(self.sender["audio"])
        self.encoder = OneByteEncoder()
        self.left: list[tuple[str, int, int]] = []
        note = self.pace.left

        def left(kind: str, pts_ns: int) -> None:
            self.left.append((kind, pts_ns // NS_PER_MS, (self.clock.now_ns() - EPOCH_NS) // NS_PER_MS))
            note(kind, pts_ns)

        self.pace.left = left  # type: ignore[method-assign]

    async def start(self) -> list[asyncio.Task[None]]:
        for kind, codec in (("video", VP8), ("audio", OPUS)):
            parameters = RTCRtpSendParameters(codecs=[codec], rtcp=RTCRtcpParameters(cname="c", mux=True))
            await self.sender[kind].send(parameters)
        tasks = [asyncio.ensure_future(self.video.run()), asyncio.ensure_future(self.audio.run())]
        await self.clock.advance_to(EPOCH_NS)
        self.video.encoder = self.encoder  # type: ignore[assignment]
        return tasks

    async def at(self, ms: int) -> None:
        await self.clock.advance_to(EPOCH_NS + ms * NS_PER_MS)


def play(rig: Rig, scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        tasks = await rig.start()
        try:
            await scenario()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for sender in rig.sender.values():
                await sender.stop()

    asyncio.run(whole())


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    rig = Rig()
    monkeypatch.setattr("stream.transport.egress.VideoEncoder", lambda *_, **__: rig.encoder)
    return rig


def test_sound_and_picture_of_one_moment_leave_together_at_the_delay(rig: Rig) -> None:
    rig.pace.delay_ns = 80 * NS_PER_MS

    async def scenario() -> None:
        for ms in (0, 20, 40):
            await rig.video.queue.put(picture(ms * NS_PER_MS))
            await rig.audio.queue.put(chunk(ms * NS_PER_MS))
        for ms in range(0, 140, 1):
            await rig.at(ms)

    play(rig, scenario)
    assert sorted(rig.left) == [(kind, ms, ms + 80) for kind in ("audio", "video") for ms in (0, 20, 40)]
    assert rig.pace.av_offset.spread().p99_ms == 0


def test_with_no_delay_everything_leaves_at_once(rig: Rig) -> None:
    async def scenario() -> None:
        await rig.at(500)
        await rig.video.queue.put(picture(480 * NS_PER_MS))
        await rig.audio.queue.put(chunk(460 * NS_PER_MS))
        await rig.at(500)

    play(rig, scenario)
    assert rig.left == [("video", 480, 500), ("audio", 460, 500)] or rig.left == [
        ("audio", 460, 500),
        ("video", 480, 500),
    ]


def test_sound_that_a_loss_made_late_leaves_evenly_spaced_and_wins_the_time_back(rig: Rig) -> None:
    """Chunk 5 comes with chunk 6, as it does when its packet was lost and it had to be made up."""

    async def scenario() -> None:
        for number in range(400):
            await rig.at(20 * number)
            if number == 5:
                continue
            for due in (5, 6) if number == 6 else (number,):
                await rig.audio.queue.put(chunk(due * 20 * NS_PER_MS))
            # The clock of the rig stands where it is put: once within the chunk's time, so that a spaced one leaves.
            for ms in range(20):
                await rig.at(20 * number + ms)

    play(rig, scenario)
    at_ms = {pts // 20: at - pts for _, pts, at in rig.left}
    assert [at_ms[number] for number in range(5)] == [0] * 5
    assert [at_ms[number] for number in (5, 6, 7)] == pytest.approx([20, 20, 20], abs=1)
    assert at_ms[100] == pytest.approx(20 - 0.1 * 95, abs=1.5)
    assert at_ms[390] == 0


def test_a_burst_of_sound_is_not_spread_out(rig: Rig) -> None:
    async def scenario() -> None:
        await rig.at(300)
        for number in range(15):
            await rig.audio.queue.put(chunk(number * 20 * NS_PER_MS))
        for ms in range(300, 330):
            await rig.at(ms)

    play(rig, scenario)
    left = [at for kind, _, at in rig.left if kind == "audio"]
    assert left[:-1] == [300] * (len(left) - 1)
    assert left[-1] == pytest.approx(320, abs=1)


def test_a_picture_later_than_allowed_is_dropped_and_sound_never_is() -> None:
    rig = Rig(PeerConfig(max_lateness_ms=50))
    rig.pace.delay_ns = 100 * NS_PER_MS

    async def scenario() -> None:
        await rig.at(400)
        for late_ms in (0, 49, 51, 300):
            await rig.video.queue.put(picture((300 - late_ms) * NS_PER_MS))
            await rig.audio.queue.put(chunk((300 - late_ms) * NS_PER_MS))
        await rig.at(401)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stream.transport.egress.VideoEncoder", lambda *_, **__: rig.encoder)
        play(rig, scenario)
    assert [pts for kind, pts, _ in rig.left if kind == "video"] == [300, 251]
    assert [pts for kind, pts, _ in rig.left if kind == "audio"] == [300, 251, 249, 0]
    assert rig.video.late == 2


def test_rtp_timestamps_are_the_pts_and_are_not_renumbered_after_a_drop(rig: Rig) -> None:
    async def scenario() -> None:
        for number in (0, 1, 5, 6):
            await rig.video.queue.put(picture(number * NS_PER_S // 30))
            await rig.audio.queue.put(chunk(number * 20 * NS_PER_MS))
            await rig.at(number * 40 + 1)

    play(rig, scenario)
    for kind, ticks in (("video", 3000), ("audio", 960)):
        stamps = [packet.timestamp for packet in rig.transport[kind].rtp]
        steps = [(later - stamps[0]) & 0xFFFFFFFF for later in stamps]
        assert steps == pytest.approx([0, ticks, 5 * ticks, 6 * ticks], abs=1)


def test_both_reports_tell_the_same_time_of_capture_whatever_the_paths_cost(rig: Rig) -> None:
    """A stock report pairs RTP time with send time: 150 ms of picture path would be told as in sync."""
    reports: dict[str, RtcpSrPacket] = {}

    async def scenario() -> None:
        # The picture of 1000 ms leaves 150 ms later than the sound of 1000 ms.
        await rig.at(1020)
        await rig.audio.queue.put(chunk(1000 * NS_PER_MS))
        await rig.at(1170)
        await rig.video.queue.put(picture(1000 * NS_PER_MS))
        await rig.at(1171)
        for kind in ("audio", "video"):
            await rig.sender[kind]._send_report()
            reports[kind] = next(p for p in rig.transport[kind].rtcp if isinstance(p, RtcpSrPacket))

    play(rig, scenario)
    captured_ms = {}
    for kind, rate_hz, look_ahead in (("audio", 48_000, 312), ("video", 90_000, 0)):
        sent = reports[kind].sender_info
        ticks = (rig.transport[kind].rtp[0].timestamp - sent.rtp_timestamp + (1 << 31)) % (1 << 32) - (1 << 31)
        ntp_ms = (sent.ntp_timestamp * 1000 >> 32) % 1_000_000
        captured_ms[kind] = ntp_ms + (ticks + look_ahead) * 1000 / rate_hz
    assert captured_ms["audio"] == pytest.approx(captured_ms["video"], abs=1.5)  # NTP rounded to 1 ms


def test_a_keyframe_asked_for_by_the_viewer_is_made_once(rig: Rig) -> None:
    async def scenario() -> None:
        for number in range(4):
            if number == 2:
                pli = RtcpPsfbPacket(fmt=RTCP_PSFB_PLI, ssrc=1, media_ssrc=rig.sender["video"]._ssrc)
                await rig.sender["video"]._handle_rtcp_packet(pli)
            await rig.video.queue.put(picture(number * 40 * NS_PER_MS))
            await rig.at(number * 40 + 1)

    play(rig, scenario)
    assert rig.encoder.asked == [False, False, True, False]


def test_a_lost_packet_is_sent_again_even_a_thousand_packets_later(rig: Rig) -> None:
    async def scenario() -> None:
        sender, transport = rig.sender["video"], rig.transport["video"]
        for number in range(1000):
            await sender.send_frame([b"%d" % number], number * 3000)
        lost = transport.rtp[3]
        nack = RtcpRtpfbPacket(fmt=RTCP_RTPFB_NACK, ssrc=1, media_ssrc=sender._ssrc, lost=[lost.sequence_number])
        await sender._handle_rtcp_packet(nack)
        assert transport.rtp[-1].payload == b"3"

    play(rig, scenario)


def test_packets_of_a_large_picture_are_spread_over_a_few_milliseconds(rig: Rig) -> None:
    async def scenario() -> None:
        await rig.video.queue.put(picture(0, payloads=60))
        await rig.at(0)
        assert len(rig.transport["video"].rtp) == 12
        await rig.at(5)
        assert len(rig.transport["video"].rtp) == 60
        assert [packet.marker for packet in rig.transport["video"].rtp] == [0] * 59 + [1]

    play(rig, scenario)


def test_when_unpaced_the_newest_of_several_pictures_leaves(rig: Rig) -> None:
    async def scenario() -> None:
        rig.clock._now_ns = EPOCH_NS + 200 * NS_PER_MS
        async with rig.video.queue._changed:
            for ms in (100, 133, 166):
                rig.video.queue._add(picture(ms * NS_PER_MS))
            rig.video.queue._changed.notify_all()
        await rig.at(201)

    play(rig, scenario)
    assert [pts for kind, pts, _ in rig.left if kind == "video"] == [166]
    assert rig.video.replaced == 2


def test_lateness_and_offset_have_the_sign_that_they_are_documented_with(rig: Rig) -> None:
    async def scenario() -> None:
        await rig.at(1030)
        await rig.audio.queue.put(chunk(1000 * NS_PER_MS))
        await rig.at(1030)
        await rig.video.queue.put(picture(1020 * NS_PER_MS))
        await rig.at(1030)

    play(rig, scenario)
    assert rig.pace.lateness["audio"].spread().now_ms == 30
    assert rig.pace.lateness["video"].spread().now_ms == 10
    assert rig.pace.av_offset.spread().now_ms == 20  # positive: the sound is late


def test_pts_far_in_the_future_do_not_stop_the_sound(rig: Rig) -> None:
    rig.pace.delay_ns = 50 * NS_PER_MS

    async def scenario() -> None:
        await rig.audio.queue.put(chunk(3600 * NS_PER_S))
        await rig.audio.queue.put(chunk(0))
        await rig.at(1)
        await rig.at(1100)

    play(rig, scenario)
    assert [(pts, at) for _, pts, at in rig.left] == [(3_600_000, 1051), (0, 1051)]


def test_sound_made_before_the_viewer_was_there_is_not_poured_out(rig: Rig) -> None:
    async def early() -> None:
        for number in range(100):
            await rig.audio.queue.put(chunk(number * 20 * NS_PER_MS))

    asyncio.run(early())
    play(rig, lambda: rig.at(25))
    assert [pts for _, pts, _ in rig.left] == [98 * 20, 99 * 20]
