"""Voice activity finds where speech starts and ends, the same however the sound arrives, and noise is no speech."""

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.voice_activity import SileroNetwork
from stream.frames import NS_PER_MS, NS_PER_S, AudioChunk
from stream.media import decode_sound
from stream.speech.vad import VadConfig, VadEvent, VoiceActivity

pytestmark = pytest.mark.unit

RATE_HZ = 16_000
WINDOW_MS = 32


@cache
def voice() -> NDArray[np.float32]:
    """The bundled voice: 5.7 s; its first word is heard from 40 to 280 ms, its longest pause lasts 0.4 s."""
    path = Path(__file__).parents[3] / "stream" / "assets" / "voice.wav"
    return decode_sound(path, "voice.wav", rate_hz=RATE_HZ)


def silence(ms: int) -> NDArray[np.float32]:
    return np.zeros(ms * RATE_HZ // 1000, np.float32)


def listen(
    sound: NDArray[np.float32], vad: VoiceActivity | None = None, *, step: int = 320, start_ns: int = 0
) -> list[VadEvent]:
    """All events of a sound that arrives `step` samples at a time."""
    vad = VoiceActivity() if vad is None else vad
    events: list[VadEvent] = []
    for at in range(0, len(sound), step):
        events += vad.push(AudioChunk(start_ns + at * NS_PER_S // RATE_HZ, RATE_HZ, sound[at : at + step]))
    return [*events, *vad.flush()]


def in_ms(events: Sequence[VadEvent]) -> list[tuple[str, int]]:
    return [(event.kind, event.at_ns // NS_PER_MS) for event in events]


def test_a_voice_between_silences_is_found_with_its_pre_roll() -> None:
    events = listen(np.concatenate([silence(2000), voice(), silence(2000)]))
    assert [event.kind for event in events] == ["start", "end"] * (len(events) // 2)
    first, last = in_ms(events)[0][1], in_ms(events)[-1][1]
    # The first word begins at 2040 ms; the network is sure of it within four windows, and the pre-roll comes before.
    assert 2040 - 250 - WINDOW_MS <= first <= 2040 - 250 + 4 * WINDOW_MS
    assert 7000 <= last <= 7684 + 2 * WINDOW_MS


@pytest.mark.parametrize("step", [160, 512, 1000, 48_000])
def test_events_do_not_depend_on_how_the_sound_is_cut(step: int) -> None:
    sound = np.concatenate([silence(500), voice(), silence(700), voice()])
    assert listen(sound, step=step) == listen(sound)


def test_events_are_in_order_and_decided_after_they_happened() -> None:
    events = listen(np.concatenate([voice(), silence(1000), voice(), silence(1000), voice()]))
    assert len(events) >= 6
    assert all(one.at_ns <= other.at_ns for one, other in pairwise(events))
    assert all(one.decided_ns <= other.decided_ns for one, other in pairwise(events))
    assert all(0 <= event.at_ns < event.decided_ns for event in events)


def test_media_time_counts_from_the_first_chunk() -> None:
    moved = listen(voice(), start_ns=3600 * NS_PER_S)
    assert [event.at_ns - 3600 * NS_PER_S for event in moved] == [event.at_ns for event in listen(voice())]


def test_times_follow_the_chunks_where_their_clock_is_slow() -> None:
    vad = VoiceActivity()
    sound = np.concatenate([silence(4000), voice()])
    events: list[VadEvent] = []
    for index in range(len(sound) // 320):
        # A chunk of 20 ms every 20.5 ms, which is still no gap.
        pts_ns = index * 20_500_000
        events += vad.push(AudioChunk(pts_ns, RATE_HZ, sound[index * 320 : (index + 1) * 320]))
    exact_ms = in_ms(listen(sound))[0][1]
    # The pre-roll is not stretched.
    assert events[0].at_ns // NS_PER_MS == pytest.approx((exact_ms + 250) * 1.025 - 250, abs=2)


def test_an_end_waits_for_the_hang_over() -> None:
    sound = np.concatenate([voice(), silence(3000)])
    for hang_over_ms in (250, 1000):
        end = listen(sound, VoiceActivity(VadConfig(hang_over_ms=hang_over_ms)))[-1]
        waited_ms = (end.decided_ns - end.at_ns) // NS_PER_MS
        assert hang_over_ms <= waited_ms < hang_over_ms + WINDOW_MS


def test_a_longer_hang_over_keeps_pauses_within_a_turn() -> None:
    assert len(listen(voice(), VoiceActivity(VadConfig(hang_over_ms=1000)))) == 2
    assert len(listen(voice(), VoiceActivity(VadConfig(hang_over_ms=32)))) > 2


def _noise(kind: str) -> NDArray[np.float32]:
    time = np.arange(20 * RATE_HZ) / RATE_HZ
    white = np.random.default_rng(5).standard_normal(len(time))
    sounds = {
        "silence": np.zeros(len(time)),
        "white": 0.1 * white,
        "brown": np.cumsum(white) / np.abs(np.cumsum(white)).max() * 0.5,
        "hum": 0.3 * np.sin(2 * np.pi * 100 * time),
        "clipped": np.sign(np.sin(2 * np.pi * 50 * time)),
    }
    return sounds[kind].astype(np.float32)


@pytest.mark.parametrize("kind", ["silence", "white", "brown", "hum", "clipped"])
def test_noise_is_no_speech(kind: str) -> None:
    assert listen(_noise(kind)) == []


class _Counting(SileroNetwork):
    """The network, with a count of the windows that it heard."""

    windows = 0

    def probability(self, window: NDArray[np.float32]) -> float:
        self.windows += 1
        return super().probability(window)


def test_the_gate_keeps_the_network_from_listening_to_silence() -> None:
    network = _Counting()
    listen(silence(10_000), VoiceActivity(network=network))
    quiet = network.windows
    listen(voice(), VoiceActivity(network=network))
    # webrtcvad holds its gate open for a moment at first, whatever it hears.
    assert quiet <= 10 + 4
    assert network.windows - quiet > 100


class _Mean(SileroNetwork):
    """Takes a window's mean for the probability: the gate does not hear it, and a test can set it."""

    def probability(self, window: NDArray[np.float32]) -> float:
        return round(float(window.mean()), 1)


def _sure(*stretches: tuple[int, float]) -> NDArray[np.float32]:
    """A murmur that the gate lets pass, with so many ms of each mean."""
    murmur = np.resize(0.2 * voice()[RATE_HZ // 2 :], sum(ms for ms, _ in stretches) * RATE_HZ // 1000)
    return murmur + np.concatenate([np.full(ms * RATE_HZ // 1000, mean, np.float32) for ms, mean in stretches])


def test_a_turn_starts_when_sure_and_goes_on_with_less() -> None:
    vad = VoiceActivity(VadConfig(gate_hold_ms=60_000), _Mean())
    sound = _sure((640, 0.0), (320, 0.4), (320, 0.7), (960, 0.4), (960, 0.2), (960, 0.4))
    assert in_ms(listen(sound, vad)) == [("start", 960 - 250), ("end", 2240)]


def test_a_pre_roll_does_not_reach_into_the_turn_before() -> None:
    vad = VoiceActivity(VadConfig(gate_hold_ms=60_000, hang_over_ms=64), _Mean())
    sound = _sure((640, 0.0), (640, 0.7), (128, 0.0), (640, 0.7))
    assert in_ms(listen(sound, vad)) == [("start", 390), ("end", 1280), ("start", 1280), ("end", 2048)]


def test_a_gap_in_the_sound_ends_the_turn_and_listening_starts_anew() -> None:
    vad = VoiceActivity(VadConfig(hang_over_ms=1000))
    half = voice()[: 3 * RATE_HZ]
    (start,) = vad.push(AudioChunk(0, RATE_HZ, half))
    assert start.kind == "start"
    end, again = vad.push(AudioChunk(60 * NS_PER_S, RATE_HZ, half))
    assert (end.kind, again.kind) == ("end", "start")
    assert end.at_ns <= 3 * NS_PER_S
    assert 60 * NS_PER_S <= again.at_ns < 61 * NS_PER_S


def test_another_sample_rate_is_refused() -> None:
    with pytest.raises(ValueError, match="48000 Hz, expected 16000"):
        VoiceActivity().push(AudioChunk(0, 48_000, silence(10)))
