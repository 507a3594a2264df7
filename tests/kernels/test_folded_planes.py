"""A frame's planes in cells: bytes are moved to where the definition has them, and other frames go through RGB."""

import numpy as np
import pytest

from kernels.folded_planes import (
    CELL_BYTES,
    cells_to_frame,
    folded,
    folded_definition,
    frame_to_cells,
    unfolded,
)
from kernels.frame_tensor import frame_to_tensor, tensor_to_frame
from kernels.yuv import BT601_LIMITED, Colour, Planes, Region, i420_to_rgb

pytestmark = pytest.mark.unit


def planes(height: int, width: int, seed: int = 0, low: int = 60, high: int = 180) -> Planes:
    dice = np.random.default_rng(seed)
    half = ((height + 1) // 2, (width + 1) // 2)
    y, u, v = (dice.integers(low, high, size, np.uint8) for size in ((height, width), half, half))
    return y, u, v


def smooth(height: int, width: int) -> Planes:
    """Slopes, of which every way of resampling makes the same."""
    rows, columns = np.mgrid[0:height, 0:width]
    luma = (60 + 100 * columns / width + 60 * rows / height).astype(np.uint8)
    half = (np.full((height // 2, width // 2), level, np.uint8) for level in (110, 140))
    u, v = half
    return luma, u, v


@pytest.mark.parametrize(("height", "width"), [(4, 4), (8, 20), (36, 52), (480, 640)])
def test_bytes_lie_where_the_definition_has_them_and_come_back(height: int, width: int) -> None:
    shown = planes(height, width, low=0, high=256)
    cells = folded(shown)
    assert cells.shape == (height // 4, width // 4, CELL_BYTES)
    if height < 480:
        assert np.array_equal(cells, folded_definition(shown))
    assert all(np.array_equal(a, b) for a, b in zip(unfolded(cells), shown, strict=True))


def test_planes_in_a_decoders_buffers_fold_like_others() -> None:
    y, u, v = planes(16, 24)
    padded = np.zeros((16, 32), np.uint8)
    padded[:, :24] = y
    interleaved = np.stack([u, v], -1)
    assert np.array_equal(folded((padded[:, :24], interleaved[..., 0], interleaved[..., 1])), folded((y, u, v)))


def test_what_does_not_fold_is_refused() -> None:
    with pytest.raises(ValueError, match="a picture of 6 x 8 does not fold, expected multiples of 4"):
        folded(planes(6, 8))
    with pytest.raises(ValueError, match="strength is 2"):
        cells_to_frame(folded(planes(8, 8)), planes(8, 8), strength=2.0)


def test_a_frame_of_the_right_size_and_colours_is_shown_byte_for_byte() -> None:
    shown = planes(16, 32)
    assert np.array_equal(frame_to_cells(shown, (16, 32)), folded(shown))


@pytest.mark.parametrize("colour", [BT601_LIMITED, Colour("bt709"), Colour("bt601", full_range=True)])
def test_other_frames_look_the_same_in_cells(colour: Colour) -> None:
    shown = smooth(96, 160)
    expected = frame_to_tensor(shown, (32, 64), colour)
    found = frame_to_tensor(unfolded(frame_to_cells(shown, (32, 64), colour)), (32, 64))
    # Two roundings of luma, and of chroma weighed up to twice.
    assert np.abs(found - expected).max() * 127.5 <= 4
    part = Region(8, 16, 72, 144)
    assert frame_to_cells(shown, (32, 64), colour, part).shape == (8, 16, CELL_BYTES)


def test_a_picture_is_laid_on_a_frame_of_its_size_by_bytes() -> None:
    shown, made = planes(16, 24), planes(16, 24, seed=1)
    box = cells_to_frame(folded(made), shown)
    assert box == Region(0, 0, 16, 24)
    assert all(np.array_equal(a, b) for a, b in zip(shown, made, strict=True))


def test_strength_and_wipe_leave_what_they_should() -> None:
    shown, made, before = planes(16, 24), planes(16, 24, seed=1), planes(16, 24)
    assert cells_to_frame(folded(made), shown, strength=0.5, wipe_column=12) == Region(0, 12, 16, 24)
    for now, new, old, column in zip(shown, made, before, (12, 6, 6), strict=True):
        assert np.array_equal(now[:, :column], old[:, :column])
        mean = (new[:, column:].astype(float) + old[:, column:]) / 2
        assert np.abs(now[:, column:] - mean).max() <= 0.5
    still = planes(16, 24)
    cells_to_frame(folded(made), still, strength=0.0)
    assert all(np.array_equal(a, b) for a, b in zip(still, before, strict=True))


@pytest.mark.parametrize(("size", "region"), [((48, 80), None), ((96, 160), Region(10, 20, 74, 148))])
def test_on_other_frames_it_is_laid_as_a_tensor_would_be(size: tuple[int, int], region: Region | None) -> None:
    made, height, width = smooth(32, 64), *size
    by_cells, by_tensor = planes(height, width), planes(height, width)
    cells_to_frame(folded(made), by_cells, region, 0.7)
    tensor_to_frame(frame_to_tensor(made, (32, 64)), by_tensor, region, 0.7)
    assert all(np.array_equal(a, b) for a, b in zip(by_cells, by_tensor, strict=True))
    assert i420_to_rgb(by_cells).shape == (height, width, 3)
