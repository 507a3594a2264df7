"""Small clips and sounds of every awkward kind, made when a test needs them."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

SAMPLE = Path(__file__).parents[2] / "stream" / "assets" / "sample.mp4"
VOICE = Path(__file__).parents[2] / "stream" / "assets" / "voice.wav"


def picture(number: int, width: int, height: int) -> NDArray[np.uint8]:
    """A smooth RGB picture that differs from number to number and from corner to corner."""
    y, x = np.mgrid[0:height, 0:width]
    red = 255 * x / max(1, width - 1)
    green = 255 * y / max(1, height - 1)
    blue = np.full_like(red, number * 5 % 256, np.float64)
    return np.stack([red, green, blue], -1).astype(np.uint8)


def make_clip(
    path: Path,
    *,
    pts: Sequence[int] = tuple(range(10)),
    time_base: Fraction = Fraction(1, 25),
    width: int = 64,
    height: int = 48,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    rotation: int = 0,
    hflip: bool = False,
    aspect: Fraction | None = None,
    sound_s: float | None = None,
    sound_at_s: float = 0.0,
    colour: dict[str, int] | None = None,
    metadata: dict[str, str] | None = None,
) -> Path:
    """Write a clip; `sound_s` seconds of a 440 Hz tone at 44.1 kHz stereo go with it from `sound_at_s` on."""
    with av.open(str(path), "w") as container:
        container.metadata.update(metadata or {})
        options = {"crf": "10"} if codec == "libx264" else {}
        stream: Any = container.add_stream(codec, rate=1 / (time_base * (pts[1] - pts[0])), options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.time_base = stream.codec_context.time_base = time_base
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        for key, value in (colour or {}).items():
            setattr(stream.codec_context, key, value)
        if rotation or hflip:
            stream.set_display_rotation(rotation, hflip=hflip)
        tone = container.add_stream("aac", rate=44_100, layout="stereo") if sound_s else None
        for number, tick in enumerate(pts):
            frame = av.VideoFrame.from_ndarray(picture(number, width, height), "rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = tick, time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if tone is not None and sound_s:
            _write_tone(container, tone, sound_s, round(sound_at_s * 44_100))
    return path


def _write_tone(container: Any, stream: Any, seconds: float, first: int) -> None:
    samples = 0.3 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * 44_100)) / 44_100)
    for start in range(0, len(samples), 1024):
        block = np.ascontiguousarray(np.tile(samples[start : start + 1024], (2, 1)), np.float32)
        frame = av.AudioFrame.from_ndarray(block, "fltp", "stereo")
        frame.sample_rate, frame.pts, frame.time_base = 44_100, first + start, Fraction(1, 44_100)
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def make_sound(
    path: Path,
    samples: NDArray[np.float32],
    rate_hz: int,
    *,
    codec: str = "pcm_s16le",
    layout: str = "mono",
    sample_format: str = "s16",
) -> Path:
    """Write float32 [channels, n] or [n] in any codec and layout."""
    channels = np.atleast_2d(samples).astype(np.float32)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=rate_hz, layout=layout)
        stream.format = sample_format
        resampler = av.AudioResampler(format=sample_format, layout=layout, rate=rate_hz)
        for start in range(0, channels.shape[1], 1024):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(channels[:, start : start + 1024]), "fltp", layout)
            frame.sample_rate, frame.pts, frame.time_base = rate_hz, start, Fraction(1, rate_hz)
            for each in resampler.resample(frame):
                container.mux(stream.encode(each))
        container.mux(stream.encode())
    return path


def pts_of(path: Path) -> list[Fraction]:
    """Times of all pictures in seconds, as the file says."""
    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0)]
