"""What `paste_face.cu` reads and the order of its launches.

All faces go in each launch. Grids and arguments depend on the size, on how many faces there are and on how many waves
they take, so that the launches can be captured once for each of these.
"""

import ctypes
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.cuda.device import Launches
from kernels.cuda.jobs import Plane, PlaneAt, Sampling
from kernels.detail import soft_and_near
from kernels.light import POINTS, read_at_half_size, support_grid
from kernels.paste import is_enlarged
from kernels.warp import Affine, axis_factors
from kernels.yuv import BT601_LIMITED, Colour, Region, rgb_to_yuv_matrix

_BLOCK = (32, 8, 1)
# Blocks of the blend, whose faces differ in size, over all faces: each thread goes on until its face is done.
_BLEND_BLOCK = (128, 1, 1)
_BLEND_BLOCKS = 512
_FEWEST_BLEND_BLOCKS = 16


class PasteJob(ctypes.Structure):
    """`PasteJob` of `paste_job.cuh`."""

    _fields_ = (
        ("luma", Plane),
        ("blue", Plane),
        ("red", Plane),
        ("generated", ctypes.c_void_p),
        ("original", ctypes.c_void_p),
        ("mask", ctypes.c_void_p),
        ("resting", ctypes.c_void_p),
        ("scratch", ctypes.c_void_p),
        ("of_luma", Sampling),
        ("of_chroma", Sampling),
        ("to_yuv", ctypes.c_float * 12),
        ("left", ctypes.c_int),
        ("top", ctypes.c_int),
        ("right", ctypes.c_int),
        ("bottom", ctypes.c_int),
        ("alpha", ctypes.c_float),
        ("luma_doubled", ctypes.c_int),
        ("chroma_doubled", ctypes.c_int),
        ("clear", ctypes.c_int),
        ("first_lit", ctypes.c_int),
        ("first_sheet", ctypes.c_int),
        ("wave", ctypes.c_int),
        ("unused", ctypes.c_int),
    )


@dataclass(frozen=True, slots=True)
class DrawnFace:
    """Where what is pasted lies.

    Attributes:
        generated: Of the generator's picture, half or float [3, S, S], R, G, B in [0, 1].
        original: Of the whole crop that `crop_faces` cut out, like `generated`.
        mask: Of `mouth_mask`, float [S, S].
        resting: Of `resting_mask`, float [S, S]; 0 replaces all of the mask.
        scratch: Of `scratch_bytes(S)` bytes of the face's own, on a multiple of 16.
    """

    generated: int
    original: int
    mask: int
    resting: int
    scratch: int


