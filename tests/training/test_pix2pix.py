"""The Pix2Pix recipe: published defaults, a run that learns, resumes to the same bits, and refuses what cannot be."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.pictures import made_picture, write_photos, write_picture
from training.__main__ import main
from training.checkpoint import load_checkpoint
from training.config import CONFIG_FOLDER, ConfigError, read_config
from training.data.clips import MaterialError
from training.filter_network import FilterNetworkConfig, drawn_run, new_filter, new_judge
from training.pix2pix import (
    PARTS,
    FilterRunConfig,
    Pix2PixConfig,
    begin_with,
    filter_of_run,
    learning_rate_of,
    new_filter_trainer,
    pairs_of,
    steps_of,
    train_filter,
)

pytestmark = pytest.mark.unit

QUICK = read_config(Pix2PixConfig, "quick_pix2pix")
TINY_UNET = FilterNetworkConfig(downs=5, channels=4, receptive_px=16, judge_channels=4)


def _with(config: Pix2PixConfig, **parts: dict[str, object]) -> Pix2PixConfig:
    return replace(config, **{name: replace(getattr(config, name), **each) for name, each in parts.items()})


def _trained(config: Pix2PixConfig, photos: Path, run: Path, **options: object) -> Path:
    pairs, maker = pairs_of(replace(config.pairs, maker="enhance"), None, [photos])
    return train_filter(config, pairs, maker, run, say=lambda _: None, **options)  # type: ignore[arg-type]


def test_defaults_are_the_published_numbers() -> None:
    config = read_config(Pix2PixConfig, "pix2pix")
    assert config == Pix2PixConfig()
    loss, run, pairs = config.loss, config.run, config.pairs
    assert (loss.gan, loss.judge, loss.l1) == ("vanilla", 1.0, 100.0)
    assert (run.learning_rate, run.beta1, run.beta2, run.batch, run.epochs) == (2e-4, 0.5, 0.999, 1, 200)
    assert (pairs.load_px, pairs.crop_px, pairs.square, pairs.flip) == (286, 256, True, True)
    assert sum(each.numel() for each in new_filter(config.network).parameters()) == 54_413_955
    assert sum(each.numel() for each in new_judge(config.network).parameters()) == 2_768_705


def test_the_rate_is_constant_for_half_of_the_steps_and_falls_in_a_line() -> None:
    run = FilterRunConfig(epochs=4)
    steps = steps_of(run, 100)
    rates = [learning_rate_of(step, steps, run) / run.learning_rate for step in (0, 199, 200, 300, 399)]
    assert steps == 400
    assert rates == pytest.approx([1.0, 1.0, 1.0, 0.5, 1 / 200])


@pytest.mark.parametrize("name", sorted(path.stem for path in CONFIG_FOLDER.glob("filter_*.toml")))
def test_a_shipped_filters_config_can_be_read_and_fits_itself(name: str) -> None:
    read_config(Pix2PixConfig, name).check()


@pytest.mark.parametrize("memory", ["none", "previous", "recurrent"])
def test_a_run_goes_on_bit_for_bit(memory: str, tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 6)
    network = {"memory": memory, "state_channels": 0 if memory == "none" else 4}
    loss = {"flicker": 1.0, "features": 1.0}
    config = _with(QUICK, network=network, pairs={"frames": 2}, loss=loss, run={"steps": 4})
    whole = load_checkpoint(_trained(config, photos, tmp_path / "whole"))
    _trained(config, photos, tmp_path / "parts", stop_after=2)
    parts = load_checkpoint(_trained(config, photos, tmp_path / "parts", resume=True))
    for part in PARTS[:3]:
        for name, value in whole[part].items():
            assert torch.equal(value, parts[part][name]), f"{part} {name}"
    assert torch.equal(whole["torch_rng"], parts["torch_rng"])


def test_dropout_too_goes_on_bit_for_bit(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 4)
    config = _with(replace(QUICK, network=TINY_UNET), pairs={"load_px": 40, "held_every": 0}, run={"steps": 4})
    whole = load_checkpoint(_trained(config, photos, tmp_path / "whole"))
    _trained(config, photos, tmp_path / "parts", stop_after=2)
    parts = load_checkpoint(_trained(config, photos, tmp_path / "parts", resume=True))
    assert all(torch.equal(value, parts["generator"][name]) for name, value in whole["generator"].items())


@pytest.mark.parametrize("gan", ["vanilla", "lsgan", "hinge"])
def test_a_filter_learns_to_draw_the_negative(gan: str, tmp_path: Path) -> None:
    for i in range(4):
        picture = made_picture(i)
        write_picture(tmp_path / "pairs" / f"{i}.png", np.hstack([picture, 255 - picture]))
    config = _with(
        QUICK,
        loss={"gan": gan},
        pairs={"held_every": 0},
        run={"steps": 60, "batch": 4, "learning_rate": 3e-3, "log_every": 10},
    )
    pairs, maker = pairs_of(config.pairs, tmp_path / "pairs", [])
    train_filter(config, pairs, maker, tmp_path / "run", say=lambda _: None)
    losses = [json.loads(line)["l1"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert losses[-1] < 0.6 * losses[0]


def test_a_frozen_picture_is_drawn_the_same_to_the_bit() -> None:
    frames = torch.rand(1, 1, 3, 32, 32).expand(1, 4, 3, 32, 32) * 2 - 1
    for memory, channels, settled in (("none", 0, 0), ("previous", 4, 1)):
        torch.manual_seed(1)
        network = new_filter(FilterNetworkConfig("tiny", memory=memory, state_channels=channels)).eval()
        with torch.no_grad():
            drawn = drawn_run(network, frames, memory=channels > 0)
        assert all(torch.equal(drawn[:, settled], drawn[:, f]) for f in range(settled, 4)), memory


def test_a_run_begins_with_anothers_generator_and_hears_a_new_memory_later(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 6)
    first = _with(QUICK, run={"steps": 2})
    checkpoint = _trained(first, photos, tmp_path / "first")
    old = filter_of_run(checkpoint)[0]
    with_memory = _with(first, network={"memory": "previous", "state_channels": 4})
    trainer = new_filter_trainer(with_memory)
    begin_with(trainer, checkpoint)
    frames = torch.rand(2, 2, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        drawn = drawn_run(trainer.averaged, frames, memory=True)
        # Sums of more channels, of which some are zero, in another order.
        assert torch.allclose(drawn, drawn_run(old, frames, memory=False), atol=1e-5)
    with pytest.raises(ConfigError, match="holds another network"):
        begin_with(new_filter_trainer(_with(first, network={"size": "b"})), checkpoint)


def test_without_a_judge_it_is_not_trained(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 6)
    config = _with(QUICK, loss={"judge": 0.0, "edges": 1.0}, run={"steps": 2})
    before = new_filter_trainer(config).judge.state_dict()
    state = load_checkpoint(_trained(config, photos, tmp_path / "run"))
    assert all(torch.equal(value, state["judge"][name]) for name, value in before.items())


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_without_averaging_the_last_weights_are_kept(ema_decay: float, tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 6)
    state = load_checkpoint(_trained(_with(QUICK, run={"steps": 3, "ema_decay": ema_decay}), photos, tmp_path / "run"))
    same = all(torch.equal(value, state["averaged"][name]) for name, value in state["generator"].items())
    assert same == (ema_decay == 0.0)


def test_the_command_says_what_it_left_out_and_shows_sheets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = write_photos(tmp_path / "photos", 8)
    (photos / "broken.jpg").write_bytes(b"\xff\xd8 no more")
    command = ["pix2pix", "--config", "quick_pix2pix", "--photos", str(photos), "--maker", "sketch"]
    assert main([*command, "--run", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().out
    assert "left out: broken.jpg ends after 10 bytes, before its picture does" in said
    assert "6 pairs to learn from, 2 held back, 1 left out" in said
    assert (tmp_path / "run" / "look_000003.jpg").is_file()
    network, config, step = filter_of_run(tmp_path / "run" / "checkpoint.pt")
    assert step == 6
    assert config.pairs.maker == "sketch"
    assert not network.training


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "pass either --pairs FOLDER or --photos FOLDER"),
        (["--photos", "."], "--photos need a pair maker"),
        (["--photos", ".", "--maker", "oil"], "no pair maker 'oil'"),
        (["--pairs", ".", "--maker", "sketch"], "but --pairs was given"),
    ],
)
def test_what_cannot_be_trained_ends_in_one_line(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pix2pix", "--config", "quick_pix2pix", "--run", str(tmp_path / "run"), *options]) == 2
    assert message in capsys.readouterr().err


def test_losses_that_need_what_is_not_there_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"flicker looks at neighbouring views; set \[pairs\] frames = 2"):
        _with(QUICK, loss={"flicker": 1.0}).check()
    with pytest.raises(ConfigError, match="features are the judge's"):
        _with(QUICK, loss={"features": 1.0, "judge": 0.0}).check()


def test_networks_that_are_not_there_are_refused() -> None:
    for change, message in (
        ({"generator": "vit"}, "generator is 'vit', expected one of unet, resnet, tiny"),
        ({"generator": "tiny", "size": "z"}, "size is 'z', expected one of a, b, c, d"),
        ({"norm": "layer"}, "norm is 'layer'"),
    ):
        with pytest.raises(ConfigError, match=message):
            new_filter(replace(FilterNetworkConfig(), **change))
    with pytest.raises(ConfigError, match="receptive_px is 71"):
        new_judge(FilterNetworkConfig(receptive_px=71))


def test_a_run_that_would_hold_everybody_back_is_refused(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 2)
    with pytest.raises(MaterialError, match="no pair is left to learn from"):
        _trained(_with(QUICK, pairs={"held_every": 1}), photos, tmp_path / "run")
