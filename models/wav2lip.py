"""Wav2Lip's generator as published, with the published names, so that a published state dict fits it.

It runs published weights as they are (masked face first, BGR) and imported ones (`models.importer` has put their
channels into our order: identity first, RGB); the network itself knows no channel order.

Source: K R Prajwal et al., "A Lip Sync Expert Is All You Need for Speech to Lip Generation In The Wild", ACM MM 2020,
arXiv:2008.10010; `models/wav2lip.py` and `models/conv.py` of Rudrabha/Wav2Lip.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from models.layers import Size, pair
from models.published import WAV2LIP_WINDOW

FACE_SIZE = 96

TRAINED_WINDOW = WAV2LIP_WINDOW
"""The sound that a picture sees."""


@dataclass(frozen=True, slots=True)
class Wav2LipConfig:
    """There is one Wav2Lip: nothing to choose."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint or a manifest."""
        return {}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `as_dict`.

        Raises:
            ValueError: There are values, which belong to another network.
        """
        if values:
            raise ValueError(f"Wav2Lip has nothing to choose, found {dict(values)}")
        return cls()


class Wav2LipBlock(nn.Module):
    """Convolution with bias or its transpose, batch normalisation, the input added where `residual`, ReLU."""

    def __init__(self, conv: nn.Conv2d | nn.ConvTranspose2d, *, residual: bool = False) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels))
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """Float [N, in, H, W] to [N, out, H', W']."""
        out = self.conv_block(x)
        return torch.relu(out + x if self.residual else out)


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of a layer table: a block, then `residual` blocks of one convolution and its input."""

    channels: int
    kernel: int = 3
    stride: int | Size = 1
    residual: int = 0
    padding: int = 1


FACE_ENCODER = (
    (_Row(16, 7, padding=3),),
    (_Row(32, 3, 2, residual=2),),
    (_Row(64, 3, 2, residual=3),),
    (_Row(128, 3, 2, residual=2),),
    (_Row(256, 3, 2, residual=2),),
    (_Row(512, 3, 2, residual=1),),
    (_Row(512, 3, padding=0), _Row(512, 1, padding=0)),
)
"""Sides 96, 48, 24, 12, 6, 3, 1. The output of every level is a skip connection."""

SOUND_ENCODER = (
    _Row(32, residual=2),
    _Row(64, 3, (3, 1), residual=2),
    _Row(128, 3, 3, residual=2),
    _Row(256, 3, (3, 2), residual=1),
    _Row(512, padding=0),
    _Row(512, 1, padding=0),
)
"""80 x 16, 27 x 16, 9 x 6, 3 x 3, 1 x 1, 1 x 1."""

DECODER = ((512, 1, 1), (512, 2, 2), (384, 2, 2), (256, 2, 2), (128, 2, 2), (64, 2, 2))
"""Channels, stride, residual blocks at sides 3, 6, 12, 24, 48, 96, after a 1 x 1 block of 512 on the sound."""

LAST_CHANNELS = 32


class Wav2LipGenerator(nn.Module):
    """Draws the lower half of a face so that it says what is heard.

    The decoder starts from the sound's embedding; each level is joined with the face level of its side, decoder first.
    """

    def __init__(self, config: Wav2LipConfig = Wav2LipConfig()) -> None:
        super().__init__()
        self.config = config
        self.face_encoder_blocks = nn.ModuleList()
        channels, skips = 6, []
        for rows in FACE_ENCODER:
            blocks, channels = _blocks(rows, channels)
            self.face_encoder_blocks.append(nn.Sequential(*blocks))
            skips.append(channels)
        blocks, channels = _blocks(SOUND_ENCODER, 1)
        self.audio_encoder = nn.Sequential(*blocks)
        blocks, channels = _blocks((_Row(512, 1, padding=0),), channels)
        self.face_decoder_blocks = nn.ModuleList([nn.Sequential(*blocks)])
        for out, stride, residual in DECODER:
            self.face_decoder_blocks.append(_decoder_level(channels + skips.pop(), out, stride, residual))
            channels = out
        blocks, channels = _blocks((_Row(LAST_CHANNELS),), channels + skips.pop())
        self.output_block = nn.Sequential(*blocks, nn.Conv2d(channels, 3, 1), nn.Sigmoid())

    def forward(self, face: Tensor, mel: Tensor) -> Tensor:
        """Draw.

        Args:
            face: float [N, 6, 96, 96] in [0, 1], the two faces in the order of the weights; one with a black lower
                half.
            mel: float [N, 1, 80, 16].

        Returns:
            float [N, 3, 96, 96] in [0, 1].
        """
        skips = []
        x = face
        for level in self.face_encoder_blocks:
            x = level(x)
            skips.append(x)
        x = self.audio_encoder(mel)
        for level in self.face_decoder_blocks:
            x = torch.cat([level(x), skips.pop()], dim=1)
        drawn: Tensor = self.output_block(x)
        return drawn


def _blocks(rows: tuple[_Row, ...], channels: int) -> tuple[list[Wav2LipBlock], int]:
    """The blocks of some rows, and how many channels come out of the last."""
    blocks = []
    for row in rows:
        stride = pair(row.stride)
        blocks.append(Wav2LipBlock(nn.Conv2d(channels, row.channels, row.kernel, stride, row.padding)))
        channels = row.channels
        blocks += _residual(channels, row.residual)
    return blocks, channels


def _residual(channels: int, count: int) -> list[Wav2LipBlock]:
    return [Wav2LipBlock(nn.Conv2d(channels, channels, 3, 1, 1), residual=True) for _ in range(count)]


def _decoder_level(channels: int, out: int, stride: int, residual: int) -> nn.Sequential:
    # From 1 x 1 to 3 x 3 the whole of the kernel is seen; later levels double their side exactly.
    more = 0 if stride == 1 else 1
    up = Wav2LipBlock(nn.ConvTranspose2d(channels, out, 3, stride, padding=more, output_padding=more))
    return nn.Sequential(up, *_residual(out, residual))
