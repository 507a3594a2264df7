"""Reading a clip: what it holds, whether all of it is there, and its pictures one by one.

A clip is surveyed before anything is decoded, so that a file that was cut
short is refused in the first second and the progress bar knows its end.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer
from av.stream import Disposition, Stream

from kernels.yuv import Colour
from stream.errors import MediaError
from stream.frames import NS_PER_S, VideoFrame
from stream.media.picture import Orientation, colour_of, orientation_of, planes_of

# Headers of these name the true length; others (MPEG streams, MP3) only estimate it from the file's size.
_EXACT_HEADERS = ("mov", "matroska", "avi")
# The last packet of a whole file may carry no duration: one picture at 5 a second, or a few packets of sound.
_MISSING_TOLERANCE_NS = NS_PER_S // 4
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


@dataclass(frozen=True, slots=True)
class Survey:
    """What a walk through the packets of a clip found, without decoding any.

    Attributes:
        pictures: Packets of the video stream.
        pictures_ns: From the start of its first picture to the end of its last one.
        length_ns: From the start of its first packet to the end of its last one, sound or picture.
        promised_ns: The same as its header says, or None where the header only guesses.
        promised_pictures: Pictures that an MP4's index counts; 0 for all others.
        has_sound: There is a sound track.
        metadata: The file's own tags.
    """

    pictures: int
    pictures_ns: int
    length_ns: int
    promised_ns: int | None
    promised_pictures: int
    has_sound: bool
    metadata: dict[str, str]

    @property
    def cut_short(self) -> bool:
        """The header promises more than the file holds."""
        missing_ns = 0 if self.promised_ns is None else self.promised_ns - self.length_ns
        return missing_ns > _MISSING_TOLERANCE_NS or self.promised_pictures > self.pictures


def open_media(source: Path | bytes, name: str) -> InputContainer:
    """Open a file or its bytes for reading.

    Raises:
        MediaError: It is missing, unreadable, empty, or not media; the message names it.
    """
    if isinstance(source, Path) and not source.exists():
        raise MediaError(f"{name}: no such file")
    if isinstance(source, Path) and source.is_dir():
        raise MediaError(f"{name} is a folder, expected a media file")
    try:
        return av.open(io.BytesIO(source) if isinstance(source, bytes) else str(source), "r", metadata_errors="replace")
    except av.error.PermissionError as error:
        raise MediaError(f"{name} may not be read: check its permissions") from error
    except (av.FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"{name} {_why_unreadable(source)}") from error


def _why_unreadable(source: Path | bytes) -> str:
    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        length = file.seek(0, io.SEEK_END)
        file.seek(0)
        if not length:
            return "is empty: copy or record it again"
        if _is_cut_mp4(file, length):
            return "is cut short: its index (moov) is missing; copy or record it again"
    return "is not a media file that can be read: expected video such as MP4, MOV, MKV or sound such as WAV, FLAC, MP3"


def _is_cut_mp4(file: BinaryIO, length: int) -> bool:
    """Walk through the top-level boxes of an MP4 (ISO 14496-12, section 4.2): is the index missing or torn?"""
    at, first = 0, True
    while at + 8 <= length:
        file.seek(at)
        head = file.read(16)
        size, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if first and kind != b"ftyp":
            return False
        first = False
        size = int.from_bytes(head[8:], "big") if size == 1 else size or length - at
        if kind == b"moov":
            return at + size > length
        if size < 8:
            return False
        at += size
    return not first


def survey(path: Path) -> Survey:
    """Walk through all packets of a clip.

    Raises:
        MediaError: It cannot be read, or has no video stream.
    """
    with open_media(path, path.name) as container:
        stream = _video_stream(container, path)
        if "mov" in container.format.name and (cut := _why_unreadable(path)).startswith("is cut"):
            raise MediaError(f"{path.name} {cut}")
        seen: dict[int, list[tuple[Fraction, Fraction]]] = {stream.index: []}
        for packet in _packets(container, [stream, *container.streams.audio[:1]]):
            tick = packet.dts if packet.pts is None else packet.pts
            if tick is not None and packet.size and not packet.is_corrupt:
                span = tick * packet.time_base, (tick + (packet.duration or 0)) * packet.time_base
                seen.setdefault(packet.stream_index, []).append(span)
        pictures = seen[stream.index]
        exact = any(kind in container.format.name for kind in _EXACT_HEADERS)
        return Survey(
            len(pictures),
            _extent_ns(pictures),
            _extent_ns([span for spans in seen.values() for span in spans]),
            container.duration * (NS_PER_S // av.time_base) if container.duration and exact else None,
            stream.frames if "mov" in container.format.name else 0,
            bool(container.streams.audio),
            dict(container.metadata),
        )


def picture_times_ns(path: Path) -> list[int]:
    """Times of all pictures after the file's own start, in order, without decoding them.

    Raises:
        MediaError: The file cannot be read, or has no video stream.
    """
    with open_media(path, path.name) as container:
        stream = _video_stream(container, path)
        origin = start_of(container)
        ticks = (packet.pts for packet in _packets(container, [stream]))
        base = stream.time_base or Fraction(1)
        return sorted(round((tick * base - origin) * NS_PER_S) for tick in ticks if tick is not None)


def _extent_ns(spans: list[tuple[Fraction, Fraction]]) -> int:
    """Time from the earliest start to the latest end; 0 for none."""
    if not spans:
        return 0
    return round((max(end for _, end in spans) - min(start for start, _ in spans)) * NS_PER_S)


def _packets(
    container: InputContainer, streams: list[av.VideoStream | av.AudioStream]
) -> Iterator["av.Packet[Stream]"]:
    """Yield packets up to the end; a torn tail is an end too."""
    try:
        yield from container.demux(*streams)
    except av.FFmpegError:
        return


def _video_stream(container: InputContainer, path: Path) -> av.VideoStream:
    """Return the first stream of moving pictures; a cover image is none."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            stream.thread_type = "AUTO"
            return stream
    if _why_unreadable(path).startswith("is cut"):
        raise MediaError(f"{path.name} {_why_unreadable(path)}")
    raise MediaError(f"{path.name} has no picture: expected a file with a video stream")


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
            stream = _video_stream(container, path)
            first = next(self._decoded(container, stream), None)
            if first is None:
                raise MediaError(f"{path.name} holds no picture that can be decoded: copy or record it again")
            self.format = _format_of(stream, first)
        self.damaged = 0

    def frames(self) -> Iterator[VideoFrame]:
        """Decode all pictures; `pts_ns` grows strictly, a picture that repeats a pts is left out."""
        with open_media(self._path, self._path.name) as container:
            stream = _video_stream(container, self._path)
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
        for packet in _packets(container, [stream]):
            try:
                pictures = packet.decode()
            except av.FFmpegError:
                self.damaged += 1
                continue
            yield from (each for each in pictures if isinstance(each, av.VideoFrame))


def start_of(container: InputContainer) -> Fraction:
    """Where the clock of a file starts, in seconds of its pts; never later than its first picture or sample."""
    starts = [s.start_time * s.time_base for s in container.streams if s.start_time is not None and s.time_base]
    pictures = [s.start_time * s.time_base for s in container.streams.video if s.start_time is not None and s.time_base]
    # Sound may begin a codec delay before zero; only a picture before zero moves the clock back.
    return max(min(starts, default=Fraction(0)), min([Fraction(0), *pictures]))


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
