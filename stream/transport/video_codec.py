"""Video decoders and encoders on PyAV, set for a call: one frame in, one frame out, no look-ahead.

Everything here runs in the peer's codec threads and touches no loop. A card's codec that fails is given up for the
processor's, for this stream and for good, with a log line and a count.
"""

import fractions
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

import av
import numpy as np
from aiortc.codecs import h264 as aiortc_h264
from aiortc.codecs import vpx as aiortc_vpx
from av.video.frame import PictureType
from numpy.typing import NDArray

from kernels.cuda.device import Device
from kernels.cuda.jobs import PlaneAt
from kernels.yuv import Colour
from stream.card_picture import CardPicture, CardRoom, picture_bytes
from stream.frames import NS_PER_MS, NS_PER_S, Planes, VideoFrame
from stream.media import nvenc
from stream.media.codec_device import CARD_FAULTS, CPU, Codecs, Side
from stream.transport.keyframes import is_keyframe

log = logging.getLogger(__name__)

Codec = Literal["H264", "VP8"]

# Largest RTP payload: with IPv6, UDP, RTP, extensions and SRTP it stays below the 1280 bytes that
# every IPv6 path carries (aiortc: 1300, up to 1370 on the wire, above many overlays).
PACKET_MAX = 1150
# Bits per pixel at 30 fps that keep a talking head clean: 0.9 Mbit/s at 640x480, 2.8 at 1280x720.
_BITS_PER_PIXEL = 0.1
_FRAME_RATE_HZ = 30
_PTS_HZ = 90_000
_KEYFRAME_EVERY = 3000
# The encoder can only change its rate by starting anew, with a keyframe.
_SHRINK_BELOW, _GROW_ABOVE, _GROW_EVERY_NS = 0.7, 1.25, 2 * NS_PER_S


@dataclass(frozen=True, slots=True)
class EncodedVideo:
    """RTP payloads of one frame."""

    payloads: list[bytes]
    keyframe: bool


def default_bitrate_bps(height: int, width: int) -> int:
    """Bits per second that a talking head of this size needs."""
    return int(_BITS_PER_PIXEL * height * width * _FRAME_RATE_HZ)


class NeedsKeyframe(ValueError):  # noqa: N818 - a wish, as a damaged picture's is
    """The decoder has begun anew and knows no picture to predict this one from."""


class PictureLost(Exception):  # noqa: N818 - what happened, not a fault of ours
    """A picture lay on a card that has failed."""


class VideoDecoder:
    """Decodes one stream; pts are session nanoseconds.

    On a card it is FFmpeg's own decoder with NVDEC behind it, not `h264_cuvid`: that one's parser learns
    that a picture has ended from the next one, which costs a picture's time (`cuvid_decode_packet` sets no
    `CUVID_PKT_ENDOFPICTURE`).

    Args:
        codec: "H264" or "VP8".
        codecs: Who decodes.
        keeps: Whether pictures may stay on the card now, where the codecs share it with the generator.

    Attributes:
        side: Who decodes now.
        fallbacks: How often the card was given up.
    """

    def __init__(self, codec: Codec, codecs: Codecs = CPU, *, keeps: Callable[[], bool] = lambda: False) -> None:
        self.side: Side = codecs.decode
        self.fallbacks = 0
        self._keeps = keeps
        self._device: Device | None = None
        self._codec, self._codecs = codec, codecs
        self._context: Any = None
        self._needs_keyframe = False

    @property
    def name(self) -> str:
        """FFmpeg's decoder, with what stands behind it."""
        if self.side == "nvidia":
            return f"{self._codec.lower()} (NVDEC)"
        return "h264" if self._codec == "H264" else "libvpx"

    def decode(self, data: bytes, pts_ns: int) -> list[VideoFrame]:
        """Decode one access unit; the frames' `arrival_ns` is 0.

        Raises:
            av.FFmpegError: The data is damaged; later frames may still decode.
            NeedsKeyframe: The card was given up, and this is no picture to go on with.
        """
        if self.side == "nvidia":
            try:
                return self._decoded(data, pts_ns)
            except av.error.InvalidDataError:
                raise
            except CARD_FAULTS as error:
                self._leave_card(error)
        if self._needs_keyframe and not is_keyframe(self._codec, data):
            raise NeedsKeyframe("the decoder has changed and waits for a keyframe")
        pictures = self._decoded(data, pts_ns)
        self._needs_keyframe = False
        return pictures

    def _decoded(self, data: bytes, pts_ns: int) -> list[VideoFrame]:
        if self._context is None:
            self._context = self._opened()
        if self._codecs.shared is not None and self._device is not None:
            self._codecs.shared.check(self._device)
        packet = av.Packet(data)
        packet.pts = pts_ns
        packet.time_base = fractions.Fraction(1, NS_PER_S)
        return [self._taken(frame) for frame in self._context.decode(packet)]

    def _taken(self, frame: Any) -> VideoFrame:  # noqa: ANN401 - see copy_frame
        shared = self._codecs.shared
        if shared is None or self._device is None or not self._keeps():
            return copy_frame(frame)
        return keep_frame(frame, self._device, shared.room, self._context) or copy_frame(frame)

    def _opened(self) -> Any:  # noqa: ANN401 - av's classes differ between stubs
        if self.side == "nvidia":
            context, self._device = self._codecs.open_on_card(self._codec.lower(), "r")
        else:
            context = self._codecs.open("h264" if self._codec == "H264" else "libvpx", "r", None)
        # Frame threads would hold back one frame each.
        context.thread_count = 1
        if self._codec == "H264":
            context.flags |= av.codec.context.Flags.low_delay
        return context

    def _leave_card(self, error: Exception) -> None:
        log.warning("NVDEC has failed (%s): the processor decodes this stream from its next keyframe", error)
        self.side, self._context, self._device, self._needs_keyframe = "cpu", None, None, True
        self.fallbacks += 1


