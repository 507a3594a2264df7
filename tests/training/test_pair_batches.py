"""Batches of pairs: they depend on the step alone, and the motion that they state is the motion that they show."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.training.pictures import made_picture
from training.config import ConfigError
from training.data.pair_batches import PairBatch, PairDataConfig, PairSampler, as_levels, as_units, loaded
from training.data.pair_makers import PAIR_MAKERS, Pair, PairMaker, same, unchanged
from training.picture_losses import warped

pytestmark = pytest.mark.unit

CONFIG = PairDataConfig(load_px=48, square=False, crop_px=32)
AS_IT_IS = PairMaker("", same, unchanged)


def _pairs(count: int = 5) -> tuple[Pair, ...]:
    return tuple(Pair(made_picture(i), 255 - made_picture(i)) for i in range(count))


def _batch(config: PairDataConfig, step: int = 3, maker: PairMaker = PAIR_MAKERS["enhance"]) -> PairBatch:
    return PairSampler(_pairs(), maker, config, seed=1).batch(step, 4)


@pytest.mark.parametrize("frames", [1, 3])
def test_a_step_draws_the_same_batch_in_whatever_order_steps_are_drawn(frames: int) -> None:
    config = replace(CONFIG, frames=frames)
    sampler = PairSampler(_pairs(), PAIR_MAKERS["enhance"], config, seed=1)
    sampler.batch(9, 4)
    for ours, fresh in zip(sampler.batch(3, 4), _batch(config), strict=True):
        assert np.array_equal(ours, fresh)
    assert _batch(config).source.shape == (4, frames, 3, 32, 32)
    assert _batch(config).places.shape == (4, frames - 1, 32, 32, 2)


def test_source_and_target_are_cut_and_mirrored_alike() -> None:
    batch = _batch(replace(CONFIG, smallest_scale=0.7), maker=AS_IT_IS)
    # The target is the source's negative; enlarging by a cubic curve rounds each of them.
    assert np.abs(batch.source + batch.target).max() <= 4 / 127.5


def test_every_pair_is_seen_once_an_epoch() -> None:
    plain = tuple(Pair(np.full((48, 64, 3), i, np.uint8), np.full((48, 64, 3), i, np.uint8)) for i in range(6))
    sampler = PairSampler(plain, AS_IT_IS, CONFIG, seed=5)
    seen = np.concatenate([sampler.batch(step, 2).target[:, 0, 0, 0, 0] for step in range(3)])
    assert sorted(np.rint((seen + 1) * 127.5).astype(int)) == list(range(6))


def test_neighbouring_views_show_the_motion_that_is_stated() -> None:
    config = replace(CONFIG, frames=2, load_px=48, crop_px=32)
    sampler = PairSampler(_pairs(), AS_IT_IS, config, seed=2)
    errors, unmoved = [], []
    for step in range(6):
        _, views, places = (torch.from_numpy(each) for each in sampler.batch(step, 4))
        moved, inside = warped(views[:, 0], places[:, 0])
        errors.append(float(((moved - views[:, 1]).abs() * inside).mean()))
        unmoved.append(float(((views[:, 0] - views[:, 1]).abs() * inside).mean()))
    # What is left is the difference of a bilinear and a cubic curve at hard edges.
    assert np.mean(errors) < 0.5 * np.mean(unmoved)


def test_some_stills_stand_still_and_differ_in_their_grain_alone() -> None:
    sampler = PairSampler(_pairs(), PAIR_MAKERS["relight"], replace(CONFIG, frames=2), seed=2)
    batches = [sampler.batch(step, 8) for step in range(4)]
    places = np.concatenate([each.places[:, 0] for each in batches])
    there = np.stack(np.meshgrid(np.arange(32), np.arange(32)), -1)
    frozen = np.abs(places - there).max((1, 2, 3)) < 1e-6
    assert 1 <= frozen.sum() < 16
    target = np.concatenate([each.target for each in batches])[frozen]
    source = np.concatenate([each.source for each in batches])[frozen]
    assert np.array_equal(target[:, 0], target[:, 1])
    assert not np.array_equal(source[:, 0], source[:, 1])


def test_pictures_are_loaded_by_their_shorter_side_or_to_a_square_as_published() -> None:
    pair = _pairs(1)[0]
    assert loaded(pair, CONFIG).source.shape == (48, 64, 3)
    assert loaded(pair, PairDataConfig()).source.shape == (286, 286, 3)
    assert loaded(Pair(made_picture(1, 216, 384), made_picture(1, 216, 384)), CONFIG).target.shape == (48, 85, 3)


def test_levels_survive_as_units() -> None:
    picture = made_picture(3)
    assert np.array_equal(as_levels(as_units(picture)), picture)
    assert as_units(np.array([[[0, 255, 0]]], np.uint8)).ravel().tolist() == [-1.0, 1.0, -1.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crop_px": 33}, "crop_px = 33 is no multiple of 32"),
        ({"smallest_scale": 0.0}, "smallest_scale = 0.0, expected more than 0"),
        ({"smallest_scale": 0.5}, "load_px = 48 at smallest_scale = 0.5 is less than crop_px = 32"),
        ({"frames": 0}, "frames = 0, expected at least 1"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(CONFIG, **change).check()
