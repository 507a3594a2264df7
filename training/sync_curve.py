"""Similarity of lips and sound against the shift between them, as a frozen sync expert sees it.

A shift is read both ways, so the curve's maximum is a signed offset: the time of the sound minus the time of the
picture that belongs to it, positive where the sound is late. Scores that look for the best of all shifts hide a
constant offset; therefore the curve is what is published. None of the figures are LSE-C or LSE-D, which need the
weights of another network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kernels.mel import COLUMN_NS, NS_PER_S, column_at, window_at
from models.sync_expert import RUN_FRAMES, RUN_RATE_HZ, SPAN, SyncExpert, lower_half
from training.data.cache import inner

FRAME_COLUMNS = NS_PER_S / RUN_RATE_HZ / COLUMN_NS
MOST_FRAMES = 15
MOST_COLUMNS = round(MOST_FRAMES * FRAME_COLUMNS)
SHIFTS_MS = np.arange(-MOST_COLUMNS, MOST_COLUMNS + 1) * (COLUMN_NS / 1e6)
"""Every column of the mel, 12.5 ms apart, to 15 pictures either way."""
OFF_FROM_FRAMES = 3
FARTHEST_NS = 15_000_000
BATCH = 128

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class ShiftCurve:
    """What an expert says of one clip.

    Attributes:
        similarity: float32 [R, 97], of each run of five pictures with the sound shifted by `SHIFTS_MS`.
        pts_ns: int64 [R], of the runs' middle pictures.
    """

    similarity: NDArray[np.float32]
    pts_ns: NDArray[np.int64]

    @property
    def mean(self) -> Floats:
        """Mean over the runs, [97]; NaN without runs."""
        return self.similarity.mean(0) if len(self.similarity) else np.full(len(SHIFTS_MS), np.nan)

    @property
    def offset_ms(self) -> float:
        """Where the mean is highest: positive where the sound is late, so that the lips lead; NaN without runs."""
        return float(SHIFTS_MS[int(self.mean.argmax())]) if len(self.similarity) else float("nan")

    @property
    def confidence(self) -> float:
        """How far the mean's maximum stands above its median over all shifts; NaN without runs."""
        return float(self.mean.max() - np.median(self.mean)) if len(self.similarity) else float("nan")


def shift_curve(
    expert: SyncExpert, pictures: NDArray[np.uint8], mel: Floats, pts_ns: NDArray[np.int64], *, margin: bool = False
) -> ShiftCurve:
    """Similarity of every run of five pictures with the sound before, at and after its time.

    Args:
        expert: Frozen.
        pictures: uint8 RGB [T, S, S, 3], the product's crops of one face; with `margin`, as they are cached.
        mel: float [80, columns] of the sound, column 0 at time 0.
        pts_ns: int64 [T], on the sound's time line; at other rates than 25 a second the nearest pictures are taken.
        margin: Whether the pictures carry the cache's margin.

    Returns:
        The runs whose sound is there at every shift; none for a clip that is too short.
    """
    runs, middles = runs_of(pts_ns)
    columns = np.array([column_at(int(pts_ns[each])) for each in middles], np.intp)
    reach = MOST_COLUMNS + SPAN.past
    whole = (columns >= reach) & (columns < mel.shape[1] - reach) if len(columns) else np.zeros(0, bool)
    runs, middles, columns = runs[whole], middles[whole], columns[whole]
    if not len(runs):
        return ShiftCurve(np.zeros((0, len(SHIFTS_MS)), np.float32), np.zeros(0, np.int64))
    seen = _seen(expert, inner(pictures) if margin else pictures)
    with torch.no_grad():
        lips = expert.embed_runs(seen[torch.from_numpy(runs)]).cpu().numpy()
    first = int(columns.min()) - MOST_COLUMNS
    sound = _sounds(expert, mel, range(first, int(columns.max()) + MOST_COLUMNS + 1))
    near = columns[:, None] - first + np.arange(-MOST_COLUMNS, MOST_COLUMNS + 1)
    similarity = np.einsum("re,rse->rs", lips, sound[near])
    return ShiftCurve(similarity.astype(np.float32), pts_ns[middles])


