"""What of a picture goes to the card for one face: the rectangle that cropping reads and pasting writes, no more.

A box keeps the grids that the picture's own averages are counted on, so that what is computed in it is what the whole
picture would give: it begins on whole blocks, and ends with the picture or beyond all that is looked at.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kernels.crop import on_chroma_grid
from kernels.cuda.jobs import PlaneAt
from kernels.warp import Affine, invert, reached, shrink_factors
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
    step = 2
    rows: list[tuple[int, int]] = []
    columns: list[tuple[int, int]] = []
    for to_crop in to_crops:
        to_luma = invert(to_crop)
        to_chroma = on_chroma_grid(to_luma)
        step = max(step, shrink_factors(to_luma)[0], 2 * shrink_factors(to_chroma)[0])
        of_luma = reached(to_luma, size, size, height, width)
        of_chroma = reached(to_chroma, size, size, (height + 1) // 2, (width + 1) // 2)
        for luma, chroma, both in zip(of_luma, of_chroma, (rows, columns), strict=True):
            both += [(luma.start, luma.stop), (2 * chroma.start, 2 * chroma.stop)]
    (top, bottom), (left, right) = (_covering(both, step, side) for both, side in ((rows, height), (columns, width)))
    return Region(top, left, bottom, right)


def _covering(runs: Sequence[tuple[int, int]], step: int, length: int) -> tuple[int, int]:
    first, stop = min(run[0] for run in runs) - _BESIDE_PX, max(run[1] for run in runs) + _BESIDE_PX
    return max(0, first) // step * step, min(length, -(-stop // step) * step)


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
    for view, packed in zip(_views(planes, box), _packed(box, into), strict=True):
        packed[...] = view


def unpack(packed: NDArray[np.uint8], box: Region, planes: Planes, region: Region) -> None:
    """Copy back what was changed in it.

    Args:
        packed: uint8 [`box_bytes(box)`].
        box: Where in the picture it lies.
        planes: As for `pack`, writable.
        region: What was changed, in pixels of the picture, on an even grid.
    """
    wanted = region.clipped(*planes[0].shape)
    wanted = Region(
        max(wanted.top, box.top),
        max(wanted.left, box.left),
        min(wanted.bottom, box.bottom),
        min(wanted.right, box.right),
    )
    if wanted.is_empty:
        return
    own = Region(wanted.top - box.top, wanted.left - box.left, wanted.bottom - box.top, wanted.right - box.left)
    luma, *chroma = _packed(box, packed)
    wanted.of(planes[0])[...] = own.of(luma)
    for plane, made in zip(planes[1:], chroma, strict=True):
        wanted.of_chroma(plane)[...] = own.of_chroma(made)


def _views(planes: Planes, box: Region) -> Sequence[NDArray[np.uint8]]:
    return box.of(planes[0]), box.of_chroma(planes[1]), box.of_chroma(planes[2])


def _packed(box: Region, memory: NDArray[np.uint8]) -> Sequence[NDArray[np.uint8]]:
    height, width = (box.height + 1) // 2, (box.width + 1) // 2
    luma, blue = box.height * box.width, height * width
    return (
        memory[:luma].reshape(box.height, box.width),
        memory[luma : luma + blue].reshape(height, width),
        memory[luma + blue : luma + 2 * blue].reshape(height, width),
    )
