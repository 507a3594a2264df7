"""I420 planes to RGB and back, on the region of interest only.

A chroma sample sits in the middle of its 2 x 2 luma pixels, the last row and
column of an odd picture share a sample with nothing: chroma planes have
ceil(n / 2) samples. Planes may be strided views into a decoder's buffers.

Source: ITU-R BT.601-7 and BT.709-6, section 3 (signal format) of each.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.uint8]
Planes = tuple[Plane, Plane, Plane]
Rgb = NDArray[np.uint8]
Matrix = NDArray[np.float64]

BT601_LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in Rec. 601's luma."""

# Weights of red and blue in luma.
_LUMA_WEIGHTS = {"bt601": (BT601_LUMA[0], BT601_LUMA[2]), "bt709": (0.2126, 0.0722)}
# Luma of black in limited range.
_BLACK = np.uint8(16)


@dataclass(frozen=True, slots=True)
class Colour:
    """How the three planes of a picture stand for RGB.

    Attributes:
        matrix: "bt601" for standard definition and WebRTC's VP8, "bt709" for most high definition.
        full_range: Luma and chroma span 0..255; otherwise luma spans 16..235 and chroma 16..240.
    """

    matrix: Literal["bt601", "bt709"] = "bt601"
    full_range: bool = False

    def __post_init__(self) -> None:
        if self.matrix not in _LUMA_WEIGHTS:
            raise ValueError(f"colour matrix is {self.matrix!r}, expected one of {sorted(_LUMA_WEIGHTS)}")


BT601_LIMITED = Colour("bt601", full_range=False)


