"""The LipGAN recipe, top to bottom: data, networks, one step, the loop.

As published: mean absolute error plus 0.01 x the contrastive loss of a sync discriminator that is trained
along (real pairs; pairs with the sound of another sample; generated pairs), Adam.
Ours: an extra weight on the mouth box and on its edges, the frozen mouth gauge (`training.gauge`), a linear reading of
the mouth from the sound embedding, the quality judge (`training.quality`), averaged weights; for generators that move
pictures, the error of what was moved, seen coarsely, where a small step already shows the way; with `frames = 5`, the
similarity of neighbours to their sound by the frozen sync expert, and their differences.

Source: `train.py` of Rudrabha/LipGAN; K R Prajwal et al., ACM MM 2019, section 4.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn

from models.catalogue import WEIGHTS
from models.generators import masks, window_of
from models.lipgan import contrastive_loss
from models.lipgan_lite import LipGanLite
from models.sync_expert import RUN_FRAMES, expert_loss, load_expert
from training.checkpoint import load_checkpoint, save_checkpoint
from training.config import ConfigError, LipganConfig
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
from training.data.run_batches import RunSampler
from training.data.sampler import Batch, Sampler
from training.gauge import gauge_loss
from training.glance import glance
from training.loop import RunLog, average, begun, learning_rate_at, onto, set_learning_rate
from training.losses import edge_loss, judged, judged_sound, mixed_loss, mouth_box, moved_loss, unlatticed, weighed
from training.quality import feature_loss, judge_loss
from training.trainer import Trainer, begin_with, new_trainer, take_ear

# Rolling the batch pairs every picture with the sound of another sample (LipGAN rolls by 10).
ROLL = 10
EXPERT_WEIGHTS = WEIGHTS / "expert" / "expert.safetensors"
GAUGE_SEED_OFFSET = 1_000_003
# Each process draws batches of its own, the first one those of a run that is alone.
PROCESS_SEED_OFFSET = 15_485_863
GRADIENT_LIMIT = 5.0
FEATURES_WEIGHT = 5.0
"""Of the quality judge's features against its score."""


Sounds = tuple[Tensor, Tensor]
"""Mel windows [N, 1, 80, 27] and the mouths [N, 2] that belong to them."""


