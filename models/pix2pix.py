"""The networks of Pix2Pix: U-Net and ResNet generators, and discriminators that judge patches.

What was published is kept to the layer. The ResNet and the discriminators name their tensors as published; the U-Net
is flat here and nested there, see `models.published_filters`. In the published inference, batch normalisation takes its
statistics from the picture that is being drawn, and dropout stays on; what an engine does is said in its manifest.

Source: P. Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017
(arXiv:1611.07004); `models/networks.py` of junyanz/pytorch-CycleGAN-and-pix2pix (7891385); `models.lua` of
phillipi/pix2pix (89ff2a8).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor, nn

from models.network_config import known_fields

Norm = Literal["batch", "instance", "none"]
Upsampling = Literal["transposed", "bilinear"]

WEIGHT_DEVIATION = 0.02
LEAK = 0.2
DROPOUT = 0.5
MOST = 8
"""Times `channels`: the widest layer."""

DROPPED = 3
"""Decoder layers with dropout, counted from the middle."""


def normalisation(norm: Norm, channels: int) -> nn.Module:
    """The layer of that name, as published: batch norm learns scale and shift, instance norm neither."""
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    return nn.InstanceNorm2d(channels) if norm == "instance" else nn.Identity()


def init_published(network: nn.Module) -> None:
    """Give a network the published first weights: N(0, 0.02), scales of batch norm N(1, 0.02), no bias."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, WEIGHT_DEVIATION)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, WEIGHT_DEVIATION)
            nn.init.zeros_(layer.bias)


