"""Filters: what is out of sync or unfit is left out with its reason, what cannot be judged stays."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.landmarks import BLENDSHAPES, LandmarkNetworks
from tests.training.made import SIDE, made_clip, write_clip
from tests.training.test_clips import SettledFollower
from training.config import ConfigError
from training.data.cache import CachedClip, load_clips, save_clip, save_split
from training.data.clips import MaterialError
from training.data.faces import FaceFollower
from training.data.filters import Limits, offset_of, quality_of, read_limits
from training.data.phones import Phone
from training.data.prepare import prepare_clip, prepare_clips
from training.data.split import ClipEntry, read_clips

pytestmark = pytest.mark.unit

MS = 1_000_000
LIMITS = Limits()


def _good_clip() -> CachedClip:
    """In sync, large, and as structured as a face: noise of the grain of skin and hair."""
    clip = made_clip("anna-1", "anna", frames=100)
    grain = np.random.default_rng(1).normal(0, 8, (SIDE, SIDE, 1))
    pictures = (clip.crops + grain).clip(0, 255).astype(np.uint8)
    return replace(clip, crops=pictures, face_px=np.full(100, 130, np.float32))


def _reason(clip: CachedClip, hidden: float = 0.0) -> str:
    return quality_of(clip, lambda _crop: hidden).failing(LIMITS)


def _each(clip: CachedClip, change: Callable[[NDArray[np.uint8]], Any]) -> CachedClip:
    return replace(clip, crops=np.stack([np.asarray(change(each), np.uint8) for each in clip.crops]))


def test_a_good_clip_passes() -> None:
    assert _reason(_good_clip()) == ""


@pytest.mark.parametrize("late_ms", [-150, -100, 100, 150])
def test_sound_beside_the_lips_is_refused_with_its_signed_offset(late_ms: int) -> None:
    clip = _good_clip()
    # The lips at t belong to the sound at t + late_ms.
    moved = replace(clip, pts_ns=clip.pts_ns - late_ms * MS)
    offset = quality_of(moved, lambda _crop: 0.0).offset
    assert offset.ms == pytest.approx(late_ms, abs=12.5)
    assert _reason(moved).startswith(f"out of sync: sound {offset.ms:+.0f} ms (")


def test_an_offset_that_cannot_be_told_leaves_nothing_out() -> None:
    clip = _good_clip()
    hum = replace(clip, mel=np.zeros_like(clip.mel), pts_ns=clip.pts_ns + 120 * MS)
    rng = np.random.default_rng(3)
    babble = replace(clip, mel=rng.normal(0, 1, clip.mel.shape).astype(np.float32))
    for each in (hum, babble):
        assert not quality_of(each, lambda _crop: 0.0).offset.measured(LIMITS)
        assert _reason(each) == ""


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda clip: replace(clip, crops=clip.crops[:20]), "too few pictures with a face: 20, at least 25"),
        (lambda clip: replace(clip, face_px=np.full(100, 40, np.float32)), "face too small: 40 px, at least 64"),
        (lambda clip: _each(clip, lambda crop: cv2.GaussianBlur(crop, (0, 0), 4)), "blurred: sharpness "),
        (lambda clip: _each(clip, lambda crop: crop // 8), "too dark: luma "),
        (lambda clip: _each(clip, lambda crop: 210 + crop // 6), "burnt out: luma "),
    ],
)
def test_each_fault_is_named_with_what_was_found_and_expected(
    spoil: Callable[[CachedClip], CachedClip], reason: str
) -> None:
    # Contrast goes with light; what is asked here is the reason for too little of it.
    limits = replace(LIMITS, min_sharpness=0.0) if "luma" in reason else LIMITS
    quality = quality_of(spoil(_good_clip()), lambda _crop: 0.0)
    assert quality.failing(limits).startswith(reason)


def test_a_covered_mouth_is_refused() -> None:
    assert _reason(_good_clip(), hidden=0.8) == "mouth covered: 0.80 of it, at most 0.5"


def test_a_refused_clip_is_one_line_and_a_row_with_the_reason(tmp_path: Path) -> None:
    entry = ClipEntry("grey", write_clip(tmp_path / "grey.mkv", frames=30), "nobody", "train")
    said: list[str] = []
    assert prepare_clips([entry], tmp_path, SettledFollower, said.append, LIMITS) == []
    row = json.loads((tmp_path / "split.json").read_text())["clips"][0]
    assert row["left_out"].startswith("face too small: ")
    assert row["offset_ms"] is None
    assert said == [f"grey: left out: {row['left_out']}"]
    with pytest.raises(MaterialError, match="has no clip in train"):
        load_clips(tmp_path, {"train"})


def test_a_clip_that_passes_can_be_read_again_with_its_blendshapes(tmp_path: Path) -> None:
    entry = ClipEntry("grey", write_clip(tmp_path / "grey.mkv", frames=30), "nobody", "train")
    lenient = replace(LIMITS, min_face_px=0.0, min_sharpness=0.0, max_hidden=1.0)
    taught = prepare_clips([entry], tmp_path, SettledFollower, lambda _line: None, lenient)
    clip = load_clips(tmp_path, {"train"})[0]
    assert clip.blendshapes is not None
    assert clip.face_px is not None
    assert (clip.blendshapes.shape, clip.face_px.shape) == ((30, len(BLENDSHAPES)), (30,))
    assert [(each.name, len(each.crops)) for each in taught] == [("grey", 0)]


def test_caches_without_blendshapes_are_still_read(tmp_path: Path) -> None:
    save_clip(tmp_path, made_clip("anna-1", "anna"))
    save_split(tmp_path, [{"name": "anna-1", "person": "anna", "split": "train"}])
    with np.load(tmp_path / "anna-1.npz") as fields:
        assert not {"blendshapes", "face_px"} & set(fields.files)
    assert load_clips(tmp_path, {"train"})[0].blendshapes is None


def test_phones_are_read_again_and_caches_without_them_too(tmp_path: Path) -> None:
    phones = (Phone("B", 0.1, 0.25), Phone("IY", 0.25, 0.4))
    save_clip(tmp_path, replace(made_clip("anna-1", "anna"), phones=phones))
    save_clip(tmp_path, made_clip("anna-2", "anna"))
    names = ("anna-1", "anna-2")
    save_split(tmp_path, [{"name": each, "person": "anna", "split": "train"} for each in names])
    assert [each.phones for each in load_clips(tmp_path, {"train"})] == [phones, ()]
    with np.load(tmp_path / "anna-2.npz") as fields:
        assert "phone_names" not in fields.files


def test_limits_come_from_the_table_and_unknown_ones_are_refused(tmp_path: Path) -> None:
    table = tmp_path / "clips.toml"
    table.write_text("[filters]\nmin_face_px = 90\n")
    assert read_limits(table) == replace(LIMITS, min_face_px=90.0)
    table.write_text("[filters]\nmin_face = 90\n")
    with pytest.raises(ConfigError, match="min_face_px"):
        read_limits(table)


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def test_on_a_real_clip_the_jaw_opens_with_the_mouth_and_the_sound_is_in_sync(material: Path) -> None:
    entry = next(each for each in read_clips(material) if each.name == "grid-pwij3p")
    networks = LandmarkNetworks(blendshapes=True)
    clip = prepare_clip(entry, FaceFollower(networks))
    assert clip.blendshapes is not None
    assert clip.blendshapes.min() >= 0
    assert clip.blendshapes.max() <= 1
    assert _correlation(clip.blendshapes[:, BLENDSHAPES.index("jawOpen")], clip.opening) > 0.8
    quality = quality_of(clip, lambda _crop: 0.0)
    assert quality.offset.measured(LIMITS)
    assert quality.failing(LIMITS) == ""
    late = offset_of(clip.opening, clip.mel, clip.pts_ns - 120 * MS)
    assert (late.measured(LIMITS), late.low_ms > LIMITS.max_offset_ms) == (True, True)
