"""The A/V offset benchmark: its meters read known shifts, and dubbed flashes meet their beeps."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from benchmarks import av_lag, av_lips, av_offset
from tests.stream.clip_maker import SAMPLE, VOICE
from tests.stream.fake_generator import FakeGenerator

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("rate_hz", av_offset.VOICE_RATES_HZ)
def test_flashes_meet_their_beeps_after_dubbing(tmp_path: Path, rate_hz: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av_offset, "SECONDS", 4)
    time_base, pts = Fraction(1, 30_000), [1001 * n for n in range(4 * 30_000 // 1001)]
    source, voice, output = tmp_path / "flash.mp4", tmp_path / "beep.wav", tmp_path / "dubbed.mp4"
    times = av_offset.write_flashes(source, time_base, pts)
    av_offset.write_beeps(voice, times, rate_hz)
    av_lag.dub(source, voice, output, FakeGenerator(), av_lag.NoFaces())
    flashes = av_offset.find_flashes(output)
    assert flashes == pytest.approx(times, abs=1e-6)
    assert np.abs(np.subtract(av_offset.find_beeps(output, flashes), flashes)).max() < 0.001


@pytest.mark.parametrize("late_s", [-0.08, 0.0, 0.04])
def test_the_beep_meter_reads_a_known_shift(tmp_path: Path, late_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av_offset, "SECONDS", 4)
    events = [1.0, 2.0, 3.0]
    av_offset.write_beeps(tmp_path / "beep.wav", [event + late_s for event in events], 48_000)
    found = av_offset.find_beeps(tmp_path / "beep.wav", events)
    assert np.subtract(found, events) == pytest.approx([late_s] * 3, abs=2e-4)


@pytest.mark.parametrize("late_s", [-0.12, -0.033, 0.0, 0.04, 0.1])
def test_the_lips_meter_reads_a_known_shift_with_its_sign(late_s: float) -> None:
    times = np.arange(75) / 25
    gaps = np.interp(times, np.linspace(0, 3, 20), np.random.default_rng(1).random(20))
    measured_s, alike = av_lag.best_lag((times, gaps), (times + late_s, 2 * gaps + 0.1))
    # A fifth of the grid's step: the parabola through three points of a smooth peak.
    assert measured_s == pytest.approx(late_s, abs=0.001)
    assert alike > 0.99


def test_the_gauge_on_a_real_face_beats_with_the_sound() -> None:
    offsets = av_lips.gauge_offsets_ms(SAMPLE, VOICE)
    assert len(offsets) >= 3
    # A mel column is 12.5 ms, a picture 41.7 ms, and both are read between their samples.
    assert abs(np.median(offsets)) < 10
