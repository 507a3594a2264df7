"""Fréchet Inception Distance: how far two sets of pictures are apart in the features of the Inception network.

Source: M. Heusel et al., NeurIPS 2017 (arXiv:1706.08500); network: C. Szegedy et al., CVPR 2016, with the pooling of
the TensorFlow graph of 2015-12-05, as mseitzer/pytorch-fid has it. Tensors have torchvision's names.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.standard.weights import Published, read_published

INCEPTION = Published(
    "pt_inception-2015-12-05-6726825d.pth", "6726825d", "https://github.com/mseitzer/pytorch-fid/releases"
)
FEATURES, CLASSES = 2048, 1008
INPUT_PX = 299
BATCH = 16
Floats = NDArray[np.float32]
Kernel = int | tuple[int, int]


class Conv(nn.Module):
    """Convolution without bias, batch norm, ReLU; padded to keep the size unless told otherwise."""

    def __init__(
        self, before: int, after: int, kernel: Kernel = 1, stride: int = 1, padding: Kernel | None = None
    ) -> None:
        super().__init__()
        if padding is None:
            padding = kernel // 2 if isinstance(kernel, int) else (kernel[0] // 2, kernel[1] // 2)
        self.conv = nn.Conv2d(before, after, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(after, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """Compute."""
        return torch.relu(self.bn(self.conv(x)))


def _pooled(x: Tensor) -> Tensor:
    """Means of 3 x 3 places; a place outside the picture does not count."""
    return nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


class BlockA(nn.Module):
    """35 x 35: 1 x 1, 5 x 5, twice 3 x 3, pooled."""

    def __init__(self, before: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = Conv(before, 64)
        self.branch5x5_1, self.branch5x5_2 = Conv(before, 48), Conv(48, 64, 5)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = Conv(before, 64), Conv(64, 96, 3)
        self.branch3x3dbl_3 = Conv(96, 96, 3)
        self.branch_pool = Conv(before, pooled)

    def forward(self, x: Tensor) -> Tensor:
        """Compute."""
        twice = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        five = self.branch5x5_2(self.branch5x5_1(x))
        return torch.cat([self.branch1x1(x), five, twice, self.branch_pool(_pooled(x))], 1)


class BlockB(nn.Module):
    """35 x 35 to 17 x 17."""

    def __init__(self, before: int) -> None:
        super().__init__()
        self.branch3x3 = Conv(before, 384, 3, 2, 0)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = Conv(before, 64), Conv(64, 96, 3)
        self.branch3x3dbl_3 = Conv(96, 96, 3, 2, 0)

    def forward(self, x: Tensor) -> Tensor:
        """Compute."""
        twice = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), twice, nn.functional.max_pool2d(x, 3, 2)], 1)


class BlockC(nn.Module):
    """17 x 17: 1 x 1, 7 x 7 in two and in four strokes, pooled."""

    def __init__(self, before: int, inside: int) -> None:
        super().__init__()
        flat, tall = (1, 7), (7, 1)
        self.branch1x1 = Conv(before, 192)
        self.branch7x7_1, self.branch7x7_2 = Conv(before, inside), Conv(inside, inside, flat)
        self.branch7x7_3 = Conv(inside, 192, tall)
        self.branch7x7dbl_1, self.branch7x7dbl_2 = Conv(before, inside), Conv(inside, inside, tall)
        self.branch7x7dbl_3, self.branch7x7dbl_4 = Conv(inside, inside, flat), Conv(inside, inside, tall)
        self.branch7x7dbl_5 = Conv(inside, 192, flat)
        self.branch_pool = Conv(before, 192)

    def forward(self, x: Tensor) -> Tensor:
        """Compute."""
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        twice = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        twice = self.branch7x7dbl_5(self.branch7x7dbl_4(twice))
        return torch.cat([self.branch1x1(x), seven, twice, self.branch_pool(_pooled(x))], 1)


class BlockD(nn.Module):
    """17 x 17 to 8 x 8."""

    def __init__(self, before: int) -> None:
        super().__init__()
        self.branch3x3_1, self.branch3x3_2 = Conv(before, 192), Conv(192, 320, 3, 2, 0)
        self.branch7x7x3_1, self.branch7x7x3_2 = Conv(before, 192), Conv(192, 192, (1, 7))
        self.branch7x7x3_3, self.branch7x7x3_4 = Conv(192, 192, (7, 1)), Conv(192, 192, 3, 2, 0)

    def forward(self, x: Tensor) -> Tensor:
        """Compute."""
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([self.branch3x3_2(self.branch3x3_1(x)), seven, nn.functional.max_pool2d(x, 3, 2)], 1)


class BlockE(nn.Module):
    """8 x 8; the last one pools by the maximum, as the graph of 2015 does."""

    def __init__(self, before: int, *, by_maximum: bool) -> None:
        super().__init__()
        self._by_maximum = by_maximum
        self.branch1x1 = Conv(before, 320)
        self.branch3x3_1, self.branch3x3_2a = Conv(before, 384), Conv(384, 384, (1, 3))
        self.branch3x3_2b = Conv(384, 384, (3, 1))
        self.branch3x3dbl_1, self.branch3x3dbl_2 = Conv(before, 448), Conv(448, 384, 3)
        self.branch3x3dbl_3a, self.branch3x3dbl_3b = Conv(384, 384, (1, 3)), Conv(384, 384, (3, 1))
        self.branch_pool = Conv(before, 192)

    def forward(self, x: Tensor) -> Tensor:
        """Compute."""
        three = self.branch3x3_1(x)
        twice = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        around = nn.functional.max_pool2d(x, 3, 1, 1) if self._by_maximum else _pooled(x)
        wide = [self.branch3x3_2a(three), self.branch3x3_2b(three)]
        wide += [self.branch3x3dbl_3a(twice), self.branch3x3dbl_3b(twice)]
        return torch.cat([self.branch1x1(x), *wide, self.branch_pool(around)], 1)


class Inception(nn.Module):
    """Pictures [N, 3, H, W] in [0, 1] to features [N, 2048]."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3, self.Conv2d_2a_3x3 = Conv(3, 32, 3, 2, 0), Conv(32, 32, 3, 1, 0)
        self.Conv2d_2b_3x3 = Conv(32, 64, 3)
        self.Conv2d_3b_1x1, self.Conv2d_4a_3x3 = Conv(64, 80), Conv(80, 192, 3, 1, 0)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = BlockA(192, 32), BlockA(256, 64), BlockA(288, 64)
        self.Mixed_6a, self.Mixed_6b = BlockB(288), BlockC(768, 128)
        self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = BlockC(768, 160), BlockC(768, 160), BlockC(768, 192)
        self.Mixed_7a, self.Mixed_7b = BlockD(768), BlockE(1280, by_maximum=False)
        self.Mixed_7c = BlockE(2048, by_maximum=True)
        # Not used, but part of the published file.
        self.fc = nn.Linear(FEATURES, CLASSES)

    def forward(self, pictures: Tensor) -> Tensor:
        """Compute."""
        size = (INPUT_PX, INPUT_PX)
        x = 2 * nn.functional.interpolate(pictures, size, mode="bilinear", align_corners=False) - 1
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(nn.functional.max_pool2d(x, 3, 2)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(nn.functional.max_pool2d(x, 3, 2))))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        found: Tensor = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        return found.mean((2, 3))


