"""A frame, or a rectangle of it, to what a picture-to-picture generator takes, and its picture back into the planes.

The tensor covers the whole rectangle, without bars: where their shapes differ, each axis has a scale of its own, and
what a generator sees is stretched. An axis that shrinks is averaged as `kernels.warp` has it, over blocks and their
neighbours, but by its own scale: `warp.shrink_factors` takes the geometric mean of both, which from 1280 x 720 to
512 x 512 would leave out pixels along rows (2.5 to one) and blur columns (1.4 to one). Blocks are counted from the
picture's corner, and pixels beside the rectangle count as far as a footprint reaches.

Bytes: from 1280 x 720 to 512 x 512, 1.4 MB are read and 3.1 MB written (half: 1.6); back, 3.1 MB are read, 1.4 MB
read and written.
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.warp import axis_factors, blocks_between
from kernels.yuv import (
    BT601_LIMITED,
    Colour,
    Plane,
    Planes,
    Region,
    Rgb,
    check_planes,
    rgb_to_i420,
    rgb_to_yuv_matrix,
    yuv_to_rgb,
    yuv_to_rgb_matrix,
)

Tensor = NDArray[np.float32]
Size = tuple[int, int]
FloatPlanes = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]

# Half of the levels: 0 is -1 and 255 is 1.
_MIDDLE = 127.5
# Enlarged by more than this, linear interpolation shows its diamonds (as in `kernels.paste`).
_CUBIC_FROM = 1.5
# OpenCV's cubic curve.
_CUBIC = -0.75
# Of a pixel: what rounding leaves of 0.
_SAME_PLACE = 1e-9
_UNITS = ((np.arange(256) - _MIDDLE) / _MIDDLE).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Axis:
    """How one axis is resampled.

    Attributes:
        scale: Source pixels per result.
        offset: Where result 0 lies in the source; whole numbers are the centres of pixels.
        count: How many results there are.
    """

    scale: float
    offset: float
    count: int

    @classmethod
    def covering(cls, start: int, length: int, count: int) -> "Axis":
        """So many results over the source's pixels start..start + length - 1."""
        scale = length / count
        return cls(scale, start + (scale - 1.0) / 2.0, count)

    def on_chroma_grid(self) -> "Axis":
        """The same results in a plane whose samples lie in the middle of two pixels each."""
        return Axis(self.scale / 2.0, (self.offset - 0.5) / 2.0, self.count)

    def on_blocks(self) -> "Axis":
        """The same results in a source that is averaged over blocks."""
        block, _ = axis_factors(self.scale)
        return Axis(self.scale / block, (self.offset + 0.5) / block - 0.5, self.count)

    def moved(self, by: float) -> "Axis":
        """The same results in a source that begins so many pixels earlier."""
        return Axis(self.scale, self.offset + by, self.count)

    def covers(self, length: int) -> bool:
        """Whether the results lie over all of a source of that length and nothing else."""
        whole = Axis.covering(0, length, self.count)
        return abs(self.scale - whole.scale) + abs(self.offset - whole.offset) < _SAME_PLACE


class Axes(NamedTuple):
    """How a picture is resampled, and whether between its pixels by a cubic curve instead of a straight line."""

    rows: Axis
    columns: Axis
    cubic: bool = False


def planes_to_tensor(region: Region, size: Size) -> tuple[Axes, Axes]:
    """From luma and from chroma to a tensor of that size, height before width."""
    rows = Axis.covering(region.top, region.height, size[0])
    columns = Axis.covering(region.left, region.width, size[1])
    return Axes(rows, columns), Axes(rows.on_chroma_grid(), columns.on_chroma_grid())


def tensor_to_pixels(region: Region, size: Size) -> Axes:
    """From a tensor of that size to the pixels of a region, counted from its corner.

    Cubic along both axes where one is enlarged by more than 1.5 and none shrinks; twice as large, it is the doubling of
    `kernels.paste`.
    """
    axes = (Axis.covering(0, length, count) for length, count in zip(size, (region.height, region.width), strict=True))
    rows, columns = axes
    scales = rows.scale, columns.scale
    return Axes(rows, columns, min(scales) < 1.0 / _CUBIC_FROM and max(scales) <= 1.0)


def changed_box(region: Region, wipe_column: int, height: int, width: int) -> Region:
    """What `tensor_to_frame` changes of a luma plane of that size."""
    return region._replace(left=max(region.left, wipe_column)).clipped(height, width)


