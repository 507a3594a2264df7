"""Rotated squares: where they lie, what they overlap, what is read from them."""

import math

import numpy as np
import pytest

from models.face_regions import Region, overlap, read_region, region_around
from tests.faces import planes_of

pytestmark = pytest.mark.unit

# Smooth, so that bilinear reading is exact up to rounding, also of chroma at half size.
_Y, _X = np.mgrid[0:90, 0:121]
RAMP = np.stack([_X * 2, _Y * 2, 120 + 0 * _X], axis=-1).astype(np.uint8)


def test_an_upright_region_maps_corners_to_corners() -> None:
    to_frame = Region(50, 40, 20).to_frame(256)
    np.testing.assert_allclose(to_frame @ [0, 0, 1], [40, 30])
    np.testing.assert_allclose(to_frame @ [256, 256, 1], [60, 50])


def test_a_quarter_turn_moves_the_top_to_the_right() -> None:
    to_frame = Region(50, 40, 20, math.pi / 2).to_frame(256)
    np.testing.assert_allclose(to_frame @ [128, 0, 1], [60, 40], atol=1e-9)


def test_a_region_around_points_is_level_with_the_given_line() -> None:
    points = np.array([[10, 10], [30, 20], [20, 40]], np.float32)
    region = region_around(points, 0, 1, expand=1.5)
    assert (region.center_x_px, region.center_y_px, region.side_px) == (20, 25, 45)
    assert region.angle_rad == pytest.approx(math.atan2(10, 20))


def test_overlap_is_one_with_itself_a_third_when_half_shifted_and_none_apart() -> None:
    here = Region(10, 10, 10)
    assert overlap(here, here) == pytest.approx(1)
    assert overlap(here, Region(15, 10, 10)) == pytest.approx(1 / 3)
    assert overlap(here, Region(30, 10, 10)) == 0


@pytest.mark.parametrize("angle_rad", [0, 0.4, -2.5])
def test_what_is_read_is_what_lies_there(angle_rad: float) -> None:
    region = Region(60, 45, 40, angle_rad)
    square = read_region(RAMP, region, 64).astype(float)
    v, u = np.mgrid[0:64, 0:64]
    expected = np.stack([u, v, np.ones_like(u)], axis=-1) @ region.to_frame(64).T * 2
    # Rounding to bytes, and warpAffine's 1/32 pixel steps on a ramp of 2 a pixel.
    np.testing.assert_allclose(square[..., :2], expected, atol=1)


@pytest.mark.parametrize("region", [Region(60, 45, 40, 0.4), Region(5, 85, 60), Region(60, 45, 300)])
def test_planes_read_like_the_rgb_picture_they_came_from(region: Region) -> None:
    from_rgb = read_region(RAMP, region, 64).astype(float)
    from_planes = read_region(planes_of(RAMP), region, 64).astype(float)
    # Two roundings of limited-range chroma, times up to 2.02 in blue.
    assert np.abs(from_rgb - from_planes).mean() < 2.5


def test_outside_the_frame_is_its_edge_or_black() -> None:
    outside = Region(-200, 45, 20)
    for picture in (RAMP, planes_of(RAMP)):
        assert read_region(picture, outside, 16, replicate=False).max() == 0
        assert read_region(picture, outside, 16)[..., 2].mean() == pytest.approx(120, abs=3)
