"""Which networks can be a filter: each family's definition, what it takes and gives, and its weights on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from kernels.folded_planes import CELL_BYTES, FOLD
from models.checkpoint import NOTES, read_weights, write_weights
from models.engine import EngineError, TensorSpec
from models.filter_manifest import FRAME, LAST, NOISE, STATE, cells_spec
from models.oasis import OasisConfig, OasisGenerator
from models.pix2pix import ResNetConfig, ResNetGenerator, UNetConfig, UNetGenerator
from models.plane_filter import FoldedFilter, PlaneFilter, PlaneFilterConfig
from models.steady_filter import FoldedSteadyFilter, ServedSteadyFilter, SteadyConfig, SteadyFilter
from models.tiny_filter import TinyFilter, TinyFilterConfig

DrawingNetwork = TinyFilter | PlaneFilter | UNetGenerator | ResNetGenerator | OasisGenerator
FilterNetwork = DrawingNetwork | SteadyFilter
ServedNetwork = FilterNetwork | FoldedFilter | ServedSteadyFilter | FoldedSteadyFilter
"""As an engine runs it."""

Size = tuple[int, int]
"""Height, width."""

STEADY = "steady"
"""A network of another family, with what makes it steady around it."""

FAMILIES = ("tiny", "planes", "unet", "resnet", "oasis", STEADY)


def family_of(network: FilterNetwork) -> str:
    """The name under which files know this kind of network."""
    if isinstance(network, SteadyFilter):
        return STEADY
    if isinstance(network, TinyFilter):
        return "tiny"
    if isinstance(network, PlaneFilter):
        return "planes"
    if isinstance(network, OasisGenerator):
        return "oasis"
    return "unet" if isinstance(network, UNetGenerator) else "resnet"


def config_of(network: FilterNetwork) -> dict[str, Any]:
    """What `rebuild` needs to know, but for the family."""
    if not isinstance(network, SteadyFilter):
        return network.config.as_dict()
    inner: Any = network.network
    steadying = network.steadying.config.as_dict()
    return {"around": family_of(inner), "network": config_of(inner), "steadying": steadying}


def rebuild(family: str, config: Mapping[str, Any]) -> FilterNetwork:
    """A network with fresh weights.

    Args:
        family: One of `FAMILIES`.
        config: What `config_of` gave; what is left out is the default.

    Raises:
        ValueError: There is no such network.
    """
    if family == "tiny":
        return TinyFilter(TinyFilterConfig.from_dict(config))
    if family == "planes":
        return PlaneFilter(PlaneFilterConfig.from_dict(config))
    if family == "unet":
        return UNetGenerator(UNetConfig.from_dict(config))
    if family == "resnet":
        return ResNetGenerator(ResNetConfig.from_dict(config))
    if family == "oasis":
        return OasisGenerator(OasisConfig.from_dict(config))
    if family == STEADY:
        inner = rebuild(str(config.get("around")), config.get("network", {}))
        return SteadyFilter(inner, SteadyConfig.from_dict(config.get("steadying", {})))
    raise ValueError(f"family is {family!r}, expected one of {', '.join(FAMILIES)}")


def check_size(network: FilterNetwork, size_px: Size) -> None:
    """Refuse a size that the network cannot draw.

    Raises:
        ValueError: A side is not a multiple of what the network halves.
    """
    multiple = network.config.multiple_px
    if any(side < 1 or side % multiple for side in size_px):
        raise ValueError(f"size_px is {list(size_px)}, expected multiples of {multiple} for this network")


def is_recurrent(network: FilterNetwork) -> bool:
    """Whether a state goes in and out."""
    return bool(_carried(network, (1, 1)))


def takes_planes(network: ServedNetwork) -> bool:
    """Whether an engine of the network takes and gives folded planes."""
    if isinstance(network, SteadyFilter):
        return network.planes
    return isinstance(network, PlaneFilter | FoldedFilter | FoldedSteadyFilter)


def filter_inputs(network: ServedNetwork, size_px: Size) -> tuple[TensorSpec, ...]:
    """What the network takes at a size, in the order of its arguments."""
    rgb = TensorSpec(FRAME, (None, network.config.in_channels, *size_px))
    frame = cells_spec(size_px) if takes_planes(network) else rgb
    before = (replace(frame, name=STATE),) if _is_steady(network) else ()
    noise = (TensorSpec(NOISE, (None, network.config.noise)),) if isinstance(network, OasisGenerator) else ()
    return (frame, *before, *_carried(network, size_px), *noise)


def filter_outputs(network: ServedNetwork, size_px: Size) -> tuple[TensorSpec, ...]:
    """What it gives, in the order in which it does."""
    rgb = TensorSpec(FRAME, (None, network.config.out_channels, *size_px))
    return (cells_spec(size_px) if takes_planes(network) else rgb, *_carried(network, size_px))


def _carried(network: ServedNetwork, size_px: Size) -> tuple[TensorSpec, ...]:
    """What goes in and out, from frame to frame."""
    height, width = size_px
    if _is_steady(network):
        cells = (height // FOLD, width // FOLD)
        return (TensorSpec(LAST, (None, *cells, CELL_BYTES) if takes_planes(network) else (None, 3 * FOLD**2, *cells)),)
    if not isinstance(network, TinyFilter) or not network.config.state_channels:
        return ()
    fold = network.config.fold
    return (TensorSpec(STATE, (None, network.config.state_channels, height // fold, width // fold)),)


def _is_steady(network: ServedNetwork) -> bool:
    return isinstance(network, SteadyFilter | ServedSteadyFilter | FoldedSteadyFilter)


# -- weights ---------------------------------------------------------------------------------------


def save_filter_weights(
    path: Path,
    network: FilterNetwork,
    notes: Mapping[str, Any] | None = None,
    *,
    storage: Literal["float16", "float32"] = "float16",
) -> None:
    """Write a filter's network, whole or not at all.

    Args:
        path: Where to; the folder exists.
        network: Whose weights.
        notes: JSON values that travel with the weights: steps, seed, figures.
        storage: float16 halves the file; batch norm statistics stay float32.
    """
    header = {family_of(network): json.dumps(config_of(network)), NOTES: json.dumps(dict(notes or {}))}
    write_weights(path, network.state_dict(), header, half=storage == "float16")


def load_filter_weights(path: Path) -> FilterNetwork:
    """Rebuild a filter's network in float32, ready to draw (`eval`).

    Raises:
        EngineError: The file is missing, damaged, or belongs to another network.
    """
    header, tensors = read_weights(path)
    family = next((each for each in FAMILIES if each in header), None)
    if family is None:
        raise EngineError(f"{path} does not say which filter it is. Write it with save_filter_weights")
    try:
        network = rebuild(family, json.loads(header[family]))
        network.load_state_dict({name: _restored(tensor) for name, tensor in tensors.items()})
    except (ValueError, TypeError, RuntimeError) as error:
        raise EngineError(f"{path} does not fit its own header: {error}. Train or export it again") from None
    return network.eval()


def _restored(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype == torch.float16 else tensor


def parameters_of(network: nn.Module) -> int:
    """How many weights learn."""
    return sum(each.numel() for each in network.parameters())
