"""The networks that a layout recipe's config asks for: generators of pictures from layouts, and their judges.

OASIS's are the defaults. The rivals are those of Pix2Pix and, without noise and with a judge of patches, of SPADE.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from models.oasis import JUDGE_LAST, JUDGE_WIDTHS, FreeNorm, OasisConfig, OasisDiscriminator, OasisGenerator
from models.pix2pix import Norm, PatchGan, PatchGanConfig, UNetConfig, UNetGenerator
from training.config import ConfigError

GENERATORS = ("oasis", "unet")
PICTURE_CHANNELS = 3
PATCH_CHANNELS = 64
"""Of the published judge of patches ("ndf")."""


@dataclass(frozen=True, slots=True)
class OasisNetworkConfig:
    """The generator and its judge, of which `[loss] gan` says the kind. The defaults are OASIS's.

    Attributes:
        generator: "oasis", see `models.oasis.OasisConfig`, which without noise is SPADE's; or "unet", Pix2Pix's.
        noise: Channels of the noise; 0: none, and "unet" hears none.
        channels: Of the generator's finest grid; of "unet", of its first layer ("ngf").
        hidden: Of "oasis": between layout and scales.
        norm: "batch" or "instance"; of "unet" also "none".
        fold: Of "oasis": 1 as published; 4 for live use.
        style: Of "oasis": the style branch, which is ours.
        downs: Of "unet": 8 is the U-Net-256, 7 the U-Net-128.
        dropout: Of "unet".
        judge_share: Channels of the discriminator, as a share of the published ones.
        judge_last: Of the one that segments: its channels at full size, before the logits.
        receptive_px: Of the one of patches: 1, 16, 34, 70, 142 or 286.
        judge_norm: Of the one of patches: "batch", "instance" or "none".
        judge_spectral: Of the one of patches: spectral norm around each convolution that is normalised.
    """

    generator: str = "oasis"
    noise: int = 64
    channels: int = 64
    hidden: int = 128
    norm: str = "batch"
    fold: int = 1
    style: bool = False
    downs: int = 8
    dropout: bool = True
    judge_share: float = 1.0
    judge_last: int = JUDGE_LAST
    receptive_px: int = 70
    judge_norm: str = "batch"
    judge_spectral: bool = False

    def check(self) -> None:
        """Hold the numbers against each other; `new_generator` looks at each.

        Raises:
            ConfigError: They do not fit.
        """
        if self.generator not in GENERATORS:
            raise ConfigError(f"[network] generator is {self.generator!r}, expected one of {', '.join(GENERATORS)}")
        if self.generator == "unet" and self.noise:
            raise ConfigError(f"[network] noise = {self.noise}, but a U-Net hears none; set noise = 0")


class LayoutUNet(nn.Module):
    """Pix2Pix's U-Net, shown a layout; what noise there is comes from its dropout."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.net = UNetGenerator(config)

    def forward(self, layout: Tensor, z: Tensor | None = None) -> Tensor:  # noqa: ARG002 - as OASIS's is called
        """As `OasisGenerator.forward`, but sides are multiples of 2^downs."""
        drawn: Tensor = self.net(layout)
        return drawn


LayoutGenerator = OasisGenerator | LayoutUNet


def new_generator(network: OasisNetworkConfig, classes: int) -> LayoutGenerator:
    """A generator with fresh weights, drawn from torch's global random state.

    Raises:
        ConfigError: There is no such network.
    """
    network.check()
    try:
        if network.generator == "unet":
            norm = cast("Norm", network.norm)
            return LayoutUNet(UNetConfig(network.downs, network.channels, norm, network.dropout, in_channels=classes))
        return OasisGenerator(
            OasisConfig(
                classes,
                network.noise,
                network.channels,
                network.hidden,
                cast("FreeNorm", network.norm),
                network.fold,
                network.style,
            )
        )
    except ValueError as error:
        raise ConfigError(f"[network]: {error}") from None


def new_segmenting_judge(network: OasisNetworkConfig, classes: int) -> OasisDiscriminator:
    """OASIS's, likewise."""
    widths = tuple(max(round(each * network.judge_share), 4) for each in JUDGE_WIDTHS[1:])
    return OasisDiscriminator(classes, (JUDGE_WIDTHS[0], *widths), network.judge_last)


def new_patch_judge(network: OasisNetworkConfig, classes: int) -> PatchGan:
    """Pix2Pix's, of layout and picture, likewise.

    Raises:
        ConfigError: There is no such judge.
    """
    channels, norm = max(round(PATCH_CHANNELS * network.judge_share), 1), cast("Norm", network.judge_norm)
    try:
        judge = PatchGan(PatchGanConfig(network.receptive_px, channels, norm, classes + PICTURE_CHANNELS))
    except ValueError as error:
        raise ConfigError(f"[network]: {error}") from None
    if network.judge_spectral:
        # As published for SPADE: neither the first convolution nor the last, which nothing normalises.
        convolutions = [each for each in judge.modules() if isinstance(each, nn.Conv2d)]
        for convolution in convolutions[1:-1]:
            spectral_norm(convolution)
    return judge


def millions(network: nn.Module) -> float:
    """Of weights."""
    return round(sum(each.numel() for each in network.parameters()) / 1e6, 3)
