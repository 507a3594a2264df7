"""A filter's network as OpenVINO graphs that draw as the network was trained to.

Batch norm is either folded into the convolutions, with the statistics of training, or takes its statistics from the
picture, as the published Pix2Pix does when it draws; for one picture that is an instance norm with a scale and a shift.
Dropout is off, or drops the same values from every picture: values drawn anew for each would flicker.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Container, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from kernels.folded_planes import folded, unfolded
from kernels.frame_tensor import frame_to_tensor, tensor_levels
from kernels.yuv import rgb_to_i420
from models.engine import Engine
from models.filter_manifest import FRAME, NOISE, pinned_noise
from models.filter_memory import FilterMemory
from models.filter_networks import FilterNetwork, ServedNetwork, Size, filter_inputs, filter_outputs, takes_planes
from models.oasis import OasisGenerator
from models.openvino_engine import port_name
from models.pix2pix import UNetGenerator
from models.plane_filter import FoldedFilter, PlaneFilter
from models.steady_filter import FoldedSteadyFilter, ServedSteadyFilter, SteadyFilter
from models.tiny_filter import TinyFilter

Statistics = Literal["running", "picture"]
Dropout = Literal["off", "pinned"]

Graph = Any
"""An `openvino.Model`; the package is not typed."""

Array = NDArray[np.float32]

GRAPH_NAME = {"fp32": "filter", "bf16": "filter", "int8": "filter_int8"}
"""File stem by precision; fp32 and bf16 are the same graph, computed differently."""


@dataclass(frozen=True, slots=True)
class FilterSamples:
    """Real inputs of a filter.

    Attributes:
        frames: float32 [K, C, H, W] in [-1, 1]; of a network that takes planes see `shown_to`.
        run: How many of them in a row are one after the other in time; the state starts anew after that many.
        noise: float32 [K, C] for a network that takes some; None is what a stream of the filter has, see `with_noise`.
    """

    frames: NDArray[Any]
    run: int = 1
    noise: Array | None = None

    def __len__(self) -> int:
        return len(self.frames)

    def frame_feed(self, index: int) -> dict[str, Array]:
        """What goes in at one sample, but for the state."""
        feed = {FRAME: self.frames[index : index + 1]}
        return feed if self.noise is None else {**feed, NOISE: self.noise[index : index + 1]}

    def with_noise(self, network: FilterNetwork, seed: int) -> FilterSamples:
        """The same with a stream's noise, if the network takes some and none is there."""
        if self.noise is not None or not isinstance(network, OasisGenerator):
            return self
        return replace(self, noise=pinned_noise(seed, network.config.noise).repeat(len(self), 0))


@dataclass(frozen=True, slots=True)
class AsTrained:
    """How a network is to be run so that it draws what it was trained to.

    Attributes:
        statistics: Where batch norm's statistics come from.
        dropout: What is dropped.
        seed: Of what is dropped, and of the noise that a stream has.
    """

    statistics: Statistics = "running"
    dropout: Dropout = "off"
    seed: int = 0


def normalisation_of(network: nn.Module, statistics: Statistics) -> str:
    """What a manifest says about the normalisation of a network."""
    kinds = {type(layer) for layer in network.modules()}
    if any(issubclass(kind, nn.modules.batchnorm._BatchNorm) for kind in kinds):
        return statistics
    return "instance" if nn.InstanceNorm2d in kinds else "none"


