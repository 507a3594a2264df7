"""What an editing generator is shown: another mouth on the same picture, and never a hint of the right one."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from benchmarks.pictures import open_face
from kernels.mouth import LOWER_INNER, UPPER_INNER
from tests.training.made import made_clip
from training.config import MixConfig
from training.data.cache import CachedClip, margin_px
from training.data.pairs import EditedPairs, MaskedPairs, Pair
from training.data.sampler import Sampler

pytestmark = pytest.mark.unit

SIZE = 96
FRAMES = 12
# Rows of the cached crop that no mask and no warp reaches.
AWAY = slice(0, SIZE // 3)
MIDDLE = SIZE * 3 // 4 + margin_px(SIZE), SIZE // 2 + margin_px(SIZE)


def _clip(*, drift_px: float = 0.0, others: bool = False) -> CachedClip:
    """A face whose mouth opens from frame to frame; every frame has its own brightness."""
    clip = made_clip("a", "anna", frames=FRAMES, seed=1)
    opening = np.linspace(0, 0.2, FRAMES).astype(np.float32)
    landmarks = np.stack([open_face(48 + k * drift_px, 40, 40, 40 * float(opening[k])) for k in range(FRAMES)])
    crops = np.stack([np.full(clip.crops.shape[1:], 10 * k, np.uint8) for k in range(FRAMES)])
    return replace(
        clip,
        crops=crops,
        opening=opening,
        landmarks=landmarks.astype(np.float32),
        others=np.full_like(crops, 255) if others else None,
        other_landmarks=landmarks[::-1].astype(np.float32) if others else None,
    )


def _drawn(pairs: EditedPairs, clip: CachedClip, frame: int, count: int = 80) -> list[Pair]:
    rng = np.random.default_rng(4)
    return [pairs.of_clip(clip, frame, rng) for _ in range(count)]


def test_outside_the_mouth_the_target_is_what_is_shown() -> None:
    for pair in _drawn(EditedPairs(0.6), _clip(), 6):
        np.testing.assert_array_equal(pair.target[AWAY], pair.shown[AWAY])


def test_the_mouth_of_the_target_is_its_own() -> None:
    seen = {int(pair.target[MIDDLE][0]) for pair in _drawn(EditedPairs(0.6), _clip(), 6)}
    assert seen == {60}


def test_the_shown_mouth_is_never_the_targets() -> None:
    shown = {int(pair.shown[0, 0, 0]) for pair in _drawn(EditedPairs(0.6), _clip(), 6)}
    assert 60 not in shown
    assert len(shown) > 4


def test_the_shown_mouth_is_shut() -> None:
    """A dark mouth between skin: what is shown has nearly none of it left, whichever frame it comes from."""
    clip = _clip()
    crops = np.full_like(clip.crops, 200)
    for k, points in enumerate(clip.landmarks + margin_px(SIZE)):
        inside = np.concatenate([points[list(UPPER_INNER)], points[list(LOWER_INNER)][::-1]])
        cv2.fillPoly(crops[k], [np.rint(inside).astype(np.int32)], (10, 10, 10))
    clip = replace(clip, crops=crops)
    open_px = max((crop < 60).sum() for crop in crops)
    left = [(pair.shown < 60).sum() for pair in _drawn(EditedPairs(0.0), clip, 0)]
    assert open_px > 100
    assert np.mean(left) < 0.3 * open_px


def test_a_frame_of_another_pose_is_not_shown() -> None:
    turning = [int(pair.shown[0, 0, 0]) for pair in _drawn(EditedPairs(0.6), _clip(drift_px=3.0), 6)]
    # Only warps of the frame itself are left, which keep its brightness in the corner.
    assert set(turning) == {60}


def test_a_head_that_was_drawn_twice_shows_its_second_drawing() -> None:
    shown = [int(pair.shown[0, 0, 0]) for pair in _drawn(EditedPairs(0.6), _clip(others=True), 6)]
    assert 0.5 < np.mean(np.array(shown) == 255) < 0.9


def test_who_speaks_is_seen_with_an_open_mouth_but_for_a_beginning() -> None:
    clip = _clip()
    pairs = _drawn(EditedPairs(0.6), clip, 0, 200)
    unseen = np.array([pair.identity is pair.shown for pair in pairs])
    assert 0.05 < unseen.mean() < 0.25
    openings = [clip.opening[pair.identity.flat[0] // 10] for pair in pairs if pair.identity is not pair.shown]
    assert np.mean(openings) > 0.15


def test_a_portrait_is_shown_shut_whatever_it_is_to_say() -> None:
    openings = np.array([0.0, 0.05, 0.1, 0.15], np.float32)
    crops = np.arange(4, dtype=np.uint8)[:, None, None, None] + np.zeros((4, 8, 8, 3), np.uint8)
    rng = np.random.default_rng(0)
    pairs = EditedPairs(0.0)
    for target in range(4):
        drawn = [pairs.of_portrait(crops, openings, target, rng) for _ in range(60)]
        assert {int(pair.shown[0, 0, 0]) for pair in drawn} == {0}
        assert {int(pair.target[0, 0, 0]) for pair in drawn} == {target}
        assert {2, 3} <= {int(pair.identity[0, 0, 0]) for pair in drawn}


def test_a_masked_pair_shows_the_target_itself() -> None:
    clip = _clip()
    pair = MaskedPairs(0.6, 6).of_clip(clip, 3, np.random.default_rng(0))
    assert pair.shown is pair.target or np.array_equal(pair.shown, pair.target)
    assert not np.array_equal(pair.identity, pair.target)


def test_an_editor_sees_the_lower_half_and_one_camera_took_both() -> None:
    mix = MixConfig(portrait_share=0.0, silence_share=0.0, voiced_share=0.0)
    batch = Sampler([made_clip("a", "anna", seed=1)], None, mix, seed=3, masked=False).batch(0, 8)
    assert batch.face[:, 3:, SIZE // 2 :].any(axis=(1, 2, 3)).all()
    # Above the mouth no pixel may differ, whatever was done to colours and framing; a hair for JPEG.
    off = np.abs(batch.face[:, 3:, : SIZE // 4] - batch.target[:, :, : SIZE // 4]).mean(axis=(1, 2, 3))
    assert np.median(off) < 1e-6
