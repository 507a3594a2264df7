"""The sound of a dubbed file: the voice, and under it, if asked for, the clip's own sound."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.frames import NS_PER_MS, NS_PER_S
from stream.media import SoundReader
from stream.passage import Spoken
from stream.voice import EAR_RATE_HZ

Samples = NDArray[np.float32]

RAMP_NS = 150 * NS_PER_MS


@dataclass(frozen=True)
class Ducking:
    """How loud the clip's own sound is: softer within the spans, with ramps before and behind them, else as it was.

    Attributes:
        gain: Within the spans, linear; 0 is silence.
        spans: Start and end in nanoseconds, in order; they may touch or overlap.
    """

    gain: float
    spans: tuple[tuple[int, int], ...]

    def gains(self, first: int, count: int) -> Samples:
        """Gain of each of `count` samples at 48 kHz from sample `first` on, float32 [count]."""
        times_ns = (first + np.arange(count)) * (NS_PER_S / EAR_RATE_HZ)
        at_ns, gains = self._corners
        return np.asarray(np.interp(times_ns, at_ns, gains), np.float32)

    @functools.cached_property
    def _corners(self) -> tuple[list[int], list[float]]:
        if not self.spans:
            return [0], [1.0]
        joined = joined_spans(self.spans, 2 * RAMP_NS)
        at_ns = [corner for start, end in joined for corner in (start - RAMP_NS, start, end, end + RAMP_NS)]
        return at_ns, [1.0, self.gain, self.gain, 1.0] * len(joined)


def joined_spans(spans: Sequence[tuple[int, int]], gap_ns: int) -> list[tuple[int, int]]:
    """Spans without order or with overlaps as spans in order, those less than `gap_ns` apart joined."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if joined and start - joined[-1][1] <= gap_ns:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


class Soundtrack:
    """A gapless track from time zero on, taken in pieces.

    Args:
        voice: What is spoken.
        original: The clip's own sound, or None to leave it out.
        loudness: Gain of the clip's own sound, in decibels throughout or as it changes.

    Attributes:
        channels: 1 for a voice alone, 2 with the clip's own sound.
    """

    def __init__(self, voice: Spoken, original: SoundReader | None = None, loudness: float | Ducking = 0.0) -> None:
        self._voice = voice
        self._original = original
        self._loudness = loudness
        self._taken = 0
        self.channels = 1 if original is None else 2

    def until(self, pts_ns: int) -> Samples:
        """Return what is heard from the end of the last piece to `pts_ns`, float32 [channels, n] at 48 kHz."""
        count = max(0, round(pts_ns * EAR_RATE_HZ / NS_PER_S) - self._taken)
        start_ns = self._taken * NS_PER_S // EAR_RATE_HZ
        spoken = self._voice.audio(start_ns, count)
        heard = np.broadcast_to(spoken, (self.channels, count))
        if self._original is not None:
            heard = np.clip(heard + self._gains(count) * self._original.read(count), -1.0, 1.0)
        self._taken += count
        return np.asarray(heard, np.float32)

    def _gains(self, count: int) -> Samples | np.float32:
        if isinstance(self._loudness, Ducking):
            return self._loudness.gains(self._taken, count)
        return np.float32(10.0 ** (self._loudness / 20.0))

    def close(self) -> None:
        """Close the clip that the original sound is read from."""
        if self._original is not None:
            self._original.close()
