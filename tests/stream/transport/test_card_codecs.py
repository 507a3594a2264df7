"""A live stream on a card: the card's settings, and the processor in its place from the picture at which it fails."""

import asyncio
from dataclasses import replace

import aioice
import av
import numpy as np
import pytest
from aiortc.codecs import depayload

from kernels.yuv import Colour
from stream.frames import NS_PER_S, Planes, VideoFrame
from stream.media import nvenc
from stream.media.codec_device import CPU
from stream.transport.keyframes import is_keyframe
from stream.transport.peer import Peer, PeerConfig
from stream.transport.video_codec import Codec, EncodedVideo, NeedsKeyframe, VideoDecoder, VideoEncoder, copy_frame
from tests.stream.card_stand_in import BROKEN, FULL, Card
from tests.stream.transport.calls import Caller
from tests.stream.transport.packets import H264, VP8

pytestmark = pytest.mark.unit

CODECS: list[Codec] = ["H264", "VP8"]
PARAMETERS = {"H264": H264, "VP8": VP8}
STEP_NS = NS_PER_S // 30
# 0.1 bit per pixel, and a picture that is off by one differs by more than that.
LOSSY = 6


def picture(number: int, height: int = 120, width: int = 160) -> VideoFrame:
    """A ramp that moves with `number`."""
    row, column = np.mgrid[0:height, 0:width]
    luma = (40 + (row + column + 9 * number) % 160).astype(np.uint8)
    planes: Planes = (luma, *(np.full((height // 2, width // 2), level, np.uint8) for level in (110, 140)))
    return VideoFrame(number * STEP_NS, 0, "yuv420p", planes, Colour())


def data_of(codec: Codec, encoded: EncodedVideo) -> bytes:
    return b"".join(depayload(PARAMETERS[codec], payload) for payload in encoded.payloads)


def stream(codec: Codec, count: int, keyframes: tuple[int, ...] = ()) -> list[bytes]:
    """Access units of the processor's encoder."""
    encoder = VideoEncoder(codec)
    return [data_of(codec, encoder.encode(picture(n), n * STEP_NS, keyframe=n in keyframes)) for n in range(count)]


def error_of(found: VideoFrame, number: int) -> float:
    return float(np.abs(found.planes[0].astype(int) - picture(number).planes[0]).mean())


# -- encoding ---------------------------------------------------------------------------------------------------------


def test_the_cards_encoder_gets_the_live_settings_and_the_pictures_colour() -> None:
    card = Card()
    encoder = VideoEncoder("H264", start_bitrate_bps=1_000_000, codecs=card.codecs())
    encoded = encoder.encode(picture(0), 0)
    (context,) = card.contexts
    assert (context.name, encoder.name, encoder.side) == ("h264_nvenc", "h264_nvenc", "nvidia")
    assert context.options == nvenc.live_options(1_000_000, 120 * 160)
    assert (context.width, context.height, context.pix_fmt, context.bit_rate) == (160, 120, "yuv420p", 1_000_000)
    assert (context.colorspace, context.color_range, context.gop_size) == (6, 1, 3000)
    assert encoded.keyframe
    assert is_keyframe("H264", data_of("H264", encoded))


def test_a_keyframe_that_is_asked_for_comes_and_no_other() -> None:
    encoder = VideoEncoder("H264", codecs=Card().codecs())
    keys = [encoder.encode(picture(n), n * STEP_NS, keyframe=n == 7).keyframe for n in range(12)]
    assert [n for n, key in enumerate(keys) if key] == [0, 7]


def test_another_bitrate_is_another_encoder_on_the_card() -> None:
    card = Card()
    encoder = VideoEncoder("H264", start_bitrate_bps=1_000_000, codecs=card.codecs())
    encoder.encode(picture(0), 0)
    encoder.set_estimate(500_000)
    assert encoder.encode(picture(1), STEP_NS).keyframe
    assert [context.options["maxrate"] for context in card.contexts] == ["1000000", "500000"]
    assert (encoder.restarts, encoder.fallbacks) == (1, 0)


def test_no_card_is_asked_to_encode_vp8() -> None:
    card = Card()
    encoder = VideoEncoder("VP8", codecs=card.codecs())
    encoder.encode(picture(0), 0)
    assert (encoder.name, encoder.side, card.contexts) == ("libvpx", "cpu", [])


@pytest.mark.parametrize("fault", [BROKEN, FULL])
@pytest.mark.parametrize("fails_at", [1, 10])
def test_an_encoder_that_fails_loses_no_picture_and_goes_on_with_a_keyframe(
    fails_at: int, fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    # Whatever a command has set for the process's log.
    caplog.set_level("WARNING", logger="stream")
    card = Card(fails_at={"w": fails_at}, fault=fault)
    encoder, decoder = VideoEncoder("H264", codecs=card.codecs()), VideoDecoder("H264")
    keys = []
    for number in range(20):
        encoded = encoder.encode(picture(number), number * STEP_NS)
        keys.append(encoded.keyframe)
        (back,) = decoder.decode(data_of("H264", encoded), number * STEP_NS)
        assert back.pts_ns == number * STEP_NS
        assert error_of(back, number) < LOSSY
    assert [n for n, key in enumerate(keys) if key] == sorted({0, fails_at - 1})
    assert (encoder.name, encoder.fallbacks, len(card.contexts)) == ("libx264", 1, 1)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "NVENC has failed" in caplog.text


def test_an_encoder_that_does_not_open_is_the_processors_from_the_first_picture() -> None:
    card = Card(refuses=("h264_nvenc",))
    encoder = VideoEncoder("H264", codecs=card.codecs())
    assert encoder.encode(picture(0), 0).keyframe
    assert not encoder.encode(picture(1), STEP_NS).keyframe
    assert (encoder.name, encoder.fallbacks) == ("libx264", 1)
    assert card.opened == [("h264_nvenc", "w", 0), ("libx264", "w", None)]


def test_a_card_that_was_given_up_is_not_asked_again_at_another_size() -> None:
    card = Card(fails_at={"w": 1})
    encoder = VideoEncoder("H264", codecs=card.codecs())
    for number, (height, width) in enumerate([(120, 160), (180, 320)]):
        encoder.encode(picture(number, height, width), number * STEP_NS)
    assert (encoder.fallbacks, len(card.contexts)) == (1, 1)


def test_a_fault_of_the_processors_encoder_is_raised_as_before() -> None:
    def fail(*_: object) -> object:
        raise BROKEN

    encoder = VideoEncoder("H264", codecs=replace(CPU, open=fail))
    with pytest.raises(av.error.ExternalError):
        encoder.encode(picture(0), 0)
    assert encoder.fallbacks == 0


# -- decoding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", CODECS)
def test_the_cards_pictures_are_bit_for_bit_the_processors(codec: Codec) -> None:
    """The stand-in's pictures are the processor's as NV12: taking them apart must change nothing."""
    card = Card()
    ours, plain = VideoDecoder(codec, card.codecs()), VideoDecoder(codec)
    for number, data in enumerate(stream(codec, 5)):
        (found,), (expected,) = ours.decode(data, number), plain.decode(data, number)
        assert (found.pts_ns, found.format, found.colour) == (number, "yuv420p", expected.colour)
        for a, b in zip(found.planes, expected.planes, strict=True):
            np.testing.assert_array_equal(a, b)
            assert a.flags.owndata
            assert a.flags.writeable
    assert (ours.name, ours.fallbacks) == (f"{codec.lower()} (NVDEC)", 0)
    assert card.opened == [(codec.lower(), "r", 0)]
    assert card.contexts[0].thread_count == 1
    low_delay = bool(card.contexts[0].flags & av.codec.context.Flags.low_delay)
    assert low_delay is (codec == "H264")


@pytest.mark.parametrize("colour", [(1, 1), (6, 2)])
def test_nv12_keeps_matrix_and_range(colour: tuple[int, int]) -> None:
    frame = av.VideoFrame.from_ndarray(np.full((24, 16), 90, np.uint8), "nv12")
    frame.colorspace, frame.color_range = colour
    assert copy_frame(frame).colour == Colour("bt709" if colour[0] == 1 else "bt601", colour[1] == 2)


@pytest.mark.parametrize("codec", CODECS)
def test_a_decoder_that_fails_goes_on_at_the_next_keyframe_and_asks_for_it(codec: Codec) -> None:
    decoder = VideoDecoder(codec, Card(fails_at={"r": 5}).codecs())
    got, asked = [], []
    for number, data in enumerate(stream(codec, 12, keyframes=(8,))):
        try:
            got += [(number, error_of(frame, number)) for frame in decoder.decode(data, number)]
        except NeedsKeyframe:
            asked.append(number)
    # From the failing picture to the keyframe; nothing grey is given out in between.
    assert asked == [4, 5, 6, 7]
    assert [number for number, _ in got] == [0, 1, 2, 3, 8, 9, 10, 11]
    assert max(error for _, error in got) < LOSSY
    assert (decoder.side, decoder.fallbacks) == ("cpu", 1)
    assert "NVDEC" not in decoder.name


@pytest.mark.parametrize("codec", CODECS)
def test_a_decoder_that_fails_at_a_keyframe_loses_nothing(codec: Codec) -> None:
    decoder = VideoDecoder(codec, Card(fails_at={"r": 4}).codecs())
    pictures = [decoder.decode(data, n) for n, data in enumerate(stream(codec, 8, keyframes=(3,)))]
    assert [len(each) for each in pictures] == [1] * 8
    assert decoder.fallbacks == 1


@pytest.mark.parametrize("codec", CODECS)
def test_a_decoder_that_does_not_open_is_the_processors_from_the_first_picture(codec: Codec) -> None:
    decoder = VideoDecoder(codec, Card(refuses=("h264", "vp8")).codecs())
    assert [len(decoder.decode(data, n)) for n, data in enumerate(stream(codec, 3))] == [1] * 3
    assert decoder.fallbacks == 1


def test_damaged_data_is_no_fault_of_the_card() -> None:
    damaged = av.error.InvalidDataError(1094995529, "Invalid data found when processing input")
    decoder = VideoDecoder("H264", Card(fails_at={"r": 2}, fault=damaged).codecs())
    first, second, third = stream("H264", 3)
    decoder.decode(first, 0)
    with pytest.raises(av.error.InvalidDataError):
        decoder.decode(second, 1)
    assert len(decoder.decode(third, 2)) == 1
    assert (decoder.side, decoder.fallbacks) == ("nvidia", 0)


@pytest.mark.parametrize("codec", CODECS)
def test_a_keyframe_is_known_from_its_data(codec: Codec) -> None:
    units = stream(codec, 6, keyframes=(4,))
    assert [is_keyframe(codec, data) for data in units] == [True, False, False, False, True, False]
    cut_short = (b"", b"\x01") if codec == "VP8" else (b"", b"\0\0\1", b"\0\0\0\1", b"\0\0\1\x67")
    assert not any(is_keyframe(codec, data) for data in cut_short)


# -- a whole call -----------------------------------------------------------------------------------------------------


def test_a_call_goes_on_when_both_units_of_the_card_fail_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda **_: ["127.0.0.1"])
    card = Card(fails_at={"r": 10, "w": 15})

    async def scenario() -> Peer:
        peer = Peer(PeerConfig(include_loopback=True), codecs=card.codecs())
        caller = Caller(peer, "video")
        try:
            await caller.call()
            await caller.until(lambda: peer.stats().codec_fallbacks == 2 and peer.stats().sent >= 40)
        finally:
            await caller.hang_up()
        return peer

    stats = asyncio.run(scenario()).stats()
    assert (stats.decoder, stats.encoder, stats.video_codec) == ("h264", "libx264", "H264")
    assert card.opened[:2] == [("h264", "r", 0), ("h264_nvenc", "w", 0)]
    assert stats.keyframes_asked >= 1
    assert stats.keyframes_sent >= 2


def test_a_call_on_the_card_says_so() -> None:
    card = Card()
    peer = Peer(codecs=card.codecs())
    peer._video_out.encoder = VideoEncoder("H264", codecs=card.codecs())
    peer._video.decoder = VideoDecoder("H264", card.codecs())
    stats = peer.stats()
    assert (stats.decoder, stats.encoder, stats.codec_fallbacks) == ("h264 (NVDEC)", "h264_nvenc", 0)
