"""Folders of pairs, or of photos, read strictly: what cannot be used is named, left out and counted, never guessed.

A folder of pairs holds `A/` and `B/` with pictures of the same names, or pictures that are two side by side. Photos lie
anywhere below their folder; clips among them give some of their pictures. Who is in a picture is said by its name up to
the first underscore, so that persons can be held back whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import av
import cv2
import numpy as np

from training.config import ConfigError
from training.data.clips import MaterialError
from training.data.pair_makers import Pair, PairMaker, Rgb

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
CLIPS = (".mp4", ".mpg", ".mkv", ".webm", ".y4m")
DIRECTIONS = ("AtoB", "BtoA")
SMALLEST_PX = 32
EVERY_PICTURE_OF_A_CLIP = 15
# A whole file ends with these, give or take what some cameras add.
_ENDS = {b"\xff\xd8": b"\xff\xd9", b"\x89P": b"IEND"}
_AFTER_THE_END = 4096


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file that was not used, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class PairSet:
    """Pairs in memory.

    Attributes:
        names: Of each pair, unique.
        pairs: Of the same size on both sides; sizes differ from pair to pair.
        left_out: What the folder held besides.
    """

    names: tuple[str, ...]
    pairs: tuple[Pair, ...]
    left_out: tuple[LeftOut, ...] = ()

    def split(self, held_every: int) -> tuple[PairSet, PairSet]:
        """What is learnt from and what is held back: every so-manieth person, whole; 0 holds back nobody."""
        held = held_persons(self.names, held_every)
        return self._where(held, inside=False), self._where(held, inside=True)

    def _where(self, persons: set[str], *, inside: bool) -> PairSet:
        kept = [i for i, name in enumerate(self.names) if (person_of(name) in persons) == inside]
        return replace(self, names=tuple(self.names[i] for i in kept), pairs=tuple(self.pairs[i] for i in kept))


def held_persons(names: Iterable[str], held_every: int) -> set[str]:
    """Every so-manieth person of some pictures; 0: nobody."""
    persons = sorted({person_of(name) for name in names})
    return {each for i, each in enumerate(persons) if held_every and i % held_every == held_every // 2}


def person_of(name: str) -> str:
    """The name of a file, without its folder, up to the first underscore, stop or hash."""
    stem = Path(name).name
    for end in ("_", ".", "#"):
        stem = stem.split(end)[0]
    return stem


def read_pairs(folder: Path, direction: str = "AtoB") -> PairSet:
    """Read `A/` and `B/`, or pictures side by side, A on the left.

    Raises:
        ConfigError: There is no such direction.
        MaterialError: Nothing usable.
    """
    if direction not in DIRECTIONS:
        raise ConfigError(f"direction is {direction!r}, expected one of {', '.join(DIRECTIONS)}")
    if not folder.is_dir():
        raise MaterialError(f"no folder {folder}; it should hold A/ and B/, or pictures side by side")
    two = (folder / "A").is_dir() and (folder / "B").is_dir()
    found = _of_two_folders(folder) if two else _side_by_side(folder)
    pairs = _gathered(folder, found)
    if direction == "AtoB":
        return pairs
    return replace(pairs, pairs=tuple(Pair(each.target, each.source) for each in pairs.pairs))


def read_photos(folders: Sequence[Path], maker: PairMaker) -> PairSet:
    """Make a pair of every photo below some folders.

    Raises:
        MaterialError: A folder is not there, or nothing in them is usable.
    """
    sets = [_gathered(folder, _photos(folder, maker)) for folder in folders]
    names = [name for each in sets for name in each.names]
    if len(set(names)) < len(names):
        raise MaterialError(f"two of {', '.join(map(str, folders))} hold files of the same name; rename one's")
    return PairSet(
        tuple(names),
        tuple(pair for each in sets for pair in each.pairs),
        tuple(each for one in sets for each in one.left_out),
    )


def read_picture(path: Path) -> Rgb | LeftOut:
    """A picture, or why there is none: a file that ends early is decoded to a half grey picture by most readers."""
    data = path.read_bytes()
    end = _ENDS.get(data[:2])
    if end is not None and end not in data[-_AFTER_THE_END:]:
        return LeftOut(path.name, f"ends after {len(data)} bytes, before its picture does")
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if decoded is None:
        return LeftOut(path.name, "is no picture that can be decoded")
    if min(decoded.shape[:2]) < SMALLEST_PX:
        return LeftOut(path.name, f"is {_size(decoded)} px, expected at least {SMALLEST_PX} px a side")
    return np.ascontiguousarray(decoded[..., ::-1])


Found = Iterator[tuple[str, Pair] | LeftOut]


def _gathered(folder: Path, found: Found) -> PairSet:
    kept: list[tuple[str, Pair]] = []
    left_out: list[LeftOut] = []
    for each in found:
        if isinstance(each, LeftOut):
            left_out.append(each)
        else:
            kept.append(each)
    if not kept:
        why = "; ".join(f"{each.name} {each.reason}" for each in left_out[:3]) or "it holds no pictures"
        raise MaterialError(f"nothing in {folder} can be used: {why}")
    return PairSet(tuple(name for name, _ in kept), tuple(pair for _, pair in kept), tuple(left_out))


def _of_two_folders(folder: Path) -> Found:
    sides = [{path.stem: path for path in _files(folder / side, PICTURES)} for side in ("A", "B")]
    for stem in sorted(sides[0].keys() | sides[1].keys()):
        missing = [name for name, side in zip("AB", sides, strict=True) if stem not in side]
        if missing:
            yield LeftOut(stem, f"has no picture in {missing[0]}/")
            continue
        yield _one_pair(stem, *(read_picture(side[stem]) for side in sides))


def _one_pair(stem: str, a: Rgb | LeftOut, b: Rgb | LeftOut) -> tuple[str, Pair] | LeftOut:
    for side, picture in (("A", a), ("B", b)):
        if isinstance(picture, LeftOut):
            return replace(picture, name=f"{side}/{picture.name}")
    assert not isinstance(a, LeftOut)
    assert not isinstance(b, LeftOut)
    if a.shape != b.shape:
        return LeftOut(stem, f"is {_size(a)} px in A/ and {_size(b)} px in B/")
    return stem, Pair(a, b)


def _side_by_side(folder: Path) -> Found:
    for path in _files(folder, PICTURES):
        picture = read_picture(path)
        if isinstance(picture, LeftOut):
            yield picture
        elif picture.shape[1] % 2:
            yield LeftOut(path.name, f"is {_size(picture)} px: two pictures side by side have an even width")
        elif picture.shape[1] < 2 * SMALLEST_PX:
            yield LeftOut(path.name, f"is {_size(picture)} px: each half needs at least {SMALLEST_PX} px a side")
        else:
            yield path.stem, Pair(*(np.ascontiguousarray(half) for half in np.hsplit(picture, 2)))


def _photos(folder: Path, maker: PairMaker) -> Found:
    if not folder.is_dir():
        raise MaterialError(f"no folder {folder} with photos")
    for path in _files(folder, PICTURES + CLIPS, below=True):
        name = path.relative_to(folder).as_posix()
        if path.suffix.lower() in CLIPS:
            yield from _pictures_of_clip(path, name, maker)
            continue
        picture = read_picture(path)
        yield picture if isinstance(picture, LeftOut) else (name, maker.once(picture))


def _pictures_of_clip(path: Path, name: str, maker: PairMaker) -> Found:
    try:
        with av.open(path) as container:
            for i, frame in enumerate(container.decode(video=0)):
                if i % EVERY_PICTURE_OF_A_CLIP == 0:
                    yield f"{name}#{i}", maker.once(np.ascontiguousarray(frame.to_ndarray(format="rgb24")))
    except (av.FFmpegError, IndexError) as error:
        yield LeftOut(name, f"is no clip that can be decoded ({error})")


def _files(folder: Path, suffixes: Iterable[str], *, below: bool = False) -> list[Path]:
    allowed = set(suffixes)
    return sorted(path for path in (folder.rglob("*") if below else folder.iterdir()) if path.suffix.lower() in allowed)


def _size(picture: Rgb) -> str:
    return f"{picture.shape[1]} x {picture.shape[0]}"
