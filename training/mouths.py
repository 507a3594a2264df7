"""Measures of drawn mouths: opening read by the landmark networks, correlation, spread, offset, PSNR, SSIM.

They judge; nothing here takes part in training. Openings are those of `training.data.mouth`.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.face_regions import region_around
from models.landmarks import EYE_CORNERS, REGION_EXPAND, LandmarkNetworks
from training.data.mouth import mouth_opening

Pictures = NDArray[np.uint8]
Track = NDArray[np.floating[Any]]
MAX_LAG_NS = 400_000_000
LAG_STEP_NS = 5_000_000


def read_openings(networks: LandmarkNetworks, crops: Pictures, landmarks: NDArray[np.float32]) -> Track:
    """Opening of each crop.

    Args:
        networks: The product's own.
        crops: uint8 RGB [T, S, S, 3].
        landmarks: [T, 478, 2] of the original crops; they say where to look, nothing else.
    """
    readings = []
    for crop, points in zip(crops, landmarks, strict=True):
        region = region_around(points, *EYE_CORNERS, expand=REGION_EXPAND)
        readings.append(mouth_opening(networks.mesh(np.ascontiguousarray(crop), region).points[:, :2]))
    return np.array(readings)


def correlation(a: Track, b: Track) -> float:
    """Pearson's r; not a number where one of the two does not move."""
    if len(a) < 3 or a.std() < 1e-9 or b.std() < 1e-9:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def offset_ms(drawn: Track, truth: Track, pts_ns: NDArray[np.int64]) -> float:
    """Signed A/V offset of drawn lips against lips that are in sync with the sound.

    Both tracks are moved against each other in steps of 5 ms, the best correlation wins.

    Returns:
        Time of the sound minus time of the picture that belongs to it: positive when the drawn lips lead.
    """
    lags_ns = np.arange(-MAX_LAG_NS, MAX_LAG_NS + 1, LAG_STEP_NS)
    inner = (pts_ns >= pts_ns[0] + MAX_LAG_NS) & (pts_ns <= pts_ns[-1] - MAX_LAG_NS)
    if inner.sum() < 3:
        return float("nan")
    scores = [correlation(np.interp(pts_ns[inner] + lag, pts_ns, drawn), truth[inner]) for lag in lags_ns]
    if np.isnan(scores).all():
        return float("nan")
    return float(-lags_ns[int(np.nanargmax(scores))]) / 1e6


def lower_psnr_db(drawn: Pictures, truth: Pictures) -> float:
    """PSNR over the rows that the generator draws (from S // 2 on)."""
    half = drawn.shape[1] // 2
    error = drawn[:, half:].astype(np.float64) - truth[:, half:]
    return float(10 * np.log10(255.0**2 / max(float((error**2).mean()), 1e-9)))


def lower_ssim(drawn: Pictures, truth: Pictures) -> float:
    """Mean SSIM of the luma of the lower half.

    Source:
        Wang et al., "Image quality assessment", IEEE TIP 2004: Gaussian window 11 x 11, deviation 1.5.
    """
    half = drawn.shape[1] // 2
    scores = [_ssim(_luma(a[half:]), _luma(b[half:])) for a, b in zip(drawn, truth, strict=True)]
    return float(np.mean(scores))


def _luma(picture: Pictures) -> NDArray[np.float64]:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.float64)


def _ssim(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    mean_a, mean_b = _window(a), _window(b)
    var_a, var_b = _window(a * a) - mean_a**2, _window(b * b) - mean_b**2
    covariance = _window(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    top = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return float((top / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean())


def _window(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(cv2.GaussianBlur(plane, (11, 11), 1.5), np.float64)
