"""The pixels of a synthetic head: the photograph read through the mesh's map, and the mouth's inside laid over it."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Picture = NDArray[np.uint8]

# How far the face drags its surroundings: this many times as far as it moves, within these shares of the side. Below
# 1.5 the surroundings would fold.
REACH, LEAST_REACH, MOST_REACH = 3.0, 0.08, 0.3
# How far light that falls on the face is let run out, as a share of the side: hair and wall are not lit with it.
LIGHT_REACH = 0.05
# Blur of a portrait in its own pixels, which what is drawn in colour must share.
PORTRAIT_BLUR_PX = 0.55
# Reach of the lips' shadow on the teeth in the portrait's pixels, and the light that is left in it.
SHADOW_PX, SHADOW = 2.5, 0.35
# Light that reaches the inside of a mouth has met flesh before: exponents of its share, RGB.
RED_SHADOW = np.array([0.85, 1.1, 1.15], np.float32)
# What lies beyond the face is carried on at this coarseness.
_STEP = 4


def develop(portrait: Picture, place: Floats, drawn: Picture, size: int) -> Picture:
    """Read the photograph through the map, lay the mouth's inside over it, average down.

    Args:
        portrait: uint8 RGB [H, H, 3].
        place: float32 [S, S, 4], for each pixel x and y in the portrait, gain, and 1 where the mesh's skin is.
        drawn: uint8 [S, S, 4], RGB and cover of what the photograph does not show.
        size: Side of the result; divides S.

    Returns:
        uint8 RGB [size, size, 3]; where nothing moves, the portrait enlarged.
    """
    side = place.shape[0]
    zoom = side / portrait.shape[0]
    skin = place[..., 3] > 0.5
    grid = (np.arange(side, dtype=np.float32) + 0.5) / zoom - 0.5
    still_x, still_y = np.broadcast_to(grid[None], (side, side)), np.broadcast_to(grid[:, None], (side, side))
    moved = np.dstack([place[..., 0] - still_x, place[..., 1] - still_y, place[..., 2] - 1])
    carried = _carry_on(moved, skin, zoom)
    map_x, map_y = still_x + carried[..., 0], still_y + carried[..., 1]
    photo = cv2.remap(portrait, map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    photo *= (1 + carried[..., 2])[..., None]
    _lay_over(photo, drawn, zoom)
    small = cv2.resize(photo, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(np.clip(np.rint(small), 0, 255), np.uint8)


def _lay_over(photo: Floats, drawn: Picture, zoom: float) -> None:
    """Put what is drawn in colour over the photograph, in the mouth's own light and as blurred as a portrait is."""
    columns, rows = (np.flatnonzero(drawn[..., 3].any(axis)) for axis in (0, 1))
    if not len(rows):
        return
    margin = int(4 * SHADOW_PX * zoom)
    top, left = max(0, rows[0] - margin), max(0, columns[0] - margin)
    region = np.s_[top : rows[-1] + margin, left : columns[-1] + margin]
    inside = drawn[region].astype(np.float32)
    inside[..., :3] *= _daylight(inside[..., 3] / 255, zoom)[..., None] ** RED_SHADOW
    soft = cv2.GaussianBlur(inside, (0, 0), PORTRAIT_BLUR_PX * zoom)
    photo[region] += soft[..., :3] - photo[region] * (soft[..., 3:] / 255)


def _daylight(inside: NDArray[Any], zoom: float) -> Floats:
    """Light that comes in between the lips, 0 to 1: less where they are near, above all the upper one."""
    wide = cv2.GaussianBlur(inside, (0, 0), SHADOW_PX * zoom)
    down = np.array([[1, 0, 0], [0, 1, 0.8 * SHADOW_PX * zoom]], np.float32)
    from_above = cv2.warpAffine(wide, down, wide.shape[::-1])
    return np.asarray(SHADOW + (1 - SHADOW) * np.clip(0.6 * wide + 0.9 * from_above, 0, 1), np.float32)


def _carry_on(moved: Floats, known: NDArray[np.bool_], zoom: float) -> Floats:
    """Continue motion and gain, [S, S, 3], beyond where they are known, until they come to rest."""
    side = moved.shape[0]
    furthest = float(np.abs(moved[known][:, :2]).max(initial=0.0)) * zoom / side
    reach = float(np.clip(REACH * furthest, LEAST_REACH, MOST_REACH)) * side / _STEP
    small = cv2.resize(known.astype(np.uint8), (side // _STEP,) * 2, interpolation=cv2.INTER_NEAREST)
    coarse = cv2.resize(moved, (side // _STEP,) * 2, interpolation=cv2.INTER_NEAREST)
    away, label = cv2.distanceTransformWithLabels(1 - small, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    at = np.zeros((int(label.max()) + 1, moved.shape[2]), np.float32)
    at[label[small > 0]] = coarse[small > 0]
    filled = at[label]
    near = np.clip(away / (0.02 * side), 0, 1)[..., None]
    filled = filled + (cv2.GaussianBlur(filled, (0, 0), 0.012 * side) - filled) * near
    reaches = np.array([reach, reach, LIGHT_REACH * side / _STEP], np.float32)
    share = np.clip(1 - away[..., None] / reaches, 0, 1)
    filled *= share * share * (3 - 2 * share)
    wide = cv2.resize(filled, (side, side), interpolation=cv2.INTER_LINEAR)
    return np.where(known[..., None], moved, wide)
