"""The sync expert's recipe, top to bottom: data, network, one step, the loop; its shift curve is `training.sync_curve`.

Loss: of all sounds in the batch, which belongs to this run of five pictures, and of all runs, which to this sound
(InfoNCE). The published recipe asks of one pair at a time whether it is true (binary cross-entropy of the cosine) and
stays at chance, 0.69, for some 150,000 steps; a choice among the shifts of one stretch has a gradient from the
first step on. One of the two choices is among the runs of the stretch itself, so that who is speaking cannot be the
answer; synthetic heads add the same pictures with lips that say something else, so that pose and motion cannot either.
Besides, opening and width are read linearly from what is seen and from what is heard: landmarks and phones teach what
matters long before a similarity can.

Source: A. van den Oord et al., arXiv:1807.03748 (the loss); S.-W. Chung et al., arXiv:1809.08001 (the choice among
shifts instead of pairs); K R Prajwal et al., arXiv:2008.10010 (five pictures, frozen, true pairs only).
"""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn

from models.sync_expert import EMBEDDING, RUN_FRAMES, SyncExpert, SyncExpertConfig
from training.checkpoint import check_network, load_checkpoint, parts_of, restore_parts, save_checkpoint
from training.config import ConfigError, build, read_config
from training.data.cache import CachedClip, CachedPortraits, CachedSpeech, load_clips, load_portraits, load_speech
from training.data.head_clips import each_head
from training.data.runs import Stretches, StretchMix, StretchSampler, shrunk
from training.data.sampler import MEAN_WIDTH
from training.gauge import gauge_loss
from training.loop import RunLog, average, begun, launched, learning_rate_at, onto, set_learning_rate
from training.sync_curve import off_sync_accuracy, shift_curve

# Runs closer than this share most of their pictures: neither true nor false.
HARD_FROM = 3
Floats = NDArray[np.float32]

PARTS = ("expert", "averaged", "see_mouth", "hear_mouth", "adam")


@dataclass(frozen=True, slots=True)
class ExpertLossConfig:
    """Weights of the losses.

    Attributes:
        within: Choice among the runs of the stretch.
        across: Choice among all runs of the batch.
        mouth: Error of opening and width, read from what is seen and from what is heard.
        temperature: Similarities are divided by it before the choice.
    """

    within: float = 1.0
    across: float = 0.5
    mouth: float = 0.5
    temperature: float = 0.1


@dataclass(frozen=True, slots=True)
class ExpertRunConfig:
    """How long and how fast.

    Attributes:
        seed: Decides weights and batches.
        steps: Optimiser steps.
        batch: Stretches per step.
        frames: Neighbouring pictures in a stretch.
        sound_batch: Spans of recordings per step, for the mouth alone.
        learning_rate: Adam's.
        final_learning_rate: Reached at the last step, by cosine from `decay_from_step` on.
        warm_up_steps: Linear ramp at the start.
        decay_from_step: First step of the cosine.
        weight_decay: Adam's, decoupled.
        ema_decay: Of the averaged weights, which are the ones that ship.
        checkpoint_every: Steps between checkpoints.
        log_every: Steps between log lines.
        look_every: Steps between measurements on held-back clips.
        threads: Torch threads.
        bf16: Autocast to bfloat16.
    """

    seed: int = 2016
    steps: int = 5_000
    batch: int = 12
    frames: int = 21
    sound_batch: int = 64
    learning_rate: float = 1e-3
    final_learning_rate: float = 2e-5
    warm_up_steps: int = 100
    decay_from_step: int = 2_500
    weight_decay: float = 0.01
    ema_decay: float = 0.998
    checkpoint_every: int = 100
    log_every: int = 20
    look_every: int = 250
    threads: int = 1
    bf16: bool = True


@dataclass(frozen=True, slots=True)
class ExpertConfig:
    """One run."""

    network: SyncExpertConfig = field(default_factory=SyncExpertConfig)
    mix: StretchMix = field(default_factory=StretchMix)
    loss: ExpertLossConfig = field(default_factory=ExpertLossConfig)
    run: ExpertRunConfig = field(default_factory=ExpertRunConfig)


@dataclass(frozen=True, slots=True)
class ExpertMaterial:
    """What is learned from; clips and heads as `shrunk`."""

    clips: Sequence[CachedClip]
    heads: Sequence[CachedClip] = ()
    portraits: CachedPortraits | None = None
    speech: Sequence[CachedSpeech] = ()


