"""Losses and views of pictures that need no network to judge them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kernels.mel import LIPGAN_WINDOW
from models.lipgan import FACE_SIZE
from training.config import LossConfig

# Rows and columns of the crop that hold mouth and chin, as shares of its side.
MOUTH_BOX = ((48 / 96, 92 / 96), (22 / 96, 74 / 96))
# What was moved is compared at a quarter of the crop's resolution.
COARSE = 4


def weighed(losses: dict[str, Tensor], weights: LossConfig) -> Tensor:
    """The sum of the losses, each with its weight."""
    return torch.stack([getattr(weights, name) * value for name, value in losses.items()]).sum()


def mouth_box(picture: Tensor) -> Tensor:
    """The part of [N, C, S, S] that holds mouth and chin."""
    (top, bottom), (left, right) = ((round(edge * picture.shape[2]) for edge in edges) for edges in MOUTH_BOX)
    return picture[:, :, top:bottom, left:right]


def judged(picture: Tensor) -> Tensor:
    """[N, 3, S, S] at the size that the sync discriminator reads."""
    return nn.functional.adaptive_avg_pool2d(picture, FACE_SIZE) if picture.shape[2] != FACE_SIZE else picture


def judged_sound(mel: Tensor) -> Tensor:
    """Of mel windows [N, 1, 80, T] the last 27 columns, as LipGAN's sound encoders hear them."""
    return mel[..., -LIPGAN_WINDOW.columns :]


def unlatticed(picture: Tensor) -> Tensor:
    """Take the finest checkerboard out of [N, C, H, W] by (1 2 1)/4: a judge must not be paid with dots."""
    line = picture.new_tensor([0.25, 0.5, 0.25])
    kernel = torch.outer(line, line).expand(picture.shape[1], 1, 3, 3)
    return nn.functional.conv2d(
        nn.functional.pad(picture, (1, 1, 1, 1), mode="replicate"), kernel, groups=picture.shape[1]
    )


def edge_loss(picture: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error of the differences of neighbouring pixels in the mouth box."""
    error = mouth_box(picture - target)
    return error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()


def moved_loss(places: Tensor, face: Tensor, target: Tensor) -> Tensor:
    """Error of what was moved from either picture before anything is painted, seen coarsely in the mouth box.

    Args:
        places: [N, 2, 2, rows, S], see `models.lipgan_lite.Drawn`.
        face: [N, 6, S, S].
        target: [N, 3, S, S].
    """
    rows = places.shape[3] // COARSE
    wanted = mouth_box(nn.functional.avg_pool2d(target, COARSE))
    hidden = target.shape[2] // COARSE - rows
    error = target.new_zeros(())
    for i, shown in enumerate((face[:, 3:], face[:, :3])):
        coarse = nn.functional.avg_pool2d(places[:, i], COARSE).permute(0, 2, 3, 1)
        moved = nn.functional.grid_sample(
            nn.functional.avg_pool2d(shown, COARSE), coarse, padding_mode="border", align_corners=False
        )
        error = error + (mouth_box(nn.functional.pad(moved, (0, 0, hidden, 0))) - wanted).abs().mean()
    return error


def mixed_loss(shares: Tensor) -> Tensor:
    """Total variation of the shares [N, C, H, W] by which sources are mixed, mean over pixels.

    Source:
        L. Rudin, S. Osher, E. Fatemi, "Nonlinear total variation based noise removal algorithms", Physica D 1992.
    """
    return shares.diff(dim=2).abs().mean() + shares.diff(dim=3).abs().mean()
