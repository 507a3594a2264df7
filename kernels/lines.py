"""A line drawing of a picture, as filters that draw from lines are trained on and shown.

Source: H. Winnemöller, J. E. Kyprianidis, S. C. Olsen, "XDoG: An eXtended difference-of-Gaussians compendium",
Computers & Graphics 36 (2012).
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.yuv import Rgb


def line_drawing(photo: Rgb, sigma_px: float = 0.9, sharpness: float = 16.0) -> NDArray[np.float32]:
    """Draw lines.

    Args:
        photo: uint8 [H, W, 3].
        sigma_px: Width of the pen.
        sharpness: How much more the nearer Gaussian counts.

    Returns:
        float32 [H, W], 0 on lines and 1 beside them.
    """
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY).reshape(photo.shape[:2]).astype(np.float32) / 255.0
    smooth = cv2.bilateralFilter(grey, 5, 0.12, 2.0)
    near, far = (cv2.GaussianBlur(smooth, (0, 0), sigma_px * k) for k in (1.0, 1.6))
    edges = (1.0 + sharpness) * near - sharpness * far
    soft = 1.0 + np.tanh(9.0 * (edges - 0.42))
    # Dark cloth is no line: what is far darker than its surroundings is, what is dark all over is not.
    contrast = np.clip((cv2.GaussianBlur(smooth, (0, 0), 4.0) - near) * 14.0, 0.0, 1.0)
    return np.asarray(1.0 - contrast * (1.0 - np.clip(soft, 0.0, 1.0)), np.float32)
