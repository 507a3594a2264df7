"""What a clip must be to be learned from, checked once, when the cache is made.

A clip that fails is left out with its reason. Doubt is no reason: an offset that cannot be measured leaves no clip out.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.mel import COLUMN_NS
from models.mouth_cover import CROP_SIZE
from training.config import CONFIG_FOLDER, build
from training.data.cache import CachedClip, inner

HiddenShare = Callable[[NDArray[np.uint8]], float]
"""How much of the mouth in an RGB crop [64, 64, 3] is hidden, 0 to 1; `MouthCoverNetwork.hidden_share`."""

LOOK_EVERY = 5
# Sharpness depends on the size it is looked at; the smallest generator's.
LOOKED_AT_PX = 96
FARTHEST_COLUMNS = 24
LAGS = np.arange(-FARTHEST_COLUMNS, FARTHEST_COLUMNS + 1)
"""Offsets tried, in mel columns of 12.5 ms: 300 ms either way. Farther lies the next syllable, which also fits."""
RESAMPLED = 200
BLOCK_PICTURES = 12
# 20 ms: half a picture; loudness is ragged below it.
SMOOTHING_COLUMNS = 1.6


@dataclass(frozen=True, slots=True)
class Limits:
    """What is asked of a clip; `[filters]` of clips.toml.

    Attributes:
        min_pictures: With a face: a second, below which neither rest nor loudness of a person can be told.
        min_face_px: Side of the face's square in the source; below two thirds of LipGAN's 96 px the crop is made up.
        min_sharpness: Variance of the Laplacian of grey levels at 96 px. GRID, soft as it is, has 190 and more;
            blurred by a Gaussian of 1.5 px it has less than 50.
        min_luma: Median grey level of the face, 0 to 255: below, shadows hold no lips.
        max_luma: Above, skin is burnt out.
        max_hidden: Share of the mouth behind something, in the median picture; serving stops drawing at 0.65 and
            begins to doubt at 0.35.
        max_offset_ms: Between sound and lips, one way or the other: one picture at 25 a second. Training cannot
            tell a constant offset from the language, and learns it.
        max_uncertainty_ms: Width of the 90 % interval of an offset that counts as measured.
        min_correlation: Of opening and loudness at that offset, likewise.
    """

    min_pictures: int = 25
    min_face_px: float = 64.0
    min_sharpness: float = 60.0
    min_luma: float = 35.0
    max_luma: float = 225.0
    max_hidden: float = 0.5
    max_offset_ms: float = 40.0
    max_uncertainty_ms: float = 150.0
    min_correlation: float = 0.3


@dataclass(frozen=True, slots=True)
class Offset:
    """Signed offset of a clip: time of the sound minus time of the lips that it belongs to, positive: sound late.

    Attributes:
        ms: Where opening and loudness, and their changes, correlate best.
        low_ms: 5th percentile over resampled pictures.
        high_ms: 95th percentile.
        correlation: Of opening and loudness at `ms`.
    """

    ms: float
    low_ms: float
    high_ms: float
    correlation: float

    def measured(self, limits: Limits) -> bool:
        """Whether the material says where it belongs at all."""
        sure = self.high_ms - self.low_ms <= limits.max_uncertainty_ms
        return sure and self.correlation >= limits.min_correlation

    def __str__(self) -> str:
        return f"{self.ms:+.0f} ms ({self.low_ms:+.0f} to {self.high_ms:+.0f}), r {self.correlation:.2f}"


@dataclass(frozen=True, slots=True)
class ClipQuality:
    """What the filters look at.

    Attributes:
        pictures: With a face.
        face_px: Median side of the face's square in the source; None where the cache does not say.
        sharpness: Median, see `Limits`.
        luma: Median grey level of the middle of the face.
        hidden: Median hidden share of the mouth.
        offset: Of sound and lips.
    """

    pictures: int
    face_px: float | None
    sharpness: float
    luma: float
    hidden: float
    offset: Offset

    def failing(self, limits: Limits) -> str:
        """Why the clip is left out, empty where it is not."""
        size, at_least = self.face_px, limits.min_face_px
        low, high = self.offset.low_ms, self.offset.high_ms
        late = low > limits.max_offset_ms or high < -limits.max_offset_ms
        checks = (
            (
                self.pictures < limits.min_pictures,
                f"too few pictures with a face: {self.pictures}, at least {limits.min_pictures}",
            ),
            (size is not None and size < at_least, f"face too small: {size or 0:.0f} px, at least {at_least:.0f}"),
            (
                self.sharpness < limits.min_sharpness,
                f"blurred: sharpness {self.sharpness:.0f}, at least {limits.min_sharpness:.0f}",
            ),
            (self.luma < limits.min_luma, f"too dark: luma {self.luma:.0f}, at least {limits.min_luma:.0f}"),
            (self.luma > limits.max_luma, f"burnt out: luma {self.luma:.0f}, at most {limits.max_luma:.0f}"),
            (self.hidden > limits.max_hidden, f"mouth covered: {self.hidden:.2f} of it, at most {limits.max_hidden}"),
            (
                self.offset.measured(limits) and late,
                f"out of sync: sound {self.offset}, at most {limits.max_offset_ms:.0f} ms either way",
            ),
        )
        return next((reason for fails, reason in checks if fails), "")


def read_limits(table: Path = CONFIG_FOLDER / "clips.toml") -> Limits:
    """`[filters]` of the table of clips, the defaults where it has none.

    Raises:
        ConfigError: An unknown key or a value of the wrong type.
    """
    rows = tomllib.loads(table.read_text(encoding="utf-8")).get("filters", {})
    return build(Limits, rows, f"{table}: filters")


def quality_of(clip: CachedClip, hidden_share: HiddenShare) -> ClipQuality:
    """Measure a clip, every fifth picture of it, and its offset on all of them."""
    looks = [_resized(each, LOOKED_AT_PX) for each in inner(clip.crops[::LOOK_EVERY])]
    greys = [np.asarray(cv2.cvtColor(each, cv2.COLOR_RGB2GRAY), np.uint8) for each in looks]
    middle = slice(LOOKED_AT_PX // 4, -LOOKED_AT_PX // 4)
    return ClipQuality(
        pictures=len(clip.crops),
        face_px=None if clip.face_px is None else float(np.median(clip.face_px)),
        sharpness=float(np.median([cv2.Laplacian(each, cv2.CV_32F).var() for each in greys])),
        luma=float(np.median([np.median(each[middle, middle]) for each in greys])),
        hidden=float(np.median([hidden_share(_resized(each, CROP_SIZE)) for each in looks])),
        offset=offset_of(clip.opening, clip.mel, clip.pts_ns),
    )


def offset_of(opening: NDArray[np.float32], mel: NDArray[np.float32], pts_ns: NDArray[np.int64]) -> Offset:
    """Where the mouth's opening and the sound's loudness agree best, and how surely.

    Agreement is the sum of two correlations, of the curves and of their changes: the first alone takes a neighbouring
    syllable for the right one, the second alone is ragged.

    Args:
        opening: float32 [T], `mouth_opening`.
        mel: float32 [80, columns], column 0 at time 0.
        pts_ns: int64 [T], on the sound's time line.

    Returns:
        The best of 300 ms either way. The interval is a bootstrap over blocks of pictures: half a second of
        neighbours, because one picture says little that the next does not.

    Source:
        H. R. Künsch, "The jackknife and the bootstrap for general stationary observations", 1989 (blocks), closed to
        a circle as by D. N. Politis and J. P. Romano, 1992.
    """
    columns, wanted = np.arange(mel.shape[1]), pts_ns / COLUMN_NS + LAGS[:, None]
    loudness = _smoothed(mel.mean(0))
    # The first row is the clip as it is.
    weights = np.concatenate([np.ones((1, len(opening))), _resamplings(len(opening))])
    level = _correlations(weights, np.interp(wanted, columns, loudness), opening)
    opens = np.gradient(np.convolve(np.pad(opening, 1, mode="edge"), (0.25, 0.5, 0.25), "valid"))
    change = _correlations(weights, np.interp(wanted, columns, np.gradient(loudness)), opens)
    best = (level + change).argmax(1)
    found_ms = LAGS[best] * (COLUMN_NS / 1e6)
    low, high = np.percentile(found_ms[1:], [5, 95])
    return Offset(float(found_ms[0]), float(low), float(high), float(level[0, best[0]]))


def _resamplings(pictures: int) -> NDArray[np.float64]:
    """How often each picture is drawn, [200, T]."""
    rng = np.random.default_rng(0)
    starts = rng.integers(0, pictures, (RESAMPLED, -(-pictures // BLOCK_PICTURES), 1))
    drawn = ((starts + np.arange(BLOCK_PICTURES)) % pictures).reshape(RESAMPLED, -1)
    return np.stack([np.bincount(each, minlength=pictures) for each in drawn]).astype(np.float64)


def _correlations(
    weights: NDArray[np.float64], sound: NDArray[np.float64], mouth: NDArray[np.floating[Any]]
) -> NDArray[np.float64]:
    """Weighted correlation of [L, T] with [T] under weights [R, T]; [R, L], 0 where one of them does not change."""
    weights = weights / weights.sum(1, keepdims=True)
    # About their means, so that squares of what never changes stay near 0.
    x, y = sound - sound.mean(), mouth.astype(np.float64) - mouth.mean()
    mean_x, mean_y = weights @ x.T, (weights @ y)[:, None]
    covariance = (weights * y) @ x.T - mean_x * mean_y
    variances = (weights @ (x**2).T - mean_x**2) * ((weights @ y**2)[:, None] - mean_y**2)
    return np.asarray(covariance / np.sqrt(variances.clip(1e-12)))


def _smoothed(loudness: NDArray[np.float32]) -> NDArray[np.float64]:
    reach = round(3 * SMOOTHING_COLUMNS)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / SMOOTHING_COLUMNS) ** 2)
    return np.convolve(np.pad(loudness, reach, mode="edge"), kernel / kernel.sum(), "valid")


def _resized(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
