"""Clips of synthetic heads: a mouth known exactly, sound that belongs to it, and a camera between."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from kernels.mel import LIPGAN_WINDOW, window_at
from kernels.yuv import BT601_LIMITED, i420_to_rgb
from models.landmarks import LandmarkNetworks
from training.data.cache import TRACK_HZ, CachedSpeech, margin_px, save_speech
from training.data.clips import MaterialError
from training.data.faces import FaceFollower
from training.data.head_clips import CLIP_FRAMES, Line, film, head_clip, load_heads, prepare_heads
from training.data.head_model import load_head_model
from training.data.head_renderer import HeadRenderer
from training.data.heads import make_head
from training.data.phones import Phone

pytestmark = pytest.mark.unit

CROP_PX = 48


def _speech(seconds: int) -> CachedSpeech:
    """A mouth that opens and closes once a second, and a mel that counts its columns."""
    times = np.arange(seconds * TRACK_HZ) / TRACK_HZ
    mouths = np.stack([0.06 - 0.06 * np.cos(2 * np.pi * times), np.ones(len(times))], 1).astype(np.float32)
    mel = np.tile(np.arange(seconds * 80, dtype=np.float32), (80, 1))
    return CachedSpeech("counted", "nobody", mel, mouths)


def _film(seed: int, frames: int = 6) -> list[np.ndarray]:
    picture = np.full((32, 48, 3), (180, 120, 90), np.uint8)
    picture[8:20, 10:30] = (60, 30, 30)
    filmed = film([picture] * frames, np.random.default_rng(seed))
    return [i420_to_rgb(planes, BT601_LIMITED) for planes in filmed]


@pytest.mark.parametrize("seed", range(6))
def test_a_film_has_as_many_pictures_and_shows_the_same(seed: int) -> None:
    filmed = _film(seed)
    assert len(filmed) == 6
    for picture in filmed:
        assert picture.shape == (32, 48, 3)
        np.testing.assert_allclose(picture[12:16, 16:24].mean((0, 1)), (60, 30, 30), atol=12)
        np.testing.assert_allclose(picture[24:].mean((0, 1)), (180, 120, 90), atol=12)


def test_the_same_seed_films_the_same() -> None:
    np.testing.assert_array_equal(_film(3), _film(3))
    assert (np.array(_film(3)) != np.array(_film(4))).any()


def test_a_clip_knows_its_mouth_and_its_sound(material: Path) -> None:
    model = load_head_model(material / "mesh")
    networks = LandmarkNetworks(precision="f32")
    portrait = cv2.cvtColor(cv2.imread(str(material / "faces/congress118_256/A000055.jpg")), cv2.COLOR_BGR2RGB)
    head = make_head(model, portrait, networks.find(portrait)[0].points[:, :2])
    speech = _speech(3)
    line = Line(speech.mel, speech.mouths, [Phone("AA", 0.0, 3.0)])
    with HeadRenderer(model, 256) as renderer:
        clip = head_clip(
            renderer, model, head, line, np.random.default_rng(0), name="a", person="b", crop_px=CROP_PX, frames=30
        )
    assert clip.crops.shape == (30, CROP_PX + 2 * margin_px(CROP_PX), CROP_PX + 2 * margin_px(CROP_PX), 3)
    assert clip.landmarks.shape == (30, 478, 2)
    # The mel counts its columns from the recording's beginning, a hundred mouths and eighty columns to the second.
    middle = [float(window_at(clip.mel, int(pts), LIPGAN_WINDOW)[0, LIPGAN_WINDOW.past]) / 80 for pts in clip.pts_ns]
    np.testing.assert_allclose(np.diff(clip.pts_ns), 40_000_000)
    wanted = np.interp(middle, np.arange(len(speech.mouths)) / TRACK_HZ, speech.mouths[:, 0])
    assert clip.opening.max() > 0.1
    # A nod foreshortens the mouth, and sound columns are an eightieth of a second.
    np.testing.assert_allclose(clip.opening, wanted, atol=0.015)
    # The crop is held by the skull: the eyes do not leave their rows.
    assert np.ptp(clip.landmarks[:, [33, 263], 1].mean(1)) < 3


def test_heads_are_added_to_a_cache_once(material: Path, tmp_path: Path) -> None:
    speech = _speech(1)
    save_speech(tmp_path, speech)
    networks = LandmarkNetworks(precision="f32")
    said: list[str] = []

    def run() -> None:
        prepare_heads(material, tmp_path, lambda: FaceFollower(networks), said.append, clips=range(1), crop_px=CROP_PX)

    run()
    (clip,) = load_heads(tmp_path)
    assert len(clip.crops) == 25 < CLIP_FRAMES
    assert clip.person in clip.name
    run()
    assert len(said) == 1


def test_a_cache_without_speech_is_named(material: Path, tmp_path: Path) -> None:
    with pytest.raises(MaterialError, match="no speech"):
        prepare_heads(material, tmp_path, lambda: _never(), lambda _: None, clips=range(1), crop_px=CROP_PX)


def _never() -> FaceFollower:
    raise AssertionError("nothing may be read before the cache is checked")
