"""Networks of Pix2Pix and OASIS with modules nested and named as published, to write files in the published format."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class NestedUNet(nn.Module):
    """Blocks in blocks."""

    def __init__(self, downs: int, channels: int, *, instance: bool = False) -> None:
        super().__init__()
        widths = [3, *(channels * min(2**i, 8) for i in range(downs))]
        inner = None
        for level in range(downs - 1, -1, -1):
            inner = _Nest(widths[level], widths[level + 1], inner, outermost=level == 0, instance=instance)
        assert inner is not None
        self.model = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class _Nest(nn.Module):
    def __init__(self, outer: int, width: int, inner: nn.Module | None, *, outermost: bool, instance: bool) -> None:
        super().__init__()
        norm = nn.InstanceNorm2d if instance else nn.BatchNorm2d
        down = nn.Conv2d(outer, width, 4, 2, 1, bias=instance)
        self.outermost = outermost
        if outermost:
            up = nn.ConvTranspose2d(2 * width, 3, 4, 2, 1)
            parts = [down, inner, nn.ReLU(), up, nn.Tanh()]
        elif inner is None:
            up = nn.ConvTranspose2d(width, outer, 4, 2, 1, bias=instance)
            parts = [nn.LeakyReLU(0.2), down, nn.ReLU(), up, norm(outer)]
        else:
            up = nn.ConvTranspose2d(2 * width, outer, 4, 2, 1, bias=instance)
            parts = [nn.LeakyReLU(0.2), down, norm(width), inner, nn.ReLU(), up, norm(outer), nn.Dropout(0.5)]
        self.model = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x) if self.outermost else torch.cat([x, self.model(x)], 1)


class NamedOasis(nn.Module):
    """The generator, with torch's older spectral norm."""

    def __init__(self, classes: int, channels: int, hidden: int = 128) -> None:
        super().__init__()
        widths = [channels * each for each in (16, 16, 16, 8, 4, 2, 1)]
        conditions = 64 + classes
        self.fc = nn.Conv2d(conditions, widths[0], 3, padding=1)
        self.body = nn.ModuleList(_NamedBlock(a, b, conditions, hidden) for a, b in itertools.pairwise(widths))
        self.conv_img = nn.Conv2d(widths[-1], 3, 3, padding=1)

    def forward(self, layout: Tensor, z: Tensor) -> Tensor:
        seen = torch.cat([z[:, :, None, None].expand(-1, -1, *layout.shape[2:]), layout], 1)
        x = self.fc(F.interpolate(seen, size=(layout.shape[2] // 32, layout.shape[3] // 32)))
        for i, block in enumerate(self.body):
            x = block(x, seen)
            x = F.interpolate(x, scale_factor=2) if i < 5 else x
        return torch.tanh(self.conv_img(F.leaky_relu(x, 0.2)))


class _NamedBlock(nn.Module):
    def __init__(self, taken: int, given: int, conditions: int, hidden: int) -> None:
        super().__init__()
        norm, between = nn.utils.spectral_norm, min(taken, given)
        self.conv_0 = norm(nn.Conv2d(taken, between, 3, padding=1))
        self.conv_1 = norm(nn.Conv2d(between, given, 3, padding=1))
        self.norm_0, self.norm_1 = _NamedSpade(taken, conditions, hidden), _NamedSpade(between, conditions, hidden)
        if taken != given:
            self.conv_s = norm(nn.Conv2d(taken, given, 1, bias=False))
            self.norm_s = _NamedSpade(taken, conditions, hidden)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        short = self.conv_s(self.norm_s(x, seen)) if hasattr(self, "conv_s") else x
        y = self.conv_0(F.leaky_relu(self.norm_0(x, seen), 0.2))
        return short + self.conv_1(F.leaky_relu(self.norm_1(y, seen), 0.2))


class _NamedSpade(nn.Module):
    def __init__(self, channels: int, conditions: int, hidden: int) -> None:
        super().__init__()
        self.first_norm = nn.BatchNorm2d(channels, affine=False)
        self.mlp_shared = nn.Sequential(nn.Conv2d(conditions, hidden, 3, padding=1), nn.ReLU())
        self.mlp_gamma = nn.Conv2d(hidden, channels, 3, padding=1)
        self.mlp_beta = nn.Conv2d(hidden, channels, 3, padding=1)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        heard = self.mlp_shared(F.interpolate(seen, size=x.shape[2:]))
        return self.first_norm(x) * (1 + self.mlp_gamma(heard)) + self.mlp_beta(heard)


def lived_in(network: nn.Module, *inputs: Tensor) -> nn.Module:
    """Give batch norm statistics and scales that are nowhere what they began with."""
    torch.set_num_threads(1)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
            if layer.affine:
                nn.init.uniform_(layer.weight, 0.8, 1.2)
                nn.init.uniform_(layer.bias, -0.1, 0.1)
    with torch.no_grad():
        network.train()
        network(*inputs)
    return network.eval()
