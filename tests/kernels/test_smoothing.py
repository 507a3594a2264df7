"""The one-euro filter: still faces are held, moving faces are not delayed."""

import numpy as np
import pytest
from numpy.typing import NDArray

from kernels.smoothing import MAX_GAP_NS, OneEuro

pytestmark = pytest.mark.unit

FRAME_NS = 40_000_000
FACE = np.random.default_rng(7).uniform(100, 300, (478, 2)).astype(np.float32)


def _run(offsets: NDArray[np.float32]) -> NDArray[np.float32]:
    """Filter the face moved by offsets [t, 478 or 1, 2]; returns what is left of the offsets."""
    smoothing = OneEuro()
    return np.stack([smoothing(FACE + offset, i * FRAME_NS) - FACE for i, offset in enumerate(offsets)])


def _jitter(offsets: NDArray[np.float32]) -> float:
    """Standard deviation of the step from picture to picture, after the first second."""
    return float(np.diff(offsets[25:], axis=0).std())


@pytest.mark.parametrize("points", [478, 1], ids=["each point for itself", "all points together"])
def test_jitter_of_a_still_face_is_at_least_halved(points: int) -> None:
    noise = np.random.default_rng(0).normal(0, 0.4, (150, points, 2)).astype(np.float32)
    assert _jitter(_run(noise)) <= _jitter(noise) / 2


def test_a_face_that_starts_to_move_at_20_px_a_frame_lags_less_than_a_third_of_a_frame() -> None:
    offsets = np.zeros((40, 1, 2), np.float32)
    offsets[20:, 0, 0] = 20 * np.arange(1, 21)
    lag_frames = (offsets - _run(offsets))[20:, :, 0].max(axis=1) / 20
    assert lag_frames.max() < 0.3
    assert lag_frames[-1] < 0.05


def test_a_slow_drift_leaves_less_than_half_a_pixel_behind() -> None:
    offsets = np.zeros((75, 1, 2), np.float32)
    offsets[:, 0, 1] = np.arange(75)
    assert np.abs(offsets - _run(offsets))[25:].max() < 0.5


def test_lips_open_in_time_while_the_head_rests() -> None:
    offsets = np.zeros((40, 478, 2), np.float32)
    offsets[20:, :40, 1] = 10
    left = _run(offsets)
    assert left[21, :40, 1].min() > 8
    assert np.abs(left[:, 40:]).max() < 1e-3


def test_the_filter_does_not_depend_on_the_size_of_the_face() -> None:
    noise = np.random.default_rng(1).normal(0, 0.4, (20, 478, 2)).astype(np.float32)
    large, small = OneEuro(), OneEuro()
    for i, offset in enumerate(noise):
        twice = large((FACE + offset) * 2, i * FRAME_NS)
        once = small(FACE + offset, i * FRAME_NS)
    # float32 at 600 px.
    np.testing.assert_allclose(twice, once * 2, atol=1e-3)


@pytest.mark.parametrize("step_ns", [MAX_GAP_NS + 1, -FRAME_NS, 0], ids=["long gap", "back in time", "same time"])
def test_after_a_break_the_points_pass_as_they_are(step_ns: int) -> None:
    smoothing = OneEuro()
    smoothing(FACE, FRAME_NS)
    moved = FACE + 50
    np.testing.assert_array_equal(smoothing(moved, FRAME_NS + step_ns), moved)


def test_the_callers_array_is_neither_kept_nor_changed() -> None:
    smoothing = OneEuro()
    points = FACE.copy()
    first = smoothing(points, 0)
    points += 1000
    first += 1000
    np.testing.assert_allclose(smoothing(FACE, FRAME_NS), FACE, atol=1e-3)
