"""Lips against sound on real clips: with a generator that can be read like a gauge, and with the trained one."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.av_lag import Curve, best_lag, dub, finder_for
from kernels.crop import crop_face, crop_transform
from kernels.mel import COLUMN_NS, LIPGAN_WINDOW, MAX_ABS, SAMPLE_RATE_HZ, mel_spectrogram
from models.engine import Engine, TensorSpec
from stream.faces import open_face_finder
from stream.frames import NS_PER_S
from stream.media import ClipReader, decode_sound
from stream.passage import Spoken

SIZE = 96
# Where the gauge is painted into the crop, and where it is read: well inside, away from the blend.
_PAINTED = (slice(54, 74), slice(34, 62))
_READ = (slice(60, 68), slice(42, 54))
WINDOW_S = 1.0
# Below this correlation the gauge is not seen (a turned or covered face).
_SEEN = 0.8


@dataclass
class GaugeGenerator:
    """Paints the mouth as bright as the mel is loud at the picture's time: its lips are true by construction."""

    backend: str = "gauge"
    precision: str = "fp32"
    inputs: Mapping[str, TensorSpec] = field(
        default_factory=lambda: {
            "face": TensorSpec("face", (None, 6, SIZE, SIZE)),
            "mel": TensorSpec("mel", (None, 1, 80, LIPGAN_WINDOW.columns)),
        }
    )
    outputs: Mapping[str, TensorSpec] = field(
        default_factory=lambda: {"picture": TensorSpec("picture", (None, 3, SIZE, SIZE))}
    )

    def infer(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Paint."""
        picture = feed["face"][:, :3].copy()
        loud = feed["mel"][:, 0, :, LIPGAN_WINDOW.past].mean(axis=1)
        picture[:, :, _PAINTED[0], _PAINTED[1]] = ((loud + MAX_ABS) / (2 * MAX_ABS))[:, None, None, None]
        return {"picture": picture}

    def close(self) -> None:
        """Hold nothing."""


def gauge_offsets_ms(clip: Path, voice: Path | Spoken) -> list[float]:
    """Dub with the gauge, read it off the written file, and hold it against the file's own sound.

    Returns:
        Signed A/V offset of every second that speaks, in milliseconds.
    """
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "dubbed.mp4"
        dub(clip, voice, output, GaugeGenerator(), finder_for(GaugeGenerator()))
        found, truth = gauge(output, clip), loudness(decode_sound(output, output.name, rate_hz=SAMPLE_RATE_HZ))
    return offsets_ms(found, truth)


def offsets_ms(found: Curve, truth: Curve) -> list[float]:
    """Signed A/V offset of every second in which the lips are seen to follow the sound.

    Args:
        found: Of the lips.
        truth: Of the sound.
    """
    offsets = []
    for begin_s in np.arange(0.5, min(found[0][-1], truth[0][-1]) - WINDOW_S - 0.5, WINDOW_S):
        late_s, alike = best_lag(truth, found, begin_s, begin_s + WINDOW_S)
        if alike > _SEEN:
            # A mouth that is late makes the sound early.
            offsets.append(-late_s * 1000)
    return offsets


def gauge(path: Path, original: Path) -> Curve:
    """Read the gauge: brightness of the mouth in the crop; faces are found in the original, where they still are."""
    finder = open_face_finder()
    times, levels = [], []
    for frame, plain in zip(ClipReader(path).frames(), ClipReader(original).frames(), strict=True):
        faces = finder.find(plain)
        if faces and faces[0].confidence >= 0.9:
            crop = crop_face(frame.planes, crop_transform(faces[0].landmarks, SIZE), SIZE, frame.colour)
            times.append(frame.pts_ns / NS_PER_S)
            levels.append(float(crop[_READ].mean()))
    finder.close()
    return np.array(times), np.array(levels)


def loudness(samples: NDArray[np.float32]) -> Curve:
    """Mean mel level of a sound, float32 [n] at 16 kHz, column by column."""
    mel = mel_spectrogram(samples)
    return np.arange(mel.shape[1]) * COLUMN_NS / NS_PER_S, mel.mean(axis=0).astype(np.float64)


@dataclass(frozen=True, slots=True)
class LipsResult:
    """One clip dubbed with another one's sound.

    Attributes:
        picture: The clip whose face speaks.
        sound: The clip whose voice it speaks with, and whose own mouth is the truth.
        alike: Correlation of the two openings at the best lag.
        own: The same between the output and the picture clip's own mouth: what has leaked.
        offset_ms: Signed A/V offset.
    """

    picture: str
    sound: str
    alike: float
    own: float
    offset_ms: float


def opening(path: Path) -> Curve:
    """Times in seconds, and how far the lips are apart in distances between the eyes' outer corners."""
    finder = open_face_finder()
    times, gaps = [], []
    for frame in ClipReader(path).frames():
        faces = finder.find(frame)
        if faces:
            points = faces[0].landmarks.astype(np.float64)
            times.append(frame.pts_ns / NS_PER_S)
            gaps.append(np.linalg.norm(points[13] - points[14]) / np.linalg.norm(points[33] - points[263]))
    finder.close()
    return np.array(times), np.array(gaps)


def lips_offsets(clips: Sequence[Path], truth: Mapping[Path, Curve], engine: Engine) -> Iterator[LipsResult]:
    """Dub each clip with the sound of the next one; `truth` holds each clip's own opening."""
    with tempfile.TemporaryDirectory() as folder:
        yield from _lips_offsets(clips, truth, Path(folder) / "dubbed.mp4", engine)


def alike_by_chance(truth: Mapping[Path, Curve]) -> float:
    """Say how alike the mouths of two different clips are at their best lag: the 95th percentile over all pairs.

    Mouths that are not more alike than this say nothing in common, and their lag means nothing.
    """
    curves = list(truth.values())
    pairs = [best_lag(a, b)[1] for a in curves for b in curves if a is not b]
    return float(np.percentile(pairs, 95))


def _lips_offsets(
    clips: Sequence[Path], truth: Mapping[Path, Curve], output: Path, engine: Engine
) -> Iterator[LipsResult]:
    for picture, sound in zip(clips, [*clips[1:], clips[0]], strict=True):
        dub(picture, sound, output, engine, finder_for(engine))
        found = opening(output)
        late_s, alike = best_lag(truth[sound], found)
        _, own = best_lag(truth[picture], found)
        # A mouth that is late makes the sound early.
        yield LipsResult(picture.name, sound.name, round(alike, 3), round(own, 3), round(-late_s * 1000, 1))


def meter_errors_ms(clip: Path) -> dict[str, float]:
    """What the lips' meter reads, beyond the truth, for a mouth shifted by known times."""
    times, gaps = opening(clip)
    return {
        f"{shift_ms:+d} ms": round(best_lag((times, gaps), (times + shift_ms / 1000, gaps))[0] * 1000 - shift_ms, 2)
        for shift_ms in (-120, -40, 0, 40, 120)
    }
