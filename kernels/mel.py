"""The mel columns that lips are driven by, whole and streaming, and the one window that a picture sees.

Training, export, serving and benchmarks all take their window from
`window_at`: published LipGAN and Wav2Lip code has it twice, 40 to 320 ms apart.

Source: `audio.py` and `audio_hparams.py` in Rudrabha/LipGAN, branch
`fully_pythonic` (the same numbers as Wav2Lip's). One difference, on purpose:
outside the sound there is silence, where librosa of that time mirrored it, so
that a stream can be begun before its future is known.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import scipy.fft
from numpy.typing import NDArray

Samples = NDArray[np.float32]
Mel = NDArray[np.float32]

NS_PER_S = 1_000_000_000
SAMPLE_RATE_HZ = 16_000
N_FFT = 800
HOP = 200
BANDS = 80
LOWEST_HZ = 55.0
HIGHEST_HZ = 7_600.0
PRE_EMPHASIS = 0.97
REFERENCE_DB = 20.0
MIN_LEVEL_DB = -100.0
MAX_ABS = 4.0
SILENCE = -MAX_ABS
COLUMN_NS = NS_PER_S * HOP // SAMPLE_RATE_HZ

_HALF = N_FFT // 2
# Columns per pass: 128 x 800 float32 stay in a 1 MB second-level cache, and an hour of sound needs no gigabyte.
_BLOCK = 128


@dataclass(frozen=True, slots=True)
class MelWindow:
    """The mel columns that belong to one picture.

    Attributes:
        columns: How many there are in all.
        look_ahead: How many of them lie after the one at the picture's time. Down to -2: a column hears half an FFT
            frame, two columns' time, beyond its centre, so this one has heard nothing after the picture.
    """

    columns: int = 27
    look_ahead: int = 13

    def __post_init__(self) -> None:
        if not -_HALF // HOP <= self.look_ahead < self.columns:
            raise ValueError(
                f"look_ahead is {self.look_ahead}, expected {-_HALF // HOP} to columns - 1 = {self.columns - 1}"
            )

    @classmethod
    def within(cls, look_ahead_ms: int, columns: int = 27) -> Self:
        """The latest window that hears at most `look_ahead_ms` beyond the picture's time.

        Raises:
            ValueError: Less than 0, or so much that the window would miss the picture's own time.
        """
        beyond = look_ahead_ms * SAMPLE_RATE_HZ // 1000 - _HALF
        return cls(columns, beyond // HOP)

    @property
    def past(self) -> int:
        """How many columns lie before the one at the picture's time."""
        return self.columns - 1 - self.look_ahead

    @property
    def look_ahead_ns(self) -> int:
        """How far behind the newest sample a picture must stay to see all of its window.

        The last column is centred `look_ahead` columns later, and half an FFT frame follows its centre.
        """
        return self.look_ahead * COLUMN_NS + _HALF * NS_PER_S // SAMPLE_RATE_HZ


LIPGAN_WINDOW = MelWindow()


def mel_spectrogram(samples: Samples) -> Mel:
    """Compute all mel columns of a sound.

    Args:
        samples: float32 [n] mono at 16 kHz, full scale is [-1, 1].

    Returns:
        float32 [80, n // 200 + 1] in [-4, 4]; column k is centred on sample 200 k. No sample gives no column.

    Raises:
        ValueError: `samples` is not one-dimensional.
    """
    stream = StreamingMel()
    return np.concatenate([stream.push(samples), stream.flush()], axis=1)


