"""Batches as a function of (seed, step): a resumed run draws exactly what the first one would have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels.crop import generator_input
from kernels.mel import LIPGAN_WINDOW, NS_PER_S, MelWindow, window_at
from training.config import MixConfig
from training.data.augment import Look, Mel, augment_mel, draw_look, jitter, roomy, silence_mel
from training.data.cache import TRACK_HZ, CachedClip, CachedPortraits, CachedSpeech
from training.data.pairs import Pair, dressed, pairs_for

CLOSED_MARGIN = 0.012
# Two mouths are alike within these: opening, width scale.
ALIKE = (0.02, 0.06)
ALIKE_FRAMES = 5
MEAN_WIDTH = 0.55
BILABIALS = ("P", "B", "M")
_FULL = np.float32(255)


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step sees.

    Attributes:
        face: float32 [N, 6, S, S] in [0, 1], identity RGB then the RGB that is shown, masked or with another mouth.
        target: float32 [N, 3, S, S] in [0, 1].
        mel: float32 [N, 1, 80, 27].
        mouth: float32 [N, 2], the target's opening above the closed mouth and its width, as shares of the
            eye distance; NaN where not known.
    """

    face: NDArray[np.float32]
    target: NDArray[np.float32]
    mel: NDArray[np.float32]
    mouth: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Sample:
    pictures: Pair
    mel: Mel
    mouth: tuple[float, float]


@dataclass(frozen=True, slots=True)
class _Heard:
    """A moment of sound and the mouth that goes with it: opening above the closed mouth, width over the median."""

    mel: Mel
    opening: float
    width_scale: float


@dataclass(frozen=True, slots=True)
class _Person:
    """All frames of one person: which clip, which frame, and the mouth [N, 2] as in `_Heard`."""

    clip: NDArray[np.intp]
    frame: NDArray[np.intp]
    mouth: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Pool:
    """Clips to draw from, and per clip: its share, where its mouth is closed, how loud it gets, its closed frames."""

    clips: Sequence[CachedClip]
    weights: NDArray[np.float64]
    rest: list[float]
    loud: list[float]
    closed: list[NDArray[np.intp]]

    def mouth(self, index: int, frame: int) -> tuple[float, float]:
        """Opening above this person's closed mouth, and width."""
        clip = self.clips[index]
        return max(0.0, float(clip.opening[frame]) - self.rest[index]), float(clip.width[frame])


