"""The whole product under a fixed offered rate: a real clip goes in through WebRTC, re-voiced pictures come out.

`python -m benchmarks run pipeline --size 640x480 --seconds 60`. The figures are the server's own, as its page
shows them, taken over the measured time only; the browser runs on the same cores, as it does for a user.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import chromium, clips
from benchmarks.dubbing import slope
from benchmarks.harness import RESULTS, percentiles, write_result
from benchmarks.processor import descendants, scheduling, usage, used_s
from benchmarks.serve import command
from benchmarks.transport import parse_size

_CLIP = Path(__file__).parents[1] / "stream" / "assets" / "sample.mp4"
_WARMUP_S = 10.0
# Latency figures cover the last 10 s, loop lag the last 30 s, stages the last 1500 frames (60 s at 25 fps).
_LATENCY_WINDOW_S = 10.0
_LAG_WINDOW_S = 30.0
_SHOWN = ("p50", "p95", "p99")


@dataclass(frozen=True, slots=True)
class Load:
    """What is offered.

    Attributes:
        clip: Real material.
        width: Pixels.
        height: Pixels.
        fps: Frames a second, whatever the server does.
        seconds: Measured time, after the warm-up.
        mode: The server's mode.
        by: "chromium" or "synthetic".
        filter: What pictures are filtered with; empty for nothing.
        order: Before or after the lips are made.
    """

    clip: Path
    width: int
    height: int
    fps: int
    seconds: float
    mode: str
    by: str
    filter: str = ""
    order: str = "after"

    @property
    def query(self) -> str:
        """What POST /sessions is asked for."""
        filtered = f"&filter={self.filter}&filter_order={self.order}" if self.filter else ""
        return f"?mode={self.mode}{filtered}"


class Events(threading.Thread):
    """Reads a session's events on a thread of its own: (seconds since start, figures)."""

    def __init__(self, url: str) -> None:
        super().__init__(name="events", daemon=True)
        self._url = url
        self.seen: list[tuple[float, dict[str, Any]]] = []

    def run(self) -> None:
        """Read until the server ends the stream."""
        start = time.perf_counter()
        with urllib.request.urlopen(self._url, timeout=30) as stream:
            for line in stream:
                if line.startswith(b"data: {") and line.strip() != b"data: {}":
                    self.seen.append((time.perf_counter() - start, json.loads(line[6:])))


