"""How measured events become a result: differences, windows, losses."""

import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiortc.rtcdtlstransport import RtpRouter

from benchmarks import clips
from benchmarks.pipeline import Load, account, dub_account, filter_account, report
from benchmarks.processor import descendants, usage
from benchmarks.serve import command, drop_audio
from benchmarks.transport import Case, Seen, add, cases, offset_table, summarise, summarise_offsets
from tests.benchmarks.test_sightings import _delayed, _frames, _sound

pytestmark = pytest.mark.unit


def _event(at_s: float, latency_p95: float) -> tuple[float, dict[str, Any]]:
    frames = round(25 * at_s)
    spread = {"p50": 10.0, "p95": latency_p95, "p99": latency_p95 + 5}
    return at_s, {
        "frames": {"received": frames, "sent": frames - 3, "dropped": 3, "late": 2, "passed": {"no_face": 7}},
        "latency_ms": spread,
        "loop_lag_ms": {"p50": 0.1, "p95": 0.5, "p99": 1.0 + latency_p95 / 100},
        "stages": {"render": {"p50_ms": 12.0, "p95_ms": 20.0, "p99_ms": 22.0, "count": frames, "failed": 0}},
        "av_offset_ms": {"p50": 1.0, "p95": 3.0, "p99": 4.0, "now": 2.0},
        "delay_ms": 80.0,
    }


EVENTS = [_event(10 + 0.5 * i, 90.0 if i == 40 else 20.0) for i in range(121)]  # 60 s, one bad window at 30 s


