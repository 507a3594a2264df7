"""What of a clip is judged before and after its lips are made again."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.lip_meters import Watched
from benchmarks.resync import excerpt, pairs_of, write_sheet
from stream.media import ClipReader, decode_sound
from tests.stream.clip_maker import SAMPLE

pytestmark = pytest.mark.unit


def test_an_excerpt_keeps_pictures_and_sound_together(tmp_path: Path) -> None:
    output = tmp_path / "part.mp4"
    excerpt(SAMPLE, SAMPLE, output, start_s=1.0, end_s=2.0)
    times_s = [frame.pts_ns / 1e9 for frame in ClipReader(output).frames()]
    assert times_s[0] == 0.0
    assert len(times_s) == 24
    whole, part = (decode_sound(path, path.name, rate_hz=48_000) for path in (SAMPLE, output))
    middle = part[24_000:28_800]
    # The sound of the first picture at or after 1 s; the codec may blur it, and must not move it.
    first = next(frame.pts_ns for frame in ClipReader(SAMPLE).frames() if frame.pts_ns >= 1e9)
    near = whole[round(first * 48e-6) + 24_000 - 2400 :][: 4800 + 4800]
    late = int(np.argmax(np.correlate(near, middle, "valid"))) - 2400
    assert abs(late) <= 24


def test_an_empty_excerpt_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no pictures"):
        excerpt(SAMPLE, SAMPLE, tmp_path / "part.mp4", start_s=100.0, end_s=101.0)


def test_a_picture_may_be_paired_with_another_sound() -> None:
    assert pairs_of(["a.mp4", "a.mp4=b.mp4"], Path()) == [
        (Path("a.mp4"), Path("a.mp4")),
        (Path("a.mp4"), Path("b.mp4")),
    ]
    assert [picture.name for picture, _ in pairs_of([], Path("m"))] == [
        "sailing_de.mp4",
        "sailing_es.mp4",
        "sailing_fr.mp4",
    ]


def test_a_sheet_shows_before_above_after(tmp_path: Path) -> None:
    times_ns = np.arange(30) * 40_000_000
    dark, light = (Watched(times_ns, np.zeros(30), np.full((30, 96, 96, 3), level, np.uint8)) for level in (10, 200))
    write_sheet(tmp_path / "sheet.png", dark, light)
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet is not None
    assert sheet.shape == (384, 1920, 3)
    assert (sheet[:192] == 10).all()
    assert (sheet[192:] == 200).all()
