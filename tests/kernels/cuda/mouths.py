"""Faces with lips for the kernels that close mouths and draw masks, and what runs their launches on the host."""

import numpy as np
from numpy.typing import NDArray

from benchmarks.pictures import open_face
from kernels.crop import crop_face, crop_transform, in_crop
from kernels.cuda.mouth_jobs import MOUTH_POINTS, MouthTable, mouth_table, write_mouth_jobs
from kernels.paste import OUTER_LIPS
from stream.faces import open_face_finder
from tests.faces import clip, frame_of

Landmarks = NDArray[np.float32]


def mouth_face(
    size: int, *, gap: float = 0.08, roll: float = 0.0, turned: float = 1.0, bowed: float = 1.0, seed: int | None = None
) -> Landmarks:
    """Landmarks [478, 2] in pixels of a crop of that side, with an ellipse for the outer lips.

    Args:
        size: Side of the crop.
        gap: Between the lips, as a share of the side.
        roll: Radians, clockwise in the picture.
        turned: What is left of the width on one side of the nose.
        bowed: What is left of the height.
        seed: Moves every point by a five-hundredth of the side.
    """
    middle = (size - 1) / 2
    points = open_face(middle, middle, size / 3.3, gap * size)
    lips = points[[13, 14]].mean(axis=0)
    turns = -np.arange(len(OUTER_LIPS)) * (2 * np.pi / len(OUTER_LIPS)) + np.pi
    points[OUTER_LIPS] = lips + np.stack([0.14 * np.cos(turns), (0.04 + gap / 2) * np.sin(turns)], axis=1) * size
    away = points - np.float32(middle)
    away[:, 0] *= np.where(away[:, 0] > 0, turned, 1.0)
    away[:, 1] *= bowed
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    moved = away @ turn.T + middle
    if seed is not None:
        moved += np.random.default_rng(seed).normal(0.0, 0.002 * size, moved.shape)
    return moved.astype(np.float32)


def faces_of(size: int) -> dict[str, Landmarks]:
    """What the kernels may be handed."""
    far = mouth_face(size)
    far[OUTER_LIPS[3]] = (1e7, -3e6)
    far[[150, 148]] = (-9e4, 9e4)
    corners = mouth_face(size)
    corners[[78, 308], 0] = corners[13, 0]
    return {
        "open": mouth_face(size, gap=0.15),
        "shut": mouth_face(size, gap=0.0),
        "rolled": mouth_face(size, roll=0.15, seed=1),
        "turned": mouth_face(size, turned=0.25, seed=2),
        "bowed": mouth_face(size, bowed=0.5, seed=3),
        "wide open": mouth_face(size, gap=0.3, roll=-0.2),
        "at the border": mouth_face(size) + np.float32([0.35, 0.3]) * np.float32(size),
        "out of the picture": mouth_face(size) + np.float32([3.0, 0.0]) * np.float32(size),
        "above the picture": mouth_face(size) - np.float32([0.0, 0.7]) * np.float32(size),
        "far points": far,
        "corners in one place": corners,
        "all in one place": np.full((478, 2), size * 0.6, np.float32),
        "tangled": np.random.default_rng(4).uniform(0, size, (478, 2)).astype(np.float32),
    }


def table_of(faces: list[Landmarks], opening_px: float = 0.0) -> MouthTable:
    """The jobs of faces."""
    table = mouth_table(len(faces))
    write_mouth_jobs(table, np.stack(faces)[:, MOUTH_POINTS], opening_px)
    return table


def real_faces(size: int) -> list[tuple[NDArray[np.uint8], Landmarks]]:
    """Crops uint8 RGB [S, S, 3] of the bundled clip with their landmarks."""
    finder = open_face_finder(crop_size=size)
    found = []
    for number, picture in enumerate(clip(count=13)):
        frame = frame_of(picture, number)
        for each in finder.find(frame)[:1] if number % 4 == 0 else []:
            to_crop = crop_transform(each.landmarks, size)
            found.append((crop_face(frame.planes, to_crop, size), in_crop(each.landmarks, to_crop)))
    finder.close()
    return found
