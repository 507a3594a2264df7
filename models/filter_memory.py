"""What a filter remembers from frame to frame, and how it is told of it.

A network with a memory of its own gives a state back, which goes in beside the next frame as it came. A steady filter
is told what it was shown last and what it drew of it; both are moved along with what has moved since, so that grain is
averaged over a moving thing as over one that stands still.
"""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.folded_planes import FOLD, unfolded_luma
from kernels.frame_tensor import tensor_levels
from kernels.motion import Follower
from kernels.yuv import Plane
from models.engine import TensorSpec
from models.filter_manifest import CARRIED, LAST, STATE

Array = NDArray[Any]


class FilterMemory:
    """The memory of one engine. For one thread; several streams may take turns, for it keeps nothing of them.

    Args:
        inputs: The engine's, by name.

    Attributes:
        follows: What is remembered is moved along with what moves.
    """

    def __init__(self, inputs: Mapping[str, TensorSpec]) -> None:
        self._carried = {name: inputs[name] for name in CARRIED if name in inputs}
        self.follows = LAST in self._carried
        self._follower: Follower | None = None

    def empty(self) -> dict[str, Array]:
        """What goes in beside the first frame of a stream."""
        return {
            name: np.zeros([1, *(size or 1 for size in spec.shape[1:])], spec.dtype)
            for name, spec in self._carried.items()
        }

    def feed(self, frame: Array, kept: Mapping[str, Array], *, hurried: bool = False) -> dict[str, Array]:
        """What goes in beside a frame; may be the memory's own arrays, the same ones for the next frame.

        Args:
            frame: What the engine is to be shown.
            kept: From `empty`, or from `kept` of the frame before.
            hurried: There is no time to look for motion: what moved is drawn as if nothing were known of it.
        """
        told = {name: kept[name] for name in self._carried}
        if hurried or not self.follows or not told[STATE].any():
            return told
        before = told[STATE]
        follower = self._follower or self._new_follower(frame)
        if not follower.find(_luma(before), _luma(frame)):
            return told
        if frame.dtype == np.uint8:
            return {name: follower.moved_cells(cells[0])[None] for name, cells in told.items()}
        return {STATE: _moved(follower, before, 1), LAST: _moved(follower, told[LAST], FOLD)}

    def kept(self, frame: Array, drawn: Mapping[str, Array]) -> dict[str, Array]:
        """What is kept of a frame and of what an engine gave back."""
        given = {STATE: frame.copy(), **drawn} if self.follows else drawn
        return {name: given[name] for name in self._carried}

    def _new_follower(self, frame: Array) -> Follower:
        rows, columns = frame.shape[1:3] if frame.dtype == np.uint8 else frame.shape[2:]
        fold = FOLD if frame.dtype == np.uint8 else 1
        self._follower = Follower(rows * fold, columns * fold)
        return self._follower


def _luma(frame: Array) -> Plane:
    if frame.dtype == np.uint8:
        return unfolded_luma(frame[0])
    return np.asarray(cv2.cvtColor(tensor_levels(frame[0]), cv2.COLOR_RGB2GRAY), np.uint8)


def _moved(follower: Follower, pictures: Array, fold: int) -> Array:
    """RGB [1, 3 fold^2, H / fold, W / fold], folded by rows of a cell, with what moved in its place."""
    _, channels, rows, columns = pictures.shape
    flat = pictures.reshape(channels // fold**2, fold, fold, rows, columns).transpose(0, 3, 1, 4, 2)
    flat = flat.reshape(-1, rows * fold, columns * fold).copy()
    box = follower.box
    for plane in flat:
        plane[box.top : box.bottom, box.left : box.right] = follower.moved(plane)
    cells = flat.reshape(-1, rows, fold, columns, fold).transpose(0, 2, 4, 1, 3)
    return np.ascontiguousarray(cells.reshape(pictures.shape))
