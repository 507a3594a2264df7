"""Faces of the bundled clip with the bundled voice, as serving feeds them to a generator: what engines are checked on.

`Samples` is defined where torch is at home, and loaded when it is asked for: serving does without.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kernels.crop import crop_face, crop_transform, generator_input, in_crop
from kernels.mel import MelWindow
from kernels.mouth import close_mouth
from models.landmarks import LandmarkNetworks
from stream.media import ClipReader
from stream.voice import VoiceTrack

if TYPE_CHECKING:
    from models.graphs import Samples

_ASSETS = Path(__file__).parent / "assets"
_EVERY = 5
_CROP_PX = 96


def bundled_samples(
    window: MelWindow, crop_px: int = _CROP_PX, *, masked: bool = True, every: int = _EVERY
) -> "tuple[Samples, Samples]":
    """Real inputs of a generator, each face its own identity.

    Args:
        window: The network's.
        crop_px: The network's.
        masked: The face has its lower half hidden; otherwise its mouth is shut.
        every: Which of the clip's pictures, whose voice begins with silence: all of it is needed, not its beginning.

    Returns:
        For calibration, and for the check: every other picture.
    """
    from models.graphs import Samples

    voice = VoiceTrack.open(_ASSETS / "voice.wav", window=window)
    networks = LandmarkNetworks()
    faces: list[NDArray[np.float32]] = []
    mels: list[NDArray[np.float32]] = []
    for index, frame in enumerate(ClipReader(_ASSETS / "sample.mp4").frames()):
        for mesh in networks.find(frame.planes, colour=frame.colour) if index % every == 0 else []:
            landmarks = np.ascontiguousarray(mesh.points[:, :2])
            to_crop = crop_transform(landmarks, crop_px)
            crop = crop_face(frame.planes, to_crop, crop_px, frame.colour)
            shown = crop if masked else close_mouth(crop, in_crop(landmarks, to_crop))
            faces.append(generator_input(crop, shown) if masked else generator_input(crop, shown, crop_px))
            mels.append(voice.mel(frame.pts_ns)[None])
    parts = (Samples(np.stack(faces[begin::2]), np.stack(mels[begin::2])) for begin in (0, 1))
    return next(parts), next(parts)
