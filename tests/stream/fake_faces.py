"""A face where a test wants it, and a finder that sees it wherever a test says."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks import pictures
from kernels.crop import crop_transform
from stream.frames import FaceCrop, VideoFrame

SIZE = 96
# The crop's side is this many times the distance between the eyes; see kernels.crop.
_SIDE_IN_EYES = 3.3


def mesh(centre: tuple[float, float], side: float) -> NDArray[np.float32]:
    """A frontal face, float32 [478, 2] in pixels; `side` is that of its crop."""
    return pictures.face(*centre, side / _SIDE_IN_EYES)


def face(
    pts_ns: int,
    *,
    centre: tuple[float, float],
    side: float = 64.0,
    confidence: float = 0.9,
    face_id: int = 0,
    size: int = SIZE,
    visible: float = 1.0,
) -> FaceCrop:
    """With nothing before its mouth, `confidence` is how plain it is."""
    landmarks = mesh(centre, side)
    return FaceCrop(face_id, pts_ns, crop_transform(landmarks, size), landmarks, confidence, visible)


@dataclass
class FakeFinder:
    """Sees what `look` says; by default one face in the middle of each picture."""

    look: Callable[[VideoFrame], Sequence[FaceCrop]] | None = None
    closed: bool = False

    def find(self, frame: VideoFrame) -> list[FaceCrop]:
        if self.look is not None:
            return list(self.look(frame))
        side = 0.8 * min(frame.height, frame.width)
        return [face(frame.pts_ns, centre=(frame.width / 2, frame.height / 2), side=side)]

    def close(self) -> None:
        self.closed = True
