"""The measures: signs and anchors of offset, correlation, distance, jitter, sharpness, PSNR and SSIM."""

import cv2
import numpy as np
import pytest

from tests.training.made import drawn_landmarks, made_clip
from training.glance import centre
from training.intervals import figure, pearson, psnr_db
from training.mouths import (
    LIPS,
    best_offset_ms,
    correlation,
    lagged,
    lip_distances_percent,
    lip_jitter,
    lower_errors,
    lower_ssim,
    narrowest,
    sharpness,
)

pytestmark = pytest.mark.unit

PTS_NS = np.arange(75, dtype=np.int64) * 40_000_000


def _track(delay_ns: int = 0) -> np.ndarray:
    seconds = (PTS_NS - delay_ns) / 1e9
    return np.sin(9 * seconds) + np.sin(23 * seconds + 1)


@pytest.mark.parametrize("delay_ms", [0, 60, -80])
def test_lips_that_come_early_have_a_positive_offset(delay_ms: int) -> None:
    tracks = lagged(_track(delay_ms * 1_000_000), _track(), PTS_NS)
    found = figure(tracks, pearson, best_offset_ms).interval
    # Linear interpolation between 25 pictures a second moves the peak by a few ms.
    assert found.value == pytest.approx(-delay_ms, abs=8)
    assert found.low - 8 <= -delay_ms <= found.high + 8


def test_a_still_mouth_has_no_correlation_and_no_offset() -> None:
    assert np.isnan(correlation(np.full(75, 0.1), _track()))
    assert correlation(3 * _track() + 1, _track()) == pytest.approx(1)
    still = lagged(np.full(75, 0.1), _track(), PTS_NS)
    assert np.isnan(figure(still, pearson, best_offset_ms).interval.value)


def test_the_least_opening_of_a_span_may_lie_at_a_picture_or_between_two() -> None:
    pts_ns = np.arange(5, dtype=np.int64) * 40_000_000
    opening = np.array([0.4, 0.2, 0.0, 0.2, 0.4])
    spans_ns = np.array([[70, 90], [50, 70], [85, 89], [0, 40], [-20, 20], [150, 190]]) * 1_000_000
    assert narrowest(opening, pts_ns, spans_ns) == pytest.approx([0.0, 0.05, 0.025, 0.2, 0.3, 0.35])


def test_a_moved_mouth_is_as_far_away_as_it_was_moved() -> None:
    truth = drawn_landmarks(5)
    moved = truth.copy()
    moved[:, LIPS] += (3, 4)
    eyes_px = float(np.linalg.norm(truth[0, 33] - truth[0, 263]))
    assert lip_distances_percent(moved, truth) == pytest.approx(np.full(5, 100 * 5 / eyes_px))
    assert len(set(LIPS.tolist())) == 40


def test_only_what_trembles_jitters() -> None:
    gliding = drawn_landmarks(9) + np.arange(9, dtype=np.float32)[:, None, None]
    assert lip_jitter(gliding) == pytest.approx(np.zeros(7), abs=1e-6)
    trembling = gliding.copy()
    trembling[::2, LIPS, 1] += 1
    eyes_px = float(np.linalg.norm(gliding[0, 33] - gliding[0, 263]))
    assert lip_jitter(trembling) == pytest.approx(np.full(7, 2 / eyes_px), rel=1e-4)


def test_a_blurred_mouth_is_less_sharp_and_a_blurred_forehead_is_not() -> None:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 255, (2, 112, 112, 3), dtype=np.uint8)
    blurred, elsewhere = pictures.copy(), pictures.copy()
    blurred[:, 56:] = [cv2.GaussianBlur(each, (9, 9), 2) for each in pictures[:, 56:]]
    elsewhere[:, :40] = 128
    landmarks = drawn_landmarks(2)
    assert (sharpness(blurred, landmarks) < 0.1 * sharpness(pictures, landmarks)).all()
    assert sharpness(elsewhere, landmarks) == pytest.approx(sharpness(pictures, landmarks))


def test_equal_pictures_score_best_and_the_upper_half_does_not_count() -> None:
    crops = np.ascontiguousarray(centre(made_clip("a", "anna", frames=6)))
    other = crops.copy()
    other[:, :48] = 0
    assert lower_errors(other, crops) == pytest.approx(np.zeros(6))
    assert lower_ssim(other, crops) == pytest.approx(np.ones(6))
    other[:, 48:] //= 2
    assert psnr_db(lower_errors(other, crops)[:, None])[0] < 20
    assert (lower_ssim(other, crops) < 0.99).all()
