"""LipGAN as published: two generators, two sound front ends, and the sync discriminator.

Layer tables are data (channels, kernel, stride, residual blocks), so that they can be read beside
the reference. Layers that the reference builds but never connects (the 1x1 on the joined embedding and the
first MFCC convolution of the basic model) are left out: they are not trainable there either.
Pictures are RGB here (the reference: BGR), values in [0, 1].

Source: K R Prajwal et al., "Towards Automatic Face-to-Face Translation", ACM MM 2019; `generator.py` and
`discriminator.py` of Rudrabha/LipGAN, branches `master` (MFCC) and `fully_pythonic` (mel).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from models.layers import (
    ConvBlock,
    DiscriminatorBlock,
    ResidualBlock,
    Size,
    TransposedBlock,
)

Variant = Literal["basic", "residual"]
FrontEnd = Literal["mel", "mfcc"]

FACE_SIZE = 96
"""Side of the crop in pixels; the tables below end at 1x1 only for this side."""

SOUND_SIZE: dict[FrontEnd, Size] = {"mel": (80, 27), "mfcc": (12, 35)}
"""Bands and columns of the sound window."""


@dataclass(frozen=True, slots=True)
class LipGanConfig:
    """Which generator.

    Attributes:
        variant: "basic", or "residual" (the paper's).
        front_end: "mel" [1, 80, 27] or "mfcc" [1, 12, 35].
        width: Factor on every inner channel count; 1.0 is the published network.
    """

    variant: Variant = "basic"
    front_end: FrontEnd = "mel"
    width: float = 1.0

    def channels(self, published: int) -> int:
        """A published channel count at this width: even and at least 8."""
        return max(8, 2 * round(published * self.width / 2))

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint or a manifest."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `as_dict`.

        Raises:
            ValueError: An unknown variant or front end, or a width that is not positive.
        """
        config = cls(values["variant"], values["front_end"], float(values["width"]))
        if config.variant not in ("basic", "residual") or config.front_end not in SOUND_SIZE:
            raise ValueError(f"no such LipGAN: {config}; expected basic|residual and mel|mfcc")
        if not config.width > 0:
            raise ValueError(f"LipGAN's width must be positive, found {config.width}")
        return config


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of a layer table: a conv block, then `residual` residual or `plain` conv blocks."""

    channels: int
    kernel: int | Size = 3
    stride: int | Size = 1
    residual: int = 0
    plain: int = 0
    same: bool = True
    pad_top: int = 0


FACE_ENCODER: dict[Variant, tuple[_Row, ...]] = {
    "basic": (
        _Row(32, 11),
        _Row(64, 7, 2),
        _Row(128, 5, 2),
        _Row(256, 3, 2),
        _Row(512, 3, 2),
        _Row(512, 3, 2),
    ),
    "residual": (
        _Row(32, 7),
        _Row(64, 5, 2, residual=2),
        _Row(128, 3, 2, residual=3),
        _Row(256, 3, 2, residual=2),
        _Row(512, 3, 2, residual=2),
        _Row(512, 3, 2),
    ),
}
"""Sides 96, 48, 24, 12, 6, 3. Every row's output is a skip connection."""

FACE_EMBEDDING: dict[Variant, tuple[_Row, ...]] = {
    "basic": (_Row(512, 3, same=False), _Row(256, 1)),
    "residual": (_Row(512, 3, same=False), _Row(512, 1)),
}

SOUND_ENCODER: dict[tuple[Variant, FrontEnd], tuple[_Row, ...]] = {
    ("basic", "mfcc"): (
        _Row(128),
        _Row(256, 3, (1, 2), pad_top=1),
        _Row(256),
        _Row(256, 3, 2),
        _Row(512, 3, 2),
        _Row(512, (4, 5), same=False),
        _Row(256, 1),
    ),
    ("residual", "mfcc"): (
        _Row(128, residual=3),
        _Row(256, 3, (1, 2), residual=2, pad_top=1),
        _Row(512, 3, 2, residual=2),
        _Row(512, 3, 2, residual=1),
        _Row(512, (4, 5), same=False),
        _Row(512, 1),
    ),
    ("basic", "mel"): (
        _Row(32, plain=2),
        _Row(64, 3, 3, plain=2),
        _Row(128, 3, (3, 1), plain=2),
        _Row(256, 3, 3, plain=2),
        _Row(512, 3, same=False),
        _Row(512, 1),
    ),
    ("residual", "mel"): (
        _Row(32, residual=2),
        _Row(64, 3, 3, residual=2),
        _Row(128, 3, (3, 1), residual=2),
        _Row(256, 3, 3, residual=2),
        _Row(512, 3, same=False),
        _Row(512, 1),
    ),
}

DECODER = ((512, 3, 0), (512, 2, 2), (256, 2, 2), (128, 2, 2), (64, 2, 2), (32, 2, 0))
"""Channels, stride, residual blocks (residual variant only) at sides 3, 6, 12, 24, 48, 96."""

LAST_CHANNELS = 16


class Stack(nn.Sequential):
    """The rows of one table, one after the other."""

    def __init__(self, config: LipGanConfig, rows: tuple[_Row, ...], channels: int, size: Size) -> None:
        super().__init__()
        self.out_channels, self.out_size = channels, size
        self.row_ends: list[int] = []
        for row in rows:
            self._add_row(row, config.channels(row.channels))
            self.row_ends.append(len(self) - 1)

    def _add_row(self, row: _Row, channels: int) -> None:
        if row.pad_top:
            self.append(nn.ZeroPad2d((0, 0, row.pad_top, 0)))
            self.out_size = (self.out_size[0] + row.pad_top, self.out_size[1])
        self._add_conv(row, channels)
        plain = _Row(row.channels)
        for _ in range(row.plain):
            self._add_conv(plain, channels)
        for _ in range(row.residual):
            self.append(ResidualBlock(channels, self.out_size))

    def _add_conv(self, row: _Row, channels: int) -> None:
        block = ConvBlock(
            self.out_channels,
            channels,
            self.out_size,
            kernel=row.kernel,
            stride=row.stride,
            same=row.same,
        )
        self.append(block)
        self.out_channels, self.out_size = channels, block.out_size


def sound_encoder(config: LipGanConfig) -> Stack:
    """What turns the sound window of a front end into an embedding [N, C, 1, 1], C = `out_channels`."""
    return Stack(config, SOUND_ENCODER[config.variant, config.front_end], 1, SOUND_SIZE[config.front_end])


class LipGanGenerator(nn.Module):
    """Draws the lower half of a face so that it says what is heard.

    Identity and target are read by one encoder, the sound by another; both embeddings start a
    U-Net decoder that joins every face level (skip first, 96-side skip = first convolution's output).
    """

    def __init__(self, config: LipGanConfig) -> None:
        super().__init__()
        self.config = config
        variant = config.variant
        side = (FACE_SIZE, FACE_SIZE)
        self.face = Stack(config, FACE_ENCODER[variant], 6, side)
        self.face_embedding = Stack(config, FACE_EMBEDDING[variant], self.face.out_channels, self.face.out_size)
        self.sound = sound_encoder(config)
        self.decoder = nn.ModuleList()
        channels = self._add_decoder(self.face_embedding.out_channels + self.sound.out_channels)
        last = config.channels(LAST_CHANNELS)
        self.last = nn.Sequential(ConvBlock(channels, last, side), ConvBlock(last, last, side), nn.Conv2d(last, 3, 1))

    def _add_decoder(self, channels: int) -> int:
        config, height = self.config, 1
        skips = [config.channels(row.channels) for row in FACE_ENCODER[config.variant]]
        for (published, stride, residual), skip in zip(DECODER, reversed(skips), strict=True):
            out = config.channels(published)
            height *= stride
            level = nn.Sequential(TransposedBlock(channels, out, stride=stride))
            if config.variant == "residual":
                level.extend(ResidualBlock(out, (height, height)) for _ in range(residual))
            self.decoder.append(level)
            channels = skip + out
        return channels

    def forward(self, face: Tensor, mel: Tensor) -> Tensor:
        """Draw.

        Args:
            face: float [N, 6, 96, 96] in [0, 1]: identity RGB, then the target with its lower half zero.
            mel: float [N, 1, 80, 27] (front end "mel") or [N, 1, 12, 35] ("mfcc").

        Returns:
            float [N, 3, 96, 96] in [0, 1], RGB.
        """
        skips = []
        x = face
        for index, block in enumerate(self.face):
            x = block(x)
            if index in self.face.row_ends:
                skips.append(x)
        x = torch.cat([self.face_embedding(x), self.sound(mel)], dim=1)
        for level in self.decoder:
            x = torch.cat([skips.pop(), level(x)], dim=1)
        return torch.sigmoid(self.last(x))


DISCRIMINATOR_FACE = (_Row(64, 7, 2), _Row(128, 5, 2), _Row(256, 3, 2), _Row(512, 3, 2), _Row(512, 3, 2))

DISCRIMINATOR_SOUND: dict[FrontEnd, tuple[_Row, ...]] = {
    "mfcc": (
        _Row(64),
        _Row(128),
        _Row(256, 3, (1, 2), pad_top=1),
        _Row(256),
        _Row(256, 3, 2),
        _Row(512, 3, 2),
    ),
    "mel": (
        _Row(32),
        _Row(64, 3, 3),
        _Row(128, 3, (3, 1)),
        _Row(256, 3, 3),
        _Row(512, 3, same=False),
        _Row(512, 1),
    ),
}

EMBEDDING = 512


class SyncDiscriminator(nn.Module):
    """Says how far a picture is from the sound that should belong to it.

    The embeddings have unit length, so the distance lies in [0, 2]; near 0 is in sync.
    """

    def __init__(self, front_end: FrontEnd = "mel", width: float = 1.0) -> None:
        super().__init__()
        self.config = LipGanConfig(front_end=front_end, width=width)
        embedding = self.config.channels(EMBEDDING)
        self.face, channels, _ = self._stack(DISCRIMINATOR_FACE, 3, (FACE_SIZE, FACE_SIZE))
        self.face.append(nn.Conv2d(channels, embedding, 3))
        rows = DISCRIMINATOR_SOUND[front_end]
        self.sound, channels, size = self._stack(rows, 1, SOUND_SIZE[front_end])
        if front_end == "mfcc":
            self.sound.append(nn.Conv2d(channels, embedding, size))

    def _stack(self, rows: tuple[_Row, ...], channels: int, size: Size) -> tuple[nn.Sequential, int, Size]:
        stack = nn.Sequential()
        for row in rows:
            if row.pad_top:
                stack.append(nn.ZeroPad2d((0, 0, row.pad_top, 0)))
                size = (size[0] + row.pad_top, size[1])
            out = self.config.channels(row.channels)
            block = DiscriminatorBlock(channels, out, size, kernel=row.kernel, stride=row.stride, same=row.same)
            stack.append(block)
            channels, size = out, block.out_size
        return stack, channels, size

    def embed_face(self, picture: Tensor) -> Tensor:
        """Pictures, float [N, 3, 96, 96] in [0, 1], to unit vectors [N, 512]."""
        return nn.functional.normalize(self.face(picture).flatten(1), dim=1)

    def embed_sound(self, mel: Tensor) -> Tensor:
        """The sound window, as the generator takes it, to unit vectors [N, 512]."""
        return nn.functional.normalize(self.sound(mel).flatten(1), dim=1)

    def forward(self, picture: Tensor, mel: Tensor) -> Tensor:
        """Euclidean distance [N] between the embeddings of picture and sound."""
        difference = self.embed_face(picture) - self.embed_sound(mel)
        # The root's slope is infinite at 0; a floor far below any real distance keeps it finite.
        return difference.square().sum(1).clamp_min(1e-12).sqrt()


CONTRASTIVE_MARGIN = 1.0


def contrastive_loss(distance: Tensor, unsynced: Tensor) -> Tensor:
    """Mean of (1 - y) d^2 + y max(0, margin - d)^2.

    Args:
        distance: [N], from `SyncDiscriminator`.
        unsynced: [N], y: 1 for a fake or out-of-sync pair, 0 for a real pair in sync.
    """
    near = (1 - unsynced) * distance.square()
    far = unsynced * (CONTRASTIVE_MARGIN - distance).clamp_min(0).square()
    return (near + far).mean()


def parameter_count(network: nn.Module) -> int:
    """Trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
