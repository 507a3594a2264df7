"""The transport alone, glass to glass through a real Chromium, beside stock aiortc in the same run.

`python -m benchmarks run transport`. Frames carry their number, the microphone
plays chirps; the page notes when each left and when each came back. Both
servers get the same material in turns, so that noise of the machine meets both.
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Browser

from benchmarks import chromium, clips
from benchmarks.harness import RESULTS, Measurement, percentiles, rows, table, write_result
from benchmarks.processor import scheduling
from benchmarks.serve import command
from benchmarks.sightings import frame_delays, offsets_ms, settled_after_s

_WARMUP_MS = 3000.0
# Chromium starts with a deep sound buffer and, left to itself, takes 15 to 30 s to bring the picture in line with it.
# These seconds are a figure of their own.
_WARMUP_WITH_SOUND_MS = 20_000.0
_SETTLED_WITHIN_MS = 40.0
_LOOP_S = 10
_INBOUND = (
    "frameWidth",
    "frameHeight",
    "freezeCount",
    "totalFreezesDuration",
    "keyFramesDecoded",
    "nackCount",
    "pliCount",
)


@dataclass(frozen=True, slots=True)
class Case:
    """What is sent to which server.

    Attributes:
        server: "visavis" or "stock".
        sound: Whether chirps go along.
        drop_audio: Share of the incoming audio packets that is lost.
        lip_sync: Whether the viewer runs the script by which our page keeps the picture beside the sound;
            without it Chromium does so alone.
    """

    server: str
    sound: bool = False
    drop_audio: float = 0.0
    lip_sync: bool = False

    @property
    def warmup_ms(self) -> float:
        """What is left out of every turn."""
        return _WARMUP_WITH_SOUND_MS if self.sound else _WARMUP_MS

    @property
    def name(self) -> str:
        """The row's name."""
        sound = ", sound" if self.sound else ""
        loss = f", {self.drop_audio:.0%} audio loss" if self.drop_audio else ""
        alone = ", Chromium's sync" if self.server == "visavis" and self.sound and not self.lip_sync else ""
        return f"{self.server}{sound}{loss}{alone}"


@dataclass(slots=True)
class Seen:
    """What all turns of one case added up to."""

    delays_ms: list[float] = field(default_factory=list)
    offsets_ms: list[float] = field(default_factory=list)
    early_offsets_ms: list[float] = field(default_factory=list)
    settled_after_s: list[float | None] = field(default_factory=list)
    gaps_ms: list[float] = field(default_factory=list)
    first_frame_ms: list[float] = field(default_factory=list)
    sent: int = 0
    misread: int = 0
    cpu_s: float = 0.0
    wall_s: float = 0.0
    inbound: list[dict[str, Any]] = field(default_factory=list)


def cases(drop_share: float, *, with_stock: bool) -> list[Case]:
    """Picture alone, with sound, with sound and loss; ours, a foreign page's and, for comparison, stock."""
    chosen = []
    for sound, drop in [(False, 0.0), (True, 0.0), (True, drop_share)]:
        chosen.append(Case("visavis", sound, drop, lip_sync=sound))
        if sound:
            chosen.append(Case("visavis", sound, drop))
        if with_stock:
            chosen.append(Case("stock", sound, drop))
    return chosen


def run_turn(
    browser: Browser, case: Case, size: tuple[int, int], fps: int, seconds: float, log: Path, seen: Seen
) -> None:
    """One connection of one case; its figures are added to `seen`, the first seconds are left out."""
    with chromium.serving(command(case.server, drop_share=case.drop_audio), log) as server:
        page = chromium.open_probe(browser, server)
        lip_sync = chromium.LIP_SYNC if case.lip_sync else ""
        chromium.start_probe(page, *size, fps, sound=case.sound, lip_sync=lip_sync)
        page.wait_for_timeout(case.warmup_ms)
        cpu_s = server.cpu_s()
        page.wait_for_timeout(seconds * 1e3)
        seen.cpu_s += server.cpu_s() - cpu_s
        seen.wall_s += seconds
        add(chromium.stop_probe(page), seen, case.warmup_ms)


def add(observation: chromium.Observation, seen: Seen, warmup_ms: float) -> None:
    """Take one observation's figures.

    Raises:
        RuntimeError: No frame came back.
    """
    if not observation.received:
        raise RuntimeError(f"no frame came back; connection states: {observation.stats['states']}")
    start_ms = observation.received[0].at_ms + warmup_ms
    delays = frame_delays(observation.sent, observation.received)
    delays = delays[delays[:, 0] >= start_ms]
    seen.delays_ms += delays[:, 1].tolist()
    last_ms = delays[-1, 0] if len(delays) else start_ms
    seen.sent += sum(bool(start_ms <= sighting.at_ms <= last_ms) for sighting in observation.sent)
    seen.misread += sum(sighting.number < 0 for sighting in observation.received)
    seen.gaps_ms += np.diff([s.at_ms for s in observation.received if s.at_ms >= start_ms]).tolist()
    seen.first_frame_ms.append(observation.received[0].at_ms - observation.stats["timing"]["posted"])
    seen.inbound.append(_inbound(observation))
    if observation.sound_received is not None:
        offsets = offsets_ms(observation)
        early = offsets[:, 0] < start_ms
        seen.offsets_ms += offsets[~early, 1].tolist()
        seen.early_offsets_ms += offsets[early, 1].tolist()
        seen.settled_after_s.append(settled_after_s(offsets, start_ms - warmup_ms, _SETTLED_WITHIN_MS))


