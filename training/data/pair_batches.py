"""Batches of pairs: scaled, cropped, mirrored and spoilt anew for every step; a step's batch depends on nothing else.

With several frames a sample, the frames are views of a still that moves (`training.data.still_motion`). Their motion is
known exactly, so what a filter makes of one view can be held against what it makes of the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from training.config import ConfigError
from training.data.pair_makers import Pair, PairMaker, Random, Rgb
from training.data.still_motion import Maps, maps_of_part, maps_of_views, places_between, seen_through

# Of a crop's side, per frame: how far a still pans, how much it turns (rad) and zooms; deviations.
PAN, TURN, ZOOM = 0.012, 0.006, 0.006
FROZEN_SHARE = 0.2
"""Of the moving samples, those that stand still but for their grain."""


@dataclass(frozen=True, slots=True)
class PairDataConfig:
    """How samples are cut out of pairs. The defaults are Pix2Pix's.

    Attributes:
        maker: A name of `PAIR_MAKERS` for photos, empty for a folder of pairs.
        direction: "AtoB" or "BtoA", of a folder of pairs.
        load_px: Shorter side that pictures are resized to before they are cropped.
        square: Resize to a square of `load_px`, whatever a picture's shape.
        smallest_scale: Pictures are shrunk further by a random factor between this and 1.
        crop_px: Side of the crops.
        flip: Mirror half of the samples.
        held_every: Every so-manieth person is held back and never learnt from; 0 holds back nobody.
        frames: Views of each still; 1 is a picture by itself.
        parts: Share of the moving stills of which only a part moves, before a background that stands still.
    """

    maker: str = ""
    direction: str = "AtoB"
    load_px: int = 286
    square: bool = True
    smallest_scale: float = 1.0
    crop_px: int = 256
    flip: bool = True
    held_every: int = 0
    frames: int = 1
    parts: float = 0.0

    def check(self) -> None:
        """Hold the numbers against each other.

        Raises:
            ConfigError: They do not fit.
        """
        if self.crop_px % 32:
            raise ConfigError(f"[pairs] crop_px = {self.crop_px} is no multiple of 32")
        if not 0.0 < self.smallest_scale <= 1.0:
            raise ConfigError(f"[pairs] smallest_scale = {self.smallest_scale}, expected more than 0 and at most 1")
        if self.load_px * self.smallest_scale < self.crop_px:
            raise ConfigError(
                f"[pairs] load_px = {self.load_px} at smallest_scale = {self.smallest_scale} is less than "
                f"crop_px = {self.crop_px}"
            )
        if self.frames < 1:
            raise ConfigError(f"[pairs] frames = {self.frames}, expected at least 1")
        if not 0.0 <= self.parts <= 1.0:
            raise ConfigError(f"[pairs] parts = {self.parts}, expected 0 to 1")


class PairBatch(NamedTuple):
    """One step's samples.

    Attributes:
        source: float32 [N, F, 3, S, S] RGB in [-1, 1], what the filter is shown.
        target: Likewise, what it should draw.
        places: float32 [N, F - 1, S, S, 2]: where the pixels of view f + 1 lie in view f, x first; outside of it where
            they are not seen there.
    """

    source: NDArray[np.float32]
    target: NDArray[np.float32]
    places: NDArray[np.float32]


class PairSampler:
    """Draws batches.

    Args:
        pairs: What to learn from.
        maker: Spoils sources.
        config: How samples are cut.
        seed: The run's.
    """

    def __init__(self, pairs: tuple[Pair, ...], maker: PairMaker, config: PairDataConfig, seed: int) -> None:
        self._pairs = tuple(loaded(each, config) for each in pairs)
        self._maker = maker
        self._config = config
        self._seed = seed

    def batch(self, step: int, count: int) -> PairBatch:
        """The samples of one step. As in epochs, every pair is seen once before any is seen twice."""
        samples = [self._sample(step * count + i) for i in range(count)]
        sources, targets, places = zip(*samples, strict=True)
        return PairBatch(np.stack(sources), np.stack(targets), np.stack(places))

    def _sample(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        epoch, place = divmod(index, len(self._pairs))
        order = np.random.default_rng([self._seed, 1, epoch]).permutation(len(self._pairs))
        how = np.random.default_rng([self._seed, 2, index])
        side = self._config.crop_px
        maps = self._maps(how)
        room = 0 if len(maps) == 1 else _room_px(side)
        pair = _cut(self._pairs[order[place]], self._config, room, how)
        seed = [self._seed, 3, index]
        sources, targets = [], []
        for frame, view in enumerate(maps):
            seen = pair if room == 0 else Pair(*(seen_through(each, view + room) for each in pair))
            # Every view is spoilt alike, but for its grain.
            alike, grain = np.random.default_rng(seed), np.random.default_rng([*seed, frame])
            sources.append(as_units(self._maker.again(seen.source, alike, grain)))
            targets.append(as_units(seen.target))
        return np.stack(sources), np.stack(targets), places_between(maps)

    def _maps(self, how: Random) -> Maps:
        """How the still of a sample moves."""
        frames, side = self._config.frames, self._config.crop_px
        if frames == 1:
            return maps_of_views(np.eye(2, 3)[None], side, side)
        if self._config.parts and how.random() < self._config.parts:
            return maps_of_part(how, frames, side, side)
        return maps_of_views(camera_path(how, self._config), side, side)


def camera_path(how: Random, config: PairDataConfig) -> NDArray[np.float64]:
    """Where the pixels (x, y, 1) of each view lie in the first one: float64 [F, 2, 3]."""
    side = config.crop_px
    moving = how.random() >= FROZEN_SHARE
    pan = how.normal(0.0, PAN * side, 2) * moving
    angle, zoom = how.normal(0.0, TURN) * moving, how.normal(0.0, ZOOM) * moving
    limit = _room_px(side) / (2.0 * max(config.frames - 1, 1))
    pan = np.clip(pan, -limit, limit)
    middle = np.full(2, (side - 1) / 2)
    views = []
    for f in range(config.frames):
        linear = np.exp(zoom * f) * np.array(
            [[np.cos(angle * f), -np.sin(angle * f)], [np.sin(angle * f), np.cos(angle * f)]]
        )
        views.append(np.column_stack([linear, middle + pan * f - linear @ middle]))
    return np.stack(views)


def viewed(picture: Rgb, view: NDArray[np.float64], height: int, width: int) -> Rgb:
    """What a camera at a view of `camera_path` sees; beyond the picture its border is repeated."""
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    seen = cv2.warpAffine(picture, view, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(seen, np.uint8)


def motions_between(views: NDArray[np.float64]) -> NDArray[np.float32]:
    """Of each view but the first, where its pixels lie in the one before: float32 [F - 1, 2, 3]."""
    whole = np.concatenate([views, np.broadcast_to([[[0.0, 0.0, 1.0]]], (len(views), 1, 3))], 1)
    between = [np.linalg.inv(before) @ after for before, after in pairwise(whole)]
    return np.array([each[:2] for each in between], np.float32).reshape(-1, 2, 3)


def loaded(pair: Pair, config: PairDataConfig) -> Pair:
    """A pair at the size that it is cropped from."""
    height, width = pair.source.shape[:2]
    if config.square:
        return _resized(pair, config.load_px, config.load_px)
    scale = config.load_px / min(height, width)
    return _resized(pair, max(round(height * scale), config.load_px), max(round(width * scale), config.load_px))


def as_units(picture: Rgb) -> NDArray[np.float32]:
    """uint8 [H, W, 3] to float32 [3, H, W] in [-1, 1]."""
    return np.ascontiguousarray((picture.astype(np.float32) / 127.5 - 1.0).transpose(2, 0, 1))


def as_levels(tensor: NDArray[np.float32]) -> Rgb:
    """float32 [3, H, W] in [-1, 1] to uint8 [H, W, 3]."""
    levels = np.rint((np.clip(tensor, -1.0, 1.0) + 1.0) * 127.5).astype(np.uint8)
    return np.ascontiguousarray(levels.transpose(1, 2, 0))


def _room_px(side: int) -> int:
    """Around a crop, for views that leave it."""
    return max(side // 10, 4)


def _cut(pair: Pair, config: PairDataConfig, room: int, how: Random) -> Pair:
    """A square of the crop's side, with room around it; what lies beyond the picture repeats its border."""
    height, width = pair.source.shape[:2]
    scale = how.uniform(config.smallest_scale, 1.0)
    taken = min(round(config.crop_px / scale), height, width)
    top, left = int(how.integers(height - taken + 1)), int(how.integers(width - taken + 1))
    mirrored = config.flip and how.random() < 0.5
    beside = round(room * taken / config.crop_px)

    def one(picture: Rgb) -> Rgb:
        padded = np.pad(picture, ((beside, beside), (beside, beside), (0, 0)), mode="edge")
        part = padded[top : top + taken + 2 * beside, left : left + taken + 2 * beside]
        part = part[:, ::-1] if mirrored else part
        return _at_size(np.ascontiguousarray(part), *(2 * [config.crop_px + 2 * room]))

    return Pair(one(pair.source), one(pair.target))


def _resized(pair: Pair, height: int, width: int) -> Pair:
    return Pair(_at_size(pair.source, height, width), _at_size(pair.target, height, width))


def _at_size(picture: Rgb, height: int, width: int) -> Rgb:
    if picture.shape[:2] == (height, width):
        return picture
    smaller = height * width < picture.shape[0] * picture.shape[1]
    curve = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (width, height), interpolation=curve), np.uint8)
