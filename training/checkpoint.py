"""Checkpoints that are either whole or not there, and that resume to the same bits."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from training.config import ConfigError, build

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
    """Read a checkpoint onto the CPU; `restore_parts` puts it in place.

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


def check_network(state: dict[str, Any], wanted: object) -> None:
    """Hold a checkpoint's network against the one that a run's config asks for.

    Raises:
        ConfigError: It is another.
    """
    network = state["config"]["network"]
    if build(type(wanted), network, "the checkpoint") != wanted:
        raise ConfigError(f"the checkpoint's network is {network}; start a new run folder")


def check_classes(state: dict[str, Any], classes: int) -> None:
    """Hold a checkpoint's layouts against those that a run's config asks for.

    Raises:
        ConfigError: They have another number of classes.
    """
    if state["config"]["layouts"]["classes"] != classes:
        raise ConfigError("the checkpoint has another number of classes; start a new run folder")


def parts_of(owner: Any, parts: Iterable[str]) -> dict[str, Any]:  # noqa: ANN401 - any trainer
    """The tensors of a trainer's parts and its step, as `restore_parts` puts them back."""
    return {**{name: getattr(owner, name).state_dict() for name in parts}, "step": owner.step}


def restore_parts(owner: Any, parts: Iterable[str], state: dict[str, Any]) -> None:  # noqa: ANN401 - any trainer
    """Put a checkpoint's parts, its step and torch's random state in place.

    Args:
        owner: Has the parts as attributes, and `step`.
        parts: Names of what has a `load_state_dict`.
        state: From `load_checkpoint`.
    """
    for name in parts:
        getattr(owner, name).load_state_dict(state[name])
    owner.step = state["step"]
    torch.set_rng_state(state["torch_rng"])
