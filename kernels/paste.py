"""The generated mouth back into the frame: a soft mask along the jaw, light met at its rim, blended in the planes.

Where the generated picture says nothing new, the frame's own fine structure and colour stay (`kernels.detail`): the
luma is moved by the smooth change instead of being replaced.
Where the mask is 0 the frame keeps its exact bytes, chroma included: a chroma
sample weighs as little as the least of its four pixels. Whoever looks at the
result must find neither a box nor a seam.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.crop import Landmarks
from kernels.detail import MIDDLE, STEPS, kept_detail
from kernels.light import match_light, match_light_definition
from kernels.warp import Map, apply, invert, rescaled, shrink_factors, warp, warp_definition
from kernels.yuv import BT601_LIMITED, Colour, Plane, Planes, Region, Rgb, check_planes, rgb_to_yuv, to_even

Mask = NDArray[np.float32]
FloatPlanes = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]

# From the right cheek at the height of the nose base, inside the outline, down to the jaw, along it over the chin,
# and up to the left cheek. Cheeks nearer to the ears do not move with the mouth.
_JAW = np.array([187, 192, 138, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 367, 416, 411])
_LIPS = np.array([13, 14])
_OUTER_LIPS = np.array([61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185])
# Lips move within this share of the crop's side around where they are.
_LIPS_REACH = 0.035
# Nose base and tip: the mask begins below the lower of them.
_NOSE = np.array([1, 2])
# Width of the fade from 0 to 1, as a share of the crop's side: 10 mm on a face, 5 pixels of a 96-pixel crop.
_FADE = 0.05
# Enlarged by more than this, linear interpolation shows its diamonds; the first doubling is cubic then.
_CUBIC_FROM = 1.5
# Blended at a time: more, and what is between the steps leaves the second-level cache; fewer, and every warp's fixed
# 25 us count.
_BAND_PIXELS = 128_000
_TWO_BY_TWO = np.ones((2, 2), np.uint8)


def mouth_mask(landmarks_in_crop: Landmarks, size: int) -> Mask:
    """Draw where the generated picture replaces the original.

    The mask ends inside the outline of the cheeks, so that no background is touched, and a fade's width below the
    chin, so that none of an opened jaw is left when the generated one is closed.

    Args:
        landmarks_in_crop: float32 [478, 2], MediaPipe's face mesh in pixels of the crop, x first.
        size: Side S of the crop in pixels.

    Returns:
        float32 [S, S] in [0, 1]; 0 above row S // 2 and on the crop's border.
    """
    outline, first_row = _outline(landmarks_in_crop, size)
    upper = size // 2
    drawn = np.zeros((size - upper, size), np.uint8)
    points = np.rint((outline - (0, upper)) * 16.0).astype(np.int32)
    cv2.fillPoly(drawn, [points], 255, lineType=cv2.LINE_AA, shift=4)
    drawn[: first_row - upper] = 0
    fade_px = _fade_px(size)
    kernel = (2 * fade_px + 1, 2 * fade_px + 1)
    blurred = cv2.GaussianBlur(drawn, kernel, fade_px / 2, borderType=cv2.BORDER_CONSTANT)
    mask = np.zeros((size, size), np.float32)
    mask[upper:] = cv2.LUT(blurred, _FADE_CURVE)
    return _without_border(mask)


def resting_mask(landmarks_in_crop: Landmarks, size: int) -> Mask:
    """Draw where the frame's own fine structure may stay: everywhere but on and next to the lips.

    The lips are what the voice moves. Whatever of the original stayed there would show its own speech.

    Args:
        landmarks_in_crop: float32 [478, 2], MediaPipe's face mesh in pixels of the crop, x first.
        size: Side S of the crop in pixels.

    Returns:
        float32 [S, S] in [0, 1], 0 on the lips.
    """
    lips = np.clip(landmarks_in_crop[_OUTER_LIPS], -size, 2 * size)
    reach_px = max(1, round(_LIPS_REACH * size))
    mask = np.ones((size, size), np.float32)
    # Nothing changes further from the lips than this: twice the reach for the lips' own, once for the fade.
    near = 3 * reach_px + 3
    (left, top), (right, bottom) = (np.clip(edge(lips, axis=0), 0, size).astype(int) for edge in (np.min, np.max))
    left, top, right, bottom = (
        max(left - near, 0),
        max(top - near, 0),
        min(right + near, size),
        min(bottom + near, size),
    )
    if left >= right or top >= bottom:
        return mask
    drawn = np.full((bottom - top, right - left), 255, np.uint8)
    hull = cv2.convexHull(np.rint((lips - (left, top)) * 16.0).astype(np.int32))
    cv2.fillConvexPoly(drawn, hull, 0, lineType=cv2.LINE_AA, shift=4)
    reach = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (4 * reach_px + 1, 2 * reach_px + 1))
    eroded = cv2.erode(drawn, reach)
    blurred = cv2.GaussianBlur(eroded, (2 * reach_px + 1, 2 * reach_px + 1), reach_px / 2)
    # Still 0 on the lips: the fade lies in the outer half of the reach.
    mask[top:bottom, left:right] = np.clip(blurred.astype(np.float32) * (2.0 / 255.0) - 1.0, 0.0, 1.0)
    return mask


def _outline(landmarks: Landmarks, size: int) -> tuple[Map, int]:
    """Return the polygon [n, 2] to fill and the first row of it that counts."""
    jaw = landmarks[_JAW].astype(np.float64)
    # Cut straight between the cheeks: their points may lie below the nose of a bowed head.
    jaw[[0, -1], 1] = np.minimum(jaw[[0, -1], 1], size / 2)
    away = jaw - landmarks[_LIPS].mean(axis=0)
    down = away[:, 1] / np.maximum(np.hypot(away[:, 0], away[:, 1]), 1e-6)
    jaw[:, 1] += _fade_px(size) * np.clip(down, 0.0, 1.0)
    first_row = max(size // 2, math.ceil(float(landmarks[_NOSE, 1].max())))
    # Points far outside are moved near, where they fit fillPoly's integers.
    return np.clip(jaw, -size, 2 * size), min(first_row, size)


def _fade_px(size: int) -> int:
    return max(1, round(_FADE * size))


def _fade(covered: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map blurred coverage to a fade without a kink that is 0 at a straight outline, where half is covered."""
    ramp = np.clip(2.0 * covered - 1.0, 0.0, 1.0)
    return ramp * ramp * (3.0 - 2.0 * ramp)


