"""Where a generated picture says nothing new, the original's own fine structure stays.

A generator's picture is softer than a camera's. Compared at the generator's own
sharpness, most of it (beard, skin, lips that rest) is the picture that was there
already; only where the two differ must the softer one be shown.
"""

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.light import read_at_half_size
from kernels.warp import LINEAR_QUARTER, doubled_definition
from kernels.yuv import Plane

Share = NDArray[np.float32]

# Deviation of the Gaussian that makes the original as soft as a generated picture, as a share of the crop's side:
# 1.9 pixels of 96.
_SOFT = 0.02
# Deviation within which a difference speaks for its neighbours, as a share of the side: a lip's width.
_NEAR = 0.03
# Differences of about this many levels of luma, over a lip's width, are new content.
_NEW_LEVELS = 20.0
# A change is carried in bytes: this many steps a level, around the middle.
STEPS, MIDDLE = 4, 128


def kept_detail(generated: Plane, original: Plane, size: int) -> tuple[Share, Share]:
    """Compare two luma planes of one face at the generator's sharpness.

    Args:
        generated: uint8 [h, w], its light already met; a part of the crop.
        original: uint8 [h, w], the same part.
        size: Side of the crop.

    Returns:
        How much of the original's fine structure stays, float32 [h, w] in [0, 1], and the smooth change in levels,
        float32 [h, w], that turns the original into the generated picture where all of it stays.
    """
    change = cv2.subtract(generated, original, dtype=cv2.CV_32F)
    if not read_at_half_size(size):
        return _compared(change, size)
    small = cv2.resize(change, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    kept, change = (cv2.resize(each, generated.shape[::-1]) for each in _compared(small, size / 2))
    return np.asarray(kept, np.float32), np.asarray(change, np.float32)


def _compared(difference: Share, size: float) -> tuple[Share, Share]:
    change = _blurred(difference, _SOFT * size)
    energy = _blurred(change * change, _NEAR * size)
    return np.asarray(cv2.exp(energy * np.float32(-1.0 / _NEW_LEVELS**2)), np.float32), change


def soft_and_near(size: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the Gaussians, along one side, that make as soft as a generated picture and gather what is near.

    Args:
        size: Side of the crop, or half of it where it is read at half size.
    """
    return _gaussian(_SOFT * size), _gaussian(_NEAR * size)


def _blurred(plane: Share, sigma: float) -> Share:
    kernel = _gaussian(sigma)
    return np.asarray(cv2.sepFilter2D(plane, -1, kernel, kernel), np.float32)


@cache
def _gaussian(sigma: float) -> NDArray[np.float32]:
    radius = max(1, round(3.0 * sigma))
    return np.asarray(cv2.getGaussianKernel(2 * radius + 1, sigma, cv2.CV_32F), np.float32)


def kept_detail_definition(
    generated: Plane | NDArray[np.float64], original: Plane | NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Say in NumPy what `kept_detail` means for a whole crop of even side: float64 [S, S] each."""
    size: float = len(original)
    halves = read_at_half_size(len(original))
    difference = generated.astype(np.float64) - original
    if halves:
        size /= 2
        difference = difference.reshape(round(size), 2, round(size), 2).mean(axis=(1, 3))
    change = _blurred_definition(difference, _SOFT * size)
    kept = np.exp(-_blurred_definition(change**2, _NEAR * size) / _NEW_LEVELS**2)
    if not halves:
        return kept, change
    return doubled_definition(kept, LINEAR_QUARTER), doubled_definition(change, LINEAR_QUARTER)


def _blurred_definition(plane: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    radius = max(1, round(3.0 * sigma))
    steps = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (steps / sigma) ** 2)
    weights /= weights.sum()
    result = plane
    for axis in (0, 1):
        # OpenCV's default border: mirrored about the last row, which is not repeated.
        wide = np.pad(result, [(radius, radius) if a == axis else (0, 0) for a in (0, 1)], mode="reflect")
        result = np.apply_along_axis(lambda line: np.convolve(line, weights, mode="valid"), axis, wide)
    return result
