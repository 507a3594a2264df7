"""Things held before a mouth, drawn onto face crops with the exact share that they hide.

Shapes and textures are drawn at random from wide families rather than made to
look like hands or microphones: fingers, balls on sticks, cards, blobs; skin of
the same face, of other faces, plain, striped, dark, with folds.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.paste import mouth_mask

Rgb = NDArray[np.uint8]
Plane = NDArray[np.float32]

LIPS = np.array([61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185])
# Corners of two patches of plain skin, as shares of the crop: forehead and cheek.
_SKIN_PATCHES = ((0.12, 0.35, 0.22, 0.65), (0.38, 0.28, 0.50, 0.40))
# A hidden part of the pasted region counts this many times, a hidden part of the lips once.
_REGION_WEIGHT = 1.5


@dataclass(frozen=True, slots=True)
class Face:
    """A clean crop to draw on.

    Attributes:
        picture: uint8 RGB [S, S, 3].
        landmarks: float32 [478, 2], pixels of the crop.
    """

    picture: Rgb
    landmarks: NDArray[np.float32]


def covered(face: Face, others: Rgb, random: np.random.Generator) -> tuple[Rgb, float]:
    """Draw one thing somewhere on the lower face.

    Args:
        face: What to draw on.
        others: uint8 RGB [n, S, S, 3], crops whose pixels may serve as texture.
        random: Decides shape, texture and place.

    Returns:
        The picture and how much of the mouth is hidden, 0 to 1.
    """
    size = face.picture.shape[0]
    alpha = _shape(face, random)
    alpha = cv2.GaussianBlur(alpha, (0, 0), random.uniform(0.5, 1.5) * size / 96)
    texture = _texture(face, others, random)
    shadow = cv2.GaussianBlur(alpha, (0, 0), size / 24) * random.uniform(0, 0.35)
    ground = face.picture * (1 - shadow[..., None])
    mixed = ground * (1 - alpha[..., None]) + texture * alpha[..., None]
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8), hidden_share(face, alpha)


def hidden_share(face: Face, alpha: Plane) -> float:
    """How much of the mouth something of this opacity hides: lips, or a good part of what would be pasted."""
    size = alpha.shape[0]
    lips = np.zeros((size, size), np.uint8)
    cv2.fillPoly(lips, [np.rint(face.landmarks[LIPS]).astype(np.int32)], 1)
    of_lips = float((alpha * lips).sum() / max(1, lips.sum()))
    region = mouth_mask(face.landmarks, size)
    of_region = float((alpha * region).sum() / max(1e-3, region.sum()))
    return min(1.0, max(of_lips, _REGION_WEIGHT * of_region))


def _shape(face: Face, random: np.random.Generator) -> Plane:
    """Opacity [S, S] of a random thing near the mouth."""
    size = face.picture.shape[0]
    spread = 0.09 * size if random.random() < 0.7 else 0.3 * size
    center = face.landmarks[LIPS].mean(axis=0) + random.normal(0, spread, 2)
    reach = size * random.uniform(0.14, 0.5)
    drawn = np.zeros((size, size), np.uint8)
    (_ellipse, _stick, _fingers, _card, _blob, _polygon)[random.integers(6)](drawn, center, reach, random)
    return np.asarray(drawn, np.float32) / np.float32(255)


def _ellipse(drawn: Rgb, center: NDArray[np.float32], reach: float, random: np.random.Generator) -> None:
    axes = (int(reach * random.uniform(0.6, 1)), int(reach * random.uniform(0.6, 1)))
    cv2.ellipse(drawn, _pixel(center), axes, random.uniform(0, 180), 0, 360, 255, -1, cv2.LINE_AA)


def _stick(drawn: Rgb, center: NDArray[np.float32], reach: float, random: np.random.Generator) -> None:
    _ellipse(drawn, center, reach * 0.8, random)
    foot = center + reach * 4 * np.array([random.uniform(-0.8, 0.8), 1])
    cv2.line(drawn, _pixel(center), _pixel(foot), 255, max(2, int(reach * random.uniform(0.2, 0.9))), cv2.LINE_AA)


def _fingers(drawn: Rgb, center: NDArray[np.float32], reach: float, random: np.random.Generator) -> None:
    angle = random.uniform(0, 2 * np.pi)
    along = np.array([np.cos(angle), np.sin(angle)]) * reach * 1.6
    across = np.array([-along[1], along[0]]) * random.uniform(0.2, 0.32)
    width = max(2, int(np.linalg.norm(across) * random.uniform(0.8, 1.15)))
    for k in range(count := int(random.integers(1, 5))):
        tip = center + across * (k - (count - 1) / 2) + along * random.uniform(0.1, 0.6)
        cv2.line(drawn, _pixel(tip), _pixel(tip - along * 2), 255, width, cv2.LINE_AA)


def _card(drawn: Rgb, center: NDArray[np.float32], reach: float, random: np.random.Generator) -> None:
    sides = (2 * reach * random.uniform(0.4, 1.2), 2 * reach * random.uniform(0.6, 1.4))
    corners = cv2.boxPoints(((float(center[0]), float(center[1])), sides, random.normal(0, 25)))
    cv2.fillPoly(drawn, [np.rint(corners).astype(np.int32)], 255, cv2.LINE_AA)


def _blob(drawn: Rgb, center: NDArray[np.float32], reach: float, random: np.random.Generator) -> None:
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    waves = np.sum([random.normal(0, 0.18) * np.cos(k * angles + random.uniform(0, 6.3)) for k in (1, 2, 3, 4)], axis=0)
    points = center + (reach * (0.8 + waves))[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    cv2.fillPoly(drawn, [np.rint(points).astype(np.int32)], 255, cv2.LINE_AA)


def _polygon(drawn: Rgb, center: NDArray[np.float32], reach: float, random: np.random.Generator) -> None:
    points = cv2.convexHull((center + random.normal(0, reach * 0.7, (7, 2))).astype(np.float32))
    cv2.fillPoly(drawn, [np.rint(points).astype(np.int32)], 255, cv2.LINE_AA)


def _texture(face: Face, others: Rgb, random: np.random.Generator) -> NDArray[np.float32]:
    """float32 [S, S, 3] in about 0..255."""
    size = face.picture.shape[0]
    kind = random.random()
    if kind < 0.4:
        ground = np.broadcast_to(_skin(face.picture, random), (size, size, 3)).copy()
        ground *= random.uniform(0.6, 1.25)
    elif kind < 0.6:
        ground = _stretched(others[random.integers(len(others))], random)
    elif kind < 0.75:
        ground = np.full((size, size, 3), random.uniform(5, 80), np.float32)
    else:
        ground = np.broadcast_to(random.uniform(0, 255, 3).astype(np.float32), (size, size, 3)).copy()
    ground *= 1 + _waves(size, random)[..., None] * random.uniform(0, 0.15)
    if random.random() < 0.5:
        ground *= 1 - _lines(size, random)[..., None] * random.uniform(0.1, 0.6)
    return ground * _slope(size, random)[..., None]


def _skin(picture: Rgb, random: np.random.Generator) -> NDArray[np.float32]:
    """A pixel, or the mean, of the face's own forehead or cheek; or a stretched piece of it."""
    size = picture.shape[0]
    top, left, bottom, right = (int(share * size) for share in _SKIN_PATCHES[random.integers(2)])
    patch = picture[top:bottom, left:right].astype(np.float32)
    if random.random() < 0.5:
        return np.asarray(cv2.resize(patch, (size, size), interpolation=cv2.INTER_LINEAR), np.float32)
    return np.asarray(patch.mean(axis=(0, 1)), np.float32)


