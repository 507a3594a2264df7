"""What a network that knows ImageNet's classes thinks of drawn pictures: two distances, under names of their own.

KD-EffLite0 is how far two sets of pictures are apart: the squared maximum mean discrepancy of their pooled features
under the kernel of KID, without bias. PD-EffLite0 is how far a picture is from its target: squared differences of
features of unit length, as in LPIPS, but no person's judgement has weighed them. Neither is comparable with FID, KID or
LPIPS.

Source: M. Bińkowski et al., "Demystifying MMD GANs", ICLR 2018 (arXiv:1801.01401): kernel; A. Gretton et al., "A Kernel
Two-Sample Test", JMLR 13 (2012), equation 4: estimator; R. Zhang et al., CVPR 2018 (arXiv:1801.03924): unit features.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.pair_batches import as_units
from training.data.pair_makers import Rgb
from training.efficientnet_lite import EfficientNetLite0
from training.intervals import COVERAGE_PERCENT, RESAMPLES, SEED, Interval

KD, PD = "KD-EffLite0", "PD-EffLite0"
DEGREE = 3
DIGITS = 6
FEWEST = 8
"""Pictures; of fewer, chance is all that a distance of sets says."""
HALVINGS = 50
Floats = NDArray[np.float64]


def perceptual_loss(network: EfficientNetLite0, drawn: Tensor, target: Tensor) -> Tensor:
    """The mean of `feature_distance` on the grids that still know where something is: a half to a sixteenth."""
    return feature_distance(network, drawn, target, stages=4).mean()


def feature_distance(network: EfficientNetLite0, drawn: Tensor, target: Tensor, stages: int | None = None) -> Tensor:
    """How different pictures look, [N]; over all stages, PD-EffLite0.

    Args:
        network: Frozen; gradients go through it to the drawn pictures.
        drawn: Float [N, 3, H, W] in [-1, 1].
        target: Likewise.
        stages: The first so many; default: all.
    """
    with torch.no_grad():
        wanted = network.stages(target)[:stages]
    parts = [
        (_of_unit_length(a) - _of_unit_length(b)).square().sum(1).mean((1, 2))
        for a, b in zip(network.stages(drawn)[:stages], wanted, strict=True)
    ]
    return torch.stack(parts).mean(0)


def _of_unit_length(features: Tensor) -> Tensor:
    return features / (features.square().sum(1, keepdim=True) + 1e-10).sqrt()


@torch.no_grad()
def picture_distances(network: EfficientNetLite0, drawn: Sequence[Rgb], targets: Sequence[Rgb]) -> Floats:
    """PD-EffLite0 of each picture, at its own size."""
    pairs = zip(drawn, targets, strict=True)
    return np.array([float(feature_distance(network, _tensor(a), _tensor(b))) for a, b in pairs])


@torch.no_grad()
def pooled_features(network: EfficientNetLite0, pictures: Sequence[Rgb]) -> Floats:
    """What KD-EffLite0 compares: [n, 1280], of pictures of any size."""
    return np.concatenate([network.pooled(_tensor(each)).numpy() for each in pictures]).astype(np.float64)


def _tensor(picture: Rgb) -> Tensor:
    return torch.from_numpy(as_units(picture))[None]


def kernel(first: Floats, second: Floats) -> Floats:
    """KID's: (x . y / d + 1)^3, [n, m]."""
    return np.asarray((first @ second.T / first.shape[1] + 1.0) ** DEGREE)


def paired_terms(drawn: Floats, real: Floats) -> Floats:
    """Of which KD-EffLite0 is the mean: [n, n], without the diagonal, where a picture meets itself or its target.

    Args:
        drawn: [n, d].
        real: [n, d], the target of each.
    """
    across = kernel(drawn, real)
    terms = kernel(drawn, drawn) + kernel(real, real) - across - across.T
    np.fill_diagonal(terms, 0.0)
    return np.asarray(terms)


def kernel_distance(terms: Floats, weights: Floats | None = None) -> Floats:
    """KD-EffLite0 of `paired_terms`; below 0 only by chance.

    Args:
        terms: [n, n].
        weights: [..., n], how often each picture counts; default: once. A copy is not compared with itself.

    Returns:
        [...].
    """
    weights = np.ones(len(terms)) if weights is None else weights
    pairs = weights.sum(-1) ** 2 - np.square(weights).sum(-1)
    return np.asarray(((weights @ terms) * weights).sum(-1) / pairs)


def resamples(count: int) -> Floats:
    """How often each of so many pictures is drawn in each resample, [RESAMPLES, count]; the same for every method."""
    drawn = np.random.default_rng(SEED).integers(count, size=(RESAMPLES, count))
    return np.stack([np.bincount(each, minlength=count) for each in drawn]).astype(np.float64)


def kernel_interval(terms: Floats) -> Interval:
    """With its 95 % interval, by bootstrap over pictures."""
    spread = kernel_distance(terms, resamples(len(terms)))
    return rounded(float(kernel_distance(terms)), spread)


def floor(real: Floats) -> Interval:
    """One half of the real pictures against the other: the mean, and the middle 95 %, of many ways to halve them.

    The distance of a set from itself is 0; how far halves of so few pictures are from it is what chance alone does.
    """
    rng, half = np.random.default_rng([SEED, 1]), len(real) // 2
    whole = kernel(real, real)
    found = []
    for _ in range(HALVINGS):
        order = rng.permutation(len(real))
        one, other = order[:half], order[half : 2 * half]
        across = whole[np.ix_(one, other)]
        terms = whole[np.ix_(one, one)] + whole[np.ix_(other, other)] - across - across.T
        np.fill_diagonal(terms, 0.0)
        found.append(float(kernel_distance(terms)))
    return rounded(float(np.mean(found)), np.array(found))


def rounded(value: float, spread: Floats) -> Interval:
    """A value and the middle 95 % of its resamples; those in which the figure does not exist are left out."""
    low, high = np.nanpercentile(spread, COVERAGE_PERCENT)
    return Interval(*(round(float(each), DIGITS) for each in (value, low, high)))
