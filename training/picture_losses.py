"""Losses of a filter: what the judge of patches pays, features, and whether a filter flickers.

Source: P. Isola et al., CVPR 2017 (arXiv:1611.07004), section 3.1: "vanilla"; X. Mao et al., "Least squares generative
adversarial networks", ICCV 2017: "lsgan"; J. H. Lim and J. C. Ye, arXiv:1705.02894: "hinge".
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.config import ConfigError

GAN_LOSSES = ("vanilla", "lsgan", "hinge")


def check_gan(kind: str) -> None:
    """Refuse what there is not.

    Raises:
        ConfigError: No such loss.
    """
    if kind not in GAN_LOSSES:
        raise ConfigError(f"[loss] gan is {kind!r}, expected one of {', '.join(GAN_LOSSES)}")


def judge_loss(kind: str, real: Tensor, drawn: Tensor) -> Tensor:
    """What the judge minimises: half of the loss on real pairs and half of that on drawn ones (any shape of logits)."""
    if kind == "hinge":
        on_real, on_drawn = nn.functional.relu(1 - real).mean(), nn.functional.relu(1 + drawn).mean()
    else:
        on_real, on_drawn = _held_against(kind, real, 1.0), _held_against(kind, drawn, 0.0)
    return 0.5 * (on_real + on_drawn)


def generator_loss(kind: str, drawn: Tensor) -> Tensor:
    """What the generator gets from the judge's logits of what it drew."""
    return -drawn.mean() if kind == "hinge" else _held_against(kind, drawn, 1.0)


def _held_against(kind: str, logits: Tensor, value: float) -> Tensor:
    wanted = torch.full_like(logits, value)
    if kind == "vanilla":
        return nn.functional.binary_cross_entropy_with_logits(logits, wanted)
    return nn.functional.mse_loss(logits, wanted)


def gradient_loss(drawn: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error of the differences of neighbouring pixels of [N, 3, H, W]: strokes and edges."""
    error = drawn - target
    return error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()


def flicker_loss(drawn: Tensor, target: Tensor, places: Tensor) -> Tensor:
    """How much a filter's error changes from one view of a still to the next, after the motion is taken out.

    Where nothing moves this is the change of the drawn picture. What interpolation blurs is blurred in drawn picture
    and target alike, so it is not paid for.

    Args:
        drawn: [N, F, 3, S, S].
        target: Likewise.
        places: [N, F - 1, S, S, 2], see `PairBatch`.
    """
    error = drawn - target
    before, after = error[:, :-1].flatten(0, 1), error[:, 1:].flatten(0, 1)
    moved, inside = warped(before, places.flatten(0, 1))
    return ((after - moved).abs() * inside).sum() / (inside.sum() * after.shape[1]).clamp(min=1)


def warped(pictures: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Look up where pixels were.

    Args:
        pictures: [N, C, S, S].
        places: [N, S, S, 2]: where a pixel of the result lies in the picture, x first.

    Returns:
        [N, C, S, S], bilinear, and [N, 1, S, S]: 1 where the place is inside.
    """
    side = pictures.shape[-1]
    inside = ((places >= 0) & (places <= side - 1)).all(-1)[:, None].to(pictures.dtype)
    grid = (2 * places + 1) / side - 1
    return nn.functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False), inside
