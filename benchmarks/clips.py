"""Test material made at run time: numbered frames as a camera, chirps as a microphone, real clips as Y4M.

Nothing here is stored: a Y4M of 640x480 takes 0.46 MB per frame.
"""

import wave
from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

CELL_PX = 16
NUMBER_BITS = 12
CELLS = NUMBER_BITS + 1  # the last cell is even parity
SAMPLE_RATE_HZ = 48_000
CHIRP_PERIOD_S = 0.5
CHIRP_S = 0.12


def draw_number(luma: NDArray[np.uint8], number: int) -> None:
    """Write `number` into the top left corner of a luma plane, in place.

    Args:
        luma: uint8 [H, W]; W must hold 13 cells of 16 px.
        number: 0 to 4095, most significant bit first, followed by even parity.
    """
    bits = [(number >> shift) & 1 for shift in range(NUMBER_BITS - 1, -1, -1)]
    bits.append(sum(bits) & 1)
    for index, bit in enumerate(bits):
        luma[:CELL_PX, index * CELL_PX : (index + 1) * CELL_PX] = 235 if bit else 16


def read_number(luma: NDArray[np.uint8]) -> int | None:
    """Read what `draw_number` wrote; None where the parity is wrong."""
    middle = CELL_PX // 4
    cells = [
        luma[middle : CELL_PX - middle, i * CELL_PX + middle : (i + 1) * CELL_PX - middle].mean() > 125
        for i in range(CELLS)
    ]
    if sum(cells) & 1:
        return None
    return sum(int(bit) << (NUMBER_BITS - 1 - i) for i, bit in enumerate(cells[:NUMBER_BITS]))


def write_y4m(path: Path, frames: Iterable[NDArray[np.uint8]], width: int, height: int, fps: int) -> int:
    """Write the file that Chromium takes for a camera, of yuv420p frames uint8 [H * 3 // 2, W]; returns how many."""
    count = 0
    with path.open("wb") as out:
        out.write(f"YUV4MPEG2 W{width} H{height} F{fps}:1 Ip A1:1 C420jpeg\n".encode())
        for frame in frames:
            out.write(b"FRAME\n")
            out.write(frame.tobytes())
            count += 1
    return count


def portrait_frames(width: int, height: int, fps: int, seconds: float) -> Iterator[NDArray[np.uint8]]:
    """A drawn head that nods and talks over a noisy background: cheap to make, as hard to encode as a web camera."""
    generator = np.random.default_rng(7)
    noise = generator.normal(0, 4, (height * 2, width * 2, 1)).astype(np.float32)
    shade = np.linspace(90, 150, width, dtype=np.float32)[None, :, None] * np.array([1.0, 0.95, 0.9], np.float32)
    scale = height / 480
    for index in range(round(fps * seconds)):
        t = index / fps
        dy, dx = generator.integers(0, height), generator.integers(0, width)
        picture = np.clip(shade + noise[dy : dy + height, dx : dx + width], 0, 255).astype(np.uint8)
        centre = np.array([width / 2 + 14 * scale * np.sin(2.1 * t), height * 0.55 + 8 * scale * np.sin(3.3 * t)])
        _draw_head(picture, centre, scale, opening=0.5 + 0.5 * np.sin(2 * np.pi * 4 * t))
        yield cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420)


def _draw_head(picture: NDArray[np.uint8], centre: NDArray[np.float64], scale: float, *, opening: float) -> None:
    def at(x: float, y: float) -> tuple[int, int]:
        return int(centre[0] + x * scale), int(centre[1] + y * scale)

    def ellipse(x: float, y: float, w: float, h: float, colour: tuple[int, int, int]) -> None:
        axes = (max(1, int(w * scale)), max(1, int(h * scale)))
        cv2.ellipse(picture, at(x, y), axes, 0, 0, 360, colour, -1, cv2.LINE_AA)

    ellipse(0, 190, 170, 90, (96, 72, 60))
    ellipse(0, 0, 105, 138, (150, 178, 215))
    ellipse(0, -100, 108, 62, (40, 52, 70))
    for side in (-1, 1):
        ellipse(side * 40, -20, 15, 8, (245, 245, 245))
        ellipse(side * 40, -20, 6, 7, (60, 50, 40))
    ellipse(0, 20, 10, 20, (130, 158, 198))
    ellipse(0, 72, 34, 5 + 16 * opening, (70, 60, 150))


