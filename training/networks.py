"""The generator that a run's config asks for."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from models.generators import rebuild
from models.lipgan import FACE_SIZE, LipGanGenerator
from models.lipgan_lite import LipGanLite
from training.config import ConfigError, NetworkConfig

TrainedGenerator = LipGanGenerator | LipGanLite
"""What this repository's recipe trains."""


class Listener(nn.Linear):
    """Reads the mouth linearly from a sound embedding; in float32, also under autocast."""

    def forward(self, embedding: Tensor) -> Tensor:
        """[N, C] to [N, 2]."""
        with torch.autocast(embedding.device.type, enabled=False):
            return super().forward(embedding.float())


def new_generator(network: NetworkConfig) -> TrainedGenerator:
    """A generator with fresh weights, drawn from torch's global random state.

    Raises:
        ConfigError: There is no such network.
    """
    family = "lipgan_lite" if network.variant == "lite" else "lipgan"
    if family == "lipgan" and (network.crop_px, network.look_ahead_ms) != (FACE_SIZE, NetworkConfig().look_ahead_ms):
        raise ConfigError(
            f"{network.variant!r} takes crops of {FACE_SIZE} px and its own mel window, found crop_px = "
            f'{network.crop_px}, look_ahead_ms = {network.look_ahead_ms}; choose variant = "lite", or leave both out'
        )
    try:
        generator = rebuild(family, dataclasses.asdict(network))
    except ValueError as error:
        raise ConfigError(f"[network]: {error}") from None
    assert isinstance(generator, TrainedGenerator)
    return generator
