"""Folders of semantic layouts and photos, for OASIS, and batches of them.

`layouts/` holds pictures of one channel whose levels are class ids, `photos/` the pictures of the same names. What does
not fit, an id that is no class above all, is named, left out and counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from training.config import ConfigError
from training.data.clips import MaterialError
from training.data.pair_batches import as_units
from training.data.pair_makers import Rgb
from training.data.photo_pairs import PICTURES, LeftOut, held_persons, person_of, read_picture

Ids = NDArray[np.uint8]
"""uint8 [H, W]."""
NO_CLASS = -1


class LayoutPair(NamedTuple):
    """A layout and the photo that it belongs to, of the same size."""

    ids: Ids
    photo: Rgb


@dataclass(frozen=True, slots=True, eq=False)
class LayoutSet:
    """Pairs in memory; see `PairSet`."""

    names: tuple[str, ...]
    pairs: tuple[LayoutPair, ...]
    left_out: tuple[LeftOut, ...] = ()

    def split(self, held_every: int) -> tuple[LayoutSet, LayoutSet]:
        """As `PairSet.split`."""
        held = held_persons(self.names, held_every)
        parts = []
        for inside in (False, True):
            kept = [i for i, name in enumerate(self.names) if (person_of(name) in held) == inside]
            names, pairs = tuple(self.names[i] for i in kept), tuple(self.pairs[i] for i in kept)
            parts.append(replace(self, names=names, pairs=pairs))
        return parts[0], parts[1]


@dataclass(frozen=True, slots=True)
class LayoutConfig:
    """How samples are cut. The defaults are OASIS's for ADE20K and COCO-Stuff, but for the classes.

    Attributes:
        classes: Ids are 0 to one less.
        dont_care: The class whose pixels teach nothing; -1 for none.
        load_px: Side of the square that pictures are resized to before they are cropped.
        crop_px: Side of the crops.
        flip: Mirror half of the samples.
        held_every: Every so-manieth person or scene is held back.
        names: Of the classes, separated by commas; empty: their numbers.
        of_faces: Layouts are of crops around a face, not of whole frames.
        appearances: How many there are in the photos, each with a noise of its own; which one is in a photo is the
            number that its name ends with, after an underscore. 0: a photo may show anything, noise is drawn.
    """

    classes: int = 12
    dont_care: int = NO_CLASS
    load_px: int = 286
    crop_px: int = 256
    flip: bool = True
    held_every: int = 0
    names: str = ""
    of_faces: bool = False
    appearances: int = 0

    def class_names(self) -> tuple[str, ...]:
        """One for each class."""
        named = tuple(each.strip() for each in self.names.split(","))
        return named if self.names else tuple(f"class {i}" for i in range(self.classes))

    def check(self) -> None:
        """Hold the numbers against each other.

        Raises:
            ConfigError: They do not fit.
        """
        if not 2 <= self.classes <= 256:
            raise ConfigError(f"[layouts] classes = {self.classes}, expected 2 to 256")
        if self.names and len(self.class_names()) != self.classes:
            raise ConfigError(f"[layouts] names are {len(self.class_names())}, classes = {self.classes}")
        if not NO_CLASS <= self.dont_care < self.classes:
            raise ConfigError(f"[layouts] dont_care = {self.dont_care} is no class and not -1")
        if self.crop_px % 64 or self.load_px < self.crop_px:
            raise ConfigError(
                f"[layouts] crop_px = {self.crop_px}, load_px = {self.load_px}: expected a multiple of 64 and no less"
            )


class LayoutBatch(NamedTuple):
    """One step's samples.

    Attributes:
        layout: float32 [N, classes, S, S], one-hot.
        photo: float32 [N, 3, S, S] in [-1, 1].
        appearance: int64 [N], whose noise each is drawn with; zeros where there are no appearances.
    """

    layout: NDArray[np.float32]
    photo: NDArray[np.float32]
    appearance: NDArray[np.int64]


def read_layouts(folder: Path, classes: int) -> LayoutSet:
    """Read `layouts/` and `photos/`.

    Raises:
        MaterialError: A folder is not there, or nothing is usable.
    """
    kept: list[tuple[str, LayoutPair]] = []
    left_out: list[LeftOut] = []
    for each in _found(folder, classes):
        if isinstance(each, LeftOut):
            left_out.append(each)
        else:
            kept.append(each)
    if not kept:
        why = "; ".join(f"{each.name} {each.reason}" for each in left_out[:3]) or "it holds no pictures"
        raise MaterialError(f"nothing in {folder} can be used: {why}")
    return LayoutSet(tuple(name for name, _ in kept), tuple(pair for _, pair in kept), tuple(left_out))


def _found(folder: Path, classes: int) -> Iterator[tuple[str, LayoutPair] | LeftOut]:
    sides = []
    for side in ("layouts", "photos"):
        if not (folder / side).is_dir():
            raise MaterialError(f"no folder {folder / side}; {folder} should hold layouts/ and photos/")
        files = sorted((folder / side).iterdir())
        sides.append({path.stem: path for path in files if path.suffix.lower() in PICTURES})
    for stem in sorted(sides[0].keys() | sides[1].keys()):
        missing = [name for name, side in zip(("layouts", "photos"), sides, strict=True) if stem not in side]
        yield (
            LeftOut(stem, f"has no picture in {missing[0]}/")
            if missing
            else _one(stem, sides[0][stem], sides[1][stem], classes)
        )


def _one(stem: str, layout: Path, photo: Path, classes: int) -> tuple[str, LayoutPair] | LeftOut:
    picture = read_picture(photo)
    if isinstance(picture, LeftOut):
        return replace(picture, name=f"photos/{picture.name}")
    data = np.frombuffer(layout.read_bytes(), np.uint8)
    ids = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if len(data) else None
    if ids is None:
        return LeftOut(f"layouts/{layout.name}", "is no picture that can be decoded")
    if ids.ndim != 2 or ids.dtype != np.uint8:
        return LeftOut(f"layouts/{layout.name}", "has colours, or more than 8 bits: expected one channel of class ids")
    if ids.shape != picture.shape[:2]:
        sizes = [f"{each.shape[1]} x {each.shape[0]}" for each in (ids, picture)]
        return LeftOut(stem, f"is {sizes[0]} px in layouts/ and {sizes[1]} px in photos/")
    if ids.max() >= classes:
        return LeftOut(f"layouts/{layout.name}", f"has the id {ids.max()}, expected 0 to {classes - 1}")
    return stem, LayoutPair(np.asarray(ids, np.uint8), picture)


class LayoutSampler:
    """Draws batches; a step's depends on nothing but the step.

    Args:
        pairs: What to learn from.
        config: How samples are cut.
        seed: The run's.

    Raises:
        MaterialError: A name does not say which appearance it is.
    """

    def __init__(self, pairs: LayoutSet, config: LayoutConfig, seed: int) -> None:
        self._pairs = tuple(_loaded(each, config.load_px) for each in pairs.pairs)
        self._appearances = tuple(appearance_of(name, config.appearances) for name in pairs.names)
        self._config = config
        self._seed = seed

    def batch(self, step: int, count: int) -> LayoutBatch:
        """The samples of one step; every pair is seen once before any is seen twice."""
        places = [self._place(step * count + i) for i in range(count)]
        samples = [self._sample(step * count + i, place) for i, place in enumerate(places)]
        layouts = np.stack([one_hot(each.ids, self._config.classes) for each in samples])
        appearances = np.array([self._appearances[place] for place in places], np.int64)
        return LayoutBatch(layouts, np.stack([as_units(each.photo) for each in samples]), appearances)

    def _place(self, index: int) -> int:
        epoch, place = divmod(index, len(self._pairs))
        return int(np.random.default_rng([self._seed, 1, epoch]).permutation(len(self._pairs))[place])

    def _sample(self, index: int, place: int) -> LayoutPair:
        rng = np.random.default_rng([self._seed, 2, index])
        side = self._config.crop_px
        top, left = (int(each) for each in rng.integers(self._config.load_px - side + 1, size=2))
        mirrored = self._config.flip and rng.random() < 0.5
        parts = [each[top : top + side, left : left + side] for each in self._pairs[place]]
        return LayoutPair(*(np.ascontiguousarray(each[:, ::-1] if mirrored else each) for each in parts))


def appearance_of(name: str, appearances: int) -> int:
    """Which appearance a photo shows, by the end of its name; 0 where there are none.

    Raises:
        MaterialError: It does not say, or there is no such one.
    """
    if not appearances:
        return 0
    end = name.rpartition("_")[2]
    if not end.isdecimal() or int(end) >= appearances:
        raise MaterialError(
            f"{name} should end in an underscore and a number below [layouts] appearances, {appearances}"
        )
    return int(end)


def held_layout(pair: LayoutPair, config: LayoutConfig) -> LayoutPair:
    """A whole held-back pair at the side that is trained on."""
    return _loaded(pair, config.crop_px)


def one_hot(ids: Ids, classes: int) -> NDArray[np.float32]:
    """uint8 [H, W] to float32 [classes, H, W]."""
    return np.asarray(ids[None] == np.arange(classes, dtype=np.uint8)[:, None, None], np.float32)


def _loaded(pair: LayoutPair, side: int) -> LayoutPair:
    ids = cv2.resize(pair.ids, (side, side), interpolation=cv2.INTER_NEAREST)
    curve = cv2.INTER_AREA if min(pair.photo.shape[:2]) > side else cv2.INTER_CUBIC
    photo = cv2.resize(pair.photo, (side, side), interpolation=curve)
    return LayoutPair(np.asarray(ids, np.uint8), np.asarray(photo, np.uint8))
