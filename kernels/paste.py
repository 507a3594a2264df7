"""The generated mouth back into the frame: a soft mask along the jaw, light met at its rim, blended in the planes.

Where the generated picture says nothing new, the frame's own fine structure and colour stay (`kernels.detail`): the
luma is moved by the smooth change instead of being replaced.
Where the mask is 0 the frame keeps its exact bytes, chroma included: a chroma
sample weighs as little as the least of its four pixels. Whoever looks at the
result must find neither a box nor a seam.
"""

import math
from functools import cache
from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.crop import Landmarks
from kernels.detail import MIDDLE, STEPS, kept_detail, kept_detail_definition
from kernels.light import match_light, match_light_definition
from kernels.warp import (
    CUBIC_QUARTER,
    LINEAR_QUARTER,
    Affine,
    Map,
    Quarter,
    bounds,
    doubled_definition,
    invert,
    merged,
    rescaled,
    shrink_factors,
    warp,
    warp_definition,
)
from kernels.yuv import (
    BT601_LIMITED,
    Colour,
    Plane,
    Planes,
    Region,
    Rgb,
    check_planes,
    rgb_to_yuv,
    rgb_to_yuv_definition,
    to_even,
)

Mask = NDArray[np.float32]
FloatPlanes = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]

# From the right cheek at the height of the nose base, inside the outline, down to the jaw, along it over the chin,
# and up to the left cheek. Cheeks nearer to the ears do not move with the mouth.
OUTLINE = np.array([187, 192, 138, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 367, 416, 411])
_LIPS = (13, 14)
OUTER_LIPS = np.array([61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185])
# Lips move within this share of the crop's side above and below where they are, and twice as far to either side.
_LIPS_REACH = 0.035
_ELLIPSE = np.array([(2.0 * math.cos(turn), math.sin(turn)) for turn in np.arange(16) * (math.tau / 16)])
# Nose base and tip: the mask begins below the lower of them.
NOSE = np.array([1, 2])
# Width of the fade from 0 to 1, as a share of the crop's side: 10 mm on a face, 5 pixels of a 96-pixel crop.
_FADE = 0.05
# How much of the crop beside the mask is looked at, as a share of its side: what is there tells how fine structure
# at the rim differs, and spares the warp its slow way beyond a picture's border.
_BESIDE = 0.04
# Lines down a pixel on which the definitions measure how much of it a shape covers.
COVERAGE_LINES = 8
# OpenCV's antialiased shapes cover as much as if their edges lay this much further out: 0.59 to 0.69 over 200
# directions of a straight edge; of 0.5 to 0.75, masks of faces are met best by 0.65 and 0.7.
DRAWN_BEYOND_PX = 0.67
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
    mask = np.zeros((size, size), np.float32)
    # Less than half is covered outside the outline, so nothing fades there.
    inside = _square_between(outline, 1, size)
    inside = inside._replace(top=max(inside.top, first_row))
    if not inside.is_empty:
        drawn = np.zeros((inside.height, inside.width), np.uint8)
        cv2.fillPoly(drawn, [_sixteenths(outline, inside)], 255, lineType=cv2.LINE_AA, shift=4)
        mask[inside.top : inside.bottom, inside.left : inside.right] = cv2.LUT(
            _blurred(drawn, fade_px(size), cv2.BORDER_CONSTANT), _FADE_CURVE
        )
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
    lips = _within(landmarks_in_crop[OUTER_LIPS], size)
    reach_px = lips_reach_px(size)
    mask = np.ones((size, size), np.float32)
    # Nothing changes further from the lips than this: twice the reach for the lips' own, once for the fade.
    near = _square_between(lips, 3 * reach_px + 3, size)
    if near.is_empty:
        return mask
    drawn = np.full((near.height, near.width), 255, np.uint8)
    around = (lips[:, None] + _ELLIPSE * reach_px).reshape(-1, 2)
    hull = cv2.convexHull(_sixteenths(around, near))
    cv2.fillConvexPoly(drawn, hull, 0, lineType=cv2.LINE_AA, shift=4)
    # Still 0 on the lips: the fade lies in the outer half of the reach.
    mask[near.top : near.bottom, near.left : near.right] = cv2.LUT(
        _blurred(drawn, reach_px, cv2.BORDER_REFLECT_101), _REST_CURVE
    )
    return mask