@dataclass(frozen=True, slots=True)
class UNetConfig:
    """A U-Net.

    Attributes:
        downs: Halvings: 8 is the U-Net-256, 7 the U-Net-128; the innermost grid of a picture of that size is one cell.
        channels: Of the first layer ("ngf"), 64 as published.
        norm: Which normalisation; with "batch" the normalised convolutions have no bias.
        dropout: Whether three layers of the decoder drop half of their values while training.
    """

    downs: int = 8
    channels: int = 64
    norm: Norm = "batch"
    dropout: bool = True
    in_channels: int = 3
    out_channels: int = 3

    def __post_init__(self) -> None:
        if not 5 <= self.downs <= 10:
            raise ValueError(f"downs is {self.downs}, expected 5 to 10")
        _check(self.norm, self.channels)

    @property
    def multiple_px(self) -> int:
        """What height and width must be a multiple of."""
        return int(2**self.downs)

    def as_dict(self) -> dict[str, Any]:
        """For a checkpoint's header."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """From a checkpoint's header.

        Raises:
            ValueError: A value does not fit, or a field is unknown.
        """
        return cls(**known_fields(cls, values, cls.__name__))


class UNetGenerator(nn.Module):
    """Encoder and decoder with a skip on every grid."""

    def __init__(self, config: UNetConfig | None = None) -> None:
        super().__init__()
        self.config = config or UNetConfig()
        norm, biased = self.config.norm, self.config.norm != "batch"
        widths = [self.config.channels * min(2**i, MOST) for i in range(self.config.downs)]
        last = self.config.downs - 1
        taken = [self.config.in_channels, *widths[:-1]]
        self.down = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1, bias=biased) for a, b in zip(taken, widths, strict=True))
        # The outermost and the innermost layer are not normalised.
        self.down_norm = nn.ModuleList(
            normalisation(norm if 0 < i < last else "none", width) for i, width in enumerate(widths)
        )
        given = widths[-2::-1]
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(width * (1 if i == 0 else 2), out, 4, 2, 1, bias=biased)
            for i, (width, out) in enumerate(zip(widths[:0:-1], given, strict=True))
        )
        self.up_norm = nn.ModuleList(normalisation(norm, out) for out in given)
        self.drop = nn.ModuleList(
            nn.Dropout(DROPOUT) if self.config.dropout and 1 <= i <= DROPPED else nn.Identity()
            for i in range(len(given))
        )
        self.last = nn.ConvTranspose2d(2 * widths[0], self.config.out_channels, 4, 2, 1)
        init_published(self)

    def forward(self, frame: Tensor) -> Tensor:
        """Float [N, in_channels, H, W] in [-1, 1] to [N, out_channels, H, W]; sizes are multiples of 2^downs."""
        skips: list[Tensor] = []
        x = frame
        for i, (conv, norm) in enumerate(zip(self.down, self.down_norm, strict=True)):
            x = norm(conv(x if i == 0 else nn.functional.leaky_relu(x, LEAK)))
            skips.append(x)
        x = skips.pop()
        for conv, norm, drop in zip(self.up, self.up_norm, self.drop, strict=True):
            x = torch.cat([skips.pop(), drop(norm(conv(torch.relu(x))))], 1)
        return torch.tanh(self.last(torch.relu(x)))


@dataclass(frozen=True, slots=True)
class ResNetConfig:
    """A ResNet generator.

    Attributes:
        blocks: Residual blocks, 9 as published for 256 pixels.
        channels: Of the first layer ("ngf").
        norm: Which normalisation.
        dropout: Whether the blocks drop half of their values while training.
        upsampling: "transposed" as published; "bilinear" draws no checkerboard: twice the size, then a convolution.
    """

    blocks: int = 9
    channels: int = 64
    norm: Norm = "instance"
    dropout: bool = False
    upsampling: Upsampling = "transposed"
    in_channels: int = 3
    out_channels: int = 3

    def __post_init__(self) -> None:
        if self.blocks < 0:
            raise ValueError(f"blocks is {self.blocks}, expected none or more")
        if self.upsampling not in get_args(Upsampling):
            raise ValueError(f"upsampling is {self.upsampling!r}, expected one of {', '.join(get_args(Upsampling))}")
        _check(self.norm, self.channels)

    @property
    def multiple_px(self) -> int:
        """What height and width must be a multiple of."""
        return 4

    def as_dict(self) -> dict[str, Any]:
        """For a checkpoint's header."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """From a checkpoint's header.

        Raises:
            ValueError: A value does not fit, or a field is unknown.
        """
        return cls(**known_fields(cls, values, cls.__name__))


class _ResNetBlock(nn.Module):
    def __init__(self, channels: int, norm: Norm, *, dropout: bool) -> None:
        super().__init__()
        biased = norm != "batch"
        half = [nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3, bias=biased), normalisation(norm, channels)]
        other = [nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3, bias=biased), normalisation(norm, channels)]
        dropped = [nn.Dropout(DROPOUT)] if dropout else []
        self.conv_block = nn.Sequential(*half, nn.ReLU(), *dropped, *other)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.conv_block(x)
        return out


class ResNetGenerator(nn.Module):
    """Two halvings, residual blocks, two doublings; edges are mirrored."""

    def __init__(self, config: ResNetConfig | None = None) -> None:
        super().__init__()
        self.config = config or ResNetConfig()
        norm, width = self.config.norm, self.config.channels
        biased = norm != "batch"
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(self.config.in_channels, width, 7, bias=biased)]
        layers += [normalisation(norm, width), nn.ReLU()]
        for taken in (width, 2 * width):
            layers += [nn.Conv2d(taken, 2 * taken, 3, 2, 1, bias=biased), normalisation(norm, 2 * taken), nn.ReLU()]
        layers += [_ResNetBlock(4 * width, norm, dropout=self.config.dropout) for _ in range(self.config.blocks)]
        for taken in (4 * width, 2 * width):
            layers += [*self._doubling(taken, biased=biased), normalisation(norm, taken // 2), nn.ReLU()]
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(width, self.config.out_channels, 7), nn.Tanh()]
        self.model = nn.Sequential(*layers)
        init_published(self)

    def _doubling(self, taken: int, *, biased: bool) -> list[nn.Module]:
        if self.config.upsampling == "transposed":
            return [nn.ConvTranspose2d(taken, taken // 2, 3, 2, 1, 1, bias=biased)]
        doubled = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        return [doubled, nn.ReflectionPad2d(1), nn.Conv2d(taken, taken // 2, 3, bias=biased)]

    def forward(self, frame: Tensor) -> Tensor:
        """Float [N, in_channels, H, W] in [-1, 1] to [N, out_channels, H, W]; sizes are multiples of 4."""
        out: Tensor = self.model(frame)
        return out


RECEPTIVE_FIELD_LAYERS: Mapping[int, int] = {1: 0, 16: 1, 34: 2, 70: 3, 142: 4, 286: 5}
"""For the side in pixels of the patch that a judgement sees, the layers that are counted in its name ("n_layers")."""


@dataclass(frozen=True, slots=True)
class PatchGanConfig:
    """A discriminator of patches.

    Attributes:
        receptive_px: Side of a patch, one of `RECEPTIVE_FIELD_LAYERS`.
        channels: Of the first layer ("ndf").
        norm: Which normalisation.
        in_channels: Of condition and picture together.
    """

    receptive_px: int = 70
    channels: int = 64
    norm: Norm = "batch"
    in_channels: int = 6

    def __post_init__(self) -> None:
        if self.receptive_px not in RECEPTIVE_FIELD_LAYERS:
            known = ", ".join(map(str, RECEPTIVE_FIELD_LAYERS))
            raise ValueError(f"receptive_px is {self.receptive_px}, expected one of {known}")
        _check(self.norm, self.channels)

    def as_dict(self) -> dict[str, Any]:
        """For a checkpoint's header."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """From a checkpoint's header.

        Raises:
            ValueError: A value does not fit, or a field is unknown.
        """
        return cls(**known_fields(cls, values, cls.__name__))


class PatchGan(nn.Module):
    """Judges every patch of a picture beside its condition; logits, no sigmoid."""

    def __init__(self, config: PatchGanConfig | None = None) -> None:
        super().__init__()
        self.config = config or PatchGanConfig()
        layers = RECEPTIVE_FIELD_LAYERS[self.config.receptive_px]
        pixel = layers == 0
        # The published single-pixel discriminator keeps its layers under another name.
        self.net = nn.Sequential(*(self._pixel() if pixel else []))
        self.model = nn.Sequential(*([] if pixel else self._patches(layers)))
        init_published(self)

    def _pixel(self) -> list[nn.Module]:
        width, norm = self.config.channels, self.config.norm
        biased = norm == "instance"
        return [
            nn.Conv2d(self.config.in_channels, width, 1),
            nn.LeakyReLU(LEAK),
            nn.Conv2d(width, 2 * width, 1, bias=biased),
            normalisation(norm, 2 * width),
            nn.LeakyReLU(LEAK),
            nn.Conv2d(2 * width, 1, 1, bias=biased),
        ]

    def _patches(self, layers: int) -> list[nn.Module]:
        width, norm = self.config.channels, self.config.norm
        found: list[nn.Module] = [nn.Conv2d(self.config.in_channels, width, 4, 2, 1), nn.LeakyReLU(LEAK)]
        taken = width
        for i in range(1, layers + 1):
            given, stride = width * min(2**i, MOST), 2 if i < layers else 1
            found += [nn.Conv2d(taken, given, 4, stride, 1, bias=norm != "batch"), normalisation(norm, given)]
            found += [nn.LeakyReLU(LEAK)]
            taken = given
        return [*found, nn.Conv2d(taken, 1, 4, 1, 1)]

    def forward(self, condition: Tensor, picture: Tensor) -> Tensor:
        """Float [N, A, H, W] and [N, B, H, W], A + B = in_channels, to logits [N, 1, h, w]: one for each patch."""
        return self.features(condition, picture)[-1]

    def features(self, condition: Tensor, picture: Tensor) -> list[Tensor]:
        """What each activation and the last layer give, for feature matching; the last is the logits."""
        x = torch.cat([condition, picture], 1)
        found = []
        for layer in (*self.net, *self.model):
            x = layer(x)
            if isinstance(layer, nn.LeakyReLU):
                found.append(x)
        return [*found, x]


def _check(norm: str, channels: int) -> None:
    if norm not in get_args(Norm):
        raise ValueError(f"norm is {norm!r}, expected one of {', '.join(get_args(Norm))}")
    if channels < 1:
        raise ValueError(f"channels is {channels}, expected at least 1")
