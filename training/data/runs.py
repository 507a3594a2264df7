"""Stretches of neighbouring pictures with the sound of each run of five, as a function of (seed, step).

Within a stretch every run is true to its own sound and false to that of any other run, so that one stretch gives its
own hard negatives: the same face, the same voice, shifted by a few pictures.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.mel import NS_PER_S, MelWindow, window_at
from models.sync_expert import RUN_FRAMES, RUN_RATE_HZ, SPAN
from training.data.augment import Look, Mel, apply_look, augment_mel, draw_look, jitter, silence_mel
from training.data.cache import TRACK_HZ, CachedClip, CachedPortraits, CachedSpeech, margin_px, size_of
from training.data.sampler import nearest_pose

Pictures = NDArray[np.uint8]

READ_PX = 96
"""Side of the crops that looks are drawn at; the expert reads the lower half of it."""
HALF = RUN_FRAMES // 2
FRAME_NS = NS_PER_S // RUN_RATE_HZ
# Pictures further apart than this share of a frame's time are no neighbours.
LATEST = 1.1
# Room for a tempo change of a tenth on both sides of the span, in columns.
WIDE = MelWindow(SPAN.columns + 4, SPAN.look_ahead + 2)
SILENT_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class StretchMix:
    """Where stretches come from; what is left over is real clips.

    Attributes:
        heads_share: Synthetic heads; none where the cache has no heads.
        portrait_share: Portraits whose mouth is warped along a recording; none where the cache has no portraits.
        augment: Looks on pictures, changes of voice and room on sound.
    """

    heads_share: float = 0.35
    portrait_share: float = 0.25
    augment: bool = True


@dataclass(frozen=True, slots=True)
class Stretches:
    """What one step sees.

    Attributes:
        lower: float32 [C, T, 3, 48, 96] in [0, 1], lower halves of neighbouring pictures.
        mel: float32 [C, T - 4, 1, 80, 17], the sound of the run about each picture but the first and last two.
        mouths: float32 [C, T, 2], opening above the closed mouth and width over the person's median.
        wrong: float32 [W, T, 3, 48, 96], the same pictures with lips that say something else.
        wrong_of: int64 [W], which stretches they belong to.
    """

    lower: NDArray[np.float32]
    mel: NDArray[np.float32]
    mouths: NDArray[np.float32]
    wrong: NDArray[np.float32]
    wrong_of: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Stretch:
    pictures: Sequence[Pictures]
    mel: Mel
    middles_ns: Sequence[int]
    loud: float
    mouths: NDArray[np.float32]
    wrong: Sequence[Pictures] = ()


class StretchSampler:
    """Draws stretches from clips, synthetic heads and warped portraits.

    Args:
        clips: Real ones, as `shrunk`.
        heads: Synthetic ones, as `shrunk`.
        portraits: Of any size.
        speech: Recordings for the portraits and for `sounds`.
        mix: Shares.
        seed: Decides everything that is drawn.
        frames: Pictures in a stretch.
    """

    def __init__(
        self,
        clips: Sequence[CachedClip],
        heads: Sequence[CachedClip],
        portraits: CachedPortraits | None,
        speech: Sequence[CachedSpeech],
        mix: StretchMix,
        seed: int,
        frames: int,
    ) -> None:
        self._mix, self._seed, self._frames = mix, seed, frames
        self._clips, self._heads = ClipPool(clips, frames), ClipPool(heads, frames)
        self._portraits, self._speech = portraits, SpeechPool(speech)

    def batch(self, step: int, count: int) -> Stretches:
        """The stretches of one step."""
        rng = np.random.default_rng([self._seed, step])
        drawn = [self._dressed(self._stretch(rng), rng) for _ in range(count)]
        lower, mel, mouths, wrong = zip(*drawn, strict=True)
        of = [index for index, each in enumerate(wrong) if len(each)]
        some = np.stack([wrong[index] for index in of]) if of else np.zeros((0, *lower[0].shape), np.float32)
        return Stretches(np.stack(lower), np.stack(mel), np.stack(mouths), some, np.array(of, np.int64))

    def sounds(self, step: int, count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Spans [N, 1, 80, 17] of recordings and silence, and the five mouths [N, 5, 2] that go with each."""
        rng = np.random.default_rng([self._seed, step, 1])
        mel, mouths = zip(*(self._sound(rng) for _ in range(count)), strict=True)
        return np.stack(mel)[:, None].astype(np.float32), np.stack(mouths).astype(np.float32)

    def _sound(self, rng: np.random.Generator) -> tuple[Mel, NDArray[np.float32]]:
        if not self._speech.speech or rng.random() < SILENT_SHARE:
            return silence_mel(SPAN.columns, rng), np.full((RUN_FRAMES, 2), (0, np.nan), np.float32)
        speech, loud, at = self._speech.draw(RUN_FRAMES, rng)
        return self._voice(speech.mel, int(at[HALF]) * NS_PER_S // TRACK_HZ, loud, rng), speech.mouths[at]

    def _stretch(self, rng: np.random.Generator) -> _Stretch:
        kind = rng.random()
        if self._heads.clips and kind < self._mix.heads_share:
            return self._of_clip(self._heads, rng)
        kind -= self._mix.heads_share if self._heads.clips else 0.0
        if self._portraits is not None and self._speech.speech and kind < self._mix.portrait_share:
            return self._of_portrait(self._portraits, rng)
        return self._of_clip(self._clips, rng)

    def _of_clip(self, pool: ClipPool, rng: np.random.Generator) -> _Stretch:
        clip, loud, first = pool.draw(rng)
        part = slice(first, first + self._frames)
        middles_ns = clip.pts_ns[part][HALF:-HALF].tolist()
        wrong = () if clip.others is None else list(clip.others[part])
        return _Stretch(list(clip.crops[part]), clip.mel, middles_ns, loud, clip.mouths[part], wrong)

    def _of_portrait(self, portraits: CachedPortraits, rng: np.random.Generator) -> _Stretch:
        """A portrait that says a stretch of a recording, each picture the pose nearest to the recording's mouth."""
        speech, loud, at = self._speech.draw(self._frames, rng)
        chosen = nearest_poses(portraits, speech.mouths[at])
        crops = portraits.crops[int(rng.integers(len(portraits.names)))]
        small = {pose: shrink(crops[pose]) for pose in set(chosen)}
        middles_ns = [int(each) * NS_PER_S // TRACK_HZ for each in at[HALF:-HALF]]
        return _Stretch([small[pose] for pose in chosen], speech.mel, middles_ns, loud, speech.mouths[at])

    def _dressed(
        self, stretch: _Stretch, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """One camera that moves a little; each span of sound with a microphone and a room of its own."""
        look = draw_look(rng) if self._mix.augment else Look()
        end = jitter(look, rng) if self._mix.augment else look
        looks = [_between(look, end, float(each)) for each in np.linspace(0, 1, self._frames)]
        mel = [self._voice(stretch.mel, each, stretch.loud, rng) for each in stretch.middles_ns]
        wrong = _lower(stretch.wrong, looks) if stretch.wrong else np.zeros(0, np.float32)
        return _lower(stretch.pictures, looks), np.stack(mel)[:, None].astype(np.float32), stretch.mouths, wrong

    def _voice(self, mel: Mel, time_ns: int, loud: float, rng: np.random.Generator) -> Mel:
        if not self._mix.augment:
            return window_at(np.asarray(mel, np.float32), time_ns, SPAN)
        return augment_mel(window_at(np.asarray(mel, np.float32), time_ns, WIDE), SPAN, loud, rng)


def _lower(pictures: Sequence[Pictures], looks: Sequence[Look]) -> NDArray[np.float32]:
    """Lower halves under their looks, float32 [T, 3, 48, 96] in [0, 1]."""
    half = [apply_look(each, as_, READ_PX)[READ_PX // 2 :] for each, as_ in zip(pictures, looks, strict=True)]
    return np.stack(half).transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)


class ClipPool:
    """Clips that hold a whole stretch; a person's share grows with the square root of their frames.

    Args:
        clips: What there is.
        frames: Pictures in a stretch.
    """

    def __init__(self, clips: Iterable[CachedClip], frames: int) -> None:
        found = [(clip, stretch_starts(clip.pts_ns, frames)) for clip in clips]
        self.clips = [clip for clip, starts in found if len(starts)]
        self._starts = [starts for _, starts in found if len(starts)]
        self._loud = [clip.loud for clip in self.clips]
        self._shares = shares([len(each) for each in self._starts], [clip.person for clip in self.clips])

    def draw(self, rng: np.random.Generator) -> tuple[CachedClip, float, int]:
        """A clip, how loud it gets, and where a stretch begins."""
        index = int(rng.choice(len(self.clips), p=self._shares))
        return self.clips[index], self._loud[index], int(rng.choice(self._starts[index]))


class SpeechPool:
    """Recordings; a voice's share grows with the square root of its length."""

    def __init__(self, speech: Sequence[CachedSpeech]) -> None:
        self.speech = speech
        lengths = [len(each.mouths) * each.weight for each in speech]
        self._shares = shares(lengths, [each.voice for each in speech])
        self._loud = [each.loud for each in speech]

    def draw(self, frames: int, rng: np.random.Generator) -> tuple[CachedSpeech, float, NDArray[np.intp]]:
        """A recording, how loud it gets, and the places in its track of so many pictures in a row."""
        index = int(rng.choice(len(self.speech), p=self._shares))
        length, every = len(self.speech[index].mouths), TRACK_HZ // RUN_RATE_HZ
        first = int(rng.integers(max(1, length - frames * every)))
        return self.speech[index], self._loud[index], np.minimum(first + np.arange(frames) * every, length - 1)


def nearest_poses(portraits: CachedPortraits, mouths: NDArray[np.float32]) -> list[int]:
    """The portraits' pose that is nearest to each mouth [T, 2]."""
    return [nearest_pose(portraits, *map(float, each)) for each in mouths]


def stretch_starts(pts_ns: NDArray[np.int64], frames: int) -> NDArray[np.intp]:
    """Where `frames` pictures begin that follow each other at 25 a second, or nearly."""
    late = np.concatenate([[0], np.cumsum(np.diff(pts_ns) > LATEST * FRAME_NS)])
    first = np.arange(max(0, len(pts_ns) - frames + 1))
    return np.flatnonzero(late[first] == late[first + frames - 1])


def shares(lengths: Sequence[float], owners: Sequence[str]) -> NDArray[np.float64]:
    """How often each thing is drawn: an owner's share is as the square root of the sum of their lengths."""
    total: dict[str, float] = {}
    for length, owner in zip(lengths, owners, strict=True):
        total[owner] = total.get(owner, 0.0) + length
    weights = np.array([length / np.sqrt(total[owner]) for length, owner in zip(lengths, owners, strict=True)])
    return np.asarray(weights / weights.sum() if len(weights) else weights)


def shrunk(clip: CachedClip) -> CachedClip:
    """A clip with crops of `READ_PX`, without what the expert does not need."""
    crops = np.stack([shrink(each) for each in clip.crops])
    others = None if clip.others is None else np.stack([shrink(each) for each in clip.others])
    return replace(clip, crops=crops, landmarks=np.zeros((0, 478, 2), np.float32), others=others, other_landmarks=None)


def shrink(crop: Pictures) -> Pictures:
    """A cached crop [M, M, 3] as of `READ_PX`, area-averaged, its margin along."""
    side = READ_PX + 2 * margin_px(READ_PX)
    if crop.shape[0] == side:
        return crop
    assert size_of(crop) >= READ_PX
    return np.asarray(cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def _between(start: Look, end: Look, share: float) -> Look:
    """The camera on its way from one look to another."""

    def mid(a: float, b: float) -> float:
        return a + share * (b - a)

    x, y = (mid(a, b) for a, b in zip(start.shift_px, end.shift_px, strict=True))
    return replace(
        start,
        angle_deg=mid(start.angle_deg, end.angle_deg),
        scale=mid(start.scale, end.scale),
        shift_px=(x, y),
    )
