"""Reads a published LipGAN checkpoint, the `.h5` that Keras writes, and runs it as Keras would.

Keras numbers its layers in the order in which they were made, so that the n-th convolution of the file is
the n-th of the published code, and of `LipGanGenerator`. Kernels lie as [height, width, in, out], those of
transposed convolutions as [height, width, out, in].

Source: `keras/engine/saving.py` of Keras 2.2.4; `generator.py` of Rudrabha/LipGAN.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_input

from models.engine import EngineError
from models.layers import BATCH_NORM_EPSILON, Size, pair
from models.lipgan import (
    DECODER,
    FACE_EMBEDDING,
    FACE_ENCODER,
    SOUND_ENCODER,
    FrontEnd,
    LipGanConfig,
    LipGanGenerator,
    Variant,
)
from models.published_torch import first_bytes

Weights = Mapping[str, NDArray[np.float32]]
"""One layer's arrays: kernel and bias, or gamma, beta, moving_mean and moving_variance."""

CONV, TRANSPOSED, NORM = "conv2d", "conv2d_transpose", "batch_normalization"
_NAMES: dict[str, tuple[str, ...]] = {
    CONV: ("kernel", "bias"),
    TRANSPOSED: ("kernel", "bias"),
    NORM: ("gamma", "beta", "moving_mean", "moving_variance"),
}
_LAYER = re.compile(r"(?P<kind>[a-z0-9_]*?)(?:_(?P<number>\d+))?")
_HDF5 = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class KerasLayers:
    """The layers of a file that carry weights, each kind in the order in which the layers were made."""

    convs: tuple[Weights, ...]
    transposed: tuple[Weights, ...]
    norms: tuple[Weights, ...]

    def shapes(self) -> list[list[tuple[int, ...]]]:
        """The shapes of all kernels, and of the norms' scales, by kind."""
        kernels = [[each["kernel"].shape for each in kind] for kind in (self.convs, self.transposed)]
        return [*kernels, [each["gamma"].shape for each in self.norms]]


def read_keras(path: Path) -> KerasLayers:
    """Read a file of `model.save` or `model.save_weights`.

    Raises:
        EngineError: The file is missing, cut short, no Keras file, or of a network with other layers; or h5py is not
            installed.
    """
    if not first_bytes(path).startswith(_HDF5):
        raise EngineError(f"{path} is no Keras file (HDF5). Give LipGAN's .h5; a Wav2Lip .pth goes --as wav2lip")
    h5py = _h5py()
    try:
        with h5py.File(path, "r") as file:
            layers = list(_layers_in(path, file.get("model_weights", file)))
    except (OSError, RuntimeError, KeyError) as error:
        first_line = str(error).splitlines()[0]
        raise EngineError(f"{path} is cut short, damaged, or not by Keras ({first_line}). Fetch it again") from None
    kinds = ([weights for each, _, weights in sorted(layers, key=_made) if each == kind] for kind in _NAMES)
    return KerasLayers(*(tuple(kind) for kind in kinds))


def _h5py() -> Any:  # noqa: ANN401 - a package without annotations
    try:
        import h5py
    except ImportError as error:
        raise EngineError(f"h5py is not installed ({error}). Install it: pip install 'visavis[import]'") from None
    return h5py


def _made(layer: tuple[str, int, Weights]) -> int:
    return layer[1]


def _layers_in(path: Path, root: Any) -> Iterator[tuple[str, int, Weights]]:  # noqa: ANN401 - an h5py.Group
    """Kind, number and weights of each layer that has weights."""
    for name in map(_text, root.attrs["layer_names"]):
        arrays = {_text(each): root[name][_text(each)] for each in root[name].attrs["weight_names"]}
        if not arrays:
            continue
        found = _LAYER.fullmatch(name)
        kind = found["kind"] if found else name
        weights = {_short(key): np.asarray(array, np.float32) for key, array in arrays.items()}
        if kind not in _NAMES or set(weights) != set(_NAMES[kind]):
            raise EngineError(
                f"{path} holds the layer {name} ({', '.join(weights)}), which no LipGAN generator has: it is a "
                "discriminator, a combined model or another network. Give the generator's .h5"
            )
        yield kind, int(found["number"] or 0) if found else 0, weights


