"""A dub's sound, kept for taking away."""

import io
import wave

import numpy as np
import pytest

from stream.speech import kept as kept_module
from stream.speech.kept import KeptSound

pytestmark = pytest.mark.unit


def read(kept: KeptSound) -> np.ndarray:
    with wave.open(io.BytesIO(kept.wav())) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 100)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


def test_what_was_added_is_there_in_order_and_clipped() -> None:
    kept = KeptSound(100, 2)
    kept.add(np.array([0.0, 0.5], np.float32))
    kept.add(np.array([-1.5], np.float32))
    assert read(kept).tolist() == [0, 16383, -32767]
    kept.close()


def test_only_the_last_seconds_are_kept() -> None:
    kept = KeptSound(100, 2)
    every = np.arange(730) / 1000
    for first in range(0, 730, 30):
        kept.add(every[first : first + 30].astype(np.float32))
        assert read(kept).tolist() == [int(each * 32767) for each in every[: first + 30][-200:].astype(np.float32)]
    kept.close()


def test_a_disk_that_is_full_costs_the_copy_and_not_the_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    warned: list[str] = []
    monkeypatch.setattr(kept_module._LOG, "warning", lambda text, error: warned.append(text % error))
    kept = KeptSound(100, 2)
    kept._file.close()
    kept._file = open("/dev/full", "r+b", buffering=0)  # noqa: SIM115
    for _ in range(3):
        kept.add(np.ones(30, np.float32))
    assert len(warned) == 1
    assert "No space left" in warned[0]
    assert len(read(kept)) == 0


def test_closing_twice_is_harmless_and_leaves_an_empty_file() -> None:
    kept = KeptSound(100, 2)
    kept.add(np.ones(30, np.float32))
    kept.close()
    kept.close()
    kept.add(np.ones(30, np.float32))
    assert len(read(kept)) == 0