def train(
    config: LipganConfig,
    cache: Path,
    run: Path,
    *,
    resume: bool = False,
    stop_after: int | None = None,
    start: Path | None = None,
    ear: Path | None = None,
    fabric: Fabric | None = None,
) -> Path:
    """Train from a cache folder.

    Args:
        config: What to train.
        cache: Folder written by `training.data.prepare`.
        run: Folder for log.jsonl, checkpoints and contact sheets.
        resume: Go on from the run's checkpoint.
        stop_after: Stop at this step as if interrupted; the schedule stays that of `config`.
        start: Weights that a new run begins with, a `generator.safetensors` of the same network.
        ear: Checkpoint of `training.ear` whose ear a new run begins with.
        fabric: From `launched`, with the config's precision; default: one process, on a GPU where there is one.

    Returns:
        The last checkpoint.

    Raises:
        EngineError: `start` is missing or damaged.
        ConfigError: `run` holds a checkpoint and `resume` is false, the checkpoint does not fit, or the batch cannot be
            shared by the processes.
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
        ear=ear,
        fabric=fabric,
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
    ear: Path | None = None,
    fabric: Fabric | None = None,
) -> Path:
    """Train from clips in memory; see `train`."""
    checkpoint = begun(run, config.run.threads, resume=resume)
    check_size(clips, config)
    trainer = new_trainer(config, fabric)
    fabric = trainer.fabric
    check_shares(config, fabric.world_size)
    window = window_of(trainer.generator)
    size = config.network.crop_px
    seed = config.run.seed + PROCESS_SEED_OFFSET * fabric.global_rank
    masked = masks(trainer.generator)
    sampler = Sampler(
        clips, portraits, config.mix, seed, size, speech=speech, heads=heads, window=window, masked=masked
    )
    runs = None
    if in_runs(config):
        runs = RunSampler(
            clips, portraits, config.mix, seed, size, speech=speech, heads=heads, window=window, masked=masked
        )
        trainer.expert = load_expert(EXPERT_WEIGHTS).to(fabric.device) if config.loss.expert > 0 else None
    if resume:
        trainer.restore(load_checkpoint(checkpoint))
    else:
        if start is not None:
            begin_with(trainer, start)
        if ear is not None:
            take_ear(trainer, ear)
        if fabric.is_global_zero:
            train_gauge(trainer, sampler, run)
        trainer.gauge.load_state_dict(fabric.broadcast(trainer.gauge.state_dict()))
    last = min(config.run.steps, stop_after or config.run.steps)
    began_s = time.perf_counter()
    with RunLog(run, silent=not fabric.is_global_zero) as log:
        while trainer.step < last:
            batch, span = _drawn(trainer, sampler, runs)
            losses = train_step(trainer, batch, _sounds(trainer, sampler), span)
            trainer.step += 1
            if trainer.step % config.run.log_every == 0:
                log.write({"step": trainer.step, "elapsed_s": time.perf_counter() - began_s, **mean_of(losses, fabric)})
            if not fabric.is_global_zero:
                continue
            if held and trainer.step % config.run.look_every == 0:
                sheet = run / f"look_{trainer.step:06d}.png"
                log.write({"step": trainer.step, **glance(trainer.averaged, trainer.gauge, held, sheet)})
            if trainer.step % config.run.checkpoint_every == 0 or trainer.step == last:
                save_checkpoint(checkpoint, trainer.state())
    fabric.barrier()
    return checkpoint


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


def check_shares(config: LipganConfig, processes: int) -> None:
    """Hold the batch against the processes that are to share it.

    Raises:
        ConfigError: It cannot be divided.
    """
    for name, unit in (("batch", config.run.frames), ("sound_batch", 1)):
        if processes > 1 and getattr(config.run, name) % (processes * unit):
            raise ConfigError(
                f"[run] {name} = {getattr(config.run, name)} cannot be shared by {processes} processes; "
                f"make it a multiple of {processes * unit}"
            )


def in_runs(config: LipganConfig) -> bool:
    """Whether pictures are drawn in runs of five.

    Raises:
        ConfigError: Neither in runs nor one by one, or a loss looks at neighbours that are not there.
    """
    if config.run.frames not in (1, RUN_FRAMES):
        raise ConfigError(f"[run] frames must be 1 or {RUN_FRAMES}, found {config.run.frames}")
    if config.run.frames == 1 and (config.loss.expert or config.loss.steady):
        raise ConfigError(f"[loss] expert and steady look at neighbouring pictures; set [run] frames = {RUN_FRAMES}")
    return config.run.frames == RUN_FRAMES


def train_gauge(trainer: Trainer, sampler: Sampler, run: Path) -> None:
    """Teach the mouth gauge on targets, in one process; before and after, it is frozen."""
    config = trainer.config.run
    trainer.gauge.requires_grad_(requires_grad=True)
    adam = torch.optim.Adam(trainer.gauge.parameters(), 1e-3)
    with RunLog(run) as log:
        for step in range(config.gauge_steps):
            for group in adam.param_groups:
                group["lr"] = 1e-3 * (1 - step / config.gauge_steps)
            batch = sampler.batch(step + GAUGE_SEED_OFFSET, config.batch)
            target, mouth = onto(trainer.fabric, batch.target, batch.mouth)
            loss = gauge_loss(trainer.gauge(target), mouth)
            adam.zero_grad()
            torch.autograd.backward(loss)
            adam.step()
            if (step + 1) % config.log_every == 0:
                log.write({"gauge_step": step + 1, "gauge_error": loss.item()})
    trainer.gauge.requires_grad_(requires_grad=False)


def train_step(
    trainer: Trainer, batch: Batch, sounds: Sounds, span: NDArray[np.float32] | None = None
) -> dict[str, float]:
    """One step of the generator, one of the discriminator; returns the losses.

    Args:
        trainer: Changes.
        batch: Pictures one by one, or, with `span`, five neighbours after the other.
        sounds: For the linear reading of the mouth.
        span: float32 [N / 5, 1, 80, 17], each run's sound as the sync expert hears it.
    """
    fabric, generator = trainer.fabric, trainer.shared["generator"]
    face, target, mel, mouth = onto(fabric, batch.face, batch.target, batch.mel, batch.mouth)
    _set_learning_rate(trainer)
    seen = face.to(memory_format=torch.channels_last)
    drawn = None
    # Fabric opens autocast for `forward` itself, for other methods only where there are several processes.
    with fabric.autocast():
        if isinstance(trainer.generator, LipGanLite):
            drawn = generator.drawn(seen, mel)
            picture = drawn.picture
        else:
            picture = generator(seen, mel)
    losses = generator_losses(trainer, picture, target, mel, mouth) | {"sound": sound_loss(trainer, *sounds)}
    if drawn is not None:
        losses |= {"moved": moved_loss(drawn.places, face, target), "mixed": mixed_loss(drawn.shares)}
    if span is not None:
        losses |= run_losses(trainer, picture, target, *onto(fabric, span))
    total = weighed(losses, trainer.config.loss)
    trainer.generator_adam.zero_grad()
    fabric.backward(total)
    # Of the generator alone; Fabric's own clipping takes all that an optimiser has, the listener too.
    nn.utils.clip_grad_norm_(trainer.generator.parameters(), GRADIENT_LIMIT)
    trainer.generator_adam.step()
    judge = discriminator_step(trainer, picture.detach(), target, mel) if trainer.judged else 0.0
    quality_judge = quality_step(trainer, picture.detach(), target) if trainer.looked_at else 0.0
    average(trainer.averaged, trainer.generator, trainer.step, trainer.config.run.ema_decay)
    judges = {"judge": judge, "quality_judge": quality_judge}
    return {name: value.item() for name, value in losses.items()} | {"total": total.item()} | judges


def run_losses(trainer: Trainer, picture: Tensor, target: Tensor, span: Tensor) -> dict[str, Tensor]:
    """What only neighbours can tell: whether lips move with the sound, and whether anything else moves.

    Args:
        trainer: Its expert, if it has one, stays as it is.
        picture: [5 N, 3, S, S], five neighbours after the other.
        target: Likewise.
        span: [N, 1, 80, 17].
    """

    def in_fives(pictures: Tensor) -> Tensor:
        return pictures.reshape(-1, RUN_FRAMES, *pictures.shape[1:])

    losses = {"steady": in_fives(mouth_box(picture - target)).diff(dim=1).abs().mean()}
    if trainer.expert is not None:
        # As for the gauge: a judge must not be paid with dots.
        with trainer.fabric.autocast():
            losses["expert"] = expert_loss(trainer.expert, in_fives(unlatticed(picture)), span)
    return losses


def quality_step(trainer: Trainer, picture: Tensor, target: Tensor) -> float:
    """Train the quality judge on drawn and photographed mouths; returns its loss."""
    drawn, photographed = trainer.shared["quality"](torch.cat([picture, target]))[0].chunk(2)
    loss = judge_loss(drawn, photographed)
    trainer.quality_adam.zero_grad()
    trainer.fabric.backward(loss)
    trainer.quality_adam.step()
    return loss.item()


def quality_loss(trainer: Trainer, picture: Tensor, target: Tensor) -> Tensor:
    """What the generator gets from the quality judge: its score, and the features of what should be there."""
    trainer.quality.requires_grad_(requires_grad=False)
    with trainer.fabric.autocast():
        score, features = trainer.quality(picture)
        with torch.no_grad():
            wanted = trainer.quality(target)[1]
    trainer.quality.requires_grad_(requires_grad=True)
    loss: Tensor = FEATURES_WEIGHT * feature_loss(features, wanted) - score.float().mean()
    return loss


def generator_losses(
    trainer: Trainer, picture: Tensor, target: Tensor, mel: Tensor, mouth: Tensor
) -> dict[str, Tensor]:
    """Each loss before its weight."""
    in_sync = picture.new_zeros(len(picture))
    trainer.discriminator.requires_grad_(requires_grad=False)
    with trainer.fabric.autocast():
        distance = trainer.discriminator(judged(picture), judged_sound(mel)) if trainer.judged else in_sync
        reading = trainer.gauge(unlatticed(picture))
    trainer.discriminator.requires_grad_(requires_grad=True)
    error = (picture - target).abs()
    return {
        "l1": error.mean(),
        "mouth_l1": mouth_box(error).mean(),
        "sync": contrastive_loss(distance.float(), in_sync),
        "gauge": gauge_loss(reading.float(), mouth),
        "edges": edge_loss(picture, target),
        "quality": quality_loss(trainer, picture, target) if trainer.looked_at else picture.new_zeros(()),
    }


def sound_loss(trainer: Trainer, mel: Tensor, mouth: Tensor) -> Tensor:
    """Error of opening and width, read linearly from the generator's sound embedding."""
    with trainer.fabric.autocast():
        # Its gradients are averaged along with those of the picture: one backward pass, one sum for each weight.
        embedding = trainer.generator.sound(mel).flatten(1)
    return gauge_loss(trainer.shared["listener"](embedding), mouth)


