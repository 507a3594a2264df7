"""What OASIS learns by: every pixel is one of the layout's classes, or drawn.

Layouts are one-hot, float [N, C, H, W]; logits are [N, C + 1, H, W] with "drawn" first.

Source: V. Sushko et al., "You Only Need Adversarial Supervision for Semantic Image Synthesis", ICLR 2021, sections 3.1
and 3.3; `models/losses.py` of boschresearch/OASIS for how classes are balanced.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

DRAWN = 0
"""The class of a pixel that a generator drew."""


def labels_of(layout: Tensor) -> Tensor:
    """The class of every pixel, int64 [N, H, W]; on a processor, a tenth of the time that `argmax` takes."""
    classes = torch.arange(layout.shape[1], dtype=layout.dtype, device=layout.device)
    return torch.einsum("c,nchw->nhw", classes, layout).long()


def class_balance(layout: Tensor, dont_care: int | None = None) -> Tensor:
    """How much each pixel weighs, so that all classes that are there weigh the same.

    Args:
        layout: Of the whole batch.
        dont_care: The class whose pixels do not count.

    Returns:
        Float [N, H, W]: pixels / (classes there x pixels of this one); the mean is 1 where every pixel counts.
    """
    counts = layout.sum((0, 2, 3))
    if dont_care is not None:
        counts = counts.index_fill(0, torch.tensor(dont_care, device=counts.device), 0.0)
    there = counts > 0
    pixels = layout.shape[0] * layout.shape[2] * layout.shape[3]
    weights = torch.where(there, pixels / (there.sum().clamp(min=1) * counts.clamp(min=1)), 0.0)
    return weights[labels_of(layout)]


def rarity(layout: Tensor) -> Tensor:
    """How much a pixel's distance from the photo weighs: the square root of `class_balance`; eyes are few pixels.

    Returns:
        Float [N, H, W], at most 8.
    """
    return class_balance(layout).sqrt().clamp(max=8.0)


def real_loss(logits: Tensor, layout: Tensor, dont_care: int | None = None) -> Tensor:
    """How far pixels are from being taken for their classes: real ones, and drawn ones where a generator learns."""
    loss = nn.functional.cross_entropy(logits, labels_of(layout) + 1, reduction="none")
    return (loss * class_balance(layout, dont_care)).mean()


def drawn_loss(logits: Tensor) -> Tensor:
    """How far pixels are from being taken for drawn ones; all weigh the same."""
    target = torch.full_like(logits[:, 0], DRAWN, dtype=torch.long)
    return nn.functional.cross_entropy(logits, target)


def label_mask(layout: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """LabelMix's mask: a coin for each class of each picture.

    Returns:
        Float [N, 1, H, W], 1 where the real picture is to be seen.
    """
    coins = torch.randint(0, 2, layout.shape[:2], generator=generator).to(layout)
    return torch.gather(coins, 1, labels_of(layout).flatten(1)).view(len(layout), 1, *layout.shape[2:])


def mixed(mask: Tensor, real: Tensor, drawn: Tensor) -> Tensor:
    """The real one where the mask is 1: of pictures as of logits."""
    return mask * real + (1 - mask) * drawn


def label_mix_loss(of_mixed: Tensor, mask: Tensor, of_real: Tensor, of_drawn: Tensor) -> Tensor:
    """How far logits of a mixed picture are from the mixed logits of its two pictures."""
    return nn.functional.mse_loss(of_mixed, mixed(mask, of_real, of_drawn))


@torch.no_grad()
def average_into(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move an average a step towards a network: average = decay x average + (1 - decay) x network.

    Whole numbers (batch norm's counts) are taken over. Statistics are averaged as well, but belong to the network's
    weights, not to their average: see `settle_statistics`.
    """
    theirs = network.state_dict()
    for name, own in average.state_dict().items():
        if own.is_floating_point():
            own.lerp_(theirs[name].to(own), 1 - decay)
        else:
            own.copy_(theirs[name])


@torch.no_grad()
def settle_statistics(network: nn.Module, batches: Iterable[tuple[Tensor, ...]]) -> None:
    """Estimate batch norm's statistics anew: the mean over some batches, each counted alike.

    The published code draws 51 batches with its usual momentum before it saves or judges, which nearly comes to that.

    Args:
        network: Left as it was but for the statistics.
        batches: Arguments of its `forward`.
    """
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    momenta, training = [layer.momentum for layer in norms], network.training
    network.eval()
    for layer in norms:
        layer.reset_running_stats()
        layer.momentum = None
        layer.train()
    for batch in batches:
        network(*batch)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum
    network.train(training)
