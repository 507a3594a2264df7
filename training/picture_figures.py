"""How near pictures are to what should have been drawn: PSNR over all channels, SSIM of luma."""

from __future__ import annotations

import math

import cv2
import numpy as np

from training.data.pair_makers import Rgb
from training.mouths import ssim

MOST_DB = 100.0


def psnr_db(drawn: Rgb, truth: Rgb) -> float:
    """Of pictures in 0..255; at most 100 dB, which stands for equal pictures."""
    square = float(np.square(drawn.astype(np.float64) - truth).mean())
    return min(MOST_DB, 10.0 * math.log10(255.0**2 / max(square, 1e-12)))


def luma_ssim(drawn: Rgb, truth: Rgb) -> float:
    """SSIM of the luma of whole pictures: Gaussian window 11 x 11, deviation 1.5."""
    return ssim(*(cv2.cvtColor(each, cv2.COLOR_RGB2GRAY).astype(np.float64) for each in (drawn, truth)))
