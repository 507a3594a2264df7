"""OASIS's rivals have their published losses, learn and go on like OASIS, and are compared on the same layouts."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from models.oasis import OasisConfig, OasisGenerator
from tests.training.pictures import write_layouts
from training.__main__ import main
from training.budget import Budget
from training.checkpoint import load_checkpoint
from training.compare_layouts import trained, within
from training.config import CONFIG_FOLDER, ConfigError, read_config
from training.data.layout_pairs import read_layouts
from training.evaluate_filter import FLOOR
from training.evaluate_layouts import ACCURACY, CHANCE, REAL
from training.export_oasis import export_oasis
from training.layout_judges import PatchJudge, SegmentingJudge
from training.layout_network import LayoutUNet, OasisNetworkConfig, new_generator, new_patch_judge
from training.measured import Measured
from training.oasis import PARTS, OasisLossConfig, OasisTraining, oasis_of_run, train_oasis
from training.oasis_losses import labels_of, real_loss
from training.perceptual import KD
from training.picture_losses import generator_loss, judge_loss
from training.segmenter import METRIC

pytestmark = pytest.mark.unit

QUICK = read_config(OasisTraining, "quick_oasis")
SPADE = replace(
    QUICK,
    network=replace(QUICK.network, noise=0, judge_norm="instance", judge_spectral=True),
    loss=OasisLossConfig(gan="hinge", features=40.0),
)
PIX2PIX = replace(
    QUICK,
    network=OasisNetworkConfig("unet", noise=0, channels=1, downs=6, judge_share=0.02),
    loss=OasisLossConfig(gan="vanilla", l1=100.0),
)
RIVALS = {"spade": SPADE, "pix2pix": PIX2PIX}


def _layout(count: int = 1) -> torch.Tensor:
    labels = torch.randint(3, (count, 8, 8)).repeat_interleave(8, 1).repeat_interleave(8, 2)
    return nn.functional.one_hot(labels, 3).permute(0, 3, 1, 2).float()


def test_the_rivals_of_camvid_have_their_published_losses_and_oasis_has_its_own() -> None:
    oasis, spade, pix2pix = (read_config(OasisTraining, f"camvid_{name}") for name in ("oasis", "spade", "pix2pix"))
    for each in (oasis, spade, pix2pix):
        each.check()
    assert oasis.loss == OasisLossConfig()
    assert (spade.loss.gan, spade.loss.features, spade.network.noise) == ("hinge", 4 * 10.0, 0)
    assert (pix2pix.loss.gan, pix2pix.loss.l1, pix2pix.network.generator) == ("vanilla", 100.0, "unet")
    assert oasis.layouts == spade.layouts == pix2pix.layouts
    same = replace(spade.network, noise=16, judge_share=0.125, judge_last=8, judge_norm="batch", judge_spectral=False)
    assert same == oasis.network


def test_without_noise_oasis_generator_is_spade_s_and_draws_one_picture() -> None:
    torch.manual_seed(0)
    generator = OasisGenerator(OasisConfig(3, noise=0, channels=1, hidden=4, fold=4)).eval()
    layout = _layout()
    assert torch.equal(generator(layout), generator(layout, torch.zeros(1, 0)))
    assert generator.enter.in_channels == 3
    with pytest.raises(ValueError, match="noise is 0, expected at least 1"):
        OasisConfig(3, noise=0, style=True)


def test_a_u_net_is_shown_the_layout_and_hears_no_noise() -> None:
    torch.manual_seed(0)
    generator = new_generator(PIX2PIX.network, 3).eval()
    assert isinstance(generator, LayoutUNet)
    layout = _layout(2)
    assert torch.equal(generator(layout), generator(layout, torch.ones(2, 4)))
    assert not torch.equal(generator(layout), generator(layout.roll(1, 1)))
    assert generator(layout).shape == (2, 3, 64, 64)


def test_a_judge_of_patches_sees_the_layout_beside_the_picture_and_spectral_norm_is_where_it_was_published() -> None:
    torch.manual_seed(0)
    judge = new_patch_judge(SPADE.network, 3)
    normed = [parametrize.is_parametrized(each) for each in judge.modules() if type(each).__name__.endswith("Conv2d")]
    assert normed == [False, True, True, True, False]
    layout, picture = _layout(), torch.rand(1, 3, 64, 64)
    assert not torch.equal(judge(layout, picture), judge(layout.roll(1, 1), picture))


def test_judges_ask_by_their_own_losses() -> None:
    torch.manual_seed(0)
    layout, photo, drawn = _layout(), torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64)
    network = new_patch_judge(PIX2PIX.network, 3).eval()
    patches = PatchJudge(network, "vanilla")
    logits = patches.seen(layout, drawn)[-1]
    assert torch.equal(patches.opinion(logits, layout), generator_loss("vanilla", logits))
    wanted = judge_loss("vanilla", network(layout, photo), network(layout, drawn))
    assert torch.equal(patches.losses(layout, photo, drawn)[0], wanted)

    class Sees(nn.Module):
        def forward(self, picture: torch.Tensor) -> torch.Tensor:
            return torch.cat([picture, picture[:, :1]], 1)

    total, parts = SegmentingJudge(Sees(), None, label_mix=10.0).losses(layout, photo, drawn)
    assert total.item() == pytest.approx(sum(each.item() for each in parts.values()), rel=1e-5)
    assert parts["label_mix"].item() == pytest.approx(0, abs=1e-6)  # a network without neighbours mixes exactly
    assert parts["real"] == real_loss(Sees()(photo), layout)


def test_labels_are_those_of_argmax() -> None:
    layout = _layout(2)
    assert torch.equal(labels_of(layout), layout.argmax(1))


@pytest.mark.parametrize("name", RIVALS)
def test_a_rival_goes_on_bit_for_bit(name: str, tmp_path: Path) -> None:
    pairs = read_layouts(write_layouts(tmp_path / "pairs", 4), 3)
    whole = load_checkpoint(train_oasis(RIVALS[name], pairs, tmp_path / "whole", say=lambda _: None))
    train_oasis(RIVALS[name], pairs, tmp_path / "parts", stop_after=2, say=lambda _: None)
    parts = load_checkpoint(train_oasis(RIVALS[name], pairs, tmp_path / "parts", resume=True, say=lambda _: None))
    for part in PARTS[:3]:
        assert all(torch.equal(value, parts[part][key]) for key, value in whole[part].items()), part
    rows = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    extra = {"spade": "features", "pix2pix": "l1"}[name]
    assert rows[0].keys() == {"step", "elapsed_s", "generator", "judge_loss", extra}
    assert all(row[extra] > 0 for row in rows)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    for wrong, words in (
        (replace(QUICK, network=replace(QUICK.network, generator="resnet")), "generator is 'resnet'"),
        (replace(PIX2PIX, network=replace(PIX2PIX.network, noise=4)), "a U-Net hears none"),
        (replace(QUICK, loss=OasisLossConfig(gan="wgan")), "gan is 'wgan', expected one of segments, vanilla"),
        (replace(SPADE, layouts=replace(SPADE.layouts, appearances=2)), "told apart by their noise"),
    ):
        with pytest.raises(ConfigError, match=words):
            wrong.check()
    pairs = read_layouts(write_layouts(tmp_path / "pairs", 4), 3)
    checkpoint = train_oasis(replace(SPADE, run=replace(SPADE.run, steps=1)), pairs, tmp_path / "run", say=str)
    with pytest.raises(ConfigError, match="only OASIS's generator, with noise, becomes a filter"):
        export_oasis(oasis_of_run(checkpoint)[0], SPADE, pairs, "try", str, filters=tmp_path / "filters")


def test_rates_fall_from_the_same_part_of_any_budget() -> None:
    config = replace(QUICK, run=replace(QUICK.run, steps=100, falls_from=50))
    assert within(config, 30, 8).run.falls_from == 15
    assert within(QUICK, 30, 8).run == replace(QUICK.run, steps=30)
    of_epochs = replace(QUICK, run=replace(QUICK.run, steps=0, epochs=10, batch=2, falls_from=20))
    assert within(of_epochs, 8, 8).run.falls_from == 4


def test_without_a_kernel_distance_no_share_of_one_is_gone() -> None:
    rows = [Measured({METRIC: value}, {METRIC: np.full(5, value)}) for value in (0.25, 0.5)]
    assert rows[1].less(rows[0]) == {METRIC: (0.25, 0.25, 0.25)}


def _recipe(folder: Path, name: str, **changed: str) -> list[str]:
    text = (CONFIG_FOLDER / "quick_oasis.toml").read_text().replace("held_every = 4", "held_every = 0")
    for before, after in changed.items():
        text = text.replace(before, after)
    (folder / f"{name}.toml").write_text(text)
    return ["--recipe", str(folder / f"{name}.toml")]


def test_the_command_trains_measures_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    learnt, test = write_layouts(tmp_path / "learnt", 4), write_layouts(tmp_path / "test", 8)
    segmenter = ["--config", "quick_segmenter", "--pairs", str(learnt), "--run", str(tmp_path / "segmenter")]
    assert main(["segmenter", *segmenter, "--test", str(test), "--steps", "2"]) == 0
    one = _recipe(tmp_path, "one")
    two = _recipe(tmp_path, "two", **{"noise = 4": "noise = 0", "[run]": '[loss]\ngan = "hinge"\n\n[run]'})
    out = tmp_path / "out"
    asked = ["compare-layouts", "--pairs", str(learnt), "--test", str(test), *one, *two, "--out", str(out)]
    asked += ["--segmenter", str(tmp_path / "segmenter" / "checkpoint.pt")]
    assert main([*asked, "--minutes", "0.004", "--seed", "5"]) == 0
    report = json.loads((out / "comparison.json").read_text())
    figures = report["figures"]
    assert list(figures) == ["one", "two", REAL, CHANCE]
    assert list(figures["one"])[:4] == [METRIC, ACCURACY, KD, "class 0"]
    scores = json.loads((tmp_path / "segmenter" / "scores.json").read_text())["figures"]
    assert figures[REAL][METRIC] == pytest.approx(scores[METRIC], abs=1e-4)
    assert report["floor"].keys() == {FLOOR}
    assert report["more_than"]["two"]["one"][METRIC][0] == -report["more_than"]["one"]["two"][METRIC][0]
    margin = report["more_than"]["one"]["two"][METRIC][0]
    assert margin == pytest.approx(figures["two"][METRIC][0] - figures["one"][METRIC][0], abs=2e-6)
    for name, recipe in report["recipes"].items():
        assert recipe["steps"] >= 1, name
        assert recipe["processor_s"] > 0
        assert recipe["run"]["seed"] == 5
        assert recipe["generator_size"]["gmac"] > 0
    assert (out / "comparison.jpg").is_file()
    assert "More than one:" in (out / "comparison.md").read_text()
    before = (out / "one" / "checkpoint.pt").stat().st_mtime_ns
    assert main([*asked, "--minutes", "0.004", "--seed", "5"]) == 0
    assert (out / "one" / "checkpoint.pt").stat().st_mtime_ns == before
    assert main([*asked, "--steps", "3"]) == 2
    assert "was begun with the budget" in capsys.readouterr().err


def test_a_recipe_that_was_interrupted_goes_on_with_its_plan(tmp_path: Path) -> None:
    pairs = read_layouts(write_layouts(tmp_path / "pairs", 4), 3)
    config = replace(PIX2PIX, run=replace(PIX2PIX.run, steps=40, falls_from=20))
    planned = within(config, 4, 3)
    train_oasis(planned, pairs, tmp_path / "run", stop_after=2, say=str)
    paths = [trained(config, pairs, Budget(steps=4), tmp_path / name, str) for name in ("run", "whole")]
    halves, whole = (load_checkpoint(path)["generator"] for path in paths)
    assert all(torch.equal(value, whole[name]) for name, value in halves.items())
