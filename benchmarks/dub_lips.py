"""Lips against the dub: `python -m benchmarks run dub_lips [CLIP ...] [--mode path|file|live|floor] [--engine NAME]`.

English clips are dubbed by the real chain, and the signed A/V offset between the lips of the result and the dub is
measured in windows of two seconds, one a second. Four questions:

path     A generator that paints the mouth as bright as the dub is loud: is the right sound given to each picture?
expert   The trained generator, judged by the own sync expert.
phones   The same lips, by landmarks, against what the phones of the voice ask of a mouth.
shut     Whether they are shut on m, b and p.

A meter that cannot fail says nothing, so the same meters also see each dub 80 ms late and early, the lips of one clip
with the dub of another, and one clip whose lips were made 80 ms late. `floor` shows them real clips with their own
sound. Positive: the sound is late. None of the figures are LSE-C or LSE-D.
"""

import argparse
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.av_lag import dub, finder_for
from benchmarks.av_lips import gauge_offsets_ms
from benchmarks.dub_voices import FileDub, Skewed, file_dub, live_dub
from benchmarks.faces import MATERIAL
from benchmarks.harness import percentiles, write_result
from benchmarks.lip_meters import (
    Spans,
    Sync,
    Watched,
    delayed,
    mean_shut,
    pooled,
    shut_lips,
    sync_of,
    watch,
    window_scores,
)
from benchmarks.lip_report import say, say_clip, say_floor, spread
from benchmarks.phone_opening import opening_of, said, shut_spans_ns
from kernels.mel import LIPGAN_WINDOW, SAMPLE_RATE_HZ
from models.catalogue import LoadedEngine, mel_window
from models.sync_expert import SyncExpert, load_expert
from stream.clock import MonotonicClock
from stream.config import EngineConfig
from stream.engines import open_generator
from stream.faces import LoadedNetworks, load_networks
from stream.frames import NS_PER_MS
from stream.media import decode_sound
from stream.passage import Spoken
from stream.speech.back_ends import EMBEDDED
from stream.speech.chain import open_chain
from stream.speech.offline import find_turns
from training.data import phones as lips
from training.data.phones import align_phones
from training.data.split import ClipEntry, read_clips
from training.judges import SHIPPED_EXPERT

Samples = NDArray[np.float32]

SHIFTS_MS = (-80, 80)
_CHANCE_PERCENTILE = 95
_NEAR_MS = 40
_OTHERS = 2


@dataclass(frozen=True, slots=True)
class Judging:
    """What measures.

    Attributes:
        networks: Faces and their points.
        expert: The own sync expert.
    """

    networks: LoadedNetworks
    expert: SyncExpert


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """A dubbed clip.

    Attributes:
        seen: Its lips.
        sound: float32 [n] at 16 kHz, as it is heard.
        turns: When the dub speaks in it.
        windows: What the expert says of both.
        dub: What was laid into it, where its phones are known.
    """

    seen: Watched
    sound: Samples
    turns: Spans
    windows: list[Sync]
    dub: FileDub | None


def make(clip: Path, voice: Spoken, engine: LoadedEngine, judging: Judging) -> tuple[Watched, Samples]:
    """Lay a voice into a clip and read its lips and its sound off the written file."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "dubbed.mp4"
        dub(clip, voice, output, engine, finder_for(engine))
        return watch(output, judging.networks), heard_in(output)


def heard_in(path: Path) -> Samples:
    """A clip's own sound, at the rate of the mel."""
    return decode_sound(path, path.name, rate_hz=SAMPLE_RATE_HZ)


