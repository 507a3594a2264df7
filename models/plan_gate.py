"""What an engine of a card must show before it is used: torch's pictures, its mouths, and numbers at the extremes."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from models.engine import Engine
from models.gate import ExportError, measure_parity
from models.generators import OUTPUT_NAME
from models.graphs import Samples
from models.manifest import EngineManifest, Parity

LEAST_LIKENESS = 0.9
"""How alike mouths must move, see `sound_likeness`."""

# Rows and columns of the crop between nose and chin, as shares of its side.
_MOUTH = ((0.56, 0.92), (0.31, 0.69))


def pass_gate(engine: Engine, reference: Engine, gate: Samples, manifest: EngineManifest, limit_db: float) -> Parity:
    """Hold an engine against a reference.

    Args:
        engine: What is to be used; takes any batch.
        reference: Torch in float32.
        gate: Real inputs that no calibration has seen.
        manifest: The network's, which knows the extremes.
        limit_db: What it has to reach.

    Returns:
        How near it came, alone or in a batch, whichever is worse.

    Raises:
        ExportError: Not near enough; or its mouths move otherwise; or it draws what is no number.
    """
    what = f"{manifest.name} in {engine.precision}"
    expected = _one_by_one(reference, gate)
    together = engine.infer({"face": gate.face, "mel": gate.mel})[OUTPUT_NAME]
    found = (measure_parity(expected, each, limit_db) for each in (_one_by_one(engine, gate), together))
    parity = min(found, key=lambda each: each.psnr_db)
    if not parity.psnr_db >= limit_db:
        raise ExportError(
            f"{what} is refused: {parity.psnr_db:.1f} dB against torch on {parity.samples} real inputs (worst "
            f"{parity.worst_psnr_db:.1f}), expected at least {limit_db:.0f}. Take another --precision"
        )
    likeness = sound_likeness(engine, reference, gate)
    if not likeness >= LEAST_LIKENESS:
        raise ExportError(
            f"{what} is refused: what a sound does to its mouth has a likeness of {likeness:.2f} to torch's, expected "
            f"at least {LEAST_LIKENESS}. Take another --precision"
        )
    for feed in extremes(manifest):
        if not np.isfinite(engine.infer(feed)[OUTPUT_NAME]).all():
            raise ExportError(f"{what} is refused: it draws what is no number at the ends of its inputs' range")
    return parity


def sound_likeness(engine: Engine, reference: Engine, gate: Samples) -> float:
    """Whether sounds move a mouth as they move the reference's: one face, every sound, each less the mean of all.

    A picture of mostly skin can be near another and its mouth still stand wrong.

    Returns:
        The cosine between the two, 1 for the same.
    """
    said = Samples(np.repeat(gate.face[:1], len(gate), axis=0), gate.mel)
    ours, theirs = (_moved(_one_by_one(each, said)) for each in (engine, reference))
    length = float(np.sqrt(np.square(ours).sum() * np.square(theirs).sum()))
    return float((ours * theirs).sum()) / max(length, 1e-12)


def _moved(pictures: NDArray[np.float32]) -> NDArray[np.float64]:
    rows, columns = (slice(*(round(edge * pictures.shape[-1]) for edge in edges)) for edges in _MOUTH)
    mouths = pictures[:, :, rows, columns].astype(np.float64)
    return np.asarray(mouths - mouths.mean(0))


def extremes(manifest: EngineManifest) -> list[dict[str, NDArray[np.float32]]]:
    """Black and white faces with the quietest and the loudest sound there can be."""
    shapes = {spec.name: [1 if size is None else size for size in spec.shape] for spec in manifest.inputs}
    ends = itertools.product((0.0, 1.0), (manifest.mel.lowest, manifest.mel.highest))
    return [
        {"face": np.full(shapes["face"], shown, np.float32), "mel": np.full(shapes["mel"], heard, np.float32)}
        for shown, heard in ends
    ]


def _one_by_one(engine: Engine, samples: Samples) -> NDArray[np.float32]:
    return np.concatenate([engine.infer(feed)[OUTPUT_NAME] for feed in samples.feeds()])
