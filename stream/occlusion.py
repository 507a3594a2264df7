"""Whether something stands before a mouth, steadied over time.

The network judges single pictures; one picture alone neither takes the lips
away nor gives them back. `visible` is the share of the mouth that is seen,
spread so that half lies where covered and clear part best.
"""

from collections import deque
from statistics import median

import numpy as np
from numpy.typing import NDArray

from kernels.crop import crop_face, crop_transform
from models.mouth_cover import CROP_SIZE, MouthCoverNetwork
from stream.frames import NS_PER_S, VideoFrame

# Pictures whose median counts: a single one that errs is outvoted, a hand is seen one picture later.
_VOTES = 3
# Hidden shares at which a mouth counts as fully and as not at all visible.
_CLEAR, _COVERED = 0.35, 0.65
# A mouth is believed to be back at this pace, full in 0.2 s, so that a moving hand does not make lips flicker.
_RECOVERY_PER_S = 5.0


class MouthWatch:
    """Watches one face's mouth.

    Args:
        network: Shared by the faces of one finder.
    """

    def __init__(self, network: MouthCoverNetwork) -> None:
        self._network = network
        self._votes: deque[float] = deque(maxlen=_VOTES)
        self._visible = 1.0
        self._pts_ns = 0

    def look(self, frame: VideoFrame, landmarks: NDArray[np.float32]) -> float:
        """How plainly the mouth is seen, 0 (covered) to 1 (nothing before it)."""
        to_crop = crop_transform(landmarks, CROP_SIZE)
        crop = crop_face(frame.planes, to_crop, CROP_SIZE, frame.colour)
        return self.judge(self._network.hidden_share(crop), frame.pts_ns)

    def judge(self, hidden: float, pts_ns: int) -> float:
        """Take in the hidden share of one picture and return what is visible."""
        self._votes.append(hidden)
        seen = min(1.0, max(0.0, (_COVERED - median(self._votes)) / (_COVERED - _CLEAR)))
        risen = self._visible + _RECOVERY_PER_S * max(0, pts_ns - self._pts_ns) / NS_PER_S
        self._visible = min(seen, risen) if self._pts_ns else seen
        self._pts_ns = pts_ns
        return self._visible