def _drawn(trainer: Trainer, sampler: Sampler, runs: RunSampler | None) -> tuple[Batch, NDArray[np.float32] | None]:
    """The step's pictures, and of runs the sound of each as the sync expert hears it."""
    count = trainer.config.run.batch // trainer.fabric.world_size
    if runs is None:
        return sampler.batch(trainer.step, count), None
    batch = runs.batch(trainer.step, count)
    return batch.pictures, batch.span


def _sounds(trainer: Trainer, sampler: Sampler) -> Sounds:
    count = trainer.config.run.sound_batch // trainer.fabric.world_size
    mel, mouth = onto(trainer.fabric, *sampler.sounds(trainer.step, count))
    return mel, mouth


def discriminator_step(trainer: Trainer, picture: Tensor, target: Tensor, mel: Tensor) -> float:
    """As published: by turns a generated pair or a real picture with foreign sound, then always a real pair."""
    count, mel = len(target), judged_sound(mel)
    if trainer.step % 2:
        foreign_picture, foreign_mel = picture, mel
    else:
        foreign_picture, foreign_mel = target, mel.roll(min(ROLL, count // 2), 0)
    pictures = judged(torch.cat([foreign_picture, target]))
    distance = trainer.shared["discriminator"](pictures, torch.cat([foreign_mel, mel]))
    unsynced = torch.cat([target.new_ones(count), target.new_zeros(count)])
    loss = contrastive_loss(distance, unsynced)
    trainer.discriminator_adam.zero_grad()
    trainer.fabric.backward(loss)
    trainer.discriminator_adam.step()
    return loss.item()


def mean_of(losses: dict[str, float], fabric: Fabric) -> dict[str, float]:
    """Each loss as the mean over all processes."""
    values = torch.tensor(list(losses.values()), dtype=torch.float64, device=fabric.device)
    mean = fabric.all_reduce(values)
    assert isinstance(mean, Tensor)
    return dict(zip(losses, mean.tolist(), strict=True))


def _set_learning_rate(trainer: Trainer) -> None:
    rate = learning_rate_at(trainer.step, trainer.config.run)
    for adam in (trainer.generator_adam, trainer.discriminator_adam, trainer.quality_adam):
        set_learning_rate(adam, rate)
