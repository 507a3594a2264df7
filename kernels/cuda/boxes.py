"""What of a picture goes to the card for one face: the rectangle that cropping reads and pasting writes, no more.

A box keeps the grids that the picture's own averages are counted on, so that what is computed in it is what the whole
picture would give: it begins on whole blocks, and ends with the picture or beyond all that is looked at.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kernels.cuda.jobs import Entries, PlaneAt
from kernels.warp import axis_factors
from kernels.yuv import Planes, Region

# A paste reaches this far beyond the crop's own outline, rounding included.
_BESIDE_PX = 4


def face_box(to_crops: Sequence[Entries], size: int, height: int, width: int) -> Region:
    """The rectangle of a picture that one face needs, or several together.

    Args:
        to_crops: Maps with an inverse.
        size: Side of the crops in pixels.
        height: Rows of the picture.
        width: Its columns.

    Returns:
        A region with even top and left. Never empty: a crop that lies outside sees the picture's border.
    """
    if len(to_crops) == 1:
        top, left, bottom, right, step = _reach(to_crops[0], size)
    else:
        firsts_y, firsts_x, lasts_y, lasts_x, steps = zip(*(_reach(each, size) for each in to_crops), strict=True)
        top, left, bottom, right, step = min(firsts_y), min(firsts_x), max(lasts_y), max(lasts_x), max(steps)
    top, bottom = _covering(top, bottom, step, height)
    left, right = _covering(left, right, step, width)
    return Region(top, left, bottom, right)


def _reach(to_crop: Entries, size: int) -> tuple[float, float, float, float, int]:
    """Top, left, bottom and right of what a face looks at, and the side of the blocks that it averages, even."""
    a, b, x, c, d, y = to_crop
    determinant = a * d - b * c
    block = axis_factors(1.0 / math.sqrt(abs(determinant)))[0]
    # Chroma's blocks are as large in pixels or twice as large, and two of them beside a sample are looked at.
    beside = 4.0 * max(block, 2) + _BESIDE_PX
    # What the crop's middle and its half sides become.
    middle, half = (size - 1) / 2.0, (size - 1) / 2.0 / determinant
    u, v = middle - x, middle - y
    across, down = (d * u - b * v) / determinant, (a * v - c * u) / determinant
    far_across, far_down = (abs(d) + abs(b)) * abs(half) + beside, (abs(a) + abs(c)) * abs(half) + beside
    return down - far_down, across - far_across, down + far_down, across + far_across, 2 * block


def _covering(first: float, last: float, step: int, length: int) -> tuple[int, int]:
    """Whole steps from the first to the last pixel; beyond a border its last blocks are seen, with their neighbours."""
    start = max(0, min(math.floor(first), length - 1 - 2 * step)) // step * step
    return start, min(length, -(-max(math.ceil(last), start + 3 * step) // step) * step)


def inside(to_crop: Entries, box: Region) -> Entries:
    """The map to the crop from pixels of the box instead of the picture's."""
    a, b, x, c, d, y = to_crop
    top, left, _, _ = box
    return a, b, x + a * left + b * top, c, d, y + c * left + d * top


def box_bytes(box: Region) -> int:
    """What the box's three planes take."""
    top, left, bottom, right = box
    height, width = bottom - top, right - left
    return height * width + 2 * ((height + 1) // 2) * ((width + 1) // 2)


def planes_in(box: Region, address: int) -> list[PlaneAt]:
    """The box's planes as they lie one behind the other from an address on, without padding."""
    height, width = (box.height + 1) // 2, (box.width + 1) // 2
    chroma_at = address + box.height * box.width
    return [
        PlaneAt(address, box.height, box.width, box.width),
        PlaneAt(chroma_at, height, width, width),
        PlaneAt(chroma_at + height * width, height, width, width),
    ]


def interleaved_in(box: Region, address: int) -> list[PlaneAt]:
    """One box's planes as they lie in NV12: behind luma, pairs of U and V."""
    height, width = (box.height + 1) // 2, (box.width + 1) // 2
    chroma_at = address + box.height * box.width
    return [
        PlaneAt(address, box.height, box.width, box.width),
        PlaneAt(chroma_at, height, width, 2 * width, 2),
        PlaneAt(chroma_at + 1, height, width, 2 * width, 2),
    ]


def pack(planes: Planes, box: Region, into: NDArray[np.uint8]) -> int:
    """Copy the box out of a picture.

    Args:
        planes: uint8 Y [H, W], U and V [ceil(H/2), ceil(W/2)], may be strided.
        box: From `face_box`.
        into: uint8, as many as `box_bytes` says.

    Returns:
        Bytes that were copied.
    """
    top, left, bottom, right = box
    height, width = bottom - top, right - left
    rows, columns = slice(top // 2, (bottom + 1) // 2), slice(left // 2, (right + 1) // 2)
    luma, chroma = _packed(height, width, into)
    luma[...] = planes[0][top:bottom, left:right]
    chroma[0] = planes[1][rows, columns]
    chroma[1] = planes[2][rows, columns]
    return luma.size + chroma.size


def unpack(packed: NDArray[np.uint8], box: Region, planes: Planes, region: Sequence[int]) -> int:
    """Copy back what was changed in it.

    Args:
        packed: uint8, as many as `box_bytes` says.
        box: Where in the picture it lies.
        planes: As for `pack`, writable.
        region: What was changed: left, top, right and bottom in pixels of the box, within it and on an even grid.

    Returns:
        Bytes that were copied.
    """
    left, top, right, bottom = region
    if left >= right or top >= bottom:
        return 0
    luma, chroma = _packed(box[2] - box[0], box[3] - box[1], packed)
    down, across = box[0], box[1]
    planes[0][down + top : down + bottom, across + left : across + right] = luma[top:bottom, left:right]
    made = chroma[:, top // 2 : (bottom + 1) // 2, left // 2 : (right + 1) // 2]
    into = (
        slice((down + top) // 2, (down + bottom + 1) // 2),
        slice((across + left) // 2, (across + right + 1) // 2),
    )
    planes[1][into] = made[0]
    planes[2][into] = made[1]
    return (bottom - top) * (right - left) + made.size


def _packed(height: int, width: int, memory: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Luma [height, width], and both planes of chroma [2, ceil(height / 2), ceil(width / 2)]."""
    half_height, half_width = (height + 1) // 2, (width + 1) // 2
    luma, chroma = height * width, 2 * half_height * half_width
    return (
        memory[:luma].reshape(height, width),
        memory[luma : luma + chroma].reshape(2, half_height, half_width),
    )
