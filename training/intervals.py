"""Figures with 95 % confidence intervals, by bootstrap over stretches of frames and over clips.

Neighbouring frames are copies of each other, so frames are drawn again in blocks; a mean over clips draws the clips
again as well. Everything is seeded and repeats to the bit. With a handful of clips an interval says how much these
clips differ, and little about all persons.

Source: H. R. Künsch, "The jackknife and the bootstrap for general stationary observations", Annals of Statistics 17
(1989): moving blocks; A. C. Davison, D. V. Hinkley, "Bootstrap Methods and their Application" (1997), section 3.8:
hierarchical data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.floating[Any]]
Statistic = Callable[[Samples], Samples]
"""Samples [..., n, k] of n frames to a statistic's curve [..., m]; m is 1 for most."""

RESAMPLES = 500
BLOCK_FRAMES = 12
"""Half a second: openings of speech are hardly correlated over it."""
COVERAGE_PERCENT = (2.5, 97.5)
SEED = 7
_AT_ONCE = 25


class Interval(NamedTuple):
    """A value and its 95 % interval; not a number where the figure does not exist."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, eq=False)
class Figure:
    """One figure of one clip.

    Attributes:
        curve: [m], the statistic of the clip as it is; not a number where it does not exist.
        resampled: [RESAMPLES, m], the same of the clip's blocks, drawn again.
        read: Curves [..., m] to values [...].
    """

    curve: Samples
    resampled: Samples
    read: Statistic

    @property
    def interval(self) -> Interval:
        """The clip's own value; its interval is over frames alone."""
        return _interval(float(self.read(self.curve)), self.read(self.resampled))


def _first(curve: Samples) -> Samples:
    return np.asarray(curve[..., 0])


def figure(samples: Samples, statistic: Statistic, read: Statistic = _first, *, block: int = BLOCK_FRAMES) -> Figure:
    """Measure a clip.

    Args:
        samples: [n, k], what the statistic needs of each frame.
        statistic: Of frames.
        read: Value of a curve, by default its only point.
        block: How many neighbours are drawn again together; 1 where a sample is no frame but a moment of its own.
    """
    samples = np.asarray(samples)
    indices = _blocks(len(samples), block)
    parts = [statistic(samples[indices[at : at + _AT_ONCE]]) for at in range(0, RESAMPLES, _AT_ONCE)]
    return Figure(statistic(samples), np.concatenate(parts), read)


def averaged(figures: Sequence[Figure]) -> Figure:
    """The mean of figures of one clip, as of two foreign voices; those that do not exist are left out."""
    found = [each for each in figures if np.isfinite(each.curve).all()] or list(figures[:1])
    curve = np.mean([each.curve for each in found], axis=0)
    return Figure(curve, np.mean([each.resampled for each in found], axis=0), found[0].read)


def over_clips(figures: Sequence[Figure]) -> Interval:
    """The mean over clips; its interval draws clips, and blocks within each. Clips without the figure are left out."""
    found = [each for each in figures if np.isfinite(each.curve).all()]
    if not found:
        return Interval(np.nan, np.nan, np.nan)
    rng = np.random.default_rng(SEED)
    clips = rng.integers(len(found), size=(RESAMPLES, len(found)))
    draws = rng.integers(RESAMPLES, size=clips.shape)
    resampled = np.stack([each.resampled for each in found])[clips, draws].mean(1)
    read = found[0].read
    return _interval(float(read(np.mean([each.curve for each in found], axis=0))), read(resampled))


def _interval(value: float, resampled: Samples) -> Interval:
    finite = resampled[np.isfinite(resampled)]
    if not np.isfinite(value) or not len(finite):
        return Interval(value, np.nan, np.nan)
    low, high = np.percentile(finite, COVERAGE_PERCENT)
    return Interval(value, float(low), float(high))


def _blocks(count: int, block: int) -> NDArray[np.intp]:
    """Indices of frames, [RESAMPLES, count]: blocks one after the other; short clips have shorter ones."""
    length = max(1, min(block, count // 3))
    rng = np.random.default_rng([SEED, count])
    starts = rng.integers(count - length + 1, size=(RESAMPLES, -(-count // length)))
    return np.asarray((starts[..., None] + np.arange(length)).reshape(RESAMPLES, -1)[:, :count])


# -- statistics of frames -----------------------------------------------------------------------------


def mean(samples: Samples) -> Samples:
    """Of the first column."""
    return np.asarray(samples[..., :1].mean(-2))


def means(samples: Samples) -> Samples:
    """Of every column, [..., k]."""
    return np.asarray(samples.mean(-2))


def ratio(samples: Samples) -> Samples:
    """Sum of the first column over that of the second."""
    sums = samples.sum(-2)
    return np.asarray(sums[..., :1] / np.maximum(sums[..., 1:2], 1e-12))


def spread_ratio(samples: Samples) -> Samples:
    """Standard deviation of the first column over that of the second."""
    spread = samples.std(-2)
    return np.asarray(spread[..., :1] / np.maximum(spread[..., 1:2], 1e-12))


def psnr_db(samples: Samples) -> Samples:
    """Of mean squared errors of pictures in 0..255; at most 100 dB, which stands for equal pictures."""
    return np.asarray(10 * np.log10(255.0**2 / np.maximum(mean(samples), 255.0**2 / 1e10)))


def pearson(samples: Samples) -> Samples:
    """Correlation of the first column with each other one, [..., k - 1]; not a number where either does not move."""
    centred = samples - samples.mean(-2, keepdims=True)
    norms = np.sqrt((centred**2).sum(-2))
    products = np.einsum("...n,...nk->...k", centred[..., 0], centred[..., 1:])
    moving = norms > 1e-9 * np.sqrt(samples.shape[-2])
    both = moving[..., :1] & moving[..., 1:]
    divisor = np.where(both, norms[..., :1] * norms[..., 1:], 1.0)
    return np.asarray(np.where(both, products / divisor, np.nan))