def _stretched(picture: Rgb, random: np.random.Generator) -> NDArray[np.float32]:
    """A random piece of a picture, enlarged to the whole square, often turned upside down."""
    size = picture.shape[0]
    side = int(size * random.uniform(0.15, 0.6))
    top, left = random.integers(0, size - side, 2)
    piece = picture[top : top + side, left : left + side][:: random.choice([1, -1])]
    enlarged = cv2.resize(np.ascontiguousarray(piece), (size, size), interpolation=cv2.INTER_LINEAR)
    return np.asarray(enlarged, np.float32)


def _waves(size: int, random: np.random.Generator) -> Plane:
    cells = int(random.choice([4, 8, 24, 48]))
    coarse = random.normal(0, 1, (cells, cells)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), np.float32)


def _lines(size: int, random: np.random.Generator) -> Plane:
    """Folds, gaps between fingers, print, grille."""
    drawn = np.zeros((size, size), np.uint8)
    angle, step = random.uniform(0, np.pi), size * random.uniform(0.04, 0.25)
    along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    for k in range(-int(size / step), int(size / step) + 1):
        middle = np.array([size / 2, size / 2]) + across * (k * step)
        ends = _pixel(middle - along * size), _pixel(middle + along * size)
        cv2.line(drawn, *ends, 255, int(random.integers(1, 3)), cv2.LINE_AA)
    return np.asarray(cv2.GaussianBlur(drawn, (0, 0), random.uniform(0.4, 2)), np.float32) / np.float32(255)


def _slope(size: int, random: np.random.Generator) -> Plane:
    """Light from one side."""
    x, y = np.meshgrid(np.linspace(-1, 1, size), np.linspace(-1, 1, size))
    return np.asarray(1 + random.normal(0, 0.15) * x + random.normal(0, 0.15) * y, np.float32)


def _pixel(point: NDArray[np.float32] | NDArray[np.float64]) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))