def expert_figures(made: Mapping[str, Made], judging: Judging) -> dict[str, Any]:
    """Offsets by the expert, where it is surer than of lips with the dub of another clip."""
    wrong = [sync for name, other in others(made) for sync in _swapped(made, name, other, judging)]
    chance = float(np.percentile([each.confidence for each in wrong], _CHANCE_PERCENTILE)) if wrong else 0.0
    windows = [each for one in made.values() for each in one.windows]
    sure = [each for each in windows if each.confidence > chance]
    return {
        "windows": len(windows),
        "confidence": asdict(percentiles([each.confidence for each in windows])),
        "confidence_by_chance": chance,
        "sure": len(sure),
        **offsets([each.offset_ms for each in sure]),
        "all_windows": offsets([each.offset_ms for each in windows]),
        "within_40_ms": near([each.offset_ms for each in windows]),
        "wrong_dub": {
            "windows": len(wrong),
            "confidence": asdict(percentiles([each.confidence for each in wrong])) if wrong else None,
            "within_40_ms": near([each.offset_ms for each in wrong]),
        },
        "shifted": {f"{shift:+d} ms": _shifted(made, shift, chance, judging) for shift in SHIFTS_MS},
        "by_clip": {name: [asdict(each) for each in one.windows] for name, one in made.items()},
    }


def others(clips: Mapping[str, object]) -> list[tuple[str, str]]:
    """Each clip with the next two of the others, round and round."""
    ring = list(clips)
    far = range(1, min(_OTHERS + 1, len(ring)))
    return [(name, ring[(index + step) % len(ring)]) for index, name in enumerate(ring) for step in far]


def _swapped(made: Mapping[str, Made], name: str, other: str, judging: Judging) -> list[Sync]:
    return sync_of(judging.expert, made[name].seen, made[other].sound, made[other].turns)


def _shifted(made: Mapping[str, Made], shift_ms: int, chance: float, judging: Judging) -> dict[str, Any]:
    """The same lips against a dub that is so late: offsets found, and how far each is from its own plus the shift."""
    found: list[float] = []
    errors: list[float] = []
    for one in made.values():
        before = {each.start_ns: each for each in one.windows if each.confidence > chance}
        # The turns are the lips': the same windows before and after.
        for each in sync_of(judging.expert, one.seen, delayed(one.sound, shift_ms), one.turns):
            if each.start_ns in before:
                found.append(each.offset_ms)
                errors.append(each.offset_ms - before[each.start_ns].offset_ms - shift_ms)
    return {**offsets(found), "meter_error_ms": offsets(errors)}


def offsets(values_ms: Sequence[float]) -> dict[str, Any]:
    """Percentiles of signed offsets and of their sizes; empty without any."""
    if not len(values_ms):
        return {}
    sizes = percentiles([abs(each) for each in values_ms])
    return {"offset_ms": asdict(percentiles(values_ms)), "absolute_ms": asdict(sizes)}


def near(values_ms: Sequence[float]) -> float | None:
    """Share of offsets that are at most 40 ms; None without any."""
    return float(np.mean(np.abs(values_ms) <= _NEAR_MS)) if len(values_ms) else None


def phone_figures(made: Mapping[str, Made]) -> dict[str, Any]:
    """Offset of all windows together, by the phones of the dub, and by those of other clips' dubs."""
    dubs = {name: one.dub for name, one in made.items() if one.dub is not None}
    turns = {name: made[name].turns for name in dubs}
    truth = {name: opening_of(said(each.phones)) for name, each in dubs.items()}
    right = [score for name in dubs for score in window_scores(truth[name], made[name].seen.curve, turns[name])]
    wrong = [
        score
        for name, other in others(dubs)
        for score in window_scores(truth[other], made[name].seen.curve, turns[other])
    ]
    shifted = {}
    for shift_ms in SHIFTS_MS:
        scores = []
        for name in dubs:
            times_s, gaps = truth[name]
            scores += window_scores((times_s + shift_ms / 1000, gaps), made[name].seen.curve, turns[name])
        shifted[f"{shift_ms:+d} ms"] = asdict(pooled(scores))
    return {**asdict(pooled(right)), "wrong_dub": asdict(pooled(wrong)) if wrong else None, "shifted": shifted}


