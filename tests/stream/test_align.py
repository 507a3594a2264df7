"""The meeting of picture and sound."""

import numpy as np
import pytest
from numpy.typing import NDArray

from stream.align import meet
from stream.frames import VideoFrame
from tests.stream.fake_faces import face

pytestmark = pytest.mark.unit

PLANES = (np.zeros((2, 2), np.uint8), np.zeros((1, 1), np.uint8), np.zeros((1, 1), np.uint8))


class Ticking:
    """A voice whose window is its own time in milliseconds."""

    def mel(self, pts_ns: int) -> NDArray[np.float32]:
        return np.full((80, 27), pts_ns / 1e6, np.float32)


def test_a_picture_meets_the_window_of_its_own_time() -> None:
    for pts_ns in (0, 41_708_333, 3_600_000_000_000):
        frame = VideoFrame(pts_ns, 0, "yuv420p", PLANES)
        met = meet(frame, [face(pts_ns, centre=(1, 1))], Ticking())
        assert met.frame is frame
        assert met.mel is not None
        assert met.mel[0, 0] == np.float32(pts_ns / 1e6)
        assert len(met.faces) == 1


def test_without_a_voice_the_picture_is_to_pass() -> None:
    assert meet(VideoFrame(0, 0, "yuv420p", PLANES), [], None).mel is None
