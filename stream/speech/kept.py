"""The sound of a dub for taking away: its last half hour, in a file without a name, as memory would grow with it."""

import io
import logging
import tempfile
import wave

import numpy as np
from numpy.typing import NDArray

_LOG = logging.getLogger(__name__)


class KeptSound:
    """A ring of mono sound on the disk. Not safe to call from two threads.

    Where the disk is full, nothing more is kept, which is logged once.

    Args:
        rate_hz: Samples a second.
        seconds: So much is kept.
    """

    def __init__(self, rate_hz: int, seconds: int) -> None:
        self._rate_hz = rate_hz
        self._most = rate_hz * seconds * 2
        self._written = 0
        self._file = tempfile.TemporaryFile(prefix="visavis-dub-")  # noqa: SIM115 - closed by `close`

    def add(self, samples: NDArray[np.float32]) -> None:
        """Keep the next samples, float32 [n], at most as many as are kept."""
        if self._file.closed:
            return
        data = (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
        at = self._written % self._most
        fits = self._most - at
        try:
            self._file.seek(at)
            self._file.write(data[:fits])
            if len(data) > fits:
                self._file.seek(0)
                self._file.write(data[fits:])
        except OSError as error:
            _LOG.warning("the sound of the dub is no longer kept for taking away: %s", error)
            self._file.close()
            return
        self._written += len(data)

    def wav(self) -> bytes:
        """What is kept, as a WAV file; empty after `close`."""
        written = io.BytesIO()
        with wave.open(written, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(self._rate_hz)
            file.writeframes(self._read())
        return written.getvalue()

    def _read(self) -> bytes:
        if self._file.closed:
            return b""
        oldest = self._written % self._most if self._written > self._most else 0
        self._file.seek(oldest)
        late = self._file.read(min(self._written, self._most) - oldest)
        self._file.seek(0)
        return late + self._file.read(oldest)

    def close(self) -> None:
        """Give the disk back; calling it twice is harmless."""
        self._file.close()
