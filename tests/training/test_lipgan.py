"""The recipe: it learns, it resumes to the same bits, and it refuses to overwrite a run."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from kernels.yuv import BT601_LUMA
from models.lipgan_lite import LipGanLite, LipGanLiteConfig
from models.sync_expert import SyncExpert, SyncExpertConfig, save_expert
from tests.training.made import made_clip
from training import lipgan
from training.checkpoint import load_checkpoint
from training.config import ConfigError, LipganConfig, NetworkConfig, build, load_config
from training.export import generator_of_run
from training.gauge import MouthGauge
from training.lipgan import train_on
from training.loop import learning_rate_at
from training.losses import judged, mouth_box
from training.networks import new_generator
from training.trainer import Trainer

pytestmark = pytest.mark.unit

CLIPS = [made_clip("a", "anna", seed=1), made_clip("b", "bert", seed=2)]


def _config(steps: int, **changes: int) -> LipganConfig:
    quick = load_config("quick")
    return replace(quick, run=replace(quick.run, steps=steps, decay_from_step=steps // 2, **changes))


def _log(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_a_quick_run_reduces_the_loss(tmp_path: Path) -> None:
    config = _config(30)
    plain = replace(config.mix, picture_augment=False, mel_augment=False)
    train_on(replace(config, mix=plain), CLIPS, None, tmp_path, held=[])
    losses = [row["l1"] for row in _log(tmp_path) if "l1" in row]
    assert len(losses) == 6
    assert sum(losses[-2:]) < 0.8 * sum(losses[:2])


def test_a_killed_run_resumes_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = _config(6, checkpoint_every=2, gauge_steps=2)
    whole = load_checkpoint(train_on(config, CLIPS, None, tmp_path / "whole", held=[]))
    step = lipgan.train_step

    def dies_at_5(trainer: Trainer, *drawn: Any) -> dict[str, float]:
        if trainer.step == 5:
            raise KeyboardInterrupt
        return step(trainer, *drawn)

    monkeypatch.setattr(lipgan, "train_step", dies_at_5)
    with pytest.raises(KeyboardInterrupt):
        train_on(config, CLIPS, None, tmp_path / "cut", held=[])
    monkeypatch.setattr(lipgan, "train_step", step)
    resumed = load_checkpoint(train_on(config, CLIPS, None, tmp_path / "cut", held=[], resume=True))
    assert resumed["step"] == whole["step"] == 6
    for part in ("generator", "averaged", "discriminator", "gauge", "listener"):
        for name, tensor in whole[part].items():
            assert torch.equal(tensor, resumed[part][name]), f"{part}.{name}"


def test_a_run_folder_is_not_overwritten(tmp_path: Path) -> None:
    config = _config(1, gauge_steps=1)
    train_on(config, CLIPS, None, tmp_path, held=[])
    with pytest.raises(ConfigError, match="--resume"):
        train_on(config, CLIPS, None, tmp_path, held=[])


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    config = _config(1, gauge_steps=1)
    train_on(config, CLIPS, None, tmp_path, held=[])
    wider = replace(config, network=replace(config.network, width=0.125))
    with pytest.raises(ConfigError, match="start a new run folder"):
        train_on(wider, CLIPS, None, tmp_path, held=[], resume=True)


def test_half_a_checkpoint_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(ConfigError, match=r"checkpoint\.pt is no whole checkpoint"):
        load_checkpoint(tmp_path / "checkpoint.pt")


def test_the_learning_rate_warms_up_stays_and_falls_to_its_end() -> None:
    run = replace(load_config("quick").run, steps=100, warm_up_steps=10, decay_from_step=50)
    assert learning_rate_at(0, run) == pytest.approx(run.learning_rate / 10)
    assert learning_rate_at(30, run) == run.learning_rate
    assert learning_rate_at(100, run) == pytest.approx(run.final_learning_rate)


def test_the_lite_generator_learns_by_the_same_recipe(tmp_path: Path) -> None:
    network = build(NetworkConfig, {"variant": "lite", "size": "s", "width": 0.25}, "here")
    config = replace(_config(12, log_every=1), network=network)
    plain = replace(config.mix, picture_augment=False, mel_augment=False)
    rate = replace(config.run, learning_rate=1e-3)
    train_on(replace(config, mix=plain, run=rate), CLIPS, None, tmp_path, held=[])
    losses = [row["mouth_l1"] for row in _log(tmp_path) if "mouth_l1" in row]
    assert len(losses) == 12
    assert max(losses[-3:]) < 0.7 * losses[0]
    generator, _ = generator_of_run(tmp_path / "checkpoint.pt")
    assert isinstance(generator, LipGanLite)
    assert generator.config == LipGanLiteConfig(size="s", crop_px=96, width=0.25)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({"variant": "basic", "crop_px": 192}, "'basic' takes crops of 96 px"),
        ({"variant": "basic", "look_ahead_ms": 80}, "its own mel window"),
        ({"variant": "lite", "crop_px": 100}, "multiple of 32"),
        ({"variant": "lite", "size": "xxl"}, "expected size s, m, l"),
        ({"variant": "fancy"}, "expected basic"),
    ],
)
def test_a_network_that_cannot_be_is_refused(network: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        new_generator(build(NetworkConfig, network, "here"))


def test_the_mouth_box_grows_with_the_crop() -> None:
    for side in (96, 192, 256):
        rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        box = mouth_box(torch.stack([rows, columns]).float()[None] / side)
        assert box.shape[2:] == pytest.approx((side * 44 / 96, side * 52 / 96), abs=1)
        assert abs(box[0, 0].min().item() - 48 / 96) < 1 / side
        assert abs(box[0, 1].max().item() - 74 / 96) < 2 / side


@pytest.mark.parametrize("side", [96, 192])
def test_the_judges_read_crops_of_every_size(side: int) -> None:
    picture = torch.rand(2, 3, side, side)
    assert MouthGauge()(picture).shape == (2, 2)
    assert judged(picture).shape == (2, 3, 96, 96)
    if side == 96:
        assert torch.equal(judged(picture), picture)


def test_the_gauge_is_blind_to_colour() -> None:
    gauge = MouthGauge().eval()
    picture = torch.full((1, 3, 96, 96), 0.5)
    green = picture.clone()
    # As much luma is taken from red as is added to green.
    green[:, 1, 60:70] += 0.1
    green[:, 0, 60:70] -= 0.1 * BT601_LUMA[1] / BT601_LUMA[0]
    brighter = picture.clone()
    brighter[:, :, 60:70] += 0.1
    torch.testing.assert_close(gauge(green), gauge(picture), atol=1e-5, rtol=0)
    assert (gauge(brighter) - gauge(picture)).abs().max() > 1e-3


def _in_runs(steps: int, **changes: int) -> LipganConfig:
    config = _config(steps, frames=5, batch=10, gauge_steps=1, log_every=1, **changes)
    return replace(config, loss=replace(config.loss, expert=0.1, steady=0.5))


def test_runs_of_five_are_judged_by_the_frozen_expert_and_resume_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    save_expert(tmp_path / "expert.safetensors", SyncExpert(SyncExpertConfig(8)), {})
    monkeypatch.setattr(lipgan, "EXPERT_WEIGHTS", tmp_path / "expert.safetensors")
    config = _in_runs(4, checkpoint_every=2)
    whole = load_checkpoint(train_on(config, CLIPS, None, tmp_path / "whole", held=[]))
    train_on(config, CLIPS, None, tmp_path / "cut", held=[], stop_after=2)
    resumed = load_checkpoint(train_on(config, CLIPS, None, tmp_path / "cut", held=[], resume=True))
    assert "expert" not in whole
    for name, tensor in whole["generator"].items():
        assert torch.equal(tensor, resumed["generator"][name]), name
    rows = [row for row in _log(tmp_path / "whole") if "steady" in row]
    assert len(rows) == 4
    assert all(0 < row["expert"] < 2 and row["steady"] > 0 for row in rows)
    weights = config.loss
    row = rows[0]
    assert row["total"] == pytest.approx(sum(getattr(weights, name) * row[name] for name in _weighted(row)), abs=1e-4)


def _weighted(row: dict[str, float]) -> list[str]:
    return [name for name in row if name not in ("step", "elapsed_s", "total", "judge", "quality_judge")]


def test_what_moves_as_it_should_is_steady() -> None:
    trainer = lipgan.new_trainer(_in_runs(1))
    target = torch.rand(10, 3, 96, 96)
    span = torch.zeros(2, 1, 80, 17)
    # Darker alike in all five is an error of each picture, not of their differences; of every second one it is.
    assert lipgan.run_losses(trainer, target - 0.25, target, span)["steady"].item() == pytest.approx(0, abs=1e-6)
    flicker = target.clone()
    flicker[::2] -= 0.25
    between_runs = flicker.clone()
    between_runs[:5], between_runs[5:] = target[:5], target[5:] - 0.25
    assert lipgan.run_losses(trainer, flicker, target, span)["steady"].item() == pytest.approx(0.25, abs=1e-6)
    assert lipgan.run_losses(trainer, between_runs, target, span)["steady"].item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("run", "loss", "message"),
    [
        ({"frames": 3}, {}, r"frames must be 1 or 5, found 3"),
        ({}, {"expert": 0.1}, r"set \[run\] frames = 5"),
        ({}, {"steady": 0.1}, r"set \[run\] frames = 5"),
    ],
)
def test_losses_on_neighbours_need_neighbours(
    tmp_path: Path, run: dict[str, int], loss: dict[str, float], message: str
) -> None:
    config = _config(1, **run)
    with pytest.raises(ConfigError, match=message):
        train_on(replace(config, loss=replace(config.loss, **loss)), CLIPS, None, tmp_path, held=[])
