"""A semantic layout of a face out of its landmarks: which pixel is lip, eye, brow, as one plane for each class.

Filters that draw a face from a layout are trained on this and shown this. Later classes lie on top of earlier ones.
The outlines are those of MediaPipe's face mesh (`face_mesh_connections.py`).
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.yuv import Region

# From the forehead down the left side to the chin, and up again.
_OVAL_LEFT = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152)
_OVAL_RIGHT = (148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)
# Outlines in order; of the nose the points whose hull it is.
_OUTLINES: dict[str, tuple[int, ...]] = {
    "skin": (*_OVAL_LEFT, *_OVAL_RIGHT),
    "nose": (168, 6, 2, 98, 327, 64, 294, 48, 278, 129, 358, 4),
    "brows": (70, 63, 105, 66, 107, 55, 65, 52, 53, 46),
    "left brow": (300, 293, 334, 296, 336, 285, 295, 282, 283, 276),
    "eyes": (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
    "left eye": (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),
    "irises": (469, 470, 471, 472),
    "left iris": (474, 475, 476, 477),
    "lips": (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185),
    "mouth": (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191),
}
_SAME_AS = {"left brow": "brows", "left eye": "eyes", "left iris": "irises"}

FACE_CLASSES = ("background", *(name for name in _OUTLINES if name not in _SAME_AS))
"""By channel; "mouth" is what is seen between the lips."""

# Polygons are filled on a grid so many times as fine as pixels, as OpenCV has it.
_SUBPIXEL_BITS = 4


def face_layout(landmarks: NDArray[np.float32] | None, region: Region, size: tuple[int, int]) -> NDArray[np.float32]:
    """Draw the layout of a part of a picture.

    Args:
        landmarks: float32 [478, 2], MediaPipe's face mesh in pixels of the frame, x first; None where there is no face.
        region: The part, in pixels of the frame.
        size: Height and width of the layout.

    Returns:
        float32 [len(FACE_CLASSES), h, w], 1 where a class is and 0 elsewhere; exactly one class in every pixel.
    """
    labels = np.zeros(size, np.uint8)
    for name, outline in _OUTLINES.items():
        if landmarks is None:
            break
        points = in_layout(landmarks[list(outline)], region, size)
        if name == "nose":
            points = cv2.convexHull(points.astype(np.float32)).reshape(-1, 2).astype(np.float64)
        filled(labels, points, FACE_CLASSES.index(_SAME_AS.get(name, name)))
    return np.asarray(labels == np.arange(len(FACE_CLASSES)).reshape(-1, 1, 1), np.float32)


def face_outline(name: str) -> tuple[int, ...]:
    """Landmarks along the outline of a part of the face, in order."""
    return _OUTLINES[name]


def in_layout(points: NDArray[np.floating[Any]], region: Region, size: tuple[int, int]) -> NDArray[np.float64]:
    """Pixels [n, 2] of the frame to pixels of the layout; whole numbers are the centres of pixels in both."""
    scale = np.array([size[1] / region.width, size[0] / region.height])
    return np.asarray((points.astype(np.float64) - (region.left, region.top) + 0.5) * scale - 0.5, np.float64)


def filled(labels: NDArray[np.uint8], points: NDArray[np.float64], label: int) -> None:
    """Give what lies within an outline [n, 2] on the grid of the layout a label."""
    cv2.fillPoly(labels, [np.rint(points * (1 << _SUBPIXEL_BITS)).astype(np.int32)], label, shift=_SUBPIXEL_BITS)
