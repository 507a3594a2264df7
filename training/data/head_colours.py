"""What a portrait tells about the light on a face and the colours inside its mouth."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.yuv import BT601_LUMA
from training.data.head_model import LIP_CONTOURS

Floats = NDArray[np.float32]
Picture = NDArray[np.uint8]
Points = NDArray[np.float32]

OUTER_LIPS = LIP_CONTOURS[0][0] + LIP_CONTOURS[1][0][::-1]
INNER_LIPS = LIP_CONTOURS[2][0] + LIP_CONTOURS[3][0][::-1]
MIN_TEETH_PIXELS = 25
# How far from the lips' own paleness to white a pixel beside them is taken for a tooth.
PALE_SHARE = 0.35


def read_light(portrait: Picture, places: Points, normals: Floats) -> tuple[Floats, Floats]:
    """Fit a lamp to skin whose directions are known.

    Args:
        portrait: uint8 RGB [H, H, 3].
        places: float32 [N, 2], x and y of points of the skin.
        normals: float32 [N, 3], where they face.

    Returns:
        float32 [4], brightness of a surface is [1, normal] @ it; and the skin's colour, float32 [3] RGB.
    """
    colours = cv2.remap(portrait, places[None], None, cv2.INTER_LINEAR)[0].astype(np.float32)
    seen = colours @ np.array(BT601_LUMA, np.float32)
    # Brows, beard and glasses are not light: what is much darker than the rest does not vote.
    bright = seen > 0.6 * np.median(seen)
    basis = np.concatenate([np.ones((len(seen), 1), np.float32), normals], 1)[bright]
    ridge = np.diag([0.0, 1.0, 1.0, 1.0]) * 0.02 * len(basis)
    shade = np.linalg.solve(basis.T @ basis + ridge, basis.T @ seen[bright])
    return shade.astype(np.float32), np.median(colours[bright], 0).astype(np.float32)


def without_teeth(portrait: Picture, landmarks: Points) -> Picture:
    """The portrait with the lips' colour where it shows teeth, so that no lip is textured with them.

    The landmarks of the inner lips are off by a pixel or two, so pale pixels beside them count as teeth too.
    """
    outer, inner = np.zeros((2, *portrait.shape[:2]), np.uint8)
    cv2.fillPoly(outer, [np.rint(landmarks[list(OUTER_LIPS)]).astype(np.int32)], 1)
    cv2.fillPoly(inner, [np.rint(landmarks[list(INNER_LIPS)]).astype(np.int32)], 1)
    wide = cv2.dilate(inner, np.ones((7, 7), np.uint8))
    lips = portrait[(outer > 0) & (wide == 0)].astype(np.float32)
    if not len(lips) or not cv2.erode(inner, np.ones((3, 3), np.uint8)).any():
        return portrait
    paleness = _paleness(portrait.astype(np.float32))
    own = float(np.median(_paleness(lips)))
    teeth = (wide > 0) & (paleness > own + PALE_SHARE * (1 - own)) & (portrait.mean(2) > 0.7 * lips.mean())
    hole = cv2.dilate(((inner > 0) | teeth).astype(np.uint8), np.ones((3, 3), np.uint8))
    return np.asarray(cv2.inpaint(portrait, hole, 3, cv2.INPAINT_TELEA), np.uint8)


def _paleness(colours: Floats) -> Floats:
    """Blue over red: lips and gums stay below skin, teeth come near 1."""
    return np.asarray(colours[..., 2] / np.maximum(colours[..., 0], 1), np.float32)


def teeth_colour(portrait: Picture, landmarks: Points, skin: Floats) -> Floats:
    """The bright pixels between the lips where the portrait shows teeth, else a guess from the skin."""
    guess = np.float32(skin.mean() * 0.5 + 115) * np.array([1.0, 0.94, 0.85], np.float32)
    mask = np.zeros(portrait.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.rint(landmarks[list(INNER_LIPS)]).astype(np.int32)], 1)
    inside = portrait[cv2.erode(mask, np.ones((3, 3), np.uint8)) > 0].astype(np.float32)
    # Lips and gums are redder than they are blue.
    pale = inside[(inside[:, 2] > 0.7 * inside[:, 0]) & (inside.mean(1) > 0.6 * guess.mean())]
    if len(pale) < MIN_TEETH_PIXELS:
        return guess
    seen = np.percentile(pale, 80, axis=0).astype(np.float32)
    return np.asarray(np.clip(seen * 1.1, 0.8 * guess, 1.25 * guess), np.float32)


def flesh_colour(skin: Floats) -> Floats:
    """A tongue in the light that the skin is in; float32 [3] RGB."""
    return np.float32(skin.mean() * 0.5 + 90) * np.array([1.0, 0.55, 0.53], np.float32)
