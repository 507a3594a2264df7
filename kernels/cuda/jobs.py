"""The job tables that the CUDA kernels read, as they lie in memory.

A job says where the planes of a picture are and how they are sampled; addresses are the device's, or the host's where
the same sources were compiled for it. Jobs are packed one by one, as bytes: for all faces at once, NumPy takes longer.
"""

import ctypes
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from kernels.cuda.device import Launches
from kernels.warp import Affine, axis_factors
from kernels.yuv import BT601_LIMITED, Colour, Region, yuv_to_rgb_matrix

_BLOCK = (32, 8, 1)
# Of a million pixels beside each other one is left, or one becomes as many.
_SMALLEST, _LARGEST = 1e-12, 1e12

Entries = tuple[float, float, float, float, float, float]
"""A map [[a, b, x], [c, d, y]] to a crop as a, b, x, c, d and y."""


class Plane(ctypes.Structure):
    """`Plane` of `warp.cuh`."""

    _fields_ = (
        ("samples", ctypes.c_void_p),
        ("stride", ctypes.c_int),
        ("step", ctypes.c_int),
        ("width", ctypes.c_int),
        ("height", ctypes.c_int),
    )


class Sampling(ctypes.Structure):
    """`Sampling` of `warp.cuh`."""

    _fields_ = (("map", ctypes.c_float * 6), ("block", ctypes.c_int), ("beside", ctypes.c_float))


class CropJob(ctypes.Structure):
    """`CropJob` of `crop_face.cuh`."""

    _fields_ = (
        ("luma", Plane),
        ("blue", Plane),
        ("red", Plane),
        ("of_luma", Sampling),
        ("of_chroma", Sampling),
        ("to_rgb", ctypes.c_float * 12),
        ("mask_row", ctypes.c_int),
        ("unused", ctypes.c_int),
    )


PLANES_FORMAT = 3 * "P4i"
SAMPLING_FORMAT = "6fif"
# Planes and matrices come packed: both are of several jobs.
PLANES_BYTES, MATRIX_BYTES = struct.calcsize(PLANES_FORMAT), struct.calcsize("12f")
_PLANES = struct.Struct(PLANES_FORMAT)
_CROP_JOB = struct.Struct(f"{PLANES_BYTES}s{2 * SAMPLING_FORMAT}{MATRIX_BYTES}s2i")


@dataclass(frozen=True, slots=True)
class PlaneAt:
    """Where a plane of uint8 samples lies.

    Attributes:
        address: Of its first sample.
        height: Rows.
        width: Samples a row.
        stride: Bytes from row to row.
        step: Bytes from sample to sample: 1, or 2 for the interleaved chroma of NV12.
    """

    address: int
    height: int
    width: int
    stride: int
    step: int = 1

    def packed(self) -> Plane:
        """As a kernel reads it."""
        return Plane(self.address, self.stride, self.step, self.width, self.height)


