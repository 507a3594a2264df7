"""What of a blend is painted: outlines filled with colours, eyes, and the inside of a mouth.

Everything is drawn on a grid four times as fine as pixels and averaged down. Pictures are float32 [S, S, 3] and changed
in place; points are pixels of them, x first, whole numbers at their centres.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.face_layout import face_outline
from kernels.portrait_layout import PORTRAIT_SHARE, Outline

Floats = NDArray[np.floating[Any]]

_FINER = 4
_SCLERA, _PUPIL, _LASHES = (188, 178, 171), (18, 14, 14), (48, 34, 30)
_CAVITY, _TONGUE, _TEETH = (58, 24, 26), (150, 82, 80), (204, 195, 184)
_TEETH_HEIGHT = 0.045
_UPPER_LIDS = ((33, 246, 161, 160, 159, 158, 157, 173, 133), (263, 466, 388, 387, 386, 385, 384, 398, 362))
_IRIS_RINGS = ((468, 469, 470, 471, 472), (473, 474, 475, 476, 477))
_UPPER_INNER_LIP = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
_LOWER_INNER_LIP = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)


def covered(outlines: Sequence[Outline], size: int) -> NDArray[np.uint8]:
    """How much of each pixel some outlines cover, 0 to 255."""
    fine = np.zeros((size * _FINER, size * _FINER), np.uint8)
    for _, points in outlines:
        cv2.fillPoly(fine, [np.rint(((points + 0.5) * _FINER - 0.5) * 16).astype(np.int32)], 255, shift=4)
    return np.asarray(cv2.resize(fine, (size, size), interpolation=cv2.INTER_AREA), np.uint8)


def lay(canvas: Floats, colours: Floats, outlines: Sequence[Outline], soft_px: float = 0.0) -> None:
    """Lay colours over a canvas where outlines are."""
    share = covered(outlines, canvas.shape[0]).astype(np.float32) / 255
    if soft_px:
        share = cv2.GaussianBlur(share, (0, 0), soft_px)
    canvas += (colours - canvas) * share[..., None]


def paint_eyes(canvas: Floats, marks: Floats, iris: tuple[int, ...]) -> None:
    """Paint white, iris and pupil between the lids, and lashes."""
    size = canvas.shape[0]
    eyes = [marks[list(face_outline(name))] for name in ("eyes", "left eye")]
    white = np.empty((size * _FINER, size * _FINER, 3), np.uint8)
    white[...] = _SCLERA
    for ring in _IRIS_RINGS:
        centre = _fine(marks[ring[0]])
        radius = float(np.linalg.norm(marks[list(ring[1:])] - marks[ring[0]], axis=1).mean()) * _FINER
        for colour, share in ((tuple(c // 2 for c in iris), 1.0), (iris, 0.86), (_PUPIL, 0.42)):
            cv2.circle(white, _whole(centre), max(round(radius * share * 16), 1), colour, -1, cv2.LINE_AA, 4)
        cv2.circle(
            white, _whole(centre - 0.3 * radius), max(round(radius * 0.13 * 16), 1), (222,) * 3, -1, cv2.LINE_AA, 4
        )
    # The lid's shadow.
    for lid in _UPPER_LIDS:
        line = np.rint(_fine(marks[list(lid)]) * 16).astype(np.int32)
        shadow = np.zeros(white.shape[:2], np.uint8)
        cv2.polylines(shadow, [line], False, 90, round(_FINER * size / 110), cv2.LINE_AA, 4)
        white = np.asarray(white * (1 - shadow[..., None] / 255.0), np.uint8)
    small = cv2.resize(white, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)
    lay(canvas, small, [("eyes", np.asarray(each, np.float64)) for each in eyes], soft_px=0.4)
    lashes = np.zeros((size * _FINER, size * _FINER), np.uint8)
    for lid in _UPPER_LIDS:
        line = np.rint(_fine(marks[list(lid)]) * 16).astype(np.int32)
        cv2.polylines(lashes, [line], False, 170, round(_FINER * size / 210), cv2.LINE_AA, 4)
    share = cv2.resize(lashes, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)[..., None] / 255
    canvas += (np.array(_LASHES, np.float32) - canvas) * share


def paint_mouth(canvas: Floats, marks: Floats) -> None:
    """Paint teeth, tongue and darkness between the lips."""
    size = canvas.shape[0]
    upper, lower = marks[list(_UPPER_INNER_LIP)], marks[list(_LOWER_INNER_LIP)]
    down = marks[152] - marks[168]
    down = down / max(float(np.linalg.norm(down)), 1e-6)
    gap = np.maximum((lower - upper) @ down, 0.0)
    inside = np.empty((size * _FINER, size * _FINER, 3), np.uint8)
    inside[...] = _CAVITY
    middle, widest = (upper[5] + lower[5]) / 2, float(np.linalg.norm(upper[0] - upper[-1]))
    tongue = lower[5] + 0.10 * gap.max() * down
    axes = (round(0.30 * widest * _FINER * 16), round(0.38 * float(gap.max()) * _FINER * 16))
    angle = float(np.degrees(np.arctan2(down[1], down[0])) - 90)
    cv2.ellipse(inside, _whole(_fine(tongue)), axes, angle, 0, 360, _TONGUE, -1, cv2.LINE_AA, 4)
    # A row of upper teeth hangs from where the lip is, as far as the gap lets it be seen.
    bell = np.clip(1.25 - (np.abs(np.linspace(-1, 1, len(upper))) ** 3), 0, 1)[:, None]
    height = np.minimum(_TEETH_HEIGHT / PORTRAIT_SHARE * size * bell[:, 0], 0.62 * gap)[:, None]
    row = np.concatenate([upper - 2 * down, (upper + height * down)[::-1]])
    cv2.fillPoly(inside, [np.rint(_fine(row) * 16).astype(np.int32)], _TEETH, cv2.LINE_AA, 4)
    soft = cv2.GaussianBlur(inside, (0, 0), 0.7 * _FINER)
    small = cv2.resize(soft, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)
    away = np.abs(np.arange(size, dtype=np.float32)[None] - np.float32(middle[0])) / max(0.5 * widest, 1.0)
    small *= (1 - 0.45 * np.clip(away, 0, 1) ** 2)[..., None]
    lay(canvas, small, [("mouth", np.concatenate([upper, lower[::-1]]))], soft_px=0.4)


def _fine(points: Floats) -> Floats:
    return (points + 0.5) * _FINER - 0.5


def _whole(point: Floats) -> tuple[int, int]:
    """For OpenCV's sixteenths of a pixel."""
    return round(float(point[0]) * 16), round(float(point[1]) * 16)
