"""The ear's recipe, top to bottom: two layers of a recogniser learn to hear through LipGAN's mel columns.

The teacher is the whole recogniser, listening to a whole recording; the ear hears a window of it, changed as another
voice, microphone and room would change it, and says what the teacher made of the picture's time. So it keeps what the
recogniser knows of strangers, and learns to do without the rest of the sound. Beside that, opening and width are read
linearly from its vector, and the vector is to be the one that a trained generator understands already.

Source: a student's features held against those of a teacher that sees more: A. Romero et al., "FitNets", ICLR 2015.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kernels.mel import NS_PER_S, MelWindow, window_at
from models.checkpoint import load_generator
from models.generators import window_of
from models.lipgan_lite import SPEECH_PAST, LipGanLite, speech_window
from models.speech_ear import CHANNELS, FRAME_NS, SpeechEar, SpeechLayers, whole
from training.checkpoint import load_checkpoint, parts_of, restore_parts, save_checkpoint
from training.config import ConfigError, RunConfig
from training.data.augment import Mel, augment_mel, roomy, silence_mel
from training.data.cache import TRACK_HZ, CachedClip, CachedSpeech, load_clips, load_speech
from training.data.recogniser import read_recogniser
from training.data.sampler import MEAN_WIDTH, shares_of_clips, shares_of_speech
from training.gauge import gauge_loss
from training.loop import RunLog, average, begun, learning_rate_at
from training.networks import Listener

SPEECH = 0.75
"""Of the windows that are not of silence, those of recordings; the rest are of real clips."""
GRADIENT_LIMIT = 5.0
PARTS = ("ear", "averaged", "listener", "teller", "adam")
OUT_CHANNELS = 256
LIPGAN_MS = 188
"""The look-ahead that is LipGAN's own."""
TOKEN_NS = 2 * FRAME_NS
# Seconds of a recording that the teacher has places for.
MOST_COLUMNS = 2390


@dataclass(frozen=True, slots=True)
class EarConfig:
    """One ear.

    Attributes:
        look_ahead_ms: See `LipGanLiteConfig`.
        silence_share: Of the windows.
        features: Weight of the teacher's features.
        mouth: Weight of opening and width.
        alike: Weight of the vector that the generator understands.
        layers_rate: The layers' learning rate over the others'.
        run: `sound_batch` windows a step.
    """

    look_ahead_ms: int = 188
    silence_share: float = 0.08
    features: float = 1.0
    mouth: float = 0.5
    alike: float = 0.5
    layers_rate: float = 0.1
    run: RunConfig = field(default_factory=RunConfig)


class Lesson(NamedTuple):
    """A sound, the mouths that go with it, and what the teacher made of it.

    Attributes:
        mel: float32 [80, columns].
        loud: See `CachedSpeech.loud`.
        times_ns: int64 [T].
        mouths: float32 [T, 2], opening above the closed mouth, width over the person's median.
        tokens: float16 [tokens, 384].
        share: Of the draws.
    """

    mel: Mel
    loud: float
    times_ns: NDArray[np.int64]
    mouths: NDArray[np.float32]
    tokens: NDArray[np.float16]
    share: float


class EarBatch(NamedTuple):
    """Windows [N, 1, 80, columns], mouths [N, 2] and features [N, 384]; not a number where not known."""

    mel: NDArray[np.float32]
    mouth: NDArray[np.float32]
    features: NDArray[np.float32]


