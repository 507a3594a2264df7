"""The report: what does not exist is a dash, what has no interval shows none, and every shown figure is explained."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from training.intervals import Interval
from training.report import FIGURES, NAME_PX, SHEET_COLUMNS, SHEET_TILE_PX, evenly_spaced, write_report, write_sheet

pytestmark = pytest.mark.unit

NAN = float("nan")


def test_a_table_has_a_row_for_each_figure_and_a_column_for_each_method(tmp_path: Path) -> None:
    drawn = {
        "own_r": Interval(0.512, 0.4, 0.61),
        "fid": Interval(12.34, NAN, NAN),
        "offset_ms": Interval(NAN, NAN, NAN),
    }
    means = {"measured": {"drawn": drawn, "static mouth": {"own_r": Interval(-0.014, -0.2, 0.1)}}}
    clips = {"a-clip": {"drawn": {"own_r": Interval(0.5, 0.3, 0.7)}, "static mouth": {}}}
    write_report(tmp_path / "report.md", {"measured": "a name", "crop_px": 96}, means, clips)
    lines = (tmp_path / "report.md").read_text().splitlines()
    assert "- crop px: 96" in lines
    assert "|  | drawn | static mouth |" in lines
    assert "| r, own sound | 0.51 [0.40, 0.61] | -0.01 [-0.20, 0.10] |" in lines
    assert "| FID | 12.3 | - |" in lines
    assert "| offset, ms | - | - |" in lines
    assert "| a-clip | 0.50 [0.30, 0.70] |" in lines
    assert not any(line.startswith("| LPIPS") for line in lines)
    assert any(line.startswith("## HDTF") for line in lines)


def test_only_what_is_in_the_table_is_explained(tmp_path: Path) -> None:
    means = {"held_clip": {"drawn": {"own_r": Interval(0.5, 0.4, 0.6)}}}
    write_report(tmp_path / "report.md", {}, means, {"a": means["held_clip"]})
    text = (tmp_path / "report.md").read_text()
    assert f"- **{FIGURES['own_r'].name}**" in text
    assert "LPIPS" not in text
    assert "LSE" not in text


def test_a_sheet_has_named_lines_of_evenly_spaced_pictures(tmp_path: Path) -> None:
    ramp = np.repeat(np.arange(0, 250, 5, dtype=np.uint8), 8 * 8 * 3).reshape(50, 8, 8, 3)
    write_sheet(tmp_path / "sheet.jpg", {"clip": {"real": ramp, "own sound": ramp[:20]}})
    sheet = cv2.imread(str(tmp_path / "sheet.jpg"))
    assert sheet.shape == (2 * (NAME_PX + SHEET_TILE_PX), SHEET_COLUMNS * SHEET_TILE_PX, 3)
    middle = NAME_PX + SHEET_TILE_PX // 2
    shades = sheet[middle, SHEET_TILE_PX // 2 :: SHEET_TILE_PX, 1].astype(int)
    assert shades == pytest.approx(ramp[evenly_spaced(50), 0, 0, 0].astype(int), abs=3)
    assert (np.diff(shades) > 0).all()
    assert sheet[:NAME_PX, :200].max() > 150
