"""What OpenCV offers without learning, for each named pair: the filters that a trained one must be better than.

Every method is tried with every setting given here, and the best setting on the measured pictures themselves is the one
that counts: generous to the classical side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np

from training.data.pair_makers import Rgb

Classical = Callable[[Rgb], Rgb]


def classical_filters(maker: str) -> Mapping[str, Classical]:
    """By name; none where OpenCV has nothing that tries."""
    return _FILTERS.get(maker, {})


def _means_over_patches(strength: float) -> Classical:
    return lambda picture: np.asarray(
        cv2.fastNlMeansDenoisingColored(picture, None, strength, strength, 7, 15), np.uint8
    )


def _bilateral(level: float, distance_px: float) -> Classical:
    return lambda picture: np.asarray(cv2.bilateralFilter(picture, 0, level, distance_px), np.uint8)


def _median(picture: Rgb) -> Rgb:
    return np.asarray(cv2.medianBlur(picture, 3), np.uint8)


def _gaussian(picture: Rgb) -> Rgb:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), 0.7), np.uint8)


def _sharper(picture: Rgb) -> Rgb:
    return np.asarray(cv2.addWeighted(picture, 1.5, cv2.GaussianBlur(picture, (0, 0), 1.5), -0.5, 0.0), np.uint8)


def _local_contrast(limit: float) -> Classical:
    def equalised(picture: Rgb) -> Rgb:
        lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)
        lab[..., 0] = cv2.createCLAHE(limit, (4, 4)).apply(lab[..., 0])
        rgb: Rgb = np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), np.uint8)
        return rgb

    return equalised


def _equalised(picture: Rgb) -> Rgb:
    planes = cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb)
    planes[..., 0] = cv2.equalizeHist(planes[..., 0])
    rgb: Rgb = np.asarray(cv2.cvtColor(planes, cv2.COLOR_YCrCb2RGB), np.uint8)
    return rgb


def _grey_world(picture: Rgb) -> Rgb:
    """Equal means of the three colours."""
    means = picture.reshape(-1, 3).mean(0)
    balanced: Rgb = np.clip(np.rint(picture * (means.mean() / np.maximum(means, 1.0))), 0, 255).astype(np.uint8)
    return balanced


def _gamma_to(mean: float) -> Classical:
    """The curve that takes the mean level to a given share of the full scale."""

    def brightened(picture: Rgb) -> Rgb:
        level = min(max(float(picture.mean()) / 255.0, 0.004), 0.996)
        table = 255.0 * (np.arange(256) / 255.0) ** (np.log(mean) / np.log(level))
        curved: Rgb = np.rint(table).astype(np.uint8)[picture]
        return curved

    return brightened


def _after(first: Classical, then: Classical) -> Classical:
    return lambda picture: then(first(picture))


def _pencil(picture: Rgb) -> Rgb:
    grey, _ = cv2.pencilSketch(picture, sigma_s=60, sigma_r=0.07, shade_factor=0.05)
    return np.repeat(np.asarray(grey, np.uint8)[..., None], 3, axis=2)


def _threshold(picture: Rgb) -> Rgb:
    grey = cv2.medianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), 3)
    drawn = cv2.adaptiveThreshold(grey, 255, cv2.ADAPTIVE_THRESH_GAUSSIAN_C, cv2.THRESH_BINARY, 11, 4)
    return np.repeat(np.asarray(drawn, np.uint8)[..., None], 3, axis=2)


def _stylised(picture: Rgb) -> Rgb:
    return np.asarray(cv2.stylization(picture, sigma_s=30, sigma_r=0.3), np.uint8)


def _edges_kept(picture: Rgb) -> Rgb:
    return np.asarray(cv2.edgePreservingFilter(picture, flags=1, sigma_s=30, sigma_r=0.3), np.uint8)


_FILTERS: Mapping[str, Mapping[str, Classical]] = {
    "enhance": {
        **{f"fastNlMeansDenoisingColored h={h}": _means_over_patches(h) for h in (2, 4, 7)},
        **{f"bilateralFilter {level}, {px}": _bilateral(level, px) for level, px in ((12, 1.5), (25, 2), (40, 3))},
        "medianBlur 3": _median,
        "GaussianBlur 0.7": _gaussian,
        "unsharp mask": _sharper,
    },
    "relight": {
        **{f"CLAHE {limit}": _local_contrast(limit) for limit in (2.0, 6.0)},
        "equalizeHist": _equalised,
        **{f"gamma to {mean}": _gamma_to(mean) for mean in (0.35, 0.45)},
        **{f"grey world, gamma to {mean}": _after(_grey_world, _gamma_to(mean)) for mean in (0.35, 0.45)},
        "gamma to 0.45, fastNlMeansDenoisingColored h=4": _after(_gamma_to(0.45), _means_over_patches(4)),
    },
    "sketch": {"pencilSketch": _pencil, "adaptiveThreshold": _threshold},
    "paint": {
        "stylization": _stylised,
        "edgePreservingFilter": _edges_kept,
        "bilateralFilter 60, 4": _bilateral(60, 4),
        "detailEnhance": lambda picture: np.asarray(cv2.detailEnhance(picture), np.uint8),
    },
}