def shut_figures(made: Mapping[str, Made], own: Mapping[str, Watched]) -> dict[str, Any]:
    """Whether lips are shut on m, b and p, all clips together and each by itself."""
    found = {
        name: shut_lips(one.seen, own[name], shut_spans_ns(said(one.dub.phones)), one.turns)
        for name, one in made.items()
        if one.dub is not None
    }
    return {**asdict(mean_shut(found)), "by_clip": {name: asdict(each) for name, each in found.items()}}


def of_files(clips: Sequence[Path], target: str, engine: LoadedEngine, judging: Judging) -> dict[str, Any]:
    """Everything about clips dubbed as files."""
    chain = open_chain("en", [target], MonotonicClock(), EMBEDDED)
    try:
        made: dict[str, Made] = {}
        own: dict[str, Watched] = {}
        for clip in clips:
            spoken = file_dub(clip, chain, target, mel_window(engine))
            seen, sound = make(clip, spoken.voice, engine, judging)
            turns = find_turns(sound)
            made[clip.stem] = Made(seen, sound, turns, sync_of(judging.expert, seen, sound, turns), spoken)
            own[clip.stem] = watch(clip, judging.networks)
            say_clip(clip.stem, made[clip.stem].windows)
    finally:
        chain.close()
    expert = expert_figures(made, judging)
    body = {
        "expert": expert,
        "phones": phone_figures(made),
        "shut": shut_figures(made, own),
        "faulty": _faulty(clips, made, engine, judging, expert["confidence_by_chance"]),
    }
    say(body)
    return body


def _faulty(
    clips: Sequence[Path], made: Mapping[str, Made], engine: LoadedEngine, judging: Judging, chance: float
) -> dict[str, Any]:
    """Make the clip of which the expert was surest once more, with lips 80 ms late: the sound must be found early."""
    surest = max(clips, key=lambda clip: np.median([each.confidence for each in made[clip.stem].windows] or [0.0]))
    spoken = made[surest.stem].dub
    assert spoken is not None
    seen, sound = make(surest, Skewed(spoken.voice, SHIFTS_MS[1] * NS_PER_MS), engine, judging)
    windows = sync_of(judging.expert, seen, sound, made[surest.stem].turns)
    found = [each.offset_ms for each in windows if each.confidence > chance]
    return {"clip": surest.name, "lips_late_ms": SHIFTS_MS[1], **offsets(found)}


def of_live(clips: Sequence[Path], target: str, engine: LoadedEngine, judging: Judging) -> dict[str, Any]:
    """The same for what a live session makes of them, as far as it needs no phones."""
    made = {}
    for clip in clips:
        spoken = live_dub(clip, target, mel_window(engine))
        seen, sound = make(clip, spoken, engine, judging)
        windows = sync_of(judging.expert, seen, sound, spoken.turns)
        made[clip.stem] = Made(seen, sound, spoken.turns, windows, None)
        say_clip(clip.stem, made[clip.stem].windows)
    body = {"expert": expert_figures(made, judging)}
    say(body)
    return body


def of_path(clips: Sequence[Path], target: str) -> dict[str, Any]:
    """Which sound pictures are given, file and live, without what a generator has learned."""
    chain = open_chain("en", [target], MonotonicClock(), EMBEDDED)
    try:
        file = offsets(_painted(clips, lambda clip: file_dub(clip, chain, target, LIPGAN_WINDOW).voice))
    finally:
        chain.close()
    body = {"file": file, "live": offsets(_painted(clips, lambda clip: live_dub(clip, target, LIPGAN_WINDOW)))}
    for kind, each in body.items():
        print(f"path, {kind}: {spread(each)}", flush=True)
    return body


def _painted(clips: Sequence[Path], voice_of: Callable[[Path], Spoken]) -> list[float]:
    """Offsets by the painted gauge, of every second in which it is seen to follow the dub."""
    return [offset for clip in clips for offset in gauge_offsets_ms(clip, voice_of(clip))]


