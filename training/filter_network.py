"""The networks that a filter's config asks for, and how one draws a run of frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from models.pix2pix import Norm, PatchGan, PatchGanConfig, ResNetConfig, ResNetGenerator, UNetConfig, UNetGenerator
from models.plane_filter import PlaneFilter, PlaneFilterConfig
from models.steady_filter import SteadyConfig, SteadyFilter
from models.tiny_filter import Memory, TinyFilter, TinyFilterConfig, TinySize
from training.config import ConfigError

Filter = UNetGenerator | ResNetGenerator | TinyFilter | PlaneFilter | SteadyFilter
GENERATORS = ("unet", "resnet", "tiny", "planes")


@dataclass(frozen=True, slots=True)
class FilterNetworkConfig:
    """The generator and its judge. The defaults are Pix2Pix's U-Net-256 and PatchGAN 70.

    Attributes:
        generator: "unet", "resnet", "tiny" or "planes".
        downs: Of "unet": 8 is the U-Net-256, 7 the U-Net-128.
        blocks: Of "resnet".
        channels: Of the first layer of "unet" and "resnet" ("ngf").
        norm: Of "unet" and "resnet": "batch", "instance" or "none".
        dropout: Of "unet" and "resnet".
        size: Of "tiny": "a" to "d".
        residual: Of "tiny": draw the difference.
        memory: Of "tiny": "none", "previous" or "recurrent".
        state_channels: Of "tiny" with memory.
        fine: Of "planes": channels on cells of 4 x 4 pixels.
        middle: Of "planes": on the grid of half their number along each side.
        coarse: Of "planes": on that of a quarter.
        wide: Of "planes": residual blocks on the coarse grid.
        steady_channels: Of what makes the network steady in time (`models.steady_filter`); 0: nothing does.
        receptive_px: Of the judge: 1, 16, 34, 70, 142 or 286.
        judge_channels: Of the judge's first layer ("ndf").
        judge_norm: As `norm`.
    """

    generator: str = "unet"
    downs: int = 8
    blocks: int = 9
    channels: int = 64
    norm: str = "batch"
    dropout: bool = True
    size: str = "b"
    residual: bool = False
    memory: str = "none"
    state_channels: int = 0
    fine: int = 32
    middle: int = 48
    coarse: int = 64
    wide: int = 1
    steady_channels: int = 0
    receptive_px: int = 70
    judge_channels: int = 64
    judge_norm: str = "batch"


def new_filter(network: FilterNetworkConfig) -> Filter:
    """A generator with fresh weights, drawn from torch's global random state.

    Raises:
        ConfigError: There is no such network.
    """
    try:
        drawing = _drawing(network)
        return SteadyFilter(drawing, SteadyConfig(network.steady_channels)) if network.steady_channels else drawing
    except ValueError as error:
        raise ConfigError(f"[network]: {error}") from None


def _drawing(network: FilterNetworkConfig) -> UNetGenerator | ResNetGenerator | TinyFilter | PlaneFilter:
    norm = cast("Norm", network.norm)
    if network.generator == "unet":
        return UNetGenerator(UNetConfig(network.downs, network.channels, norm, network.dropout))
    if network.generator == "resnet":
        return ResNetGenerator(ResNetConfig(network.blocks, network.channels, norm, network.dropout))
    if network.generator == "tiny":
        return TinyFilter(_tiny(network))
    if network.generator == "planes":
        sizes = (network.fine, network.middle, network.coarse, network.wide)
        return PlaneFilter(PlaneFilterConfig(*sizes))
    raise ConfigError(f"[network] generator is {network.generator!r}, expected one of {', '.join(GENERATORS)}")


def new_judge(network: FilterNetworkConfig) -> PatchGan:
    """The judge of patches, likewise.

    Raises:
        ConfigError: There is no such judge.
    """
    try:
        return PatchGan(PatchGanConfig(network.receptive_px, network.judge_channels, cast("Norm", network.judge_norm)))
    except ValueError as error:
        raise ConfigError(f"[network]: {error}") from None


def _tiny(network: FilterNetworkConfig) -> TinyFilterConfig:
    return TinyFilterConfig(
        size=cast("TinySize", network.size),
        residual=network.residual,
        memory=cast("Memory", network.memory),
        state_channels=network.state_channels,
    )


def has_memory(network: nn.Module) -> bool:
    """Whether frames must be drawn one after the other."""
    return isinstance(network, SteadyFilter) or (isinstance(network, TinyFilter) and network.config.state_channels > 0)


def drawn_run(generator: Any, frames: Tensor, *, memory: bool) -> Tensor:  # noqa: ANN401 - a filter, or Fabric's around it
    """Draw runs of frames.

    Args:
        generator: The network.
        frames: [N, F, 3, H, W].
        memory: Each frame is drawn with the state that the one before left; otherwise all at once.

    Returns:
        [N, F, 3, H, W].
    """
    count, length = frames.shape[:2]
    if not memory:
        flat = frames.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        drawn: Tensor = generator(flat)
        return drawn.reshape(count, length, *drawn.shape[1:])
    pictures: list[Tensor] = []
    state: list[Tensor] = []
    for frame in frames.unbind(1):
        picture, *state = generator(frame.contiguous(memory_format=torch.channels_last), *state)
        pictures.append(picture)
    return torch.stack(pictures, 1)
