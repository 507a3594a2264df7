"""Reading a clip: its pictures as planes, its sound at 16 kHz, both on one timeline.

Time zero is the first sample of sound; the streams' own pts decide where the pictures lie.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from kernels.mel import SAMPLE_RATE_HZ

NS_PER_S = 1_000_000_000
Planes = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]


class MaterialError(Exception):
    """A clip or portrait cannot be used; the message names the file and the reason."""


def read_sound(path: Path) -> tuple[NDArray[np.float32], int]:
    """The whole sound of a clip.

    Returns:
        float32 [n] mono at 16 kHz, and the pts of its first sample on the file's clock in ns.

    Raises:
        MaterialError: The file is missing, unreadable, or has no sound.
    """
    with _open(path) as container:
        if not container.streams.audio:
            raise MaterialError(f"{path} has no sound; lips cannot be learned from it")
        resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE_HZ)
        chunks: list[NDArray[np.float32]] = []
        start_ns: int | None = None
        for frame in container.decode(audio=0):
            if start_ns is None:
                start_ns = _pts_ns(frame)
            chunks += [each.to_ndarray()[0] for each in resampler.resample(frame)]
        chunks += [each.to_ndarray()[0] for each in resampler.resample(None)]
    if start_ns is None:
        raise MaterialError(f"{path} has a sound track without samples")
    return np.concatenate(chunks).astype(np.float32), start_ns


def read_pictures(path: Path, zero_ns: int) -> Iterator[tuple[int, Planes]]:
    """The pictures of a clip, one at a time.

    Yields:
        Time in ns after `zero_ns`, and the planes Y [H, W], U and V [ceil(H/2), ceil(W/2)].

    Raises:
        MaterialError: The file is missing or unreadable, or has no picture.
    """
    with _open(path) as container:
        if not container.streams.video:
            raise MaterialError(f"{path} has no picture")
        container.streams.video[0].thread_type = "AUTO"
        for frame in container.decode(video=0):
            yield _pts_ns(frame) - zero_ns, _planes(frame)


def _open(path: Path) -> av.container.InputContainer:
    if not path.is_file():
        raise MaterialError(f"no clip {path}; check --material")
    try:
        return av.open(str(path))
    except av.FFmpegError as error:
        raise MaterialError(f"{path} cannot be read as media: {error}") from error


def _pts_ns(frame: av.VideoFrame | av.AudioFrame) -> int:
    if frame.pts is None or frame.time_base is None:
        raise MaterialError("a frame without pts; rewrap the file with ffmpeg -fflags +genpts")
    return round(frame.pts * frame.time_base * NS_PER_S)


def _planes(frame: av.VideoFrame) -> Planes:
    picture = frame if frame.format.name == "yuv420p" else frame.reformat(format="yuv420p")
    width, height = picture.width, picture.height
    sizes = [(height, width), ((height + 1) // 2, (width + 1) // 2), ((height + 1) // 2, (width + 1) // 2)]
    y, u, v = (_plane(plane, *size) for plane, size in zip(picture.planes, sizes, strict=True))
    return y, u, v


def _plane(plane: av.video.plane.VideoPlane, height: int, width: int) -> NDArray[np.uint8]:
    rows = np.frombuffer(bytes(plane), np.uint8).reshape(-1, plane.line_size)
    return np.ascontiguousarray(rows[:height, :width])
