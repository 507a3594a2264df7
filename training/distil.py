"""The distillation recipe, top to bottom: a narrow LipGAN learns to draw what a trained, wider one draws.

The student begins with the teacher's weights on the channels that vary most, so that it draws a face from the first
steps on. A part of each batch keeps the sound that belongs to its pictures and is held against the truth as well as
against the teacher; the rest hears other sounds, of which no picture exists: the teacher draws one.

Source: B.-K. Kim et al., "A Unified Compression Framework for Efficient Speech-Driven Talking-Face Generation",
arXiv:2304.00471 (a quarter of the channels, taught by the whole network's pictures, keeps the sync); choosing channels
by their own statistics: Z. Liu et al., "Learning Efficient Convolutional Networks through Network Slimming", ICCV 2017.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.checkpoint import load_generator
from models.graphs import fold_batch_norm
from models.layers import ConvBlock, TransposedBlock
from models.lipgan import LipGanGenerator
from models.manifest import sha256_of
from training.checkpoint import load_checkpoint, save_checkpoint
from training.config import ConfigError, LipganConfig
from training.data.cache import CachedClip, CachedPortraits, CachedSpeech, load_clips, load_portraits, load_speech
from training.data.sampler import Batch, Sampler
from training.gauge import gauge_loss
from training.glance import glance
from training.lipgan import (
    GRADIENT_LIMIT,
    Sounds,
    check_size,
    generator_losses,
    train_gauge,
)
from training.loop import RunLog, average, begun, learning_rate_at, onto, set_learning_rate
from training.losses import mouth_box, unlatticed
from training.trainer import Trainer, new_trainer


@dataclass(frozen=True, slots=True)
class TeacherConfig:
    """What the student takes from the teacher, as weights beside those of `LossConfig`.

    Attributes:
        inherit: Begin with the teacher's weights on its most varying channels, instead of drawn ones.
        foreign_share: Of a batch, the samples that hear another sound than their pictures' own.
        l1: Mean absolute error against the teacher's picture.
        mouth_l1: Extra mean absolute error over the mouth box.
        embedding: Squared error of the teacher's sound embedding read linearly from the student's, in variances.
    """

    inherit: bool = True
    foreign_share: float = 0.5
    l1: float = 1.0
    mouth_l1: float = 1.0
    embedding: float = 0.1


@dataclass(frozen=True, slots=True)
class DistilConfig:
    """One distillation."""

    student: LipganConfig = field(default_factory=LipganConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)


@dataclass(slots=True)
class Distiller:
    """Who teaches, who learns.

    Attributes:
        config: What was asked for.
        teacher: Never changes.
        teacher_sha256: Of its file.
        student: Everything that changes, but for `match`; its discriminator is not used.
        match: Reads the teacher's sound embedding from the student's; trained along.
    """

    config: DistilConfig
    teacher: LipGanGenerator
    teacher_sha256: str
    student: Trainer
    match: nn.Linear

    def state(self) -> dict[str, Any]:
        """All of it, for a checkpoint; what `export` and `evaluate` read is where the LipGAN recipe puts it."""
        return {**self.student.state(), "match": self.match.state_dict(), "teacher_sha256": self.teacher_sha256}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where a checkpoint stopped.

        Raises:
            ConfigError: The checkpoint belongs to another network or to another teacher.
        """
        if state.get("teacher_sha256") != self.teacher_sha256:
            raise ConfigError("the checkpoint's student had another teacher; start a new run folder")
        self.match.load_state_dict(state["match"])
        self.student.restore(state)


def distil(
    config: DistilConfig,
    teacher: Path,
    cache: Path,
    run: Path,
    *,
    resume: bool = False,
    stop_after: int | None = None,
) -> Path:
    """Train a student from a cache folder.

    Args:
        config: What to train.
        teacher: `generator.safetensors` of a LipGAN, at least as wide as the student.
        cache: Folder written by `training.data.prepare`.
        run: Folder for log.jsonl, checkpoint and contact sheets.
        resume: Go on from the run's checkpoint.
        stop_after: Stop at this step as if interrupted; the schedule stays that of `config`.

    Returns:
        The last checkpoint.

    Raises:
        EngineError: `teacher` is missing or damaged.
        ConfigError: `run` holds a checkpoint and `resume` is false, or teacher or checkpoint do not fit.
        MaterialError: No usable cache.
    """
    steps = config.student.run
    held = load_clips(cache, {"held_clip", "held_person"}) if steps.look_every < steps.steps else []
    return distil_on(
        config,
        teacher,
        load_clips(cache, {"train"}),
        load_portraits(cache),
        run,
        held=held,
        speech=load_speech(cache),
        resume=resume,
        stop_after=stop_after,
    )