class Sampler:
    """Draws batches from clips, synthetic heads, moving portraits and recordings.

    A person's share of the real clips grows with the square root of their frames, so that one man
    with thirty clips does not crowd out ten persons with one; a voice's share of the recordings likewise.

    A recording has no picture. It moves a portrait, or it is put to frames of a real person who just then, saying
    something else, had the mouth that goes with it: a picture is drawn by itself, and needs no neighbours.
    """

    def __init__(
        self,
        clips: list[CachedClip],
        portraits: CachedPortraits | None,
        mix: MixConfig,
        seed: int,
        size: int = 96,
        *,
        speech: Sequence[CachedSpeech] = (),
        heads: Sequence[CachedClip] = (),
        window: MelWindow = LIPGAN_WINDOW,
        masked: bool = True,
    ) -> None:
        self._window = window
        self._mask_row = size // 2 if masked else size
        self._pairs = pairs_for(mix, masked=masked)
        self._wide = roomy(window)
        self._portraits, self._mix, self._speech = portraits, mix, speech
        self._seed, self._size = seed, size
        self._real_clips = _pool(clips)
        self._heads = _pool(heads)
        self._speech_weights = shares_of_speech(speech)
        self._speech_loud = [each.loud for each in speech]
        self._closures = [_closures(each) for each in speech]
        self._persons = _persons(clips)
        person_frames = np.array([len(each.frame) for each in self._persons], np.float64)
        self._person_weights = np.sqrt(person_frames) / np.sqrt(person_frames).sum()

    def batch(self, step: int, count: int) -> Batch:
        """The batch of one step."""
        rng = np.random.default_rng([self._seed, step])
        samples = [self._sample(rng) for _ in range(count)]
        pictures, mel, mouth = zip(*((each.pictures, each.mel, each.mouth) for each in samples), strict=True)
        return batch_of(pictures, mel, mouth, self._mask_row)

    def sounds(self, step: int, count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mel windows [N, 1, 80, T] of recordings, real clips and silence, and the mouths [N, 2] that go with them."""
        rng = np.random.default_rng([self._seed, step, 1])
        drawn = [self._sound(rng) for _ in range(count)]
        mel, mouth = zip(*drawn, strict=True)
        return np.stack(mel)[:, None].astype(np.float32), np.array(mouth, np.float32)

    def _sound(self, rng: np.random.Generator) -> tuple[Mel, tuple[float, float]]:
        if rng.random() < self._mix.silence_share:
            return silence_mel(self._window.columns, rng), (0.0, np.nan)
        heard = self._heard(rng)
        return heard.mel, (heard.opening, heard.width_scale * MEAN_WIDTH)

    def _heard(self, rng: np.random.Generator) -> _Heard:
        """A moment of a recording, or of a real clip."""
        if self._speech and rng.random() < self._mix.speech_share:
            return self._heard_speech(rng)
        pool = self._real_clips
        index = int(rng.choice(len(pool.clips), p=pool.weights))
        clip = pool.clips[index]
        frame = self._frame(len(clip.crops), pool.closed[index], rng)
        opening, width = pool.mouth(index, frame)
        return _Heard(self._mel(pool, index, frame, rng), opening, float(width / np.median(clip.width)))

    def _heard_speech(self, rng: np.random.Generator) -> _Heard:
        index = int(rng.choice(len(self._speech), p=self._speech_weights))
        speech = self._speech[index]
        at = self._frame(len(speech.mouths), self._closures[index], rng)
        mel = self._mel_at(speech.mel, at * NS_PER_S // TRACK_HZ, self._speech_loud[index], rng)
        opening, width_scale = (float(each) for each in speech.mouths[at])
        return _Heard(mel, opening, width_scale)

    def _sample(self, rng: np.random.Generator) -> _Sample:
        kind = rng.random()
        portrait_share = self._mix.portrait_share if self._portraits is not None else 0.0
        if kind < self._mix.silence_share:
            return self._silence(rng, from_portrait=portrait_share > 0 and rng.random() < 0.5)
        kind -= self._mix.silence_share
        if kind < portrait_share:
            return self._portrait(rng)
        kind -= portrait_share
        if self._speech and kind < self._mix.voiced_share:
            return self._voiced(rng)
        kind -= self._mix.voiced_share if self._speech else 0.0
        return self._own_sound(
            self._heads if self._heads.clips and kind < self._mix.heads_share else self._real_clips, rng
        )

    def _voiced(self, rng: np.random.Generator) -> _Sample:
        """A real frame with a recording's sound, where the person has a mouth that fits; else with its own."""
        heard = self._heard_speech(rng)
        person = self._persons[int(rng.choice(len(self._persons), p=self._person_weights))]
        away = (((person.mouth - (heard.opening, heard.width_scale)) / ALIKE) ** 2).sum(1)
        nearest = np.argpartition(away, min(ALIKE_FRAMES, len(away) - 1))[:ALIKE_FRAMES]
        nearest = nearest[away[nearest] < 1]
        if not len(nearest):
            return self._own_sound(self._real_clips, rng)
        chosen = int(rng.choice(nearest))
        index, frame = int(person.clip[chosen]), int(person.frame[chosen])
        clip = self._real_clips.clips[index]
        mouth = self._real_clips.mouth(index, frame)
        return self._dress(self._pairs.of_clip(clip, frame, rng), heard.mel, mouth, rng)

    def _own_sound(self, pool: _Pool, rng: np.random.Generator) -> _Sample:
        """A frame of a clip with the sound that belongs to it."""
        index = int(rng.choice(len(pool.clips), p=pool.weights))
        clip = pool.clips[index]
        frame = self._frame(len(clip.crops), pool.closed[index], rng)
        mel = self._mel(pool, index, frame, rng)
        return self._dress(self._pairs.of_clip(clip, frame, rng), mel, pool.mouth(index, frame), rng)

    def _portrait(self, rng: np.random.Generator) -> _Sample:
        assert self._portraits is not None
        heard = self._heard(rng)
        person = int(rng.integers(len(self._portraits.names)))
        target = nearest_pose(self._portraits, heard.opening, heard.width_scale)
        pair = self._pairs.of_portrait(self._portraits.crops[person], self._portraits.openings, target, rng)
        # The portrait's own mouth width is not the speaker's; the gauge learns only the opening here.
        mouth = (float(self._portraits.openings[target]), np.nan)
        return self._dress(pair, heard.mel, mouth, rng)

    def _silence(self, rng: np.random.Generator, *, from_portrait: bool) -> _Sample:
        mel = silence_mel(self._window.columns, rng)
        if from_portrait and self._portraits is not None:
            crops = self._portraits.crops[int(rng.integers(len(self._portraits.names)))]
            target = nearest_pose(self._portraits, 0.0, float(rng.uniform(0.93, 1.04)))
            mouth = (float(self._portraits.openings[target]), np.nan)
            return self._dress(self._pairs.of_portrait(crops, self._portraits.openings, target, rng), mel, mouth, rng)
        from_heads = bool(self._heads.clips) and rng.random() < self._mix.heads_share
        pool = self._heads if from_heads else self._real_clips
        index = int(rng.choice(len(pool.clips), p=pool.weights))
        clip = pool.clips[index]
        frame = int(rng.choice(pool.closed[index]))
        mouth = pool.mouth(index, frame)
        return self._dress(self._pairs.of_clip(clip, frame, rng), mel, mouth, rng)

    def _frame(self, count: int, closed: NDArray[np.intp], rng: np.random.Generator) -> int:
        """One of `count` frames, for a share of the samples one of the closed ones."""
        if self._mix.closure_share and len(closed) and rng.random() < self._mix.closure_share:
            return int(rng.choice(closed))
        return int(rng.integers(count))

    def _mel(self, pool: _Pool, index: int, frame: int, rng: np.random.Generator) -> Mel:
        clip = pool.clips[index]
        return self._mel_at(clip.mel, int(clip.pts_ns[frame]), pool.loud[index], rng)

    def _mel_at(self, mel: Mel, time_ns: int, loud: float, rng: np.random.Generator) -> Mel:
        if not self._mix.mel_augment:
            return window_at(mel, time_ns, self._window)
        return augment_mel(window_at(mel, time_ns, self._wide), self._window, loud, rng)

    def _dress(self, pair: Pair, mel: Mel, mouth: tuple[float, float], rng: np.random.Generator) -> _Sample:
        look = draw_look(rng) if self._mix.picture_augment else Look()
        moved = jitter(look, rng) if self._mix.picture_augment else look
        return _Sample(dressed(pair, look, moved, self._size), mel, mouth)


def batch_of(pairs: Sequence[Pair], mel: Sequence[Mel], mouths: Sequence[tuple[float, float]], mask_row: int) -> Batch:
    """Samples one after the other; `mask_row` as `generator_input` takes it."""
    return Batch(
        face=np.stack([generator_input(each.identity, each.shown, mask_row) for each in pairs]),
        target=np.stack([each.target for each in pairs]).transpose(0, 3, 1, 2).astype(np.float32) / _FULL,
        mel=np.stack(mel)[:, None].astype(np.float32),
        mouth=np.array(mouths, np.float32),
    )


def nearest_pose(portraits: CachedPortraits, opening: float, width_scale: float) -> int:
    """The portraits' pose that is nearest to a mouth."""
    away = (portraits.openings - opening) ** 2 / ALIKE[0] ** 2
    return int(np.argmin(away + (portraits.width_scales - width_scale) ** 2 / ALIKE[1] ** 2))


def shares_of_clips(clips: Sequence[CachedClip]) -> NDArray[np.float64]:
    """Share of each clip; empty without any."""
    frames: dict[str, int] = {}
    for clip in clips:
        frames[clip.person] = frames.get(clip.person, 0) + len(clip.crops)
    weights = np.array([len(clip.crops) / np.sqrt(frames[clip.person]) for clip in clips])
    return np.asarray(weights / weights.sum() if len(weights) else weights)


def _pool(clips: Sequence[CachedClip]) -> _Pool:
    return _Pool(
        clips=clips,
        weights=shares_of_clips(clips),
        rest=[clip.rest for clip in clips],
        loud=[clip.loud for clip in clips],
        closed=[np.flatnonzero(clip.opening < clip.rest + CLOSED_MARGIN) for clip in clips],
    )


def _closures(speech: CachedSpeech) -> NDArray[np.intp]:
    """The moments of a recording, at `TRACK_HZ`, at which lips are pressed together."""
    times_s = np.arange(len(speech.mouths)) / TRACK_HZ
    pressed = [(each.start_s <= times_s) & (times_s < each.end_s) for each in speech.phones if each.name in BILABIALS]
    closed = speech.mouths[:, 0] < CLOSED_MARGIN
    return np.flatnonzero(np.any(pressed, axis=0) & closed) if pressed else np.zeros(0, np.intp)


def shares_of_speech(speech: Sequence[CachedSpeech]) -> NDArray[np.float64]:
    """Share of each recording; empty without any."""
    lengths: dict[str, int] = {}
    for each in speech:
        lengths[each.voice] = lengths.get(each.voice, 0) + len(each.mouths)
    weights = np.array([each.weight * len(each.mouths) / np.sqrt(lengths[each.voice]) for each in speech])
    return np.asarray(weights / weights.sum() if len(weights) else weights)


def _persons(clips: Sequence[CachedClip]) -> list[_Person]:
    found = []
    for name in sorted({clip.person for clip in clips}):
        theirs = [index for index, clip in enumerate(clips) if clip.person == name]
        # More closed than closed is closed.
        mouths = [clips[i].mouths.clip(0) for i in theirs]
        found.append(
            _Person(
                clip=np.repeat(theirs, [len(clips[i].crops) for i in theirs]),
                frame=np.concatenate([np.arange(len(clips[i].crops)) for i in theirs]),
                mouth=np.concatenate(mouths),
            )
        )
    return found
