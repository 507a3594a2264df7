"""The LipGAN recipe, top to bottom: data, networks, one step, the loop.

As published: mean absolute error plus 0.01 x the contrastive loss of a sync discriminator that is trained
along (real pairs; pairs with the sound of another sample; generated pairs), Adam.
Ours: an extra weight on the mouth box, the frozen mouth gauge (`training.gauge`), a linear reading of the mouth
from the sound embedding, averaged weights.

Source: `train.py` of Rudrabha/LipGAN; K R Prajwal et al., ACM MM 2019, section 4.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.checkpoint import load_generator
from models.generators import masks, window_of
from models.lipgan import FACE_SIZE, LipGanConfig, SyncDiscriminator, contrastive_loss
from models.lipgan_lite import LipGanLiteConfig
from training.checkpoint import CHECKPOINT_FILE, load_checkpoint, save_checkpoint
from training.config import ConfigError, LipganConfig, NetworkConfig, as_dict, build
from training.data.cache import (
    CachedClip,
    CachedPortraits,
    CachedSpeech,
    load_clips,
    load_portraits,
    load_speech,
    size_of,
)
from training.data.head_clips import load_heads
from training.data.sampler import Batch, Sampler
from training.gauge import MouthGauge, gauge_loss
from training.glance import glance
from training.loop import RunLog, average, learning_rate_at, set_learning_rate
from training.networks import TrainedGenerator, new_generator

# Rolling the batch pairs every picture with the sound of another sample (LipGAN rolls by 10).
ROLL = 10
# Rows and columns of the crop that hold mouth and chin, as shares of its side.
MOUTH_BOX = ((48 / 96, 92 / 96), (22 / 96, 74 / 96))
PARTS = ("generator", "averaged", "discriminator", "gauge", "listener", "generator_adam", "discriminator_adam")
GAUGE_SEED_OFFSET = 1_000_003
GRADIENT_LIMIT = 5.0


Sounds = tuple[Tensor, Tensor]
"""Mel windows [N, 1, 80, 27] and the mouths [N, 2] that belong to them."""


@dataclass(slots=True)
class Trainer:
    """Everything that changes while training."""

    config: LipganConfig
    generator: TrainedGenerator
    averaged: TrainedGenerator
    discriminator: SyncDiscriminator
    gauge: MouthGauge
    listener: nn.Linear
    generator_adam: torch.optim.Adam
    discriminator_adam: torch.optim.Adam
    step: int = 0

    @property
    def judged(self) -> bool:
        """Whether the sync discriminator takes part in the current step."""
        return self.config.loss.sync > 0 and self.step >= self.config.loss.sync_from_step

    def state(self) -> dict[str, Any]:
        """All of it, for a checkpoint."""
        tensors = {name: getattr(self, name).state_dict() for name in PARTS}
        return {**tensors, "step": self.step, "config": as_dict(self.config)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where a checkpoint stopped.

        Raises:
            ConfigError: The checkpoint belongs to another network.
        """
        if build(NetworkConfig, state["config"]["network"], "the checkpoint") != self.config.network:
            raise ConfigError(f"the checkpoint's network is {state['config']['network']}; start a new run folder")
        for name in PARTS:
            getattr(self, name).load_state_dict(state[name])
        self.step = state["step"]
        torch.set_rng_state(state["torch_rng"])


def train(
    config: LipganConfig,
    cache: Path,
    run: Path,
    *,
    resume: bool = False,
    stop_after: int | None = None,
    start: Path | None = None,
) -> Path:
    """Train from a cache folder.

    Args:
        config: What to train.
        cache: Folder written by `training.data.prepare`.
        run: Folder for log.jsonl, checkpoints and contact sheets.
        resume: Go on from the run's checkpoint.
        stop_after: Stop at this step as if interrupted; the schedule stays that of `config`.
        start: Weights that a new run begins with, a `generator.safetensors` of the same network.

    Returns:
        The last checkpoint.

    Raises:
        EngineError: `start` is missing or damaged.
        ConfigError: `run` holds a checkpoint and `resume` is false, or the checkpoint does not fit.
        MaterialError: No usable cache.
    """
    held = load_clips(cache, {"held_clip", "held_person"}) if config.run.look_every < config.run.steps else []
    return train_on(
        config,
        load_clips(cache, {"train"}),
        load_portraits(cache),
        run,
        held=held,
        speech=load_speech(cache),
        heads=load_heads(cache) if config.mix.heads_share else (),
        resume=resume,
        stop_after=stop_after,
        start=start,
    )