def checked_region(region: Region | None, height: int, width: int) -> Region:
    """The region, or all of a picture of that size.

    Raises:
        ValueError: No pixel is inside.
    """
    found = region or Region(0, 0, height, width)
    if found.is_empty:
        raise ValueError(f"{found} holds no pixel, so there is nothing to resample")
    return found


def checked_strength(strength: float) -> float:
    """The strength.

    Raises:
        ValueError: It is not within 0 and 1.
    """
    if not 0.0 <= strength <= 1.0:
        raise ValueError(f"strength is {strength}, expected 0 (the original) to 1 (the generated picture)")
    return strength


def frame_to_tensor(planes: Planes, size: Size, colour: Colour = BT601_LIMITED, region: Region | None = None) -> Tensor:
    """Resample a frame and convert it.

    Args:
        planes: uint8 Y [H, W], U and V [ceil(H/2), ceil(W/2)], may be strided (NV12's chroma: views with a step of 2).
        size: Height and width of the tensor.
        colour: Matrix and range of the planes.
        region: What the tensor covers, all of the picture by default. It may leave the picture, whose border is
            repeated there.

    Returns:
        float32 RGB [3, h, w] in [-1, 1]; level 0 is -1 and level 255 exactly 1.

    Raises:
        ValueError: The planes' sizes do not fit each other, or the region is empty.
    """
    wanted = checked_region(region, *check_planes(planes))
    luma, chroma = planes_to_tensor(wanted, size)
    parts = [_resampled(plane, axes) for plane, axes in zip(planes, (luma, chroma, chroma), strict=True)]
    rgb = yuv_to_rgb(np.asarray(cv2.merge(parts), np.uint8).reshape(*size, 3), colour)
    tensor = np.empty((3, *size), np.float32)
    for i in range(3):
        cv2.LUT(cv2.extractChannel(rgb, i), _UNITS, dst=tensor[i])
    return tensor


def tensor_to_frame(
    tensor: Tensor,
    planes: Planes,
    region: Region | None = None,
    strength: float = 1.0,
    colour: Colour = BT601_LIMITED,
    *,
    wipe_column: int = 0,
) -> Region:
    """Blend a generated picture into a frame, in place.

    A chroma sample is that of the mean of its (up to four) pixels, and changes only where all of them do: regions and
    wipes on even rows and columns have no fringe.

    Args:
        tensor: float32 RGB [3, h, w]; what is beyond [-1, 1] counts as its end.
        planes: uint8 Y [H, W], U and V [ceil(H/2), ceil(W/2)], writable, may be strided.
        region: What the tensor covers, all of the picture by default; what of it lies outside is left out.
        strength: How much of the new picture there is, in [0, 1]; 0 leaves every byte.
        colour: Matrix and range of the planes.
        wipe_column: Pixels to the left of it stay: a split screen.

    Returns:
        The rectangle outside of which nothing was touched.

    Raises:
        ValueError: The planes' sizes do not fit each other, the region is empty, or the strength is outside [0, 1].
    """
    height, width = check_planes(planes)
    wanted = checked_region(region, height, width)
    box = changed_box(wanted, wipe_column, height, width)
    if box.is_empty or not checked_strength(strength):
        return Region(box.top, box.left, box.top, box.left)
    rgb = _enlarged(tensor_levels(tensor), tensor_to_pixels(wanted, (tensor.shape[1], tensor.shape[2])))
    inside = rgb[box.top - wanted.top : box.bottom - wanted.top, box.left - wanted.left : box.right - wanted.left]
    whole = whole_quads(box, height, width)
    luma, *chroma = rgb_to_i420(inside, colour)
    if whole != box and not whole.is_empty:
        _, *chroma = rgb_to_i420(_within(whole, box).of(inside), colour)
    blend(box.of(planes[0]), luma, strength)
    if not whole.is_empty:
        for plane, new in zip(planes[1:], chroma, strict=True):
            blend(whole.of_chroma(plane), new, strength)
    return box


def tensor_levels(tensor: Tensor) -> Rgb:
    """To uint8 [h, w, 3], rounded."""
    scaled = [cv2.addWeighted(plane, _MIDDLE, plane, 0.0, _MIDDLE, dtype=cv2.CV_8U) for plane in tensor]
    return np.asarray(cv2.merge(scaled), np.uint8).reshape(*tensor.shape[1:], 3)


