"""Quantise and dequantise nodes around a generator's convolutions, and the ranges that they need.

TensorRT takes symmetric ranges alone: zero is zero. Weights have a range for each channel that they give (int8) or one
for all (fp8), activations one for each convolution that reads them. The sound's encoder, and what leads from the sound
to the picture, stays in half precision: the mouth hangs on few channels of it (`models.graphs.SOUND_LAYERS`), and its
layers are a small share of the work.

Source: H. Wu et al., "Integer Quantization for Deep Learning Inference", arXiv:2004.09602 (symmetric, by channel);
P. Micikevicius et al., "FP8 Formats for Deep Learning", arXiv:2209.05433 (e4m3, largest value 448).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.generators import Generator
from models.graphs import Samples

OnnxModel = Any
"""An `onnx.ModelProto`; the package is not typed."""
Node = Any
Constant = Any

WHOLE = re.compile(r"(sound|audio_encoder|face_decoder_blocks\.0)\.|.*\.film$")
"""Convolutions that stay in half precision, by their names in the generator."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to write a number in eight bits.

    Attributes:
        onnx_type: ONNX's number of it.
        highest: Its largest value.
        by_channel: Whether each channel of the weights has a range of its own.
    """

    name: str
    onnx_type: int
    highest: float
    by_channel: bool

    def written(self, values: NDArray[np.float32]) -> NDArray[Any]:
        """Values, already divided by their scale, in eight bits."""
        kept = values.clip(-self.highest, self.highest)
        return kept.round().astype(np.int8) if self.name == "int8" else kept.astype(ml_dtypes.float8_e4m3fn)


KINDS = {
    "int8": Kind("int8", onnx.TensorProto.INT8, 127.0, by_channel=True),
    "fp8": Kind("fp8", onnx.TensorProto.FLOAT8E4M3FN, 448.0, by_channel=False),
}

Ranges = Mapping[str, Mapping[str, float]]
"""By kind, by a convolution's name: the value of its input that becomes the largest."""

_STEPS = 2048
_SHARES = np.linspace(0.3, 1.0, 36)
_CONVS = (nn.Conv2d, nn.ConvTranspose2d)
# Below it half precision has no digits left for a scale.
_SMALLEST_SCALE = 2.0**-20


# -- ranges ----------------------------------------------------------------------------------------


def calibrated(generator: Generator, samples: Samples) -> Ranges:
    """What the inputs of a generator's convolutions reach.

    Args:
        generator: In float32, its batch norms folded.
        samples: Real inputs.

    Returns:
        For fp8, whose steps grow with the value, the largest value seen; for int8 what leaves the smallest mean
        square error.
    """
    convs = {
        name: each for name, each in generator.named_modules() if isinstance(each, _CONVS) and not WHOLE.match(name)
    }
    highest = dict.fromkeys(convs, 0.0)
    counts = {name: np.zeros(_STEPS) for name in convs}

    def measure(name: str, x: Tensor) -> None:
        highest[name] = max(highest[name], float(x.abs().max()))

    def count(name: str, x: Tensor) -> None:
        counts[name] += torch.histc(x.abs(), _STEPS, 0, max(highest[name], _SMALLEST_SCALE)).numpy()

    for look in (measure, count):
        _look_into(convs, look, generator, samples)
    return {"int8": {name: _narrowed(counts[name], highest[name]) for name in convs}, "fp8": highest}


def _look_into(
    convs: Mapping[str, nn.Module], look: Callable[[str, Tensor], None], generator: Generator, samples: Samples
) -> None:
    """Show every input of some layers."""
    hooks = [
        each.register_forward_pre_hook(lambda _module, given, name=name: look(name, given[0]))
        for name, each in convs.items()
    ]
    try:
        with torch.inference_mode():
            for feed in samples.feeds():
                generator(torch.from_numpy(feed["face"]), torch.from_numpy(feed["mel"]))
    finally:
        for hook in hooks:
            hook.remove()


def _narrowed(counts: NDArray[np.float64], highest: float) -> float:
    """The range that leaves the smallest mean square error when values are written in 127 steps and a sign."""
    middles = (np.arange(_STEPS) + 0.5) / _STEPS * highest
    errors = []
    for share in _SHARES:
        step = max(share * highest / KINDS["int8"].highest, _SMALLEST_SCALE)
        written = np.minimum(np.round(middles / step), KINDS["int8"].highest) * step
        errors.append(float((counts * (middles - written) ** 2).sum()))
    return float(_SHARES[int(np.argmin(errors))] * highest)


