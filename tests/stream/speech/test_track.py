"""The track that ear and lips read."""

import numpy as np
import pytest

from kernels.mel import COLUMN_NS, SILENCE, MelWindow, mel_spectrogram, window_at
from stream.media import resample
from stream.speech.stretch import stretch
from stream.speech.track import DubTrack
from tests.stream.speech.words import MS

pytestmark = pytest.mark.unit

WINDOW = MelWindow(54, 13)


def tone(ms: int, hz: float = 300.0) -> np.ndarray:
    return (0.3 * np.sin(np.arange(48 * ms) * 2 * np.pi * hz / 48_000)).astype(np.float32)


def test_what_is_placed_is_heard_at_its_time_and_silence_elsewhere() -> None:
    track = DubTrack(WINDOW)
    start_ns = track.place(1, 1000 * MS, tone(500))
    heard = track.audio(0, 96_000)
    loud = np.flatnonzero(np.abs(heard) > 1e-3)
    assert abs(int(loud[0]) - start_ns * 48_000 // 10**9) < 200
    assert heard[:48_000].max() == 0
    np.testing.assert_array_equal(heard[50_000:60_000], tone(500)[2000:12_000])


def test_pieces_of_any_length_are_the_whole() -> None:
    track = DubTrack(WINDOW)
    track.place(1, 100 * MS, tone(300))
    track.place(2, track.end_ns, tone(300, 500))
    pieces = [track.audio(ms * MS, 48 * 20) for ms in range(0, 800, 20)]
    np.testing.assert_array_equal(np.concatenate(pieces), track.audio(0, 48 * 800))


def test_lips_see_the_sound_that_is_heard() -> None:
    track = DubTrack(WINDOW)
    track.place(1, 40 * COLUMN_NS, tone(900))
    whole = mel_spectrogram(resample(track.audio(0, 48 * 2000), 48_000, 16_000))
    for pts_ns in (0, 800 * MS, 1200 * MS, 1900 * MS):
        # Resampled as a whole or clause by clause: the filter's edges differ a little.
        np.testing.assert_allclose(track.window(pts_ns), window_at(whole, pts_ns, WINDOW), atol=0.5)


def test_far_from_all_clauses_lips_see_silence() -> None:
    track = DubTrack(WINDOW)
    track.place(1, 0, tone(100))
    assert set(track.window(5000 * MS).ravel()) == {SILENCE}


def test_nothing_is_placed_over_what_is_there() -> None:
    track = DubTrack(WINDOW)
    track.place(1, 0, tone(500))
    with pytest.raises(ValueError, match="before the last one ends"):
        track.place(2, 400 * MS, tone(100))


def test_a_cut_silences_what_follows_and_keeps_what_was_before() -> None:
    track = DubTrack(WINDOW)
    track.place(1, 0, tone(500))
    track.place(2, 600 * MS, tone(500))
    before = track.audio(0, 48 * 190)
    assert track.cut(200 * MS) == [1, 2]
    assert np.abs(track.audio(200 * MS, 48_000)).max() == 0
    np.testing.assert_array_equal(track.audio(0, 48 * 190), before)
    assert track.end_ns <= 200 * MS


def test_a_track_forgets_what_is_long_past() -> None:
    track = DubTrack(WINDOW)
    for index in range(40):
        track.place(index, index * 1000 * MS, tone(100))
    assert not track.speaks(0, 20_000 * MS)
    assert track.speaks(38_000 * MS, 39_200 * MS)


@pytest.mark.parametrize("speed", [0.85, 1.0, 1.15, 1.3])
def test_stretched_speech_is_shorter_and_keeps_its_pitch(speed: float) -> None:
    made = stretch(tone(1000, 200.0), 48_000, speed)
    assert len(made) == pytest.approx(48_000 / speed, rel=0.03)
    peak = np.argmax(np.abs(np.fft.rfft(made[4800:-4800], 1 << 17))) * 48_000 / (1 << 17)
    assert peak == pytest.approx(200.0, abs=4)


def test_a_speed_out_of_reach_is_refused() -> None:
    with pytest.raises(ValueError, match="between"):
        stretch(tone(10), 48_000, 3.0)
