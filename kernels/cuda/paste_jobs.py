"""What `paste_face.cu` reads and the order of its launches.

All faces go in each launch. Grids and arguments depend on the size, on how many faces there are and on how many waves
they take, so that the launches can be captured once for each of these.
"""

import ctypes
import math
import struct
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.cuda.device import Launches
from kernels.cuda.jobs import MATRIX_BYTES, PLANES_BYTES, SAMPLING_FORMAT, Entries, Plane, Sampling
from kernels.detail import soft_and_near
from kernels.light import POINTS, read_at_half_size, support_grid
from kernels.paste import is_enlarged
from kernels.warp import axis_factors
from kernels.yuv import BT601_LIMITED, Colour, rgb_to_yuv_matrix

_BLOCK = (32, 8, 1)
# Blocks of the blend, whose faces differ in size, over all faces: each thread goes on until its face is done.
_BLEND_BLOCK = (128, 1, 1)
_BLEND_BLOCKS = 512
_FEWEST_BLEND_BLOCKS = 16

Sides = tuple[int, int, int, int]
"""Left, top, right and bottom."""
_NOWHERE: Sides = (0, 0, 0, 0)


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


_PASTE_JOB = struct.Struct(f"{PLANES_BYTES}s5P{2 * SAMPLING_FORMAT}{MATRIX_BYTES}s4if7i")
_WAVE = struct.Struct("i")
_WAVE_AT = PasteJob.wave.offset


class DrawnFace(NamedTuple):
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


class Pasting(NamedTuple):
    """A face that is to be pasted.

    Attributes:
        job: A `PasteJob`, in wave 0.
        region: What of the planes may change: left, top, right and bottom, on an even grid; all 0 where nothing does.
    """

    job: bytes
    region: Sides


def paste_job(
    planes: bytes,
    height: int,
    width: int,
    to_crop: Entries,
    size: int,
    face: DrawnFace,
    colour: Colour = BT601_LIMITED,
    *,
    alpha: float = 1.0,
) -> Pasting:
    """What the kernels do for one face.

    Where the mask is not 0 is known on the device only: the region is that of the crop's lower half, and what the mask
    does not cover in it keeps its bytes.

    Args:
        planes: From `packed_planes`, writable.
        height: Rows of luma.
        width: Its columns.
        to_crop: The map that the original was cut out with; with an inverse and without shear.
        size: Side S of the crop in pixels.
        face: Where the pictures lie.
        colour: Matrix and range of the planes.
        alpha: Share of the paste that is seen, 0 to 1; at 0 the region is empty.
    """
    a, b, x, c, d, y = to_crop
    determinant = a * d - b * c
    scale, enlarging = math.sqrt(abs(determinant)), math.hypot(a, c)
    block, beside = axis_factors(scale)
    clear = 2 * block if beside else block
    region = _region(to_crop, determinant, size, clear, height, width) if alpha > 0.0 else _NOWHERE
    left, top, _, _ = region
    x, y = x + a * left + b * top, y + c * left + d * top
    luma_doubled, chroma_doubled = is_enlarged(enlarging), is_enlarged(2 * enlarging)
    # Chroma is of every other pixel, and lies in the middle of its 2 x 2.
    on_chroma = 2 * a, 2 * b, x + (a + b) / 2, 2 * c, 2 * d, y + (c + d) / 2
    of_luma = _sampling((a, b, x, c, d, y), scale, luma_doubled)
    of_chroma = _sampling(on_chroma, 2 * scale, chroma_doubled)
    rows = _first_rows(size, block)
    flags = luma_doubled, chroma_doubled, clear
    job = _PASTE_JOB.pack(planes, *face, *of_luma, *of_chroma, _to_yuv(colour), *region, alpha, *flags, *rows, 0, 0)
    return Pasting(job, region)


def _region(to_crop: Entries, determinant: float, size: int, clear: int, height: int, width: int) -> Sides:
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
    left, right = max(math.floor(across - beside) - 1, 0), min(math.ceil(across + beside) + 2, width)
    first, last = max(math.floor(down - above) - 1, 0), min(math.ceil(down + above) + 2, height)
    if left >= right or first >= last:
        return _NOWHERE
    return left & ~1, first & ~1, min(right + 1 & ~1, width), min(last + 1 & ~1, height)


def _sampling(to_crop: Entries, scale: float, twice: bool) -> tuple[float, ...]:
    """How a sheet is sampled, which may be doubled first."""
    if not twice:
        return *to_crop, *axis_factors(scale)
    # Pixel k of the crop lies in the middle of pixels 2 k and 2 k + 1.
    a, b, x, c, d, y = to_crop
    return 2 * a, 2 * b, 2 * x + 0.5, 2 * c, 2 * d, 2 * y + 0.5, *axis_factors(2 * scale)


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
def _to_yuv(colour: Colour) -> bytes:
    matrix = rgb_to_yuv_matrix(colour) * (255.0, 255.0, 255.0, 1.0)
    return matrix.astype(np.float32).tobytes()


def in_waves(pictures: Sequence[int], regions: Sequence[Sides]) -> list[int]:
    """The wave that each face is blended in.

    Faces of one picture whose regions overlap go in different waves, in their order.

    Args:
        pictures: Which picture each face is in, by whatever number.
        regions: What of it may change.
    """
    waves: list[int] = []
    by_picture: dict[int, list[int]] = {}
    for picture, region in zip(pictures, regions, strict=True):
        before = by_picture.setdefault(picture, [])
        waves.append(max((waves[other] + 1 for other in before if _overlap(region, regions[other])), default=0))
        before.append(len(waves) - 1)
    return waves


def _overlap(one: Sides, other: Sides) -> bool:
    return max(one[0], other[0]) < min(one[2], other[2]) and max(one[1], other[1]) < min(one[3], other[3])


def in_wave(job: bytes, wave: int) -> bytes:
    """The same job in another wave."""
    return job[:_WAVE_AT] + _WAVE.pack(wave) + job[_WAVE_AT + _WAVE.size :]


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
        waves: How many `in_waves` found.
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