def _square_between(points: Landmarks | Map, margin_px: int, size: int) -> Region:
    """The rectangle around points [n, 2], with a margin, inside the crop."""
    left, top = (math.floor(low) - margin_px for low in points.min(axis=0).tolist())
    right, bottom = (math.ceil(high) + margin_px for high in points.max(axis=0).tolist())
    return Region(top, left, bottom, right).clipped(size, size)


def _sixteenths(points: Landmarks | Map, inside: Region) -> NDArray[np.int32]:
    """Points [n, 2] counted from a rectangle's corner, as OpenCV draws them with four bits of fraction."""
    return np.rint((points - (inside.left, inside.top)) * 16.0).astype(np.int32)


def _within(points: Landmarks | Map, size: int) -> Map:
    """Move points that are far outside near, where they fit OpenCV's integers."""
    return np.asarray(np.minimum(np.maximum(points, -size), 2 * size), np.float64)


def _blurred(drawn: Plane, radius_px: int, border: int) -> Plane:
    kernel = gaussian(radius_px)
    return np.asarray(cv2.sepFilter2D(drawn, -1, kernel, kernel, borderType=border), np.uint8)


@cache
def gaussian(radius_px: int) -> NDArray[np.float32]:
    """Weights [2 radius + 1] of the blur that a fade of that width is made with; their sum is 1."""
    return np.asarray(cv2.getGaussianKernel(2 * radius_px + 1, radius_px / 2, cv2.CV_32F), np.float32)


