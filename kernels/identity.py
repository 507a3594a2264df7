"""Which picture tells the generator who speaks: the same face in the same pose, with its mouth at rest.

A generator copies some of the mouth that it is shown. Shown the current picture,
it draws part of what the person is saying; shown a mouth at rest, it is left
with the voice. Pictures are kept by pose, so that a turned head finds its like.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rgb = NDArray[np.uint8]

_EYES, _NOSE_TIP, _INNER_LIPS = [33, 263], 1, [13, 14]
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
class _Kept:
    pts_ns: int
    pose: NDArray[np.float64]
    unfit: float
    picture: Rgb


class IdentityBank:
    """The pictures of one face, by pose, each with the most closed mouth seen in it.

    Args:
        capacity: Most pictures kept; the oldest goes first.
        opened: Keep the most open mouth of each pose instead of the most closed: it shows teeth and tongue.
    """

    def __init__(self, capacity: int = 24, *, opened: bool = False) -> None:
        self._capacity = capacity
        self._opened = opened
        self._kept: list[_Kept] = []
        self._chosen: _Kept | None = None

    def choose(self, pts_ns: int, landmarks: NDArray[np.float32], picture: Rgb) -> Rgb:
        """Take in the current picture and return the one to show.

        Args:
            pts_ns: Time of the picture.
            landmarks: float32 [478, 2] in one scale from picture to picture, x first.
            picture: uint8 RGB [S, S, 3] of the face now.
        """
        now = _measured(pts_ns, landmarks, picture, opened=self._opened)
        self._keep(now)
        best = min(self._kept, key=lambda kept: _cost(kept, now))
        if (
            self._chosen is None
            or self._chosen not in self._kept
            or _cost(best, now) < _cost(self._chosen, now) - _BETTER_BY
        ):
            self._chosen = best
        return self._chosen.picture

    def _keep(self, now: _Kept) -> None:
        for index, kept in enumerate(self._kept):
            if np.hypot(*(kept.pose - now.pose)) < _SAME_POSE:
                stale = now.pts_ns - kept.pts_ns > _STALE_NS and now.unfit < kept.unfit + _NEARLY
                if now.unfit < kept.unfit or stale:
                    self._kept[index] = now
                return
        self._kept.append(now)
        if len(self._kept) > self._capacity:
            self._kept.remove(min(self._kept, key=lambda kept: kept.pts_ns))


def _measured(pts_ns: int, landmarks: NDArray[np.float32], picture: Rgb, *, opened: bool) -> _Kept:
    left, right = landmarks[_EYES].astype(np.float64)
    eyes = max(float(np.hypot(*(right - left))), 1e-6)
    upper, lower = landmarks[_INNER_LIPS].astype(np.float64)
    pose = (landmarks[_NOSE_TIP] - (left + right) / 2) / eyes
    opening = float(np.hypot(*(lower - upper))) / eyes
    return _Kept(pts_ns, pose, -min(opening, _OPEN) if opened else opening, picture)


def _cost(kept: _Kept, now: _Kept) -> float:
    return kept.unfit + _POSE_COUNTS * float(np.hypot(*(kept.pose - now.pose)))