class PictureNorm(nn.Module):
    """Instance norm, or batch norm with the statistics of the one picture that is drawn, which is the same.

    `nn.InstanceNorm2d` looks at sizes while it is traced, and refuses a grid of one cell.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        assert isinstance(layer, nn.BatchNorm2d | nn.InstanceNorm2d)
        self.weight, self.bias, self.eps = layer.weight, layer.bias, layer.eps

    def forward(self, x: Tensor) -> Tensor:
        """Float [N, C, H, W] to the same shape."""
        cudnn = torch.backends.cudnn.enabled
        return torch.instance_norm(x, self.weight, self.bias, None, None, True, 0.0, self.eps, cudnn)


class PinnedDropout(nn.Module):
    """Dropout with values that were drawn once."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        """Float [N, C, H, W] to the same shape."""
        assert isinstance(self.mask, Tensor)
        return x * self.mask


def shown_to(network: ServedNetwork, frames: Array) -> NDArray[Any]:
    """RGB pictures as an engine of the network is shown them.

    Args:
        network: Decides.
        frames: float32 [K, 3, H, W] in [-1, 1].

    Returns:
        The same, or uint8 [K, H / 4, W / 4, 24] for a network that takes planes.
    """
    return in_cells(frames) if takes_planes(network) else frames


def in_cells(frames: Array) -> NDArray[np.uint8]:
    """RGB pictures, float32 [K, 3, H, W] in [-1, 1], as folded planes, uint8 [K, H / 4, W / 4, 24]."""
    return np.stack([folded(rgb_to_i420(tensor_levels(each))) for each in frames])


def as_served(network: FilterNetwork, size_px: Size, how: AsTrained | None = None) -> ServedNetwork:
    """A copy that draws one picture as it was trained to, in `eval`: the reference, and what is exported.

    Args:
        network: As trained.
        size_px: Which a pinned dropout needs to know.
        how: See there.
    """
    how = how or AsTrained()
    served = copy.deepcopy(network).eval().requires_grad_(requires_grad=False)
    for module in list(served.modules()):
        parametrizations = list(getattr(module, "parametrizations", {}).items())
        if parametrizations:
            # They are properties of a class that a copy shares with its original.
            module.__class__ = type(type(module).__name__, type(module).__bases__, dict(vars(type(module))))
        for name, tensor in parametrizations:
            assert tensor is not None
            nn.utils.parametrize.remove_parametrizations(module, name, leave_parametrized=True)
    if how.dropout == "pinned":
        _pin_dropout(served, size_px, how.seed)
    if how.statistics == "picture":
        _replace(served, nn.BatchNorm2d, PictureNorm)
    else:
        _fold_batch_norm(served.network if isinstance(served, SteadyFilter) else served)
    _replace(served, nn.InstanceNorm2d, PictureNorm)
    if isinstance(served, SteadyFilter):
        return (FoldedSteadyFilter(served) if served.planes else ServedSteadyFilter(served)).eval()
    return FoldedFilter(served).eval() if isinstance(served, PlaneFilter) else served.eval()


def _replace(network: nn.Module, kind: type[nn.Module], make: Any) -> None:  # noqa: ANN401 - layer to layer
    for module in list(network.modules()):
        for name, layer in list(module.named_children()):
            if isinstance(layer, kind):
                setattr(module, name, make(layer))


def _pin_dropout(network: FilterNetwork, size_px: Size, seed: int) -> None:
    """Put masks in the place of dropout; their shapes are found by drawing once."""
    shapes: dict[nn.Module, torch.Size] = {}
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Dropout)]
    hooks = [layer.register_forward_hook(lambda own, _, out: shapes.update({own: out.shape[1:]})) for layer in layers]
    with torch.no_grad():
        network(torch.zeros(1, network.config.in_channels, *size_px))
    for hook in hooks:
        hook.remove()
    source = torch.Generator().manual_seed(seed)
    masks = {}
    for layer in layers:
        kept = torch.rand(1, *shapes[layer], generator=source) >= layer.p
        masks[layer] = kept.float() / (1 - layer.p)
    _replace(network, nn.Dropout, lambda layer: PinnedDropout(masks[layer]))


def _fold_batch_norm(network: nn.Module) -> None:
    """Let convolutions do the work of the batch norms that follow them."""
    if isinstance(network, UNetGenerator):
        for convs, norms in ((network.down, network.down_norm), (network.up, network.up_norm)):
            for i, norm in enumerate(norms):
                if isinstance(norm, nn.BatchNorm2d):
                    convs[i], norms[i] = _fused(convs[i], norm), nn.Identity()
        return
    for module in list(network.modules()):
        if isinstance(module, nn.Sequential):
            for i in range(len(module) - 1):
                norm = module[i + 1]
                if isinstance(norm, nn.BatchNorm2d):
                    module[i], module[i + 1] = _fused(module[i], norm), nn.Identity()


def _fused(conv: nn.Module, norm: nn.BatchNorm2d) -> nn.Module:
    assert isinstance(conv, nn.Conv2d | nn.ConvTranspose2d)
    transposed = isinstance(conv, nn.ConvTranspose2d)
    fused: nn.Module = fuse_conv_bn_eval(conv, norm, transpose=transposed)
    return fused


class ServedFilter:
    """A network as `as_served` gives it, in eager torch on the CPU: the reference of the gate. Is an `Engine`."""

    backend = "torch"
    precision = "fp32"

    def __init__(self, network: ServedNetwork, size_px: Size) -> None:
        self.inputs = {spec.name: spec for spec in filter_inputs(network, size_px)}
        self.outputs = {spec.name: spec for spec in filter_outputs(network, size_px)}
        self._network = network.eval()

    def infer(self, feed: Any) -> dict[str, Any]:  # noqa: ANN401 - see `Engine.infer`
        """See `Engine.infer`."""
        given = [torch.from_numpy(np.require(feed[name], requirements="W")) for name in self.inputs]
        with torch.inference_mode():
            drawn = self._network(*given)
        parts = drawn if isinstance(drawn, tuple) else (drawn,)
        return {name: np.ascontiguousarray(part.numpy()) for name, part in zip(self.outputs, parts, strict=True)}

    def close(self) -> None:
        """See `Engine.close`."""


def feeds_of(engine: Engine, samples: FilterSamples) -> Iterator[tuple[dict[str, Array], Array]]:
    """Each sample's feed, the state carried from the one before, with the picture that comes of it."""
    memory = FilterMemory(engine.inputs)
    kept: dict[str, Array] = {}
    for index in range(len(samples)):
        given = samples.frame_feed(index)
        feed = {**given, **memory.feed(given[FRAME], memory.empty() if index % samples.run == 0 else kept)}
        drawn = engine.infer(feed)
        # What a feed holds is the memory's own until the next one.
        yield {name: array.copy() for name, array in feed.items()}, drawn[FRAME]
        kept = memory.kept(given[FRAME], drawn)


