"""A mouth is shut where landmarks say it is, the jaw with it, and nothing else moves."""

import cv2
import numpy as np
import pytest

from benchmarks.pictures import open_face
from kernels.mouth import LOWER_INNER, UPPER_INNER, close_mouth

pytestmark = pytest.mark.unit

SIZE = 192


def _face(gap_px: float) -> tuple[np.ndarray, np.ndarray]:
    """Skin with a dark mouth between the inner lips, a chin line, and the landmarks of both."""
    landmarks = open_face(SIZE / 2, SIZE * 0.4, 70.0, gap_px)
    picture = np.full((SIZE, SIZE, 3), 180, np.uint8)
    inside = np.concatenate([landmarks[list(UPPER_INNER)], landmarks[list(LOWER_INNER)][::-1]])
    cv2.fillPoly(picture, [np.rint(inside).astype(np.int32)], (20, 10, 10))
    cv2.circle(picture, tuple(int(each) for each in landmarks[152]), 3, (0, 200, 0), -1)
    return picture, landmarks


def _gap_px(landmarks: np.ndarray) -> float:
    return float(landmarks[14, 1] - landmarks[13, 1])


def test_an_open_mouth_is_shut() -> None:
    picture, landmarks = _face(14.0)
    assert _gap_px(landmarks) > 8
    open_px = (picture[..., 2] < 100).sum()
    shut = close_mouth(picture, landmarks)
    assert open_px > 150
    assert (shut[..., 2] < 100).sum() < 0.25 * open_px


def test_the_chin_goes_up_with_the_jaw() -> None:
    picture, landmarks = _face(14.0)
    shut = close_mouth(picture, landmarks)

    def chin_row(drawn: np.ndarray) -> float:
        green = (drawn[..., 1].astype(int) - drawn[..., 0]) > 60
        return float(np.nonzero(green)[0].mean())

    assert 0.4 * _gap_px(landmarks) < chin_row(picture) - chin_row(shut) < 1.1 * _gap_px(landmarks)


def test_what_is_to_be_left_open_is_left() -> None:
    picture, landmarks = _face(14.0)
    dark = [(close_mouth(picture, landmarks, left)[..., 2] < 100).sum() for left in (0.0, 4.0, 8.0)]
    assert dark[0] < dark[1] < dark[2]


def test_a_shut_mouth_is_the_same_picture() -> None:
    picture, landmarks = _face(0.0)
    assert close_mouth(picture, landmarks) is picture


def test_nothing_above_the_cheeks_changes_and_the_picture_given_stays() -> None:
    picture, landmarks = _face(14.0)
    noisy = np.random.default_rng(0).integers(0, 255, picture.shape).astype(np.uint8)
    before = noisy.copy()
    shut = close_mouth(noisy, landmarks)
    first = int(landmarks[list(UPPER_INNER), 1].min() - np.ptp(landmarks[[78, 308], 0]))
    np.testing.assert_array_equal(shut[:first], noisy[:first])
    np.testing.assert_array_equal(noisy, before)
    assert (shut != noisy).any()


def test_landmarks_beside_the_picture_change_nothing() -> None:
    picture, landmarks = _face(14.0)
    assert close_mouth(picture, landmarks + np.float32([500, 0])) is picture
