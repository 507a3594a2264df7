"""Trained weights on disk: one safetensors file whose header says which network they belong to.

Half precision is for storage alone; a network is always rebuilt in float32.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from models.engine import EngineError
from models.generators import FAMILIES, Generator, family_of, rebuild

NOTES = "notes"
"""Key of the header under which the notes travel."""


def save_generator(
    path: Path,
    generator: Generator,
    notes: Mapping[str, Any] | None = None,
    *,
    storage: Literal["float16", "float32"] = "float16",
) -> None:
    """Write a generator, whole or not at all.

    Args:
        path: Where to; the folder exists.
        generator: Whose weights.
        notes: JSON values that travel with the weights: steps, seed, figures.
        storage: float16 halves the file; batch norm statistics stay float32.
    """
    header = {family_of(generator): json.dumps(generator.config.as_dict()), NOTES: json.dumps(dict(notes or {}))}
    write_weights(path, generator.state_dict(), header, half=storage == "float16")


def write_weights(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str], *, half: bool = True) -> None:
    """Write tensors under a header, whole or not at all; with `half` in half precision but for norm statistics."""
    stored = {name: _stored(name, tensor, half=half) for name, tensor in tensors.items()}
    partial = path.with_suffix(".tmp")
    save_file(stored, partial, metadata=dict(header))
    partial.replace(path)


def _stored(name: str, tensor: Tensor, *, half: bool) -> Tensor:
    statistics = "running_" in name
    kept = tensor.detach().cpu().contiguous().clone()
    return kept.half() if half and kept.is_floating_point() and not statistics else kept


def load_generator(path: Path) -> Generator:
    """Rebuild a generator in float32, ready to draw (`eval`).

    Raises:
        EngineError: The file is missing, damaged, or belongs to another network.
    """
    header, tensors = read_weights(path)
    family = next((each for each in FAMILIES if each in header), None)
    if family is None:
        raise EngineError(f"{path} does not say which network it is. Write it with models.checkpoint.save_generator")
    try:
        generator = rebuild(family, json.loads(header[family]))
        generator.load_state_dict({name: _restored(tensor) for name, tensor in tensors.items()})
    except (ValueError, KeyError, RuntimeError) as error:
        raise EngineError(f"{path} does not fit its own header: {error}. Train or export it again") from None
    return generator.eval()


def load_notes(path: Path) -> dict[str, Any]:
    """The JSON values that `save_generator` was given.

    Raises:
        EngineError: The file is missing or damaged.
    """
    header, _ = read_weights(path)
    notes: dict[str, Any] = json.loads(header.get(NOTES, "{}"))
    return notes


def _restored(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype == torch.float16 else tensor


def read_weights(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Header and tensors as they are stored.

    Raises:
        EngineError: The file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise EngineError(f"{path} is missing, expected a safetensors checkpoint there") from None
    except SafetensorError as error:
        raise EngineError(f"{path} is not a whole safetensors file ({error}). Fetch or train it again") from None
