"""Which networks can be a generator: each family's definition, how it is rebuilt, and what it takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.engine import TensorSpec
from models.lipgan import FACE_SIZE, SOUND_SIZE, LipGanConfig, LipGanGenerator
from models.wav2lip import Wav2LipConfig, Wav2LipGenerator

Generator = LipGanGenerator | Wav2LipGenerator

GENERATOR_OUTPUT = TensorSpec("picture", (None, 3, FACE_SIZE, FACE_SIZE))


def family_of(generator: Generator) -> str:
    """The name under which files know this kind of network."""
    return "wav2lip" if isinstance(generator, Wav2LipGenerator) else "lipgan"


FAMILIES = ("lipgan", "wav2lip")


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
    return LipGanGenerator(LipGanConfig.from_dict(config))


def generator_inputs(generator: Generator) -> tuple[TensorSpec, TensorSpec]:
    """What a generator takes."""
    if isinstance(generator, Wav2LipGenerator):
        bands, columns = generator.sound_size
    else:
        bands, columns = SOUND_SIZE[generator.config.front_end]
    return TensorSpec("face", (None, 6, FACE_SIZE, FACE_SIZE)), TensorSpec("mel", (None, 1, bands, columns))
