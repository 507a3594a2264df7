"""A short film of an evaluation: real, own sound, foreign sound and silence beside each other, with what they heard.

The sound is made from mel columns (`training.griffin_lim`), so it sounds like a robot; it is there to judge sync by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.mel import NS_PER_S, SAMPLE_RATE_HZ
from training.clip_figures import Measured
from training.griffin_lim import voice_of

Pictures = NDArray[np.uint8]

PANELS = ("real", "own sound", "foreign sound", "silence")
PANEL_PX = 192
BAND_PX = 16
HEARD, NOT_HEARD = (255, 220, 60), (150, 150, 150)
QUALITY = 29
"""x264's constant rate factor: half a minute of four faces stays well below 2 MiB."""
_BLOCK = 1024


def write_side_by_side(path: Path, clips: Sequence[Measured]) -> None:
    """Show each clip once with its own and once with the foreign sound; what is heard has its name lit.

    Args:
        path: MP4 to write.
        clips: All of one frame rate, as far as a viewer cares: the first one's is taken.
    """
    scenes = [(clip, heard) for clip in clips for heard in clip.heard]
    rate = Fraction(NS_PER_S, clips[0].frame_ns).limit_denominator(1001)
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as film:
        video = film.add_stream("libx264", rate=rate, options={"crf": str(QUALITY), "preset": "veryfast"})
        side_px = min(PANEL_PX, clips[0].strips["real"].shape[1]) // 2 * 2
        names = [name for name in PANELS if name in clips[0].strips]
        video.width, video.height, video.pix_fmt = side_px * len(names), side_px + BAND_PX, "yuv420p"
        audio = film.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="mono")
        voices = []
        for clip, heard in scenes:
            count = min(len(clip.strips[name]) for name in names)
            for index in range(count):
                picture = _beside({name: clip.strips[name][index] for name in names}, heard, side_px)
                film.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            samples = np.zeros(round(count * SAMPLE_RATE_HZ / rate), np.float32)
            voice = voice_of(clip.heard[heard])[: len(samples)]
            samples[: len(voice)] = voice
            voices.append(samples)
        film.mux(video.encode(None))
        _write_sound(film, audio, np.concatenate(voices))


def _beside(pictures: Mapping[str, Pictures], heard: str, side_px: int) -> Pictures:
    panels = []
    for name, picture in pictures.items():
        band = np.zeros((BAND_PX, side_px, 3), np.uint8)
        colour = HEARD if name == heard else NOT_HEARD
        cv2.putText(band, name, (4, BAND_PX - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, 1, cv2.LINE_AA)
        panels.append(np.vstack([band, cv2.resize(picture, (side_px, side_px), interpolation=cv2.INTER_AREA)]))
    return np.hstack(panels)


def _write_sound(film: av.container.OutputContainer, stream: av.AudioStream, samples: NDArray[np.float32]) -> None:
    for start in range(0, len(samples), _BLOCK):
        frame = av.AudioFrame.from_ndarray(samples[None, start : start + _BLOCK], "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE_HZ, start, Fraction(1, SAMPLE_RATE_HZ)
        film.mux(stream.encode(frame))
    film.mux(stream.encode(None))
