"""How stills move: a camera that pans, turns and zooms, or one part of a picture before a background that stands still.

Every view of a still is told by maps: for each of its pixels, where it lies in the still. What moved from one view to
the next follows from two of them exactly, but for what a part uncovers.
"""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.pair_makers import Random, Rgb

Maps = NDArray[np.float32]
"""float32 [F, H, W, 2]: where each pixel of each view lies in the still, x first."""

PART_PAN, PART_TURN, PART_ZOOM = 0.02, 0.015, 0.01
"""Of the picture's side, per frame: how far a part sways, how much it turns (rad) and zooms; deviations."""

MOUTH = 0.2
"""How much a part's middle opens and closes, of its height, at most."""

_INVERSIONS = 8
_FOUND_PX = 0.1
UNSEEN = -1.0


def maps_of_views(views: NDArray[np.float64], height: int, width: int) -> Maps:
    """Of a camera, float64 [F, 2, 3]: where the pixels (x, y, 1) of each view lie in the still."""
    grid = _grid(height, width)
    places = np.concatenate([grid, np.ones_like(grid[..., :1])], -1) @ views.transpose(0, 2, 1)[:, None].astype(
        np.float32
    )
    return np.asarray(places, np.float32)


def maps_of_part(how: Random, frames: int, height: int, width: int) -> Maps:
    """Of a round part that sways, and whose middle opens and closes as a mouth does, before a still background."""
    side = min(height, width)
    centre = (np.array([width, height]) * how.uniform(0.3, 0.7, 2)).astype(np.float32)
    radii = (side * how.uniform(0.2, 0.4, 2)).astype(np.float32)
    sway, turn, zoom = how.normal(0.0, PART_PAN * side, 2), how.normal(0.0, PART_TURN), how.normal(0.0, PART_ZOOM)
    phase, pace = how.uniform(0.0, 2 * np.pi), how.uniform(0.2, 0.9)
    opening = MOUTH * how.random() * radii[1]
    grid = _grid(height, width)
    off = np.asarray(grid - centre, np.float32)
    part, middle = _bump(off / radii), _bump(off / (np.float32(0.45) * radii))
    times = np.sin(phase + pace * np.arange(frames)) - np.sin(phase)
    maps = []
    for f in range(frames):
        angle, scale = turn * times[f] / pace, np.exp(zoom * times[f] / pace)
        linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) - np.eye(2)
        moved = off @ linear.T.astype(np.float32) + (sway * times[f] / pace).astype(np.float32)
        there = grid + part[..., None] * moved
        there[..., 1] -= opening * times[f] * middle * np.tanh(off[..., 1] / 3)
        maps.append(there)
    return np.asarray(maps, np.float32)


def seen_through(picture: Rgb, view: Maps) -> Rgb:
    """A view of a still by its map [H, W, 2]; beyond the still its border is repeated."""
    border = cv2.BORDER_REPLICATE
    return np.asarray(cv2.remap(picture, view, None, cv2.INTER_CUBIC, borderMode=border), np.uint8)


def places_between(maps: Maps) -> NDArray[np.float32]:
    """Of each view but the first, where its pixels lie in the one before.

    Returns:
        float32 [F - 1, H, W, 2], x first; `UNSEEN` where they are outside of it, or nowhere.
    """
    grid = _grid(*maps.shape[1:3])
    return np.asarray([_places(before, after, grid) for before, after in pairwise(maps)], np.float32).reshape(
        -1, *maps.shape[1:]
    )


def _places(before: Maps, after: Maps, grid: Maps) -> Maps:
    """Search for the pixels of the view before that show what the view after shows."""
    places = grid + (after - before)
    for _ in range(_INVERSIONS):
        places += after - _looked_up(before, places)
    missed = np.abs(after - _looked_up(before, places)).max(-1) > _FOUND_PX
    height, width = grid.shape[:2]
    outside = (places < 0).any(-1) | (places[..., 0] > width - 1) | (places[..., 1] > height - 1)
    places[missed | outside] = UNSEEN
    return places


def _looked_up(field: Maps, places: Maps) -> Maps:
    return np.asarray(cv2.remap(field, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def _grid(height: int, width: int) -> Maps:
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    return np.stack([x, y], -1)


def _bump(off: Maps) -> NDArray[np.float32]:
    """1 in the middle of a round part and falling to 0 smoothly at its edge."""
    inside = np.clip(2.0 * (1.0 - np.sqrt((off**2).sum(-1))), 0.0, 1.0)
    return np.asarray(inside * inside * (3.0 - 2.0 * inside), np.float32)
