"""What a clip holds and whether all of it is there, found by a walk through its packets; nothing is decoded.

A file that was cut short is refused in the first second, and a progress bar knows its end.
"""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av

from stream.errors import MediaError
from stream.frames import NS_PER_S
from stream.media.opening import open_media, packets_of, start_of, video_stream, why_unreadable

# Headers of these name the true length; others (MPEG streams, MP3) only estimate it from the file's size.
_EXACT_HEADERS = ("mov", "matroska", "avi")
# The last packet of a whole file may carry no duration: one picture at 5 a second, or a few packets of sound.
_MISSING_TOLERANCE_NS = NS_PER_S // 4


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


class _Extent:
    """From the earliest start to the latest end of what was added, in seconds of pts."""

    def __init__(self) -> None:
        self.count = 0
        self._start = self._end = Fraction(0)

    def add(self, start: Fraction, end: Fraction) -> None:
        self._start = min(self._start, start) if self.count else start
        self._end = max(self._end, end) if self.count else end
        self.count += 1

    @property
    def length_ns(self) -> int:
        return round((self._end - self._start) * NS_PER_S)


def survey(path: Path) -> Survey:
    """Walk through all packets of a clip.

    Raises:
        MediaError: It cannot be read, or has no video stream.
    """
    with open_media(path, path.name) as container:
        stream = video_stream(container, path)
        if "mov" in container.format.name and (cut := why_unreadable(path)).startswith("is cut"):
            raise MediaError(f"{path.name} {cut}")
        pictures, everything = _Extent(), _Extent()
        for packet in packets_of(container, [stream, *container.streams.audio[:1]]):
            tick = packet.dts if packet.pts is None else packet.pts
            if tick is None or not packet.size or packet.is_corrupt:
                continue
            start, end = tick * packet.time_base, (tick + (packet.duration or 0)) * packet.time_base
            everything.add(start, end)
            if packet.stream_index == stream.index:
                pictures.add(start, end)
        exact = any(kind in container.format.name for kind in _EXACT_HEADERS)
        return Survey(
            pictures.count,
            pictures.length_ns,
            everything.length_ns,
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
        stream = video_stream(container, path)
        origin = start_of(container)
        ticks = (packet.pts for packet in packets_of(container, [stream]))
        base = stream.time_base or Fraction(1)
        return sorted(round((tick * base - origin) * NS_PER_S) for tick in ticks if tick is not None)