def _inbound(observation: chromium.Observation) -> dict[str, Any]:
    report = observation.stats.get("inbound-rtp-video", {})
    codec = observation.stats.get(report.get("codecId"), {}).get("mimeType")
    names = (
        "frameWidth",
        "frameHeight",
        "freezeCount",
        "totalFreezesDuration",
        "keyFramesDecoded",
        "nackCount",
        "pliCount",
    )
    return {"codec": codec, **{name: report.get(name) for name in names}}


def summarise(case: Case, seen: Seen) -> Measurement:
    """One row: glass-to-glass time, and beside it what else the turns showed."""
    extra: dict[str, Any] = {
        "frames_sent": seen.sent,
        "frames_returned_share": round(len(seen.delays_ms) / max(seen.sent, 1), 4),
        "misread": seen.misread,
        "largest_gap_ms": round(max(seen.gaps_ms), 1),
        "first_frame_after_post_ms": [round(value, 1) for value in seen.first_frame_ms],
        "server_cpu_percent_of_one_core": round(100 * seen.cpu_s / seen.wall_s, 1),
        "browser": seen.inbound,
    }
    if seen.offsets_ms:
        extra["av_offset_ms"] = summarise_offsets(np.array(seen.offsets_ms))
    if seen.early_offsets_ms:
        extra["av_offset_first_20_s_ms"] = summarise_offsets(np.array(seen.early_offsets_ms))
        extra["av_offset_within_40_ms_after_s"] = [
            None if after_s is None else round(after_s, 1) for after_s in seen.settled_after_s
        ]
    return Measurement(case.name, percentiles(seen.delays_ms), extra)


def summarise_offsets(offsets: NDArray[np.float64]) -> dict[str, float]:
    """Signed median and spread; "p99_abs" is the 99th percentile of the distance from zero."""
    low, median, high = np.percentile(offsets, [1, 50, 99])
    figures = {"median": median, "p1": low, "p99": high, "p99_abs": np.percentile(np.abs(offsets), 99)}
    return {"count": len(offsets), **{name: round(float(value), 1) for name, value in figures.items()}}


def make_material(folder: Path, size: tuple[int, int], fps: int) -> tuple[Path, Path]:
    """The camera's and the microphone's file."""
    camera, microphone = folder / "camera.y4m", folder / "microphone.wav"
    frames = clips.numbered(clips.portrait_frames(*size, fps, _LOOP_S))
    clips.write_y4m(camera, frames, *size, fps)
    clips.write_wav(microphone, clips.chirps(_LOOP_S))
    return camera, microphone


def run(
    chosen: Sequence[Case], size: tuple[int, int], fps: int, seconds: float, rounds: int, folder: Path
) -> list[Measurement]:
    """All cases by turns, `rounds` times."""
    camera, microphone = make_material(folder, size, fps)
    seen = {case: Seen() for case in chosen}
    for turn in range(rounds):
        for case in chosen:
            print(f"turn {turn + 1}/{rounds}: {case.name}", flush=True)
            with chromium.open_browser(camera, microphone) as browser:
                run_turn(browser, case, size, fps, seconds, folder / "server.log", seen[case])
    return [summarise(case, seen[case]) for case in chosen]


def offset_table(measurements: Sequence[Measurement]) -> str:
    """The signed offsets, as text; the first 20 s of each turn in a line of their own."""
    lines = ["sound against picture at the viewer (ms, positive = sound late)"]
    for measurement in measurements:
        for name, key in ((measurement.name, "av_offset_ms"), ("  its first 20 s", "av_offset_first_20_s_ms")):
            if offset := measurement.extra.get(key):
                lines.append(
                    f"  {name:46} median {offset['median']:+7.1f}  p1 {offset['p1']:+7.1f}  p99 {offset['p99']:+7.1f}"
                    f"  p99 of |offset| {offset['p99_abs']:6.1f}  ({offset['count']} chirps)"
                )
    return "\n".join(lines)


def parse_size(text: str) -> tuple[int, int]:
    """Read "640x480"."""
    width, _, height = text.partition("x")
    return int(width), int(height)


def main(argv: list[str]) -> int:
    """Measure, print, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks run transport", description=__doc__)
    parser.add_argument("--size", type=parse_size, default=(640, 480), metavar="WxH")
    parser.add_argument("--fps", type=int, default=30)
    parser.add_argument(
        "--seconds", type=float, default=15.0, help="of each turn, after the warm-up: 3 s, with sound 20 s"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--drop-audio", type=float, default=0.05, metavar="SHARE")
    parser.add_argument("--no-stock", action="store_true", help="leave the baseline out")
    parser.add_argument("--only", default="", help="only the cases whose name contains this")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR")
    asked = parser.parse_args(argv)
    chosen = [c for c in cases(asked.drop_audio, with_stock=not asked.no_stock) if asked.only in c.name]
    with tempfile.TemporaryDirectory(prefix="visavis-bench-") as folder:
        measured = run(chosen, asked.size, asked.fps, asked.seconds, asked.rounds, Path(folder))
    name = f"{asked.size[0]}x{asked.size[1]}"
    body = {"size": name, "fps": asked.fps, "seconds": asked.seconds, "rounds": asked.rounds}
    body["scheduling"] = scheduling()
    path = write_result(f"transport-{name}", {**body, "glass_to_glass_ms": rows(measured)}, asked.results)
    print(f"\nglass to glass, {name} at {asked.fps} fps\n{table(measured)}\n\n{offset_table(measured)}\n\n{path}")
    return 0