def numbered(frames: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    """Put each frame's index into its corner."""
    for index, frame in enumerate(frames):
        numbered_frame = frame.copy()
        draw_number(numbered_frame, index)
        yield numbered_frame


def clip_frames(path: Path, width: int, height: int, fps: int) -> Iterator[NDArray[np.uint8]]:
    """A real clip, resampled in time and covering the asked size, for as long as it lasts."""
    with av.open(str(path)) as container:
        aspect = float(container.streams.video[0].sample_aspect_ratio or 1)
        for frame in _resampled(container, fps):
            picture = frame.to_ndarray(format="bgr24").astype(np.uint8, copy=False)
            yield cv2.cvtColor(_cover(picture, aspect, width, height), cv2.COLOR_BGR2YUV_I420)


def _resampled(container: av.container.InputContainer, fps: int) -> Iterator[av.VideoFrame]:
    """The first frame that has begun at each tick of `fps`."""
    ticks, start_s = 0, None
    for frame in container.decode(video=0):
        start_s = frame.time if start_s is None else start_s
        while ticks / fps <= frame.time - start_s + 1e-6:
            yield frame
            ticks += 1


def _cover(picture: NDArray[np.uint8], aspect: float, width: int, height: int) -> NDArray[np.uint8]:
    """Scale square pixels out of pixels `aspect` wide, and cut what stands over."""
    natural = picture.shape[1] * aspect
    scale = max(width / natural, height / picture.shape[0])
    size = (max(width, round(natural * scale)), max(height, round(picture.shape[0] * scale)))
    scaled = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return np.ascontiguousarray(scaled[top : top + height, left : left + width])


def clip_sound(path: Path) -> NDArray[np.float32]:
    """The sound of a clip: float32 [n], 48 kHz mono; empty where it has none."""
    chunks: list[NDArray[np.float32]] = []
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return np.zeros(0, np.float32)
        resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE_HZ)
        for frame in container.decode(audio=0):
            chunks += [part.to_ndarray().reshape(-1).astype(np.float32) for part in resampler.resample(frame)]
    return np.concatenate(chunks) if chunks else np.zeros(0, np.float32)


def write_wav(path: Path, samples: NDArray[np.float32], sample_rate_hz: int = SAMPLE_RATE_HZ) -> None:
    """Write float32 [n] in [-1, 1] as 16-bit mono."""
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(sample_rate_hz)
        out.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())


def chirp(*, rising: bool, sample_rate_hz: int = SAMPLE_RATE_HZ) -> NDArray[np.float32]:
    """120 ms between 600 and 3000 Hz: found again by correlation even with a packet of 20 ms missing."""
    t = np.arange(round(CHIRP_S * sample_rate_hz)) / sample_rate_hz
    low_hz, high_hz = (600.0, 3000.0) if rising else (3000.0, 600.0)
    phase = 2 * np.pi * (low_hz * t + (high_hz - low_hz) * t**2 / (2 * CHIRP_S))
    return (0.5 * np.sin(phase) * np.hanning(len(t)) ** 0.25).astype(np.float32)


def chirps(seconds: float) -> NDArray[np.float32]:
    """Rising and falling chirps by turns, one every 500 ms: a delay below 1 s is read without ambiguity."""
    samples = np.zeros(round(seconds * SAMPLE_RATE_HZ), np.float32)
    for index in range(int(seconds / CHIRP_PERIOD_S)):
        sound = chirp(rising=index % 2 == 0)
        start = round(index * CHIRP_PERIOD_S * SAMPLE_RATE_HZ)
        samples[start : start + len(sound)] = sound[: len(samples) - start]
    return samples
