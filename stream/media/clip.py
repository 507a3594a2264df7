"""Reading a clip: its pictures one by one, upright, on the session's timeline."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer

from kernels.yuv import Colour
from stream.errors import MediaError
from stream.frames import NS_PER_S, VideoFrame
from stream.media.opening import open_media, packets_of, start_of, video_stream
from stream.media.picture import Orientation, colour_of, orientation_of, planes_of

_FALLBACK_RATE = Fraction(25)


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

    Time zero is where the file's own clock starts: 0 for MP4 and MKV, the
    first pts for streams that were cut out of a longer one.

    Attributes:
        format: What the pictures are.
        damaged: Packets that could not be decoded so far.

    Raises:
        MediaError: The clip cannot be read or holds no picture.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.damaged = 0
        with open_media(path, path.name) as container:
            stream = video_stream(container, path)
            first = next(self._decoded(container, stream), None)
            if first is None:
                raise MediaError(f"{path.name} holds no picture that can be decoded: copy or record it again")
            self.format = _format_of(stream, first)
        self.damaged = 0

    def frames(self) -> Iterator[VideoFrame]:
        """Decode all pictures; `pts_ns` grows strictly, a picture that repeats a pts is left out."""
        with open_media(self._path, self._path.name) as container:
            stream = video_stream(container, self._path)
            origin = start_of(container)
            last: Fraction | None = None
            for picture in self._decoded(container, stream):
                time_s = self._time_s(picture, origin, last)
                if last is None or time_s > last:
                    last = time_s
                    planes = planes_of(self._same_size(picture), self.format.orientation)
                    yield VideoFrame(round(time_s * NS_PER_S), 0, "yuv420p", planes, self.format.colour)

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
                pictures = packet.decode()
            except av.FFmpegError:
                self.damaged += 1
                continue
            yield from (each for each in pictures if isinstance(each, av.VideoFrame))


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
