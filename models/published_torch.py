"""Reads a published checkpoint of torch: `.pth` as torch writes it, TorchScript (`.pt`), or `.safetensors`.

A `.pth` is a pickle, and pickles can run code: it is read with `weights_only=True`, which builds tensors and plain
containers and nothing else. TorchScript is a program in torch's own language; it is opened for its tensors and not run.

Source: `save_checkpoint` in `wav2lip_train.py` and `load_model` in `inference.py` of Rudrabha/Wav2Lip.
"""

from __future__ import annotations

import pickle
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from models.engine import EngineError

_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_MODULE = "module."
"""What `torch.nn.DataParallel` puts before every name."""

_OTHER_NETWORKS = {
    "face_encoder.0.conv_block.0.weight": "SyncNet, Wav2Lip's sync judge",
    "binary_pred.0.weight": "Wav2Lip's quality judge",
}
"""A tensor that gives away a network of the same project that is not the generator."""

_DAMAGE = (
    *(RuntimeError, EOFError, OSError, ValueError, LookupError, AttributeError, TypeError),
    *(struct.error, zipfile.BadZipFile),
)
"""What torch raises for a file that ends too early or holds other bytes, by where it stops."""

_UNKNOWN = re.compile(r"GLOBAL ([\w.]+)")
"""Where torch names what it would have to call to read a pickle."""

_NAMED = 3


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by their published names, `module.` taken off.

    Raises:
        EngineError: The file is missing, cut short, no checkpoint, or holds no state dict.
    """
    start = first_bytes(path)
    if start.startswith(_HDF5):
        raise EngineError(f"{path} is a Keras file (HDF5): import it --as lipgan or --as lipgan-residual")
    if start.startswith((_ZIP, _PICKLE)):
        found = _read_pickle(path)
    elif start[8:9] == b"{":
        found = _read_safetensors(path)
    else:
        raise EngineError(f"{path} is neither a torch checkpoint (.pth, .pt) nor .safetensors. Give the published file")
    return {name.removeprefix(_MODULE): tensor for name, tensor in _state_dict_in(path, found).items()}


def first_bytes(path: Path) -> bytes:
    """What a file's kind is told by.

    Raises:
        EngineError: It cannot be read, or is empty.
    """
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise EngineError(f"{path} cannot be read ({error.strerror}). Give the checkpoint's path") from None
    if not start:
        raise EngineError(f"{path} is empty. Fetch it again")
    return start


def _read_pickle(path: Path) -> object:
    try:
        if _is_torchscript(path):
            return torch.jit.load(path, map_location="cpu").state_dict()  # type: ignore[no-untyped-call]
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch's message goes on to recommend reading the file without this guard.
        found = _UNKNOWN.search(str(error))
        if found is None:
            raise EngineError(f"{path} is cut short or damaged. Fetch it again") from None
        raise EngineError(
            f"{path} holds more than tensors ({found[1]}), which is not read because it could run code. "
            "Save its state dict alone, best as .safetensors"
        ) from None
    except _DAMAGE as error:
        first_line = (str(error) or type(error).__name__).splitlines()[0]
        raise EngineError(f"{path} is cut short or damaged ({first_line}). Fetch it again") from None


def _is_torchscript(path: Path) -> bool:
    """Both are zip files; only a program has constants. The README's `Wav2Lip-SD-GAN.pt` is one."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _read_safetensors(path: Path) -> object:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise EngineError(f"{path} is cut short or damaged ({error}). Fetch it again") from None


def _state_dict_in(path: Path, found: object) -> dict[str, Tensor]:
    wrapped = next((found[key] for key in _WRAPPERS if key in found), found) if isinstance(found, Mapping) else found
    if isinstance(wrapped, Mapping) and wrapped and all(_is_entry(*item) for item in wrapped.items()):
        return dict(wrapped)
    raise EngineError(
        f'{path} holds no state dict: expected tensors by name, or {{"state_dict": ...}}. Give the published checkpoint'
    )


def _is_entry(name: Any, tensor: Any) -> bool:  # noqa: ANN401 - whatever the file holds
    return isinstance(name, str) and isinstance(tensor, Tensor)


def fill(
    network: nn.Module,
    tensors: Mapping[str, Tensor],
    path: Path,
    expected: str = "Wav2Lip's 96-pixel generator",
) -> None:
    """Put published tensors into the network that they belong to, in float32.

    Args:
        network: Whose names the tensors have.
        tensors: From the file.
        path: Of the file.
        expected: What should have been given; ends the message.

    Raises:
        EngineError: They belong to another network; the message names the first tensors that do not fit.
    """
    own = network.state_dict()
    for name, what in _OTHER_NETWORKS.items():
        if name in tensors and name not in own:
            raise EngineError(f"{path} is {what}, not the generator. Give the generator's checkpoint")
    # Older versions of torch did not count batches, and no picture depends on the count.
    needed = {name for name in own if not name.endswith(".num_batches_tracked")}
    problems = [
        *_listed("lacks", sorted(needed - tensors.keys())),
        *_listed("has unknown", sorted(tensors.keys() - own.keys())),
        *_listed(
            "has of another shape",
            [
                _misshapen(name, tensors[name], own[name])
                for name in own
                if name in tensors and tensors[name].shape != own[name].shape
            ],
        ),
    ]
    if problems:
        raise EngineError(f"{path} is not this network: it {'; '.join(problems)}. Give {expected}")
    network.load_state_dict(
        {name: tensors[name].to(tensor.dtype) for name, tensor in own.items() if name in tensors}, strict=False
    )


def _misshapen(name: str, found: Tensor, expected: Tensor) -> str:
    return f"{name} {list(found.shape)} for {list(expected.shape)}"


def _listed(what: str, names: list[str]) -> list[str]:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return [f"{what} {', '.join(names[:_NAMED])}{more}"] if names else []
