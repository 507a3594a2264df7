"""The measuring chain against material whose truth is known: numbers, delays, chirps, signed offsets."""

import numpy as np
import pytest

from benchmarks import clips
from benchmarks.chromium import Observation, Sighting, Sound
from benchmarks.sightings import chirp_times, frame_delays, offsets_ms, settled_after_s, sound_delays

pytestmark = pytest.mark.unit

RATE_HZ = 48_000


@pytest.mark.parametrize("number", [0, 1, 2047, 4095, 2730])
def test_a_number_in_a_frame_is_read_back(number: int) -> None:
    luma = np.full((480, 640), 90, np.uint8)
    clips.draw_number(luma, number)
    assert clips.read_number(luma) == number


def test_a_number_with_one_cell_turned_over_is_refused() -> None:
    luma = np.full((480, 640), 90, np.uint8)
    clips.draw_number(luma, 1234)
    luma[:16, 48:64] = 251 - luma[:16, 48:64]
    assert clips.read_number(luma) is None


def _sound(samples: np.ndarray, start_ms: float = 0.0) -> Sound:
    return Sound(start_ms, RATE_HZ, samples.astype(np.float32))


def _delayed(seconds: float, delay_ms: float) -> np.ndarray:
    return np.concatenate([np.zeros(round(delay_ms * RATE_HZ / 1e3)), clips.chirps(seconds)])


def test_chirps_are_found_where_they_were_put() -> None:
    found = chirp_times(_sound(_delayed(4, 37.0), start_ms=1000.0))
    assert found[:, 0] == pytest.approx(1037 + 500 * np.arange(8), abs=0.05)
    assert found[:, 1].tolist() == [1, 0] * 4


@pytest.mark.parametrize("delay_ms", [0.0, 12.5, 333.0, 900.0])
def test_the_delay_of_sound_is_measured_below_one_second(delay_ms: float) -> None:
    delays = sound_delays(_sound(clips.chirps(6)), _sound(_delayed(6, delay_ms)))
    assert len(delays) >= 10
    assert delays[:, 1] == pytest.approx(delay_ms, abs=0.1)


def test_a_lost_packet_inside_a_chirp_does_not_move_it() -> None:
    heard = _delayed(4, 50.0)
    for start in range(heard.size // 24_000):
        at = round((0.050 + 0.5 * start) * RATE_HZ)
        heard[at : at + 960] = 0.0  # the packet in which the chirp begins
    delays = sound_delays(_sound(clips.chirps(4)), _sound(heard))
    assert delays[:, 1] == pytest.approx(50.0, abs=0.5)


def test_chirps_are_found_in_noise() -> None:
    noise = np.random.default_rng(3).normal(0, 0.05, 4 * RATE_HZ)
    assert len(chirp_times(_sound(clips.chirps(4) + noise))) == 8


def _frames(delay_ms: float, count: int = 180) -> tuple[list[Sighting], list[Sighting]]:
    sent = [Sighting(1000 * i / 30, i % 60, 640) for i in range(count)]
    return sent, [Sighting(s.at_ms + delay_ms, s.number, 640) for s in sent]


def test_frames_are_matched_by_number_although_the_clip_loops() -> None:
    sent, received = _frames(1234.0)
    delays = frame_delays(sent, received)
    assert len(delays) == 180
    assert delays[:, 1] == pytest.approx(1234.0)


def test_misread_and_repeated_frames_are_left_out() -> None:
    sent, received = _frames(40.0, count=50)
    again = [Sighting(r.at_ms + 5, r.number, 640) for r in received[10:20]]
    misread = [Sighting(r.at_ms + 1, -1, 640) for r in received[20:30]]
    seen = sorted([*received, *again, *misread], key=lambda sighting: sighting.at_ms)
    assert frame_delays(sent, seen)[:, 1] == pytest.approx(np.full(50, 40.0))


@pytest.mark.parametrize(("picture_ms", "sound_ms"), [(50.0, 150.0), (120.0, 20.0), (80.0, 80.0)])
def test_the_offset_is_the_sounds_delay_minus_the_pictures(picture_ms: float, sound_ms: float) -> None:
    sent, received = _frames(picture_ms)
    seen = Observation(sent, received, _sound(clips.chirps(6)), _sound(_delayed(6, sound_ms)), {})
    offsets = offsets_ms(seen)
    assert len(offsets) >= 10
    assert offsets[:, 1] == pytest.approx(sound_ms - picture_ms, abs=0.2)
    assert np.all(np.diff(offsets[:, 0]) > 400)  # one chirp every 500 ms


def test_without_sound_there_is_no_offset() -> None:
    sent, received = _frames(20.0)
    with pytest.raises(ValueError, match="without sound"):
        offsets_ms(Observation(sent, received, None, None, {}))


@pytest.mark.parametrize(
    ("offsets", "after_s"),
    [
        ([10, -20, 30, 5], 0.5),
        ([90, 60, 45, 30, -20], 2.0),
        ([30, 30, -41, 30], 2.0),
        ([0, 0, 0, 41], None),
        ([], None),
    ],
)
def test_settled_means_that_nothing_later_is_outside(offsets: list[float], after_s: float | None) -> None:
    rows = np.array([[1500.0 + 500 * i, value] for i, value in enumerate(offsets)]).reshape(-1, 2)
    assert settled_after_s(rows, 1000.0, 40.0) == after_s
