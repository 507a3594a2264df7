"""How much a filter flickers: what is left between neighbouring pictures when the motion is taken out.

The warp error is the mean absolute difference of a picture and the next one, looked up where its pixels were, over
pixels that are visible in both, in levels of 0..255. The source's own, and that of what should be drawn, stand beside
it: interpolation and the material have their part in each.

Source: W.-S. Lai et al., "Learning blind video temporal consistency", ECCV 2018 (warping error); N. Sundaram, T. Brox,
K. Keutzer, "Dense point trajectories by GPU-accelerated large displacement optical flow", ECCV 2010 (what is hidden, by
flow there and back); T. Kroeger et al., "Fast optical flow using dense inverse search", ECCV 2016, in OpenCV.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.pair_makers import Rgb

Flow = NDArray[np.float32]
"""float32 [H, W, 2]: where each pixel lies in the picture before, x first."""
Mask = NDArray[np.bool_]


def affine_flow(motion: NDArray[np.float32], height: int, width: int) -> tuple[Flow, Mask]:
    """Places by a motion [2, 3] of `PairBatch`, and which of them are inside."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    places = np.stack([x, y, np.ones_like(x)], -1) @ motion.T
    return places, _inside(places)


def film_flow(before: Rgb, after: Rgb) -> tuple[Flow, Mask]:
    """Places by dense inverse search, and where the way there and back agrees."""
    grey = [cv2.cvtColor(each, cv2.COLOR_RGB2GRAY) for each in (before, after)]
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    back = np.asarray(search.calc(grey[1], grey[0], None), np.float32)
    there = np.asarray(search.calc(grey[0], grey[1], None), np.float32)
    y, x = np.mgrid[0 : before.shape[0], 0 : before.shape[1]].astype(np.float32)
    places = back + np.stack([x, y], -1)
    there_from = cv2.remap(there, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    difference = np.square(back + there_from).sum(-1)
    limit = 0.01 * (np.square(back).sum(-1) + np.square(there_from).sum(-1)) + 0.5
    return places, _inside(places) & (difference < limit)


def _inside(places: Flow) -> Mask:
    height, width = places.shape[:2]
    x, y = places[..., 0], places[..., 1]
    return np.asarray((x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1))


def warp_errors(film: Sequence[Rgb], flows: Sequence[tuple[Flow, Mask]]) -> list[float]:
    """Of each picture but the first, in levels."""
    errors = []
    for (before, after), (places, seen) in zip(pairwise(film), flows, strict=True):
        moved = cv2.remap(before.astype(np.float32), places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        difference = np.abs(moved - after.astype(np.float32)).mean(-1)
        errors.append(float(difference[seen].mean()) if seen.any() else float("nan"))
    return errors
