"""OASIS: a generator that draws a picture from a semantic layout, and a discriminator that segments what it sees.

As published, every normalisation of the generator is spatially adaptive (SPADE): scale and shift of each cell come from
the layout and from noise that has a value for every cell. OASIS is often said to use adaptive instance normalisation;
it does not. The style branch here does, beside SPADE: scale and shift of each channel come from the noise through a
small network. It is ours, off by default, and no published weights have it. The published code draws its noise within
and does not let go of it; here it is an argument, so that a stream can keep one face.

Ours as well: `fold` draws on a coarser grid and unfolds it (pixel shuffle), as `models.tiny_filter` does.

Source: V. Sushko et al., "You Only Need Adversarial Supervision for Semantic Image Synthesis", ICLR 2021
(arXiv:2012.04781); tables of layers: boschresearch/OASIS (aeb875f); T. Park et al., "Semantic Image Synthesis with
Spatially-Adaptive Normalization", CVPR 2019; X. Huang and S. Belongie, "Arbitrary Style Transfer in Real-time with
Adaptive Instance Normalization", ICCV 2017.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

FreeNorm = Literal["batch", "instance"]

WIDTHS = (16, 16, 16, 8, 4, 2, 1)
"""Channels before the first block and after each, as multiples of `OasisConfig.channels`."""

HALVINGS = 5
"""Of the picture's side to the first grid's."""

JUDGE_WIDTHS = (3, 128, 128, 256, 256, 512, 512)
JUDGE_LAST = 64
LEAK = 0.2
INITIAL_GAIN = 0.02
STYLE_CHANNELS = 128


@dataclass(frozen=True, slots=True)
class OasisConfig:
    """A generator.

    Attributes:
        classes: Of the layout, with the one for "don't care" where there is one.
        noise: Channels of the noise; 0 for none, which makes the generator SPADE's.
        channels: Of the finest grid; 64 as published.
        hidden: Channels between a layout and its scales and shifts; 128 as published.
        norm: What SPADE scales and shifts: batch norm (over all devices while training) or instance norm; without
            weights either way.
        fold: Pixels along each side of a cell of the finest grid, 1 as published; otherwise a power of two up to 8.
        style: Whether the style branch is there.
    """

    classes: int
    noise: int = 64
    channels: int = 64
    hidden: int = 128
    norm: FreeNorm = "batch"
    fold: int = 1
    style: bool = False

    def __post_init__(self) -> None:
        for field, least in (("classes", 1), ("noise", int(self.style)), ("channels", 1), ("hidden", 1)):
            if getattr(self, field) < least:
                raise ValueError(f"{field} is {getattr(self, field)}, expected at least {least}")
        if self.norm not in get_args(FreeNorm):
            raise ValueError(f"norm is {self.norm!r}, expected one of {', '.join(get_args(FreeNorm))}")
        if self.fold not in (1, 2, 4, 8):
            raise ValueError(f"fold is {self.fold}, expected 1, 2, 4 or 8")

    @property
    def in_channels(self) -> int:
        """Of the layout."""
        return self.classes

    @property
    def out_channels(self) -> int:
        """Of the picture."""
        return 3

    @property
    def multiple_px(self) -> int:
        """What height and width must be a multiple of."""
        return int(2**HALVINGS)

    def as_dict(self) -> dict[str, Any]:
        """For a checkpoint's header."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """From a checkpoint's header.

        Raises:
            ValueError: A value does not fit, or a field is unknown.
        """
        unknown = values.keys() - cls.__dataclass_fields__.keys()
        if unknown or "classes" not in values:
            raise ValueError(f"unknown fields {sorted(unknown)} for OASIS, or no classes")
        return cls(**values)


def slim(classes: int) -> OasisConfig:
    """A generator for live use: cells of 4 x 4 pixels, a quarter of the channels, 4.2 GMAC at 256 pixels with 12."""
    return OasisConfig(classes, channels=16, hidden=32, fold=4)


class Spade(nn.Module):
    """Normalises, then scales and shifts every cell by what the layout says there.

    Args:
        channels: Of what is normalised.
        taken: Channels of layout and noise.
        config: See there.
    """

    def __init__(self, channels: int, taken: int, config: OasisConfig) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False) if config.norm == "batch" else nn.InstanceNorm2d(channels)
        self.shared = nn.Conv2d(taken, config.hidden, 3, padding=1)
        self.scale = nn.Conv2d(config.hidden, channels, 3, padding=1)
        self.shift = nn.Conv2d(config.hidden, channels, 3, padding=1)
        if config.style:
            self.style = nn.Linear(STYLE_CHANNELS, 2 * channels)

    def forward(self, x: Tensor, layout: Tensor, style: Tensor | None) -> Tensor:
        """Float [N, C, H, W], [N, taken, H, W] and perhaps [N, STYLE_CHANNELS] to [N, C, H, W]."""
        heard = torch.relu(self.shared(layout))
        scale, shift = 1 + self.scale(heard), self.shift(heard)
        if style is not None:
            of_channels = self.style(style)[:, :, None, None].chunk(2, 1)
            scale, shift = scale + of_channels[0], shift + of_channels[1]
        out: Tensor = self.norm(x) * scale + shift
        return out


class _Block(nn.Module):
    """Two convolutions, each behind a SPADE, beside a shortcut."""

    def __init__(self, taken: int, given: int, conditions: int, config: OasisConfig) -> None:
        super().__init__()
        between = min(taken, given)
        self.first_norm = Spade(taken, conditions, config)
        self.first = spectral_norm(nn.Conv2d(taken, between, 3, padding=1))
        self.second_norm = Spade(between, conditions, config)
        self.second = spectral_norm(nn.Conv2d(between, given, 3, padding=1))
        self.learns_shortcut = taken != given
        if self.learns_shortcut:
            self.short_norm = Spade(taken, conditions, config)
            self.short = spectral_norm(nn.Conv2d(taken, given, 1, bias=False))

    def forward(self, x: Tensor, layout: Tensor, style: Tensor | None) -> Tensor:
        short = self.short(self.short_norm(x, layout, style)) if self.learns_shortcut else x
        between = self.first(nn.functional.leaky_relu(self.first_norm(x, layout, style), LEAK))
        out: Tensor = short + self.second(nn.functional.leaky_relu(self.second_norm(between, layout, style), LEAK))
        return out


class OasisGenerator(nn.Module):
    """Draws a picture from a layout and noise."""

    def __init__(self, config: OasisConfig) -> None:
        super().__init__()
        self.config = config
        conditions = config.noise + config.classes
        widths = [config.channels * each for each in WIDTHS]
        self.enter = nn.Conv2d(conditions, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList(
            _Block(taken, given, conditions, config) for taken, given in itertools.pairwise(widths)
        )
        self.leave = nn.Conv2d(widths[-1], 3 * config.fold**2, 3, padding=1)
        if config.style:
            self.mapping = nn.Sequential(
                nn.Linear(config.noise, STYLE_CHANNELS),
                nn.LeakyReLU(LEAK),
                nn.Linear(STYLE_CHANNELS, STYLE_CHANNELS),
                nn.LeakyReLU(LEAK),
            )
        init_published(self)

    def forward(self, layout: Tensor, z: Tensor | None = None) -> Tensor:
        """Draw.

        Args:
            layout: Float [N, classes, H, W], 1 where a class is and 0 elsewhere; sides are multiples of 32.
            z: Noise, float [N, noise] for all cells of a picture, or [N, noise, H, W]; None draws one for each picture.

        Returns:
            Float [N, 3, H, W] in [-1, 1].
        """
        if z is None:
            z = torch.randn(len(layout), self.config.noise, device=layout.device, dtype=layout.dtype)
        style = self.mapping(z if z.ndim == 2 else z.mean((2, 3))) if self.config.style else None
        if self.config.fold > 1:
            # What is narrower than a cell still counts for a part of it.
            layout = nn.functional.avg_pool2d(layout, self.config.fold)
            z = z if z.ndim == 2 else nn.functional.avg_pool2d(z, self.config.fold)
        noise = z[:, :, None, None].expand(-1, -1, *layout.shape[2:]) if z.ndim == 2 else z
        conditions = torch.cat([noise, layout], 1)
        finer = 2**HALVINGS // self.config.fold
        x = self.enter(conditions[:, :, ::finer, ::finer])
        for i, block in enumerate(self.blocks):
            if i > 0 and finer > 1:
                x, finer = nn.functional.interpolate(x, scale_factor=2, mode="nearest"), finer // 2
            # Every so many cells of a layout are its nearest neighbours on the coarser grid.
            x = block(x, conditions[:, :, ::finer, ::finer], style)
        drawn = self.leave(nn.functional.leaky_relu(x, LEAK))
        return torch.tanh(nn.functional.pixel_shuffle(drawn, self.config.fold) if self.config.fold > 1 else drawn)


# -- discriminator ---------------------------------------------------------------------------------


class _JudgeBlock(nn.Module):
    """Two convolutions beside a shortcut; halves, or doubles, the sides."""

    def __init__(self, taken: int, given: int, *, doubles: bool, first: bool = False) -> None:
        super().__init__()
        self.doubles, self.is_first = doubles, first
        self.first = spectral_norm(nn.Conv2d(taken, given, 3, padding=1))
        self.second = spectral_norm(nn.Conv2d(given, given, 3, padding=1))
        self.short = spectral_norm(nn.Conv2d(taken, given, 1)) if taken != given else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        leaky, mean = nn.functional.leaky_relu, nn.functional.avg_pool2d
        begun = x if self.is_first else leaky(x, LEAK)
        if self.doubles:
            x, begun = (nn.functional.interpolate(each, scale_factor=2, mode="nearest") for each in (x, begun))
        drawn = self.second(leaky(self.first(begun), LEAK))
        if self.doubles:
            return torch.add(self.short(x), drawn)
        # Their order is the published one; a convolution of means is the mean of convolutions.
        short = self.short(mean(x, 2)) if self.is_first else mean(self.short(x), 2)
        return torch.add(short, mean(drawn, 2))


class OasisDiscriminator(nn.Module):
    """A U-Net that says of every pixel which class of a real picture it is, or that it is drawn.

    Args:
        classes: Of the layout.
        widths: Channels of the picture and behind each halving.
        last: Channels at full size, before the logits.
    """

    def __init__(self, classes: int, widths: tuple[int, ...] = JUDGE_WIDTHS, last: int = JUDGE_LAST) -> None:
        super().__init__()
        self.classes, self.widths = classes, widths
        self.down = nn.ModuleList(
            _JudgeBlock(taken, given, doubles=False, first=i == 0)
            for i, (taken, given) in enumerate(itertools.pairwise(widths))
        )
        given = [*widths[-2:0:-1], last]
        taken = [widths[-1], *(2 * each for each in widths[-2:0:-1])]
        self.up = nn.ModuleList(_JudgeBlock(a, b, doubles=True) for a, b in zip(taken, given, strict=True))
        self.leave = nn.Conv2d(last, classes + 1, 1)
        init_published(self)

    def forward(self, picture: Tensor) -> Tensor:
        """Float [N, 3, H, W] in [-1, 1] to logits [N, classes + 1, H, W]; 0 is "drawn", k + 1 is class k."""
        return self.features(picture)[-1]

    def features(self, picture: Tensor) -> list[Tensor]:
        """What each block gives, for feature matching; the last is the logits."""
        skips, found, x = [], [], picture
        for block in self.down:
            x = block(x)
            skips.append(x)
        found += skips
        for i, block in enumerate(self.up):
            x = block(x if i == 0 else torch.cat([skips[-i - 1], x], 1))
            found.append(x)
        return [*found, self.leave(x)]


def init_published(network: nn.Module) -> None:
    """Give a network the published first weights: Xavier's normal with gain 0.02, no bias."""
    for layer in network.modules():
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            continue
        parametrised = getattr(layer, "parametrizations", None)
        weight = layer.weight if parametrised is None else parametrised.weight.original
        nn.init.xavier_normal_(weight, INITIAL_GAIN)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
