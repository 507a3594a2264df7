"""Media units that travel through one session. All of them are immutable.

Times end in `_ns` and are integer nanoseconds of *media time*: zero is the
first instant of the session, shared by sound and picture. Ticks of a
`time_base` exist only in `stream/transport` and `stream/media.py`.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kernels.cuda.device import DeviceError
from kernels.yuv import BT601_LIMITED, Colour, Region
from stream.card_picture import CardPicture

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
        picture: The planes; or a picture that is still on the card that decoded it.
        colour: Matrix and range of the planes.
    """

    pts_ns: int
    arrival_ns: int
    format: Literal["yuv420p"]
    picture: Planes | CardPicture
    colour: Colour = BT601_LIMITED

    @property
    def planes(self) -> Planes:
        """uint8 Y [H, W], U and V [ceil(H/2), ceil(W/2)], as the picture is now.

        In memory they are owned by the frame and writable, so that a face is pasted in place; those of a picture on a
        card are not, and come down when they are asked for.
        """
        return self.picture.planes() if isinstance(self.picture, CardPicture) else self.picture

    @property
    def on_card(self) -> CardPicture | None:
        """The picture where it is on a card, and there to be drawn in and encoded."""
        if isinstance(self.picture, CardPicture) and self.picture.source is not None:
            return self.picture
        return None

    @property
    def height(self) -> int:
        """Rows of the luma plane."""
        return self.picture.height if isinstance(self.picture, CardPicture) else int(self.picture[0].shape[0])

    @property
    def width(self) -> int:
        """Columns of the luma plane."""
        return self.picture.width if isinstance(self.picture, CardPicture) else int(self.picture[0].shape[1])

    def canvas(self) -> "VideoFrame":
        """A picture in memory of the same time, size and colours, of which every sample is still to be drawn."""
        height, width = self.height, self.width
        half = ((height + 1) // 2, (width + 1) // 2)
        planes = np.empty((height, width), np.uint8), np.empty(half, np.uint8), np.empty(half, np.uint8)
        return replace(self, picture=planes)

    def in_memory(self) -> "VideoFrame":
        """The same frame with planes that may be written."""
        if isinstance(self.picture, CardPicture):
            return replace(self, picture=self.picture.into_memory())
        return self

    def part(self, region: Region) -> Planes:
        """A rectangle of the three planes to be changed, and then `put`; its corners are even."""
        if (card := self.on_card) is not None:
            return card.part(region)
        luma, blue, red = self.planes
        return region.of(luma), region.of_chroma(blue), region.of_chroma(red)

    def put(self, region: Region, part: Planes) -> None:
        """Have a changed `part` seen: those of a picture in memory are views of it, to a card they go up.

        Raises:
            DeviceError: The card has failed; the picture is then what the decoder gave.
        """
        if (card := self.on_card) is None:
            return
        try:
            card.put(region, part)
        except DeviceError:
            card.leave()
            raise


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
        plainness: 0 (lost, or turned away) to 1 (the mouth is plainly seen, if nothing stands before it).
        visible: How much of the mouth nothing stands before, 0 (covered) to 1.
    """

    face_id: int
    pts_ns: int
    to_crop: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    plainness: float
    visible: float = 1.0

    @property
    def confidence(self) -> float:
        """0 (lost, turned away or covered) to 1 (the mouth is plainly seen)."""
        return self.visible * self.plainness


@dataclass(frozen=True, slots=True)
class SyncedFrame:
    """A picture with the sound that belongs to it: the meeting point.

    Attributes:
        frame: The picture.
        faces: The faces found in it, possibly none.
        mel: float32 [80, T], the mel window around `frame.pts_ns` of the voice
            that will be heard; None when the picture should pass unchanged.
        look: Which filter drew what lips are made in, by name and area; None for none. Lips are never made from what
            was kept of a face under another look.
    """

    frame: VideoFrame
    faces: tuple[FaceCrop, ...]
    mel: NDArray[np.float32] | None
    look: tuple[str, str] | None = None
