"""Batches: the same for the same step, masked, and balanced between persons."""

import numpy as np
import pytest

from tests.training.made import made_clip
from training.config import MixConfig
from training.data.augment import Look, apply_look, augment_mel, silence_mel
from training.data.cache import MARGIN_PX, CachedPortraits
from training.data.sampler import Sampler

pytestmark = pytest.mark.unit

CLIPS = [made_clip("a", "anna", seed=1), made_clip("b", "bert", seed=2)]


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
    inside = slice(MARGIN_PX, -MARGIN_PX)
    np.testing.assert_array_equal(apply_look(crop, Look(), 96), crop[inside, inside])


def test_a_flip_mirrors_the_products_own_crop() -> None:
    crop = CLIPS[0].crops[4]
    plain, flipped = apply_look(crop, Look(), 96), apply_look(crop, Look(flip=True), 96)
    np.testing.assert_array_equal(flipped[:, ::-1], plain)


def test_augmented_windows_keep_shape_and_range() -> None:
    rng = np.random.default_rng(0)
    wide = rng.uniform(-4, 4, (80, 33)).astype(np.float32)
    for _ in range(50):
        for mel in (augment_mel(wide, 27, 0.0, rng), silence_mel(27, rng)):
            assert mel.shape == (80, 27)
            assert np.abs(mel).max() <= 4


def test_silence_asks_for_the_most_closed_mouths() -> None:
    mix = MixConfig(silence_share=1.0, portrait_share=0.0)
    batch = Sampler(CLIPS, None, mix, seed=1).batch(0, 16)
    assert batch.mouth[:, 0].max() < 0.03


def _arrays(sampler: Sampler, step: int) -> tuple[np.ndarray, ...]:
    batch = sampler.batch(step, 4)
    return batch.face, batch.target, batch.mel, batch.mouth
