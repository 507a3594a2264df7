"""What the kernels of `kernels.frame_tensor` read, as it lies in memory, and how they are launched.

One launch takes the frames of all sessions, each with planes, a region, colours and a strength of its own. Grids depend
on sizes and counts alone, so that a launch can be recorded once; the rest is in the job tables. What they move for one
frame of 1280 x 720 and a tensor of 512 x 512 halves: 1.4 MB in and 1.6 MB out, and back 1.6 MB in, 1.4 MB in and out.
"""

import ctypes
from collections.abc import Sequence

import numpy as np

from kernels.cuda.device import Launches
from kernels.cuda.jobs import Plane, PlaneAt
from kernels.frame_tensor import (
    Axis,
    Size,
    changed_box,
    checked_region,
    checked_strength,
    planes_to_tensor,
    tensor_to_pixels,
)
from kernels.warp import axis_factors
from kernels.yuv import BT601_LIMITED, Colour, Region, rgb_to_yuv_matrix, yuv_to_rgb_matrix

# Columns and rows of threads: a row of 32 stores what lies side by side.
_BLOCK = (32, 8, 1)


class AxisOf(ctypes.Structure):
    """`Axis` of `axis.cuh`."""

    _fields_ = (
        ("scale", ctypes.c_float),
        ("offset", ctypes.c_float),
        ("block", ctypes.c_int),
        ("beside", ctypes.c_float),
        ("cubic", ctypes.c_int),
    )


class FrameToTensorJob(ctypes.Structure):
    """`FrameToTensorJob` of `frame_to_tensor.cuh`."""

    _fields_ = (
        ("luma", Plane),
        ("blue", Plane),
        ("red", Plane),
        ("rows", AxisOf),
        ("columns", AxisOf),
        ("chroma_rows", AxisOf),
        ("chroma_columns", AxisOf),
        ("to_rgb", ctypes.c_float * 12),
    )


class TensorToFrameJob(ctypes.Structure):
    """`TensorToFrameJob` of `tensor_to_frame.cuh`."""

    _fields_ = (
        ("luma", Plane),
        ("blue", Plane),
        ("red", Plane),
        ("rows", AxisOf),
        ("columns", AxisOf),
        ("top", ctypes.c_int),
        ("left", ctypes.c_int),
        ("bottom", ctypes.c_int),
        ("right", ctypes.c_int),
        ("to_yuv", ctypes.c_float * 12),
        ("strength", ctypes.c_float),
        ("unused", ctypes.c_int),
    )


def frame_to_tensor_job(
    planes: Sequence[PlaneAt], size: Size, colour: Colour = BT601_LIMITED, region: Region | None = None
) -> FrameToTensorJob:
    """What `frames_to_tensors` does for one frame; arguments and errors are those of `frame_to_tensor`."""
    wanted = checked_region(region, *_size_of(planes))
    luma, chroma = planes_to_tensor(wanted, size)
    axes = (luma.rows, luma.columns, chroma.rows, chroma.columns)
    job = FrameToTensorJob(*(plane.packed() for plane in planes), *(_packed(axis) for axis in axes))
    job.to_rgb[:] = yuv_to_rgb_matrix(colour).astype(np.float32).ravel().tolist()
    return job


def tensor_to_frame_job(
    planes: Sequence[PlaneAt],
    size: Size,
    region: Region | None = None,
    strength: float = 1.0,
    colour: Colour = BT601_LIMITED,
    *,
    wipe_column: int = 0,
) -> TensorToFrameJob:
    """What `tensors_to_frames` does for one frame; arguments and errors are those of `tensor_to_frame`."""
    height, width = _size_of(planes)
    wanted = checked_region(region, height, width)
    box = changed_box(wanted, wipe_column, height, width)
    axes = tensor_to_pixels(wanted, size)
    job = TensorToFrameJob(
        *(plane.packed() for plane in planes),
        _packed(_counted_from(axes.rows, wanted.top), cubic=axes.cubic),
        _packed(_counted_from(axes.columns, wanted.left), cubic=axes.cubic),
        *box,
    )
    job.to_yuv[:] = rgb_to_yuv_matrix(colour).astype(np.float32).ravel().tolist()
    job.strength = checked_strength(strength)
    return job


def launch_frames_to_tensors(
    device: Launches, jobs: int, tensors: int, frames: int, size: Size, *, half: bool = True
) -> None:
    """Resample so many frames, in one launch.

    Args:
        device: Where.
        jobs: Address of `FrameToTensorJob` [frames].
        tensors: Address of the addresses [frames] of float16 or float32 [3, h, w].
        frames: How many.
        size: Height and width of every tensor.
        half: Whether the tensors are float16.
    """
    height, width = size
    _launch(device, f"frames_to_tensors_{_type(half)}", (width, height), frames, (jobs, tensors), size)


def launch_tensors_to_frames(
    device: Launches, jobs: int, tensors: int, frames: int, size: Size, largest: Size, *, half: bool = True
) -> None:
    """Blend so many generated pictures into their frames, in one launch. No frame may be there twice.

    Args:
        device: Where.
        jobs: Address of `TensorToFrameJob` [frames].
        tensors: Address of the addresses [frames] of float16 or float32 [3, h, w].
        frames: How many.
        size: Height and width of every tensor.
        largest: Height and width that no frame's region exceeds inside its picture.
        half: Whether the tensors are float16.
    """
    # A region of n pixels that begins in the middle of a pair has n // 2 + 1 of them.
    threads = (largest[1] // 2 + 1, largest[0] // 2 + 1)
    _launch(device, f"tensors_to_frames_{_type(half)}", threads, frames, (jobs, tensors), size)


def _launch(
    device: Launches, kernel: str, threads: tuple[int, int], frames: int, tables: tuple[int, int], size: Size
) -> None:
    grid = (-(-threads[0] // _BLOCK[0]), -(-threads[1] // _BLOCK[1]), frames)
    addresses = (ctypes.c_void_p(table) for table in tables)
    device.launch(kernel, grid, _BLOCK, *addresses, ctypes.c_int(size[0]), ctypes.c_int(size[1]))


def _type(half: bool) -> str:
    return "half" if half else "float"


def _size_of(planes: Sequence[PlaneAt]) -> Size:
    luma, *chromas = planes
    expected = ((luma.height + 1) // 2, (luma.width + 1) // 2)
    for name, chroma in zip("UV", chromas, strict=True):
        if (chroma.height, chroma.width) != expected:
            raise ValueError(f"plane {name} is {(chroma.height, chroma.width)}, expected {expected}")
    return luma.height, luma.width


def _counted_from(axis: Axis, start: int) -> Axis:
    """The same axis where result 0 is a pixel of the picture instead of the region's first."""
    return Axis(axis.scale, axis.offset - axis.scale * start, axis.count)


def _packed(axis: Axis, *, cubic: bool = False) -> AxisOf:
    return AxisOf(axis.scale, axis.offset, *axis_factors(axis.scale), cubic)
