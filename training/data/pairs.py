"""Which pictures one training sample is made of: who speaks, what the generator is shown, and what it should draw.

A generator whose lower half is hidden (LipGAN) is shown the target itself and another frame of the same face. One that
changes a mouth is shown it shut, as serving shuts it (`kernels.mouth`). A shut mouth still bears traces of how far it
was open; so in training it was another mouth that was shut, chosen without regard to the sound: that of another frame,
or of a second drawing of the same head.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from kernels.mouth import LOWER_INNER, UPPER_INNER, UPPER_LIP_SHARE, close_mouth, read_mouth
from kernels.paste import mouth_mask
from training.config import MixConfig
from training.data.augment import Look, apply_look
from training.data.cache import CachedClip, size_of
from training.data.portraits import MouthPose, move_mouth

Picture = NDArray[np.uint8]
Points = NDArray[np.float32]

# Heads that were drawn twice: the share that is shown the second drawing.
DRAWN_SHARE = 0.7
# Points that no mouth moves: nose, eye corners, forehead, cheekbones.
STEADY = (1, 2, 4, 6, 168, 33, 133, 263, 362, 234, 454, 10)
SAME_POSE = 0.012
"""Root mean square of their way between two frames, as a share of the crop's side: 2 pixels of 192."""
# Where no frame has the same pose, the frame's own mouth is moved to any opening first.
WARPED_WIDEST = 0.2
MOST_TEETH = 0.06
# Landmarks miss the lips by a little: what is left open, as a share of the crop's side, and the deviation of where the
# lips are taken to be.
LEFT_OPEN, LIPS_OFF = 0.008, 0.004
# The open mouth is the most open one of so many frames; now and then none was seen yet.
OPEN_OF_FRAMES, OPEN_FROM = 12, 0.09
NONE_SEEN_SHARE = 0.12


class Pair(NamedTuple):
    """Cached crops with margin, uint8 RGB [M, M, 3]: who speaks, what is shown, what is to be drawn."""

    identity: Picture
    shown: Picture
    target: Picture


class Pairs(Protocol):
    """How pictures are put together."""

    def of_clip(self, clip: CachedClip, frame: int, rng: np.random.Generator, /) -> Pair:
        """With one frame of a clip as the target."""

    def of_portrait(
        self, crops: Picture, openings: NDArray[np.float32], target: int, rng: np.random.Generator, /
    ) -> Pair:
        """With one pose of a moving portrait [V, M, M, 3] as the target."""


class MaskedPairs:
    """The target is shown, its lower half will be hidden.

    Args:
        contrary_share: See `MixConfig`.
        min_identity_distance: See `MixConfig`.
    """

    def __init__(self, contrary_share: float, min_identity_distance: int) -> None:
        self._contrary_share = contrary_share
        self._min_distance = min_identity_distance

    def of_clip(self, clip: CachedClip, frame: int, rng: np.random.Generator, /) -> Pair:
        """See `Pairs`."""
        far = np.flatnonzero(np.abs(np.arange(len(clip.crops)) - frame) >= self._min_distance)
        identity = contrary(clip.opening, frame, far, self._contrary_share, rng) if len(far) else frame
        return Pair(clip.crops[identity], clip.crops[frame], clip.crops[frame])

    def of_portrait(
        self, crops: Picture, openings: NDArray[np.float32], target: int, rng: np.random.Generator, /
    ) -> Pair:
        """See `Pairs`."""
        identity = contrary(openings, target, np.arange(len(openings)), self._contrary_share, rng)
        return Pair(crops[identity], crops[target], crops[target])


