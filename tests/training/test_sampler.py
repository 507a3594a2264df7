"""Batches: the same for the same step, masked, and balanced between persons."""

from dataclasses import replace

import numpy as np
import pytest

from kernels.mel import LIPGAN_WINDOW, MelWindow
from tests.training.made import made_clip
from training.config import MixConfig
from training.data.augment import Look, _reverberate, _tempo, apply_look, augment_mel, silence_mel
from training.data.cache import CachedPortraits, CachedSpeech, inner, margin_px, size_of
from training.data.clips import MaterialError
from training.data.phones import Phone
from training.data.sampler import Sampler

pytestmark = pytest.mark.unit

CLIPS = [made_clip("a", "anna", seed=1), made_clip("b", "bert", seed=2)]
# The column of a mel window that is never before or after a recording.
MIDDLE = 13


def _portraits() -> CachedPortraits:
    openings = np.array([0.0, 0.1, 0.2], np.float32)
    crops = np.stack([made_clip("p", "p", frames=3, seed=9).crops])
    return CachedPortraits(["p"], crops, openings, np.ones(3, np.float32))


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    first, second = (Sampler(CLIPS, _portraits(), MixConfig(), seed=3) for _ in range(2))
    second.batch(0, 4)
    for a, b in zip(_arrays(first, 5), _arrays(second, 5), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first.batch(5, 4).target, first.batch(6, 4).target)


def test_the_target_is_hidden_from_the_middle_row_on_and_the_identity_is_not() -> None:
    batch = Sampler(CLIPS, None, MixConfig(), seed=3).batch(0, 8)
    assert not batch.face[:, 3:, 48:].any()
    assert batch.face[:, :3, 48:].any()
    # One multiplies by 1/255, the other divides: a last bit.
    np.testing.assert_allclose(batch.face[:, 3:, :48], batch.target[:, :, :48], atol=1e-7)


def test_without_augmentation_the_picture_is_the_products_own_crop() -> None:
    crop = CLIPS[0].crops[4]
    np.testing.assert_array_equal(apply_look(crop, Look(), 96), inner(crop))


def test_a_flip_mirrors_the_products_own_crop() -> None:
    crop = CLIPS[0].crops[4]
    plain, flipped = apply_look(crop, Look(), 96), apply_look(crop, Look(flip=True), 96)
    np.testing.assert_array_equal(flipped[:, ::-1], plain)


def test_augmented_windows_keep_shape_and_range() -> None:
    rng = np.random.default_rng(0)
    wide = rng.uniform(-4, 4, (80, 33)).astype(np.float32)
    for _ in range(50):
        for mel in (augment_mel(wide, LIPGAN_WINDOW, 0.0, rng), silence_mel(27, rng)):
            assert mel.shape == (80, 27)
            assert np.abs(mel).max() <= 4


def test_silence_asks_for_the_most_closed_mouths() -> None:
    mix = MixConfig(silence_share=1.0, portrait_share=0.0)
    batch = Sampler(CLIPS, None, mix, seed=1).batch(0, 16)
    assert batch.mouth[:, 0].max() < 0.03


def test_a_share_of_the_frames_has_its_mouth_closed() -> None:
    closed = [
        np.mean([Sampler(CLIPS, None, mix, seed=1).batch(0, 64).mouth[:, 0] < 0.013])
        for mix in (MixConfig(silence_share=0, closure_share=share) for share in (0.0, 0.5, 1.0))
    ]
    assert closed[0] < closed[1] < closed[2] == 1


def test_a_share_of_the_moments_is_one_of_pressed_lips() -> None:
    mouths = np.tile(np.array([[0.1, 1.0]], np.float32), (100, 1))
    mouths[40:50, 0], mouths[70:80, 0] = 0, 0
    phones = (Phone("AA", 0.0, 0.4), Phone("M", 0.4, 0.5), Phone("AA", 0.5, 0.7), Phone("SIL", 0.7, 0.8))
    columns = np.arange(80, dtype=np.float32)
    speech = CachedSpeech("s", "carla", np.tile(columns, (80, 1)), mouths, phones)
    mix = MixConfig(silence_share=0, speech_share=1, mel_augment=False, closure_share=1)
    mel, mouth = Sampler(CLIPS, None, mix, seed=1, speech=[speech]).sounds(0, 32)
    assert (mouth[:, 0] == 0).all()
    middle = mel[:, 0, 0, MIDDLE]
    assert (np.abs(middle - 45 * 0.8) < 6).all(), "a pause is no closure"


def _arrays(sampler: Sampler, step: int) -> tuple[np.ndarray, ...]:
    batch = sampler.batch(step, 4)
    return batch.face, batch.target, batch.mel, batch.mouth


def _speech(opening: float, name: str = "s", voice: str = "carla") -> CachedSpeech:
    """One second of a constant mouth whose sound is as loud as the mouth is open."""
    mouths = np.tile(np.array([[opening, 1.0]], np.float32), (100, 1))
    return CachedSpeech(name, voice, np.full((80, 80), -3 + 25 * opening, np.float32), mouths)


