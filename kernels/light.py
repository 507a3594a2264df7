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
POINTS = 8
_REACH = 1.0
# From this side on light is read off at half size: it is smooth over far more than two pixels.
_HALVED_FROM_PX = 128
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
    planes = cv2.split(generated)
    scale = 2 if read_at_half_size(len(mask)) else 1
    weighed = _on_rim(generated, original, mask[part], scale)
    gather, _ = support_grid(len(mask) // scale)
    # Around each support point and, last, over the whole rim.
    gathered = gather[:, _divided(part[0], scale)] @ weighed @ gather[:, _divided(part[1], scale)].T
    if gathered[0, -1, -1] <= 0.0:
        return list(planes)
    near = gathered[:, :-1, :-1] + _PRIOR * gathered[:, -1:, -1:]
    _, spread = support_grid(len(mask))
    field = spread.T[part[0]] @ (near[1:] / near[0]) @ spread[:, part[1]]
    return [np.asarray(cv2.add(*pair, dtype=cv2.CV_8U), np.uint8) for pair in zip(planes, field, strict=True)]


def read_at_half_size(size: int) -> bool:
    """Whether what is smooth over many pixels is read off at half size: a crop of side `size` has enough of them."""
    return size >= _HALVED_FROM_PX and size % 2 == 0


def _on_rim(generated: Picture, original: Picture, mask: NDArray[np.float32], scale: int) -> NDArray[np.float32]:
    """Return how much each pixel of the rim counts, and that much of its differences by channel; [4, h, w]."""
    difference = cv2.subtract(original, generated, dtype=cv2.CV_32F)
    if scale > 1:
        difference, mask = (
            cv2.resize(each, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for each in (difference, mask)
        )
    weighed = np.empty((4, *mask.shape), np.float32)
    differences = cv2.split(difference)
    np.divide(mask - mask * mask, 1.0 + np.square(differences[0] * np.float32(1.0 / _ROBUST_LEVELS)), out=weighed[0])
    for i, difference in enumerate(differences):
        np.multiply(weighed[0], difference, out=weighed[1 + i])
    return weighed


def _divided(side: slice, by: int) -> slice:
    return side if side == slice(None) else slice(side.start // by, side.stop // by)


@cache
def support_grid(size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the weights from S pixels to G support points and to their sum [G + 1, S], and back [G, S].

    The columns of the way back sum to 1.
    """
    weights = _grid_weights(size)
    gather = np.vstack([weights, np.ones(size)])
    return gather.astype(np.float32), (weights / weights.sum(axis=0)).astype(np.float32)


def _grid_weights(size: int) -> NDArray[np.float64]:
    centres = (np.arange(POINTS) + 0.5) * size / POINTS - 0.5
    distance = (np.arange(size) - centres[:, None]) / (_REACH * size / POINTS)
    return np.exp(-0.5 * distance**2)


def match_light_definition(
    generated: Picture | NDArray[np.float64], original: Picture | NDArray[np.float64], mask: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Say in NumPy what `match_light` means, before rounding: float64 [S, S, 3] in [0, 255]."""
    pictures = [each.astype(np.float64) for each in (original, generated, mask)]
    if read_at_half_size(len(mask)):
        side = len(mask) // 2
        pictures = [each.reshape(side, 2, side, 2, *each.shape[2:]).mean(axis=(1, 3)) for each in pictures]
    difference, share = pictures[0] - pictures[1], pictures[2]
    rim = share * (1.0 - share) / (1.0 + (difference[..., 0] / _ROBUST_LEVELS) ** 2)
    if not rim.any():
        return generated.astype(np.float64)
    along, back = _grid_weights(len(rim)), _grid_weights(len(mask))
    # Every support point's own picture of weights: [G, G, S, S].
    around = along[:, None, :, None] * along[None, :, None, :]
    prior = _PRIOR * rim.sum()
    near = (around * rim).sum(axis=(2, 3)) + prior
    mean = (difference * rim[..., None]).sum(axis=(0, 1)) / rim.sum()
    field = np.zeros(generated.shape)
    for channel in range(3):
        summed = (around * rim * difference[..., channel]).sum(axis=(2, 3))
        levels = (summed + prior * mean[channel]) / near
        field[..., channel] = (back.T @ levels @ back) / np.outer(*2 * [back.sum(axis=0)])
    return np.clip(generated + field, 0.0, 255.0)