# -- nodes -----------------------------------------------------------------------------------------


def quantised(half: OnnxModel, kind: Kind, ranges: Ranges) -> OnnxModel:
    """A copy of a network whose convolutions compute in eight bits where a range is known.

    Args:
        half: In half precision, its weights called as in the generator.
        kind: The eight bits.
        ranges: As `calibrated` gives them.
    """
    made = onnx.ModelProto()
    made.CopyFrom(half)
    weights = {each.name: each for each in half.graph.initializer}
    parts = _Parts([], [], set())
    for given in half.graph.node:
        node = onnx.NodeProto()
        node.CopyFrom(given)
        name = node.input[1].removesuffix(".weight") if node.op_type in ("Conv", "ConvTranspose") else ""
        if name in ranges[kind.name]:
            weight = onnx.numpy_helper.to_array(weights[node.input[1]]).astype(np.float32)
            parts.surround(node, name, kind, ranges[kind.name][name], weight)
        parts.nodes.append(node)
    del made.graph.node[:], made.graph.initializer[:]
    made.graph.node.extend(parts.nodes)
    made.graph.initializer.extend(each for each in half.graph.initializer if each.name not in parts.replaced)
    made.graph.initializer.extend(parts.constants)
    return made


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a quantised network is put together from.

    Attributes:
        replaced: Weights in half precision that nothing reads any more.
    """

    nodes: list[Node]
    constants: list[Constant]
    replaced: set[str]

    def surround(self, conv: Node, name: str, kind: Kind, highest: float, weight: NDArray[np.float32]) -> None:
        """Let a convolution read eight bits: its input from a pair of nodes, its weight from a constant and one."""
        whole = np.asarray(highest / kind.highest)
        self._add_scale(f"{name}.input", kind, whole)
        self._add_node("QuantizeLinear", conv.input[0], f"{name}.input", f"{name}.input.written")
        self._add_node("DequantizeLinear", f"{name}.input.written", f"{name}.input", f"{name}.input.read")
        # Channels that a convolution gives are its weight's first axis, a transposed one's second.
        axis = 0 if conv.op_type == "Conv" else 1
        alike = tuple(i for i in range(weight.ndim) if i != axis or not kind.by_channel)
        highest_weights = np.abs(weight).max(axis=alike)
        scale = self._add_scale(f"{name}.weight", kind, highest_weights / kind.highest)
        if kind.by_channel:
            scale = np.expand_dims(scale, alike)
        self._add_constant(f"{name}.weight.written", kind.onnx_type, kind.written(weight / scale))
        chosen = {"axis": axis} if kind.by_channel else {}
        self._add_node("DequantizeLinear", f"{name}.weight.written", f"{name}.weight", f"{name}.weight.read", **chosen)
        self.replaced.add(conv.input[1])
        conv.input[0], conv.input[1] = f"{name}.input.read", f"{name}.weight.read"

    def _add_scale(self, name: str, kind: Kind, scale: NDArray[np.floating]) -> NDArray[np.float32]:
        """A scale and its zero, which says the type; returns the scale as half precision keeps it."""
        kept: NDArray[np.float16] = np.maximum(scale, _SMALLEST_SCALE).astype(np.float16)
        self._add_constant(f"{name}.scale", onnx.TensorProto.FLOAT16, kept)
        self._add_constant(f"{name}.zero", kind.onnx_type, np.zeros(kept.shape, np.int8))
        return kept.astype(np.float32)

    def _add_constant(self, name: str, onnx_type: int, values: NDArray[Any]) -> None:
        self.constants.append(onnx.helper.make_tensor(name, onnx_type, values.shape, values.tobytes(), raw=True))

    def _add_node(self, kind: str, taken: str, scaled_by: str, given: str, **attributes: int) -> None:
        inputs = [taken, f"{scaled_by}.scale", f"{scaled_by}.zero"]
        self.nodes.append(onnx.helper.make_node(kind, inputs, [given], name=given, **attributes))
