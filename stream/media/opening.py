"""Opening a file: which of its streams count, where its clock starts, and one line for what cannot be read."""

import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer
from av.stream import Disposition, Stream

from stream.errors import MediaError


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
        raise MediaError(f"{name} {why_unreadable(source)}") from error


def why_unreadable(source: Path | bytes) -> str:
    """Say what is wrong with a file, as the end of a sentence that its name begins."""
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


def packets_of(
    container: InputContainer, streams: list[av.VideoStream | av.AudioStream]
) -> Iterator["av.Packet[Stream]"]:
    """Yield packets up to the end; a torn tail is an end too."""
    try:
        yield from container.demux(*streams)
    except av.FFmpegError:
        return


def video_stream(container: InputContainer, path: Path) -> av.VideoStream:
    """Return the first stream of moving pictures; a cover image is none."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            stream.thread_type = "AUTO"
            return stream
    if why_unreadable(path).startswith("is cut"):
        raise MediaError(f"{path.name} {why_unreadable(path)}")
    raise MediaError(f"{path.name} has no picture: expected a file with a video stream")


def start_of(container: InputContainer) -> Fraction:
    """Where the clock of a file starts, in seconds of its pts; never later than its first picture or sample."""
    starts = [s.start_time * s.time_base for s in container.streams if s.start_time is not None and s.time_base]
    pictures = [s.start_time * s.time_base for s in container.streams.video if s.start_time is not None and s.time_base]
    # Sound may begin a codec delay before zero; only a picture before zero moves the clock back.
    return max(min(starts, default=Fraction(0)), min([Fraction(0), *pictures]))