_FADE_CURVE = _fade(np.arange(256) / 255.0).astype(np.float32)


def _without_border(mask: Mask, width_px: int = 1) -> Mask:
    mask[:width_px] = mask[-width_px:] = 0.0
    mask[:, :width_px] = mask[:, -width_px:] = 0.0
    return mask


def paste_face(
    planes: Planes,
    generated: Rgb,
    original: Rgb,
    to_crop: NDArray[np.float32],
    mask: Mask,
    colour: Colour = BT601_LIMITED,
    *,
    resting: Mask | None = None,
) -> Region:
    """Blend a generated face into a frame, in place.

    Args:
        planes: uint8 Y [H, W], U and V [ceil(H/2), ceil(W/2)], writable, may be strided.
        generated: uint8 RGB [S, S, 3].
        original: uint8 RGB [S, S, 3], what `crop_face` cut out there; the light on the mask's rim is taken from it.
        to_crop: float32 [2, 3], the map that it was cut out with.
        mask: float32 [S, S] in [0, 1]; its border counts as 0.
        colour: Matrix and range of the planes.
        resting: float32 [S, S] in [0, 1] from `resting_mask`: how much of the frame's fine structure may stay where
            the two pictures agree; None replaces all of the mask.

    Returns:
        The rectangle outside of which nothing was touched; empty where the mask misses the picture.

    Raises:
        ValueError: The planes' sizes do not fit each other, or `to_crop` has no inverse.
    """
    place = _find_place(mask, to_crop, *check_planes(planes))
    if place.region.is_empty:
        return place.region
    before = rgb_to_yuv(original, colour)
    matched = match_light(rgb_to_yuv(generated, colour), before, mask)
    stacked = cv2.merge([plane[place.part] for plane in (*matched, place.weights)])
    if place.doubled:
        stacked = cv2.resize(stacked, None, fx=2.0, fy=2.0, interpolation=cv2.INTER_CUBIC)
    moved = [] if resting is None else _moved(place, matched[0], before[..., 0], resting)
    _blend_in_bands(planes, np.asarray(stacked, np.uint8), moved, place)
    return place.region