def test_a_recording_is_put_to_real_frames_whose_mouth_fits_it() -> None:
    mix = MixConfig(
        portrait_share=0, silence_share=0, voiced_share=1, picture_augment=False, mel_augment=False, speech_share=1
    )
    for opening in (0.03, 0.12):
        batch = Sampler(CLIPS, None, mix, seed=3, speech=[_speech(opening)]).batch(0, 24)
        fits = np.abs(batch.mouth[:, 0] - opening) < 0.02
        assert fits.mean() > 0.9
        np.testing.assert_allclose(batch.mel[fits][..., MIDDLE], -3 + 25 * opening, atol=1e-5)


def test_a_mouth_that_no_frame_has_is_not_made_up() -> None:
    mix = MixConfig(portrait_share=0, silence_share=0, voiced_share=1, mel_augment=False, speech_share=1)
    batch = Sampler(CLIPS, None, mix, seed=3, speech=[_speech(0.9)]).batch(0, 8)
    assert (batch.mel < 5).all(), "the recording's own level would be 19.5"
    assert (batch.mouth[:, 0] < 0.3).all()


def test_recordings_move_portraits_and_teach_the_sound_encoder() -> None:
    mix = MixConfig(portrait_share=1, silence_share=0, picture_augment=False, mel_augment=False, speech_share=1)
    sampler = Sampler(CLIPS, _portraits(), mix, seed=3, speech=[_speech(0.11)])
    np.testing.assert_allclose(sampler.batch(0, 8).mouth[:, 0], 0.1)
    mel, mouth = sampler.sounds(0, 8)
    np.testing.assert_allclose(mel[..., MIDDLE], -0.25, atol=1e-5)
    np.testing.assert_allclose(mouth[:, 0], 0.11)


def test_a_voice_counts_by_its_weight() -> None:
    mix = MixConfig(silence_share=0, speech_share=1, mel_augment=False)
    speech = [_speech(0.02), replace(_speech(0.2, "t", "slt"), weight=0.25)]
    _, mouth = Sampler(CLIPS, None, mix, seed=3, speech=speech).sounds(0, 400)
    assert 0.14 < (mouth[:, 0] > 0.1).mean() < 0.26


def test_a_room_keeps_sounding_after_a_click_and_falls_by_sixty_decibels_in_its_time() -> None:
    mel = np.full((80, 40), -20, np.float32)
    mel[:, 5] = 2.0
    heard = _reverberate(mel, t60_s=0.25, direct_db=6.0)
    np.testing.assert_allclose(heard[:, :5], -20, atol=0.1)
    # 0.25 s are 20 columns, 60 dB are 4.8 units.
    np.testing.assert_allclose(heard[:, 6] - heard[:, 16], 2.4, atol=0.15)
    assert heard[0, 6] < heard[0, 5]


def test_the_size_of_a_crop_is_known_from_its_cached_picture() -> None:
    for size in (96, 128, 192, 256):
        side = size + 2 * margin_px(size)
        assert size_of(np.zeros((side, side, 3), np.uint8)) == size
        assert inner(np.zeros((2, side, side, 3), np.uint8)).shape == (2, size, size, 3)
    with pytest.raises(MaterialError, match="prepare it again"):
        size_of(np.zeros((97, 97, 3), np.uint8))


def test_a_window_without_look_ahead_ends_at_the_picture() -> None:
    mix = MixConfig(portrait_share=0, silence_share=0, voiced_share=0, mel_augment=False, speech_share=0)
    rising = replace(CLIPS[0], mel=np.tile(np.arange(96, dtype=np.float32), (80, 1)))
    window = MelWindow(columns=16, look_ahead=0)
    batch = Sampler([rising], None, mix, seed=3, window=window).batch(0, 16)
    assert batch.mel.shape == (16, 1, 80, 16)
    columns = batch.mel[:, 0, 0, -1]
    # A picture of 40 ms is 3.2 columns of 12.5 ms.
    times = np.round(columns * 12.5 / 40) * 40
    np.testing.assert_allclose(columns * 12.5, times, atol=6.3)


def test_a_tempo_change_leaves_the_pictures_own_moment_in_its_column() -> None:
    window = MelWindow(columns=16, look_ahead=2)
    wide = np.tile(np.arange(22, dtype=np.float32), (80, 1))
    for rate in (0.9, 1.0, 1.1):
        assert _tempo(wide, window, rate)[0, window.past] == pytest.approx(3 + window.past)


def test_synthetic_heads_have_their_share_of_a_batch() -> None:
    mix = MixConfig(portrait_share=0, silence_share=0, heads_share=0.25, picture_augment=False, mel_augment=False)
    grey = replace(CLIPS[0], crops=np.full_like(CLIPS[0].crops, 77), person="head")
    target = Sampler(CLIPS, None, mix, seed=3, heads=[grey]).batch(0, 400).target
    share = (np.abs(target - 77 / 255) < 1e-6).all((1, 2, 3)).mean()
    assert 0.19 < share < 0.31
    target = Sampler(CLIPS, None, mix, seed=3).batch(0, 40).target
    assert not (np.abs(target - 77 / 255) < 1e-6).all((1, 2, 3)).any()
