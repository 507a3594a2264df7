"""Which networks can be a generator: each family's definition, how it is rebuilt, and what it takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kernels.mel import BANDS, LIPGAN_WINDOW, MelWindow
from models.engine import TensorSpec
from models.lipgan import FACE_SIZE, SOUND_SIZE, LipGanConfig, LipGanGenerator
from models.lipgan_lite import LipGanLite, LipGanLiteConfig
from models.wav2lip import TRAINED_WINDOW, Wav2LipConfig, Wav2LipGenerator

Generator = LipGanGenerator | LipGanLite | Wav2LipGenerator

OUTPUT_NAME = "picture"


def family_of(generator: Generator) -> str:
    """The name under which files know this kind of network."""
    if isinstance(generator, LipGanLite):
        return "lipgan_lite"
    return "wav2lip" if isinstance(generator, Wav2LipGenerator) else "lipgan"


FAMILIES = ("lipgan", "lipgan_lite", "wav2lip")


def rebuild(family: str, config: Mapping[str, Any]) -> Generator:
    """A generator with fresh weights.

    Args:
        family: One of `FAMILIES`.
        config: What `generator.config.as_dict()` gave.

    Raises:
        ValueError, KeyError: There is no such network.
    """
    if family == "wav2lip":
        return Wav2LipGenerator(Wav2LipConfig.from_dict(config))
    if family == "lipgan_lite":
        return LipGanLite(LipGanLiteConfig.from_dict(config))
    return LipGanGenerator(LipGanConfig.from_dict(config))


def crop_px_of(generator: Generator) -> int:
    """Side of the pictures that a generator takes and gives."""
    return generator.config.crop_px if isinstance(generator, LipGanLite) else FACE_SIZE


def masks(generator: Generator) -> bool:
    """Whether the lower half of the target is hidden from a generator."""
    return not isinstance(generator, LipGanLite)


def in_half(generator: Generator) -> Generator:
    """Give a generator half precision, in place; what would be off by a pixel in it keeps its own."""
    return generator.halved() if isinstance(generator, LipGanLite) else generator.half()


def window_of(generator: Generator) -> MelWindow:
    """The mel columns that a generator sees with each picture."""
    if isinstance(generator, LipGanLite):
        return generator.config.window
    return TRAINED_WINDOW if isinstance(generator, Wav2LipGenerator) else LIPGAN_WINDOW


def generator_inputs(generator: Generator) -> tuple[TensorSpec, TensorSpec]:
    """What a generator takes."""
    size, sound_size = crop_px_of(generator), (BANDS, window_of(generator).columns)
    if isinstance(generator, LipGanGenerator):
        sound_size = SOUND_SIZE[generator.config.front_end]
    return TensorSpec("face", (None, 6, size, size)), TensorSpec("mel", (None, 1, *sound_size))


def generator_output(generator: Generator) -> TensorSpec:
    """What it gives."""
    size = crop_px_of(generator)
    return TensorSpec(OUTPUT_NAME, (None, 3, size, size))
