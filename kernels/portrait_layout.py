"""A semantic layout of a whole portrait out of a face's landmarks alone: the face, and a head around it.

What landmarks do not tell, hair, ears, neck and shoulders, has one shape for everybody and moves with the pose of the
head; so nothing of a picture but its landmarks can reach what is drawn from such a layout.
"""

import numpy as np
from numpy.typing import NDArray

from kernels.crop import STABLE, Landmarks, upright_region
from kernels.face_layout import FACE_CLASSES, face_layout, filled, in_layout
from kernels.yuv import Region

PORTRAIT_CLASSES = (*FACE_CLASSES, "hair", "neck", "clothes")
"""By channel."""

PORTRAIT_SHARE = 1.6
"""Side of a portrait's square, of the crop's side: hair and shoulders."""

PORTRAIT_BACKDROP = (96, 108, 118)
"""RGB behind a drawn portrait, and where there is none."""

RISE = 0.08
"""How far a portrait's square is above the face's, as a share of the crop's side: there is more hair than neck."""

# Depth of the points of `kernels.crop.STABLE` on the scale of x, away from the camera: means over the same portraits,
# halves averaged. With them, a head's pose follows from its landmarks.
_DEPTHS = {
    33: 0.039, 133: 0.014, 362: 0.014, 263: 0.039, 168: -0.078, 6: -0.099, 2: -0.091, 98: -0.050, 327: -0.050,
    64: -0.075, 294: -0.075, 127: 0.288, 356: 0.288,
}  # fmt: skip
_INDICES = [row[0] for row in STABLE]
_PLACES = np.array([(x, y, _DEPTHS[index], 1.0) for index, x, y, _ in STABLE])
_SOLVED = np.linalg.pinv(_PLACES)

# Halves of outlines in the same square, from the left: x, y, depth. The outline of short hair as the median of several
# dozen of these portraits has it, the hairline, an ear, and where the neck begins.
_HAIR = (
    (0.145, 0.330, 0.30), (0.095, 0.270, 0.30), (0.075, 0.100, 0.30), (0.085, -0.030, 0.30), (0.130, -0.140, 0.30),
    (0.205, -0.220, 0.28), (0.335, -0.280, 0.25), (0.500, -0.300, 0.25),
)  # fmt: skip
_FOREHEAD = (
    (0.155, 0.210, 0.20), (0.160, 0.050, 0.16), (0.180, -0.050, 0.10), (0.255, -0.115, 0.05), (0.380, -0.135, 0.02),
    (0.500, -0.140, 0.02),
)  # fmt: skip
_EAR = (
    (0.150, 0.270, 0.30), (0.115, 0.270, 0.32), (0.092, 0.310, 0.34), (0.092, 0.370, 0.34), (0.105, 0.440, 0.32),
    (0.130, 0.490, 0.30), (0.160, 0.480, 0.30),
)  # fmt: skip
_NECK = ((0.235, 0.620, 0.30),)
# Parts that do not turn with the head, x and y in the unit square of a face held still.
_THROAT = (0.225, 1.100)
_SHOULDER = (
    (-0.400, 1.400), (-0.400, 1.130), (-0.250, 1.070), (-0.050, 1.010), (0.120, 0.970), (0.215, 0.925), (0.270, 1.000),
    (0.360, 1.060), (0.500, 1.080),
)  # fmt: skip

Outline = tuple[str, NDArray[np.float64]]
"""A class and points [n, 2], x first, in pixels of the layout, whole numbers at their centres."""


def portrait_region(landmarks: Landmarks) -> Region:
    """Lay an upright square around a head.

    Args:
        landmarks: float32 [478, 2], MediaPipe's face mesh in pixels of the frame, x first.

    Returns:
        Luma pixels with even corners; it may leave the frame.

    Raises:
        ValueError: See `kernels.crop.crop_transform`.
    """
    around = upright_region(landmarks, PORTRAIT_SHARE)
    rise = 2 * round(RISE / PORTRAIT_SHARE * around.height / 2.0)
    return Region(around.top - rise, around.left, around.bottom - rise, around.right)


def portrait_layout(landmarks: Landmarks | None, region: Region, size: tuple[int, int]) -> NDArray[np.float32]:
    """Draw the layout of a part of a picture.

    Args:
        landmarks: float32 [478, 2] in pixels of the frame, x first; None where there is no face.
        region: The part, in pixels of the frame.
        size: Height and width of the layout.

    Returns:
        float32 [len(PORTRAIT_CLASSES), h, w], 1 where a class is and 0 elsewhere; exactly one class in every pixel.
    """
    labels = np.zeros(size, np.uint8)
    if landmarks is not None:
        for name, points in outlines_around(landmarks, region, size):
            filled(labels, points, PORTRAIT_CLASSES.index(name))
        face = face_layout(landmarks, region, size).argmax(0).astype(np.uint8)
        labels[face > 0] = face[face > 0]
    return np.asarray(labels == np.arange(len(PORTRAIT_CLASSES)).reshape(-1, 1, 1), np.float32)


def outlines_around(landmarks: Landmarks, region: Region, size: tuple[int, int]) -> list[Outline]:
    """What is drawn below the face, in its order: neck, clothes, hair, ears, forehead."""
    camera = head_camera(landmarks)

    def turned(half: tuple[tuple[float, ...], ...]) -> NDArray[np.float64]:
        return in_layout(posed(camera, np.array(half)), region, size)

    left_ear, right_ear = (turned(each) for each in (_EAR, _mirrored(_EAR)))
    neck = np.concatenate([turned((*_NECK, *_mirrored(_NECK))), _still((_mirrored((_THROAT,))[0], _THROAT), size)])
    return [
        ("neck", neck),
        ("clothes", _still((*_SHOULDER, *_mirrored(_SHOULDER)), size)),
        ("hair", turned((*_HAIR, *_mirrored(_HAIR)))),
        ("skin", left_ear),
        ("skin", right_ear),
        ("skin", turned((*_FOREHEAD, *_mirrored(_FOREHEAD)))),
    ]


def head_camera(landmarks: Landmarks) -> NDArray[np.float64]:
    """The pose of a head: an affine camera [2, 4] from the unit square with its depth to pixels of the frame."""
    return np.asarray((_SOLVED @ landmarks[_INDICES].astype(np.float64)).T, np.float64)


def posed(camera: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points [n, 3] of the unit square with its depth to pixels [n, 2] of the frame."""
    return np.asarray(points @ camera[:, :3].T + camera[:, 3], np.float64)


def _still(points: tuple[tuple[float, ...], ...], size: tuple[int, int]) -> NDArray[np.float64]:
    """Points of the unit square in the layout of a portrait's own square, whatever the head does in it."""
    edge = np.array([0.5 - PORTRAIT_SHARE / 2, 0.5 - PORTRAIT_SHARE / 2 - RISE])
    return np.asarray((np.array(points) - edge) / PORTRAIT_SHARE * (size[1], size[0]) - 0.5, np.float64)


def _mirrored(half: tuple[tuple[float, ...], ...]) -> tuple[tuple[float, ...], ...]:
    """The other half of an outline, from the right end back."""
    return tuple((1.0 - x, *rest) for x, *rest in reversed(half))
