"""Measures of drawn mouths, frame by frame: landmarks, opening, distance, motion, sharpness, PSNR, SSIM, offset.

They judge; nothing here takes part in training. Openings are those of `training.data.mouth`, lengths are shares of the
distance between the outer eye corners.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.paste import resting_mask
from models.face_regions import region_around
from models.landmarks import EYE_CORNERS, REGION_EXPAND, LandmarkNetworks
from training.data.mouth import mouth_opening
from training.intervals import Samples, pearson

Pictures = NDArray[np.uint8]
Points = NDArray[np.float32]
Track = NDArray[np.floating[Any]]

# fmt: off
LIPS = np.array([
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185,
    78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191,
])
# fmt: on
"""The 20 points of the outer contour of the lips and the 20 of the inner one."""

MAX_LAG_NS = 400_000_000
LAG_STEP_NS = 5_000_000
LAGS_NS = np.arange(-MAX_LAG_NS, MAX_LAG_NS + 1, LAG_STEP_NS)


def read_points(networks: LandmarkNetworks, pictures: Pictures, landmarks: Points) -> Points:
    """Landmarks of each picture, read afresh.

    Args:
        networks: The product's own.
        pictures: uint8 RGB [T, M, M, 3].
        landmarks: [>= T, 478, 2] of the original pictures; they say where to look, nothing else.

    Returns:
        float32 [T, 478, 2], pixels.
    """
    readings = []
    for picture, points in zip(pictures, landmarks, strict=False):
        region = region_around(points, *EYE_CORNERS, expand=REGION_EXPAND)
        readings.append(networks.mesh(np.ascontiguousarray(picture), region).points[:, :2])
    return np.stack(readings)


def openings(points: Points) -> Track:
    """Opening of each mouth, [T]."""
    return np.array([mouth_opening(each) for each in points])


def correlation(a: Track, b: Track) -> float:
    """Pearson's r; not a number where one of the two does not move."""
    return float("nan") if len(a) < 3 else float(pearson(np.stack([a, b], -1))[0])


def eye_distances(points: Points) -> Track:
    """Distance between the outer eye corners, [T] in pixels."""
    left, right = EYE_CORNERS
    return np.asarray(np.linalg.norm(points[:, left] - points[:, right], axis=-1))


def lip_distances_percent(drawn: Points, truth: Points) -> Track:
    """How far the lips are from where they were, [T]: mean over `LIPS`, in % of the true eye distance.

    Both were read on one grid of pixels and are not aligned to each other: a mouth in the wrong place is wrong.
    """
    away = np.linalg.norm(drawn[:, LIPS] - truth[:, LIPS], axis=-1).mean(-1)
    return np.asarray(100 * away / eye_distances(truth))


def lip_jitter(points: Points) -> Track:
    """Magnitude of the second difference of the lips' places, [T - 2]: mean over `LIPS`, in eye distances.

    Speech bends too; it is the ratio to the original's that says how much of it is trembling.
    """
    bends = points[2:, LIPS] - 2 * points[1:-1, LIPS] + points[:-2, LIPS]
    return np.asarray(np.linalg.norm(bends, axis=-1).mean(-1) / eye_distances(points)[1:-1])


def lagged(drawn: Track, truth: Track, pts_ns: NDArray[np.int64]) -> Samples:
    """The true track beside the drawn one at every lag of `LAGS_NS`, [n, 1 + lags]; n is 0 for a clip too short."""
    inner = (pts_ns >= pts_ns[0] + MAX_LAG_NS) & (pts_ns <= pts_ns[-1] - MAX_LAG_NS)
    moved = [np.interp(pts_ns[inner] + lag, pts_ns, drawn) for lag in LAGS_NS]
    return np.stack([truth[inner], *moved], -1).astype(np.float64)


def best_offset_ms(correlations: Samples) -> Samples:
    """Signed A/V offset of drawn lips against lips that are in sync with the sound.

    Args:
        correlations: [..., lags], of what `lagged` gives.

    Returns:
        [...], time of the sound minus time of the picture that belongs to it: positive when the drawn lips lead. Not
        a number where nothing correlates.
    """
    known = np.isfinite(correlations).any(-1)
    best = np.argmax(np.where(np.isfinite(correlations), correlations, -2.0), -1)
    return np.asarray(np.where(known, -LAGS_NS[best] / 1e6, np.nan))


def narrowest(opening: Track, pts_ns: NDArray[np.int64], spans_ns: NDArray[np.int64]) -> Track:
    """The least opening within each span, [n].

    Args:
        opening: [T] at `pts_ns`; straight lines between pictures, so that their rate does not decide.
        pts_ns: int64 [T].
        spans_ns: int64 [n, 2], first and last instant of each; both lie between the first picture and the last, or the
            nearest picture stands for them.
    """
    ends = np.interp(spans_ns, pts_ns, opening).min(-1)
    inside = (pts_ns >= spans_ns[:, :1]) & (pts_ns <= spans_ns[:, 1:])
    return np.asarray(np.minimum(ends, np.where(inside, opening, np.inf).min(-1)))


def lower_errors(drawn: Pictures, truth: Pictures) -> Track:
    """Mean squared error of crops [T, S, S, 3] over the rows that hold mouth and jaw (from S // 2 on), [T]."""
    half = drawn.shape[1] // 2
    pairs = zip(drawn[:, half:], truth[:, half:], strict=True)
    return np.array([np.square(a.astype(np.float32) - b).mean() for a, b in pairs])


def lower_ssim(drawn: Pictures, truth: Pictures) -> Track:
    """SSIM of the luma of the same rows, [T].

    Source:
        Wang et al., "Image quality assessment", IEEE TIP 2004: Gaussian window 11 x 11, deviation 1.5.
    """
    half = drawn.shape[1] // 2
    return np.array([ssim(_luma(a[half:]), _luma(b[half:])) for a, b in zip(drawn, truth, strict=True)])


def sharpness(pictures: Pictures, landmarks: Points) -> Track:
    """Variance of the Laplacian (4 neighbours) of luma on the lips, [T].

    Args:
        pictures: uint8 RGB [T, M, M, 3].
        landmarks: [>= T, 478, 2] of the original pictures: where its outer lips were, grown by 3.5 % of the picture's
            side, is looked at in all pictures that are compared.
    """
    values = []
    for picture, points in zip(pictures, landmarks, strict=False):
        lips = resting_mask(points, len(picture)) < 0.5
        values.append(cv2.Laplacian(_luma(picture), cv2.CV_64F)[lips].var())
    return np.array(values)


def _luma(picture: Pictures) -> NDArray[np.float64]:
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY), np.float64)


def ssim(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Of planes [H, W] in 0..255, see `lower_ssim`."""
    mean_a, mean_b = _window(a), _window(b)
    var_a, var_b = _window(a * a) - mean_a**2, _window(b * b) - mean_b**2
    covariance = _window(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    top = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return float((top / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean())


def _window(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(cv2.GaussianBlur(plane, (11, 11), 1.5), np.float64)
