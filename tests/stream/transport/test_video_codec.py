from fractions import Fraction
from typing import Literal

import av
import numpy as np
import pytest
from aiortc.codecs import depayload
from aiortc.codecs import h264 as stock_h264
from aiortc.codecs import vpx as stock_vpx
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from av.video.frame import PictureType

from kernels.yuv import Colour
from stream.frames import NS_PER_S, Planes, VideoFrame
from stream.transport.keyframes import starts_keyframe
from stream.transport.video_codec import (
    PACKET_MAX,
    EncodedVideo,
    VideoDecoder,
    VideoEncoder,
    copy_frame,
    packetise_h264,
)
from tests.stream.transport.packets import H264, VP8

pytestmark = pytest.mark.unit

Codec = Literal["H264", "VP8"]
CODECS: list[Codec] = ["H264", "VP8"]
PARAMETERS: dict[str, RTCRtpCodecParameters] = {"H264": H264, "VP8": VP8}
STEP_NS = NS_PER_S // 30


def picture(number: int, height: int = 120, width: int = 160, colour: Colour | None = None) -> VideoFrame:
    """A ramp that moves with `number`."""
    row, column = np.mgrid[0:height, 0:width]
    luma = (40 + (row + column + 3 * number) % 160).astype(np.uint8)
    half = ((height + 1) // 2, (width + 1) // 2)
    planes: Planes = (luma, np.full(half, 110, np.uint8), np.full(half, 140, np.uint8))
    return VideoFrame(number * STEP_NS, 0, "yuv420p", planes, colour or Colour())


def decode(decoder: VideoDecoder, codec: Codec, encoded: EncodedVideo, pts_ns: int) -> list[VideoFrame]:
    data = b"".join(depayload(PARAMETERS[codec], payload) for payload in encoded.payloads)
    return decoder.decode(data, pts_ns)


@pytest.mark.parametrize("codec", CODECS)
def test_every_picture_comes_back_at_once_with_its_own_pts(codec: Codec) -> None:
    encoder, decoder = VideoEncoder(codec), VideoDecoder(codec)
    for number in range(20):
        frame = picture(number)
        (back,) = decode(decoder, codec, encoder.encode(frame, frame.pts_ns), frame.pts_ns)
        assert back.pts_ns == frame.pts_ns
        error = np.abs(back.planes[0].astype(int) - frame.planes[0].astype(int)).mean()
        assert error < 6  # lossy, at 0.1 bit per pixel; a frame off by one differs by 20 on average at the ramp's edges
    assert encoder.keyframes == 1


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(("height", "width"), [(16, 16), (15, 17), (121, 161), (240, 321), (2, 2), (1, 1)])
def test_odd_and_tiny_pictures_are_encoded_padded_to_even(codec: Codec, height: int, width: int) -> None:
    encoder, decoder = VideoEncoder(codec), VideoDecoder(codec)
    frame = picture(0, height, width)
    (back,) = decode(decoder, codec, encoder.encode(frame, 0), 0)
    assert (back.height, back.width) == (height + height % 2, width + width % 2)
    if height >= 15:
        inside = back.planes[0][:height, :width].astype(int)
        assert np.abs(inside - frame.planes[0]).mean() < 12


@pytest.mark.parametrize("codec", CODECS)
def test_a_change_of_size_in_mid_call_starts_with_a_keyframe(codec: Codec) -> None:
    encoder, decoder = VideoEncoder(codec), VideoDecoder(codec)
    sizes = [(120, 160)] * 3 + [(180, 320)] * 3 + [(120, 160)] * 2
    keys, shapes = [], []
    for number, (height, width) in enumerate(sizes):
        encoded = encoder.encode(picture(number, height, width), number * STEP_NS)
        keys.append(encoded.keyframe)
        shapes += [(f.height, f.width) for f in decode(decoder, codec, encoded, number)]
    assert keys == [True, False, False, True, False, False, True, False]
    assert shapes == sizes


@pytest.mark.parametrize("codec", CODECS)
def test_a_keyframe_is_made_when_asked_for_and_only_then(codec: Codec) -> None:
    encoder = VideoEncoder(codec)
    keys = [encoder.encode(picture(n), n * STEP_NS, keyframe=n == 7).keyframe for n in range(20)]
    assert [n for n, key in enumerate(keys) if key] == [0, 7]


def test_a_cut_in_the_picture_makes_no_keyframe() -> None:
    encoder = VideoEncoder("H264")
    generator = np.random.default_rng(0)
    for number in range(12):
        frame = picture(number)
        if number >= 6:
            frame.planes[0][:] = generator.integers(16, 235, frame.planes[0].shape)
        encoder.encode(frame, number * STEP_NS)
    assert encoder.keyframes == 1


def test_a_decoders_keyframe_mark_asks_for_no_keyframe_at_the_exit() -> None:
    stock, ours = stock_vpx.Vp8Encoder(), VideoEncoder("VP8")
    stock_keys = []
    for number in range(6):
        frame = picture(number)
        marked = av.VideoFrame.from_ndarray(
            np.concatenate([plane.reshape(-1, 160) for plane in frame.planes]), "yuv420p"
        )
        marked.pts, marked.time_base, marked.pict_type = number * 3000, Fraction(1, 90_000), PictureType.I
        stock_keys.append(starts_keyframe("VP8", stock.encode(marked)[0][0]))
        ours.encode(copy_frame(marked), 0)
    assert stock_keys == [True] * 6  # the stock fault
    assert ours.keyframes == 1


def test_small_changes_of_the_estimate_do_not_restart_the_encoder() -> None:
    encoder = VideoEncoder("H264", start_bitrate_bps=1_000_000)
    rates = []
    for second, estimate in enumerate([900_000, 800_000, 720_000, 690_000, 800_000, 900_000, 5_000_000, 5_000_000]):
        encoder.set_estimate(estimate)
        encoder.encode(picture(second), second * NS_PER_S)
        rates.append(encoder.bitrate_bps)
    # Opened at the first estimate; 690k is above 0.7 of 900k; more than the start rate is never wanted.
    assert rates == [900_000] * 8
    assert encoder.keyframes == 1


def test_a_narrow_path_is_followed_at_once_and_a_wider_one_after_two_seconds() -> None:
    encoder = VideoEncoder("H264", start_bitrate_bps=1_000_000)
    rates = []
    for tenth, estimate in enumerate([2_000_000] * 3 + [500_000] * 2 + [2_000_000] * 25):
        encoder.set_estimate(estimate)
        encoder.encode(picture(tenth), tenth * NS_PER_S // 10)
        rates.append(encoder.bitrate_bps)
    assert rates[2:4] == [1_000_000, 500_000]
    assert rates[22] == 500_000
    assert rates[23] == 1_000_000


def test_the_estimate_is_not_followed_below_the_minimum() -> None:
    encoder = VideoEncoder("VP8", start_bitrate_bps=1_000_000, min_bitrate_bps=400_000)
    encoder.set_estimate(1000)
    encoder.encode(picture(0), 0)
    assert encoder.bitrate_bps == 400_000


@pytest.mark.parametrize("codec", CODECS)
def test_no_payload_is_larger_than_a_small_path_carries(codec: Codec) -> None:
    encoder = VideoEncoder(codec, start_bitrate_bps=5_000_000)
    frame = picture(0, 480, 640)
    frame.planes[0][:] = np.random.default_rng(0).integers(0, 255, frame.planes[0].shape)
    payloads = encoder.encode(frame, 0).payloads
    assert len(payloads) > 5
    assert max(map(len, payloads)) <= PACKET_MAX


def test_our_h264_packets_give_the_same_stream_as_the_stock_ones() -> None:
    units = [b"\x67" + b"s" * 20, b"\x68" + b"p" * 5, b"\x65" + bytes(range(256)) * 20, b"\x41" + b"x" * 1149]
    stream = b"".join(b"\0\0\0\1" + unit for unit in units)
    ours = b"".join(depayload(H264, payload) for payload in packetise_h264(stream))
    theirs = b"".join(
        depayload(H264, payload)
        for payload in stock_h264.H264Encoder._packetize(stock_h264.H264Encoder._split_bitstream(stream))
    )
    assert ours == theirs == stream


@pytest.mark.parametrize("codec", CODECS)
def test_the_first_packet_of_a_keyframe_is_known_and_no_other(codec: Codec) -> None:
    encoder = VideoEncoder(codec, start_bitrate_bps=3_000_000)
    for number in range(4):
        payloads = encoder.encode(picture(number, 480, 640), number * STEP_NS, keyframe=number == 2).payloads
        marks = [starts_keyframe(codec, payload) for payload in payloads]
        assert marks[0] is (number in (0, 2))
        if codec == "VP8":
            assert not any(marks[1:])


@pytest.mark.parametrize(
    ("codec", "payload"),
    [("VP8", b""), ("VP8", b"\x90"), ("VP8", b"\x90\x80"), ("H264", b""), ("H264", b"\x78\x00"), ("H264", b"\x7c")],
)
def test_a_payload_cut_short_starts_nothing(codec: str, payload: bytes) -> None:
    assert not starts_keyframe(codec, payload)


@pytest.mark.parametrize("colour", [Colour("bt601"), Colour("bt709"), Colour("bt709", full_range=True)])
def test_h264_tells_the_viewer_matrix_and_range(colour: Colour) -> None:
    encoder, decoder = VideoEncoder("H264"), VideoDecoder("H264")
    frame = picture(0, colour=colour)
    (back,) = decode(decoder, "H264", encoder.encode(frame, 0), 0)
    assert back.colour == colour


def test_decoded_planes_are_the_frames_own() -> None:
    encoder, decoder = VideoEncoder("VP8"), VideoDecoder("VP8")
    (first,) = decode(decoder, "VP8", encoder.encode(picture(0), 0), 0)
    before = [plane.copy() for plane in first.planes]
    for plane in first.planes:
        plane[:] = 0  # as paste_face does
    (second,) = decode(decoder, "VP8", encoder.encode(picture(0), 1), 1)
    for kept, plane in zip(before, second.planes, strict=True):
        assert np.abs(kept.astype(int) - plane.astype(int)).mean() < 3


def test_damaged_data_raises_what_the_ingest_counts() -> None:
    decoder = VideoDecoder("VP8")
    with pytest.raises(av.FFmpegError):
        decoder.decode(b"\xff" * 40, 0)