def train_on(
    config: LipganConfig,
    clips: list[CachedClip],
    portraits: CachedPortraits | None,
    run: Path,
    *,
    held: list[CachedClip],
    speech: Sequence[CachedSpeech] = (),
    heads: Sequence[CachedClip] = (),
    resume: bool = False,
    stop_after: int | None = None,
    start: Path | None = None,
) -> Path:
    """Train from clips in memory; see `train`."""
    checkpoint = run / CHECKPOINT_FILE
    if checkpoint.exists() and not resume:
        raise ConfigError(f"{run} holds a run already; pass --resume, or another --run folder")
    run.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(config.run.threads)
    # Denormal gradients cost 20 % of a step.
    torch.set_flush_denormal(True)
    check_size(clips, config)
    trainer = new_trainer(config)
    window = window_of(trainer.generator)
    size = config.network.crop_px
    seed = config.run.seed
    sampler = Sampler(
        clips,
        portraits,
        config.mix,
        seed,
        size,
        speech=speech,
        heads=heads,
        window=window,
        masked=masks(trainer.generator),
    )
    if resume:
        trainer.restore(load_checkpoint(checkpoint))
    else:
        if start is not None:
            begin_with(trainer, start)
        train_gauge(trainer, sampler, run)
    last = min(config.run.steps, stop_after or config.run.steps)
    began_s = time.perf_counter()
    with RunLog(run) as log:
        while trainer.step < last:
            losses = train_step(trainer, sampler.batch(trainer.step, config.run.batch), _sounds(trainer, sampler))
            trainer.step += 1
            if trainer.step % config.run.log_every == 0:
                log.write({"step": trainer.step, "elapsed_s": time.perf_counter() - began_s, **losses})
            if held and trainer.step % config.run.look_every == 0:
                sheet = run / f"look_{trainer.step:06d}.png"
                log.write({"step": trainer.step, **glance(trainer.averaged, trainer.gauge, held, sheet)})
            if trainer.step % config.run.checkpoint_every == 0 or trainer.step == last:
                save_checkpoint(checkpoint, trainer.state())
    return checkpoint


def new_trainer(config: LipganConfig) -> Trainer:
    """Fresh networks, drawn from the run's seed."""
    torch.manual_seed(config.run.seed)
    generator = new_generator(config.network)
    for parameter in generator.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    discriminator = SyncDiscriminator("mel", config.network.discriminator_width)
    averaged = copy.deepcopy(generator).eval().requires_grad_(requires_grad=False)
    listener = nn.Linear(generator.sound.out_channels, 2)
    generator_adam = torch.optim.Adam([*generator.parameters(), *listener.parameters()], config.run.learning_rate)
    discriminator_adam = torch.optim.Adam(discriminator.parameters(), config.run.learning_rate)
    gauge = MouthGauge()
    return Trainer(config, generator, averaged, discriminator, gauge, listener, generator_adam, discriminator_adam)


def check_size(clips: list[CachedClip], config: LipganConfig) -> None:
    """Hold a cache against the network that is to learn from it.

    Raises:
        ConfigError: The crops are of another size.
    """
    found, wanted = size_of(clips[0].crops), config.network.crop_px
    if found != wanted:
        raise ConfigError(
            f"the cache holds crops of {found} px, the network takes {wanted}: prepare one with --crop-px {wanted}"
        )


