"""Silero's network runs on our engine as it was published, and nothing else passes for it."""

from pathlib import Path

import numpy as np
import pytest

from models.engine import EngineError
from models.voice_activity import WINDOW, SileroNetwork
from stream.media import decode_sound

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "models" / "weights" / "silero_vad" / "silero_vad_v6.onnx"

# Every sixth probability of the bundled voice, as onnxruntime 1.32.0 gives them.
REFERENCE = [
    *(0.087, 0.852, 0.494, 0.127, 0.983, 0.993, 0.969, 0.992, 0.993, 0.992),
    *(0.995, 0.988, 0.995, 0.869, 0.421, 0.992, 0.922, 0.991, 0.995, 0.996),
]


def _windows() -> np.ndarray:
    voice = decode_sound(ROOT / "stream" / "assets" / "voice.wav", "voice.wav", rate_hz=16_000)
    return voice[: len(voice) // WINDOW * WINDOW].reshape(-1, WINDOW)


def test_it_gives_the_probabilities_of_another_runtime() -> None:
    network = SileroNetwork()
    probabilities = [network.probability(window) for window in _windows()[:120]]
    # The runtimes differ by 4e-7; the figures above have three digits, and resampling is another library's.
    np.testing.assert_allclose(probabilities[::6], REFERENCE, atol=0.005)


def test_after_a_reset_it_hears_as_if_for_the_first_time() -> None:
    network = SileroNetwork()
    windows = _windows()[:20]
    first = [network.probability(window) for window in windows]
    assert [network.probability(window) for window in windows] != first
    network.reset()
    assert [network.probability(window) for window in windows] == first


def test_a_file_with_one_flipped_bit_is_refused(tmp_path: Path) -> None:
    data = bytearray(PUBLISHED.read_bytes())
    data[len(data) // 2] ^= 1
    damaged = tmp_path / "silero.onnx"
    damaged.write_bytes(data)
    with pytest.raises(EngineError, match=r"silero\.onnx is not the published network"):
        SileroNetwork(damaged)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"nothing\.onnx"):
        SileroNetwork(tmp_path / "nothing.onnx")
