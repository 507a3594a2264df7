"""The CUDA sources compiled for the host by g++: what their threads compute, without a GPU."""

import ctypes
import functools
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kernels.cuda.jobs import CropJob, PlaneAt
from kernels.yuv import Planes

HERE = Path(__file__).parent
SOURCES = Path(__file__).parents[3] / "kernels" / "cuda"
# No fused multiply-adds: the host's float arithmetic is then the one that is written. Every write is checked.
_FLAGS = ["-std=c++17", "-O2", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off"]


class Dim3(ctypes.Structure):
    _fields_ = (("x", ctypes.c_uint), ("y", ctypes.c_uint), ("z", ctypes.c_uint))


@functools.cache
def library() -> ctypes.CDLL:
    """Compile and load; a compiler that is missing or fails is an error, not a skip."""
    folder = tempfile.mkdtemp(prefix="visavis-cuda-")
    output = Path(folder) / "host.so"
    line = ["g++", *_FLAGS, "-fsanitize=undefined", "-fno-sanitize-recover", f"-I{SOURCES}", f"-I{HERE}"]
    made = subprocess.run(
        [*line, str(HERE / "host.cpp"), "-o", str(output)], capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    return ctypes.CDLL(str(output))


def planes_at(planes: Planes) -> list[PlaneAt]:
    """Three planes of a picture that may be strided, as they lie."""
    return [PlaneAt(plane.ctypes.data, *plane.shape, plane.strides[0], plane.strides[1]) for plane in planes]


def crop_faces(
    jobs: list[CropJob],
    size: int,
    dtype: type[np.float32 | np.float16],
    *,
    block: tuple[int, int] = (32, 8),
    identities: list[NDArray[np.floating] | None] | None = None,
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Run the kernel; gives `input` [n, 6, S, S] and `whole` [n, 3, S, S]. What it does not write stays NaN.

    Each result lies between guards that must stay as they were.
    """
    inputs, wholes = (guarded(len(jobs), channels, size, dtype) for channels in (6, 3))
    shown = identities or [None] * len(jobs)
    table = (CropJob * len(jobs))(*jobs)
    name = "launch_crop_faces_half" if dtype is np.float16 else "launch_crop_faces_float"
    grid = Dim3(-(-size // block[0]), -(-size // block[1]), len(jobs))
    tables = (addresses(each) for each in (shown, list(inputs[1:-1]), list(wholes[1:-1])))
    getattr(library(), name)(grid, Dim3(*block, 1), table, *tables, size)
    for result in (inputs, wholes):
        assert np.isnan(result[0]).all(), "it writes before the first face"
        assert np.isnan(result[-1]).all(), "it writes behind the last face"
    return inputs[1:-1], wholes[1:-1]


def guarded(faces: int, channels: int, size: int, dtype: type[np.floating]) -> NDArray[np.floating]:
    """Room for so many faces, poisoned, and one more face before and behind."""
    return np.full((faces + 2, channels, size, size), np.nan, dtype)


def addresses(arrays: list[NDArray[np.floating] | None]) -> ctypes.Array[ctypes.c_void_p]:
    """A table of pointers."""
    return (ctypes.c_void_p * len(arrays))(*(None if each is None else each.ctypes.data for each in arrays))
