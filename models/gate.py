"""The gate that every exported or imported engine passes: loaded back from its files, it must draw what torch draws."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.engine import Engine, EngineError, TensorSpec
from models.generators import OUTPUT_NAME
from models.graphs import GRAPH_NAME, Samples
from models.manifest import EngineFiles, Parity, sha256_of
from models.openvino_engine import OpenVinoEngine

LIMIT_DB = {"fp32": 45.0, "bf16": 45.0, "int8": 35.0}
INFERENCE_PRECISION = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
MAX_PSNR_DB = 120.0


class ExportError(EngineError):
    """No engine was made; nothing under the final names has changed."""


def run_all(engine: Engine, samples: Samples) -> NDArray[np.float32]:
    """The pictures of all samples, float32 [K, 3, S, S]."""
    return np.concatenate([engine.infer(feed)[OUTPUT_NAME] for feed in samples.feeds()])


def gated(
    folder: Path,
    precision: str,
    inputs: tuple[TensorSpec, ...],
    output: TensorSpec,
    gate: Samples,
    expected: NDArray[np.float32],
) -> EngineFiles:
    """Load what was written, hold it against torch, and describe it.

    Raises:
        ExportError: It differs too much.
    """
    xml, constants = (folder / f"{GRAPH_NAME[precision]}.{suffix}" for suffix in ("xml", "bin"))
    engine = OpenVinoEngine(
        xml,
        inputs=inputs,
        outputs=(output,),
        precision=precision,
        inference_precision=INFERENCE_PRECISION[precision],
        threads=1,
    )
    parity = measure_parity(expected, run_all(engine, gate), LIMIT_DB[precision])
    engine.close()
    if not parity.psnr_db >= parity.limit_db:
        raise ExportError(
            f"{precision} is refused: {parity.psnr_db:.1f} dB against torch on {parity.samples} real inputs "
            f"(worst {parity.worst_psnr_db:.1f}), expected at least {parity.limit_db:.0f}. "
            f"Leave it out of --precisions, or calibrate with more samples"
        )
    sha256 = {path.name: sha256_of(path) for path in (xml, constants)}
    return EngineFiles("openvino", xml.name, constants.name, sha256, INFERENCE_PRECISION[precision], parity)


def measure_parity(expected: NDArray[np.float32], found: NDArray[np.float32], limit_db: float) -> Parity:
    """How near pictures in [0, 1] are to each other; a value that is not finite counts as wholly wrong."""
    difference = np.nan_to_num(found.astype(np.float64) - expected, nan=1.0, posinf=1.0, neginf=1.0)
    squares = (difference**2).reshape(len(expected), -1).mean(1)
    return Parity(
        samples=len(expected),
        psnr_db=round(_psnr_db(float(squares.mean())), 2),
        worst_psnr_db=round(_psnr_db(float(squares.max())), 2),
        max_abs=round(float(np.abs(difference).max()), 6),
        limit_db=limit_db,
    )


def _psnr_db(mean_square: float) -> float:
    return min(MAX_PSNR_DB, -10 * math.log10(max(mean_square, 1e-30)))