def whole_quads(box: Region, height: int, width: int) -> Region:
    """The part of a box whose chroma samples have all of their pixels in it; the last ones of an odd picture have."""
    bottom = box.bottom if box.bottom == height else box.bottom & ~1
    right = box.right if box.right == width else box.right & ~1
    return Region((box.top + 1) & ~1, (box.left + 1) & ~1, bottom, right)


def _within(inner: Region, box: Region) -> Region:
    return Region(inner.top - box.top, inner.left - box.left, inner.bottom - box.top, inner.right - box.left)


def blend(plane: Plane, new: Plane, strength: float) -> None:
    """Put so much of new bytes in the place of old ones."""
    plane[...] = new if strength == 1.0 else cv2.addWeighted(new, strength, plane, 1.0 - strength, 0.0)


def _enlarged(picture: Rgb, axes: Axes) -> Rgb:
    if max(axes.rows.scale, axes.columns.scale) > 1.0:
        return _resampled(picture, axes)
    # `cv2.resize` lays out both grids as `Axis.covering` does.
    curve = cv2.INTER_CUBIC if axes.cubic else cv2.INTER_LINEAR
    size = (axes.columns.count, axes.rows.count)
    return np.asarray(cv2.resize(picture, size, interpolation=curve), np.uint8).reshape(size[1], size[0], 3)


