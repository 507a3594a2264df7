"""Checkpoints that are either whole or not there, and that resume to the same bits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from training.config import ConfigError

CHECKPOINT_FILE = "checkpoint.pt"


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write beside the final name, flush to disk, then rename."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        torch.save({**state, "torch_rng": torch.get_rng_state()}, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; the caller restores `torch_rng` when it resumes.

    Raises:
        ConfigError: Missing or broken file.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ConfigError(f"no checkpoint {path}; train first: python -m training lipgan") from error
    except (RuntimeError, EOFError, OSError) as error:
        raise ConfigError(f"{path} is no whole checkpoint ({error}); delete it and resume from another") from error
    return state
