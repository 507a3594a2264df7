"""A folder of layouts and photos for OASIS out of portraits and clips: persons who do not exist, in many poses.

Landmarks are those of real portraits and clips, turned and blinking more than they did; faces are blends of portraits
(`training.data.blends`). Who lent the landmarks is the first part of a pair's name, so that persons are held back
whole; the last part is the number of the appearance. Portraits of persons who will be held back are in no blend.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.portrait_layout import portrait_layout, portrait_region
from kernels.yuv import Region
from models.landmarks import FaceMesh, LandmarkNetworks
from training.data.blends import Blends, Portrait
from training.data.clips import MaterialError
from training.data.photo_pairs import CLIPS, PICTURES, LeftOut, held_persons, person_of, read_picture

Points = NDArray[np.float32]

SIZE_PX = 256
HELD_EVERY = 8
CHOSEN = (10, 6, 5, 0)
"""Groups of portraits that become appearances."""
EVERY_PICTURE_OF_A_CLIP = 2
FROM_CLIPS = 0.6
"""Share of samples with the landmarks of a clip; the others have a portrait's."""
# Deviations in radians of nod, turn and tilt that are added; share of samples that blink.
_TURNED = (0.12, 0.24, 0.10)
_BLINKS = 0.2
_TRIES = 20
MOST_TURNED = 0.62
"""See `turn_of`; beyond it a mesh folds over itself."""
# How far a portrait's square may be from where the face is: serving holds it until a face has left it.
_HELD = 0.02
# Points of upper lids, and those of the lower ones that they meet.
_LIDS = (
    (246, 7), (161, 163), (160, 144), (159, 145), (158, 153), (157, 154), (173, 155),
    (466, 249), (388, 390), (387, 373), (386, 374), (385, 380), (384, 381), (398, 382),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Lent:
    """Landmarks that somebody lends.

    Attributes:
        person: Whose.
        points: float32 [478, 3].
    """

    person: str
    points: Points


def make_portrait_layouts(
    portraits: Path,
    clips: Sequence[Path],
    out: Path,
    *,
    count: int,
    chosen: Sequence[int] = CHOSEN,
    seed: int = 2021,
    say: Callable[[str], None] = print,
) -> int:
    """Write `layouts/` and `photos/`.

    Args:
        portraits: Folder of photographs of one face each.
        clips: Folders of clips, or clips, of one face each.
        out: Folder to write into.
        count: Pairs; the appearances take turns.
        chosen: See `Blends`.
        seed: Decides poses.
        say: Takes one line of progress.

    Returns:
        How many pairs were written.

    Raises:
        MaterialError: A folder is not there, or shows no face.
    """
    networks = LandmarkNetworks(precision="f32")
    stills = read_portraits(portraits, networks, say)
    moving = [each for path in _clips(clips) for each in read_clip(path, networks)]
    persons = [*stills, *(each.person for each in moving)]
    held = held_persons(persons, HELD_EVERY)
    blends = Blends([each for name, each in stills.items() if name not in held], chosen)
    say(f"{len(stills)} portraits, {len(moving)} pictures of clips, {len(held)} persons held back")
    for side in ("layouts", "photos"):
        (out / side).mkdir(parents=True, exist_ok=True)
    lent = {True: moving, False: [Lent(name, each.points) for name, each in stills.items()]}
    written = 0
    for i in range(count):
        rng = np.random.default_rng([seed, i])
        choice = lent[bool(moving) and rng.random() < FROM_CLIPS]
        one = choice[int(rng.integers(len(choice)))]
        landmarks = next((v for v in _views(one.points, rng) if abs(turn_of(v)) < MOST_TURNED), None)
        if landmarks is None:
            continue
        region = _shaken(portrait_region(landmarks), rng)
        ids = portrait_layout(landmarks, region, (SIZE_PX, SIZE_PX)).argmax(0).astype(np.uint8)
        which = i % len(blends.appearances)
        photo = blends.draw(blends.appearances[which], landmarks, region, SIZE_PX)
        name = f"{person_of(one.person)}_{i:05d}_{which}.png"
        cv2.imwrite(str(out / "layouts" / name), ids)
        cv2.imwrite(str(out / "photos" / name), photo[..., ::-1])
        written += 1
    return written


def read_portraits(folder: Path, networks: LandmarkNetworks, say: Callable[[str], None]) -> Mapping[str, Portrait]:
    """The photographs of a folder in which a face is found, by name.

    Raises:
        MaterialError: There is no folder, or no face in it.
    """
    if not folder.is_dir():
        raise MaterialError(f"no folder {folder} with portraits")
    found = {}
    for path in sorted(each for each in folder.iterdir() if each.suffix.lower() in PICTURES):
        picture = read_picture(path)
        meshes = [] if isinstance(picture, LeftOut) else networks.find(picture)
        if isinstance(picture, LeftOut) or not meshes:
            say(f"left out: {path.name} {picture.reason if isinstance(picture, LeftOut) else 'shows no face'}")
            continue
        found[path.stem] = Portrait(picture, meshes[0].points)
    if not found:
        raise MaterialError(f"{folder} shows no face: expected photographs of one face each")
    return found


def read_clip(path: Path, networks: LandmarkNetworks) -> Iterator[Lent]:
    """Landmarks of every other picture of a clip in which a face is found.

    Raises:
        MaterialError: It cannot be decoded.
    """
    mesh: FaceMesh | None = None
    try:
        with av.open(path) as container:
            for i, frame in enumerate(container.decode(video=0)):
                if i % EVERY_PICTURE_OF_A_CLIP:
                    continue
                picture = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
                mesh = networks.follow(picture, [mesh])[0] if mesh else None
                mesh = mesh or next(iter(networks.find(picture)), None)
                if mesh is not None:
                    yield Lent(path.stem, mesh.points)
    except (av.FFmpegError, IndexError) as error:
        raise MaterialError(f"{path.name} is no clip that can be decoded ({error})") from None


def turn_of(landmarks: Points) -> float:
    """How far a nose is from the middle between the ears: 0 ahead, 1 or -1 at an ear."""
    across = landmarks[454] - landmarks[234]
    return float(2 * ((landmarks[1] - landmarks[234]) @ across) / (across @ across) - 1)


def _views(points: Points, rng: np.random.Generator) -> Iterator[Points]:
    """Views of a head that turns."""
    for _ in range(_TRIES):
        yield varied(points, rng)


def varied(points: Points, rng: np.random.Generator) -> Points:
    """Landmarks [478, 2] of a head that turned, nodded, tilted, and perhaps blinked."""
    moved = points.astype(np.float64)
    if rng.random() < _BLINKS:
        upper, lower = np.array(_LIDS).T
        moved[upper] += rng.uniform(0.3, 1.0) * (moved[lower] - moved[upper])
    nod, turn, tilt = rng.normal(0.0, _TURNED)
    rotation, _ = cv2.Rodrigues(np.array([nod, turn, tilt]))
    # About the middle of the head, between the ears.
    pivot = moved[[234, 454]].mean(0)
    return np.asarray(((moved - pivot) @ rotation.T + pivot)[:, :2], np.float32)


def _shaken(region: Region, rng: np.random.Generator) -> Region:
    down, right = (round(each * region.height) for each in rng.uniform(-_HELD, _HELD, 2))
    return Region(region.top + down, region.left + right, region.bottom + down, region.right + right)


def _clips(paths: Sequence[Path]) -> list[Path]:
    found = []
    for path in paths:
        if not path.exists():
            raise MaterialError(f"no clip and no folder {path}")
        found += sorted(each for each in path.iterdir() if each.suffix.lower() in CLIPS) if path.is_dir() else [path]
    return found
