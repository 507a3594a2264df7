"""Whether what steadies a filter holds back what moves: a part of a still that moves before a background that does not.

Both are drawn by the same network with its memory and, each picture as the first of a film, without. The lag is found
where what is drawn changes most like what should be drawn, in the window that changes most; 0 pictures is none. What is
blended with the picture before still changes most on time: what it costs is seen in the PSNR of what moves.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.pair_makers import Rgb

LAGS = range(-3, 4)
MOVED_PX = 0.5
_WINDOW = 8
_SHORTEST = 2 * len(LAGS)


def lag_pictures(drawn: Sequence[Rgb], target: Sequence[Rgb]) -> int | None:
    """How many pictures what is drawn comes late; None of a film that is short, or in which nothing moves."""
    if len(target) < _SHORTEST:
        return None
    wanted, found = (np.stack([_light(each) for each in film]) for film in (target, drawn))
    row, column = np.unravel_index(wanted.std(0).argmax(), wanted.shape[1:])
    wanted, found = wanted[:, row, column], found[:, row, column]
    if wanted.std() < 1.0 or found.std() == 0.0:
        return None
    return max(LAGS, key=lambda lag: (_likeness(wanted, found, lag), -abs(lag)))


def moving_psnr_db(drawn: Sequence[Rgb], target: Sequence[Rgb], moved: Sequence[NDArray[np.bool_]]) -> float:
    """PSNR of the pixels that moved since the picture before, over a film without its first picture."""
    pairs = zip(drawn[1:], target[1:], moved, strict=True)
    square = np.concatenate([np.square(a[m].astype(np.float64) - b[m]).ravel() for a, b, m in pairs])
    return float(10.0 * np.log10(255.0**2 / max(float(square.mean()), 1e-12))) if square.size else float("nan")


def _light(picture: Rgb) -> NDArray[np.float64]:
    """Mean light of small windows."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    size = (max(grey.shape[1] // _WINDOW, 1), max(grey.shape[0] // _WINDOW, 1))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.float64)


def _likeness(wanted: NDArray[np.float64], found: NDArray[np.float64], lag: int) -> float:
    """Correlation of what was drawn so many pictures later; of its changes, which know no slow drift."""
    before, after = np.diff(wanted), np.diff(found)
    ours = before[max(-lag, 0) : len(before) - max(lag, 0)]
    theirs = after[max(lag, 0) : len(after) - max(-lag, 0)]
    spread = float(ours.std() * theirs.std())
    return float(((ours - ours.mean()) * (theirs - theirs.mean())).mean() / spread) if spread else -1.0
