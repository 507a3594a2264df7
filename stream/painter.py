"""The pixels of made lips: crop, generate and paste, for all faces that are due together.

Which faces speak, and how much of it is seen, `stream/render.py` has decided; a painter never knows whose they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from kernels.crop import crop_face, drawn_picture, generator_input, in_crop
from kernels.identity import IdentityBank
from kernels.mouth import close_mouth
from kernels.paste import mouth_mask, paste_face, resting_mask
from kernels.yuv import Region
from models.catalogue import LoadedEngine
from models.engine import Engine
from stream.frames import FaceCrop, Planes, VideoFrame
from stream.pipeline import Raised, attempt

Rgb = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Shot:
    """One face to draw in one picture.

    Attributes:
        frame: The picture; its planes are changed in place.
        face: Where the face is in it.
        mel: float32 [80, T], the window that the lips follow.
        alpha: Share of made lips in the picture, above 0 and up to 1.
        bank: Pictures of this face that the painter keeps, in whatever form it likes; None where the policy is
            "same_frame". Only the painter fills it.
    """

    frame: VideoFrame
    face: FaceCrop
    mel: NDArray[np.float32]
    alpha: float
    bank: IdentityBank[Any] | None = field(repr=False)


class Painter(Protocol):
    """Draws lips. Called from one thread, the engine's."""

    @property
    def identity(self) -> str:
        """Which picture tells who speaks: "same_frame", "reference" (mouth at rest) or "open_mouth"."""
        ...

    @property
    def max_batch(self) -> int:
        """Most faces that cost less together than one after the other; 1 where none do."""
        ...

    def paint(self, shots: Sequence[Shot]) -> list[Exception | None]:
        """Draw all shots, each into its own picture.

        A picture is drawn whole or left as it came: where one of its shots fails, so do the others.

        Returns:
            For each shot what went wrong with it, or None.
        """
        ...

    def close(self) -> None:
        """Give back what it holds beside the engine; pictures that it kept in banks may outlive it."""
        ...


class _Cut(NamedTuple):
    """A face that was cut out.

    Attributes:
        crop: uint8 RGB [S, S, 3].
        points: float32 [478, 2], its landmarks in the crop.
        shown: float32 [6, S, S], what the generator is shown.
    """

    crop: Rgb
    points: NDArray[np.float32]
    shown: NDArray[np.float32]


class CpuPainter:
    """Draws with the kernels of this machine's processor, around any engine.

    Args:
        engine: The generator: inputs "face" and "mel", output "picture".
        identity: See `Painter`; None takes what the engine's manifest says.
        max_batch: See `Painter`. The default is what OpenVINO's engine gains from a batch: nothing.
    """

    def __init__(self, engine: Engine, *, identity: str | None = None, max_batch: int = 1) -> None:
        self._engine = engine
        self._size = int(engine.inputs["face"].shape[-1] or 0)
        self._mel_shape = engine.inputs["mel"].shape[-2:]
        self._mask_row = engine.manifest.crop.mask_row if isinstance(engine, LoadedEngine) else None
        self.identity = identity or _trained_identity(engine)
        self.max_batch = max_batch

    def paint(self, shots: Sequence[Shot]) -> list[Exception | None]:
        """See `Painter.paint`."""
        # All are cut before any is drawn: faces of one picture may overlap.
        cuts = [attempt(self._cut, shot) for shot in shots]
        spoiled = {id(shot.frame): cut.error for shot, cut in zip(shots, cuts, strict=True) if isinstance(cut, Raised)}
        sound = [
            (shot, cut)
            for shot, cut in zip(shots, cuts, strict=True)
            if not isinstance(cut, Raised) and id(shot.frame) not in spoiled
        ]
        if sound:
            spoiled |= self._drawn(sound)
        return [spoiled.get(id(shot.frame)) for shot in shots]

    def close(self) -> None:
        """Nothing is held."""

    def _cut(self, shot: Shot) -> _Cut:
        # What does not fit would fail the others of its batch.
        if shot.mel.shape != self._mel_shape:
            raise ValueError(f"the mel window is {list(shot.mel.shape)}, the generator takes {list(self._mel_shape)}")
        face = shot.face
        crop = crop_face(shot.frame.planes, face.to_crop, self._size, shot.frame.colour)
        points = in_crop(face.landmarks, face.to_crop)
        identity = crop if shot.bank is None else shot.bank.choose(face.pts_ns, points, crop)
        # From a generator whose mask hides nothing the picture's own mouth has to be hidden otherwise.
        target = close_mouth(crop, points) if self._mask_row == self._size else crop
        return _Cut(crop, points, generator_input(identity, target, self._mask_row))

    def _drawn(self, sound: Sequence[tuple[Shot, _Cut]]) -> dict[int, Exception]:
        """Generate and paste; return what went wrong, by the identity of the picture."""
        pictures = attempt(self._generate, sound)
        if isinstance(pictures, Raised):
            return {id(shot.frame): pictures.error for shot, _ in sound}
        pasted = [attempt(self._paste, shot, cut, each) for (shot, cut), each in zip(sound, pictures, strict=True)]
        return {
            id(shot.frame): done.error
            for (shot, _), done in zip(sound, pasted, strict=True)
            if isinstance(done, Raised)
        }

    def _generate(self, sound: Sequence[tuple[Shot, _Cut]]) -> list[Rgb]:
        """Run all faces as one batch; return uint8 RGB [S, S, 3] each."""
        # One face is the rule, and stacking would copy it.
        face = sound[0][1].shown[None] if len(sound) == 1 else np.stack([cut.shown for _, cut in sound])
        mel = np.stack([shot.mel for shot, _ in sound])[:, None].astype(np.float32, copy=False)
        return [drawn_picture(each) for each in self._engine.infer({"face": face, "mel": mel})["picture"]]

    def _paste(self, shot: Shot, cut: _Cut, picture: Rgb) -> None:
        planes, to_crop = shot.frame.planes, shot.face.to_crop
        mask, resting = mouth_mask(cut.points, self._size), resting_mask(cut.points, self._size)
        before = None if shot.alpha >= 1.0 else tuple(plane.copy() for plane in planes)
        region = paste_face(planes, picture, cut.crop, to_crop, mask, shot.frame.colour, resting=resting)
        if before is not None and not region.is_empty:
            _fade_back(planes, before, region, shot.alpha)


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
