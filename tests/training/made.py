"""Clips that need no material: a drawn face whose mouth opens with the loudness of its sound."""

from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from kernels.mel import SAMPLE_RATE_HZ
from kernels.mouth import LOWER_INNER, UPPER_INNER
from training.data.cache import CachedClip, margin_px

FRAME_NS = 40_000_000
JAW_LINE = (187, 192, 138, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 367, 416, 411)
OUTER_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
SIDE = 96 + 2 * margin_px(96)


def made_clip(name: str, person: str, split: str = "train", frames: int = 30, seed: int = 0) -> CachedClip:
    """A clip in the cache's form: skin, eyes, and a dark mouth as tall as the mel is loud."""
    rng = np.random.default_rng(seed)
    knots = rng.random(frames // 3 + 2)
    opening = np.interp(np.arange(frames) / 3, np.arange(len(knots)), knots).astype(np.float32) * np.float32(0.2)
    mel = (-3 + 25 * np.interp(np.arange(frames * 16 // 5) * 12.5, np.arange(frames) * 40.0, opening))[None]
    skin = rng.uniform(120, 220, 3)
    return CachedClip(
        name=name,
        person=person,
        split=split,
        crops=np.stack([_face(float(each), skin) for each in opening]),
        pts_ns=np.arange(frames, dtype=np.int64) * FRAME_NS,
        mel=np.repeat(mel, 80, 0).astype(np.float32),
        opening=opening,
        width=np.full(frames, 0.55, np.float32),
        landmarks=np.zeros((frames, 478, 2), np.float32),
    )


def _face(opening: float, skin: NDArray[np.float64]) -> NDArray[np.uint8]:
    picture = np.broadcast_to(skin.astype(np.uint8), (SIDE, SIDE, 3)).copy()
    picture[36:42, 34:44] = picture[36:42, 68:78] = 20
    half = round(opening * 50)
    picture[80 - half : 81 + half, 44:68] = (60, 10, 10)
    return picture


def write_clip(path: Path, frames: int = 25, flash: int | None = None, *, sound: bool = True) -> Path:
    """A grey 64 x 48 film at 25 fps; picture `flash` is white and a click sounds at its time."""
    samples = np.zeros(frames * SAMPLE_RATE_HZ // 25, np.int16)
    if flash is not None:
        samples[flash * SAMPLE_RATE_HZ // 25] = 30_000
    with av.open(str(path), "w") as container:
        video = container.add_stream("ffv1", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=SAMPLE_RATE_HZ, layout="mono") if sound else None
        for number in range(frames):
            picture = np.full((48, 64, 3), 255 if number == flash else 90, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
        if audio is not None:
            frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
            frame.sample_rate = SAMPLE_RATE_HZ
            container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return path


def drawn_landmarks(frames: int) -> NDArray[np.float32]:
    """Where the drawn face's points lie in the product's crop, float32 [frames, 478, 2]: eyes, nose, jaw and lips."""
    points = np.full((478, 2), 48, np.float32)
    for indices, turn, middle, radii in ((JAW_LINE, -1, (48, 56), (34, 36)), (OUTER_LIPS, -2, (48, 72), (14, 7))):
        angles = np.pi + np.linspace(0, turn * np.pi, len(indices))
        points[list(indices)] = np.stack([np.cos(angles), np.sin(angles)], -1) * radii + middle
    points[[78, 308]] = (36, 72), (60, 72)
    for upper, lower, x in zip(UPPER_INNER[1:-1], LOWER_INNER[1:-1], np.linspace(38, 58, 9), strict=True):
        points[[upper, lower]] = x, 72
    points[[33, 263]] = (27, 31), (69, 31)
    points[[1, 2]] = (48, 44), (48, 47)
    points[152] = 48, 92
    return np.repeat(points[None], frames, 0)
