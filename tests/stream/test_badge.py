"""The visible mark: legible, small, in its corner, at every size."""

import numpy as np
import pytest

from kernels.yuv import BT601_LIMITED, Colour
from stream.badge import Badge
from stream.frames import VideoFrame

pytestmark = pytest.mark.unit

SIZES = [(16, 16), (17, 33), (48, 64), (480, 720), (481, 641), (720, 1280), (1280, 720), (1, 1)]


def grey(height: int, width: int, colour: Colour = BT601_LIMITED) -> VideoFrame:
    half = ((height + 1) // 2, (width + 1) // 2)
    y, u, v = (np.full(size, value, np.uint8) for size, value in (((height, width), 120), (half, 90), (half, 160)))
    return VideoFrame(0, 0, "yuv420p", (y, u, v), colour)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_only_the_reported_rectangle_changes(height: int, width: int) -> None:
    frame = grey(height, width)
    region = Badge().draw(frame)
    outside = np.ones((height, width), bool)
    region.of(outside)[...] = False  # type: ignore[arg-type]
    assert (frame.planes[0][outside] == 120).all()
    outside_half = np.ones(frame.planes[1].shape, bool)
    region.of_chroma(outside_half)[...] = False  # type: ignore[arg-type]
    assert (frame.planes[1][outside_half] == 90).all()
    assert (frame.planes[2][outside_half] == 160).all()


@pytest.mark.parametrize(("height", "width"), [(480, 720), (481, 641), (1280, 720)])
def test_it_is_white_on_dark_in_the_lower_right_and_small(height: int, width: int) -> None:
    frame = grey(height, width)
    region = Badge().draw(frame)
    inside = region.of(frame.planes[0])
    assert inside.max() > 220
    assert np.median(inside) < 80
    assert region.top > height * 0.85
    assert region.left > width * 0.6
    assert region.height * region.width < 0.02 * height * width


def test_white_is_legal_in_limited_range_and_full_in_full_range() -> None:
    limited, full = grey(480, 720), grey(480, 720, Colour("bt601", full_range=True))
    Badge().draw(limited)
    Badge().draw(full)
    assert limited.planes[0].max() <= 235
    assert full.planes[0].max() > 245


def test_its_colour_goes_to_grey_under_the_letters() -> None:
    frame = grey(480, 720)
    region = Badge().draw(frame)
    assert abs(int(region.of_chroma(frame.planes[1]).max()) - 128) < 16


def test_a_longer_text_takes_a_wider_mark() -> None:
    short, long = (Badge(text).draw(grey(480, 720)) for text in ("AI", "lips made by a machine"))
    assert long.width > 3 * short.width
    assert long.height == short.height


def test_a_mark_on_the_left_lies_as_far_from_its_border_as_one_on_the_right() -> None:
    left, right = (Badge("AI", side).draw(grey(480, 640)) for side in ("left", "right"))  # type: ignore[arg-type]
    assert (left.top, left.bottom, left.width) == (right.top, right.bottom, right.width)
    # Corners are even.
    assert abs(left.left - (640 - right.right)) <= 2
