"""Whisper's encoder out of the file that faster-whisper uses (CTranslate2's `model.bin`).

Source: CTranslate2's `ModelSpec._serialize` (MIT): version, spec's name, revision, then name, rank, shape, type, bytes
of each variable, all little-endian, names with their length before and a 0 after them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from kernels.mel import BANDS
from models.speech_ear import CHANNELS, SpeechLayers
from training.data.clips import MaterialError

MODEL_FILE = "model.bin"
WANTED = ("encoder/",)
TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}

Variables = dict[str, NDArray[Any]]


def read_recogniser(folder: Path) -> SpeechLayers:
    """The whole encoder of Whisper tiny or tiny.en.

    Args:
        folder: Of a faster-whisper model, with `model.bin`.

    Raises:
        MaterialError: No such file, or another network's.
    """
    path = folder / MODEL_FILE
    try:
        with path.open("rb") as file:
            variables = dict(_variables(file))
    except FileNotFoundError:
        raise MaterialError(f"no {path}; give the folder of a faster-whisper model such as tiny.en") from None
    except (struct.error, UnicodeDecodeError, KeyError, ValueError) as error:
        raise MaterialError(f"{path} is not a whole CTranslate2 model ({error})") from None
    shape = variables.get("encoder/conv1/weight", np.empty(0)).shape
    if shape != (CHANNELS, BANDS, 3):
        raise MaterialError(f"{path} is not Whisper tiny: its first layer has the shape {shape}")
    return _filled(variables)


def _variables(file: BinaryIO) -> Iterator[tuple[str, NDArray[Any]]]:
    """The encoder's variables, whatever the file's version."""
    _unpacked(file, "<I"), _text(file), _unpacked(file, "<I")
    for _ in range(_unpacked(file, "<I")):
        name = _text(file)
        shape = [_unpacked(file, "<I") for _ in range(_unpacked(file, "<B"))]
        kind = np.dtype(TYPES[_unpacked(file, "<B")])
        data = file.read(_unpacked(file, "<I"))
        if name.startswith(WANTED):
            yield name, np.frombuffer(data, kind).reshape(shape)


def _unpacked(file: BinaryIO, kind: str) -> int:
    value: int = struct.unpack(kind, file.read(struct.calcsize(kind)))[0]
    return value


def _text(file: BinaryIO) -> str:
    return file.read(_unpacked(file, "<H")).rstrip(b"\0").decode()


def _filled(variables: Variables) -> SpeechLayers:
    count = sum(name.endswith("self_attention/layer_norm/gamma") for name in variables)
    layers = SpeechLayers(count)
    _put(layers.first, variables, "encoder/conv1")
    _put(layers.second, variables, "encoder/conv2")
    layers.positions.data = _tensor(variables["encoder/position_encodings/encodings"])
    for i, layer in enumerate(layers.layers):
        attention, feed = f"encoder/layer_{i}/self_attention", f"encoder/layer_{i}/ffn"
        # Query, key and value are stored as one.
        for part, rows in (("query", slice(CHANNELS)), ("key_value", slice(CHANNELS, None))):
            _put(getattr(layer, part), variables, f"{attention}/linear_0", rows)
        _put(layer.get_submodule("attended"), variables, f"{attention}/linear_1")
        _put(layer.get_submodule("widen"), variables, f"{feed}/linear_0")
        _put(layer.get_submodule("narrow"), variables, f"{feed}/linear_1")
        for part, name in (("before_attention", attention), ("before_feed", feed)):
            norm = layer.get_submodule(part)
            norm.weight.data = _tensor(variables[f"{name}/layer_norm/gamma"])
            norm.bias.data = _tensor(variables[f"{name}/layer_norm/beta"])
    return layers


def _put(module: nn.Module, variables: Variables, name: str, rows: slice = slice(None)) -> None:
    module.weight.data = _tensor(variables[f"{name}/weight"][rows])
    module.bias.data = _tensor(variables[f"{name}/bias"][rows])


def _tensor(values: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32))