def copy_frame(frame: Any) -> VideoFrame:  # noqa: ANN401 - av's classes differ between stubs
    """Own, writable planes: the decoder still predicts from the buffers of its frame, and a card's comes down."""
    colour = _colour_of(frame)
    if frame.format.name not in ("yuv420p", "yuvj420p"):
        frame = frame.reformat(format="yuv420p")
    height, width = frame.height, frame.width
    shapes = [(height, width), ((height + 1) // 2, (width + 1) // 2), ((height + 1) // 2, (width + 1) // 2)]
    planes = tuple(_read_plane(plane, *shape) for plane, shape in zip(frame.planes, shapes, strict=True))
    return VideoFrame(frame.pts, 0, "yuv420p", cast("Planes", planes), colour)


def keep_frame(frame: Any, device: Device, room: CardRoom, decoder: object) -> VideoFrame | None:  # noqa: ANN401 - see copy_frame
    """A picture that stays where NVDEC has put it; None where it has to be copied.

    It may be written: FFmpeg gives out copies of the surfaces that it predicts from, unless it is asked not to
    (`nvdec_retrieve_data` in `nvdec.c` ends in `av_frame_make_writable`). An odd side is not kept, as the encoder's
    last column is then the decoder's padding.
    """
    if frame.format.name != "cuda" or frame.sw_format.name != "nv12" or frame.height % 2 or frame.width % 2:
        return None
    luma, pairs = frame.planes
    half = frame.height // 2, frame.width // 2
    at = (
        PlaneAt(luma.buffer_ptr, frame.height, frame.width, luma.line_size),
        PlaneAt(pairs.buffer_ptr, *half, pairs.line_size, 2),
        PlaneAt(pairs.buffer_ptr + 1, *half, pairs.line_size, 2),
    )
    if not room.take(picture_bytes(at)):
        return None
    picture = CardPicture(at, device, frame, lambda: copy_frame(frame).planes, room, decoder)
    return VideoFrame(frame.pts, 0, "yuv420p", picture, _colour_of(frame))


def _colour_of(frame: Any) -> Colour:  # noqa: ANN401 - see copy_frame
    full_range = frame.format.name == "yuvj420p" or frame.color_range == 2
    return Colour("bt709" if frame.colorspace == 1 else "bt601", full_range)


def _read_plane(plane: Any, height: int, width: int) -> NDArray[np.uint8]:  # noqa: ANN401 - see copy_frame
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    return rows[:height, :width].copy()


def _write_plane(plane: Any, samples: NDArray[np.uint8]) -> None:  # noqa: ANN401 - see copy_frame
    """Copy `samples` in; a plane that is one larger repeats its last row and column."""
    height, width = samples.shape
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    rows[:height, :width] = samples
    if plane.width > width:
        rows[:height, width] = samples[:, -1]
    if plane.height > height:
        rows[height, : plane.width] = rows[height - 1, : plane.width]


class VideoEncoder:
    """Encodes one stream; starts anew only when it must, because that costs a keyframe.

    Answers aiortc's encoders: x264 at preset medium with all threads (6 times
    the time of ultrafast), VP8 at half the speed it can have, a new encoder and
    so a keyframe at every 10 % of bitrate, a decoder's keyframe flag that is
    passed on as a wish for another keyframe, and odd sizes that x264 refuses.

    Args:
        codec: "H264" or "VP8".
        start_bitrate_bps: 0 chooses by resolution.
        min_bitrate_bps: Lower estimates are not followed.
        max_bitrate_bps: Higher ones neither.
        codecs: Who encodes H.264; VP8 is the processor's, as no card encodes it.

    Attributes:
        side: Who encodes now.
        fallbacks: How often the card was given up.
        from_card: Pictures that were encoded where they lay, on the card.
    """

    def __init__(
        self,
        codec: Codec,
        *,
        start_bitrate_bps: int = 0,
        min_bitrate_bps: int = 300_000,
        max_bitrate_bps: int = 6_000_000,
        codecs: Codecs = CPU,
    ) -> None:
        self.codec = codec
        self.side: Side = codecs.encode if codec == "H264" else "cpu"
        self.fallbacks = 0
        self.from_card = 0
        self._codecs = codecs
        self._device: Device | None = None
        self.keyframes = 0
        self.restarts = 0
        self._start_bps = start_bitrate_bps
        self._min_bps, self._max_bps = min_bitrate_bps, max_bitrate_bps
        self._context: Any = None
        self._key: tuple[int, int, Colour] | None = None
        self._decoder: object = None
        self._bitrate_bps = 0
        self._estimate_bps: int | None = None
        self._begun_ns = 0
        self._picture_id = random.randrange(1 << 15)
        self._last_pts: int | None = None

    @property
    def name(self) -> str:
        """FFmpeg's encoder."""
        if self.side == "nvidia":
            return nvenc.ENCODER
        return "libx264" if self.codec == "H264" else "libvpx"

    @property
    def bitrate_bps(self) -> int:
        """What the running encoder is set to; 0 before the first frame."""
        return self._bitrate_bps

    @property
    def takes_from_card(self) -> bool:
        """Whether pictures that stay on the card may be encoded there."""
        return self.side == "nvidia" and self._codecs.shared is not None

    def set_estimate(self, bitrate_bps: int) -> None:
        """Say what the path carries (the viewer's REMB)."""
        self._estimate_bps = bitrate_bps

    def encode(self, frame: VideoFrame, now_ns: int, *, keyframe: bool = False) -> EncodedVideo:
        """Encode one frame.

        Args:
            frame: Any size; an odd side is padded by one, because x264 wants even ones.
            now_ns: Clock time, for the pace of bitrate changes.
            keyframe: Whether it must be decodable alone.

        Returns:
            What to send; nothing where the picture is lost with the card that it lay on.
        """
        try:
            packets = self._encoded_somewhere(frame, now_ns, keyframe=keyframe)
        except PictureLost as error:
            log.warning("a picture cannot be encoded: %s", error)
            return EncodedVideo([], keyframe=False)
        data = b"".join(bytes(packet) for packet in packets)
        is_key = any(packet.is_keyframe for packet in packets)
        self.keyframes += is_key
        return EncodedVideo(self._packetise(data), is_key)

    def _encoded_somewhere(self, frame: VideoFrame, now_ns: int, *, keyframe: bool) -> list[Any]:
        try:
            return self._encoded(frame, now_ns, keyframe=keyframe)
        except CARD_FAULTS as error:
            if self.side == "cpu":
                raise
            self._leave_card(error)
            # The same picture again: the new encoder begins with it, as a keyframe, and none is lost.
            return self._encoded(frame, now_ns, keyframe=keyframe)

    def _encoded(self, frame: VideoFrame, now_ns: int, *, keyframe: bool) -> list[Any]:
        key = (frame.height, frame.width, frame.colour)
        wanted_bps = self._wanted_bps(frame, now_ns, same=key == self._key)
        moved = self._comes_from_elsewhere(frame)
        if self._context is None or key != self._key or wanted_bps != self._bitrate_bps or moved:
            self._open(frame, wanted_bps, now_ns)
            self._key = key
        if frame.on_card is not None:
            self._decoder = frame.on_card.decoder
        if self._codecs.shared is not None and self._device is not None:
            self._codecs.shared.check(self._device)
        packets: list[Any] = self._context.encode(self._picture(frame, keyframe=keyframe))
        return packets

    def _comes_from_elsewhere(self, frame: VideoFrame) -> bool:
        """Whether the picture lies in another decoder's memory than those before it.

        NVENC goes on knowing addresses that a decoder has freed, and another may be given the same ones. Who is held
        here frees nothing before the encoder is a new one.
        """
        return frame.on_card is not None and self._decoder not in (None, frame.on_card.decoder)

    def _leave_card(self, error: Exception) -> None:
        log.warning("NVENC has failed (%s): the processor encodes this stream from this picture on", error)
        self.side, self._context, self._device = "cpu", None, None
        self.fallbacks += 1

    def _wanted_bps(self, frame: VideoFrame, now_ns: int, *, same: bool) -> int:
        """The rate to run at: the present one unless the path's estimate is far from it."""
        ideal_bps = self._start_bps or default_bitrate_bps(frame.height, frame.width)
        estimate_bps = ideal_bps if self._estimate_bps is None else min(self._estimate_bps, ideal_bps)
        estimate_bps = max(self._min_bps, min(estimate_bps, self._max_bps))
        if not same or not self._bitrate_bps:
            return estimate_bps
        if estimate_bps < _SHRINK_BELOW * self._bitrate_bps:
            return estimate_bps
        if estimate_bps > _GROW_ABOVE * self._bitrate_bps and now_ns - self._begun_ns >= _GROW_EVERY_NS:
            return estimate_bps
        return self._bitrate_bps

    def _open(self, frame: VideoFrame, bitrate_bps: int, now_ns: int) -> None:
        device: Device | None = None
        if self.side == "nvidia":
            context, device = self._codecs.open_on_card(self.name, "w")
        else:
            context = self._codecs.open(self.name, "w", None)
        context.width, context.height = frame.width + frame.width % 2, frame.height + frame.height % 2
        # What lies on the card is NV12, and one encoder takes one format.
        context.pix_fmt = "yuv420p" if device is None else "nv12"
        context.bit_rate = bitrate_bps
        context.framerate = fractions.Fraction(_FRAME_RATE_HZ, 1)
        context.time_base = fractions.Fraction(1, _PTS_HZ)
        context.gop_size = _KEYFRAME_EVERY
        context.thread_count = 1
        if self.codec == "H264":
            context.colorspace = 1 if frame.colour.matrix == "bt709" else 6
            context.color_range = 2 if frame.colour.full_range else 1
        pixels = context.width * context.height
        if self.side == "nvidia":
            context.options = nvenc.live_options(bitrate_bps, pixels)
        elif self.codec == "H264":
            context.profile = "Baseline"
            context.options = _x264_options(bitrate_bps, pixels)
        else:
            context.qmin, context.qmax = 2, 56
            context.options = _vp8_options(bitrate_bps)
        if device is not None:
            # Before the first picture: PyAV would else take that one's memory pool for the encoder's, and its size.
            context.open()
        self.restarts += self._context is not None
        self._context, self._device, self._bitrate_bps, self._begun_ns = context, device, bitrate_bps, now_ns

    def _picture(self, frame: VideoFrame, *, keyframe: bool) -> Any:  # noqa: ANN401 - see copy_frame
        if (card := frame.on_card) is not None and card.device is self._device:
            picture = card.source
            self.from_card += 1
        else:
            picture = self._copied(frame)
        picture.pict_type = PictureType.I if keyframe else PictureType.NONE
        # Rate control divides by the step: it must be positive, whatever pts do.
        pts = frame.pts_ns * _PTS_HZ // NS_PER_S
        if self._last_pts is not None:
            pts = max(pts, self._last_pts + _PTS_HZ * NS_PER_MS // NS_PER_S)
        picture.pts = self._last_pts = pts
        picture.time_base = fractions.Fraction(1, _PTS_HZ)
        return picture

    def _copied(self, frame: VideoFrame) -> Any:  # noqa: ANN401 - see copy_frame
        try:
            planes = frame.planes
        except CARD_FAULTS as error:
            raise PictureLost(f"it cannot be brought into memory ({error})") from error
        picture = cast("Any", av.VideoFrame(self._context.width, self._context.height, "yuv420p"))
        for plane, samples in zip(picture.planes, planes, strict=True):
            _write_plane(plane, samples)
        return picture

    def _packetise(self, data: bytes) -> list[bytes]:
        if self.codec == "H264":
            return packetise_h264(data)
        self._picture_id = (self._picture_id + 1) % (1 << 15)
        return packetise_vp8(data, self._picture_id)


def _x264_options(bitrate_bps: int, pixels: int) -> dict[str, str]:
    """Ultrafast with its deblocking filter left on: 0.7 of superfast's time at the same rate and SSIM.

    Measured on 1280x720 of a talking head at 2.7 Mbit/s: 4.7 against 6.7 ms of processor time, SSIM
    0.966 against 0.970; without the filter 0.927.
    """
    return {
        "preset": "ultrafast",
        "deblock": "0:0",
        "tune": "zerolatency",
        "level": "31" if pixels <= 1280 * 720 else "42",
        "forced-idr": "1",
        # A cut in the picture costs one large frame, not a keyframe of the encoder's own choice.
        "sc_threshold": "0",
        # Half a second of buffer: no frame takes more than that long on a path of this rate.
        "maxrate": str(bitrate_bps * 3 // 2),
        "bufsize": str(bitrate_bps // 2),
    }


def _vp8_options(bitrate_bps: int) -> dict[str, str]:
    """As aiortc's, with cpu-used -12 (1.5 instead of 3.0 ms at 640x480) and constant bitrate.

    Without its "partitions": FFmpeg's libvpx has no such option and drops it without a word.
    """
    return {
        "bufsize": str(bitrate_bps),
        "cpu-used": "-12",
        "deadline": "realtime",
        "lag-in-frames": "0",
        "minrate": str(bitrate_bps),
        "maxrate": str(bitrate_bps),
        "noise-sensitivity": "0",
        "overshoot-pct": "15",
        "undershoot-pct": "100",
        "static-thresh": "1",
    }


def packetise_vp8(data: bytes, picture_id: int) -> list[bytes]:
    """Split a frame (RFC 7741)."""
    descriptor = aiortc_vpx.VpxPayloadDescriptor(partition_start=1, partition_id=0, picture_id=picture_id)
    payloads = []
    room = PACKET_MAX - len(bytes(descriptor))
    for at in range(0, len(data), room):
        payloads.append(bytes(descriptor) + data[at : at + room])
        descriptor.partition_start = 0
    return payloads


def packetise_h264(data: bytes) -> list[bytes]:
    """Split an Annex B access unit into single, aggregated and fragmented units (RFC 6184)."""
    payloads: list[bytes] = []
    small: list[bytes] = []
    for unit in aiortc_h264.H264Encoder._split_bitstream(data):
        if small and sum(len(u) + 2 for u in small) + len(unit) + 3 > PACKET_MAX:
            payloads.append(_aggregate(small))
            small = []
        if len(unit) > PACKET_MAX:
            payloads += _fragment(unit)
        else:
            small.append(unit)
    if small:
        payloads.append(_aggregate(small))
    return payloads


def _aggregate(units: list[bytes]) -> bytes:
    """One unit as it is, several as a STAP-A (RFC 6184, 5.7.1)."""
    if len(units) == 1:
        return units[0]
    importance = max(unit[0] & 0x60 for unit in units)
    return bytes([importance | 24]) + b"".join(len(unit).to_bytes(2, "big") + unit for unit in units)


def _fragment(unit: bytes) -> list[bytes]:
    """FU-A fragments of nearly equal size (RFC 6184, 5.8)."""
    body = unit[1:]
    count = -(-len(body) // (PACKET_MAX - 2))
    edges = [len(body) * index // count for index in range(count + 1)]
    indicator, kind = (unit[0] & 0xE0) | 28, unit[0] & 0x1F
    return [
        bytes([indicator, kind | (0x80 if index == 0 else 0) | (0x40 if index == count - 1 else 0)])
        + body[edges[index] : edges[index + 1]]
        for index in range(count)
    ]
