"""Batches of runs of five neighbouring pictures, for losses that look at more than one picture.

A run has one camera, one voice and room, and one way of choosing what the generator is shown; so what differs between
its pictures is what moved. Single pictures are `training.data.sampler`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels.mel import LIPGAN_WINDOW, NS_PER_S, MelWindow, column_at, window_at
from models.sync_expert import RUN_FRAMES, SPAN
from training.config import MixConfig
from training.data.augment import Look, Mel, augment_mel, draw_look, jitter, roomy, silence_mel
from training.data.cache import TRACK_HZ, CachedClip, CachedPortraits, CachedSpeech
from training.data.pairs import Pair, dressed, pairs_for
from training.data.runs import HALF, ClipPool, SpeechPool, nearest_poses
from training.data.sampler import CLOSED_MARGIN, Batch, batch_of

# Columns to either side of a run's middle: two pictures of at most 44 ms, rounded up.
REACH = 8


@dataclass(frozen=True, slots=True)
class RunBatch:
    """What one step sees.

    Attributes:
        pictures: Of N runs, five after the other: N x 5 of everything.
        span: float32 [N, 1, 80, 17], each run's sound as the sync expert hears it.
    """

    pictures: Batch
    span: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Run:
    pairs: list[Pair]
    mel: list[Mel]
    span: Mel
    mouths: list[tuple[float, float]]


class RunSampler:
    """Draws runs from clips, synthetic heads and portraits, as a function of (seed, step).

    The shares are those of `MixConfig`, but for `voiced_share`: frames whose mouth fits a recording are no neighbours,
    so that share is of real clips with their own sound.
    """

    def __init__(
        self,
        clips: Sequence[CachedClip],
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
        self._mix, self._seed, self._size, self._window = mix, seed, size, window
        self._mask_row = size // 2 if masked else size
        self._pairs = pairs_for(mix, masked=masked)
        self._clips, self._heads = ClipPool(clips, RUN_FRAMES), ClipPool(heads, RUN_FRAMES)
        self._portraits, self._speech = portraits, SpeechPool(speech)

    def batch(self, step: int, count: int) -> RunBatch:
        """The runs of one step.

        Args:
            step: Which.
            count: Pictures; every five are a run.
        """
        rng = np.random.default_rng([self._seed, step, 2])
        runs = [self._dressed(self._run(rng), rng) for _ in range(max(1, count // RUN_FRAMES))]
        pictures = batch_of(
            [pair for run in runs for pair in run.pairs],
            [mel for run in runs for mel in run.mel],
            [mouth for run in runs for mouth in run.mouths],
            self._mask_row,
        )
        return RunBatch(pictures, np.stack([run.span for run in runs])[:, None].astype(np.float32))

    def _run(self, rng: np.random.Generator) -> _Run:
        kind = rng.random()
        portrait_share = self._mix.portrait_share if self._portraits is not None and self._speech.speech else 0.0
        if kind < self._mix.silence_share:
            return self._silence(rng)
        kind -= self._mix.silence_share
        if kind < portrait_share:
            assert self._portraits is not None
            return self._of_portrait(self._portraits, rng)
        kind -= portrait_share
        return self._of_clip(self._heads if self._heads.clips and kind < self._mix.heads_share else self._clips, rng)

    def _of_clip(self, pool: ClipPool, rng: np.random.Generator) -> _Run:
        clip, loud, first = pool.draw(rng)
        frames = list(range(first, first + RUN_FRAMES))
        mel, span = self._heard(clip.mel, clip.pts_ns[frames], loud, rng)
        return _Run(self._shown(clip, frames, rng), mel, span, [_mouth(clip, each) for each in frames])

    def _of_portrait(self, portraits: CachedPortraits, rng: np.random.Generator) -> _Run:
        speech, loud, at = self._speech.draw(RUN_FRAMES, rng)
        poses = nearest_poses(portraits, speech.mouths[at])
        crops = portraits.crops[int(rng.integers(len(portraits.names)))]
        same = int(rng.integers(2**31))
        pairs = [
            self._pairs.of_portrait(crops, portraits.openings, pose, np.random.default_rng(same)) for pose in poses
        ]
        mel, span = self._heard(speech.mel, at * (NS_PER_S // TRACK_HZ), loud, rng)
        # The portrait's own mouth width is not the speaker's; the gauge learns only the opening here.
        return _Run(pairs, mel, span, [(float(portraits.openings[pose]), float("nan")) for pose in poses])

    def _silence(self, rng: np.random.Generator) -> _Run:
        """A picture with its mouth closed, five times: nothing moves while nothing is heard."""
        clip, _, _ = self._clips.draw(rng)
        frame = int(rng.choice(np.flatnonzero(clip.opening < clip.rest + CLOSED_MARGIN)))
        still = silence_mel(max(self._window.columns, SPAN.columns), rng)
        mel = [still[:, : self._window.columns]] * RUN_FRAMES
        pairs = self._shown(clip, [frame], rng) * RUN_FRAMES
        return _Run(pairs, mel, still[:, : SPAN.columns], [(0.0, _mouth(clip, frame)[1])] * RUN_FRAMES)

    def _shown(self, clip: CachedClip, frames: Sequence[int], rng: np.random.Generator) -> list[Pair]:
        """Each frame as a target; what is shown beside it is chosen in the same way for all."""
        same = int(rng.integers(2**31))
        return [self._pairs.of_clip(clip, each, np.random.default_rng(same)) for each in frames]

    def _heard(
        self, mel: Mel, pts_ns: NDArray[np.int64], loud: float, rng: np.random.Generator
    ) -> tuple[list[Mel], Mel]:
        """The window of each picture and the span of the run, all through one microphone in one room."""
        window, middle_ns = self._window, int(pts_ns[HALF])
        past = max(window.past + REACH, SPAN.past)
        ahead = max(window.look_ahead + REACH, SPAN.look_ahead)
        whole = MelWindow(past + 1 + ahead, ahead)
        if self._mix.mel_augment:
            wide = roomy(whole)
            heard = augment_mel(window_at(np.asarray(mel, np.float32), middle_ns, wide), whole, loud, rng)
        else:
            heard = window_at(np.asarray(mel, np.float32), middle_ns, whole)

        def cut(pts_ns: int, window: MelWindow) -> Mel:
            first = past + column_at(pts_ns) - column_at(middle_ns) - window.past
            return heard[:, first : first + window.columns]

        return [cut(int(each), window) for each in pts_ns], cut(middle_ns, SPAN)

    def _dressed(self, run: _Run, rng: np.random.Generator) -> _Run:
        look = draw_look(rng) if self._mix.picture_augment else Look()
        moved = jitter(look, rng) if self._mix.picture_augment else look
        pairs = [dressed(pair, look, moved, self._size) for pair in run.pairs]
        return _Run(pairs, run.mel, run.span, run.mouths)


def _mouth(clip: CachedClip, frame: int) -> tuple[float, float]:
    """Opening above this person's closed mouth, and width."""
    return max(0.0, float(clip.opening[frame]) - clip.rest), float(clip.width[frame])
