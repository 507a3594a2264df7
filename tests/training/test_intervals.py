"""Intervals: they hold the truth about as often as they say, widen with less material, and repeat."""

import numpy as np
import pytest

from training.intervals import averaged, figure, mean, over_clips, pearson, psnr_db, ratio, spread_ratio

pytestmark = pytest.mark.unit


def _walk(rng: np.random.Generator, count: int, mean_value: float = 0.0) -> np.ndarray:
    """A track that remembers a few frames, as openings do; [count, 1]."""
    noise = rng.normal(size=count + 8)
    return (mean_value + np.convolve(noise, np.ones(4) / 2, "valid")[:count])[:, None]


def test_an_interval_over_frames_holds_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    found = [figure(_walk(rng, 240), mean).interval for _ in range(100)]
    held = sum(low <= 0.0 <= high for _, low, high in found)
    # 95 % is meant; blocks of a finite track come out a little short.
    assert 84 <= held <= 100
    alone = [figure(each[:, None], mean).interval for each in rng.normal(size=(20, 240))]
    assert np.mean([high - low for _, low, high in found]) > 1.3 * np.mean([high - low for _, low, high in alone])


def test_samples_that_are_moments_of_their_own_are_drawn_one_by_one() -> None:
    turns = np.tile([0.0, 1.0], 15)[:, None]
    assert _width(figure(turns, mean).interval) < 0.1
    # Four standard errors of a share of one half: 4 * sqrt(0.25 / 30) = 0.37.
    assert _width(figure(turns, mean, block=1).interval) == pytest.approx(0.36, abs=0.06)


def test_clips_that_differ_widen_the_interval_of_their_mean() -> None:
    rng = np.random.default_rng(4)
    alike = [figure(_walk(rng, 100), mean) for _ in range(6)]
    unlike = [figure(_walk(rng, 100, level), mean) for level in (-2, -1, 0, 0, 1, 2)]
    assert _width(over_clips(unlike)) > 2 * _width(over_clips(alike))
    assert over_clips(alike) == over_clips(alike)


def test_clips_without_the_figure_are_left_out() -> None:
    rng = np.random.default_rng(5)
    still = figure(np.stack([np.zeros(50), np.arange(50.0)], -1), pearson)
    moving = figure(np.stack([np.arange(50.0), np.arange(50.0) + rng.normal(size=50)], -1), pearson)
    assert np.isnan(still.interval.value)
    assert over_clips([still, moving]).value == moving.interval.value
    assert averaged([still, moving]).interval.value == moving.interval.value
    assert np.isnan(over_clips([still]).value)


def test_the_statistics_are_what_their_names_say() -> None:
    rng = np.random.default_rng(6)
    samples = rng.normal(size=(200, 3)) + np.arange(3)
    assert mean(samples)[0] == pytest.approx(samples[:, 0].mean())
    assert ratio(samples)[0] == pytest.approx(samples[:, 0].sum() / samples[:, 1].sum())
    assert spread_ratio(samples)[0] == pytest.approx(samples[:, 0].std() / samples[:, 1].std())
    assert pearson(samples) == pytest.approx(np.corrcoef(samples.T)[0, 1:])
    assert psnr_db(np.full((4, 1), 255.0**2 / 1000))[0] == pytest.approx(30)
    assert psnr_db(np.zeros((4, 1)))[0] == 100


def _width(interval: tuple[float, float, float]) -> float:
    return interval[2] - interval[1]
