"""The CUDA form of `paste_face`, compiled for the host, against the definition."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from benchmarks.pictures import WIDE_OPEN, copied, face, noise_planes, smooth_planes
from kernels.crop import crop_face_definition, crop_transform, in_crop
from kernels.cuda.jobs import PlaneAt
from kernels.cuda.paste_jobs import DrawnFace, PasteJob, in_waves, paste_faces, paste_job, paste_table, scratch_bytes
from kernels.paste import mouth_mask, paste_face, paste_face_definition, resting_mask
from kernels.yuv import BT601_LIMITED, Colour, Planes
from stream.render import _fade_back
from tests.kernels.cuda.host import kernel_names, launch, library, planes_at, pointer

pytestmark = pytest.mark.unit

# Rounding to bytes, and luma in halves: 1/16 of a level where it is lit, twice that after the cubic curves, and 1/16
# again in the sheet.
_ATOL = 0.5 + 0.2
_GUARD = 4096


class HostDevice:
    """Runs each launch at once."""

    def launch(
        self,
        kernel: str,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        *arguments: "ctypes._SimpleCData[Any]",
    ) -> None:
        launch("paste_face", kernel, grid, block, *arguments)


class ShapedDevice(HostDevice):
    """Runs each launch of a picture in blocks of another shape."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape

    def launch(
        self,
        kernel: str,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        *arguments: "ctypes._SimpleCData[Any]",
    ) -> None:
        if block[1] > 1:
            grid = (*(-(-blocks * old // new) for blocks, old, new in zip(grid, block, self.shape, strict=False)), grid[2])
            block = (*self.shape, 1)
        super().launch(kernel, grid, block, *arguments)


@dataclass
class Pasted:
    """One face on its way into a picture.

    Attributes:
        generated: float32 or float16 [3, S, S] in [0, 1].
        original: The same of the crop.
    """

    planes: Planes
    to_crop: np.ndarray
    mask: np.ndarray
    resting: np.ndarray | None
    generated: np.ndarray
    original: np.ndarray
    alpha: float = 1.0
    colour: Colour = BT601_LIMITED
    scratch: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.scratch = np.full(scratch_bytes(self.size) + 2 * _GUARD, 0xFF, np.uint8)

    @property
    def size(self) -> int:
        return len(self.mask)

    def job(self, planes: Sequence[PlaneAt] | None = None) -> PasteJob:
        resting = 0 if self.resting is None else self.resting.ctypes.data
        at = [each.ctypes.data for each in (self.generated, self.original, self.mask)]
        drawn = DrawnFace(*at, resting, self.scratch.ctypes.data + _GUARD)
        return paste_job(planes or planes_at(self.planes), self.to_crop, self.size, drawn, self.colour, alpha=self.alpha)

    def wanted(self, planes: Planes | None = None) -> tuple[np.ndarray, ...]:
        """What the definition says, float64."""
        generated, original = (each.astype(np.float64).transpose(1, 2, 0) * 255 for each in (self.generated, self.original))
        return paste_face_definition(
            planes or self.planes,
            np.clip(generated, 0, 255),
            original,
            self.to_crop,
            self.mask,
            self.colour,
            resting=self.resting,
            alpha=self.alpha,
        )


def pasted(
    planes: Planes,
    landmarks: np.ndarray,
    size: int = 96,
    dtype: type = np.float32,
    *,
    rests: bool = True,
    alpha: float = 1.0,
    colour: Colour = BT601_LIMITED,
) -> Pasted:
    """A face that is drawn a little differently all over, and quite differently at the mouth."""
    to_crop = crop_transform(landmarks, size)
    points = in_crop(landmarks, to_crop)
    original = crop_face_definition(planes, to_crop, size, colour).transpose(2, 0, 1) / 255
    waves = np.stack(smooth_rgb(size, 7)) / 255
    y, x = np.mgrid[0:size, 0:size] / size
    mouth = np.exp(-(((x - 0.5) / 0.12) ** 2) - ((y - 0.68) / 0.07) ** 2)
    generated = original * 0.85 + 0.15 * waves + 0.04 + 0.25 * mouth * (waves - 0.7)
    return Pasted(
        planes,
        to_crop,
        mouth_mask(points, size),
        resting_mask(points, size) if rests else None,
        np.ascontiguousarray(generated, dtype),
        np.ascontiguousarray(original, dtype),
        alpha,
        colour,
    )


def smooth_rgb(size: int, seed: int) -> list[np.ndarray]:
    return [smooth_planes(size, size, seed + index)[0].astype(np.float64) for index in range(3)]


def run(faces: Sequence[Pasted], device: HostDevice | None = None, planes: Sequence[PlaneAt] | None = None) -> int:
    """Paste in place, all faces in each launch; return the number of waves."""
    jobs = [each.job(planes) for each in faces]
    waves = in_waves(jobs)
    table, weights = (PasteJob * len(jobs))(*jobs), paste_table(faces[0].size)
    at = [pointer(each).value or 0 for each in (table, weights)]
    half = faces[0].generated.dtype == np.float16
    paste_faces(device or HostDevice(), *at, len(jobs), faces[0].size, half=half, waves=waves)
    for each in faces:
        assert (each.scratch[:_GUARD] == 0xFF).all(), "it writes before its scratch"
        assert (each.scratch[-_GUARD:] == 0xFF).all(), "it writes behind its scratch"
    return waves


def off_by(planes: Planes, wanted: Sequence[np.ndarray]) -> float:
    """Levels by which bytes are off at most."""
    return max(float(np.abs(plane - each).max()) for plane, each in zip(planes, wanted, strict=True))
