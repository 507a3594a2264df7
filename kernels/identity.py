"""Which picture tells the generator who speaks: the same face in the same pose, with its mouth at rest.

A generator copies some of the mouth that it is shown. Shown the current picture,
it draws part of what the person is saying; shown a mouth at rest, it is left
with the voice. Pictures are kept by pose, so that a turned head finds its like.
"""

import math
from collections.abc import Sequence
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
        # Of each picture, in four lists: one number each is what all of them are looked through for.
        self._pictures: list[Picture] = []
        self._times_ns: list[int] = []
        self._poses: list[complex] = []
        self._unfit: list[float] = []
        self._chosen: int | None = None

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
        pose, unfit = _measured(pose_points, opened=self._opened)
        away = [abs(kept - pose) for kept in self._poses]
        if not away or min(away) >= _SAME_POSE:
            away.append(0.0)
            self._put(len(self._pictures), pts_ns, pose, unfit, picture)
            if len(self._pictures) > self._capacity:
                del away[self._drop_oldest()]
        else:
            near = next(index for index, far in enumerate(away) if far < _SAME_POSE)
            if self._gives_way(near, pts_ns, unfit):
                away[near] = 0.0
                self._put(near, pts_ns, pose, unfit, picture)
        costs = [bad + _POSE_COUNTS * far for bad, far in zip(self._unfit, away, strict=True)]
        least = min(costs)
        if self._chosen is None or least < costs[self._chosen] - _BETTER_BY:
            self._chosen = costs.index(least)
        return self._pictures[self._chosen]

    def _gives_way(self, index: int, pts_ns: int, unfit: float) -> bool:
        kept = self._unfit[index]
        return unfit < kept or (pts_ns - self._times_ns[index] > _STALE_NS and unfit < kept + _NEARLY)

    def _put(self, index: int, pts_ns: int, pose: complex, unfit: float, picture: Picture) -> None:
        """Keep a picture in place of another, or behind the last one."""
        place = slice(index, index + 1)
        self._pictures[place], self._times_ns[place] = [picture], [pts_ns]
        self._poses[place], self._unfit[place] = [pose], [unfit]
        if self._chosen == index:
            self._chosen = None

    def _drop_oldest(self) -> int:
        """Let one go, and return where it was."""
        oldest = self._times_ns.index(min(self._times_ns))
        del self._pictures[oldest], self._times_ns[oldest], self._poses[oldest], self._unfit[oldest]
        if self._chosen is not None and self._chosen >= oldest:
            self._chosen = None if self._chosen == oldest else self._chosen - 1
        return oldest


def _measured(pose_points: Sequence[Sequence[float]], *, opened: bool) -> tuple[complex, float]:
    """Where the tip of the nose is, in eye distances from the middle of the eyes, and how far from wanted the mouth."""
    left, right, nose, upper, lower = pose_points
    eyes = max(math.dist(left, right), 1e-6)
    pose = complex(nose[0] - (left[0] + right[0]) / 2, nose[1] - (left[1] + right[1]) / 2) / eyes
    opening = math.dist(lower, upper) / eyes
    return pose, -min(opening, _OPEN) if opened else opening
