"""What every A/V offset measurement needs: dubbing as the command does, and lags between two curves."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.engine import Engine
from stream.dub import Dub
from stream.dub_job import DubJob
from stream.faces import FaceFinder, open_face_finder
from stream.media import Encoding
from stream.passage import Spoken
from stream.render import RenderOptions

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Times in seconds, in order, and values."""

# Lags are tried every 5 ms, from -300 to 300 ms.
GRID_S = 0.005
REACH_S = 0.3


def peak_of(values: NDArray[np.floating[Any]]) -> float:
    """Return the index of the maximum, between the samples by a parabola."""
    at = int(np.argmax(values))
    if not 0 < at < len(values) - 1:
        return float(at)
    before, here, after = (float(value) for value in values[at - 1 : at + 2])
    bend = before - 2 * here + after
    return at + (0.5 * (before - after) / bend if bend else 0.0)


def best_lag(truth: Curve, found: Curve, begin_s: float = 0.0, end_s: float = np.inf) -> tuple[float, float]:
    """Say how late `found` is behind `truth` in seconds, and how alike (correlated) the two are then.

    Args:
        truth: Covers `found` and 300 ms more where it can.
        found: The curve that may be late.
        begin_s: Start of the part that is compared.
        end_s: Its end.
    """
    score = lag_scores(truth, found, begin_s, end_s)
    return lag_at_peak(score), float(score.max())


def lag_scores(truth: Curve, found: Curve, begin_s: float = 0.0, end_s: float = np.inf) -> NDArray[np.floating[Any]]:
    """Correlation of two curves at every lag that is tried; the arguments are those of `best_lag`.

    Not a number where one of the two does not move.
    """
    last_s = min(truth[0][-1], found[0][-1], end_s + REACH_S)
    grid = np.arange(max(begin_s, REACH_S), last_s - REACH_S, GRID_S)
    lags = np.arange(-REACH_S, REACH_S + GRID_S / 2, GRID_S)
    fixed = np.interp(grid, *truth)
    with np.errstate(invalid="ignore"):
        return np.array([np.corrcoef(fixed, np.interp(grid + lag, *found))[0, 1] for lag in lags])


def lag_at_peak(scores: NDArray[np.floating[Any]]) -> float:
    """The lag in seconds at which `lag_scores`, or a mean of several, is highest."""
    return -REACH_S + peak_of(scores) * GRID_S


class NoFaces:
    """A finder that finds nothing: the pictures pass, and the work is that of clocks and codecs."""

    def find(self, _frame: object) -> list[Any]:
        """Find nothing."""
        return []

    def close(self) -> None:
        """Hold nothing."""


def finder_for(engine: Engine) -> FaceFinder:
    """A finder whose crops are as large as those that the generator takes."""
    return open_face_finder(crop_size=int(engine.inputs["face"].shape[-1] or 0))


def dub(source: Path, voice: Path | Spoken, output: Path, engine: Engine, finder: FaceFinder) -> None:
    """Dub as the command does, without a mark, at a quality that hides nothing, and with the voice alone."""
    job = DubJob(
        source=source,
        voice=voice,
        output=output,
        overwrite=True,
        keep_going=True,
        render=RenderOptions(badge=""),
        encoding=Encoding(quality=14),
    )
    asyncio.run(Dub(job, engine, lambda: finder).run())
