"""Reading clips: one timeline for sound and picture, and one clear line for what cannot be used."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kernels.mel import MelWindow, mel_spectrogram, window_at
from tests.training.made import write_clip
from training.data import prepare
from training.data.clips import MaterialError, Planes, read_pictures, read_sound
from training.data.phones import Phone
from training.data.prepare import Points, prepare_clip
from training.data.split import ClipEntry

pytestmark = pytest.mark.unit


class BlindFollower:
    """Finds nobody."""

    def find(self, _planes: Planes) -> Points | None:
        return None

    def blendshapes(self) -> NDArray[np.float32]:
        return np.zeros(52, np.float32)

    def smooth(self, _pts_ns: int, landmarks: Points) -> Points:
        return landmarks


def test_a_click_reaches_the_picture_of_its_own_time_in_the_middle_column(tmp_path: Path) -> None:
    sound, zero_ns = read_sound(write_clip(tmp_path / "click.mkv", flash=12))
    mel = mel_spectrogram(sound)
    pictures = list(read_pictures(tmp_path / "click.mkv", zero_ns))
    brightest = max(range(len(pictures)), key=lambda k: float(pictures[k][1][0].mean()))
    pts_ns = pictures[brightest][0]
    heard = np.flatnonzero(window_at(mel, pts_ns, MelWindow()).max(0) > -4)
    assert (brightest, pts_ns) == (12, 480_000_000)
    # 480 ms are 38.4 columns, and window and click are rounded to whole ones.
    assert (heard.min() + heard.max()) / 2 == pytest.approx(13.4, abs=0.5)


@pytest.mark.parametrize(("frames_early", "columns_later"), [(2, 6.4), (-2, -6.4)])
def test_the_window_of_an_earlier_picture_hears_the_click_later(
    tmp_path: Path, frames_early: int, columns_later: float
) -> None:
    sound, _ = read_sound(write_clip(tmp_path / "click.mkv", flash=12))
    window = window_at(mel_spectrogram(sound), (12 - frames_early) * 40_000_000, MelWindow())
    heard = np.flatnonzero(window.max(0) > -4)
    # Times are rounded to whole columns.
    assert (heard.min() + heard.max()) / 2 == pytest.approx(13 + columns_later, abs=0.5)


def test_a_missing_clip_is_one_line_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(MaterialError, match=r"^no clip .*gone\.mkv; check --material$"):
        read_sound(tmp_path / "gone.mkv")


def test_a_clip_without_sound_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(MaterialError, match=r"mute\.mkv has no sound"):
        read_sound(write_clip(tmp_path / "mute.mkv", sound=False))


def test_a_file_that_is_no_media_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "text.mkv").write_text("no film")
    with pytest.raises(MaterialError, match=r"text\.mkv cannot be read as media"):
        read_sound(tmp_path / "text.mkv")


def test_a_clip_without_a_face_is_refused_by_name(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "empty.mkv", frames=3)
    with pytest.raises(MaterialError, match=r"empty\.mkv shows no face"):
        prepare_clip(ClipEntry("empty", path, "nobody", "train"), BlindFollower())


class SettledFollower:
    """Finds the same face in every picture."""

    def find(self, _planes: Planes) -> Points | None:
        points = np.random.default_rng(0).uniform(20, 28, (478, 2)).astype(np.float32)
        points[[33, 263, 61, 291, 13, 14, 152]] = [[20, 18], [40, 18], [25, 34], [35, 34], [30, 33], [30, 35], [30, 44]]
        return points

    def blendshapes(self) -> NDArray[np.float32]:
        return np.zeros(52, np.float32)

    def smooth(self, _pts_ns: int, landmarks: Points) -> Points:
        return landmarks


def test_a_file_whose_sound_is_late_is_put_right(tmp_path: Path) -> None:
    entry = ClipEntry("late", write_clip(tmp_path / "late.mkv"), "anna", "measured", sound_late_ms=64)
    clip = prepare_clip(entry, SettledFollower())
    np.testing.assert_array_equal(clip.pts_ns, np.arange(25) * 40_000_000 + 64_000_000)
    assert clip.phones == ()


@pytest.mark.parametrize("found", [[Phone("B", 0.1, 0.2), Phone("AH", 0.2, 0.4)], None])
def test_known_words_become_phones_on_the_sound_s_own_time_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: list[Phone] | None
) -> None:
    asked: list[tuple[int, str]] = []

    def align(samples: NDArray[np.float32], words: str) -> list[Phone] | None:
        asked.append((len(samples), words))
        return found

    monkeypatch.setattr(prepare, "align_phones", align)
    path = write_clip(tmp_path / "said.mkv")
    clip = prepare_clip(ClipEntry("said", path, "anna", "train", words="buh", sound_late_ms=64), SettledFollower())
    assert asked == [(16_000, "buh")]
    assert clip.phones == tuple(found or ())
