"""What an evaluation measures: a generator, with all that serving must know to drive it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kernels.mel import LIPGAN_WINDOW, MelWindow
from models.catalogue import load_engine
from models.generators import Generator, crop_px_of, masks, window_of
from training.glance import Painter, torch_painter


@dataclass(frozen=True, slots=True)
class Subject:
    """A generator and its inputs.

    Attributes:
        name: What was measured, for the report.
        paint: Draws pictures.
        size_px: Side of the crops that it takes and gives.
        mask_row: First hidden row of the target; `size_px` hides nothing.
        window: The mel columns that it sees with each picture.
        identity: Which picture gives the identity channels, one of `models.catalogue.IDENTITIES`.
    """

    name: str
    paint: Painter
    size_px: int = 96
    mask_row: int = 48
    window: MelWindow = LIPGAN_WINDOW
    identity: str = "reference"

    @property
    def edits(self) -> bool:
        """Whether it is shown the mouth that it is to change, instead of filling a hidden half."""
        return self.mask_row >= self.size_px


def engine_subject(name: str, precision: str | None) -> Subject:
    """A shipped engine, driven as its manifest says.

    Raises:
        EngineError: No such engine.
    """
    engine = load_engine(name, precision=precision, threads=1)

    def paint(face: NDArray[np.float32], mel: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(engine.infer({"face": face, "mel": mel})["picture"], np.float32)

    crop = engine.manifest.crop
    title = f"{name} {engine.precision}"
    return Subject(title, paint, crop.size_px, crop.mask_row, engine.mel_window, crop.identity)


def checkpoint_subject(checkpoint: Path) -> Subject:
    """The averaged generator of a run's checkpoint, driven as its kind is served.

    Raises:
        ConfigError: No such checkpoint.
    """
    from training.export import generator_of_run

    generator, notes = generator_of_run(checkpoint)
    return generator_subject(f"checkpoint of step {notes['step']}", generator)


def generator_subject(name: str, generator: Generator) -> Subject:
    """A generator in torch, driven as its kind is served."""
    size_px, masked = crop_px_of(generator), masks(generator)
    return Subject(
        name,
        torch_painter(generator),
        size_px,
        size_px // 2 if masked else size_px,
        window_of(generator),
        "reference" if masked else "open_mouth",
    )
