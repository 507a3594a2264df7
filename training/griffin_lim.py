"""A sound back out of its mel columns: a robot's voice, good enough to see by ear whether lips are in sync.

A cache holds no samples; what it holds is what a generator hears.

Source: D. W. Griffin, J. S. Lim, "Signal estimation from modified short-time Fourier transform", IEEE TASSP 32 (1984).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.fft
import scipy.signal
from numpy.typing import NDArray

from kernels.mel import HOP, MAX_ABS, MIN_LEVEL_DB, N_FFT, PRE_EMPHASIS, REFERENCE_DB, Mel, Samples, hann, mel_filters

ITERATIONS = 40
PEAK = 0.7
_HOPS = N_FFT // HOP
Spectrum = NDArray[np.complexfloating[Any, Any]]
Float = NDArray[np.floating[Any]]


def voice_of(mel: Mel) -> Samples:
    """Invert `kernels.mel.mel_spectrogram`, but for the phase.

    Args:
        mel: float32 [80, columns] in [-4, 4].

    Returns:
        float32 [200 columns] at 16 kHz, mono, its peak at 0.7; the first sample is the first column's centre. Silence
        stays silence.
    """
    level_db = (mel.T.astype(np.float64) + MAX_ABS) * (-MIN_LEVEL_DB / (2 * MAX_ABS)) + MIN_LEVEL_DB + REFERENCE_DB
    heard = 10 ** (level_db / 20) * (mel.T > -MAX_ABS)
    magnitude = np.maximum(heard @ np.linalg.pinv(mel_filters()).T, 0.0)
    spectrum = magnitude * np.exp(2j * np.pi * np.random.default_rng(0).random(magnitude.shape))
    for _ in range(ITERATIONS):
        again = _analysed(_joined(spectrum))
        spectrum = magnitude * again / np.maximum(np.abs(again), 1e-12)
    emphasised = _joined(spectrum)[N_FFT // 2 :][: HOP * len(magnitude)]
    sound = scipy.signal.lfilter([1.0], [1.0, -PRE_EMPHASIS], emphasised)
    return np.asarray(sound * (PEAK / max(float(np.abs(sound).max()), 1e-6)), np.float32)


def _joined(spectrum: Spectrum) -> Float:
    """Overlap and add frames [n, 401]; [200 (n + 3)]."""
    window = hann()
    frames = (scipy.fft.irfft(spectrum, N_FFT, axis=1) * window).reshape(len(spectrum), _HOPS, HOP)
    total, weight = np.zeros((2, len(spectrum) + _HOPS - 1, HOP))
    for part in range(_HOPS):
        total[part : part + len(spectrum)] += frames[:, part]
        weight[part : part + len(spectrum)] += (window**2).reshape(_HOPS, HOP)[part]
    return np.asarray((total / np.maximum(weight, 1e-3)).ravel())


def _analysed(sound: Float) -> Spectrum:
    frames = np.lib.stride_tricks.sliding_window_view(sound, N_FFT)[::HOP]
    return np.asarray(scipy.fft.rfft(frames * hann(), axis=1))
