"""A run that begins with given weights."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.checkpoint import save_generator
from models.lipgan import LipGanConfig, LipGanGenerator
from tests.training.made import made_clip
from training.checkpoint import load_checkpoint
from training.config import ConfigError, NetworkConfig, load_config
from training.export import generator_of_run
from training.lipgan import train_on
from training.trainer import begin_with, new_trainer

pytestmark = pytest.mark.unit

CLIPS = [made_clip("a", "anna", seed=1), made_clip("b", "bert", seed=2)]
QUICK = load_config("quick")


def test_a_run_begins_with_given_weights_and_refuses_those_of_another_network(tmp_path: Path) -> None:
    config = replace(QUICK, run=replace(QUICK.run, steps=1, decay_from_step=0))
    checkpoint = train_on(config, CLIPS, None, tmp_path / "first", held=[])
    generator, _ = generator_of_run(checkpoint)
    save_generator(tmp_path / "begun.safetensors", generator, storage="float32")
    slow = replace(config, run=replace(config.run, learning_rate=1e-9, final_learning_rate=1e-9, ema_decay=0.0))
    second = train_on(slow, CLIPS, None, tmp_path / "second", held=[], start=tmp_path / "begun.safetensors")
    for name, tensor in load_checkpoint(second)["generator"].items():
        if "running_" not in name and tensor.is_floating_point():
            torch.testing.assert_close(tensor, generator.state_dict()[name], atol=1e-6, rtol=0)
    other = replace(config, network=replace(config.network, width=0.125))
    with pytest.raises(ConfigError, match="the config asks for"):
        train_on(other, CLIPS, None, tmp_path / "third", held=[], start=tmp_path / "begun.safetensors")


def test_lite_begins_with_the_sound_encoder_of_a_lipgan_that_is_as_wide(tmp_path: Path) -> None:
    torch.manual_seed(5)
    lipgan = LipGanGenerator(LipGanConfig(width=0.0625))
    save_generator(tmp_path / "lipgan.safetensors", lipgan, storage="float32")
    trainer = new_trainer(replace(QUICK, network=NetworkConfig(variant="lite", size="s", width=0.0625)))
    drawing = trainer.generator.state_dict()["draw.weight"].clone()
    begin_with(trainer, tmp_path / "lipgan.safetensors")
    for generator in (trainer.generator, trainer.averaged):
        begun = generator.sound.state_dict()
        assert all(torch.equal(begun[name], each) for name, each in lipgan.sound.state_dict().items())
        assert torch.equal(generator.state_dict()["draw.weight"], drawing)
    wider = new_trainer(replace(QUICK, network=NetworkConfig(variant="lite", size="s", width=0.125)))
    with pytest.raises(ConfigError, match="the config asks for LipGanLiteConfig"):
        begin_with(wider, tmp_path / "lipgan.safetensors")
