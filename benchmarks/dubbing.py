"""Live dubbing, measured: how far the dub is behind the voice, and what each part of the chain costs.

`python -m benchmarks run dubbing`. The chain is the real one, in its own processes; the clock is simulated: sound comes
at its own pace, and every piece of work is charged with the time that it took here. So an hour is measured in minutes,
and the same clip gives the same placements but for that time.
"""

import argparse
import dataclasses
import os
import time
from array import array
from collections.abc import Callable, Mapping, MutableSequence, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks.av_lips import loudness, offsets_ms
from benchmarks.harness import RESULTS, percentiles, write_result
from kernels.mel import MelWindow
from stream.clock import MonotonicClock
from stream.config import SessionConfig
from stream.dubbing import READ_AHEAD_NS, is_idle
from stream.frames import NS_PER_MS, NS_PER_S, AudioChunk
from stream.media import decode_sound, resample
from stream.speech.back_ends import BackEnds
from stream.speech.chain import Chain, open_chain
from stream.speech.clauses import ClauseConfig, ClauseSplitter
from stream.speech.interpreter import Dubbed, Interpreter
from stream.speech.lag import LagConfig
from stream.speech.listener import Listener
from stream.speech.protocol import Word
from stream.speech.store import models_folder
from stream.speech.track import DubTrack
from stream.speech.voiced import voiced
from stream.voice import EAR_RATE_HZ

RATE_HZ = 16_000
_CHUNK = RATE_HZ // 50
# Those of a live session with the default generator: what its lips hear, what the exit adds.
_WINDOW = MelWindow(54, 13)
_DELAY_NS = round(SessionConfig().dub_delay_ms) * NS_PER_MS

_NOTHING = voiced(())

Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Policy:
    """What is asked of a chain."""

    source: str
    target: str
    lag: LagConfig
    clauses: ClauseConfig


@dataclass(slots=True)
class Run:
    """What one simulation has seen; times in ns of the session."""

    dubbed: list[Dubbed] = field(default_factory=list)
    listen_ms: MutableSequence[float] = field(default_factory=lambda: array("f"))
    prepare_ms: list[float] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    source_end_ns: int = 0
    cpu_s: float = 0.0
    media_s: float = 0.0
    # Of every picture: when, and how loud the sound is that its lips are given for that time.
    lips: list[tuple[float, float]] = field(default_factory=list)
    heard: Samples = field(default_factory=lambda: np.zeros(0, np.float32))


