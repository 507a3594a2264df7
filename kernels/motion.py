"""What moved from one picture to the next, and what was drawn of the first one moved along with it.

Motion is looked for in luma of half the size or a quarter, by dense inverse search. Where it does not explain the
surroundings of a pixel better than standing still does, nothing moved; between two pictures that are the same, nothing
at all. Only the rectangle around what moved is resampled, bilinear; the rest stays to the bit.

Bytes: of pictures of 640 x 480 of which all moved, 0.6 MB of luma are searched, and a map of 3.1 MB is made; per
picture in folded planes of float32 that is moved along, 1.8 MB are read and written.

Source: T. Kroeger et al., "Fast optical flow using dense inverse search", ECCV 2016, in OpenCV.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.folded_planes import FOLD, folded, unfolded
from kernels.yuv import Plane, Region

Field = NDArray[np.float32]
"""float32 [h, w, 2], x first."""

SMALLEST_PX = 32
"""Of a picture's shorter side: in a smaller one, nothing is looked for."""

# Motion is looked for in pictures no wider than this, a whole number of times smaller.
_SEARCHED_PX = 400
# Of the mean difference of a square of so many pixels' side, at standing still: what motion must leave less than.
_LESS, _AROUND = 0.9, 7
# The field is smoothed once where "fast" does it five times: two thirds of its time, and as little flicker.
_SETTINGS, _SMOOTHED = cv2.DISOPTICAL_FLOW_PRESET_FAST, 1
_NOWHERE = Region(0, 0, 0, 0)


class Follower:
    """Looks for motion, and moves pictures along with what it found last. For one thread.

    Memory that is new for each picture would cost as much as the work, so it keeps its own.

    Args:
        height: Of the pictures, in pixels; a multiple of `FOLD`.
        width: Likewise.

    Attributes:
        box: Pixels outside of which nothing moved; its sides are multiples of `FOLD`.

    Raises:
        ValueError: The sides are no multiples.
    """

    def __init__(self, height: int, width: int) -> None:
        if height % FOLD or width % FOLD:
            raise ValueError(f"pictures are {height} x {width}, expected multiples of {FOLD}")
        self.box = _NOWHERE
        self._height, self._width = height, width
        self._shrink = 2 if width <= 2 * _SEARCHED_PX else 4
        self._search = cv2.DISOpticalFlow.create(_SETTINGS)
        self._search.setVariationalRefinementIterations(_SMOOTHED)
        self._grids = {per: _grid(height // per, width // per) for per in {1, 2, self._shrink}}
        self._field = np.empty_like(self._grids[self._shrink])
        self._places = {per: np.empty_like(self._grids[per]) for per in (1, 2)}
        self._cells: dict[str, NDArray[Any]] = {}

    def find(self, before: Plane, now: Plane) -> bool:
        """Look for motion.

        Args:
            before: uint8 luma [H, W].
            now: Likewise.

        Returns:
            Whether anything moved.
        """
        self.box = _NOWHERE
        if min(self._height, self._width) < SMALLEST_PX:
            return False
        size = self._width // self._shrink, self._height // self._shrink
        old, new = (cv2.resize(each, size, interpolation=cv2.INTER_AREA) for each in (before, now))
        field = np.asarray(self._search.calc(new, old, None), np.float32)
        moved = self._explains(field, old, new)
        self.box = _around(moved, self._shrink).clipped(self._height, self._width)
        if self.box.is_empty:
            return False
        self._field[...] = 0.0
        cv2.copyTo(field, moved, self._field)
        for per in (1, 2):
            self._place(per)
        return True

    def moved(self, plane: NDArray[Any], per: int = 1) -> NDArray[Any]:
        """The part of a plane inside the box, what moved in its place.

        Args:
            plane: uint8 or float32 [H / per, W / per].
            per: How many pixels one sample covers along each side, 1 or 2.
        """
        places = self._places[per][_inside(self.box, per)]
        return np.asarray(cv2.remap(plane, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))

    def moved_cells(self, cells: NDArray[Any]) -> NDArray[Any]:
        """Folded planes with what moved in its place.

        Args:
            cells: uint8 or float32 [H / 4, W / 4, 24].

        Returns:
            Likewise; the same memory again at the next call with cells of that type.
        """
        luma, blue, red = unfolded(cells)
        moved = self._cells.setdefault(cells.dtype.name, np.empty_like(cells))
        moved[:] = cells
        moved[_inside(self.box, FOLD)] = folded((self.moved(luma), self.moved(blue, 2), self.moved(red, 2)))
        return moved

    def _explains(self, field: Field, old: Plane, new: Plane) -> Plane:
        """255 where motion leaves less of the difference to the picture before than standing still, else 0."""
        places = cv2.add(field, self._grids[self._shrink])
        there = cv2.remap(old, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        around = (_AROUND, _AROUND)
        off, still = (cv2.boxFilter(cv2.absdiff(each, new), cv2.CV_32F, around) for each in (there, old))
        return np.asarray(cv2.compare(off, cv2.multiply(still, _LESS), cv2.CMP_LT), np.uint8)

    def _place(self, per: int) -> None:
        """For each sample inside the box: where it was."""
        inside, field = _inside(self.box, per), self._field[_inside(self.box, self._shrink)]
        places, grid = self._places[per][inside], self._grids[per][inside]
        if per != self._shrink:
            field = cv2.resize(field, grid.shape[1::-1], places, interpolation=cv2.INTER_LINEAR)
        cv2.scaleAdd(field, self._shrink / per, grid, places)


def _around(moved: Plane, shrink: int) -> Region:
    """The rectangle of what moved, in pixels, with as much around it as a field that is enlarged reaches."""
    left, top, width, height = cv2.boundingRect(moved)
    if not width:
        return _NOWHERE
    (top, bottom), (left, right) = (
        ((first - 1) * shrink // FOLD * FOLD, -(-(first + count + 1) * shrink // FOLD) * FOLD)
        for first, count in ((top, height), (left, width))
    )
    return Region(top, left, bottom, right)


def _inside(box: Region, per: int) -> tuple[slice, slice]:
    """A box in a plane of which one sample covers so many pixels along each side."""
    return slice(box.top // per, box.bottom // per), slice(box.left // per, box.right // per)


def _grid(height: int, width: int) -> Field:
    grid = np.empty((height, width, 2), np.float32)
    grid[..., 0] = np.arange(width, dtype=np.float32)
    grid[..., 1] = np.arange(height, dtype=np.float32)[:, None]
    return grid
