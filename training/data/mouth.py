"""The mouth in two numbers, read off the 478 landmarks; both are shares of the outer-eye distance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

INNER_UPPER_LIP, INNER_LOWER_LIP = 13, 14
OUTER_EYE_CORNERS = (33, 263)
MOUTH_CORNERS = (61, 291)


def mouth_opening(landmarks: NDArray[np.float32]) -> float:
    """Distance between the inner lips over the distance between the outer eye corners.

    Args:
        landmarks: [478, 2] x, y in pixels of any picture (the measure has no scale).
    """
    return _distance(landmarks, INNER_UPPER_LIP, INNER_LOWER_LIP) / _eyes(landmarks)


def mouth_width(landmarks: NDArray[np.float32]) -> float:
    """Distance between the mouth corners over the distance between the outer eye corners."""
    return _distance(landmarks, *MOUTH_CORNERS) / _eyes(landmarks)


def _eyes(landmarks: NDArray[np.float32]) -> float:
    return max(_distance(landmarks, *OUTER_EYE_CORNERS), 1e-6)


def _distance(landmarks: NDArray[np.float32], a: int, b: int) -> float:
    return float(np.linalg.norm(landmarks[a, :2] - landmarks[b, :2]))