def _outline(landmarks: Landmarks, size: int) -> tuple[Map, int]:
    """Return the polygon [n, 2] to fill and the first row of it that counts."""
    jaw = landmarks[OUTLINE].astype(np.float64)
    # Cut straight between the cheeks: their points may lie below the nose of a bowed head.
    jaw[[0, -1], 1] = np.minimum(jaw[[0, -1], 1], size / 2)
    away = jaw - (landmarks[_LIPS[0]] + landmarks[_LIPS[1]]) / 2
    down = away[:, 1] / np.maximum(np.hypot(away[:, 0], away[:, 1]), 1e-6)
    jaw[:, 1] += fade_px(size) * np.maximum(down, 0.0)
    first_row = max(size // 2, math.ceil(max(landmarks[NOSE, 1].tolist())))
    return _within(jaw, size), min(first_row, size)


def fade_px(size: int) -> int:
    """Width of the mouth mask's fade, and of half its blur."""
    return max(1, round(_FADE * size))


def lips_reach_px(size: int) -> int:
    """How far above and below the lips the resting mask counts as lips; half the width of its blur."""
    return max(1, round(_LIPS_REACH * size))


def _fade(covered: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map blurred coverage to a fade without a kink that is 0 at a straight outline, where half is covered."""
    ramp = np.clip(2.0 * covered - 1.0, 0.0, 1.0)
    return ramp * ramp * (3.0 - 2.0 * ramp)


_FADE_CURVE = _fade(np.arange(256) / 255.0).astype(np.float32)
_REST_CURVE = np.clip(2.0 * np.arange(256) / 255.0 - 1.0, 0.0, 1.0).astype(np.float32)


def _without_border(mask: Mask, width_px: int = 1) -> Mask:
    mask[:width_px] = mask[-width_px:] = 0.0
    mask[:, :width_px] = mask[:, -width_px:] = 0.0
    return mask


def mouth_mask_definition(landmarks_in_crop: Landmarks, size: int) -> NDArray[np.float64]:
    """Say in NumPy what `mouth_mask` means: float64 [S, S]."""
    outline, first_row = _outline(landmarks_in_crop, size)
    covered = _coverage_definition(_grown_definition(outline), size)
    covered[:first_row] = 0.0
    mask = _fade(_blurred_definition(covered, fade_px(size), "constant"))
    mask[[0, -1]] = mask[:, [0, -1]] = 0.0
    return mask


def resting_mask_definition(landmarks_in_crop: Landmarks, size: int) -> NDArray[np.float64]:
    """Say in NumPy what `resting_mask` means: float64 [S, S]."""
    reach_px = lips_reach_px(size)
    # The ellipse is twice as wide as high, and grows by the same all around.
    half_axes = reach_px + np.array([DRAWN_BEYOND_PX / 2.0, DRAWN_BEYOND_PX])
    around = _within(landmarks_in_crop[OUTER_LIPS], size)[:, None] + _ELLIPSE * half_axes
    hull = cv2.convexHull(around.reshape(-1, 2).astype(np.float32))[:, 0].astype(np.float64)
    beside = 1.0 - _coverage_definition(hull, size)
    return np.clip(2.0 * _blurred_definition(beside, reach_px, "reflect") - 1.0, 0.0, 1.0)


def _grown_definition(polygon: Map) -> Map:
    """Move a polygon's edges to the right of their way by `DRAWN_BEYOND_PX`, its corners at most twice as far."""
    along = np.roll(polygon, -1, axis=0) - polygon
    along /= np.maximum(np.hypot(along[:, :1], along[:, 1:]), 1e-6)
    normals = np.stack([-along[:, 1], along[:, 0]], axis=1)
    both = normals + np.roll(normals, 1, axis=0)
    shares = np.maximum(np.sum(both * both, axis=1, keepdims=True) / 2.0, 0.5)
    return np.asarray(polygon + DRAWN_BEYOND_PX * both / shares, np.float64)


def _coverage_definition(polygon: Map, size: int) -> NDArray[np.float64]:
    """How much of each pixel lies in a polygon [n, 2] by the even-odd rule: exact on each of `COVERAGE_LINES`."""
    borders = np.arange(size + 1) - 0.5
    before = np.roll(polygon, 1, axis=0)
    covered = np.zeros((size, COVERAGE_LINES, size))
    for row, line in np.ndindex(size, COVERAGE_LINES):
        y = row - 0.5 + (line + 0.5) / COVERAGE_LINES
        crossing = (before[:, 1] <= y) != (polygon[:, 1] <= y)
        (x, top), (to_x, bottom) = before[crossing].T, polygon[crossing].T
        crossings = np.sort(x + (y - top) * (to_x - x) / (bottom - top))
        for left, right in crossings.reshape(-1, 2).tolist():
            covered[row, line] += np.diff(np.clip(borders, left, right))
    return np.asarray(covered.mean(axis=1))


def _blurred_definition(
    covered: NDArray[np.float64], radius_px: int, border: Literal["constant", "reflect"]
) -> NDArray[np.float64]:
    """Blur a picture [S, S]; beyond its border it is 0, or reflected without repeating the last pixel."""
    size = len(covered)
    padded = np.pad(covered, radius_px, mode=border)
    weights = gaussian(radius_px).astype(np.float64).tolist()
    rows = np.sum([weight * padded[k : k + size] for k, weight in enumerate(weights)], axis=0)
    return np.asarray(np.sum([weight * rows[:, k : k + size] for k, weight in enumerate(weights)], axis=0))


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
    before = rgb_to_yuv(original[place.part], colour)
    luma, *chroma = match_light(rgb_to_yuv(generated[place.part], colour), before, place.mask, place.part)
    if resting is None:
        weights = [np.asarray(cv2.convertScaleAbs(place.mask[place.part], alpha=255.0), np.uint8)]
    else:
        weights = _replaced_and_moved(place, luma, cv2.extractChannel(before, 0), resting)
    _blend_in_bands(
        planes,
        place.region,
        _layer([luma], weights, place.to_source),
        _layer(chroma, [], rescaled(place.to_source, from_pixel=2.0)),
        moves=resting is not None,
    )
    return place.region


def _replaced_and_moved(place: "_Place", generated: Plane, original: Plane, resting: Mask) -> list[Plane]:
    """Return how luma is replaced and moved, uint8 [h, w] each: weight of the new, and `MIDDLE` + `STEPS` x change."""
    kept, change = kept_detail(generated, original, len(place.mask))
    weights = place.mask[place.part]
    kept *= resting[place.part]
    kept *= weights
    replaced = cv2.convertScaleAbs(weights - kept, alpha=255.0)
    moved = cv2.add(cv2.multiply(kept, change, scale=STEPS), float(MIDDLE), dtype=cv2.CV_8U)
    return [np.asarray(replaced, np.uint8), np.asarray(moved, np.uint8)]


class _Place(NamedTuple):
    """Where a mask lands in a frame.

    Attributes:
        mask: float32 [S, S], its border 0.
        part: Rows and columns of the crop that are used: those of the mask and a little more.
        region: The rectangle of the frame that the mask reaches, on whole 2 x 2 blocks.
        to_source: Map from pixels of the region to pixels of the part.
    """

    mask: Mask
    part: tuple[slice, slice]
    region: Region
    to_source: Map


def _find_place(mask: Mask, to_crop: NDArray[np.float32], height: int, width: int) -> _Place:
    size, block, clear_px = len(mask), shrink_factors(to_crop)[0], _clear_px(to_crop)
    left, top, columns, rows = cv2.boundingRect(cv2.convertScaleAbs(mask, alpha=255.0))
    right, bottom = left + columns, top + rows
    if min(left, top) < clear_px or max(right, bottom) > size - clear_px:
        mask = _without_border(mask.copy(), clear_px)
        left, top = max(left, clear_px), max(top, clear_px)
        right, bottom = min(right, size - clear_px), min(bottom, size - clear_px)
    if left >= right or top >= bottom:
        return _Place(mask, (slice(0), slice(0)), Region(0, 0, 0, 0), to_crop.astype(np.float64))
    # One more pixel on each side, where the weight is 0, so that repeating the border goes on with 0.
    region = _reached(invert(to_crop), left - 1, top - 1, right + 1, bottom + 1)
    region = region.clipped(height, width).on_even_grid(height, width)
    # Blocks are counted from the crop's corner, and chroma's are twice as large.
    margin, step = max(clear_px, round(_BESIDE * size)), 2 * block
    down, across = (
        slice(max(0, first - margin) // step * step, min(size, -(-(last + margin) // step) * step))
        for first, last in ((top, bottom), (left, right))
    )
    (a, b, x), (c, d, y) = to_crop.tolist()
    x += a * region.left + b * region.top - across.start
    y += c * region.left + d * region.top - down.start
    return _Place(mask, (down, across), region, np.array([[a, b, x], [c, d, y]]))


def _clear_px(to_crop: Affine) -> int:
    """Width of the border that must be 0, so that repeating it goes on with 0 after a warp's averages."""
    block, beside = shrink_factors(to_crop)
    return 2 * block if beside else block


def _reached(to_frame: Map, left: int, top: int, right: int, bottom: int) -> Region:
    low_x, low_y, high_x, high_y = bounds(to_frame, left, top, right, bottom)
    return Region(math.floor(low_y) - 1, math.floor(low_x) - 1, math.ceil(high_y) + 2, math.ceil(high_x) + 2)


class _Layer(NamedTuple):
    """Planes on their way into one grid of the frame: a picture [h, w, 4] and the map to it from the region."""

    picture: Rgb
    to_source: Map

    def band(self, top: int, height: int, width: int) -> Rgb:
        """Return the rows of the region from `top` on, uint8 [height, width, 4]."""
        to_source = self.to_source.copy()
        to_source[:, 2] += to_source[:, 1] * top
        return warp(self.picture, to_source, height, width)


def _layer(sharp: list[Plane], smooth: list[Plane], to_source: Map) -> _Layer:
    """Put up to four planes [h, w] together; doubled first where they are enlarged, the sharp ones by cubic curves."""
    if not is_enlarged(_shrinks(to_source)):
        return _Layer(merged(*sharp, *smooth), to_source)
    doubled = [cv2.resize(plane, None, fx=2.0, fy=2.0, interpolation=cv2.INTER_CUBIC) for plane in sharp]
    doubled += [cv2.resize(plane, None, fx=2.0, fy=2.0) for plane in smooth]
    return _Layer(merged(*(np.asarray(plane, np.uint8) for plane in doubled)), rescaled(to_source, to_pixel=0.5))


def is_enlarged(scale: float) -> bool:
    """Whether so few pixels of the crop per pixel of the frame are doubled before they are warped."""
    return scale < 1.0 / _CUBIC_FROM


def _shrinks(to_source: Affine) -> float:
    return math.hypot(to_source[0, 0], to_source[1, 0])


def _blend_in_bands(planes: Planes, region: Region, luma: _Layer, chroma: _Layer, *, moves: bool) -> None:
    rows = max(2, _BAND_PIXELS // region.width & ~1)
    for top in range(0, region.height, rows):
        band = region._replace(top=region.top + top, bottom=min(region.top + top + rows, region.bottom))
        warped = luma.band(top, band.height, band.width)
        of_chroma = band.of_chroma(planes[1]).shape
        _blend(planes, band, warped, chroma.band(top // 2, *of_chroma), moves=moves)


def _blend(planes: Planes, region: Region, luma: Rgb, chroma: Rgb, *, moves: bool) -> None:
    """Mix in luma [h, w, 4] (new, its weight, how it moves) and chroma [h / 2, w / 2, 4] (blue, red)."""
    weights, old = cv2.extractChannel(luma, 1), region.of(planes[0])
    _mix(old, cv2.extractChannel(luma, 0), weights)
    if moves:
        cv2.addWeighted(old, 1.0, cv2.extractChannel(luma, 2), 1.0 / STEPS, -MIDDLE / STEPS, dst=old)
    least = np.ascontiguousarray(cv2.erode(to_even(weights), _TWO_BY_TWO, anchor=(0, 0))[::2, ::2])
    for i, plane in enumerate(planes[1:]):
        _mix(region.of_chroma(plane), cv2.extractChannel(chroma, i), least)


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
    generated: Rgb | NDArray[np.float64],
    original: Rgb | NDArray[np.float64],
    to_crop: NDArray[np.float32],
    mask: Mask,
    colour: Colour = BT601_LIMITED,
    *,
    resting: Mask | None = None,
    alpha: float = 1.0,
) -> FloatPlanes:
    """Say in NumPy what `paste_face` makes of the planes, before rounding: float64 in [0, 255].

    The pictures may have more than eight bits, in [0, 255]. `alpha` is the share of the result that is seen: at 0 the
    planes stay.
    """
    height, width = check_planes(planes)
    clear = _without_border(mask.copy(), _clear_px(to_crop))
    before = rgb_to_yuv_definition(original, colour)
    matched = match_light_definition(rgb_to_yuv_definition(generated, colour), before, clear)
    replaced, moved = clear.astype(np.float64), np.zeros(clear.shape)
    if resting is not None:
        kept, change = kept_detail_definition(matched[..., 0], before[..., 0])
        kept *= resting * replaced
        replaced, moved = replaced - kept, kept * change
    even = height + height % 2, width + width % 2
    luma = _warped_definition(matched[..., :1], to_crop, *even)[..., 0]
    chroma = _warped_definition(matched[..., 1:], rescaled(to_crop, from_pixel=2.0), even[0] // 2, even[1] // 2)
    weights, moves = np.moveaxis(
        _warped_definition(np.dstack([replaced, moved]), to_crop, *even, kernel=LINEAR_QUARTER), -1, 0
    )
    # An odd picture's last row and column count twice.
    weights[height:], weights[:, width:] = weights[height - 1 : height], weights[:, width - 1 : width]
    least = weights.reshape(even[0] // 2, 2, even[1] // 2, 2).min(axis=(1, 3))
    mixed = [planes[0] + weights[:height, :width] * (luma[:height, :width] - planes[0]) + moves[:height, :width]]
    mixed += [planes[1 + i] + least * (chroma[..., i] - planes[1 + i]) for i in (0, 1)]
    mixed = [old + alpha * (np.clip(new, 0.0, 255.0) - old) for old, new in zip(planes, mixed, strict=True)]
    return mixed[0], mixed[1], mixed[2]


def _warped_definition(
    picture: NDArray[np.float64], to_source: Affine, height: int, width: int, *, kernel: Quarter = CUBIC_QUARTER
) -> NDArray[np.float64]:
    """Resample a picture [h, w, n], doubled first where it is enlarged; what the cubic curves overshoot is cut off."""
    if is_enlarged(_shrinks(to_source)):
        picture = doubled_definition(picture, kernel)
        picture = np.clip(picture, 0.0, 255.0) if kernel == CUBIC_QUARTER else picture
        to_source = rescaled(to_source, to_pixel=0.5)
    return warp_definition(picture, to_source, height, width)
