"""Hands, fists, microphones, cups and papers that come before a mouth and go again, for tests and measurements.

They are made to look like what they are, unlike the shapes and textures that
`training/data/covers.py` draws, so that a measurement does not repeat training.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Rgb = NDArray[np.uint8]
Points = NDArray[np.float32]
Texture = NDArray[np.float32]
Plane = NDArray[np.float32]

LIPS = np.array([61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185])
CHEEKS = np.array([50, 280])


@dataclass(frozen=True, slots=True)
class Cover:
    """Something to hold before a face.

    Attributes:
        texture: float32 RGB [s, s, 3], 0 to 255.
        opacity: float32 [s, s], 0 to 1.
    """

    texture: Texture
    opacity: Plane


@dataclass(frozen=True, slots=True)
class Covered:
    """One picture of a clip into which a cover was pasted.

    Attributes:
        picture: uint8 RGB [H, W, 3].
        hidden: Share of the lips' area that the cover hides, 0 to 1.
    """

    picture: Rgb
    hidden: float


def hand(size: int, skin: Texture, random: np.random.Generator) -> Cover:
    """The back of a hand with four fingers pointing up."""
    drawn, shade = _sheet(size), np.ones((size, size), np.float32)
    cv2.ellipse(drawn, (size // 2, int(size * 0.62)), (int(size * 0.33), int(size * 0.3)), 0, 0, 360, 255, -1)
    lean = random.uniform(-0.1, 0.1) * size
    width = max(2, int(size * 0.075))
    for k in range(4):
        foot = int(size * (0.26 + 0.16 * k))
        tip = int(foot + lean), int(size * (0.12 + 0.05 * abs(k - 1.5)))
        cv2.line(drawn, (foot, int(size * 0.55)), tip, 255, 2 * width)
        gap = (foot + width, int(size * 0.6)), (tip[0] + width, int(size * 0.15))
        cv2.line(shade, *gap, 0.6, max(1, size // 60))
    return _soft(drawn, _flesh(size, skin, random) * cv2.GaussianBlur(shade, (0, 0), max(0.6, size / 120))[..., None])


def fist(size: int, skin: Texture, random: np.random.Generator) -> Cover:
    """A closed hand, knuckles up."""
    drawn, shade = _sheet(size), np.ones((size, size), np.float32)
    radius = int(size * 0.36)
    cv2.ellipse(drawn, (size // 2, size // 2), (radius, radius), 0, 0, 360, 255, -1)
    for k in range(3):
        top, bottom = (int(size * (0.32 + 0.18 * k)), int(size * 0.2)), (int(size * (0.3 + 0.18 * k)), int(size * 0.55))
        cv2.line(shade, top, bottom, 0.6, max(1, size // 40))
    return _soft(drawn, _flesh(size, skin, random) * cv2.GaussianBlur(shade, (0, 0), max(0.6, size / 80))[..., None])


def microphone(size: int, _: Texture, random: np.random.Generator) -> Cover:
    """A dark ball with a grille and a gleam, on a handle."""
    drawn = _sheet(size)
    cv2.ellipse(drawn, (size // 2, int(size * 0.4)), (int(size * 0.24), int(size * 0.28)), 0, 0, 360, 255, -1)
    cv2.rectangle(drawn, (int(size * 0.4), size // 2), (int(size * 0.6), size), 255, -1)
    y, x = np.mgrid[:size, :size]
    mesh = max(3, size // 25)
    gleam = 60 * np.exp(-((x - size * 0.42) ** 2 + (y - size * 0.3) ** 2) / (2 * (size * 0.06) ** 2))
    grey = random.uniform(10, 70) + (x // mesh + y // mesh) % 2 * random.uniform(5, 40) + gleam
    return _soft(drawn, np.repeat(grey[..., None], 3, axis=2))


def foam(size: int, _: Texture, random: np.random.Generator) -> Cover:
    """A coloured wind shield on a thin handle."""
    drawn = _sheet(size)
    cv2.ellipse(drawn, (size // 2, int(size * 0.4)), (int(size * 0.3), int(size * 0.33)), 0, 0, 360, 255, -1)
    cv2.rectangle(drawn, (int(size * 0.43), size // 2), (int(size * 0.57), size), 255, -1)
    colours = ((15, 15, 15), (180, 30, 30), (40, 60, 150), (90, 90, 90))
    colour = np.array(colours[random.integers(len(colours))], np.float32)
    return _soft(drawn, colour + _grain(size, random, 6)[..., None])


def cup(size: int, _: Texture, random: np.random.Generator) -> Cover:
    """A plain cup, lit from the front."""
    drawn = _sheet(size)
    cv2.rectangle(drawn, (int(size * 0.2), int(size * 0.12)), (int(size * 0.8), size - 1), 255, -1)
    light = np.cos(np.linspace(-1, 1, size))[None, :, None]
    return _soft(drawn, np.broadcast_to(random.uniform(60, 250, 3) * light, (size, size, 3)))


def paper(size: int, _: Texture, random: np.random.Generator) -> Cover:
    """A printed sheet."""
    drawn = _sheet(size)
    cv2.rectangle(drawn, (2, 2), (size - 3, size - 3), 255, -1)
    printed = np.full((size, size, 3), random.uniform(200, 245), np.float32)
    for row in range(size // 8, size, max(4, size // 10)):
        cv2.line(printed, (size // 8, row), (size * 7 // 8, row), (60, 60, 60), max(1, size // 60))
    return _soft(drawn, printed)


COVERS: dict[str, Callable[[int, Texture, np.random.Generator], Cover]] = {
    "hand": hand,
    "fist": fist,
    "microphone": microphone,
    "foam": foam,
    "cup": cup,
    "paper": paper,
}


def come_and_go(
    pictures: Sequence[Rgb], points: Sequence[Points], kind: str, random: np.random.Generator, *, still: int = 25
) -> list[Covered]:
    """Bring a cover before the mouth after `still` pictures, hold it for 30, take it away; 8 pictures each way.

    Args:
        pictures: uint8 RGB [H, W, 3], at least `still` + 46 to see all of it.
        points: float32 [478, 2] of the face in each, frame pixels.
        kind: A key of `COVERS`.
        random: Decides size, look, place and where it comes from.
        still: Pictures before it comes.
    """
    width_px = float(np.ptp(points[0][:, 0]))
    size = int(width_px * random.uniform(0.75, 1.15))
    cover = COVERS[kind](size, _skin(pictures[still], points[still]), random)
    away = np.array([random.choice([-1, 0, 1]), 1.0]) * size
    offset = random.uniform(-0.1, 0.1, 2) * size + (0, 0.05 * size)
    shown = []
    for i, (picture, face) in enumerate(zip(pictures, points, strict=True)):
        near = min((i - still) / 8, 1.0, (still + 46 - i) / 8)
        if near <= 0:
            shown.append(Covered(picture, 0.0))
            continue
        tremble = random.normal(0, 0.006 * size, 2)
        shown.append(_pasted(picture, face, cover, face[LIPS].mean(axis=0) + offset + tremble + away * (1 - near)))
    return shown


def _pasted(picture: Rgb, face: Points, cover: Cover, center: NDArray[np.float64]) -> Covered:
    height, width = picture.shape[:2]
    corner = center - cover.opacity.shape[0] / 2
    move = np.column_stack([np.eye(2), corner])
    opacity = cv2.warpAffine(cover.opacity, move, (width, height))
    texture = cv2.warpAffine(cover.texture, move, (width, height), borderMode=cv2.BORDER_REPLICATE)
    mixed = picture + (texture - picture) * opacity[..., None]
    lips = np.zeros((height, width), np.uint8)
    cv2.fillPoly(lips, [np.rint(face[LIPS]).astype(np.int32)], 1)
    return Covered(np.rint(mixed).astype(np.uint8), float((opacity * lips).sum() / max(1, lips.sum())))


def _skin(picture: Rgb, points: Points) -> Texture:
    """Mean colour of the cheeks."""
    columns, rows = np.clip(np.rint(points[CHEEKS]).astype(int), 0, np.array(picture.shape[1::-1]) - 1).T
    return np.asarray(picture[rows, columns].mean(axis=0), np.float32)


def _flesh(size: int, skin: Texture, random: np.random.Generator) -> Texture:
    light = np.linspace(*((1.1, 0.8) if random.random() < 0.5 else (0.85, 1.05)), size)[None, :, None]
    return np.asarray((skin * random.uniform(0.75, 1.15) + _grain(size, random, 4)[..., None]) * light, np.float32)


def _grain(size: int, random: np.random.Generator, amount: float) -> Plane:
    total = np.zeros((size, size), np.float32)
    for step, weight in ((2, 0.5), (8, 1.0), (32, 1.5)):
        cells = max(2, size // step)
        coarse = random.normal(0, weight, (cells, cells)).astype(np.float32)
        total += cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    return total * np.float32(amount)


def _sheet(size: int) -> Rgb:
    return np.zeros((size, size), np.uint8)


def _soft(drawn: Rgb, texture: NDArray[np.floating]) -> Cover:
    opacity = cv2.GaussianBlur(drawn.astype(np.float32) / 255, (0, 0), max(0.7, drawn.shape[0] / 150))
    return Cover(np.clip(texture, 0, 255).astype(np.float32), np.asarray(opacity, np.float32))
