"""How a layout recipe asks its discriminator: one that segments, as OASIS's, or one of patches, as its rivals have.

Pictures are float [N, 3, H, W] in [-1, 1], layouts one-hot float [N, classes, H, W].

Source: `training.oasis_losses`; `training.picture_losses`, and for the hinge loss T. Park et al., "Semantic Image
Synthesis with Spatially-Adaptive Normalization", CVPR 2019 (arXiv:1903.07291), section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from training.config import ConfigError
from training.oasis_losses import drawn_loss, label_mask, label_mix_loss, mixed, real_loss
from training.picture_losses import GAN_LOSSES, generator_loss, judge_loss

SEGMENTS = "segments"
"""Every pixel is a class of the layout, or drawn."""


def check_gan(kind: str) -> None:
    """Refuse what there is not.

    Raises:
        ConfigError: No such loss.
    """
    if kind not in (SEGMENTS, *GAN_LOSSES):
        raise ConfigError(f"[loss] gan is {kind!r}, expected one of {', '.join((SEGMENTS, *GAN_LOSSES))}")


class LayoutJudge(Protocol):
    """A discriminator and what it learns by."""

    def seen(self, layout: Tensor, picture: Tensor) -> list[Tensor]:
        """What each layer gives; the last are the logits."""

    def opinion(self, logits: Tensor, layout: Tensor) -> Tensor:
        """What the generator minimises, of logits of what it drew."""

    def losses(self, layout: Tensor, photo: Tensor, drawn: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """What the discriminator minimises, and its parts without their weights."""


@dataclass(frozen=True, slots=True)
class SegmentingJudge:
    """OASIS's; it is not told the layout.

    Attributes:
        network: An `OasisDiscriminator`, or Fabric's around it.
        dont_care: The class whose pixels do not count.
        label_mix: Weight of LabelMix.
    """

    network: Any
    dont_care: int | None
    label_mix: float

    def seen(self, layout: Tensor, picture: Tensor) -> list[Tensor]:  # noqa: ARG002 - see the class
        """See `LayoutJudge`."""
        found: list[Tensor] = self.network.features(picture)
        return found

    def opinion(self, logits: Tensor, layout: Tensor) -> Tensor:
        """See `LayoutJudge`."""
        return real_loss(logits.float(), layout, self.dont_care)

    def losses(self, layout: Tensor, photo: Tensor, drawn: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """See `LayoutJudge`."""
        mask = label_mask(layout)
        of_drawn, of_real = self.network(drawn).float(), self.network(photo).float()
        parts = {
            "drawn": drawn_loss(of_drawn),
            "real": real_loss(of_real, layout, self.dont_care),
            "label_mix": label_mix_loss(self.network(mixed(mask, photo, drawn)).float(), mask, of_real, of_drawn),
        }
        return parts["drawn"] + parts["real"] + self.label_mix * parts["label_mix"], parts


@dataclass(frozen=True, slots=True)
class PatchJudge:
    """One of patches of layout and picture.

    Attributes:
        network: A `PatchGan`, or Fabric's around it.
        gan: "vanilla", "lsgan" or "hinge".
    """

    network: Any
    gan: str

    def seen(self, layout: Tensor, picture: Tensor) -> list[Tensor]:
        """See `LayoutJudge`."""
        found: list[Tensor] = self.network.features(layout, picture)
        return found

    def opinion(self, logits: Tensor, layout: Tensor) -> Tensor:  # noqa: ARG002 - it has seen the layout
        """See `LayoutJudge`."""
        return generator_loss(self.gan, logits.float())

    def losses(self, layout: Tensor, photo: Tensor, drawn: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """See `LayoutJudge`; batch norm does not see real and drawn pictures in one batch."""
        on_drawn, on_real = self.network(layout, drawn).float(), self.network(layout, photo).float()
        loss = judge_loss(self.gan, on_real, on_drawn)
        return loss, {"judge_loss": loss}
