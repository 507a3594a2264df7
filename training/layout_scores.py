"""How well pixels keep to a layout: intersection over union of each class, with intervals over pictures.

Pixels that the layout gives to the class that does not count are left out, whatever they are taken for.

Source: M. Everingham et al., "The PASCAL Visual Object Classes Challenge", IJCV 111 (2015), section 4.2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.data.layout_pairs import Ids
from training.intervals import COVERAGE_PERCENT, Interval
from training.measured import Floats, Measured
from training.perceptual import resamples

Counts = NDArray[np.int64]
MEAN_IOU = "mIoU"
DIGITS = 4


def confusion(truth: Ids, found: Ids, classes: int, dont_care: int) -> Counts:
    """How many pixels of each class were taken for which: int64 [classes, classes], truth first.

    Raises:
        ValueError: The sizes differ, or an id is no class.
    """
    if truth.shape != found.shape:
        raise ValueError(f"the layout is {truth.shape}, what was found {found.shape}")
    if max(int(truth.max()), int(found.max())) >= classes:
        raise ValueError(f"ids up to {max(truth.max(), found.max())}, expected 0 to {classes - 1}")
    counts = truth != dont_care
    flat = truth[counts].astype(np.int64) * classes + found[counts]
    return np.bincount(flat, minlength=classes**2).reshape(classes, classes)


def ious(counted: NDArray[np.generic]) -> Floats:
    """Of each class, [..., classes]; not a number for a class that no layout has.

    Args:
        counted: [..., classes, classes], sums of `confusion`.
    """
    counts = np.asarray(counted, np.float64)
    hit = np.diagonal(counts, axis1=-2, axis2=-1)
    wanted = counts.sum(-1)
    either = wanted + counts.sum(-2) - hit
    return np.where(wanted > 0, hit / np.maximum(either, 1.0), np.nan)


def class_intervals(per_picture: Counts, names: tuple[str, ...]) -> dict[str, Interval]:
    """Each class that is there, then "mIoU", their mean; intervals by bootstrap over pictures.

    Args:
        per_picture: [n, classes, classes].
        names: Of the classes.
    """
    found = measured_classes(per_picture, names)
    return {name: _interval(value, found.again[name]) for name, value in found.values.items()}


def measured_classes(per_picture: Counts, names: tuple[str, ...]) -> Measured:
    """The same with its resamples."""
    value = ious(per_picture.sum(0))
    again = ious(np.einsum("rn,nab->rab", resamples(len(per_picture)), per_picture))
    there = np.flatnonzero(np.isfinite(value))
    values = {names[i]: float(value[i]) for i in there} | {MEAN_IOU: float(value[there].mean())}
    return Measured(values, {names[i]: again[:, i] for i in there} | {MEAN_IOU: np.nanmean(again[:, there], 1)})


def pixel_accuracy(per_picture: Counts) -> Interval:
    """The share of pixels that were taken for what they are."""
    return _interval(*measured_accuracy(per_picture))


def measured_accuracy(per_picture: Counts) -> tuple[float, Floats]:
    """The same with its resamples, [RESAMPLES]."""
    weights = resamples(len(per_picture))
    hit = np.trace(per_picture, axis1=1, axis2=2).astype(np.float64)
    whole = per_picture.sum((1, 2)).astype(np.float64)
    return float(hit.sum() / whole.sum()), weights @ hit / (weights @ whole)


def _interval(value: float, again: Floats) -> Interval:
    low, high = np.percentile(again[np.isfinite(again)], COVERAGE_PERCENT)
    return Interval(*(round(float(each), DIGITS) for each in (value, low, high)))