def _text(value: Any) -> str:  # noqa: ANN401 - Keras wrote bytes, newer versions text
    return value.decode() if isinstance(value, bytes) else str(value)


def _short(name: str) -> str:
    """`conv2d_1/kernel:0` is the kernel."""
    return name.rsplit("/", 1)[-1].split(":")[0]


def to_generator(layers: KerasLayers, variant: Variant, path: Path) -> LipGanGenerator:
    """Put the weights into our definition of the network, channels in the order of the file.

    Raises:
        EngineError: They are those of another network; the message says of which, or what is the first not to fit.
    """
    _check_shapes(layers, variant, path)
    generator = LipGanGenerator(LipGanConfig(variant, "mel")).eval()
    convs, transposed, norms = _modules(generator)
    with torch.no_grad():
        for conv, weights in zip([*convs, *transposed], [*layers.convs, *layers.transposed], strict=True):
            assert conv.bias is not None
            conv.weight.copy_(_weight(weights))
            conv.bias.copy_(torch.from_numpy(weights["bias"]))
        for norm, weights in zip(norms, layers.norms, strict=True):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            for target, name in zip(
                (norm.weight, norm.bias, norm.running_mean, norm.running_var), _NAMES[NORM], strict=True
            ):
                target.copy_(torch.from_numpy(weights[name]))
    return generator


Modules = tuple[list[nn.Conv2d], list[nn.ConvTranspose2d], list[nn.BatchNorm2d]]


def _modules(generator: LipGanGenerator) -> Modules:
    """Layers with weights by kind, in the order in which the published code makes them."""
    modules = list(generator.modules())
    return (
        [each for each in modules if isinstance(each, nn.Conv2d)],
        [each for each in modules if isinstance(each, nn.ConvTranspose2d)],
        [each for each in modules if isinstance(each, nn.BatchNorm2d)],
    )


def _weight(weights: Weights) -> Tensor:
    """Both kinds of kernel turned into torch's order: [out, in, h, w], and [in, out, h, w] for transposed ones."""
    return torch.from_numpy(weights["kernel"]).permute(3, 2, 0, 1)


def _check_shapes(layers: KerasLayers, variant: Variant, path: Path) -> None:
    found = layers.shapes()
    expected = _published_shapes(variant, "mel")
    if found == expected:
        return
    if found in (_published_shapes("basic", "mfcc"), _published_shapes("residual", "mfcc")):
        raise EngineError(
            f"{path} is a LipGAN that hears MFCC; serving makes mel columns only. Give one with the mel front end"
        )
    other: Variant = "residual" if variant == "basic" else "basic"
    if found == _published_shapes(other, "mel"):
        raise EngineError(f"{path} is LipGAN's {other} generator: import it --as {_format_of(other)}")
    raise EngineError(f"{path} is not LipGAN's {variant} generator: {_first_difference(found, expected)}")


VARIANT_OF: Mapping[str, Variant] = {"lipgan": "basic", "lipgan-residual": "residual"}
"""Which network a format of `models.published` holds."""


def _format_of(variant: Variant) -> str:
    return next(name for name, each in VARIANT_OF.items() if each == variant)


def _published_shapes(variant: Variant, front_end: FrontEnd) -> list[list[tuple[int, ...]]]:
    with torch.device("meta"):
        convs, transposed, norms = _modules(LipGanGenerator(LipGanConfig(variant, front_end)))
    kernels = [[tuple(each.weight.permute(2, 3, 1, 0).shape) for each in kind] for kind in (convs, transposed)]
    return [*kernels, [(each.num_features,) for each in norms]]


def _first_difference(found: list[list[tuple[int, ...]]], expected: list[list[tuple[int, ...]]]) -> str:
    for kind, have, want in zip(_NAMES, found, expected, strict=True):
        if len(have) != len(want):
            return f"it has {len(have)} layers {kind}, expected {len(want)}"
        for number, (one, other) in enumerate(zip(have, want, strict=True), 1):
            if one != other:
                return f"{kind} number {number} has shape {list(one)}, expected {list(other)}"
    raise AssertionError("they are equal")


