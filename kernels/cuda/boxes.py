"""What of a picture goes to the card for one face: the rectangle that cropping reads and pasting writes, no more.

A box keeps the grids that the picture's own averages are counted on, so that what is computed in it is what the whole
picture would give: it begins on whole blocks, and ends with the picture or beyond all that is looked at.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kernels.cuda.jobs import PlaneAt
from kernels.warp import Affine, axis_factors
from kernels.yuv import Planes, Region

# A paste reaches this far beyond the crop's own outline, rounding included.
_BESIDE_PX = 4


def face_box(to_crops: Sequence[Affine], size: int, height: int, width: int) -> Region:
    """The rectangle of a picture that one face needs, or several together.

    Args:
        to_crops: [2, 3] each, from `kernels.crop.crop_transform`.
        size: Side of the crops in pixels.
        height: Rows of the picture.
        width: Its columns.

    Returns:
        A region with even top and left. Never empty: a crop that lies outside sees the picture's border.

    Raises:
        ValueError: A map has no inverse.
    """
    step, reached = 2, []
    for to_crop in to_crops:
        (a, b, x), (c, d, y) = to_crop.tolist()
        determinant = a * d - b * c
        if not abs(determinant) > 0.0:
            raise ValueError(f"affine map {to_crop.tolist()} has no inverse: its determinant is {determinant}")
        block = axis_factors(1.0 / math.sqrt(abs(determinant)))[0]
        # Chroma's blocks are as large in pixels or twice as large, and two of them beside a sample are looked at.
        step, beside = max(step, 2 * block), 4.0 * max(block, 2) + _BESIDE_PX
        # What the crop's middle and its half sides become.
        middle, half = (size - 1) / 2.0, (size - 1) / 2.0 / determinant
        u, v = middle - x, middle - y
        across, down = (d * u - b * v) / determinant, (a * v - c * u) / determinant
        far_across, far_down = (abs(d) + abs(b)) * abs(half) + beside, (abs(a) + abs(c)) * abs(half) + beside
        reached.append((down - far_down, across - far_across, down + far_down, across + far_across))
    top, left = (min(each[side] for each in reached) for side in (0, 1))
    bottom, right = (max(each[side] for each in reached) for side in (2, 3))
    top, bottom = _covering(top, bottom, step, height)
    left, right = _covering(left, right, step, width)
    return Region(top, left, bottom, right)


def _covering(first: float, last: float, step: int, length: int) -> tuple[int, int]:
    """Whole steps from the first to the last pixel; beyond a border its last blocks are seen, with their neighbours."""
    start = max(0, min(math.floor(first), length - 1 - 2 * step)) // step * step
    return start, min(length, -(-max(math.ceil(last), start + 3 * step) // step) * step)


def inside(to_crop: Affine, box: Region) -> NDArray[np.float64]:
    """The map to the crop from pixels of the box instead of the picture's."""
    (a, b, x), (c, d, y) = to_crop.tolist()
    return np.array(
        [[a, b, x + a * box.left + b * box.top], [c, d, y + c * box.left + d * box.top]],
    )


def box_bytes(box: Region) -> int:
    """What the box's three planes take."""
    return box.height * box.width + 2 * ((box.height + 1) // 2) * ((box.width + 1) // 2)


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
    """The same as NV12: behind luma, pairs of U and V."""
    height, width = (box.height + 1) // 2, (box.width + 1) // 2
    chroma_at = address + box.height * box.width
    return [
        PlaneAt(address, box.height, box.width, box.width),
        PlaneAt(chroma_at, height, width, 2 * width, 2),
        PlaneAt(chroma_at + 1, height, width, 2 * width, 2),
    ]


def pack(planes: Planes, box: Region, into: NDArray[np.uint8]) -> None:
    """Copy the box out of a picture.

    Args:
        planes: uint8 Y [H, W], U and V [ceil(H/2), ceil(W/2)], may be strided.
        box: From `face_box`.
        into: uint8 [`box_bytes(box)`].
    """
    luma, blue, red = _packed(box, into)
    luma[...] = box.of(planes[0])
    blue[...] = box.of_chroma(planes[1])
    red[...] = box.of_chroma(planes[2])


def unpack(packed: NDArray[np.uint8], box: Region, planes: Planes, region: Region) -> None:
    """Copy back what was changed in it.

    Args:
        packed: uint8 [`box_bytes(box)`].
        box: Where in the picture it lies.
        planes: As for `pack`, writable.
        region: What was changed, in pixels of the picture, on an even grid.
    """
    wanted = region.clipped(*planes[0].shape).common(box)
    if wanted.is_empty:
        return
    own = Region(wanted.top - box.top, wanted.left - box.left, wanted.bottom - box.top, wanted.right - box.left)
    luma, *chroma = _packed(box, packed)
    wanted.of(planes[0])[...] = own.of(luma)
    for plane, made in zip(planes[1:], chroma, strict=True):
        wanted.of_chroma(plane)[...] = own.of_chroma(made)


def _packed(box: Region, memory: NDArray[np.uint8]) -> Sequence[NDArray[np.uint8]]:
    height, width = (box.height + 1) // 2, (box.width + 1) // 2
    luma, blue = box.height * box.width, height * width
    return (
        memory[:luma].reshape(box.height, box.width),
        memory[luma : luma + blue].reshape(height, width),
        memory[luma + blue : luma + 2 * blue].reshape(height, width),
    )
