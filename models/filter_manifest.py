"""The JSON file beside a filter: what it takes, what it gives, and how it must be run to draw what was trained.

It is read as strictly as an engine's (`models.manifest`). A folder from elsewhere is held to the same rules: whatever
it names lies in it, and nothing in it is ever unpickled.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.folded_planes import CELL_BYTES, FOLD
from models.engine import EngineError, TensorSpec
from models.manifest import FILE_NAME, Checkpoint, EngineFiles, Licence, read_record, write_record

SCHEMA = 1

FRAME, STATE, LAST, NOISE = "frame", "state", "last", "z"
"""Inputs by name. The frame is an output as well, and so is what an engine gives back of what is `CARRIED`."""

CARRIED = (STATE, LAST)
"""What goes in beside the next frame, see `models.filter_memory`.

The state is what a network remembers, and comes out as it goes in. A steady filter has what it drew last, in the
precision of its sums; its state is the frame before, which nobody has to be given back.
"""

REGIONS: Mapping[str, str] = {
    "frame": "the whole picture",
    "face": "a square around each face",
    "portrait": "everything: a portrait where each face is, on a plain backdrop, and nothing of the camera's picture",
}

SOURCES: Mapping[str, str] = {
    "picture": "RGB [1, 3, H, W] in [-1, 1]",
    "grey": "the picture's luma in all three channels; what is drawn colours the picture, whose own luma stays",
    "lines": "a drawing of the picture's lines, dark on white, in all three channels",
    "planes": "the picture's own planes, folded: bytes [1, H / 4, W / 4, 24], as `kernels.folded_planes` has it",
    "layout": "one channel for each class of a semantic layout, 1 where it is and 0 elsewhere [1, N, H, W]",
    "portrait": "the same of a layout of head and shoulders",
}
LAYOUTS = ("layout", "portrait")
"""Sources that hold nothing of a picture but where the face's landmarks are."""

"""What the input `FRAME` is made of before the network sees it."""

NORMALISATIONS: Mapping[str, str] = {
    "none": "there is none",
    "running": "batch norm with the statistics of training, folded into the convolutions",
    "picture": "batch norm with the statistics of the picture that is drawn, as while training with a batch of one",
    "instance": "instance norm: each channel of the picture by itself",
}

DROPOUTS: Mapping[str, str] = {
    "off": "nothing is dropped",
    "pinned": "the same values are dropped from every picture, drawn once from a seed",
}

LARGEST_PX = 4096
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class FilterManifest:
    """Everything that must agree between training, export and serving of a filter.

    Attributes:
        name: In small letters; the folder's.
        title: One line for a list.
        size_px: Height and width that the network runs at.
        region: What of the picture is drawn anew, one of `REGIONS`.
        source: What the input is made of, one of `SOURCES`.
        classes: Of a layout, by channel; empty otherwise.
        network: Family and configuration.
        recurrent: Whether a state goes in and out.
        normalisation: One of `NORMALISATIONS`.
        dropout: One of `DROPOUTS`.
        seed: Of what is pinned (dropout, noise of a network that takes some).
        default_precision: The fastest that passed the gate.
        engines: By precision.
        versions: Of the packages that made the files.
    """

    schema: int
    name: str
    title: str
    size_px: tuple[int, ...]
    region: str
    source: str
    classes: tuple[str, ...]
    network: dict[str, Any]
    checkpoint: Checkpoint
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    recurrent: bool
    normalisation: str
    dropout: str
    seed: int
    default_precision: str
    engines: dict[str, EngineFiles]
    versions: dict[str, str]
    licence: Licence

    @property
    def anonymous(self) -> bool:
        """Whether nothing of the camera's picture may be seen while it is chosen, whatever happens."""
        return self.region == "portrait"

    def save(self, folder: Path) -> Path:
        """Write `manifest.json`, whole or not at all."""
        return write_record(self, folder / FILE_NAME)


def load_filter_manifest(folder: Path, remedy: str) -> FilterManifest:
    """Read the manifest of a filter's folder and hold it against what this version can serve.

    Args:
        folder: Of the filter.
        remedy: Ends the message.

    Raises:
        EngineError: It is missing, does not have exactly these fields, or one of them does not fit the others.
    """
    manifest: FilterManifest = read_record(FilterManifest, folder / FILE_NAME, SCHEMA, remedy)
    if (problem := next(problems(manifest), None)) is not None:
        raise EngineError(f"{folder / FILE_NAME}: {problem}. {remedy}")
    if manifest.name != folder.name:
        raise EngineError(f"{folder / FILE_NAME}: name is {manifest.name!r}, expected its folder's, {folder.name!r}")
    return manifest


def pinned_noise(seed: int, channels: int) -> NDArray[np.float32]:
    """The noise of every stream of a filter, float32 [1, channels]: one face, one style."""
    return np.random.default_rng(seed).standard_normal((1, channels), np.float32)


def check_name(name: str) -> None:
    """Refuse what cannot be a filter's name.

    Raises:
        EngineError: It is not made of small letters, digits, dashes and underscores.
    """
    if not _NAME.fullmatch(name):
        raise EngineError(f"{name!r} cannot be a filter's name: expected small letters and digits, such as sketch")


def problems(manifest: FilterManifest) -> Iterator[str]:
    """What does not fit, one sentence each."""
    yield from _wrong_words(manifest)
    yield from _wrong_shapes(manifest)
    yield from _wrong_files(manifest)


