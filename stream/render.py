"""The stage that makes the lips: crop, generate, paste back in place, mark the picture as synthetic.

A picture whose lips are not made leaves exactly as it came, and a count says why.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.crop import crop_face, drawn_picture, generator_input, in_crop
from kernels.identity import IdentityBank
from kernels.mel import SILENCE
from kernels.mouth import close_mouth
from kernels.paste import mouth_mask, paste_face, resting_mask
from kernels.yuv import Region
from models.catalogue import LoadedEngine
from models.engine import Engine
from stream.badge import DEFAULT_TEXT, Badge
from stream.frames import NS_PER_MS, FaceCrop, Planes, SyncedFrame, VideoFrame

Rgb = NDArray[np.uint8]


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
        taken_up: The face is trusted, with hysteresis.
        seen_ns: When it was last in a picture.
        reference: Its identity pictures, under the policies that keep some.
    """

    alpha: float
    reference: IdentityBank = field(repr=False)
    taken_up: bool = False
    seen_ns: int = 0


class _Shot(NamedTuple):
    """A face of the picture at hand: its crop, uint8 RGB [S, S, 3], and its points in it, float32 [478, 2]."""

    face: FaceCrop
    crop: Rgb
    points: NDArray[np.float32]


class RenderStage:
    """Makes the lips of each picture follow the mel window that came with it.

    One stage serves one session: it remembers faces from picture to picture.

    Args:
        engine: The generator: inputs "face" and "mel", output "picture".
        options: What to make and how to mark it.
        identity: Picture that tells the generator who speaks: "same_frame", "reference" for one of the same face with
            its mouth at rest, "open_mouth" for one with it open; None takes what the engine's manifest says.

    Attributes:
        passed: Pictures that left unchanged, by reason: "no_voice", "no_face", "low_confidence".
        made: Pictures with at least one mouth made.
    """

    name = "render"

    def __init__(
        self, engine: Engine, options: RenderOptions = RenderOptions(), *, identity: str | None = None
    ) -> None:
        self._engine = engine
        self._options = options
        self._identity_policy = identity or _trained_identity(engine)
        self._size = int(engine.inputs["face"].shape[-1] or 0)
        self._mask_row = engine.manifest.crop.mask_row if isinstance(engine, LoadedEngine) else None
        self._mel_shape = tuple(int(side or 1) for side in engine.inputs["mel"].shape[1:])
        self._badge = Badge(options.badge) if options.badge else None
        self._speakers: dict[int, _Speaker] = {}
        self._last_ns: int | None = None
        self._last_mel: NDArray[np.float32] = np.full(self._mel_shape[1:], SILENCE, np.float32)
        self.passed: Counter[str] = Counter()
        self.made = 0

    def process(self, item: SyncedFrame) -> VideoFrame:
        """Return the same frame, its planes changed in place under the mouths and the mark only.

        Raises:
            EngineError: The generator refused; the planes are as they were.
        """
        speaking = self._update(item)
        if not speaking:
            self.passed[self._why_passed(item)] += 1
            return item.frame
        shots = [self._shot(item.frame, face) for face in speaking]
        for shot, picture in zip(shots, self._generate(shots), strict=True):
            self._paste(item.frame, shot, picture)
        if self._badge is not None:
            self._badge.draw(item.frame)
        self.made += 1
        return item.frame

    # -- who speaks, and how much of it is seen ----------------------------------------------------

    def _update(self, item: SyncedFrame) -> list[FaceCrop]:
        """Move every fade on by the time since the last picture; return the faces with some of it left."""
        now_ns = item.frame.pts_ns
        begins = self._last_ns is None or not 0 <= now_ns - self._last_ns <= self._options.forget_ms * NS_PER_MS
        step = 1.0 if begins else (now_ns - (self._last_ns or 0)) / (self._options.fade_ms * NS_PER_MS)
        if begins:
            self._speakers.clear()
        self._last_ns = now_ns
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
        return _Speaker(alpha=0.0, reference=IdentityBank(opened=self._identity_policy == "open_mouth"))

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

    # -- pixels ------------------------------------------------------------------------------------

    def _shot(self, frame: VideoFrame, face: FaceCrop) -> _Shot:
        crop = crop_face(frame.planes, face.to_crop, self._size, frame.colour)
        return _Shot(face, crop, in_crop(face.landmarks, face.to_crop))

    def _generate(self, shots: Sequence[_Shot]) -> list[Rgb]:
        """Run all faces as one batch; return uint8 RGB [S, S, 3] each."""
        inputs = [generator_input(self._identity(shot), self._shown(shot), self._mask_row) for shot in shots]
        mel = np.broadcast_to(self._last_mel, (len(shots), *self._mel_shape))
        # One face is the rule, and stacking would copy it.
        face = inputs[0][None] if len(inputs) == 1 else np.stack(inputs)
        feed = {"face": face, "mel": np.ascontiguousarray(mel, np.float32)}
        return [drawn_picture(each) for each in self._engine.infer(feed)["picture"]]

    def _identity(self, shot: _Shot) -> Rgb:
        if self._identity_policy == "same_frame":
            return shot.crop
        return self._speakers[shot.face.face_id].reference.choose(shot.face.pts_ns, shot.points, shot.crop)

    def _shown(self, shot: _Shot) -> Rgb:
        """The crop itself, or with its mouth shut for a generator from which nothing is hidden."""
        return close_mouth(shot.crop, shot.points) if self._mask_row == self._size else shot.crop

    def _paste(self, frame: VideoFrame, shot: _Shot, picture: Rgb) -> None:
        mask, resting = mouth_mask(shot.points, self._size), resting_mask(shot.points, self._size)
        alpha = self._speakers[shot.face.face_id].alpha
        before = None if alpha >= 1.0 else tuple(plane.copy() for plane in frame.planes)
        to_crop = shot.face.to_crop
        region = paste_face(frame.planes, picture, shot.crop, to_crop, mask, frame.colour, resting=resting)
        if before is not None and not region.is_empty:
            _fade_back(frame.planes, before, region, alpha)


def _trained_identity(engine: Engine) -> str:
    """The identity policy that the generator was exported with."""
    return engine.manifest.crop.identity if isinstance(engine, LoadedEngine) else "same_frame"


def _fade_back(planes: Planes, before: tuple[NDArray[np.uint8], ...], region: Region, alpha: float) -> None:
    """Mix what was pasted with what was there; equal bytes stay as they are.

    The mix is done on the result: a thinner mask would look to the colour match like one wide rim.
    """
    for now, old, view in zip(planes, before, (region.of, region.of_chroma, region.of_chroma), strict=True):
        was = view(old).astype(np.float32)
        view(now)[...] = np.rint(was + np.float32(alpha) * (view(now) - was))