def _resampled(picture: Plane, axes: Axes) -> Plane:
    """Average a picture [h, w] or [h, w, 3] where it shrinks, then take its bilinear samples."""
    blocks, beside = zip(*(axis_factors(axis.scale) for axis in axes[:2]), strict=True)
    spans = [_span(axis, length) for axis, length in zip(axes[:2], picture.shape[:2], strict=True)]
    part = _block_means(picture[spans[0], spans[1]], *blocks)
    if any(beside):
        down, across = (np.array([share, 1.0 - 2.0 * share, share], np.float32) for share in beside)
        part = np.asarray(cv2.sepFilter2D(part, -1, across, down, borderType=cv2.BORDER_REPLICATE), np.uint8)
    rows, columns = (
        axis.on_blocks().moved(-span.start // block) for axis, span, block in zip(axes[:2], spans, blocks, strict=True)
    )
    return _bilinear(part, rows, columns).reshape(rows.count, columns.count, *picture.shape[2:])


def _bilinear(part: Plane, rows: Axis, columns: Axis) -> Plane:
    size = (columns.count, rows.count)
    if rows.covers(part.shape[0]) and columns.covers(part.shape[1]):
        # Half to a fifth of what a warp costs.
        return np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    to_source = np.array([[columns.scale, 0.0, columns.offset], [0.0, rows.scale, rows.offset]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(part, to_source, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _span(axis: Axis, length: int) -> slice:
    last = axis.offset + axis.scale * (axis.count - 1)
    return blocks_between(axis.offset, last, axis_factors(axis.scale)[0], length)


def _block_means(part: Plane, rows: int, columns: int) -> Plane:
    missing = -part.shape[0] % rows, -part.shape[1] % columns
    if any(missing):
        part = np.asarray(cv2.copyMakeBorder(part, 0, missing[0], 0, missing[1], cv2.BORDER_REPLICATE), np.uint8)
    while rows > 1 or columns > 1:
        down, across = min(rows, 2), min(columns, 2)
        size = (part.shape[1] // across, part.shape[0] // down)
        # Along one axis alone, half way between two pixels is their mean, and four times as fast as their area's.
        means = cv2.INTER_AREA if down == across else cv2.INTER_LINEAR
        part = np.asarray(cv2.resize(part, size, interpolation=means), np.uint8)
        rows, columns = rows // down, columns // across
    return part


def axis_weights(axis: Axis, length: int, *, cubic: bool = False) -> NDArray[np.float64]:
    """Say in NumPy what one axis of a source of that length weighs in each result: float64 [count, length].

    Means of blocks, blended with their neighbours, then between two of them on a straight line, or four on a curve.
    Beyond the border its last pixel is repeated.
    """
    block, beside = axis_factors(axis.scale)
    blocks = -(-length // block)
    at = axis.on_blocks().offset + axis.on_blocks().scale * np.arange(axis.count)
    low, far = np.floor(at).astype(np.int64), at - np.floor(at)
    between = np.zeros((axis.count, blocks))
    curve = _cubic_weights(far) if cubic else (np.zeros_like(far), 1.0 - far, far, np.zeros_like(far))
    for shift, weights in zip((-1, 0, 1, 2), curve, strict=True):
        between[np.arange(axis.count), np.clip(low + shift, 0, blocks - 1)] += weights
    beside_each = np.zeros((blocks, blocks))
    for shift, weight in ((-1, beside), (0, 1.0 - 2.0 * beside), (1, beside)):
        beside_each[np.arange(blocks), np.clip(np.arange(blocks) + shift, 0, blocks - 1)] += weight
    means = np.zeros((blocks, length))
    for pixel in range(blocks * block):
        means[pixel // block, min(pixel, length - 1)] += 1.0 / block
    return np.asarray(between @ beside_each @ means)


def _cubic_weights(far: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Of the pixels at -1, 0, 1 and 2, between 0 and 1.

    Source:
        R. Keys, "Cubic convolution interpolation for digital image processing", 1981, with a = -3/4 as in OpenCV.
    """

    def inner(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(((_CUBIC + 2.0) * x - (_CUBIC + 3.0)) * x * x + 1.0)

    def outer(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(((_CUBIC * x - 5.0 * _CUBIC) * x + 8.0 * _CUBIC) * x - 4.0 * _CUBIC)

    return outer(1.0 + far), inner(far), inner(1.0 - far), outer(2.0 - far)


def frame_to_tensor_definition(
    planes: Planes, size: Size, colour: Colour = BT601_LIMITED, region: Region | None = None
) -> NDArray[np.float64]:
    """Say in NumPy what `frame_to_tensor` means, before rounding: float64 [3, h, w]."""
    luma, chroma = planes_to_tensor(checked_region(region, *check_planes(planes)), size)
    parts = [_resampled_definition(plane, axes) for plane, axes in zip(planes, (luma, chroma, chroma), strict=True)]
    yuv1 = np.stack([*parts, np.ones(size)])
    levels = np.clip(np.tensordot(yuv_to_rgb_matrix(colour), yuv1, 1), 0.0, 255.0)
    return np.asarray((levels - _MIDDLE) / _MIDDLE)


def _resampled_definition(source: NDArray[np.uint8] | NDArray[np.float64], axes: Axes) -> NDArray[np.float64]:
    rows, columns = source.shape
    down = axis_weights(axes.rows, rows, cubic=axes.cubic)
    return np.asarray(down @ source @ axis_weights(axes.columns, columns, cubic=axes.cubic).T)


def tensor_to_frame_definition(
    tensor: Tensor,
    planes: Planes,
    region: Region | None = None,
    strength: float = 1.0,
    colour: Colour = BT601_LIMITED,
    *,
    wipe_column: int = 0,
) -> FloatPlanes:
    """Say in NumPy what `tensor_to_frame` makes of the planes, before rounding: float64 in [0, 255]."""
    height, width = check_planes(planes)
    even = height + height % 2, width + width % 2
    wanted = checked_region(region, height, width)
    box = changed_box(wanted, wipe_column, height, width)
    axes = tensor_to_pixels(wanted, (tensor.shape[1], tensor.shape[2]))
    levels = (np.clip(tensor.astype(np.float64), -1.0, 1.0) + 1.0) * _MIDDLE
    rgb, changes = np.zeros((3, height, width)), np.zeros((height, width), bool)
    for of_all, channel in zip(rgb, levels, strict=True):
        of_box = _within(box, wanted).of(np.clip(_resampled_definition(channel, axes), 0.0, 255.0))
        of_all[box.top : box.bottom, box.left : box.right] = of_box
    changes[box.top : box.bottom, box.left : box.right] = True
    padding = (0, even[0] - height), (0, even[1] - width)
    quads = np.pad(rgb, [(0, 0), *padding], mode="edge").reshape(3, even[0] // 2, 2, even[1] // 2, 2)
    all_change = np.pad(changes, padding, mode="edge").reshape(even[0] // 2, 2, even[1] // 2, 2).all(axis=(1, 3))
    matrix, means = rgb_to_yuv_matrix(colour), quads.mean(axis=(2, 4))
    new = [np.tensordot(row[:3], of, 1) + row[3] for row, of in zip(matrix, (rgb, means, means), strict=True)]
    which = (changes, all_change, all_change)
    mixed = [old + strength * each * (made - old) for old, made, each in zip(planes, new, which, strict=True)]
    return mixed[0], mixed[1], mixed[2]
