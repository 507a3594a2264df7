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
    pose: tuple[float, float]
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
        self._keep(now)
        best = min(self._kept, key=lambda kept: _cost(kept, now))
        if (
            self._chosen is None
            or self._chosen not in self._kept
            or _cost(best, now) < _cost(self._chosen, now) - _BETTER_BY
        ):
            self._chosen = best
        return self._chosen.picture

    def _keep(self, now: _Kept[Picture]) -> None:
        for index, kept in enumerate(self._kept):
            if math.dist(kept.pose, now.pose) < _SAME_POSE:
                stale = now.pts_ns - kept.pts_ns > _STALE_NS and now.unfit < kept.unfit + _NEARLY
                if now.unfit < kept.unfit or stale:
                    self._kept[index] = now
                return
        self._kept.append(now)
        if len(self._kept) > self._capacity:
            self._kept.remove(min(self._kept, key=lambda kept: kept.pts_ns))


def _measured(pts_ns: int, pose_points: Sequence[Sequence[float]], picture: Picture, *, opened: bool) -> _Kept[Picture]:
    left, right, nose, upper, lower = pose_points
    eyes = max(math.dist(left, right), 1e-6)
    pose = (nose[0] - (left[0] + right[0]) / 2) / eyes, (nose[1] - (left[1] + right[1]) / 2) / eyes
    opening = math.dist(lower, upper) / eyes
    return _Kept(pts_ns, pose, -min(opening, _OPEN) if opened else opening, picture)


def _cost(kept: _Kept[Picture], now: _Kept[Picture]) -> float:
    return kept.unfit + _POSE_COUNTS * math.dist(kept.pose, now.pose)
