"""What a frozen sync expert is worth: its shift curve on held-back clips, as JSON, Markdown and a picture."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.sync_expert import SyncExpert, load_expert
from training.data.cache import CachedClip, load_clips
from training.sync_curve import MOST_FRAMES, OFF_FROM_FRAMES, SHIFTS_MS, ShiftCurve, off_sync_accuracy, shift_curve

EXPERT_FILE = "expert.safetensors"
SPLITS = {
    "held_clip": "held-back clips, persons trained on",
    "held_person": "held-back persons",
    "measured": "HDTF, never trained on",
}
COLOURS = {"held_clip": (200, 90, 20), "held_person": (30, 140, 30), "measured": (40, 40, 200)}
"""BGR."""
SECOND_RUNS = 25
LEGEND = f"""Similarity = cosine of the expert's two embeddings, -1 to 1, of its own scale. Off-sync accuracy = how
often a run of five pictures is more similar to its own sound than to that sound shifted by {OFF_FROM_FRAMES} to
{MOST_FRAMES} pictures, 0.5 being chance; "of a second" = {SECOND_RUNS} neighbouring runs judged by their mean. Offset =
where the clip's mean is highest, time of the sound minus time of the picture: positive = the lips lead. Confidence =
that maximum less the median over all shifts. None of these are LSE-C or LSE-D."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One clip."""

    clip: str
    split: str
    curve: ShiftCurve

    def row(self) -> dict[str, str | float]:
        """Its figures."""
        return {
            "clip": self.clip,
            "split": self.split,
            "runs": float(len(self.curve.similarity)),
            "accuracy": off_sync_accuracy(self.curve),
            "accuracy_second": off_sync_accuracy(self.curve, SECOND_RUNS),
            "offset_ms": self.curve.offset_ms,
            "confidence": self.curve.confidence,
        }


