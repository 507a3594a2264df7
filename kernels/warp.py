"""Affine maps and the one resampling that crops and pastes share: bilinear, averaging where it shrinks.

Maps are float [2, 3], x first; whole numbers are the centres of pixels. Beyond
its border a picture repeats its last row and column.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

Affine = NDArray[np.float32] | NDArray[np.float64]
Map = NDArray[np.float64]
Picture = NDArray[np.uint8]

# What doubling weighs the pixels at distances 5/4, 1/4, 3/4 and 7/4 with: OpenCV's cubic curve (a = -3/4), and a
# straight line.
Quarter = tuple[float, float, float, float]
CUBIC_QUARTER: Quarter = (-0.10546875, 0.87890625, 0.26171875, -0.03515625)
LINEAR_QUARTER: Quarter = (0.0, 0.75, 0.25, 0.0)
# Beyond this many source pixels per target pixel, one bilinear sample leaves too much out.
_ONE_SAMPLE_REACHES = 1.2
# What is left then of a wave as short as the target can hold, as it would be in the mean of four samples a pixel.
_SHORTEST_WAVE = math.sqrt(0.5)


def invert(affine: Affine) -> Map:
    """Return the map back.

    Raises:
        ValueError: The map flattens the plane, so there is no way back.
    """
    (a, b, x), (c, d, y) = affine.tolist()
    determinant = a * d - b * c
    if not abs(determinant) > 0.0:
        raise ValueError(f"affine map {affine.tolist()} has no inverse: its determinant is {determinant}")
    a, b, c, d = d / determinant, -b / determinant, -c / determinant, a / determinant
    return np.array([[a, b, -a * x - b * y], [c, d, -c * x - d * y]])


def apply(affine: Affine, points: NDArray[np.float32] | Map) -> Map:
    """Map points [n, 2], x first."""
    return np.asarray(points @ affine[:, :2].T.astype(np.float64) + affine[:, 2], np.float64)


def rescaled(affine: Affine, *, from_pixel: float = 1.0, to_pixel: float = 1.0) -> Map:
    """Return the same map between grids whose pixels are that many times as large as before."""
    (a, b, x), (c, d, y) = affine.tolist()
    # The centre of pixel k of a grid s times as coarse lies at s k + (s - 1) / 2 on the old grid.
    before, after = (from_pixel - 1.0) / 2.0, (to_pixel - 1.0) / 2.0
    x, y = (x + (a + b) * before - after) / to_pixel, (y + (c + d) * before - after) / to_pixel
    scale = from_pixel / to_pixel
    return np.array([[a * scale, b * scale, x], [c * scale, d * scale, y]])


def shrink_factors(to_source: Affine) -> tuple[int, float]:
    """Return how a warp averages: over f x f blocks of the source, then over each block's neighbours.

    f is the greatest power of two within the number of source pixels per target pixel. Along rows and columns either
    neighbour weighs a, the block itself 1 - 2 a; a is 0 where one bilinear sample reaches far enough. A map that
    scales its axes differently is averaged by the geometric mean of the two: `kernels.frame_tensor` has them apart.
    """
    (a, b, _), (c, d, _) = to_source.tolist()
    return axis_factors(math.sqrt(abs(a * d - b * c)))


def axis_factors(scale: float) -> tuple[int, float]:
    """`shrink_factors` along one axis, where a target pixel has `scale` source pixels."""
    if scale <= _ONE_SAMPLE_REACHES:
        return 1, 0.0
    block = 1 << math.floor(math.log2(scale))
    if scale / block <= _ONE_SAMPLE_REACHES:
        return block, 0.0
    return block, (1.0 - _SHORTEST_WAVE) / (2.0 - 2.0 * math.cos(math.pi * block / scale))


def warp(source: Picture, to_source: Affine, height: int, width: int) -> Picture:
    """Resample a picture.

    Args:
        source: uint8 [H, W] or [H, W, C], may be strided.
        to_source: Map from pixels of the result to pixels of the source.
        height: Rows of the result.
        width: Columns of the result.

    Returns:
        uint8 [height, width] or [height, width, C]; where the source is finer, the mean over each pixel's footprint.
    """
    block, beside = shrink_factors(to_source)
    if block > 1 or beside:
        source, to_source = _averaged(source, to_source, block, height, width)
    if beside:
        weights = np.array([beside, 1.0 - 2.0 * beside, beside], np.float32)
        source = np.asarray(cv2.sepFilter2D(source, -1, weights, weights, borderType=cv2.BORDER_REPLICATE), np.uint8)
    return _bilinear(source, to_source, height, width)


def _bilinear(source: Picture, to_source: Affine, height: int, width: int) -> Picture:
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(source, to_source, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, np.uint8).reshape(height, width, *source.shape[2:])


def _averaged(source: Picture, to_source: Affine, block: int, height: int, width: int) -> tuple[Picture, Map]:
    """Average the part of the source that is looked at over blocks; return it with the map to it."""
    rows, columns = reached(to_source, height, width, *source.shape[:2])
    part = source[rows, columns]
    missing = -part.shape[0] % block, -part.shape[1] % block
    if any(missing):
        part = cv2.copyMakeBorder(part, 0, missing[0], 0, missing[1], cv2.BORDER_REPLICATE)
    to_source = shifted(to_source, -columns.start, -rows.start)
    while block > 1:
        part = cv2.resize(part, (part.shape[1] // 2, part.shape[0] // 2), interpolation=cv2.INTER_AREA)
        to_source = rescaled(to_source, to_pixel=2.0)
        block //= 2
    return np.asarray(part, np.uint8), np.asarray(to_source, np.float64)


def reached(to_source: Affine, height: int, width: int, rows: int, columns: int) -> tuple[slice, slice]:
    """Return the rows and columns of a source [rows, columns] that a warp may look at, in whole blocks as it averages.

    At least one block; the last one ends with the source.
    """
    block, _ = shrink_factors(to_source)
    left, top, right, bottom = bounds(to_source, 0, 0, width - 1, height - 1)
    return blocks_between(top, bottom, block, rows), blocks_between(left, right, block, columns)


def bounds(affine: Affine, left: float, top: float, right: float, bottom: float) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of what a rectangle is mapped to."""
    (a, b, x), (c, d, y) = affine.tolist()
    across = [a * u + b * v + x for u in (left, right) for v in (top, bottom)]
    down = [c * u + d * v + y for u in (left, right) for v in (top, bottom)]
    return min(across), min(down), max(across), max(down)


