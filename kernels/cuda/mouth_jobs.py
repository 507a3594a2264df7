"""What `close_mouth.cu` and `draw_masks.cu` are told of a face, and how they are launched for all faces at once.

Both read the same table: a row of 128 floats a face, in pixels of its crop. Grids and arguments depend on how many
faces there are and on the crop's side alone, so that a CUDA graph may keep them.
"""

import ctypes

import numpy as np
from numpy.typing import NDArray

from kernels.cuda.device import Launches
from kernels.mouth import LOWER_INNER, UPPER_INNER
from kernels.paste import COVERAGE_LINES, NOSE, OUTER_LIPS, OUTLINE, fade_px, gaussian, lips_reach_px

MouthTable = NDArray[np.float32]

MOUTH_POINTS = np.concatenate([UPPER_INNER, LOWER_INNER, OUTLINE, OUTER_LIPS, NOSE])
"""Points of the face mesh that a job has, in its order."""

_JOB_FLOATS = 128
_POINT_FLOATS = 2 * len(MOUTH_POINTS)
_COLUMN_BYTES = 32
_LINE_BYTES = 84
# On a line: the outline, the lips' left end and their right one.
_TRACED = 3
_PIXELS = (32, 8, 1)
_THREADS = (64, 1, 1)


class MouthJob(ctypes.Structure):
    """`MouthJob` of `mouth_job.cuh`: a row of a `MouthTable`."""

    _fields_ = (
        ("points", ctypes.c_float * _POINT_FLOATS),
        ("opening_px", ctypes.c_float),
        ("unused", ctypes.c_float),
    )


def mouth_table(faces: int) -> MouthTable:
    """Room for the jobs of so many faces: float32 [faces, 128]."""
    return np.zeros((faces, _JOB_FLOATS), np.float32)


def write_mouth_jobs(rows: MouthTable, points_in_crops: NDArray[np.float32], opening_px: float = 0.0) -> None:
    """Write the jobs of some faces.

    Args:
        rows: float32 [faces, 128] of a `mouth_table`.
        points_in_crops: float32 [faces, 63, 2], their `MOUTH_POINTS` in pixels of the crop, x first.
        opening_px: What is to be left of the gap between the lips.
    """
    rows[:, :_POINT_FLOATS] = points_in_crops.reshape(len(rows), _POINT_FLOATS)
    rows[:, _POINT_FLOATS] = opening_px


def closing_bytes(faces: int, size: int) -> int:
    """Scratch that `close_mouths` takes."""
    return faces * size * _COLUMN_BYTES


def close_mouths(
    device: Launches,
    jobs: int,
    pictures: tuple[int, int],
    scratch: int,
    *,
    faces: int,
    size: int,
    half: bool,
) -> None:
    """Shut the mouths of all faces, in two launches.

    Args:
        device: Where.
        jobs: Address of a `mouth_table`.
        pictures: Addresses of two tables of a pointer a face: the crops [3, size, size], which are read, and the
            generator's input [6, size, size], whose channels 3 to 5 are written. `crop_faces` takes the same tables.
        scratch: Address of `closing_bytes`.
        faces: How many.
        size: Side of a crop in pixels.
        half: The pictures are halves, or else floats.
    """
    side, table = ctypes.c_int(size), ctypes.c_void_p(jobs)
    columns, *addresses = [ctypes.c_void_p(each) for each in (scratch, *pictures)]
    device.launch("read_mouths", (-(-size // _THREADS[0]), 1, faces), _THREADS, table, columns, side)
    device.launch(
        "close_mouths_half" if half else "close_mouths_float", _grid(size, faces), _PIXELS, columns, *addresses, side
    )


def masks_bytes(faces: int, size: int) -> int:
    """Scratch that `draw_masks` takes."""
    return _lines_bytes(faces, size) + faces * 2 * size * size * 4


def blur_sums(size: int) -> NDArray[np.float32]:
    """The table that `draw_masks` reads for crops of a side: the weights of its two blurs, summed up from 0 to 1."""
    both = [np.append(0.0, np.cumsum(gaussian(radius).astype(np.float64))) for radius in _radii(size)]
    return np.concatenate([each / each[-1] for each in both]).astype(np.float32)


def draw_masks(
    device: Launches, jobs: int, masks: tuple[int, int], sums: int, scratch: int, *, faces: int, size: int
) -> None:
    """Draw the mouth mask and the resting mask of all faces, in three launches.

    Args:
        device: Where.
        jobs: Address of a `mouth_table`.
        masks: Addresses of float32 [faces, size, size] for the mouth masks, and of as much for the resting masks.
        sums: Address of `blur_sums`.
        scratch: Address of `masks_bytes`.
        faces: How many.
        size: Side of a crop in pixels, at least 2.
    """
    lines, rows = ctypes.c_void_p(scratch), ctypes.c_void_p(scratch + _lines_bytes(faces, size))
    sizes = [ctypes.c_int(each) for each in (size, *_radii(size))]
    grid, across = _grid(size, faces), (-(-size * COVERAGE_LINES // _THREADS[0]), _TRACED, faces)
    weights = ctypes.c_void_p(sums)
    device.launch("trace_lines", across, _THREADS, ctypes.c_void_p(jobs), lines, *sizes)
    device.launch("blur_lines", grid, _PIXELS, lines, rows, weights, *sizes)
    device.launch("draw_masks", grid, _PIXELS, rows, *(ctypes.c_void_p(each) for each in masks), weights, *sizes)


def _grid(size: int, faces: int) -> tuple[int, int, int]:
    return -(-size // _PIXELS[0]), -(-size // _PIXELS[1]), faces


def _radii(size: int) -> tuple[int, int]:
    return fade_px(size), lips_reach_px(size)


def _lines_bytes(faces: int, size: int) -> int:
    return faces * size * COVERAGE_LINES * _LINE_BYTES
