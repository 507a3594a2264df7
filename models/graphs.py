"""A generator as OpenVINO graphs: batch norm folded away, constants in half precision, or quantised to int8."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.generators import OUTPUT_NAME, Generator, generator_inputs
from models.layers import ConvBlock, NormedConv, TransposedBlock
from models.lipgan_lite import LipGanLite
from models.speech_ear import SpeechEar
from models.wav2lip import Wav2LipBlock

GRAPH_NAME = {"fp32": "generator", "bf16": "generator", "int8": "generator_int8"}
"""File stem by precision; fp32 and bf16 are the same graph, computed differently."""

Graph = Any
"""An `openvino.Model`; the package is not typed."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Real inputs of the generator.

    Attributes:
        face: float32 [K, 6, S, S] in [0, 1].
        mel: float32 [K, 1, 80, T].
    """

    face: NDArray[np.float32]
    mel: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.face)

    def feeds(self) -> list[dict[str, NDArray[np.float32]]]:
        """One feed of batch 1 for each sample."""
        return [{"face": self.face[i : i + 1], "mel": self.mel[i : i + 1]} for i in range(len(self))]


def write_graphs(
    generator: Generator, folder: Path, precisions: Sequence[str], calibration: Samples, *, half: bool = True
) -> None:
    """Write the float graph, and the int8 graph where it is asked for, as OpenVINO IR.

    Args:
        generator: What to write.
        folder: Where to.
        precisions: "fp32" and "bf16" share the float graph.
        calibration: What int8 takes its ranges from.
        half: Keep the float graph's constants in half precision: half the file, some 80 dB of the generator.
    """
    import openvino

    graph = to_openvino(generator)
    if set(precisions) - {"int8"}:
        openvino.save_model(graph, folder / f"{GRAPH_NAME['fp32']}.xml", compress_to_fp16=half)
    if "int8" in precisions:
        whole = [SOUND_LAYERS, *([MIXING_LAYERS] if isinstance(generator, LipGanLite) else [])]
        quantised = quantise(graph, calibration, whole)
        if isinstance(generator.sound, SpeechEar):
            quantised = with_small_weights(quantised)
        openvino.save_model(quantised, folder / f"{GRAPH_NAME['int8']}.xml", compress_to_fp16=False)


def to_openvino(generator: Generator) -> Graph:
    """The generator as an `openvino.Model` for one picture, batch norm folded."""
    import openvino

    folded = fold_batch_norm(generator)
    feed = [torch.zeros([1 if size is None else size for size in spec.shape]) for spec in generator_inputs(folded)]
    shapes = [(spec.name, list(tensor.shape)) for spec, tensor in zip(generator_inputs(folded), feed, strict=True)]
    graph = openvino.convert_model(folded, example_input=tuple(feed), input=shapes)
    # Conversion may give a tensor more names than its own; an engine is told by exactly these.
    for port, (name, _) in zip(graph.inputs, shapes, strict=True):
        port.get_tensor().set_names({name})
    graph.output(0).get_tensor().set_names({OUTPUT_NAME})
    return graph


def fold_batch_norm(generator: Generator) -> Generator:
    """A copy whose convolutions do the work of the batch norms behind them."""
    folded = copy.deepcopy(generator).eval().requires_grad_(requires_grad=False)
    for block in folded.modules():
        if isinstance(block, ConvBlock):
            block.conv[-1] = fuse_conv_bn_eval(block.conv[-1], block.norm)  # type: ignore[type-var]
            block.norm = nn.Identity()  # type: ignore[assignment]
        elif isinstance(block, NormedConv):
            block.conv = fuse_conv_bn_eval(block.conv, block.norm)
            block.norm = nn.Identity()  # type: ignore[assignment]
        elif isinstance(block, TransposedBlock):
            block.conv = fuse_conv_bn_eval(block.conv, block.norm, transpose=True)
            block.norm = nn.Identity()  # type: ignore[assignment]
        elif isinstance(block, Wav2LipBlock):
            conv, norm = block.conv_block
            assert isinstance(conv, nn.Conv2d | nn.ConvTranspose2d)
            assert isinstance(norm, nn.BatchNorm2d)
            transposed = isinstance(conv, nn.ConvTranspose2d)
            block.conv_block = nn.Sequential(fuse_conv_bn_eval(conv, norm, transpose=transposed))
    return folded


SOUND_LAYERS = r".*\bsound[./].*"
"""Names of the layers of a generator's sound encoder, as torch gives them to the graph. The mouth hangs on few channels
of the sound's embedding; its layers are a small share of the work."""

MIXING_LAYERS = r"^aten::(?!upsample_nearest2d|add/Add$|add/Add_[12]$).*"
"""What `LipGanLite.drawn` does after its last convolutions: a flow in 256 steps is off by a pixel, shares in 256 steps
let a hundredth of every source through. In int8 the whole came to 43 dB of torch, without these to 56, as fast. The
three additions between the grids stay in."""


def with_small_weights(graph: Graph) -> Graph:
    """The weights that are still floats as int8 for each channel; activations stay floats in the graph.

    A recogniser's layers are most of a generator's weights. With ranges of activations fixed by calibration as well, r
    of HDTF's mouths fell by 0.02; with weights alone it did not. OpenVINO by default takes the activations of such
    products to int8 as it goes, each 32 with a range of their own (DYNAMIC_QUANTIZATION_GROUP_SIZE): without it a
    picture took 1.4 ms longer and was no nearer to torch.
    """
    import nncf

    # What makes a flow finer is a few hundred weights that are exact.
    mixing = nncf.IgnoredScope(patterns=[MIXING_LAYERS], validate=False)
    return nncf.compress_weights(graph, mode=nncf.CompressWeightsMode.INT8_SYM, ignored_scope=mixing)


def quantise(graph: Graph, calibration: Samples, whole: Sequence[str]) -> Graph:
    """Post-training quantisation of weights and activations to int8 by NNCF.

    Args:
        graph: As `to_openvino` gives it.
        calibration: What ranges are taken from.
        whole: Patterns of the names of layers that stay as they are.
    """
    import nncf

    nncf.set_log_level(logging.ERROR)
    return nncf.quantize(
        graph,
        nncf.Dataset(calibration.feeds()),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(calibration),
        fast_bias_correction=False,
        ignored_scope=nncf.IgnoredScope(patterns=list(whole), validate=False),
    )