@dataclass(slots=True)
class ExpertTrainer:
    """Everything that changes while training."""

    config: ExpertConfig
    fabric: Fabric
    expert: SyncExpert
    averaged: SyncExpert
    see_mouth: nn.Linear
    hear_mouth: nn.Linear
    adam: torch.optim.AdamW
    step: int = 0

    def state(self) -> dict[str, Any]:
        """All of it, for a checkpoint."""
        return {**parts_of(self, PARTS), "config": dataclasses.asdict(self.config)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where a checkpoint stopped.

        Raises:
            ConfigError: The checkpoint belongs to another network.
        """
        check_network(state, self.config.network)
        restore_parts(self, PARTS, state)


def load_expert_config(name_or_path: str) -> ExpertConfig:
    """Read the config of a sync expert's run; see `read_config`."""
    return read_config(ExpertConfig, name_or_path)


def train_expert(
    config: ExpertConfig, cache: Path, run: Path, *, resume: bool = False, stop_after: int | None = None
) -> Path:
    """Train from a cache folder.

    Args:
        config: What to train.
        cache: Folder written by `training.data.prepare`.
        run: Folder for log.jsonl and checkpoints.
        resume: Go on from the run's checkpoint.
        stop_after: Stop at this step as if interrupted; the schedule stays that of `config`.

    Returns:
        The last checkpoint.

    Raises:
        ConfigError: `run` holds a checkpoint and `resume` is false, or the checkpoint does not fit.
        MaterialError: No usable cache.
    """
    material = ExpertMaterial(
        clips=[shrunk(each) for each in load_clips(cache, {"train"})],
        heads=[shrunk(each) for each in each_head(cache)] if config.mix.heads_share else (),
        portraits=load_portraits(cache) if config.mix.portrait_share else None,
        speech=load_speech(cache),
    )
    held = load_clips(cache, {"held_clip", "held_person"}) if config.run.look_every <= config.run.steps else []
    return train_expert_on(config, material, run, held=held, resume=resume, stop_after=stop_after)


def train_expert_on(
    config: ExpertConfig,
    material: ExpertMaterial,
    run: Path,
    *,
    held: Sequence[CachedClip] = (),
    resume: bool = False,
    stop_after: int | None = None,
) -> Path:
    """Train from material in memory; see `train_expert`."""
    checkpoint = begun(run, config.run.threads, resume=resume)
    trainer = new_expert_trainer(config)
    sampler = StretchSampler(
        material.clips,
        material.heads,
        material.portraits,
        material.speech,
        config.mix,
        config.run.seed,
        config.run.frames,
    )
    if resume:
        trainer.restore(load_checkpoint(checkpoint))
    last = min(config.run.steps, stop_after or config.run.steps)
    began_s = time.perf_counter()
    with RunLog(run) as log:
        while trainer.step < last:
            batch = sampler.batch(trainer.step, config.run.batch)
            losses = train_step(trainer, batch, sampler.sounds(trainer.step, config.run.sound_batch))
            trainer.step += 1
            if trainer.step % config.run.log_every == 0:
                log.write({"step": trainer.step, "elapsed_s": time.perf_counter() - began_s, **losses})
            if held and trainer.step % config.run.look_every == 0:
                log.write({"step": trainer.step, **look(trainer.averaged, held)})
            if trainer.step % config.run.checkpoint_every == 0 or trainer.step == last:
                save_checkpoint(checkpoint, trainer.state())
    return checkpoint


def new_expert_trainer(config: ExpertConfig) -> ExpertTrainer:
    """Fresh networks, drawn from the run's seed, on a GPU where there is one.

    In one process: what a run of pictures is told from is the whole batch.
    """
    fabric = launched(bf16=config.run.bf16)
    torch.manual_seed(config.run.seed)
    try:
        kind = SyncExpertConfig.from_dict(config.network.as_dict())
    except ValueError as error:
        raise ConfigError(f"[network]: {error}") from None
    expert = SyncExpert(kind)
    averaged = copy.deepcopy(expert).eval().requires_grad_(requires_grad=False)
    see_mouth, hear_mouth = nn.Linear(EMBEDDING, 2), nn.Linear(EMBEDDING, 2 * RUN_FRAMES)
    for network in (expert, averaged, see_mouth, hear_mouth):
        network.to(fabric.device)
    learned = [*expert.parameters(), *see_mouth.parameters(), *hear_mouth.parameters()]
    adam = torch.optim.AdamW(learned, config.run.learning_rate, weight_decay=config.run.weight_decay)
    return ExpertTrainer(config, fabric, expert, averaged, see_mouth, hear_mouth, adam)


def train_step(trainer: ExpertTrainer, batch: Stretches, sounds: tuple[Floats, Floats]) -> dict[str, float]:
    """One step; returns the losses."""
    run, weights, expert = trainer.config.run, trainer.config.loss, trainer.expert
    set_learning_rate(trainer.adam, learning_rate_at(trainer.step, run))
    fabric = trainer.fabric
    lower, mel, mouths, wrong = onto(fabric, batch.lower, batch.mel, batch.mouths, batch.wrong)
    more_mel, more_mouths = onto(fabric, *sounds)
    clips, frames = lower.shape[:2]
    of_run = torch.arange(frames - RUN_FRAMES + 1)[:, None] + torch.arange(RUN_FRAMES)
    with fabric.autocast():
        seen = expert.seen(torch.cat([lower, wrong]).flatten(0, 1)).view(-1, frames, EMBEDDING)
        pictures = expert.embed_runs(seen[:, of_run].flatten(0, 1))
        heard = expert.heard(torch.cat([mel.flatten(0, 1), more_mel]))
        read = trainer.see_mouth(seen[:clips].relu()), trainer.hear_mouth(heard.relu())
    spoken = torch.cat([mouths[:, of_run].flatten(0, 1), more_mouths])
    sound = nn.functional.normalize(heard[: len(of_run) * clips].float(), dim=1)
    similarity = pictures @ sound.T
    stretch = torch.cat([torch.arange(clips), torch.from_numpy(batch.wrong_of)]).repeat_interleave(len(of_run))
    within, across = choice_losses(similarity / weights.temperature, stretch)
    mouth = mouth_loss(read[0].float(), mouths) + mouth_loss(read[1].float().view(-1, RUN_FRAMES, 2), spoken)
    total = weights.within * within + weights.across * across + weights.mouth * mouth
    trainer.adam.zero_grad()
    torch.autograd.backward(total)
    trainer.adam.step()
    average(trainer.averaged, expert, trainer.step, run.ema_decay)
    return {"within": within.item(), "across": across.item(), "mouth": mouth.item(), "total": total.item()}


def choice_losses(logits: Tensor, stretch: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of finding the true partner, mean of both directions.

    Args:
        logits: [M, N], row = run of pictures, column = sound; the first N rows' diagonal is true, the other rows are
            the pictures with wrong lips, which are to be told from the true ones.
        stretch: int [M], which stretch a run is from; the runs of a stretch follow each other.

    Returns:
        Among the runs of the same stretch, and among all; neighbours closer than `HARD_FROM` are left out of both.
    """
    place = torch.arange(logits.shape[1], device=logits.device)
    stretch = stretch.to(logits.device)
    alike = stretch[:, None] == stretch[: len(place)]
    away = (torch.arange(len(logits), device=logits.device)[:, None] - place).abs()
    close = alike & (away > 0) & (away < HARD_FROM)
    close[len(place) :] = False
    logits = logits.masked_fill(close, -torch.inf)

    def both(choice: Tensor) -> Tensor:
        by_pictures = nn.functional.cross_entropy(choice[: len(place)], place)
        return (by_pictures + nn.functional.cross_entropy(choice.T, place)) / 2

    return both(logits.masked_fill(~alike, -torch.inf)), both(logits)


def mouth_loss(reading: Tensor, mouths: Tensor) -> Tensor:
    """Mean absolute error of opening and width scale [..., 2], in spreads; unknown entries (NaN) do not count."""
    truth = torch.stack([mouths[..., 0].clamp_min(0), mouths[..., 1] * MEAN_WIDTH], -1)
    return gauge_loss(reading, truth)


def expert_of_run(checkpoint: Path) -> tuple[SyncExpert, dict[str, Any]]:
    """The averaged expert of a run, frozen, and notes for its file: steps and config.

    Raises:
        ConfigError: No such checkpoint, or one of another recipe.
    """
    state = load_checkpoint(checkpoint)
    if "see_mouth" not in state:
        raise ConfigError(f"{checkpoint} holds no sync expert; train one: python -m training expert")
    config: dict[str, Any] = state["config"]
    expert = SyncExpert(build(SyncExpertConfig, config["network"], str(checkpoint)))
    expert.load_state_dict(state["averaged"])
    return expert.requires_grad_(requires_grad=False).eval(), {"steps": state["step"], "config": config}


def look(expert: SyncExpert, held: Sequence[CachedClip]) -> dict[str, float]:
    """Off-sync accuracy on held-back clips, by split."""
    found: dict[str, list[float]] = {}
    for clip in held:
        curve = shift_curve(expert, clip.crops, clip.mel, clip.pts_ns, margin=True)
        found.setdefault(f"accuracy_{clip.split}", []).append(off_sync_accuracy(curve))
    return {key: float(np.nanmean(values)) for key, values in sorted(found.items())}