class Region(NamedTuple):
    """A rectangle of luma pixels, half open: rows top..bottom-1, columns left..right-1."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        """Rows, 0 where nothing is inside."""
        return max(0, self.bottom - self.top)

    @property
    def width(self) -> int:
        """Columns, 0 where nothing is inside."""
        return max(0, self.right - self.left)

    @property
    def is_empty(self) -> bool:
        """Whether no pixel is inside."""
        return self.height == 0 or self.width == 0

    def clipped(self, height: int, width: int) -> "Region":
        """Return the part inside a picture of that size; empty where they do not meet."""
        top, left = min(max(self.top, 0), height), min(max(self.left, 0), width)
        return Region(top, left, max(top, min(self.bottom, height)), max(left, min(self.right, width)))

    def common(self, other: "Region") -> "Region":
        """Return what both have inside; empty where they do not meet."""
        return Region(
            max(self.top, other.top),
            max(self.left, other.left),
            min(self.bottom, other.bottom),
            min(self.right, other.right),
        )

    def on_even_grid(self, height: int, width: int) -> "Region":
        """Grow to whole 2 x 2 blocks, as far as a picture of that size goes; nothing stays nothing."""
        if self.is_empty:
            return self
        grown = Region(self.top & ~1, self.left & ~1, (self.bottom + 1) & ~1, (self.right + 1) & ~1)
        return grown.clipped(height, width)

    def of(self, plane: Plane) -> Plane:
        """Return the view of a luma plane (or picture) inside."""
        return plane[self.top : self.bottom, self.left : self.right]

    def of_chroma(self, plane: Plane) -> Plane:
        """Return the view of a chroma plane that covers the region."""
        return plane[self.top // 2 : (self.bottom + 1) // 2, self.left // 2 : (self.right + 1) // 2]


@cache
def rgb_to_yuv_matrix(colour: Colour) -> Matrix:
    """Return float64 [3, 4]: (Y, U, V) = M (R, G, B, 1), all in 0..255."""
    red, blue = _LUMA_WEIGHTS[colour.matrix]
    luma = np.array([red, 1.0 - red - blue, blue])
    differences = np.stack(
        [luma, (np.array([0, 0, 1.0]) - luma) / (2 - 2 * blue), (np.array([1.0, 0, 0]) - luma) / (2 - 2 * red)]
    )
    gains = np.ones(3) if colour.full_range else np.array([219.0, 224.0, 224.0]) / 255.0
    offsets = np.array([0.0 if colour.full_range else 16.0, 128.0, 128.0])
    matrix = np.column_stack([differences * gains[:, None], offsets])
    matrix.flags.writeable = False
    return matrix


@cache
def yuv_to_rgb_matrix(colour: Colour) -> Matrix:
    """Return float64 [3, 4]: (R, G, B) = M (Y, U, V, 1), all in 0..255."""
    forward = rgb_to_yuv_matrix(colour)
    linear = np.linalg.inv(forward[:, :3])
    matrix = np.column_stack([linear, -linear @ forward[:, 3]])
    matrix.flags.writeable = False
    return matrix


def check_planes(planes: Planes) -> tuple[int, int]:
    """Return height and width of a picture.

    Raises:
        ValueError: The planes are not Y [H, W], U and V [ceil(H/2), ceil(W/2)].
    """
    luma, blue, red = planes
    height, width = luma.shape
    half = ((height + 1) // 2, (width + 1) // 2)
    if blue.shape != half or red.shape != half:
        name, chroma = ("U", blue) if blue.shape != half else ("V", red)
        raise ValueError(f"plane {name} is {chroma.shape}, expected {half} beside a luma plane of {luma.shape}")
    return height, width


def i420_to_rgb(planes: Planes, colour: Colour = BT601_LIMITED, region: Region | None = None) -> Rgb:
    """Convert a picture or a part of it; each chroma sample serves its four pixels.

    In limited range, luma below 16 counts as 16, as OpenCV has it.

    Args:
        planes: uint8 Y [H, W], U and V [ceil(H/2), ceil(W/2)].
        colour: Matrix and range of the planes.
        region: What to convert, clipped to the picture; all of it by default.

    Returns:
        uint8 RGB [h, w, 3], the clipped region.

    Raises:
        ValueError: The planes' sizes do not fit each other.
    """
    height, width = check_planes(planes)
    wanted = (region or Region(0, 0, height, width)).clipped(height, width)
    if wanted.is_empty:
        return np.zeros((wanted.height, wanted.width, 3), np.uint8)
    blocks = wanted.on_even_grid(height, width)
    luma = to_even(blocks.of(planes[0]))
    chroma = cv2.merge([blocks.of_chroma(planes[1]), blocks.of_chroma(planes[2])])
    # A 1 x 1 result of `merge` loses its axes.
    chroma = chroma.reshape(luma.shape[0] // 2, luma.shape[1] // 2, 2)
    rgb = _blocks_to_rgb(luma, chroma, colour)
    top, left = wanted.top - blocks.top, wanted.left - blocks.left
    return rgb[top : top + wanted.height, left : left + wanted.width]


def _blocks_to_rgb(luma: Plane, chroma: Plane, colour: Colour) -> Rgb:
    if colour == BT601_LIMITED:
        return np.asarray(cv2.cvtColorTwoPlane(luma, chroma, cv2.COLOR_YUV2RGB_NV12), np.uint8)
    size = (luma.shape[1], luma.shape[0])
    luma = luma if colour.full_range else np.maximum(luma, _BLACK)
    yuv = cv2.merge([luma, cv2.resize(chroma, size, interpolation=cv2.INTER_NEAREST)])
    return yuv_to_rgb(yuv, colour)


def rgb_to_i420(rgb: Rgb, colour: Colour = BT601_LIMITED) -> Planes:
    """Convert a picture; each chroma sample is that of the mean of its (up to) four pixels.

    `cv2.COLOR_RGB2YUV_I420` takes the upper left pixel of the four instead, which makes edges shimmer.

    Args:
        rgb: uint8 [H, W, 3].
        colour: Matrix and range wanted.

    Returns:
        uint8 Y [H, W], U and V [ceil(H/2), ceil(W/2)].
    """
    height, width = rgb.shape[:2]
    even = to_even(rgb)
    halved = cv2.resize(even, (even.shape[1] // 2, even.shape[0] // 2), interpolation=cv2.INTER_AREA)
    chroma = rgb_to_yuv(halved, colour)
    blue, red = (np.ascontiguousarray(chroma[..., i]) for i in (1, 2))
    return _luma(even, colour)[:height, :width], blue, red


def _luma(rgb: Rgb, colour: Colour) -> Plane:
    if colour == BT601_LIMITED:
        return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420)[: rgb.shape[0]], np.uint8)
    return np.ascontiguousarray(rgb_to_yuv(rgb, colour)[..., 0])


def to_even(picture: Plane) -> Plane:
    """Repeat the last row and column of an odd picture."""
    height, width = picture.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return picture
    return np.asarray(cv2.copyMakeBorder(picture, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE), np.uint8)


def yuv_to_rgb(yuv: Rgb, colour: Colour = BT601_LIMITED) -> Rgb:
    """Convert uint8 [h, w, 3] with a full-size chroma sample in every pixel."""
    return np.asarray(cv2.transform(yuv, yuv_to_rgb_matrix(colour)), np.uint8).reshape(yuv.shape)


def rgb_to_yuv(rgb: Rgb, colour: Colour = BT601_LIMITED) -> Rgb:
    """Convert uint8 [h, w, 3], keeping a full-size chroma sample in every pixel."""
    return np.asarray(cv2.transform(rgb, rgb_to_yuv_matrix(colour)), np.uint8).reshape(rgb.shape)


def rgb_to_yuv_definition(rgb: Rgb | NDArray[np.float64], colour: Colour = BT601_LIMITED) -> NDArray[np.float64]:
    """Say in NumPy what `rgb_to_yuv` means, before rounding: float64 [h, w, 3]."""
    matrix = rgb_to_yuv_matrix(colour)
    return np.asarray(rgb @ matrix[:, :3].T + matrix[:, 3], np.float64)


def i420_to_rgb_definition(planes: Planes, colour: Colour = BT601_LIMITED) -> NDArray[np.float64]:
    """Say in NumPy what `i420_to_rgb` means for a whole picture, before rounding: float64 in [0, 255]."""
    height, width = check_planes(planes)
    full = [plane.repeat(2, axis=0).repeat(2, axis=1)[:height, :width] for plane in planes[1:]]
    luma = planes[0] if colour.full_range else np.maximum(planes[0], _BLACK)
    yuv1 = np.stack([luma, *full, np.ones((height, width))], axis=-1)
    return np.clip(yuv1 @ yuv_to_rgb_matrix(colour).T, 0.0, 255.0)


def rgb_to_i420_definition(
    rgb: Rgb, colour: Colour = BT601_LIMITED
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Say in NumPy what `rgb_to_i420` means, before rounding: float64 planes in [0, 255]."""
    height, width = rgb.shape[:2]
    matrix = rgb_to_yuv_matrix(colour)
    even = np.pad(rgb.astype(np.float64), ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    halved = even.reshape(even.shape[0] // 2, 2, even.shape[1] // 2, 2, 3).mean(axis=(1, 3))
    luma = rgb @ matrix[0, :3] + matrix[0, 3]
    chroma = halved @ matrix[1:, :3].T + matrix[1:, 3]
    return luma, chroma[..., 0], chroma[..., 1]
