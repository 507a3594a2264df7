"""The generated picture takes on the original's light, as read off where the two will meet."""

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Float = NDArray[np.float32] | NDArray[np.float64]

# Levels beyond which a difference on the rim is content (a chin that moved), not light: half weight there.
_ROBUST_LEVELS = 24.0
# The correction's support points along one side of the crop, and the deviation of the Gaussian around each, in
# distances between them: about a quarter of a face, wider than a lip and narrower than a shadow.
_GRID = 8
_REACH = 1.0
# What the mean over the whole rim counts beside the rim nearby, as a share of the rim.
_PRIOR = 0.01


def match_light(
    generated: Picture,
    original: Picture,
    mask: NDArray[np.float32],
    part: tuple[slice, slice] = (slice(None), slice(None)),
) -> list[Picture]:
    """Add to the generated picture the smooth part of its difference from the original on the mask's rim.

    Args:
        generated: uint8 [h, w, 3], luma first: the part of it that is wanted.
        original: uint8 [h, w, 3], luma first.
        mask: float32 [S, S] in [0, 1]; a pixel counts most where it is 1/2, not at all where it is 0 or 1.
        part: Rows and columns of the mask's square that the pictures hold; the mask is 0 outside of them.

    Returns:
        Three planes, uint8 [h, w]; those of `generated` where the mask has no rim.
    """
    planes, before = cv2.split(generated), cv2.split(original)
    differences = [cv2.subtract(old, new, dtype=cv2.CV_32F) for old, new in zip(before, planes, strict=True)]
    here = mask[part]
    rim = here - here * here
    rim /= 1.0 + (differences[0] * (1.0 / _ROBUST_LEVELS)) ** 2
    total = float(rim.sum())
    if total <= 0.0:
        return list(planes)
    gather, spread = _grid(len(mask))
    down, across = gather[:, part[0]], gather[:, part[1]].T
    near = down @ rim @ across + _PRIOR * total
    corrected = []
    for plane, difference in zip(planes, differences, strict=True):
        difference *= rim
        levels = (down @ difference @ across + _PRIOR * float(difference.sum())) / near
        corrected.append(cv2.add(plane, spread[part[0]] @ levels @ spread[part[1]].T, dtype=cv2.CV_8U))
    return corrected


@cache
def _grid(size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the weights from S pixels to G support points [G, S], and back [S, G] with rows that sum to 1."""
    weights = _grid_weights(size)
    return weights.astype(np.float32), (weights / weights.sum(axis=0)).T.astype(np.float32, order="C")


def _grid_weights(size: int) -> NDArray[np.float64]:
    centres = (np.arange(_GRID) + 0.5) * size / _GRID - 0.5
    distance = (np.arange(size) - centres[:, None]) / (_REACH * size / _GRID)
    return np.exp(-0.5 * distance**2)


def match_light_definition(generated: Picture, original: Picture, mask: NDArray[np.float32]) -> NDArray[np.float64]:
    """Say in NumPy what `match_light` means, before rounding: float64 [S, S, 3] in [0, 255]."""
    difference = original.astype(np.float64) - generated
    rim = mask * (1.0 - mask.astype(np.float64)) / (1.0 + (difference[..., 0] / _ROBUST_LEVELS) ** 2)
    if not rim.any():
        return generated.astype(np.float64)
    along = _grid_weights(len(mask))
    # Every support point's own picture of weights: [G, G, S, S].
    around = along[:, None, :, None] * along[None, :, None, :]
    prior = _PRIOR * rim.sum()
    near = (around * rim).sum(axis=(2, 3)) + prior
    mean = (difference * rim[..., None]).sum(axis=(0, 1)) / rim.sum()
    field = np.zeros(generated.shape)
    for channel in range(3):
        summed = (around * rim * difference[..., channel]).sum(axis=(2, 3))
        levels = (summed + prior * mean[channel]) / near
        field[..., channel] = (around * levels[..., None, None]).sum(axis=(0, 1)) / around.sum(axis=(0, 1))
    return np.clip(generated + field, 0.0, 255.0)