def distil_on(
    config: DistilConfig,
    teacher: Path,
    clips: list[CachedClip],
    portraits: CachedPortraits | None,
    run: Path,
    *,
    held: list[CachedClip],
    speech: Sequence[CachedSpeech] = (),
    resume: bool = False,
    stop_after: int | None = None,
) -> Path:
    """Train from clips in memory; see `distil`."""
    settings = config.student.run
    checkpoint = begun(run, settings.threads, resume=resume)
    check_size(clips, config.student)
    distiller = new_distiller(config, teacher)
    student = distiller.student
    sampler = Sampler(clips, portraits, config.student.mix, settings.seed, speech=speech)
    if resume:
        distiller.restore(load_checkpoint(checkpoint))
    else:
        train_gauge(student, sampler, run)
    last = min(settings.steps, stop_after or settings.steps)
    began_s = time.perf_counter()
    with RunLog(run) as log:
        while student.step < last:
            mel, mouth = onto(student.fabric, *sampler.sounds(student.step, settings.sound_batch))
            losses = distil_step(distiller, sampler.batch(student.step, settings.batch), (mel, mouth))
            student.step += 1
            if student.step % settings.log_every == 0:
                log.write({"step": student.step, "elapsed_s": time.perf_counter() - began_s, **losses})
            if held and student.step % settings.look_every == 0:
                sheet = run / f"look_{student.step:06d}.png"
                log.write({"step": student.step, **glance(student.averaged, student.gauge, held, sheet)})
            if student.step % settings.checkpoint_every == 0 or student.step == last:
                save_checkpoint(checkpoint, distiller.state())
    return checkpoint


def new_distiller(config: DistilConfig, weights: Path) -> Distiller:
    """The teacher from its file, the student drawn from the run's seed or cut out of the teacher.

    Raises:
        EngineError: The file is missing or damaged.
        ConfigError: Teacher and student are not LipGANs of one kind, or the student is the wider one.
    """
    student = new_trainer(config.student)
    teacher, learner = load_generator(weights), student.generator
    if not isinstance(teacher, LipGanGenerator) or not isinstance(learner, LipGanGenerator):
        raise ConfigError(f"{weights} holds {teacher.config}, the student is {learner.config}; both must be LipGANs")
    kinds = {(each.config.variant, each.config.front_end) for each in (teacher, learner)}
    if kinds != {("basic", "mel")} or learner.config.width > teacher.config.width:
        raise ConfigError(f"a student {learner.config} cannot learn from {teacher.config}: basic, mel, and narrower")
    if config.teacher.inherit:
        inherit(teacher, learner)
        student.averaged.load_state_dict(learner.state_dict())
    match = nn.Linear(learner.sound.out_channels, teacher.sound.out_channels).to(student.fabric.device)
    student.generator_adam.add_param_group({"params": match.parameters()})
    # Folded and in float32 it draws a fifth faster than as it is under autocast.
    folded = fold_batch_norm(teacher)
    assert isinstance(folded, LipGanGenerator)
    return Distiller(config, folded.to(student.fabric.device), sha256_of(weights), student, match)


def inherit(teacher: LipGanGenerator, student: LipGanGenerator) -> None:
    """Copy the weights between the channels that vary most; both are basic and of one front end."""
    skips, kept = [], torch.arange(6)
    for each in _blocks(teacher.face, student.face):
        kept = _take(*each, kept)
        skips.append((kept, _width(each[0])))
    for each in _blocks(teacher.face_embedding, student.face_embedding):
        kept = _take(*each, kept)
    heard = torch.arange(1)
    for each in _blocks(teacher.sound, student.sound):
        heard = _take(*each, heard)
    kept = torch.cat([kept, heard + teacher.face_embedding.out_channels])
    for each in _blocks(_inside(teacher.decoder), _inside(student.decoder)):
        skip, offset = skips.pop()
        kept = torch.cat([skip, _take(*each, kept) + offset])
    for each in _blocks(teacher.last, student.last):
        kept = _take(*each, kept)
    _copy(teacher.last[-1], student.last[-1], torch.arange(3), kept)


Block = ConvBlock | TransposedBlock


def _inside(levels: nn.ModuleList) -> list[nn.Module]:
    """A basic decoder's levels hold one block each."""
    return [level[0] for level in levels if isinstance(level, nn.Sequential)]


def _blocks(teacher: Iterable[nn.Module], student: Iterable[nn.Module]) -> list[tuple[Block, Block]]:
    pairs = zip(teacher, student, strict=True)
    return [(a, b) for a, b in pairs if isinstance(a, Block) and isinstance(b, Block)]


def _width(block: Block) -> int:
    return block.norm.num_features


