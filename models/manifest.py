"""The JSON file beside an engine: all that training decided and that serving must repeat exactly.

A manifest is read strictly: an unknown, missing or wrongly typed field is an error that names it, because a
guess here (a mel window, a channel order) becomes a picture that is subtly wrong.
"""

import hashlib
import json
import types
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from models.engine import EngineError, TensorSpec

SCHEMA = 1
FILE_NAME = "manifest.json"
_HASH_BLOCK = 1 << 20

Annotation = Any
"""A type, `X | None`, `tuple[X, ...]` or `dict[str, X]`."""

Json = Any
"""What `json.loads` gives, before and after it is held against an annotation."""


@dataclass(frozen=True, slots=True)
class MelInput:
    """What the sound window is made of; `kernels.mel` must say the same.

    Attributes:
        columns: Columns in the window.
        look_ahead: How many of them lie after the picture's time.
        lowest: Value of silence.
        highest: Largest value.
    """

    sample_rate_hz: int
    n_fft: int
    hop: int
    bands: int
    columns: int
    look_ahead: int
    lowest: float
    highest: float


@dataclass(frozen=True, slots=True)
class CropInput:
    """What the picture input is made of.

    Attributes:
        size_px: Side of the crop.
        mask_row: First row that is zero in the target half of the input; `size_px` where nothing is hidden.
        channels: What the six channels are, in order.
        identity: Which picture gives the identity channels: "same_frame" (the frame being drawn, unmasked),
            "reference" (the same face with its mouth at rest) or "open_mouth" (with its mouth open, teeth and all),
            see `kernels.identity`.
    """

    size_px: int
    mask_row: int
    channels: str
    identity: str


@dataclass(frozen=True, slots=True)
class Parity:
    """How near an engine came to torch in float32 on real inputs.

    Attributes:
        samples: Inputs compared; none of them took part in the calibration of int8.
        psnr_db: Of all samples together, for pictures in [0, 1]; at most 120.
        worst_psnr_db: Of the worst single sample.
        max_abs: Largest difference of one value.
        limit_db: What `psnr_db` had to reach.
    """

    samples: int
    psnr_db: float
    worst_psnr_db: float
    max_abs: float
    limit_db: float


@dataclass(frozen=True, slots=True)
class EngineFiles:
    """One precision of the network, ready for its runtime.

    Attributes:
        backend: Which engine reads it.
        xml: File name of the graph.
        bin: File name of its constants.
        sha256: Of each of the two files, by name.
        inference_precision: OpenVINO's INFERENCE_PRECISION_HINT, "f32" or "bf16": never left to the runtime.
    """

    backend: str
    xml: str
    bin: str
    sha256: dict[str, str]
    inference_precision: str
    parity: Parity


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The trained weights that the engines were made from."""

    file: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Licence:
    """Under which terms the weights, and the material that shaped them, stand."""

    weights: str
    data: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EngineManifest:
    """Everything that must agree between training, export and serving.

    Attributes:
        network: The definition's configuration, for example `LipGanConfig.as_dict()`.
        default_precision: The fastest precision that passed the gate.
        engines: By precision.
        versions: Of the packages that made the files.
    """

    schema: int
    name: str
    network: dict[str, Any]
    checkpoint: Checkpoint
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    mel: MelInput
    crop: CropInput
    default_precision: str
    engines: dict[str, EngineFiles]
    versions: dict[str, str]
    licence: Licence

    def save(self, folder: Path) -> Path:
        """Write `manifest.json`, whole or not at all."""
        return write_record(self, folder / FILE_NAME)


def load_manifest(folder: Path, remedy: str) -> EngineManifest:
    """Read the manifest of one folder.

    Args:
        folder: The network's folder.
        remedy: The command that makes a missing or broken folder whole; ends the message.

    Raises:
        EngineError: The file is missing, is not JSON, or does not have exactly these fields.
    """
    manifest: EngineManifest = read_record(EngineManifest, folder / FILE_NAME, SCHEMA, remedy)
    return manifest


def read_record(kind: Annotation, path: Path, schema: int, remedy: str) -> Json:
    """Read a dataclass with a field `schema` from a JSON file, strictly.

    Args:
        kind: The dataclass.
        path: The file.
        schema: The only value of that field which this version reads.
        remedy: Ends the message.

    Raises:
        EngineError: The file is missing, is not JSON, or does not have exactly these fields.
    """
    try:
        values = json.loads(path.read_text())
    except FileNotFoundError:
        raise EngineError(f"{path} is missing, expected the engine's manifest there. {remedy}") from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EngineError(f"{path} is not JSON ({error}). {remedy}") from None
    found = values.get("schema") if isinstance(values, dict) else None
    if found != schema:
        raise EngineError(f"{path}: field schema is {found!r}, expected {schema}. {remedy}")
    try:
        return _read(kind, values, "manifest")
    except ValueError as error:
        raise EngineError(f"{path}: {error}. {remedy}") from None


def write_record(record: Any, path: Path) -> Path:  # noqa: ANN401 - any dataclass
    """Write a dataclass as JSON, whole or not at all."""
    partial = path.with_suffix(".tmp")
    partial.write_text(json.dumps(asdict(record), indent=1) + "\n")
    partial.replace(path)
    return path


def _read(kind: Annotation, value: Json, where: str) -> Json:
    """Turn JSON into the annotated type, refusing whatever does not fit."""
    if is_dataclass(kind):
        return _read_dataclass(kind, value, where)
    origin: object = get_origin(kind)
    args = get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        return None if value is None else _read(next(a for a in args if a is not type(None)), value, where)
    if origin is tuple and isinstance(value, list):
        return tuple(_read(args[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {key: _read(args[1], item, f"{where}.{key}") for key, item in value.items()}
    if kind is float and type(value) is int:
        return float(value)
    if origin is None and type(value) is kind:
        return value
    raise ValueError(f"field {where} is {value!r}, expected {getattr(kind, '__name__', kind)}")


def _read_dataclass(kind: Annotation, value: Json, where: str) -> Json:
    if not isinstance(value, dict):
        raise ValueError(f"field {where} is {value!r}, expected an object")
    hints = get_type_hints(kind)
    names = {field.name for field in fields(kind)}
    if value.keys() != names:
        missing, unknown = sorted(names - value.keys()), sorted(value.keys() - names)
        raise ValueError(f"field {where} lacks {missing} and has unknown {unknown}")
    return kind(**{name: _read(hints[name], value[name], f"{where}.{name}") for name in names})


def sha256_of(path: Path) -> str:
    """Hex digest of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def check_file(path: Path, sha256: str, remedy: str) -> None:
    """Hold a file against the manifest.

    Raises:
        EngineError: It is missing, or its content is not what the manifest says.
    """
    if not path.is_file():
        raise EngineError(f"{path} is missing, expected the file named by its manifest. {remedy}")
    found = sha256_of(path)
    if found != sha256:
        size = path.stat().st_size
        raise EngineError(
            f"{path} ({size} bytes) has sha256 {found[:16]}..., its manifest says {sha256[:16]}...: "
            f"the file is damaged or from another export. {remedy}"
        )


def describe_difference(found: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """The fields in which two records differ, as `name is A, expected B`; empty when they agree."""
    return "; ".join(
        f"{name} is {found.get(name)!r}, expected {value!r}"
        for name, value in expected.items()
        if found.get(name) != value
    )