class EditedPairs:
    """The target is shown with another mouth that has been shut; beside it the same face with its mouth open.

    Args:
        contrary_share: See `MixConfig`.
    """

    def __init__(self, contrary_share: float) -> None:
        self._contrary_share = contrary_share
        self._steady: dict[str, NDArray[np.float32]] = {}

    def of_clip(self, clip: CachedClip, frame: int, rng: np.random.Generator, /) -> Pair:
        """See `Pairs`; outside the mouth's mask the target is what is shown, whichever frame that is."""
        target = clip.crops[frame]
        alike = self._alike(clip, frame)
        margin = (target.shape[0] - size_of(target)) // 2
        if clip.others is not None and clip.other_landmarks is not None and rng.random() < DRAWN_SHARE:
            open_, landmarks = clip.others[frame], clip.other_landmarks[frame]
        elif len(alike):
            other = contrary(clip.opening, frame, alike, self._contrary_share, rng)
            open_, landmarks = clip.crops[other], clip.landmarks[other]
        else:
            pose = MouthPose(float(rng.uniform(0, WARPED_WIDEST)))
            open_ = move_mouth(target, clip.landmarks[frame] + margin, pose, float(rng.uniform(0, MOST_TEETH)))
            landmarks = _opened(clip.landmarks[frame], pose.opening)
        shown = _shut(open_, landmarks + margin, rng)
        target = _mouth_of(target, shown, np.stack([clip.landmarks[frame], landmarks]) + margin)
        if rng.random() < NONE_SEEN_SHARE:
            return Pair(shown, shown, target)
        seen = rng.integers(len(clip.crops), size=OPEN_OF_FRAMES)
        return Pair(clip.crops[seen[np.argmax(clip.opening[seen])]], shown, target)

    def of_portrait(
        self, crops: Picture, openings: NDArray[np.float32], target: int, rng: np.random.Generator, /
    ) -> Pair:
        """See `Pairs`."""
        # The most closed poses are the photograph's own mouth shut, whatever the target's is.
        shown = int(rng.choice(np.flatnonzero(openings <= openings.min())))
        if rng.random() < NONE_SEEN_SHARE:
            return Pair(crops[shown], crops[shown], crops[target])
        identity = int(rng.choice(np.flatnonzero(openings >= min(OPEN_FROM, openings.max()))))
        return Pair(crops[identity], crops[shown], crops[target])

    def _alike(self, clip: CachedClip, frame: int) -> NDArray[np.intp]:
        """Other frames of the same pose."""
        if clip.name not in self._steady:
            self._steady[clip.name] = np.ascontiguousarray(clip.landmarks[:, list(STEADY)])
        steady = self._steady[clip.name]
        away = np.sqrt(((steady - steady[frame]) ** 2).sum(2).mean(1)) / size_of(clip.crops)
        away[frame] = np.inf
        return np.flatnonzero(away < SAME_POSE)


def pairs_for(mix: MixConfig, *, masked: bool) -> Pairs:
    """How pictures are put together for a generator whose lower half is hidden, or for one that changes a mouth."""
    return MaskedPairs(mix.contrary_share, mix.min_identity_distance) if masked else EditedPairs(mix.contrary_share)


def dressed(pair: Pair, look: Look, moved: Look, size: int) -> Pair:
    """The pictures under one camera, who speaks a moment apart from the rest; uint8 [size, size, 3] each."""
    looks = (moved, look, look)
    return Pair(*(apply_look(each, as_, size) for each, as_ in zip(pair, looks, strict=True)))


def contrary(
    openings: NDArray[np.float32],
    target: int,
    candidates: NDArray[np.intp],
    share: float,
    rng: np.random.Generator,
) -> int:
    """One of the candidates; for a share of the samples rather one whose mouth is another than the target's."""
    if rng.random() >= share:
        return int(rng.choice(candidates))
    away = np.abs(openings[candidates] - openings[target]).astype(np.float64) + 1e-3
    return int(rng.choice(candidates, p=away / away.sum()))


def _shut(picture: Picture, landmarks: Points, rng: np.random.Generator) -> Picture:
    """Shut a mouth as well as landmarks allow."""
    side = picture.shape[0]
    off = landmarks + rng.normal(0, LIPS_OFF * side, (1, 2)).astype(np.float32)
    return close_mouth(picture, off, abs(float(rng.normal(0, LEFT_OPEN))) * side)


def _opened(landmarks: Points, opening: float) -> Points:
    """Landmarks of a mouth that `move_mouth` has moved; the lips' edges alone."""
    moved = landmarks.copy()
    upper, lower = list(UPPER_INNER), list(LOWER_INNER)
    eyes = float(np.linalg.norm(landmarks[33] - landmarks[263]))
    curves = read_mouth(int(landmarks[:, 0].max()) + 2, landmarks)
    bell = curves.bell[np.clip(np.rint(landmarks[upper, 0]).astype(int), 0, len(curves.bell) - 1)]
    gap = np.maximum(landmarks[lower, 1] - landmarks[upper, 1], 0)
    grow = opening * eyes * bell - gap
    moved[upper, 1] -= UPPER_LIP_SHARE * grow
    moved[lower, 1] = moved[upper, 1] + opening * eyes * bell
    return moved


def _mouth_of(target: Picture, shown: Picture, landmarks: Points) -> Picture:
    """What is shown, with the target's mouth; landmarks [2, 478, 2] of both."""
    mask = np.maximum(*(mouth_mask(each, shown.shape[0]) for each in landmarks))[..., None]
    return np.asarray(np.rint(shown + mask * (target.astype(np.float32) - shown)), np.uint8)