@dataclass(slots=True)
class EarTrainer:
    """Everything that changes while training."""

    config: EarConfig
    ear: SpeechEar
    averaged: SpeechEar
    listener: Listener
    teller: nn.Linear
    adam: torch.optim.Adam
    step: int = 0

    def state(self) -> dict[str, Any]:
        """All of it, for a checkpoint."""
        return {**parts_of(self, PARTS), "config": asdict(self.config)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where a checkpoint stopped.

        Raises:
            ConfigError: It is of another config.
        """
        if state["config"] != asdict(self.config):
            raise ConfigError("the checkpoint was trained with another config; start a new run")
        restore_parts(self, PARTS, state)


def train_ear(
    config: EarConfig, cache: Path, recogniser: Path, run: Path, *, like: Path | None = None, resume: bool = False
) -> Path:
    """Train from a cache folder.

    Args:
        config: What to train.
        cache: Folder by `prepare`, with recordings.
        recogniser: Folder of a faster-whisper model, tiny or tiny.en.
        run: Folder for log and checkpoint.
        like: `generator.safetensors` of a "lite" whose sound vector the new ear is to give.
        resume: Go on from the run's checkpoint.

    Returns:
        The last checkpoint.

    Raises:
        MaterialError: No recordings, or no recogniser.
        ConfigError: `run` holds a checkpoint and `resume` is false, or another config's, or `like` is no such network.
        EngineError: `like` is missing or damaged.
    """
    checkpoint = begun(run, config.run.threads, resume=resume)
    understood = None if like is None else _understood(like)
    teacher = read_recogniser(recogniser).eval()
    trainer = new_ear_trainer(config, teacher)
    if resume:
        trainer.restore(load_checkpoint(checkpoint))
    if trainer.step >= config.run.steps:
        return checkpoint
    lessons = EarLessons(config, lessons_of(teacher, load_speech(cache), load_clips(cache, {"train"})))
    began_s = time.perf_counter()
    with RunLog(run) as log:
        while trainer.step < config.run.steps:
            losses = ear_step(trainer, lessons.batch(trainer.step), understood)
            trainer.step += 1
            if trainer.step % config.run.log_every == 0:
                log.write({"step": trainer.step, "elapsed_s": time.perf_counter() - began_s, **losses})
            if trainer.step % config.run.checkpoint_every == 0 or trainer.step == config.run.steps:
                save_checkpoint(checkpoint, trainer.state())
    return checkpoint


def new_ear_trainer(config: EarConfig, teacher: SpeechLayers) -> EarTrainer:
    """An ear whose layers are the teacher's first ones."""
    torch.manual_seed(config.run.seed)
    window = speech_window(config.look_ahead_ms)
    ear = SpeechEar(window.columns, window.past, OUT_CHANNELS)
    known = teacher.state_dict()
    known["positions"] = known["positions"][: len(ear.layers.positions)]
    ear.layers.load_state_dict({name: known[name] for name in ear.layers.state_dict()})
    listener, teller = Listener(OUT_CHANNELS, 2), nn.Linear(ear.embed.in_features, CHANNELS)
    others = [*ear.embed.parameters(), *listener.parameters(), *teller.parameters()]
    adam = torch.optim.Adam([{"params": others}, {"params": list(ear.layers.parameters())}], config.run.learning_rate)
    averaged = copy.deepcopy(ear).requires_grad_(requires_grad=False)
    return EarTrainer(config, ear, averaged, listener, teller, adam)


def _understood(like: Path) -> Callable[[Tensor], Tensor]:
    """What makes a generator's vector, float32 [N, 256], of the lessons' windows."""
    generator = load_generator(like)
    if not isinstance(generator, LipGanLite):
        raise ConfigError(f"{like} is no lite generator; --like needs one, to take its vector over")
    window, sound = window_of(generator), generator.sound.requires_grad_(requires_grad=False)
    heard = slice(SPEECH_PAST - window.past, SPEECH_PAST + 1 + window.look_ahead)
    return lambda mel: sound(mel[..., heard]).flatten(1)


@torch.no_grad()
def tokens_of(teacher: SpeechLayers, mel: Mel) -> NDArray[np.float16]:
    """What the teacher makes of a whole sound, [tokens, 384], each scaled to mean 0 and deviation 1."""
    pieces = [mel[:, at : at + MOST_COLUMNS] for at in range(0, mel.shape[1], MOST_COLUMNS)]
    tokens = torch.cat([teacher(whole(each))[0] for each in pieces if each.shape[1] > 1])
    return nn.functional.layer_norm(tokens, (CHANNELS,)).half().numpy()


def lessons_of(teacher: SpeechLayers, speech: Sequence[CachedSpeech], clips: Sequence[CachedClip]) -> list[Lesson]:
    """Recordings and real clips, each kind with the shares that pictures are drawn by too."""
    said, shown = shares_of_speech(speech), shares_of_clips(clips)
    lessons = []
    for each, share in zip(speech, said, strict=True):
        times_ns = np.arange(len(each.mouths)) * (NS_PER_S // TRACK_HZ)
        lessons.append(Lesson(each.mel, each.loud, times_ns, each.mouths, tokens_of(teacher, each.mel), SPEECH * share))
    for clip, share in zip(clips, shown, strict=True):
        mouths = clip.mouths.clip(0)
        tokens = tokens_of(teacher, clip.mel)
        lessons.append(Lesson(clip.mel, clip.loud, clip.pts_ns, mouths, tokens, (1 - SPEECH) * share))
    return lessons


def lesson_window(config: EarConfig) -> MelWindow:
    """What the ear hears and, where that is less, what LipGAN's hears: a vector may be known from more sound."""
    return speech_window(max(config.look_ahead_ms, LIPGAN_MS))


class EarLessons:
    """Batches as a function of (seed, step), of windows as `lesson_window` says."""

    def __init__(self, config: EarConfig, lessons: Sequence[Lesson]) -> None:
        self._lessons, self._seed, self._count = lessons, config.run.seed, config.run.sound_batch
        self._window = lesson_window(config)
        self._wide = roomy(self._window)
        shares = np.array([each.share for each in lessons])
        self._shares = shares / shares.sum()
        self._silence_share = config.silence_share

    def batch(self, step: int) -> EarBatch:
        """The batch of one step."""
        rng = np.random.default_rng([self._seed, step])
        mel, mouth, features = zip(*(self._drawn(rng) for _ in range(self._count)), strict=True)
        return EarBatch(np.stack(mel)[:, None], np.array(mouth, np.float32), np.stack(features))

    def _drawn(self, rng: np.random.Generator) -> tuple[Mel, tuple[float, float], NDArray[np.float32]]:
        if rng.random() < self._silence_share:
            return silence_mel(self._window.columns, rng), (0.0, np.nan), np.full(CHANNELS, np.nan, np.float32)
        lesson = self._lessons[int(rng.choice(len(self._lessons), p=self._shares))]
        at = int(rng.integers(len(lesson.times_ns)))
        time_ns = int(lesson.times_ns[at])
        mel = augment_mel(window_at(lesson.mel, time_ns, self._wide), self._window, lesson.loud, rng)
        opening, width_scale = (float(each) for each in lesson.mouths[at])
        token = lesson.tokens[min(round(time_ns / TOKEN_NS), len(lesson.tokens) - 1)]
        return mel, (opening, width_scale * MEAN_WIDTH), token.astype(np.float32)


def ear_step(
    trainer: EarTrainer, batch: EarBatch, understood: Callable[[Tensor], Tensor] | None = None
) -> dict[str, float]:
    """One step; returns the losses, each before its weight.

    Args:
        trainer: Changes.
        batch: What is heard.
        understood: The ear whose vector is to be given, if any.
    """
    config = trainer.config
    rate = learning_rate_at(trainer.step, config.run)
    for group, share in zip(trainer.adam.param_groups, (1.0, config.layers_rate), strict=True):
        group["lr"] = rate * share
    mel, mouth, wanted = (torch.from_numpy(each) for each in batch)
    with torch.autocast("cpu", torch.bfloat16, enabled=config.run.bf16):
        heard = trainer.ear.heard(mel[..., : speech_window(config.look_ahead_ms).columns])
        vector, told = trainer.ear.embed(heard).relu(), trainer.teller(heard)
    there = ~wanted.isnan().any(1)
    losses = {
        "features": (told[there].float() - wanted[there]).square().mean(),
        "mouth": gauge_loss(trainer.listener(vector), mouth),
    }
    if understood is not None:
        with torch.no_grad():
            known = understood(mel)
        losses["alike"] = (vector.float() - known).square().mean() / known.var()
    total = torch.stack([getattr(config, name) * value for name, value in losses.items()]).sum()
    trainer.adam.zero_grad()
    torch.autograd.backward(total)
    nn.utils.clip_grad_norm_(trainer.ear.parameters(), GRADIENT_LIMIT)
    trainer.adam.step()
    average(trainer.averaged, trainer.ear, trainer.step, config.run.ema_decay)
    return {name: value.item() for name, value in losses.items()}
