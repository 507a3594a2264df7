"""A mouth shut or opened by a warp that landmarks drive: what a generator is shown then tells nothing of what was said.

The jaw follows the lower lip, the cheeks follow the jaw. What an open mouth shows disappears between the lips; what a
closed one hides is not made up here (`training.data.portraits` paints it).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Rgb = NDArray[np.uint8]
Points = NDArray[np.float32]
Field = NDArray[np.floating[Any]]

# Inner lips from the right corner (78) to the left (308), upper and lower.
UPPER_INNER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LOWER_INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
JAW = (172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397)
_UPPER, _LOWER, _JAW = (np.array(points) for points in (UPPER_INNER, LOWER_INNER, JAW))
UPPER_LIP_SHARE = 0.15
JAW_SHARE = 0.75
# A gap that no pixel lies in.
SHUT_PX = 0.5


@dataclass(frozen=True, slots=True)
class MouthCurves:
    """The mouth of one picture as curves over its columns.

    Attributes:
        upper_y: float32 [W], edge of the upper lip.
        lower_y: float32 [W], edge of the lower lip, never above the upper one.
        chin_y: float32 [W].
        bell: float32 [W], how open a mouth is towards its corners: 1 in the middle.
        jaw_bell: float32 [W], how far the jaw's motion reaches.
        middle_x: Column between the corners.
        half_width_px: Half of the way between them.
        seam_y: Mean row of the upper lip's edge.
    """

    upper_y: Field
    lower_y: Field
    chin_y: Field
    bell: Field
    jaw_bell: Field
    middle_x: float
    half_width_px: float
    seam_y: float


def read_mouth(width_px: int, landmarks: Points) -> MouthCurves:
    """Read the curves off landmarks [478, 2] of a picture of some width."""
    columns = np.arange(width_px, dtype=np.float32)
    upper, lower, jaw = landmarks[_UPPER], landmarks[_LOWER], landmarks[_JAW]
    left, right = float(upper[0, 0]), float(upper[-1, 0])
    middle, half = (left + right) / 2, max((right - left) / 2, 2.0)
    from_middle = np.abs(columns - np.float32(middle)) * np.float32(1.0 / half)
    upper_y = np.interp(columns, upper[:, 0], upper[:, 1]).astype(np.float32)
    lower_y = np.interp(columns, lower[:, 0], lower[:, 1]).astype(np.float32)
    return MouthCurves(
        upper_y=upper_y,
        lower_y=np.maximum(lower_y, upper_y),
        chin_y=np.interp(columns, jaw[:, 0], jaw[:, 1]).astype(np.float32),
        bell=1 - np.minimum(from_middle, 1) ** 2.2,
        jaw_bell=np.exp(-(np.square(np.square(from_middle * np.float32(1.0 / 1.9))))),
        middle_x=middle,
        half_width_px=half,
        seam_y=float(upper[:, 1].mean()),
    )


def source_rows(height: int, mouth: MouthCurves, upper_y: Field, lower_y: Field, first_row: int = 0) -> Field:
    """The row that each pixel comes from when the lips' edges move; float32 [height - first_row, W]."""
    y = np.arange(first_row, height, dtype=np.float32)[:, None]
    seam = (upper_y + lower_y) / 2
    # Rows from `low` on lie below the seam somewhere, rows before `high` above it.
    low, high = (min(max(math.ceil(row) - first_row, 0), len(y)) for row in (float(seam.min()), float(seam.max())))
    rows = np.empty((len(y), len(seam)), np.float32)
    above = (y[:high] - upper_y) * np.float32(1 / (0.9 * mouth.half_width_px))
    above += 1
    np.clip(above, 0, 1, out=above)
    rows[:high] = y[:high] - (upper_y - mouth.upper_y) * above
    below = y[low:] - _drop(height, mouth, lower_y, y[low:])
    rows[high:] = below[high - low :]
    np.copyto(rows[low:high], below[: high - low], where=y[low:high] >= seam)
    return rows


def _drop(height: int, mouth: MouthCurves, lower_y: Field, y: Field) -> Field:
    """How far what is below the seam moves down, in the rows `y` [n, 1]; float32 [n, W]."""
    lip = lower_y - mouth.lower_y
    jaw = JAW_SHARE * float(lip[round(mouth.middle_x)]) * mouth.jaw_bell
    chin = mouth.chin_y + jaw
    # From the lip to the chin its motion turns into the jaw's, in proportion; under the chin that dies away.
    span = np.maximum(chin - lower_y, 1)
    steepness = (jaw - lip) / span
    to_chin = y * steepness
    to_chin += lip - lower_y * steepness
    fall = 1 / (0.35 * height)
    under = (1 + chin * fall) - y * np.float32(fall)
    np.clip(under, 0, 1, out=under)
    under *= jaw
    np.copyto(under, to_chin, where=y < lower_y + span)
    return under


