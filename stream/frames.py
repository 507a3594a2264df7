"""Media units that travel through one session. All of them are immutable.

Times end in `_ns` and are integer nanoseconds of *media time*: zero is the
first instant of the session, shared by sound and picture. Ticks of a
`time_base` exist only in `stream/transport` and `stream/media.py`.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kernels.yuv import BT601_LIMITED, Colour

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000

Planes = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class VideoFrame:
    """One picture.

    Attributes:
        pts_ns: Media time at which the picture was taken.
        arrival_ns: Clock time at which it was decoded (0 in file mode).
        format: Only "yuv420p" travels inside a session.
        planes: uint8 Y [H, W], U and V [ceil(H/2), ceil(W/2)]; owned by the
            frame and writable, so that a face is pasted in place.
        colour: Matrix and range of the planes.
    """

    pts_ns: int
    arrival_ns: int
    format: Literal["yuv420p"]
    planes: Planes
    colour: Colour = BT601_LIMITED

    @property
    def height(self) -> int:
        """Rows of the luma plane."""
        return int(self.planes[0].shape[0])

    @property
    def width(self) -> int:
        """Columns of the luma plane."""
        return int(self.planes[0].shape[1])


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """A run of mono samples.

    Attributes:
        pts_ns: Time of the first sample.
        sample_rate_hz: 16_000 inside a session, 48_000 at the edges.
        samples: float32 [n], full scale is [-1, 1].
    """

    pts_ns: int
    sample_rate_hz: int
    samples: NDArray[np.float32]

    @property
    def end_ns(self) -> int:
        """Time just after the last sample, which is the next chunk's `pts_ns`."""
        return self.pts_ns + len(self.samples) * NS_PER_S // self.sample_rate_hz


@dataclass(frozen=True, slots=True)
class FaceCrop:
    """Where one face is in one frame.

    Attributes:
        face_id: The same number for the same face from frame to frame.
        pts_ns: Time of the frame.
        to_crop: float32 [2, 3], frame pixels (x, y) to crop pixels.
        landmarks: float32 [478, 2], frame pixels (x, y).
        confidence: 0 (lost, turned away or covered) to 1 (the mouth is plainly seen).
    """

    face_id: int
    pts_ns: int
    to_crop: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    confidence: float


@dataclass(frozen=True, slots=True)
class SyncedFrame:
    """A picture with the sound that belongs to it: the meeting point.

    Attributes:
        frame: The picture.
        faces: The faces found in it, possibly none.
        mel: float32 [80, T], the mel window around `frame.pts_ns` of the voice
            that will be heard; None when the picture should pass unchanged.
    """

    frame: VideoFrame
    faces: tuple[FaceCrop, ...]
    mel: NDArray[np.float32] | None
