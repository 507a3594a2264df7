"""A generator as ONNX for TensorRT: any batch, batch norm folded away, and every type said in the graph itself.

TensorRT 11 and TensorRT-RTX know no flags of precision: what a layer computes in is what its tensors are. So the
network is halved before it is exported, and int8 and fp8 are pairs of quantise and dequantise nodes
(`models.onnx_quantised`). Pictures and sound go in and come out as float32, as with every other engine.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from models.generators import OUTPUT_NAME, Generator, generator_inputs, in_half
from models.graphs import Samples, fold_batch_norm
from models.lipgan_lite import LipGanLite
from models.onnx_quantised import KINDS, calibrated, quantised

PRECISIONS = ("fp16", *KINDS)
MAX_BATCH = 32
OPSET = 19
"""The first whose quantise nodes take half precision and give fp8."""

_PREFIX = "generator."

OnnxModel = Any
"""An `onnx.ModelProto`; the package is not typed."""


class Halved(nn.Module):
    """A generator that computes in half precision and is spoken to in float32; changes the one it is given."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = in_half(generator)
        if isinstance(generator, LipGanLite):
            # Where it is not drawn its picture is passed on exactly, so only what computes takes halves.
            for entered in (generator.fold, generator.sound):
                entered.register_forward_pre_hook(_half_arguments)

    def forward(self, face: Tensor, mel: Tensor) -> Tensor:
        """As the generator."""
        if not isinstance(self.generator, LipGanLite):
            face, mel = face.half(), mel.half()
        picture: Tensor = self.generator(face, mel)
        return picture.float()


def _half_arguments(_module: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(each.half() for each in arguments)


def export_onnx(
    generator: Generator, precisions: Sequence[str] = PRECISIONS, calibration: Samples | None = None
) -> dict[str, OnnxModel]:
    """A generator in several precisions.

    Args:
        generator: What to export; stays as it is.
        precisions: Some of `PRECISIONS`.
        calibration: What int8 and fp8 take their ranges from; none is needed for fp16 alone.

    Returns:
        One `onnx.ModelProto` for each precision, the same bytes for the same weights and samples.
    """
    folded = fold_batch_norm(generator)
    kinds = [each for each in precisions if each != "fp16"]
    if kinds and calibration is None:
        raise ValueError(f"{', '.join(kinds)} needs samples to calibrate with")
    ranges = calibrated(folded, calibration) if kinds and calibration is not None else {}
    half = _exported(Halved(folded))
    return {each: half if each == "fp16" else quantised(half, KINDS[each], ranges) for each in precisions}


def _exported(network: Halved) -> OnnxModel:
    specs = generator_inputs(network.generator)
    # A batch of one would be taken for a constant.
    arguments = tuple(torch.zeros([2 if size is None else size for size in spec.shape]) for spec in specs)
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
    with _quiet():
        program = torch.onnx.export(
            network.eval(),
            arguments,
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=tuple({0: batch} for _ in specs),
            input_names=[spec.name for spec in specs],
            output_names=[OUTPUT_NAME],
            verbose=False,
        )
    assert program is not None
    return _bare(program.model_proto)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter speaks of itself, on paper that is not its own."""
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        exporter.setLevel(level)


def _bare(model: OnnxModel) -> OnnxModel:
    """Without what says where, and on which machine, it was made; weights by their names in the generator."""
    renamed = {each.name: each.name.removeprefix(_PREFIX) for each in model.graph.initializer}
    for each in model.graph.initializer:
        each.name = renamed[each.name]
    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
        for i, name in enumerate(node.input):
            node.input[i] = renamed.get(name, name)
    for part in (model, model.graph, *model.graph.value_info, *model.graph.input, *model.graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return model


def onnx_bytes(model: OnnxModel) -> bytes:
    """The file."""
    found: bytes = model.SerializeToString(deterministic=True)
    return found