def packed_planes(planes: Sequence[PlaneAt]) -> bytes:
    """Y, U and V as the jobs have them.

    Raises:
        ValueError: Chroma does not have ceil(n / 2) samples a side.
    """
    luma, *chromas = planes
    half = ((luma.height + 1) // 2, (luma.width + 1) // 2)
    for name, chroma in zip("UV", chromas, strict=True):
        if (chroma.height, chroma.width) != half:
            raise ValueError(f"plane {name} is {(chroma.height, chroma.width)}, expected {half}")
    return b"".join(bytes(plane.packed()) for plane in planes)


def packed_i420(address: int, height: int, width: int) -> bytes:
    """The same for planes that lie one behind the other from an address on, without padding."""
    half_height, half_width = (height + 1) // 2, (width + 1) // 2
    blue = address + height * width
    luma = address, width, 1, width, height
    red = blue + half_height * half_width
    return _PLANES.pack(
        *luma, blue, half_width, 1, half_width, half_height, red, half_width, 1, half_width, half_height
    )


def packed_window(at: Sequence[PlaneAt], box: Region) -> bytes:
    """The same for a rectangle of a picture, where it lies in it.

    Args:
        at: Y, U and V of the picture, which may be NV12.
        box: Its top and left are even.
    """
    luma, blue, red = at
    top, left, bottom, right = box
    height, width = bottom - top, right - left
    half, beside = ((width + 1) // 2, (height + 1) // 2), (top // 2, left // 2)
    first = luma.address + top * luma.stride + left
    blues, reds = (each.address + beside[0] * each.stride + beside[1] * each.step for each in (blue, red))
    of_blue, of_red = (blues, blue.stride, blue.step, *half), (reds, red.stride, red.step, *half)
    return _PLANES.pack(first, luma.stride, luma.step, width, height, *of_blue, *of_red)


def entries_of(to_crop: Affine) -> Entries:
    """The entries of a map [2, 3], from `kernels.crop.crop_transform`.

    Raises:
        ValueError: It has no inverse, or none that a picture could be cut out with.
    """
    (a, b, x), (c, d, y) = to_crop.tolist()
    determinant = a * d - b * c
    # Nothing of this is true of what is no number.
    if not (_SMALLEST < abs(determinant) < _LARGEST and abs(x) < _LARGEST and abs(y) < _LARGEST):
        raise ValueError(f"affine map {to_crop.tolist()} has no inverse of use: its determinant is {determinant}")
    return a, b, x, c, d, y


def crop_job(
    planes: bytes, to_crop: Entries, size: int, colour: Colour = BT601_LIMITED, mask_row: int | None = None
) -> bytes:
    """A `CropJob`: what `crop_faces` does for one face.

    Args:
        planes: From `packed_planes`.
        to_crop: From pixels of these planes, with an inverse.
        size: Side of the crop in pixels.
        colour: Matrix and range of the planes.
        mask_row: Rows from here on are hidden; None for size // 2.
    """
    a, b, x, c, d, y = to_crop
    determinant = a * d - b * c
    # Back to luma, and to chroma, which lies in the middle of its 2 x 2 pixels.
    a, b, c, d = d / determinant, -b / determinant, -c / determinant, a / determinant
    x, y = -a * x - b * y, -c * x - d * y
    scale = math.sqrt(abs(a * d - b * c))
    block, beside = axis_factors(scale)
    chroma_block, chroma_beside = axis_factors(scale / 2)
    of_luma = a, b, x, c, d, y, block, beside
    of_chroma = a / 2, b / 2, (x - 0.5) / 2, c / 2, d / 2, (y - 0.5) / 2, chroma_block, chroma_beside
    row = size // 2 if mask_row is None else mask_row
    return _CROP_JOB.pack(planes, *of_luma, *of_chroma, _to_rgb(colour), row, 0)


@cache
def _to_rgb(colour: Colour) -> bytes:
    return yuv_to_rgb_matrix(colour).astype(np.float32).tobytes()


def crop_faces(
    device: Launches, jobs: int, pictures: tuple[int, int, int], *, faces: int, size: int, half: bool
) -> None:
    """Cut out all faces, in one launch.

    Args:
        device: Where.
        jobs: Address of a table of `CropJob`.
        pictures: Addresses of three tables of a pointer a face: the identity's pictures [3, size, size] (0 shows the
            crop itself), the generator's inputs [6, size, size], which are written, and the whole crops
            [3, size, size], which are written where there is one.
        faces: How many.
        size: Side of a crop in pixels.
        half: The pictures are halves, or else floats.
    """
    grid = (-(-size // _BLOCK[0]), -(-size // _BLOCK[1]), faces)
    addresses = [ctypes.c_void_p(each) for each in (jobs, *pictures)]
    device.launch("crop_faces_half" if half else "crop_faces_float", grid, _BLOCK, *addresses, ctypes.c_int(size))
