"""Planes to RGB and back, held against the definitions."""

import numpy as np
import pytest

from benchmarks.pictures import SHAPES, noise_planes
from kernels.yuv import (
    BT601_LIMITED,
    Colour,
    Region,
    i420_to_rgb,
    i420_to_rgb_definition,
    rgb_to_i420,
    rgb_to_i420_definition,
)

pytestmark = pytest.mark.unit

COLOURS = [
    BT601_LIMITED,
    Colour("bt601", full_range=True),
    Colour("bt709", full_range=False),
    Colour("bt709", full_range=True),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("colour", COLOURS, ids=str)
@pytest.mark.parametrize("strided", [False, True])
def test_to_rgb_equals_the_definition(shape: tuple[int, int], colour: Colour, strided: bool) -> None:
    planes = noise_planes(*shape, strided=strided)

    rgb = i420_to_rgb(planes, colour)

    # Half a level of rounding, and OpenCV's coefficients have 20 bits (BT.601) or 12 (any other matrix).
    np.testing.assert_allclose(rgb, i420_to_rgb_definition(planes, colour), atol=0.75)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("colour", COLOURS, ids=str)
def test_to_i420_equals_the_definition(shape: tuple[int, int], colour: Colour) -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)

    for plane, expected in zip(rgb_to_i420(rgb, colour), rgb_to_i420_definition(rgb, colour), strict=True):
        assert plane.shape == expected.shape
        # The mean of four pixels is rounded before the matrix and its result after it: 0.44 + 0.5 levels.
        np.testing.assert_allclose(plane, expected, atol=1.0)


@pytest.mark.parametrize("colour", COLOURS, ids=str)
def test_black_white_and_grey_have_the_levels_of_the_recommendations(colour: Colour) -> None:
    grey = np.repeat(np.array([0, 255], np.uint8), 2)[None, :, None].repeat(2, axis=0).repeat(3, axis=2)

    luma, blue, red = rgb_to_i420(grey, colour)

    assert luma[0].tolist() == ([0, 0, 255, 255] if colour.full_range else [16, 16, 235, 235])
    assert blue.tolist() == red.tolist() == [[128, 128]]


def test_the_matrices_differ_where_the_recommendations_differ() -> None:
    green = np.full((2, 2, 3), (0, 255, 0), np.uint8)

    assert rgb_to_i420(green, Colour("bt601"))[0][0, 0] == round(16 + 219 * 0.587)
    assert rgb_to_i420(green, Colour("bt709"))[0][0, 0] == round(16 + 219 * 0.7152)


@pytest.mark.parametrize("region", [Region(3, 5, 20, 30), Region(0, 0, 1, 1), Region(-9, -9, 999, 999)])
def test_a_region_is_that_part_of_the_whole(region: Region) -> None:
    planes = noise_planes(37, 53)
    clipped = region.clipped(37, 53)

    part = i420_to_rgb(planes, BT601_LIMITED, region)

    assert np.array_equal(part, clipped.of(i420_to_rgb(planes)))


@pytest.mark.parametrize("region", [Region(5, 5, 5, 9), Region(40, 0, 50, 9), Region(-5, -5, 0, 0), Region(9, 9, 3, 3)])
def test_a_region_outside_the_picture_has_no_pixels(region: Region) -> None:
    assert i420_to_rgb(noise_planes(37, 53), BT601_LIMITED, region).size == 0


def test_planes_that_do_not_belong_together_are_refused() -> None:
    luma, blue, red = noise_planes(4, 6)

    with pytest.raises(ValueError, match=r"plane V is \(1, 3\), expected \(2, 3\)"):
        i420_to_rgb((luma, blue, red[:1]))


def test_an_unknown_matrix_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'bt2020'"):
        Colour("bt2020")  # type: ignore[arg-type]