def _moved(place: "_Place", generated: Plane, original: Plane, resting: Mask) -> list[Plane]:
    """Return how luma is replaced and moved, uint8 [h, w] each: weight of the new, and `MIDDLE` + `STEPS` x change."""
    kept, change = kept_detail(generated, original)
    kept *= resting
    weights = place.weights.astype(np.float32)
    replaced = cv2.convertScaleAbs(weights * (1.0 - kept))
    moved = np.clip(np.rint(weights * kept * change * (STEPS / 255.0)) + MIDDLE, 0, 255).astype(np.uint8)
    both = [np.asarray(plane[place.part], np.uint8) for plane in (replaced, moved)]
    if place.doubled:
        both = [np.asarray(cv2.resize(plane, None, fx=2.0, fy=2.0), np.uint8) for plane in both]
    return both


class _Place(NamedTuple):
    """Where a mask lands in a frame.

    Attributes:
        weights: The mask as uint8 [S, S].
        part: Rows and columns of the crop that are used; those of the mask, all of them when shrinking.
        region: The rectangle of the frame that they reach, on whole 2 x 2 blocks.
        to_source: Map from pixels of the region to pixels of the part, or of the doubled part.
        doubled: Whether the part is doubled first.
    """

    weights: Plane
    part: tuple[slice, slice]
    region: Region
    to_source: Map
    doubled: bool


def _find_place(mask: Mask, to_crop: NDArray[np.float32], height: int, width: int) -> _Place:
    block = shrink_factors(to_crop)[0]
    weights = np.asarray(cv2.convertScaleAbs(_without_border(mask.copy(), block), alpha=255.0), np.uint8)
    left, top, columns, rows = cv2.boundingRect(weights)
    # One more pixel on each side, where the weight is 0, so that repeating the border goes on with 0.
    left, top, right, bottom = left - 1, top - 1, left + columns + 1, top + rows + 1
    to_frame = invert(to_crop)
    region = _reached(to_frame, left, top, right, bottom) if rows else Region(0, 0, 0, 0)
    region = region.clipped(height, width).on_even_grid(height, width)
    if block > 1:
        # Blocks are counted from the crop's corner.
        left, top, bottom, right = 0, 0, *mask.shape
    to_source = to_crop.astype(np.float64)
    to_source[:, 2] += to_source[:, :2] @ (region.left, region.top) - (left, top)
    doubled = math.hypot(to_frame[0, 0], to_frame[1, 0]) > _CUBIC_FROM
    if doubled:
        to_source = rescaled(to_source, to_pixel=0.5)
    return _Place(weights, (slice(top, bottom), slice(left, right)), region, to_source, doubled)


def _reached(to_frame: Map, left: int, top: int, right: int, bottom: int) -> Region:
    corners = np.array([[left, top], [right, top], [left, bottom], [right, bottom]], np.float64)
    x, y = apply(to_frame, corners).T.tolist()
    return Region(math.floor(min(y)) - 1, math.floor(min(x)) - 1, math.ceil(max(y)) + 2, math.ceil(max(x)) + 2)