def pictures(engine: Engine, samples: FilterSamples) -> Array:
    """What an engine draws of the samples, float32 [K, 3, H, W] in [0, 1]."""
    return np.concatenate([(rgb_of(drawn) + 1.0) / 2.0 for _, drawn in feeds_of(engine, samples)])


def rgb_of(drawn: NDArray[Any]) -> Array:
    """What an engine drew, float32 [1, 3, H, W] in [-1, 1], or folded planes, as the former."""
    if drawn.dtype != np.uint8:
        return drawn
    planes = unfolded(drawn[0])
    return frame_to_tensor(planes, planes[0].shape)[None]


def write_filter_graphs(
    served: ServedNetwork, size_px: Size, folder: Path, precisions: tuple[str, ...], calibration: FilterSamples
) -> None:
    """Write the float graph (constants in half precision), and the int8 graph where it is asked for.

    Args:
        served: As `as_served` gives it.
        size_px: Height and width that the graphs draw.
        folder: Where to.
        precisions: "fp32" and "bf16" share the float graph.
        calibration: What int8 takes its ranges from.
    """
    import openvino

    graph = to_openvino(served, size_px)
    if set(precisions) - {"int8"}:
        openvino.save_model(graph, folder / f"{GRAPH_NAME['fp32']}.xml", compress_to_fp16=True)
    if "int8" in precisions:
        feeds = [feed for feed, _ in feeds_of(ServedFilter(served, size_px), calibration)]
        openvino.save_model(
            quantise(graph, feeds, served), folder / f"{GRAPH_NAME['int8']}.xml", compress_to_fp16=False
        )


def to_openvino(served: ServedNetwork, size_px: Size) -> Graph:
    """The network as an `openvino.Model` for one picture."""
    import openvino

    specs, given = filter_inputs(served, size_px), filter_outputs(served, size_px)
    feed = tuple(torch.zeros([size or 1 for size in spec.shape], dtype=getattr(torch, spec.dtype)) for spec in specs)
    graph = openvino.convert_model(served, example_input=feed, input=[list(tensor.shape) for tensor in feed])
    # Conversion may give a tensor more names than its own; an engine is told by exactly these.
    names = [spec.name for spec in specs]
    for port, name in zip(graph.inputs, names, strict=True):
        port.get_tensor().set_names({name})
    for port, spec in zip(graph.outputs, given, strict=True):
        port.get_tensor().set_names({port_name(spec.name, names)})
    return graph


def quantise(graph: Graph, feeds: list[dict[str, Array]], served: ServedNetwork) -> Graph:
    """Post-training quantisation of weights and activations to int8 by NNCF.

    The sum of a picture and what is added to it stays as it is: in 256 steps the picture itself would suffer. A tiny
    network's first convolution does too, for what it passes on may be enlarged: of a trained one that lightens dark
    pictures, int8 was 31.5 dB (worst picture 21.5) from torch with it and 45.0 dB (37.8) without, for 11 % of the work.
    What makes a filter steady stays whole: an error of it would stay from picture to picture.
    Of a network on planes the last convolution does: it draws differences of a level from large values.
    """
    import nncf

    nncf.set_log_level(logging.ERROR)
    whole = _around(graph, served)
    drawing = served.steady if isinstance(served, ServedSteadyFilter | FoldedSteadyFilter) else served
    network = getattr(drawing, "network", drawing)
    if isinstance(network, TinyFilter):
        whole += [_convolutions(graph, whole)[0], *([_last_sum(graph, whole)] if network.config.residual else [])]
    elif isinstance(network, PlaneFilter):
        whole += [_last_sum(graph, whole), _convolutions(graph, whole)[-1]]
    return nncf.quantize(
        graph,
        nncf.Dataset(feeds),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(feeds),
        fast_bias_correction=False,
        ignored_scope=nncf.IgnoredScope(names=whole),
    )


def _around(graph: Graph, served: ServedNetwork) -> list[str]:
    """Names of the operations that make a network steady."""
    if not isinstance(served, ServedSteadyFilter | FoldedSteadyFilter):
        return []
    names = [name for kind, name in _operations(graph) if kind not in ("Constant", "Parameter", "Result")]
    # A plane filter's own sums have no module's name, being done on its behalf.
    outer = "__module.steady/" if isinstance(served, ServedSteadyFilter) else "__module.steady.steadying"
    return [each for each in names if "steadying" in each or each.startswith(outer)]


def _convolutions(graph: Graph, but: Container[str]) -> list[str]:
    """Names of all of them but some, from input to output."""
    return [name for kind, name in _operations(graph) if kind == "Convolution" and name not in but]


def _last_sum(graph: Graph, but: Container[str]) -> str:
    """Name of the operation that adds the drawn difference to the frame: the last sum but for these."""
    return [name for kind, name in _operations(graph) if kind == "Add" and name not in but][-1]


def _operations(graph: Graph) -> list[tuple[str, str]]:
    return [(str(each.get_type_name()), str(each.get_friendly_name())) for each in graph.get_ordered_ops()]