def confidence(expert: SyncExpert, pictures: NDArray[np.uint8], mel: Floats, pts_ns: NDArray[np.int64]) -> float:
    """How surely lips and sound belong together at some shift; see `ShiftCurve.confidence` and `shift_curve`."""
    return shift_curve(expert, pictures, mel, pts_ns).confidence


def runs_of(pts_ns: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Runs of five pictures 40 ms apart.

    Args:
        pts_ns: int64 [T], growing.

    Returns:
        Indices [R, 5] of the nearest pictures, none more than 15 ms from where it should be, and of the middles [R].
    """
    steps_ns = (np.arange(RUN_FRAMES) - RUN_FRAMES // 2) * (NS_PER_S // RUN_RATE_HZ)
    wanted = pts_ns[:, None] + steps_ns
    after = np.searchsorted(pts_ns, wanted).clip(1, max(1, len(pts_ns) - 1))
    before_nearer = wanted - pts_ns[after - 1] <= pts_ns[np.minimum(after, len(pts_ns) - 1)] - wanted
    nearest = np.where(before_nearer, after - 1, np.minimum(after, len(pts_ns) - 1))
    good = (np.abs(pts_ns[nearest] - wanted) <= FARTHEST_NS).all(1)
    return nearest[good], np.flatnonzero(good)


def off_sync_accuracy(curve: ShiftCurve, runs: int = 1) -> float:
    """How often the true sound is more similar than one shifted by 3 to 15 pictures; 0.5 is chance.

    Args:
        curve: Of a clip whose true offset is 0.
        runs: So many neighbouring runs are judged together, by their mean.

    Returns:
        Share of all pairs of a place in the clip and a shift; NaN for a clip with fewer runs.
    """
    similarity = _running_mean(curve.similarity, runs)
    if not len(similarity):
        return float("nan")
    frames = np.array([each for each in range(-MOST_FRAMES, MOST_FRAMES + 1) if abs(each) >= OFF_FROM_FRAMES])
    off = similarity[:, np.round(frames * FRAME_COLUMNS).astype(int) + MOST_COLUMNS]
    return float((similarity[:, MOST_COLUMNS, None] > off).mean())


def _running_mean(similarity: NDArray[np.float32], runs: int) -> Floats:
    if runs == 1 or len(similarity) < runs:
        return similarity[: len(similarity) if runs == 1 else 0]
    sums = np.concatenate([np.zeros((1, similarity.shape[1])), similarity.cumsum(0, dtype=np.float64)])
    return np.asarray((sums[runs:] - sums[:-runs]) / runs)


@torch.no_grad()
def _seen(expert: SyncExpert, pictures: NDArray[np.uint8]) -> torch.Tensor:
    parts = []
    for first in range(0, len(pictures), BATCH):
        part = torch.from_numpy(np.ascontiguousarray(pictures[first : first + BATCH]))
        parts.append(expert.seen(lower_half(part.to(_device(expert)).permute(0, 3, 1, 2).float() / 255)))
    return torch.cat(parts)


@torch.no_grad()
def _sounds(expert: SyncExpert, mel: Floats, columns: Sequence[int]) -> NDArray[np.float32]:
    spans = np.stack([window_at(np.asarray(mel, np.float32), each * COLUMN_NS, SPAN) for each in columns])[:, None]
    heard = torch.from_numpy(spans)
    parts = [expert.embed_sound(heard[at : at + BATCH].to(_device(expert))) for at in range(0, len(spans), BATCH)]
    return np.asarray(torch.cat(parts).cpu().numpy())


def _device(expert: SyncExpert) -> torch.device:
    return next(expert.parameters()).device
