"""Where picture and sound meet: a picture at t gets the mel window at t, and nothing else ever decides which."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stream.frames import FaceCrop, SyncedFrame, VideoFrame


class Lips(Protocol):
    """Whatever knows the mel windows of a voice on the session's timeline."""

    def mel(self, pts_ns: int) -> NDArray[np.float32] | None:
        """The window around `pts_ns`, float32 [80, T]; None where the picture is to pass unchanged."""
        ...


def meet(frame: VideoFrame, faces: Sequence[FaceCrop], voice: Lips | None) -> SyncedFrame:
    """Join a picture with the sound that belongs to it; without a voice it will pass unchanged.

    The picture keeps its own pts: neither the voice nor the faces can move it.
    """
    return SyncedFrame(frame, tuple(faces), None if voice is None else voice.mel(frame.pts_ns))
