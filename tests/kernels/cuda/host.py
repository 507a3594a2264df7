"""The CUDA sources compiled for the host by g++: what their threads compute, without a GPU."""

import ctypes
import functools
import re
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kernels.cuda.jobs import PlaneAt, packed_planes
from kernels.yuv import Planes

HERE = Path(__file__).parent
SOURCES = Path(__file__).parents[3] / "kernels" / "cuda"
# No fused multiply-adds: the host's float arithmetic is then the one that is written. Overflow and bad shifts stop it.
_FLAGS = ["-std=c++17", "-O2", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off"]
_FLAGS += ["-fsanitize=undefined", "-fno-sanitize-recover"]
_KERNEL = re.compile(r'extern "C" __global__ void (?:__launch_bounds__\([\d, ]+\) )?(\w+)\(')
_JOB = re.compile(r"^struct (\w+Job) \{", re.MULTILINE)
_INCLUDED = re.compile(r'#include "(\w+\.cuh)"')
_HALVES = """
extern "C" void half_of_floats(const float* from, Half* to, int count) {
    for (int index = 0; index < count; ++index) to[index] = half_of(from[index]);
}
"""


class Dim3(ctypes.Structure):
    _fields_ = (("x", ctypes.c_uint), ("y", ctypes.c_uint), ("z", ctypes.c_uint))


@functools.cache
def library(stem: str) -> ctypes.CDLL:
    """Compile `stem`.cu and load it; a compiler that is missing or fails is an error, not a skip."""
    folder = Path(tempfile.mkdtemp(prefix="visavis-cuda-"))
    unit, output = folder / "host.cpp", folder / "host.so"
    unit.write_text(host_unit(stem))
    line = ["g++", *_FLAGS, f"-I{SOURCES}", f"-I{HERE}", str(unit), "-o", str(output)]
    made = subprocess.run(line, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return ctypes.CDLL(str(output))


def host_unit(stem: str) -> str:
    """What g++ compiles: the .cu file as it stands, through the shim, with a C entry for each kernel and job."""
    source = (SOURCES / f"{stem}.cu").read_text()
    headers = [(SOURCES / name).read_text() for name in _INCLUDED.findall(source)]
    lines = ['#include "shim.h"', f'#include "{stem}.cu"']
    lines += [f"HOST_KERNEL({name})" for name in kernel_names(stem)]
    lines += [f"HOST_SIZE({name})" for text in (source, *headers) for name in _JOB.findall(text)]
    return "\n".join([*lines, _HALVES])


def kernel_names(stem: str) -> list[str]:
    """The kernels of `stem`.cu."""
    return _KERNEL.findall((SOURCES / f"{stem}.cu").read_text())


def launch(
    stem: str, kernel: str, grid: tuple[int, int, int], block: tuple[int, int, int], *arguments: ctypes._SimpleCData
) -> None:
    """Run a kernel of `stem`.cu; the arguments are ctypes values, as `cuLaunchKernel` takes them."""
    pointers = (ctypes.c_void_p * len(arguments))(*(ctypes.addressof(each) for each in arguments))
    getattr(library(stem), f"launch_{kernel}")(Dim3(*grid), Dim3(*block), pointers)


class HostLauncher:
    """Runs one source's kernels on the host, in blocks of a shape of its own where one is given."""

    def __init__(self, stem: str, block: tuple[int, int] | None = None) -> None:
        self.kernels: list[str] = []
        self._stem, self._block = stem, block

    def launch(
        self, kernel: str, grid: tuple[int, int, int], block: tuple[int, int, int], *arguments: ctypes._SimpleCData
    ) -> None:
        self.kernels.append(kernel)
        if self._block is not None and block[1] > 1:
            threads = [blocks * threads for blocks, threads in zip(grid, block, strict=True)]
            grid = (-(-threads[0] // self._block[0]), -(-threads[1] // self._block[1]), grid[2])
            block = (*self._block, 1)
        launch(self._stem, kernel, grid, block, *arguments)


def pointer(array: NDArray[np.generic] | ctypes.Array) -> ctypes.c_void_p:
    """Where an array lies, as an argument of a launch."""
    return ctypes.c_void_p(array.ctypes.data if isinstance(array, np.ndarray) else ctypes.addressof(array))


def planes_at(planes: Planes) -> list[PlaneAt]:
    """Three planes of a picture that may be strided, as they lie."""
    return [PlaneAt(plane.ctypes.data, *plane.shape, plane.strides[0], plane.strides[1]) for plane in planes]


def packed_at(planes: Planes) -> bytes:
    """The same as a job has them."""
    return packed_planes(planes_at(planes))


def crop_faces(
    jobs: list[bytes],
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
    table = np.frombuffer(b"".join(jobs), np.uint8)
    name = "crop_faces_half" if dtype is np.float16 else "crop_faces_float"
    grid = (-(-size // block[0]), -(-size // block[1]), len(jobs))
    tables = [addresses(each) for each in (shown, list(inputs[1:-1]), list(wholes[1:-1]))]
    launch("crop_face", name, grid, (*block, 1), *(pointer(each) for each in (table, *tables)), ctypes.c_int(size))
    for result in (inputs, wholes):
        check_guards(result)
    return inputs[1:-1], wholes[1:-1]


def guarded(faces: int, channels: int, size: int, dtype: type[np.floating]) -> NDArray[np.floating]:
    """Room for so many faces, poisoned, and one more face before and behind."""
    return np.full((faces + 2, channels, size, size), np.nan, dtype)


def check_guards(result: NDArray[np.floating]) -> None:
    """The first and the last face of what `guarded` gave are as they were."""
    assert np.isnan(result[0]).all(), "it writes before the first face"
    assert np.isnan(result[-1]).all(), "it writes behind the last face"


def addresses(arrays: list[NDArray[np.floating] | None]) -> ctypes.Array[ctypes.c_void_p]:
    """A table of pointers."""
    return (ctypes.c_void_p * len(arrays))(*(None if each is None else each.ctypes.data for each in arrays))
