"""Reading a standard's weights: the file must be the published one, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from models.manifest import sha256_of
from training.config import ConfigError


@dataclass(frozen=True, slots=True)
class Published:
    """A file that others published.

    Attributes:
        name: Under which it is known.
        sha256: How its hash begins.
        origin: Where a user gets it.
    """

    name: str
    sha256: str
    origin: str


def read_published(path: Path, wanted: Published) -> dict[str, Tensor]:
    """The tensors of a published file.

    Raises:
        ConfigError: It is missing, or not that file.
    """
    if not path.is_file():
        raise ConfigError(f"no file {path}, expected {wanted.name}; get it from {wanted.origin}")
    found = sha256_of(path)
    if not found.startswith(wanted.sha256):
        raise ConfigError(
            f"{path} is not {wanted.name}: its sha256 begins with {found[:8]}, the standard's with "
            f"{wanted.sha256[:8]}; get it from {wanted.origin}"
        )
    tensors: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return tensors