def _take(teacher: Block, student: Block, inputs: Tensor) -> Tensor:
    """Give a block the teacher's weights on given inputs and on the outputs that vary most; returns these outputs."""
    outputs = spread(teacher.norm).topk(_width(student)).indices.sort().values
    _copy(_convolution(teacher), _convolution(student), outputs, inputs)
    for name, value in teacher.norm.state_dict().items():
        student.norm.state_dict()[name].copy_(value[outputs] if value.dim() else value)
    return outputs


def _convolution(block: Block) -> nn.Module:
    return block.conv[-1] if isinstance(block, ConvBlock) else block.conv


def _copy(teacher: nn.Module, student: nn.Module, outputs: Tensor, inputs: Tensor) -> None:
    first, second = (inputs, outputs) if isinstance(teacher, nn.ConvTranspose2d) else (outputs, inputs)
    ours, theirs = student.state_dict(), teacher.state_dict()
    ours["weight"].copy_(theirs["weight"][first][:, second])
    ours["bias"].copy_(theirs["bias"][outputs])


def spread(norm: nn.BatchNorm2d) -> Tensor:
    """Standard deviation [C] of ReLU(scale z + shift) for a normal z, what a channel behind this norm says."""
    scale, shift = norm.weight.detach().double().abs().clamp_min(1e-6), norm.bias.detach().double()
    ratio = shift / scale
    below = torch.special.ndtr(ratio)
    density = torch.exp(-ratio.square() / 2) / math.sqrt(2 * math.pi)
    mean = shift * below + scale * density
    square = (shift.square() + scale.square()) * below + shift * scale * density
    deviation: Tensor = (square - mean.square()).clamp_min(0).sqrt()
    return deviation


def distil_step(distiller: Distiller, batch: Batch, sounds: Sounds) -> dict[str, float]:
    """One step of the student; returns the losses."""
    student, taught = distiller.student, distiller.config.teacher
    face, target, mel, mouth = onto(student.fabric, batch.face, batch.target, batch.mel, batch.mouth)
    foreign = min(round(taught.foreign_share * len(face)), len(face) - 1, len(sounds[0]))
    own = len(face) - foreign
    mel = torch.cat([mel[:own], sounds[0][:foreign]])
    # A foreign sound says how far to open, not how wide this face's mouth is.
    opening = sounds[1][:foreign] * mel.new_tensor([1.0, torch.nan])
    settings = student.config.run
    set_learning_rate(student.generator_adam, learning_rate_at(student.step, settings))
    with student.fabric.autocast():
        face = face.to(memory_format=torch.channels_last)
        picture = student.generator(face, mel)
        reading = student.gauge(unlatticed(picture[own:]))
    picture = picture.float()
    with torch.no_grad():
        example = distiller.teacher(face, mel)
    losses = generator_losses(student, picture[:own], target[:own], mel[:own], mouth[:own])
    losses["sound"], embedding = sound_losses(distiller, *sounds)
    error = (picture - example).abs()
    from_teacher = {
        "teacher_l1": error.mean(),
        "teacher_mouth_l1": mouth_box(error).mean(),
        "foreign_gauge": gauge_loss(reading.float(), opening),
        "embedding": embedding,
    }
    weights = student.config.loss
    total = (
        weights.l1 * losses["l1"]
        + weights.mouth_l1 * losses["mouth_l1"]
        + weights.gauge * (losses["gauge"] + from_teacher["foreign_gauge"])
        + weights.sound * losses["sound"]
        + taught.l1 * from_teacher["teacher_l1"]
        + taught.mouth_l1 * from_teacher["teacher_mouth_l1"]
        + taught.embedding * embedding
    )
    student.generator_adam.zero_grad()
    torch.autograd.backward(total)
    nn.utils.clip_grad_norm_(student.generator.parameters(), GRADIENT_LIMIT)
    student.generator_adam.step()
    average(student.averaged, student.generator, student.step, settings.ema_decay)
    return {name: value.item() for name, value in (losses | from_teacher).items()} | {"total": total.item()}


def sound_losses(distiller: Distiller, mel: Tensor, mouth: Tensor) -> tuple[Tensor, Tensor]:
    """Errors of the mouth and of the teacher's sound embedding, read linearly from the student's."""
    student = distiller.student
    with student.fabric.autocast():
        embedding = student.generator.sound(mel).flatten(1)
    embedding = embedding.float()
    with torch.no_grad():
        taught = distiller.teacher.sound(mel).flatten(1)
    variance = taught.var(0).mean().clamp_min(1e-6)
    missed = (distiller.match(embedding) - taught).square().mean()
    return gauge_loss(student.listener(embedding), mouth), missed / variance