def _blend_in_bands(planes: Planes, stacked: Rgb, moved: list[Plane], place: _Place) -> None:
    region, to_source = place.region, place.to_source.copy()
    rows = max(2, _BAND_PIXELS // region.width & ~1)
    for top in range(region.top, region.bottom, rows):
        band = region._replace(top=top, bottom=min(top + rows, region.bottom))
        warped, *luma = [warp(each, to_source, band.height, band.width) for each in (stacked, *moved)]
        _blend(planes, band, warped, luma)
        to_source[:, 2] += to_source[:, 1] * rows


def _blend(planes: Planes, region: Region, warped: Rgb, moved: list[Plane]) -> None:
    """Mix Y, U and V by the weight in the fourth channel of `warped` [h, w, 4], or as `moved` says where it does."""
    whole = to_even(warped)
    weights = to_even(moved[0]) if moved else cv2.extractChannel(whole, 3)
    rows, columns = slice(region.height), slice(region.width)
    luma, new = region.of(planes[0]), cv2.extractChannel(whole, 0)[rows, columns]
    _mix(luma, new, weights[rows, columns])
    if moved:
        cv2.addWeighted(luma, 1.0, moved[1], 1.0 / STEPS, -MIDDLE / STEPS, dst=luma)
    halved = cv2.resize(whole, (whole.shape[1] // 2, whole.shape[0] // 2), interpolation=cv2.INTER_AREA)
    least = np.ascontiguousarray(cv2.erode(weights, _TWO_BY_TWO, anchor=(0, 0))[::2, ::2])
    for channel in (1, 2):
        _mix(region.of_chroma(planes[channel]), cv2.extractChannel(halved, channel), least)


def _mix(plane: Plane, new: Plane, weights: Plane) -> None:
    """Set `plane` to (w new + (255 - w) plane) / 255, rounded; exact where w is 0 or 255."""
    total = np.multiply(new, weights, dtype=np.uint16)
    total += np.multiply(plane, ~weights, dtype=np.uint16)
    total += 128
    total += total >> 8
    total >>= 8
    plane[...] = total


def paste_face_definition(
    planes: Planes,
    generated: Rgb,
    original: Rgb,
    to_crop: NDArray[np.float32],
    mask: Mask,
    colour: Colour = BT601_LIMITED,
) -> FloatPlanes:
    """Say in NumPy what `paste_face` makes of the planes, before rounding: float64 in [0, 255]."""
    height, width = check_planes(planes)
    clear = _without_border(mask.copy(), shrink_factors(to_crop)[0])
    matched = match_light_definition(rgb_to_yuv(generated, colour), rgb_to_yuv(original, colour), mask)
    stacked = np.dstack([matched, clear * 255.0])
    to_source = to_crop.astype(np.float64)
    if math.hypot(*invert(to_crop)[:, 0]) > _CUBIC_FROM:
        stacked, to_source = _doubled_definition(stacked), rescaled(to_source, to_pixel=0.5)
    even = height + height % 2, width + width % 2
    warped = warp_definition(stacked, to_source, *even)
    # An odd picture's last row and column count twice.
    warped[height:], warped[:, width:] = warped[height - 1 : height], warped[:, width - 1 : width]
    quads = warped.reshape(even[0] // 2, 2, even[1] // 2, 2, 4)
    chroma, least = quads.mean(axis=(1, 3)), quads[..., 3].min(axis=(1, 3)) / 255.0
    weights = warped[:height, :width, 3] / 255.0
    mixed = [planes[0] + weights * (warped[:height, :width, 0] - planes[0])]
    mixed += [planes[i] + least * (chroma[..., i] - planes[i]) for i in (1, 2)]
    return mixed[0], mixed[1], mixed[2]


def _doubled_definition(picture: NDArray[np.float64]) -> NDArray[np.float64]:
    """Double both sides by OpenCV's cubic kernel (a = -3/4), borders repeated, values kept in [0, 255]."""
    for axis in (0, 1):
        picture = np.moveaxis(picture, axis, 0)
        at = np.pad(picture, [(3, 3)] + [(0, 0)] * (picture.ndim - 1), mode="edge")
        count = len(picture)
        # Output 2k lies a quarter of a pixel before input k, output 2k + 1 a quarter after it.
        after = sum(w * at[2 + i : 2 + i + count] for i, w in enumerate(_CUBIC_QUARTER))
        before = sum(w * at[4 - i : 4 - i + count] for i, w in enumerate(_CUBIC_QUARTER))
        picture = np.moveaxis(np.stack([before, after], axis=1).reshape(2 * count, *picture.shape[1:]), 0, axis)
    return np.clip(picture, 0.0, 255.0)


# The cubic kernel at distances 5/4, 1/4, 3/4 and 7/4.
_CUBIC_QUARTER = (-0.10546875, 0.87890625, 0.26171875, -0.03515625)
