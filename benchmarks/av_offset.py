"""Signed A/V offset of dubbed files, on clips whose truth is known.

`python -m benchmarks run av_offset [--suite flash|lips|all] [--clips FOLDER]`.
Offset = time of the sound minus time of the picture that belongs to it:
positive, the sound is late. Two truths:

flash   A made clip flashes when its voice beeps. What `visavis dub` writes is
        decoded, and every flash is held against its beep: clocks, containers,
        resampling and codecs, to a fraction of a millisecond.
lips    Clip A is dubbed with the sound of clip B. The mouth in the output must
        move as B's own mouth did, at the same time: the lag between the two
        openings is the error of the lips, voice, mel window, generator and all.
"""

import argparse
import asyncio
import tempfile
import wave
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import percentiles, write_result
from models.catalogue import load_engine
from models.engine import Engine
from stream.dub import Dub
from stream.dub_job import DubJob
from stream.faces import FaceFinder, open_face_finder
from stream.frames import NS_PER_S
from stream.media import ClipReader, Encoding, decode_sound
from stream.render import RenderOptions
from stream.voice import EAR_RATE_HZ

Samples = NDArray[np.float32]

SECONDS = 20
BEEP_S = 0.02
BEEP_HZ = 1000.0
VOICE_RATES_HZ = (48_000, 44_100, 22_050, 8_000)
# The same event may be this far off and still be found.
REACH_S = 0.3
# Openings are compared every 5 ms, from -300 to 300 ms.
GRID_S = 0.005
# Below this correlation two mouths do not say the same, and their lag means nothing.
ALIKE = 0.4

_DRAW_SEED = 20


