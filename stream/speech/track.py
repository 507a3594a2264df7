"""The dub as one gapless track on the session's timeline: what was placed is heard, and is never unsaid.

The lips see the same samples as the ear. Safe to use from two threads: one places, another reads.
"""

import threading
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels.mel import COLUMN_NS, N_FFT, SAMPLE_RATE_HZ, SILENCE, MelWindow, column_at, mel_spectrogram
from stream.frames import NS_PER_MS, NS_PER_S
from stream.media import resample
from stream.voice import EAR_RATE_HZ, add_at, sample_at

Samples = NDArray[np.float32]

_FADE = EAR_RATE_HZ // 100
# Whatever still reads the past, a picture that waits or a mel window, reads no further back.
_KEPT_NS = 12 * NS_PER_S
_SILENT_DB = -50.0


@dataclass(slots=True)
class _Line:
    """One clause on the track: float32 at 48 kHz for the ear and its mel columns for the lips.

    Attributes:
        start_ns: On a mel column, so that columns of neighbours fall on one grid.
        first_column: Of `mel`, counted from session time zero.
    """

    clause_id: int
    start_ns: int
    samples: Samples
    mel: NDArray[np.float32]
    first_column: int

    @property
    def end_ns(self) -> int:
        return self.start_ns + len(self.samples) * NS_PER_S // EAR_RATE_HZ


class DubTrack:
    """See the module.

    Args:
        window: Mel columns that one picture sees.
        keep: Keep everything, as a file or a download needs it; otherwise the last seconds.
    """

    def __init__(self, window: MelWindow, *, keep: bool = False) -> None:
        self._window = window
        self._keep = keep
        self._lines: deque[_Line] = deque()
        self._lock = threading.Lock()
        self._end_ns = 0

    @property
    def end_ns(self) -> int:
        """When the last clause that was placed ends; 0 before the first."""
        return self._end_ns

    @property
    def look_ahead_ns(self) -> int:
        """How far beyond a picture its lips listen."""
        return self._window.look_ahead_ns

    def place(self, clause_id: int, start_ns: int, samples: Samples) -> int:
        """Lay a clause on the track, behind all that lies there, with 10 ms of fade at both ends.

        Args:
            clause_id: For `cut`'s account.
            start_ns: When it begins; moved to the next mel column, at most 12.5 ms later.
            samples: float32 [n] at 48 kHz.

        Returns:
            When it begins.

        Raises:
            ValueError: It would begin before the clause in front of it has ended.
        """
        start_ns = -(-start_ns // COLUMN_NS) * COLUMN_NS
        line = self._line(clause_id, start_ns, _faded(samples))
        with self._lock:
            if start_ns < self._end_ns:
                raise ValueError(f"a clause at {start_ns} ns would begin before the last one ends at {self._end_ns} ns")
            self._lines.append(line)
            self._end_ns = line.end_ns
            while not self._keep and self._lines[0].end_ns < start_ns - _KEPT_NS:
                self._lines.popleft()
        return start_ns

    def _line(self, clause_id: int, start_ns: int, samples: Samples) -> _Line:
        # Half an FFT frame of silence on both sides: columns there hear the beginning and the end too.
        margin = N_FFT // 2
        quiet = np.zeros(margin, np.float32)
        heard = np.concatenate([quiet, resample(samples, EAR_RATE_HZ, SAMPLE_RATE_HZ), quiet])
        first = column_at(start_ns) - margin * NS_PER_S // SAMPLE_RATE_HZ // COLUMN_NS
        return _Line(clause_id, start_ns, samples, mel_spectrogram(heard), first)

    def cut(self, at_ns: int) -> list[int]:
        """Silence from `at_ns` on, with a fade: what is placed there is dropped.

        Returns:
            The clauses of which something was dropped.
        """
        with self._lock:
            touched = [line for line in self._lines if line.end_ns > at_ns]
            for line in touched:
                self._lines.remove(line)
                kept = line.samples[: max(0, at_ns - line.start_ns) * EAR_RATE_HZ // NS_PER_S]
                if len(kept) > _FADE:
                    kept = np.concatenate([kept[:-_FADE], _faded(kept[-2 * _FADE :])[-_FADE:]])
                    self._lines.append(self._line(line.clause_id, line.start_ns, kept))
            self._end_ns = min(self._end_ns, at_ns)
        return [line.clause_id for line in touched]

    def audio(self, pts_ns: int, count: int, sample_rate_hz: int = EAR_RATE_HZ) -> Samples:
        """Return float32 [count] at 48 kHz from session time `pts_ns` on, silence where nothing is said.

        Raises:
            ValueError: Another rate was asked for.
        """
        if sample_rate_hz != EAR_RATE_HZ:
            raise ValueError(f"a dub is heard at {EAR_RATE_HZ} Hz, not at {sample_rate_hz}")
        heard = np.zeros(count, np.float32)
        for line in self._near(pts_ns, pts_ns + count * NS_PER_S // EAR_RATE_HZ):
            add_at(heard, line.samples, sample_at(line.start_ns) - sample_at(pts_ns))
        return heard

    def window(self, pts_ns: int) -> NDArray[np.float32]:
        """The mel columns, float32 [80, T], that the picture at `pts_ns` sees; silence where nothing is said."""
        first = column_at(pts_ns) - self._window.past
        cut = np.full((80, self._window.columns), SILENCE, np.float32)
        stop_ns = (first + self._window.columns) * COLUMN_NS
        for line in self._near(first * COLUMN_NS - 50 * NS_PER_MS, stop_ns + 50 * NS_PER_MS):
            offset = line.first_column - first
            begin, end = max(offset, 0), min(offset + line.mel.shape[1], self._window.columns)
            if begin < end:
                # Of two clauses that touch, the louder one is heard in a column that hears both.
                shown = cut[:, begin:end]
                np.maximum(shown, line.mel[:, begin - offset : end - offset], out=shown)
        return cut

    def speaks(self, start_ns: int, end_ns: int) -> bool:
        """Whether something is said between two times."""
        return bool(self._near(start_ns, end_ns))

    def _near(self, start_ns: int, end_ns: int) -> list[_Line]:
        with self._lock:
            return [line for line in self._lines if line.start_ns < end_ns and line.end_ns > start_ns]


def _faded(samples: Samples) -> Samples:
    """A copy with 10 ms of fade at both ends."""
    faded = np.array(samples, np.float32)
    fade = min(_FADE, len(faded) // 2)
    if fade:
        ramp = np.linspace(0.0, 1.0, fade, endpoint=False, dtype=np.float32)
        faded[:fade] *= ramp
        faded[-fade:] *= ramp[::-1]
    return faded


def spoken_part(samples: Samples, rate_hz: int) -> slice:
    """Where a spoken clause is not silent: above -50 dB of full scale, and 10 ms around."""
    loud = np.flatnonzero(np.abs(samples) > np.float32(10 ** (_SILENT_DB / 20)))
    if not len(loud):
        return slice(0, 0)
    margin = rate_hz // 100
    return slice(max(0, int(loud[0]) - margin), int(loud[-1]) + margin)
