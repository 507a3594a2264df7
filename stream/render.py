"""The stage that makes the lips: decides who speaks, has it painted in place, marks the picture as synthetic.

A picture whose lips are not made leaves exactly as it came, and a count says why.
The pixels are a painter's work (`stream/painter.py`).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kernels.identity import IdentityBank
from stream.badge import DEFAULT_TEXT, Badge
from stream.frames import NS_PER_MS, FaceCrop, SyncedFrame, VideoFrame
from stream.painter import Painter, Shot


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderOptions:
    """How lips are made.

    Attributes:
        badge: Text of the visible mark; empty for none.
        faces: Every face speaks, or only the largest one.
        trusted: A face this sure is taken up.
        doubted: A face that was taken up is let go below this.
        fade_ms: How long made lips take to appear or vanish; four pictures at 25 a second.
        forget_ms: A face or a stream away for longer than this starts anew.
    """

    badge: str = DEFAULT_TEXT
    faces: Literal["all", "largest"] = "all"
    trusted: float = 0.6
    doubted: float = 0.4
    fade_ms: float = 160.0
    forget_ms: float = 1000.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.doubted <= self.trusted <= 1.0:
            raise ValueError(
                f"doubted is {self.doubted:g} and trusted {self.trusted:g}, expected 0 <= doubted <= trusted <= 1"
            )
        if self.fade_ms <= 0 or self.forget_ms <= 0:
            raise ValueError(f"fade_ms is {self.fade_ms:g} and forget_ms {self.forget_ms:g}, both must be above 0")


@dataclass(slots=True)
class _Speaker:
    """What the stage remembers of one face.

    Attributes:
        alpha: Share of made lips in the picture, 0 to 1.
        bank: Its identity pictures, under the policies that keep some.
        taken_up: The face is trusted, with hysteresis.
        seen_ns: When it was last in a picture.
    """

    alpha: float
    bank: IdentityBank[Any] | None = field(repr=False)
    taken_up: bool = False
    seen_ns: int = 0


class RenderStage:
    """Makes the lips of each picture follow the mel window that came with it.

    One stage serves one session: it remembers faces from picture to picture. Alone, `process` does a picture; where
    several sessions are painted together, `begin` and `finish` stand on both sides of the painting.

    Args:
        painter: Draws.
        options: What to make and how to mark it.

    Attributes:
        painter: The painter that the identity pictures belong to.
        passed: Pictures that left unchanged, by reason: "no_voice", "no_face", "low_confidence".
        made: Pictures with at least one mouth made.
    """

    name = "render"

    def __init__(self, painter: Painter, options: RenderOptions = RenderOptions()) -> None:
        self.painter = painter
        self._options = options
        self._badge = Badge(options.badge) if options.badge else None
        self._speakers: dict[int, _Speaker] = {}
        self._last_ns: int | None = None
        self._last_mel: NDArray[np.float32] | None = None
        self._look: tuple[str, str] | None = None
        self.passed: Counter[str] = Counter()
        self.made = 0

    def process(self, item: SyncedFrame) -> VideoFrame:
        """Return the same frame, its planes changed in place under the mouths and the mark only.

        Raises:
            EngineError: The generator refused; the planes are as they were.
        """
        shots = self.begin(item)
        return self.finish(item, self.painter.paint(shots) if shots else [])

    def begin(self, item: SyncedFrame) -> list[Shot]:
        """Move every fade on by the time since the last picture; return what there is to paint, possibly nothing."""
        speaking = self._update(item)
        # A face is taken up only with a voice, so whoever speaks or fades has been given a window.
        return [
            Shot(
                item.frame, face, self._last_mel, self._speakers[face.face_id].alpha, self._speakers[face.face_id].bank
            )
            for face in speaking
            if self._last_mel is not None
        ]

    def finish(self, item: SyncedFrame, verdicts: Sequence[Exception | None]) -> VideoFrame:
        """Mark and count the picture, once its shots were painted.

        Args:
            item: What `begin` was given last.
            verdicts: The painter's, one for each shot.

        Raises:
            Exception: The first verdict that is one.
        """
        for verdict in verdicts:
            if verdict is not None:
                raise verdict
        if not verdicts:
            self.passed[self._why_passed(item)] += 1
            return item.frame
        if self._badge is not None:
            self._badge.draw(item.frame)
        self.made += 1
        return item.frame

    def move_to(self, painter: Painter) -> None:
        """Go on with another painter, which cannot read what the one before had kept of the faces."""
        self.painter = painter
        self._take_anew()

    def close(self) -> None:
        """Forget every face; called on the painter's thread, where what was kept of them has to end."""
        self._speakers.clear()

    # -- who speaks, and how much of it is seen ----------------------------------------------------

    def _update(self, item: SyncedFrame) -> list[FaceCrop]:
        """Move every fade on; return the faces with some of it left."""
        now_ns = item.frame.pts_ns
        begins = self._last_ns is None or not 0 <= now_ns - self._last_ns <= self._options.forget_ms * NS_PER_MS
        step = 1.0 if begins else (now_ns - (self._last_ns or 0)) / (self._options.fade_ms * NS_PER_MS)
        if begins:
            self._speakers.clear()
        self._last_ns = now_ns
        if item.look != self._look:
            self._look = item.look
            self._take_anew()
        if item.mel is not None:
            self._last_mel = item.mel
        speaking = [face for face in self._chosen(item.faces) if self._fade(face, step, item.mel is not None) > 0.0]
        self._fade_absent(item.faces, step)
        return speaking

    def _chosen(self, faces: Sequence[FaceCrop]) -> Sequence[FaceCrop]:
        if self._options.faces == "all" or len(faces) < 2:
            return faces
        return [max(faces, key=lambda face: float(np.prod(np.ptp(face.landmarks, axis=0))))]

    def _fade(self, face: FaceCrop, step: float, voiced: bool) -> float:
        speaker = self._speakers.setdefault(face.face_id, self._stranger())
        least = self._options.doubted if speaker.taken_up else self._options.trusted
        speaker.taken_up = voiced and face.confidence >= least
        speaker.alpha = min(1.0, max(0.0, speaker.alpha + (step if speaker.taken_up else -step)))
        speaker.seen_ns = face.pts_ns
        return speaker.alpha

    def _stranger(self) -> _Speaker:
        return _Speaker(alpha=0.0, bank=self._new_bank())

    def _take_anew(self) -> None:
        """Forget how faces look, not who speaks."""
        for speaker in self._speakers.values():
            speaker.bank = self._new_bank()

    def _new_bank(self) -> IdentityBank[Any] | None:
        policy = self.painter.identity
        return None if policy == "same_frame" else IdentityBank(opened=policy == "open_mouth")

    def _fade_absent(self, faces: Sequence[FaceCrop], step: float) -> None:
        """A face out of the picture cannot be drawn; it comes back with what the fade has left of it."""
        present = {face.face_id for face in faces}
        for face_id in [each for each in self._speakers if each not in present]:
            speaker = self._speakers[face_id]
            speaker.alpha, speaker.taken_up = max(0.0, speaker.alpha - step), False
            if (self._last_ns or 0) - speaker.seen_ns > self._options.forget_ms * NS_PER_MS:
                del self._speakers[face_id]

    def _why_passed(self, item: SyncedFrame) -> str:
        if item.mel is None:
            return "no_voice"
        return "low_confidence" if item.faces else "no_face"