def publish(weights: Path, cache: Path, out: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure an expert on every held-back clip and write curve.json, curve.md and curve.png.

    Args:
        weights: Written by `models.sync_expert.save_expert`.
        cache: Folder by `prepare`; "held_clip", "held_person" and "measured" clips are read.
        out: Folder to write to.
        say: Takes one line of progress.

    Returns:
        What the JSON file holds.

    Raises:
        EngineError: No expert there.
        MaterialError: No usable cache.
    """
    expert = load_expert(weights)
    measured = []
    for clip in load_clips(cache, set(SPLITS)):
        measured.append(_measure(expert, clip))
        row = measured[-1].row()
        say(f"{clip.name}: accuracy {row['accuracy']:.3f}, offset {row['offset_ms']:+.1f} ms")
    found = [each for each in measured if len(each.curve.similarity)]
    report = {
        "shifts_ms": SHIFTS_MS.tolist(),
        "splits": {split: _group([each for each in found if each.split == split]) for split in SPLITS},
        "clips": [each.row() for each in measured],
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "curve.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (out / "curve.md").write_text(_markdown(report), encoding="utf-8")
    cv2.imwrite(str(out / "curve.png"), plot({key: each["mean"] for key, each in report["splits"].items() if each}))
    return report


def _measure(expert: SyncExpert, clip: CachedClip) -> Measured:
    return Measured(clip.name, clip.split, shift_curve(expert, clip.crops, clip.mel, clip.pts_ns, margin=True))


def _group(measured: Sequence[Measured]) -> dict[str, Any]:
    """Means over the clips, each counting once; nothing without clips."""
    if not measured:
        return {}
    rows = [each.row() for each in measured]
    offsets = [float(row["offset_ms"]) for row in rows]
    means = {
        key: float(np.nanmean([row[key] for row in rows])) for key in ("accuracy", "accuracy_second", "confidence")
    }
    mean = np.mean([each.curve.mean for each in measured], 0)
    return {
        "clips": len(rows),
        "runs": int(sum(float(row["runs"]) for row in rows)),
        **means,
        "offset_ms": float(SHIFTS_MS[int(mean.argmax())]),
        "median_offset_ms": float(np.median(offsets)),
        "within_60_ms": float(np.mean(np.abs(offsets) <= 60)),
        "mean": [round(float(each), 5) for each in mean],
    }


def _markdown(report: dict[str, Any]) -> str:
    lines = ["# Shift curve of the sync expert", "", LEGEND, "", "![similarity against shift](curve.png)", ""]
    heads = ["material", "clips", "runs", "off-sync accuracy", "of a second", "offset of the mean curve, ms"]
    heads += ["median of the clips' offsets, ms", "clips within 60 ms", "confidence"]
    lines += [f"| {' | '.join(heads)} |", "| - " * len(heads) + "|"]
    for split, each in report["splits"].items():
        if each:
            lines.append(
                f"| {SPLITS[split]} | {each['clips']} | {each['runs']} | {each['accuracy']:.3f} | "
                f"{each['accuracy_second']:.3f} | {each['offset_ms']:+.1f} | {each['median_offset_ms']:+.1f} | "
                f"{each['within_60_ms']:.0%} | {each['confidence']:.3f} |"
            )
    lines += ["", "| clip | split | runs | off-sync accuracy | of a second | offset, ms | confidence |"]
    lines += ["| - | - | - | - | - | - | - |"]
    lines += [
        f"| {row['clip']} | {row['split']} | {row['runs']:.0f} | {row['accuracy']:.3f} | "
        f"{row['accuracy_second']:.3f} | {row['offset_ms']:+.1f} | {row['confidence']:.3f} |"
        for row in report["clips"]
    ]
    return "\n".join([*lines, ""])


WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 960, 540, 80, 20, 20, 60
INK, GRID = (40, 40, 40), (225, 225, 225)


def plot(curves: dict[str, Sequence[float]]) -> NDArray[np.uint8]:
    """Draw mean similarity against shift, one line per split, uint8 BGR [540, 960, 3]."""
    canvas = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    values = np.array(list(curves.values()))
    step = 0.1 if float(np.ptp(values)) > 0.25 else 0.05
    low, high = np.floor(values.min() / step) * step, np.ceil(values.max() / step) * step
    reach = float(SHIFTS_MS[-1])

    def at(shift_ms: float, value: float) -> tuple[int, int]:
        x = LEFT + (shift_ms + reach) / (2 * reach) * (WIDTH - LEFT - RIGHT)
        y = HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)
        return round(x), round(y)

    for value in np.arange(low, high + step / 2, step):
        cv2.line(canvas, at(-reach, value), at(reach, value), GRID, 1)
        _write(canvas, f"{value:+.2f}", (8, at(0, value)[1] + 5))
    for shift_ms in range(-600, 601, 200):
        cv2.line(canvas, at(shift_ms, low), at(shift_ms, high), INK if shift_ms == 0 else GRID, 1)
        _write(canvas, f"{shift_ms:+d}", (at(shift_ms, low)[0] - 22, HEIGHT - BOTTOM + 22))
    _write(canvas, "shift in ms: picture at t, sound at t + shift", (LEFT + 240, HEIGHT - 12))
    for row, (split, curve) in enumerate(curves.items()):
        line = np.array([at(float(x), float(y)) for x, y in zip(SHIFTS_MS, curve, strict=True)], np.int32)
        cv2.polylines(canvas, [line], isClosed=False, color=COLOURS[split], thickness=2, lineType=cv2.LINE_AA)
        cv2.line(canvas, (LEFT + 12, TOP + 18 + 24 * row), (LEFT + 42, TOP + 18 + 24 * row), COLOURS[split], 2)
        _write(canvas, SPLITS[split], (LEFT + 50, TOP + 23 + 24 * row))
    return canvas


def _write(canvas: NDArray[np.uint8], text: str, at: tuple[int, int]) -> None:
    cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, INK, 1, cv2.LINE_AA)
