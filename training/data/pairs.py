"""Which pictures one training sample is made of: who speaks, what the generator is shown, and what it should draw.

A generator whose lower half is hidden (LipGAN) is shown the target itself and another frame of the same face. One that
changes a mouth is shown the target with another mouth, and must never be able to guess the right one from the wrong
one: so the wrong one is chosen without regard to the sound, from another frame, by a warp, or drawn.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from kernels.paste import mouth_mask
from training.data.cache import CachedClip, size_of
from training.data.portraits import MouthPose, move_mouth

Picture = NDArray[np.uint8]

# Of the samples that show what is to be drawn: the share whose wrong mouth is that of another frame, where there is
# one in the same pose; the others' is warped.
OTHER_FRAME_SHARE = 0.5
# Heads that were drawn twice: the share that is shown the second drawing.
DRAWN_SHARE = 0.6
# Points that no mouth moves: nose, eye corners, forehead, cheekbones.
STEADY = (1, 2, 4, 6, 168, 33, 133, 263, 362, 234, 454, 10)
SAME_POSE = 0.012
"""Root mean square of their way between two frames, as a share of the crop's side: 2 pixels of 192."""
WARPED_SHUT_SHARE, WARPED_WIDEST = 0.25, 0.2
WARPED_WIDTHS = (0.88, 1.1)
MOST_TEETH = 0.06
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
    """The target is shown with another mouth; beside it the same face with its mouth open.

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
        if clip.others is not None and rng.random() < DRAWN_SHARE:
            shown = clip.others[frame]
        elif len(alike) and rng.random() < OTHER_FRAME_SHARE:
            other = contrary(clip.opening, frame, alike, self._contrary_share, rng)
            shown = clip.crops[other]
            target = _mouth_of(target, shown, clip, (frame, other))
        else:
            pose = MouthPose(_any_opening(rng), float(rng.uniform(*WARPED_WIDTHS)))
            margin = (target.shape[0] - size_of(target)) // 2
            shown = move_mouth(target, clip.landmarks[frame] + margin, pose, float(rng.uniform(0, MOST_TEETH)))
        if rng.random() < NONE_SEEN_SHARE:
            return Pair(shown, shown, target)
        seen = rng.integers(len(clip.crops), size=OPEN_OF_FRAMES)
        return Pair(clip.crops[seen[np.argmax(clip.opening[seen])]], shown, target)

    def of_portrait(
        self, crops: Picture, openings: NDArray[np.float32], target: int, rng: np.random.Generator, /
    ) -> Pair:
        """See `Pairs`."""
        shown = contrary(openings, target, np.arange(len(openings)), self._contrary_share, rng)
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


def _any_opening(rng: np.random.Generator) -> float:
    return 0.0 if rng.random() < WARPED_SHUT_SHARE else float(rng.uniform(0, WARPED_WIDEST))


def _mouth_of(target: Picture, shown: Picture, clip: CachedClip, frames: tuple[int, int]) -> Picture:
    """What is shown, with the target's mouth."""
    side = shown.shape[0]
    margin = (side - size_of(shown)) // 2
    mask = np.maximum(*(mouth_mask(clip.landmarks[each] + margin, side) for each in frames))[..., None]
    return np.asarray(np.rint(shown + mask * (target.astype(np.float32) - shown)), np.uint8)
