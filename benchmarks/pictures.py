"""Pictures and faces that the kernels are tested and measured with."""

import numpy as np
from numpy.typing import NDArray

from kernels.mouth import JAW, LOWER_INNER, UPPER_INNER
from kernels.yuv import Plane, Planes

# One pixel, one block, odd sides, MPEG's smallest picture, a side that is no multiple of a vector.
SHAPES = [(1, 1), (2, 2), (3, 5), (16, 16), (37, 53), (97, 95)]

# The mean of 447 frontal portraits: point of MediaPipe's mesh -> (x, y) from the nose base, in distances between the
# centres of the eyes.
_MEAN_FACE = {
    33: (-0.70, -0.77),
    133: (-0.27, -0.74),
    362: (0.30, -0.74),
    263: (0.73, -0.77),
    168: (0.00, -0.80),
    6: (0.00, -0.68),
    2: (0.00, 0.00),
    98: (-0.31, -0.07),
    327: (0.32, -0.07),
    64: (-0.34, -0.13),
    294: (0.35, -0.13),
    127: (-1.13, -0.71),
    356: (1.23, -0.71),
    187: (-0.93, -0.02),
    192: (-0.93, 0.26),
    138: (-0.95, 0.44),
    172: (-0.92, 0.57),
    136: (-0.80, 0.73),
    150: (-0.65, 0.88),
    149: (-0.52, 0.99),
    176: (-0.38, 1.08),
    148: (-0.21, 1.15),
    152: (0.00, 1.17),
    377: (0.22, 1.16),
    400: (0.40, 1.09),
    378: (0.55, 1.00),
    379: (0.70, 0.90),
    365: (0.87, 0.75),
    397: (1.00, 0.58),
    367: (1.02, 0.45),
    416: (0.98, 0.27),
    411: (0.97, -0.01),
    1: (-0.01, -0.09),
    13: (0.00, 0.29),
    14: (0.00, 0.43),
    61: (-0.51, 0.25),
    291: (0.55, 0.26),
    0: (0.00, 0.22),
    17: (0.00, 0.57),
}
_BELOW_THE_UPPER_LIP = (14, 17, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365)
# How far a jaw opened all the way sinks, in the same unit (ICT-FaceKit, shape jawOpen).
WIDE_OPEN = 0.43


def waves(height: int, width: int, down_px: float = 0.0, right_px: float = 0.0) -> Plane:
    """Luma in 36 to 220 of waves of several lengths, which has moved."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float64)
    rows, columns = rows - down_px, columns - right_px
    directions = ((5.0, 9.0), (-7.0, 6.0), (13.0, -11.0), (4.0, 17.0))
    height_of_each = sum(np.sin(rows / a + columns / b) for a, b in directions)
    return np.asarray(np.rint(128 + 23 * height_of_each), np.uint8)


def face(
    centre_x: float, centre_y: float, eyes_px: float, *, roll: float = 0.0, jaw_drop: float = 0.0
) -> NDArray[np.float32]:
    """Return landmarks [478, 2]; points of the mesh that nothing here uses lie on the nose base.

    Args:
        centre_x: Column of the nose base.
        centre_y: Row of the nose base.
        eyes_px: Distance between the eyes.
        roll: Radians, clockwise in the picture.
        jaw_drop: How far the jaw is opened, in distances between the eyes.
    """
    points = np.zeros((478, 2))
    for index, place in _MEAN_FACE.items():
        points[index] = place
    points[list(_BELOW_THE_UPPER_LIP), 1] += jaw_drop
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    return np.asarray(points @ turn.T * eyes_px + (centre_x, centre_y), np.float32)


def noise_planes(height: int, width: int, seed: int = 0, *, strided: bool = False) -> Planes:
    """Return planes of noise, as views into wider rows when strided."""
    rng = np.random.default_rng(seed)
    half = ((height + 1) // 2, (width + 1) // 2)
    extra = 13 if strided else 0
    planes = [
        rng.integers(0, 256, (rows, columns + extra), dtype=np.uint8)[:, :columns]
        for rows, columns in ((height, width), half, half)
    ]
    return planes[0], planes[1], planes[2]


def smooth_planes(height: int, width: int, seed: int = 0) -> Planes:
    """Return planes of waves a few dozen pixels long, as skin and light are."""
    rng = np.random.default_rng(seed)
    planes = []
    for step, (rows, columns) in ((1, (height, width)), *[(2, ((height + 1) // 2, (width + 1) // 2))] * 2):
        y, x = np.mgrid[0:rows, 0:columns] * step
        waves = sum(np.sin(x * a + y * b + c) for a, b, c in rng.uniform(0.01, 0.08, (4, 3)) * (1, 1, 60))
        planes.append(np.rint(128 + 22 * waves).astype(np.uint8))
    return planes[0], planes[1], planes[2]


def copied(planes: Planes) -> Planes:
    """Return planes of their own memory."""
    return planes[0].copy(), planes[1].copy(), planes[2].copy()


def open_face(x: float, y: float, eyes_px: float, gap_px: float) -> NDArray[np.float32]:
    """`face` with lens-shaped lips that are `gap_px` apart, and the jaw as far down."""
    landmarks = face(x, y, eyes_px).astype(np.float32)
    seam_y = float((landmarks[13, 1] + landmarks[14, 1]) / 2)
    across = np.linspace(-1, 1, len(UPPER_INNER), dtype=np.float32)
    lens = 1 - np.abs(across) ** 2.2
    for points, share in ((UPPER_INNER, -0.15), (LOWER_INNER, 0.85)):
        landmarks[list(points), 0] = x + 0.28 * eyes_px * across
        landmarks[list(points), 1] = seam_y + share * gap_px * lens
    landmarks[list(JAW), 1] += np.float32(0.75 * gap_px)
    return landmarks