def blocks_between(low: float, high: float, block: int, length: int) -> slice:
    """Return the part of an axis, in whole blocks, that samples from `low` to `high` may look at; at least one."""
    margin = 2 * block
    first = max(min(math.floor(low), length - 1) - margin, 0) // block
    stop = min(max(math.ceil(high), 1) + margin, length)
    return slice(first * block, min(-(-stop // block) * block, length))


def halved(source: Picture, rows: slice, columns: slice) -> Picture:
    """Average a plane over 2 x 2 pixels; `rows` and `columns` are those wanted of the result."""
    part = source[2 * rows.start : 2 * rows.stop, 2 * columns.start : 2 * columns.stop]
    missing = part.shape[0] % 2, part.shape[1] % 2
    if any(missing):
        part = cv2.copyMakeBorder(part, 0, missing[0], 0, missing[1], cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(part, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)


def merged(*planes: Picture) -> Picture:
    """Put one to four planes [h, w] into one picture of four channels [h, w, 4]; the last one fills what is left.

    A warp of four channels costs what one of a single channel does, and less than half of one of two or three
    (192 x 192: 77, 67, 242 and 195 us).
    """
    # Of a view whose width is no multiple of 16, OpenCV merges byte by byte.
    whole = [np.ascontiguousarray(plane) for plane in planes]
    whole += whole[-1:] * (4 - len(whole))
    return np.asarray(cv2.merge(whole), np.uint8).reshape(*planes[0].shape, 4)


def shifted(to_source: Affine, x: float, y: float) -> Map:
    """Return the map with its results moved by that much."""
    moved = to_source.astype(np.float64)
    moved[0, 2] += x
    moved[1, 2] += y
    return moved


def warp_definition(
    source: NDArray[np.uint8] | NDArray[np.float64], to_source: Affine, height: int, width: int
) -> NDArray[np.float64]:
    """Say in NumPy what `warp` means, before rounding: float64 in [0, 255]."""
    block, beside = shrink_factors(to_source)
    rows, columns = source.shape[:2]
    padding = [(0, -rows % block), (0, -columns % block)] + [(0, 0)] * (source.ndim - 2)
    padded = np.pad(source.astype(np.float64), padding, mode="edge")
    blocks = padded.reshape(padded.shape[0] // block, block, padded.shape[1] // block, block, *source.shape[2:])
    reduced = blocks.mean(axis=(1, 3))
    for axis in (0, 1):
        wide = np.pad(reduced, [(1, 1) if a == axis else (0, 0) for a in range(source.ndim)], mode="edge")
        before, after = (np.delete(wide, ends, axis) for ends in ([-1, -2], [0, 1]))
        reduced = (1.0 - 2.0 * beside) * reduced + beside * (before + after)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    points = np.stack([x, y], axis=-1) @ to_source[:, :2].T.astype(np.float64) + to_source[:, 2]
    return _bilinear_definition(reduced, (points + 0.5) / block - 0.5)


def _bilinear_definition(picture: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    floor = np.floor(points)
    fraction = points - floor
    columns, rows = (floor[..., i].astype(np.int64) for i in (0, 1))
    fx, fy = (fraction[..., i].reshape(*columns.shape, *[1] * (picture.ndim - 2)) for i in (0, 1))

    def at(down: int, right: int) -> NDArray[np.float64]:
        inside = np.clip(rows + down, 0, picture.shape[0] - 1), np.clip(columns + right, 0, picture.shape[1] - 1)
        return np.asarray(picture[inside], np.float64)

    upper = at(0, 0) * (1 - fx) + at(0, 1) * fx
    lower = at(1, 0) * (1 - fx) + at(1, 1) * fx
    return upper * (1 - fy) + lower * fy


def doubled_definition(picture: NDArray[np.float64], kernel: Quarter) -> NDArray[np.float64]:
    """Say in NumPy how a picture [h, w, ...] is doubled: by a kernel along both sides, borders repeated."""
    for axis in (0, 1):
        picture = np.moveaxis(picture, axis, 0)
        at = np.pad(picture, [(3, 3)] + [(0, 0)] * (picture.ndim - 1), mode="edge")
        count = len(picture)
        # Output 2k lies a quarter of a pixel before input k, output 2k + 1 a quarter after it.
        after = sum(w * at[2 + i : 2 + i + count] for i, w in enumerate(kernel))
        before = sum(w * at[4 - i : 4 - i + count] for i, w in enumerate(kernel))
        picture = np.moveaxis(np.stack([before, after], axis=1).reshape(2 * count, *picture.shape[1:]), 0, axis)
    return picture
