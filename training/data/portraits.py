"""Moving portraits: one photograph, its mouth opened, closed and narrowed by a warp that landmarks drive.

They bring many faces to a material with few; the motion and the sound stay those of real clips.
The jaw follows the lower lip, the cheeks follow the jaw; what a closed mouth hides (teeth, darkness)
is painted, and teeth that the photograph shows stay with the upper lip.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.mouth import UPPER_LIP_SHARE, MouthCurves, read_mouth, source_rows

Picture = NDArray[np.uint8]
Points = NDArray[np.float32]
Field = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class MouthPose:
    """What a warp is to reach.

    Attributes:
        opening: Inner-lip distance over outer-eye distance.
        width_scale: Mouth width over the photograph's own.
    """

    opening: float
    width_scale: float = 1.0


def move_mouth(picture: Picture, landmarks: Points, pose: MouthPose, teeth: float) -> Picture:
    """Draw the photograph with another mouth.

    Args:
        picture: uint8 RGB [H, W, 3], face upright.
        landmarks: [478, 2] x, y in pixels of `picture`.
        pose: The mouth to reach.
        teeth: Height of the upper teeth to paint where the photograph shows none, as a share of
            the outer-eye distance; 0 paints darkness only.

    Returns:
        A new picture of the same size.
    """
    mouth = read_mouth(picture.shape[1], landmarks)
    eyes_px = float(np.linalg.norm(landmarks[33] - landmarks[263]))
    current = mouth.lower_y - mouth.upper_y
    wanted = pose.opening * eyes_px * mouth.bell
    grow = wanted - current * (mouth.bell > 0)
    upper_y = mouth.upper_y - UPPER_LIP_SHARE * grow
    lower_y = upper_y + wanted
    map_x, map_y = _backward_maps(picture.shape[:2], mouth, upper_y, lower_y, pose.width_scale)
    moved = cv2.remap(picture, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return _fill_inner(picture, moved, mouth, (upper_y, lower_y), (map_x, teeth * eyes_px))


def _backward_maps(
    size: tuple[int, int], mouth: MouthCurves, upper_y: Field, lower_y: Field, width_scale: float
) -> tuple[Field, Field]:
    """Where each pixel of the result comes from, float32 [H, W] x and y."""
    height, width = size
    y = np.arange(height, dtype=np.float32)[:, None]
    x = np.arange(width, dtype=np.float32)[None]
    nearness = np.exp(-(((x - mouth.middle_x) / (1.7 * mouth.half_width_px)) ** 4))
    nearness = nearness * np.exp(-(((y - mouth.seam_y) / (1.5 * mouth.half_width_px)) ** 4))
    map_x = x + (x - mouth.middle_x) * (1 / width_scale - 1) * nearness
    return map_x.astype(np.float32), source_rows(height, mouth, upper_y, lower_y)


def _fill_inner(
    picture: Picture, moved: Picture, mouth: MouthCurves, lips: tuple[Field, Field], inner: tuple[Field, float]
) -> Picture:
    """Paint what lies between the lips: the photograph's own teeth first, then darkness."""
    (upper_y, lower_y), (map_x, teeth_px) = lips, inner
    y = np.arange(picture.shape[0], dtype=np.float32)[:, None]
    depth = y - upper_y
    gap = np.maximum(lower_y - upper_y, 0)[None]
    coverage = np.clip(np.minimum(depth, gap - depth) + 0.5, 0, 1) * (gap > 0.5)
    own_gap = np.maximum(mouth.lower_y - mouth.upper_y, 0)[None]
    own = cv2.remap(picture, map_x, (mouth.upper_y + depth).astype(np.float32), cv2.INTER_LINEAR)
    # One pixel of the own gap is lip on either side.
    own_share = np.clip(own_gap - 1.5 - depth, 0, 1) * (own_gap > 3)
    painted = _paint(picture, mouth, depth, gap, teeth_px if float(own_gap.max()) < 4 else 0.0)
    filled = painted + (own - painted) * own_share[..., None]
    return np.asarray(moved + (filled - moved) * coverage[..., None], np.float32).round().clip(0, 255).astype(np.uint8)


def _paint(picture: Picture, mouth: MouthCurves, depth: Field, gap: Field, teeth_px: float) -> Field:
    row = min(int(mouth.seam_y + 0.9 * mouth.half_width_px), picture.shape[0] - 1)
    column = int(mouth.middle_x)
    skin = picture[row - 3 : row + 3, column - 4 : column + 4].reshape(-1, 3).mean(0).astype(np.float32)
    dark = skin * np.array([0.30, 0.17, 0.16], np.float32)
    tongue = skin * np.array([0.62, 0.36, 0.34], np.float32)
    bottom = np.clip((depth - 0.55 * gap) / np.maximum(0.45 * gap, 1), 0, 1) * np.clip(gap / 12, 0, 1)
    inside = dark + (tongue - dark) * (0.7 * bottom)[..., None]
    tooth = np.float32(skin.mean() * 0.55 + 95) * np.array([1.0, 0.96, 0.88], np.float32)
    edge = teeth_px * mouth.bell[None] ** 0.5
    share = np.clip(edge - depth + 0.5, 0, 1) * (gap > 2.5) * (0.85 if teeth_px > 0 else 0)
    return np.asarray(inside + (tooth - inside) * share[..., None], np.float32)
