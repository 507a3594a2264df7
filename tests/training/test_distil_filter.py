"""A network on planes learns a filter from a larger one, resumes to the same bits, and refuses what does not fit."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.filter_catalogue import load_filter
from models.filter_networks import save_filter_weights
from models.tiny_filter import TinyFilter, TinyFilterConfig
from tests.training.pictures import write_photos
from training.__main__ import main
from training.checkpoint import load_checkpoint
from training.config import ConfigError
from training.data.pair_batches import PairDataConfig, PairSampler
from training.distil_filter import distil_filter, distil_step, new_distil_trainer, read_teacher, teach
from training.filter_network import FilterNetworkConfig
from training.pix2pix import FilterLossConfig, FilterRunConfig, Pix2PixConfig, pairs_of

pytestmark = pytest.mark.unit

SMALL = Pix2PixConfig(
    network=FilterNetworkConfig("planes", middle=8, coarse=8),
    pairs=PairDataConfig(maker="enhance", load_px=32, crop_px=32, held_every=4),
    loss=FilterLossConfig(judge=0.0, l1=1.0, edges=0.5, teacher=0.5),
    run=FilterRunConfig(steps=6, batch=4, lessons=16, learning_rate=1e-3, log_every=1, look_every=3, threads=1),
)


def write_teacher(folder: Path, config: TinyFilterConfig | None = None) -> Path:
    torch.manual_seed(1)
    path = folder / "filter.safetensors"
    save_filter_weights(path, TinyFilter(config or TinyFilterConfig("a", residual=True)))
    return path


def run(tmp_path: Path, name: str, config: Pix2PixConfig = SMALL, **options: object) -> Path:
    pairs, maker = pairs_of(config.pairs, None, [tmp_path / "photos"])
    return distil_filter(config, pairs, maker, tmp_path / "filter.safetensors", tmp_path / name, **options)  # type: ignore[arg-type]


@pytest.fixture
def material(tmp_path: Path) -> Path:
    write_photos(tmp_path / "photos", 12, 40, 40)
    write_teacher(tmp_path)
    return tmp_path


def test_a_resumed_run_is_the_same_to_the_bit(material: Path) -> None:
    whole = load_checkpoint(run(material, "whole"))
    run(material, "parts", stop_after=2)
    parts = load_checkpoint(run(material, "parts", resume=True))
    assert whole["step"] == parts["step"] == 6
    for name in ("generator", "averaged"):
        assert all(torch.equal(whole[name][key], parts[name][key]) for key in whole[name])
    rows = [json.loads(line) for line in (material / "whole" / "log.jsonl").read_text().splitlines()]
    assert {"target", "taught", "total"} <= rows[0].keys()
    assert (material / "whole" / "look_000003.jpg").exists()


def test_lessons_are_what_the_teacher_draws_of_a_runs_first_samples(material: Path) -> None:
    pairs, maker = pairs_of(SMALL.pairs, None, [material / "photos"])
    sampler = PairSampler(pairs.pairs, maker, SMALL.pairs, 7)
    lessons = teach(read_teacher(material / "filter.safetensors"), sampler, 10)
    assert lessons.source.shape == lessons.target.shape == lessons.taught.shape == (10, 8, 8, 24)
    assert not np.array_equal(lessons.taught, lessons.target)
    # A new residual teacher changes little of what it is shown.
    apart = np.abs(lessons.taught.astype(int) - lessons.source)
    assert apart.mean() < 8


def test_it_learns_more_from_the_teacher_the_more_of_the_loss_is_the_teachers(material: Path) -> None:
    apart = {}
    for share in (0.0, 1.0):
        config = replace(SMALL, loss=replace(SMALL.loss, teacher=share), run=replace(SMALL.run, steps=40))
        pairs, maker = pairs_of(config.pairs, None, [material / "photos"])
        sampler = PairSampler(pairs.pairs, maker, config.pairs, 7)
        lessons = teach(read_teacher(material / "filter.safetensors"), sampler, 16)
        trainer = new_distil_trainer(config)
        for trainer.step in range(40):
            losses = distil_step(trainer, lessons, np.arange(16))
        apart[share] = losses["taught"]
    assert apart[1.0] < apart[0.0]


def test_one_command_leads_from_a_teacher_to_engines(material: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = Path("training/configs/filter_enhance_live.toml").read_text()
    for was, now in (
        ("load_px = 256", "load_px = 40"),
        ("smallest_scale = 0.5", "smallest_scale = 1.0"),
        ("crop_px = 128", "crop_px = 32"),
        ("lessons = 8000", "lessons = 8"),
        ("steps = 16000", "steps = 1"),
        ("height_px = 480", "height_px = 32"),
        ("width_px = 640", "width_px = 48"),
    ):
        assert was in text
        text = text.replace(was, now)
    config = material / "live.toml"
    config.write_text(text)
    asked = ["distil-filter", "--config", str(config), "--teacher", str(material / "filter.safetensors")]
    asked += ["--photos", str(material / "photos"), "--run", str(material / "run")]
    assert main([*asked, "--export", "try", "--filters", str(material / "filters")]) == 0
    assert "int8: " in capsys.readouterr().out
    loaded = load_filter("try", folders=(material / "filters",))
    assert (loaded.manifest.source, loaded.manifest.network["family"]) == ("planes", "planes")
    loaded.close()


def test_what_does_not_fit_is_refused(material: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--teacher: "):
        read_teacher(tmp_path / "none.safetensors")
    (tmp_path / "other").mkdir()
    remembers = write_teacher(tmp_path / "other", TinyFilterConfig("a", memory="previous", state_channels=4))
    with pytest.raises(ConfigError, match="must draw a picture from a picture alone"):
        read_teacher(remembers)
    with pytest.raises(ConfigError, match="what is distilled is 'planes'"):
        new_distil_trainer(replace(SMALL, network=FilterNetworkConfig("tiny")))
    with pytest.raises(ConfigError, match="as many lessons as a batch has"):
        new_distil_trainer(replace(SMALL, run=replace(SMALL.run, lessons=2)))
    with pytest.raises(ConfigError, match="a share: expected 0 to 1"):
        new_distil_trainer(replace(SMALL, loss=replace(SMALL.loss, teacher=2.0)))
