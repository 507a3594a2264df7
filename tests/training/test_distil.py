"""The distillation recipe: the student inherits, learns, resumes to the same bits, and refuses what does not fit."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.checkpoint import save_generator
from models.layers import ConvBlock, TransposedBlock
from models.lipgan import LipGanConfig, LipGanGenerator
from tests.models.tiny import samples, settle
from tests.training.made import made_clip
from training import distil
from training.checkpoint import load_checkpoint
from training.config import ConfigError, LossConfig, NetworkConfig, load_config, read_config
from training.distil import DistilConfig, Distiller, TeacherConfig, distil_on, inherit, new_distiller, spread
from training.export import generator_of_run

pytestmark = pytest.mark.unit

CLIPS = [made_clip("a", "anna", seed=1), made_clip("b", "bert", seed=2)]
INPUTS = samples(4, seed=3)
FEED = torch.from_numpy(INPUTS.face), torch.from_numpy(INPUTS.mel)


def _lipgan(width: float, seed: int) -> LipGanGenerator:
    """Random weights, with batch norm statistics of real activations."""
    torch.manual_seed(seed)
    generator = LipGanGenerator(LipGanConfig(width=width))
    settle(generator, *FEED)
    return generator.eval()


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("teacher") / "generator.safetensors"
    save_generator(path, _lipgan(0.125, seed=1), storage="float32")
    return path


def _config(steps: int, taught: TeacherConfig | None = None, **changes: int) -> DistilConfig:
    quick = load_config("quick")
    run = replace(quick.run, steps=steps, decay_from_step=steps // 2, **changes)
    return DistilConfig(replace(quick, run=run), taught or TeacherConfig())


def _blocks(generator: LipGanGenerator) -> list[ConvBlock | TransposedBlock]:
    return [each for each in generator.modules() if isinstance(each, ConvBlock | TransposedBlock)]


def test_a_student_that_has_all_channels_that_say_anything_draws_what_the_teacher_draws() -> None:
    teacher, student = _lipgan(0.5, seed=1), _lipgan(0.25, seed=2)
    random = torch.Generator().manual_seed(5)
    for wide, narrow in zip(_blocks(teacher), _blocks(student), strict=True):
        mute = torch.randperm(wide.norm.num_features, generator=random)[narrow.norm.num_features :]
        with torch.no_grad():
            wide.norm.weight[mute] = 0
            wide.norm.bias[mute] = 0
    with torch.no_grad():
        expected = teacher(*FEED)
        assert expected.std() > 0.02, "a teacher that always draws the same proves nothing"
        assert (student(*FEED) - expected).abs().max() > 0.1
        inherit(teacher, student)
        # float32 sums over fewer products.
        torch.testing.assert_close(student(*FEED), expected, atol=1e-4, rtol=0)


def test_the_spread_of_a_channel_is_that_of_its_rectified_normal() -> None:
    norm = torch.nn.BatchNorm2d(4)
    scales, shifts = (1.0, -0.5, 2.0, 0.0), (0.0, 0.7, -3.0, 1.0)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor(scales))
        norm.bias.copy_(torch.tensor(shifts))
    normal = np.random.default_rng(0).standard_normal(400_000)
    sampled = [np.maximum(scale * normal + shift, 0).std() for scale, shift in zip(scales, shifts, strict=True)]
    # Deviations of 400,000 draws are known to about one in 500.
    np.testing.assert_allclose(spread(norm).numpy(), sampled, atol=3e-3)


def test_a_student_comes_nearer_to_its_teacher(teacher: Path, tmp_path: Path) -> None:
    config = _config(40, TeacherConfig(inherit=False, embedding=1.0), log_every=1)
    # The random teacher draws no faces: the truth would pull elsewhere.
    alone = replace(config.student, loss=LossConfig(l1=0.0, mouth_l1=0.0, sync=0.0, gauge=0.0))
    config = replace(config, student=alone)
    distil_on(config, teacher, CLIPS, None, tmp_path, held=[])
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    for name in ("teacher_l1", "embedding"):
        losses = [row[name] for row in rows if name in row]
        assert len(losses) == 40
        assert sum(losses[-5:]) < 0.8 * sum(losses[:5]), name
    generator, notes = generator_of_run(tmp_path / "checkpoint.pt")
    assert generator.config == LipGanConfig(width=0.0625)
    assert notes["step"] == 40


def test_a_killed_distillation_resumes_to_the_same_bits(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config(6, checkpoint_every=2, gauge_steps=2)
    whole = load_checkpoint(distil_on(config, teacher, CLIPS, None, tmp_path / "whole", held=[]))
    step = distil.distil_step

    def dies_at_5(distiller: Distiller, batch: Any, sounds: Any) -> dict[str, float]:
        if distiller.student.step == 5:
            raise KeyboardInterrupt
        return step(distiller, batch, sounds)

    monkeypatch.setattr(distil, "distil_step", dies_at_5)
    with pytest.raises(KeyboardInterrupt):
        distil_on(config, teacher, CLIPS, None, tmp_path / "cut", held=[])
    monkeypatch.setattr(distil, "distil_step", step)
    resumed = load_checkpoint(distil_on(config, teacher, CLIPS, None, tmp_path / "cut", held=[], resume=True))
    assert resumed["step"] == whole["step"] == 6
    for part in ("generator", "averaged", "gauge", "listener", "match"):
        for name, tensor in whole[part].items():
            assert torch.equal(tensor, resumed[part][name]), f"{part}.{name}"


def test_the_teacher_never_changes(teacher: Path) -> None:
    config = _config(1)
    distiller = new_distiller(config, teacher)
    before = {name: each.clone() for name, each in distiller.teacher.state_dict().items()}
    sampler = distil.Sampler(CLIPS, None, config.student.mix, seed=0)
    sounds = tuple(torch.from_numpy(each) for each in sampler.sounds(0, 4))
    assert np.isfinite(distil.distil_step(distiller, sampler.batch(0, 4), sounds)["total"])  # type: ignore[arg-type]
    for name, each in distiller.teacher.state_dict().items():
        assert torch.equal(each, before[name]), name


def test_the_shipped_config_asks_for_a_quarter_of_the_channels() -> None:
    config = read_config(DistilConfig, "distil")
    assert config.student.network.width == 0.25
    assert config.student.loss.sync == 0


def test_a_teacher_that_does_not_fit_is_refused(teacher: Path, tmp_path: Path) -> None:
    config = _config(1, gauge_steps=1)
    student = replace(config.student, network=NetworkConfig(width=0.25))
    with pytest.raises(ConfigError, match="and narrower"):
        new_distiller(replace(config, student=student), teacher)
    student = replace(config.student, network=NetworkConfig(variant="lite", size="s", crop_px=96))
    with pytest.raises(ConfigError, match="both must be LipGANs"):
        new_distiller(replace(config, student=student), teacher)
    distil_on(config, teacher, CLIPS, None, tmp_path / "run", held=[])
    with pytest.raises(ConfigError, match="--resume"):
        distil_on(config, teacher, CLIPS, None, tmp_path / "run", held=[])
    save_generator(tmp_path / "other.safetensors", _lipgan(0.125, seed=4), storage="float32")
    with pytest.raises(ConfigError, match="another teacher"):
        distil_on(config, tmp_path / "other.safetensors", CLIPS, None, tmp_path / "run", held=[], resume=True)
