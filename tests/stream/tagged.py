"""Sessions whose every picture, voice and kept face carries their tag, and painters that show whose they mixed."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from models.engine import EngineError
from stream.frames import NS_PER_MS, FaceCrop, SyncedFrame, VideoFrame
from stream.painter import Shot
from tests.stream.fake_faces import face

# Where a painter writes the tag of the picture, of the voice and of the face that was kept.
MARKS = ((1, 0), (1, 1), (1, 2))
FRAME_NS = 40 * NS_PER_MS


class HandClock:
    """Time that a test sets, from any thread."""

    def __init__(self) -> None:
        self.time_ns = 1_000 * NS_PER_MS

    def now_ns(self) -> int:
        return self.time_ns

    async def sleep_until(self, deadline_ns: int) -> None:
        raise NotImplementedError


def tagged(tag: int, number: int, *, faces: int = 1) -> SyncedFrame:
    """A picture full of a tag, with a voice full of it; `number` counts the session's pictures."""
    pts_ns = number * FRAME_NS
    planes = (np.full((4, 4), tag, np.uint8), np.full((2, 2), tag, np.uint8), np.full((2, 2), tag, np.uint8))
    seen = tuple(replace(_face(tag, each), pts_ns=pts_ns) for each in range(faces))
    return SyncedFrame(VideoFrame(pts_ns, 0, "yuv420p", planes), seen, _mel(tag))


@cache
def _mel(tag: int) -> NDArray[np.float32]:
    return np.full((80, 27), tag, np.float32)


@cache
def _face(tag: int, face_id: int) -> FaceCrop:
    return face(0, centre=(tag, tag), face_id=face_id)


@dataclass
class TagPainter:
    """Writes into each picture whose picture, voice and kept face it was drawn from.

    Attributes:
        wrong: Says before each batch what goes wrong with it: an error for all, or for each shot an error or None.
        name: Told from other painters by what it keeps.
        batches: How many pictures were painted together.
        strange: Kept faces that another painter had kept.
    """

    wrong: Callable[[int], Exception | list[Exception | None]] = lambda count: [None] * count
    name: str = "first"
    identity: str = "open_mouth"
    max_batch: int = 8
    batches: list[int] = field(default_factory=list)
    strange: int = 0
    closed: bool = False

    def paint(self, shots: Sequence[Shot]) -> list[Exception | None]:
        self.batches.append(len(shots))
        wrong = self.wrong(len(shots))
        if isinstance(wrong, Exception):
            raise wrong
        pictures = np.stack([shot.frame.planes[0] for shot in shots])
        voices = np.stack([shot.mel for shot in shots])
        kept = [self._kept(shot) for shot in shots]
        drawn = np.stack([pictures[:, 0, 0], voices[:, 40, 13], kept], axis=1)
        for shot, verdict, tags in zip(shots, wrong, drawn, strict=True):
            if verdict is None:
                for place, tag in zip(MARKS, tags, strict=True):
                    shot.frame.planes[0][place] = tag
        return wrong

    def _kept(self, shot: Shot) -> int:
        assert shot.bank is not None
        name, tag = shot.bank.choose(
            shot.face.pts_ns, shot.face.landmarks, (self.name, int(shot.frame.planes[0][0, 0]))
        )
        self.strange += name != self.name
        return int(tag)

    def close(self) -> None:
        self.closed = True


def at_random(seed: int, share: float) -> Callable[[int], Exception | list[Exception | None]]:
    """This share of batches fails altogether, and this share of shots by themselves."""
    dice = random.Random(seed)

    def wrong(count: int) -> Exception | list[Exception | None]:
        if dice.random() < share:
            return EngineError("the batch was to fail")
        return [ValueError("the shot was to fail") if dice.random() < share else None for _ in range(count)]

    return wrong
