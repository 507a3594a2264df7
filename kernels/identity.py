"""Which picture tells the generator who speaks: the same face in the same pose, with its mouth at rest.

A generator copies some of the mouth that it is shown. Shown the current picture,
it draws part of what the person is saying; shown a mouth at rest, it is left
with the voice. Pictures are kept by pose, so that a turned head finds its like.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Picture = TypeVar("Picture")

POSE_POINTS = np.array([33, 263, 1, 13, 14])
"""What is read of a face: right and left eye, tip of the nose, upper and lower inner lip."""

# Poses nearer than this, in eye distances that the tip of the nose moved, are one: about five degrees.
_SAME_POSE = 0.06
# One eye distance of nose counts as much as this many of mouth opening.
_POSE_COUNTS = 1.3
# A picture must be better by this much to be changed for, so that it does not flicker between two.
_BETTER_BY = 0.03
# Light and hair change: a picture older than this gives way to any new one of its pose that is nearly as closed.
_STALE_NS = 20_000_000_000
_NEARLY = 0.02
# A mouth this open shows what there is to see; a yawn shows no more.
_OPEN = 0.15


@dataclass(slots=True, eq=False)
class _Kept(Generic[Picture]):
    pts_ns: int
    pose: complex
    unfit: float
    picture: Picture


class IdentityBank(Generic[Picture]):
    """The pictures of one face, by pose, each with the most closed mouth seen in it.

    What a picture is, is the caller's business: pixels, or a handle of where they lie on a device. One that gives way
    to another, or is the oldest of too many, is let go here.

    Args:
        capacity: Most pictures kept; the oldest goes first.
        opened: Keep the most open mouth of each pose instead of the most closed: it shows teeth and tongue.
    """

    def __init__(self, capacity: int = 24, *, opened: bool = False) -> None:
        self._capacity = capacity
        self._opened = opened
        self._kept: list[_Kept[Picture]] = []
        self._chosen: _Kept[Picture] | None = None

    def choose(self, pts_ns: int, landmarks: NDArray[np.float32], picture: Picture) -> Picture:
        """Take in the current picture and return the one to show.

        Args:
            pts_ns: Time of the picture.
            landmarks: float32 [478, 2] in one scale from picture to picture, x first.
            picture: The face now.
        """
        return self.choose_by(pts_ns, landmarks[POSE_POINTS].tolist(), picture)

    def choose_by(self, pts_ns: int, pose_points: Sequence[Sequence[float]], picture: Picture) -> Picture:
        """`choose` by the `POSE_POINTS` alone."""
        now = _measured(pts_ns, pose_points, picture, opened=self._opened)
        pose = now.pose
        away = [abs(kept.pose - pose) for kept in self._kept]
        self._keep(now, away)
        costs = [kept.unfit + _POSE_COUNTS * far for kept, far in zip(self._kept, away, strict=True)]
        least = min(costs)
        if self._chosen not in self._kept or least < costs[self._kept.index(self._chosen)] - _BETTER_BY:
            self._chosen = self._kept[costs.index(least)]
        return self._chosen.picture

    def _keep(self, now: _Kept[Picture], away: list[float]) -> None:
        """Take a picture in where it is of a new pose or better than its like; `away` follows what is kept."""
        near = next((index for index, far in enumerate(away) if far < _SAME_POSE), None)
        if near is not None:
            kept = self._kept[near]
            stale = now.pts_ns - kept.pts_ns > _STALE_NS and now.unfit < kept.unfit + _NEARLY
            if now.unfit < kept.unfit or stale:
                self._kept[near], away[near] = now, 0.0
            return
        self._kept.append(now)
        away.append(0.0)
        if len(self._kept) > self._capacity:
            oldest = min(range(len(self._kept)), key=lambda index: self._kept[index].pts_ns)
            del self._kept[oldest], away[oldest]


def _measured(pts_ns: int, pose_points: Sequence[Sequence[float]], picture: Picture, *, opened: bool) -> _Kept[Picture]:
    left, right, nose, upper, lower = pose_points
    eyes = max(math.dist(left, right), 1e-6)
    pose = complex(nose[0] - (left[0] + right[0]) / 2, nose[1] - (left[1] + right[1]) / 2) / eyes
    opening = math.dist(lower, upper) / eyes
    return _Kept(pts_ns, pose, -min(opening, _OPEN) if opened else opening, picture)