def clocks() -> dict[str, tuple[Fraction, list[int]]]:
    """Time base and pts of every kind of clip, 20 s each."""
    steps = np.random.default_rng(_DRAW_SEED).integers(20, 80, 2000)
    variable = np.concatenate([[0], np.cumsum(steps)])
    return {
        "23.976": (Fraction(1, 24_000), [1001 * n for n in range(SECONDS * 24_000 // 1001)]),
        "25": (Fraction(1, 12_800), [512 * n for n in range(SECONDS * 25)]),
        "29.97": (Fraction(1, 30_000), [1001 * n for n in range(SECONDS * 30_000 // 1001)]),
        "variable": (Fraction(1, 1000), [int(tick) for tick in variable if tick < SECONDS * 1000]),
    }


def flash_numbers(time_base: Fraction, pts: Sequence[int]) -> list[int]:
    """The picture nearest after each whole second and a third."""
    times = np.array([float(tick * time_base) for tick in pts])
    return [int(np.searchsorted(times, second + 1 / 3)) for second in range(SECONDS - 1)]


def write_flashes(path: Path, time_base: Fraction, pts: Sequence[int]) -> list[float]:
    """Write dark pictures with a white one per second; return the times of the white ones in seconds."""
    flashes = set(flash_numbers(time_base, pts))
    with av.open(str(path), "w", options={"video_track_timescale": str(time_base.denominator)}) as container:
        stream = container.add_stream("libx264", rate=1 / (time_base * (pts[1] - pts[0])), options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        stream.time_base = stream.codec_context.time_base = time_base
        for number, tick in enumerate(pts):
            level = 235 if number in flashes else 16
            grey = np.full((180, 160), 128, np.uint8)
            grey[:120] = level
            frame = av.VideoFrame.from_ndarray(grey, "yuv420p")
            frame.pts, frame.time_base = tick, time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return [float(pts[number] * time_base) for number in sorted(flashes)]


def beep(rate_hz: int, phase_s: float = 0.0) -> Samples:
    """One beep; its first sample lies `phase_s` after its beginning."""
    time_s = np.arange(round(BEEP_S * rate_hz)) / rate_hz + phase_s
    return (0.5 * np.sin(2 * np.pi * BEEP_HZ * time_s)).astype(np.float32)


def write_beeps(path: Path, times_s: Sequence[float], rate_hz: int) -> None:
    """Write a WAV that beeps at exactly these times, between samples if need be."""
    sound = np.zeros(SECONDS * rate_hz, np.float32)
    for begin_s in times_s:
        first = int(np.ceil(begin_s * rate_hz))
        tone = beep(rate_hz, first / rate_hz - begin_s)
        sound[first : first + len(tone)] = tone
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes((sound * 32767).astype("<i2").tobytes())


def find_flashes(path: Path) -> list[float]:
    """Times of the bright pictures of a file in seconds."""
    return [frame.pts_ns / NS_PER_S for frame in ClipReader(path).frames() if frame.planes[0].mean() > 128]


def find_beeps(path: Path, near_s: Sequence[float]) -> list[float]:
    """Where in a file's sound the beeps begin, by cross-correlation, one near each of these times."""
    sound, template = decode_sound(path, path.name), beep(EAR_RATE_HZ)
    found = []
    for second in near_s:
        start = max(0, round((second - REACH_S) * EAR_RATE_HZ))
        piece = sound[start : round((second + REACH_S) * EAR_RATE_HZ) + len(template)]
        score = np.correlate(piece, template, "valid")
        found.append((start + _peak(score)) / EAR_RATE_HZ)
    return found


def _peak(values: NDArray[np.floating[Any]]) -> float:
    """Index of the maximum, between the samples by a parabola."""
    at = int(np.argmax(values))
    if not 0 < at < len(values) - 1:
        return float(at)
    before, here, after = (float(value) for value in values[at - 1 : at + 2])
    bend = before - 2 * here + after
    return at + (0.5 * (before - after) / bend if bend else 0.0)


class NoFaces:
    """A finder that finds nothing: the pictures pass, and the work is that of clocks and codecs."""

    def find(self, _frame: object) -> list[Any]:
        """Find nothing."""
        return []

    def close(self) -> None:
        """Hold nothing."""


def dub(source: Path, voice: Path, output: Path, engine: Engine, finder: FaceFinder) -> None:
    """Dub as the command does, without a mark and at a quality that hides nothing."""
    job = DubJob(
        source=source,
        voice=voice,
        output=output,
        overwrite=True,
        keep_going=True,
        render=RenderOptions(badge=""),
        encoding=Encoding(quality=14),
    )
    asyncio.run(Dub(job, engine, lambda: finder).run())


def flash_offsets_ms(folder: Path, engine: Engine) -> dict[str, list[float]]:
    """Signed offset of every event, by clock and rate of the voice."""
    found = {}
    for index, (name, (time_base, pts)) in enumerate(clocks().items()):
        rate_hz = VOICE_RATES_HZ[index % len(VOICE_RATES_HZ)]
        source, voice, output = folder / "flash.mp4", folder / "beep.wav", folder / "dubbed.mp4"
        write_beeps(voice, write_flashes(source, time_base, pts), rate_hz)
        dub(source, voice, output, engine, NoFaces())
        flashes = find_flashes(output)
        beeps = find_beeps(output, flashes)
        found[f"{name} fps, voice {rate_hz} Hz"] = [(b - f) * 1000 for b, f in zip(beeps, flashes, strict=True)]
    return found


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


def opening(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
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


def best_lag(
    truth: tuple[NDArray[np.float64], NDArray[np.float64]], found: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> tuple[float, float]:
    """How late `found` is behind `truth` in seconds, and how alike the two are then."""
    end_s = min(truth[0][-1], found[0][-1])
    grid = np.arange(REACH_S, end_s - REACH_S, GRID_S)
    lags = np.arange(-REACH_S, REACH_S + GRID_S / 2, GRID_S)
    fixed = np.interp(grid, *truth)
    score = np.array([np.corrcoef(fixed, np.interp(grid + lag, *found))[0, 1] for lag in lags])
    return -REACH_S + _peak(score) * GRID_S, float(score.max())


def lips_offsets(clips: Sequence[Path], folder: Path, engine: Engine) -> Iterator[LipsResult]:
    """Dub each clip with the sound of the next one."""
    truth = {clip: opening(clip) for clip in clips}
    for picture, sound in zip(clips, [*clips[1:], clips[0]], strict=True):
        output = folder / "dubbed.mp4"
        dub(picture, sound, output, engine, open_face_finder())
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


def main(argv: Sequence[str]) -> int:
    """Measure, print, and write one JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks run av_offset", description=__doc__)
    parser.add_argument("--suite", choices=("flash", "lips", "all"), default="all")
    parser.add_argument("--clips", type=Path, help="folder of talking clips with their own sound, for the lips")
    arguments = parser.parse_args(list(argv))
    body: dict[str, Any] = {}
    engine = load_engine()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.suite in ("flash", "all"):
            body["flash"] = _flash(Path(folder), engine)
        if arguments.suite in ("lips", "all") and arguments.clips:
            body["lips"] = _lips(arguments.clips, Path(folder), engine)
    body["engine"] = str(engine)
    engine.close()
    print(write_result("av_offset", body))
    return 0


def _flash(folder: Path, engine: Engine) -> dict[str, Any]:
    found = {}
    for name, offsets in flash_offsets_ms(folder, engine).items():
        figures = percentiles(offsets)
        found[name] = asdict(figures)
        print(f"flash, {name}: median {figures.p50:+.2f} ms, {figures.min:+.2f} to {figures.max:+.2f}, {len(offsets)}")
    return found


def _lips(clips: Path, folder: Path, engine: Engine) -> dict[str, Any]:
    paths = sorted(path for path in clips.iterdir() if path.suffix in (".mp4", ".mpg", ".mov", ".mkv"))
    results = []
    for result in lips_offsets(paths, folder, engine):
        results.append(result)
        print(
            f"lips, {result.picture} with the sound of {result.sound}: {result.offset_ms:+.0f} ms, "
            f"alike {result.alike:.2f}, own mouth {result.own:.2f}",
            flush=True,
        )
    alike = [result.offset_ms for result in results if result.alike >= ALIKE]
    body = {
        "clips": [asdict(result) for result in results],
        "alike_at_least": ALIKE,
        "offset_ms": asdict(percentiles(alike)) if alike else None,
        "meter_errors_ms": meter_errors_ms(paths[0]),
    }
    print(f"lips: {len(alike)} of {len(results)} alike; offset {body['offset_ms']}")
    return body
