"""A quick look at a generator while it trains: the gauge's reading on held-back clips, and pictures.

The numbers that are published come from `training.evaluate`, which reads mouths with the landmark networks.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from kernels.crop import generator_input
from kernels.mel import BANDS, LIPGAN_WINDOW, SILENCE, MelWindow, window_at
from kernels.mouth import close_mouth
from models.generators import Generator, masks, window_of
from training.data.cache import CachedClip, inner
from training.gauge import MIDDLE, SPREAD, MouthGauge

Pictures = NDArray[np.uint8]
Track = NDArray[np.floating[Any]]
Painter = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]
"""float32 face [N, 6, S, S] and mel [N, 1, 80, T] to pictures [N, 3, S, S] in [0, 1]."""

BATCH = 16
EVERY = 6
SHEET_COLUMNS = 12
CLIPS_PER_SPLIT = 3
SILENT_PICTURES = 4


def centre(clip: CachedClip) -> Pictures:
    """The product's own crops, without the margin; uint8 [T, S, S, 3]."""
    return inner(clip.crops)


def windows(clip: CachedClip, pts_ns: NDArray[np.int64], window: MelWindow = LIPGAN_WINDOW) -> NDArray[np.float32]:
    """Mel windows of a clip's sound at some times; float32 [T, 1, 80, columns]."""
    return np.stack([window_at(clip.mel, int(each), window) for each in pts_ns])[:, None]


def shut(crops: Pictures, landmarks: NDArray[np.float32]) -> Pictures:
    """What an editing generator is shown instead of crops [T, S, S, 3]; landmarks [T, 478, 2] in their pixels."""
    return np.stack([close_mouth(crop, points) for crop, points in zip(crops, landmarks, strict=True)])


def torch_painter(generator: Generator) -> Painter:
    """A generator in eval mode as a function of arrays."""
    generator.eval()
    device = next(generator.parameters()).device

    @torch.no_grad()
    def paint(face: NDArray[np.float32], mel: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(generator(*(torch.from_numpy(each).to(device) for each in (face, mel))).cpu().numpy())

    return paint


def draw(
    paint: Painter, identity: Pictures, target: Pictures, mel: NDArray[np.float32], mask_row: int | None = None
) -> Pictures:
    """Draw pictures [T, S, S, 3] from identities and targets, masked as in `generator_input`; uint8, same shape."""
    drawn: list[Pictures] = []
    for first in range(0, len(target), BATCH):
        part = slice(first, first + BATCH)
        face = np.stack([generator_input(i, t, mask_row) for i, t in zip(identity[part], target[part], strict=True)])
        picture = paint(face, mel[part])
        drawn.append((picture * 255).round().clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1))
    return np.concatenate(drawn)


def glance(generator: Generator, gauge: MouthGauge, clips: list[CachedClip], sheet: Path) -> dict[str, float]:
    """Read the drawn mouths with the gauge, own voice, swapped voice and silence; write a contact sheet.

    Returns:
        held_r (own voice, against the true opening), swap_r (against the driving voice's opening),
        leak_r (against the picture's own opening when another voice drives it), ratio (spread of the drawn opening
        over the true one), silence (mean opening in silence), speech (mean opening, own voice); means over clips.
    """
    clips = _few_of_each_split(clips)
    rows: list[Pictures] = []
    numbers: list[dict[str, float]] = []
    for index, clip in enumerate(clips):
        other = clips[(index + 1) % len(clips)]
        measured, pictures = _one(generator, gauge, clip, other)
        numbers.append(measured)
        rows += pictures
    _write_sheet(rows, sheet)
    return {key: float(np.nanmean([each[key] for each in numbers])) for key in numbers[0]}


def _few_of_each_split(clips: list[CachedClip]) -> list[CachedClip]:
    splits = sorted({each.split for each in clips})
    return [clip for split in splits for clip in [each for each in clips if each.split == split][:CLIPS_PER_SPLIT]]


def _one(
    generator: Generator, gauge: MouthGauge, clip: CachedClip, other: CachedClip
) -> tuple[dict[str, float], list[Pictures]]:
    window, paint = window_of(generator), torch_painter(generator)
    crops = centre(clip)[::EVERY]
    pts_ns, truth = clip.pts_ns[::EVERY], clip.opening[::EVERY]
    identity, shown, mask_row = crops, crops, None
    if not masks(generator):
        identity, mask_row = np.broadcast_to(crops[np.argmax(truth)], crops.shape), crops.shape[1]
        shown = shut(crops, clip.landmarks[::EVERY])

    def drawn(mel: NDArray[np.float32], every: int = 1) -> Pictures:
        count = len(mel)
        return draw(paint, identity[::every][:count], shown[::every][:count], mel, mask_row)

    own = drawn(windows(clip, pts_ns, window))
    other_times = pts_ns - pts_ns[0] + other.pts_ns[0]
    swapped = drawn(windows(other, other_times, window))
    still = drawn(np.full((SILENT_PICTURES, 1, BANDS, window.columns), SILENCE, np.float32), SILENT_PICTURES)
    read_own, read_swap, read_still = (_openings(gauge, each) for each in (own, swapped, still))
    driving = np.interp(other_times, other.pts_ns, other.opening)
    inside = other_times <= other.pts_ns[-1]
    measured = {
        "held_r": _r(read_own, truth),
        "swap_r": _r(read_swap[inside], driving[inside]),
        "leak_r": _r(read_swap[inside], truth[inside]),
        "ratio": float(read_own.std() / max(truth.std(), 1e-6)),
        "silence": float(read_still.mean()),
        "speech": float(read_own.mean()),
        "gauge_r": _r(_openings(gauge, crops), truth),
        "l1": float(np.abs(own.astype(np.float32) - crops).mean() / 255),
    }
    at = np.linspace(0, len(crops) - 1, SHEET_COLUMNS).astype(int)
    return measured, [np.hstack(each[at]) for each in (crops, own, swapped)]


@torch.no_grad()
def _openings(gauge: MouthGauge, pictures: Pictures) -> Track:
    tensor = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255
    reading = gauge(tensor.to(next(gauge.parameters()).device))
    return np.asarray(reading[:, 0].double().cpu().numpy()) * SPREAD[0] + MIDDLE[0]


def _r(a: Track, b: Track) -> float:
    return float(np.corrcoef(a, b)[0, 1]) if len(a) > 2 and a.std() > 0 and b.std() > 0 else float("nan")


def _write_sheet(rows: list[Pictures], path: Path) -> None:
    cv2.imwrite(str(path), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))
