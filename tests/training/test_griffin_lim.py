"""A sound that went through mel columns and back says the same."""

import numpy as np
import pytest

from kernels.mel import BANDS, SILENCE, mel_spectrogram
from training.griffin_lim import voice_of

pytestmark = pytest.mark.unit


def test_a_sound_made_from_mel_columns_has_these_columns() -> None:
    seconds = np.arange(16_000) / 16_000
    syllables = np.sin(2 * np.pi * 3 * seconds).clip(0, None)
    tones = sum(np.sin(2 * np.pi * 140 * k * seconds) / k for k in range(1, 20))
    mel = mel_spectrogram((0.1 * syllables * tones).astype(np.float32))
    made = mel_spectrogram(voice_of(mel))[:, : mel.shape[1]]
    quiet, loud = (mel[:40].mean(0) <= edge for edge in np.percentile(mel[:40].mean(0), (25, 75)))
    loud = ~loud
    assert np.corrcoef(mel[:40].ravel(), made[:40].ravel())[0, 1] > 0.9
    assert made[:40, loud].mean() > made[:40, quiet].mean() + 2


def test_silence_stays_silence() -> None:
    sound = voice_of(np.full((BANDS, 20), SILENCE, np.float32))
    assert sound.shape == (4000,)
    assert not sound.any()