@contextmanager
def browser_load(load: Load, server: chromium.ServerProcess, folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Chromium with the clip as its camera and microphone; yields the path of the session, later its statistics too."""
    camera, microphone = folder / "camera.y4m", folder / "microphone.wav"
    frames = clips.clip_frames(load.clip, load.width, load.height, load.fps)
    clips.write_y4m(camera, frames, load.width, load.height, load.fps)
    clips.write_wav(microphone, clips.clip_sound(load.clip))
    seen: dict[str, Any] = {}
    with chromium.open_browser(camera, microphone) as browser:
        page = chromium.open_probe(browser, server)
        size = (load.width, load.height, load.fps)
        started = chromium.start_probe(page, *size, sound=True, watch=False, query=load.query)
        yield started["location"], seen
        stats = chromium.stop_probe(page).stats
        seen.update({name: stats[name] for name in stats if name.startswith(("inbound", "outbound"))})


@contextmanager
def synthetic_load(load: Load, server: chromium.ServerProcess, folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """An aiortc client that sends the clip encoded beforehand, in a process of its own."""
    line = [sys.executable, "-m", "benchmarks.load", server.url, "--clip", str(load.clip)]
    line += ["--size", f"{load.width}x{load.height}", "--fps", str(load.fps), "--query", load.query]
    line += ["--seconds", str(load.seconds + _WARMUP_S + 2)]
    seen: dict[str, Any] = {}
    with (folder / "load.log").open("w") as log:
        process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            if not first:
                raise RuntimeError(f"the load did not start: {(folder / 'load.log').read_text()[-800:]}")
            yield json.loads(first)["location"], seen
            seen.update(json.loads(process.stdout.readline()))
        finally:
            process.terminate()
            process.wait()


def run(load: Load, folder: Path, config: Path | None = None) -> dict[str, Any]:
    """Warm up, measure, and return the body of the result."""
    offered = browser_load if load.by == "chromium" else synthetic_load
    with chromium.serving(command("visavis", config=config), folder / "server.log") as server:
        with offered(load, server, folder) as (location, seen):
            events = Events(f"{server.url}{location}/events")
            events.start()
            time.sleep(_WARMUP_S)
            back_ends = descendants(server.process.pid)
            spent_s = sum(map(used_s, back_ends))
            start, before = time.perf_counter(), usage(server.process.pid)
            time.sleep(load.seconds)
            wall_s = time.perf_counter() - start
            used = usage(server.process.pid).since(before, wall_s)
            spent_s = sum(map(used_s, back_ends)) - spent_s
            figures = list(events.seen)
            rss_mb = server.rss_mb()
        complaints = [line for line in server.log.read_text(errors="replace").splitlines() if "ERROR" in line]
    measured = [(at, f) for at, f in figures if at >= _WARMUP_S - 0.5]
    if len(measured) < load.seconds:
        raise RuntimeError(
            f"the session ended early: {len(measured)} events in {load.seconds:.0f} s. {complaints[-1:]}"
        )
    return {
        "load": {"by": load.by, "size": f"{load.width}x{load.height}", "fps": load.fps, "clip": load.clip.name},
        "mode": load.mode,
        "seconds": round(wall_s, 1),
        **account(measured),
        **({"dub": dub_account(measured, spent_s / wall_s)} if load.mode == "dub" else {}),
        **({"filter": filter_account(measured)} if load.filter else {}),
        "scheduling": scheduling(),
        "cpu_percent_of_one_core": used,
        "server_rss_mb": round(rss_mb, 1),
        "client": seen,
        "errors_logged": complaints[:5],
    }


def account(events: list[tuple[float, dict[str, Any]]]) -> dict[str, Any]:
    """Figures over the measured time from the first to the last event.

    Counters are differences. Percentiles that the server keeps over a shorter
    time than the run are given per window: the middle one and the worst one.
    """
    first, last = events[0][1], events[-1][1]
    frames = {name: last["frames"][name] - first["frames"][name] for name in ("received", "sent", "dropped", "late")}
    before = first["frames"]["passed"]
    passed = {reason: count - before.get(reason, 0) for reason, count in last["frames"]["passed"].items()}
    missed = frames["dropped"] + frames["late"]
    return {
        "frames": {**frames, "passed": {reason: count for reason, count in passed.items() if count}},
        "past_deadline_share": round(missed / max(frames["received"], 1), 6),
        "no_time_share": round(passed.get("no_time", 0) / max(frames["received"], 1), 6),
        "received_fps": round(frames["received"] / (events[-1][0] - events[0][0]), 2),
        "latency_ms": _windows(events, "latency_ms", _LATENCY_WINDOW_S),
        "loop_lag_ms": _windows(events, "loop_lag_ms", _LAG_WINDOW_S),
        "stages": last["stages"],
        "av_offset_ms": last["av_offset_ms"],
        "delay_ms": last["delay_ms"],
        "switched_off": last.get("switched_off", []),
        "peer": last.get("peer", {}),
    }


def dub_account(events: list[tuple[float, dict[str, Any]]], back_end_cores: float) -> dict[str, Any]:
    """How far each clause that was dubbed in the measured time was behind: from its beginning until it was heard."""
    clauses = {each["id"]: (each, event["delay_ms"]) for _, event in events for each in event["dub"]["captions"]}
    spoken = [(each, delay) for each, delay in clauses.values() if each["spoken"]]
    spans = [each["heard_ms"] + delay - each["start_ms"] for each, delay in spoken]
    last = events[-1][1]["dub"]
    return {
        "clauses": len(clauses),
        "spoken": len(spoken),
        "evs_ms": {"mean": sum(spans) / len(spans), **asdict(percentiles(spans))} if spans else None,
        "drift_ms_per_minute": slope([each["start_ms"] for each, _ in spoken], spans) * 60_000,
        "steps_ms": _steps(spoken) if spoken else None,
        "back_ends_cores": round(back_end_cores, 3),
        "counts": last["counts"],
        "state": last["state"],
    }


def filter_account(events: list[tuple[float, dict[str, Any]]]) -> dict[str, Any]:
    """How many pictures of the measured time were filtered, and how many were not, by reason."""
    first, last = events[0][1]["filter"], events[-1][1]["filter"]
    before = first["passed"]
    passed = {reason: count - before.get(reason, 0) for reason, count in last["passed"].items()}
    filtered = last["filtered"] - first["filtered"]
    all_of_them = max(filtered + sum(passed.values()), 1)
    return {
        "chosen": last["chosen"],
        "filtered": filtered,
        "hurried": last["hurried"] - first["hurried"],
        "passed": {reason: count for reason, count in passed.items() if count},
        "no_time_share": round(passed.get("no_time", 0) / all_of_them, 6),
        "latency_ms": last["latency_ms"].get((last["chosen"] or {}).get("name"), {}),
    }


def _steps(spoken: list[tuple[dict[str, Any], float]]) -> dict[str, Any]:
    """What the ear-voice span is made of, clause by clause: its parts add up to it."""
    parts = {
        "clause": [each["end_ms"] - each["start_ms"] for each, _ in spoken],
        "words_known": [each["closed_ms"] - each["end_ms"] for each, _ in spoken],
        "translated_and_spoken": [each["ready_ms"] - each["closed_ms"] for each, _ in spoken],
        "wait_for_its_place": [each["heard_ms"] - each["ready_ms"] for each, _ in spoken],
        "exit": [delay for _, delay in spoken],
    }
    return {name: {"mean": sum(values) / len(values), **asdict(percentiles(values))} for name, values in parts.items()}


def _windows(events: list[tuple[float, dict[str, Any]]], name: str, window_s: float) -> dict[str, Any]:
    """Each percentile over windows that do not overlap, counted back from the end of the run."""
    picked, due = [], events[-1][0]
    for at, figures in reversed(events):
        if at <= due:
            picked.append(figures[name])
            due = at - window_s
    # The oldest window reaches back into the warm-up unless it is whole.
    whole = picked[: max(1, int((events[-1][0] - events[0][0] + 0.5) / window_s))]
    summary: dict[str, Any] = {"windows": len(whole), "window_s": window_s}
    for key in sorted({key for window in whole for key in window}):
        values = sorted(window[key] for window in whole)
        summary[key] = {"middle": values[len(values) // 2], "worst": values[-1]}
    return summary


def report(body: dict[str, Any]) -> str:
    """The result as text, targets beside it."""
    load, frames, latency, lag = body["load"], body["frames"], body["latency_ms"], body["loop_lag_ms"]
    offset, used = body["av_offset_ms"], body["cpu_percent_of_one_core"]
    spread = ", ".join(
        f"{key} {latency[key]['middle']:.1f} (worst 10 s: {latency[key]['worst']:.1f})" for key in _SHOWN
    )
    lines = [
        f"{body['mode']} {load['size']} at {load['fps']} fps from {load['by']}, {body['seconds']:.0f} s",
        f"  frames received       {frames['received']} ({body['received_fps']} a second), sent {frames['sent']}",
        f"  dropped {frames['dropped']}, late {frames['late']}, passed unchanged {frames['passed']}",
        f"  past their deadline   {body['past_deadline_share']:8.3%}   (target < 0.1 %)",
        f"  left as they were     {body['no_time_share']:8.3%}   for want of time",
        f"  latency in the engine {spread} ms   (target p95 <= 40)",
        f"  loop lag              p99 {lag['p99']['worst']:.2f} ms   (target <= 5)",
        f"  sound against picture p50 {offset['p50']:+.1f}  p95 {offset['p95']:+.1f} ms, leaving the engine",
        f"  percent of one core   {', '.join(f'{who} {share:.0f}' for who, share in used.items())}",
        f"  server's memory       {body['server_rss_mb']:.0f} MB",
        f"  {'stage':12} {'count':>6} {'p50':>8} {'p95':>8} {'p99':>8} ms",
    ]
    lines += [
        f"  {name:12} {s['count']:6d} {s['p50_ms']:8.2f} {s['p95_ms']:8.2f} {s['p99_ms']:8.2f}"
        for name, s in body["stages"].items()
    ]
    if filtered := body.get("filter"):
        chosen, cost = filtered["chosen"], filtered["latency_ms"]
        lines += [
            f"  filter                {chosen['name']} {chosen['order']} the lips, on the {chosen['region']}",
            f"  a picture of it       p50 {cost.get('p50', 0):.1f}  p95 {cost.get('p95', 0):.1f} ms",
            f"  filtered {filtered['filtered']}, left as they were {filtered['passed']}",
            f"  in a hurry            {filtered['hurried']}",
            f"  without time for it   {filtered['no_time_share']:8.3%}   (target < 0.5 %)",
        ]
    if dub := body.get("dub"):
        evs, steps = dub["evs_ms"] or {"mean": float("nan"), "p95": float("nan")}, dub["steps_ms"] or {}
        lines += [
            f"  dub                   {dub['spoken']} of {dub['clauses']} clauses spoken, {dub['state']}",
            f"  ear-voice span        mean {evs['mean']:.0f} p95 {evs['p95']:.0f} ms   (target 2200, 3500)",
            f"  drift                 {dub['drift_ms_per_minute']:+.1f} ms a minute   (target 5)",
            f"  speech back ends      {dub['back_ends_cores']:.2f} of a core   (target 0.3)",
            *(f"    {name:22} {each['mean']:6.0f} p95 {each['p95']:6.0f} ms" for name, each in steps.items()),
        ]
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    """Measure, print, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks run pipeline", description=__doc__)
    parser.add_argument("--size", type=parse_size, default=(640, 480), metavar="WxH")
    parser.add_argument("--fps", type=int, default=25)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clip", type=Path, default=_CLIP)
    parser.add_argument("--mode", choices=["re-voice", "pass-through", "dub"], default="re-voice")
    parser.add_argument("--load", choices=["chromium", "synthetic"], default="chromium")
    parser.add_argument("--filter", default="", metavar="NAME", help="filter the pictures too")
    parser.add_argument("--filter-order", choices=["before", "after"], default="after")
    parser.add_argument("--config", type=Path, help="the server's TOML")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR")
    asked = parser.parse_args(argv)
    width, height = asked.size
    load = Load(
        asked.clip, width, height, asked.fps, asked.seconds, asked.mode, asked.load, asked.filter, asked.filter_order
    )
    with tempfile.TemporaryDirectory(prefix="visavis-bench-") as folder:
        body = run(load, Path(folder), asked.config)
    named = f"-{asked.filter}-{asked.filter_order}" if asked.filter else ""
    name = f"pipeline-{asked.size[0]}x{asked.size[1]}-{asked.mode}{named}-{asked.load}"
    path = write_result(name, body, asked.results)
    print(f"{report(body)}\n{path}")
    return 0
