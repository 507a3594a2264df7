"""Persons who do not exist: medians of portraits, drawn with anybody's landmarks on the layout of a portrait.

Portraits are brought to the same landmarks and pose, and the median over a group of them, pixel by pixel, is a face
that belongs to none of them. It moves by a mesh: whatever landmarks ask for is where the median's are put. Hair, ears,
neck and shoulders have the outlines of `kernels.portrait_layout`, so that a layout and its picture belong together.
Eyes, mouth, neck and clothes are painted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import LinearNDInterpolator

from kernels.crop import crop_transform
from kernels.face_layout import face_outline, in_layout
from kernels.portrait_layout import (
    PORTRAIT_BACKDROP,
    PORTRAIT_SHARE,
    RISE,
    Outline,
    head_camera,
    outlines_around,
    posed,
)
from kernels.yuv import Region
from training.data.blend_paint import covered, lay, paint_eyes, paint_mouth

Floats = NDArray[np.floating[Any]]
Points = NDArray[np.float32]
Rgb = NDArray[np.uint8]

TEXTURE_PX = 256
MEMBERS = 20
"""Portraits in a blend."""
GROUPS = 12
SEED = 3
_THUMBNAIL_PX = 32
# Rows and columns of a thumbnail that show a head.
_HEAD = np.s_[2:22, 5:27]
_COMPONENTS = 30
MESH_POINTS = 468
_CLOSED_MOUTH = 0.05
"""Gap of the inner lips over the distance of the outer eye corners."""

# Of each appearance in turn: clothes and irises.
_CLOTHES = ((58, 68, 84), (104, 52, 60), (70, 84, 74), (82, 74, 96))
_IRISES = ((82, 58, 42), (84, 96, 92), (58, 40, 30), (84, 104, 116))


def _ring(share_x: float, share_y: float, depth: float) -> Floats:
    angle = np.linspace(np.pi, 2 * np.pi, 13)
    across, up = 0.5 + share_x * np.cos(angle), 0.30 + share_y * np.sin(angle)
    return np.stack([across, up, np.full_like(angle, depth)], 1)


# Points around a face that move with the pose of the head, in the unit square with its depth.
_AROUND = np.concatenate([
    _ring(0.385, 0.46, 0.22),
    _ring(0.43, 0.60, 0.30),
    _ring(0.62, 0.85, 0.30),
    np.array([
        (0.10, 0.45, 0.33), (0.90, 0.45, 0.33), (0.20, 0.80, 0.3), (0.80, 0.80, 0.3), (0.2, 1.0, 0.3), (0.8, 1.0, 0.3),
        (0.5, 1.0, 0.2), (-0.1, 0.6, 0.3), (1.1, 0.6, 0.3), (-0.8, 1.6, 0.3), (1.8, 1.6, 0.3), (-0.8, -0.9, 0.3),
        (1.8, -0.9, 0.3), (0.5, 1.6, 0.3), (-0.8, 0.3, 0.3), (1.8, 0.3, 0.3), (0.5, -0.9, 0.3),
    ]),
])  # fmt: skip


@dataclass(frozen=True, slots=True)
class Portrait:
    """A photograph with its landmarks.

    Attributes:
        picture: uint8 RGB [H, W, 3].
        points: float32 [478, 3], pixels, depth on the scale of x.
    """

    picture: Rgb
    points: Points


@dataclass(frozen=True, slots=True)
class Appearance:
    """A person who does not exist.

    Attributes:
        texture: uint8 RGB [TEXTURE_PX, TEXTURE_PX, 3] at the landmarks of `Blends.rest`.
        skin: RGB of a cheek.
        clothes: RGB.
        iris: RGB.
    """

    texture: Rgb
    skin: tuple[float, ...]
    clothes: tuple[int, ...]
    iris: tuple[int, ...]


def in_unit_square(points: Points) -> Floats:
    """Landmarks [478, 3] where their crop has them, depth on the same scale."""
    to_crop = crop_transform(np.ascontiguousarray(points[:, :2]), 1).astype(np.float64)
    scale = np.hypot(to_crop[0, 0], to_crop[1, 0])
    # The crop of one pixel has its centre at the origin.
    places = points[:, :2] @ to_crop[:, :2].T + to_crop[:, 2] + 0.5
    return np.column_stack([places, points[:, 2] * scale])


def opening_of(points: Floats) -> float:
    """Gap of the inner lips over the distance of the outer eye corners."""
    return float(np.linalg.norm(points[14, :2] - points[13, :2]) / np.linalg.norm(points[33, :2] - points[263, :2]))


class Blends:
    """Makes appearances out of portraits, and draws them.

    Args:
        portraits: What to blend; those with closed mouths say where the landmarks of all rest.
        chosen: Which of the groups that portraits fall into, by colour, become appearances.
    """

    def __init__(self, portraits: Sequence[Portrait], chosen: Sequence[int]) -> None:
        placed = [in_unit_square(each.points) for each in portraits]
        closed = [each for each in placed if opening_of(each) < _CLOSED_MOUTH]
        self.rest: Floats = np.mean(closed or placed, 0)
        self._places = _on_texture(np.concatenate([self.rest[:MESH_POINTS, :2], _AROUND[:, :2]]))
        self.appearances = tuple(
            self._appearance(members, i) for i, members in enumerate(self._groups(portraits, chosen))
        )

    # -- appearances -------------------------------------------------------------------------------

    def _groups(self, portraits: Sequence[Portrait], chosen: Sequence[int]) -> list[NDArray[np.float32]]:
        """The pictures of each chosen group's most typical members, at rest, float32 with NaN where there is none."""
        rested = [self._rested(each) for each in portraits]
        seen = np.stack([_thumbnail(each) for each in rested])
        seen -= seen.mean(0)
        left, strength, _ = np.linalg.svd(seen, full_matrices=False)
        features = np.ascontiguousarray((left * strength)[:, :_COMPONENTS], np.float32)
        groups = min(GROUPS, len(portraits))
        cv2.setRNGSeed(SEED)
        _, label, centres = cv2.kmeans(features, groups, None, (3, 100, 1e-4), 5, cv2.KMEANS_PP_CENTERS)
        found = []
        for group in chosen:
            own = np.flatnonzero(label[:, 0] == group % groups)
            near = np.argsort(np.linalg.norm(features[own] - centres[group % groups], axis=1))
            found.append(np.stack([rested[i] for i in own[near][:MEMBERS]]))
        return found

    def _rested(self, portrait: Portrait) -> NDArray[np.float32]:
        """A portrait brought to the landmarks at rest."""
        points = portrait.points[:, :2]
        source = np.concatenate([points[:MESH_POINTS], posed(head_camera(points), _AROUND)])
        where = _carried(self._places, source, TEXTURE_PX)
        read = cv2.remap(portrait.picture, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        height, width = portrait.picture.shape[:2]
        outside = (where < 0).any(2) | (where[..., 0] > width - 1) | (where[..., 1] > height - 1)
        return np.where(outside[..., None], np.float32(np.nan), read.astype(np.float32))

    def _appearance(self, members: NDArray[np.float32], index: int) -> Appearance:
        known = np.asarray(np.isfinite(members[..., 0]).any(0), np.bool_)
        median = np.nanmedian(np.where(known[..., None], members, np.float32(0)), 0)
        texture = _only_head(median.round().astype(np.uint8), known, self._head_at_rest())
        texture = _lips_closed(texture, _on_texture(self.rest[:, :2]))
        clothes, iris = (each[index % len(each)] for each in (_CLOTHES, _IRISES))
        return Appearance(texture, _colour_at(texture, _CHEEKS), clothes, iris)

    def _head_at_rest(self) -> NDArray[np.bool_]:
        points = np.asarray(self.rest[:, :2], np.float32)
        region = _unit_region()
        return np.asarray(covered(_head_outlines(points * _UNIT, region, TEXTURE_PX), TEXTURE_PX) > 127, np.bool_)

    # -- pictures ----------------------------------------------------------------------------------

    def draw(self, appearance: Appearance, landmarks: Points, region: Region, size: int) -> Rgb:
        """Draw an appearance with some landmarks.

        Args:
            appearance: One of `appearances`.
            landmarks: float32 [478, 2], pixels of a frame.
            region: The part of the frame to draw, from `portrait_region` or near it.
            size: Side of the picture; even.
        """
        on_frame = np.concatenate([landmarks[:MESH_POINTS], posed(head_camera(landmarks), _AROUND)])
        where = _carried(in_layout(on_frame, region, (size, size)), self._places, size)
        neck, clothes, *_ = outlines_around(landmarks, region, (size, size))
        canvas = np.empty((size, size, 3), np.float32)
        canvas[...] = PORTRAIT_BACKDROP
        down = np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
        lay(canvas, np.array(appearance.skin, np.float32) * (0.62 + 0.28 * np.clip((down - 0.72) / 0.2, 0, 1)), [neck])
        lay(
            canvas,
            np.array(appearance.clothes, np.float32) * (1.12 - 0.35 * np.clip((down - 0.8) / 0.2, 0, 1)),
            [clothes],
        )
        head = cv2.remap(appearance.texture, where, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        lay(canvas, head.astype(np.float32), _head_outlines(landmarks, region, size), soft_px=0.6)
        marks = in_layout(landmarks, region, (size, size))
        paint_eyes(canvas, marks, appearance.iris)
        paint_mouth(canvas, marks)
        return np.asarray(np.clip(np.rint(canvas), 0, 255), np.uint8)


# -- geometry --------------------------------------------------------------------------------------

# Of the unit square.
_CHEEKS = np.array([(0.30, 0.52), (0.70, 0.52)])
# A unit square as pixels, so that rounding to whole ones does no harm.
_UNIT = 1000.0


def _unit_region() -> Region:
    left, top = (0.5 - PORTRAIT_SHARE / 2) * _UNIT, (0.5 - PORTRAIT_SHARE / 2 - RISE) * _UNIT
    side = PORTRAIT_SHARE * _UNIT
    return Region(round(top), round(left), round(top + side), round(left + side))


def _on_texture(places: Floats) -> Floats:
    """Points of the unit square in pixels of a texture."""
    return in_layout(places * _UNIT, _unit_region(), (TEXTURE_PX, TEXTURE_PX))


def _carried(at: Floats, source: Floats, size: int) -> NDArray[np.float32]:
    """For each pixel of a square, where it comes from when points `at` come from `source`; float32 [size, size, 2]."""
    # Of every second pixel, for that takes most of the time of a picture.
    half = size // 2
    rows, columns = 2 * np.mgrid[:half, :half] + 0.5
    found = LinearNDInterpolator(at, source)(np.stack([columns, rows], -1).reshape(-1, 2))
    coarse = np.nan_to_num(found, nan=-1.0).reshape(half, half, 2).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_LINEAR), np.float32)