class StreamingMel:
    """Mel columns of a sound that arrives in pieces of any length.

    The columns of all pushes and the flush, joined, are those of `mel_spectrogram` on the joined pieces.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start a new sound; the next column is its column 0."""
        self._pending: Samples = np.zeros(_HALF, np.float32)
        self._last = np.float32(0.0)
        self._received = 0
        self._emitted = 0

    @property
    def columns_emitted(self) -> int:
        """Index of the next column that a push or flush returns."""
        return self._emitted

    def push(self, samples: Samples) -> Mel:
        """Take samples, return the columns they complete.

        Args:
            samples: float32 [n], follows the samples before it without a gap.

        Returns:
            float32 [80, new]. Column k is complete with sample 200 k + 399, so 640 samples (40 ms) give 3 or 4.

        Raises:
            ValueError: `samples` is not one-dimensional.
        """
        if samples.ndim != 1:
            raise ValueError(f"samples have shape {samples.shape}, expected one dimension: mix to mono first")
        if not len(samples):
            return _NO_COLUMN
        pending = np.empty(len(self._pending) + len(samples), np.float32)
        pending[: len(self._pending)] = self._pending
        emphasised = pending[len(self._pending) :]
        emphasised[0] = _NEGATIVE_PRE_EMPHASIS * self._last
        np.multiply(samples[:-1], _NEGATIVE_PRE_EMPHASIS, out=emphasised[1:])
        emphasised += samples
        self._last = np.float32(samples[-1])
        self._received += len(samples)
        return self._take(pending)

    def flush(self) -> Mel:
        """Return the columns whose second half lies beyond the end of the sound, and start a new sound."""
        missing = self._received // HOP + 1 - self._emitted if self._received else 0
        if not missing:
            self.reset()
            return _NO_COLUMN
        padded = np.zeros(N_FFT + HOP * (missing - 1), np.float32)
        padded[: len(self._pending)] = self._pending
        columns = self._take(padded)
        self.reset()
        return columns

    def _take(self, pending: Samples) -> Mel:
        """Turn what is complete of pre-emphasised samples into columns and keep the rest."""
        count = max(0, (len(pending) - N_FFT) // HOP + 1)
        self._pending = pending[count * HOP :]
        self._emitted += count
        if not count:
            return _NO_COLUMN
        # A view of overlapping frames, 5 us cheaper than `as_strided`.
        strides = (HOP * pending.itemsize, pending.itemsize)
        frames: Samples = np.ndarray((count, N_FFT), np.float32, pending, strides=strides)
        if count <= _BLOCK:
            return _columns(frames)
        return np.concatenate([_columns(frames[i : i + _BLOCK]) for i in range(0, count, _BLOCK)], axis=1)


def window_at(mel: Mel, pts_ns: int, window: MelWindow = LIPGAN_WINDOW) -> Mel:
    """Cut out the columns that belong to the picture at `pts_ns`.

    Args:
        mel: float32 [80, T], column 0 at time 0.
        pts_ns: Time of the picture on the sound's own time line; may lie outside the sound.
        window: How many columns, and how many of them ahead.

    Returns:
        float32 [80, window.columns], a copy; columns outside `mel` are silence.
    """
    first = column_at(pts_ns) - window.past
    stop = first + window.columns
    cut = np.full((mel.shape[0], window.columns), SILENCE, np.float32)
    begin, end = max(first, 0), min(stop, mel.shape[1])
    if begin < end:
        cut[:, begin - first : end - first] = mel[:, begin:end]
    return cut


def column_at(pts_ns: int) -> int:
    """Return the index of the column nearest in time; halves go to the later one."""
    return (2 * pts_ns + COLUMN_NS) // (2 * COLUMN_NS)


def mel_filters() -> NDArray[np.float64]:
    """Build the triangular filters, float64 [80, 401], each of unit area in Hz.

    Source:
        `librosa.filters.mel(htk=False, norm="slaney")`; M. Slaney, Auditory Toolbox, Interval Research TR 1998-010.
    """
    lowest, highest = _hz_to_slaney(np.array([LOWEST_HZ, HIGHEST_HZ])).tolist()
    edges_hz = _slaney_to_hz(np.linspace(lowest, highest, BANDS + 2))
    bins_hz = np.linspace(0.0, SAMPLE_RATE_HZ / 2, _HALF + 1)
    low, centre, high = (edges_hz[i : i + BANDS, None] for i in range(3))
    triangles = np.minimum((bins_hz - low) / (centre - low), (high - bins_hz) / (high - centre))
    return np.maximum(triangles, 0.0) * (2.0 / (high - low))


# Slaney's scale: linear below 1 kHz (3 mel per 200 Hz), logarithmic above (27 mel per factor 6.4).
_LINEAR_HZ_PER_MEL = 200.0 / 3.0
_BREAK_HZ = 1_000.0
_BREAK_MEL = _BREAK_HZ / _LINEAR_HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27.0


def _hz_to_slaney(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    above = _BREAK_MEL + np.log(np.maximum(hz, _BREAK_HZ) / _BREAK_HZ) / _LOG_STEP
    return np.where(hz < _BREAK_HZ, hz / _LINEAR_HZ_PER_MEL, above)


def _slaney_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    above = _BREAK_HZ * np.exp(_LOG_STEP * (np.maximum(mel, _BREAK_MEL) - _BREAK_MEL))
    return np.where(mel < _BREAK_MEL, mel * _LINEAR_HZ_PER_MEL, above)


def hann() -> NDArray[np.float64]:
    """Return the periodic Hann window, float64 [800], as `scipy.signal.get_window("hann")` does."""
    return 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(N_FFT) / N_FFT)


# Constants of the fast form: the level in decibels and its scaling to [-4, 4] are one multiplication and one addition.
_NO_COLUMN: Mel = np.zeros((BANDS, 0), np.float32)
_NEGATIVE_PRE_EMPHASIS = np.float32(-PRE_EMPHASIS)
_HANN = hann().astype(np.float32)
_FILTERS_T = np.ascontiguousarray(mel_filters().T.astype(np.float32))
_SCALE = np.float32(20.0 * 2.0 * MAX_ABS / -MIN_LEVEL_DB)
_OFFSET = np.float32(2.0 * MAX_ABS * (-REFERENCE_DB - MIN_LEVEL_DB) / -MIN_LEVEL_DB - MAX_ABS)
_LOUDEST, _QUIETEST = np.float32(MAX_ABS), np.float32(-MAX_ABS)
_MIN_AMPLITUDE = np.float32(10.0 ** (MIN_LEVEL_DB / 20.0))


def _columns(frames: Samples) -> Mel:
    """Turn pre-emphasised frames [n, 800] into columns [80, n]."""
    amplitude = np.abs(scipy.fft.rfft(frames * _HANN, axis=1))
    level = amplitude @ _FILTERS_T
    np.maximum(level, _MIN_AMPLITUDE, out=level)
    np.log10(level, out=level)
    level *= _SCALE
    level += _OFFSET
    np.minimum(level, _LOUDEST, out=level)
    np.maximum(level, _QUIETEST, out=level)
    return np.ascontiguousarray(level.T)


def mel_spectrogram_definition(samples: Samples) -> NDArray[np.float64]:
    """Say in float64 NumPy, step by step as `audio.py` does, what `mel_spectrogram` means."""
    if not len(samples):
        return np.zeros((BANDS, 0))
    sound = samples.astype(np.float64)
    emphasised = sound - PRE_EMPHASIS * np.concatenate([[0.0], sound[:-1]])
    padded = np.pad(emphasised, _HALF)
    frames = np.stack([padded[k * HOP : k * HOP + N_FFT] for k in range(len(sound) // HOP + 1)])
    magnitude = np.abs(np.fft.rfft(frames * hann(), axis=1)).T
    mel_db = 20.0 * np.log10(np.maximum(10.0 ** (MIN_LEVEL_DB / 20.0), mel_filters() @ magnitude)) - REFERENCE_DB
    scaled = 2.0 * MAX_ABS * (mel_db - MIN_LEVEL_DB) / -MIN_LEVEL_DB - MAX_ABS
    return np.asarray(np.clip(scaled, -MAX_ABS, MAX_ABS))
