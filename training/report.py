"""What an evaluation looks like to a reader: a Markdown table and a contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

COLUMNS = {
    "own_r": "r, own voice",
    "swap_r": "r, foreign voice",
    "swap_leak_r": "r to own mouth, foreign voice",
    "swap_chance_r": "r of the two true mouths",
    "shuffled_r": "r, shuffled sound",
    "spread_ratio": "spread / true spread",
    "opening_speech": "opening, speech",
    "opening_silence": "opening, silence",
    "rest_truth": "true closed",
    "offset_ms": "offset, ms",
    "psnr_db": "PSNR, dB",
    "static_psnr_db": "static PSNR",
    "ssim": "SSIM",
    "static_ssim": "static SSIM",
}
LEGEND = """r = correlation of mouth openings, read by the landmark networks off 96 px crops: with the own voice against
the true mouth; with a foreign voice against the mouth of that voice's own picture. PSNR and SSIM over the lower half.
Static = the lower half of one frame with a closed mouth. Offset: positive = drawn lips lead. Rows of the contact
sheet, four per clip: truth, own voice, foreign voice, silence."""

Row = dict[str, float | str]
SHEET_QUALITY = 80


def write_report(path: Path, means: Sequence[Row], rows: Sequence[Row]) -> None:
    """Write the means and the single clips as Markdown tables."""
    heads = ["identity", "split", *COLUMNS.values()]
    text = ["# Evaluation", "", LEGEND, "", "## Means", "", *_table(heads, means, ("identity", "split"))]
    text += ["", "## Clips", "", *_table(["identity", "clip", *COLUMNS.values()], rows, ("identity", "clip")), ""]
    path.write_text("\n".join(text), encoding="utf-8")


def write_sheet(path: Path, strips: Sequence[NDArray[np.uint8]]) -> None:
    """Write strips of pictures, uint8 RGB [H, W, 3] of one width, below each other."""
    cv2.imwrite(
        str(path), cv2.cvtColor(np.vstack(strips), cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, SHEET_QUALITY]
    )


def _table(heads: list[str], rows: Sequence[Row], names: tuple[str, str]) -> list[str]:
    lines = [_line(heads), _line(["-"] * len(heads))]
    return lines + [_line([str(row[name]) for name in names] + [_number(row[key]) for key in COLUMNS]) for row in rows]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _number(value: float | str) -> str:
    assert isinstance(value, float)
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"