def close_mouth(picture: Rgb, landmarks: Points, opening_px: float = 0.0) -> Rgb:
    """Shut a mouth.

    Args:
        picture: uint8 RGB [H, W, 3], face upright.
        landmarks: float32 [478, 2] x, y in pixels of `picture`.
        opening_px: What is to be left of the gap between the lips.

    Returns:
        A new picture of the same size, or the same one where the mouth is shut. Nothing above the cheeks changes.
    """
    height, width = picture.shape[:2]
    mouth = read_mouth(width, landmarks)
    gap = mouth.lower_y - mouth.upper_y
    left = np.minimum(gap, opening_px * mouth.bell)
    if not 0 <= mouth.middle_x < width - 1 or float((gap - left).max()) < SHUT_PX:
        return picture
    upper_y = mouth.upper_y + UPPER_LIP_SHARE * (gap - left)
    first = int(min(max(float(upper_y.min()) - 0.9 * mouth.half_width_px, 0), height - 1))
    rows = source_rows(height, mouth, upper_y, upper_y + left, first)
    columns = np.broadcast_to(np.arange(width, dtype=np.float32), rows.shape)
    # Four channels are sampled in half the time of three.
    four = cv2.cvtColor(picture, cv2.COLOR_RGB2RGBA)
    four[first:] = cv2.remap(four, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.cvtColor(four, cv2.COLOR_RGBA2RGB), np.uint8)


def close_mouth_definition(
    picture: NDArray[np.floating[Any]], landmarks: Points, opening_px: float = 0.0
) -> NDArray[np.float64]:
    """Say in NumPy what `close_mouth` makes of a picture [H, W, n] of any range, before rounding: float64.

    Where an edge of a lip or the jaw turns back on itself, the part that is drawn last counts.
    """
    height, width = picture.shape[:2]
    columns, y = np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64)[:, None]
    upper, lower, chin = (_curve_definition(columns, landmarks[points]) for points in (_UPPER, _LOWER, _JAW))
    lower = np.maximum(lower, upper)
    middle = (float(landmarks[_UPPER[0], 0]) + float(landmarks[_UPPER[-1], 0])) / 2
    half = max((float(landmarks[_UPPER[-1], 0]) - float(landmarks[_UPPER[0], 0])) / 2, 2.0)
    away = np.abs(columns - middle) / half
    left = np.minimum(lower - upper, opening_px * (1.0 - np.minimum(away, 1.0) ** 2.2))
    closes = lower - upper - left
    if not 0 <= middle < width - 1 or closes.max() < SHUT_PX:
        return picture.astype(np.float64)
    to_upper = upper + UPPER_LIP_SHARE * closes
    to_lower = to_upper + left
    lip = to_lower - lower
    jaw = JAW_SHARE * lip[round(middle)] * np.exp(-((away / 1.9) ** 4))
    chin = chin + jaw
    span = np.maximum(chin - to_lower, 1.0)
    to_chin = lip + (jaw - lip) * (y - to_lower) / span
    under = jaw * np.clip(1.0 - (y - chin) / (0.35 * height), 0.0, 1.0)
    above = (to_upper - upper) * np.clip(1.0 + (y - to_upper) / (0.9 * half), 0.0, 1.0)
    below = np.where(y < to_lower + span, to_chin, under)
    rows = np.clip(y - np.where(y < (to_upper + to_lower) / 2, above, below), 0.0, height - 1)
    first = np.floor(rows).astype(int)
    share = (rows - first)[..., None]
    picked = picture.astype(np.float64)[[first, np.minimum(first + 1, height - 1)], np.arange(width)]
    return np.asarray(picked[0] + share * (picked[1] - picked[0]))


def _curve_definition(columns: NDArray[np.float64], knots: Points) -> NDArray[np.float64]:
    """Linear between knots [n, 2], x first, from left to right; beyond the first and the last as high as these."""
    x, y = knots.T.astype(np.float64)
    curve = np.full(len(columns), y[0])
    for here in range(len(x) - 1):
        on = (x[here] <= columns) & (columns < x[here + 1])
        curve[on] = np.interp(columns[on], x[here : here + 2], y[here : here + 2])
    curve[columns < x[0]] = y[0]
    curve[columns >= x[-1]] = y[-1]
    return curve
