"""Dubbed clips whose lips do not match: `python -m benchmarks run resync [CLIP ...] [--from S] [--to S]`.

Each clip gets lips that follow its own sound, as by `visavis dub IN.mp4 --voice IN.mp4`. Before and after are judged by
the own sync expert and by how the opening of the mouth goes with the loudness. None of the figures are LSE-C or LSE-D.
A clip may also be named as PICTURE=SOUND: the picture of one with the sound of another, which do not match.
"""

import argparse
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.av_lag import dub, finder_for
from benchmarks.av_lips import loudness
from benchmarks.faces import MATERIAL
from benchmarks.harness import write_result
from benchmarks.lip_meters import Watched, watch, window_scores
from kernels.mel import SAMPLE_RATE_HZ, mel_spectrogram
from models.catalogue import LoadedEngine
from models.sync_expert import SyncExpert, load_expert
from stream.config import EngineConfig
from stream.engines import open_generator
from stream.faces import LoadedNetworks, load_networks
from stream.frames import NS_PER_S, VideoFrame
from stream.media import ClipReader, ClipWriter, Encoding, decode_sound
from stream.media.writer import SOUND_RATE_HZ
from stream.speech.offline import find_turns
from training.judges import SHIPPED_EXPERT
from training.sync_curve import MOST_COLUMNS, SHIFTS_MS, shift_curve

Samples = NDArray[np.float32]

# The face of the sailing clips is seen from 2 s to 11 s.
_FROM_S, _TO_S = 2.0, 11.0
_SHOWN = 10
_TILE_PX = 192
_CLEAR = Encoding(quality=12)


@dataclass(frozen=True, slots=True)
class Judged:
    """Lips held against a sound.

    Attributes:
        pictures: How many show a face.
        runs: Of five pictures, that the expert has judged.
        offset_ms: Where its mean similarity over all shifts is highest: positive, the sound is late.
        confidence: How far that is above the median over all shifts.
        distance: 1 less the similarity where nothing is shifted, 0 to 2.
        loud_r: Correlation of opening and loudness where nothing is shifted, mean of windows of two seconds.
    """

    pictures: int
    runs: int
    offset_ms: float
    confidence: float
    distance: float
    loud_r: float


def excerpt(picture: Path, sound: Path, output: Path, *, start_s: float, end_s: float) -> None:
    """Write a part of a clip, with the same part of a sound, as a clip of its own.

    Raises:
        ValueError: There are no pictures in it.
    """
    reader = ClipReader(picture)
    samples = decode_sound(sound, sound.name, rate_hz=SOUND_RATE_HZ)
    frames = list(_moved(reader, start_s, end_s))
    if not frames:
        raise ValueError(f"{picture.name} has no pictures from {start_s:g} s to {end_s:g} s")
    first = round((start_s + _lead_s(reader, start_s)) * SOUND_RATE_HZ)
    with ClipWriter(output, reader.format, channels=1, tags={}, label="excerpt", encoding=_CLEAR) as writer:
        written = 0
        for frame in frames:
            until = round(frame.pts_ns * SOUND_RATE_HZ / NS_PER_S)
            writer.write_sound(samples[None, first + written : first + until])
            writer.write_picture(frame)
            written = until
        writer.finish()


def _moved(reader: ClipReader, start_s: float, end_s: float) -> Iterator[VideoFrame]:
    """Pictures of a part, the first of them at time zero."""
    zero_ns: int | None = None
    for frame in reader.frames():
        if start_s * NS_PER_S <= frame.pts_ns < end_s * NS_PER_S:
            zero_ns = frame.pts_ns if zero_ns is None else zero_ns
            yield replace(frame, pts_ns=frame.pts_ns - zero_ns)


def _lead_s(reader: ClipReader, start_s: float) -> float:
    """From the beginning of a part to its first picture."""
    return next(frame.pts_ns for frame in reader.frames() if frame.pts_ns >= start_s * NS_PER_S) / NS_PER_S - start_s


