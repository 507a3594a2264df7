"""Reading a clip: its pictures one by one, upright, on the session's timeline."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer

from kernels.yuv import Colour
from stream.errors import MediaError
from stream.frames import NS_PER_S, VideoFrame
from stream.media.codec_device import CARD_FAULTS, CPU, CardFault, Codecs, Side
from stream.media.opening import open_media, packets_of, start_of, video_stream
from stream.media.picture import Orientation, colour_of, orientation_of, planes_of

log = logging.getLogger(__name__)

_FALLBACK_RATE = Fraction(25)
_FROM_CARD = ("nv12", "nv16", "p010le", "p016le", "p210le", "p216le")


@dataclass(frozen=True, slots=True)
class ColourTags:
    """What a container says about colour, in libavutil's numbers; copied to the output."""

    matrix: int
    primaries: int
    transfer: int
    span: int


@dataclass(frozen=True, slots=True)
class ClipFormat:
    """What the pictures of a clip are, once upright.

    Attributes:
        width: Columns of an upright picture.
        height: Rows of an upright picture.
        time_base: Seconds per tick of the file's pts.
        rate: Nominal pictures a second; the pts are what counts.
        pixel_aspect: Width over height of one pixel, or None if the file does not say.
        colour: Matrix and range of the planes.
        tags: The colour tags as stored.
        orientation: What was done to the stored pictures to make them upright.
    """

    width: int
    height: int
    time_base: Fraction
    rate: Fraction
    pixel_aspect: Fraction | None
    colour: Colour
    tags: ColourTags
    orientation: Orientation


class ClipReader:
    """The pictures of one clip, in order, upright.

    A codec or a format that the card does not know is decoded by the processor, as FFmpeg arranges; `on_card` tells.

    Time zero is where the file's own clock starts: 0 for MP4 and MKV, the
    first pts for streams that were cut out of a longer one.

    Attributes:
        format: What the pictures are.
        damaged: Packets that could not be decoded so far.
        side: Who decodes now.
        fallbacks: How often the card was given up; the pictures then come from the processor, none is missing.
        on_card: Pictures that the card decoded so far, those that only `format` was read from left out.

    Raises:
        MediaError: The clip cannot be read or holds no picture.
    """

    def __init__(self, path: Path, codecs: Codecs = CPU) -> None:
        self._path, self._codecs = path, codecs
        self.side: Side = codecs.decode
        self.fallbacks = self.damaged = self.on_card = 0
        try:
            self.format = self._first_format()
        except CardFault as fault:
            self._leave_card(fault)
            self.format = self._first_format()
        self.damaged = self.on_card = 0

    def _first_format(self) -> ClipFormat:
        with self._opened() as container:
            stream = video_stream(container, self._path)
            first = next(self._decoded(container, stream), None)
            if first is None:
                raise MediaError(f"{self._path.name} holds no picture that can be decoded: copy or record it again")
            return _format_of(stream, first)

    def frames(self) -> Iterator[VideoFrame]:
        """Decode all pictures; `pts_ns` grows strictly, a picture that repeats a pts is left out."""
        reached: Fraction | None = None
        try:
            for time_s, frame in self._frames_after(None):
                reached = time_s
                yield frame
        except CardFault as fault:
            self._leave_card(fault)
            self.damaged = 0
            yield from (frame for _, frame in self._frames_after(reached))

    def _frames_after(self, last: Fraction | None) -> Iterator[tuple[Fraction, VideoFrame]]:
        """Decode from the start and give what is later than `last`, with its time in seconds."""
        with self._opened() as container:
            stream = video_stream(container, self._path)
            origin = start_of(container)
            for picture in self._decoded(container, stream):
                time_s = self._time_s(picture, origin, last)
                if last is None or time_s > last:
                    last = time_s
                    planes = planes_of(self._same_size(picture), self.format.orientation)
                    yield time_s, VideoFrame(round(time_s * NS_PER_S), 0, "yuv420p", planes, self.format.colour)

    def _opened(self) -> InputContainer:
        if self.side == "cpu":
            return open_media(self._path, self._path.name)
        try:
            return self._codecs.open_file(self._path, self._codecs.card)
        except CARD_FAULTS as error:
            raise CardFault(str(error)) from error

    def _leave_card(self, fault: CardFault) -> None:
        log.warning("NVDEC has failed at %s (%s): the processor decodes it from there", self._path.name, fault)
        self.side = "cpu"
        self.fallbacks += 1

    def _same_size(self, picture: av.VideoFrame) -> av.VideoFrame:
        """Scale a picture whose stream changed its size midway; all others pass as they are."""
        width, height = self.format.width, self.format.height
        if self.format.orientation.transpose:
            width, height = height, width
        return picture if (picture.width, picture.height) == (width, height) else picture.reformat(width, height)

    def _time_s(self, picture: av.VideoFrame, origin: Fraction, last: Fraction | None) -> Fraction:
        if picture.pts is not None and picture.time_base is not None:
            return picture.pts * picture.time_base - origin
        return Fraction(0) if last is None else last + 1 / self.format.rate

    def _decoded(self, container: InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
        for packet in packets_of(container, [stream]):
            try:
                pictures = [each for each in packet.decode() if isinstance(each, av.VideoFrame)]
            except av.FFmpegError as error:
                if self.side == "nvidia" and not isinstance(error, av.error.InvalidDataError):
                    raise CardFault(str(error)) from error
                self.damaged += 1
                continue
            # What comes from a card's memory is NV12 or its like with more bits; FFmpeg's own decoders give planes.
            self.on_card += sum(each.format.name in _FROM_CARD for each in pictures) if self.side == "nvidia" else 0
            yield from pictures


def _format_of(stream: av.VideoStream, first: av.VideoFrame) -> ClipFormat:
    orientation = orientation_of(first)
    width, height = first.width, first.height
    aspect = stream.sample_aspect_ratio
    if orientation.transpose:
        width, height = height, width
        aspect = 1 / aspect if aspect else None
    return ClipFormat(
        width,
        height,
        stream.time_base or Fraction(1, 90_000),
        stream.average_rate or stream.guessed_rate or _FALLBACK_RATE,
        aspect or None,
        colour_of(first),
        ColourTags(first.colorspace, first.color_primaries, first.color_trc, first.color_range),
        orientation,
    )
