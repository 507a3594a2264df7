"""The ear that knows speech: which moments its tokens stand for, and that it computes only those that are asked for."""

import numpy as np
import pytest
import scipy.signal
import torch

from kernels.mel import SAMPLE_RATE_HZ, mel_spectrogram, window_at
from models.lipgan_lite import LipGanLite, LipGanLiteConfig, speech_window
from models.speech_ear import (
    CHANNELS,
    RANGE,
    SpeechEar,
    SpeechLayers,
    recogniser_powers,
    scaled,
    whole,
)

pytestmark = pytest.mark.unit

WINDOW = speech_window(188)


def _speechlike(seconds: float = 2.0) -> np.ndarray:
    """Noise through a moving resonance, swelling four times a second."""
    rng = np.random.default_rng(5)
    times = np.arange(int(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    noise = rng.normal(0, 0.2, len(times))
    low = scipy.signal.lfilter([1], [1, -1.6, 0.8], noise)
    high = scipy.signal.lfilter([1], [1, 0.9, 0.6], noise)
    mixed = low * (1 + np.sin(2 * np.pi * 3 * times)) + high * (1 - np.sin(2 * np.pi * 3 * times))
    return (0.05 * mixed * (1.1 + np.sin(2 * np.pi * 4 * times))).astype(np.float32)


def _recognisers_own(samples: np.ndarray) -> np.ndarray:
    """Whisper's spectrogram by its definition, [80, frames]."""
    middles_mel = np.linspace(0, 15 + np.log(8) / (np.log(6.4) / 27), 82)
    edges = np.where(middles_mel < 15, middles_mel * 200 / 3, 1000 * np.exp(np.log(6.4) / 27 * (middles_mel - 15)))
    bins = np.linspace(0, 8000, 201)
    up = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    down = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    filters = np.maximum(0, np.minimum(up, down)) * (2 / (edges[2:] - edges[:-2]))[:, None]
    _, _, spectrum = scipy.signal.stft(samples, nperseg=400, noverlap=240, boundary="even", scaling="psd")
    powers = np.log10(np.maximum(filters @ np.abs(spectrum) ** 2, 1e-10))
    return (np.maximum(powers, powers.max() - RANGE) + 4) / 4


def test_the_recognisers_spectrogram_is_told_from_lipgans() -> None:
    samples = _speechlike()
    ours = whole(mel_spectrogram(samples))[0].numpy()
    own = _recognisers_own(samples)[:, : ours.shape[1]]
    shape = np.corrcoef(ours[:, 10:-10].ravel(), own[:, 10:-10].ravel())[0, 1]
    assert shape > 0.97
    # The same swells at the same times, to a frame.
    tracks = [each.mean(0)[10:-10] - each.mean() for each in (ours, own)]
    assert abs(int(np.argmax(np.correlate(*tracks, "full"))) - (len(tracks[0]) - 1)) <= 1
    # As wide a range: a quarter is a factor of ten in power.
    assert abs(np.std(ours) / np.std(own) - 1) < 0.15


def test_a_window_is_a_stretch_of_the_whole() -> None:
    mel = mel_spectrogram(_speechlike())
    ear = SpeechEar(WINDOW.columns, WINDOW.past, 16)
    time_ns = 1_000_000_000
    window = torch.from_numpy(window_at(mel, time_ns, WINDOW)[None])
    frames = scaled(recogniser_powers(window, ear.bands, ear.lift)) @ ear.times
    own = 2 * ear._wanted[2]
    stretch = whole(mel)[..., 100 - own : 100 - own + frames.shape[2]]
    # What is far below the loudest is cut by the loudest of each.
    above = stretch > stretch.max() - 1.5
    torch.testing.assert_close(frames[above], stretch[above], atol=1e-3, rtol=0)


def test_asking_for_some_tokens_gives_those_of_all() -> None:
    torch.manual_seed(3)
    layers = SpeechLayers(2, 12).eval()
    torch.nn.init.normal_(layers.positions)
    spectrogram = torch.randn(2, 80, 24)
    with torch.no_grad():
        every, some = layers(spectrogram), layers(spectrogram, [3, 7, 11])
    assert every.shape == (2, 12, CHANNELS)
    torch.testing.assert_close(some, every[:, [3, 7, 11]], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("frames", [23, 24])
def test_products_are_the_convolutions_that_were_learned(frames: int) -> None:
    torch.manual_seed(4)
    layers = SpeechLayers(0, 12).eval()
    spectrogram = torch.randn(2, 80, frames)
    gelu = torch.nn.functional.gelu
    with torch.no_grad():
        convolved = gelu(layers.second(gelu(layers.first(spectrogram)))).transpose(1, 2)
        torch.testing.assert_close(layers(spectrogram), convolved, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("look_ahead_ms", [0, 40, 188])
def test_a_short_look_ahead_hears_no_token_beyond_it(look_ahead_ms: int) -> None:
    window = speech_window(look_ahead_ms)
    assert window.past == 40
    ear = SpeechEar(window.columns, window.past, 16)
    assert max(ear._wanted) < len(ear.layers.positions)
    assert window.look_ahead_ns <= max(look_ahead_ms, 0) * 1_000_000
    vector = ear(torch.zeros(3, 1, 80, window.columns))
    assert vector.shape == (3, 16, 1, 1)
    assert (vector >= 0).all()


def test_a_generator_may_hear_by_it() -> None:
    config = LipGanLiteConfig(size="s", crop_px=96, ear="speech")
    generator = LipGanLite(config).eval()
    face = torch.rand(1, 6, 96, 96)
    assert LipGanLiteConfig.from_dict(config.as_dict()) == config
    with torch.no_grad():
        assert generator(face, torch.zeros(1, 1, 80, config.window.columns)).shape == (1, 3, 96, 96)


def test_a_config_from_before_there_was_a_choice_has_lipgans_ear() -> None:
    values = LipGanLiteConfig().as_dict()
    del values["ear"]
    assert LipGanLiteConfig.from_dict(values).ear == "lipgan"
    with pytest.raises(ValueError, match="no such ear: 'left'"):
        LipGanLiteConfig.from_dict(values | {"ear": "left"})
