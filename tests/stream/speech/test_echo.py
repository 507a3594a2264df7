"""Our own dub is not translated again."""

import numpy as np
import pytest

from stream.frames import AudioChunk
from stream.speech.downsample import Downsampler
from stream.speech.echo import EchoGuard
from tests.stream.speech.words import MS

pytestmark = pytest.mark.unit

DELAY_MS = 80


def speech(seed: int, seconds: int = 12) -> np.ndarray:
    """Noise that goes up and down as syllables do, 48 kHz."""
    rng = np.random.default_rng(seed)
    steps = rng.uniform(0.0, 1.0, seconds * 8) ** 3
    loudness = np.interp(np.arange(seconds * 48_000), np.arange(len(steps)) * 6000, steps)
    return (0.3 * loudness * rng.standard_normal(seconds * 48_000)).astype(np.float32)


def silenced(microphone: np.ndarray, dub: np.ndarray) -> int:
    def played(pts_ns: int, count: int) -> np.ndarray:
        first = pts_ns * 48_000 // 10**9
        return dub[first : first + count] if first >= 0 else np.zeros(count, np.float32)

    guard = EchoGuard(played, DELAY_MS * MS)
    for index in range(len(microphone) // 960):
        guard.filter(AudioChunk(index * 20 * MS, 48_000, microphone[index * 960 : (index + 1) * 960]))
    return guard.silenced


def echo(dub: np.ndarray, after_ms: int) -> np.ndarray:
    shift = 48 * (DELAY_MS + after_ms)
    return np.concatenate([np.zeros(shift, np.float32), 0.2 * dub])[: len(dub)]


@pytest.mark.parametrize("after_ms", [60, 200, 450])
def test_a_dub_that_comes_back_is_silenced(after_ms: int) -> None:
    dub = speech(1)
    assert silenced(echo(dub, after_ms), dub) > 0.7 * 600


def test_the_speaker_alone_and_over_a_quiet_echo_is_heard() -> None:
    dub, voice = speech(1), speech(2)
    assert silenced(voice, dub) < 30
    assert silenced(voice + 0.1 * echo(dub, 200), dub) < 60


def test_a_text_that_the_dub_has_just_said_is_known() -> None:
    guard = EchoGuard(lambda _, count: np.zeros(count, np.float32), 0)
    guard.spoke("Buenos días a todos.")
    assert guard.repeats("buenos dias a todos")
    assert not guard.repeats("good morning to all of you")
    assert not guard.repeats("sí")


def test_sound_at_16_khz_keeps_its_times_and_its_low_part() -> None:
    downsampler = Downsampler()
    wave = np.sin(np.arange(48_000) * 2 * np.pi * 1000 / 48_000).astype(np.float32)
    chunks = [downsampler.push(AudioChunk(i * 20 * MS, 48_000, wave[i * 960 : (i + 1) * 960])) for i in range(50)]
    joined = np.concatenate([chunk.samples for chunk in chunks])
    assert len(joined) == 16_000
    times = chunks[0].pts_ns / 1e9 + np.arange(16_000) / 16_000
    np.testing.assert_allclose(joined[100:], np.sin(2 * np.pi * 1000 * times[100:]), atol=0.02)
