"""The sound of a dubbed file: the voice, and under it, if asked for, the clip's own sound."""

import numpy as np
from numpy.typing import NDArray

from stream.frames import NS_PER_S
from stream.media import SoundReader
from stream.voice import EAR_RATE_HZ, VoiceTrack

Samples = NDArray[np.float32]


class Soundtrack:
    """A gapless track from time zero on, taken in pieces.

    Args:
        voice: What is spoken.
        original: The clip's own sound, or None to leave it out.
        original_db: Its gain.

    Attributes:
        channels: 1 for a voice alone, 2 with the clip's own sound.
    """

    def __init__(self, voice: VoiceTrack, original: SoundReader | None = None, original_db: float = 0.0) -> None:
        self._voice = voice
        self._original = original
        self._gain = np.float32(10.0 ** (original_db / 20.0))
        self._taken = 0
        self.channels = 1 if original is None else 2

    def until(self, pts_ns: int) -> Samples:
        """Return what is heard from the end of the last piece to `pts_ns`, float32 [channels, n] at 48 kHz."""
        count = max(0, round(pts_ns * EAR_RATE_HZ / NS_PER_S) - self._taken)
        start_ns = self._taken * NS_PER_S // EAR_RATE_HZ
        spoken = self._voice.audio(start_ns, count)
        self._taken += count
        heard = np.broadcast_to(spoken, (self.channels, count))
        if self._original is not None:
            heard = np.clip(heard + self._gain * self._original.read(count), -1.0, 1.0)
        return np.asarray(heard, np.float32)

    def close(self) -> None:
        """Close the clip that the original sound is read from."""
        if self._original is not None:
            self._original.close()
