"""Recipes are compared within the same budget, on the same test pairs, and an interrupted comparison goes on."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.pictures import made_picture, write_picture
from training.__main__ import main
from training.budget import Budget
from training.checkpoint import load_checkpoint
from training.compare_filters import trained
from training.config import CONFIG_FOLDER, ConfigError, read_config
from training.data.photo_pairs import read_pairs
from training.evaluate_filter import INPUT
from training.measured import Measured
from training.perceptual import KD, PD
from training.pix2pix import FROM_A_FOLDER, Pix2PixConfig, train_filter

pytestmark = pytest.mark.unit


def _pairs(folder: Path, first: int, count: int) -> Path:
    for i in range(first, first + count):
        picture = made_picture(i, 48, 48)
        for side, drawn in (("A", picture), ("B", 255 - picture)):
            write_picture(folder / side / f"{i:02d}.png", drawn)
    return folder


def _recipe(folder: Path, name: str, **changed: str) -> str:
    text = (CONFIG_FOLDER / "quick_pix2pix.toml").read_text().replace("held_every = 4", "held_every = 0")
    for before, after in changed.items():
        text = text.replace(before, after)
    path = folder / f"{name}.toml"
    path.write_text(text)
    return str(path)


def test_the_published_recipe_is_the_published_one() -> None:
    config, published = read_config(Pix2PixConfig, "cuhk_published"), Pix2PixConfig()
    assert (config.network, config.pairs, config.loss) == (published.network, published.pairs, published.loss)
    assert (config.run.batch, config.run.learning_rate, config.run.ema_decay) == (1, 2e-4, 0.0)
    read_config(Pix2PixConfig, "cuhk_ours").check()


def test_the_published_recipe_for_small_pictures_is_the_published_one_but_for_their_size() -> None:
    config, published = read_config(Pix2PixConfig, "cuhk_published_128"), Pix2PixConfig()
    assert config.network == replace(published.network, downs=7)
    assert config.pairs == replace(published.pairs, load_px=143, crop_px=128)
    assert config.loss == published.loss
    assert (config.run.batch, config.run.learning_rate, config.run.ema_decay) == (1, 2e-4, 0.0)
    small, ours = read_config(Pix2PixConfig, "cuhk_ours_128"), read_config(Pix2PixConfig, "cuhk_ours")
    assert small.network == replace(ours.network, downs=7)
    assert small.loss == ours.loss


def test_a_budget_is_steps_or_minutes() -> None:
    assert Budget(steps=3).minutes == 0
    for steps, minutes in ((0, 0.0), (3, 1.0)):
        with pytest.raises(ConfigError, match="pass either --steps or --minutes"):
            Budget(steps, minutes)


def test_differences_are_between_the_same_resamples() -> None:
    noise = np.random.default_rng(0).normal(size=500)
    base = Measured({"ssim": 0.5, KD: 0.2}, {"ssim": 0.5 + noise, KD: 0.2 + 0 * noise})
    other = Measured({"ssim": 0.6, KD: 0.1}, {"ssim": 0.6 + noise, KD: 0.1 + 0 * noise})
    less = other.less(base)
    assert less["ssim"] == pytest.approx((0.1, 0.1, 0.1))
    assert less[f"share of {KD} that is gone"] == pytest.approx((0.5, 0.5, 0.5))


def test_the_command_trains_measures_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    learnt, test = _pairs(tmp_path / "learnt", 0, 3), _pairs(tmp_path / "test", 3, 8)
    recipes = [
        "--recipe",
        _recipe(tmp_path, "one"),
        "--recipe",
        _recipe(tmp_path, "two", **{'size = "a"': 'size = "b"'}),
    ]
    asked = ["compare-filters", "--pairs", str(learnt), "--test", str(test), *recipes, "--out", str(tmp_path / "out")]
    assert main([*asked, "--minutes", "0.002", "--direction", "BtoA"]) == 0
    report = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert report["budget"] == {"steps": 0, "minutes": 0.002}
    assert list(report["figures"]) == [INPUT, "one", "two"]
    assert list(report["figures"]["one"]) == ["ssim", "psnr_db", PD, KD]
    assert list(report["more_than_one"]) == ["two"]
    assert all(each["processor_s"] > 0 and each["steps"] >= 1 for each in report["recipes"].values())
    assert report["recipes"]["two"]["pairs"]["direction"] == "BtoA"
    assert (tmp_path / "out" / "comparison.jpg").is_file()
    assert main([*asked, "--steps", "3"]) == 2
    assert "was begun with the budget" in capsys.readouterr().err


def test_a_recipe_that_was_interrupted_goes_on_with_its_plan(tmp_path: Path) -> None:
    pairs = read_pairs(_pairs(tmp_path / "learnt", 0, 3))
    config = read_config(Pix2PixConfig, _recipe(tmp_path, "one"))
    budget = Budget(steps=4)
    planned = replace(config, run=replace(config.run, steps=4))
    train_filter(planned, pairs, FROM_A_FOLDER, tmp_path / "run", stop_after=2, say=lambda _: None)
    said: list[str] = []
    path = trained(config, pairs, budget, tmp_path / "run", said.append)
    whole = load_checkpoint(trained(config, pairs, budget, tmp_path / "whole", said.append))
    assert load_checkpoint(path)["step"] == 4
    assert all(torch.equal(a, load_checkpoint(path)["generator"][name]) for name, a in whole["generator"].items())
    assert said[0] == "run: 4 steps, 2.7 epochs"
    before = path.stat().st_mtime_ns
    assert trained(config, pairs, budget, tmp_path / "run", said.append).stat().st_mtime_ns == before