def simulate(
    sound: Callable[[int], Samples | None],
    chain: Chain,
    policy: "Policy",
    *,
    charged: bool = True,
    watched: bool = False,
) -> Run:
    """Put sound through the chain on a simulated clock.

    Args:
        sound: Gives the 16 kHz samples of chunk k, None after the last.
        chain: Back ends; left open.
        policy: What is asked of it.
        charged: False charges no time for the work: the same policy on an endless machine.
        watched: Keep the whole dub, and what its lips are given, 25 times a second.
    """
    run, track = Run(), DubTrack(_WINDOW, keep=watched)
    now_ns = 0
    splitter = ClauseSplitter(policy.clauses, policy.source)
    listener = Listener(chain.recogniser, splitter, idle=lambda: is_idle(track, now_ns + READ_AHEAD_NS))
    interpreter = Interpreter(
        chain.translators[policy.target], chain.speaker, track, target=policy.target, lag=policy.lag
    )
    listened_ns = spoken_ns = index = 0
    cpu_before = _cpu_s()
    while True:
        samples = sound(index)
        now_ns = (index + 1) * _CHUNK * NS_PER_S // RATE_HZ
        begun = time.perf_counter_ns()
        heard = listener.flush() if samples is None else listener.push(_chunk(index, samples))
        spent_ns = time.perf_counter_ns() - begun
        run.listen_ms.append(spent_ns / 1e6)
        listened_ns = max(now_ns, listened_ns) + (spent_ns if charged else 0)
        for clause in heard.clauses:
            begun = time.perf_counter_ns()
            prepared = interpreter.prepare(clause)
            spent_ns = time.perf_counter_ns() - begun
            run.prepare_ms.append(spent_ns / 1e6)
            spoken_ns = max(listened_ns, spoken_ns) + (spent_ns if charged else 0)
            if prepared.empty:
                continue
            free_ns = spoken_ns + READ_AHEAD_NS
            run.dubbed.append(_for_the_account(interpreter.place(prepared, free_ns, _DELAY_NS)))
        if heard.turns and heard.turns[-1].end_ns:
            run.source_end_ns = heard.turns[-1].end_ns
        if samples is None:
            break
        if watched and index % 2:
            run.lips.append((now_ns / NS_PER_S, float(track.window(now_ns)[:, _WINDOW.past].mean())))
        index += 1
    run.cpu_s, run.media_s = _cpu_s() - cpu_before, index * _CHUNK / RATE_HZ
    if watched:
        dub = track.audio(0, now_ns * EAR_RATE_HZ // NS_PER_S)
        run.heard = resample(dub, EAR_RATE_HZ, RATE_HZ)
    run.counts = {**listener.counts, **interpreter.counts, **chain.counts()}
    return run


def _for_the_account(dubbed: Dubbed) -> Dubbed:
    """What the account needs: an hour of sound and words is kept by nobody, so memory shows what the chain keeps."""
    prepared, clause = dubbed.prepared, dubbed.prepared.clause
    short = replace(clause, words=(Word(clause.text, clause.start_ns, clause.end_ns),), ahead=clause.ahead[:1])
    return replace(dubbed, prepared=replace(prepared, clause=short, voiced=_NOTHING))


def _chunk(index: int, samples: Samples) -> AudioChunk:
    return AudioChunk(index * _CHUNK * NS_PER_S // RATE_HZ, RATE_HZ, samples)


def _cpu_s() -> float:
    """Processor seconds of this process and its children, those of the back ends."""
    me = psutil.Process()
    return sum(sum(each.cpu_times()[:2]) for each in [me, *me.children(recursive=True)])


def looped(samples: Samples, seconds: float, pause_s: float = 0.6) -> Callable[[int], Samples | None]:
    """A recording again and again, with pauses between, as chunks, until `seconds` are over."""
    whole = np.concatenate([samples, np.zeros(int(pause_s * RATE_HZ), np.float32)])
    whole = whole[: len(whole) // _CHUNK * _CHUNK].reshape(-1, _CHUNK)
    count = int(seconds * RATE_HZ) // _CHUNK
    return lambda index: whole[index % len(whole)] if index < count else None


def figures(run: Run, policy: Policy) -> dict[str, Any]:
    """The account of a run.

    `evs_s` is the ear-voice span: from the beginning of a clause, by the recogniser's own times, to the moment at
    which its dub is heard. `laal_s` is the length-adaptive average lagging of the dub's words against the source's (S.
    Papi et al., 2022), each word at the time at which it is heard, so it is computation-aware where work was charged.
    """
    spoken = [each for each in run.dubbed if each.placement is not None]
    lags_s = [each.placement.lag_ns / 1e9 for each in spoken if each.placement]
    starts_s = [each.prepared.clause.start_ns / 1e9 for each in spoken]
    speeds = [each.placement.speed for each in spoken if each.placement]
    end_s = (spoken[-1].end_ns + _DELAY_NS - run.source_end_ns) / 1e9
    return {
        "clauses": len(run.dubbed),
        "spoken": len(spoken),
        "evs_s": {"mean": float(np.mean(lags_s)), **_spread(lags_s)},
        "start_offset_s": lags_s[0],
        "end_offset_s": end_s,
        "laal_s": _laal_s(spoken),
        "drift_ms_per_minute": slope(starts_s, lags_s) * 60_000,
        "lag_max_s": max(lags_s),
        "isochrony_share": float(np.mean([_inside(each, policy.lag) for each in spoken])),
        "speed": _spread(speeds),
        "speed_within_limits_share": float(np.mean([0.85 <= speed <= 1.3 for speed in speeds])),
        "erasure": _erased(spoken),
        "stages_ms": {"listen": _spread(run.listen_ms), "translate_and_speak": _spread(run.prepare_ms)},
        "chain_cores": run.cpu_s / run.media_s,
        "counts": run.counts,
        **({"av_offset_ms": _av_offset_ms(run)} if run.lips else {}),
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    all_of = percentiles(values)
    return {"p50": all_of.p50, "p95": all_of.p95, "p99": all_of.p99, "max": all_of.max}


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Of the line through the points; 0 for fewer than three."""
    return float(np.polyfit(x, y, 1)[0]) if len(x) > 2 else 0.0


def _inside(dubbed: Dubbed, lag: LagConfig, slack_ms: int = 500) -> bool:
    """Whether a dub ends at most half a second later than it is held to."""
    end_ms = lag.going_ms if dubbed.prepared.clause.ahead else lag.end_ms
    return dubbed.end_ns + _DELAY_NS <= dubbed.prepared.clause.end_ns + (end_ms + slack_ms) * NS_PER_MS


def _av_offset_ms(run: Run) -> dict[str, float] | None:
    """Signed A/V offset of a dub that was watched, over its seconds of speech: positive, the sound is late.

    By the sound that each picture's lips are given, not by what a generator makes of it: `dub_lips` measures that.
    """
    times, levels = zip(*run.lips, strict=True)
    found = offsets_ms((np.array(times), np.array(levels)), loudness(run.heard))
    if not found:
        return None
    sizes = [abs(each) for each in found]
    return {"seconds": len(found), "median": float(np.median(found)), **_spread(sizes)}


def _laal_s(spoken: Sequence[Dubbed]) -> float:
    """Over runs of speech with no pause of two seconds in it."""
    begun_s = 0.0
    words: list[float] = []
    lagging: list[float] = []
    last_s = -10.0
    for each in spoken:
        assert each.placement is not None
        if each.prepared.clause.start_ns / 1e9 - last_s > 2.0:
            lagging += _lagging(words, begun_s, last_s)
            begun_s, words = each.prepared.clause.start_ns / 1e9, []
        count = len(each.prepared.translated.text.split())
        heard = np.linspace(each.placement.start_ns, each.end_ns, count, endpoint=False) + _DELAY_NS
        words += [float(at) / 1e9 for at in heard]
        last_s = each.prepared.clause.end_ns / 1e9
    lagging += _lagging(words, begun_s, last_s)
    return float(np.mean(lagging))


def _lagging(words: Sequence[float], begun_s: float, ended_s: float) -> list[float]:
    if not words:
        return []
    pace_s = (ended_s - begun_s) / len(words)
    return [at - (begun_s + index * pace_s) for index, at in enumerate(words)]


def _erased(spoken: Sequence[Dubbed]) -> int:
    """Clauses whose place was taken by a later one: spoken output is never revised, so this counts to 0."""
    ends = [each.end_ns for each in spoken]
    starts = [each.placement.start_ns for each in spoken if each.placement]
    return sum(start < end for start, end in zip(starts[1:], ends[:-1], strict=True))


def report(name: str, body: dict[str, Any]) -> str:
    """One run as text."""
    evs, stages = body["evs_s"], body["stages_ms"]
    listen, speak, speed = stages["listen"], stages["translate_and_speak"], body["speed"]
    span = f"EVS mean {evs['mean']:.2f} p50 {evs['p50']:.2f} p95 {evs['p95']:.2f} max {evs['max']:.2f} s"
    work = (
        f"chunk p95 {listen['p95']:.1f} max {listen['max']:.0f}, clause p50 {speak['p50']:.0f} p95 {speak['p95']:.0f}"
    )
    lines = [
        f"{name}: {body['spoken']} of {body['clauses']} clauses spoken",
        f"  {span}; end offset {body['end_offset_s']:+.2f} s; LAAL {body['laal_s']:.2f} s",
        f"  drift {body['drift_ms_per_minute']:+.1f} ms/min; ends in its slot {body['isochrony_share']:.2f}",
        _av_line(body.get("av_offset_ms")),
        f"  speed p50 {speed['p50']:.2f} p95 {speed['p95']:.2f}; erased {body['erasure']}",
        f"  {work} ms; chain {body['chain_cores']:.2f} core",
    ]
    return "\n".join(line for line in lines if line)


def _av_line(offset: Mapping[str, float] | None) -> str:
    if not offset:
        return ""
    return f"  sound against lips {offset['median']:+.1f} ms, size p95 {offset['p95']:.1f} ms of {offset['seconds']} s"


def main(argv: list[str]) -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks run dubbing", description=__doc__)
    parser.add_argument("clips", nargs="*", type=Path, help="sound files")
    parser.add_argument("--from", dest="source", default="en")
    parser.add_argument("--to", default="es")
    for part, default in (("recogniser", "auto"), ("translator", "apertium"), ("speaker", "espeak")):
        parser.add_argument(f"--{part}", default=default, help="see docs/dub.md")
    parser.add_argument("--minutes", type=float, default=0.0, help="also the first clip looped for so long")
    parser.add_argument("--target-ms", type=int, default=LagConfig().target_ms)
    parser.add_argument("--end-ms", type=int, default=LagConfig().end_ms)
    parser.add_argument("--max-words", type=int, default=ClauseConfig().max_words)
    parser.add_argument("--text", action="store_true", help="print every clause")
    arguments = parser.parse_args(argv)
    names = arguments.clips or [Path(__file__).parents[1] / "stream" / "assets" / "sample.mp4"]
    sounds = {path.name: decode_sound(path, path.name, rate_hz=RATE_HZ) for path in names}
    policy = Policy(
        arguments.source,
        arguments.to,
        LagConfig(target_ms=arguments.target_ms, end_ms=arguments.end_ms),
        ClauseConfig(max_words=arguments.max_words),
    )
    named = {"recogniser": arguments.recogniser, "translator": arguments.translator, "speaker": arguments.speaker}
    back_ends = BackEnds(models=models_folder(os.environ), **named)
    body: dict[str, Any] = {
        "policy": dataclasses.asdict(policy),
        "exit_ms": _DELAY_NS / NS_PER_MS,
        "back_ends": named,
        "clips": {},
    }
    chain = open_chain(arguments.source, [arguments.to], MonotonicClock(), back_ends)
    # Warm: the first clause starts a pair's programs.
    simulate(looped(next(iter(sounds.values())), 8.0), chain, policy)
    for name, samples in sounds.items():
        played = looped(samples, len(samples) / RATE_HZ)
        run = simulate(played, chain, policy, watched=True)
        free = simulate(played, chain, policy, charged=False)
        free_s = figures(free, policy)["laal_s"]
        body["clips"][name] = {**figures(run, policy), "laal_without_computation_s": free_s}
        print(report(name, body["clips"][name]))
        if arguments.text:
            _print_text(run)
    ends_s = [each["end_offset_s"] for each in body["clips"].values()]
    body["end_offset_s"] = {"clips": len(ends_s), "mean": float(np.mean(ends_s)), **_spread(ends_s)}
    mean_s, middle_s, latest_s = (body["end_offset_s"][name] for name in ("mean", "p50", "max"))
    print(f"end offset of {len(ends_s)} clips: mean {mean_s:.2f} p50 {middle_s:.2f} max {latest_s:.2f} s")
    if arguments.minutes:
        body["long"] = _long(sounds, arguments.minutes, chain, policy)
        print(report(f"{arguments.minutes:g} minutes", body["long"]))
    chain.close()
    print(write_result("dubbing", body, RESULTS))
    return 0


def _long(sounds: dict[str, Samples], minutes: float, chain: Chain, policy: Policy) -> dict[str, Any]:
    """All clips one after the other, again and again; memory at every tenth of it."""
    joined = np.concatenate([np.concatenate([each, np.zeros(RATE_HZ // 2, np.float32)]) for each in sounds.values()])
    played, memory_mb = looped(joined, minutes * 60), []
    every = max(1, int(minutes * 60 * 50 / 10))

    def watched(index: int) -> Samples | None:
        if index % every == 0:
            me = psutil.Process()
            memory_mb.append(sum(each.memory_info().rss for each in [me, *me.children(recursive=True)]) / 1e6)
        return played(index)

    run = simulate(watched, chain, policy)
    return {**figures(run, policy), "memory_mb": [round(each, 1) for each in memory_mb]}


def _print_text(run: Run) -> None:
    for each in run.dubbed:
        lag = f"{each.placement.lag_ns / 1e9:.2f} s x{each.placement.speed:.2f}" if each.placement else "not spoken"
        clause = each.prepared.clause
        span = f"{clause.start_ns / 1e9:6.2f}-{clause.end_ns / 1e9:6.2f}"
        print(f"    {span} {lag:14} {clause.text} | {each.prepared.translated.text}")
