"""Moving portraits: the warp reaches the opening it is asked for and leaves the upper face alone."""

import numpy as np
import pytest

from kernels.mouth import LOWER_INNER, UPPER_INNER
from training.data.portraits import MouthPose, move_mouth

pytestmark = pytest.mark.unit

SIDE = 200


def _portrait() -> tuple[np.ndarray, np.ndarray]:
    """Light skin with darker lips: upper rows 128-131, lower rows 132-135, closed at 131.5; chin at 175."""
    picture = np.full((SIDE, SIDE, 3), 200, np.uint8)
    picture[128:136, 70:131] = (150, 60, 60)
    landmarks = np.full((478, 2), 100, np.float32)
    landmarks[33], landmarks[263] = (50, 60), (150, 60)
    for ring in (UPPER_INNER, LOWER_INNER):
        landmarks[list(ring)] = np.stack([np.linspace(70, 130, len(ring)), np.full(len(ring), 131.5)], 1)
    jaw = (172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397)
    landmarks[list(jaw)] = np.stack([np.linspace(40, 160, len(jaw)), np.full(len(jaw), 175)], 1)
    return picture, landmarks


@pytest.mark.parametrize("opening", [0.1, 0.2])
def test_the_gap_between_the_lips_is_the_opening_asked_for(opening: float) -> None:
    picture, landmarks = _portrait()
    column = move_mouth(picture, landmarks, MouthPose(opening), teeth=0.0)[:, 100].astype(int)
    inside = (column[:, 0] < 100).sum()
    # Half a pixel of soft rim on either side.
    assert inside == pytest.approx(opening * 100, abs=1.5)


def test_a_closed_mouth_that_is_asked_to_stay_closed_does_not_change() -> None:
    picture, landmarks = _portrait()
    moved = move_mouth(picture, landmarks, MouthPose(0.0), teeth=0.05)
    assert np.abs(moved.astype(int) - picture).max() <= 1


def test_nothing_above_the_upper_lip_moves() -> None:
    picture, landmarks = _portrait()
    picture[:90] = np.random.default_rng(0).integers(0, 255, (90, SIDE, 3))
    moved = move_mouth(picture, landmarks, MouthPose(0.25, 0.9), teeth=0.05)
    np.testing.assert_array_equal(moved[:40], picture[:40])
