"""The sheet by phone picks the right moments, and shows a generator another picture than the true one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.pictures import open_face
from tests.training.made import made_clip
from training import phone_sheet as sheet
from training.data.cache import save_clip, save_split
from training.data.clips import MaterialError
from training.data.phones import Phone
from training.subject import Subject

pytestmark = pytest.mark.unit

FRAMES = 20
CLIP = replace(
    made_clip("a", "anna", frames=FRAMES),
    landmarks=np.stack([open_face(48, 40, 40, 4.0)] * FRAMES),
    crops=np.stack([np.full((112, 112, 3), 10 * k, np.uint8) for k in range(FRAMES)]),
)


def test_a_moment_is_the_middle_of_the_phone_that_comes_first_in_the_list() -> None:
    phones = [Phone("EH", 0.0, 0.1), Phone("AA", 0.2, 0.28), Phone("AA", 0.4, 0.56)]
    moment = sheet._moment(CLIP, phones, ("AA", "EH"))
    assert moment is not None
    # The longer one of two; 40 ms a frame.
    assert moment.frame == 12
    assert sheet._moment(CLIP, phones, ("B",)) is None


def test_the_generator_is_shown_the_picture_of_half_a_clip_away() -> None:
    shown: list[float] = []

    def paint(face: np.ndarray, mel: np.ndarray) -> np.ndarray:
        shown.extend((face[:, 3:6, 0, 0].mean(1) * 255).tolist())
        return face[:, 3:6].astype(np.float32)

    subject = Subject("echo", paint, 96, 96, identity="same_frame")
    tile = sheet._drawn(sheet._Moment(CLIP, 4), subject)
    assert shown[4] == pytest.approx(10 * (4 + FRAMES // 2), abs=3)
    assert tile.shape == (sheet.TILE_PX, sheet.TILE_PX, 3)


def test_a_cache_without_known_words_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_clip(tmp_path, CLIP)
    save_split(tmp_path, [{"name": "a", "person": "anna", "split": "train"}])
    monkeypatch.setattr(sheet, "read_clips", lambda _: [])
    with pytest.raises(MaterialError, match="known words"):
        sheet.phone_sheet(tmp_path, tmp_path, [], tmp_path / "sheet.jpg", print)
