"""A frame's own planes as a generator takes them: cells of 4 x 4 pixels with all of their bytes side by side, and back.

A cell holds 16 bytes of luma, row by row, then four of U and four of V. Where the frame has the generator's size and
colours, bytes are moved and nothing is calculated; any other frame, or a part of one, goes through RGB, by
`kernels.frame_tensor`.

Bytes: of a frame of 640 x 480, 0.46 MB are read and as many written, either way.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.frame_tensor import (
    Size,
    blend,
    changed_box,
    checked_region,
    checked_strength,
    frame_to_tensor,
    tensor_levels,
    tensor_to_frame,
    whole_quads,
)
from kernels.yuv import BT601_LIMITED, Colour, Planes, Region, check_planes, rgb_to_i420

FOLD = 4
"""Pixels along each side of a cell."""

CELL_BYTES = FOLD**2 * 3 // 2

Cells = NDArray[np.uint8]
"""uint8 [h / 4, w / 4, 24]."""

# A row of a cell is four values of luma, or two of a chroma plane: moved as one number, of so many bytes each.
_ROWS: dict[int, tuple[type[np.generic], type[np.generic]]] = {
    1: (np.uint32, np.uint16),
    4: (np.complex128, np.uint64),
}
# Where those of U and V begin, counted in rows of chroma.
_FIRST_CHROMA = (FOLD**2 // 2, FOLD**2 // 2 + FOLD // 2)


def folded(planes: tuple[NDArray[Any], NDArray[Any], NDArray[Any]]) -> NDArray[Any]:
    """Fold planes.

    Args:
        planes: uint8 or float32 Y [H, W], U and V [H/2, W/2]; H and W are multiples of 4. May be strided.

    Raises:
        ValueError: The sizes do not fit each other or the cells.
    """
    height, width = check_planes(planes)
    if height % FOLD or width % FOLD:
        raise ValueError(f"a picture of {height} x {width} does not fold, expected multiples of {FOLD}")
    cells = np.empty((height // FOLD, width // FOLD, CELL_BYTES), planes[0].dtype)
    for plane, (in_cells, fold, kind) in zip(planes, _rows_of(cells), strict=True):
        rows = (plane if plane.strides[1] == plane.itemsize else np.ascontiguousarray(plane)).view(kind)
        for row in range(fold):
            in_cells[..., row] = rows[row::fold]
    return cells


def unfolded(cells: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Give planes from `folded` back, as new ones."""
    height, width = cells.shape[0] * FOLD, cells.shape[1] * FOLD
    luma = np.empty((height, width), cells.dtype)
    chroma = np.empty((2, height // 2, width // 2), cells.dtype)
    planes = luma, chroma[0], chroma[1]
    for plane, rows in zip(planes, _rows_of(np.ascontiguousarray(cells)), strict=True):
        _lay_rows(plane, *rows)
    return planes


def unfolded_luma(cells: NDArray[Any]) -> NDArray[Any]:
    """Give the luma alone back, as a new plane."""
    luma = np.empty((cells.shape[0] * FOLD, cells.shape[1] * FOLD), cells.dtype)
    _lay_rows(luma, *next(_rows_of(np.ascontiguousarray(cells))))
    return luma


def frame_to_cells(planes: Planes, size: Size, colour: Colour = BT601_LIMITED, region: Region | None = None) -> Cells:
    """Resample a frame, or a rectangle of it, and fold it; the cells' colours are BT.601 in limited range.

    Args:
        planes: uint8 Y [H, W], U and V [ceil(H/2), ceil(W/2)], may be strided.
        size: Height and width of what is folded, multiples of 4.
        colour: Matrix and range of the planes.
        region: See `frame_to_tensor`.

    Raises:
        ValueError: The planes' sizes do not fit each other, the size does not fold, or the region is empty.
    """
    if _as_it_is(planes, size, colour, region):
        return folded(planes)
    return folded(rgb_to_i420(tensor_levels(frame_to_tensor(planes, size, colour, region))))


def cells_to_frame(
    cells: Cells,
    planes: Planes,
    region: Region | None = None,
    strength: float = 1.0,
    colour: Colour = BT601_LIMITED,
    *,
    wipe_column: int = 0,
) -> Region:
    """Blend a generated picture into a frame, in place, by the rules of `tensor_to_frame`.

    Args:
        cells: The picture, as `frame_to_cells` has it.
        planes: uint8 Y [H, W], U and V [ceil(H/2), ceil(W/2)], writable, may be strided.
        region: What the cells cover, all of the picture by default; what of it lies outside is left out.
        strength: How much of the new picture there is, in [0, 1]; 0 leaves every byte.
        colour: Matrix and range of the planes.
        wipe_column: Pixels to the left of it stay: a split screen.

    Returns:
        The rectangle outside of which nothing was touched.

    Raises:
        ValueError: The planes' sizes do not fit each other, the region is empty, or the strength is outside [0, 1].
    """
    made, size = unfolded(cells), (cells.shape[0] * FOLD, cells.shape[1] * FOLD)
    if not _as_it_is(planes, size, colour, region):
        tensor = frame_to_tensor(made, size)
        return tensor_to_frame(tensor, planes, region, strength, colour, wipe_column=wipe_column)
    height, width = size
    box = changed_box(checked_region(region, height, width), wipe_column, height, width)
    if box.is_empty or not checked_strength(strength):
        return Region(box.top, box.left, box.top, box.left)
    blend(box.of(planes[0]), box.of(made[0]), strength)
    whole = whole_quads(box, height, width)
    for plane, new in zip(planes[1:], made[1:], strict=True):
        blend(whole.of_chroma(plane), whole.of_chroma(new), strength)
    return box


def folded_definition(planes: Planes) -> Cells:
    """Say pixel by pixel what `folded` means."""
    height, width = check_planes(planes)
    cells = np.empty((height // FOLD, width // FOLD, CELL_BYTES), np.uint8)
    for row in range(height):
        for column in range(width):
            cells[row // 4, column // 4, 4 * (row % 4) + column % 4] = planes[0][row, column]
    for first, plane in ((16, planes[1]), (20, planes[2])):
        for row in range(height // 2):
            for column in range(width // 2):
                cells[row // 2, column // 2, first + 2 * (row % 2) + column % 2] = plane[row, column]
    return cells


def _lay_rows(plane: NDArray[Any], in_cells: NDArray[Any], fold: int, kind: type[np.generic]) -> None:
    rows = plane.view(kind)
    for row in range(fold):
        rows[row::fold] = in_cells[..., row]


def _rows_of(cells: NDArray[Any]) -> Iterator[tuple[NDArray[Any], int, type[np.generic]]]:
    """For each plane: its rows in the cells as numbers [cells down, cells across, rows], how many, and their type."""
    luma_row, chroma_row = _ROWS[cells.itemsize]
    yield cells.view(luma_row)[..., :FOLD], FOLD, luma_row
    for first in _FIRST_CHROMA:
        yield cells.view(chroma_row)[..., first : first + FOLD // 2], FOLD // 2, chroma_row


def _as_it_is(planes: Planes, size: Size, colour: Colour, region: Region | None) -> bool:
    height, width = check_planes(planes)
    whole = region is None or region == Region(0, 0, height, width)
    return whole and (height, width) == size and colour == BT601_LIMITED