@dataclass(frozen=True, slots=True, eq=False)
class Real:
    """A real clip with its own sound.

    Attributes:
        seen: Its lips.
        sound: float32 [n] at 16 kHz.
        turns: When it speaks.
        row: Its phones by forced alignment; none where its words are not known.
    """

    seen: Watched
    sound: Samples
    turns: Spans
    row: Sequence[lips.Phone]


def of_real(material: Path, clips: Sequence[Path], judging: Judging) -> dict[str, Any]:
    """What the meters say of real clips with their own sound, by material."""
    entries = {entry.path: entry for entry in read_clips(material)}
    groups = {"grid": sorted((material / "video" / "grid").glob("*.mpg")), "the clips that were dubbed": clips}
    body = {}
    for group, paths in groups.items():
        body[group] = _floor({path.stem: _real(path, entries.get(path), judging) for path in paths}, judging)
        say_floor(group, body[group])
    return body


def _real(path: Path, entry: ClipEntry | None, judging: Judging) -> Real:
    sound = heard_in(path)
    row = align_phones(sound, entry.words) if entry is not None and entry.words else None
    return Real(watch(path, judging.networks), sound, find_turns(sound), row or ())


def _floor(real: Mapping[str, Real], judging: Judging) -> dict[str, Any]:
    found = [sync for one in real.values() for sync in sync_of(judging.expert, one.seen, one.sound, one.turns)]
    known = {name: one for name, one in real.items() if one.row}
    scores = [each for one in known.values() for each in window_scores(opening_of(one.row), one.seen.curve, one.turns)]
    shut = {name: shut_lips(one.seen, one.seen, shut_spans_ns(one.row), one.turns) for name, one in known.items()}
    return {
        "clips": len(real),
        "windows": len(found),
        "confidence": asdict(percentiles([each.confidence for each in found])),
        **offsets([each.offset_ms for each in found]),
        "within_40_ms": near([each.offset_ms for each in found]),
        "phones": asdict(pooled(scores)) if scores else None,
        "shut": asdict(mean_shut(shut)),
    }


def main(argv: Sequence[str]) -> int:
    """Measure, print, and write one JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks run dub_lips", description=__doc__)
    parser.add_argument("clips", nargs="*", type=Path, help="talking clips in English; those of HDTF unless given")
    parser.add_argument("--material", type=Path, default=Path(os.environ.get("VISAVIS_MATERIAL", MATERIAL)))
    parser.add_argument("--mode", choices=("path", "file", "live", "floor", "all"), default="all")
    parser.add_argument("--to", default="es")
    parser.add_argument("--engine", default=EngineConfig().name)
    asked = parser.parse_args(list(argv))
    hdtf = sorted((asked.material / "video" / "hdtf").glob("*.mp4"))
    clips: list[Path] = asked.clips or hdtf
    if not clips:
        print(f"there are no clips in {asked.material}: name some, or the material's folder with --material")
        return 2
    judging = Judging(load_networks(), load_expert(SHIPPED_EXPERT))
    body: dict[str, Any] = {"target": asked.to, "clips": [clip.name for clip in clips]}
    engine = open_generator(EngineConfig(name=asked.engine), None)
    body["engine"] = str(engine)
    if asked.mode in ("path", "all"):
        body["path"] = of_path(clips, asked.to)
    if asked.mode in ("file", "all"):
        body["file"] = of_files(clips, asked.to, engine, judging)
    if asked.mode in ("live", "all"):
        body["live"] = of_live(clips, asked.to, engine, judging)
    if asked.mode in ("floor", "all"):
        body["floor"] = of_real(asked.material, clips, judging)
    engine.close()
    print(write_result("dub_lips" if asked.mode == "all" else f"dub_lips_{asked.mode}", body))
    return 0
