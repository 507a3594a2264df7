"""The peer's 48 kHz as the 16 kHz that recognisers hear, chunk by chunk."""

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from stream.frames import NS_PER_S, AudioChunk

_FROM_HZ, _TO_HZ = 48_000, 16_000
_STEP = _FROM_HZ // _TO_HZ
_TAPS = 97


class Downsampler:
    """A low-pass at 7.2 kHz and every third sample; its delay of 1 ms is taken off the times."""

    def __init__(self) -> None:
        self._filter = scipy.signal.firwin(_TAPS, 7_200, fs=_FROM_HZ).astype(np.float32)
        self._restart()

    def _restart(self) -> None:
        self._state: NDArray[np.float32] = np.zeros(_TAPS - 1, np.float32)
        self._phase = 0
        self._next_ns: int | None = None

    def push(self, chunk: AudioChunk) -> AudioChunk:
        """The same sound at 16 kHz; a chunk that does not follow the one before it begins anew.

        Raises:
            ValueError: The chunk is not at 48 kHz.
        """
        if chunk.sample_rate_hz != _FROM_HZ:
            raise ValueError(f"the chunk has {chunk.sample_rate_hz} Hz, expected {_FROM_HZ}")
        if self._next_ns is None or abs(chunk.pts_ns - self._next_ns) > NS_PER_S // 1000:
            self._restart()
        self._next_ns = chunk.end_ns
        filtered, self._state = scipy.signal.lfilter(self._filter, 1.0, chunk.samples, zi=self._state)
        taken = np.asarray(filtered[self._phase :: _STEP], np.float32)
        first_ns = chunk.pts_ns + (self._phase - (_TAPS - 1) // 2) * NS_PER_S // _FROM_HZ
        self._phase = (self._phase - len(chunk.samples)) % _STEP
        return AudioChunk(first_ns, _TO_HZ, taken)