def _wrong_words(manifest: FilterManifest) -> Iterator[str]:
    if not _NAME.fullmatch(manifest.name):
        yield f"name is {manifest.name!r}, expected small letters and digits"
    if not manifest.title.strip() or not manifest.title.isprintable():
        yield f"title is {manifest.title!r}, expected one line"
    known: Mapping[str, tuple[str, Iterable[str]]] = {
        "region": (manifest.region, REGIONS),
        "source": (manifest.source, SOURCES),
        "normalisation": (manifest.normalisation, NORMALISATIONS),
        "dropout": (manifest.dropout, DROPOUTS),
        "default_precision": (manifest.default_precision, manifest.engines),
    }
    for field, (found, expected) in known.items():
        if found not in expected:
            yield f"{field} is {found!r}, expected one of {', '.join(expected)}"
    if bool(manifest.classes) != (manifest.source in LAYOUTS):
        yield f"classes are {list(manifest.classes)} with source {manifest.source!r}: only a layout has some"
    if manifest.anonymous and manifest.source not in LAYOUTS:
        yield f"region is 'portrait' with source {manifest.source!r}: it would be shown the picture that it hides"


def _wrong_shapes(manifest: FilterManifest) -> Iterator[str]:
    if len(manifest.size_px) != 2 or not all(1 <= side <= LARGEST_PX for side in manifest.size_px):
        yield f"size_px is {list(manifest.size_px)}, expected height and width, each 1 to {LARGEST_PX}"
        return
    given = {spec.name: spec for spec in manifest.inputs}
    drawn = {spec.name: spec for spec in manifest.outputs}
    steady = manifest.recurrent and LAST in given
    wanted = {FRAME, *((STATE, LAST) if steady else (STATE,) if manifest.recurrent else ())}
    back = wanted - {STATE} if steady else wanted
    expected_names = "frame, state, perhaps last" if manifest.recurrent else "frame"
    if len(given) != len(manifest.inputs) or set(given) - {NOISE} != wanted:
        yield f"inputs are {[spec.name for spec in manifest.inputs]}, expected {expected_names}, perhaps z"
        return
    if len(drawn) != len(manifest.outputs) or set(drawn) != back:
        yield f"outputs are {[spec.name for spec in manifest.outputs]}, expected {', '.join(sorted(back))}"
        return
    if steady and given[STATE] != replace(given[FRAME], name=STATE):
        yield f"the input state is {given[STATE]}, expected a frame, {given[FRAME]}"
    frames = zip(("input frame", "output frame"), (given[FRAME], drawn[FRAME]), _frame_specs(manifest), strict=True)
    for what, spec, expected in frames:
        if spec != expected:
            yield f"the {what} is {spec}, expected {expected}"
    yield from _wrong_others(manifest, given, drawn)


def cells_spec(size_px: Sequence[int]) -> TensorSpec:
    """Of folded planes at a size."""
    height, width = size_px
    return TensorSpec(FRAME, (None, height // FOLD, width // FOLD, CELL_BYTES), "uint8")


def _frame_specs(manifest: FilterManifest) -> tuple[TensorSpec, TensorSpec]:
    """Of the frame that goes in and of the one that comes out."""
    if manifest.source == "planes":
        return cells_spec(manifest.size_px), cells_spec(manifest.size_px)
    channels = len(manifest.classes) or 3
    shown, drawn = ((None, each, *manifest.size_px) for each in (channels, 3))
    return TensorSpec(FRAME, shown), TensorSpec(FRAME, drawn)


def _wrong_others(
    manifest: FilterManifest, given: Mapping[str, TensorSpec], drawn: Mapping[str, TensorSpec]
) -> Iterator[str]:
    others = [given[name] for name in (*CARRIED, NOISE) if name in given and not (name == STATE and LAST in given)]
    largest = 64 * manifest.size_px[0] * manifest.size_px[1]
    if NOISE in given and len(given[NOISE].shape) != 2:
        yield f"the input z is {given[NOISE]}, expected float32 [N, channels]"
    for spec in others:
        sizes = [size or 0 for size in spec.shape[1:]]
        if (
            not sizes
            or spec.shape[0] is not None
            or spec.dtype != "float32"
            or not all(1 <= s <= largest for s in sizes)
        ):
            yield f"the input {spec.name} is {spec}, expected float32 [N, ...]"
    for name in set(CARRIED) & set(drawn):
        if given[name] != drawn[name]:
            yield f"the {name} that goes in is {given[name]}, the one that comes out {drawn[name]}: expected the same"


def _wrong_files(manifest: FilterManifest) -> Iterator[str]:
    files = {"checkpoint": (manifest.checkpoint.file, ".safetensors", manifest.checkpoint.sha256)}
    for precision, engine in manifest.engines.items():
        files[f"engines.{precision}.xml"] = (engine.xml, ".xml", engine.sha256.get(engine.xml, ""))
        files[f"engines.{precision}.bin"] = (engine.bin, ".bin", engine.sha256.get(engine.bin, ""))
        if engine.backend != "openvino" or engine.inference_precision not in ("f32", "bf16"):
            yield (
                f"engines.{precision} is for {engine.backend} in {engine.inference_precision}, "
                "expected openvino in f32 or bf16"
            )
    for field, (file, suffix, sha256) in files.items():
        # A name with a folder in it could lead anywhere.
        if not _FILE.fullmatch(file) or not file.endswith(suffix):
            yield f"{field} names {file!r}, expected a file of this folder that ends in {suffix}"
        elif not _SHA256.fullmatch(sha256):
            yield f"{field} has sha256 {sha256!r}, expected 64 hexadecimal digits"
    stems = {engine.xml.removesuffix(".xml") for engine in manifest.engines.values()}
    if stems != {engine.bin.removesuffix(".bin") for engine in manifest.engines.values()}:
        yield "a graph and its constants have other names than each other, expected the same but for .xml and .bin"