class KerasLipGan:
    """The published generator run straight from the file's arrays, as Keras defines its layers.

    A second, independent reading of the file, for comparison: no layer, padding or table of strides of the network
    that is served is used, only the layer tables. Transposed convolutions are taken by their definition, as the
    gradient of a convolution.

    Source: `create_model` and `create_model_residual` in `generator.py` of Rudrabha/LipGAN, branch `fully_pythonic`.
    """

    def __init__(self, layers: KerasLayers, variant: Variant) -> None:
        self._layers = layers
        self._variant = variant

    def __call__(self, face: Tensor, mel: Tensor) -> Tensor:
        """Draw: float [N, 6, 96, 96] and [N, 1, 80, 27] to [N, 3, 96, 96], channels in the file's order."""
        self._convs, self._norms = iter(self._layers.convs), iter(self._layers.norms)
        ups = iter(self._layers.transposed)
        skips = []
        x = face
        for row in FACE_ENCODER[self._variant]:
            x = self._row(x, row)
            skips.append(x)
        for row in FACE_EMBEDDING[self._variant]:
            x = self._row(x, row)
        sound = mel
        for row in SOUND_ENCODER[self._variant, "mel"]:
            sound = self._row(sound, row)
        x = torch.cat([x, sound], dim=1)
        for _, stride, residual in DECODER:
            x = self._normed(_transposed(x, next(ups), stride))
            for _ in range(residual if self._variant == "residual" else 0):
                x = self._residual(x)
            x = torch.cat([skips.pop(), x], dim=1)
        for _ in range(2):
            x = self._normed(_conv(x, next(self._convs), (1, 1), same=True))
        return torch.sigmoid(_conv(x, next(self._convs), (1, 1), same=True))

    def _row(self, x: Tensor, row: Any) -> Tensor:  # noqa: ANN401 - a row of models.lipgan's tables
        x = self._normed(_conv(x, next(self._convs), pair(row.stride), same=row.same))
        for _ in range(row.plain):
            x = self._normed(_conv(x, next(self._convs), (1, 1), same=True))
        for _ in range(row.residual):
            x = self._residual(x)
        return x

    def _residual(self, x: Tensor) -> Tensor:
        inner = x
        for _ in range(2):
            inner = self._normed(_conv(inner, next(self._convs), (1, 1), same=True))
        return torch.relu(inner + x)

    def _normed(self, x: Tensor) -> Tensor:
        weights = next(self._norms)
        gamma, beta, mean, variance = (torch.from_numpy(weights[name])[:, None, None] for name in _NAMES[NORM])
        return torch.relu((x - mean) / torch.sqrt(variance + BATCH_NORM_EPSILON) * gamma + beta)


def _conv(x: Tensor, weights: Weights, stride: Size, *, same: bool) -> Tensor:
    kernel = _weight(weights)
    if same:
        top, bottom = _tensorflow_padding(x.shape[2], kernel.shape[2], stride[0])
        left, right = _tensorflow_padding(x.shape[3], kernel.shape[3], stride[1])
        x = F.pad(x, (left, right, top, bottom))
    return F.conv2d(x, kernel, torch.from_numpy(weights["bias"]), stride)


def _transposed(x: Tensor, weights: Weights, stride: int) -> Tensor:
    """The gradient of the SAME convolution that leads from the result's size back to that of `x`."""
    kernel = _weight(weights)
    height, width = x.shape[2] * stride, x.shape[3] * stride
    top, bottom = _tensorflow_padding(height, kernel.shape[2], stride)
    left, right = _tensorflow_padding(width, kernel.shape[3], stride)
    padded = (x.shape[0], kernel.shape[1], height + top + bottom, width + left + right)
    gradient: Tensor = conv2d_input(padded, kernel, x, stride)  # type: ignore[no-untyped-call]
    return gradient[:, :, top : top + height, left : left + width] + torch.from_numpy(weights["bias"])[:, None, None]


def _tensorflow_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """SAME: as little as gives ceil(size / stride) results, the odd cell last."""
    remainder = size % stride or stride
    total = max(kernel - remainder, 0)
    return total // 2, total - total // 2
