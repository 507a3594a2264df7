"""Signed A/V offset of dubbed files, on clips whose truth is known.

`python -m benchmarks run av_offset [--suite flash|gauge|lips|all] [--clips FOLDER]`.
Offset = time of the sound minus time of the picture that belongs to it:
positive, the sound is late. Three truths:

flash   A made clip flashes when its voice beeps. What `visavis dub` writes is
        decoded, and every flash is held against its beep: clocks, containers,
        resampling and codecs.
gauge   A real clip is dubbed by a generator that paints the mouth as bright as
        the voice is loud. The brightness read off the written file must beat
        with the file's own sound: all of the above, and faces, align, mel
        window, crop and paste.
lips    Clip A is dubbed with the sound of clip B by the trained generator. The
        mouth in the output must move as B's own mouth did: all of the above,
        and what the generator has learned.
"""

import argparse
import tempfile
import wave
from collections.abc import Sequence
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from benchmarks.av_lag import REACH_S, NoFaces, dub, peak_of
from benchmarks.av_lips import alike_by_chance, gauge_offsets_ms, lips_offsets, meter_errors_ms, opening
from benchmarks.harness import percentiles, write_result
from models.catalogue import load_engine
from models.engine import Engine
from stream.dub_commands import ASSETS
from stream.frames import NS_PER_S
from stream.media import ClipReader, decode_sound
from stream.voice import EAR_RATE_HZ

Samples = NDArray[np.float32]

SECONDS = 20
BEEP_S = 0.02
BEEP_HZ = 1000.0
VOICE_RATES_HZ = (48_000, 44_100, 22_050, 8_000)
_DRAW_SEED = 20
_CLIPS = (".mp4", ".mpg", ".mov", ".mkv")


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
        found.append((start + peak_of(score)) / EAR_RATE_HZ)
    return found


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


def main(argv: Sequence[str]) -> int:
    """Measure, print, and write one JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks run av_offset", description=__doc__)
    parser.add_argument("--suite", choices=("flash", "gauge", "lips", "all"), default="all")
    parser.add_argument("--clips", type=Path, help="folder of talking clips with their own sound, for gauge and lips")
    arguments = parser.parse_args(list(argv))
    folder: Path | None = arguments.clips
    clips = sorted(path for path in folder.iterdir() if path.suffix in _CLIPS) if folder else []
    body: dict[str, Any] = {}
    engine = load_engine()
    if arguments.suite in ("flash", "all"):
        body["flash"] = _flash(engine)
    if arguments.suite in ("gauge", "all"):
        body["gauge"] = _gauge(clips)
    if arguments.suite in ("lips", "all") and len(clips) > 1:
        body["lips"] = _lips(clips, engine)
    body["engine"] = str(engine)
    engine.close()
    print(write_result("av_offset" if arguments.suite == "all" else f"av_offset_{arguments.suite}", body))
    return 0


def _gauge(clips: Sequence[Path]) -> dict[str, Any]:
    offsets = gauge_offsets_ms(ASSETS / "sample.mp4", ASSETS / "voice.wav")
    for clip in clips:
        offsets += gauge_offsets_ms(clip, clip)
    return {"clips": 1 + len(clips), **_said("gauge", offsets)}


def _said(name: str, offsets: Sequence[float]) -> dict[str, Any]:
    """Print and return the percentiles of signed offsets, and of their sizes."""
    signed, sizes = percentiles(offsets), percentiles([abs(offset) for offset in offsets])
    print(
        f"{name}: median {signed.p50:+.2f} ms, {signed.min:+.2f} to {signed.max:+.2f}, p99 of the size {sizes.p99:.2f}"
    )
    return {"offset_ms": asdict(signed), "absolute_ms": asdict(sizes)}


def _flash(engine: Engine) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        found = flash_offsets_ms(Path(folder), engine)
    return {name: _said(f"flash, {name}", offsets) for name, offsets in found.items()}


def _lips(clips: Sequence[Path], engine: Engine) -> dict[str, Any]:
    truth = {clip: opening(clip) for clip in clips}
    chance = alike_by_chance(truth)
    results = []
    for result in lips_offsets(clips, truth, engine):
        results.append(result)
        print(
            f"lips, {result.picture} with the sound of {result.sound}: {result.offset_ms:+.0f} ms, "
            f"alike {result.alike:.2f} (by chance {chance:.2f}), own mouth {result.own:.2f}",
            flush=True,
        )
    alike = [result.offset_ms for result in results if result.alike > chance]
    return {
        "clips": [asdict(result) for result in results],
        "alike_by_chance": chance,
        "alike": len(alike),
        **(_said("lips", alike) if alike else {}),
        "meter_errors_ms": meter_errors_ms(clips[0]),
    }
