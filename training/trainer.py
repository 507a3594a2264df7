"""What changes while a generator is trained: networks, judges and optimisers, and what a run may begin with."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from models.checkpoint import load_generator
from models.lipgan import LipGanConfig, SyncDiscriminator
from models.lipgan_lite import LipGanLite, LipGanLiteConfig
from models.speech_ear import SpeechEar
from models.sync_expert import SyncExpert
from training.checkpoint import check_network, load_checkpoint, parts_of, restore_parts
from training.config import ConfigError, LipganConfig, as_dict
from training.gauge import MouthGauge
from training.loop import channels_last, launched
from training.networks import Listener, TrainedGenerator, new_generator
from training.quality import QualityJudge

PARTS = (
    "generator",
    "averaged",
    "discriminator",
    "gauge",
    "listener",
    "quality",
    "generator_adam",
    "discriminator_adam",
    "quality_adam",
)
SHARED = ("generator", "listener", "discriminator", "quality")
"""What learns in all processes at once."""
JUDGE_BETAS = (0.5, 0.99)


@dataclass(slots=True)
class Trainer:
    """Everything that changes while training.

    Networks are called by `shared`, whose gradients are the mean over all processes; the same networks without that
    are what is saved and averaged, and what a frozen judge is called by.
    """

    config: LipganConfig
    fabric: Fabric
    shared: dict[str, Any]
    generator: TrainedGenerator
    averaged: TrainedGenerator
    discriminator: SyncDiscriminator
    gauge: MouthGauge
    listener: Listener
    quality: QualityJudge
    generator_adam: torch.optim.Adam
    discriminator_adam: torch.optim.Adam
    quality_adam: torch.optim.Adam
    step: int = 0
    expert: SyncExpert | None = None

    @property
    def judged(self) -> bool:
        """Whether the sync discriminator takes part in the current step."""
        return self.config.loss.sync > 0 and self.step >= self.config.loss.sync_from_step

    @property
    def looked_at(self) -> bool:
        """Whether the quality judge takes part in the current step."""
        return self.config.loss.quality > 0 and self.step >= self.config.loss.quality_from_step

    def state(self) -> dict[str, Any]:
        """All of it, for a checkpoint."""
        return {**parts_of(self, PARTS), "config": as_dict(self.config)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where a checkpoint stopped.

        Raises:
            ConfigError: The checkpoint belongs to another network.
        """
        check_network(state, self.config.network)
        restore_parts(self, PARTS, state)


def new_trainer(config: LipganConfig, fabric: Fabric | None = None) -> Trainer:
    """Fresh networks, drawn from the run's seed, on the device of this process."""
    fabric = fabric or launched(bf16=config.run.bf16)
    torch.manual_seed(config.run.seed)
    generator = new_generator(config.network)
    if isinstance(generator.sound, SpeechEar):
        # A recogniser's layers know more than this recipe's sounds could teach them.
        generator.sound.layers.requires_grad_(requires_grad=False)
    channels_last(generator)
    discriminator = SyncDiscriminator("mel", config.network.discriminator_width)
    averaged = copy.deepcopy(generator).eval().requires_grad_(requires_grad=False)
    listener = Listener(generator.sound.out_channels, 2)
    learning = [each for each in (*generator.parameters(), *listener.parameters()) if each.requires_grad]
    generator_adam = torch.optim.Adam(learning, config.run.learning_rate)
    discriminator_adam = torch.optim.Adam(discriminator.parameters(), config.run.learning_rate)
    gauge = MouthGauge().eval().requires_grad_(requires_grad=False)
    quality = QualityJudge()
    quality_adam = torch.optim.Adam(quality.parameters(), config.run.learning_rate, betas=JUDGE_BETAS)
    networks = dict(zip(SHARED, (generator, listener, discriminator, quality), strict=True))
    shared = {name: fabric.setup_module(network) for name, network in networks.items()}
    if isinstance(generator, LipGanLite):
        shared["generator"].mark_forward_method("drawn")
    for frozen in (averaged, gauge):
        frozen.to(fabric.device)
    return Trainer(
        config,
        fabric,
        shared,
        generator,
        averaged,
        discriminator,
        gauge,
        listener,
        quality,
        generator_adam,
        discriminator_adam,
        quality_adam,
    )


def begin_with(trainer: Trainer, weights: Path) -> None:
    """Put a file's weights in place of the drawn ones.

    Of LipGAN's, "lite" takes the sound encoder, if as wide; of a "lite" with another ear, all but the ear.

    Raises:
        EngineError: The file is missing or damaged.
        ConfigError: It holds another network than the config asks for.
    """
    begun, wanted = load_generator(weights), trainer.generator.config
    hears_alike = LipGanConfig(width=trainer.config.network.width)
    if isinstance(wanted, LipGanLiteConfig) and begun.config == hears_alike:
        for generator in (trainer.generator, trainer.averaged):
            generator.sound.load_state_dict(begun.sound.state_dict())
        return
    if isinstance(begun, LipGanLite) and isinstance(wanted, LipGanLiteConfig) and begun.config.ear != wanted.ear:
        fits, known = replace(begun.config, ear=wanted.ear) == wanted, without_ear(begun.state_dict())
    else:
        fits, known = begun.config == wanted, begun.state_dict()
    if not fits:
        raise ConfigError(f"{weights} holds {begun.config}, the config asks for {wanted}")
    for generator in (trainer.generator, trainer.averaged):
        generator.load_state_dict(generator.state_dict() | known)


def without_ear(state: dict[str, Any]) -> dict[str, Any]:
    """A generator's weights but for those of its sound encoder."""
    return {name: value for name, value in state.items() if not name.startswith("sound.")}


def take_ear(trainer: Trainer, checkpoint: Path) -> None:
    """Give the generator an ear that `training.ear` has trained, and the reading of the mouth that goes with it.

    Raises:
        ConfigError: The generator has another ear.
    """
    state = load_checkpoint(checkpoint)
    try:
        for generator in (trainer.generator, trainer.averaged):
            generator.sound.load_state_dict(state["averaged"])
        trainer.listener.load_state_dict(state["listener"])
    except (KeyError, RuntimeError) as error:
        raise ConfigError(f"{checkpoint} holds no ear for {trainer.generator.config}: {error}") from None
