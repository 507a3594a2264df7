"""The resampling that crops and pastes share."""

import numpy as np
import pytest

from benchmarks.pictures import SHAPES
from kernels.warp import apply, invert, rescaled, shrink_factors, warp, warp_definition

pytestmark = pytest.mark.unit

SCALES = [0.2, 0.8, 1.0, 1.15, 1.3, 1.9, 2.1, 3.7, 4.4, 9.0]


def _map(scale: float, angle: float, x: float, y: float) -> np.ndarray:
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[c, -s, x], [s, c, y]])


@pytest.mark.parametrize("shape", [*SHAPES, (240, 320)])
@pytest.mark.parametrize("scale", SCALES)
def test_warp_equals_the_definition(shape: tuple[int, int], scale: float) -> None:
    rng = np.random.default_rng(2)
    source = rng.integers(0, 256, (*shape, 4), dtype=np.uint8)
    for size, angle in [((1, 1), 0.3), ((37, 53), -2.0), ((96, 96), 0.0)]:
        to_source = _map(scale, angle, *rng.uniform(-40, 40, 2))
        for channels in (source, source[..., 0]):
            result = warp(channels, to_source, *size)
            # Rounded after each halving (at most three here), after the neighbours' mean and after the sample.
            np.testing.assert_allclose(result, warp_definition(channels, to_source, *size), atol=2.6)


def test_the_identity_changes_no_byte() -> None:
    source = np.random.default_rng(3).integers(0, 256, (37, 53), dtype=np.uint8)

    assert np.array_equal(warp(source, _map(1.0, 0.0, 0, 0), 37, 53), source)


@pytest.mark.parametrize("scale", [1.5, 2.0, 3.3, 4.0, 7.0])
def test_shrinking_a_fine_pattern_gives_its_mean_and_no_moire(scale: float) -> None:
    rows, columns = np.mgrid[0:800, 0:800]
    checkers = np.where((rows + columns) % 2, 255, 0).astype(np.uint8)

    small = warp(checkers, _map(scale, 0.1, 60, 10), 90, 90).astype(float)

    # Point sampling would leave a deviation of about 100 levels.
    assert abs(small.mean() - 127.5) < 2.0
    assert small.std() < 30.0


def test_beyond_the_border_the_last_pixel_is_repeated() -> None:
    source = np.zeros((8, 8), np.uint8)
    source[:, -1] = 200

    assert (warp(source, _map(1.0, 0.0, 100.0, 0.0), 4, 4) == 200).all()


@pytest.mark.parametrize(("scale", "block"), [(0.1, 1), (1.0, 1), (1.1, 1), (1.5, 1), (2.0, 2), (5.9, 4)])
def test_blocks_and_neighbours_cover_the_footprint(scale: float, block: int) -> None:
    found, beside = shrink_factors(_map(scale, 1.0, 0, 0))

    assert found == block
    assert (beside > 0.0) == (scale / block > 1.2)


@pytest.mark.parametrize("scale", [1.3, 1.5, 1.9])
def test_the_shortest_wave_that_is_left_passes_as_in_the_mean_of_four_samples(scale: float) -> None:
    _, beside = shrink_factors(_map(scale, 0.0, 0, 0))
    quarter_pixel = 0.25 * scale

    passes = 1.0 - 2.0 * beside * (1.0 - np.cos(np.pi / scale))
    np.testing.assert_allclose(passes, np.cos(np.pi / scale * quarter_pixel))


def test_a_map_and_its_inverse_cancel() -> None:
    there = _map(0.37, 0.9, 12.0, -80.0)
    points = np.array([[0.0, 0.0], [640.0, 480.0], [-5.0, 33.0]])

    np.testing.assert_allclose(apply(invert(there), apply(there, points)), points, atol=1e-9)


def test_a_flat_map_has_no_inverse_and_says_so() -> None:
    with pytest.raises(ValueError, match="no inverse"):
        invert(np.array([[1.0, 2.0, 0.0], [2.0, 4.0, 0.0]]))


def test_rescaling_keeps_centres_of_pixels() -> None:
    same = _map(1.0, 0.0, 0.0, 0.0)

    # Pixel 3 of the half-size grid covers pixels 6 and 7, its centre is 6.5.
    assert apply(rescaled(same, from_pixel=2.0), np.array([[3.0, 3.0]])).tolist() == [[6.5, 6.5]]
    assert apply(rescaled(same, to_pixel=2.0), np.array([[6.5, 6.5]])).tolist() == [[3.0, 3.0]]
