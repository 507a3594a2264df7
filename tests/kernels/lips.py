"""Landmarks of a face whose lips are apart by a known number of pixels."""

import numpy as np
from numpy.typing import NDArray

from benchmarks.pictures import face
from kernels.mouth import JAW, LOWER_INNER, UPPER_INNER


def open_face(x: float, y: float, eyes_px: float, gap_px: float) -> NDArray[np.float32]:
    """The drawn face of `benchmarks.pictures` with lens-shaped lips and the jaw as far down as they are apart."""
    landmarks = face(x, y, eyes_px).astype(np.float32)
    seam_y = float((landmarks[13, 1] + landmarks[14, 1]) / 2)
    across = np.linspace(-1, 1, len(UPPER_INNER), dtype=np.float32)
    lens = 1 - np.abs(across) ** 2.2
    for points, share in ((UPPER_INNER, -0.15), (LOWER_INNER, 0.85)):
        landmarks[list(points), 0] = x + 0.28 * eyes_px * across
        landmarks[list(points), 1] = seam_y + share * gap_px * lens
    landmarks[list(JAW), 1] += np.float32(0.75 * gap_px)
    return landmarks