def scratch_bytes(size: int) -> int:
    """Room that one face takes between the launches; the layout is `Scratch` of `paste_job.cuh`."""
    side = _read_side(size)
    # Rim, gathered rows and levels have four floats; lit and luma's sheet four halves, chroma's sheet two. Sheets may
    # be doubled.
    floats = 16 * (side * side + (POINTS + 1) * side + POINTS * POINTS)
    return -(-(floats + (8 + 4 * 8 + 4 * 4) * size * size) // 256) * 256


def paste_table(size: int) -> NDArray[np.float32]:
    """What the kernels read of a size: weights of the light's grid from pixels and back, and both Gaussians."""
    side = _read_side(size)
    parts = [support_grid(side)[0], support_grid(size)[1], *soft_and_near(side)]
    return np.concatenate([part.ravel() for part in parts], dtype=np.float32)


def _read_side(size: int) -> int:
    return size // 2 if read_at_half_size(size) else size


@cache
def _radii(size: int) -> tuple[int, int]:
    soft, near = soft_and_near(_read_side(size))
    return len(soft) // 2, len(near) // 2


def paste_job(
    planes: Sequence[PlaneAt],
    to_crop: Affine,
    size: int,
    face: DrawnFace,
    colour: Colour = BT601_LIMITED,
    *,
    alpha: float = 1.0,
) -> PasteJob:
    """What the kernels do for one face.

    Where the mask is not 0 is known on the device only: the region is that of the crop's lower half, and what the mask
    does not cover in it keeps its bytes.

    Args:
        planes: Y, U and V, writable.
        to_crop: [2, 3], the map that the original was cut out with; no shear.
        size: Side S of the crop in pixels.
        face: Where the pictures lie.
        colour: Matrix and range of the planes.
        alpha: Share of the paste that is seen, 0 to 1; at 0 the region is empty.

    Raises:
        ValueError: Chroma does not have ceil(n / 2) samples a side, or `to_crop` has no inverse.
    """
    luma, blue, red = planes
    half = ((luma.height + 1) // 2, (luma.width + 1) // 2)
    for name, chroma in (("U", blue), ("V", red)):
        if (chroma.height, chroma.width) != half:
            raise ValueError(f"plane {name} is {(chroma.height, chroma.width)}, expected {half}")
    (a, b, x), (c, d, y) = to_crop.tolist()
    determinant = a * d - b * c
    if not abs(determinant) > 0.0:
        raise ValueError(f"affine map {to_crop.tolist()} has no inverse: its determinant is {determinant}")
    scale, enlarging = math.sqrt(abs(determinant)), math.hypot(a, c)
    block, beside = axis_factors(scale)
    clear = 2 * block if beside else block
    region = _region((a, b, x, c, d, y), determinant, size, clear, luma) if alpha > 0.0 else _NOWHERE
    x, y = x + a * region.left + b * region.top, y + c * region.left + d * region.top
    of_luma, luma_doubled = _sampling((a, b, x, c, d, y), scale, enlarging)
    # Of every other pixel; chroma lies in the middle of its 2 x 2.
    on_chroma = 2 * a, 2 * b, x + (a + b) / 2, 2 * c, 2 * d, y + (c + d) / 2
    of_chroma, chroma_doubled = _sampling(on_chroma, 2 * scale, 2 * enlarging)
    first_lit, first_sheet = _first_rows(size, block)
    return PasteJob(
        luma.packed(),
        blue.packed(),
        red.packed(),
        face.generated,
        face.original,
        face.mask,
        face.resting,
        face.scratch,
        of_luma,
        of_chroma,
        _to_yuv(colour),
        region.left,
        region.top,
        region.right,
        region.bottom,
        alpha,
        luma_doubled,
        chroma_doubled,
        clear,
        first_lit,
        first_sheet,
    )


_Map = tuple[float, float, float, float, float, float]
_NOWHERE = Region(0, 0, 0, 0)


def _region(to_crop: _Map, determinant: float, size: int, clear: int, luma: PlaneAt) -> Region:
    """The part of the frame that the crop's lower half reaches, on whole 2 x 2 blocks."""
    a, b, x, c, d, y = to_crop
    # The mask may spread by what is averaged, which is less than the border that must be clear of it.
    top = size // 2 - clear - 1
    if 2 * clear >= size:
        return _NOWHERE
    # Half the rectangle's sides, and its middle, on the way back to the frame.
    wide, high = (size + 1) / 2 / abs(determinant), (size - top) / 2 / abs(determinant)
    u, v = (size - 1) / 2 - x, (size + top) / 2 - y
    across, down = (d * u - b * v) / determinant, (a * v - c * u) / determinant
    beside, above = abs(d) * wide + abs(b) * high, abs(c) * wide + abs(a) * high
    left, right = max(math.floor(across - beside) - 1, 0), min(math.ceil(across + beside) + 2, luma.width)
    first, last = max(math.floor(down - above) - 1, 0), min(math.ceil(down + above) + 2, luma.height)
    if left >= right or first >= last:
        return _NOWHERE
    return Region(first & ~1, left & ~1, min(last + 1 & ~1, luma.height), min(right + 1 & ~1, luma.width))


def _sampling(to_crop: _Map, scale: float, enlarging: float) -> tuple[Sampling, bool]:
    """How a sheet is sampled, and whether it is doubled first."""
    a, b, x, c, d, y = to_crop
    twice = is_enlarged(enlarging)
    if twice:
        # Pixel k of the crop lies in the middle of pixels 2 k and 2 k + 1.
        a, b, x, c, d, y, scale = 2 * a, 2 * b, 2 * x + 0.5, 2 * c, 2 * d, 2 * y + 0.5, 2 * scale
    block, beside = axis_factors(scale)
    return Sampling((a, b, x, c, d, y), block, beside), twice


@cache
def _first_rows(size: int, block: int) -> tuple[int, int]:
    """First rows of the crop that must be lit, and that the sheets need; even.

    A pixel that the mask reaches looks at most 2.5 blocks further up; its chroma, whose blocks are twice as large,
    at 9, and the doubling at 2 pixels more.
    """
    scale = size // _read_side(size)
    sheet = max(0, size // 2 - 12 * block - 4) & ~1
    blurred = size // 2 // scale - 1 - sum(_radii(size))
    return max(0, min(sheet - 2, scale * blurred)) & ~1, sheet


@cache
def _to_yuv(colour: Colour) -> "ctypes.Array[ctypes.c_float]":
    matrix = rgb_to_yuv_matrix(colour) * (255.0, 255.0, 255.0, 1.0)
    return (ctypes.c_float * 12)(*matrix.ravel().tolist())


def in_waves(jobs: Sequence[PasteJob]) -> int:
    """Give each job the wave that it is blended in, and return how many there are.

    Faces of one picture whose regions overlap go in different waves, in the order of the jobs.
    """
    waves = 1
    by_picture: dict[int | None, list[PasteJob]] = {}
    for job in jobs:
        before = by_picture.setdefault(job.luma.samples, [])
        job.wave = max((other.wave + 1 for other in before if _overlap(job, other)), default=0)
        waves = max(waves, job.wave + 1)
        before.append(job)
    return waves


def _overlap(one: PasteJob, other: PasteJob) -> bool:
    return bool(
        max(one.left, other.left) < min(one.right, other.right)
        and max(one.top, other.top) < min(one.bottom, other.bottom)
    )


def paste_faces(
    device: Launches, jobs: int, table: int, faces: int, size: int, *, half: bool = True, waves: int = 1
) -> None:
    """Launch what pastes faces.

    Args:
        device: Launches, one after the other.
        jobs: Address of a table of `PasteJob`.
        table: Address of `paste_table(size)`.
        faces: How many jobs, at least 1; one that is all zeros does nothing.
        size: Side S of the crops in pixels.
        half: The pictures are halves, or else floats.
        waves: What `in_waves` returned.
    """
    side, kind = _read_side(size), "half" if half else "float"
    soft, near = _radii(size)
    # The mask begins in the middle, and what is read off there a pixel earlier at most.
    lower = side - size // 2 // (size // side)
    pointer, weights, whole = ctypes.c_void_p(jobs), ctypes.c_void_p(table), ctypes.c_int(size)
    radius, wide = ctypes.c_int(soft), ctypes.c_int(near)

    def launch(
        kernel: str, width: int, height: int, block: tuple[int, int, int], *more: "ctypes._SimpleCData[Any]"
    ) -> None:
        grid = (-(-width // block[0]), -(-height // block[1]), faces)
        device.launch(kernel, grid, block, pointer, *more)

    launch(f"paste_rim_{kind}", side, lower, _BLOCK, whole)
    launch("paste_gather", POINTS + 1, lower, (POINTS + 1, 16, 1), weights, whole, radius)
    launch("paste_light", POINTS, POINTS, (POINTS, POINTS, 1), weights, whole, radius)
    launch(f"paste_lit_{kind}", -(-size // 2), -(-size // 2), _BLOCK, weights, whole, radius)
    for index, above in enumerate((1 + soft + near, 1 + near, 1 + near, 1)):
        rows = min(side, lower + above)
        launch("paste_blur", side, rows, _BLOCK, weights, whole, radius, wide, ctypes.c_int(index))
    launch("paste_sheets", size, size, _BLOCK, whole)
    blocks = max(_FEWEST_BLEND_BLOCKS, _BLEND_BLOCKS // faces)
    for wave in range(waves):
        device.launch("paste_blend", (blocks, 1, faces), _BLEND_BLOCK, pointer, whole, ctypes.c_int(wave))
