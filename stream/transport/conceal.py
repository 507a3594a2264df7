"""Makes up sound for lost packets, so that the sound's timeline has no hole.

PyAV offers neither Opus' own concealment nor its error correction, so the
last pitch period is repeated and faded: the ITU-T G.711 appendix I method.
"""

import numpy as np
from numpy.typing import NDArray

from stream.transport.audio_codec import RATE_HZ

Samples = NDArray[np.float32]

# 70 to 400 Hz: what voices do.
_LAG_SHORTEST, _LAG_LONGEST = RATE_HZ // 400, RATE_HZ // 70
_MATCHED = 480
_HISTORY = _LAG_LONGEST + _MATCHED
# Speech that does not change for longer than this sounds like a machine: fade to silence by then.
_FADED_AFTER = RATE_HZ * 60 // 1000
_CROSSFADE = RATE_HZ * 4 // 1000


class Concealer:
    """Remembers the end of the sound and continues it."""

    def __init__(self) -> None:
        self._history: Samples = np.zeros(_HISTORY, np.float32)
        self._period: Samples = np.zeros(0, np.float32)
        self._made = 0

    def heard(self, samples: Samples) -> Samples:
        """Take real samples; those after a concealed stretch are blended with its continuation."""
        if self._made and len(samples) >= _CROSSFADE:
            rise = np.linspace(0.0, 1.0, _CROSSFADE, dtype=np.float32)
            samples = samples.copy()
            samples[:_CROSSFADE] = samples[:_CROSSFADE] * rise + self._continuation(_CROSSFADE) * (1 - rise)
        self._made = 0
        self._history = np.concatenate([self._history, samples])[-_HISTORY:]
        return samples

    def conceal(self, count: int) -> Samples:
        """float32 [count]: what might have followed; calls in a row go on fading."""
        if not self._made:
            self._period = self._history[-self._pitch_lag() :]
        made = self._continuation(count)
        self._made += count
        return made

    def _continuation(self, count: int) -> Samples:
        """The last period, repeated from where it was left, and faded."""
        at = self._made + np.arange(count)
        fade = np.clip(1 - at / _FADED_AFTER, 0, 1)
        return (self._period[at % len(self._period)] * fade).astype(np.float32)

    def _pitch_lag(self) -> int:
        """Lag at which the last 10 ms best resemble what came before (normalised correlation)."""
        template = self._history[-_MATCHED:].astype(np.float64)
        past = self._history.astype(np.float64)
        correlation = np.correlate(past, template, "valid")
        energy = np.convolve(past * past, np.ones(_MATCHED), "valid")
        lags = len(past) - _MATCHED - np.arange(len(correlation))
        usable = (lags >= _LAG_SHORTEST) & (lags <= _LAG_LONGEST)
        score = np.where(usable, correlation / np.sqrt(energy + 1e-9), -np.inf)
        return int(lags[int(np.argmax(score))])
