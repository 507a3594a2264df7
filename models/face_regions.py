"""The rotated squares that the face networks look at, and how pixels and points get in and out of them.

Coordinates are continuous frame pixels, x before y, y down, as MediaPipe uses
them: pixel index 0 is read at coordinate 0. A picture is either uint8 RGB
[H, W, 3] or the three uint8 planes of an I420 picture; of planes only the
square's own pixels are converted, never the whole frame.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.yuv import BT601_LIMITED, Colour, i420_to_rgb

Planes = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]
Picture = NDArray[np.uint8] | Planes

# Black in limited-range Y, U, V; what MediaPipe's zero border means to the detector.
_BLACK_YUV = (16.0, 128.0, 128.0)


@dataclass(frozen=True, slots=True)
class Region:
    """A rotated square in a frame.

    Attributes:
        center_x_px: Centre, from the left.
        center_y_px: Centre, from the top.
        side_px: Length of a side.
        angle_rad: Clockwise rotation as seen on the screen; 0 is upright.
    """

    center_x_px: float
    center_y_px: float
    side_px: float
    angle_rad: float = 0.0

    def to_frame(self, size: int) -> NDArray[np.float64]:
        """float64 [2, 3] that takes square pixels (0..size) to frame pixels."""
        scale = self.side_px / size
        cos, sin = math.cos(self.angle_rad) * scale, math.sin(self.angle_rad) * scale
        half = size / 2
        return np.array(
            [
                [cos, -sin, self.center_x_px - half * (cos - sin)],
                [sin, cos, self.center_y_px - half * (sin + cos)],
            ]
        )


def region_around(points: NDArray[np.float32], start: int, end: int, expand: float) -> Region:
    """Square around `points`, turned so that the line from `start` to `end` is level.

    Args:
        points: float32 [n, 2 or more], frame pixels.
        start: Index of the point at the picture's left end of the level line.
        end: Index of the point at its right end.
        expand: Side of the square over the longer side of the points' upright box.

    Source:
        MediaPipe, `detections_to_rects_calculator.cc` and
        `rect_transformation_calculator.cc` with `square_long`.
    """
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    center = (low + high) / 2
    step = points[end, :2] - points[start, :2]
    return Region(
        float(center[0]),
        float(center[1]),
        float((high - low).max()) * expand,
        math.atan2(float(step[1]), float(step[0])),
    )


def overlap(first: Region, second: Region) -> float:
    """Intersection over union of two regions, their rotation ignored."""
    half_a, half_b = first.side_px / 2, second.side_px / 2
    width = min(first.center_x_px + half_a, second.center_x_px + half_b) - max(
        first.center_x_px - half_a, second.center_x_px - half_b
    )
    height = min(first.center_y_px + half_a, second.center_y_px + half_b) - max(
        first.center_y_px - half_a, second.center_y_px - half_b
    )
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (first.side_px**2 + second.side_px**2 - shared)


def picture_size(picture: Picture) -> tuple[int, int]:
    """Height and width in pixels."""
    luma = picture[0] if isinstance(picture, tuple) else picture
    return int(luma.shape[0]), int(luma.shape[1])


def read_region(
    picture: Picture, region: Region, size: int, *, colour: Colour = BT601_LIMITED, replicate: bool = True
) -> NDArray[np.uint8]:
    """Read a region as an upright square.

    Args:
        picture: The frame.
        region: Where to look; may reach outside the frame.
        size: Side of the result; even.
        colour: Meaning of the planes; unused for RGB.
        replicate: Outside the frame, repeat its edge; otherwise black.

    Returns:
        uint8 RGB [size, size, 3], bilinear without low-pass, as MediaPipe reads it.
    """
    to_frame = region.to_frame(size)
    if not isinstance(picture, tuple):
        return _warp(picture, to_frame, size, None if replicate else 0.0)
    to_chroma = _chroma_map(to_frame)
    border: tuple[float | None, ...] = (None, None, None) if replicate else _BLACK_YUV
    luma, u, v = picture
    square = (
        _warp(luma, to_frame, size, border[0]),
        _warp(u, to_chroma, size // 2, border[1]),
        _warp(v, to_chroma, size // 2, border[2]),
    )
    return i420_to_rgb(square, colour)


def _chroma_map(to_frame: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same map between the half-size planes, whose sample k lies at luma 2k + 0.5."""
    linear = to_frame[:, :2]
    return np.column_stack([linear, (linear @ (0.5, 0.5) + to_frame[:, 2] - 0.5) / 2])


def _warp(
    plane: NDArray[np.uint8], to_frame: NDArray[np.float64], size: int, border: float | None
) -> NDArray[np.uint8]:
    mode = cv2.BORDER_REPLICATE if border is None else cv2.BORDER_CONSTANT
    value = () if border is None else (border, border, border)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped: NDArray[np.uint8] = cv2.warpAffine(
        plane, to_frame, (size, size), flags=flags, borderMode=mode, borderValue=value
    )
    return warped