def _head_outlines(landmarks: Points, region: Region, size: int) -> list[Outline]:
    oval = in_layout(landmarks[list(face_outline("skin"))], region, (size, size))
    return [*outlines_around(landmarks, region, (size, size))[2:], ("skin", oval)]


def _colour_at(texture: Rgb, places: Floats) -> tuple[float, ...]:
    """The median colour around some places of the unit square."""
    columns, rows = _on_texture(places).astype(int).T
    around = [texture[y - 4 : y + 4, x - 4 : x + 4].reshape(-1, 3) for y, x in zip(rows, columns, strict=True)]
    return tuple(float(each) for each in np.median(np.concatenate(around), 0))


def _thumbnail(rested: NDArray[np.float32]) -> NDArray[np.float32]:
    whole = np.nan_to_num(rested, nan=128.0).astype(np.uint8)
    small = cv2.resize(whole, (_THUMBNAIL_PX, _THUMBNAIL_PX), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2LAB)[_HEAD], np.float32).ravel()


# -- pixels ----------------------------------------------------------------------------------------


def _only_head(texture: Rgb, known: NDArray[np.bool_], head: NDArray[np.bool_]) -> Rgb:
    """A texture whose backdrop is overgrown by the head's own colours, so that any outline is filled with them."""
    inner = cv2.erode(head.astype(np.uint8), np.ones((25, 25), np.uint8)) > 0
    wide = cv2.dilate(head.astype(np.uint8), np.ones((21, 21), np.uint8)) > 0
    mask = np.where(head, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    mask[inner] = cv2.GC_FGD
    mask[~wide | ~known] = cv2.GC_BGD
    cv2.setRNGSeed(SEED)
    cv2.grabCut(np.ascontiguousarray(texture[..., ::-1]), mask, None, *np.zeros((2, 1, 65)), 5, cv2.GC_INIT_WITH_MASK)  # type: ignore[call-overload]
    own = ((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)).astype(np.uint8)
    own = cv2.erode(own, np.ones((3, 3), np.uint8))
    _, label = cv2.distanceTransformWithLabels(1 - own, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    at = np.zeros((int(label.max()) + 1, 3), np.uint8)
    at[label[own > 0]] = texture[own > 0]
    grown = cv2.GaussianBlur(at[label], (0, 0), 2.0)
    return np.where(own[..., None] > 0, texture, grown)


def _lips_closed(texture: Rgb, rest: Floats) -> Rgb:
    """Without what shows between lips at rest: blurred teeth."""
    between = np.zeros(texture.shape[:2], np.uint8)
    cv2.fillPoly(between, [np.rint(rest[list(face_outline("mouth"))] * 16).astype(np.int32)], 255, shift=4)
    between = cv2.dilate(between, np.ones((3, 3), np.uint8))
    return np.asarray(cv2.inpaint(texture, between, 2, cv2.INPAINT_TELEA), np.uint8)