def _filtered(at_s: float, filtered: int, no_time: int) -> tuple[float, dict[str, Any]]:
    chosen = {"name": "sketch", "strength": 1.0, "wipe": 0.0, "order": "after", "region": "frame"}
    latency_ms = {"sketch": {"p50": 5.0, "p95": 7.0}, "paint": {"p50": 1.0, "p95": 2.0}}
    passed = {"no_time": no_time, "no_face": 3}
    account = {"chosen": chosen, "filtered": filtered, "hurried": filtered // 10, "passed": passed, "off": False}
    return at_s, {"filter": account | {"latency_ms": latency_ms}}


def test_of_a_filter_only_the_measured_time_counts() -> None:
    body = filter_account([_filtered(10.0, 100, 40), _filtered(20.0, 300, 45), _filtered(30.0, 595, 45)])
    assert body["filtered"] == 495
    assert body["hurried"] == 49
    assert body["passed"] == {"no_time": 5}
    assert body["no_time_share"] == 0.01
    assert body["latency_ms"] == {"p50": 5.0, "p95": 7.0}


def test_a_load_asks_for_its_filter_when_its_session_opens() -> None:
    plain = Load(Path("clip.mp4"), 640, 480, 25, 10.0, "re-voice", "chromium")
    assert plain.query == "?mode=re-voice"
    assert dataclasses.replace(plain, filter="sketch", order="before").query == (
        "?mode=re-voice&filter=sketch&filter_order=before"
    )


def test_counters_are_those_of_the_measured_time_only() -> None:
    body = account(EVENTS)
    assert body["frames"] == {"received": 1500, "sent": 1500, "dropped": 0, "late": 0, "passed": {}}
    assert body["received_fps"] == 25.0
    assert body["past_deadline_share"] == 0.0


def test_dropped_and_late_frames_both_miss_their_deadline() -> None:
    last = (EVENTS[-1][0], {**EVENTS[-1][1], "frames": {**EVENTS[-1][1]["frames"], "dropped": 6, "late": 4}})
    assert account([*EVENTS[:-1], last])["past_deadline_share"] == pytest.approx(
        5 / 1500, abs=1e-6
    )  # kept to six digits


def test_pictures_left_alone_for_want_of_time_are_told_apart() -> None:
    hurried = {"no_face": 7, "no_time": 15}
    last = (EVENTS[-1][0], {**EVENTS[-1][1], "frames": {**EVENTS[-1][1]["frames"], "passed": hurried}})
    body = account([*EVENTS[:-1], last])
    assert body["no_time_share"] == pytest.approx(0.01)
    assert body["past_deadline_share"] == 0.0


def test_the_worst_window_is_not_averaged_away() -> None:
    latency = account(EVENTS)["latency_ms"]
    assert latency["windows"] == 6
    assert latency["p95"] == {"middle": 20.0, "worst": 90.0}


def test_the_report_shows_the_share_and_every_stage() -> None:
    body = {
        **account(EVENTS),
        "load": {"by": "chromium", "size": "640x480", "fps": 25, "clip": "sample.mp4"},
        "mode": "re-voice",
        "seconds": 60.0,
        "cpu_percent_of_one_core": {"server": 61.0, "client": 70.0, "others": 2.0},
        "server_rss_mb": 500.0,
    }
    text = report(body)
    assert "0.000%" in text
    assert "render" in text


def test_processor_time_is_told_apart_by_who_used_it() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as server:
        before = usage(server.pid)
        wait_until = time.monotonic() + 20
        while usage(server.pid).server_s - before.server_s < 0.3 and time.monotonic() < wait_until:
            pass
        used = usage(server.pid).since(before, wall_s=1.0)
        started = descendants(os.getpid())
        server.kill()
    assert used["server"] >= 30
    assert used["others"] >= 0
    assert server.pid in started


def test_a_turns_figures_leave_the_warm_up_out() -> None:
    from benchmarks.chromium import Observation

    sent, received = _frames(30.0, count=240)
    stats = {"timing": {"posted": received[0].at_ms - 120.0}, "states": []}
    seen = Seen()
    add(Observation(sent, received, None, None, stats), seen, 3000.0)
    assert len(seen.delays_ms) == seen.sent < 240 - 85
    assert seen.first_frame_ms == [pytest.approx(120.0)]


def test_a_turn_without_a_returned_frame_is_an_error() -> None:
    from benchmarks.chromium import Observation

    sent, _ = _frames(30.0)
    with pytest.raises(RuntimeError, match="no frame came back"):
        add(Observation(sent, [], None, None, {"states": []}), Seen(), 0.0)


def test_offsets_keep_their_sign() -> None:
    figures = summarise_offsets(np.array([-30.0] * 99 + [50.0]))
    assert figures["median"] == -30.0
    assert figures["p99_abs"] > 29


def test_the_first_seconds_of_sound_are_a_figure_of_their_own() -> None:
    from benchmarks.chromium import Observation

    sent, received = _frames(50.0, count=240)
    sounds = _sound(clips.chirps(8)), _sound(_delayed(8, 80.0))
    stats = {"timing": {"posted": 0.0}, "states": []}
    seen = Seen(wall_s=1.0)
    add(Observation(sent, received, *sounds, stats), seen, 4000.0)
    assert len(seen.early_offsets_ms) == 9  # every 500 ms up to 4 s; the first picture comes back after 50 ms
    assert len(seen.offsets_ms) >= 6
    assert np.array(seen.early_offsets_ms + seen.offsets_ms) == pytest.approx(30.0, abs=0.2)
    assert seen.settled_after_s == [pytest.approx(0.45)]
    row = summarise(Case("visavis", sound=True, lip_sync=True), seen)
    assert row.extra["av_offset_first_20_s_ms"]["median"] == 30.0
    assert "its first 20 s" in offset_table([row])


def test_the_baseline_runs_beside_ours_in_every_case() -> None:
    chosen = cases(0.05, with_stock=True)
    ours, stock = ({(c.sound, c.drop_audio) for c in chosen if c.server == name} for name in ("visavis", "stock"))
    assert ours == stock == {(False, 0.0), (True, 0.0), (True, 0.05)}
    # What a foreign page sees is measured too, and stock never gets our page's script.
    assert {(c.sound, c.drop_audio) for c in chosen if c.lip_sync} == {(True, 0.0), (True, 0.05)}
    assert not any(c.lip_sync for c in chosen if c.server == "stock")
    assert len({c.name for c in chosen}) == len(chosen)
    assert "--drop-audio" in command("visavis", drop_share=0.05)


class _Packet:
    def __init__(self, payload_type: int) -> None:
        self.payload_type = payload_type


def test_audio_packets_are_lost_at_the_rate_asked_for_and_video_never(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RtpRouter, "route_rtp", lambda *_: "receiver")
    drop_audio(0.05, seed=4)
    router = RtpRouter()
    audio = [router.route_rtp(_Packet(111)) for _ in range(4000)]
    video = [router.route_rtp(_Packet(96)) for _ in range(4000)]
    assert audio.count(None) / 4000 == pytest.approx(0.05, abs=0.012)  # 3.5 deviations of a binomial
    assert None not in video


def test_the_parts_of_the_ear_voice_span_add_up_to_it() -> None:
    caption = {
        "id": 1,
        "spoken": True,
        "start_ms": 1000,
        "end_ms": 1800,
        "closed_ms": 2400,
        "ready_ms": 2440,
        "heard_ms": 2600,
    }
    events = [(1.0, {"delay_ms": 140.0, "dub": {"captions": [caption], "counts": {}, "state": "listening"}})]
    figures = dub_account(events, 0.2)
    steps = {name: each["mean"] for name, each in figures["steps_ms"].items()}
    assert steps == {
        "clause": 800,
        "words_known": 600,
        "translated_and_spoken": 40,
        "wait_for_its_place": 160,
        "exit": 140,
    }
    assert sum(steps.values()) == figures["evs_ms"]["mean"] == 1740