def judge(clip: Path, seen: Watched, expert: SyncExpert) -> Judged:
    """Hold a clip's lips against its sound."""
    sound = decode_sound(clip, clip.name, rate_hz=SAMPLE_RATE_HZ)
    curve = shift_curve(expert, seen.crops, mel_spectrogram(sound), seen.pts_ns)
    scores = window_scores(loudness(sound), seen.curve, find_turns(sound))
    loud_r = float(np.mean([each[len(each) // 2] for each in scores])) if scores else float("nan")
    still = float(curve.mean[MOST_COLUMNS])
    return Judged(len(seen.pts_ns), len(curve.pts_ns), curve.offset_ms, curve.confidence, 1 - still, loud_r)


def resync(
    pair: tuple[Path, Path],
    part_s: tuple[float, float],
    engine: LoadedEngine,
    networks: LoadedNetworks,
    expert: SyncExpert,
    sheet: Path | None,
) -> dict[str, Any]:
    """Make the lips of a clip follow a sound, and judge before and after.

    Args:
        pair: Whose picture, whose sound.
        part_s: Beginning and end of what is taken of both.
        engine: The generator.
        networks: Faces and their points.
        expert: The judge.
        sheet: Where pictures before and after are written, or None.
    """
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.mp4", Path(folder) / "after.mp4"
        excerpt(*pair, before, start_s=part_s[0], end_s=part_s[1])
        dub(before, before, after, engine, finder_for(engine))
        seen = [watch(path, networks) for path in (before, after)]
        found = [judge(path, each, expert) for path, each in zip((before, after), seen, strict=True)]
        if sheet is not None:
            write_sheet(sheet, seen[0], seen[1])
    return {"before": _row(found[0]), "after": _row(found[1])}


def _row(judged: Judged) -> dict[str, float]:
    return {name: round(float(getattr(judged, name)), 3) for name in Judged.__dataclass_fields__}


def write_sheet(path: Path, before: Watched, after: Watched) -> None:
    """Faces of a clip at the same times: above as it was, below as it is, as PNG."""
    at = np.unique(np.linspace(0, len(before.pts_ns) - 1, _SHOWN).astype(int))
    near = [int(np.argmin(np.abs(after.pts_ns - before.pts_ns[each]))) for each in at]
    rows = [np.hstack([_tile(seen.crops[each]) for each in chosen]) for seen, chosen in ((before, at), (after, near))]
    cv2.imwrite(str(path), np.vstack(rows)[..., ::-1])


def _tile(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(crop, (_TILE_PX, _TILE_PX), interpolation=cv2.INTER_CUBIC), np.uint8)


def pairs_of(named: Sequence[str], material: Path) -> list[tuple[Path, Path]]:
    """Whose picture and whose sound each name means; those of the dubbed clips without any name."""
    if not named:
        folder = material / "video" / "dubbing"
        return [(folder / f"sailing_{language}.mp4",) * 2 for language in ("de", "es", "fr")]
    halves = [name.partition("=") for name in named]
    return [(Path(picture), Path(sound or picture)) for picture, _, sound in halves]


def main(argv: Sequence[str]) -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks run resync", description=__doc__)
    parser.add_argument("clips", nargs="*", help="dubbed clips, or PICTURE=SOUND; those of the material unless given")
    parser.add_argument("--material", type=Path, default=Path(os.environ.get("VISAVIS_MATERIAL", MATERIAL)))
    parser.add_argument("--from", type=float, default=_FROM_S, dest="start_s", metavar="S")
    parser.add_argument("--to", type=float, default=_TO_S, dest="end_s", metavar="S")
    parser.add_argument("--sheets", type=Path, metavar="FOLDER", help="pictures before and after go here, as PNG")
    parser.add_argument("--engine", default=EngineConfig().name)
    parser.add_argument("--kind", default="resync", help="name of the result")
    asked = parser.parse_args(list(argv))
    engine = open_generator(EngineConfig(name=asked.engine), None)
    networks, expert = load_networks(), load_expert(SHIPPED_EXPERT)
    clips: dict[str, Any] = {}
    for pair in pairs_of(asked.clips, asked.material):
        name = pair[0].stem if pair[0] == pair[1] else f"{pair[0].stem} with {pair[1].stem}"
        sheet = None if asked.sheets is None else asked.sheets / f"{name.replace(' ', '_')}.png"
        clips[name] = resync(pair, (asked.start_s, asked.end_s), engine, networks, expert, sheet)
        for when, row in clips[name].items():
            print(f"{name}, {when}: " + ", ".join(f"{key} {value:g}" for key, value in row.items()), flush=True)
    reach_ms = float(SHIFTS_MS[-1])
    body = {"engine": str(engine), "part_s": [asked.start_s, asked.end_s], "shifts_to_ms": reach_ms, "clips": clips}
    engine.close()
    print(write_result(asked.kind, body))
    return 0
