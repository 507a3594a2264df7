"""Motion: found where something moved and nowhere else, and pictures moved along with it."""

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.pictures import waves
from kernels.folded_planes import folded, folded_definition, unfolded, unfolded_luma
from kernels.motion import Follower
from kernels.yuv import Plane, Planes

pytestmark = pytest.mark.unit

HEIGHT, WIDTH = 120, 160


def texture(shift: tuple[float, float] = (0.0, 0.0), height: int = HEIGHT, width: int = WIDTH) -> Plane:
    """Waves that have moved down and to the right."""
    return waves(height, width, *shift)


def inner(plane: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Without what comes in from outside."""
    return plane[16:-16, 16:-16].astype(np.float64)


@pytest.mark.parametrize("shift", [(0.0, 3.0), (-2.5, 0.0), (4.0, -5.5)])
def test_what_pans_is_found_and_moved_along(shift: tuple[float, float]) -> None:
    before, now = texture(), texture(shift)
    follower = Follower(HEIGHT, WIDTH)
    assert follower.find(before, now)
    top, left, bottom, right = follower.box
    moved = before.copy()
    moved[top:bottom, left:right] = follower.moved(before)
    error, still = (np.abs(inner(each) - inner(now)).mean() for each in (moved, before))
    assert error < 4.0
    assert error < 0.15 * still


def test_nothing_moved_between_pictures_that_are_the_same_nor_by_grain_alone() -> None:
    still = texture()
    follower = Follower(HEIGHT, WIDTH)
    assert not follower.find(still, still.copy())
    assert follower.box.is_empty
    dice, follower = np.random.default_rng(5), Follower(HEIGHT, WIDTH)
    grained = [(still + dice.normal(0, 4, still.shape)).clip(0, 255).astype(np.uint8) for _ in range(2)]
    follower.find(*grained)
    moved = grained[0].copy()
    top, left, bottom, right = follower.box
    if not follower.box.is_empty:
        moved[top:bottom, left:right] = follower.moved(grained[0])
    assert np.abs(moved.astype(float) - grained[0]).mean() < 1.0


def test_what_stands_beside_something_that_moves_stays_to_the_bit() -> None:
    before, now = texture(), texture()
    now[40:80, 60:110] = texture((0, 4))[40:80, 60:110]
    follower = Follower(HEIGHT, WIDTH)
    assert follower.find(before, now)
    box = follower.box
    assert not any(side % 4 for side in box)
    assert box.height < HEIGHT
    assert box.width < WIDTH
    cells = folded((before, before[::2, ::2], before[1::2, 1::2]))
    moved = unfolded(follower.moved_cells(cells))[0]
    outside = np.ones((HEIGHT, WIDTH), bool)
    outside[box.top : box.bottom, box.left : box.right] = False
    assert np.array_equal(moved[outside], before[outside])
    inside = np.s_[48:72, 70:100]
    difference = [np.abs(each[inside].astype(float) - now[inside]).mean() for each in (moved, before)]
    assert difference[0] < 0.5 * difference[1]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_cells_of_bytes_and_of_floats_move_alike_with_their_chroma(dtype: type[np.generic]) -> None:
    def planes(shift: tuple[float, float]) -> Planes:
        half = texture((shift[0] / 2, shift[1] / 2), HEIGHT // 2, WIDTH // 2)
        return texture(shift), half, 255 - half

    before, now = planes((0, 0)), planes((2, 4))
    follower = Follower(HEIGHT, WIDTH)
    assert follower.find(before[0], now[0])
    moved = unfolded(follower.moved_cells(folded(before).astype(dtype)))
    for found, wanted in zip(moved, now, strict=True):
        assert found.dtype == dtype
        assert np.abs(found[12:-12, 12:-12].astype(float) - wanted[12:-12, 12:-12]).mean() < 4.0


def test_memory_is_its_own_and_what_it_was_given_stays() -> None:
    follower = Follower(HEIGHT, WIDTH)
    before = texture()
    cells = folded((before, before[::2, ::2], before[1::2, 1::2]))
    kept = cells.copy()
    assert follower.find(before, texture((0, 3)))
    first = follower.moved_cells(cells)
    assert np.array_equal(cells, kept)
    assert follower.moved_cells(cells) is first


def test_a_large_picture_is_searched_at_a_quarter_and_a_tiny_one_not_at_all() -> None:
    shift = (0.0, 12.0)
    before, now = texture(height=240, width=1280), texture(shift, 240, 1280)
    follower = Follower(240, 1280)
    assert follower.find(before, now)
    top, left, bottom, right = follower.box
    moved = before.copy()
    moved[top:bottom, left:right] = follower.moved(before)
    assert np.abs(inner(moved) - inner(now)).mean() < 0.5 * np.abs(inner(before) - inner(now)).mean()
    assert not Follower(28, 28).find(texture(height=28, width=28), texture((0, 3), 28, 28))
    with pytest.raises(ValueError, match="expected multiples of 4"):
        Follower(30, 32)


def test_cells_of_floats_lie_as_those_of_bytes_do() -> None:
    luma = texture()
    planes = luma, luma[::2, ::2], luma[1::2, 1::2]
    floats = folded((luma.astype(np.float32), planes[1].astype(np.float32), planes[2].astype(np.float32)))
    assert floats.dtype == np.float32
    assert np.array_equal(floats, folded_definition(planes))
    assert all(np.array_equal(a, b) for a, b in zip(unfolded(floats), planes, strict=True))
    assert np.array_equal(unfolded_luma(floats), luma)