def load_inception(path: Path) -> Inception:
    """The standard's network.

    Raises:
        ConfigError: The file is missing or another.
    """
    network = Inception()
    network.load_state_dict(read_published(path, INCEPTION))
    return network.requires_grad_(requires_grad=False).eval()


@torch.no_grad()
def inception_features(network: Inception, crops: NDArray[np.uint8]) -> Floats:
    """Of crops uint8 RGB [T, S, S, 3], by [T, 2048]."""
    parts = []
    for first in range(0, len(crops), BATCH):
        part = torch.from_numpy(np.ascontiguousarray(crops[first : first + BATCH]))
        parts.append(network(part.permute(0, 3, 1, 2).float() / 255).numpy())
    return np.concatenate(parts)


def frechet_distance(first: Floats, second: Floats) -> float:
    """Between the Gaussians with the features' means and covariances.

    The trace of the root of the covariances' product is the sum of the singular values of A B^T, where A and B hold
    the centred features over sqrt(n - 1): exact, and n x n instead of 2048 x 2048.

    Args:
        first: [n, 2048].
        second: [m, 2048].
    """
    means = [each.mean(0, dtype=np.float64) for each in (first, second)]
    parts = [(each - middle) / np.sqrt(len(each) - 1) for each, middle in zip((first, second), means, strict=True)]
    shared = np.linalg.svd(parts[0] @ parts[1].T, compute_uv=False).sum()
    apart = float(np.square(means[0] - means[1]).sum())
    return float(apart + sum(float(np.square(each).sum()) for each in parts) - 2 * shared)
