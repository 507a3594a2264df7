"""LPIPS on AlexNet, version 0.1: how different two pictures look, by distances between features.

Source: R. Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018; the
numbers of richzhang/PerceptualSimilarity, `lpips.py`, and of torchvision's `alexnet`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.standard.weights import Published, read_published

ALEXNET = Published("alexnet-owt-7be5be79.pth", "7be5be79", "https://download.pytorch.org/models")
LINEAR = Published(
    "alex.pth",
    "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
    "lpips/weights/v0.1 of the lpips package",
)
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
CHANNELS = (64, 192, 384, 256, 256)
BATCH = 16

_BEFORE = (3, *CHANNELS)
_KERNELS = ((11, 4, 2), (5, 1, 2), (3, 1, 1), (3, 1, 1), (3, 1, 1))
_POOLED_BEFORE = (1, 2)
# Where torchvision keeps each convolution inside `features`.
_PLACES = (0, 3, 6, 8, 10)


class Lpips(nn.Module):
    """Distance of pictures [N, 3, H, W] in [0, 1], by [N]."""

    def __init__(self) -> None:
        super().__init__()
        rows = zip(_BEFORE, CHANNELS, _KERNELS, strict=False)
        self.convs = nn.ModuleList(nn.Conv2d(a, b, size, stride, padding) for a, b, (size, stride, padding) in rows)
        self.weights = nn.ParameterList(torch.rand(each) for each in CHANNELS)
        self.shift: Tensor
        self.scale: Tensor
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE).view(1, 3, 1, 1), persistent=False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Compare."""
        pairs = zip(self.weights, self._features(first), self._features(second), strict=True)
        # einsum sums over channels with the published weights; then the mean over places.
        parts = [torch.einsum("c,nchw->nhw", w, (a - b) ** 2).mean((1, 2)) for w, a, b in pairs]
        return torch.stack(parts).sum(0)

    def _features(self, pictures: Tensor) -> list[Tensor]:
        """After each convolution, of unit length at each place."""
        x: Any = (2 * pictures - 1 - self.shift) / self.scale
        found = []
        for index, conv in enumerate(self.convs):
            if index in _POOLED_BEFORE:
                x = nn.functional.max_pool2d(x, 3, 2)
            x = torch.relu(conv(x))
            found.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return found


def load_lpips(alexnet: Path, linear: Path) -> Lpips:
    """The standard's network.

    Args:
        alexnet: torchvision's weights of AlexNet.
        linear: LPIPS's own weights of the channels.

    Raises:
        ConfigError: A file is missing or another.
    """
    trunk, lines = read_published(alexnet, ALEXNET), read_published(linear, LINEAR)
    return lpips_of(trunk, lines)


def lpips_of(trunk: dict[str, Tensor], lines: dict[str, Tensor]) -> Lpips:
    """Put published tensors in their places."""
    network = Lpips()
    state = {f"weights.{i}": lines[f"lin{i}.model.1.weight"].flatten() for i in range(len(CHANNELS))}
    for index, place in enumerate(_PLACES):
        for part in ("weight", "bias"):
            state[f"convs.{index}.{part}"] = trunk[f"features.{place}.{part}"]
    network.load_state_dict(state)
    return network.requires_grad_(requires_grad=False).eval()


@torch.no_grad()
def lpips_distances(network: Lpips, drawn: NDArray[np.uint8], truth: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Of crops uint8 RGB [T, S, S, 3], by [T]."""
    parts = []
    for first in range(0, len(drawn), BATCH):
        pair = (torch.from_numpy(np.ascontiguousarray(each[first : first + BATCH])) for each in (drawn, truth))
        parts.append(network(*(each.permute(0, 3, 1, 2).float() / 255 for each in pair)).numpy())
    return np.concatenate(parts)