def begin_with(trainer: Trainer, weights: Path) -> None:
    """Put a file's weights in place of the drawn ones; of LipGAN's, "lite" takes the sound encoder, if as wide.

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
    if begun.config != wanted:
        raise ConfigError(f"{weights} holds {begun.config}, the config asks for {wanted}")
    trainer.generator.load_state_dict(begun.state_dict())
    trainer.averaged.load_state_dict(begun.state_dict())


def train_gauge(trainer: Trainer, sampler: Sampler, run: Path) -> None:
    """Teach the mouth gauge on targets, then freeze it."""
    config = trainer.config.run
    adam = torch.optim.Adam(trainer.gauge.parameters(), 1e-3)
    with RunLog(run) as log:
        for step in range(config.gauge_steps):
            for group in adam.param_groups:
                group["lr"] = 1e-3 * (1 - step / config.gauge_steps)
            batch = sampler.batch(step + GAUGE_SEED_OFFSET, config.batch)
            loss = gauge_loss(trainer.gauge(torch.from_numpy(batch.target)), torch.from_numpy(batch.mouth))
            adam.zero_grad()
            torch.autograd.backward(loss)
            adam.step()
            if (step + 1) % config.log_every == 0:
                log.write({"gauge_step": step + 1, "gauge_error": loss.item()})
    trainer.gauge.requires_grad_(requires_grad=False).eval()


def train_step(trainer: Trainer, batch: Batch, sounds: Sounds) -> dict[str, float]:
    """One step of the generator, one of the discriminator; returns the losses."""
    face, target, mel, mouth = (torch.from_numpy(each) for each in (batch.face, batch.target, batch.mel, batch.mouth))
    _set_learning_rate(trainer)
    with torch.autocast("cpu", torch.bfloat16, enabled=trainer.config.run.bf16):
        picture = trainer.generator(face.to(memory_format=torch.channels_last), mel)
    picture = picture.float()
    losses = generator_losses(trainer, picture, target, mel, mouth) | {"sound": sound_loss(trainer, *sounds)}
    weights = trainer.config.loss
    total = (
        weights.l1 * losses["l1"]
        + weights.mouth_l1 * losses["mouth_l1"]
        + weights.sync * losses["sync"]
        + weights.gauge * losses["gauge"]
        + weights.sound * losses["sound"]
    )
    trainer.generator_adam.zero_grad()
    torch.autograd.backward(total)
    nn.utils.clip_grad_norm_(trainer.generator.parameters(), GRADIENT_LIMIT)
    trainer.generator_adam.step()
    judge = discriminator_step(trainer, picture.detach(), target, mel) if trainer.judged else 0.0
    average(trainer.averaged, trainer.generator, trainer.step, trainer.config.run.ema_decay)
    return {name: value.item() for name, value in losses.items()} | {"total": total.item(), "judge": judge}


def generator_losses(
    trainer: Trainer, picture: Tensor, target: Tensor, mel: Tensor, mouth: Tensor
) -> dict[str, Tensor]:
    """Each loss before its weight."""
    with torch.autocast("cpu", torch.bfloat16, enabled=trainer.config.run.bf16):
        distance = trainer.discriminator(judged(picture), mel) if trainer.judged else torch.zeros(len(picture))
        reading = trainer.gauge(unlatticed(picture))
    error = (picture - target).abs()
    return {
        "l1": error.mean(),
        "mouth_l1": mouth_box(error).mean(),
        "sync": contrastive_loss(distance.float(), torch.zeros(len(picture))),
        "gauge": gauge_loss(reading.float(), mouth),
    }


def mouth_box(picture: Tensor) -> Tensor:
    """The part of [N, C, S, S] that holds mouth and chin."""
    (top, bottom), (left, right) = ((round(edge * picture.shape[2]) for edge in edges) for edges in MOUTH_BOX)
    return picture[:, :, top:bottom, left:right]


def judged(picture: Tensor) -> Tensor:
    """[N, 3, S, S] at the size that the sync discriminator reads."""
    return nn.functional.adaptive_avg_pool2d(picture, FACE_SIZE) if picture.shape[2] != FACE_SIZE else picture


def unlatticed(picture: Tensor) -> Tensor:
    """Take the finest checkerboard out of [N, C, H, W] by (1 2 1)/4: a judge must not be paid with dots."""
    line = picture.new_tensor([0.25, 0.5, 0.25])
    kernel = torch.outer(line, line).expand(picture.shape[1], 1, 3, 3)
    return nn.functional.conv2d(
        nn.functional.pad(picture, (1, 1, 1, 1), mode="replicate"), kernel, groups=picture.shape[1]
    )


def sound_loss(trainer: Trainer, mel: Tensor, mouth: Tensor) -> Tensor:
    """Error of opening and width, read linearly from the generator's sound embedding."""
    with torch.autocast("cpu", torch.bfloat16, enabled=trainer.config.run.bf16):
        embedding = trainer.generator.sound(mel).flatten(1)
    return gauge_loss(trainer.listener(embedding.float()), mouth)


def _sounds(trainer: Trainer, sampler: Sampler) -> Sounds:
    mel, mouth = sampler.sounds(trainer.step, trainer.config.run.sound_batch)
    return torch.from_numpy(mel), torch.from_numpy(mouth)


def discriminator_step(trainer: Trainer, picture: Tensor, target: Tensor, mel: Tensor) -> float:
    """As published: by turns a generated pair or a real picture with foreign sound, then always a real pair."""
    count = len(target)
    if trainer.step % 2:
        foreign_picture, foreign_mel = picture, mel
    else:
        foreign_picture, foreign_mel = target, mel.roll(min(ROLL, count // 2), 0)
    with torch.autocast("cpu", torch.bfloat16, enabled=trainer.config.run.bf16):
        pictures = judged(torch.cat([foreign_picture, target]))
        distance = trainer.discriminator(pictures, torch.cat([foreign_mel, mel]))
    unsynced = torch.cat([torch.ones(count), torch.zeros(count)])
    loss = contrastive_loss(distance.float(), unsynced)
    trainer.discriminator_adam.zero_grad()
    torch.autograd.backward(loss)
    trainer.discriminator_adam.step()
    return loss.item()


def _set_learning_rate(trainer: Trainer) -> None:
    rate = learning_rate_at(trainer.step, trainer.config.run)
    for adam in (trainer.generator_adam, trainer.discriminator_adam):
        set_learning_rate(adam, rate)
